//! Matches needles against bytes and keeps what was found.

use std::collections::HashMap;
use std::rc::Rc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::chance::{Chances, NEEDLE_BYTES_MIN, Stand};
use crate::encodings::{self, Needle};
use crate::guesses::AccountId;
use crate::marks::Marks;
use crate::report::{Finding, FindingKind, Note, kind_name};
use crate::survey::Stats;
use crate::{Canaries, Options, ThiefError};

/// This many printable bytes in a row are readable text; in noise such a run begins at one byte in
/// ten million (0.37^16).
pub(crate) const READABLE_RUN: usize = 16;
/// How many matches of one needle are kept until they can be weighed.
const MATCHES_KEPT: u32 = 256;

/// Where some bytes come from.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The file, relative to the data folder, or file`#`table.column.
    pub(crate) file: Rc<str>,
    /// The containers around the bytes.
    pub(crate) within: Vec<String>,
    /// What to add to offsets.
    pub(crate) base: u64,
    /// Matches that end before here were seen in the piece of the file before this one.
    pub(crate) seen: usize,
    /// Whether the bytes are text by where they stand (names, TEXT columns).
    pub(crate) text: bool,
    /// Whether the bytes are one whole value.
    pub(crate) value: bool,
}

impl Place {
    /// A file, from its beginning.
    pub(crate) fn file(name: &str) -> Self {
        Self {
            file: name.into(),
            within: Vec::new(),
            base: 0,
            seen: 0,
            text: false,
            value: false,
        }
    }

    /// A value that stands for itself.
    pub(crate) fn value(file: Rc<str>, text: bool) -> Self {
        Self {
            file,
            within: Vec::new(),
            base: 0,
            seen: 0,
            text,
            value: true,
        }
    }

    /// Something opened at `offset`.
    pub(crate) fn inside(&self, container: &str, offset: usize) -> Self {
        let mut within = self.within.clone();
        within.push(format!("{container}@{}", self.offset(offset)));
        Self {
            file: Rc::clone(&self.file),
            within,
            base: 0,
            seen: 0,
            text: false,
            value: true,
        }
    }

    pub(crate) fn offset(&self, offset: usize) -> u64 {
        self.base.saturating_add(offset as u64)
    }
}

/// A match that is not weighed yet.
struct Match {
    needle: usize,
    place: Rc<Place>,
    offset: usize,
    readable: bool,
    alone: bool,
    whole: bool,
}

/// What makes two findings the same: kind, canary, encoding, file, depth, detail.
type FindingKey = (
    FindingKind,
    Option<usize>,
    Option<String>,
    String,
    usize,
    String,
);

/// What was found so far; equal findings are counted, not repeated.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) list: Vec<Finding>,
    pub(crate) left_off: u64,
    pub(crate) counts: std::collections::BTreeMap<String, u64>,
    index: HashMap<FindingKey, usize>,
}

impl Findings {
    pub(crate) fn add(&mut self, finding: Finding, max: usize) {
        let count = self
            .counts
            .entry(kind_name(finding.kind).to_owned())
            .or_insert(0);
        *count = count.saturating_add(finding.count);
        let key = (
            finding.kind,
            finding.canary,
            finding.encoding.clone(),
            finding.file.clone(),
            finding.within.len(),
            finding.detail.clone(),
        );
        if let Some(known) = self.index.get(&key).and_then(|at| self.list.get_mut(*at)) {
            known.count = known.count.saturating_add(finding.count);
        } else if self.list.len() < max {
            self.index.insert(key, self.list.len());
            self.list.push(finding);
        } else {
            self.left_off = self.left_off.saturating_add(1);
        }
    }
}

/// A search under way.
pub(crate) struct Search<'a> {
    pub(crate) options: &'a Options,
    pub(crate) marks: Marks,
    pub(crate) stats: Stats,
    pub(crate) findings: Findings,
    pub(crate) notes: Vec<Note>,
    /// Byte strings decoded from text, to be tried as keys.
    pub(crate) tokens: Vec<Vec<u8>>,
    pub(crate) integers: HashMap<i64, usize>,
    pub(crate) searched: u64,
    pub(crate) expanded: u64,
    pub(crate) containers: u64,
    pub(crate) addresses: u64,
    pub(crate) addresses_loopback: u64,
    pub(crate) inflater: flate2::Decompress,
    canaries: &'a Canaries,
    needles: Vec<Needle>,
    folded: Automaton,
    exact: Automaton,
    matches: Vec<Match>,
    kept: Vec<u32>,
    overflowed: u64,
}

