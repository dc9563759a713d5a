//! Each spelling and each container one by one, on a made-up loot: what was planted is found as
//! what it is, and the same loot without it is clean.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kinline_thief::{Canaries, Detector, Finding, FindingKind, Options, Report, steal};
use md5::{Digest as _, Md5};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

const SEED: u64 = 64_990_000;
const NAME: &str = "Ottilie Brandt-Müller";
const MAIL: &str = "Ottilie.Brandt@familie.example";
const PLACE: &str = "52.520008, 13.404954";
const CODE: &str = "48392017";

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = ChaCha20Rng::seed_from_u64(SEED);
    let mut out = vec![0; bytes];
    random.fill_bytes(&mut out);
    out
}

fn options() -> Options {
    Options {
        controls: false,
        now_unix: Some(1_795_290_000),
        ..Options::default()
    }
}

/// Searches a loot of noise and innocent text, with `planted` in the middle of a file of noise.
fn search(planted: &[u8], options: &Options) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let noise = noise(20_000);
    let file = [&noise[..7_001], planted, &noise[7_001..]].concat();
    std::fs::write(folder.path().join("spill.bin"), file).unwrap();
    std::fs::write(
        folder.path().join("relay.log"),
        "INFO relay: ready, 17 mailboxes open\n",
    )
    .unwrap();
    let canaries = Canaries::from_lines([NAME, MAIL, PLACE, CODE]).unwrap();
    steal(folder.path(), &canaries, options).unwrap()
}

fn canary_findings(report: &Report) -> Vec<&Finding> {
    report
        .findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Canary)
        .collect()
}

#[track_caller]
fn found(label: &str, detector: Detector, planted: impl AsRef<[u8]>) {
    let planted = planted.as_ref();
    let report = search(planted, &options());
    let findings = canary_findings(&report);
    let hit = findings
        .iter()
        .find(|finding| finding.encoding.as_deref() == Some(label));
    let hit = hit.unwrap_or_else(|| panic!("{label} not among {findings:?}"));
    assert_eq!(hit.file, "spill.bin", "{label}");
    assert!(hit.within.is_empty() && (7_001..7_001 + planted.len() as u64).contains(&hit.offset));
    assert!(report.hits > 0 && !report.clean());
    let blind = search(planted, &options().without(detector));
    let labels = canary_findings(&blind);
    assert!(
        labels
            .iter()
            .all(|finding| finding.encoding.as_deref() != Some(label)),
        "{label}"
    );
}

#[test]
fn nothing_is_found_where_nothing_was_planted() {
    let report = search(b"", &options());
    assert_eq!((report.hits, report.findings.len()), (0, 0), "{report}");
    assert!(
        report.clean() && !report.ok(),
        "without controls nothing is proven"
    );
    assert_eq!((report.files, report.bytes), (2, 20_037));
    assert!(report.encodings >= 40 && report.needles > 300);
}

#[test]
fn texts_as_they_are() {
    found("raw", Detector::Raw, NAME);
    found("raw", Detector::Raw, "oTTILIE bRANDT-Müller");
    found("raw", Detector::Raw, NAME.to_uppercase());
    let latin: Vec<u8> = NAME.chars().map(|c| u32::from(c) as u8).collect();
    found("latin-1", Detector::Raw, latin);
    found(
        "utf-16le",
        Detector::Utf16,
        NAME.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<_>>(),
    );
    found(
        "utf-16be",
        Detector::Utf16,
        NAME.encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect::<Vec<_>>(),
    );
    found(
        "reversed-bytes",
        Detector::Reversed,
        NAME.bytes().rev().collect::<Vec<_>>(),
    );
    found(
        "reversed-characters",
        Detector::Reversed,
        NAME.chars().rev().collect::<String>(),
    );
}

#[test]
fn texts_as_numbers_and_letters() {
    let join = |separator: &str, write: fn(u8) -> String| {
        NAME.bytes().map(write).collect::<Vec<_>>().join(separator)
    };
    found("hex", Detector::Hex, hex::encode(NAME));
    found("hex", Detector::Hex, hex::encode_upper(NAME));
    found(
        "hex-spaced",
        Detector::Hex,
        join(" ", |b| format!("{b:02X}")),
    );
    found(
        "hex-colons",
        Detector::Hex,
        join(":", |b| format!("{b:02x}")),
    );
    found(
        "decimal-comma-space",
        Detector::Decimal,
        join(", ", |b| b.to_string()),
    );
    found(
        "decimal-comma",
        Detector::Decimal,
        join(",", |b| b.to_string()),
    );
    found(
        "decimal-space",
        Detector::Decimal,
        join(" ", |b| b.to_string()),
    );
    for (offset, before) in ["", "{", "\n\t"].into_iter().enumerate() {
        let text = format!("{before}{NAME}}}");
        found(
            &format!("base64-offset-{offset}"),
            Detector::Base64,
            STANDARD.encode(&text),
        );
        // A text whose encodings differ between the alphabets.
        let text = format!("{before}{PLACE}");
        found(
            &format!("base64-offset-{offset}"),
            Detector::Base64,
            URL_SAFE_NO_PAD.encode(text),
        );
    }
}

