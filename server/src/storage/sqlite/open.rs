//! Opening the database: lock, options, migrations, and the check of the key file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::legacy::move_out;
use super::tidy::Tidying;
use super::writer::{Job, Writer};
use crate::clock::Clock;
use crate::faults::{Fault, planted};
use crate::files::make_folder;
use crate::keys::AtRest;
use crate::storage::embedded::SPOOL;

const DATABASE: &str = "relay.sqlite";
const LOCK: &str = "lock";
/// The column that shows whether a key file fits.
pub(super) const KEY_CHECK: &str = "key_check.sealed";
/// Connections that read beside the writer: two cores keep no more busy.
const READERS: u32 = 4;

/// The largest database that is looked at as a whole at the start: 64 MiB.
const QUICK_CHECK_MAX: u64 = 64 * 1_024 * 1_024;

/// Why the database can't be opened; each a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the data folder.
    #[error("the data folder {0} is in use by another relay")]
    Locked(PathBuf),
    /// Made by a newer version of the relay.
    #[error(
        "the database in {0} was made by a newer version of the relay: run that one, nothing was changed"
    )]
    Newer(PathBuf),
    /// Sealed under another key file.
    #[error("the key file does not belong to the database in {0}")]
    OtherKey(PathBuf),
    /// Its pages contradict each other.
    #[error(
        "the database in {0} is damaged: don't go on with it, put the last backup in its place and keep this one aside"
    )]
    Damaged(PathBuf),
    /// The file system refused.
    #[error("the data folder {path} can't be used: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database refused.
    #[error("the database in {path} can't be opened: {source}")]
    Database {
        /// The folder.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// A migration failed.
    #[error("the database in {path} can't be brought up to date: {source}")]
    Migrate {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
}

/// How to open.
#[derive(Debug, Clone)]
pub(crate) struct SqliteOptions {
    /// The data folder.
    pub(crate) data: PathBuf,
    /// Bytes the database may take on disk; 0 for no limit but the disk's.
    pub(crate) bytes_max: u64,
    /// Idle time after which the log is folded in and cut.
    pub(crate) checkpoint_after: Duration,
    /// Writes in one group at most.
    pub(crate) group_max: usize,
    /// Whether to take the folder's lock: the `admit` command works beside a running relay.
    pub(crate) exclusive: bool,
}

/// The embedded database.
pub(crate) struct SqliteStorage {
    pub(crate) keys: AtRest,
    pub(super) readers: SqlitePool,
    pub(super) jobs: Mutex<Option<mpsc::UnboundedSender<Job>>>,
    pub(super) failed: CancellationToken,
    closed: Mutex<Option<oneshot::Receiver<()>>>,
    /// Held until the last file is closed.
    lock: Mutex<Option<File>>,
}

impl SqliteStorage {
    /// Whether `data` holds a database already.
    pub(crate) fn exists(data: &Path) -> bool {
        data.join(DATABASE).exists()
    }

    /// Opens or creates the database and starts its writer.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed in an existing database.
    pub(crate) async fn open(
        options: SqliteOptions,
        keys: AtRest,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let folder = options.data.clone();
        let io = |source| OpenError::Io {
            path: folder.clone(),
            source,
        };
        make_folder(&folder).map_err(io)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(io)?;
        let lock = options.exclusive.then(|| lock(&folder)).transpose()?;
        let database = |source| OpenError::Database {
            path: folder.clone(),
            source,
        };
        let connect = connect_options(&options);
        let mut writer = connect.connect().await.map_err(database)?;
        quick_check(&mut writer, &folder).await?;
        migrate(&mut writer, &folder).await?;
        check_key(&mut writer, &keys, &folder).await?;
        if options.exclusive {
            let spool = folder.join(SPOOL);
            move_out(&mut writer, &keys, &folder, &spool).await?;
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_with(connect.create_if_missing(false).pragma("query_only", "ON"))
            .await
            .map_err(database)?;
        let failed = CancellationToken::new();
        let (jobs, receiver) = mpsc::unbounded_channel();
        let (closed_sender, closed) = oneshot::channel();
        let task = Writer::new(
            writer,
            keys.clone(),
            clock,
            failed.clone(),
            options.checkpoint_after,
            options.group_max,
            Tidying::new(options.data, options.exclusive),
        );
        tokio::spawn(async move {
            task.run(receiver).await;
            let _ = closed_sender.send(());
        });
        Ok(Self {
            keys,
            readers,
            jobs: Mutex::new(Some(jobs)),
            failed,
            closed: Mutex::new(Some(closed)),
            lock: Mutex::new(lock),
        })
    }

    /// Is cancelled when a write failed for good.
    pub(crate) const fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    /// Writes what was submitted, folds the log in, closes the files.
    pub(crate) fn close_all(&self) -> BoxFuture<'_, ()> {
        let lock = |mutex: &Mutex<Option<oneshot::Receiver<()>>>| crate::sync::lock(mutex).take();
        let closed = lock(&self.closed);
        Box::pin(async move {
            // Readers first: the last checkpoint can cut the log only when nobody reads it.
            self.readers.close().await;
            drop(crate::sync::lock(&self.jobs).take());
            if let Some(closed) = closed {
                let _ = closed.await;
            }
            drop(crate::sync::lock(&self.lock).take());
        })
    }
}

pub(super) fn connect_options(options: &SqliteOptions) -> SqliteConnectOptions {
    let connect = SqliteConnectOptions::new()
        .filename(options.data.join(DATABASE))
        .create_if_missing(true)
        .page_size(8_192)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(if planted(Fault::SyncOff) {
            SqliteSynchronous::Off
        } else {
            SqliteSynchronous::Full
        })
        .busy_timeout(Duration::from_secs(10))
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
        // The writer folds the log in itself: SQLite would ignore that a sync failed there.
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging();
    match options.bytes_max {
        0 => connect,
        bytes => connect.pragma("max_page_count", (bytes / 8_192).max(1).to_string()),
    }
}

/// Takes a data folder, so that no relay runs on it; it is given back when the file is dropped.
///
/// # Errors
/// [`OpenError::Locked`] when one does, [`OpenError::Io`].
pub(crate) fn lock(folder: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io {
        path: folder.into(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join(LOCK))
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.into())),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Looks at every page, whether they fit together: a tenth of a second for 64 MiB. Of a larger
/// database each row is looked at when it is handed out, and no more.
async fn quick_check(connection: &mut SqliteConnection, folder: &Path) -> Result<(), OpenError> {
    let size = fs::metadata(folder.join(DATABASE)).map_or(0, |file| file.len());
    if size > QUICK_CHECK_MAX {
        return Ok(());
    }
    let found: Result<String, _> = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut *connection)
        .await;
    match found {
        Ok(found) if found == "ok" => Ok(()),
        Ok(_) => Err(OpenError::Damaged(folder.into())),
        Err(error) if is_corrupt(&error) => Err(OpenError::Damaged(folder.into())),
        Err(source) => Err(OpenError::Database {
            path: folder.into(),
            source,
        }),
    }
}

