//! The writers' promises, without a relay around it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, MessageId, SlotToken};
use kinline_protocol::limits::ENVELOPE_BYTES;
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::secrets::Secret;
use tempfile::TempDir;

use super::{EmbeddedStorage, GROUP_WRITES_MAX, OpenError, SqliteOptions};
use crate::clock::Clock;
use crate::keys::AtRest;
use crate::storage::{
    Accepted, Entry, MailboxRow, NewEnvelope, NewMailbox, Opened, ReadError, RowWrite, SlotOffer,
    Storage, StoredEnvelope, Write, WriteError, reply,
};

const BOB: MailboxId = MailboxId::new([1; 16]);
const CAROL: MailboxId = MailboxId::new([2; 16]);

async fn open(bytes_max: u64) -> (TempDir, EmbeddedStorage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = open_in(&folder, bytes_max).await;
    (folder, storage)
}

async fn open_in(folder: &TempDir, bytes_max: u64) -> EmbeddedStorage {
    try_open(folder, bytes_max).await.unwrap()
}

async fn try_open(folder: &TempDir, bytes_max: u64) -> Result<EmbeddedStorage, OpenError> {
    let options = SqliteOptions {
        data: folder.path().into(),
        bytes_max,
        checkpoint_after: Duration::from_secs(3_600),
        group_max: GROUP_WRITES_MAX,
        exclusive: true,
    };
    let keys = AtRest::new(&Secret::new([7; 32]));
    EmbeddedStorage::open(options, keys, Clock::manual(Day(100))).await
}

fn keys(close: u8) -> MailboxKeys {
    MailboxKeys {
        authentication: PublicKey::new([11; 32]),
        grant: PublicKey::new([12; 32]),
        close: PublicKey::new([close; 32]),
    }
}

async fn open_mailbox(
    storage: &EmbeddedStorage,
    id: MailboxId,
    close: u8,
) -> Result<Opened, WriteError> {
    let row = MailboxRow {
        keys: keys(close),
        generation: 7,
        closed: true,
        decoy: false,
        expires: Day(140),
    };
    let (done, answer) = reply();
    storage.submit(Write::Row(RowWrite::OpenMailbox {
        mailbox: NewMailbox { id, row },
        entry: Entry::Open,
        done,
    }));
    answer.await
}

fn put_keys(
    storage: &EmbeddedStorage,
    id: MailboxId,
    close: u8,
) -> impl Future<Output = Result<bool, WriteError>> + use<> {
    let (done, answer) = reply();
    storage.submit(Write::Row(RowWrite::PutKeys {
        id,
        keys: keys(close),
        done,
    }));
    answer
}

fn envelope(mailbox: MailboxId, order: u64) -> NewEnvelope {
    NewEnvelope {
        mailbox,
        order,
        message: MessageId::new([u8::try_from(order).unwrap_or(255); 16]),
        body: Bytes::from(vec![u8::try_from(order).unwrap_or(255); ENVELOPE_BYTES]),
    }
}

fn accept(
    storage: &EmbeddedStorage,
    envelopes: Vec<NewEnvelope>,
) -> impl Future<Output = Result<Accepted, WriteError>> + use<> {
    offer(storage, None, envelopes)
}

fn offer(
    storage: &EmbeddedStorage,
    slot: Option<SlotOffer>,
    envelopes: Vec<NewEnvelope>,
) -> impl Future<Output = Result<Accepted, WriteError>> + use<> {
    let (done, answer) = reply();
    storage.submit(Write::Accept {
        slot,
        envelopes,
        done,
    });
    answer
}

fn delete(
    storage: &EmbeddedStorage,
    mailbox: MailboxId,
    through: u64,
) -> impl Future<Output = Result<(), WriteError>> + use<> {
    let (done, answer) = reply();
    storage.submit(Write::DeleteThrough {
        mailbox,
        through,
        done,
    });
    answer
}

async fn orders(storage: &EmbeddedStorage, mailbox: MailboxId) -> Vec<u64> {
    let stored = storage.stored(mailbox).await.unwrap();
    stored.into_iter().map(|(order, _)| order).collect()
}

