//! Blobs small enough to be held whole: welcomes, long texts, key packages.

use bytes::Bytes;

use super::decrypt::{DecryptError, Decryptor};
use super::encrypt::{EncryptError, encrypt};
use super::layout::stored_size;
use super::pointer::Pointer;
use crate::limits::OVERFLOW_BYTES_MAX;
use crate::secrets::Secret;

/// Seals `plaintext` under a fresh key; the stored bytes go to the relay, the pointer into
/// an envelope.
///
/// # Errors
/// [`EncryptError::TooLarge`] when it would be stored in more than [`OVERFLOW_BYTES_MAX`].
pub fn encrypt_bytes(
    plaintext: &[u8],
    rng: &mut impl rand_core::CryptoRng,
) -> Result<(Pointer, Bytes), EncryptError> {
    let plaintext_len = plaintext.len() as u64;
    let size = stored_size(plaintext_len);
    if size > OVERFLOW_BYTES_MAX {
        return Err(EncryptError::TooLarge {
            plaintext_len,
            max: OVERFLOW_BYTES_MAX,
        });
    }
    let key = Secret::random(rng);
    let read_secret = Secret::random(rng);
    let mut stored = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    let sealed = encrypt(&key, plaintext_len, &mut { plaintext }, &mut stored)?;
    Ok((Pointer::new(read_secret, key, &sealed), stored.into()))
}

/// Opens what [`encrypt_bytes`] sealed.
///
/// # Errors
/// [`DecryptError::TooLarge`] past [`OVERFLOW_BYTES_MAX`]; else as [`Decryptor`].
pub fn decrypt_bytes(pointer: &Pointer, stored: &[u8]) -> Result<Vec<u8>, DecryptError> {
    if pointer.size > OVERFLOW_BYTES_MAX {
        return Err(DecryptError::TooLarge {
            size: pointer.size,
            max: OVERFLOW_BYTES_MAX,
        });
    }
    let mut decryptor = Decryptor::new(pointer);
    let mut plaintext = Vec::new();
    decryptor.push(stored, &mut plaintext)?;
    decryptor.finish()?;
    Ok(plaintext)
}
