//! Sizes: how long the stored bytes of a plaintext are, and where their chunks lie.

use crate::limits::BLOB_BYTES_MAX;
use crate::padme;
use crate::primitives::chacha::TAG_BYTES;

/// Padded plaintext in one chunk; only the last may have less.
pub const CHUNK_BYTES: usize = 64 * 1_024;
/// A whole chunk as stored.
pub(super) const STORED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
/// The length field before the plaintext.
pub(super) const LENGTH_BYTES: usize = 8;
/// Stored size from which the digest is computed on a thread of its own: below, starting
/// one (tens of microseconds) costs more than it gains.
pub const PARALLEL_BYTES_MIN: u64 = 4 * 1_024 * 1_024;

const CHUNK: u64 = CHUNK_BYTES as u64;
const STORED_CHUNK: u64 = STORED_CHUNK_BYTES as u64;
const TAG: u64 = TAG_BYTES as u64;
const LENGTH: u64 = LENGTH_BYTES as u64;

/// Bytes that a plaintext of `plaintext_len` bytes has when stored: the Padmé class of
/// length field, plaintext and one tag for each 64 KiB. Saturates far past every limit.
#[must_use]
pub const fn stored_size(plaintext_len: u64) -> u64 {
    let padded = plaintext_len.saturating_add(LENGTH);
    let tags = padded.div_ceil(CHUNK).saturating_mul(TAG);
    padme::class(padded.saturating_add(tags))
}

/// The longest plaintext whose stored size is at most [`BLOB_BYTES_MAX`].
#[must_use]
pub const fn plaintext_bytes_max() -> u64 {
    padded_len(BLOB_BYTES_MAX) - LENGTH
}
const _: () = assert!(stored_size(plaintext_bytes_max()) == BLOB_BYTES_MAX);
const _: () = assert!(stored_size(plaintext_bytes_max() + 1) > BLOB_BYTES_MAX);

/// Chunks of a stored file.
pub(super) const fn chunk_count(stored: u64) -> u64 {
    stored.div_ceil(STORED_CHUNK)
}

/// Padded plaintext of a stored file: what is left without its tags.
///
/// Every class is reachable: a stored size whose last chunk had no room for a byte beside
/// its tag would be 65,552·k + r with 1 ≤ r ≤ 16. A class from 2^e on is a multiple of
/// 2^(e-5) at least, which asks for r = 16 and k + 1 divisible by 2^(e-9): more chunks than
/// a file below 2^(e+1) has.
pub(super) const fn padded_len(stored: u64) -> u64 {
    stored.saturating_sub(chunk_count(stored) * TAG)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{
        CHUNK, LENGTH, STORED_CHUNK, TAG, chunk_count, padded_len, plaintext_bytes_max, stored_size,
    };
    use crate::limits::BLOB_BYTES_MAX;
    use crate::padme;

    #[test]
    fn known_sizes() {
        // 1,024 - 8 - 16 = 1,000 bytes still fit the smallest class.
        for (len, expected) in [
            (0, 1_024),
            (1_000, 1_024),
            (1_001, 1_088),
            (5_000, 5_120),
            (65_528, 67_584),
            (1 << 20, 1_081_344),
        ] {
            assert_eq!(stored_size(len), expected, "{len}");
        }
        assert_eq!(stored_size(u64::MAX), padme::class(u64::MAX));
    }

    #[test]
    fn every_class_up_to_the_limit_is_reachable() {
        let mut class = 1_024;
        while class <= BLOB_BYTES_MAX {
            let chunks = chunk_count(class);
            let last = class - (chunks - 1) * STORED_CHUNK;
            assert!(last > TAG, "{class}: the last chunk has no room");
            let longest = padded_len(class) - LENGTH;
            assert_eq!(stored_size(longest), class);
            assert!(stored_size(longest + 1) > class);
            assert_eq!(padded_len(class).div_ceil(CHUNK), chunks);
            class = padme::class(class + 1);
        }
    }

    proptest! {
        #[test]
        fn the_stored_size_is_a_class_that_holds_everything(len in 0..=plaintext_bytes_max()) {
            let stored = stored_size(len);
            assert!(padme::is_class(stored) && stored <= BLOB_BYTES_MAX);
            assert!(padded_len(stored) >= len + LENGTH);
        }
    }
}
