//! Encryption and decryption against each other, and against everything a relay can do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::io::{self, Read, Write};

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::super::digest::Digest;
use super::super::encrypt::encrypt_with;
use super::super::layout::{CHUNK_BYTES, STORED_CHUNK_BYTES, plaintext_bytes_max, stored_size};
use super::super::{
    DecryptError, DecryptWriter, Decryptor, EncryptError, EncryptReader, Encryptor, Pointer,
    decrypt_bytes, encrypt, encrypt_bytes,
};
use crate::labels;
use crate::limits::{BLOB_BYTES_MAX, OVERFLOW_BYTES_MAX};
use crate::primitives::chacha::StreamSealer;
use crate::primitives::{hash, kdf};
use crate::secrets::Secret;

const KEY: Secret<32> = Secret::new([1; 32]);

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha20Rng::from_seed([len as u8; 32]).fill_bytes(&mut bytes);
    bytes
}

fn sealed(plaintext: &[u8]) -> (Pointer, Vec<u8>) {
    let (sealed, stored) = encrypt_with(Digest::here(), &KEY, plaintext).unwrap();
    (Pointer::new(Secret::new([2; 32]), KEY, &sealed), stored)
}

fn opened(pointer: &Pointer, stored: &[u8], piece: usize) -> Result<Vec<u8>, DecryptError> {
    opened_with(Digest::here(), pointer, stored, piece)
}

fn opened_with(
    digest: Digest,
    pointer: &Pointer,
    stored: &[u8],
    piece: usize,
) -> Result<Vec<u8>, DecryptError> {
    let mut decryptor = Decryptor::with_digest(pointer, digest);
    let mut plaintext = Vec::new();
    for piece in stored.chunks(piece) {
        decryptor.push(piece, &mut plaintext)?;
    }
    decryptor.finish()?;
    Ok(plaintext)
}

/// Stored bytes that a sender with its own software made: `padded` is sealed as it is.
fn forged(padded: &[u8], size: u64, plaintext_size: u64) -> (Pointer, Vec<u8>) {
    let key = kdf::derive(KEY.expose(), labels::KDF_ATTACHMENT, &[]);
    let mut sealer = StreamSealer::new(&key);
    let mut stored = Vec::new();
    let count = padded.len().div_ceil(CHUNK_BYTES);
    for (index, chunk) in padded.chunks(CHUNK_BYTES).enumerate() {
        let mut chunk = chunk.to_vec();
        sealer.seal(index + 1 == count, &mut chunk).unwrap();
        stored.extend_from_slice(&chunk);
    }
    let pointer = Pointer {
        read_secret: Secret::new([2; 32]),
        key: KEY,
        digest: hash::sha256(&stored),
        size,
        plaintext_size,
    };
    (pointer, stored)
}

const LENGTHS: [usize; 9] = [
    0,
    1,
    1_000,
    1_001,
    CHUNK_BYTES - 8,
    CHUNK_BYTES - 7,
    3 * CHUNK_BYTES - 8,
    10 * CHUNK_BYTES,
    30 * CHUNK_BYTES + 5,
];

#[test]
fn every_length_comes_back_in_the_announced_size_on_one_thread_and_on_two() {
    for len in LENGTHS {
        let plaintext = noise(len);
        let (pointer, stored) = sealed(&plaintext);
        assert_eq!(stored.len() as u64, stored_size(len as u64), "{len}");
        assert_eq!(pointer.size, stored.len() as u64);
        assert_eq!(pointer.digest, hash::sha256(&stored));
        assert_eq!(Pointer::try_from(&pointer.to_wire()).as_ref(), Ok(&pointer));
        let beside = encrypt_with(Digest::beside(), &KEY, &plaintext).unwrap();
        assert_eq!(beside, (sealed_of(&pointer), stored.clone()));
        for piece in [1_000, STORED_CHUNK_BYTES, usize::MAX] {
            let here = opened_with(Digest::here(), &pointer, &stored, piece);
            assert_eq!(here.unwrap(), plaintext, "{len}");
            let beside = opened_with(Digest::beside(), &pointer, &stored, piece);
            assert_eq!(beside.unwrap(), plaintext, "{len}");
        }
    }
}

