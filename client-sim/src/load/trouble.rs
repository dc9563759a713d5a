//! Why a measurement can't be taken, as one sentence.

use std::path::Path;

/// Something in the surroundings is wrong; exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Trouble(String);

impl Trouble {
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// A file can't be used.
    pub(super) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

macro_rules! from_sentence {
    ($($error:ty),+) => {
        $(impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        })+
    };
}

from_sentence!(
    std::io::Error,
    rustls::Error,
    rusqlite::Error,
    rcgen::Error,
    crate::connection::ConnectError,
    crate::connection::TransferError,
    crate::device::OpenError,
    crate::shell::DeviceError,
    crate::store::StoreError,
    hyper::Error,
    serde_json::Error
);
