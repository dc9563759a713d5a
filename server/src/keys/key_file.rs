//! The key file: one at-rest secret, readable by its owner alone, outside the data folder.
//!
//! ```text
//! kinline key file 1
//! at-rest 1 <43 characters of base64url: 32 bytes>
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kinline_protocol::secrets::Secret;

use crate::files::{is_inside, make_folder};
use crate::random;

const HEADER: &str = "kinline key file 1";
const AT_REST: &str = "at-rest 1 ";
/// A key file has 75 bytes; anything much larger is something else.
const BYTES_MAX: u64 = 4_096;

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

/// The secrets of the key file.
pub(crate) struct KeyFile {
    /// From which all at-rest keys are derived.
    pub(crate) at_rest: Secret<32>,
}

impl KeyFile {
    /// Reads the key file, or makes it when neither it nor a database exists.
    ///
    /// # Errors
    /// [`KeyFileError`], each a sentence for the operator.
    pub(crate) fn open_or_create(
        path: &Path,
        data: &Path,
        database_exists: bool,
    ) -> Result<Self, KeyFileError> {
        if is_inside(path, data) {
            return Err(KeyFileError::InsideData {
                path: path.into(),
                data: data.into(),
            });
        }
        match read(path) {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if database_exists {
                    return Err(KeyFileError::Missing { path: path.into() });
                }
                create(path)?;
                read(path)
            }
            result => result,
        }
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { path, source }
}

fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
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
    let mut text = String::new();
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(io_error(path))?;
    parse(&text).ok_or_else(|| KeyFileError::Damaged { path: path.into() })
}

fn parse(text: &str) -> Option<KeyFile> {
    let mut lines = text.lines();
    if lines.next()? != HEADER {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD
        .decode(lines.next()?.strip_prefix(AT_REST)?)
        .ok()?;
    Some(KeyFile {
        at_rest: Secret::from_slice(&bytes)?,
    })
}

fn create(path: &Path) -> Result<(), KeyFileError> {
    let secret = Secret::new(random::bytes::<32>().map_err(|_| KeyFileError::Random)?);
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        make_folder(parent).map_err(io_error(path))?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error(path))?;
    let text = format!(
        "{HEADER}\n{AT_REST}{}\n",
        URL_SAFE_NO_PAD.encode(secret.expose())
    );
    file.write_all(text.as_bytes()).map_err(io_error(path))?;
    file.sync_all().map_err(io_error(path))?;
    crate::files::sync_parent(path).map_err(io_error(path))
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
        assert!(first.at_rest == second.at_rest);
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
        fs::write(&path, "kinline key file 2\n").unwrap();
        assert!(matches!(
            KeyFile::open_or_create(&path, &data, false),
            Err(KeyFileError::Damaged { .. })
        ));
    }
}
