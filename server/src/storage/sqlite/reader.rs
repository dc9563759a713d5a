//! The reads, and the way to the writer.

use bytes::Bytes;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, SlotToken};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::encode::{SLOT, open_keys, open_state, report_damage};
use super::open::SqliteStorage;
use super::writer::Job;
use crate::storage::{BlobRow, ListedMailbox, MailboxRow, Read, ReadError, RowWrite};

fn day(row: &SqliteRow, column: &'static str) -> Result<Day, ReadError> {
    let day: i64 = row.try_get(column).map_err(ReadError::Database)?;
    u32::try_from(day)
        .map(Day)
        .map_err(|_| ReadError::Damaged("expires_day"))
}

fn size(row: &SqliteRow, column: &'static str) -> Result<u64, ReadError> {
    let size: i64 = row.try_get(column).map_err(ReadError::Database)?;
    u64::try_from(size).map_err(|_| ReadError::Damaged("size"))
}

fn blob(row: &SqliteRow) -> Result<BlobRow, ReadError> {
    let read: &[u8] = row.try_get("read_hash").map_err(ReadError::Database)?;
    Ok(BlobRow {
        file: hex::encode(read),
        size: size(row, "size_class")?,
        offset: size(row, "upload_offset")?,
        expires: day(row, "expires_day")?,
        sums: row.try_get("sums").map_err(ReadError::Database)?,
    })
}

/// The reads of [`Storage`](crate::storage::Storage) that are the database's.
impl SqliteStorage {
    pub(crate) fn mailbox(&self, id: MailboxId) -> Read<'_, Option<MailboxRow>> {
        Box::pin(async move {
            let stored = self.keys.mailbox.permute(id.as_bytes());
            let row = sqlx::query("SELECT keys, state, expires_day FROM mailbox WHERE id = ?1")
                .bind(stored.to_vec())
                .fetch_optional(&self.readers)
                .await
                .map_err(ReadError::Database)?;
            let Some(row) = row else { return Ok(None) };
            let keys = row.try_get("keys").map_err(ReadError::Database)?;
            let state = row.try_get("state").map_err(ReadError::Database)?;
            let (generation, flags) = open_state(&self.keys, &stored, state)?;
            Ok(Some(MailboxRow {
                keys: open_keys(&self.keys, &stored, keys)?,
                generation,
                closed: flags.closed,
                decoy: flags.decoy,
                expires: day(&row, "expires_day")?,
            }))
        })
    }

    pub(crate) fn mailboxes(&self) -> Read<'_, Vec<ListedMailbox>> {
        Box::pin(async move {
            let rows = sqlx::query("SELECT id, state, expires_day FROM mailbox")
                .fetch_all(&self.readers)
                .await
                .map_err(ReadError::Database)?;
            let mut listed = Vec::with_capacity(rows.len());
            for row in &rows {
                let stored: &[u8] = row.try_get("id").map_err(ReadError::Database)?;
                let stored = stored.try_into().map_err(|_| ReadError::Damaged("id"))?;
                let state = row.try_get("state").map_err(ReadError::Database)?;
                // One that is damaged keeps no other from being looked at.
                let Ok((generation, flags)) = open_state(&self.keys, &stored, state) else {
                    continue;
                };
                listed.push(ListedMailbox {
                    id: MailboxId::new(self.keys.mailbox.restore(&stored)),
                    generation,
                    decoy: flags.decoy,
                    expires: day(row, "expires_day")?,
                });
            }
            Ok(listed)
        })
    }

    pub(crate) fn commit(&self, token: SlotToken) -> Read<'_, Option<Bytes>> {
        Box::pin(async move {
            let token = self.keys.slot.permute(token.as_bytes());
            let row: Option<(Vec<u8>, Option<Vec<u8>>)> =
                sqlx::query_as("SELECT body, tag FROM commit_slot WHERE token = ?1")
                    .bind(token.to_vec())
                    .fetch_optional(&self.readers)
                    .await
                    .map_err(ReadError::Database)?;
            let Some((body, tag)) = row else {
                return Ok(None);
            };
            if !self
                .keys
                .is_whole(SLOT, [&token, b"", &body], tag.as_deref())
            {
                report_damage(SLOT);
                return Err(ReadError::Damaged("commit_slot.body"));
            }
            Ok(Some(body.into()))
        })
    }

    pub(crate) fn is_revoked(&self, hash: [u8; 32]) -> Read<'_, bool> {
        Box::pin(async move {
            let found: Option<i64> =
                sqlx::query_scalar("SELECT 1 FROM revoked_grant WHERE hash = ?1")
                    .bind(self.keys.revoked.permute_hash(&hash).to_vec())
                    .fetch_optional(&self.readers)
                    .await
                    .map_err(ReadError::Database)?;
            Ok(found.is_some())
        })
    }

    pub(crate) fn blob_by_read(&self, read_hash: [u8; 32]) -> Read<'_, Option<BlobRow>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT read_hash, size_class, upload_offset, expires_day, sums FROM blob WHERE read_hash = ?1",
            )
            .bind(self.keys.blob_read.permute_hash(&read_hash).to_vec())
            .fetch_optional(&self.readers)
            .await
            .map_err(ReadError::Database)?;
            row.as_ref().map(blob).transpose()
        })
    }

    pub(crate) fn blob_by_owner(&self, owner_hash: [u8; 32]) -> Read<'_, Option<BlobRow>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT read_hash, size_class, upload_offset, expires_day, sums FROM blob WHERE owner_hash = ?1",
            )
            .bind(self.keys.blob_owner.permute_hash(&owner_hash).to_vec())
            .fetch_optional(&self.readers)
            .await
            .map_err(ReadError::Database)?;
            row.as_ref().map(blob).transpose()
        })
    }

    pub(crate) fn is_blob_file(&self, file: String) -> Read<'_, bool> {
        Box::pin(async move {
            let Ok(read) = hex::decode(file) else {
                return Ok(false);
            };
            let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM blob WHERE read_hash = ?1")
                .bind(read)
                .fetch_optional(&self.readers)
                .await
                .map_err(ReadError::Database)?;
            Ok(found.is_some())
        })
    }

    pub(crate) fn submit(&self, write: RowWrite) {
        let jobs = crate::sync::lock(&self.jobs);
        if let Some(jobs) = jobs.as_ref() {
            if let Err(refused) = jobs.send(Job(write)) {
                refused.0.fail();
            }
        } else {
            drop(jobs);
            Job(write).fail();
        }
    }
}
