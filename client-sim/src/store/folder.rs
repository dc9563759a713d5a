//! The state folder itself: its lock, its permissions, and writes that survive a crash.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::StoreError;

/// Makes the folder (only its owner may enter) and takes its lock for as long as the
/// returned file lives.
pub(super) fn make_and_lock(folder: &Path) -> Result<File, StoreError> {
    make_private(folder)?;
    lock(folder)
}

/// Takes the lock of a folder that exists.
pub(super) fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| StoreError::file(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(StoreError::file(&path, error)),
    }
}

/// Makes a folder that only its owner may enter, with all above it, durably: a synced file in a
/// folder whose own name was not synced is gone after a power cut. One that exists is left as
/// it is.
pub(super) fn make_private(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make_private(above)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    match builder.create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::file(folder, error))
        }
        _ => sync(above),
    }
}

/// Opens a new file that only its owner may read; an older one of the name is emptied.
pub(super) fn create_private(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
        .open(path)
        .map_err(|error| StoreError::file(path, error))
}

/// Removes what lies at `path` by `how`, durably. What is not there is fine.
pub(super) fn remove(
    path: &Path,
    how: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), StoreError> {
    match how(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file(path, error)),
        _ => path.parent().map_or(Ok(()), sync),
    }
}

/// Makes the folder's list of names durable.
pub(super) fn sync(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreError::file(folder, error))
}

/// Writes a file so that after a crash either all of it stands under its name or nothing:
/// temporary file, sync, rename, sync of the folder.
pub(crate) fn write_whole<E: From<StoreError>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    write_checked(path, write, |_| Ok(()))
}

/// As [`write_whole`], of what is right only: `check` reads the file before it has its name.
pub(crate) fn write_checked<E: From<StoreError>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    check: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    // The parent of a bare file name is the empty path, which stands for where we are.
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = temporary_name(path);
    let result = (|| {
        let mut file = create_private(&temporary)?;
        {
            let mut buffered = io::BufWriter::with_capacity(64 * 1_024, &mut file);
            write(&mut buffered)?;
            buffered
                .flush()
                .map_err(|error| StoreError::file(&temporary, error))?;
        }
        check(&temporary)?;
        file.sync_all()
            .map_err(|error| StoreError::file(&temporary, error))?;
        fs::rename(&temporary, path).map_err(|error| StoreError::file(path, error))?;
        sync(parent).map_err(E::from)
    })();
    if result.is_err() {
        // Best effort: what is left over is swept later.
        drop(fs::remove_file(&temporary));
    }
    result
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}
