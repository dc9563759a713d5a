//! Accounts and spent tickets.

use bytes::Bytes;
use kinline_protocol::ids::MailboxId;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::encode::report_damage;
use super::group::Group;
use super::open::SqliteStorage;
use crate::keys::{AtRest, SealedError};
use crate::storage::{
    AccountRow, Change, Decide, Entry, Found, ListedVault, Places, Read, ReadError, STATE_BYTES,
    Said, VaultParts,
};

const TABLE: &str = "account";
pub(super) const STATE: &str = "account.state";
pub(super) const REQUEST: &str = "account.request_part";
pub(super) const RECOVERY: &str = "account.recovery_part";

/// Looks at every place, whatever was found before, and opens two states, whether or not there
/// is such an account: the answer takes as long either way. Where there is none, the next account's
/// state is read and opened in its place, since a row on its way, and one that nobody has just
/// looked at, take times that can be measured.
async fn find(
    connection: &mut SqliteConnection,
    keys: &AtRest,
    places: &Places,
    with_vault: bool,
) -> Result<Found, ReadError> {
    const ROW: &str = "SELECT id, state FROM account WHERE id >= ?1 ORDER BY id LIMIT 1";
    const ALL: &str = "SELECT id, state, request_part, recovery_part FROM account WHERE id = ?1";
    let (mut found, mut next) = (None, None);
    for (at, id) in places.ids.iter().enumerate() {
        let stored = keys.account.permute_hash(id);
        let row = sqlx::query(if with_vault { ALL } else { ROW })
            .bind(stored.to_vec())
            .fetch_optional(&mut *connection)
            .await
            .map_err(ReadError::Database)?;
        match row {
            Some(row) if found.is_none() && id_of(&row)? == stored => {
                found = Some((at, stored, row));
            }
            row => next = row,
        }
    }
    let nobody = keys.account.permute_hash(&places.nobody);
    let nobodys = sqlx::query(ROW)
        .bind(nobody.to_vec())
        .fetch_one(&mut *connection)
        .await
        .map_err(ReadError::Database)?;
    if id_of(&nobodys)? != nobody {
        return Err(ReadError::Database(sqlx::Error::RowNotFound));
    }
    let opened = |id: &[u8], row: &SqliteRow| {
        let sealed: &[u8] = row.try_get("state").map_err(ReadError::Database)?;
        keys.open(STATE, id, sealed)
            .ok()
            .and_then(|bytes| AccountRow::from_bytes(&bytes))
            .ok_or(ReadError::Damaged(STATE))
    };
    let second = opened(&nobody, &nobodys)?;
    let Some((at, id, row)) = found else {
        let next = next.as_ref().unwrap_or(&nobodys);
        // Whether that one is damaged is no matter of this one's.
        let _ = std::hint::black_box(opened(id_of(next)?, next));
        return Ok(Found {
            place: None,
            row: second,
            vault: None,
        });
    };
    let _ = std::hint::black_box(second);
    let part = |column, name| {
        let sealed: &[u8] = row.try_get(column).map_err(ReadError::Database)?;
        keys.open(name, &id, sealed)
            .map(Bytes::from)
            .map_err(|_| ReadError::Damaged(name))
    };
    let vault = if with_vault {
        Some(VaultParts {
            request: part("request_part", REQUEST)?,
            recovery: part("recovery_part", RECOVERY)?,
        })
    } else {
        None
    };
    Ok(Found {
        place: Some(at),
        row: opened(&id, &row)?,
        vault,
    })
}

fn id_of(row: &SqliteRow) -> Result<&[u8], ReadError> {
    row.try_get("id").map_err(ReadError::Database)
}

