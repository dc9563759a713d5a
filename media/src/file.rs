//! Reading a file that a person picked, with a bound.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use thiserror::Error;

use crate::bytes::human_size;

/// Bytes of a file at most, for photos and for voice messages: 64 MiB. The largest phone photos
/// have about 30 MiB, ten minutes of WAV at 48 kHz stereo 16 bit have 110 MiB and should be sent
/// in a format that compresses.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Opening, measuring or reading failed.
    #[error("the file could not be read: {source}")]
    Io {
        /// What the operating system said.
        #[from]
        source: std::io::Error,
    },
    /// A folder, a device or a pipe.
    #[error("this is not a file but a folder or a device")]
    NotAFile,
    /// More bytes than are accepted. Nothing of it was read.
    #[error("the file has {}; at most {} are accepted", human_size(*bytes), human_size(*bytes_max))]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

/// Reads all of a file of at most `bytes_max` bytes.
///
/// The length is checked before anything is read, and the reading stops at the limit even if
/// the file grows meanwhile.
///
/// # Errors
/// [`ReadError`].
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    // Asked before opening, because opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > bytes_max {
        return Err(ReadError::TooLarge { bytes, bytes_max });
    }
    let mut content = Vec::new();
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut content)?;
    let read = u64::try_from(content.len()).unwrap_or(u64::MAX);
    if read > bytes_max {
        return Err(ReadError::TooLarge {
            bytes: read,
            bytes_max,
        });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::{FILE_BYTES_MAX, ReadError, read_bounded};

    #[test]
    fn a_file_that_is_too_large_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        // A sparse file: 100 GiB that take no room.
        std::fs::File::create(&path)
            .unwrap()
            .set_len(100 << 30)
            .unwrap();
        let error = read_bounded(&path, FILE_BYTES_MAX).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the file has 100 GiB; at most 64 MiB are accepted"
        );
    }

    #[test]
    fn the_bound_itself_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exact");
        std::fs::write(&path, [7; 100]).unwrap();
        assert_eq!(read_bounded(&path, 100).unwrap().len(), 100);
        assert!(matches!(
            read_bounded(&path, 99),
            Err(ReadError::TooLarge { bytes: 100, .. })
        ));
    }

    #[test]
    fn folders_and_missing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            read_bounded(folder.path(), 1),
            Err(ReadError::NotAFile)
        ));
        assert!(matches!(
            read_bounded(&folder.path().join("none"), 1),
            Err(ReadError::Io { .. })
        ));
    }
}