#[test]
fn texts_in_escapes() {
    let units = |all: bool| -> String {
        NAME.encode_utf16()
            .map(|u| {
                if all || u > 127 {
                    format!("\\u{u:04X}")
                } else {
                    String::from(char::from(u as u8))
                }
            })
            .collect()
    };
    let chars = |all: bool, write: fn(u32) -> String| -> String {
        NAME.chars()
            .map(|c| {
                if all || !c.is_ascii() {
                    write(c.into())
                } else {
                    c.into()
                }
            })
            .collect()
    };
    found("json", Detector::Escapes, units(false));
    found("json-all", Detector::Escapes, units(true));
    found("percent", Detector::Escapes, "Ottilie%20Brandt-M%C3%BCller");
    found(
        "percent-all",
        Detector::Escapes,
        NAME.bytes()
            .map(|b| format!("%{b:02X}"))
            .collect::<String>(),
    );
    found("form-plus", Detector::Escapes, "Ottilie+Brandt-M%c3%bcller");
    found(
        "xml-decimal",
        Detector::Escapes,
        chars(false, |c| format!("&#{c};")),
    );
    found(
        "xml-decimal",
        Detector::Escapes,
        chars(true, |c| format!("&#{c};")),
    );
    found(
        "xml-hex",
        Detector::Escapes,
        chars(true, |c| format!("&#x{c:X};")),
    );
    found(
        "rust-escapes",
        Detector::Escapes,
        NAME.escape_default().to_string(),
    );
    found(
        "byte-escapes",
        Detector::Escapes,
        NAME.as_bytes().escape_ascii().to_string(),
    );
    found(
        "octal-escapes",
        Detector::Escapes,
        "Ottilie Brandt-M\\303\\274ller",
    );
    found(
        "quoted-printable",
        Detector::Escapes,
        "Ottilie Brandt-M=C3=BCller",
    );
}

#[test]
fn hashes_whole_and_cut() {
    let mail = MAIL.to_lowercase();
    found("md5", Detector::Hashes, Md5::digest(&mail));
    found(
        "md5-hex",
        Detector::Hashes,
        hex::encode_upper(Md5::digest(&mail)),
    );
    found("sha1", Detector::Hashes, Sha1::digest(NAME));
    found("sha256", Detector::Hashes, &Sha256::digest(NAME)[..8]);
    found(
        "sha256-hex",
        Detector::Hashes,
        hex::encode(&Sha256::digest("ottilie.brandt")[..10]),
    );
    found(
        "sha256-base64",
        Detector::Hashes,
        STANDARD.encode(Sha256::digest(NAME.to_lowercase())),
    );
    found("sha512", Detector::Hashes, Sha512::digest(NAME));
    found(
        "sha512-base64",
        Detector::Hashes,
        URL_SAFE_NO_PAD.encode(Sha512::digest(NAME)),
    );
    found(
        "sha1-hex",
        Detector::Hashes,
        hex::encode(Sha1::digest(format!("{NAME}\n"))),
    );
}

#[test]
fn coordinates_as_floating_point() {
    found("float-be", Detector::Numbers, 52.520_008_f64.to_be_bytes());
    found("float-le", Detector::Numbers, 13.404_954_f64.to_le_bytes());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut stream = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    stream.write_all(bytes).unwrap();
    stream.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    stream.write_all(bytes).unwrap();
    stream.finish().unwrap()
}

fn letter() -> Vec<u8> {
    format!("my name is {NAME}, and {NAME} is my name; {NAME} it is").into_bytes()
}

#[track_caller]
fn found_within(containers: &[&str], detector: Detector, planted: &[u8]) {
    let within = |report: &Report| {
        canary_findings(report).iter().any(|finding| {
            let same = finding
                .within
                .iter()
                .zip(containers)
                .all(|(is, want)| is.starts_with(want));
            finding.within.len() == containers.len() && same
        })
    };
    let report = search(planted, &options());
    assert!(
        within(&report),
        "{containers:?} not in {:?}",
        report.findings
    );
    assert!(
        !within(&search(planted, &options().without(detector))),
        "{containers:?}"
    );
}

#[test]
fn inside_containers_and_containers_of_containers() {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    let zstd = |bytes: &[u8]| compress_to_vec(bytes, CompressionLevel::Fastest);
    found_within(&["gzip"], Detector::Gzip, &gzip(&letter()));
    found_within(&["zlib"], Detector::Zlib, &zlib(&letter()));
    found_within(&["zstd"], Detector::Zstd, &zstd(&letter()));
    found_within(&["gzip", "zlib"], Detector::Zlib, &gzip(&zlib(&letter())));
    found_within(
        &["base64", "gzip"],
        Detector::DecodedRuns,
        STANDARD.encode(gzip(&letter())).as_bytes(),
    );
    found_within(
        &["hex", "zstd"],
        Detector::DecodedRuns,
        hex::encode(zstd(&letter())).as_bytes(),
    );
    let mut zip = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0".to_vec();
    zip.extend_from_slice(&[0; 12]);
    zip.extend_from_slice(b"\x05\0\0\0a.txt");
    let zlib = zlib(&letter());
    zip.extend_from_slice(&zlib[2..zlib.len() - 4]);
    found_within(&["deflate"], Detector::Deflate, &zip);
}

#[test]
fn torn_streams_are_read_as_far_as_they_go() {
    let mut text = letter();
    text.extend(noise(4_000));
    let stream = gzip(&text);
    found_within(&["gzip"], Detector::Gzip, &stream[..stream.len() - 900]);
}

#[test]
fn long_texts_are_found_by_any_of_their_pages() {
    let text: String = "Der Zug nach Juist fährt mit der Flut. "
        .chars()
        .cycle()
        .take(5_000)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let page = text.chars().skip(2_000).take(700).collect::<String>();
    std::fs::write(
        folder.path().join("page"),
        [noise(999), page.into_bytes(), noise(999)].concat(),
    )
    .unwrap();
    let canaries = Canaries::from_lines([&text]).unwrap();
    assert!(steal(folder.path(), &canaries, &options()).unwrap().hits > 0);
}