#[tokio::test]
async fn pages_come_in_order_and_stay_within_their_mailbox() {
    let (_folder, storage) = open(0).await;
    // 255 and 256 differ in their second-last byte: the order is one of numbers, not of text.
    let numbers = [1, 2, 255, 256, 257, 70_000];
    let all: Vec<_> = numbers
        .iter()
        .rev()
        .map(|order| envelope(BOB, *order))
        .collect();
    accept(&storage, all).await.unwrap();
    accept(&storage, vec![envelope(CAROL, 3)]).await.unwrap();
    assert_eq!(orders(&storage, BOB).await, numbers);
    let page: Vec<StoredEnvelope> = storage.envelopes(BOB, 1, 257, 3).await.unwrap();
    let page_orders: Vec<_> = page.iter().map(|envelope| envelope.order).collect();
    assert_eq!(page_orders, [2, 255, 256]);
    assert_eq!(page[0].message, MessageId::new([2; 16]));
    assert_eq!(page[0].body.as_deref(), Some(&[2; ENVELOPE_BYTES][..]));
}

#[tokio::test]
async fn what_is_deleted_in_its_own_group_is_never_written_and_what_comes_after_is() {
    let (_folder, storage) = open(0).await;
    let answers = (
        accept(&storage, vec![envelope(BOB, 1), envelope(BOB, 2)]),
        accept(&storage, vec![envelope(CAROL, 1)]),
        delete(&storage, BOB, 1),
        accept(&storage, vec![envelope(BOB, 3)]),
    );
    assert_eq!(answers.0.await, Ok(Accepted::Stored));
    assert_eq!(answers.1.await, Ok(Accepted::Stored));
    assert_eq!(answers.2.await, Ok(()));
    assert_eq!(answers.3.await, Ok(Accepted::Stored));
    assert_eq!(orders(&storage, BOB).await, [2, 3]);
    assert_eq!(orders(&storage, CAROL).await, [1]);
    // Deleted and begun anew in one group.
    let answers = (
        delete(&storage, BOB, 3),
        accept(&storage, vec![envelope(BOB, 1)]),
    );
    assert_eq!(
        (answers.0.await, answers.1.await),
        (Ok(()), Ok(Accepted::Stored))
    );
    assert_eq!(orders(&storage, BOB).await, [1]);
}

#[tokio::test]
async fn two_offers_in_one_group_have_one_winner() {
    let (_folder, storage) = open(0).await;
    let slot = |byte: u8| {
        Some(SlotOffer {
            token: SlotToken::new([9; 16]),
            sealed: Bytes::from(vec![byte; 1_024]),
        })
    };
    let answers = (
        offer(&storage, slot(1), vec![envelope(BOB, 1)]),
        offer(&storage, slot(2), vec![envelope(BOB, 2)]),
        offer(&storage, slot(1), vec![envelope(BOB, 3)]),
    );
    assert_eq!(answers.0.await, Ok(Accepted::Stored));
    let winner = Bytes::from(vec![1; 1_024]);
    assert_eq!(
        answers.1.await,
        Ok(Accepted::Lost {
            winner: winner.clone()
        })
    );
    assert_eq!(answers.2.await, Ok(Accepted::Stored));
    assert_eq!(orders(&storage, BOB).await, [1, 3]);
    assert_eq!(
        storage.commit(SlotToken::new([9; 16])).await.unwrap(),
        Some(winner)
    );
}

#[tokio::test]
async fn without_room_nothing_is_stored_but_deletions_of_the_same_group_are_done() {
    let (_folder, storage) = open(300 * 1_024).await;
    let mut order = 0;
    let refused = loop {
        order += 1;
        if let Err(error) = accept(&storage, vec![envelope(BOB, order)]).await {
            break error;
        }
        assert!(order < 1_000, "it never fills");
    };
    assert_eq!(refused, WriteError::NoRoom);
    let stored = orders(&storage, BOB).await;
    let many = (1..100).map(|order| envelope(CAROL, order)).collect();
    let answers = (accept(&storage, many), delete(&storage, BOB, 10));
    assert_eq!(answers.0.await, Err(WriteError::NoRoom));
    assert_eq!(answers.1.await, Ok(()));
    assert_eq!(orders(&storage, CAROL).await, Vec::<u64>::new());
    assert_eq!(orders(&storage, BOB).await, stored[10..]);
    assert!(!storage.failed().is_cancelled());
}

