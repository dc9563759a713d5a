//! The spellings in which a careless server could keep a secret.
//!
//! Each canary becomes a few hundred byte strings. Long canaries (a text of 5,000 characters) are
//! cut into fragments, because a database spreads long values over pages that need not follow one
//! another.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::forms::{FORMS, Form};
use crate::guesses::AccountId;
use crate::{Canaries, Detector, Options};

/// A canary longer than this many bytes is sought in fragments.
const WHOLE_BYTES_MAX: usize = 96;
/// At least this many bytes each.
const FRAGMENT_BYTES: usize = 48;
/// One fragment begins in each stretch of this many bytes.
const FRAGMENT_STRIDE: usize = 192;
/// What is kept of a hash: a store that cuts hashes shorter than this is found by nobody.
const HASH_PREFIX_BYTES: usize = 8;

/// One byte string to look for.
#[derive(Debug, Clone)]
pub(crate) struct Needle {
    /// Whose it is.
    pub(crate) canary: usize,
    /// Which spelling.
    pub(crate) form: Form,
    /// The bytes; lower case where case does not count.
    pub(crate) bytes: Vec<u8>,
}

/// All needles of some canaries, and the numbers that are compared with integer columns.
#[derive(Debug, Default)]
pub(crate) struct Needles {
    /// To be matched; distinct.
    pub(crate) list: Vec<Needle>,
    /// Canaries that are integers of five digits or more.
    pub(crate) integers: HashMap<i64, usize>,
}

/// Derives every needle of every canary, and of the account ids of those that are login names.
pub(crate) fn derive(canaries: &Canaries, ids: &[AccountId], options: &Options) -> Needles {
    let mut maker = Maker {
        options,
        seen: BTreeSet::new(),
        needles: Needles::default(),
        canary: 0,
    };
    for (index, text) in canaries.iter() {
        maker.canary = index;
        let text = text.trim();
        if text.len() <= WHOLE_BYTES_MAX {
            let lower = text.to_lowercase();
            let upper = text.to_uppercase();
            maker.spell(text);
            if lower != text {
                maker.spell(&lower);
            }
            if !text.is_ascii() && upper != text {
                maker.spell(&upper);
            }
        } else {
            for fragment in fragments(text) {
                maker.spell(fragment);
            }
        }
        maker.numbers(text);
        maker.hashes(canaries.text(index).unwrap_or(text));
    }
    for id in ids {
        maker.canary = id.canary;
        maker.account(&id.id);
    }
    maker.needles
}

/// Cuts a long text into pieces of [`FRAGMENT_BYTES`] and a little, at character boundaries.
fn fragments(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let last = text.len().saturating_sub(FRAGMENT_BYTES);
    loop {
        let begin = ceil_boundary(text, start.min(last));
        let end = ceil_boundary(text, begin.saturating_add(FRAGMENT_BYTES));
        if let Some(piece) = text.get(begin..end) {
            pieces.push(piece);
        }
        if start >= last {
            return pieces;
        }
        start = start.saturating_add(FRAGMENT_STRIDE);
    }
}

fn ceil_boundary(text: &str, mut at: usize) -> usize {
    while at < text.len() && !text.is_char_boundary(at) {
        at = at.saturating_add(1);
    }
    at.min(text.len())
}

struct Maker<'a> {
    options: &'a Options,
    seen: BTreeSet<(bool, Vec<u8>)>,
    needles: Needles,
    canary: usize,
}

