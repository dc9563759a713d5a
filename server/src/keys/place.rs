//! Where the key file lies: readable by its owner alone, outside the data folder, replaced as a
//! whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::key_file::KeyFile;
use crate::files::{is_inside, make_folder, sync_parent};
use crate::random::RandomError;

/// A key file has some 500 bytes, and 4 KiB with eight versions of each key; anything much
/// larger is something else.
const BYTES_MAX: u64 = 16_384;

/// Why the key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Readable by others than its owner.
    #[error(
        "the key file {path} can be read by others (mode {mode:03o}): run chmod 600 on it, and consider its key seen"
    )]
    Exposed {
        /// Where it lies.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Inside the data folder, where a thief of the data would find it.
    #[error(
        "the key file {path} lies inside the data folder {data}: put it elsewhere, or a stolen data folder brings its own key"
    )]
    InsideData {
        /// Where it lies.
        path: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// Not there, although the data folder already holds a database.
    #[error(
        "there is no key file at {path}, but the data folder holds a database that needs one: bring the key file back, or choose an empty data folder"
    )]
    Missing {
        /// Where it should lie.
        path: PathBuf,
    },
    /// Not a key file of a known version.
    #[error("{path} is no key file of a version known here")]
    Damaged {
        /// Where it lies.
        path: PathBuf,
    },
    /// There is a file already where it should be exported to.
    #[error("{path} is there already: nothing is overwritten")]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Another command changes it.
    #[error("the key file {path} is being changed by another command: wait until that has ended")]
    Busy {
        /// Where it lies.
        path: PathBuf,
    },
    /// As many versions as there may be.
    #[error("the key file holds eight versions of this key: that is as many as there may be")]
    Versions,
    /// The file system refused.
    #[error("the key file {path} can't be used: {source}")]
    Io {
        /// Where it lies.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No random bytes for a fresh key.
    #[error("no fresh key could be drawn")]
    Random,
}

impl From<RandomError> for KeyFileError {
    fn from(_: RandomError) -> Self {
        Self::Random
    }
}

/// The right to change the key file: one process has it at a time. Whoever has it reads the file
/// anew, since what was read before may be what another has replaced; written back, it would take
/// away the only key to what is on the disk.
///
/// It is a lock of the folder, so that nothing lies there for it.
#[derive(Debug)]
pub(crate) struct Held {
    path: PathBuf,
    _lock: File,
}

impl Held {
    /// Takes it; it is given back when this is dropped.
    ///
    /// # Errors
    /// [`KeyFileError::Busy`] while another has it, [`KeyFileError::Io`].
    pub(crate) fn take(path: &Path) -> Result<Self, KeyFileError> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let lock = File::open(folder).map_err(io_error(path))?;
        let path = path.to_owned();
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(KeyFileError::Busy { path }),
            Err(TryLockError::Error(source)) => Err(KeyFileError::Io { path, source }),
        }
    }

    /// The key file as it is now.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub(crate) fn read(&self) -> Result<KeyFile, KeyFileError> {
        read(&self.path)
    }
}

impl KeyFile {
    /// Reads the key file, or makes it when neither it nor a database exists. One of version 1
    /// is written anew with what it lacks.
    ///
    /// # Errors
    /// [`KeyFileError`], each a sentence for the operator.
    pub(crate) fn open_or_create(
        path: &Path,
        data: &Path,
        database_exists: bool,
    ) -> Result<Self, KeyFileError> {
        refuse_inside(path, data)?;
        match text(path) {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if database_exists {
                    return Err(KeyFileError::Missing { path: path.into() });
                }
                let keys = Self::fresh()?;
                make_above(path)?;
                write_new(path, &keys.to_text())?;
                // As others read it: two that start at once have one.
                read(path)
            }
            Err(error) => Err(error),
            Ok(text) => match Self::from_text(&text) {
                Some(keys) => Ok(keys),
                None => {
                    let keys = Self::from_text_of_before(&text)?
                        .ok_or_else(|| KeyFileError::Damaged { path: path.into() })?;
                    let held = Held::take(path)?;
                    if let Ok(keys) = held.read() {
                        return Ok(keys); // Another was faster.
                    }
                    keys.replace(&held)?;
                    tracing::warn!("the key file has new keys in it: back it up anew");
                    Ok(keys)
                }
            },
        }
    }

    /// Writes it in place of the one that is there: a crash leaves the one or the other.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub(crate) fn replace(&self, held: &Held) -> Result<(), KeyFileError> {
        let path = held.path.as_path();
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&beside)(error));
            }
            _ => {}
        }
        write_new(&beside, &self.to_text())?;
        fs::rename(&beside, path).map_err(io_error(path))?;
        sync_parent(path).map_err(io_error(path))
    }
}

