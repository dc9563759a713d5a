//! A data folder under another at-rest key, while no relay runs on it.
//!
//! Spool and names of blobs are made anew beside the old ones, in `rotating`; then all rows change
//! in one transaction, which decides; then the new ones take the place of the old ones. Whenever
//! it breaks off, the key file still holds both keys, and [`settle`] goes on or back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kinline_protocol::day::Day;

use super::embedded::SPOOL;
use super::spool;
use super::sqlite::{OpenError, Resting, SqliteOptions};
use crate::files::{blur_folder, make_folder, sync_parent};
use crate::keys::AtRest;

const ROTATING: &str = "rotating";
const BLOBS: &str = "blobs";

/// What a test stops after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Spool and blobs are there anew.
    Prepared,
    /// The rows are under the new key.
    Decided,
    /// One of the two folders is in its place.
    Half,
    /// All of it.
    Done,
}

/// What became of a change that had broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It is done: everything is under the new key.
    New,
    /// It never was: everything is under the old one.
    Old,
}

/// Brings everything from under `old` to under `new`, up to and including `until`.
///
/// # Errors
/// [`OpenError`]: then [`settle`] tells which key counts.
pub(crate) async fn rekey(
    options: &SqliteOptions,
    old: &AtRest,
    new: &AtRest,
    today: Day,
    until: Step,
) -> Result<(), OpenError> {
    let data = &options.data;
    let beside = data.join(ROTATING);
    prepare(data, &beside, old, new, today).map_err(|source| broken(data, source))?;
    if until == Step::Prepared {
        return Ok(());
    }
    let mut rows = Resting::open(options).await?;
    let rekeyed = rows.rekey(old, new).await;
    rows.close().await?;
    rekeyed?;
    if until == Step::Decided {
        return Ok(());
    }
    replace(data, &beside, until).map_err(|source| broken(data, source))
}

/// Ends a change that broke off: whichever key the rows are under counts.
///
/// # Errors
/// [`OpenError`].
pub(crate) async fn settle(options: &SqliteOptions, new: &AtRest) -> Result<Settled, OpenError> {
    let data = &options.data;
    let beside = data.join(ROTATING);
    let mut rows = Resting::open(options).await?;
    let decided = rows.is_under(new).await;
    rows.close().await?;
    if decided? {
        replace(data, &beside, Step::Done).map_err(|source| broken(data, source))?;
        Ok(Settled::New)
    } else {
        remove(&beside).map_err(|source| broken(data, source))?;
        Ok(Settled::Old)
    }
}

fn broken(data: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        path: data.into(),
        source,
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_parent(folder)),
    }
}

fn prepare(data: &Path, beside: &Path, old: &AtRest, new: &AtRest, today: Day) -> io::Result<()> {
    remove(beside)?;
    make_folder(beside)?;
    spool::rekey(&data.join(SPOOL), &beside.join(SPOOL), old, new)?;
    name_blobs(&data.join(BLOBS), &beside.join(BLOBS), old, new, today)?;
    fs::File::open(beside)?.sync_all()
}

/// Gives every blob's file a second name.
fn name_blobs(from: &Path, to: &Path, old: &AtRest, new: &AtRest, today: Day) -> io::Result<()> {
    make_folder(to)?;
    if !from.exists() {
        return Ok(());
    }
    for folder in fs::read_dir(from)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(&folder)? {
            let file = file?.path();
            let Some(name) = renamed(&file, old, new) else {
                continue; // of nobody: it goes
            };
            let path = to.join(name.get(..2).unwrap_or("00")).join(&name);
            if let Some(parent) = path.parent() {
                make_folder(parent)?;
                fs::hard_link(&file, &path)?;
                fs::File::open(parent)?.sync_all()?;
                blur_folder(parent, today)?;
            }
        }
    }
    fs::File::open(to)?.sync_all()?;
    blur_folder(to, today)
}

fn renamed(file: &Path, old: &AtRest, new: &AtRest) -> Option<String> {
    let name = hex::decode(file.file_name()?.to_str()?).ok()?;
    let hash = old.blob_read.restore_hash(&name.try_into().ok()?);
    Some(hex::encode(new.blob_read.permute_hash(&hash)))
}

