//! Whole loots: databases, names, keys, smells, as they are and as they must not be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::path::Path;
use std::sync::Arc;

use kinline_thief::{Canaries, Detector, FindingKind, Options, Report, steal};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rusqlite::{Connection, params};

const NOW: i64 = 1_795_290_000;

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut out = vec![0; bytes];
    random.fill_bytes(&mut out);
    out
}

fn options() -> Options {
    Options {
        controls: false,
        now_unix: Some(NOW as u64),
        guesses_max: 50_000,
        stretching: (64, 1),
        openings_max: 20_000, // without optimisation each takes 17 µs
        ..Options::default()
    }
}

fn search(folder: &Path, canaries: &[&str]) -> Report {
    steal(folder, &Canaries::from_lines(canaries).unwrap(), &options()).unwrap()
}

/// A relay's data folder as it should be: a database in WAL mode with envelopes, a commit, blobs
/// and a log.
fn honest() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join("relay.db")).unwrap();
    db.execute_batch(
        "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA secure_delete=ON;
         CREATE TABLE mailbox (id BLOB PRIMARY KEY, sealed_keys BLOB, expires_day INTEGER) STRICT, WITHOUT ROWID;
         CREATE TABLE envelope (mailbox BLOB, position INTEGER, message BLOB, body BLOB NOT NULL CHECK (length(body) = 1024), expires_day INTEGER) STRICT;
         CREATE TABLE commit_slot (token BLOB PRIMARY KEY, request_hash BLOB, sealed BLOB, expires_day INTEGER);
         CREATE TABLE _sqlx_migrations (version BIGINT, installed_on TIMESTAMP);
         INSERT INTO _sqlx_migrations VALUES (1, '2026-11-21 20:59:13');",
    )
    .unwrap();
    let day = NOW / 86_400 + 30;
    for index in 0..60_u64 {
        let mailbox = noise(1_000 + index / 6, 16);
        if index % 6 == 0 {
            db.execute(
                "INSERT INTO mailbox VALUES (?1, ?2, ?3)",
                params![mailbox, noise(2_000 + index, 145), day],
            )
            .unwrap();
        }
        db.execute(
            "INSERT INTO envelope VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                mailbox,
                index % 6,
                noise(3_000 + index, 16),
                noise(4_000 + index, 1024),
                day
            ],
        )
        .unwrap();
    }
    for index in 0..5 {
        let body = [vec![1], noise(5_000 + index, 16_000)].concat();
        db.execute(
            "INSERT INTO commit_slot VALUES (?1, ?2, ?3, ?4)",
            params![
                noise(6_000 + index, 16),
                noise(7_000 + index, 32),
                body,
                day
            ],
        )
        .unwrap();
    }
    std::fs::create_dir_all(folder.path().join("blobs/7f")).unwrap();
    let blob = [vec![1], noise(9, 70_000)].concat();
    std::fs::write(
        folder
            .path()
            .join("blobs/7f")
            .join(hex::encode(noise(8, 32))),
        blob,
    )
    .unwrap();
    std::fs::write(
        folder.path().join("relay.log"),
        "2026-11-21T20:59:13.482910Z INFO kinline_server::mailbox: opened listen=0.0.0.0:8443\n"
            .repeat(50),
    )
    .unwrap();
    (folder, db)
}

#[test]
fn slots_of_the_spool_are_counted_and_one_that_is_no_noise_is_found() {
    let (folder, _db) = honest();
    let spool = folder.path().join("data/spool");
    std::fs::create_dir_all(&spool).unwrap();
    let whole: Vec<u8> = (0..30)
        .flat_map(|index| noise(9_000 + index, 1_109))
        .collect();
    let holes = vec![0; 5 * 1_109];
    std::fs::write(spool.join("00000007.sorted"), [whole, holes].concat()).unwrap();
    std::fs::write(spool.join("00000008.journal"), noise(77, 1_109 + 3)).unwrap();
    let report = steal(
        folder.path(),
        &Canaries::from_lines(["Ottilie Brandt"]).unwrap(),
        &options(),
    )
    .unwrap();
    assert!(report.clean(), "{report}");
    assert_eq!((report.spool_slots, report.spool_holes), (31, 5));
    let mut open = vec![7; 1_000];
    open.extend(noise(78, 109));
    std::fs::write(spool.join("00000009.sorted"), open).unwrap();
    let report = steal(
        folder.path(),
        &Canaries::from_lines(["Ottilie Brandt"]).unwrap(),
        &options(),
    )
    .unwrap();
    assert!(!report.clean(), "{report}");
}