fn sealed_of(pointer: &Pointer) -> super::super::Sealed {
    super::super::Sealed {
        digest: pointer.digest,
        size: pointer.size,
        plaintext_size: pointer.plaintext_size,
    }
}

#[test]
fn reader_and_writer_do_the_same() {
    for len in [0, 1_000, 200_000, 5_000_000] {
        let plaintext = noise(len);
        let mut reader = EncryptReader::new(&KEY, len as u64, plaintext.as_slice()).unwrap();
        assert_eq!(reader.stored_size(), stored_size(len as u64));
        let mut stored = Vec::new();
        reader.read_to_end(&mut stored).unwrap();
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        let result = reader.finish().unwrap();
        let (pointer, expected) = sealed(&plaintext);
        assert!(stored == expected && result == sealed_of(&pointer));

        let mut writer = DecryptWriter::new(&pointer, Vec::new());
        io::copy(&mut stored.as_slice(), &mut writer).unwrap();
        assert_eq!(writer.received(), pointer.size);
        assert!(writer.finish().unwrap() == plaintext);
    }
}

#[test]
fn a_file_read_half_has_no_digest() {
    let mut reader = EncryptReader::new(&KEY, 200_000, io::repeat(1).take(200_000)).unwrap();
    reader.read_exact(&mut [0; 70_000]).unwrap();
    assert!(matches!(reader.finish(), Err(EncryptError::Unfinished)));
}

#[test]
fn a_source_that_changes_while_it_is_read_is_noticed() {
    let mut sink = Vec::new();
    let shorter = encrypt(&KEY, 100_000, &mut noise(99_990).as_slice(), &mut sink);
    assert!(matches!(
        shorter,
        Err(EncryptError::Shorter { missing: 10 })
    ));
    let longer = encrypt(&KEY, 100_000, &mut noise(100_001).as_slice(), &mut sink);
    assert!(matches!(longer, Err(EncryptError::Longer)));
}

#[test]
fn a_source_or_sink_that_fails_is_said_so() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let read = encrypt(&KEY, 5, &mut Broken, &mut Vec::new());
    assert!(matches!(read, Err(EncryptError::Source(_))));
    let written = encrypt(&KEY, 5, &mut [0; 5].as_slice(), &mut Broken);
    assert!(matches!(written, Err(EncryptError::Sink(_))));
    let (pointer, stored) = sealed(&noise(10));
    let mut decryptor = Decryptor::new(&pointer);
    let result = decryptor.push(&stored, &mut Broken);
    assert!(matches!(result, Err(DecryptError::Sink(_))));
    assert!(matches!(decryptor.finish(), Err(DecryptError::Refused)));
}

#[test]
fn an_encryption_never_goes_on_after_an_error() {
    /// Fails once, before the first byte.
    struct Hiccup(bool);
    impl Read for Hiccup {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, false) {
                return Err(io::Error::other("not yet"));
            }
            buffer.fill(1);
            Ok(buffer.len())
        }
    }
    let mut source = Hiccup(true);
    let mut encryptor = Encryptor::new(&KEY, 10).unwrap();
    let first = encryptor.next_chunk(&mut source);
    assert!(matches!(first, Err(EncryptError::Source(_))));
    let second = encryptor.next_chunk(&mut source);
    assert!(matches!(second, Err(EncryptError::Unfinished)));
    assert!(matches!(encryptor.finish(), Err(EncryptError::Unfinished)));
}

