//! How hard to look, and which of the thief's instruments are switched on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Tries stolen bytes against something outside the loot, for instance as a blob's read secret at
/// the relay that still runs: true when they are accepted.
pub type LiveCheck = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// One instrument of the thief. All are on by default; tests switch one off to see that a planted
/// leak then goes unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Detector {
    /// UTF-8 and Latin-1, whatever the case of ASCII letters.
    Raw,
    /// UTF-16 in both byte orders.
    Utf16,
    /// Hexadecimal, plain, spaced or with colons.
    Hex,
    /// Base64 in both alphabets at three offsets.
    Base64,
    /// Percent, JSON, XML, Rust, byte, octal and quoted-printable escapes.
    Escapes,
    /// Lists of decimal byte values.
    Decimal,
    /// Bytes or characters in reverse order.
    Reversed,
    /// Numbers stored as integers or floating point.
    Numbers,
    /// MD5, SHA-1, SHA-256 and SHA-512, whole or cut to eight bytes and more.
    Hashes,
    /// gzip streams.
    Gzip,
    /// zlib streams.
    Zlib,
    /// Raw deflate at the start of a file, of a column's value, and in ZIP entries.
    Deflate,
    /// zstd frames.
    Zstd,
    /// Runs of base64 and hex, decoded and searched again.
    DecodedRuns,
    /// Names of files and folders.
    Names,
    /// Values of columns, put together again from their pages.
    Columns,
    /// Magic bytes of pictures, sound and EXIF blocks.
    Media,
    /// PEM and DER private keys, and key files.
    PrivateKeys,
    /// IPv4 and IPv6 addresses in readable text.
    Addresses,
    /// E-mail addresses in readable text.
    Emails,
    /// Times finer than a day in columns.
    FineTimes,
    /// Envelope bodies of any length but 1,024.
    EnvelopeSizes,
    /// Statistical tests of bodies, blobs and ids.
    Randomness,
    /// Stored bytes tried as the key of stored envelopes.
    EnvelopeKeys,
    /// Stored bytes tried as the Ed25519 seed of stored public keys.
    Seeds,
    /// Stored bytes tried as the SHA-256 preimage of other stored bytes.
    Preimages,
    /// Stored bytes tried by the caller's own checks.
    LiveChecks,
    /// Account ids that marked login names are stretched into, and hashes of these.
    AccountIds,
    /// Hashes and HMACs of marked login names and passwords with every stored byte string.
    Guesses,
    /// Values that two tables share.
    Links,
}

impl Detector {
    /// Every instrument there is.
    pub const ALL: [Self; 30] = [
        Self::Raw,
        Self::Utf16,
        Self::Hex,
        Self::Base64,
        Self::Escapes,
        Self::Decimal,
        Self::Reversed,
        Self::Numbers,
        Self::Hashes,
        Self::Gzip,
        Self::Zlib,
        Self::Deflate,
        Self::Zstd,
        Self::DecodedRuns,
        Self::Names,
        Self::Columns,
        Self::Media,
        Self::PrivateKeys,
        Self::Addresses,
        Self::Emails,
        Self::FineTimes,
        Self::EnvelopeSizes,
        Self::Randomness,
        Self::EnvelopeKeys,
        Self::Seeds,
        Self::Preimages,
        Self::LiveChecks,
        Self::AccountIds,
        Self::Guesses,
        Self::Links,
    ];
}

/// How to search: labels, limits and instruments. `Options::default()` is what the promises are
/// shown with.
#[derive(Clone)]
pub struct Options {
    /// When the loot was taken, in words, for the report ("while messages wait").
    pub when: String,
    /// The time in seconds since 1970 against which stored numbers are judged as times; the
    /// system's clock when absent.
    pub now_unix: Option<u64>,
    /// Whether to plant the controls in a scratch copy (needs as much disk as the loot is large).
    pub controls: bool,
    /// Whether findings quote the canary's text instead of only its line number.
    pub verbose: bool,
    /// Network addresses that may stand in the loot, written as they appear there, with or without
    /// the port (the relay's own listeners). Unspecified addresses (`0.0.0.0`, `::`) always may.
    pub addresses_allowed: Vec<String>,
    /// Byte strings that mark a relay's key file; none may lie in the loot.
    pub key_file_magics: Vec<Vec<u8>>,
    /// The caller's own checks of stolen bytes.
    pub live_checks: Vec<LiveCheck>,
    /// Names of relays that login names may be stretched for, besides those that stand in the
    /// loot: `pin:` and the pin in base64url, or the host.
    pub server_names: Vec<String>,
    /// Memory in KiB and passes of Argon2id over login names, as the devices of this relay do it.
    pub stretching: (u32, u32),
    /// How many hashes are made of stolen byte strings and guesses at most.
    pub guesses_max: usize,
    /// How many stolen byte strings go to each live check at most.
    pub live_checks_max: usize,
    /// How many bytes of one file are read at most; a longer file is a gap in the report.
    pub file_bytes_max: u64,
    /// How much of a file is in memory at a time; longer ones are read in overlapping pieces.
    pub chunk_bytes: usize,
    /// How far one compressed stream is expanded; a longer one is a gap in the report.
    pub expansion_bytes_max: usize,
    /// How many bytes all compressed streams together may expand to; more is a gap.
    pub expansion_total_max: u64,
    /// How many containers deep to look (2: a gzip inside a base64 run).
    pub depth_max: usize,
    /// How many stolen byte strings are tried as keys.
    pub keys_max: usize,
    /// How many times a stolen key is tried on an envelope, over all keys and envelopes.
    pub openings_max: usize,
    /// How many different findings are listed; all are counted.
    pub findings_max: usize,
    /// The instruments that are switched on.
    pub detectors: BTreeSet<Detector>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            when: String::new(),
            now_unix: None,
            controls: true,
            verbose: false,
            addresses_allowed: Vec::new(),
            key_file_magics: vec![
                b"kinline key file 1\n".to_vec(),
                b"kinline key file 2\n".to_vec(),
            ],
            live_checks: Vec::new(),
            server_names: Vec::new(),
            stretching: (64 * 1_024, 3),
            // Half a microsecond each: 2 s at most.
            guesses_max: 4_000_000,
            live_checks_max: 2_000,
            file_bytes_max: 4 << 30,
            chunk_bytes: 64 << 20,
            expansion_bytes_max: 8 << 20,
            expansion_total_max: 512 << 20,
            depth_max: 2,
            keys_max: 50_000,
            // About 2 µs each on one 1,024-byte envelope: 1 s at most.
            openings_max: 400_000,
            findings_max: 5_000,
            detectors: Detector::ALL.into_iter().collect(),
        }
    }
}

impl Options {
    /// The same options with one instrument switched off.
    #[must_use]
    pub fn without(mut self, detector: Detector) -> Self {
        self.detectors.remove(&detector);
        self
    }

    /// Whether an instrument is switched on.
    #[must_use]
    pub fn uses(&self, detector: Detector) -> bool {
        self.detectors.contains(&detector)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("when", &self.when)
            .field("controls", &self.controls)
            .field("live_checks", &self.live_checks.len())
            .field("detectors", &self.detectors)
            .finish_non_exhaustive()
    }
}