#[test]
fn an_honest_relay_yields_nothing_and_all_controls_are_caught() {
    let (folder, _db) = honest();
    let canaries =
        Canaries::from_lines(["Ottilie Brandt", "Mila", "רותי", "482910", "🦕"]).unwrap();
    let options = Options {
        controls: true,
        when: "while messages wait".into(),
        ..options()
    };
    let report = steal(folder.path(), &canaries, &options).unwrap();
    assert!(report.ok(), "{report}");
    assert_eq!((report.controls_planted, report.controls_caught), (25, 25));
    assert_eq!(
        report.envelope_sizes.into_iter().collect::<Vec<_>>(),
        [(1024, 60)]
    );
    assert_eq!(
        report.first_envelope_bytes_hex,
        hex::encode(noise(4_000, 16))
    );
    let rows: Vec<_> = report
        .tables
        .iter()
        .map(|t| (t.name.as_str(), t.rows, t.columns.len()))
        .collect();
    assert!(
        rows.contains(&("mailbox", 10, 3)) && rows.contains(&("envelope", 60, 5)),
        "{rows:?}"
    );
    let subjects: Vec<_> = report
        .randomness
        .iter()
        .map(|r| r.subject.as_str())
        .collect();
    for subject in [
        "relay.db#envelope bodies",
        "relay.db#commit_slot bodies",
        "relay.db#mailbox.id",
        "blob files",
    ] {
        assert!(subjects.contains(&subject), "{subjects:?}");
    }
    assert!(report.keys_tried > 100 && report.openings_tried > 1_000);
    assert!(
        report.narrowed + report.too_short > 0,
        "short canaries are told"
    );
}

#[test]
fn the_report_goes_through_json_and_reads_well() {
    let (folder, _db) = honest();
    let report = search(folder.path(), &["Ottilie Brandt"]);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    let text = report.to_string();
    assert!(
        text.contains("60 of 1024 bytes") && text.contains("hits        0"),
        "{text}"
    );
    assert!(!text.contains("Ottilie") && !json.contains("Ottilie"));
}

#[test]
fn names_of_files_and_folders_count() {
    let (folder, _db) = honest();
    std::fs::create_dir(folder.path().join("for Ottilie Brandt")).unwrap();
    let report = search(folder.path(), &["Ottilie Brandt"]);
    assert_eq!(
        (report.hits, report.findings[0].file.as_str()),
        (1, "(file names)")
    );
    let quoting = Options {
        verbose: true,
        ..options()
    };
    let canaries = Canaries::from_lines(["Ottilie Brandt"]).unwrap();
    let report = steal(folder.path(), &canaries, &quoting).unwrap();
    assert_eq!(
        report.findings[0].canary_text.as_deref(),
        Some("Ottilie Brandt")
    );
}

#[test]
fn columns_are_put_together_and_numbers_compared() {
    let (folder, db) = honest();
    db.execute_batch("CREATE TABLE leak (name TEXT, code INTEGER, place REAL, short TEXT)")
        .unwrap();
    // Longer than a page, so the name may lie across two.
    let long = format!("{}Ottilie Brandt{}", "x".repeat(8_150), "y".repeat(9_000));
    db.execute(
        "INSERT INTO leak VALUES (?1, 483920, 52.520008, 'Mila')",
        params![long],
    )
    .unwrap();
    let report = search(
        folder.path(),
        &["Ottilie Brandt", "483920", "52.520008, 13.404954", "Mila"],
    );
    for (canary, encoding, file) in [
        (0, "raw", "relay.db#leak.name"),
        (1, "integer", "relay.db#leak.code"),
        (3, "raw", "relay.db#leak.short"),
    ] {
        assert!(
            report.findings.iter().any(|f| f.canary == Some(canary)
                && f.encoding.as_deref() == Some(encoding)
                && f.file == file),
            "{canary} {:?}",
            report.findings
        );
    }
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.canary == Some(2) && f.encoding.as_deref() == Some("float-be"))
    );
}

