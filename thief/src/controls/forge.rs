//! Makes the things that leak: pictures, streams, sealed bodies, noise.

use std::io::Write as _;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use sha2::{Digest as _, Sha256};

/// Bytes that look like ciphertext, the same for the same label.
pub(crate) fn noise(label: &str, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.saturating_add(32));
    let mut counter = 0_u64;
    while out.len() < bytes {
        let block = Sha256::new()
            .chain_update(label)
            .chain_update(counter.to_le_bytes());
        out.extend_from_slice(&block.finalize());
        counter = counter.saturating_add(1);
    }
    out.truncate(bytes);
    out
}

/// 32 bytes that look like a key.
pub(crate) fn key(label: &str) -> [u8; 32] {
    Sha256::digest(label).into()
}

/// A text in surroundings that make a compressor change every byte of it.
fn letter(text: &str) -> String {
    format!("und dann sagte sie: {text}! {text}? und dann sagte sie noch einmal: {text}. ")
        .repeat(3)
}

/// A gzip stream around a text.
pub(crate) fn gzip(text: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = GzEncoder::new(Vec::new(), Compression::best());
    stream.write_all(letter(text).as_bytes())?;
    stream.finish()
}

/// A zlib stream around a text.
pub(crate) fn zlib(text: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = ZlibEncoder::new(Vec::new(), Compression::best());
    stream.write_all(letter(text).as_bytes())?;
    stream.finish()
}

/// A zstd frame around a text.
pub(crate) fn zstd(text: &str) -> Vec<u8> {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    compress_to_vec(letter(text).as_bytes(), CompressionLevel::Fastest)
}

/// The beginning of a JPEG (ITU T.81 Annex B, JFIF 1.01) with a comment segment.
pub(crate) fn jpeg_with_text(text: &str) -> Vec<u8> {
    let mut picture = b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x48\0\x48\0\0".to_vec();
    picture.extend(segment(0xfe, text.as_bytes()));
    picture.extend(segment(0xdb, &[[0].as_slice(), &[16; 64]].concat()));
    picture.extend_from_slice(b"\xff\xd9");
    picture
}

/// The beginning of a JPEG whose EXIF block (CIPA DC-008) names a camera.
pub(crate) fn jpeg_with_camera(model: &str) -> Vec<u8> {
    let name = [model.as_bytes(), b"\0"].concat();
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0".to_vec();
    exif.extend_from_slice(&0x0110_u16.to_le_bytes()); // Model
    exif.extend_from_slice(&2_u16.to_le_bytes()); // ASCII
    exif.extend_from_slice(&u32::try_from(name.len()).unwrap_or(0).to_le_bytes());
    exif.extend_from_slice(&26_u32.to_le_bytes()); // behind header, one entry and the end of the list
    exif.extend_from_slice(&0_u32.to_le_bytes());
    exif.extend_from_slice(&name);
    let mut picture = b"\xff\xd8".to_vec();
    picture.extend(segment(0xe1, &exif));
    picture.extend_from_slice(b"\xff\xd9");
    picture
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len().saturating_add(2)).unwrap_or(u16::MAX);
    [[0xff, marker].as_slice(), &length.to_be_bytes(), body].concat()
}

/// An envelope as the protocol seals it: nonce 24, ciphertext, tag 16, in all 1,024 bytes.
pub(crate) fn envelope(key: [u8; 32], mailbox: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let nonce = noise("control envelope nonce", 24);
    let payload = vec![0; 1024 - 24 - 16];
    let aad = [mailbox, message].concat();
    let cipher = XChaCha20Poly1305::new(&Key::from(key));
    let nonce_24 = XNonce::from(*nonce.first_chunk::<24>()?);
    let sealed = cipher
        .encrypt(
            &nonce_24,
            Payload {
                msg: &payload,
                aad: &aad,
            },
        )
        .ok()?;
    Some([nonce, sealed].concat())
}