#[test]
fn too_large_is_refused_before_a_byte_is_read() {
    assert!(Encryptor::new(&KEY, plaintext_bytes_max()).is_ok());
    for plaintext_len in [plaintext_bytes_max() + 1, u64::MAX] {
        let result = Encryptor::new(&KEY, plaintext_len);
        assert!(matches!(result, Err(EncryptError::TooLarge { .. })));
    }
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let result = encrypt_bytes(&vec![0; OVERFLOW_BYTES_MAX as usize], &mut rng);
    assert!(matches!(result, Err(EncryptError::TooLarge { .. })));
    let (mut pointer, stored) = encrypt_bytes(b"text", &mut rng).unwrap();
    pointer.size = BLOB_BYTES_MAX;
    let result = decrypt_bytes(&pointer, &stored);
    assert!(matches!(result, Err(DecryptError::TooLarge { .. })));
}

#[test]
fn a_pointer_that_claims_much_costs_no_memory() {
    let (mut pointer, _) = sealed(&noise(10));
    (pointer.size, pointer.plaintext_size) = (BLOB_BYTES_MAX, plaintext_bytes_max());
    let mut decryptor = Decryptor::new(&pointer);
    decryptor.push(&[0; 100], &mut io::sink()).unwrap();
    assert!(decryptor.chunk.capacity() <= STORED_CHUNK_BYTES);
    assert!(matches!(
        decryptor.finish(),
        Err(DecryptError::Truncated {
            received: 100,
            size: BLOB_BYTES_MAX
        })
    ));
}

#[test]
fn overflow_comes_back_under_fresh_secrets() {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let (pointer, stored) = encrypt_bytes(b"a long text", &mut rng).unwrap();
    assert_eq!(decrypt_bytes(&pointer, &stored).unwrap(), b"a long text");
    let (other, other_stored) = encrypt_bytes(b"a long text", &mut rng).unwrap();
    assert!(pointer.key != other.key && pointer.read_secret != other.read_secret);
    assert!(stored != other_stored);
}

#[test]
fn every_truncation_and_an_extension_are_refused() {
    let (pointer, stored) = sealed(&noise(500));
    for len in 0..stored.len() {
        let result = opened(&pointer, &stored[..len], 333);
        let Err(DecryptError::Truncated { received, size }) = result else {
            panic!("{len}: {result:?}");
        };
        assert_eq!((received, size), (len as u64, 1_024));
    }
    let longer = [&stored[..], &[0]].concat();
    for piece in [1, 1_024, usize::MAX] {
        let result = opened(&pointer, &longer, piece);
        assert!(matches!(
            result,
            Err(DecryptError::Extended { size: 1_024 })
        ));
    }
}

#[test]
fn a_large_file_cut_at_a_chunk_border_is_refused() {
    let (pointer, stored) = sealed(&noise(20 * CHUNK_BYTES));
    for chunks in [1, 8, 16, 20] {
        let result = opened(&pointer, &stored[..chunks * STORED_CHUNK_BYTES], usize::MAX);
        assert!(
            matches!(result, Err(DecryptError::Truncated { .. })),
            "{chunks}"
        );
    }
}

#[test]
fn chunks_out_of_their_place_are_refused_even_when_the_digest_agrees() {
    let (mut pointer, stored) = sealed(&noise(3 * CHUNK_BYTES - 8));
    let chunks: Vec<&[u8]> = stored.chunks(STORED_CHUNK_BYTES).collect();
    assert_eq!(chunks.len(), 4);
    for (order, index) in [([1, 0, 2, 3], 0), ([0, 2, 1, 3], 1), ([0, 1, 1, 3], 2)] {
        let moved = order.map(|at| chunks[at]).concat();
        let result = opened(&pointer, &moved, usize::MAX);
        assert!(matches!(result, Err(DecryptError::Digest)), "by the relay");
        pointer.digest = hash::sha256(&moved);
        let Err(DecryptError::Chunk { index: refused }) = opened(&pointer, &moved, usize::MAX)
        else {
            panic!("by the sender");
        };
        assert_eq!(refused, index);
        pointer.digest = hash::sha256(&stored);
    }
}

