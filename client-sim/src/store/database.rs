//! The store itself: records in, records out, one synced transaction at a time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kinline_protocol::engine::io::{Changes, RecordClass, RecordKey};
use rand::rngs::StdRng;
use rusqlite::{Connection, OpenFlags, params};

use super::key_file::{self, Argon2Cost, Passphrase, Protection};
use super::seal::{Sealer, class_number};
use super::{StoreError, folder};
use crate::random;

/// Version of the tables, in SQLite's `user_version`.
const VERSION: u32 = 1;
/// "KLDV" in SQLite's `application_id`: a strange database is refused.
const APPLICATION_ID: u32 = 0x4B4C_4456;

/// Records as (name, value), ordered by name.
pub type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// How a store is made and opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Wraps the store's key; without one only file permissions protect it.
    pub passphrase: Option<Passphrase>,
    /// What trying one passphrase costs; matters when the store is created.
    pub cost: Argon2Cost,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            passphrase: None,
            cost: Argon2Cost::DEFAULT,
        }
    }
}

/// The open store of one device. It holds the folder's lock for as long as it lives.
pub struct Store {
    folder: PathBuf,
    database: Connection,
    sealer: Sealer,
    protection: Protection,
    rng: StdRng,
    _lock: File,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes the store of a new device in `folder`, which is made when it is not there.
    ///
    /// # Errors
    /// [`StoreError::AlreadyThere`] when a device lives there; [`StoreError::Locked`] and
    /// trouble with files otherwise.
    pub fn create(folder: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let lock = folder::make_and_lock(folder)?;
        let key_path = folder.join("store.key");
        if key_path.exists() {
            return Err(StoreError::AlreadyThere {
                folder: folder.to_owned(),
            });
        }
        // Without a key there is no device: what a crash left of an earlier try goes.
        for name in ["device.db", "device.db-wal", "device.db-shm"] {
            drop(fs::remove_file(folder.join(name)));
        }
        let mut rng = random::os();
        drop(folder::create_private(&folder.join("device.db"))?);
        let database = connect(folder)?;
        database.execute_batch(&format!(
            "BEGIN;
             CREATE TABLE record (
                 class INTEGER NOT NULL,
                 name_hash BLOB NOT NULL,
                 sealed BLOB NOT NULL,
                 PRIMARY KEY (class, name_hash)
             ) WITHOUT ROWID;
             PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = {VERSION};
             COMMIT;"
        ))?;
        // The key comes last: a folder with a key has a whole database.
        let (key, protection) = key_file::create(
            &key_path,
            options.passphrase.as_ref(),
            options.cost,
            &mut rng,
        )?;
        Ok(Self {
            folder: folder.to_owned(),
            database,
            sealer: Sealer::new(&key),
            protection,
            rng,
            _lock: lock,
        })
    }

    /// Whether a device lives in `folder`.
    #[must_use]
    pub fn exists(folder: &Path) -> bool {
        folder.join("store.key").exists()
    }

    /// Forgets a device that nobody has met yet: its key first, so that nothing of the rest
    /// can be read, then its records.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while it runs; trouble with files.
    pub fn discard(folder: &Path) -> Result<(), StoreError> {
        let _lock = folder::lock(folder)?;
        Self::remove_records(folder)
    }

    /// Forgets a device for good: what lies there decrypted first, as long as the device is
    /// there to do it again after a crash; then its key, so that nothing of the rest can be
    /// read, its records and files. What else lies in the folder stays.
    ///
    /// # Errors
    /// As [`Self::discard`].
    pub fn erase(folder: &Path) -> Result<(), StoreError> {
        let _lock = folder::lock(folder)?;
        folder::remove(&folder.join("media"), |path| fs::remove_dir_all(path))?;
        Self::remove_records(folder)?;
        folder::remove(&folder.join("blobs"), |path| fs::remove_dir_all(path))?;
        drop(fs::remove_file(folder.join("device.db-shm")));
        drop(fs::remove_file(folder.join("lock")));
        // Only when nothing else is in it.
        drop(fs::remove_dir(folder));
        Ok(())
    }

    fn remove_records(folder: &Path) -> Result<(), StoreError> {
        for name in ["store.key", "device.db", "device.db-wal"] {
            folder::remove(&folder.join(name), |path| fs::remove_file(path))?;
        }
        Ok(())
    }

