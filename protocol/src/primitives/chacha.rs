//! ChaCha20-Poly1305 (RFC 8439) under counted nonces, never random ones: for Noise, whose
//! state machine counts, and as STREAM for files.
//!
//! STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its
//! Nonce-Reuse Misuse-Resistance", CRYPTO 2015, §7) with nonces
//! `prefix 7 ‖ counter 4 BE ‖ last 1`: a chunk opens at its own place only, and the last
//! flag makes a missing end show. Every stream has a key of its own, so the prefix is zero.

use core::fmt;

use aead_stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

use crate::secrets::Secret;

/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;
/// Nonce prefix of every stream: constant, because no key serves two streams.
const STREAM_PREFIX: [u8; 7] = [0; 7];

/// Why bytes don't seal or open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChaChaError {
    /// The key, the place or the bytes are others than when they were sealed.
    #[error("the sealed bytes do not open: wrong key, wrong place, or changed on the way")]
    Open,
    /// The stream has been ended, or its counter is used up.
    #[error("the stream is over")]
    Over,
}

/// A key for single messages, each under a nonce that the caller counts.
#[derive(Clone)]
pub struct MessageKey(ChaCha20Poly1305);

impl MessageKey {
    /// Takes a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts `buffer` in place and appends the tag. A nonce must never be used twice.
    ///
    /// # Errors
    /// [`ChaChaError::Over`] past 256 GiB, which no limit allows.
    pub fn seal(
        &self,
        nonce: &[u8; 12],
        associated_data: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), ChaChaError> {
        self.0
            .encrypt_in_place(&Nonce::from(*nonce), associated_data, buffer)
            .map_err(|_| ChaChaError::Over)
    }

    /// Checks and decrypts `buffer` in place and drops the tag.
    ///
    /// # Errors
    /// [`ChaChaError::Open`]; the buffer then still holds the sealed bytes.
    pub fn open(
        &self,
        nonce: &[u8; 12],
        associated_data: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), ChaChaError> {
        self.0
            .decrypt_in_place(&Nonce::from(*nonce), associated_data, buffer)
            .map_err(|_| ChaChaError::Open)
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Seals the chunks of one stream in order.
pub struct StreamSealer(Option<EncryptorBE32<ChaCha20Poly1305>>);

impl StreamSealer {
    /// Starts the stream of a key that is used for nothing else.
    #[must_use]
    pub fn new(key: &Secret<32>) -> Self {
        Self(Some(EncryptorBE32::new(
            key.expose().into(),
            &STREAM_PREFIX.into(),
        )))
    }

    /// Encrypts the next chunk in place and appends its tag; `last` ends the stream.
    ///
    /// # Errors
    /// [`ChaChaError::Over`] after the last chunk.
    pub fn seal(&mut self, last: bool, chunk: &mut Vec<u8>) -> Result<(), ChaChaError> {
        let sealed = if last {
            let sealer = self.0.take().ok_or(ChaChaError::Over)?;
            sealer.encrypt_last_in_place(&[], chunk)
        } else {
            let sealer = self.0.as_mut().ok_or(ChaChaError::Over)?;
            sealer.encrypt_next_in_place(&[], chunk)
        };
        sealed.map_err(|_| ChaChaError::Over)
    }
}

impl fmt::Debug for StreamSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Opens the chunks of one stream in order.
pub struct StreamOpener(Option<DecryptorBE32<ChaCha20Poly1305>>);

impl StreamOpener {
    /// Starts to read the stream of a key.
    #[must_use]
    pub fn new(key: &Secret<32>) -> Self {
        Self(Some(DecryptorBE32::new(
            key.expose().into(),
            &STREAM_PREFIX.into(),
        )))
    }

    /// Checks and decrypts the next chunk in place and drops its tag.
    ///
    /// # Errors
    /// [`ChaChaError::Open`] when it is not this stream's next chunk, or `last` is not what
    /// was sealed; [`ChaChaError::Over`] after the last chunk.
    pub fn open(&mut self, last: bool, chunk: &mut Vec<u8>) -> Result<(), ChaChaError> {
        let opened = if last {
            let opener = self.0.take().ok_or(ChaChaError::Over)?;
            opener.decrypt_last_in_place(&[], chunk)
        } else {
            let opener = self.0.as_mut().ok_or(ChaChaError::Over)?;
            opener.decrypt_next_in_place(&[], chunk)
        };
        opened.map_err(|_| ChaChaError::Open)
    }
}

impl fmt::Debug for StreamOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{ChaChaError, MessageKey, StreamOpener, StreamSealer};
    use crate::secrets::Secret;

    const KEY: Secret<32> = Secret::new([1; 32]);

    #[test]
    fn a_stream_is_messages_under_counted_nonces() {
        let mut sealer = StreamSealer::new(&KEY);
        for (counter, last) in [(0_u32, false), (1, false), (2, true)] {
            let mut chunk = vec![7; 100];
            sealer.seal(last, &mut chunk).unwrap();

            let mut nonce = [0; 12];
            nonce[7..11].copy_from_slice(&counter.to_be_bytes());
            nonce[11] = u8::from(last);
            let mut message = vec![7; 100];
            MessageKey::new(KEY.expose())
                .seal(&nonce, &[], &mut message)
                .unwrap();
            assert_eq!(chunk, message);
        }
        assert_eq!(sealer.seal(false, &mut vec![]), Err(ChaChaError::Over));
        assert_eq!(sealer.seal(true, &mut vec![]), Err(ChaChaError::Over));
    }

    #[test]
    fn a_chunk_opens_at_its_place_with_its_flag_only() {
        let mut sealer = StreamSealer::new(&KEY);
        let (mut first, mut second) = (vec![1; 20], vec![2; 20]);
        sealer.seal(false, &mut first).unwrap();
        sealer.seal(true, &mut second).unwrap();
        let open = |last, chunk: &Vec<u8>| StreamOpener::new(&KEY).open(last, &mut chunk.clone());
        assert_eq!(open(false, &second), Err(ChaChaError::Open));
        assert_eq!(open(true, &second), Err(ChaChaError::Open));
        assert_eq!(open(true, &first), Err(ChaChaError::Open));
        let mut opener = StreamOpener::new(&KEY);
        opener.open(false, &mut first).unwrap();
        opener.open(true, &mut second).unwrap();
        assert_eq!((first, second), (vec![1; 20], vec![2; 20]));
        assert_eq!(opener.open(true, &mut vec![0; 20]), Err(ChaChaError::Over));
    }

    #[test]
    fn debug_prints_no_key() {
        let shown = format!(
            "{:?} {:?} {:?}",
            MessageKey::new(&[1; 32]),
            StreamSealer::new(&KEY),
            StreamOpener::new(&KEY)
        );
        assert_eq!(shown, "[secret] [secret] [secret]");
    }
}