impl SqliteStorage {
    pub(crate) fn account(&self, places: Places, with_vault: bool) -> Read<'_, Found> {
        Box::pin(async move {
            let mut connection = self.readers.acquire().await.map_err(ReadError::Database)?;
            find(&mut connection, &self.keys, &places, with_vault).await
        })
    }

    /// Every vault that was written, in no order.
    pub(crate) fn vaults(&self) -> Read<'_, Vec<ListedVault>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, state, length(request_part), length(recovery_part) FROM account",
            )
            .fetch_all(&self.readers)
            .await
            .map_err(ReadError::Database)?;
            // One that is damaged keeps no other from being looked at.
            Ok(rows
                .iter()
                .filter_map(|row| listed(&self.keys, row))
                .collect())
        })
    }
}

fn listed(keys: &AtRest, row: &SqliteRow) -> Option<ListedVault> {
    let id: &[u8] = row.try_get(0).ok()?;
    let sealed: &[u8] = row.try_get(1).ok()?;
    let state = AccountRow::from_bytes(&keys.open(STATE, id, sealed).ok()?)?;
    // A seal adds as many bytes to each column.
    let seal = sealed.len().checked_sub(STATE_BYTES)?;
    let size = |column: usize| -> Option<usize> {
        let bytes: i64 = row.try_get(column).ok()?;
        usize::try_from(bytes).ok()?.checked_sub(seal)
    };
    let sizes = [size(2)?, size(3)?];
    (state.vault_version > 0).then_some(ListedVault {
        flags: state.flags,
        sizes,
    })
}

/// The three columns of a row.
struct Columns {
    state: Vec<u8>,
    request: Vec<u8>,
    recovery: Vec<u8>,
}

impl Columns {
    fn seal(
        keys: &AtRest,
        id: &[u8; 32],
        row: &AccountRow,
        vault: &VaultParts,
    ) -> Result<Self, SealedError> {
        Ok(Self {
            state: keys.seal(STATE, id, &row.to_bytes())?,
            request: keys.seal(REQUEST, id, &vault.request)?,
            recovery: keys.seal(RECOVERY, id, &vault.recovery)?,
        })
    }
}

