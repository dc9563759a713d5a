//! What the key file says.
//!
//! ```text
//! kinline key file 2
//! at-rest  <version> <base64url: 32 bytes>
//! accounts <version> <first day> <base64url: OPAQUE setup 128 ‖ pepper of ids 32>
//! tickets  <version> <first epoch> <base64url: seed of the issuer keys 32>
//! exported <hexadecimal: 8 bytes of a hash over the lines above>
//! ```
//! Of each kind one line or more, the newest first. A file of version 1 has one line, `at-rest 1`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kinline_protocol::primitives::hash;
use kinline_protocol::primitives::opaque::SETUP_BYTES;
use kinline_protocol::primitives::opaque::relay::Setup;
use kinline_protocol::secrets::Secret;
use kinline_protocol::ticket;
use zeroize::Zeroizing;

use crate::random::{self, RandomError};

const HEADER_BEFORE: &str = "kinline key file 1";
const HEADER: &str = "kinline key file 2";
/// Versions of one kind at most: each is tried at every login.
pub(crate) const VERSIONS_MAX: usize = 8;
const PEPPER_BYTES: usize = 32;
const ACCOUNTS_BYTES: usize = SETUP_BYTES + PEPPER_BYTES;

/// From which everything on the disk is sealed.
#[derive(Clone)]
struct AtRestKey {
    version: u32,
    secret: Secret<32>,
}

/// What logins depend on.
#[derive(Clone)]
pub(crate) struct AccountsKey {
    pub(crate) version: u32,
    /// From which day on it is used for new registrations.
    pub(crate) first_day: u32,
    pub(crate) setup: Setup,
    /// Account ids are hashed with it.
    pub(crate) pepper: Secret<PEPPER_BYTES>,
}

/// What tickets are made with.
#[derive(Clone)]
pub(crate) struct TicketsKey {
    pub(crate) version: u32,
    /// The first epoch whose key it makes: an epoch has one key, whenever it is changed.
    pub(crate) first_epoch: u32,
    pub(crate) seed: Secret<32>,
}

/// The secrets of the key file, of each kind the newest first.
#[derive(Clone)]
pub(crate) struct KeyFile {
    at_rest: AtRestKey,
    /// What is still on the disk from before a change that did not end.
    at_rest_before: Vec<AtRestKey>,
    pub(crate) accounts: Vec<AccountsKey>,
    pub(crate) tickets: Vec<TicketsKey>,
    /// The fingerprint of the secrets that were exported last.
    pub(crate) exported: Option<[u8; 8]>,
}

impl KeyFile {
    /// Draws a fresh one.
    ///
    /// # Errors
    /// [`RandomError`].
    pub(crate) fn fresh() -> Result<Self, RandomError> {
        Self::of(AtRestKey {
            version: 1,
            secret: Secret::new(random::bytes()?),
        })
    }

    fn of(at_rest: AtRestKey) -> Result<Self, RandomError> {
        Ok(Self {
            at_rest,
            at_rest_before: Vec::new(),
            accounts: vec![AccountsKey::fresh(1, 0)?],
            tickets: vec![TicketsKey::fresh(1, 0)?],
            exported: None,
        })
    }

    /// From which all at-rest keys are derived.
    pub(crate) const fn at_rest(&self) -> &Secret<32> {
        &self.at_rest.secret
    }

    /// Begins to change it: both are there until [`Self::settle_at_rest`].
    ///
    /// # Errors
    /// [`RandomError`].
    pub(crate) fn begin_at_rest(&mut self) -> Result<(), RandomError> {
        let fresh = AtRestKey {
            version: self.at_rest.version.saturating_add(1),
            secret: Secret::new(random::bytes()?),
        };
        let before = std::mem::replace(&mut self.at_rest, fresh);
        self.at_rest_before.insert(0, before);
        Ok(())
    }

    /// Whether a change of it has not ended.
    pub(crate) const fn is_changing(&self) -> bool {
        !self.at_rest_before.is_empty()
    }

