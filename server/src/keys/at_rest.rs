//! Ids through a keyed permutation, columns under a seal.

use aes::Aes256;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use kinline_protocol::labels::KDF_AT_REST;
use kinline_protocol::primitives::{aead, kdf};
use kinline_protocol::secrets::Secret;

use crate::random;

/// A stored column does not open: another key, or changed bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealedError {
    /// Wrong key or changed bytes.
    #[error("a sealed column does not open: another key file, or damage")]
    Open(#[source] aead::OpenError),
    /// No random bytes for a nonce.
    #[error(transparent)]
    Random(#[from] random::RandomError),
}

/// AES-256 as a keyed permutation of 16-byte blocks, one key for each use.
///
/// Ids and hashes are uniformly random, so that equal blocks mean equal ids and nothing
/// else shows. A permutation, not a hash, so that the key can be changed.
#[derive(Clone)]
pub(crate) struct Permutation(Aes256);

impl Permutation {
    fn new(secret: &Secret<32>, name: &[u8]) -> Self {
        let key = kdf::derive(secret.expose(), KDF_AT_REST, &[b"permutation", name]);
        Self(Aes256::new(&Array(*key.expose())))
    }

    /// The id as it lies on disk.
    pub(crate) fn permute(&self, id: &[u8; 16]) -> [u8; 16] {
        let mut block = Array(*id);
        self.0.encrypt_block(&mut block);
        block.0
    }

    /// The id behind what lies on disk.
    pub(crate) fn restore(&self, stored: &[u8; 16]) -> [u8; 16] {
        let mut block = Array(*stored);
        self.0.decrypt_block(&mut block);
        block.0
    }

    /// A 32-byte hash as it lies on disk: each half on its own.
    pub(crate) fn permute_hash(&self, hash: &[u8; 32]) -> [u8; 32] {
        halves(hash, |half| self.permute(half))
    }

    /// The hash behind what lies on disk.
    pub(crate) fn restore_hash(&self, stored: &[u8; 32]) -> [u8; 32] {
        halves(stored, |half| self.restore(half))
    }
}

fn halves(bytes: &[u8; 32], each: impl Fn(&[u8; 16]) -> [u8; 16]) -> [u8; 32] {
    let (left, right) = bytes.split_at(16);
    let mut out = [0; 32];
    for (half, to) in [left, right].into_iter().zip(out.chunks_exact_mut(16)) {
        if let Ok(half) = half.try_into() {
            to.copy_from_slice(&each(half));
        }
    }
    out
}

/// Every key that the tables need.
#[derive(Clone)]
pub(crate) struct AtRest {
    /// Mailbox ids in `mailbox`.
    pub(crate) mailbox: Permutation,
    /// Mailbox ids where envelopes are sorted by them (and in the table of before the spool).
    pub(crate) envelope: Permutation,
    /// Message ids in the table of before the spool.
    pub(crate) message: Permutation,
    /// Slot tokens.
    pub(crate) slot: Permutation,
    /// Hashes of revoked grants.
    pub(crate) revoked: Permutation,
    /// Hashes of blobs' read secrets.
    pub(crate) blob_read: Permutation,
    /// Hashes of blobs' owner secrets.
    pub(crate) blob_owner: Permutation,
    /// Hashes of admission codes.
    pub(crate) admission: Permutation,
    /// Hashes of account ids.
    pub(crate) account: Permutation,
    /// Hashes of spent tickets.
    pub(crate) ticket: Permutation,
    seal: Secret<32>,
    check: Secret<32>,
    spool: Secret<32>,
}

/// Bytes of a check value: damage passes for good once in 2^64.
pub(crate) const TAG_BYTES: usize = 8;

impl AtRest {
    /// Derives all keys from the key file's secret.
    pub(crate) fn new(secret: &Secret<32>) -> Self {
        let permutation = |name: &[u8]| Permutation::new(secret, name);
        Self {
            mailbox: permutation(b"mailbox.id"),
            envelope: permutation(b"envelope.key"),
            message: permutation(b"envelope.message"),
            slot: permutation(b"commit_slot.token"),
            revoked: permutation(b"revoked_grant.hash"),
            blob_read: permutation(b"blob.read"),
            blob_owner: permutation(b"blob.owner"),
            admission: permutation(b"admission_code.hash"),
            account: permutation(b"account.id"),
            ticket: permutation(b"spent_ticket.hash"),
            seal: kdf::derive(secret.expose(), KDF_AT_REST, &[b"seal"]),
            check: kdf::derive(secret.expose(), KDF_AT_REST, &[b"check"]),
            spool: kdf::derive(secret.expose(), KDF_AT_REST, &[b"spool"]),
        }
    }

    /// A check value over what is stored in one row. Against damage, not against a writer: it
    /// says nothing to who lacks the key.
    pub(crate) fn tag(&self, table: &str, parts: [&[u8]; 3]) -> [u8; TAG_BYTES] {
        let [row, name, body] = parts;
        let context = [b"check", table.as_bytes(), row, name, body];
        let derived = kdf::derive(self.check.expose(), KDF_AT_REST, &context);
        let mut tag = [0; TAG_BYTES];
        for (to, from) in tag.iter_mut().zip(derived.expose()) {
            *to = *from;
        }
        tag
    }

    /// Whether a row is as it was written. One without a tag was written before there were any.
    pub(crate) fn is_whole(&self, table: &str, parts: [&[u8]; 3], tag: Option<&[u8]>) -> bool {
        tag.is_none_or(|tag| self.tag(table, parts) == tag)
    }

    /// What the spool's slots are sealed under.
    pub(crate) const fn spool(&self) -> &Secret<32> {
        &self.spool
    }

    /// Seals a column's value for one row: `nonce 24 ‖ ciphertext ‖ tag 16`.
    ///
    /// # Errors
    /// [`SealedError::Random`].
    pub(crate) fn seal(
        &self,
        column: &str,
        row: &[u8],
        value: &[u8],
    ) -> Result<Vec<u8>, SealedError> {
        let nonce = random::bytes()?;
        Ok(aead::seal_with_nonce(
            &self.seal,
            &nonce,
            &associated(column, row),
            value,
        ))
    }

    /// Opens what [`AtRest::seal`] made for the same column and row.
    ///
    /// # Errors
    /// [`SealedError::Open`].
    pub(crate) fn open(
        &self,
        column: &str,
        row: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealedError> {
        aead::open(&self.seal, &associated(column, row), sealed).map_err(SealedError::Open)
    }
}

/// `len(column) ‖ column ‖ row`: a value moved to another column or row does not open.
fn associated(column: &str, row: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + column.len() + row.len());
    bytes.extend_from_slice(&(column.len() as u64).to_be_bytes());
    bytes.extend_from_slice(column.as_bytes());
    bytes.extend_from_slice(row);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::AtRest;
    use kinline_protocol::secrets::Secret;

    #[test]
    fn the_same_id_looks_different_in_each_table_and_comes_back() {
        let keys = AtRest::new(&Secret::new([1; 32]));
        let id = [7; 16];
        assert_ne!(keys.mailbox.permute(&id), keys.envelope.permute(&id));
        assert_ne!(keys.mailbox.permute(&id), id);
        assert_eq!(keys.mailbox.restore(&keys.mailbox.permute(&id)), id);
    }

    #[test]
    fn every_flipped_bit_of_a_row_is_noticed() {
        let keys = AtRest::new(&Secret::new([1; 32]));
        let row = [vec![7; 24], vec![8; 16], vec![9; 64]];
        let whole = |row: &[Vec<u8>; 3], tag: &[u8]| {
            keys.is_whole("envelope", row.each_ref().map(Vec::as_slice), Some(tag))
        };
        let tag = keys.tag("envelope", row.each_ref().map(Vec::as_slice));
        assert!(whole(&row, &tag));
        assert!(
            keys.is_whole("envelope", [b"", b"", b""], None),
            "of before"
        );
        for part in 0..row.len() {
            for bit in 0..row[part].len() * 8 {
                let mut damaged = row.clone();
                damaged[part][bit / 8] ^= 1 << (bit % 8);
                assert!(!whole(&damaged, &tag));
            }
        }
        for bit in 0..64 {
            let mut other = tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!whole(&row, &other));
        }
        let moved = keys.tag("commit_slot", row.each_ref().map(Vec::as_slice));
        assert_ne!(tag, moved);
    }

    #[test]
    fn both_halves_of_a_hash_are_permuted() {
        let keys = AtRest::new(&Secret::new([1; 32]));
        let mut hash = [3; 32];
        hash[31] = 4;
        let stored = keys.blob_read.permute_hash(&hash);
        assert_ne!(stored.split_at(16).0, [3; 16]);
        assert_ne!(stored.split_at(16).0, stored.split_at(16).1);
        assert_eq!(keys.blob_read.restore_hash(&stored), hash);
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_under_its_key() {
        let keys = AtRest::new(&Secret::new([1; 32]));
        let sealed = keys.seal("mailbox.keys", &[9; 16], b"value").unwrap();
        assert_eq!(
            keys.open("mailbox.keys", &[9; 16], &sealed).unwrap(),
            b"value"
        );
        assert!(keys.open("mailbox.state", &[9; 16], &sealed).is_err());
        assert!(keys.open("mailbox.keys", &[8; 16], &sealed).is_err());
        let other = AtRest::new(&Secret::new([2; 32]));
        assert!(other.open("mailbox.keys", &[9; 16], &sealed).is_err());
    }
}