impl Maker<'_> {
    fn add(&mut self, label: &'static str, bytes: impl Into<Vec<u8>>) {
        let Some(form) = FORMS.iter().find(|form| form.label == label) else {
            return;
        };
        if !self.options.uses(form.detector) {
            return;
        }
        let mut bytes = bytes.into();
        if !form.exact {
            bytes.make_ascii_lowercase();
        }
        if !bytes.is_empty() && self.seen.insert((form.exact, bytes.clone())) {
            self.needles.list.push(Needle {
                canary: self.canary,
                form: *form,
                bytes,
            });
        }
    }

    /// Everything but hashes and numbers.
    fn spell(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.add("raw", bytes);
        if !text.is_ascii() {
            let latin: Option<Vec<u8>> = text
                .chars()
                .map(|c| u8::try_from(u32::from(c)).ok())
                .collect();
            self.add("latin-1", latin.unwrap_or_default());
        }
        self.add(
            "utf-16le",
            text.encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>(),
        );
        self.add(
            "utf-16be",
            text.encode_utf16()
                .flat_map(u16::to_be_bytes)
                .collect::<Vec<u8>>(),
        );
        self.add("hex", hex::encode(bytes));
        self.add("hex-spaced", join(bytes, " ", |b| format!("{b:02x}")));
        self.add("hex-colons", join(bytes, ":", |b| format!("{b:02x}")));
        self.base64(bytes);
        self.escapes(text);
        self.add("decimal-comma-space", join(bytes, ", ", |b| b.to_string()));
        self.add("decimal-comma", join(bytes, ",", |b| b.to_string()));
        self.add("decimal-space", join(bytes, " ", |b| b.to_string()));
        self.add(
            "reversed-bytes",
            bytes.iter().rev().copied().collect::<Vec<u8>>(),
        );
        self.add(
            "reversed-characters",
            text.chars().rev().collect::<String>(),
        );
    }

    fn base64(&mut self, bytes: &[u8]) {
        let standard = ["base64-offset-0", "base64-offset-1", "base64-offset-2"];
        let url_safe = [
            "base64url-offset-0",
            "base64url-offset-1",
            "base64url-offset-2",
        ];
        for (offset, (standard, url_safe)) in standard.into_iter().zip(url_safe).enumerate() {
            self.add(standard, base64_middle(bytes, offset, &STANDARD_NO_PAD));
            self.add(url_safe, base64_middle(bytes, offset, &URL_SAFE_NO_PAD));
        }
    }

    fn escapes(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let percent = |keep: fn(u8) -> bool| -> String {
            bytes.iter().fold(String::new(), |mut out, b| {
                if keep(*b) {
                    out.push(char::from(*b))
                } else {
                    let _ = write!(out, "%{b:02x}");
                }
                out
            })
        };
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
        let path = |b: u8| b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@/".contains(&b);
        self.add("percent", percent(unreserved));
        self.add("percent", percent(path));
        self.add("percent-all", percent(|_| false));
        self.add("form-plus", percent(unreserved).replace("%20", "+"));
        self.add("json", json(text, false));
        self.add("json", json(text, true));
        self.add(
            "json-all",
            text.encode_utf16().fold(String::new(), |mut out, unit| {
                let _ = write!(out, "\\u{unit:04x}");
                out
            }),
        );
        let chars = |plain: fn(char) -> bool, write: fn(char) -> String| -> String {
            text.chars()
                .map(|c| if plain(c) { c.to_string() } else { write(c) })
                .collect()
        };
        let plain = |c: char| c.is_ascii() && !"<>&\"'".contains(c);
        self.add("xml-entities", chars(|c| !"<>&\"'".contains(c), xml_entity));
        self.add(
            "xml-decimal",
            chars(plain, |c| format!("&#{};", u32::from(c))),
        );
        self.add(
            "xml-decimal",
            chars(|_| false, |c| format!("&#{};", u32::from(c))),
        );
        self.add(
            "xml-hex",
            chars(plain, |c| format!("&#x{:x};", u32::from(c))),
        );
        self.add(
            "xml-hex",
            chars(|_| false, |c| format!("&#x{:x};", u32::from(c))),
        );
        self.add("rust-escapes", text.escape_debug().to_string());
        self.add("rust-escapes", text.escape_default().to_string());
        self.add("rust-escapes", text.escape_unicode().to_string());
        self.add("byte-escapes", bytes.escape_ascii().to_string());
        self.add("byte-escapes", join(bytes, "", |b| format!("\\x{b:02x}")));
        let octal = |keep: fn(u8) -> bool| {
            join(bytes, "", move |b| {
                if keep(b) {
                    char::from(b).to_string()
                } else {
                    format!("\\{b:03o}")
                }
            })
        };
        self.add(
            "octal-escapes",
            octal(|b| b.is_ascii_graphic() || b == b' '),
        );
        self.add("octal-escapes", octal(|_| false));
        let quoted = |b: u8| {
            if b.is_ascii() && b != b'=' {
                char::from(b).to_string()
            } else {
                format!("={b:02x}")
            }
        };
        self.add("quoted-printable", join(bytes, "", quoted));
    }

    /// Coordinates as floating point, codes as integers.
    fn numbers(&mut self, text: &str) {
        if !self.options.uses(Detector::Numbers) {
            return;
        }
        let parts = text
            .split([',', ';', ' ', '/'])
            .map(str::trim)
            .filter(|part| part.len() >= 5);
        for part in parts {
            if part.contains('.')
                && let Ok(number) = part.parse::<f64>()
            {
                self.add("float-be", number.to_be_bytes());
                self.add("float-le", number.to_le_bytes());
            }
        }
        if text.len() >= 5
            && let Ok(number) = text.parse::<i64>()
            && number.unsigned_abs() >= 10_000
        {
            self.needles.integers.entry(number).or_insert(self.canary);
        }
    }

    /// Hashes of the canary as it stands and as careful people would tidy it first.
    fn hashes(&mut self, text: &str) {
        if !self.options.uses(Detector::Hashes) {
            return;
        }
        let trimmed = text.trim();
        let mut forms: Vec<String> = vec![text.to_owned(), trimmed.to_owned()];
        forms.extend([
            trimmed.to_lowercase(),
            trimmed.to_uppercase(),
            format!("{trimmed}\n"),
        ]);
        if let Some((local, _)) = trimmed.split_once('@') {
            forms.extend([local.to_owned(), local.to_lowercase()]);
        }
        forms.sort_unstable();
        forms.dedup();
        for form in &forms {
            let bytes = form.as_bytes();
            self.hash(["md5", "md5-hex", "md5-base64"], &Md5::digest(bytes));
            self.hash(["sha1", "sha1-hex", "sha1-base64"], &Sha1::digest(bytes));
            self.hash(
                ["sha256", "sha256-hex", "sha256-base64"],
                &Sha256::digest(bytes),
            );
            self.hash(
                ["sha512", "sha512-hex", "sha512-base64"],
                &Sha512::digest(bytes),
            );
        }
    }

    /// A blinded account id, and its hashes without a key.
    fn account(&mut self, id: &[u8; 32]) {
        self.hash(["account-id", "account-id-hex", "account-id-base64"], id);
        let hashed = [
            "account-id-hashed",
            "account-id-hashed-hex",
            "account-id-hashed-base64",
        ];
        self.hash(hashed, &Md5::digest(id));
        self.hash(hashed, &Sha1::digest(id));
        self.hash(hashed, &Sha256::digest(id));
        self.hash(hashed, &Sha512::digest(id));
    }

    fn hash(&mut self, [raw, hexed, based]: [&'static str; 3], digest: &[u8]) {
        let prefix: Vec<u8> = digest.iter().take(HASH_PREFIX_BYTES).copied().collect();
        self.add(hexed, hex::encode(&prefix));
        self.add(based, base64_middle(&prefix, 0, &STANDARD_NO_PAD));
        self.add(based, base64_middle(&prefix, 0, &URL_SAFE_NO_PAD));
        self.add(raw, prefix);
    }
}

