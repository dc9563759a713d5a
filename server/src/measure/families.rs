//! Families that come to a relay's storage, without sockets and logins: what they leave in it is
//! what a real visit leaves, written by the same writer in the same order.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits::MAILBOX_IDLE_DAYS;
use kinline_protocol::primitives::opaque::RECORD_BYTES;
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::secrets::Secret;

use crate::clock::Clock;
use crate::keys::AtRest;
use crate::storage::{
    AccountRow, Change, EmbeddedStorage, Entry, GROUP_WRITES_MAX, MailboxRow, NewMailbox,
    OpenError, Places, RowWrite, Said, SqliteOptions, Storage, VaultParts, Write, reply,
};

/// Where the row of nobody lies.
const NOBODY: [u8; 32] = [0x0b; 32];

/// What a family does at one visit, in this order.
#[derive(Debug, Clone)]
pub enum Visit {
    /// Opens a mailbox.
    Open([u8; 16]),
    /// Registers an account, or writes its record anew.
    Register([u8; 32]),
    /// Writes the vault: bytes of its two parts.
    Vault([u8; 32], [usize; 2]),
    /// Uploads an attachment under this secret.
    Upload([u8; 32]),
    /// Attaches a mailbox, which is written with its new last day.
    Attach([u8; 16], u64),
}

/// The storage of a relay with a clock of its own.
pub struct Families {
    storage: EmbeddedStorage,
    clock: Clock,
}

impl std::fmt::Debug for Families {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Families")
    }
}

impl Families {
    /// Opens a database of its own in `folder`, on `day`. It never rests while it is open, so
    /// that it is tidied when the day changes and when it is closed, and not in between.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(folder: &Path, day: u32) -> Result<Self, OpenError> {
        let options = SqliteOptions {
            data: folder.into(),
            bytes_max: 0,
            checkpoint_after: Duration::from_secs(86_400),
            group_max: GROUP_WRITES_MAX,
            exclusive: true,
        };
        let clock = Clock::manual(Day(day));
        let keys = AtRest::new(&Secret::new([0x4c; 32]));
        let storage = EmbeddedStorage::open(options, keys, clock.clone()).await?;
        let (done, made) = reply();
        storage.submit(Write::Row(RowWrite::MakeNobody {
            id: NOBODY,
            row: Box::new(account(0)),
            done,
        }));
        let _ = made.await;
        Ok(Self { storage, clock })
    }

    /// A visit; resolves to whether all of it is durable.
    pub async fn visit(&self, steps: &[Visit]) -> bool {
        let mut waits: Vec<futures_util::future::BoxFuture<'static, bool>> = Vec::new();
        for step in steps {
            self.step(step, &mut waits);
        }
        futures_util::future::join_all(waits)
            .await
            .into_iter()
            .all(|ok| ok)
    }

    fn step(&self, step: &Visit, waits: &mut Vec<futures_util::future::BoxFuture<'static, bool>>) {
        let today = self.clock.day();
        let mut submit = |write, wait: futures_util::future::BoxFuture<'static, bool>| {
            self.storage.submit(Write::Row(write));
            waits.push(wait);
        };
        match step {
            Visit::Open(id) => {
                let (done, told) = reply();
                let row = MailboxRow {
                    keys: MailboxKeys {
                        authentication: PublicKey::new([1; 32]),
                        grant: PublicKey::new([2; 32]),
                        close: PublicKey::new([3; 32]),
                    },
                    generation: 0,
                    closed: false,
                    decoy: false,
                    expires: today.plus(MAILBOX_IDLE_DAYS),
                };
                let mailbox = NewMailbox {
                    id: MailboxId::new(*id),
                    row,
                };
                let entry = Entry::Open;
                let write = RowWrite::OpenMailbox {
                    mailbox,
                    entry,
                    done,
                };
                submit(write, Box::pin(async { told.await.is_ok() }));
            }
            Visit::Register(id) => {
                let (write, wait) = put(*id, None);
                submit(write, wait);
            }
            Visit::Vault(id, [request, recovery]) => {
                let parts = VaultParts {
                    request: Bytes::from(vec![0; *request]),
                    recovery: Bytes::from(vec![0; *recovery]),
                };
                let (write, wait) = put(*id, Some(parts));
                submit(write, wait);
            }
            Visit::Upload(secret) => {
                let owner = secret.map(|byte| !byte);
                let (done, told) = reply();
                let write = RowWrite::CreateBlob {
                    read_hash: *secret,
                    owner_hash: owner,
                    size: 65_536,
                    expires: today.plus(30),
                    done,
                };
                submit(write, Box::pin(async { told.await.is_ok() }));
                let (done, told) = reply();
                let write = RowWrite::AdvanceBlob {
                    owner_hash: owner,
                    offset: 65_536,
                    sums: Some(vec![7; 4]),
                    done,
                };
                submit(write, Box::pin(async { told.await.is_ok() }));
            }
            Visit::Attach(id, generation) => {
                let (done, told) = reply();
                let write = RowWrite::PutMailbox {
                    id: MailboxId::new(*id),
                    generation: *generation,
                    closed: false,
                    decoy: false,
                    expires: today.plus(MAILBOX_IDLE_DAYS),
                    done,
                };
                submit(write, Box::pin(async { told.await.is_ok() }));
            }
        }
    }

    /// The next day, with its retention; resolves to whether that went well.
    pub async fn next_day(&self, retention: bool) -> bool {
        self.clock.advance(1);
        if !retention {
            return true;
        }
        let (done, told) = reply();
        self.storage.submit(Write::Expire {
            today: self.clock.day(),
            part: u8::MAX,
            done,
        });
        told.await.is_ok()
    }

    /// How a mailbox's id lies on the disk.
    #[must_use]
    pub fn mailbox_at(&self, id: [u8; 16]) -> [u8; 16] {
        self.storage.keys().mailbox.permute(&id)
    }

    /// How an account's id lies on the disk.
    #[must_use]
    pub fn account_at(&self, id: [u8; 32]) -> [u8; 32] {
        self.storage.keys().account.permute_hash(&id)
    }

    /// Ends as a relay does.
    pub async fn close(self) {
        self.storage.close().await;
    }
}

fn account(vault_version: u64) -> AccountRow {
    AccountRow {
        setup: 1,
        stretching: [65_536, 3, 1],
        record: [5; RECORD_BYTES],
        write_key: PublicKey::new([6; 32]),
        vault_version,
        failed_logins: 0,
        failed_day: Day(0),
        ticket_epoch: 0,
        tickets_drawn: 0,
        flags: 0,
    }
}

fn put(
    id: [u8; 32],
    vault: Option<VaultParts>,
) -> (RowWrite, futures_util::future::BoxFuture<'static, bool>) {
    let (done, told) = reply();
    let write = RowWrite::Account {
        places: Places {
            ids: vec![id],
            nobody: NOBODY,
        },
        entry: Entry::Open,
        decide: Box::new(move |found| {
            let row = account(found.row.vault_version.saturating_add(1));
            (Change::Put(row.clone(), vault), Said::Done(Box::new(row)))
        }),
        done,
    };
    let wait = Box::pin(async { matches!(told.await, Ok(Said::Done(_))) });
    (write, wait)
}
