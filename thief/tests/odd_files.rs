//! Empty, broken, endless and very long files, links, and needles too short to be told from chance.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::path::Path;

use kinline_thief::{Canaries, Options, Report, ThiefError, steal};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
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

fn search(folder: &Path, canaries: &[&str]) -> Report {
    steal(folder, &Canaries::from_lines(canaries).unwrap(), &options()).unwrap()
}

#[test]
fn a_folder_that_is_empty_or_missing_is_an_error() {
    let canaries = Canaries::from_lines(["Ottilie Brandt"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let empty = steal(folder.path(), &canaries, &options());
    assert!(matches!(empty, Err(ThiefError::NothingStolen { .. })));
    std::fs::write(folder.path().join("nothing"), b"").unwrap();
    let hollow = steal(folder.path(), &canaries, &options());
    assert!(matches!(hollow, Err(ThiefError::NothingStolen { .. })));
    let missing = steal(&folder.path().join("none"), &canaries, &options());
    assert!(matches!(missing, Err(ThiefError::DataFolder { .. })));
}

#[test]
fn a_broken_database_is_a_gap_and_still_searched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE mailbox (id BLOB); CREATE TABLE blob (id BLOB)")
        .unwrap();
    drop(db);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = noise(5, bytes.len() - 200);
    bytes[100..]
        .iter_mut()
        .zip(middle)
        .for_each(|(to, from)| *to = from);
    bytes[5_000..5_014].copy_from_slice(b"Ottilie Brandt");
    std::fs::write(&path, bytes).unwrap();
    let report = search(folder.path(), &["Ottilie Brandt"]);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.gap && note.file == "relay.db"),
        "{:?}",
        report.notes
    );
    assert!(report.hits > 0 && !report.clean());
}

#[test]
fn a_stream_that_expands_without_end_is_bounded_and_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..9 {
        std::io::Write::write_all(&mut stream, &zeros).unwrap();
    }
    std::fs::write(folder.path().join("bomb.gz"), stream.finish().unwrap()).unwrap();
    let canaries = Canaries::from_lines(["Ottilie Brandt"]).unwrap();
    let bounded = Options {
        expansion_bytes_max: 50_000,
        ..options()
    };
    let report = steal(folder.path(), &canaries, &bounded).unwrap();
    assert!(
        report.bytes_searched < 1_000_000,
        "{}",
        report.bytes_searched
    );
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.gap && note.what.contains("gzip")),
        "{:?}",
        report.notes
    );
    assert!(!report.clean());
    let tiny_total = Options {
        expansion_total_max: 1,
        expansion_bytes_max: 1_000,
        ..options()
    };
    let report = steal(folder.path(), &canaries, &tiny_total).unwrap();
    assert!(report.notes.iter().any(|note| note.gap));
}

#[test]
fn long_files_are_read_in_pieces_without_missing_or_doubling() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = noise(6, 400_000);
    let name = b"Ottilie Brandt";
    // The pieces below are 65,536 bytes and overlap by 16,384: before, on and behind their edges.
    let places = [10, 49_145, 65_530, 65_536, 98_300, 120_000, 399_986];
    for place in places {
        bytes[place..place + name.len()].copy_from_slice(name);
    }
    std::fs::write(folder.path().join("spill"), &bytes).unwrap();
    let canaries = Canaries::from_lines(["Ottilie Brandt"]).unwrap();
    let pieces = Options {
        chunk_bytes: 65_536,
        ..options()
    };
    let report = steal(folder.path(), &canaries, &pieces).unwrap();
    // 65,530 and 65,536 overlap each other: the first of the two is destroyed.
    assert_eq!(report.hits, places.len() as u64 - 1, "{report}");
    let short = Options {
        file_bytes_max: 1_000,
        ..options()
    };
    let report = steal(folder.path(), &canaries, &short).unwrap();
    assert!(
        report.hits == 1 && report.notes.iter().any(|note| note.gap),
        "{report}"
    );
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("relay.log"),
        "ready, 17 mailboxes open\n",
    )
    .unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("diary"), "Ottilie Brandt").unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
    let report = search(folder.path(), &["Ottilie Brandt"]);
    assert_eq!(report.hits, 0);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.file == "link" && !note.gap)
    );
}

#[test]
fn chance_is_weighed() {
    // Every three-byte string stands somewhere in 40 MB of noise; here, in little noise, we put one.
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = noise(12, 300_000);
    bytes[1_000..1_003].copy_from_slice(b"Ute");
    std::fs::write(folder.path().join("noise"), &bytes).unwrap();
    let report = search(folder.path(), &["Ute"]);
    assert_eq!(report.hits, 0, "{report}");
    assert!(report.narrowed > 0);
    std::fs::write(folder.path().join("text"), "today Ute came to visit us").unwrap();
    assert_eq!(search(folder.path(), &["Ute"]).hits, 1);
    std::fs::write(
        folder.path().join("text"),
        "a brute force of nature was met",
    )
    .unwrap();
    assert_eq!(search(folder.path(), &["Ute"]).hits, 0);
    // A code of six digits among many numbers of six digits is chance.
    let numbers: String = (0..9_000)
        .map(|n| format!("n={} ", 100_000 + n * 97))
        .collect();
    std::fs::write(folder.path().join("text"), numbers).unwrap();
    let report = search(folder.path(), &["100097"]);
    assert_eq!(report.hits, 0);
    assert!(report.too_short + report.narrowed > 0);
    std::fs::write(
        folder.path().join("text"),
        "the code is 100097, keep it safe",
    )
    .unwrap();
    assert_eq!(search(folder.path(), &["100097"]).hits, 1);
}
