//! From a plaintext of known length to stored bytes, chunk by chunk.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};

use super::digest::{BATCH_CHUNKS, Batch, Digest};
use super::layout::{CHUNK_BYTES, LENGTH_BYTES, padded_len, stored_size};
use crate::labels;
use crate::limits::BLOB_BYTES_MAX;
use crate::primitives::chacha::{StreamSealer, TAG_BYTES};
use crate::primitives::kdf;
use crate::secrets::Secret;

/// What sealing a file gives besides its stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// SHA-256 of the stored bytes.
    pub digest: [u8; 32],
    /// Stored bytes: a Padmé class.
    pub size: u64,
    /// Bytes of the plaintext.
    pub plaintext_size: u64,
}

/// Why a file can't be sealed.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// Longer than a blob may be.
    #[error("a file of {plaintext_len} bytes is too large to send; {max} bytes is the most")]
    TooLarge {
        /// Bytes it has.
        plaintext_len: u64,
        /// Bytes it may have.
        max: u64,
    },
    /// The source ended before the announced length.
    #[error("the file ended {missing} bytes early: it was changed while it was being read")]
    Shorter {
        /// Bytes that did not come.
        missing: u64,
    },
    /// The source goes on past the announced length.
    #[error("the file is longer than it was: it was changed while it was being read")]
    Longer,
    /// The source can't be read.
    #[error("the file can't be read")]
    Source(#[source] io::Error),
    /// The stored bytes can't be written.
    #[error("the encrypted file can't be written")]
    Sink(#[source] io::Error),
    /// Finished before all chunks were taken, or gone on with after an error.
    #[error("the file is not completely encrypted")]
    Unfinished,
    /// The cipher or the digest's thread gave up; no file within the limits leads here.
    #[error("encryption failed inside")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Seals one file, chunk by chunk; holds about 1.5 MiB at most, whatever the file's size.
pub struct Encryptor {
    sealer: StreamSealer,
    size: u64,
    plaintext_size: u64,
    /// Length field, while it is still to come.
    header: Option<[u8; LENGTH_BYTES]>,
    plaintext_left: u64,
    padded_left: u64,
    digest: Option<Digest>,
    result: Option<[u8; 32]>,
    failed: bool,
    ready: VecDeque<Vec<u8>>,
    lent: Option<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Encryptor {
    /// Starts a file of exactly `plaintext_len` bytes under a key that is used for it alone.
    ///
    /// # Errors
    /// [`EncryptError::TooLarge`] past [`plaintext_bytes_max`](super::plaintext_bytes_max).
    pub fn new(key: &Secret<32>, plaintext_len: u64) -> Result<Self, EncryptError> {
        let size = stored_size(plaintext_len);
        if size > BLOB_BYTES_MAX {
            return Err(EncryptError::TooLarge {
                plaintext_len,
                max: super::layout::plaintext_bytes_max(),
            });
        }
        Ok(Self::with_digest(
            key,
            plaintext_len,
            size,
            Digest::for_size(size),
        ))
    }

    fn with_digest(key: &Secret<32>, plaintext_len: u64, size: u64, digest: Digest) -> Self {
        let chunk_key = kdf::derive(key.expose(), labels::KDF_ATTACHMENT, &[]);
        Self {
            sealer: StreamSealer::new(&chunk_key),
            size,
            plaintext_size: plaintext_len,
            header: Some(plaintext_len.to_be_bytes()),
            plaintext_left: plaintext_len,
            padded_left: padded_len(size),
            digest: Some(digest),
            result: None,
            failed: false,
            ready: VecDeque::new(),
            lent: None,
            spare: Vec::new(),
        }
    }

    /// Bytes that all chunks together will have.
    #[must_use]
    pub const fn stored_size(&self) -> u64 {
        self.size
    }

    /// Reads what the next chunks need from `source` and lends the next stored chunk;
    /// `None` after the last.
    ///
    /// # Errors
    /// [`EncryptError::Shorter`], [`EncryptError::Longer`], [`EncryptError::Source`]. The
    /// file then has to be started again, under another key; every later call is
    /// [`EncryptError::Unfinished`].
    pub fn next_chunk(&mut self, source: &mut impl Read) -> Result<Option<&[u8]>, EncryptError> {
        self.spare.extend(self.lent.take());
        if self.failed {
            return Err(EncryptError::Unfinished);
        }
        self.failed = true; // until it has gone well: a chunk half read is lost
        self.fill(source)?;
        self.failed = false;
        self.lent = self.ready.pop_front();
        Ok(self.lent.as_deref())
    }

    /// Seals until a chunk is ready or the file is over.
    fn fill(&mut self, source: &mut impl Read) -> Result<(), EncryptError> {
        while self.ready.is_empty() {
            if self.padded_left > 0 {
                let batch = self.seal_batch(source)?;
                let digest = self.digest.as_mut().ok_or(EncryptError::Unfinished)?;
                let through = digest.pass(batch).map_err(internal)?;
                self.ready.extend(through.into_iter().flatten());
            } else if let Some(digest) = self.digest.take() {
                let (rest, result) = digest.finish().map_err(internal)?;
                self.ready.extend(rest.into_iter().flatten());
                self.result = Some(result);
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Digest and sizes, once every chunk was taken.
    ///
    /// # Errors
    /// [`EncryptError::Unfinished`] before that.
    pub fn finish(self) -> Result<Sealed, EncryptError> {
        match self.result {
            Some(digest) if self.ready.is_empty() && !self.failed => Ok(Sealed {
                digest,
                size: self.size,
                plaintext_size: self.plaintext_size,
            }),
            _ => Err(EncryptError::Unfinished),
        }
    }

    fn seal_batch(&mut self, source: &mut impl Read) -> Result<Batch, EncryptError> {
        let mut batch = Vec::with_capacity(BATCH_CHUNKS);
        while batch.len() < BATCH_CHUNKS && self.padded_left > 0 {
            batch.push(self.seal_chunk(source)?);
        }
        Ok(batch)
    }

    fn seal_chunk(&mut self, source: &mut impl Read) -> Result<Vec<u8>, EncryptError> {
        let chunk_len = usize::try_from(self.padded_left)
            .unwrap_or(usize::MAX)
            .min(CHUNK_BYTES);
        let mut chunk = self.spare.pop().unwrap_or_default();
        chunk.clear();
        chunk.reserve_exact(chunk_len + TAG_BYTES);
        if let Some(header) = self.header.take() {
            chunk.extend_from_slice(&header);
        }
        let room = (chunk_len - chunk.len()) as u64;
        let wanted = room.min(self.plaintext_left);
        let read = source
            .by_ref()
            .take(wanted)
            .read_to_end(&mut chunk)
            .map_err(EncryptError::Source)? as u64;
        self.plaintext_left -= read;
        if read < wanted {
            return Err(EncryptError::Shorter {
                missing: self.plaintext_left,
            });
        }
        chunk.resize(chunk_len, 0);
        self.padded_left -= chunk_len as u64;
        let last = self.padded_left == 0;
        if last && at_least_one_more(source)? {
            return Err(EncryptError::Longer);
        }
        self.sealer.seal(last, &mut chunk).map_err(internal)?;
        Ok(chunk)
    }
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor")
            .field("size", &self.size)
            .field("padded_left", &self.padded_left)
            .finish_non_exhaustive()
    }
}

fn at_least_one_more(source: &mut impl Read) -> Result<bool, EncryptError> {
    loop {
        match source.read(&mut [0]) {
            Ok(read) => return Ok(read > 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(EncryptError::Source(error)),
        }
    }
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> EncryptError {
    EncryptError::Internal(Box::new(error))
}

/// Seals `plaintext_len` bytes of `source` into `sink`.
///
/// # Errors
/// As [`Encryptor`], and [`EncryptError::Sink`].
pub fn encrypt(
    key: &Secret<32>,
    plaintext_len: u64,
    source: &mut impl Read,
    sink: &mut impl Write,
) -> Result<Sealed, EncryptError> {
    let mut encryptor = Encryptor::new(key, plaintext_len)?;
    while let Some(chunk) = encryptor.next_chunk(source)? {
        sink.write_all(chunk).map_err(EncryptError::Sink)?;
    }
    encryptor.finish()
}

/// [`Encryptor`] as a reader of stored bytes, for whoever uploads while encrypting.
#[derive(Debug)]
pub struct EncryptReader<R> {
    encryptor: Encryptor,
    source: R,
    /// How much of the chunk that the encryptor has lent was already read.
    taken: usize,
}

impl<R: Read> EncryptReader<R> {
    /// Starts to seal `plaintext_len` bytes of `source`.
    ///
    /// # Errors
    /// As [`Encryptor::new`].
    pub fn new(key: &Secret<32>, plaintext_len: u64, source: R) -> Result<Self, EncryptError> {
        Ok(Self {
            encryptor: Encryptor::new(key, plaintext_len)?,
            source,
            taken: 0,
        })
    }

    /// Bytes that will be read in all.
    #[must_use]
    pub const fn stored_size(&self) -> u64 {
        self.encryptor.stored_size()
    }

    /// Digest and sizes, once everything was read.
    ///
    /// # Errors
    /// [`EncryptError::Unfinished`] before a read has returned 0.
    pub fn finish(self) -> Result<Sealed, EncryptError> {
        self.encryptor.finish()
    }
}

impl<R: Read> Read for EncryptReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let used_up = match &self.encryptor.lent {
            Some(chunk) => self.taken >= chunk.len(),
            None => true,
        };
        if used_up {
            self.taken = 0;
            self.encryptor
                .next_chunk(&mut self.source)
                .map_err(io::Error::other)?;
        }
        let chunk = self.encryptor.lent.as_deref().unwrap_or_default();
        let (_, mut rest) = chunk.split_at_checked(self.taken).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.taken += read;
        Ok(read)
    }
}

#[cfg(test)]
pub(super) fn encrypt_with(
    digest: Digest,
    key: &Secret<32>,
    plaintext: &[u8],
) -> Result<(Sealed, Vec<u8>), EncryptError> {
    let len = plaintext.len() as u64;
    let mut encryptor = Encryptor::with_digest(key, len, stored_size(len), digest);
    let (mut source, mut stored) = (plaintext, Vec::new());
    while let Some(chunk) = encryptor.next_chunk(&mut source)? {
        stored.extend_from_slice(chunk);
    }
    Ok((encryptor.finish()?, stored))
}
