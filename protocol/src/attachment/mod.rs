//! Attachments and overflow: everything larger than an envelope, as padded STREAM (PROTOCOL §6.2).
//!
//! ```text
//! padded  = plaintext length 8 BE ‖ plaintext ‖ zeros
//! stored  = for each 64 KiB of padded, in order: ChaCha20-Poly1305( 64 KiB or the rest ) ‖ tag 16
//! nonce   = zeros 7 ‖ chunk number 4 BE ‖ 1 for the last chunk, else 0
//! key     = HKDF( file key 32, "kinline v1 kdf attachment" )
//! digest  = SHA-256( stored )
//! ```
//! The zeros are as many as make the stored size a Padmé class ([`stored_size`]), so that the
//! relay learns the class and nothing finer. The file key serves one file, so nonces may count.
//!
//! Key, digest and sizes travel to the reader in a [`Pointer`], inside a signed message. The
//! digest is over all stored bytes because a tag is not enough: whoever knows the key can make
//! two files that both open under it, show one to the child and another to the guardian it is
//! reported to. Hashing everything takes about as long as encrypting it, so from
//! [`PARALLEL_BYTES_MIN`] on it runs on a thread of its own beside the cipher; the bytes are
//! the same either way.
//!
//! Both directions work chunk by chunk in constant memory. [`Decryptor`] hands out a chunk only
//! after its tag has been checked, but a *file* is whole and the sender's only when
//! [`Decryptor::finish`] has said so: write to a temporary file, and show it after that.
//!
//! ```
//! use kinline_protocol::attachment::{Decryptor, Pointer, encrypt};
//! use kinline_protocol::secrets::Secret;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let photo = vec![0xd8_u8; 100_000];
//! let key = Secret::new([7; 32]); // drawn afresh for each file
//! let mut stored = Vec::new();
//! let sealed = encrypt(&key, 100_000, &mut photo.as_slice(), &mut stored)?;
//! let pointer = Pointer::new(Secret::new([8; 32]), key, &sealed);
//!
//! let mut decryptor = Decryptor::new(&pointer);
//! let mut received = Vec::new();
//! for piece in stored.chunks(1_000) {
//!     decryptor.push(piece, &mut received)?;
//! }
//! decryptor.finish()?;
//! assert_eq!(received, photo);
//! # Ok(())
//! # }
//! ```

mod decrypt;
mod digest;
mod encrypt;
mod layout;
mod overflow;
mod pointer;

pub use decrypt::{DecryptError, DecryptWriter, Decryptor};
pub use encrypt::{EncryptError, EncryptReader, Encryptor, Sealed, encrypt};
pub use layout::{CHUNK_BYTES, PARALLEL_BYTES_MIN, plaintext_bytes_max, stored_size};
pub use overflow::{decrypt_bytes, encrypt_bytes};
pub use pointer::{Pointer, PointerError};
