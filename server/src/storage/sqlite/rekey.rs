//! The tables under another key: one transaction.

use std::path::Path;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::account::{RECOVERY, REQUEST, STATE as ACCOUNT_STATE};
use super::encode::{KEYS, SLOT, STATE};
use super::open::{KEY_CHECK, OpenError, SqliteOptions, connect_options};
use crate::keys::{AtRest, Permutation};

/// A table whose rows lie under a permuted id.
struct Table {
    name: &'static str,
    id: &'static str,
    permutation: fn(&AtRest) -> &Permutation,
    /// Columns, and the names under which they are sealed to their row.
    sealed: &'static [(&'static str, &'static str)],
}

const TABLES: &[Table] = &[
    Table {
        name: "mailbox",
        id: "id",
        permutation: |keys| &keys.mailbox,
        sealed: &[("keys", KEYS), ("state", STATE)],
    },
    Table {
        name: "revoked_grant",
        id: "hash",
        permutation: |keys| &keys.revoked,
        sealed: &[],
    },
    Table {
        name: "blob",
        id: "read_hash",
        permutation: |keys| &keys.blob_read,
        sealed: &[],
    },
    Table {
        name: "blob",
        id: "owner_hash",
        permutation: |keys| &keys.blob_owner,
        sealed: &[],
    },
    Table {
        name: "admission_code",
        id: "hash",
        permutation: |keys| &keys.admission,
        sealed: &[],
    },
    Table {
        name: "account",
        id: "id",
        permutation: |keys| &keys.account,
        sealed: &[
            ("state", ACCOUNT_STATE),
            ("request_part", REQUEST),
            ("recovery_part", RECOVERY),
        ],
    },
    Table {
        name: "spent_ticket",
        id: "hash",
        permutation: |keys| &keys.ticket,
        sealed: &[],
    },
];

/// All tables that are thought of here: those above, slots, the check of the key, and what is
/// under no key.
#[cfg(test)]
pub(crate) fn tables() -> Vec<&'static str> {
    const OTHERS: [&str; 4] = [
        "commit_slot",
        "key_check",
        "operator_log",
        "_sqlx_migrations",
    ];
    TABLES
        .iter()
        .map(|table| table.name)
        .chain(OTHERS)
        .collect()
}

#[cfg(test)]
impl super::SqliteStorage {
    /// The names of all tables.
    pub(crate) async fn table_names(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .fetch_all(&self.readers)
            .await
            .unwrap_or_default()
    }
}

/// A database that no relay runs on.
pub(crate) struct Resting {
    connection: SqliteConnection,
    folder: std::path::PathBuf,
}

impl Resting {
    /// Opens it as it is.
    ///
    /// # Errors
    /// [`OpenError::Database`].
    pub(crate) async fn open(options: &SqliteOptions) -> Result<Self, OpenError> {
        let folder = options.data.clone();
        let connection = connect_options(options)
            .create_if_missing(false)
            .connect()
            .await
            .map_err(|source| failed(&folder, source))?;
        Ok(Self { connection, folder })
    }

    /// Whether its rows are under these keys.
    ///
    /// # Errors
    /// [`OpenError::Database`].
    pub(crate) async fn is_under(&mut self, keys: &AtRest) -> Result<bool, OpenError> {
        let sealed: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT sealed FROM key_check WHERE version = 1")
                .fetch_optional(&mut self.connection)
                .await
                .map_err(|source| failed(&self.folder, source))?;
        Ok(sealed.is_some_and(|sealed| keys.open(KEY_CHECK, &[1], &sealed).is_ok()))
    }

    /// Brings every row from under `old` to under `new`, or none.
    ///
    /// # Errors
    /// [`OpenError::Database`].
    pub(crate) async fn rekey(&mut self, old: &AtRest, new: &AtRest) -> Result<(), OpenError> {
        let folder = self.folder.clone();
        let result = async {
            let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            for table in TABLES {
                rekey_table(&mut transaction, table, old, new).await?;
            }
            rekey_slots(&mut transaction, old, new).await?;
            let check = new
                .seal(KEY_CHECK, &[1], &[0; 16])
                .map_err(|_| sqlx::Error::WorkerCrashed)?;
            sqlx::query("UPDATE key_check SET sealed = ?1 WHERE version = 1")
                .bind(check)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        };
        result.await.map_err(|source| failed(&folder, source))
    }