pub(super) fn refuse_inside(path: &Path, data: &Path) -> Result<(), KeyFileError> {
    if is_inside(path, data) {
        return Err(KeyFileError::InsideData {
            path: path.into(),
            data: data.into(),
        });
    }
    Ok(())
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { path, source }
}

/// Reads a key file of version 2.
///
/// # Errors
/// [`KeyFileError`].
fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    KeyFile::from_text(&text(path)?).ok_or_else(|| KeyFileError::Damaged { path: path.into() })
}

fn text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let file = fs::File::open(path).map_err(io_error(path))?;
    let mode = file
        .metadata()
        .map_err(io_error(path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed {
            path: path.into(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::new());
    match file.take(BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(KeyFileError::Damaged { path: path.into() })
        }
        Err(error) => Err(io_error(path)(error)),
    }
}

fn make_above(path: &Path) -> Result<(), KeyFileError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            make_folder(parent).map_err(io_error(path))
        }
        _ => Ok(()),
    }
}

/// Writes a file that is not there yet, for its owner alone, durably.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), KeyFileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.into() },
            _ => KeyFileError::Io {
                path: path.into(),
                source,
            },
        })?;
    file.write_all(text.as_bytes()).map_err(io_error(path))?;
    file.sync_all().map_err(io_error(path))?;
    sync_parent(path).map_err(io_error(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{KeyFile, KeyFileError};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kinline.key");
        let data = folder.path().join("data");
        let first = KeyFile::open_or_create(&path, &data, false).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let second = KeyFile::open_or_create(&path, &data, true).unwrap();
        assert_eq!(*first.to_text(), *second.to_text());
    }

    #[test]
    fn one_of_before_keeps_its_secret_and_gets_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kinline.key");
        let data = folder.path().join("data");
        let before = "kinline key file 1\nat-rest 1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\n";
        fs::write(&path, before).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        // What a crash in the middle of the writing left.
        fs::write(folder.path().join("kinline.key.new"), "kinline").unwrap();
        let first = KeyFile::open_or_create(&path, &data, true).unwrap();
        assert_eq!(first.at_rest().expose(), &[7; 32]);
        assert_eq!((first.accounts.len(), first.tickets.len()), (1, 1));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("kinline key file 2\nat-rest 1 BwcH"));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let second = KeyFile::open_or_create(&path, &data, true).unwrap();
        assert_eq!(*first.to_text(), *second.to_text());
    }

    #[test]
    fn refused_when_exposed_inside_the_data_damaged_or_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kinline.key");
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        assert!(matches!(
            KeyFile::open_or_create(&path, &data, true),
            Err(KeyFileError::Missing { .. })
        ));
        assert!(matches!(
            KeyFile::open_or_create(&data.join("kinline.key"), &data, false),
            Err(KeyFileError::InsideData { .. })
        ));
        KeyFile::open_or_create(&path, &data, false).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            KeyFile::open_or_create(&path, &data, false),
            Err(KeyFileError::Exposed { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for damaged in [
            "kinline key file 1\n",
            "kinline key file 2\n",
            "kinline key file 3\n",
            "",
        ] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(
                KeyFile::open_or_create(&path, &data, false),
                Err(KeyFileError::Damaged { .. })
            ));
        }
    }
}
