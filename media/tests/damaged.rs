//! Any bytes end as a result or as an error, never as a panic. A failing case is printed with
//! its input; `PROPTEST_RNG_SEED` repeats a run.
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
use kinline_media::{audio, photo};
use proptest::prelude::{ProptestConfig, any, proptest};
use support::exif::{Block, ascii, insert_segments, rationals, short};
use support::{
    RECORDINGS, fix_ogg_checksums, fixture, insert_chunks, jpeg, picture, png, png_chunk,
};

fn photos() -> Vec<Vec<u8>> {
    let block = Block {
        main: vec![short(0x0112, 6), ascii(0x010F, "Lakeside Optics")],
        exif: vec![ascii(0xA431, "LO-4471")],
        gps: vec![rationals(2, &[(54, 1), (41, 1), (2_817, 100)])],
        thumbnail_jpeg: vec![0xFF, 0xD8, 0xFF, 0xD9],
    };
    let plain = picture(24, 18);
    vec![
        insert_segments(&jpeg(&plain), &[block.segment()]),
        insert_chunks(
            &png(plain.as_raw(), 24, 18, ExtendedColorType::Rgb8),
            &[
                png_chunk(b"eXIf", &block.tiff()),
                png_chunk(b"tEXt", b"Author\0Juniper"),
            ],
        ),
        fixture("small.webp"),
    ]
}

/// Sets bytes, most of them near the front where the headers are, then perhaps cuts.
fn mutate(bytes: &mut Vec<u8>, changes: &[(u16, u8, bool)], keep: Option<u16>) {
    for (place, value, anywhere) in changes {
        let reach = if *anywhere {
            bytes.len()
        } else {
            bytes.len().min(1_024)
        };
        let at = usize::from(*place) % reach.max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = *value;
        }
    }
    if let Some(keep) = keep {
        bytes.truncate(usize::from(keep) % (bytes.len() + 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_photos(
        which in 0..3_usize,
        changes in proptest::collection::vec(any::<(u16, u8, bool)>(), 0..6),
        keep: Option<u16>,
    ) {
        let mut bytes = photos().swap_remove(which);
        mutate(&mut bytes, &changes, keep);
        let _ = photo::metadata_fields(&bytes);
        let _ = photo::metadata_values(&bytes);
        let limits = photo::PhotoLimits { pixels_max: 1_000_000, ..photo::PhotoLimits::default() };
        if let Ok(cleaned) = photo::clean(&bytes, &limits) {
            assert_eq!(photo::metadata_fields(&cleaned.jpeg), Vec::<String>::new());
        }
    }

    #[test]
    fn damaged_recordings(
        which in 0..RECORDINGS.len(),
        changes in proptest::collection::vec(any::<(u16, u8, bool)>(), 0..6),
        keep: Option<u16>,
    ) {
        let mut bytes = fixture(RECORDINGS[which]);
        mutate(&mut bytes, &changes, keep);
        fix_ogg_checksums(&mut bytes);
        let _ = audio::metadata_fields(&bytes);
        let _ = audio::metadata_values(&bytes);
        // Decoding alone: what encoding gets are samples, whatever the file was.
        let _ = audio::duration_seconds(&bytes);
    }

    #[test]
    fn bytes_behind_each_magic(
        magic in 0..9_usize,
        tail in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        const MAGICS: [&[u8]; 9] = [
            b"\xFF\xD8\xFF", b"\x89PNG\r\n\x1a\n", b"RIFF\xFF\xFF\0\0WEBP", b"RIFF\xFF\xFF\0\0WAVEfmt ",
            b"fLaC", b"ID3\x04\0\0\0\0\x01\0", b"\xFF\xFB\x90\x64", b"\0\0\0\x10ftypM4A \0\0\0\0",
            b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead",
        ];
        let bytes = [MAGICS[magic], &tail].concat();
        let _ = photo::metadata_fields(&bytes);
        let _ = audio::metadata_fields(&bytes);
        let _ = photo::clean(&bytes, &photo::PhotoLimits::default());
        let _ = audio::duration_seconds(&bytes);
    }
}
