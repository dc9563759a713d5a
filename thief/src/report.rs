//! What the thief has to tell: for machines (serde) and for people (`Display`).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::CONTROLS;
use crate::spool::SLOT_BYTES;

/// The only length an envelope may have, in bytes (PROTOCOL: envelope).
pub(crate) const ENVELOPE_BYTES: u64 = 1024;

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A canary, in some spelling.
    Canary,
    /// A picture, a sound or an EXIF block in the clear.
    Media,
    /// A private key or a relay's key file.
    PrivateKey,
    /// A network address in readable text.
    Address,
    /// Something shaped like an e-mail address.
    Email,
    /// A time finer than a day in a column.
    FineTime,
    /// An envelope that is not 1,024 bytes.
    EnvelopeSize,
    /// Bytes that should be noise and are not.
    NotRandom,
    /// Stored bytes that open a stored envelope.
    KeyOpensEnvelope,
    /// Stored bytes that are the Ed25519 seed of a stored public key.
    SeedBesideKey,
    /// Stored bytes whose SHA-256 is stored too.
    SecretBesideHash,
    /// Stored bytes that a live check accepted.
    LiveCheck,
    /// A stored hash that a guess at a login name or a password can be tested against.
    GuessTest,
    /// A value that two tables share.
    Link,
}

/// One thing found; equal ones in the same file and container are one finding with a count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Which canary, counted from 0 among the distinct lines.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub canary: Option<usize>,
    /// The canary itself, only when the options ask for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub canary_text: Option<String>,
    /// The spelling in which the canary was found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub encoding: Option<String>,
    /// The file, relative to the data folder; `table.column` follows a `#` when it was a column.
    pub file: String,
    /// The containers around it, outermost first (`gzip@4711`), empty when it stood in the open.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub within: Vec<String>,
    /// Where it begins, in bytes: in the file, the column's value, or the innermost container.
    pub offset: u64,
    /// How many times.
    pub count: u64,
    /// What else there is to say, without quoting secrets.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub detail: String,
}

/// Something that the search could not do or that its reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The file it is about, relative to the data folder.
    pub file: String,
    /// What happened.
    pub what: String,
    /// Whether something therefore stayed unread: a report with gaps shows nothing.
    pub gap: bool,
}

/// One column of a stolen table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnReport {
    /// Its name.
    pub name: String,
    /// Its declared type.
    pub kind: String,
}

/// One table of a stolen database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// The database file, relative to the data folder.
    pub database: String,
    /// Its name.
    pub name: String,
    /// How many rows it holds.
    pub rows: u64,
    /// Its columns in order.
    pub columns: Vec<ColumnReport>,
}

/// One statistical test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// What was tested.
    pub name: String,
    /// The statistic.
    pub value: f64,
    /// The bound its absolute value must stay within; honest noise crosses it less than once in
    /// 10^9 runs.
    pub limit: f64,
    /// Whether it did.
    pub pass: bool,
}

/// The tests of one kind of bytes that ought to be noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RandomnessReport {
    /// What the bytes are: `relay.db#envelope.body`, `blob files`.
    pub subject: String,
    /// How many byte strings were tested.
    pub samples: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// The tests for which there were enough bytes.
    pub tests: Vec<TestReport>,
    /// Whether all of them passed.
    pub pass: bool,
}

/// One planted leak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlReport {
    /// What was planted.
    pub name: String,
    /// Whether it was found where it was planted and as what it is.
    pub caught: bool,
}

