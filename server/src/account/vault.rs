//! Reading a vault after a login, and writing it without one.

use std::time::Instant;

use kinline_protocol::account::verify_put_vault;
use kinline_protocol::attach::Challenge;
use kinline_protocol::wire;

use super::talk::{Talk, account_id, change, check_vault};
use crate::errors::Refusal;
use crate::relay::Shared;
use crate::storage::{AccountRow, Change, Entry, Said, VaultParts};
use crate::tripwire::{Alarm, DECOY_ACCOUNT};

/// How far above the one before a vault's number may be: with 60 writings an hour 2^64 is never
/// reached.
const STEP_MAX: u64 = u32::MAX as u64;

/// Whether a vault of this number may follow the one of the number `before`; 0 is none. Not far
/// above: whoever has the write key or the password for a moment could else leave no number for
/// the next one.
pub(super) fn follows(before: u64, version: u64) -> bool {
    (1..=STEP_MAX).contains(&version.saturating_sub(before))
}

/// The vault of the account that was logged in to.
///
/// # Errors
/// [`Refusal::OutOfOrder`], [`Refusal::Denied`] (the password was changed meanwhile, or it is
/// gone), or what the read says.
pub(crate) async fn fetch(shared: &Shared, talk: &Talk) -> Result<wire::VaultFetched, Refusal> {
    let logged_in = talk.logged_in()?;
    let places = shared.accounts.places(&logged_in.account);
    let found = shared.storage.account(places, true).await?;
    if !logged_in.is_of(&found) {
        return Err(Refusal::Denied);
    }
    let version = found.row.vault_version;
    let vault = found.vault.filter(|_| version > 0);
    Ok(wire::VaultFetched {
        vault: vault.map(|vault| wire::Vault {
            version,
            request_part: vault.request,
            recovery_part: vault.recovery,
        }),
    })
}

/// Writes a vault by the account's write key: phones do so whenever the family changes, and hear
/// of failed logins on the way.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::SlowDown`], [`Refusal::Denied`] (no such account, or a bad
/// proof), [`Refusal::StaleVault`], or what read and write say.
pub(crate) async fn put(
    shared: &Shared,
    talk: &Talk,
    challenge: &Challenge<'_>,
    request: wire::PutVault,
) -> Result<wire::VaultPut, Refusal> {
    let account = account_id(&request.account)?;
    let vault = request
        .vault
        .ok_or(Refusal::Malformed("there is no vault in this"))?;
    check_vault(&vault)?;
    let places = shared.accounts.places(&account);
    let found = shared.storage.account(places, false).await?;
    if found.is_there() && found.row.flags & DECOY_ACCOUNT != 0 {
        shared.tripwire.touched(Alarm::Account);
    }
    // Nobody's key is a key of nobody: the proof is checked, and bad.
    let key = found.row.write_key;
    let proof = verify_put_vault(&key, challenge, &account, &vault, &request.signature);
    if !found.is_there() || proof.is_err() {
        return Err(Refusal::Denied);
    }
    let now = Instant::now();
    shared.accounts.budget.write(&account, now)?;
    let version = vault.version;
    let parts = VaultParts {
        request: vault.request_part,
        recovery: vault.recovery_part,
    };
    let before = change(shared, &account, Entry::Open, move |found| {
        if !found.is_there() || found.row.write_key != key {
            return (Change::Nothing, Said::Denied);
        }
        if !follows(found.row.vault_version, version) {
            return (Change::Nothing, Said::Stale);
        }
        let row = AccountRow {
            vault_version: version,
            ..found.row.clone()
        };
        let done = Said::Done(Box::new(found.row.clone()));
        (Change::Put(row, Some(parts)), done)
    })
    .await?;
    shared
        .accounts
        .budget
        .make_known(&account, talk.origin, now);
    Ok(wire::VaultPut {
        failed_logins: before.failed_logins,
        failed_day: before.failed_day.0,
    })
}
