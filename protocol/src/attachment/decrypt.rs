//! From stored bytes, in whatever pieces they come, back to the plaintext.

use std::fmt;
use std::io::{self, Write};

use super::digest::{BATCH_CHUNKS, Batch, Digest};
use super::layout::{LENGTH_BYTES, STORED_CHUNK_BYTES, chunk_count};
use super::pointer::Pointer;
use crate::labels;
use crate::primitives::chacha::StreamOpener;
use crate::primitives::kdf;

/// Why stored bytes are not the file that the pointer names.
#[derive(Debug, thiserror::Error)]
pub enum DecryptError {
    /// The stored bytes end early.
    #[error("the file is cut off: {received} of {size} bytes came")]
    Truncated {
        /// Bytes that came.
        received: u64,
        /// Bytes there should be.
        size: u64,
    },
    /// There are more stored bytes than the pointer says.
    #[error("the file is longer than the {size} bytes that its sender announced")]
    Extended {
        /// Bytes there should be.
        size: u64,
    },
    /// The stored bytes are not those that the sender hashed: changed on the way.
    #[error("the file is not the one that its sender uploaded")]
    Digest,
    /// A chunk does not open at its place: wrong key, changed, or moved.
    #[error("part {index} of the file does not open: wrong key, changed, or not in its place")]
    Chunk {
        /// Counted from 0.
        index: u64,
    },
    /// The length inside the file is not the one in the pointer.
    #[error("the file says that it has {inside} bytes, its sender announced {announced}")]
    Size {
        /// What stands inside.
        inside: u64,
        /// What the pointer says.
        announced: u64,
    },
    /// What follows the plaintext is not all zero.
    #[error("the file's padding is not zero")]
    Padding,
    /// Larger than what a device fetches by itself.
    #[error("a message of {size} stored bytes is too large; {max} bytes is the most")]
    TooLarge {
        /// Bytes the pointer announces.
        size: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The plaintext can't be written.
    #[error("the decrypted file can't be written")]
    Sink(#[source] io::Error),
    /// An earlier piece was refused; nothing after it is looked at.
    #[error("the file was refused already")]
    Refused,
    /// The digest's thread gave up.
    #[error("decryption failed inside")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Opens one file from pieces of any length; holds about 1.5 MiB at most.
pub struct Decryptor {
    opener: StreamOpener,
    expected: Pointer,
    received: u64,
    /// The chunk that is being put together.
    chunk: Vec<u8>,
    batch: Batch,
    digest: Option<Digest>,
    opened: u64,
    /// Plaintext still to come; `None` before the length field was read.
    plaintext_left: Option<u64>,
    refused: bool,
    spare: Vec<Vec<u8>>,
}

impl Decryptor {
    /// Starts to read the file that `pointer` names.
    #[must_use]
    pub fn new(pointer: &Pointer) -> Self {
        Self::with_digest(pointer, Digest::for_size(pointer.size))
    }

    fn with_digest(pointer: &Pointer, digest: Digest) -> Self {
        let chunk_key = kdf::derive(pointer.key.expose(), labels::KDF_ATTACHMENT, &[]);
        Self {
            opener: StreamOpener::new(&chunk_key),
            expected: pointer.clone(),
            received: 0,
            chunk: Vec::new(),
            batch: Vec::new(),
            digest: Some(digest),
            opened: 0,
            plaintext_left: None,
            refused: false,
            spare: Vec::new(),
        }
    }

    /// Takes the next stored bytes and writes what has become readable to `plaintext`.
    ///
    /// The last part, and all of a file below about half a megabyte, is written only after
    /// the digest was found right.
    ///
    /// # Errors
    /// Any [`DecryptError`] but [`DecryptError::Truncated`]. What was written before then
    /// belongs thrown away; every later call is [`DecryptError::Refused`].
    pub fn push(&mut self, stored: &[u8], plaintext: &mut impl Write) -> Result<(), DecryptError> {
        if self.refused {
            return Err(DecryptError::Refused);
        }
        let result = self.take(stored, plaintext);
        self.refused = result.is_err();
        result
    }

    /// Says whether the file was whole and the sender's.
    ///
    /// # Errors
    /// [`DecryptError::Truncated`] when bytes are missing, [`DecryptError::Refused`] when an
    /// earlier piece was refused.
    pub fn finish(self) -> Result<(), DecryptError> {
        if self.refused {
            return Err(DecryptError::Refused);
        }
        // With its last byte a file's digest, sizes, last flag and padding were checked.
        let whole = self.received == self.expected.size
            && self.digest.is_none()
            && self.plaintext_left == Some(0);
        if whole {
            Ok(())
        } else {
            Err(DecryptError::Truncated {
                received: self.received,
                size: self.expected.size,
            })
        }
    }

    fn take(&mut self, mut stored: &[u8], plaintext: &mut impl Write) -> Result<(), DecryptError> {
        let size = self.expected.size;
        let left = size - self.received;
        if stored.len() as u64 > left {
            return Err(DecryptError::Extended { size });
        }
        while !stored.is_empty() {
            let before_chunk = self.received - self.chunk.len() as u64;
            let chunk_len = usize::try_from(size - before_chunk)
                .unwrap_or(usize::MAX)
                .min(STORED_CHUNK_BYTES);
            if self.chunk.capacity() < chunk_len {
                self.chunk.reserve_exact(chunk_len - self.chunk.len());
            }
            let wanted = (chunk_len - self.chunk.len()).min(stored.len());
            let (piece, rest) = stored.split_at_checked(wanted).unwrap_or((stored, &[]));
            self.chunk.extend_from_slice(piece);
            self.received += piece.len() as u64;
            stored = rest;
            if self.chunk.len() == chunk_len {
                self.chunk_complete(plaintext)?;
            }
        }
        Ok(())
    }

    fn chunk_complete(&mut self, plaintext: &mut impl Write) -> Result<(), DecryptError> {
        let next = self.spare.pop().unwrap_or_default();
        self.batch.push(std::mem::replace(&mut self.chunk, next));
        let last = self.received == self.expected.size;
        if self.batch.len() < BATCH_CHUNKS && !last {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_CHUNKS));
        let digest = self.digest.as_mut().ok_or(DecryptError::Refused)?;
        let through = digest.pass(batch).map_err(internal)?;
        let mut readable: Vec<Batch> = through.into_iter().collect();
        if last && let Some(digest) = self.digest.take() {
            let (rest, result) = digest.finish().map_err(internal)?;
            if result != self.expected.digest {
                return Err(DecryptError::Digest);
            }
            readable.extend(rest);
        }
        for chunk in readable.into_iter().flatten() {
            self.open_chunk(chunk, plaintext)?;
        }
        Ok(())
    }

    fn open_chunk(
        &mut self,
        mut chunk: Vec<u8>,
        plaintext: &mut impl Write,
    ) -> Result<(), DecryptError> {
        let index = self.opened;
        let last = index + 1 == chunk_count(self.expected.size);
        self.opener
            .open(last, &mut chunk)
            .map_err(|_| DecryptError::Chunk { index })?;
        self.opened += 1;
        let announced = self.expected.plaintext_size;
        let (left, body) = match self.plaintext_left {
            Some(left) => (left, chunk.as_slice()),
            None => {
                // A chunk is never shorter than the smallest class less its tag.
                let (length, body) = chunk
                    .split_first_chunk::<LENGTH_BYTES>()
                    .ok_or(DecryptError::Chunk { index })?;
                let inside = u64::from_be_bytes(*length);
                if inside != announced {
                    return Err(DecryptError::Size { inside, announced });
                }
                (inside, body)
            }
        };
        let readable = usize::try_from(left).unwrap_or(usize::MAX).min(body.len());
        let (readable, padding) = body.split_at_checked(readable).unwrap_or((body, &[]));
        if padding.iter().any(|byte| *byte != 0) {
            return Err(DecryptError::Padding);
        }
        plaintext.write_all(readable).map_err(DecryptError::Sink)?;
        self.plaintext_left = Some(left - readable.len() as u64);
        chunk.clear();
        self.spare.push(chunk);
        Ok(())
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryptor")
            .field("size", &self.expected.size)
            .field("received", &self.received)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> DecryptError {
    DecryptError::Internal(Box::new(error))
}

/// [`Decryptor`] as a writer of stored bytes around a sink for the plaintext.
#[derive(Debug)]
pub struct DecryptWriter<W> {
    decryptor: Decryptor,
    sink: W,
}

impl<W: Write> DecryptWriter<W> {
    /// Starts to read the file that `pointer` names into `sink`.
    #[must_use]
    pub fn new(pointer: &Pointer, sink: W) -> Self {
        Self {
            decryptor: Decryptor::new(pointer),
            sink,
        }
    }

    /// Stored bytes taken so far: where a broken download goes on.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.decryptor.received
    }

    /// Flushes and gives the sink back when the file was whole and the sender's.
    ///
    /// # Errors
    /// As [`Decryptor::finish`], and [`DecryptError::Sink`].
    pub fn finish(mut self) -> Result<W, DecryptError> {
        self.decryptor.finish()?;
        self.sink.flush().map_err(DecryptError::Sink)?;
        Ok(self.sink)
    }
}

impl<W: Write> Write for DecryptWriter<W> {
    /// Takes all of `stored`; an error wraps a [`DecryptError`].
    fn write(&mut self, stored: &[u8]) -> io::Result<usize> {
        self.decryptor
            .push(stored, &mut self.sink)
            .map_err(io::Error::other)?;
        Ok(stored.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
