//! What shows that a blob's file is as it was written: a CRC-32 of each 64 KiB, in the blob's row.
//!
//! Against a disk, not against a writer: devices check the digest that travels in the message
//! (PROTOCOL, attachments), and a thief could compute each sum from the bytes beside it. The row
//! and the sums move together, so after a crash they are those of the durable bytes.

use crc32fast::Hasher;

/// Bytes under one sum, and of a page on its way out.
pub(super) const CHUNK_BYTES: usize = 64 * 1_024;
/// Bytes of one sum: 4 for 64 KiB, 6.4 KB for a blob of 100 MiB.
const SUM_BYTES: usize = 4;

/// The sum of one chunk.
pub(super) fn sum(chunk: &[u8]) -> [u8; SUM_BYTES] {
    crc32fast::hash(chunk).to_be_bytes()
}

/// The stored sum of a chunk.
pub(super) fn of(sums: &[u8], chunk: usize) -> Option<[u8; SUM_BYTES]> {
    let sum = sums.chunks_exact(SUM_BYTES).nth(chunk)?;
    sum.try_into().ok()
}

/// Sums of a file that is being written.
pub(super) struct Sums {
    whole: Vec<u8>,
    last: Hasher,
    filled: usize,
}

impl Sums {
    /// Goes on behind `offset` bytes; `begun` is what the last chunk holds of them. `None` when
    /// that is not what was written.
    pub(super) fn resume(stored: &[u8], offset: u64, begun: &[u8]) -> Option<Self> {
        let chunks = usize::try_from(offset / CHUNK_BYTES as u64).ok()?;
        let whole = stored.get(..chunks.checked_mul(SUM_BYTES)?)?.to_vec();
        if !begun.is_empty() && of(stored, chunks) != Some(sum(begun)) {
            return None;
        }
        let mut last = Hasher::new();
        last.update(begun);
        Some(Self {
            whole,
            last,
            filled: begun.len(),
        })
    }

    /// Takes the next bytes of the file.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, after) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.filled));
            self.last.update(now);
            self.filled += now.len();
            if self.filled == CHUNK_BYTES {
                let full = std::mem::take(&mut self.last);
                self.whole.extend(full.finalize().to_be_bytes());
                self.filled = 0;
            }
            bytes = after;
        }
    }

    /// The sums of everything so far, the last chunk's as far as it goes.
    pub(super) fn stored(&self) -> Vec<u8> {
        let mut sums = self.whole.clone();
        if self.filled > 0 {
            sums.extend(self.last.clone().finalize().to_be_bytes());
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{CHUNK_BYTES, Sums, of, sum};

    #[test]
    fn the_sums_are_the_same_however_the_file_came_and_damage_shows() {
        let file: Vec<u8> = (0..CHUNK_BYTES * 2 + 100)
            .map(|place| u8::try_from(place % 251).unwrap())
            .collect();
        let mut once = Sums::resume(&[], 0, &[]).unwrap();
        once.take(&file);
        let stored = once.stored();
        for cut in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 7] {
            let mut first = Sums::resume(&[], 0, &[]).unwrap();
            first.take(&file[..cut]);
            let begun = &file[cut - cut % CHUNK_BYTES..cut];
            let mut second = Sums::resume(&first.stored(), cut as u64, begun).unwrap();
            second.take(&file[cut..]);
            assert_eq!(second.stored(), stored, "cut at {cut}");
            if let Some(last) = begun.len().checked_sub(1) {
                let mut damaged = begun.to_vec();
                damaged[last] ^= 1;
                assert!(Sums::resume(&first.stored(), cut as u64, &damaged).is_none());
            }
        }
        assert_eq!(
            of(&stored, 1),
            Some(sum(&file[CHUNK_BYTES..2 * CHUNK_BYTES]))
        );
        assert_eq!(of(&stored, 2), Some(sum(&file[2 * CHUNK_BYTES..])));
        assert_eq!(of(&stored, 3), None);
    }
}
