//! Everything that can go wrong, as one sentence and an exit status.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use crate::connection::ConnectError;
use crate::device::{AttachmentError, MediaError, OpenError};
use crate::shell::DeviceError;
use crate::store::StoreError;

/// Why a call ends badly.
#[derive(Debug)]
pub(super) struct Failure {
    sentence: String,
    status: u8,
}

impl Failure {
    /// Something in the surroundings is wrong: exit status 2.
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            status: 2,
        }
    }

    /// What was asked for is not allowed, not there or not so, and nothing was changed: exit
    /// status 1.
    pub(super) fn refused(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            status: 1,
        }
    }

    /// A promise did not hold: exit status 1.
    pub(super) fn broken_promise(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            status: 1,
        }
    }

    /// A file can't be used.
    pub(super) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{}: {error}", path.display()))
    }

    /// Tells it on stderr and ends.
    pub(super) fn report(self) -> ExitCode {
        eprintln!("kinline-sim: {self}");
        ExitCode::from(self.status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Refused(sentence) => Self::refused(sentence),
            other => Self::new(other.to_string()),
        }
    }
}

macro_rules! from_sentence {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error.to_string())
            }
        })+
    };
}

from_sentence!(
    OpenError,
    StoreError,
    ConnectError,
    MediaError,
    AttachmentError
);
