//! One group: many writes, one transaction, one sync.
//!
//! All envelopes of a group are one `INSERT` over one blob that holds their rows end to end,
//! and all deletions are one `DELETE`. An envelope that is acknowledged in the same group in which it would have been
//! written is never written.

use std::collections::HashMap;

use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits;
use sqlx::sqlite::SqliteConnection;

use super::encode::{KEY_BYTES, ROW_BYTES, envelope_key, push_row};
use super::writer::refuse;
use crate::keys::AtRest;
use crate::storage::{Done, NewEnvelope, Write, WriteError};

/// `?1` holds rows of key 24 ‖ message 16 ‖ tag 8 ‖ body 1,024 end to end, `?2` of them.
macro_rules! insert {
    () => {
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2) \
         INSERT INTO envelope (key, message, expires_day, body, tag) \
         SELECT substr(?1, i * 1072 + 1, 24), substr(?1, i * 1072 + 25, 16), ?3, \
         substr(?1, i * 1072 + 49, 1024), substr(?1, i * 1072 + 41, 8) FROM n;"
    };
}

/// `?4` holds keys of 24 bytes end to end, `?5` of them: of each mailbox the last order to
/// delete. A key's first 16 bytes alone come before all keys of its mailbox.
macro_rules! delete {
    () => {
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?5) \
         DELETE FROM envelope WHERE key IN (SELECT e.key FROM n CROSS JOIN envelope e \
         WHERE e.key >= substr(?4, i * 24 + 1, 16) AND e.key <= substr(?4, i * 24 + 1, 24));"
    };
}

/// What a group does to envelopes, with or without a transaction around it: a statement
/// costs a hop to the connection's thread, several in one string cost one.
const BATCHES: [[&str; 3]; 2] = [
    [insert!(), delete!(), concat!(delete!(), insert!())],
    [
        concat!("BEGIN IMMEDIATE;", insert!(), "COMMIT;"),
        concat!("BEGIN IMMEDIATE;", delete!(), "COMMIT;"),
        concat!("BEGIN IMMEDIATE;", delete!(), insert!(), "COMMIT;"),
    ],
];

/// A deletion, kept apart because it is tried again when there was no room.
pub(super) struct Delete {
    pub(super) mailbox: MailboxId,
    pub(super) through: u64,
    pub(super) done: Done<()>,
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
    pub(super) today: Day,
    begun: bool,
    pub(super) inserts: Vec<Option<NewEnvelope>>,
    pub(super) places: HashMap<MailboxId, Vec<usize>>,
    pub(super) deletes: Vec<Delete>,
    completions: Vec<Completion>,
    /// About how many pages it puts into the log.
    pages: usize,
}

/// Envelopes of one mailbox on a page of 8 KiB.
const ENVELOPES_OF_A_PAGE: usize = 7;

/// About how many pages a write touches, envelopes apart.
fn pages_of(write: &Write) -> usize {
    match write {
        Write::Accept {
            slot: Some(slot), ..
        } => 2 + slot.sealed.len() / 8_192,
        Write::Accept { slot: None, .. } | Write::DeleteThrough { .. } => 0,
        _ => 2,
    }
}

impl<'a> Group<'a> {
    pub(super) fn new(connection: &'a mut SqliteConnection, keys: &'a AtRest, today: Day) -> Self {
        Self {
            connection,
            keys,
            today,
            begun: false,
            inserts: Vec::new(),
            places: HashMap::new(),
            deletes: Vec::new(),
            completions: Vec::new(),
            pages: 2,
        }
    }

    /// Writes everything, or nothing. Returns about how many pages the log has grown by.
    pub(super) async fn run(mut self, writes: Vec<Write>) -> Result<usize, GroupError> {
        self.pages += writes.iter().map(pages_of).sum::<usize>();
        let mut writes = writes.into_iter();
        let result = self.attempt(&mut writes).await;
        self.end(result, writes).await
    }

    /// Only deletions.
    pub(super) async fn run_deletes(mut self, deletes: Vec<Delete>) -> Result<usize, GroupError> {
        self.deletes = deletes;
        let result = self.attempt(&mut Vec::new().into_iter()).await;
        self.end(result, Vec::new().into_iter()).await
    }

