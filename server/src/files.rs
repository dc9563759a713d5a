//! Files that survive a crash and tell no time finer than a day.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, absolute};
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

/// Makes a folder with everything above it, durably: a synced file in a folder whose own name
/// was not synced is gone after a power cut. Synced also when it was there, since whoever made
/// it may have died before; unless we may not even look into the folder above it, and then it
/// was never ours to make.
///
/// # Errors
/// What the system says.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above
        && !above.exists()
    {
        make_folder(above)?;
    }
    match fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            match sync_parent(path) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            }
        }
        Err(error) => Err(error),
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

/// Whether `path` lies within `folder`, after following links as far as they exist.
pub(crate) fn is_inside(path: &Path, folder: &Path) -> bool {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match (fs::canonicalize(parent), fs::canonicalize(folder)) {
        (Ok(parent), Ok(folder)) => parent.starts_with(folder),
        // One of them is not there yet: as they are written, from the same root.
        _ => match (absolute(path), absolute(folder)) {
            (Ok(path), Ok(folder)) => path.starts_with(folder),
            _ => path.starts_with(folder),
        },
    }
}

/// [`blur_times`] of a folder, whose times tell when a file in it came or went.
///
/// # Errors
/// What the system says.
pub(crate) fn blur_folder(folder: &Path, day: Day) -> io::Result<()> {
    blur_times(&File::open(folder)?, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{is_inside, make_folder};
    use std::path::Path;

    #[test]
    fn a_folder_is_made_with_all_above_it_and_a_file_is_none() {
        let here = tempfile::tempdir().unwrap();
        let deep = here.path().join("a/b/c");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        assert!(deep.is_dir());
        std::fs::write(deep.join("file"), "").unwrap();
        assert!(make_folder(&deep.join("file")).is_err());
        assert!(make_folder(&deep.join("file/d")).is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_yet_holds_what_will_be_in_it() {
        let inside = |path, folder| is_inside(Path::new(path), Path::new(folder));
        assert!(inside("nowhere/data/kinline.key", "./nowhere/data"));
        assert!(!inside("nowhere/kinline.key", "./nowhere/data"));
    }
}