    /// Ends a change of it: with the new one, or the one before.
    pub(crate) fn settle_at_rest(&mut self, is_new: bool) {
        let before = std::mem::take(&mut self.at_rest_before).into_iter().next();
        if let Some(before) = before
            && !is_new
        {
            self.at_rest = before;
        }
    }

    /// The one before, during a change.
    pub(crate) fn at_rest_of_before(&self) -> Option<&Secret<32>> {
        self.at_rest_before.first().map(|key| &key.secret)
    }

    /// Which it is.
    pub(crate) const fn at_rest_version(&self) -> u32 {
        self.at_rest.version
    }

    /// Whether what it says now was exported.
    pub(crate) fn is_exported(&self) -> bool {
        self.exported == Some(self.fingerprint())
    }

    /// Of all secrets: another one when any of them changes. They are random, so it tells nothing.
    pub(crate) fn fingerprint(&self) -> [u8; 8] {
        let secrets = self.secrets();
        let hashed = hash::labelled(b"kinline key file fingerprint\0", &[secrets.as_bytes()]);
        let [a, b, c, d, e, f, g, h, ..] = hashed;
        [a, b, c, d, e, f, g, h]
    }

    /// Its text, of version 2.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{HEADER}\n{}", *self.secrets()));
        if let Some(exported) = self.exported {
            text.push_str(&format!("exported {}\n", hex::encode(exported)));
        }
        text
    }

    fn secrets(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        let encoded = |bytes: &[u8]| Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes));
        for key in std::iter::once(&self.at_rest).chain(&self.at_rest_before) {
            let secret = encoded(key.secret.expose());
            text.push_str(&format!("at-rest {} {}\n", key.version, *secret));
        }
        for key in &self.accounts {
            let bytes =
                Zeroizing::new([&key.setup.to_bytes().expose()[..], key.pepper.expose()].concat());
            let secret = encoded(&bytes);
            let (version, day) = (key.version, key.first_day);
            text.push_str(&format!("accounts {version} {day} {}\n", *secret));
        }
        for key in &self.tickets {
            let secret = encoded(key.seed.expose());
            let (version, epoch) = (key.version, key.first_epoch);
            text.push_str(&format!("tickets {version} {epoch} {}\n", *secret));
        }
        text
    }

    /// Reads a text of version 2; `None` for anything else.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != HEADER {
            return None;
        }
        let (mut at_rest, mut accounts, mut tickets) = (Vec::new(), Vec::new(), Vec::new());
        let mut exported = None;
        for line in lines {
            let mut words = line.split(' ');
            match words.next()? {
                "at-rest" => at_rest.push(AtRestKey {
                    version: words.next()?.parse().ok()?,
                    secret: Secret::new(bytes(words.next()?)?),
                }),
                "accounts" => accounts.push(AccountsKey::from_words(&mut words)?),
                "tickets" => tickets.push(TicketsKey {
                    version: words.next()?.parse().ok()?,
                    first_epoch: words.next()?.parse().ok()?,
                    seed: Secret::new(bytes(words.next()?)?),
                }),
                "exported" => {
                    exported = Some(hex::decode(words.next()?).ok()?.try_into().ok()?);
                }
                _ => return None,
            }
            if words.next().is_some() {
                return None;
            }
        }
        let newest_first = |versions: &[u32]| {
            (1..=VERSIONS_MAX).contains(&versions.len()) && versions.is_sorted_by(|a, b| a > b)
        };
        let sound = newest_first(&at_rest.iter().map(|key| key.version).collect::<Vec<_>>())
            && newest_first(&accounts.iter().map(|key| key.version).collect::<Vec<_>>())
            && newest_first(&tickets.iter().map(|key| key.version).collect::<Vec<_>>());
        if !sound {
            return None;
        }
        let at_rest_before = at_rest.split_off(1);
        Some(Self {
            at_rest: at_rest.pop()?,
            at_rest_before,
            accounts,
            tickets,
            exported,
        })
    }

    /// Reads a text of version 1 and adds what it lacks.
    ///
    /// # Errors
    /// [`RandomError`].
    pub(crate) fn from_text_of_before(text: &str) -> Result<Option<Self>, RandomError> {
        let read = || {
            let mut lines = text.lines();
            if lines.next()? != HEADER_BEFORE {
                return None;
            }
            bytes(lines.next()?.strip_prefix("at-rest 1 ")?).map(Secret::new)
        };
        read()
            .map(|secret| Self::of(AtRestKey { version: 1, secret }))
            .transpose()
    }
}

