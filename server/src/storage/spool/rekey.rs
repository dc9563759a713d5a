//! The spool under another key.

use std::fs::File;
use std::io;
use std::path::Path;

use super::scan::{PAGE_SLOTS, read_slots, take_over};
use super::segment::{Kind, SegmentFile, parse_name};
use super::slot::{Place, SLOT_BYTES, Slot, push_marks, push_waiting};
use crate::files::make_folder;
use crate::keys::AtRest;

/// Writes every slot of the spool in `from` into the same place of one in `to`, sealed under
/// `new`. What does not open becomes a hole. Durable when this returns; `from` stays as it is.
///
/// # Errors
/// What the system says.
pub(crate) fn rekey(from: &Path, to: &Path, old: &AtRest, new: &AtRest) -> io::Result<()> {
    make_folder(to)?;
    if !from.exists() {
        return Ok(());
    }
    take_over(from)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if let Some((id, kind @ (Kind::Journal | Kind::Sorted))) = parse_name(&path) {
            let read = SegmentFile::open(&path, id)?;
            rekey_segment(&read, &SegmentFile::create(to, id, kind)?, old, new)?;
        }
    }
    File::open(to)?.sync_all()
}

fn rekey_segment(
    read: &SegmentFile,
    written: &SegmentFile,
    old: &AtRest,
    new: &AtRest,
) -> io::Result<()> {
    let slots = read.slots()?;
    // What is not written is a hole.
    written.truncate(slots)?;
    let full = SLOT_BYTES * usize::try_from(PAGE_SLOTS).unwrap_or(1);
    let (mut page, mut begins) = (Vec::new(), 0);
    let mut result = Ok(());
    read_slots(old, read, slots, |slot, content| {
        if result.is_err() {
            return;
        }
        let place = Place {
            segment: written.id,
            slot,
        };
        let sealed = match &content {
            Ok(Slot::Waiting(waiting)) => push_waiting(&mut page, new, place, waiting),
            Ok(Slot::Marks(marks)) => push_marks(&mut page, new, place, marks),
            Ok(Slot::Hole) | Err(_) => {
                result = flush(written, &mut page, begins);
                begins = slot + 1;
                return;
            }
        };
        result = sealed.map_err(io::Error::other);
        if page.len() >= full && result.is_ok() {
            result = flush(written, &mut page, begins);
            begins = slot + 1;
        }
    });
    result?;
    flush(written, &mut page, begins)?;
    written.sync()
}

fn flush(written: &SegmentFile, page: &mut Vec<u8>, begins: u32) -> io::Result<()> {
    if !page.is_empty() {
        written.write(begins, page)?;
        page.clear();
    }
    Ok(())
}
