//! The spool's promises. A copy of its folder while it runs is what a killed process leaves.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::secrets::Secret;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::slot::SLOT_BYTES;
use super::{Job, Spool, SpoolOptions, import};
use crate::clock::Clock;
use crate::keys::AtRest;
use crate::storage::{Accepted, NewEnvelope, WriteError, reply};

const BOB: MailboxId = MailboxId::new([1; 16]);
const CAROL: MailboxId = MailboxId::new([2; 16]);
/// Never, in a test.
const LATER: Duration = Duration::from_secs(3_600);

fn keys() -> AtRest {
    AtRest::new(&Secret::new([7; 32]))
}

async fn open_with(folder: &Path, options: SpoolOptions) -> Spool {
    let clock = Clock::manual(Day(100));
    Spool::open(folder, options, keys(), clock, CancellationToken::new())
        .await
        .unwrap()
}

async fn open(folder: &Path) -> Spool {
    open_with(folder, options(LATER)).await
}

fn options(rest_after: Duration) -> SpoolOptions {
    SpoolOptions {
        bytes_max: 0,
        rest_after,
        group_max: 1_000,
        segment_slots: 60,
    }
}

fn envelope(mailbox: MailboxId, order: u64) -> NewEnvelope {
    NewEnvelope {
        mailbox,
        order,
        message: MessageId::new([order as u8; 16]),
        body: Bytes::from(vec![order as u8; 1_024]),
    }
}

async fn accept(spool: &Spool, envelopes: Vec<NewEnvelope>) -> Result<Accepted, WriteError> {
    let (done, answer) = reply();
    spool.submit(Job::Accept {
        decided: None,
        envelopes,
        done,
    });
    answer.await
}

async fn store(spool: &Spool, mailbox: MailboxId, orders: impl Iterator<Item = u64>) {
    let envelopes = orders.map(|order| envelope(mailbox, order)).collect();
    assert_eq!(accept(spool, envelopes).await, Ok(Accepted::Stored));
}

async fn delete(spool: &Spool, mailbox: MailboxId, through: u64) {
    let (done, answer) = reply();
    spool.submit(Job::DeleteThrough {
        mailbox,
        through,
        done,
    });
    answer.await.unwrap();
}

async fn orders(spool: &Spool, mailbox: MailboxId) -> Vec<u64> {
    let page = spool.envelopes(mailbox, 0, u64::MAX, u32::MAX).await;
    let page = page.unwrap();
    for it in &page {
        let body = it.body.as_deref();
        assert_eq!(body, Some(&[it.order as u8; 1_024][..]));
        assert_eq!(it.message, MessageId::new([it.order as u8; 16]));
    }
    page.iter().map(|it| it.order).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn copy(folder: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in files(folder) {
        // One may be tidied away while it is copied, as with a thief.
        let _ = std::fs::copy(&file, to.path().join(file.file_name().unwrap()));
    }
    to
}

/// Resolves when the folder holds what `want` asks for: tidying ends on its own time.
async fn until(folder: &Path, want: impl Fn(&[PathBuf]) -> bool) {
    while !want(&files(folder)) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_and_what_was_deleted_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path()).await;
    store(&spool, BOB, 1..=5).await;
    store(&spool, CAROL, 1..=2).await;
    delete(&spool, BOB, 3).await;
    let left = copy(folder.path());
    let again = open(left.path()).await;
    assert_eq!(orders(&again, BOB).await, [4, 5]);
    assert_eq!(orders(&again, CAROL).await, [1, 2]);
    // A mailbox that was emptied begins at one again.
    delete(&again, BOB, 5).await;
    store(&again, BOB, 1..=1).await;
    let left = copy(left.path());
    let again = open(left.path()).await;
    assert_eq!(orders(&again, BOB).await, [1]);
}

#[tokio::test]
async fn a_torn_end_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path()).await;
    store(&spool, BOB, 1..=5).await;
    let left = copy(folder.path());
    let journal = files(left.path()).remove(0);
    let bytes = std::fs::read(&journal).unwrap();
    assert_eq!(bytes.len(), 5 * SLOT_BYTES);
    for cut in [bytes.len() - 1, 4 * SLOT_BYTES + 1, 4 * SLOT_BYTES] {
        let torn = tempfile::tempdir().unwrap();
        let name = journal.file_name().unwrap();
        std::fs::write(torn.path().join(name), &bytes[..cut]).unwrap();
        let again = open(torn.path()).await;
        assert_eq!(orders(&again, BOB).await, [1, 2, 3, 4]);
    }
}

