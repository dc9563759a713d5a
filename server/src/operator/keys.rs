//! The operator's two key files. Both belong to their owner alone, and outside the data folder.
//!
//! ```text
//! kinline operator key 1                 kinline notice key 1
//! offline <43 characters: the seed>      operator <43 characters: the offline public key>
//!                                        certificate <146 characters>
//!                                        notice <43 characters: the seed>
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kinline_protocol::day::Day;
use kinline_protocol::operator::NoticeCertificate;
use kinline_protocol::primitives::sign::{PublicKey, SecretKey};
use kinline_protocol::secrets::Secret;

use crate::files::{is_inside, make_folder, sync_parent};
use crate::random;

const OFFLINE_HEADER: &str = "kinline operator key 1";
const NOTICE_HEADER: &str = "kinline notice key 1";
/// A key file has some 300 bytes; anything much larger is something else.
const BYTES_MAX: u64 = 4_096;

/// Why a key file of the operator can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OperatorKeyError {
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
    #[error("the key file {path} lies inside the data folder {data}: put it elsewhere")]
    InsideData {
        /// Where it lies.
        path: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// An offline key is made once.
    #[error(
        "there is a file at {path} already: an offline key is made once, and never over another"
    )]
    Exists {
        /// Where it lies.
        path: PathBuf,
    },
    /// Not a key file of a known version.
    #[error("{path} is no {kind} of a version known here")]
    Damaged {
        /// Where it lies.
        path: PathBuf,
        /// What it should be.
        kind: &'static str,
    },
    /// The notice key belongs to another operator.
    #[error("{path} belongs to another offline key: choose another place with --notice-key")]
    OtherOperator {
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

/// The key in the drawer: certifies notice keys and signs nothing else.
pub(crate) struct OfflineKey(SecretKey);

impl OfflineKey {
    /// Draws a fresh one into `path`, which must not be there yet.
    ///
    /// # Errors
    /// [`OperatorKeyError`].
    pub(crate) fn create(path: &Path, data: &Path) -> Result<Self, OperatorKeyError> {
        outside(path, data)?;
        let key = fresh()?;
        let seed = Secret::new(key.seed());
        let text = format!(
            "{OFFLINE_HEADER}\noffline {}\n",
            URL_SAFE_NO_PAD.encode(seed.expose())
        );
        write_new(path, &text)?;
        Ok(Self(key))
    }

    /// Reads the one in `path`.
    ///
    /// # Errors
    /// [`OperatorKeyError`].
    pub(crate) fn read(path: &Path) -> Result<Self, OperatorKeyError> {
        let text = read(path)?;
        let mut lines = text.lines();
        let key = (lines.next() == Some(OFFLINE_HEADER))
            .then(|| field(lines.next(), "offline "))
            .flatten();
        key.map(|seed| Self(SecretKey::from_seed(&seed)))
            .ok_or_else(|| OperatorKeyError::Damaged {
                path: path.into(),
                kind: "offline key",
            })
    }

    /// What devices pin.
    pub(crate) fn public(&self) -> PublicKey {
        self.0.public()
    }

    /// Draws a notice key for `days` from `today` on, and puts it in `path`, in place of the one that
    /// is there. `serial` must be above that of every certificate before: when it is not given,
    /// today's number, or one more than that of the key in `path`.
    ///
    /// # Errors
    /// [`OperatorKeyError`]; the key in `path` is as it was.
    pub(crate) fn certify(
        &self,
        path: &Path,
        data: &Path,
        today: Day,
        days: u32,
        serial: Option<u32>,
    ) -> Result<NoticeKey, OperatorKeyError> {
        outside(path, data)?;
        let before = match NoticeKey::read(path) {
            Ok(before) if before.operator == self.public() => before.certificate.serial,
            Ok(_) => return Err(OperatorKeyError::OtherOperator { path: path.into() }),
            Err(OperatorKeyError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                0
            }
            Err(error) => return Err(error),
        };
        let serial = serial.unwrap_or_else(|| today.0.max(before.saturating_add(1)));
        let secret = fresh()?;
        let last = today.plus(days);
        let certificate = NoticeCertificate::sign(&self.0, serial, secret.public(), today, last);
        let key = NoticeKey {
            operator: self.public(),
            certificate,
            secret,
        };
        // Beside it first: whatever happens, one whole key is there.
        let beside = path.with_extension("new");
        let _ = fs::remove_file(&beside);
        write_new(&beside, &key.text())?;
        fs::rename(&beside, path).map_err(io_error(path))?;
        sync_parent(path).map_err(io_error(path))?;
        Ok(key)
    }
}

/// The key with which the operator's commands sign: root's alone.
pub(crate) struct NoticeKey {
    /// The offline key that certified it.
    pub(crate) operator: PublicKey,
    /// Its certificate.
    pub(crate) certificate: NoticeCertificate,
    /// Signs entries and checkpoints.
    pub(crate) secret: SecretKey,
}

impl NoticeKey {
    /// Reads the one in `path`.
    ///
    /// # Errors
    /// [`OperatorKeyError`].
    pub(crate) fn read(path: &Path) -> Result<Self, OperatorKeyError> {
        parse_notice(&read(path)?).ok_or_else(|| OperatorKeyError::Damaged {
            path: path.into(),
            kind: "notice key",
        })
    }

    fn text(&self) -> String {
        let seed = Secret::new(self.secret.seed());
        let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!(
            "{NOTICE_HEADER}\noperator {}\ncertificate {}\nnotice {}\n",
            base64(self.operator.as_bytes()),
            base64(self.certificate.as_bytes()),
            base64(seed.expose())
        )
    }
}

fn parse_notice(text: &str) -> Option<NoticeKey> {
    let mut lines = text.lines();
    if lines.next()? != NOTICE_HEADER {
        return None;
    }
    let operator = PublicKey::new(field(lines.next(), "operator ")?);
    let certificate = lines.next()?.strip_prefix("certificate ")?;
    let certificate = URL_SAFE_NO_PAD.decode(certificate).ok()?;
    let certificate = NoticeCertificate::verify(&certificate, &operator).ok()?;
    let secret = SecretKey::from_seed(&field(lines.next(), "notice ")?);
    (secret.public() == certificate.key).then_some(NoticeKey {
        operator,
        certificate,
        secret,
    })
}

fn field(line: Option<&str>, name: &str) -> Option<[u8; 32]> {
    let text = line?.strip_prefix(name)?;
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn fresh() -> Result<SecretKey, OperatorKeyError> {
    let seed = Secret::new(random::bytes::<32>().map_err(|_| OperatorKeyError::Random)?);
    Ok(SecretKey::from_seed(seed.expose()))
}

fn outside(path: &Path, data: &Path) -> Result<(), OperatorKeyError> {
    if is_inside(path, data) {
        return Err(OperatorKeyError::InsideData {
            path: path.into(),
            data: data.into(),
        });
    }
    Ok(())
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> OperatorKeyError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => OperatorKeyError::Exists { path },
        _ => OperatorKeyError::Io { path, source },
    }
}

fn read(path: &Path) -> Result<String, OperatorKeyError> {
    let file = File::open(path).map_err(io_error(path))?;
    let metadata = file.metadata().map_err(io_error(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OperatorKeyError::Exposed {
            path: path.into(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(io_error(path))?;
    Ok(text)
}

fn write_new(path: &Path, text: &str) -> Result<(), OperatorKeyError> {
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
    file.write_all(text.as_bytes()).map_err(io_error(path))?;
    file.sync_all().map_err(io_error(path))?;
    sync_parent(path).map_err(io_error(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{NoticeKey, OfflineKey, OperatorKeyError};
    use kinline_protocol::day::Day;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const TODAY: Day = Day(20_779);

    #[test]
    fn an_offline_key_is_made_once_and_certifies_notice_keys_with_growing_serials() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let offline_path = folder.path().join("offline.key");
        let notice_path = folder.path().join("notice.key");
        let offline = OfflineKey::create(&offline_path, &data).unwrap();
        assert!(matches!(
            OfflineKey::create(&offline_path, &data),
            Err(OperatorKeyError::Exists { .. })
        ));
        let again = OfflineKey::read(&offline_path).unwrap();
        assert_eq!(again.public(), offline.public());

        let first = offline
            .certify(&notice_path, &data, TODAY, 400, None)
            .unwrap();
        let second = offline
            .certify(&notice_path, &data, TODAY, 400, None)
            .unwrap();
        assert_eq!(first.certificate.serial, TODAY.0);
        assert_eq!(second.certificate.serial, TODAY.0 + 1);
        assert_ne!(first.certificate.key, second.certificate.key);
        let read = NoticeKey::read(&notice_path).unwrap();
        assert_eq!(read.certificate, second.certificate);
        for path in [&offline_path, &notice_path] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn keys_that_others_can_read_that_are_damaged_or_in_the_data_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let path = folder.path().join("offline.key");
        assert!(matches!(
            OfflineKey::create(&data.join("offline.key"), &data),
            Err(OperatorKeyError::InsideData { .. })
        ));
        let offline = OfflineKey::create(&path, &data).unwrap();
        assert!(matches!(
            offline.certify(&data.join("notice.key"), &data, TODAY, 1, None),
            Err(OperatorKeyError::InsideData { .. })
        ));
        assert!(matches!(
            NoticeKey::read(&path),
            Err(OperatorKeyError::Damaged { .. })
        ));
        let notice = folder.path().join("notice.key");
        offline.certify(&notice, &data, TODAY, 1, None).unwrap();
        let stranger = OfflineKey::create(&folder.path().join("other.key"), &data).unwrap();
        assert!(matches!(
            stranger.certify(&notice, &data, TODAY, 1, None),
            Err(OperatorKeyError::OtherOperator { .. })
        ));
        fs::set_permissions(&notice, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            NoticeKey::read(&notice),
            Err(OperatorKeyError::Exposed { mode: 0o644, .. })
        ));
    }
}
