//! Tries everything that was stolen as a key, a seed, a preimage and a token.
//!
//! A stolen hash or public key is harmless; a stolen secret is not, and no column says which it
//! is. So each stored value, each 32-byte window of a small one, and whatever was decoded from
//! text is tried on everything else.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};

use crate::Detector;
use crate::guesses::{Guess, salted};
use crate::report::FindingKind;
use crate::search::{Place, Search};

/// Values longer than this are ciphertext or text, not keys.
const VALUE_BYTES_MAX: usize = 256;
/// Values up to this length may hold a hash that a guess can be tested against.
const HASHED_BYTES_MAX: usize = 512;
/// How many windows that may be such hashes are remembered: 48 MB.
const HASHES_MAX: usize = 1_000_000;
/// Values shorter than this can be guessed anyway.
const VALUE_BYTES_MIN: usize = 8;
/// How many values of one column are taken, as a share of all: a long table must not crowd out the
/// short one that holds a key.
const COLUMN_SHARE: usize = 10;
/// Of how many values of one column every window is taken.
const COLUMN_WINDOWED: usize = 100;
/// Nonce and tag of a sealed envelope (PROTOCOL: envelope).
const NONCE_BYTES: usize = 24;

/// A byte string that may be a secret.
struct Candidate {
    bytes: Vec<u8>,
    from: Rc<str>,
}

/// A stored envelope to try keys on.
pub(crate) struct Sealed {
    /// Its body: nonce, ciphertext, tag.
    pub(crate) body: Vec<u8>,
    /// What may be its associated data.
    pub(crate) associated: Vec<Vec<u8>>,
    /// Where it is stored.
    pub(crate) from: Rc<str>,
}

/// Everything stolen that may be a key, and what it may open.
pub(crate) struct KeyRing {
    whole: Vec<Candidate>,
    windows: Vec<Candidate>,
    seen: HashSet<Vec<u8>>,
    stored: HashMap<[u8; 32], Rc<str>>,
    /// The first 16 bytes of whatever may be a hash.
    hashes: HashMap<[u8; 16], Rc<str>>,
    /// Lengths beyond which not all could be remembered.
    hashes_full: bool,
    envelopes: Vec<Vec<Sealed>>,
    taken: HashMap<Rc<str>, usize>,
    max: usize,
    left_off: u64,
}

/// What came of it.
pub(crate) struct Tried {
    pub(crate) keys: u64,
    pub(crate) openings: u64,
    pub(crate) working: u64,
}

