//! Envelopes of a relay from before the spool, which kept them in a table.

use std::path::Path;

use bytes::Bytes;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, MessageId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use super::encode::report_damage;
use super::open::OpenError;
use crate::keys::AtRest;
use crate::storage::spool::{self, Import};

/// Rows that are moved at a time: 22 MB.
const PAGE: u32 = 20_000;

/// Moves what is left in the table into the spool, and drops the table. Twice is harmless.
pub(super) async fn move_out(
    connection: &mut SqliteConnection,
    keys: &AtRest,
    folder: &Path,
    to: &Path,
) -> Result<(), OpenError> {
    let database = |source| OpenError::Database {
        path: folder.into(),
        source,
    };
    let found: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM sqlite_master WHERE name = 'envelope_of_before'")
            .fetch_optional(&mut *connection)
            .await
            .map_err(database)?;
    if found.is_none() {
        return Ok(());
    }
    let mut last = Vec::new();
    loop {
        let rows = sqlx::query(
            "SELECT key, message, expires_day, body, tag FROM envelope_of_before \
             WHERE key > ?1 ORDER BY key LIMIT ?2",
        )
        .bind(last.clone())
        .bind(PAGE)
        .fetch_all(&mut *connection)
        .await
        .map_err(database)?;
        let Some(end) = rows.last() else { break };
        last = end.try_get("key").map_err(database)?;
        let envelopes = rows.iter().filter_map(|row| envelope(keys, row)).collect();
        spool::import(to, keys, envelopes).map_err(|source| OpenError::Io {
            path: to.into(),
            source,
        })?;
    }
    let mut transaction = connection.begin().await.map_err(database)?;
    sqlx::query("DROP TABLE envelope_of_before")
        .execute(&mut *transaction)
        .await
        .map_err(database)?;
    transaction.commit().await.map_err(database)
}

/// A row; `None` for a damaged one.
fn envelope(keys: &AtRest, row: &SqliteRow) -> Option<Import> {
    let read = whole(keys, row);
    if read.is_none() {
        report_damage("envelope");
    }
    read
}

fn whole(keys: &AtRest, row: &SqliteRow) -> Option<Import> {
    let key: &[u8] = row.try_get("key").ok()?;
    let message: &[u8] = row.try_get("message").ok()?;
    let body: &[u8] = row.try_get("body").ok()?;
    let tag: Option<&[u8]> = row.try_get("tag").ok()?;
    let day: u32 = row.try_get("expires_day").ok()?;
    if !keys.is_whole("envelope", [key, message, body], tag) {
        return None;
    }
    let (id, order) = key.split_first_chunk::<16>()?;
    Some((
        MailboxId::new(keys.envelope.restore(id)),
        u64::from_be_bytes(order.try_into().ok()?),
        MessageId::new(keys.message.restore(message.try_into().ok()?)),
        Day(day),
        Bytes::copy_from_slice(body),
    ))
}