    async fn attempt(&mut self, writes: &mut std::vec::IntoIter<Write>) -> Result<(), sqlx::Error> {
        for write in writes {
            self.apply(write).await?;
        }
        self.write_envelopes().await?;
        if self.begun {
            sqlx::query("COMMIT").execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    /// Begins the transaction, if that was not done yet. A group that only stores and deletes
    /// envelopes is one string of statements and needs no beginning of its own.
    pub(super) async fn begin(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        if !self.begun {
            sqlx::query("BEGIN IMMEDIATE")
                .execute(&mut *self.connection)
                .await?;
            self.begun = true;
        }
        Ok(&mut *self.connection)
    }

    async fn end(
        mut self,
        result: Result<(), sqlx::Error>,
        left: std::vec::IntoIter<Write>,
    ) -> Result<usize, GroupError> {
        let Err(error) = result else {
            for completion in self.completions {
                completion(Ok(()));
            }
            for delete in self.deletes {
                (delete.done)(Ok(()));
            }
            return Ok(self.pages);
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
    pub(super) fn settle<T: Send + 'static>(
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

    /// Envelopes of this group that are acknowledged already are not written.
    pub(super) fn cancel(&mut self, mailbox: MailboxId, through: u64) {
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

    async fn write_envelopes(&mut self) -> Result<(), sqlx::Error> {
        let ranges: Vec<(MailboxId, u64)> = self
            .deletes
            .iter()
            .map(|delete| (delete.mailbox, delete.through))
            .collect();
        let mut envelopes: Vec<([u8; KEY_BYTES], &NewEnvelope)> = self
            .inserts
            .iter()
            .flatten()
            .map(|envelope| {
                let key = envelope_key(self.keys, &envelope.mailbox, envelope.order);
                (key, envelope)
            })
            .collect();
        // Neighbours in the table are written one after the other: each page is touched once.
        envelopes.sort_unstable_by_key(|(key, _)| *key);
        let mut rows = Vec::with_capacity(envelopes.len() * ROW_BYTES);
        for (key, envelope) in &envelopes {
            if envelope.body.len() != limits::ENVELOPE_BYTES {
                return Err(sqlx::Error::Protocol("an envelope of a wrong size".into()));
            }
            push_row(self.keys, &mut rows, key, envelope);
        }
        let count = envelopes.len();
        let mailboxes = envelopes
            .chunk_by(|(one, _), (other, _)| one.first_chunk::<16>() == other.first_chunk::<16>())
            .count();
        self.pages += mailboxes + count / ENVELOPES_OF_A_PAGE + ranges.len();
        metrics::counter!("kinline_envelopes_written_total").increment(count as u64);
        self.batch(rows, count, &ranges).await
    }

    /// Deletes each mailbox's envelopes up to an order, within the transaction.
    pub(super) async fn delete_ranges(
        &mut self,
        ranges: &[(MailboxId, u64)],
    ) -> Result<(), sqlx::Error> {
        self.begin().await?;
        self.batch(Vec::new(), 0, ranges).await
    }

    async fn batch(
        &mut self,
        rows: Vec<u8>,
        count: usize,
        ranges: &[(MailboxId, u64)],
    ) -> Result<(), sqlx::Error> {
        let [within, alone] = BATCHES;
        let [insert, delete, both] = if self.begun { within } else { alone };
        let statement = match (count, ranges) {
            (0, []) => return Ok(()),
            (_, []) => insert,
            (0, _) => delete,
            _ => both,
        };
        let keys: Vec<u8> = ranges
            .iter()
            .flat_map(|(mailbox, through)| envelope_key(self.keys, mailbox, *through))
            .collect();
        sqlx::query(statement)
            .bind(rows)
            .bind(i64::try_from(count).unwrap_or(i64::MAX))
            .bind(self.today.plus(limits::ENVELOPE_RETENTION_DAYS).0)
            .bind(keys)
            .bind(i64::try_from(ranges.len()).unwrap_or(i64::MAX))
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}
