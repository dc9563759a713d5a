//! What a relay knows of all accounts: the keys of the key file, the costs it accepts, the
//! budget, and the row of nobody.

use std::sync::atomic::{AtomicU64, Ordering};

use kinline_protocol::day::Day;
use kinline_protocol::ids::AccountId;
use kinline_protocol::labels::KDF_ACCOUNT;
use kinline_protocol::primitives::kdf;
use kinline_protocol::primitives::opaque::relay::Setup;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::primitives::stretching::Stretching;
use kinline_protocol::wire;

use super::budget::Budget;
use crate::errors::Refusal;
use crate::keys::AccountsKey;
use crate::random;
use crate::storage::{AccountRow, Found, Places, RowWrite, Storage, Write, WriteError, reply};

/// Days within which ids that are not there seem to move to a newer setup: about as long as
/// owners take to log in again.
const MOVING_DAYS: u64 = 60;

/// What a relay knows of all accounts.
pub(crate) struct Accounts {
    keys: Vec<AccountsKey>,
    /// Costs that it accepts and announces, the one for new accounts first.
    stretching: Vec<Stretching>,
    pub(crate) budget: Budget,
    pub(crate) tickets_max: u32,
    pub(crate) backup_days: u32,
    /// Counts what logins cost, for a test that a login that can't succeed costs as much.
    work: AtomicU64,
}

impl Accounts {
    /// Over the keys of the key file, the newest first.
    pub(crate) fn new(
        keys: Vec<AccountsKey>,
        stretching: Vec<Stretching>,
        tickets_max: u32,
        backup_days: u32,
    ) -> Self {
        Self {
            keys,
            stretching,
            budget: Budget::new(),
            tickets_max,
            backup_days,
            work: AtomicU64::new(0),
        }
    }

    /// Makes the row that stands for accounts that are not there: a record of nobody, which
    /// looks and costs like any other.
    ///
    /// # Errors
    /// [`WriteError`].
    pub(crate) async fn prepare(&self, storage: &dyn Storage) -> Result<(), WriteError> {
        let (Some(key), Ok(mut rng)) = (self.keys.first(), random::generator()) else {
            return Err(WriteError::Failed);
        };
        let row = AccountRow {
            setup: key.version,
            stretching: [0; 3],
            record: *key.setup.record_of_nobody(&mut rng).as_bytes(),
            // Of nobody, and a good one: a proof under it fails as late as under any other.
            write_key: SecretKey::random(&mut rng).public(),
            vault_version: 0,
            failed_logins: 0,
            failed_day: Day(0),
            ticket_epoch: 0,
            tickets_drawn: 0,
            flags: 0,
        };
        let (done, made) = reply();
        storage.submit(Write::Row(RowWrite::MakeNobody {
            id: nobody(key),
            row: Box::new(row),
            done,
        }));
        made.await
    }

    /// Where an account may lie.
    pub(crate) fn places(&self, account: &AccountId) -> Places {
        self.worked(self.keys.len());
        let hashed = |key: &AccountsKey| *derived(key, b"id", account.as_bytes()).expose();
        Places {
            ids: self.keys.iter().map(hashed).collect(),
            nobody: self.keys.first().map_or([0; 32], nobody),
        }
    }

    /// The setup that new registrations have.
    pub(crate) fn newest(&self) -> Option<(u32, &Setup)> {
        self.keys.first().map(|key| (key.version, &key.setup))
    }

    /// The setup that a login is answered with.
    ///
    /// An id that is not there has the one that it would have if it were: it moves to a newer
    /// one on a day of its own. Else a look before and one after the change would tell accounts,
    /// which move when their owners log in, from ids that move at once.
    pub(crate) fn setup(&self, account: &AccountId, found: &Found, today: Day) -> Option<&Setup> {
        self.worked(1);
        let moved = self.keys.iter().find(|key| {
            let [a, b, ..] = *derived(key, b"moves", account.as_bytes()).expose();
            let delay = u64::from(u16::from_be_bytes([a, b])) % MOVING_DAYS;
            u64::from(today.0) >= u64::from(key.first_day) + delay
        });
        let own = self.keys.iter().find(|key| key.version == found.row.setup);
        let key = if found.is_there() {
            own
        } else {
            moved.or(self.keys.last())
        };
        key.map(|key| &key.setup)
    }