#[tokio::test]
async fn at_rest_it_is_sorted_and_empty_when_nothing_waits() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open_with(folder.path(), options(Duration::ZERO)).await;
    for order in 1..=9 {
        store(&spool, BOB, order..=order).await;
        store(&spool, CAROL, order..=order).await;
    }
    delete(&spool, BOB, 8).await;
    spool.close().await;
    let left = files(folder.path());
    let size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    let bytes: u64 = left.iter().map(size).sum();
    assert!(bytes <= 20 * SLOT_BYTES as u64, "{left:?}");
    let spool = open(folder.path()).await;
    assert_eq!(orders(&spool, BOB).await, [9]);
    assert_eq!(orders(&spool, CAROL).await, (1..=9).collect::<Vec<_>>());
    delete(&spool, BOB, 9).await;
    delete(&spool, CAROL, 9).await;
    spool.close().await;
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_is_gone_is_punched_out_of_a_segment_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path()).await;
    store(&spool, BOB, 1..=40).await;
    spool.close().await;
    let large = files(folder.path()).remove(0);
    let spool = open_with(folder.path(), options(Duration::ZERO)).await;
    delete(&spool, BOB, 7).await;
    until(folder.path(), |files| *files == [large.clone()]).await;
    let bytes = std::fs::read(&large).unwrap();
    let (gone, stays) = bytes.split_at(7 * SLOT_BYTES);
    assert!(gone.iter().all(|byte| *byte == 0));
    assert!(stays.chunks(SLOT_BYTES).all(|slot| slot != [0; SLOT_BYTES]));
    let again = copy(folder.path());
    let again = open(again.path()).await;
    assert_eq!(orders(&again, BOB).await, (8..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_depends_on_a_slot_waits_for_it_and_what_comes_behind_keeps_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path()).await;
    let (decide, decided) = std::sync::mpsc::sync_channel(1);
    let (done, lost) = reply();
    spool.submit(Job::Accept {
        decided: Some(decided),
        envelopes: vec![envelope(BOB, 1)],
        done,
    });
    let (done, behind) = reply();
    spool.submit(Job::Accept {
        decided: None,
        envelopes: vec![envelope(BOB, 2)],
        done,
    });
    let winner = Bytes::from_static(b"winner");
    decide
        .send(Ok(Accepted::Lost {
            winner: winner.clone(),
        }))
        .unwrap();
    assert_eq!(lost.await, Ok(Accepted::Lost { winner }));
    assert_eq!(behind.await, Ok(Accepted::Stored));
    assert_eq!(orders(&spool, BOB).await, [2]);
    // Whoever should have decided is gone.
    let (_, decided) = std::sync::mpsc::sync_channel(1);
    let (done, answer) = reply();
    spool.submit(Job::Accept {
        decided: Some(decided),
        envelopes: vec![envelope(BOB, 3)],
        done,
    });
    assert_eq!(answer.await, Err(WriteError::Failed));
}

#[tokio::test]
async fn what_expires_is_named_and_gone_and_so_is_what_a_mailbox_takes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path()).await;
    store(&spool, BOB, 1..=3).await;
    store(&spool, CAROL, 1..=3).await;
    let expire = async |spool: &Spool, today, mailboxes| {
        let (done, answer) = reply();
        spool.submit(Job::Expire {
            today,
            part: 1,
            mailboxes,
            done,
        });
        answer.await.unwrap()
    };
    assert_eq!(expire(&spool, Day(130), vec![]).await, []);
    assert_eq!(expire(&spool, Day(131), vec![CAROL]).await, [(BOB, 3)]);
    let left = copy(folder.path());
    let again = open(left.path()).await;
    assert!(orders(&again, BOB).await.is_empty());
    assert!(orders(&again, CAROL).await.is_empty());
}

#[tokio::test]
async fn what_does_not_open_any_more_keeps_nothing_else_from_being_tidied() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path()).await;
    store(&spool, BOB, 1..=4).await;
    let journal = files(folder.path()).remove(0);
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[SLOT_BYTES + 500] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    spool.close().await;
    let left = files(folder.path());
    assert_eq!(left.len(), 1);
    assert_eq!(
        std::fs::metadata(&left[0]).unwrap().len(),
        3 * SLOT_BYTES as u64
    );
    let spool = open(folder.path()).await;
    assert_eq!(orders(&spool, BOB).await, [1, 3, 4]);
}

