//! The retention of everything but envelopes.

use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;

use super::group::Group;
use crate::storage::Expired;

impl Group<'_> {
    /// Removes idle mailboxes, slots, revoked grants and blobs.
    pub(super) async fn expire(&mut self, today: Day) -> Result<Expired, sqlx::Error> {
        let expired = Expired {
            mailboxes: self.expire_mailboxes(today).await?,
            files: self.expire_blobs(today).await?,
            ..Expired::default()
        };
        for statement in [
            "DELETE FROM commit_slot WHERE expires_day < ?1",
            "DELETE FROM revoked_grant WHERE expires_day < ?1",
            "DELETE FROM spent_ticket WHERE expires_day < ?1",
        ] {
            sqlx::query(statement)
                .bind(today.0)
                .execute(self.begin().await?)
                .await?;
        }
        Ok(expired)
    }

    async fn expire_mailboxes(&mut self, today: Day) -> Result<Vec<MailboxId>, sqlx::Error> {
        let stored: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT id FROM mailbox WHERE expires_day < ?1")
                .bind(today.0)
                .fetch_all(self.begin().await?)
                .await?;
        sqlx::query("DELETE FROM mailbox WHERE expires_day < ?1")
            .bind(today.0)
            .execute(self.begin().await?)
            .await?;
        Ok(stored
            .iter()
            .filter_map(|id| id.as_slice().try_into().ok())
            .map(|id| MailboxId::new(self.keys.mailbox.restore(id)))
            .collect())
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
