//! One file of slots.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kinline_protocol::day::Day;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;

use super::slot::SLOT_BYTES;
use crate::faults::{Fault, planted};
use crate::files::blur_times;

/// What a file's name says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// In the order in which things happened, with marks.
    Journal,
    /// Sorted, without marks.
    Sorted,
    /// One that is being written: nothing of it counts yet.
    Unfinished,
}

impl Kind {
    const ALL: [(Self, &str); 3] = [
        (Self::Journal, "journal"),
        (Self::Sorted, "sorted"),
        (Self::Unfinished, "new"),
    ];

    fn extension(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| *name)
    }
}

/// Whether this says that there is no room.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The byte where a slot begins.
fn byte(slot: u32) -> u64 {
    u64::from(slot) * SLOT_BYTES as u64
}

/// A segment's number and kind, if a file is called as one.
pub(super) fn parse_name(path: &Path) -> Option<(u32, Kind)> {
    let number = u32::from_str_radix(path.file_stem()?.to_str()?, 16).ok()?;
    let extension = path.extension()?.to_str()?;
    let kind = Kind::ALL.iter().find(|(_, name)| *name == extension)?.0;
    Some((number, kind))
}

/// One segment's file.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) id: u32,
    path: PathBuf,
    file: File,
}

impl SegmentFile {
    fn at(path: PathBuf, id: u32, new: bool) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(new)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { id, path, file })
    }

    /// Makes an empty one. Its name is not durable yet.
    pub(super) fn create(folder: &Path, id: u32, kind: Kind) -> io::Result<Self> {
        Self::at(
            folder.join(format!("{id:08x}.{}", kind.extension())),
            id,
            true,
        )
    }

    /// Opens one that is there.
    pub(super) fn open(path: &Path, id: u32) -> io::Result<Self> {
        Self::at(path.to_owned(), id, false)
    }

    /// Gives one that was unfinished and is synced its name, which is not durable yet.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let path = self.path.with_extension(Kind::Sorted.extension());
        std::fs::rename(&self.path, &path).map_err(io::Error::other)?;
        self.path = path;
        Ok(())
    }

    /// Whole slots in the file.
    pub(super) fn slots(&self) -> io::Result<u32> {
        let slots = self.file.metadata()?.len() / SLOT_BYTES as u64;
        u32::try_from(slots).map_err(|_| io::ErrorKind::FileTooLarge.into())
    }

    /// Reads `count` slots from `slot` on, end to end.
    pub(super) fn read(&self, slot: u32, count: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; SLOT_BYTES * usize::try_from(count).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, byte(slot))?;
        Ok(bytes)
    }

    /// Writes slots that begin at `slot`.
    pub(super) fn write(&self, slot: u32, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, byte(slot))
    }

    /// Makes what was written durable. Never to be tried again, whatever it says: one that finds
    /// no room has lost something, unlike a write that does.
    pub(super) fn sync(&self) -> io::Result<()> {
        if planted(Fault::SyncOff) {
            return Ok(());
        }
        self.file.sync_data().map_err(io::Error::other)
    }

    /// Makes what an earlier process wrote durable, and forgets what memory thinks of it: whether
    /// that process's last sync failed nobody knows.
    pub(super) fn take_over(&self) -> io::Result<()> {
        self.sync()?;
        fadvise(&self.file, 0, None, Advice::DontNeed).map_err(io::Error::from)
    }

    /// Cuts off what lies behind `slots`.
    pub(super) fn truncate(&self, slots: u32) -> io::Result<()> {
        self.file.set_len(byte(slots))
    }

    /// Makes zeros of `count` slots and gives their room back, where the file system can do that.
    pub(super) fn punch(&self, slot: u32, count: u32) -> io::Result<()> {
        let (from, length) = (byte(slot), byte(count));
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, how, from, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let zeros = vec![0; SLOT_BYTES];
                (slot..slot.saturating_add(count)).try_for_each(|slot| self.write(slot, &zeros))
            }
            punched => Ok(punched?),
        }
    }

    /// Takes the file's name away; who reads it reads on.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// Lets its times say the day and nothing finer, if there is room for that.
    pub(super) fn blur(&self, today: Day) -> io::Result<()> {
        match blur_times(&self.file, today) {
            Err(error) if is_no_room(&error) => Ok(()),
            blurred => blurred,
        }
    }
}
