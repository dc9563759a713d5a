//! Reads what is readable: counts for the weighing of chance, addresses, e-mails, and runs of
//! base64 and hex that are decoded and searched again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::Detector;
use crate::report::FindingKind;
use crate::search::{Place, READABLE_RUN, Search, printable};

/// The shortest run of base64 letters that is decoded: a 16-byte token has 22.
const BASE64_RUN: usize = 22;
/// The shortest run of hex digits that is decoded.
const HEX_RUN: usize = 24;
/// E-mails and IPv6 outside of text columns must stand in a run at least this long.
const ADDRESS_RUN: usize = 24;
/// Decoded byte strings of these lengths are tried as keys.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// How many of them are kept.
const TOKENS_MAX: usize = 20_000;
/// Words longer than this are not told apart by length.
const WORD_LENGTHS: usize = 72;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the loot's bytes look like.
#[derive(Debug)]
pub(crate) struct Stats {
    all: [u64; 256],
    text: [u64; 256],
    /// Decimal digits in readable text.
    pub(crate) digits: u64,
    /// Hex digits in runs of eight and more.
    pub(crate) hexes: u64,
    /// Base64 letters in runs of twenty and more.
    pub(crate) base64s: u64,
    /// Numbers that stand alone, by length.
    pub(crate) numbers: [u64; WORD_LENGTHS],
    /// Hex words with a digit in them that stand alone, by length.
    pub(crate) hex_words: [u64; WORD_LENGTHS],
}

/// How often each byte occurs outside readable text.
#[derive(Debug)]
pub(crate) struct NoiseShares {
    /// How many such bytes there are.
    pub(crate) bytes: f64,
    shares: Vec<f64>,
}

impl NoiseShares {
    /// From 0 to 1; never quite 0.
    pub(crate) fn of(&self, byte: u8) -> f64 {
        self.shares.get(usize::from(byte)).copied().unwrap_or(1.0)
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            all: [0; 256],
            text: [0; 256],
            digits: 0,
            hexes: 0,
            base64s: 0,
            numbers: [0; WORD_LENGTHS],
            hex_words: [0; WORD_LENGTHS],
        }
    }
}

impl Stats {
    /// How the bytes outside readable text are distributed.
    pub(crate) fn noise(&self) -> NoiseShares {
        let counts: Vec<f64> = self
            .all
            .iter()
            .zip(&self.text)
            .map(|(all, text)| all.saturating_sub(*text) as f64)
            .collect();
        let bytes: f64 = counts.iter().sum();
        NoiseShares {
            bytes,
            shares: counts
                .iter()
                .map(|count| (count + 1.0) / (bytes + 256.0))
                .collect(),
        }
    }

    /// How many words of one length were counted.
    pub(crate) fn words(table: &[u64; WORD_LENGTHS], length: usize) -> f64 {
        table.get(length).copied().unwrap_or(0) as f64
    }

    fn count(table: &mut [u64; 256], bytes: &[u8]) {
        for byte in bytes {
            if let Some(count) = table.get_mut(usize::from(*byte)) {
                *count = count.wrapping_add(1);
            }
        }
    }

    fn count_word(&mut self, word: &[u8], before: Option<u8>) {
        let digits = word.iter().filter(|b| b.is_ascii_digit()).count();
        if digits == 0 || !word.iter().all(u8::is_ascii_hexdigit) {
            return;
        }
        let counted = |table: &mut [u64; WORD_LENGTHS]| {
            if let Some(count) = table.get_mut(word.len()) {
                *count = count.saturating_add(1);
            }
        };
        counted(&mut self.hex_words);
        if digits == word.len() && !before.is_some_and(|b| b".:-".contains(&b)) {
            counted(&mut self.numbers);
        }
    }
}

/// Each stretch of bytes that satisfy a condition, with where it begins.
fn stretches(
    bytes: &[u8],
    keep: impl Fn(u8) -> bool + Copy,
) -> impl Iterator<Item = (usize, &[u8])> {
    let mut next = 0_usize;
    bytes
        .split(move |byte| !keep(*byte))
        .filter_map(move |stretch| {
            let start = next;
            next = start.saturating_add(stretch.len()).saturating_add(1);
            (!stretch.is_empty()).then_some((start, stretch))
        })
}

