//! What one connection has said about an account.

use kinline_protocol::day::Day;
use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::hash;
use kinline_protocol::primitives::opaque::relay::Login;
use kinline_protocol::wire;

use crate::errors::Refusal;
use crate::listener::Origin;
use crate::relay::Shared;
use crate::storage::{AccountRow, Change, Decide, Entry, Found, RowWrite, Said, Write, reply};

/// A login that waits for its proof.
pub(super) struct Waiting {
    pub(super) account: AccountId,
    pub(super) login: Login,
    /// Of the row as it was.
    pub(super) record: [u8; 32],
    pub(super) failed_logins: u32,
    pub(super) failed_day: Day,
}

/// Who has logged in.
#[derive(Clone, Copy)]
pub(super) struct LoggedIn {
    pub(super) account: AccountId,
    /// Of the record that it logged in with: whoever holds an older password is out when it is
    /// changed, also on a connection that stands.
    pub(super) record: [u8; 32],
}

/// The state of one connection's account.
pub(crate) struct Talk {
    pub(super) origin: Origin,
    pub(super) registering: Option<AccountId>,
    pub(super) waiting: Option<Waiting>,
    pub(super) logged_in: Option<LoggedIn>,
}

impl Talk {
    /// Nothing said yet.
    pub(crate) const fn new(origin: Origin) -> Self {
        Self {
            origin,
            registering: None,
            waiting: None,
            logged_in: None,
        }
    }

    /// Who has logged in.
    ///
    /// # Errors
    /// [`Refusal::OutOfOrder`].
    pub(super) const fn logged_in(&self) -> Result<LoggedIn, Refusal> {
        match self.logged_in {
            Some(logged_in) => Ok(logged_in),
            None => Err(Refusal::OutOfOrder("this needs a login before it")),
        }
    }
}

impl LoggedIn {
    /// Whether what lies there is still what it logged in to.
    pub(super) fn is_of(&self, found: &Found) -> bool {
        found.is_there() && self.record == record_hash(&found.row)
    }
}

/// Tells records apart without keeping them.
pub(super) fn record_hash(row: &AccountRow) -> [u8; 32] {
    hash::sha256(&row.record)
}

/// Reads an account id.
///
/// # Errors
/// [`Refusal::Malformed`].
pub(super) fn account_id(bytes: &bytes::Bytes) -> Result<AccountId, Refusal> {
    AccountId::try_from(bytes).map_err(|_| Refusal::Malformed("an account id has 32 bytes"))
}

/// Changes an account as `decide` says, in the order of all writes; the row as it was before.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn change(
    shared: &Shared,
    account: &AccountId,
    entry: Entry,
    decide: impl FnOnce(&Found) -> (Change, Said) + Send + 'static,
) -> Result<AccountRow, Refusal> {
    match submit(shared, account, entry, Box::new(decide)).await? {
        Said::Done(row) => Ok(*row),
        Said::Taken => Err(Refusal::Taken),
        Said::Denied => Err(Refusal::Denied),
        Said::Stale => Err(Refusal::StaleVault),
        Said::Admission => Err(Refusal::Admission),
        Said::Quota => Err(Refusal::Quota),
        Said::Damaged => Err(Refusal::Internal),
    }
}

/// [`change`] of the account that was logged in to, unless its password was changed meanwhile.
///
/// # Errors
/// [`Refusal::OutOfOrder`] without a login, [`Refusal::Denied`], or as `change`.
pub(crate) async fn change_logged_in(
    shared: &Shared,
    talk: &Talk,
    decide: impl FnOnce(&Found) -> (Change, Said) + Send + 'static,
) -> Result<AccountRow, Refusal> {
    let logged_in = talk.logged_in()?;
    change(shared, &logged_in.account, Entry::Open, move |found| {
        if logged_in.is_of(found) {
            decide(found)
        } else {
            (Change::Nothing, Said::Denied)
        }
    })
    .await
}

fn submit(
    shared: &Shared,
    account: &AccountId,
    entry: Entry,
    decide: Decide,
) -> impl Future<Output = Result<Said, crate::storage::WriteError>> + use<> {
    let (done, said) = reply();
    shared.storage.submit(Write::Row(RowWrite::Account {
        places: shared.accounts.places(account),
        entry,
        decide,
        done,
    }));
    said
}

/// Counts a try at an account's password, in its row or in nobody's. Not waited for: an answer
/// would otherwise wait for the disk. What is lost with a crash was counted by the budget.
pub(crate) fn count_attempt(shared: &Shared, account: &AccountId) {
    let today = shared.clock.day();
    shared.accounts.worked(1);
    metrics::counter!("kinline_logins_total", "end" => "begun").increment(1);
    drop(submit(
        shared,
        account,
        Entry::Open,
        Box::new(move |found| {
            let mut row = found.row.clone();
            row.failed_logins = row.failed_logins.saturating_add(1);
            row.failed_day = today;
            (Change::Count(row), Said::Done(Box::new(found.row.clone())))
        }),
    ));
}

/// Checks a vault as a device sends it.
///
/// # Errors
/// [`Refusal::Malformed`].
pub(super) fn check_vault(vault: &wire::Vault) -> Result<(), Refusal> {
    let sizes = [vault.request_part.len(), vault.recovery_part.len()];
    let sound = sizes
        .into_iter()
        .all(kinline_protocol::account::is_part_size);
    if sound && vault.version > 0 {
        Ok(())
    } else {
        Err(Refusal::Malformed(
            "a vault has a version and two parts, each of a size class of 1 to 64 KiB",
        ))
    }
}
