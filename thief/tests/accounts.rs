//! Accounts: what a guess can be tested against, and what puts an account beside its mailboxes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use kinline_thief::{Canaries, FindingKind, Options, Report, steal};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

const CHEAP: (u32, u32) = (64, 1);
const CANARIES: [&str; 2] = [
    "login:Großmutter Ottilie",
    "password:Blaubeer pfannkuchen 11",
];

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut out = vec![0; bytes];
    random.fill_bytes(&mut out);
    out
}

/// The tables of a relay with accounts, as they should be.
fn honest() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join("relay.sqlite")).unwrap();
    db.execute_batch(
        "CREATE TABLE mailbox (id BLOB PRIMARY KEY, keys BLOB, state BLOB, expires_day INTEGER) WITHOUT ROWID;
         CREATE TABLE account (id BLOB PRIMARY KEY, state BLOB, request_part BLOB, recovery_part BLOB) WITHOUT ROWID;
         CREATE TABLE spent_ticket (hash BLOB PRIMARY KEY, expires_day INTEGER) WITHOUT ROWID;
         CREATE TABLE operator_log (place INTEGER PRIMARY KEY, entry BLOB, checkpoint BLOB);",
    )
    .unwrap();
    for at in 0..40 {
        let row = params![
            noise(at, 16),
            noise(100 + at, 136),
            noise(200 + at, 49),
            20_600
        ];
        db.execute("INSERT INTO mailbox VALUES (?1, ?2, ?3, ?4)", row)
            .unwrap();
        let row = params![
            noise(300 + at, 32),
            noise(400 + at, 360),
            noise(500 + at, 1_064),
            noise(600 + at, 2_088)
        ];
        db.execute("INSERT INTO account VALUES (?1, ?2, ?3, ?4)", row)
            .unwrap();
        let row = params![noise(700 + at, 32), 20_600];
        db.execute("INSERT INTO spent_ticket VALUES (?1, ?2)", row)
            .unwrap();
        // Public: what the operator says of the service is no secret, and no noise.
        let entry = [
            b"kinline operator log entry: a key for one more epoch".repeat(3),
            noise(1_000 + at, 32),
        ];
        let row = params![
            i64::try_from(at).unwrap(),
            entry.concat(),
            noise(800 + at, 218)
        ];
        db.execute("INSERT INTO operator_log VALUES (?1, ?2, ?3)", row)
            .unwrap();
    }
    (folder, db)
}

fn search(folder: &Path) -> Report {
    let options = Options {
        controls: false,
        stretching: CHEAP,
        server_names: vec!["relay.example.org".to_owned()],
        openings_max: 1_000,
        guesses_max: 40_000,
        ..Options::default()
    };
    steal(folder, &Canaries::from_lines(CANARIES).unwrap(), &options).unwrap()
}

/// The account id as PROTOCOL says it.
fn account_id(name: &str, relay: &str) -> [u8; 32] {
    let label = b"kinline v1 hash login\0".as_slice();
    let length = (relay.len() as u64).to_be_bytes();
    let salt = Sha256::digest([label, &length, relay.as_bytes()].concat());
    let params = Params::new(CHEAP.0, CHEAP.1, 1, Some(32)).unwrap();
    let mut id = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(name.as_bytes(), &salt[..16], &mut id)
        .unwrap();
    id
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn an_honest_relay_shows_nothing_of_its_accounts() {
    let (folder, _db) = honest();
    let report = search(folder.path());
    assert!(report.clean(), "{report}");
    assert_eq!((report.logins, report.accounts_stretched), (2, 1));
    assert!(
        report.guesses_tried > 1_000 && report.links_tried > 200,
        "{report}"
    );
    let judged = |column: &str| {
        let mut subjects = report.randomness.iter();
        subjects.any(|it| it.subject.ends_with(column) && !it.tests.is_empty())
    };
    for column in [
        "account.state",
        "account.request_part",
        "account.recovery_part",
        "mailbox.keys",
        "spent_ticket.hash",
    ] {
        assert!(judged(column), "{column} was not judged");
    }
}

#[test]
fn an_account_id_and_its_hash_are_found() {
    let id = account_id("großmutter ottilie", "relay.example.org");
    for stored in [id.to_vec(), Sha256::digest(id).to_vec()] {
        let (folder, db) = honest();
        let sql = "INSERT INTO spent_ticket VALUES (?1, 20600)";
        db.execute(sql, params![stored]).unwrap();
        let report = search(folder.path());
        let kinds = kinds(&report);
        let all = kinds.iter().all(|kind| *kind == FindingKind::Canary);
        assert!(all && !kinds.is_empty(), "{report}");
        assert_eq!(report.findings[0].canary, Some(0));
    }
    // At another relay it is another one.
    let (folder, db) = honest();
    let other = account_id("großmutter ottilie", "relay.example.net");
    let sql = "INSERT INTO spent_ticket VALUES (?1, 20600)";
    db.execute(sql, params![other.as_slice()]).unwrap();
    assert!(search(folder.path()).clean());
}

#[test]
fn a_hash_with_a_stolen_salt_is_found_wherever_the_salt_lies() {
    let (folder, db) = honest();
    let salt = noise(900, 24);
    std::fs::write(folder.path().join("pepper"), &salt).unwrap();
    let word = b"Blaubeer pfannkuchen 11".as_slice();
    let hash = Sha256::digest([&salt, word].concat());
    let state = [noise(901, 100), hash.to_vec(), noise(902, 228)].concat();
    let row = params![noise(903, 32), state, noise(904, 1_064), noise(905, 1_064)];
    db.execute("INSERT INTO account VALUES (?1, ?2, ?3, ?4)", row)
        .unwrap();
    let report = search(folder.path());
    assert!(
        kinds(&report)
            .iter()
            .all(|kind| *kind == FindingKind::GuessTest),
        "{report}"
    );
    assert_eq!(report.findings[0].canary, Some(1), "{report}");
    assert!(report.findings[0].detail.contains("pepper"), "{report}");
}

#[test]
fn a_mailbox_named_in_an_account_is_a_link() {
    let (folder, db) = honest();
    let part = [noise(900, 500), noise(7, 16), noise(901, 548)].concat();
    let row = params![noise(903, 32), noise(902, 360), part, noise(905, 1_064)];
    db.execute("INSERT INTO account VALUES (?1, ?2, ?3, ?4)", row)
        .unwrap();
    let report = search(folder.path());
    assert_eq!(kinds(&report), [FindingKind::Link], "{report}");
    assert!(report.findings[0].file.ends_with("account.request_part"));
}

#[test]
fn a_login_that_could_not_be_stretched_is_a_gap() {
    let (folder, _db) = honest();
    let options = Options {
        controls: false,
        stretching: CHEAP,
        openings_max: 1_000,
        guesses_max: 40_000,
        ..Options::default()
    };
    let canaries = Canaries::from_lines(CANARIES).unwrap();
    let report = steal(folder.path(), &canaries, &options).unwrap();
    assert!(!report.clean() && report.findings.is_empty(), "{report}");
    // The relay's first line says how it is called.
    let line = format!("listening wss://192.0.2.1:8443#pin={}\n", "A".repeat(43));
    std::fs::write(folder.path().join("relay.log"), line).unwrap();
    let options = Options {
        addresses_allowed: vec!["192.0.2.1".to_owned()],
        ..options
    };
    let report = steal(folder.path(), &canaries, &options).unwrap();
    assert!(report.clean() && report.accounts_stretched == 1, "{report}");
}
