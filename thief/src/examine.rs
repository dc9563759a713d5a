//! The search from beginning to end.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::canaries::Role;
use crate::forms::encodings_in_use;
use crate::guesses;
use crate::keys::KeyRing;
use crate::loot::{Loot, LootFile};
use crate::randomness::{Noise, Scope};
use crate::report::Report;
use crate::search::{Place, READABLE_RUN, Search};
use crate::{Canaries, Detector, Options, ThiefError, controls, database, spool};

/// Pieces of a long file overlap by this much, so that nothing is torn between two.
const OVERLAP_BYTES: usize = 1 << 20;
/// How much of a file is looked at to see whether it is text.
const TEXT_BYTES: usize = 4_096;
/// Blobs of any size are ciphertext behind at most one version byte.
const BLOBS: Scope = Scope {
    positions: false,
    blocks: true,
    skip: 1,
};

/// Searches a data folder for canaries and for everything else that a thief could use, and plants
/// leaks in a scratch copy to show that the search finds them.
///
/// Nothing in `data` is written to or opened in place by a database: copies are, in the system's
/// temporary folder. Reading is bounded by `options`; what stayed unread is a gap in the report,
/// and a report with a gap is never [`ok`](Report::ok).
///
/// # Errors
/// [`ThiefError`] when the folder can't be listed or is empty, when no scratch copy can be made,
/// or when a control can't be planted. What is broken inside the loot is a note in the report.
pub fn steal(data: &Path, canaries: &Canaries, options: &Options) -> Result<Report, ThiefError> {
    let mut report = examine(data, canaries, options)?;
    if options.controls {
        report.controls = controls::run(data, options)?;
        report.controls_planted = report.controls.len();
        report.controls_caught = report
            .controls
            .iter()
            .filter(|control| control.caught)
            .count();
    }
    Ok(report)
}

/// The search without controls.
pub(crate) fn examine(
    data: &Path,
    canaries: &Canaries,
    options: &Options,
) -> Result<Report, ThiefError> {
    let loot = Loot::list(data)?;
    let names = guesses::server_names(&loot, options);
    let ids = guesses::account_ids(canaries, &names, options);
    let mut search = Search::new(canaries, &ids, options)?;
    let logins = canaries.marked(Role::Login).count();
    if logins > 0 && ids.is_empty() && options.uses(Detector::AccountIds) {
        let what = "no relay's name is known, so login names were not stretched";
        search.note("(accounts)", what, true);
    }
    search.notes.extend(loot.notes.iter().cloned());
    let mut report = Report {
        when: options.when.clone(),
        files: loot.files.len() as u64,
        bytes: loot.bytes(),
        canaries: canaries.len(),
        encodings: encodings_in_use(options),
        ..Report::default()
    };
    let now = options
        .now_unix
        .map_or_else(system_time, |now| i64::try_from(now).unwrap_or(i64::MAX));
    let mut keys = KeyRing::new(options.keys_max);
    if options.uses(Detector::Names) {
        let names = loot
            .files
            .iter()
            .map(|file| &file.name_bytes)
            .chain(&loot.folders);
        for name in names {
            search.look(name, Place::value("(file names)".into(), true));
        }
    }
    let mut blobs = Noise::new("blob files", BLOBS);
    let mut slots = Noise::new("slots of the spool", spool::SLOTS);
    for file in &loot.files {
        read_file(file, options, &mut search, &mut keys, &mut blobs);
        if spool::is_spool(file) {
            let max = options.file_bytes_max;
            spool::read(file, max, &mut slots, &mut keys, &mut search, &mut report);
        }
        if file.is_database() {
            database::read(file, now, &mut search, &mut keys, &mut report);
        }
    }
    for noise in [blobs, slots] {
        if options.uses(Detector::Randomness) && !noise.is_empty() {
            database::judge_noise(noise, &mut search, &mut report);
        }
    }
    for token in std::mem::take(&mut search.tokens) {
        keys.add(&token, &"(decoded from text)".into());
    }
    report.guesses_tried = keys.try_guesses(&guesses::guesses(canaries, &ids), &mut search);
    report.logins = logins.saturating_add(canaries.marked(Role::Password).count());
    report.accounts_stretched = ids.len();
    let tried = keys.try_all(&mut search);
    let weighed = search.weigh();
    report.keys_tried = tried.keys;
    report.openings_tried = tried.openings;
    report.keys_that_open = tried.working;
    report.needles = weighed.needles;
    report.narrowed = weighed.narrowed;
    report.too_short = weighed.too_short;
    report.hits = weighed.hits;
    report.bytes_searched = search.searched;
    report.containers_opened = search.containers;
    report.addresses = search.addresses;
    report.addresses_loopback = search.addresses_loopback;
    report.findings = search.findings.list;
    report.findings_left_off = search.findings.left_off;
    report.counts = search.findings.counts;
    report.notes = search.notes;
    Ok(report)
}

fn read_file(
    file: &LootFile,
    options: &Options,
    search: &mut Search<'_>,
    keys: &mut KeyRing,
    blobs: &mut Noise,
) {
    let is_blob = file.is_blob();
    let piece = options.chunk_bytes.max(1 << 16);
    let overlap = OVERLAP_BYTES.min(piece / 4);
    let mut text = false;
    let read = file.read(
        piece,
        overlap,
        options.file_bytes_max,
        |base, bytes, seen| {
            let mut place = Place::file(&file.name);
            place.base = base;
            place.seen = seen;
            if base == 0 {
                text = is_text(bytes);
                keys.add(bytes, &place.file);
                search.open_bare(bytes, &place);
            }
            place.text = text;
            if is_blob && options.uses(Detector::Randomness) {
                blobs.push(bytes.get(seen..).unwrap_or_default());
            }
            search.look(bytes, place);
        },
    );
    match read {
        Ok(read) if read >= options.file_bytes_max && read < file.bytes => {
            let what = format!(
                "{} bytes long; only the first {read} were searched",
                file.bytes
            );
            search.note(&file.name, what, true);
        }
        Ok(read) if read != file.bytes => {
            let what = format!(
                "changed while it was read: {} bytes listed, {read} read",
                file.bytes
            );
            search.note(&file.name, what, false);
        }
        Ok(_) => {}
        Err(error) => search.note(&file.name, format!("can't be read: {error}"), true),
    }
}

/// Whether a file is a log or another text, by its beginning: UTF-8 without control characters,
/// long enough that noise is never taken for one.
fn is_text(bytes: &[u8]) -> bool {
    let head = bytes.get(..TEXT_BYTES).unwrap_or(bytes);
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut in two.
        Err(error) if head.len().saturating_sub(error.valid_up_to()) < 4 => {
            std::str::from_utf8(head.get(..error.valid_up_to()).unwrap_or_default())
                .unwrap_or_default()
        }
        Err(_) => return false,
    };
    valid.len() >= READABLE_RUN
        && !valid
            .chars()
            .any(|c| c.is_control() && !"\n\r\t\u{1b}".contains(c))
}

fn system_time() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
