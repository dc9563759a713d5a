//! How a record's name and value look on disk.
//!
//! name hash = first 16 bytes of `kdf(KDF_STORE_KEY, name key; class, name)`;
//! sealed = `version 1 ‖ nonce 24 ‖ seal(name length u16 ‖ name ‖ value) ‖ tag 16`, with
//! `KDF_STORE_VALUE ‖ version ‖ class ‖ name hash` as associated data.

use kinline_protocol::engine::io::{RecordClass, RecordKey};
use kinline_protocol::labels;
use kinline_protocol::primitives::{aead, kdf};
use kinline_protocol::secrets::Secret;
use rand_core::CryptoRng;

use super::StoreError;

const VERSION: u8 = 1;

/// Bytes of a name's hash: two of 2^32 records meet with a chance of 2^-64.
pub(super) type NameHash = [u8; 16];

/// The number of a class on disk.
pub(super) const fn class_number(class: RecordClass) -> u8 {
    match class {
        RecordClass::State => 1,
        RecordClass::History => 2,
    }
}

/// The keys of the records, derived from the store's key.
pub(super) struct Sealer {
    name_key: Secret<32>,
    value_key: Secret<32>,
}

impl Sealer {
    pub(super) fn new(store_key: &Secret<32>) -> Self {
        Self {
            name_key: kdf::derive(store_key.expose(), labels::KDF_STORE_KEY, &[]),
            value_key: kdf::derive(store_key.expose(), labels::KDF_STORE_VALUE, &[]),
        }
    }

    pub(super) fn name_hash(&self, key: &RecordKey) -> NameHash {
        let whole = kdf::derive(
            self.name_key.expose(),
            labels::KDF_STORE_KEY,
            &[&[class_number(key.class)], &key.name],
        );
        let mut hash = NameHash::default();
        hash.copy_from_slice(whole.expose().split_at(16).0);
        hash
    }

    pub(super) fn seal(
        &self,
        key: &RecordKey,
        hash: &NameHash,
        value: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, StoreError> {
        let too_long = |_| StoreError::NameTooLong {
            bytes: key.name.len(),
        };
        let length = u16::try_from(key.name.len()).map_err(too_long)?;
        let mut plain =
            zeroize::Zeroizing::new(Vec::with_capacity(2 + key.name.len() + value.len()));
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(&key.name);
        plain.extend_from_slice(value);
        let mut sealed = vec![VERSION];
        sealed.append(&mut aead::seal(
            &self.value_key,
            &associated(key.class, hash),
            &plain,
            rng,
        ));
        Ok(sealed)
    }

    pub(super) fn open(
        &self,
        class: RecordClass,
        hash: &[u8],
        sealed: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
        let damaged = || StoreError::damaged("a record was changed or moved");
        let (&version, sealed) = sealed.split_first().ok_or_else(damaged)?;
        if version > VERSION {
            return Err(StoreError::NewerVersion {
                found: version.into(),
                known: VERSION.into(),
            });
        }
        let plain =
            aead::open(&self.value_key, &associated(class, hash), sealed).map_err(|_| damaged())?;
        let plain = zeroize::Zeroizing::new(plain);
        let (length, rest) = plain.split_first_chunk::<2>().ok_or_else(damaged)?;
        let (name, value) = rest
            .split_at_checked(u16::from_be_bytes(*length).into())
            .ok_or_else(damaged)?;
        Ok((name.to_vec(), value.to_vec()))
    }
}

fn associated(class: RecordClass, hash: &[u8]) -> Vec<u8> {
    let mut bytes = labels::KDF_STORE_VALUE.to_vec();
    bytes.push(VERSION);
    bytes.push(class_number(class));
    bytes.extend_from_slice(hash);
    bytes
}
