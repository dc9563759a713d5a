#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::path::Path;

use kinline_protocol::engine::io::{Changes, RecordClass, RecordKey};
use rusqlite::params;

use super::{Store, StoreOptions};
use crate::store::{Argon2Cost, Passphrase, StoreError};

fn options(passphrase: Option<&str>) -> StoreOptions {
    StoreOptions {
        passphrase: passphrase.map(Passphrase::new),
        cost: Argon2Cost::CHEAP,
    }
}

fn key(class: RecordClass, name: &str) -> RecordKey {
    RecordKey {
        class,
        name: name.as_bytes().to_vec(),
    }
}

fn changes(list: &[(RecordClass, &str, Option<&str>)]) -> Changes {
    Changes {
        records: list
            .iter()
            .map(|(class, name, value)| {
                (
                    key(*class, name),
                    value.map(|value| value.as_bytes().to_vec()),
                )
            })
            .collect(),
    }
}

use RecordClass::{History, State};

#[test]
fn what_was_committed_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::create(folder.path(), &options(Some("p"))).unwrap();
    store
        .commit(&changes(&[
            (State, "b", Some("1")),
            (State, "a", Some("2")),
            (History, "a", Some("3")),
            (State, "gone", Some("x")),
        ]))
        .unwrap();
    store
        .commit(&changes(&[(State, "gone", None), (State, "b", Some("4"))]))
        .unwrap();
    drop(store);
    let store = Store::open(folder.path(), &options(Some("p"))).unwrap();
    let state = vec![
        (b"a".to_vec(), b"2".to_vec()),
        (b"b".to_vec(), b"4".to_vec()),
    ];
    assert_eq!(store.load_state().unwrap(), state);
    assert_eq!(
        store.history().unwrap(),
        vec![(b"a".to_vec(), b"3".to_vec())]
    );
}

#[test]
fn a_second_holder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), &options(None)).unwrap();
    assert!(matches!(
        Store::open(folder.path(), &options(None)),
        Err(StoreError::Locked { .. })
    ));
    drop(store);
    Store::open(folder.path(), &options(None)).unwrap();
    assert!(matches!(
        Store::create(folder.path(), &options(None)),
        Err(StoreError::AlreadyThere { .. })
    ));
}

#[test]
fn a_folder_without_a_device_says_so() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Store::open(folder.path(), &options(None)),
        Err(StoreError::NotThere { .. })
    ));
}

#[test]
fn a_discarded_device_is_gone_and_its_folder_can_be_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), &options(None)).unwrap();
    assert!(matches!(
        Store::discard(folder.path()),
        Err(StoreError::Locked { .. })
    ));
    drop(store);
    Store::discard(folder.path()).unwrap();
    assert!(!Store::exists(folder.path()));
    Store::create(folder.path(), &options(None)).unwrap();
}

fn with_a_picture() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::create(folder.path(), &options(None)).unwrap());
    for name in ["media", "blobs"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("lake"), b"picture").unwrap();
    }
    folder
}

#[test]
fn what_is_erased_leaves_no_picture_wherever_it_breaks_off() {
    // Each step fails once, as if the power went there.
    let folder = with_a_picture();
    let (media, database) = (folder.path().join("media"), folder.path().join("device.db"));
    let aside = folder.path().join("aside");
    std::fs::rename(&media, &aside).unwrap();
    std::fs::write(&media, b"no folder").unwrap();
    assert!(Store::erase(folder.path()).is_err());
    // The device is there, and does it again.
    drop(Store::open(folder.path(), &options(None)).unwrap());
    std::fs::remove_file(&media).unwrap();
    std::fs::rename(&aside, &media).unwrap();
    std::fs::remove_file(&database).unwrap();
    std::fs::create_dir(&database).unwrap();
    assert!(Store::erase(folder.path()).is_err());
    assert!(!media.exists() && !Store::exists(folder.path()));

    let folder = with_a_picture();
    std::fs::remove_dir_all(folder.path().join("blobs")).unwrap();
    std::fs::write(folder.path().join("blobs"), b"no folder").unwrap();
    assert!(Store::erase(folder.path()).is_err());
    assert!(!folder.path().join("media").exists() && !Store::exists(folder.path()));

    let folder = with_a_picture();
    Store::erase(folder.path()).unwrap();
    assert!(!folder.path().exists());
}

#[test]
fn the_passphrase_decides() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::create(folder.path(), &options(Some("right"))).unwrap());
    assert!(matches!(
        Store::open(folder.path(), &options(Some("wrong"))),
        Err(StoreError::WrongPassphrase)
    ));
    assert!(matches!(
        Store::open(folder.path(), &options(None)),
        Err(StoreError::PassphraseNeeded)
    ));
    Store::open(folder.path(), &options(Some("right"))).unwrap();
}

#[test]
fn a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), &options(None)).unwrap();
    store
        .database
        .pragma_update(None, "user_version", 9)
        .unwrap();
    drop(store);
    assert!(matches!(
        Store::open(folder.path(), &options(None)),
        Err(StoreError::NewerVersion { found: 9, known: 1 })
    ));
}

