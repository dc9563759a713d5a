//! What claims to be enormous is refused in little memory. In a file and process of its own: the
//! peak is the whole process's.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod support;

use image::ExtendedColorType;
use kinline_media::audio::{self, AudioLimits};
use kinline_media::photo::{self, PhotoError, PhotoLimits};
use support::{fix_ogg_checksums, fixture, jpeg, picture, png, png_chunk, wav};

/// The most memory that this process ever held, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn replace(bytes: &mut [u8], after: &[u8], skip: usize, with: &[u8]) {
    let at = bytes.windows(after.len()).position(|w| w == after).unwrap() + after.len() + skip;
    bytes[at..at + with.len()].copy_from_slice(with);
}

/// A Vorbis stream whose only codebook, in 22 bytes that contradict nothing, expands to 65,535 x
/// 16,777,215 numbers: 4 TiB, for which a decoder would ask at once.
fn vorbis_4_tib() -> Vec<u8> {
    let mut bits = Vec::new();
    for (value, count) in [
        (0_u64, 8),       // one codebook
        (0x56_4342, 24),  // its magic number
        (65_535, 16),     // dimensions
        (16_777_215, 24), // entries
        (1, 1),           // lengths in order:
        (0, 5),           // the first is one bit,
        (16_777_215, 24), // and so are all
        (1, 4),           // values by lattice,
        (0, 64),          // from nothing by nothing,
        (0, 4),           // one bit each,
        (0, 1),           // independent,
        (1, 1),           // of which there is one
    ] {
        bits.extend((0..count).map(|place| (value >> place) & 1 == 1));
    }
    let mut setup = b"\x05vorbis".to_vec();
    setup.extend(bits.chunks(8).map(|byte| {
        byte.iter()
            .enumerate()
            .fold(0_u8, |sum, (place, bit)| sum | (u8::from(*bit) << place))
    }));
    setup.extend([0; 32]);
    let identification = fixture("voice.ogg")[28..58].to_vec();
    let comments = b"\x03vorbis\0\0\0\0\0\0\0\0\x01".to_vec();
    let mut file = Vec::new();
    for (number, packet) in [identification, comments, setup, vec![0; 40]]
        .iter()
        .enumerate()
    {
        let flags = [2, 0, 0, 4][number];
        file.extend([b"OggS\0".as_slice(), &[flags], &[0; 8], &[7, 0, 0, 0]].concat());
        file.extend([number as u8, 0, 0, 0, 0, 0, 0, 0, 1, packet.len() as u8]);
        file.extend(packet);
    }
    fix_ogg_checksums(&mut file);
    file
}

#[test]
fn enormous_claims_take_little_memory() {
    let mut huge_jpeg = jpeg(&picture(60, 40));
    // Frame header: length, precision, height, width.
    replace(&mut huge_jpeg, &[0xFF, 0xC0], 3, &[0xC3, 0x50, 0xC3, 0x50]);
    let small_png = png(picture(60, 40).as_raw(), 60, 40, ExtendedColorType::Rgb8);
    let side = 50_000_u32.to_be_bytes();
    let header = png_chunk(
        b"IHDR",
        &[&side, &side, [8_u8, 2, 0, 0, 0].as_slice()].concat(),
    );
    let huge_png = [&small_png[..8], &header, &small_png[33..]].concat();

    let mut wav_4_gib = wav(&[0; 4_000], 1, 8_000, &[]);
    replace(&mut wav_4_gib, b"data", 0, &u32::MAX.to_le_bytes());
    let mut mp4_4_gib = fixture("voice-aac.m4a");
    replace(&mut mp4_4_gib, b"stsz", 8, &u32::MAX.to_be_bytes());
    let mut alac_4_gib = fixture("voice-alac.m4a");
    // The cookie follows the second "alac", its version and flags.
    let second = alac_4_gib
        .windows(4)
        .enumerate()
        .filter(|(_, w)| w == b"alac")
        .nth(1)
        .unwrap()
        .0;
    alac_4_gib[second + 8..second + 12].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut flac_comments = fixture("voice.flac");
    // The vendor's length in the comment block that follows the stream info.
    flac_comments[46..50].copy_from_slice(&u32::MAX.to_le_bytes());
    let vorbis = vorbis_4_tib();

    let before = peak_kib();
    for huge in [&huge_jpeg, &huge_png] {
        let error = photo::clean(huge, &PhotoLimits::default()).unwrap_err();
        assert!(
            matches!(
                error,
                PhotoError::TooManyPixels {
                    width: 50_000,
                    height: 50_000,
                    ..
                }
            ),
            "{error}"
        );
        let _ = photo::metadata_fields(huge);
    }
    for huge in [&wav_4_gib, &mp4_4_gib, &alac_4_gib, &vorbis] {
        let error = audio::clean(huge, &AudioLimits::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("damaged or was cut short"), "{error}");
        let _ = audio::metadata_fields(huge);
    }
    let _ = audio::metadata_fields(&flac_comments);
    let _ = audio::clean(&flac_comments, &AudioLimits::default());
    let grown = peak_kib() - before;
    assert!(grown < 32 << 10, "{grown} KiB");
}
