//! Tidying: writes the whole file anew in the order of its keys.
//!
//! Keys look random, but a file that only grew tells what was written before what: new cells of a
//! b-tree page lie before older ones, pages are numbered as they were taken, and a vault has pages
//! of its own. Whoever opened mailboxes and registered an account in one sitting would stand side
//! by side in two tables. After `VACUUM` the file depends on nothing but what is in it.
//!
//! That is done when the retention ran (at the start, and each day), when the relay rests and the
//! last time is a while ago, and when it ends. It is never needed for anything to work: what
//! keeps it from being done is said, and it is tried again later.

use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::statvfs;
use sqlx::sqlite::SqliteConnection;
use tokio::time::Instant;

use crate::storage::RowWrite;

/// A larger database is not tidied: it would all be in memory meanwhile.
const BYTES_MAX: u64 = 128 * 1_024 * 1_024;
/// What stays free on the disk, beside the copy in the log, so that nobody else runs out of room.
const SPARE_BYTES: u64 = 64 * 1_024 * 1_024;
/// The shortest time between two tidyings at rest, for each [`PACE_BYTES`] begun.
const PACE: Duration = Duration::from_secs(600);
/// A large database is tidied less often, for the sake of the disk.
const PACE_BYTES: u64 = 8 * 1_024 * 1_024;
const PAGE_BYTES: u64 = 8_192;

/// When to tidy next.
pub(super) struct Tidying {
    folder: PathBuf,
    /// Whether this process alone has the folder.
    allowed: bool,
    /// Whether rows came, moved or went since the last time.
    stirred: bool,
    /// Whether the retention ran since.
    swept: bool,
    last: Option<Instant>,
    pace: Duration,
    /// Whether it was said why it is not done.
    told: bool,
}

impl Tidying {
    /// Of the database in `folder`; nobody knows how an earlier process left it.
    pub(super) const fn new(folder: PathBuf, allowed: bool) -> Self {
        Self {
            folder,
            allowed,
            stirred: true,
            swept: false,
            last: None,
            pace: PACE,
            told: false,
        }
    }

    /// Looks at what is about to be written.
    pub(super) fn note(&mut self, writes: &[RowWrite]) {
        for write in writes {
            match write {
                RowWrite::Expire { .. } => self.swept = true,
                RowWrite::AddAdmission { .. } | RowWrite::AddOperatorEntry { .. } => {}
                _ => self.stirred = true,
            }
        }
    }

    /// Whether to do it although there is more to write: the day changed.
    pub(super) const fn is_due(&self) -> bool {
        self.allowed && self.swept && self.stirred
    }

    /// How long to wait, while nothing is to be written, before it is done; `None`: there is
    /// nothing to do.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let since = self.last.map_or(Duration::MAX, |last| last.elapsed());
        (self.allowed && self.stirred).then_some(self.pace.saturating_sub(since))
    }

    /// Whether to do it before the end.
    pub(super) const fn is_due_at_the_end(&self) -> bool {
        self.allowed && self.stirred
    }

    /// Does it. Gives the pages that the log grew by; none where it could not be done.
    ///
    /// # Errors
    /// When the disk failed: nobody knows what it has.
    pub(super) async fn run(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<usize, sqlx::Error> {
        self.last = Some(Instant::now());
        self.swept = false;
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&mut *connection)
            .await?;
        let pages = u64::try_from(pages).unwrap_or(0);
        let bytes = pages.saturating_mul(PAGE_BYTES);
        let begun = u32::try_from(bytes / PACE_BYTES).unwrap_or(u32::MAX);
        self.pace = PACE.saturating_mul(begun.saturating_add(1));
        if bytes > BYTES_MAX {
            self.tell("it is larger than 128 MiB");
            return Ok(0);
        }
        if !self.has_room(bytes) {
            self.tell("the disk has too little room");
            return Ok(0);
        }
        match sqlx::query("VACUUM").execute(&mut *connection).await {
            Ok(_) => {
                (self.stirred, self.told) = (false, false);
                Ok(usize::try_from(pages).unwrap_or(usize::MAX))
            }
            Err(error) if is_disk(&error) => Err(error),
            Err(error) => {
                self.tell(&error.to_string());
                Ok(0)
            }
        }
    }

    /// For the copy in the log, for the file, and to spare.
    fn has_room(&self, bytes: u64) -> bool {
        statvfs(&self.folder).is_ok_and(|disk| {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            free >= bytes.saturating_mul(2).saturating_add(SPARE_BYTES)
        })
    }

    fn tell(&mut self, why: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                why,
                "the database is not tidied: whoever stole it could tell in which order rows came"
            );
        }
    }
}

/// SQLITE_IOERR is 10.
fn is_disk(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_none_or(|code| code & 0xff == 10)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use kinline_protocol::day::Day;
    use sqlx::Connection;
    use sqlx::sqlite::SqliteConnection;

    use super::{PACE, Tidying};
    use crate::storage::{Entry, RowWrite, reply};

    #[tokio::test]
    async fn it_is_due_once_something_came_and_a_while_later_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        let mut tidying = Tidying::new(folder.path().into(), true);
        // Nobody knows what an earlier process left.
        assert_eq!(tidying.due_in(), Some(Duration::ZERO));
        tidying.run(&mut database).await.unwrap();
        assert_eq!(tidying.due_in(), None);
        assert!(!tidying.is_due_at_the_end());
        let spend = RowWrite::Spend {
            entry: Entry::Open,
            done: reply().0,
        };
        tidying.note(&[spend]);
        let wait = tidying.due_in().unwrap();
        assert!(wait > PACE / 2 && wait <= PACE, "{wait:?}");
        assert!(tidying.is_due_at_the_end() && !tidying.is_due());
        let expire = RowWrite::Expire {
            today: Day(7),
            done: reply().0,
        };
        tidying.note(&[expire]);
        assert!(tidying.is_due());
        // Beside a relay that runs it is never done.
        let beside = Tidying::new(folder.path().into(), false);
        assert_eq!(beside.due_in(), None);
    }
}