/// Everything a search found, and how far it can be trusted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When the loot was taken, in the caller's words.
    pub when: String,
    /// How many files the loot has.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// How many bytes were searched, with columns put together again and containers opened.
    pub bytes_searched: u64,
    /// How many canaries were looked for.
    pub canaries: usize,
    /// In how many spellings.
    pub encodings: usize,
    /// How many byte strings these make.
    pub needles: usize,
    /// How many of those are so short that chance alone would find them in one part of the loot, and
    /// were counted only in the other: in readable text, names and whole values, or outside them.
    pub narrowed: usize,
    /// How many are so short that chance would find them anywhere, and were not counted at all.
    pub too_short: usize,
    /// How many times a canary was found.
    pub hits: u64,
    /// How many compressed or encoded stretches were opened and searched.
    pub containers_opened: u64,
    /// What was found, canaries and everything else.
    pub findings: Vec<Finding>,
    /// How many findings did not fit into the list.
    pub findings_left_off: u64,
    /// How many times each kind of thing was found.
    pub counts: BTreeMap<String, u64>,
    /// Network addresses that can be a person's.
    pub addresses: u64,
    /// Network addresses of the machine itself (127.0.0.1, ::1).
    pub addresses_loopback: u64,
    /// The tables a thief sees.
    pub tables: Vec<TableReport>,
    /// Slots of the spool that hold something, all of one size and none told from another.
    pub spool_slots: u64,
    /// Slots that were punched out.
    pub spool_holes: u64,
    /// How many envelopes lie open in tables, of each length in bytes.
    pub envelope_sizes: BTreeMap<u64, u64>,
    /// The first 16 bytes of one envelope or slot, in hex; empty when none is stored.
    pub first_envelope_bytes_hex: String,
    /// How many stolen byte strings were tried as keys, seeds, preimages and tokens.
    pub keys_tried: u64,
    /// How many of them worked.
    pub keys_that_open: u64,
    /// How many trial decryptions of envelopes that took.
    pub openings_tried: u64,
    /// How many login names and passwords among the canaries are marked as such.
    #[serde(default)]
    pub logins: usize,
    /// How many account ids they were stretched into.
    #[serde(default)]
    pub accounts_stretched: usize,
    /// How many hashes of stolen byte strings and guesses were sought.
    #[serde(default)]
    pub guesses_tried: u64,
    /// How many ids were sought in other tables than their own.
    #[serde(default)]
    pub links_tried: u64,
    /// The statistical tests.
    pub randomness: Vec<RandomnessReport>,
    /// What could not be read and other remarks.
    pub notes: Vec<Note>,
    /// How many leaks were planted in a scratch copy.
    pub controls_planted: usize,
    /// How many of these were caught.
    pub controls_caught: usize,
    /// Each of them.
    pub controls: Vec<ControlReport>,
}

