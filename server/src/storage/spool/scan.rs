//! Reading the spool at the start.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle, available_parallelism};

use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;

use super::segment::{Kind, SegmentFile, parse_name};
use super::slot::{self, Place, SLOT_BYTES, Slot};
use super::state::{Segment, State};
use crate::keys::AtRest;

/// Slots that are read at a time: 1 MiB.
pub(super) const PAGE_SLOTS: u32 = 945;

/// Hands every slot of a segment to `each`, in order; `Err` for one that does not open.
pub(super) fn read_slots(
    keys: &AtRest,
    file: &SegmentFile,
    slots: u32,
    mut each: impl FnMut(u32, Result<Slot, slot::Unreadable>),
) {
    let mut first = 0;
    while first < slots {
        let count = PAGE_SLOTS.min(slots - first);
        let page = file.read(first, count);
        for slot in first..first + count {
            let place = Place {
                segment: file.id,
                slot,
            };
            let at = SLOT_BYTES * usize::try_from(slot - first).unwrap_or(usize::MAX);
            let opened = match &page {
                Ok(page) => page.get(at..at + SLOT_BYTES).ok_or(slot::Unreadable),
                // One bad block takes no more with it than it must.
                Err(_) => Err(slot::Unreadable),
            };
            let content = match opened {
                Ok(bytes) => slot::open(keys, place, bytes),
                Err(slot::Unreadable) => match file.read(slot, 1) {
                    Ok(bytes) => slot::open(keys, place, &bytes),
                    Err(_) => Err(slot::Unreadable),
                },
            };
            each(slot, content);
        }
        first += count;
    }
}

/// Removes what was never finished, and makes durable what an earlier process only wrote: whoever
/// finds an envelope there says that it is kept.
pub(super) fn take_over(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match parse_name(&path) {
            Some((_, Kind::Unfinished)) => std::fs::remove_file(path)?,
            Some((id, Kind::Journal)) => SegmentFile::open(&path, id)?.take_over()?,
            // Synced before it had its name.
            Some((_, Kind::Sorted)) | None => {}
        }
    }
    File::open(folder)?.sync_all()
}

/// What lies in `folder`, and the next free number.
pub(super) fn scan(folder: &Path, keys: &AtRest) -> io::Result<(State, u32)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some((id, kind @ (Kind::Journal | Kind::Sorted))) = parse_name(&path) {
            files.push((id, kind, path));
        }
    }
    files.sort_unstable();
    let mut state = State::default();
    let next = files.last().map_or(1, |(id, ..)| id.saturating_add(1));
    // As many at a time as there are cores: opening slots is what takes its time.
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    for some in files.chunks(cores) {
        let read: Vec<io::Result<Read>> = thread::scope(|scope| {
            let begun: Vec<_> = some
                .iter()
                .map(|(id, kind, path)| scope.spawn(move || read(keys, path, *id, *kind)))
                .collect();
            let ended = begun.into_iter().map(ScopedJoinHandle::join);
            ended
                .map(|read| read.unwrap_or_else(|_| Err(io::Error::other("reading ended early"))))
                .collect()
        });
        for read in read {
            add(&mut state, read?);
        }
    }
    Ok((state, next))
}

/// What one slot says, without a body.
enum Entry {
    Waits(MailboxId, u64, Day),
    Gone(Vec<(MailboxId, u64)>),
}

/// A segment as it was read.
struct Read {
    segment: Segment,
    entries: Vec<(u32, Entry)>,
}

fn read(keys: &AtRest, path: &Path, id: u32, kind: Kind) -> io::Result<Read> {
    let is_sorted = kind == Kind::Sorted;
    let file = SegmentFile::open(path, id)?;
    let slots = file.slots()?;
    let (mut entries, mut holes) = (Vec::new(), 0);
    let mut unreadable = Vec::new();
    let mut opened = None;
    read_slots(keys, &file, slots, |slot, content| {
        if content.is_ok() {
            opened = Some(slot);
        }
        match content {
            Ok(Slot::Waiting(it)) => {
                entries.push((slot, Entry::Waits(it.mailbox, it.order, it.expires)));
            }
            Ok(Slot::Marks(marks)) => entries.push((slot, Entry::Gone(marks))),
            Ok(Slot::Hole) => holes += 1,
            Err(slot::Unreadable) => unreadable.push(slot),
        }
    });
    if is_sorted && opened.is_none() && !unreadable.is_empty() {
        return Err(io::Error::other(
            "a whole segment does not open: is it of another key file?",
        ));
    }
    report(&unreadable, opened, is_sorted);
    let mut segment = Segment::new(Arc::new(file), is_sorted && unreadable.is_empty());
    segment.slots = slots;
    segment.holes = holes;
    segment
        .dead
        .extend(unreadable.iter().map(|slot| (*slot, 1)));
    Ok(Read { segment, entries })
}

/// Adds one segment; those before it were added already.
fn add(state: &mut State, read: Read) {
    let id = read.segment.file.id;
    state.segments.insert(id, read.segment);
    for (slot, entry) in read.entries {
        match entry {
            Entry::Waits(mailbox, order, day) => {
                state.put(mailbox, order, Place { segment: id, slot }, day);
            }
            Entry::Gone(marks) => {
                for (mailbox, through) in marks {
                    state.cut(&mailbox, through);
                }
            }
        }
    }
}

/// Says what does not open. The end of a journal may have been torn when the power went: nobody
/// was told that it is there.
fn report(unreadable: &[u32], opened: Option<u32>, is_sorted: bool) {
    let torn = |slot: &&u32| !is_sorted && Some(**slot) > opened;
    let damaged = unreadable.iter().filter(|slot| !torn(slot)).count();
    if damaged == 0 {
        return;
    }
    if is_sorted {
        tracing::error!(
            damaged,
            "stored envelopes are damaged: they are not handed out, and their senders send them again"
        );
    } else {
        tracing::warn!(
            damaged,
            "stored envelopes don't open: torn when the power went, before anybody was told that they are there, or damaged since; they are not handed out"
        );
    }
    metrics::counter!("kinline_damaged_total", "table" => "spool").increment(damaged as u64);
}

/// How much lies in a spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spooled {
    /// Mailboxes with envelopes.
    pub mailboxes: u64,
    /// Envelopes that wait.
    pub envelopes: u64,
    /// Slots that hold anything at all: also what is gone and was not tidied away yet.
    pub slots: u64,
}

/// Looks into a spool, from beside a relay that may be writing to it.
pub(crate) fn look(folder: &Path, keys: &AtRest) -> io::Result<Spooled> {
    let (state, _) = scan(folder, keys)?;
    let live = state
        .segments
        .values()
        .map(|segment| u64::from(segment.live));
    Ok(Spooled {
        mailboxes: state.index.mailboxes(),
        envelopes: live.sum(),
        slots: state.slots(),
    })
}