#[tokio::test]
async fn a_spool_of_another_key_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path()).await;
    store(&spool, BOB, 1..=4).await;
    spool.close().await;
    let other = AtRest::new(&Secret::new([8; 32]));
    let clock = Clock::manual(Day(100));
    let stop = CancellationToken::new();
    let opened = Spool::open(folder.path(), options(Duration::ZERO), other, clock, stop).await;
    assert!(opened.is_err());
    let spool = open(folder.path()).await;
    assert_eq!(orders(&spool, BOB).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn older_copies_of_what_is_gone_do_not_come_back() {
    // As after a crash between the steps of tidying: the same envelopes in two segments.
    let folder = tempfile::tempdir().unwrap();
    let both = || {
        let one = |order: u64| {
            let it = envelope(BOB, order);
            (BOB, order, it.message, Day(120), it.body)
        };
        (1..=40).map(one).collect()
    };
    import(folder.path(), &keys(), both()).unwrap();
    import(folder.path(), &keys(), both()).unwrap();
    let spool = open_with(folder.path(), options(Duration::ZERO)).await;
    delete(&spool, BOB, 15).await;
    let journal = |path: &PathBuf| path.extension().is_some_and(|name| name == "journal");
    until(folder.path(), |files| !files.iter().any(journal)).await;
    spool.close().await;
    let again = copy(folder.path());
    let spool = open(again.path()).await;
    assert_eq!(orders(&spool, BOB).await, (16..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn twice_imported_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let all = || {
        let one = |order: u64| {
            let it = envelope(BOB, order);
            (BOB, order, it.message, Day(120), it.body)
        };
        (1..=3).map(one).collect()
    };
    import(folder.path(), &keys(), all()).unwrap();
    import(folder.path(), &keys(), all()).unwrap();
    let spool = open(folder.path()).await;
    assert_eq!(orders(&spool, BOB).await, [1, 2, 3]);
    delete(&spool, BOB, 3).await;
    spool.close().await;
    assert!(files(folder.path()).is_empty());
}

/// Random lives, with crashes at any moment, against a map of what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_lives_lose_nothing_and_bring_nothing_back() {
    let seed: u64 = rand::rng().next_u64();
    println!("seed {seed}");
    let mut random = rand_chacha::ChaCha20Rng::seed_from_u64(seed);
    for _ in 0..12 {
        let mut folder = tempfile::tempdir().unwrap();
        let mut model: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        let mut next: BTreeMap<u8, u64> = BTreeMap::new();
        let rest = [Duration::ZERO, LATER];
        let mut spool = open_with(folder.path(), options(rest[random.random_range(0..2)])).await;
        for _ in 0..150 {
            let number = random.random_range(0..6_u8);
            let mailbox = MailboxId::new([number; 16]);
            let waiting = model.entry(number).or_default();
            match random.random_range(0..10) {
                0..=4 => {
                    if waiting.is_empty() {
                        next.insert(number, 1);
                    }
                    let first = next[&number];
                    let count = random.random_range(1..=9);
                    store(&spool, mailbox, first..first + count).await;
                    waiting.extend(first..first + count);
                    next.insert(number, first + count);
                }
                5..=7 if !waiting.is_empty() => {
                    let through = waiting[random.random_range(0..waiting.len())];
                    delete(&spool, mailbox, through).await;
                    waiting.retain(|order| *order > through);
                }
                8 if random.random_bool(0.3) => {
                    spool.close().await;
                    spool =
                        open_with(folder.path(), options(rest[random.random_range(0..2)])).await;
                }
                9 if random.random_bool(0.3) => {
                    // A copy is taken file by file: only one at rest is a moment.
                    let left = copy_of_a_moment(folder.path());
                    spool = open_with(left.path(), options(rest[random.random_range(0..2)])).await;
                    folder = left;
                }
                _ => assert_eq!(orders(&spool, mailbox).await, *waiting),
            }
        }
        for (number, waiting) in &model {
            let mailbox = MailboxId::new([*number; 16]);
            assert_eq!(orders(&spool, mailbox).await, *waiting);
        }
    }
}

/// A copy during which no file came or went.
fn copy_of_a_moment(folder: &Path) -> TempDir {
    loop {
        let before = files(folder);
        let left = copy(folder);
        if files(folder) == before {
            return left;
        }
    }
}
