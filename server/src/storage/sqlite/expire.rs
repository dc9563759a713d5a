//! The retention, a 256th of the envelopes at a time, so that no step holds the writer long.

use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;
use sqlx::Row;

use super::group::Group;
use crate::storage::Expired;

impl Group<'_> {
    /// Removes envelopes whose permuted mailbox id starts with `part`; the last part also
    /// removes idle mailboxes, slots, revoked grants and blobs.
    pub(super) async fn expire(&mut self, today: Day, part: u8) -> Result<Expired, sqlx::Error> {
        let mut expired = Expired {
            envelopes: self.expire_envelopes(today, part).await?,
            ..Expired::default()
        };
        if part == u8::MAX {
            expired.mailboxes = self.expire_mailboxes(today).await?;
            expired.files = self.expire_blobs(today).await?;
            for statement in [
                "DELETE FROM commit_slot WHERE expires_day < ?1",
                "DELETE FROM revoked_grant WHERE expires_day < ?1",
            ] {
                sqlx::query(statement)
                    .bind(today.0)
                    .execute(self.begin().await?)
                    .await?;
            }
        }
        Ok(expired)
    }

    async fn expire_envelopes(
        &mut self,
        today: Day,
        part: u8,
    ) -> Result<Vec<(MailboxId, u64)>, sqlx::Error> {
        let first = vec![part];
        let mut last = vec![u8::MAX; 24];
        if let Some(byte) = last.first_mut() {
            *byte = part;
        }
        let rows = sqlx::query(
            "SELECT max(key) AS key FROM envelope WHERE key >= ?1 AND key <= ?2 AND expires_day < ?3 \
             GROUP BY substr(key, 1, 16)",
        )
        .bind(first.clone())
        .bind(last.clone())
        .bind(today.0)
        .fetch_all(self.begin().await?)
        .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        sqlx::query("DELETE FROM envelope WHERE key >= ?1 AND key <= ?2 AND expires_day < ?3")
            .bind(first)
            .bind(last)
            .bind(today.0)
            .execute(self.begin().await?)
            .await?;
        let mut gone = Vec::with_capacity(rows.len());
        for row in &rows {
            let key: &[u8] = row.try_get("key")?;
            if let Ok(place) = super::encode::split_key(self.keys, key) {
                gone.push(place);
            }
        }
        Ok(gone)
    }

    async fn expire_mailboxes(&mut self, today: Day) -> Result<Vec<MailboxId>, sqlx::Error> {
        let stored: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT id FROM mailbox WHERE expires_day < ?1")
                .bind(today.0)
                .fetch_all(self.begin().await?)
                .await?;
        let gone: Vec<MailboxId> = stored
            .iter()
            .filter_map(|id| id.as_slice().try_into().ok())
            .map(|id| MailboxId::new(self.keys.mailbox.restore(id)))
            .collect();
        let ranges: Vec<(MailboxId, u64)> = gone.iter().map(|id| (*id, u64::MAX)).collect();
        self.delete_ranges(&ranges).await?;
        sqlx::query("DELETE FROM mailbox WHERE expires_day < ?1")
            .bind(today.0)
            .execute(self.begin().await?)
            .await?;
        Ok(gone)
    }

    async fn expire_blobs(&mut self, today: Day) -> Result<Vec<String>, sqlx::Error> {
        let read: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT read_hash FROM blob WHERE expires_day < ?1")
                .bind(today.0)
                .fetch_all(self.begin().await?)
                .await?;
        sqlx::query("DELETE FROM blob WHERE expires_day < ?1")
            .bind(today.0)
            .execute(self.begin().await?)
            .await?;
        Ok(read.into_iter().map(hex::encode).collect())
    }
}
