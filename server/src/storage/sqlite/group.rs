//! One group: many writes, one transaction, one sync.
//!
//! A statement costs a hop to the connection's thread, so all envelopes of a group are one
//! `INSERT` over one blob that holds their rows end to end, and all deletions are one
//! `DELETE`. An envelope that is acknowledged in the same group in which it would have been
//! written is never written.

use std::collections::HashMap;

use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits;
use sqlx::sqlite::SqliteConnection;

use super::encode::{KEY_BYTES, envelope_key, open_keys, push_row, seal_keys, seal_state};
use super::writer::refuse;
use crate::keys::AtRest;
use crate::storage::{
    Accepted, BlobCreated, Done, NewEnvelope, NewMailbox, Opened, SlotOffer, Write, WriteError,
};

const BEGIN: &str = "BEGIN IMMEDIATE";
/// Row: key 24 ‖ message 16 ‖ body 1,024.
const INSERT: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2) \
    INSERT INTO envelope (key, message, expires_day, body) \
    SELECT substr(?1, i * 1064 + 1, 24), substr(?1, i * 1064 + 25, 16), ?3, substr(?1, i * 1064 + 41, 1024) FROM n";
/// Row: key 24 of the last order to delete; its first 16 bytes start the mailbox.
const DELETE: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2) \
    DELETE FROM envelope WHERE key IN (SELECT e.key FROM n CROSS JOIN envelope e \
    WHERE e.key >= substr(?1, i * 24 + 1, 16) AND e.key <= substr(?1, i * 24 + 1, 24))";

/// A deletion, kept apart because it is tried again when there was no room.
pub(super) struct Delete {
    mailbox: MailboxId,
    through: u64,
    done: Done<()>,
}

/// Why a group was rolled back. Whoever waited was told, but for the deletions.
pub(super) enum GroupError {
    /// No room; the deletions are to be tried again.
    NoRoom {
        /// The group's deletions.
        deletes: Vec<Delete>,
    },
    /// The database failed.
    Failed(sqlx::Error),
}

type Completion = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// Tells a full disk from a failure (SQLITE_FULL is 13).
pub(super) fn classify(error: &sqlx::Error) -> WriteError {
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        Some(13) => WriteError::NoRoom,
        _ => WriteError::Failed,
    }
}

pub(super) struct Group<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) keys: &'a AtRest,
    today: Day,
    inserts: Vec<Option<NewEnvelope>>,
    places: HashMap<MailboxId, Vec<usize>>,
    deletes: Vec<Delete>,
    completions: Vec<Completion>,
}

impl<'a> Group<'a> {
    pub(super) fn new(connection: &'a mut SqliteConnection, keys: &'a AtRest, today: Day) -> Self {
        Self {
            connection,
            keys,
            today,
            inserts: Vec::new(),
            places: HashMap::new(),
            deletes: Vec::new(),
            completions: Vec::new(),
        }
    }

    /// Writes everything, or nothing.
    pub(super) async fn run(mut self, writes: Vec<Write>) -> Result<(), GroupError> {
        let mut writes = writes.into_iter();
        let result = self.attempt(&mut writes).await;
        self.end(result, writes).await
    }

    /// Only deletions.
    pub(super) async fn run_deletes(mut self, deletes: Vec<Delete>) -> Result<(), GroupError> {
        self.deletes = deletes;
        let result = self.attempt(&mut Vec::new().into_iter()).await;
        self.end(result, Vec::new().into_iter()).await
    }

    async fn attempt(&mut self, writes: &mut std::vec::IntoIter<Write>) -> Result<(), sqlx::Error> {
        sqlx::query(BEGIN).execute(&mut *self.connection).await?;
        for write in writes {
            self.apply(write).await?;
        }
        self.delete_all().await?;
        self.insert_all().await?;
        sqlx::query("COMMIT").execute(&mut *self.connection).await?;
        Ok(())
    }

