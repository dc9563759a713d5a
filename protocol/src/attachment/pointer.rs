//! Where a blob is and how it opens, checked.

use bytes::Bytes;

use super::encrypt::Sealed;
use super::layout::stored_size;
use crate::limits::BLOB_BYTES_MAX;
use crate::secrets::Secret;
use crate::wire;

/// A checked [`wire::BlobPointer`]: its sizes agree with each other and are within the limits.
/// Whoever holds it can fetch and read the blob; its secrets print as `[secret]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// What the relay asks for before it hands out the blob.
    pub read_secret: Secret<32>,
    /// The file key, used for this blob alone.
    pub key: Secret<32>,
    /// SHA-256 of the stored bytes.
    pub digest: [u8; 32],
    /// Stored bytes: `stored_size(plaintext_size)`, at most [`BLOB_BYTES_MAX`].
    pub size: u64,
    /// Bytes of the plaintext.
    pub plaintext_size: u64,
}

/// Why a pointer points nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// One of the fields of 32 bytes has another length.
    #[error("the {field} of a blob must be 32 bytes long, not {actual}")]
    Length {
        /// Which field.
        field: &'static str,
        /// Bytes it had.
        actual: usize,
    },
    /// Larger than any blob may be.
    #[error("the blob is said to be {size} bytes long; no blob is longer than {BLOB_BYTES_MAX}")]
    TooLarge {
        /// Bytes it claims to have.
        size: u64,
    },
    /// The stored size is not the one that the plaintext size leads to.
    #[error("a file of {plaintext_size} bytes is not stored as {size} bytes")]
    Sizes {
        /// Bytes it claims to have when stored.
        size: u64,
        /// Bytes its plaintext claims to have.
        plaintext_size: u64,
    },
}

impl Pointer {
    /// The pointer to what was just sealed under `key`.
    #[must_use]
    pub const fn new(read_secret: Secret<32>, key: Secret<32>, sealed: &Sealed) -> Self {
        Self {
            read_secret,
            key,
            digest: sealed.digest,
            size: sealed.size,
            plaintext_size: sealed.plaintext_size,
        }
    }

    /// The pointer as it travels.
    #[must_use]
    pub fn to_wire(&self) -> wire::BlobPointer {
        wire::BlobPointer {
            read_secret: Bytes::copy_from_slice(self.read_secret.expose()),
            key: Bytes::copy_from_slice(self.key.expose()),
            digest: Bytes::copy_from_slice(&self.digest),
            size: self.size,
            plaintext_size: self.plaintext_size,
        }
    }
}

impl TryFrom<&wire::BlobPointer> for Pointer {
    type Error = PointerError;

    fn try_from(pointer: &wire::BlobPointer) -> Result<Self, PointerError> {
        let (size, plaintext_size) = (pointer.size, pointer.plaintext_size);
        let checked = Self {
            read_secret: Secret::new(exactly_32("read secret", &pointer.read_secret)?),
            key: Secret::new(exactly_32("key", &pointer.key)?),
            digest: exactly_32("digest", &pointer.digest)?,
            size,
            plaintext_size,
        };
        if size > BLOB_BYTES_MAX {
            return Err(PointerError::TooLarge { size });
        }
        if stored_size(plaintext_size) != size {
            return Err(PointerError::Sizes {
                size,
                plaintext_size,
            });
        }
        Ok(checked)
    }
}

fn exactly_32(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], PointerError> {
    bytes.try_into().map_err(|_| PointerError::Length {
        field,
        actual: bytes.len(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::{any, prop, proptest};
    use prost::Message as _;

    use super::{Pointer, PointerError};
    use crate::limits::BLOB_BYTES_MAX;
    use crate::wire::BlobPointer;

    fn good() -> BlobPointer {
        BlobPointer {
            read_secret: vec![1; 32].into(),
            key: vec![2; 32].into(),
            digest: vec![3; 32].into(),
            size: 1_024,
            plaintext_size: 1_000,
        }
    }

    #[test]
    fn round_trip() {
        assert_eq!(Pointer::try_from(&good()).unwrap().to_wire(), good());
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let sizes = |size, plaintext_size| {
            Pointer::try_from(&BlobPointer {
                size,
                plaintext_size,
                ..good()
            })
        };
        assert_eq!(
            sizes(BLOB_BYTES_MAX + 1, 0),
            Err(PointerError::TooLarge {
                size: BLOB_BYTES_MAX + 1
            })
        );
        assert_eq!(
            sizes(u64::MAX, u64::MAX),
            Err(PointerError::TooLarge { size: u64::MAX })
        );
        for (size, plaintext_size) in [(0, 0), (1_024, 1_001), (1_088, 1_000), (1_024, u64::MAX)] {
            let expected = PointerError::Sizes {
                size,
                plaintext_size,
            };
            assert_eq!(sizes(size, plaintext_size), Err(expected));
        }
    }

    #[test]
    fn fields_of_another_length_are_refused() {
        for len in [0, 31, 33] {
            let bytes = bytes::Bytes::from(vec![0; len]);
            for (field, pointer) in [
                (
                    "read secret",
                    BlobPointer {
                        read_secret: bytes.clone(),
                        ..good()
                    },
                ),
                (
                    "key",
                    BlobPointer {
                        key: bytes.clone(),
                        ..good()
                    },
                ),
                (
                    "digest",
                    BlobPointer {
                        digest: bytes.clone(),
                        ..good()
                    },
                ),
            ] {
                let expected = PointerError::Length { field, actual: len };
                assert_eq!(Pointer::try_from(&pointer), Err(expected));
            }
        }
    }

    #[test]
    fn debug_prints_no_secret() {
        let shown = format!("{:?}", Pointer::try_from(&good()).unwrap());
        assert!(
            shown.contains("read_secret: [secret], key: [secret]"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(pointer) = BlobPointer::decode(noise.as_slice()) {
                let _ = Pointer::try_from(&pointer);
            }
        }
    }
}
