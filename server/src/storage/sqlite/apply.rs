//! The writes that are statements of their own.

use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits;

use super::encode::{Flags, SLOT, open_keys, report_damage, seal_keys, seal_state};
use super::group::Group;
use crate::storage::{Accepted, BlobCreated, Entry, NewMailbox, Opened, RowWrite, SlotOffer};

impl Group<'_> {
    /// Carries out one write.
    pub(super) async fn apply(&mut self, write: RowWrite) -> Result<(), sqlx::Error> {
        match write {
            RowWrite::Offer { slot, done } => {
                let outcome = self.offer(slot).await;
                self.settle(done, outcome)
            }
            RowWrite::OpenMailbox {
                mailbox,
                entry,
                done,
            } => {
                let outcome = self.open_mailbox(&mailbox, entry).await;
                self.settle(done, outcome)
            }
            RowWrite::PutMailbox {
                id,
                generation,
                closed,
                decoy,
                expires,
                done,
            } => {
                let flags = Flags { closed, decoy };
                let outcome = self.put_mailbox(id, generation, flags, expires).await;
                self.settle(done, outcome)
            }
            RowWrite::PutKeys { id, keys, done } => {
                let outcome = self.put_keys(id, &keys).await;
                self.settle(done, outcome)
            }
            RowWrite::RevokeGrant {
                hash,
                expires,
                done,
            } => {
                let outcome = self.revoke(&hash, expires).await;
                self.settle(done, outcome)
            }
            RowWrite::CreateBlob {
                read_hash,
                owner_hash,
                size,
                expires,
                done,
            } => {
                let outcome = self
                    .create_blob(&read_hash, &owner_hash, size, expires)
                    .await;
                self.settle(done, outcome)
            }
            RowWrite::AdvanceBlob {
                owner_hash,
                offset,
                sums,
                done,
            } => {
                let owner = self.keys.blob_owner.permute_hash(&owner_hash);
                let outcome = sqlx::query(
                    "UPDATE blob SET upload_offset = ?2, sums = ?3 WHERE owner_hash = ?1",
                )
                .bind(owner.to_vec())
                .bind(integer(offset))
                .bind(sums)
                .execute(self.begin().await?)
                .await
                .map(|_| ());
                self.settle(done, outcome)
            }
            RowWrite::DeleteBlob { owner_hash, done } => {
                let owner = self.keys.blob_owner.permute_hash(&owner_hash);
                let outcome = sqlx::query("DELETE FROM blob WHERE owner_hash = ?1")
                    .bind(owner.to_vec())
                    .execute(self.begin().await?)
                    .await
                    .map(|_| ());
                self.settle(done, outcome)
            }
            RowWrite::Expire { today, done } => {
                let outcome = self.expire(today).await;
                self.settle(done, outcome)
            }
            RowWrite::EraseMailbox { mailbox, done } => {
                let outcome = self.erase_mailbox(mailbox).await;
                self.settle(done, outcome)
            }
            RowWrite::Account {
                places,
                entry,
                decide,
                done,
            } => {
                let outcome = self.change_account(&places, entry, decide).await;
                self.settle(done, outcome)
            }
            RowWrite::MakeNobody { id, row, done } => {
                let outcome = self.make_nobody(&id, &row).await;
                self.settle(done, outcome)
            }
            RowWrite::Spend { entry, done } => {
                let outcome = self.admit(entry).await;
                self.settle(done, outcome)
            }
            RowWrite::AddOperatorEntry { index, row, done } => {
                let outcome = self.add_operator_entry(index, &row).await;
                self.settle(done, outcome)
            }
            RowWrite::AddAdmission { hash, uses, done } => {
                let outcome =
                    sqlx::query("INSERT INTO admission_code (hash, uses_left) VALUES (?1, ?2)")
                        .bind(self.keys.admission.permute_hash(&hash).to_vec())
                        .bind(i64::from(uses))
                        .execute(self.begin().await?)
                        .await
                        .map(|_| ());
                self.settle(done, outcome)
            }
        }
    }

    /// The first commit offered under a token holds the slot; "mine" means equal bytes.
    async fn offer(&mut self, slot: SlotOffer) -> Result<Accepted, sqlx::Error> {
        let token = self.keys.slot.permute(slot.token.as_bytes()).to_vec();
        let inserted =
            sqlx::query("INSERT INTO commit_slot (token, expires_day, body, tag) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")
                .bind(token.clone())
                .bind(self.today.plus(limits::COMMIT_RETENTION_DAYS).0)
                .bind(slot.sealed.to_vec())
                .bind(self.keys.tag(SLOT, [&token, b"", &slot.sealed]).to_vec())
                .execute(self.begin().await?)
                .await?;
        if inserted.rows_affected() == 1 {
            return Ok(Accepted::Stored);
        }
        let (winner, tag): (Vec<u8>, Option<Vec<u8>>) =
            sqlx::query_as("SELECT body, tag FROM commit_slot WHERE token = ?1")
                .bind(token.clone())
                .fetch_one(self.begin().await?)
                .await?;
        if !self
            .keys
            .is_whole(SLOT, [&token, b"", &winner], tag.as_deref())
        {
            report_damage(SLOT);
            Ok(Accepted::Damaged)
        } else if winner == slot.sealed {
            Ok(Accepted::Stored)
        } else {
            Ok(Accepted::Lost {
                winner: winner.into(),
            })
        }
    }

    async fn open_mailbox(
        &mut self,
        mailbox: &NewMailbox,
        entry: Entry,
    ) -> Result<Opened, sqlx::Error> {
        let id = self.keys.mailbox.permute(mailbox.id.as_bytes());
        let existing: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT keys FROM mailbox WHERE id = ?1")
                .bind(id.to_vec())
                .fetch_optional(self.begin().await?)
                .await?;
        if let Some(sealed) = existing {
            let same =
                open_keys(self.keys, &id, &sealed).is_ok_and(|keys| keys == mailbox.row.keys);
            return Ok(if same {
                Opened::Open
            } else {
                Opened::OtherKeys
            });
        }
        if !self.admit(entry).await? {
            return Ok(Opened::Admission);
        }
        let flags = Flags {
            closed: mailbox.row.closed,
            decoy: mailbox.row.decoy,
        };
        let (Ok(keys), Ok(state)) = (
            seal_keys(self.keys, &id, &mailbox.row.keys),
            seal_state(self.keys, &id, mailbox.row.generation, flags),
        ) else {
            return Err(sqlx::Error::WorkerCrashed); // no randomness: nothing can be sealed any more
        };
        sqlx::query("INSERT INTO mailbox (id, keys, state, expires_day) VALUES (?1, ?2, ?3, ?4)")
            .bind(id.to_vec())
            .bind(keys)
            .bind(state)
            .bind(mailbox.row.expires.0)
            .execute(self.begin().await?)
            .await?;
        Ok(Opened::Open)
    }

    pub(super) async fn use_admission(&mut self, hash: &[u8; 32]) -> Result<bool, sqlx::Error> {
        let stored = self.keys.admission.permute_hash(hash).to_vec();
        let last = sqlx::query("DELETE FROM admission_code WHERE hash = ?1 AND uses_left = 1")
            .bind(stored.clone())
            .execute(self.begin().await?)
            .await?;
        if last.rows_affected() == 1 {
            return Ok(true);
        }
        let used =
            sqlx::query("UPDATE admission_code SET uses_left = uses_left - 1 WHERE hash = ?1")
                .bind(stored)
                .execute(self.begin().await?)
                .await?;
        Ok(used.rows_affected() == 1)
    }

    async fn put_mailbox(
        &mut self,
        id: MailboxId,
        generation: u64,
        flags: Flags,
        expires: Day,
    ) -> Result<(), sqlx::Error> {
        let id = self.keys.mailbox.permute(id.as_bytes());
        let Ok(state) = seal_state(self.keys, &id, generation, flags) else {
            return Err(sqlx::Error::WorkerCrashed);
        };
        sqlx::query("UPDATE mailbox SET state = ?2, expires_day = ?3 WHERE id = ?1")
            .bind(id.to_vec())
            .bind(state)
            .bind(expires.0)
            .execute(self.begin().await?)
            .await?;
        Ok(())
    }

    async fn put_keys(&mut self, id: MailboxId, keys: &MailboxKeys) -> Result<bool, sqlx::Error> {
        let id = self.keys.mailbox.permute(id.as_bytes());
        let Ok(sealed) = seal_keys(self.keys, &id, keys) else {
            return Err(sqlx::Error::WorkerCrashed);
        };
        let put = sqlx::query("UPDATE mailbox SET keys = ?2 WHERE id = ?1")
            .bind(id.to_vec())
            .bind(sealed)
            .execute(self.begin().await?)
            .await?;
        Ok(put.rows_affected() == 1)
    }

    async fn revoke(&mut self, hash: &[u8; 32], expires: Day) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO revoked_grant (hash, expires_day) VALUES (?1, ?2) \
             ON CONFLICT (hash) DO UPDATE SET expires_day = max(expires_day, excluded.expires_day)",
        )
        .bind(self.keys.revoked.permute_hash(hash).to_vec())
        .bind(expires.0)
        .execute(self.begin().await?)
        .await?;
        Ok(())
    }

    async fn create_blob(
        &mut self,
        read_hash: &[u8; 32],
        owner_hash: &[u8; 32],
        size: u64,
        expires: Day,
    ) -> Result<BlobCreated, sqlx::Error> {
        let read = self.keys.blob_read.permute_hash(read_hash).to_vec();
        let owner = self.keys.blob_owner.permute_hash(owner_hash).to_vec();
        let inserted = sqlx::query(
            "INSERT INTO blob (read_hash, owner_hash, size_class, upload_offset, expires_day) \
             VALUES (?1, ?2, ?3, 0, ?4) ON CONFLICT DO NOTHING",
        )
        .bind(read.clone())
        .bind(owner.clone())
        .bind(integer(size))
        .bind(expires.0)
        .execute(self.begin().await?)
        .await?;
        if inserted.rows_affected() == 1 {
            return Ok(BlobCreated::Ready {
                offset: 0,
                expires,
                fresh: true,
            });
        }
        let same: Option<(i64, u32)> = sqlx::query_as(
            "SELECT upload_offset, expires_day FROM blob WHERE read_hash = ?1 AND owner_hash = ?2 AND size_class = ?3",
        )
        .bind(read)
        .bind(owner)
        .bind(integer(size))
        .fetch_optional(self.begin().await?)
        .await?;
        Ok(
            same.map_or(BlobCreated::Taken, |(offset, expires)| BlobCreated::Ready {
                offset: u64::try_from(offset).unwrap_or(0),
                expires: Day(expires),
                fresh: false,
            }),
        )
    }
}

/// SQLite's integers are signed; sizes here stay far below 2^63.
fn integer(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
