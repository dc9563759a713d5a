//! One group: many writes, one transaction, one sync.

use kinline_protocol::day::Day;
use sqlx::sqlite::SqliteConnection;

use super::writer::refuse;
use crate::keys::AtRest;
use crate::storage::{Done, RowWrite, WriteError};

/// Why a group was rolled back. Whoever waited was told.
pub(super) enum GroupError {
    /// No room.
    NoRoom,
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
    completions: Vec<Completion>,
    /// About how many pages it puts into the log.
    pages: usize,
}

/// About how many pages a write touches.
fn pages_of(write: &RowWrite) -> usize {
    match write {
        RowWrite::Offer { slot, .. } => 2 + slot.sealed.len() / 8_192,
        // A vault may fill twelve pages, and stands in the log twice when it moves.
        RowWrite::Account { .. } => 8,
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
            completions: Vec::new(),
            pages: 2,
        }
    }

    /// Writes everything, or nothing. Returns about how many pages the log has grown by.
    pub(super) async fn run(mut self, writes: Vec<RowWrite>) -> Result<usize, GroupError> {
        self.pages += writes.iter().map(pages_of).sum::<usize>();
        let mut writes = writes.into_iter();
        let result = self.attempt(&mut writes).await;
        self.end(result, writes).await
    }

    async fn attempt(
        &mut self,
        writes: &mut std::vec::IntoIter<RowWrite>,
    ) -> Result<(), sqlx::Error> {
        for write in writes {
            self.apply(write).await?;
        }
        if self.begun {
            sqlx::query("COMMIT").execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    /// Begins the transaction, if that was not done yet.
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
        self,
        result: Result<(), sqlx::Error>,
        left: std::vec::IntoIter<RowWrite>,
    ) -> Result<usize, GroupError> {
        let Err(error) = result else {
            for completion in self.completions {
                completion(Ok(()));
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
            refuse(write, kind);
        }
        match kind {
            WriteError::NoRoom => Err(GroupError::NoRoom),
            WriteError::Failed => Err(GroupError::Failed(error)),
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
}
