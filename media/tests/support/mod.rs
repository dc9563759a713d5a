//! Pictures and files for the tests.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod exif;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

/// A picture that looks different from every side: bright top left, red to the right, a dark bar
/// at the bottom.
pub fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let across = (x * 255 / width.max(1)) as u8;
        let down = (y * 255 / height.max(1)) as u8;
        if y * 5 > height * 4 && x * 2 < width {
            Rgb([10, 20, 30])
        } else if x * 4 < width && y * 4 < height {
            Rgb([250, 250, 240])
        } else {
            Rgb([across, 120, 255 - down])
        }
    })
}

pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, 90)
        .encode_image(picture)
        .unwrap();
    out
}

pub fn png(pixels: &[u8], width: u32, height: u32, color: ExtendedColorType) -> Vec<u8> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out)
        .write_image(pixels, width, height, color)
        .unwrap();
    out
}

/// A PNG chunk with its checksum.
pub fn png_chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in kind.iter().chain(body) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    [
        &(body.len() as u32).to_be_bytes(),
        kind.as_slice(),
        body,
        &(!crc).to_be_bytes(),
    ]
    .concat()
}

/// A PNG with chunks put in behind its header chunk.
pub fn insert_chunks(png: &[u8], chunks: &[Vec<u8>]) -> Vec<u8> {
    let (start, rest) = png.split_at(33);
    [start, &chunks.concat(), rest].concat()
}

/// A 16-bit WAV, with chunks before the data.
pub fn wav(samples: &[i16], channels: u16, rate: u32, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WAVEfmt \x10\0\0\0\x01\0".to_vec();
    body.extend(channels.to_le_bytes());
    body.extend(rate.to_le_bytes());
    body.extend((rate * u32::from(channels) * 2).to_le_bytes());
    body.extend((channels * 2).to_le_bytes());
    body.extend(16_u16.to_le_bytes());
    for (kind, content) in chunks {
        body.extend(*kind);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(*content);
    }
    body.extend(b"data");
    body.extend((samples.len() as u32 * 2).to_le_bytes());
    body.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    [
        b"RIFF".as_slice(),
        &(body.len() as u32).to_le_bytes(),
        &body,
    ]
    .concat()
}

/// A tone that swells and fades four times a second, like syllables.
pub fn syllables(rate: u32, frames: usize) -> Vec<i16> {
    (0..frames)
        .map(|i| {
            let t = i as f64 / f64::from(rate);
            let swell = (t * 4.0 * std::f64::consts::TAU).sin().max(0.0) * (1.0 - t * 0.1).max(0.1);
            ((t * 330.0 * std::f64::consts::TAU).sin() * swell * 16_000.0) as i16
        })
        .collect()
}

pub fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    std::fs::read(path).unwrap()
}

/// Makes the checksums of Ogg pages right again, as whoever damages a file on purpose would.
pub fn fix_ogg_checksums(bytes: &mut [u8]) {
    let mut at = 0;
    while bytes.get(at..at + 4) == Some(b"OggS") && at + 27 < bytes.len() {
        let segments = usize::from(bytes[at + 26]);
        let Some(lacing) = bytes.get(at + 27..at + 27 + segments) else {
            return;
        };
        let end = at + 27 + segments + lacing.iter().map(|&l| usize::from(l)).sum::<usize>();
        let Some(page) = bytes.get_mut(at..end) else {
            return;
        };
        page[22..26].fill(0);
        let mut crc = 0_u32;
        for byte in page.iter() {
            crc ^= u32::from(*byte) << 24;
            for _ in 0..8 {
                crc = if crc >> 31 == 1 {
                    (crc << 1) ^ 0x04C1_1DB7
                } else {
                    crc << 1
                };
            }
        }
        page[22..26].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
}

pub const RECORDINGS: [&str; 8] = [
    "voice.wav",
    "voice.flac",
    "voice.ogg",
    "voice.opus",
    "voice-stereo.opus",
    "voice.mp3",
    "voice-aac.m4a",
    "voice-alac.m4a",
];