impl Report {
    /// Whether the loot shows nothing: nothing found, all noise noise, all envelopes of one size,
    /// nothing left unread.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.hits == 0
            && self.findings.is_empty()
            && self.findings_left_off == 0
            && self.keys_that_open == 0
            && self
                .envelope_sizes
                .keys()
                .all(|size| *size == ENVELOPE_BYTES)
            && self.randomness.iter().all(|subject| subject.pass)
            && !self.notes.iter().any(|note| note.gap)
    }

    /// Whether the promise holds: the loot is [`clean`](Self::clean), and the search that says so
    /// caught every planted leak.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.clean()
            && self.canaries > 0
            && self.controls_planted == CONTROLS
            && self.controls_caught == CONTROLS
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.when.is_empty() {
            String::new()
        } else {
            format!(", {}", self.when)
        };
        writeln!(f, "What a thief sees{when}")?;
        writeln!(
            f,
            "  loot        {} files, {} bytes",
            self.files, self.bytes
        )?;
        for table in &self.tables {
            let columns: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
            writeln!(
                f,
                "  table       {:<24} {:>8} rows  ({})",
                table.name,
                table.rows,
                columns.join(", ")
            )?;
        }
        writeln!(
            f,
            "  waiting     {} sealed slots of {SLOT_BYTES} bytes",
            self.spool_slots
        )?;
        for (size, count) in &self.envelope_sizes {
            let wrong = if *size == ENVELOPE_BYTES {
                ""
            } else {
                "   << must be 1024"
            };
            writeln!(f, "  envelopes   {count} of {size} bytes{wrong}")?;
        }
        if !self.first_envelope_bytes_hex.is_empty() {
            writeln!(f, "  one begins  {}", self.first_envelope_bytes_hex)?;
        }
        for subject in &self.randomness {
            let failed: Vec<String> = subject
                .tests
                .iter()
                .filter(|test| !test.pass)
                .map(|test| format!("{} {:.1} (limit {:.1})", test.name, test.value, test.limit))
                .collect();
            let verdict = if subject.pass {
                format!("noise, by {} tests", subject.tests.len())
            } else {
                format!("NOT NOISE: {}", failed.join(", "))
            };
            writeln!(
                f,
                "  {:<32} {:>6} x, {:>10} bytes  {verdict}",
                subject.subject, subject.samples, subject.bytes
            )?;
        }
        writeln!(
            f,
            "  searched    {} secrets in {} spellings ({} byte strings), {} bytes, {} containers opened",
            self.canaries,
            self.encodings,
            self.needles,
            self.bytes_searched,
            self.containers_opened
        )?;
        writeln!(
            f,
            "  short ones  {} looked for in readable text only, {} too short to tell from chance",
            self.narrowed, self.too_short
        )?;
        writeln!(f, "  hits        {}", self.hits)?;
        writeln!(
            f,
            "  addresses   {} of other machines, {} of this one",
            self.addresses, self.addresses_loopback
        )?;
        writeln!(
            f,
            "  keys        {} stolen byte strings tried, {} open anything",
            self.keys_tried, self.keys_that_open
        )?;
        writeln!(
            f,
            "  guesses     {} logins and passwords, {} account ids, {} hashes of them with stolen bytes",
            self.logins, self.accounts_stretched, self.guesses_tried
        )?;
        writeln!(
            f,
            "  links       {} ids sought in other tables",
            self.links_tried
        )?;
        for finding in self.findings.iter().take(40) {
            writeln!(f, "  FOUND       {finding}")?;
        }
        let more = u64::try_from(self.findings.len().saturating_sub(40)).unwrap_or(u64::MAX);
        if more.saturating_add(self.findings_left_off) > 0 {
            writeln!(
                f,
                "  FOUND       and {} more",
                more.saturating_add(self.findings_left_off)
            )?;
        }
        for note in &self.notes {
            let mark = if note.gap { "UNREAD" } else { "note  " };
            writeln!(f, "  {mark}      {}: {}", note.file, note.what)?;
        }
        if self.controls_planted > 0 {
            writeln!(
                f,
                "  controls    {} of {} planted leaks caught",
                self.controls_caught, self.controls_planted
            )?;
            for control in self.controls.iter().filter(|control| !control.caught) {
                writeln!(f, "  MISSED      {}", control.name)?;
            }
        } else {
            writeln!(
                f,
                "  controls    none planted: this search has not shown that it can find anything"
            )?;
        }
        let verdict = if self.ok() {
            "nothing"
        } else if self.clean() {
            "nothing found, but the search was not proven"
        } else {
            "SOMETHING: the promise does not hold"
        };
        write!(f, "  => {verdict}")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = kind_name(self.kind);
        write!(f, "{kind}")?;
        if let Some(canary) = self.canary {
            write!(f, " no. {canary}")?;
        }
        if let Some(text) = &self.canary_text {
            write!(f, " ({text})")?;
        }
        if let Some(encoding) = &self.encoding {
            write!(f, " as {encoding}")?;
        }
        write!(f, " in {}", self.file)?;
        for container in &self.within {
            write!(f, " > {container}")?;
        }
        write!(f, " at {}", self.offset)?;
        if self.count > 1 {
            write!(f, ", {} times", self.count)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// The kind as it stands in JSON and in `Report::counts`.
pub(crate) fn kind_name(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Canary => "canary",
        FindingKind::Media => "media",
        FindingKind::PrivateKey => "private-key",
        FindingKind::Address => "address",
        FindingKind::Email => "email",
        FindingKind::FineTime => "fine-time",
        FindingKind::EnvelopeSize => "envelope-size",
        FindingKind::NotRandom => "not-random",
        FindingKind::KeyOpensEnvelope => "key-opens-envelope",
        FindingKind::SeedBesideKey => "seed-beside-key",
        FindingKind::SecretBesideHash => "secret-beside-hash",
        FindingKind::LiveCheck => "live-check",
        FindingKind::GuessTest => "guess-test",
        FindingKind::Link => "link",
    }
}