impl Group<'_> {
    /// Lets somebody in; uses the code or the ticket up.
    pub(super) async fn admit(&mut self, entry: Entry) -> Result<bool, sqlx::Error> {
        match entry {
            Entry::Open => Ok(true),
            Entry::Code(hash) => self.use_admission(&hash).await,
            Entry::Ticket { hash, expires } => {
                let spent = sqlx::query(
                    "INSERT INTO spent_ticket (hash, expires_day) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                )
                .bind(self.keys.ticket.permute_hash(&hash).to_vec())
                .bind(expires.0)
                .execute(self.begin().await?)
                .await?;
                Ok(spent.rows_affected() == 1)
            }
        }
    }

    /// Whether this would let somebody in; uses nothing up.
    async fn is_admissible(&mut self, entry: Entry) -> Result<bool, sqlx::Error> {
        let found: Option<i64> = match entry {
            Entry::Open => return Ok(true),
            Entry::Code(hash) => {
                let hash = self.keys.admission.permute_hash(&hash).to_vec();
                sqlx::query_scalar("SELECT 1 FROM admission_code WHERE hash = ?1")
                    .bind(hash)
                    .fetch_optional(self.begin().await?)
                    .await?
            }
            Entry::Ticket { hash, .. } => {
                let hash = self.keys.ticket.permute_hash(&hash).to_vec();
                let spent: Option<i64> =
                    sqlx::query_scalar("SELECT 1 FROM spent_ticket WHERE hash = ?1")
                        .bind(hash)
                        .fetch_optional(self.begin().await?)
                        .await?;
                return Ok(spent.is_none());
            }
        };
        Ok(found.is_some())
    }

    /// Decides about an account and writes what was decided.
    pub(super) async fn change_account(
        &mut self,
        places: &Places,
        entry: Entry,
        decide: Decide,
    ) -> Result<Said, sqlx::Error> {
        let keys = self.keys;
        let found = match find(self.begin().await?, keys, places, false).await {
            Ok(found) => found,
            Err(ReadError::Database(error)) => return Err(error),
            Err(ReadError::Damaged(_) | ReadError::Io(_)) => {
                report_damage(TABLE);
                return Ok(Said::Damaged);
            }
        };
        let (change, said) = decide(&found);
        // Who may not register does not hear who has.
        if said == Said::Taken && !self.is_admissible(entry).await? {
            return Ok(Said::Admission);
        }
        let old = found.place.and_then(|at| places.ids.get(at));
        match change {
            Change::Nothing => {}
            Change::Count(row) => {
                self.count(old.unwrap_or(&places.nobody), &row).await?;
            }
            Change::Remove => {
                if let Some(old) = old {
                    self.remove_account(old).await?;
                }
            }
            Change::Put(row, vault) => {
                if old.is_none() && !self.admit(entry).await? {
                    return Ok(Said::Admission);
                }
                let vault = match (vault, old) {
                    (Some(vault), _) => vault,
                    (None, None) => VaultParts::none(),
                    (None, Some(_)) => match find(self.begin().await?, keys, places, true).await {
                        Ok(found) => found.vault.unwrap_or_else(VaultParts::none),
                        Err(ReadError::Database(error)) => return Err(error),
                        Err(ReadError::Damaged(_) | ReadError::Io(_)) => {
                            report_damage(TABLE);
                            return Ok(Said::Damaged);
                        }
                    },
                };
                if let Some(old) = old {
                    self.remove_account(old).await?;
                }
                if let Some(newest) = places.ids.first() {
                    self.insert_account(newest, &row, &vault).await?;
                }
            }
        }
        Ok(said)
    }

    /// Makes the row that stands for accounts that are not there, if there is none.
    pub(super) async fn make_nobody(
        &mut self,
        id: &[u8; 32],
        row: &AccountRow,
    ) -> Result<(), sqlx::Error> {
        let stored = self.keys.account.permute_hash(id);
        let there: Option<i64> = sqlx::query_scalar("SELECT 1 FROM account WHERE id = ?1")
            .bind(stored.to_vec())
            .fetch_optional(self.begin().await?)
            .await?;
        if there.is_none() {
            self.insert_account(id, row, &VaultParts::none()).await?;
        }
        Ok(())
    }

    async fn count(&mut self, id: &[u8; 32], row: &AccountRow) -> Result<(), sqlx::Error> {
        let stored = self.keys.account.permute_hash(id);
        let Ok(state) = self.keys.seal(STATE, &stored, &row.to_bytes()) else {
            return Err(sqlx::Error::WorkerCrashed);
        };
        sqlx::query("UPDATE account SET state = ?2 WHERE id = ?1")
            .bind(stored.to_vec())
            .bind(state)
            .execute(self.begin().await?)
            .await?;
        Ok(())
    }

    async fn remove_account(&mut self, id: &[u8; 32]) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM account WHERE id = ?1")
            .bind(self.keys.account.permute_hash(id).to_vec())
            .execute(self.begin().await?)
            .await?;
        Ok(())
    }

    async fn insert_account(
        &mut self,
        id: &[u8; 32],
        row: &AccountRow,
        vault: &VaultParts,
    ) -> Result<(), sqlx::Error> {
        let stored = self.keys.account.permute_hash(id);
        let Ok(columns) = Columns::seal(self.keys, &stored, row, vault) else {
            return Err(sqlx::Error::WorkerCrashed);
        };
        sqlx::query(
            "INSERT INTO account (id, state, request_part, recovery_part) VALUES (?1, ?2, ?3, ?4)",
        )
        .bind(stored.to_vec())
        .bind(columns.state)
        .bind(columns.request)
        .bind(columns.recovery)
        .execute(self.begin().await?)
        .await?;
        Ok(())
    }

    /// Removes a mailbox's row; its envelopes go in the spool.
    pub(super) async fn erase_mailbox(&mut self, id: MailboxId) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM mailbox WHERE id = ?1")
            .bind(self.keys.mailbox.permute(id.as_bytes()).to_vec())
            .execute(self.begin().await?)
            .await?;
        Ok(())
    }
}
