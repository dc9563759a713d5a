//! The table of the operator's log.

use bytes::Bytes;
use kinline_protocol::limits::OPERATOR_PART_BYTES_MAX;

use super::group::Group;
use super::open::SqliteStorage;
use crate::storage::{OperatorRow, Read, ReadError};

/// Rows read at a time: as many of the smallest entries (some 110 bytes) as fit one answer.
const ROWS_MAX: i64 = 512;

impl SqliteStorage {
    pub(crate) fn operator_log(&self, from: u64) -> Read<'_, Vec<OperatorRow>> {
        Box::pin(async move {
            let Ok(from) = i64::try_from(from) else {
                return Ok(Vec::new());
            };
            let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
                "SELECT entry, checkpoint FROM operator_log WHERE place >= ?1 ORDER BY place LIMIT ?2",
            )
            .bind(from)
            .bind(ROWS_MAX)
            .fetch_all(&self.readers)
            .await
            .map_err(ReadError::Database)?;
            let mut room = OPERATOR_PART_BYTES_MAX;
            let fitting = rows.into_iter().map_while(|(entry, checkpoint)| {
                room = room.checked_sub(entry.len())?;
                Some(OperatorRow {
                    entry: Bytes::from(entry),
                    checkpoint: Bytes::from(checkpoint),
                })
            });
            Ok(fitting.collect())
        })
    }
}

impl Group<'_> {
    /// Adds an entry in its place, unless another one is there: whether it was added.
    pub(super) async fn add_operator_entry(
        &mut self,
        index: u64,
        row: &OperatorRow,
    ) -> Result<bool, sqlx::Error> {
        let Ok(place) = i64::try_from(index) else {
            return Ok(false);
        };
        let added = sqlx::query(
            "INSERT INTO operator_log (place, entry, checkpoint) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )
        .bind(place)
        .bind(row.entry.to_vec())
        .bind(row.checkpoint.to_vec())
        .execute(self.begin().await?)
        .await?;
        Ok(added.rows_affected() == 1)
    }
}
