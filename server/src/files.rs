//! Files that survive a crash and tell no time finer than a day.

use std::fs::{File, FileTimes};
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use kinline_protocol::day::{DAY_MS, Day};

/// Makes the creation or removal of `path` durable by syncing its folder.
///
/// # Errors
/// What the system says.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Sets both changeable times of a file or folder to the start of `day`. The inode's
/// change time can't be set on Linux; a copy of the files, which is what a thief has,
/// does not carry it.
///
/// # Errors
/// What the system says.
pub(crate) fn blur_times(file: &File, day: Day) -> io::Result<()> {
    let start = UNIX_EPOCH + Duration::from_millis(u64::from(day.0).saturating_mul(DAY_MS));
    file.set_times(FileTimes::new().set_accessed(start).set_modified(start))
}