/// The letters of a base64 text that depend on these bytes alone, when `offset` others stand
/// before them in their group of three.
fn base64_middle(bytes: &[u8], offset: usize, engine: &impl base64::Engine) -> String {
    let mut padded = vec![0_u8; offset];
    padded.extend_from_slice(bytes);
    let text = engine.encode(&padded);
    // A letter holds 6 bits: those that begin before bit 8*offset, or end after the last bit, are
    // shared with neighbours.
    let first = (offset.saturating_mul(8)).div_ceil(6);
    let end = padded.len().saturating_mul(8) / 6;
    text.get(first..end).unwrap_or_default().to_owned()
}

fn join(bytes: &[u8], separator: &str, write: impl Fn(u8) -> String) -> String {
    bytes
        .iter()
        .map(|b| write(*b))
        .collect::<Vec<_>>()
        .join(separator)
}

fn json(text: &str, ascii_only: bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if ascii_only && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

fn xml_entity(c: char) -> String {
    match c {
        '<' => "&lt;",
        '>' => "&gt;",
        '&' => "&amp;",
        '"' => "&quot;",
        _ => "&apos;",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use base64::Engine as _;

    use super::{FRAGMENT_BYTES, STANDARD_NO_PAD, base64_middle, derive, fragments};
    use crate::forms::FORMS;
    use crate::guesses::AccountId;
    use crate::{Canaries, Options};

    #[test]
    fn base64_middles_stand_in_every_surrounding() {
        let secret = b"Ottilie Brandt";
        for before in 0..3 {
            for after in 0..3 {
                let mut text = vec![0xA5; before];
                text.extend_from_slice(secret);
                text.extend(std::iter::repeat_n(0x5A, after));
                let whole = STANDARD_NO_PAD.encode(&text);
                let middle = base64_middle(secret, before, &STANDARD_NO_PAD);
                assert!(
                    middle.len() >= 17 && whole.contains(&middle),
                    "{before} {after}"
                );
            }
        }
    }

    #[test]
    fn long_texts_are_cut_at_characters_from_end_to_end() {
        let text: String = "שלום ".chars().cycle().take(3_000).collect();
        let pieces = fragments(&text);
        assert!(pieces.len() > 20);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() >= FRAGMENT_BYTES && text.contains(piece))
        );
        assert!(
            text.starts_with(pieces.first().unwrap()) && text.ends_with(pieces.last().unwrap())
        );
    }

    #[test]
    fn every_spelling_is_derived_from_some_canary() {
        let canaries = Canaries::from_lines([
            "Jürgen \"Ö\" <a.b@familie.example>",
            "why????????",
            "52.520008",
        ]);
        let ids = [AccountId {
            canary: 0,
            id: [7; 32],
        }];
        let needles = derive(&canaries.unwrap(), &ids, &Options::default()).list;
        for form in FORMS {
            assert!(
                needles.iter().any(|needle| needle.form == form),
                "{}",
                form.label
            );
        }
    }
}