impl KeyRing {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            whole: Vec::new(),
            windows: Vec::new(),
            seen: HashSet::new(),
            stored: HashMap::new(),
            hashes: HashMap::new(),
            hashes_full: false,
            envelopes: Vec::new(),
            taken: HashMap::new(),
            max,
            left_off: 0,
        }
    }

    /// Takes the sampled envelopes of one table.
    pub(crate) fn add_envelopes(&mut self, sealed: impl IntoIterator<Item = Sealed>) {
        let sealed: Vec<Sealed> = sealed.into_iter().collect();
        if !sealed.is_empty() {
            self.envelopes.push(sealed);
        }
    }

    /// Takes one stored value.
    pub(crate) fn add(&mut self, value: &[u8], from: &Rc<str>) {
        self.remember(value, from);
        if !(VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&value.len()) {
            return;
        }
        if self.seen.contains(value) {
            return;
        }
        let taken = self.taken.entry(Rc::clone(from)).or_insert(0);
        *taken = taken.saturating_add(1);
        let windowed = *taken <= COLUMN_WINDOWED;
        if *taken > self.max / COLUMN_SHARE {
            self.left_off = self.left_off.saturating_add(1);
            return;
        }
        for window in value.windows(32) {
            if let Some(window) = window.first_chunk::<32>()
                && self.stored.len() < self.max.saturating_mul(4)
            {
                self.stored
                    .entry(*window)
                    .or_insert_with(|| Rc::clone(from));
            }
        }
        Self::keep(
            &mut self.whole,
            &mut self.seen,
            &mut self.left_off,
            self.max,
            value,
            from,
        );
        if value.len() > 32 && windowed {
            for window in value.windows(32) {
                Self::keep(
                    &mut self.windows,
                    &mut self.seen,
                    &mut self.left_off,
                    self.max,
                    window,
                    from,
                );
            }
        }
        if value.len() > 24 && value.len() != 32 {
            let ends = [value.first_chunk::<16>(), value.last_chunk::<16>()];
            for end in ends.into_iter().flatten() {
                Self::keep(
                    &mut self.windows,
                    &mut self.seen,
                    &mut self.left_off,
                    self.max,
                    end,
                    from,
                );
            }
        }
    }

    /// Takes what may be a hash, wherever it stands in the value, and what hex stands for.
    fn remember(&mut self, value: &[u8], from: &Rc<str>) {
        if !(16..=HASHED_BYTES_MAX).contains(&value.len()) {
            return;
        }
        let decoded = hex::decode(value).unwrap_or_default();
        for window in value.windows(16).chain(decoded.windows(16)) {
            if self.hashes.len() >= HASHES_MAX {
                self.hashes_full = true;
            } else if let Some(window) = window.first_chunk::<16>() {
                self.hashes
                    .entry(*window)
                    .or_insert_with(|| Rc::clone(from));
            }
        }
    }

    /// Hashes guesses with every stolen byte string, and looks whether the outcome is stored.
    pub(crate) fn try_guesses(&self, guesses: &[Guess], search: &mut Search<'_>) -> u64 {
        if !search.options.uses(Detector::Guesses) {
            return 0;
        }
        let mut tried = 0_u64;
        let max = search.options.guesses_max as u64;
        // What is stored as a whole is likelier a salt than what is cut out of it.
        for stolen in self.whole.iter().chain(&self.windows) {
            for guess in guesses {
                for (how, made) in salted(&stolen.bytes, guess) {
                    if let Some(at) = self.hashes.get(&made) {
                        let detail = format!("{how} with what is stored in {}", stolen.from);
                        search.found_test(guess.canary, at, &detail);
                    }
                    tried = tried.saturating_add(1);
                }
            }
            if tried >= max {
                let what = "not all stolen byte strings were tried as salts of guesses";
                search.note("(guesses)", what, false);
                break;
            }
        }
        if self.hashes_full {
            let what = "not all stolen byte strings were compared with hashes of guesses";
            search.note("(guesses)", what, false);
        }
        tried
    }

    fn keep(
        list: &mut Vec<Candidate>,
        seen: &mut HashSet<Vec<u8>>,
        left_off: &mut u64,
        max: usize,
        bytes: &[u8],
        from: &Rc<str>,
    ) {
        if list.len() >= max {
            *left_off = left_off.saturating_add(1);
        } else if seen.insert(bytes.to_vec()) {
            list.push(Candidate {
                bytes: bytes.to_vec(),
                from: Rc::clone(from),
            });
        }
    }

    /// Tries everything on everything, within the options' bounds.
    pub(crate) fn try_all(mut self, search: &mut Search<'_>) -> Tried {
        let room = self.max.saturating_sub(self.whole.len());
        self.left_off = self
            .left_off
            .saturating_add(self.windows.len().saturating_sub(room) as u64);
        self.windows.truncate(room);
        let candidates: Vec<Candidate> =
            self.whole.drain(..).chain(self.windows.drain(..)).collect();
        if self.left_off > 0 {
            let what = format!(
                "{} stored byte strings were not tried as keys",
                self.left_off
            );
            search.note("(keys)", what, false);
        }
        let mut tried = Tried {
            keys: candidates.len() as u64,
            openings: 0,
            working: 0,
        };
        let mut working: HashSet<&[u8]> = HashSet::new();
        for candidate in &candidates {
            if self.beside(candidate, search) {
                working.insert(&candidate.bytes);
            }
        }
        if search.options.uses(Detector::EnvelopeKeys) {
            self.open_envelopes(&candidates, search, &mut tried, &mut working);
        }
        if search.options.uses(Detector::LiveChecks) {
            for candidate in candidates.iter().take(search.options.live_checks_max) {
                if search
                    .options
                    .live_checks
                    .iter()
                    .any(|check| check(&candidate.bytes))
                {
                    working.insert(&candidate.bytes);
                    let place = Place::value(Rc::clone(&candidate.from), false);
                    search.found(
                        FindingKind::LiveCheck,
                        &place,
                        0,
                        "a live check accepted it",
                    );
                }
            }
        }
        tried.working = working.len() as u64;
        tried
    }

    /// Whether a value's hash or public key is stored beside it.
    fn beside(&self, candidate: &Candidate, search: &mut Search<'_>) -> bool {
        let place = Place::value(Rc::clone(&candidate.from), false);
        let mut works = false;
        if search.options.uses(Detector::Preimages) {
            let hash: [u8; 32] = Sha256::digest(&candidate.bytes).into();
            if let Some(at) = self.stored.get(&hash) {
                works = true;
                let detail = format!("its SHA-256 is stored in {at}");
                search.found(FindingKind::SecretBesideHash, &place, 0, &detail);
            }
        }
        if search.options.uses(Detector::Seeds)
            && let Ok(seed) = <&[u8; 32]>::try_from(candidate.bytes.as_slice())
        {
            let public = SigningKey::from_bytes(seed).verifying_key().to_bytes();
            if let Some(at) = self.stored.get(&public) {
                works = true;
                let detail = format!("it is the seed of the public key stored in {at}");
                search.found(FindingKind::SeedBesideKey, &place, 0, &detail);
            }
        }
        works
    }

    fn open_envelopes<'c>(
        &self,
        candidates: &'c [Candidate],
        search: &mut Search<'_>,
        tried: &mut Tried,
        working: &mut HashSet<&'c [u8]>,
    ) {
        // As they are first, hashed second: if not all fit, the likelier half is tried.
        let themselves = candidates
            .iter()
            .filter_map(|one| Some((one, <[u8; 32]>::try_from(one.bytes.as_slice()).ok()?)));
        let hashed = candidates
            .iter()
            .map(|one| (one, Sha256::digest(&one.bytes).into()));
        let mut keys: Vec<(&Candidate, [u8; 32])> = themselves.chain(hashed).collect();
        // One envelope of each table first, then the second of each, and so on.
        let deepest = self.envelopes.iter().map(Vec::len).max().unwrap_or(0);
        let order: Vec<&Sealed> = (0..deepest)
            .flat_map(|depth| {
                self.envelopes
                    .iter()
                    .filter_map(move |table| table.get(depth))
            })
            .collect();
        let first_round: usize = order
            .iter()
            .take(self.envelopes.len())
            .map(|sealed| sealed.associated.len())
            .sum();
        let max = search.options.openings_max;
        let fit = max / first_round.max(1);
        if keys.len() > fit {
            let what = format!(
                "{} stolen keys were not tried on envelopes",
                keys.len().saturating_sub(fit)
            );
            search.note("(keys)", what, false);
            keys.truncate(fit);
        }
        for (index, sealed) in order.iter().enumerate() {
            let cost = (keys.len() as u64).saturating_mul(sealed.associated.len() as u64);
            if tried.openings.saturating_add(cost) > max as u64 {
                let what = format!(
                    "stolen keys were tried on {index} of {} sampled envelopes",
                    order.len()
                );
                search.note("(keys)", what, false);
                return;
            }
            tried.openings = tried.openings.saturating_add(cost);
            let Some((nonce, rest)) = sealed.body.split_first_chunk::<NONCE_BYTES>() else {
                continue;
            };
            let nonce = XNonce::from(*nonce);
            for (candidate, key) in &keys {
                let cipher = XChaCha20Poly1305::new(&Key::from(*key));
                let opens = sealed
                    .associated
                    .iter()
                    .any(|aad| cipher.decrypt(&nonce, Payload { msg: rest, aad }).is_ok());
                if opens {
                    working.insert(&candidate.bytes);
                    let place = Place::value(Rc::clone(&candidate.from), false);
                    let detail = format!("it opens an envelope stored in {}", sealed.from);
                    search.found(FindingKind::KeyOpensEnvelope, &place, 0, &detail);
                }
            }
        }
    }
}