    /// Opens the store of a device.
    ///
    /// # Errors
    /// [`StoreError`]: not there, locked by another process, of a newer version, damaged,
    /// wrong passphrase, full disk, other trouble with files.
    pub fn open(folder: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        if !Self::exists(folder) {
            return Err(StoreError::NotThere {
                folder: folder.to_owned(),
            });
        }
        let lock = folder::lock(folder)?;
        let (key, protection) =
            key_file::open(&folder.join("store.key"), options.passphrase.as_ref())?;
        if !folder.join("device.db").exists() {
            return Err(StoreError::damaged("device.db is missing"));
        }
        let database = connect(folder)?;
        let application: u32 =
            database.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if application != APPLICATION_ID {
            return Err(StoreError::damaged("device.db is not a device's database"));
        }
        let version: u32 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            return Err(StoreError::NewerVersion {
                found: version,
                known: VERSION,
            });
        }
        Ok(Self {
            folder: folder.to_owned(),
            database,
            sealer: Sealer::new(&key),
            protection,
            rng: random::os(),
            _lock: lock,
        })
    }

    /// The state folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What protects the store's key.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// All state records, ordered by name, for the engine to load.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a record was changed; trouble with the database.
    pub fn load_state(&self) -> Result<Records, StoreError> {
        self.records(RecordClass::State)
    }

    /// All history records, ordered by name, for a view of the messages.
    ///
    /// # Errors
    /// As [`Self::load_state`].
    pub fn history(&self) -> Result<Records, StoreError> {
        self.records(RecordClass::History)
    }

    /// The history records of these names that are there.
    ///
    /// # Errors
    /// As [`Self::load_state`].
    pub fn history_of(&self, names: Vec<Vec<u8>>) -> Result<Records, StoreError> {
        let class = RecordClass::History;
        let mut statement = self
            .database
            .prepare_cached("SELECT sealed FROM record WHERE class = ?1 AND name_hash = ?2")?;
        let strange = |_| StoreError::damaged("a record is not of this format");
        let mut records = Vec::new();
        for name in names {
            let hash = self.sealer.name_hash(&RecordKey { class, name });
            let mut rows = statement.query(params![class_number(class), hash])?;
            if let Some(row) = rows.next()? {
                let sealed = row.get_ref(0)?.as_blob().map_err(strange)?;
                records.push(self.sealer.open(class, &hash, sealed)?);
            }
        }
        Ok(records)
    }

    fn records(&self, class: RecordClass) -> Result<Records, StoreError> {
        let mut statement = self
            .database
            .prepare_cached("SELECT name_hash, sealed FROM record WHERE class = ?1")?;
        let mut rows = statement.query(params![class_number(class)])?;
        let mut records = Vec::new();
        let strange = |_| StoreError::damaged("a record is not of this format");
        while let Some(row) = rows.next()? {
            let hash = row.get_ref(0)?.as_blob().map_err(strange)?;
            let sealed = row.get_ref(1)?.as_blob().map_err(strange)?;
            records.push(self.sealer.open(class, hash, sealed)?);
        }
        records.sort();
        Ok(records)
    }

    /// Makes all changes durable, or none: one transaction, synced when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; the store is then as it was before.
    pub fn commit(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let transaction = self.database.transaction()?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT INTO record (class, name_hash, sealed) VALUES (?1, ?2, ?3)
                 ON CONFLICT (class, name_hash) DO UPDATE SET sealed = excluded.sealed",
            )?;
            let mut erase = transaction
                .prepare_cached("DELETE FROM record WHERE class = ?1 AND name_hash = ?2")?;
            for (key, value) in &changes.records {
                let hash = self.sealer.name_hash(key);
                let class = class_number(key.class);
                match value {
                    Some(value) => {
                        let sealed = self.sealer.seal(key, &hash, value, &mut self.rng)?;
                        put.execute(params![class, hash, sealed])?;
                    }
                    None => {
                        erase.execute(params![class, hash])?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn connect(folder: &Path) -> Result<Connection, StoreError> {
    let database = Connection::open_with_flags(
        folder.join("device.db"),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // The folder's lock lets only us in, so SQLite needs no shared-memory file.
    database.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "secure_delete", "ON")?;
    database.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(database)
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