/// One table of needles: all that fold case, or all that do not.
struct Automaton {
    table: AhoCorasick,
    needles: Vec<usize>,
}

impl Automaton {
    fn new(needles: &[Needle], exact: bool) -> Result<Self, ThiefError> {
        let chosen = || {
            needles
                .iter()
                .enumerate()
                .filter(|(_, n)| n.form.exact == exact)
        };
        let table = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .ascii_case_insensitive(!exact)
            .build(chosen().map(|(_, needle)| &needle.bytes))
            .map_err(|error| ThiefError::Needles {
                reason: error.to_string(),
            })?;
        Ok(Self {
            table,
            needles: chosen().map(|(index, _)| index).collect(),
        })
    }
}

/// What remains when everything was read: the counts that depend on the whole loot.
pub(crate) struct Weighed {
    pub(crate) needles: usize,
    pub(crate) narrowed: usize,
    pub(crate) too_short: usize,
    pub(crate) hits: u64,
}

impl<'a> Search<'a> {
    pub(crate) fn new(
        canaries: &'a Canaries,
        ids: &[AccountId],
        options: &'a Options,
    ) -> Result<Self, ThiefError> {
        let needles = encodings::derive(canaries, ids, options);
        Ok(Self {
            options,
            marks: Marks::new(options)?,
            stats: Stats::default(),
            findings: Findings::default(),
            notes: Vec::new(),
            tokens: Vec::new(),
            integers: needles.integers,
            searched: 0,
            expanded: 0,
            containers: 0,
            addresses: 0,
            addresses_loopback: 0,
            inflater: flate2::Decompress::new(true),
            canaries,
            folded: Automaton::new(&needles.list, false)?,
            exact: Automaton::new(&needles.list, true)?,
            kept: vec![0; needles.list.len()],
            needles: needles.list,
            matches: Vec::new(),
            overflowed: 0,
        })
    }

    /// Searches some bytes, and what they contain, by every means.
    pub(crate) fn look(&mut self, bytes: &[u8], place: Place) {
        self.searched = self.searched.saturating_add(bytes.len() as u64);
        let place = Rc::new(place);
        self.match_needles(bytes, &place);
        self.survey(bytes, &place);
        self.open_marked(bytes, &place);
    }

    fn match_needles(&mut self, bytes: &[u8], place: &Rc<Place>) {
        for automaton in [&self.folded, &self.exact] {
            // Standard matching was asked for, so overlapping search is always there.
            let Ok(found) = automaton.table.try_find_overlapping_iter(bytes) else {
                continue;
            };
            for one in found.filter(|one| one.end() > place.seen) {
                let Some(&index) = automaton.needles.get(one.pattern().as_usize()) else {
                    continue;
                };
                let (start, end) = (one.start(), one.end());
                let whole = place.value && end.saturating_sub(start) == bytes.len();
                let readable = place.text || whole || readable(bytes, start, end);
                let length = end.saturating_sub(start);
                if length < NEEDLE_BYTES_MIN || (!readable && length == NEEDLE_BYTES_MIN) {
                    continue;
                }
                let Some(kept) = self.kept.get_mut(index) else {
                    continue;
                };
                if *kept >= MATCHES_KEPT {
                    self.overflowed = self.overflowed.saturating_add(1);
                    continue;
                }
                *kept = kept.saturating_add(1);
                self.matches.push(Match {
                    needle: index,
                    place: Rc::clone(place),
                    offset: start,
                    readable,
                    alone: alone(bytes, start, end),
                    whole,
                });
            }
        }
    }

    /// Counts a canary that was found by comparing a value instead of by matching.
    pub(crate) fn found_value(&mut self, canary: usize, encoding: &str, file: &str) {
        let finding = self.finding(canary, encoding, file, Vec::new(), 0);
        self.findings.add(finding, self.options.findings_max);
    }

    /// Notes that a guess at a canary can be tested against something stored.
    pub(crate) fn found_test(&mut self, canary: usize, file: &Rc<str>, detail: &str) {
        let mut finding = self.finding(canary, "", file, Vec::new(), 0);
        finding.kind = FindingKind::GuessTest;
        finding.encoding = None;
        detail.clone_into(&mut finding.detail);
        self.findings.add(finding, self.options.findings_max);
    }

