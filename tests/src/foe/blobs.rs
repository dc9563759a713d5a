//! Blobs in the enemy's hands.

use bytes::Bytes;

use super::forge;
use super::liar::Liar;

impl Liar {
    /// Bytes of a blob come up; how many are there now. `None`: no such blob.
    pub fn upload(&mut self, owner_hash: &[u8], offset: usize, bytes: &[u8]) -> Option<usize> {
        let struck = self.strikes(self.manners.blob);
        let blobs = self.honest.blobs.values_mut();
        let blob = blobs
            .into_iter()
            .find(|blob| blob.owner_hash == owner_hash)?;
        if offset == blob.bytes.len() {
            blob.bytes.extend_from_slice(bytes);
        }
        let there = blob.bytes.len();
        if struck {
            self.silences += 1;
            // It says that it has all, and has something else.
            match there % 3 {
                0 => blob.bytes.truncate(there / 2),
                1 => blob.bytes.iter_mut().take(40).for_each(|byte| *byte ^= 1),
                _ => return None,
            }
        }
        Some(there)
    }

    /// How many bytes of a blob are there, and its size.
    #[must_use]
    pub fn uploaded(&self, owner_hash: &[u8]) -> Option<(usize, u64)> {
        let mut blobs = self.honest.blobs.values();
        let blob = blobs.find(|blob| blob.owner_hash == owner_hash)?;
        Some((blob.bytes.len(), blob.size))
    }

    /// What it gives out as a blob.
    pub fn download(&mut self, read_hash: &[u8]) -> Option<Bytes> {
        let bytes = self.honest.blobs.get(read_hash)?.bytes.clone();
        if self.strikes(self.manners.blob) {
            self.steps += 1;
            return match self.below(4) {
                0 => None,
                1 => Some(forge::damaged(&mut self.rng, &bytes)),
                2 => Some(bytes[..bytes.len() / 2].to_vec().into()),
                _ => Some([bytes.as_slice(), &[7; 99]].concat().into()),
            };
        }
        Some(bytes.into())
    }

    /// A blob is to be deleted.
    pub fn delete(&mut self, owner_hash: &[u8]) {
        self.honest
            .blobs
            .retain(|_, blob| blob.owner_hash != owner_hash);
    }
}