    /// Folds the log in, so that nothing of before lies in it, and closes.
    ///
    /// # Errors
    /// [`OpenError::Database`].
    pub(crate) async fn close(mut self) -> Result<(), OpenError> {
        let folded = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut self.connection)
            .await;
        let closed = self.connection.close().await;
        folded
            .map(drop)
            .and(closed)
            .map_err(|source| failed(&self.folder, source))
    }
}

fn failed(folder: &Path, source: sqlx::Error) -> OpenError {
    OpenError::Database {
        path: folder.into(),
        source,
    }
}

/// An id as it lies under the new key.
fn moved(table: &Table, old: &AtRest, new: &AtRest, id: &[u8]) -> Option<Vec<u8>> {
    let (from, to) = ((table.permutation)(old), (table.permutation)(new));
    if let Ok(id) = <&[u8; 16]>::try_from(id) {
        return Some(to.permute(&from.restore(id)).to_vec());
    }
    let id = <&[u8; 32]>::try_from(id).ok()?;
    Some(to.permute_hash(&from.restore_hash(id)).to_vec())
}

async fn rekey_table(
    connection: &mut SqliteConnection,
    table: &Table,
    old: &AtRest,
    new: &AtRest,
) -> Result<(), sqlx::Error> {
    let (name, id) = (table.name, table.id);
    let ids: Vec<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {id} FROM {name}")))
        .fetch_all(&mut *connection)
        .await?;
    let columns: Vec<_> = table.sealed.iter().map(|(column, _)| *column).collect();
    let read = format!(
        "SELECT {} FROM {name} WHERE {id} = ?1",
        [&columns[..], &[id]].concat().join(", ")
    );
    let set: Vec<_> = (3..)
        .zip(&columns)
        .map(|(at, column)| format!(", {column} = ?{at}"))
        .collect();
    let write = format!(
        "UPDATE {name} SET {id} = ?2{} WHERE {id} = ?1",
        set.concat()
    );
    for before in ids {
        let Some(after) = moved(table, old, new, &before) else {
            continue;
        };
        let row = sqlx::query(AssertSqlSafe(read.clone()))
            .bind(before.clone())
            .fetch_one(&mut *connection)
            .await?;
        let mut update = sqlx::query(AssertSqlSafe(write.clone()))
            .bind(before.clone())
            .bind(after.clone());
        for (column, sealed_as) in table.sealed {
            let sealed: Vec<u8> = row.try_get(*column)?;
            update = update.bind(match old.open(sealed_as, &before, &sealed) {
                Ok(value) => new
                    .seal(sealed_as, &after, &value)
                    .map_err(|_| sqlx::Error::WorkerCrashed)?,
                // Damaged: it opened for nobody, and does not now.
                Err(_) => sealed,
            });
        }
        update.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn rekey_slots(
    connection: &mut SqliteConnection,
    old: &AtRest,
    new: &AtRest,
) -> Result<(), sqlx::Error> {
    let tokens: Vec<Vec<u8>> = sqlx::query_scalar("SELECT token FROM commit_slot")
        .fetch_all(&mut *connection)
        .await?;
    for before in tokens {
        let Ok(token) = <&[u8; 16]>::try_from(before.as_slice()) else {
            continue;
        };
        let (body, tag): (Vec<u8>, Option<Vec<u8>>) =
            sqlx::query_as("SELECT body, tag FROM commit_slot WHERE token = ?1")
                .bind(before.clone())
                .fetch_one(&mut *connection)
                .await?;
        let after = new.slot.permute(&old.slot.restore(token));
        let whole = old.is_whole(SLOT, [&before, b"", &body], tag.as_deref());
        let tag = tag.map(|_| {
            let tag = new.tag(SLOT, [&after, b"", &body]);
            // One that is damaged stays so: an empty slot in its place would part a conversation.
            tag.map(|byte| if whole { byte } else { !byte }).to_vec()
        });
        sqlx::query("UPDATE commit_slot SET token = ?2, tag = ?3 WHERE token = ?1")
            .bind(before)
            .bind(after.to_vec())
            .bind(tag)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
