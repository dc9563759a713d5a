//! `store.key`: the store's random key, wrapped by a passphrase or bare.
//!
//! ```text
//! magic "KLSK" 4 ‖ version 1 ‖ protection 1
//!   protection 0: key 32
//!   protection 1: memory KiB u32 ‖ passes u32 ‖ lanes u32 ‖ salt 16 ‖ sealed key 72
//! ‖ SHA-256 of all before 32
//! ```
//! Numbers are big-endian. The sealed key is `nonce 24 ‖ ciphertext 32 ‖ tag 16` under
//! `kdf(KDF_STORE_WRAP, Argon2id(passphrase, salt))` with the bytes before it as associated
//! data. The hash tells damage from a wrong passphrase; it protects nothing.

use std::fmt;
use std::fs;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use kinline_protocol::labels;
use kinline_protocol::primitives::{aead, hash, kdf};
use kinline_protocol::secrets::Secret;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{StoreError, folder};

const MAGIC: &[u8; 4] = b"KLSK";
const VERSION: u8 = 1;
const BARE: u8 = 0;
const WRAPPED: u8 = 1;
/// The file is about 170 bytes; more is not read.
const FILE_BYTES_MAX: u64 = 1_024;

/// A passphrase, erased when dropped and never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What trying one passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Argon2Cost {
    /// 64 MiB, three passes, one lane: the second recommended choice of RFC 9106 §4, with
    /// one lane because a tablet's core does the work alone.
    pub const DEFAULT: Self = Self {
        memory_kib: 64 * 1_024,
        passes: 3,
        lanes: 1,
    };
    /// So little that a test may do it often. Not for a device.
    pub const CHEAP: Self = Self {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    /// A file must not make us use more: 1 GiB, 64 passes, 16 lanes.
    fn bounded(self) -> Option<Self> {
        (self.memory_kib <= 1_024 * 1_024 && self.passes <= 64 && self.lanes <= 16).then_some(self)
    }
}

/// What protects the key of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Nothing but the file's permissions: who can read the folder can read everything.
    FilePermissions,
    /// A passphrase, stretched by Argon2id.
    Passphrase(Argon2Cost),
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FilePermissions => f.write_str(
                "file permissions only (no passphrase was given: whoever can read the state folder can read everything in it)",
            ),
            Self::Passphrase(cost) => write!(
                f,
                "a passphrase (Argon2id, {} MiB, {} passes)",
                cost.memory_kib / 1_024,
                cost.passes
            ),
        }
    }
}

/// Draws a store key and writes the file, durable when this returns.
pub(super) fn create(
    path: &Path,
    passphrase: Option<&Passphrase>,
    cost: Argon2Cost,
    rng: &mut impl CryptoRng,
) -> Result<(Secret<32>, Protection), StoreError> {
    let key = Secret::random(rng);
    let mut bytes = Zeroizing::new(Vec::with_capacity(256));
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    let protection = match passphrase {
        None => {
            bytes.push(BARE);
            bytes.extend_from_slice(key.expose());
            Protection::FilePermissions
        }
        Some(passphrase) => {
            let mut salt = [0_u8; 16];
            rng.fill_bytes(&mut salt);
            bytes.push(WRAPPED);
            bytes.extend_from_slice(&cost.memory_kib.to_be_bytes());
            bytes.extend_from_slice(&cost.passes.to_be_bytes());
            bytes.extend_from_slice(&cost.lanes.to_be_bytes());
            bytes.extend_from_slice(&salt);
            let wrapping_key = stretch(passphrase, &salt, cost)?;
            let sealed = aead::seal(&wrapping_key, &bytes, key.expose(), rng);
            bytes.extend_from_slice(&sealed);
            Protection::Passphrase(cost)
        }
    };
    let digest = hash::sha256(&bytes);
    bytes.extend_from_slice(&digest);
    folder::write_whole(path, |file| {
        file.write_all(&bytes)
            .map_err(|error| StoreError::file(path, error))
    })?;
    Ok((key, protection))
}

/// Reads the file and unwraps the key.
pub(super) fn open(
    path: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<(Secret<32>, Protection), StoreError> {
    let length = fs::metadata(path)
        .map_err(|error| StoreError::file(path, error))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(damaged());
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| StoreError::file(path, error))?);
    parse(&bytes, passphrase)
}

fn damaged() -> StoreError {
    StoreError::damaged("store.key is not what was written")
}