#[test]
fn wal_and_schema_are_read() {
    let (folder, db) = honest();
    db.execute_batch("PRAGMA wal_autocheckpoint=0; CREATE TABLE \"chat of Ottilie Brandt\" (x);")
        .unwrap();
    let report = search(folder.path(), &["Ottilie Brandt"]);
    let files: Vec<_> = report.findings.iter().map(|f| f.file.as_str()).collect();
    assert!(
        files.contains(&"relay.db-wal") && files.contains(&"relay.db#schema"),
        "{files:?}"
    );
    assert!(
        report
            .tables
            .iter()
            .any(|t| t.name == "chat of Ottilie Brandt")
    );
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    let mut kinds: Vec<_> = report.findings.iter().map(|f| f.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[test]
fn times_finer_than_a_day_are_found() {
    let (folder, db) = honest();
    db.execute_batch("CREATE TABLE seen (mailbox BLOB, at INTEGER, ordered BLOB)")
        .unwrap();
    for index in 0..5_i64 {
        let ms = (NOW * 1_000 + 1 + index * 37).to_be_bytes();
        let id = [&ms[2..], &noise(index as u64, 10)].concat();
        db.execute(
            "INSERT INTO seen VALUES (?1, ?2, ?3)",
            params![noise(70 + index as u64, 16), NOW - 5 * index - 1, id],
        )
        .unwrap();
    }
    let report = search(folder.path(), &["Ottilie Brandt"]);
    let files: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.kind == FindingKind::FineTime)
        .map(|f| f.file.as_str())
        .collect();
    assert_eq!(
        files,
        ["relay.db#seen.at", "relay.db#seen.ordered"],
        "{report}"
    );
}

#[test]
fn addresses_and_mails_in_logs_are_found_unless_allowed() {
    let (folder, _db) = honest();
    let log = "listening on 127.0.0.1:8443\npeer=198.51.100.7:4711 mail=a.b@familie.example\npeer=[2001:db8::7]:99 x\nfrom ::1, version 1.2.3, kinline_server::add::bed, 12:34:56\n";
    std::fs::write(folder.path().join("access.log"), log).unwrap();
    let report = search(folder.path(), &["Ottilie Brandt"]);
    assert_eq!(
        (report.addresses, report.addresses_loopback),
        (2, 2),
        "{report}"
    );
    assert_eq!(kinds(&report), [FindingKind::Address, FindingKind::Email]);
    let mut allowing = options().without(Detector::Emails);
    allowing.addresses_allowed = ["127.0.0.1:8443", "::1", "198.51.100.7", "2001:db8::7"]
        .map(String::from)
        .to_vec();
    let canaries = Canaries::from_lines(["Ottilie Brandt"]).unwrap();
    assert!(steal(folder.path(), &canaries, &allowing).unwrap().clean());
}

#[test]
fn a_live_check_gets_stolen_bytes() {
    let (folder, db) = honest();
    let token = noise(77, 24);
    db.execute_batch("CREATE TABLE upload (token TEXT)")
        .unwrap();
    db.execute(
        "INSERT INTO upload VALUES (?1)",
        params![hex::encode(&token)],
    )
    .unwrap();
    let mut checking = options();
    checking
        .live_checks
        .push(Arc::new(move |bytes: &[u8]| bytes == token));
    let canaries = Canaries::from_lines(["Ottilie Brandt"]).unwrap();
    let report = steal(folder.path(), &canaries, &checking).unwrap();
    assert_eq!(
        (report.keys_that_open, kinds(&report)),
        (1, vec![FindingKind::LiveCheck]),
        "{report}"
    );
}

#[test]
fn a_body_that_is_no_noise_and_a_repeated_block_are_found() {
    let (folder, db) = honest();
    let mut body = noise(1, 1024);
    let block = body[24..40].to_vec();
    body[40..56].copy_from_slice(&block);
    db.execute(
        "UPDATE envelope SET body = ?1 WHERE rowid = 3",
        params![body],
    )
    .unwrap();
    let report = search(folder.path(), &["Ottilie Brandt"]);
    assert_eq!(kinds(&report), [FindingKind::NotRandom], "{report}");
    assert_eq!(report.findings[0].detail, "repeated 16-byte blocks");
    assert!(report.randomness.iter().any(|r| !r.pass));
}