#[test]
fn the_last_flag_is_checked() {
    // Cut to two chunks, with digest and size to match: the second was not sealed as the last.
    let (pointer, stored) = sealed(&noise(3 * CHUNK_BYTES - 8));
    let cut = &stored[..2 * STORED_CHUNK_BYTES];
    let pointer = Pointer {
        digest: hash::sha256(cut),
        size: cut.len() as u64,
        ..pointer
    };
    let result = opened(&pointer, cut, usize::MAX);
    assert!(matches!(result, Err(DecryptError::Chunk { index: 1 })));
}

#[test]
fn another_key_or_digest_is_refused() {
    let (pointer, stored) = sealed(&noise(100_000));
    let other = Pointer {
        key: Secret::new([9; 32]),
        ..pointer.clone()
    };
    let result = opened(&other, &stored, usize::MAX);
    assert!(matches!(result, Err(DecryptError::Chunk { index: 0 })));
    let other = Pointer {
        digest: [9; 32],
        ..pointer
    };
    let result = opened(&other, &stored, usize::MAX);
    assert!(matches!(result, Err(DecryptError::Digest)));
}

#[test]
fn what_a_sender_forges_inside_is_refused() {
    let mut padded = vec![0; 1_008];
    padded[..8].copy_from_slice(&5_u64.to_be_bytes());
    let (pointer, stored) = forged(&padded, 1_024, 5);
    assert_eq!(opened(&pointer, &stored, usize::MAX).unwrap(), [0; 5]);

    let (pointer, stored) = forged(&padded, 1_024, 6);
    let result = opened(&pointer, &stored, usize::MAX);
    assert!(matches!(
        result,
        Err(DecryptError::Size {
            inside: 5,
            announced: 6
        })
    ));

    padded[1_007] = 1;
    let (pointer, stored) = forged(&padded, 1_024, 5);
    let result = opened(&pointer, &stored, usize::MAX);
    assert!(matches!(result, Err(DecryptError::Padding)));

    // A length past the end of the stream never counts as whole.
    padded[..8].copy_from_slice(&2_000_u64.to_be_bytes());
    let (pointer, stored) = forged(&padded, 1_024, 2_000);
    let result = opened(&pointer, &stored, usize::MAX);
    assert!(matches!(result, Err(DecryptError::Truncated { .. })));
}

#[test]
fn nothing_of_a_small_file_is_released_before_its_digest_was_checked() {
    let (pointer, mut stored) = sealed(&noise(300_000));
    let last = stored.len() - 1;
    stored[last] ^= 1;
    let mut plaintext = Vec::new();
    let result = Decryptor::new(&pointer).push(&stored, &mut plaintext);
    assert!(matches!(result, Err(DecryptError::Digest)));
    assert!(plaintext.is_empty());
}

#[test]
fn what_was_refused_stays_refused() {
    let (pointer, mut stored) = sealed(&noise(100));
    stored[0] ^= 1;
    let mut decryptor = Decryptor::new(&pointer);
    assert!(decryptor.push(&stored, &mut io::sink()).is_err());
    let again = decryptor.push(&[], &mut io::sink());
    assert!(matches!(again, Err(DecryptError::Refused)));
    assert!(matches!(decryptor.finish(), Err(DecryptError::Refused)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_file_in_any_pieces_comes_back(
        plaintext in prop::collection::vec(any::<u8>(), 0..150_000), piece in 1..200_000_usize,
    ) {
        let (pointer, stored) = sealed(&plaintext);
        assert!(opened(&pointer, &stored, piece).unwrap() == plaintext);
    }

    #[test]
    fn every_changed_byte_is_noticed(at in 0..69_632_usize, change in 1..=255_u8, fix in any::<bool>()) {
        let (mut pointer, mut stored) = sealed(&noise(68_000));
        stored[at % 69_632] ^= change;
        if fix {
            pointer.digest = hash::sha256(&stored);
        }
        match opened(&pointer, &stored, usize::MAX) {
            Err(DecryptError::Digest) => assert!(!fix),
            Err(DecryptError::Chunk { index }) => {
                assert!(fix);
                assert_eq!(index, (at / STORED_CHUNK_BYTES) as u64);
            }
            other => panic!("{other:?}"),
        }
    }
}