    async fn end(
        mut self,
        result: Result<(), sqlx::Error>,
        left: std::vec::IntoIter<Write>,
    ) -> Result<(), GroupError> {
        let Err(error) = result else {
            for completion in self.completions {
                completion(Ok(()));
            }
            for delete in self.deletes {
                (delete.done)(Ok(()));
            }
            return Ok(());
        };
        // A full disk may have rolled the transaction back already; then this says so, and that is fine.
        let _ = sqlx::query("ROLLBACK").execute(&mut *self.connection).await;
        let kind = classify(&error);
        for completion in self.completions {
            completion(Err(kind));
        }
        for write in left {
            match write {
                Write::DeleteThrough {
                    mailbox,
                    through,
                    done,
                } if kind == WriteError::NoRoom => {
                    self.deletes.push(Delete {
                        mailbox,
                        through,
                        done,
                    });
                }
                write => refuse(write, kind),
            }
        }
        match kind {
            WriteError::NoRoom => Err(GroupError::NoRoom {
                deletes: self.deletes,
            }),
            WriteError::Failed => {
                for delete in self.deletes {
                    (delete.done)(Err(kind));
                }
                Err(GroupError::Failed(error))
            }
        }
    }

    /// Remembers what to tell `done` once the group is durable.
    fn complete<T: Send + 'static>(&mut self, done: Done<T>, value: T) {
        self.completions
            .push(Box::new(move |result| done(result.map(|()| value))));
    }

    /// Runs a fallible step and, if it fails, leaves `done` among those who are told.
    fn settle<T: Send + 'static>(
        &mut self,
        done: Done<T>,
        step: Result<T, sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        match step {
            Ok(value) => {
                self.complete(done, value);
                Ok(())
            }
            Err(error) => {
                self.completions.push(Box::new(move |result| {
                    done(Err(result.err().unwrap_or(WriteError::Failed)));
                }));
                Err(error)
            }
        }
    }

    async fn apply(&mut self, write: Write) -> Result<(), sqlx::Error> {
        match write {
            Write::Accept {
                slot,
                envelopes,
                done,
            } => {
                let outcome = match slot {
                    None => Ok(Accepted::Stored),
                    Some(slot) => self.offer(slot).await,
                };
                if matches!(outcome, Ok(Accepted::Stored)) {
                    for envelope in envelopes {
                        self.places
                            .entry(envelope.mailbox)
                            .or_default()
                            .push(self.inserts.len());
                        self.inserts.push(Some(envelope));
                    }
                }
                self.settle(done, outcome)
            }
            Write::DeleteThrough {
                mailbox,
                through,
                done,
            } => {
                self.cancel(mailbox, through);
                self.deletes.push(Delete {
                    mailbox,
                    through,
                    done,
                });
                Ok(())
            }
            Write::OpenMailbox {
                mailbox,
                admission,
                done,
            } => {
                let outcome = self.open_mailbox(&mailbox, admission).await;
                self.settle(done, outcome)
            }
            Write::PutMailbox {
                id,
                generation,
                closed,
                expires,
                done,
            } => {
                let outcome = self.put_mailbox(id, generation, closed, expires).await;
                self.settle(done, outcome)
            }
            Write::RevokeGrant {
                hash,
                expires,
                done,
            } => {
                let outcome = self.revoke(&hash, expires).await;
                self.settle(done, outcome)
            }
            Write::CreateBlob {
                read_hash,
                owner_hash,
                size,
                expires,
                done,
            } => {
                let outcome = self
                    .create_blob(&read_hash, &owner_hash, size, expires)
                    .await;
                self.settle(done, outcome)
            }
            Write::AdvanceBlob {
                owner_hash,
                offset,
                done,
            } => {
                let owner = self.keys.blob_owner.permute_hash(&owner_hash);
                let outcome =
                    sqlx::query("UPDATE blob SET upload_offset = ?2 WHERE owner_hash = ?1")
                        .bind(owner.to_vec())
                        .bind(integer(offset))
                        .execute(&mut *self.connection)
                        .await
                        .map(|_| ());
                self.settle(done, outcome)
            }
            Write::DeleteBlob { owner_hash, done } => {
                let owner = self.keys.blob_owner.permute_hash(&owner_hash);
                let outcome = sqlx::query("DELETE FROM blob WHERE owner_hash = ?1")
                    .bind(owner.to_vec())
                    .execute(&mut *self.connection)
                    .await
                    .map(|_| ());
                self.settle(done, outcome)
            }
            Write::Expire { today, part, done } => {
                let outcome = self.expire(today, part).await;
                self.settle(done, outcome)
            }
            Write::AddAdmission { hash, uses, done } => {
                let outcome =
                    sqlx::query("INSERT INTO admission_code (hash, uses_left) VALUES (?1, ?2)")
                        .bind(self.keys.admission.permute_hash(&hash).to_vec())
                        .bind(i64::from(uses))
                        .execute(&mut *self.connection)
                        .await
                        .map(|_| ());
                self.settle(done, outcome)
            }
        }
    }

    /// Envelopes of this group that are acknowledged already are not written.
    fn cancel(&mut self, mailbox: MailboxId, through: u64) {
        for place in self.places.get(&mailbox).into_iter().flatten() {
            if let Some(slot) = self.inserts.get_mut(*place)
                && slot
                    .as_ref()
                    .is_some_and(|envelope| envelope.order <= through)
            {
                *slot = None;
            }
        }
    }

    async fn insert_all(&mut self) -> Result<(), sqlx::Error> {
        let mut envelopes: Vec<&NewEnvelope> = self
            .inserts
            .iter()
            .flatten()
            .filter(|envelope| envelope.body.len() == limits::ENVELOPE_BYTES)
            .collect();
        if envelopes.is_empty() {
            return Ok(());
        }
        // Neighbours in the table are written one after the other: each page is touched once.
        envelopes.sort_by_cached_key(|envelope| {
            envelope_key(self.keys, &envelope.mailbox, envelope.order)
        });
        let mut rows =
            Vec::with_capacity(envelopes.len() * (KEY_BYTES + 16 + limits::ENVELOPE_BYTES));
        for envelope in &envelopes {
            push_row(self.keys, &mut rows, envelope);
        }
        let count = i64::try_from(envelopes.len()).unwrap_or(i64::MAX);
        metrics::counter!("kinline_envelopes_written_total").increment(envelopes.len() as u64);
        sqlx::query(INSERT)
            .bind(rows)
            .bind(count)
            .bind(self.today.plus(limits::ENVELOPE_RETENTION_DAYS).0)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn delete_all(&mut self) -> Result<(), sqlx::Error> {
        let ranges: Vec<(MailboxId, u64)> = self
            .deletes
            .iter()
            .map(|d| (d.mailbox, d.through))
            .collect();
        self.delete_ranges(&ranges).await
    }

    /// Deletes each mailbox's envelopes up to an order.
    pub(super) async fn delete_ranges(
        &mut self,
        ranges: &[(MailboxId, u64)],
    ) -> Result<(), sqlx::Error> {
        if ranges.is_empty() {
            return Ok(());
        }
        let rows: Vec<u8> = ranges
            .iter()
            .flat_map(|(mailbox, through)| envelope_key(self.keys, mailbox, *through))
            .collect();
        sqlx::query(DELETE)
            .bind(rows)
            .bind(i64::try_from(ranges.len()).unwrap_or(i64::MAX))
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// The first commit offered under a token holds the slot; "mine" means equal bytes.
    async fn offer(&mut self, slot: SlotOffer) -> Result<Accepted, sqlx::Error> {
        let token = self.keys.slot.permute(slot.token.as_bytes()).to_vec();
        let inserted =
            sqlx::query("INSERT INTO commit_slot (token, expires_day, body) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")
                .bind(token.clone())
                .bind(self.today.plus(limits::COMMIT_RETENTION_DAYS).0)
                .bind(slot.sealed.to_vec())
                .execute(&mut *self.connection)
                .await?;
        if inserted.rows_affected() == 1 {
            return Ok(Accepted::Stored);
        }
        let winner: Vec<u8> = sqlx::query_scalar("SELECT body FROM commit_slot WHERE token = ?1")
            .bind(token)
            .fetch_one(&mut *self.connection)
            .await?;
        if winner == slot.sealed {
            Ok(Accepted::Stored)
        } else {
            Ok(Accepted::Lost {
                winner: winner.into(),
            })
        }
    }

    async fn open_mailbox(
        &mut self,
        mailbox: &NewMailbox,
        admission: Option<[u8; 32]>,
    ) -> Result<Opened, sqlx::Error> {
        let id = self.keys.mailbox.permute(mailbox.id.as_bytes());
        let existing: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT keys FROM mailbox WHERE id = ?1")
                .bind(id.to_vec())
                .fetch_optional(&mut *self.connection)
                .await?;
        if let Some(sealed) = existing {
            let same =
                open_keys(self.keys, &id, &sealed).is_ok_and(|keys| keys == mailbox.row.keys);
            return Ok(if same {
                Opened::Open
            } else {
                Opened::OtherKeys
            });
        }
        if let Some(hash) = admission
            && !self.use_admission(&hash).await?
        {
            return Ok(Opened::Admission);
        }
        let (Ok(keys), Ok(state)) = (
            seal_keys(self.keys, &id, &mailbox.row.keys),
            seal_state(self.keys, &id, mailbox.row.generation, mailbox.row.closed),
        ) else {
            return Err(sqlx::Error::WorkerCrashed); // no randomness: nothing can be sealed any more
        };
        sqlx::query("INSERT INTO mailbox (id, keys, state, expires_day) VALUES (?1, ?2, ?3, ?4)")
            .bind(id.to_vec())
            .bind(keys)
            .bind(state)
            .bind(mailbox.row.expires.0)
            .execute(&mut *self.connection)
            .await?;
        Ok(Opened::Open)
    }

    async fn use_admission(&mut self, hash: &[u8; 32]) -> Result<bool, sqlx::Error> {
        let stored = self.keys.admission.permute_hash(hash).to_vec();
        let last = sqlx::query("DELETE FROM admission_code WHERE hash = ?1 AND uses_left = 1")
            .bind(stored.clone())
            .execute(&mut *self.connection)
            .await?;
        if last.rows_affected() == 1 {
            return Ok(true);
        }
        let used =
            sqlx::query("UPDATE admission_code SET uses_left = uses_left - 1 WHERE hash = ?1")
                .bind(stored)
                .execute(&mut *self.connection)
                .await?;
        Ok(used.rows_affected() == 1)
    }

    async fn put_mailbox(
        &mut self,
        id: MailboxId,
        generation: u64,
        closed: bool,
        expires: Day,
    ) -> Result<(), sqlx::Error> {
        let id = self.keys.mailbox.permute(id.as_bytes());
        let Ok(state) = seal_state(self.keys, &id, generation, closed) else {
            return Err(sqlx::Error::WorkerCrashed);
        };
        sqlx::query("UPDATE mailbox SET state = ?2, expires_day = ?3 WHERE id = ?1")
            .bind(id.to_vec())
            .bind(state)
            .bind(expires.0)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn revoke(&mut self, hash: &[u8; 32], expires: Day) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO revoked_grant (hash, expires_day) VALUES (?1, ?2) \
             ON CONFLICT (hash) DO UPDATE SET expires_day = max(expires_day, excluded.expires_day)",
        )
        .bind(self.keys.revoked.permute_hash(hash).to_vec())
        .bind(expires.0)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn create_blob(
        &mut self,
        read_hash: &[u8; 32],
        owner_hash: &[u8; 32],
        size: u64,
        expires: Day,
    ) -> Result<BlobCreated, sqlx::Error> {
        let read = self.keys.blob_read.permute_hash(read_hash).to_vec();
        let owner = self.keys.blob_owner.permute_hash(owner_hash).to_vec();
        let inserted = sqlx::query(
            "INSERT INTO blob (read_hash, owner_hash, size_class, upload_offset, expires_day) \
             VALUES (?1, ?2, ?3, 0, ?4) ON CONFLICT DO NOTHING",
        )
        .bind(read.clone())
        .bind(owner.clone())
        .bind(integer(size))
        .bind(expires.0)
        .execute(&mut *self.connection)
        .await?;
        if inserted.rows_affected() == 1 {
            return Ok(BlobCreated::Ready {
                offset: 0,
                expires,
                fresh: true,
            });
        }
        let same: Option<(i64, u32)> = sqlx::query_as(
            "SELECT upload_offset, expires_day FROM blob WHERE read_hash = ?1 AND owner_hash = ?2 AND size_class = ?3",
        )
        .bind(read)
        .bind(owner)
        .bind(integer(size))
        .fetch_optional(&mut *self.connection)
        .await?;
        Ok(
            same.map_or(BlobCreated::Taken, |(offset, expires)| BlobCreated::Ready {
                offset: u64::try_from(offset).unwrap_or(0),
                expires: Day(expires),
                fresh: false,
            }),
        )
    }
}

/// SQLite's integers are signed; sizes here stay far below 2^63.
fn integer(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