impl AccountsKey {
    /// Draws a fresh one.
    ///
    /// # Errors
    /// [`RandomError`].
    pub(crate) fn fresh(version: u32, first_day: u32) -> Result<Self, RandomError> {
        Ok(Self {
            version,
            first_day,
            setup: Setup::generate(&mut random::generator()?),
            pepper: Secret::new(random::bytes()?),
        })
    }

    fn from_words<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let version = words.next()?.parse().ok()?;
        let first_day = words.next()?.parse().ok()?;
        let all = Zeroizing::new(bytes::<ACCOUNTS_BYTES>(words.next()?)?);
        let (setup, pepper) = all.split_first_chunk::<SETUP_BYTES>()?;
        Some(Self {
            version,
            first_day,
            setup: Setup::from_bytes(&Secret::new(*setup)).ok()?,
            pepper: Secret::from_slice(pepper)?,
        })
    }
}

impl TicketsKey {
    /// Draws a fresh one.
    ///
    /// # Errors
    /// [`RandomError`].
    pub(crate) fn fresh(version: u32, first_epoch: u32) -> Result<Self, RandomError> {
        Ok(Self {
            version,
            first_epoch,
            seed: Secret::new(random::bytes()?),
        })
    }

    /// The epoch after the one of `day`.
    pub(crate) const fn next_epoch(day: u32) -> u32 {
        ticket::epoch_of(day) + 1
    }
}

fn bytes<const N: usize>(word: &str) -> Option<[u8; N]> {
    let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(word).ok()?);
    decoded.as_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{AccountsKey, KeyFile, TicketsKey};

    #[test]
    fn several_versions_read_back_in_their_order() {
        let mut keys = KeyFile::fresh().unwrap();
        keys.accounts
            .insert(0, AccountsKey::fresh(2, 20_000).unwrap());
        keys.tickets.insert(0, TicketsKey::fresh(2, 667).unwrap());
        let text = keys.to_text();
        let back = KeyFile::from_text(&text).unwrap();
        assert_eq!(*back.to_text(), *text);
        assert_eq!(back.accounts.len(), 2);
        assert_eq!(
            back.tickets.iter().map(|key| key.first_epoch).max(),
            Some(667)
        );
        assert!(!back.is_exported());
        keys.exported = Some(keys.fingerprint());
        assert!(KeyFile::from_text(&keys.to_text()).unwrap().is_exported());
        keys.tickets.pop();
        assert!(!KeyFile::from_text(&keys.to_text()).unwrap().is_exported());
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        let keys = KeyFile::fresh().unwrap();
        let text = keys.to_text();
        let lines: Vec<&str> = text.lines().collect();
        let without = |at: usize| {
            let left: Vec<_> = (0..lines.len()).filter(|i| *i != at).collect();
            left.iter()
                .filter_map(|i| lines.get(*i))
                .fold(String::new(), |all, line| format!("{all}{line}\n"))
        };
        for at in 0..lines.len() {
            assert!(KeyFile::from_text(&without(at)).is_none(), "{at}");
        }
        for change in ["at-rest 1 x\n", "unknown 1 2\n", "tickets 1 0\n", " \n"] {
            assert!(KeyFile::from_text(&format!("{}{change}", *text)).is_none());
        }
        // The same version twice, or the oldest first.
        let again = lines.get(1).unwrap();
        assert!(KeyFile::from_text(&format!("{}{again}\n", *text)).is_none());
        let older = again.replace("at-rest 1", "at-rest 2");
        assert!(KeyFile::from_text(&format!("{}{older}\n", *text)).is_none());
    }
}
