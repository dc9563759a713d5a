//! Recordings: what is taken, what comes out, what is refused.
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

use kinline_media::audio::{
    AudioError, AudioLimits, clean, clean_file, decode, duration_seconds, metadata_fields,
    metadata_values, similarity,
};
use support::{RECORDINGS, fixture, syllables, wav};

fn limits() -> AudioLimits {
    AudioLimits::default()
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

#[test]
fn every_container_is_taken_and_loses_its_tags() {
    let reference = fixture("voice.flac");
    for name in RECORDINGS {
        let original = fixture(name);
        let fields = metadata_fields(&original);
        let values = metadata_values(&original);
        assert!(fields.len() >= 3, "{name}: {fields:?}");
        assert!(
            values.iter().any(|(_, value)| value == "Juniper Halloway"),
            "{name}: {values:?}"
        );
        assert!(contains(&original, "Juniper Halloway"), "{name}");

        let cleaned = clean(&original, &limits()).unwrap();
        assert_eq!(cleaned.seconds, 0.8, "{name}: exact");
        assert_eq!(
            metadata_fields(&cleaned.ogg_opus),
            Vec::<String>::new(),
            "{name}"
        );
        for gone in ["Juniper", "Grandma", "kitchen", "Lavf", "LAME", "2015"] {
            assert!(!contains(&cleaned.ogg_opus, gone), "{name}: {gone}");
        }
        let heard = decode(&cleaned.ogg_opus).unwrap();
        assert_eq!(
            (heard.samples.len(), heard.seconds),
            (38_400, 0.8),
            "{name}"
        );
        assert!(cleaned.waveform.contains(&255), "{name}");
        let alike = similarity(&original, &cleaned.ogg_opus).unwrap();
        assert!(alike > 0.95, "{name}: {alike}");
        let alike = similarity(&reference, &cleaned.ogg_opus).unwrap();
        assert!(alike > 0.85, "{name} beside the first: {alike}");
    }
}

#[test]
fn lengths_are_exact_at_any_rate_and_length() {
    for (rate, frames) in [
        (48_000, 1),
        (48_000, 959),
        (48_000, 960),
        (48_000, 961),
        (48_000, 960 - 312),
        (48_000, 960 - 311),
        (48_000, 48_000),
        (44_100, 22_051),
        (8_000, 4_001),
        (192_000, 9_600),
        (11_025, 5_000),
    ] {
        let original = wav(&syllables(rate, frames), 1, rate, &[]);
        let cleaned = clean(&original, &limits()).unwrap();
        let samples = (frames as u64 * 48_000 + u64::from(rate) / 2) / u64::from(rate);
        assert_eq!(
            cleaned.seconds,
            samples as f64 / 48_000.0,
            "{rate} Hz, {frames}"
        );
        assert_eq!(
            decode(&cleaned.ogg_opus).unwrap().samples.len() as u64,
            samples
        );
        assert_eq!(
            duration_seconds(&cleaned.ogg_opus).unwrap(),
            cleaned.seconds
        );
        assert_eq!(
            duration_seconds(&original).unwrap(),
            frames as f64 / f64::from(rate)
        );
    }
}

/// The bytes themselves, by the specification: RFC 7845 §5.1, §5.2 and §4.4.
#[test]
fn the_file_is_what_rfc_7845_describes() {
    let cleaned = clean(&wav(&syllables(48_000, 100_000), 1, 48_000, &[]), &limits()).unwrap();
    let file = &cleaned.ogg_opus;
    assert_eq!(&file[..6], b"OggS\0\x02", "first page of a stream");
    assert_eq!(
        &file[28..47],
        b"OpusHead\x01\x01\x38\x01\x80\xBB\0\0\0\0\0",
        "mono, 312, 48 kHz"
    );
    let tags = file.windows(8).position(|w| w == b"OpusTags").unwrap();
    assert_eq!(
        &file[tags + 8..tags + 23],
        b"\x07\0\0\0kinline\0\0\0\0",
        "no comment"
    );
    assert_eq!(
        &file[tags + 23..tags + 27],
        b"OggS",
        "nothing behind the comments"
    );

    let mut granules = Vec::new();
    let mut last_flags = 0;
    let mut at = 0;
    while at < file.len() {
        assert_eq!(&file[at..at + 4], b"OggS");
        last_flags = file[at + 5];
        granules.push(u64::from_le_bytes(
            file[at + 6..at + 14].try_into().unwrap(),
        ));
        let segments = usize::from(file[at + 26]);
        let body: usize = file[at + 27..at + 27 + segments]
            .iter()
            .map(|&l| usize::from(l))
            .sum();
        at += 27 + segments + body;
    }
    assert_eq!(granules, [0, 0, 48_000, 96_000, 100_312]);
    assert_eq!(last_flags & 4, 4, "last page of the stream");
    let again = clean(&wav(&syllables(48_000, 100_000), 1, 48_000, &[]), &limits()).unwrap();
    assert_eq!(&again, &cleaned, "the same every time");
}

#[test]
fn channels_are_mixed() {
    // The same left and right is as loud; opposite left and right cancel out.
    let mono = syllables(16_000, 16_000);
    let twice: Vec<i16> = mono.iter().flat_map(|&s| [s, s]).collect();
    let opposite: Vec<i16> = mono.iter().flat_map(|&s| [s, -s]).collect();
    let energy = |bytes: &[u8]| {
        let cleaned = clean(bytes, &limits()).unwrap();
        let heard = decode(&cleaned.ogg_opus).unwrap().samples;
        heard.iter().map(|s| s * s).sum::<f32>() / heard.len() as f32
    };
    let plain = energy(&wav(&mono, 1, 16_000, &[]));
    let same = energy(&wav(&twice, 2, 16_000, &[]));
    assert!((same / plain - 1.0).abs() < 0.05, "{plain} {same}");
    assert!(energy(&wav(&opposite, 2, 16_000, &[])) < plain / 1_000.0);
    clean(&wav(&[0; 8_000], 8, 8_000, &[]), &limits()).unwrap();
}

#[test]
fn the_likeness_notices_another_recording() {
    let original = wav(&syllables(16_000, 32_000), 1, 16_000, &[]);
    let mut backwards = syllables(16_000, 32_000);
    backwards.reverse();
    let constant: Vec<i16> = (0..32_000)
        .map(|i: i32| if i % 40 < 20 { 8_000 } else { -8_000 })
        .collect();
    let shorter = syllables(16_000, 24_000);
    let alike = |samples: &[i16]| similarity(&original, &wav(samples, 1, 16_000, &[])).unwrap();
    assert!(alike(&syllables(16_000, 32_000)) > 0.999);
    assert!(alike(&backwards) < 0.5, "{}", alike(&backwards));
    assert!(alike(&constant) < 0.5, "{}", alike(&constant));
    assert!(alike(&[0; 32_000]) < 0.5, "{}", alike(&[0; 32_000]));
    assert_eq!(alike(&shorter), 0.0);
}

#[test]
fn tags_of_every_kind_are_found() {
    let info = b"INFOIART\x08\0\0\0Juniper\0";
    let told = wav(
        &syllables(8_000, 800),
        1,
        8_000,
        &[
            (b"LIST", info),
            (b"bext", &[b'x'; 602]),
            (b"iXML", b"<x/>"),
            (b"JUNK", &[0; 4]),
            (b"cue ", &[0; 4]),
        ],
    );
    assert_eq!(
        metadata_fields(&told),
        [
            "WAV INFO IART",
            "WAV broadcast extension",
            "WAV iXML chunk",
            "WAV cue chunk"
        ]
    );
    let cleaned = clean(&told, &limits()).unwrap();
    assert_eq!(metadata_fields(&cleaned.ogg_opus), Vec::<String>::new());

    // A comment, and a byte behind the last page, slipped into a clean recording.
    let tail = [cleaned.ogg_opus.as_slice(), b"x"].concat();
    assert_eq!(metadata_fields(&tail), ["1 bytes outside the Ogg pages"]);
    let further = [cleaned.ogg_opus.as_slice(), &fixture("voice.opus")].concat();
    assert!(metadata_fields(&further).contains(&"further stream in the Ogg file".to_owned()));

    // A FLAC picture and an application block.
    let flac = fixture("voice.flac");
    let (head, rest) = flac.split_at(42);
    let told = [head, b"\x06\0\0\x04ABCD\x02\0\0\x04abcd", rest].concat();
    let fields = metadata_fields(&told);
    assert!(fields.contains(&"FLAC picture".to_owned()), "{fields:?}");
    assert!(
        fields.contains(&"FLAC application block".to_owned()),
        "{fields:?}"
    );
    assert_eq!(
        clean(&told, &limits()).unwrap(),
        clean(&flac, &limits()).unwrap()
    );
}

#[test]
fn what_is_no_recording_is_named() {
    const ACCEPTED: &str = "accepted are WAV, FLAC, Ogg Vorbis, Ogg Opus, MP3 and M4A";
    let cases: [(&[u8], &str); 6] = [
        (b"", "the file is empty"),
        (
            b"\xFF\xD8\xFF\xE0\0\x10JFIF",
            "this looks like a JPEG picture",
        ),
        (b"Dear grandma, listen to this.", "this looks like a text"),
        (b"%PDF-1.7\n", "this looks like a PDF document"),
        (
            b"\x1A\x45\xDF\xA3\x01\0",
            "this looks like a Matroska or WebM video",
        ),
        (b"FORM\0\0\0\0AIFFCOMM", "this looks like an AIFF recording"),
    ];
    for (bytes, sentence) in cases {
        assert_eq!(
            clean(bytes, &limits()).unwrap_err().to_string(),
            format!("{sentence}; {ACCEPTED}")
        );
    }
    assert!(matches!(
        decode(&fixture("voice.flac")),
        Err(AudioError::NotAccepted { .. })
    ));
}

#[test]
fn files_that_claim_more_than_they_hold_are_refused() {
    let mut claims = wav(&syllables(8_000, 800), 1, 8_000, &[]);
    let at = claims.windows(4).position(|w| w == b"data").unwrap() + 4;
    claims[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        clean(&claims, &limits()).unwrap_err().to_string(),
        "the file claims to hold 3.9 GiB of sound, but has only 1.5 KiB: it is damaged or was cut \
         short"
    );
    for name in RECORDINGS {
        // Ogg and MP3 are made to be cut anywhere; the other containers say how long they are.
        let whole = fixture(name);
        let half = clean(&whole[..whole.len() / 2], &limits());
        let streams = name.ends_with("opus") || name.ends_with("ogg") || name.ends_with("mp3");
        assert!(half.is_err() || streams, "{name}");
    }
    let mut flac = fixture("voice.flac");
    flac.truncate(flac.len() - 2_000);
    assert!(matches!(clean(&flac, &limits()), Err(AudioError::Damaged)));
}

#[test]
fn limits_count_length_channels_rate_and_bytes() {
    let two_seconds = wav(&[0; 16_000], 1, 8_000, &[]);
    let short = AudioLimits {
        seconds_max: 1,
        ..limits()
    };
    assert!(matches!(
        clean(&two_seconds, &short),
        Err(AudioError::TooLong { seconds_max: 1 })
    ));
    let opus = clean(&two_seconds, &limits()).unwrap().ogg_opus;
    assert!(matches!(
        clean(&opus, &short),
        Err(AudioError::TooLong { .. })
    ));
    clean(
        &two_seconds,
        &AudioLimits {
            seconds_max: 2,
            ..limits()
        },
    )
    .unwrap();

    assert!(matches!(
        clean(&wav(&[0; 90], 9, 8_000, &[]), &limits()),
        Err(AudioError::Channels {
            channels: 9,
            channels_max: 8
        })
    ));
    for rate in [7_999, 192_001] {
        assert!(matches!(
            clean(&wav(&[0; 90], 1, rate, &[]), &limits()),
            Err(AudioError::SampleRate { .. })
        ));
    }
    assert!(matches!(
        clean(
            &two_seconds,
            &AudioLimits {
                file_bytes_max: 10,
                ..limits()
            }
        ),
        Err(AudioError::Read(_))
    ));
    assert!(matches!(
        clean(&wav(&[], 1, 8_000, &[]), &limits()),
        Err(AudioError::NoSound)
    ));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("voice");
    std::fs::write(&path, &two_seconds).unwrap();
    assert_eq!(
        clean_file(&path, &limits()).unwrap(),
        clean(&two_seconds, &limits()).unwrap()
    );
}

#[test]
fn silence_stays_silence() {
    let cleaned = clean(&wav(&[0; 4_000], 1, 8_000, &[]), &limits()).unwrap();
    assert_eq!(cleaned.waveform, [0; 64]);
    let loudest = decode(&cleaned.ogg_opus)
        .unwrap()
        .samples
        .iter()
        .fold(0.0_f32, |m, s| m.max(s.abs()));
    assert!(loudest < 0.001, "{loudest}");
}

#[test]
fn the_voice_that_ships_with_the_demo_is_cleaned() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../client-sim/assets/voice.flac");
    let voice = std::fs::read(path).unwrap();
    assert!(metadata_fields(&voice).len() >= 5);
    let cleaned = clean(&voice, &limits()).unwrap();
    assert!((cleaned.seconds - duration_seconds(&voice).unwrap()).abs() < 1.0 / 22_050.0);
    assert!(similarity(&voice, &cleaned.ogg_opus).unwrap() > 0.95);
}