/// Puts the new folders in the place of the old ones; twice is harmless.
fn replace(data: &Path, beside: &Path, until: Step) -> io::Result<()> {
    let moved = |name: &str| -> io::Result<()> {
        let (new, old): (PathBuf, PathBuf) = (beside.join(name), data.join(name));
        if new.exists() {
            remove(&old)?;
            fs::rename(&new, &old)?;
            sync_parent(&old)?;
        }
        Ok(())
    };
    moved(SPOOL)?;
    if until == Step::Half {
        return Ok(());
    }
    moved(BLOBS)?;
    remove(beside)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::path::Path;
    use std::time::Duration;

    use bytes::Bytes;
    use kinline_protocol::attach::MailboxKeys;
    use kinline_protocol::day::Day;
    use kinline_protocol::ids::{MailboxId, MessageId, SlotToken};
    use kinline_protocol::limits::ENVELOPE_BYTES;
    use kinline_protocol::primitives::sign::PublicKey;
    use kinline_protocol::secrets::Secret;

    use super::{Settled, Step, rekey, settle};
    use crate::clock::Clock;
    use crate::keys::AtRest;
    use crate::storage::sqlite::rekey_tables;
    use crate::storage::{
        AccountRow, Change, EmbeddedStorage, Entry, GROUP_WRITES_MAX, MailboxRow, NewEnvelope,
        NewMailbox, OpenError, Places, RowWrite, Said, SlotOffer, SqliteOptions, Storage,
        VaultParts, Write, reply,
    };

    const BOB: MailboxId = MailboxId::new([1; 16]);
    const TOKEN: SlotToken = SlotToken::new([2; 16]);
    const TODAY: Day = Day(100);

    fn options(folder: &Path) -> SqliteOptions {
        SqliteOptions {
            data: folder.into(),
            bytes_max: 0,
            checkpoint_after: Duration::from_secs(3_600),
            group_max: GROUP_WRITES_MAX,
            exclusive: true,
        }
    }

    fn keys(byte: u8) -> AtRest {
        AtRest::new(&Secret::new([byte; 32]))
    }

    async fn open(folder: &Path, keys: &AtRest) -> Result<EmbeddedStorage, OpenError> {
        EmbeddedStorage::open(options(folder), keys.clone(), Clock::manual(TODAY)).await
    }

    fn places() -> Places {
        Places {
            ids: vec![[3; 32]],
            nobody: [4; 32],
        }
    }

    fn account(byte: u8) -> AccountRow {
        AccountRow {
            setup: 1,
            stretching: [2, 3, 4],
            record: [byte; 192],
            write_key: PublicKey::new([6; 32]),
            vault_version: 7,
            failed_logins: 8,
            failed_day: Day(9),
            ticket_epoch: 10,
            tickets_drawn: 11,
            flags: 12,
        }
    }

    fn vault() -> VaultParts {
        VaultParts {
            request: vec![1; 2_048].into(),
            recovery: vec![2; 1_024].into(),
        }
    }

    fn ticket() -> Entry {
        Entry::Ticket {
            hash: [8; 32],
            expires: Day(200),
        }
    }

    fn envelope(order: u64) -> NewEnvelope {
        NewEnvelope {
            mailbox: BOB,
            order,
            message: MessageId::new([u8::try_from(order).unwrap(); 16]),
            body: Bytes::from(vec![u8::try_from(order).unwrap(); ENVELOPE_BYTES]),
        }
    }

    async fn fill(storage: &EmbeddedStorage) {
        let (done, made) = reply();
        storage.submit(Write::Row(RowWrite::OpenMailbox {
            mailbox: NewMailbox {
                id: BOB,
                row: MailboxRow {
                    keys: MailboxKeys {
                        authentication: PublicKey::new([11; 32]),
                        grant: PublicKey::new([12; 32]),
                        close: PublicKey::new([13; 32]),
                    },
                    generation: 7,
                    closed: false,
                    decoy: true,
                    expires: Day(140),
                },
            },
            entry: Entry::Open,
            done,
        }));
        made.await.unwrap();
        let (done, stored) = reply();
        storage.submit(Write::Accept {
            slot: Some(SlotOffer {
                token: TOKEN,
                sealed: Bytes::from_static(b"commit"),
            }),
            envelopes: (1..=5).map(envelope).collect(),
            done,
        });
        stored.await.unwrap();
        let (done, deleted) = reply();
        storage.submit(Write::DeleteThrough {
            mailbox: BOB,
            through: 2,
            done,
        });
        deleted.await.unwrap();
        let (done, made) = reply();
        storage.submit(Write::Row(RowWrite::CreateBlob {
            read_hash: [5; 32],
            owner_hash: [6; 32],
            size: 1_024,
            expires: Day(140),
            done,
        }));
        made.await.unwrap();
        let (done, revoked) = reply();
        storage.submit(Write::Row(RowWrite::RevokeGrant {
            hash: [7; 32],
            expires: Day(140),
            done,
        }));
        revoked.await.unwrap();
        let (done, added) = reply();
        storage.submit(Write::Row(RowWrite::AddAdmission {
            hash: [9; 32],
            uses: 2,
            done,
        }));
        added.await.unwrap();
        let (done, spent) = reply();
        storage.submit(Write::Row(RowWrite::Spend {
            entry: ticket(),
            done,
        }));
        assert!(spent.await.unwrap());
        let (done, made) = reply();
        storage.submit(Write::Row(RowWrite::MakeNobody {
            id: places().nobody,
            row: Box::new(account(1)),
            done,
        }));
        made.await.unwrap();
        let (done, made) = reply();
        storage.submit(Write::Row(RowWrite::Account {
            places: places(),
            entry: Entry::Open,
            decide: Box::new(|found| {
                let said = Said::Done(Box::new(found.row.clone()));
                (Change::Put(account(2), Some(vault())), said)
            }),
            done,
        }));
        made.await.unwrap();
    }

    async fn check(storage: &EmbeddedStorage) {
        let row = storage.mailbox(BOB).await.unwrap().unwrap();
        assert_eq!((row.generation, row.decoy), (7, true));
        assert_eq!(row.keys.close, PublicKey::new([13; 32]));
        let stored = storage.envelopes(BOB, 0, 99, 99).await.unwrap();
        let orders: Vec<_> = stored.iter().map(|envelope| envelope.order).collect();
        assert_eq!(orders, [3, 4, 5]);
        assert_eq!(stored[0].body, Some(envelope(3).body));
        assert_eq!(storage.commit(TOKEN).await.unwrap().unwrap(), "commit");
        assert!(storage.is_revoked([7; 32]).await.unwrap());
        let read = storage.blob_by_read([5; 32]).await.unwrap().unwrap();
        let owner = storage.blob_by_owner([6; 32]).await.unwrap().unwrap();
        assert_eq!(read, owner);
        let found = storage.account(places(), true).await.unwrap();
        assert!(found.is_there());
        assert_eq!(found.row, account(2));
        assert_eq!(found.vault, Some(vault()));
        for (entry, good) in [(ticket(), false), (Entry::Code([9; 32]), true)] {
            let (done, used) = reply();
            storage.submit(Write::Row(RowWrite::Spend { entry, done }));
            assert_eq!(used.await, Ok(good));
        }
    }

    #[tokio::test]
    async fn whenever_it_breaks_off_everything_is_there_under_one_key() {
        for (until, settled) in [
            (Step::Prepared, Settled::Old),
            (Step::Decided, Settled::New),
            (Step::Half, Settled::New),
            (Step::Done, Settled::New),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path();
            let (old, new) = (keys(1), keys(2));
            let storage = open(data, &old).await.unwrap();
            fill(&storage).await;
            let name = storage.blob_by_read([5; 32]).await.unwrap().unwrap().file;
            storage.close().await;
            let blob = |name: &str| data.join("blobs").join(&name[..2]).join(name);
            std::fs::create_dir_all(blob(&name).parent().unwrap()).unwrap();
            std::fs::write(blob(&name), "bytes").unwrap();
            rekey(&options(data), &old, &new, TODAY, until)
                .await
                .unwrap();
            assert_eq!(settle(&options(data), &new).await.unwrap(), settled);
            let (right, wrong) = match settled {
                Settled::New => (new, old),
                Settled::Old => (old, new),
            };
            assert!(matches!(
                open(data, &wrong).await,
                Err(OpenError::OtherKey(_))
            ));
            let storage = open(data, &right).await.unwrap();
            let now = storage.blob_by_read([5; 32]).await.unwrap().unwrap().file;
            assert_eq!(now == name, settled == Settled::Old);
            assert_eq!(std::fs::read(blob(&now)).unwrap(), b"bytes");
            assert_eq!(now == name, blob(&name).exists());
            check(&storage).await;
            storage.close().await;
            assert!(!data.join("rotating").exists());
        }
    }

    /// A table that is added and forgotten here would be lost with the first change of keys.
    #[tokio::test]
    async fn no_table_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(folder.path(), &keys(1)).await.unwrap();
        let tables = storage.table_names().await;
        storage.close().await;
        let known = rekey_tables();
        assert!(tables.len() > 8);
        for table in tables {
            assert!(known.contains(&table.as_str()), "{table}");
        }
    }
}