#[test]
fn garbage_is_damage_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::create(folder.path(), &options(None)).unwrap());
    std::fs::write(folder.path().join("device.db"), [0x55; 9_000]).unwrap();
    drop(std::fs::remove_file(folder.path().join("device.db-wal")));
    assert!(matches!(
        Store::open(folder.path(), &options(None)),
        Err(StoreError::Damaged { .. })
    ));
}

/// Changes one thing behind the store's back, then expects damage to be seen.
fn tampered(sql: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::create(folder.path(), &options(None)).unwrap();
    store
        .commit(&changes(&[
            (State, "a", Some("first")),
            (State, "b", Some("second")),
            (History, "c", Some("third")),
        ]))
        .unwrap();
    store.load_state().unwrap();
    store.database.execute_batch(sql).unwrap();
    let result = store.load_state().and_then(|_| store.history());
    assert!(
        matches!(result, Err(StoreError::Damaged { .. })),
        "{sql}: {result:?}"
    );
}

#[test]
fn tampering_is_noticed() {
    // A flipped byte, a value moved to another name, a value moved to another class.
    tampered("UPDATE record SET sealed = sealed || x'00' WHERE class = 1");
    tampered("UPDATE record SET sealed = x'01' WHERE class = 1");
    tampered("UPDATE record SET sealed = x''");
    tampered("UPDATE record SET sealed = 'text'");
    tampered(
        "UPDATE record SET sealed = (SELECT max(sealed) FROM record WHERE class = 1) WHERE class = 1",
    );
    tampered("UPDATE record SET class = 2 WHERE class = 1");
}

fn every_byte(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

#[test]
fn neither_names_nor_values_stand_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::create(folder.path(), &options(Some("p"))).unwrap();
    store
        .commit(&changes(&[
            (State, "mailbox-of-mia", Some("lives at Elm Street")),
            (History, "message-17", Some("see you at the lake")),
        ]))
        .unwrap();
    // While open (WAL) and after closing (checkpointed).
    let open = every_byte(folder.path());
    drop(store);
    let closed = every_byte(folder.path());
    for secret in ["mailbox-of", "Elm Street", "message-17", "the lake"] {
        assert!(!contains(&open, secret) && !contains(&closed, secret));
    }
    // The search can find: SQLite's own words are there.
    assert!(contains(&open, "name_hash") && contains(&closed, "name_hash"));
}

#[test]
fn a_failed_commit_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::create(folder.path(), &options(None)).unwrap();
    store.commit(&changes(&[(State, "a", Some("1"))])).unwrap();
    let mut bad = changes(&[(State, "a", Some("2")), (State, "b", Some("3"))]);
    bad.records.insert(
        RecordKey {
            class: State,
            name: vec![0xFF; 70_000],
        },
        Some(Vec::new()),
    );
    assert!(matches!(
        store.commit(&bad),
        Err(StoreError::NameTooLong { bytes: 70_000 })
    ));
    let state = vec![(b"a".to_vec(), b"1".to_vec())];
    assert_eq!(store.load_state().unwrap(), state);
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::create(folder.path(), &options(None)).unwrap();
    store.commit(&changes(&[(State, "a", Some("1"))])).unwrap();
    // SQLite answers SQLITE_FULL at its page limit as it does when the disk is full.
    store
        .database
        .pragma_update(None, "max_page_count", 4)
        .unwrap();
    let large = "x".repeat(100_000);
    assert!(matches!(
        store.commit(&changes(&[
            (State, "a", Some("2")),
            (State, "b", Some(&large))
        ])),
        Err(StoreError::DiskFull)
    ));
    let state = vec![(b"a".to_vec(), b"1".to_vec())];
    assert_eq!(store.load_state().unwrap(), state);
}

#[test]
fn a_process_that_dies_in_the_middle_leaves_whole_transactions() {
    // The folder is copied at every step as a crash would leave it: whatever the copy shows
    // must be the state after a whole number of commits.
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::create(folder.path(), &options(None)).unwrap();
    for round in 0..20_u32 {
        let value = round.to_string();
        store
            .commit(&changes(&[
                (State, "left", Some(&value)),
                (State, "right", Some(&value)),
            ]))
            .unwrap();
        // An open transaction at the moment of the crash.
        store
            .database
            .execute_batch("BEGIN; DELETE FROM record;")
            .unwrap();
        let copy = tempfile::tempdir().unwrap();
        for name in ["device.db", "device.db-wal", "store.key"] {
            let from = folder.path().join(name);
            if from.exists() {
                std::fs::copy(from, copy.path().join(name)).unwrap();
            }
        }
        store.database.execute_batch("ROLLBACK;").unwrap();
        // A torn end of the log is no commit.
        let wal = copy.path().join("device.db-wal");
        let mut bytes = std::fs::read(&wal).unwrap();
        bytes.extend_from_slice(&params_noise(round));
        std::fs::write(&wal, bytes).unwrap();
        let crashed = Store::open(copy.path(), &options(None)).unwrap();
        let state = crashed.load_state().unwrap();
        assert_eq!(state.len(), 2, "round {round}");
        for (_, found) in state {
            assert_eq!(found, value.as_bytes(), "round {round}");
        }
    }
    let count: i64 = store
        .database
        .query_row("SELECT count(*) FROM record", params![], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 2);
}

fn params_noise(round: u32) -> Vec<u8> {
    vec![0xA5; (round as usize * 397) % 5_000]
}