    /// Notes something that is no canary.
    pub(crate) fn found(&mut self, kind: FindingKind, place: &Place, offset: usize, detail: &str) {
        let finding = Finding {
            kind,
            canary: None,
            canary_text: None,
            encoding: None,
            file: place.file.to_string(),
            within: place.within.clone(),
            offset: place.offset(offset),
            count: 1,
            detail: detail.to_owned(),
        };
        self.findings.add(finding, self.options.findings_max);
    }

    pub(crate) fn note(&mut self, file: &str, what: impl Into<String>, gap: bool) {
        let note = Note {
            file: file.to_owned(),
            what: what.into(),
            gap,
        };
        if !self.notes.contains(&note) && self.notes.len() < 1_000 {
            self.notes.push(note);
        }
    }

    fn finding(
        &self,
        canary: usize,
        encoding: &str,
        file: &str,
        within: Vec<String>,
        offset: u64,
    ) -> Finding {
        let text = self.canaries.text(canary).filter(|_| self.options.verbose);
        Finding {
            kind: FindingKind::Canary,
            canary: Some(canary),
            canary_text: text.map(str::to_owned),
            encoding: Some(encoding.to_owned()),
            file: file.to_owned(),
            within,
            offset,
            count: 1,
            detail: String::new(),
        }
    }

    /// Weighs every match against chance, now that the whole loot is known.
    pub(crate) fn weigh(&mut self) -> Weighed {
        let noise = self.stats.noise();
        let chances: Vec<Chances> = self
            .needles
            .iter()
            .map(|needle| Chances::of(needle, &self.stats, &noise))
            .collect();
        for one in std::mem::take(&mut self.matches) {
            let (Some(needle), Some(chance)) =
                (self.needles.get(one.needle), chances.get(one.needle))
            else {
                continue;
            };
            let stand = Stand {
                readable: one.readable,
                alone: one.alone,
                whole: one.whole,
            };
            if chance.counts(&stand) {
                let (canary, label) = (needle.canary, needle.form.label);
                let (file, within) = (one.place.file.to_string(), one.place.within.clone());
                let finding =
                    self.finding(canary, label, &file, within, one.place.offset(one.offset));
                self.findings.add(finding, self.options.findings_max);
            }
        }
        let hits = self
            .findings
            .counts
            .get(kind_name(FindingKind::Canary))
            .copied()
            .unwrap_or(0);
        if self.overflowed > 0 && hits > 0 {
            let what = format!("{} more matches were not listed", self.overflowed);
            self.note("(all)", what, false);
        }
        Weighed {
            needles: self.needles.len(),
            narrowed: chances
                .iter()
                .filter(|c| c.fits_noise() != c.fits_text())
                .count(),
            too_short: chances
                .iter()
                .filter(|c| !c.fits_noise() && !c.fits_text())
                .count(),
            hits,
        }
    }
}

/// Whether a byte is readable ASCII.
pub(crate) fn printable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e | b'\t')
}

/// Whether a match stands in a run of readable text.
fn readable(bytes: &[u8], start: usize, end: usize) -> bool {
    let before = bytes.get(..start).unwrap_or_default();
    let after = bytes.get(end..).unwrap_or_default();
    let run = |count: usize| count.saturating_add(end.saturating_sub(start)) >= READABLE_RUN;
    let inside = bytes.get(start..end).unwrap_or_default();
    if inside.iter().any(|b| b.is_ascii() && !printable(*b)) {
        return false;
    }
    let left = before
        .iter()
        .rev()
        .take(READABLE_RUN)
        .take_while(|b| printable(**b))
        .count();
    let right = after
        .iter()
        .take(READABLE_RUN)
        .take_while(|b| printable(**b))
        .count();
    run(left.saturating_add(right))
}

/// Whether a match stands alone as a word or number; the fraction of a time or of a decimal number
/// does not.
fn alone(bytes: &[u8], start: usize, end: usize) -> bool {
    let before = start.checked_sub(1).and_then(|at| bytes.get(at));
    let after = bytes.get(end);
    let number = bytes
        .get(start..end)
        .is_some_and(|b| b.iter().all(u8::is_ascii_digit));
    let joins = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let fraction = number && before.is_some_and(|b| b".:-".contains(b));
    !(joins(before) || joins(after) || fraction)
}