fn base64_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn hex_letter(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

impl Search<'_> {
    /// Looks through the readable parts of some bytes.
    pub(crate) fn survey(&mut self, bytes: &[u8], place: &Place) {
        Stats::count(&mut self.stats.all, bytes);
        for (start, run) in stretches(bytes, printable) {
            if place.text || run.len() >= READABLE_RUN {
                self.text_run(run, start, place);
            }
        }
    }

    fn text_run(&mut self, run: &[u8], start: usize, place: &Place) {
        Stats::count(&mut self.stats.text, run);
        let digits = run.iter().filter(|b| b.is_ascii_digit()).count();
        self.stats.digits = self.stats.digits.saturating_add(digits as u64);
        for (at, word) in stretches(run, |b| b.is_ascii_alphanumeric()) {
            let before = at.checked_sub(1).and_then(|at| run.get(at)).copied();
            self.stats.count_word(word, before);
        }
        let roomy = place.text || run.len() >= ADDRESS_RUN;
        if self.options.uses(Detector::Addresses) {
            self.addresses(run, start, place, roomy);
        }
        if self.options.uses(Detector::Emails) && roomy {
            self.emails(run, start, place);
        }
        for (at, hexes) in stretches(run, hex_letter) {
            if hexes.len() >= 8 {
                self.stats.hexes = self.stats.hexes.saturating_add(hexes.len() as u64);
            }
            if hexes.len() >= HEX_RUN {
                self.decode_hex(hexes, start.saturating_add(at), place);
            }
        }
        for (at, letters) in stretches(run, base64_letter) {
            if letters.len() >= 20 {
                self.stats.base64s = self.stats.base64s.saturating_add(letters.len() as u64);
            }
            if letters.len() >= BASE64_RUN && !letters.iter().all(u8::is_ascii_hexdigit) {
                self.decode_base64(letters, start.saturating_add(at), place);
            }
        }
    }

    fn decode_hex(&mut self, letters: &[u8], offset: usize, place: &Place) {
        for skip in 0..=letters.len() % 2 {
            let rest = letters.get(skip..).unwrap_or_default();
            let even = rest.get(..rest.len() & !1).unwrap_or_default();
            if let Ok(bytes) = hex::decode(even) {
                self.decoded("hex", bytes, offset.saturating_add(skip), place);
            }
        }
    }

    fn decode_base64(&mut self, letters: &[u8], offset: usize, place: &Place) {
        let standard: Vec<u8> = letters
            .iter()
            .map(|b| match b {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        // What stands before may belong to the run or not: try all four alignments.
        for skip in 0..4 {
            let rest = standard.get(skip..).unwrap_or_default();
            let cut = if rest.len() % 4 == 1 {
                rest.len().saturating_sub(1)
            } else {
                rest.len()
            };
            if let Ok(bytes) = LENIENT.decode(rest.get(..cut).unwrap_or_default()) {
                self.decoded("base64", bytes, offset.saturating_add(skip), place);
            }
        }
    }

    fn decoded(&mut self, how: &str, bytes: Vec<u8>, offset: usize, place: &Place) {
        if !self.options.uses(Detector::DecodedRuns) {
            return;
        }
        if TOKEN_BYTES.contains(&bytes.len()) && self.tokens.len() < TOKENS_MAX {
            self.tokens.push(bytes.clone());
        }
        self.look_inside(how, &bytes, offset, place);
    }

    fn addresses(&mut self, run: &[u8], start: usize, place: &Place, roomy: bool) {
        let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b'%');
        for (at, token) in stretches(run, part) {
            let colons = token.iter().filter(|b| **b == b':').count();
            let dots = token.iter().filter(|b| **b == b'.').count();
            if dots < 3 && colons < 2 {
                continue;
            }
            let Ok(token) = std::str::from_utf8(token) else {
                continue;
            };
            let Some(address) = parse_address(token.trim_end_matches('.'), roomy) else {
                continue;
            };
            let plain = address.to_string();
            let allowed = |known: &String| {
                let known = known.trim_matches(['[', ']']);
                known == plain || known == token.trim_end_matches(['.', ':'])
            };
            if address.is_unspecified() || self.options.addresses_allowed.iter().any(allowed) {
                continue;
            }
            let detail = if address.is_loopback() {
                self.addresses_loopback = self.addresses_loopback.saturating_add(1);
                "the machine's own"
            } else {
                self.addresses = self.addresses.saturating_add(1);
                "of another machine"
            };
            self.found(
                FindingKind::Address,
                place,
                start.saturating_add(at),
                detail,
            );
        }
    }

    fn emails(&mut self, run: &[u8], start: usize, place: &Place) {
        for (at, _) in run.iter().enumerate().filter(|(_, b)| **b == b'@') {
            let before = run.get(..at).unwrap_or_default();
            let after = run.get(at.saturating_add(1)..).unwrap_or_default();
            let local_part = |b: &&u8| b.is_ascii_alphanumeric() || b"._%+-".contains(b);
            let local = before.iter().rev().take_while(local_part).count();
            let domain: Vec<u8> = after
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || b".-".contains(b))
                .copied()
                .collect();
            let labels: Vec<&[u8]> = domain.split(|b| *b == b'.').collect();
            let top = labels.last().copied().unwrap_or_default();
            let shaped = labels.len() >= 2
                && labels.iter().rev().skip(1).all(|label| !label.is_empty())
                && (2..=24).contains(&top.len())
                && top.iter().all(u8::is_ascii_alphabetic);
            // A full stop may follow the address in a sentence.
            let sentence = labels.len() >= 3 && top.is_empty();
            if local >= 1 && (shaped || sentence) {
                let offset = start.saturating_add(at).saturating_sub(local);
                self.found(FindingKind::Email, place, offset, "");
            }
        }
    }
}

fn parse_address(token: &str, roomy: bool) -> Option<IpAddr> {
    let v4 = token.trim_end_matches(':');
    if let Ok(address) = v4.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    if let Ok(address) = v4.parse::<SocketAddrV4>() {
        return Some(IpAddr::V4(*address.ip()));
    }
    let v6 = token.split('%').next().unwrap_or_default();
    let parts = v6.split(':').filter(|part| !part.is_empty()).count();
    // `add::bed` is a path in a program, `fe80::1` an address.
    let likely = roomy && (v6.bytes().any(|b| b.is_ascii_digit()) || parts >= 3);
    v6.parse::<Ipv6Addr>()
        .ok()
        .filter(|_| likely)
        .map(IpAddr::V6)
}