/// SQLITE_CORRUPT is 11.
fn is_corrupt(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 11)
}

async fn migrate(connection: &mut SqliteConnection, folder: &Path) -> Result<(), OpenError> {
    let migrator = sqlx::migrate!("src/storage/sqlite/migrations");
    match migrator.run(&mut *connection).await {
        Ok(()) => {}
        Err(sqlx::migrate::MigrateError::VersionMissing(_)) => {
            return Err(OpenError::Newer(folder.into()));
        }
        Err(source) => {
            return Err(OpenError::Migrate {
                path: folder.into(),
                source,
            });
        }
    }
    // sqlx notes the second of a migration and how long it took: nothing finer than a day stays.
    sqlx::query(
        "UPDATE _sqlx_migrations SET installed_on = date(installed_on), execution_time = 0 \
         WHERE execution_time <> 0 OR installed_on <> date(installed_on)",
    )
    .execute(connection)
    .await
    .map_err(|source| OpenError::Database {
        path: folder.into(),
        source,
    })?;
    Ok(())
}

/// Tells a wrong key file before anything is written under it.
async fn check_key(
    connection: &mut SqliteConnection,
    keys: &AtRest,
    folder: &Path,
) -> Result<(), OpenError> {
    let database = |source| OpenError::Database {
        path: folder.into(),
        source,
    };
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(database)?;
    let stored: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT sealed FROM key_check WHERE version = 1")
            .fetch_optional(&mut *transaction)
            .await
            .map_err(database)?;
    match stored {
        Some(sealed) => {
            keys.open(KEY_CHECK, &[1], &sealed)
                .map_err(|_| OpenError::OtherKey(folder.into()))?;
        }
        None => {
            let sealed = keys
                .seal(KEY_CHECK, &[1], &[0; 16])
                .map_err(|_| OpenError::OtherKey(folder.into()))?;
            sqlx::query("INSERT INTO key_check (version, sealed) VALUES (1, ?1)")
                .bind(sealed)
                .execute(&mut *transaction)
                .await
                .map_err(database)?;
        }
    }
    transaction.commit().await.map_err(database)
}