#[tokio::test]
async fn after_a_failure_every_write_is_refused_and_reads_go_on() {
    let (_folder, storage) = open(0).await;
    accept(&storage, vec![envelope(BOB, 1)]).await.unwrap();
    // A mistake that must not be papered over.
    let short = NewEnvelope {
        body: Bytes::from_static(b"short"),
        ..envelope(BOB, 2)
    };
    assert_eq!(accept(&storage, vec![short]).await, Err(WriteError::Failed));
    assert!(storage.failed().is_cancelled());
    assert_eq!(
        accept(&storage, vec![envelope(BOB, 2)]).await,
        Err(WriteError::Failed)
    );
    assert_eq!(delete(&storage, BOB, 1).await, Err(WriteError::Failed));
    assert_eq!(orders(&storage, BOB).await, [1]);
    storage.close().await;
    assert_eq!(
        accept(&storage, vec![envelope(BOB, 2)]).await,
        Err(WriteError::Failed)
    );
}

#[tokio::test]
async fn keys_are_written_anew_and_nothing_else_of_the_mailbox_or_of_another_changes() {
    let (folder, storage) = open(0).await;
    assert_eq!(open_mailbox(&storage, BOB, 1).await, Ok(Opened::Open));
    assert_eq!(open_mailbox(&storage, CAROL, 1).await, Ok(Opened::Open));
    // Two in one group: the later one holds.
    let answers = (put_keys(&storage, BOB, 2), put_keys(&storage, BOB, 3));
    assert_eq!((answers.0.await, answers.1.await), (Ok(true), Ok(true)));
    let nobody = MailboxId::new([3; 16]);
    assert_eq!(put_keys(&storage, nobody, 2).await, Ok(false));
    assert!(storage.mailbox(nobody).await.unwrap().is_none());
    // The mailbox is the one with the new keys from now on, not the one with the old.
    assert_eq!(open_mailbox(&storage, BOB, 1).await, Ok(Opened::OtherKeys));
    assert_eq!(open_mailbox(&storage, BOB, 3).await, Ok(Opened::Open));
    storage.close().await;
    let storage = open_in(&folder, 0).await;
    for (id, close) in [(BOB, 3), (CAROL, 1)] {
        let row = storage.mailbox(id).await.unwrap().unwrap();
        assert_eq!(row.keys, keys(close));
        assert_eq!(
            (row.generation, row.closed, row.expires),
            (7, true, Day(140))
        );
    }
    storage.close().await;
    assert_eq!(put_keys(&storage, BOB, 4).await, Err(WriteError::Failed));
}

