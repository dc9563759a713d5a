//! The spool: files of sealed slots in which envelopes wait.

use std::rc::Rc;

use crate::keys::{KeyRing, Sealed};
use crate::loot::LootFile;
use crate::randomness::{Noise, Scope};
use crate::report::Report;
use crate::search::Search;

/// Bytes of a slot (ARCHITECTURE "what it stores"): nonce, envelope with what says whose it is, tag.
pub(crate) const SLOT_BYTES: usize = 1_109;
/// Slots are ciphertext from their first byte to their last.
pub(crate) const SLOTS: Scope = Scope {
    positions: true,
    blocks: true,
    skip: 0,
};
/// Slots of a file that stolen keys are tried on.
const SAMPLED: usize = 4;

/// Whether it is one of the spool's by where it lies.
pub(crate) fn is_spool(file: &LootFile) -> bool {
    let mut parts = file.name.rsplit(['/', '\\']);
    let name = parts.next().unwrap_or_default();
    let known = ["journal", "sorted", "new"];
    let ends = name
        .rsplit_once('.')
        .is_some_and(|(_, ends)| known.contains(&ends));
    ends && parts.next() == Some("spool")
}

/// Counts the slots of one file, and takes them as noise to be judged.
pub(crate) fn read(
    file: &LootFile,
    max: u64,
    noise: &mut Noise,
    keys: &mut KeyRing,
    search: &mut Search<'_>,
    report: &mut Report,
) {
    let stem = file.path.file_stem().and_then(|stem| stem.to_str());
    let segment = stem.and_then(|stem| u32::from_str_radix(stem, 16).ok());
    let mut held: Vec<u8> = Vec::new();
    let mut slot = 0_u32;
    let mut sample = Vec::new();
    let from: Rc<str> = file.name.as_str().into();
    let read = file.read(1 << 20, 0, max, |_, bytes, seen| {
        held.extend_from_slice(bytes.get(seen..).unwrap_or_default());
        let whole = held.len() - held.len() % SLOT_BYTES;
        for bytes in held.get(..whole).unwrap_or_default().chunks(SLOT_BYTES) {
            if bytes.iter().all(|byte| *byte == 0) {
                report.spool_holes = report.spool_holes.saturating_add(1);
            } else {
                report.spool_slots = report.spool_slots.saturating_add(1);
                noise.push(bytes);
                if sample.len() < SAMPLED {
                    let place = segment.map(|it| [it.to_be_bytes(), slot.to_be_bytes()].concat());
                    sample.push(Sealed {
                        body: bytes.to_vec(),
                        associated: [Some(Vec::new()), place].into_iter().flatten().collect(),
                        from: Rc::clone(&from),
                    });
                }
            }
            slot = slot.saturating_add(1);
        }
        held.drain(..whole);
    });
    if read.is_ok() && !held.is_empty() {
        let what = format!("its last {} bytes are no whole slot", held.len());
        search.note(&file.name, what, false);
    }
    if let Some(first) = sample.first()
        && report.first_envelope_bytes_hex.is_empty()
    {
        let begins = first.body.get(..16).unwrap_or_default();
        report.first_envelope_bytes_hex = hex::encode(begins);
    }
    keys.add_envelopes(sample);
}