fn parse(
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<(Secret<32>, Protection), StoreError> {
    let (body, digest) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
    let rest = body.strip_prefix(MAGIC).ok_or_else(damaged)?;
    // The version is looked at before the hash: a newer format may end differently.
    let (&version, rest) = rest.split_first().ok_or_else(damaged)?;
    if version > VERSION {
        return Err(StoreError::NewerVersion {
            found: version.into(),
            known: VERSION.into(),
        });
    }
    if version != VERSION || hash::sha256(body) != *digest {
        return Err(damaged());
    }
    match rest.split_first().ok_or_else(damaged)? {
        (&BARE, _) if passphrase.is_some() => Err(StoreError::NotProtected),
        (&BARE, key) => {
            let key = Secret::from_slice(key).ok_or_else(damaged)?;
            Ok((key, Protection::FilePermissions))
        }
        (&WRAPPED, rest) => {
            let (memory_kib, rest) = number(rest)?;
            let (passes, rest) = number(rest)?;
            let (lanes, rest) = number(rest)?;
            let (salt, sealed) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
            let cost = Argon2Cost {
                memory_kib,
                passes,
                lanes,
            };
            let cost = cost.bounded().ok_or_else(damaged)?;
            let passphrase = passphrase.ok_or(StoreError::PassphraseNeeded)?;
            let wrapping_key = stretch(passphrase, salt, cost)?;
            let associated = body
                .get(..body.len().saturating_sub(sealed.len()))
                .ok_or_else(damaged)?;
            let key = aead::open(&wrapping_key, associated, sealed)
                .map_err(|_| StoreError::WrongPassphrase)?;
            let key = Zeroizing::new(key);
            let key = Secret::from_slice(&key).ok_or_else(damaged)?;
            Ok((key, Protection::Passphrase(cost)))
        }
        _ => Err(damaged()),
    }
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), StoreError> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    Ok((u32::from_be_bytes(*number), rest))
}

fn stretch(
    passphrase: &Passphrase,
    salt: &[u8; 16],
    cost: Argon2Cost,
) -> Result<Secret<32>, StoreError> {
    let refused = |_| StoreError::damaged("store.key asks for impossible Argon2id parameters");
    let params =
        Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(refused)?;
    let mut stretched = Zeroizing::new([0_u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(&passphrase.0, salt, stretched.as_mut_slice())
        .map_err(refused)?;
    Ok(kdf::derive(
        stretched.as_slice(),
        labels::KDF_STORE_WRAP,
        &[],
    ))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use super::{Argon2Cost, Passphrase, create, open, parse};
    use crate::random;
    use crate::store::StoreError;

    fn written(passphrase: Option<&Passphrase>) -> (Vec<u8>, [u8; 32]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.key");
        let (key, _) = create(&path, passphrase, Argon2Cost::CHEAP, &mut random::os()).unwrap();
        let (again, _) = open(&path, passphrase).unwrap();
        assert_eq!(again.expose(), key.expose());
        (std::fs::read(path).unwrap(), *key.expose())
    }

    #[test]
    fn a_wrapped_key_is_not_in_the_file() {
        let passphrase = Passphrase::new("correct horse");
        let (bytes, key) = written(Some(&passphrase));
        assert!(!bytes.windows(8).any(|window| window == &key[..8]));
        let (bare, key) = written(None);
        assert!(bare.windows(8).any(|window| window == &key[..8]));
    }

    #[test]
    fn wrong_and_missing_passphrases_are_told_apart_from_damage() {
        let passphrase = Passphrase::new("correct horse");
        let (mut bytes, _) = written(Some(&passphrase));
        assert!(matches!(
            parse(&bytes, Some(&Passphrase::new("correct hors"))),
            Err(StoreError::WrongPassphrase)
        ));
        assert!(matches!(
            parse(&bytes, None),
            Err(StoreError::PassphraseNeeded)
        ));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(
                parse(&bytes, Some(&passphrase)).is_err(),
                "byte {at} changed"
            );
            bytes[at] ^= 1;
        }
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end], Some(&passphrase)).is_err());
        }
        bytes[4] = 2;
        assert!(matches!(
            parse(&bytes, Some(&passphrase)),
            Err(StoreError::NewerVersion { found: 2, known: 1 })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.key");
        create(&path, None, Argon2Cost::CHEAP, &mut random::os()).unwrap();
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