    /// Whether the owner should register again.
    pub(crate) fn is_outdated(&self, found: &AccountRow) -> bool {
        let newest = self.newest().map(|(version, _)| version);
        let costs = self.stretching.first().map(numbers);
        newest != Some(found.setup) || costs != Some(found.stretching)
    }

    /// Costs as a device says them, if they are accepted here. Others are not: they would have
    /// to be announced, and with four of them nobody else could log in.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub(crate) fn costs(&self, said: Option<&wire::Stretching>) -> Result<[u32; 3], Refusal> {
        let said = said.map(|said| [said.memory_kib, said.passes, said.lanes]);
        self.stretching
            .iter()
            .map(numbers)
            .find(|costs| Some(*costs) == said)
            .ok_or(Refusal::Malformed(
                "a password is stretched at costs that this relay announces",
            ))
    }

    /// Costs as Hello announces them.
    pub(crate) fn announced(&self) -> Vec<wire::Stretching> {
        self.stretching.iter().map(Stretching::to_wire).collect()
    }

    /// Notes steps that cost something.
    pub(crate) fn worked(&self, steps: usize) {
        self.work.fetch_add(steps as u64, Ordering::Relaxed);
    }

    /// Steps noted so far.
    pub(crate) fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }
}

fn numbers(costs: &Stretching) -> [u32; 3] {
    [costs.memory_kib(), costs.passes(), costs.lanes()]
}

fn nobody(key: &AccountsKey) -> [u8; 32] {
    *derived(key, b"nobody", &[]).expose()
}

fn derived(key: &AccountsKey, what: &[u8], of: &[u8]) -> kinline_protocol::secrets::Secret<32> {
    kdf::derive(key.pepper.expose(), KDF_ACCOUNT, &[what, of])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::Accounts;
    use crate::keys::AccountsKey;
    use crate::storage::{AccountRow, Found};
    use kinline_protocol::day::Day;
    use kinline_protocol::ids::AccountId;
    use kinline_protocol::primitives::sign::PublicKey;
    use kinline_protocol::primitives::stretching::Stretching;

    #[test]
    fn ids_that_are_not_there_move_to_a_newer_setup_one_after_the_other() {
        let keys = vec![
            AccountsKey::fresh(2, 1_000).unwrap(),
            AccountsKey::fresh(1, 0).unwrap(),
        ];
        let setups: Vec<_> = keys.iter().map(|key| key.setup.to_bytes()).collect();
        let accounts = Accounts::new(keys, vec![Stretching::DEFAULT], 96, 0);
        let row = AccountRow {
            setup: 1,
            stretching: [0; 3],
            record: [0; 192],
            write_key: PublicKey::new([0; 32]),
            vault_version: 0,
            failed_logins: 0,
            failed_day: Day(0),
            ticket_epoch: 0,
            tickets_drawn: 0,
            flags: 0,
        };
        let found = |place| Found {
            place,
            row: row.clone(),
            vault: None,
        };
        let at = |account: u8, place, day| {
            let account = AccountId::new([account; 32]);
            let setup = accounts.setup(&account, &found(place), Day(day)).unwrap();
            setups.iter().position(|bytes| *bytes == setup.to_bytes())
        };
        let moved = |day| (0..200).filter(|id| at(*id, None, day) == Some(0)).count();
        assert_eq!((moved(999), moved(1_060)), (0, 200));
        assert!((60..140).contains(&moved(1_030)));
        // One that is there stays with its own.
        assert_eq!(at(7, Some(1), 9_000), Some(1));
        assert!(accounts.is_outdated(&row));
        let id = AccountId::new([7; 32]);
        let places = accounts.places(&id);
        assert_ne!(places.ids[0], places.ids[1]);
        assert_ne!(places.ids[0], places.nobody);
    }
}
