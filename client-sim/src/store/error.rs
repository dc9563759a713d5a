//! What can go wrong with a state folder, each as a sentence.

use std::io;
use std::path::{Path, PathBuf};

/// Why a state folder can't be used. Nothing in it was changed by the failed operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the folder's lock.
    #[error("another process uses this state folder: {}", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// `create` found a device.
    #[error("there is a device in this state folder already: {}", folder.display())]
    AlreadyThere {
        /// The folder.
        folder: PathBuf,
    },
    /// `open` found no device.
    #[error("there is no device in this state folder: {}", folder.display())]
    NotThere {
        /// The folder.
        folder: PathBuf,
    },
    /// Written by a newer version of this program.
    #[error(
        "the state folder was written by a newer version of Kinline (format {found}; this \
         program knows {known}): nothing was changed, use the newer program"
    )]
    NewerVersion {
        /// The format found.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// A passphrase is needed.
    #[error(
        "this state folder is protected by a passphrase: give --passphrase-file or KINLINE_PASSPHRASE"
    )]
    PassphraseNeeded,
    /// The passphrase does not open the key.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// A passphrase was given for a key that has none.
    #[error(
        "this state folder is not protected by a passphrase: whoever can read it can read everything \
         in it. Leave the passphrase away to use it all the same"
    )]
    NotProtected,
    /// Something in the folder is not what was written.
    #[error("the state folder is damaged: {what}")]
    Damaged {
        /// What.
        what: String,
    },
    /// No room.
    #[error("the disk is full: nothing was changed, free some space and try again")]
    DiskFull,
    /// A record's name is longer than the format can hold.
    #[error("a record's name has {bytes} bytes; at most 65535 fit")]
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// Any other trouble with a file.
    #[error("{} can't be used: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Any other trouble with the database.
    #[error("the database in the state folder can't be used: {0}")]
    Database(#[source] rusqlite::Error),
}

impl StoreError {
    /// Wraps an I/O error with the path it concerns; a full disk gets its own variant.
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::File {
                path: path.to_owned(),
                source,
            },
        }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::damaged("device.db is no longer a sound database")
            }
            _ => Self::Database(error),
        }
    }
}
