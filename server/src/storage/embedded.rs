//! The embedded default: SQLite for everything that has a key, the spool for envelopes.
//!
//! Both keep the order in which writes were submitted, each for itself; what depends on both (an
//! envelope behind a commit slot, the end of a mailbox) goes through the database first.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, MessageId, SlotToken};
use tokio_util::sync::CancellationToken;

use super::spool::{self, Job, SEGMENT_SLOTS, Spool, SpoolError, SpoolOptions, Spooled};
use super::sqlite::{OpenError, SqliteOptions, SqliteStorage};
use super::{
    BlobRow, Done, Expired, Found, ListedMailbox, MailboxRow, OperatorRow, Places, Read, RowWrite,
    Storage, StoredEnvelope, Write, WriteError,
};
use crate::clock::Clock;
use crate::keys::AtRest;

/// Writes in one group: 8,192 envelopes of 1.1 KB are 9 MB, which a disk takes in well under a
/// second.
pub(crate) const GROUP_WRITES_MAX: usize = 8_192;

/// The folder of the spool, in the data folder.
pub(super) const SPOOL: &str = "spool";

/// How much waits in a data folder, from beside a relay that may be writing to it.
///
/// # Errors
/// What the system says; a file may have been tidied away meanwhile.
pub(crate) fn look(data: &Path, keys: &AtRest) -> io::Result<Spooled> {
    spool::look(&data.join(SPOOL), keys)
}

/// Database and spool of one data folder.
pub(crate) struct EmbeddedStorage {
    rows: SqliteStorage,
    spool: Arc<Spool>,
}

impl EmbeddedStorage {
    /// Whether `data` holds a database already.
    pub(crate) fn exists(data: &Path) -> bool {
        SqliteStorage::exists(data)
    }

    /// Opens or creates both and starts their writers.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed in an existing database.
    pub(crate) async fn open(
        options: SqliteOptions,
        keys: AtRest,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let folder = options.data.join(SPOOL);
        let spool = SpoolOptions {
            bytes_max: options.bytes_max,
            rest_after: options.checkpoint_after,
            group_max: options.group_max,
            segment_slots: SEGMENT_SLOTS,
        };
        let rows = SqliteStorage::open(options, keys.clone(), clock.clone()).await?;
        let failed = rows.failed().clone();
        match Spool::open(&folder, spool, keys, clock, failed).await {
            Ok(spool) => Ok(Self {
                rows,
                spool: Arc::new(spool),
            }),
            Err(SpoolError(source)) => {
                rows.close_all().await;
                Err(OpenError::Io {
                    path: folder,
                    source,
                })
            }
        }
    }

    /// The names of all tables.
    #[cfg(test)]
    pub(crate) async fn table_names(&self) -> Vec<String> {
        self.rows.table_names().await
    }

    /// The keys that ids are permuted with.
    pub(crate) const fn keys(&self) -> &AtRest {
        &self.rows.keys
    }
}

impl Storage for EmbeddedStorage {
    fn mailbox(&self, id: MailboxId) -> Read<'_, Option<MailboxRow>> {
        self.rows.mailbox(id)
    }

    fn stored(&self, id: MailboxId) -> Read<'_, Vec<(u64, MessageId)>> {
        Box::pin(self.spool.stored(id))
    }

    fn envelopes(
        &self,
        id: MailboxId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Read<'_, Vec<StoredEnvelope>> {
        Box::pin(self.spool.envelopes(id, after, through, limit))
    }

    fn commit(&self, token: SlotToken) -> Read<'_, Option<Bytes>> {
        self.rows.commit(token)
    }

    fn is_revoked(&self, hash: [u8; 32]) -> Read<'_, bool> {
        self.rows.is_revoked(hash)
    }

    fn blob_by_read(&self, read_hash: [u8; 32]) -> Read<'_, Option<BlobRow>> {
        self.rows.blob_by_read(read_hash)
    }

    fn blob_by_owner(&self, owner_hash: [u8; 32]) -> Read<'_, Option<BlobRow>> {
        self.rows.blob_by_owner(owner_hash)
    }

    fn mailboxes(&self) -> Read<'_, Vec<ListedMailbox>> {
        self.rows.mailboxes()
    }

    fn operator_log(&self, from: u64) -> Read<'_, Vec<OperatorRow>> {
        self.rows.operator_log(from)
    }

    fn is_blob_file(&self, file: String) -> Read<'_, bool> {
        self.rows.is_blob_file(file)
    }

    fn account(&self, places: Places, with_vault: bool) -> Read<'_, Found> {
        self.rows.account(places, with_vault)
    }

    fn submit(&self, write: Write) {
        match write {
            Write::Row(write) => self.rows.submit(write),
            Write::Accept {
                slot: Some(slot),
                envelopes,
                done,
            } if envelopes.is_empty() => self.rows.submit(RowWrite::Offer { slot, done }),
            Write::Accept {
                slot,
                envelopes,
                done,
            } => {
                let decided = slot.map(|slot| {
                    let (sender, decided) = sync_channel(1);
                    let done = Box::new(move |outcome| {
                        let _ = sender.send(outcome);
                    });
                    self.rows.submit(RowWrite::Offer { slot, done });
                    decided
                });
                self.spool.submit(Job::Accept {
                    decided,
                    envelopes,
                    done,
                });
            }
            Write::DeleteThrough {
                mailbox,
                through,
                done,
            } => self.spool.submit(Job::DeleteThrough {
                mailbox,
                through,
                done,
            }),
            Write::Erase { mailbox, done } => {
                let spool = Arc::clone(&self.spool);
                let erase = move |row: Result<(), WriteError>| match row {
                    Err(error) => done(Err(error)),
                    Ok(()) => spool.submit(Job::DeleteThrough {
                        mailbox,
                        through: u64::MAX,
                        done,
                    }),
                };
                self.rows.submit(RowWrite::EraseMailbox {
                    mailbox,
                    done: Box::new(erase),
                });
            }
            Write::Expire { today, part, done } => {
                let spool = Arc::clone(&self.spool);
                let expire = move |rows| match rows {
                    Err(error) => done(Err(error)),
                    Ok(rows) => expire_envelopes(&spool, today, part, rows, done),
                };
                if part == u8::MAX {
                    let done = Box::new(expire);
                    self.rows.submit(RowWrite::Expire { today, done });
                } else {
                    expire(Ok(Expired::default()));
                }
            }
        }
    }

    fn failed(&self) -> &CancellationToken {
        self.rows.failed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // The spool first: it may wait for the database, and never the other way round.
            self.spool.close().await;
            self.rows.close_all().await;
        })
    }
}

/// The spool's part of a step of the retention, after the database's.
fn expire_envelopes(spool: &Spool, today: Day, part: u8, rows: Expired, done: Done<Expired>) {
    spool.submit(Job::Expire {
        today,
        part,
        mailboxes: rows.mailboxes.clone(),
        done: Box::new(move |envelopes| {
            done(match envelopes {
                Ok(envelopes) => Ok(Expired { envelopes, ..rows }),
                // The rows are gone all the same; the envelopes go another day.
                Err(WriteError::NoRoom) => Ok(rows),
                Err(error) => Err(error),
            });
        }),
    });
}
