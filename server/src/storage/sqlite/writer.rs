//! The one writer: takes what has gathered while it was busy and commits it as one group.

use std::time::Duration;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::group::{Group, GroupError};
use super::tidy::Tidying;
use crate::clock::Clock;
use crate::keys::AtRest;
use crate::storage::{RowWrite, WriteError};

/// Turns that a group waits for more to come: some microseconds each, beside a sync's hundreds.
const GATHER_TURNS: usize = 8;

/// Pages in the log, by and large, after which it is folded in under load: 8 MiB.
const CHECKPOINT_PAGES: usize = 1_000;

/// A write on its way to the writer.
pub(super) struct Job(pub(super) RowWrite);

impl Job {
    /// Tells whoever waits that the database takes nothing any more. On a task of its own:
    /// the submitter may hold locks that the answer needs.
    pub(super) fn fail(self) {
        tokio::spawn(async move { refuse(self.0, WriteError::Failed) });
    }
}

/// Answers a write with an error.
pub(super) fn refuse(write: RowWrite, error: WriteError) {
    match write {
        RowWrite::Offer { done, .. } => done(Err(error)),
        RowWrite::PutMailbox { done, .. }
        | RowWrite::RevokeGrant { done, .. }
        | RowWrite::AdvanceBlob { done, .. }
        | RowWrite::DeleteBlob { done, .. }
        | RowWrite::EraseMailbox { done, .. }
        | RowWrite::MakeNobody { done, .. }
        | RowWrite::AddAdmission { done, .. } => done(Err(error)),
        RowWrite::Account { done, .. } => done(Err(error)),
        RowWrite::Spend { done, .. } => done(Err(error)),
        RowWrite::OpenMailbox { done, .. } => done(Err(error)),
        RowWrite::PutKeys { done, .. } | RowWrite::AddOperatorEntry { done, .. } => {
            done(Err(error));
        }
        RowWrite::CreateBlob { done, .. } => done(Err(error)),
        RowWrite::Expire { done, .. } => done(Err(error)),
    }
}

/// What is there, and what comes while others get their turn: those that the last group
/// answered are just about to submit again.
async fn gather(
    first: RowWrite,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
    max: usize,
) -> Vec<RowWrite> {
    let mut writes = vec![first];
    for _ in 0..GATHER_TURNS {
        let before = writes.len();
        while writes.len() < max
            && let Ok(Job(write)) = jobs.try_recv()
        {
            writes.push(write);
        }
        if writes.len() >= max || (writes.len() == before && before > 1) {
            break;
        }
        yield_now().await;
    }
    writes
}

pub(super) struct Writer {
    connection: SqliteConnection,
    keys: AtRest,
    clock: Clock,
    failed: CancellationToken,
    checkpoint_after: Duration,
    group_max: usize,
    /// Whether the log holds anything since the last checkpoint that cut it.
    log_holds: bool,
    /// About how many pages of it are not folded in.
    log_pages: usize,
    /// Whether the last that was tried found no room.
    is_full: bool,
    tidying: Tidying,
}

impl Writer {
    pub(super) const fn new(
        connection: SqliteConnection,
        keys: AtRest,
        clock: Clock,
        failed: CancellationToken,
        checkpoint_after: Duration,
        group_max: usize,
        tidying: Tidying,
    ) -> Self {
        Self {
            connection,
            keys,
            clock,
            failed,
            checkpoint_after,
            group_max,
            log_holds: true,
            log_pages: CHECKPOINT_PAGES, // what an earlier process left
            is_full: false,
            tidying,
        }
    }

    pub(super) async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        loop {
            let rests_in = if self.log_holds {
                Some(self.checkpoint_after)
            } else if self.failed.is_cancelled() {
                None
            } else {
                self.tidying.due_in()
            };
            let first = match rests_in {
                Some(wait) => match timeout(wait, jobs.recv()).await {
                    Ok(first) => first,
                    Err(_) => {
                        self.rest().await;
                        continue;
                    }
                },
                None => jobs.recv().await,
            };
            let Some(Job(first)) = first else { break };
            let writes = gather(first, &mut jobs, self.group_max).await;
            if self.failed.is_cancelled() {
                for write in writes {
                    refuse(write, WriteError::Failed);
                }
                continue;
            }
            self.tidying.note(&writes);
            self.commit(writes).await;
            if self.tidying.is_due() {
                self.tidy().await;
            }
        }
        if self.tidying.is_due_at_the_end() {
            self.tidy().await;
        }
        self.fold().await;
        if self.failed.is_cancelled() {
            // Closing would fold the log in and sync it again, and that might say that all is
            // well. As long as this connection stands, no other one does so either; the process
            // ends, and the next one reads what the disk really has.
            std::mem::forget(self.connection);
        } else if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "closing the database failed");
        }
    }

    async fn commit(&mut self, writes: Vec<RowWrite>) {
        self.log_holds = true;
        let today = self.clock.day();
        let group = Group::new(&mut self.connection, &self.keys, today);
        match group.run(writes).await {
            Ok(pages) => {
                self.no_room(false);
                self.log_pages += pages;
                if self.log_pages >= CHECKPOINT_PAGES {
                    self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await;
                }
            }
            Err(GroupError::NoRoom) => {
                self.no_room(true);
                metrics::counter!("kinline_no_room_total").increment(1);
            }
            Err(GroupError::Failed(error)) => self.fail(&error),
        }
    }

    /// Nothing to write for a moment.
    async fn rest(&mut self) {
        if self.tidying.due_in() == Some(Duration::ZERO) {
            self.tidy().await;
        }
        self.fold().await;
    }

    /// Takes the order of writing out of the file.
    async fn tidy(&mut self) {
        if self.failed.is_cancelled() {
            return;
        }
        match self.tidying.run(&mut self.connection).await {
            Ok(0) => {}
            Ok(pages) => {
                self.log_holds = true;
                self.log_pages = self.log_pages.saturating_add(pages);
                if self.log_pages >= CHECKPOINT_PAGES {
                    self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await;
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Folds the log into the database and cuts it to nothing, so that what was deleted is gone
    /// from the disk as well.
    async fn fold(&mut self) {
        if self.failed.is_cancelled() {
            self.log_holds = false;
            return;
        }
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await;
    }

    /// Says once that there is no room, and once that there is again.
    fn no_room(&mut self, full: bool) {
        if full && !self.is_full {
            tracing::warn!(
                "no room left for the database: what it would keep is refused until there is"
            );
        } else if !full && self.is_full {
            tracing::info!("there is room for the database again");
        }
        self.is_full = full;
    }

    /// Folds the log in: first the log is synced, then the database. A sync that fails here is
    /// as bad as any.
    async fn checkpoint(&mut self, how: &'static str) {
        let result: Result<(i64, i64, i64), _> =
            sqlx::query_as(how).fetch_one(&mut self.connection).await;
        match result {
            Ok((busy, log, folded)) => {
                self.log_holds = busy != 0 || log > 0;
                self.log_pages = usize::try_from(log.saturating_sub(folded)).unwrap_or(0);
            }
            Err(error) => match super::group::classify(&error) {
                WriteError::NoRoom => self.no_room(true),
                WriteError::Failed => self.fail(&error),
            },
        }
    }

    /// After a failed write or sync the state of the page cache is unknown: it is never tried
    /// again. Nothing more is acknowledged, and the process ends.
    fn fail(&self, error: &sqlx::Error) {
        tracing::error!(%error, "the database failed: nothing more is acknowledged");
        self.failed.cancel();
    }
}