/// The one segment of a spool that was closed.
fn segment(folder: &TempDir) -> PathBuf {
    let entries = std::fs::read_dir(folder.path().join("spool")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[tokio::test]
async fn what_is_damaged_is_not_handed_out_and_its_neighbours_are() {
    let (folder, storage) = open(0).await;
    let slot = SlotOffer {
        token: SlotToken::new([9; 16]),
        sealed: Bytes::from(vec![77; 1_024]),
    };
    let all = (1..=3).map(|order| envelope(BOB, order)).collect();
    let stored = offer(&storage, Some(slot.clone()), all).await;
    assert_eq!(stored, Ok(Accepted::Stored));
    storage.close().await;
    drop(storage);
    let database = folder.path().join("relay.sqlite");
    let mut file = std::fs::read(&database).unwrap();
    let body = file.windows(1_024).position(|bytes| bytes == [77; 1_024]);
    file[body.unwrap() + 512] ^= 1;
    std::fs::write(&database, file).unwrap();
    let storage = open_in(&folder, 0).await;
    // Damaged while the relay runs: it knows that something should be there.
    let path = segment(&folder);
    let whole = std::fs::read(&path).unwrap();
    let mut file = whole.clone();
    file[whole.len() / 2] ^= 1;
    std::fs::write(&path, &file).unwrap();
    let page = storage.envelopes(BOB, 0, u64::MAX, 10).await.unwrap();
    let bodies: Vec<bool> = page.iter().map(|it| it.body.is_some()).collect();
    assert_eq!(bodies, [true, false, true]);
    assert_eq!(orders(&storage, BOB).await, [1, 3]);
    let read = storage.commit(slot.token).await;
    assert!(matches!(read, Err(ReadError::Damaged(_))), "{read:?}");
    // Nobody wins it any more, and nothing that came with it is stored.
    let again = offer(&storage, Some(slot), vec![envelope(BOB, 4)]).await;
    assert_eq!(again, Ok(Accepted::Damaged));
    storage.close().await;
    drop(storage);
    // And in another's place, with the relay at rest.
    let slot = whole.len() / 3;
    let swapped = [&whole[slot..2 * slot], &whole[..slot], &whole[2 * slot..]].concat();
    std::fs::write(&path, swapped).unwrap();
    let storage = open_in(&folder, 0).await;
    assert_eq!(orders(&storage, BOB).await, [3]);
}

#[tokio::test]
async fn a_database_whose_pages_make_no_sense_is_not_opened() {
    let (folder, storage) = open(0).await;
    for id in 0..60 {
        let id = MailboxId::new([id; 16]);
        assert_eq!(open_mailbox(&storage, id, 1).await, Ok(Opened::Open));
    }
    storage.close().await;
    drop(storage);
    let path = folder.path().join("relay.sqlite");
    let mut file = std::fs::read(&path).unwrap();
    let last = file.len() - 8_192;
    file[last] ^= 0x40; // the kind of the last page
    std::fs::write(&path, file).unwrap();
    let error = try_open(&folder, 0).await.err().expect("it is damaged");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
}

#[tokio::test]
async fn a_tidied_file_does_not_tell_in_which_order_rows_came() {
    let (folder, storage) = open(0).await;
    let ids: Vec<MailboxId> = (0..30).map(|at| MailboxId::new([at * 7; 16])).collect();
    for id in &ids {
        assert_eq!(open_mailbox(&storage, *id, 13).await, Ok(Opened::Open));
    }
    let mut stored: Vec<[u8; 16]> = ids
        .iter()
        .map(|id| storage.keys().mailbox.permute(id.as_bytes()))
        .collect();
    assert!(!stored.is_sorted());
    storage.close().await;
    drop(storage);
    // New cells lie before older ones: rows that were written in the order of their keys lie in
    // the opposite one.
    stored.sort_unstable();
    let file = std::fs::read(folder.path().join("relay.sqlite")).unwrap();
    let place = |id: &[u8; 16]| file.windows(16).position(|bytes| bytes == id).unwrap();
    let places: Vec<usize> = stored.iter().rev().map(place).collect();
    assert!(places.is_sorted(), "{places:?}");
    // And it is as it was.
    let storage = open_in(&folder, 0).await;
    for id in ids {
        let row = storage.mailbox(id).await.unwrap().unwrap();
        assert_eq!((row.generation, row.closed), (7, true));
    }
}

#[tokio::test]
async fn a_database_that_has_no_room_is_tidied_all_the_same() {
    let (folder, storage) = open(30 * 8_192).await;
    let mut opened = Vec::new();
    for at in 0..2_000_u128 {
        let id = MailboxId::new(at.to_be_bytes());
        match open_mailbox(&storage, id, 13).await {
            Ok(_) => opened.push(id),
            Err(error) => assert_eq!(error, WriteError::NoRoom),
        }
    }
    assert!(opened.len() < 2_000, "it was never full");
    let (done, told) = reply();
    storage.submit(Write::Expire {
        today: Day(101),
        part: u8::MAX,
        done,
    });
    assert!(told.await.is_ok());
    storage.close().await;
    drop(storage);
    let storage = open_in(&folder, 0).await;
    for id in opened {
        assert!(storage.mailbox(id).await.unwrap().is_some());
    }
}
