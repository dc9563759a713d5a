//! Making an account, or changing its password.

use std::time::Instant;

use kinline_protocol::day::Day;
use kinline_protocol::primitives::opaque::REGISTRATION_REQUEST_BYTES;
use kinline_protocol::primitives::opaque::relay::Record;
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::wire;

use super::talk::{LoggedIn, Talk, account_id, change, check_vault, count_attempt, record_hash};
use super::vault::follows;
use crate::errors::Refusal;
use crate::relay::Shared;
use crate::storage::{AccountRow, Change, Entry, Said, VaultParts};
use crate::ticket;

/// Answers the first message of a registration.
///
/// The answer evaluates a password for this id, and one answer to a login is enough to test such
/// evaluations on: who has not logged in pays for it as for a login.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::Denied`] (logged in to another account),
/// [`Refusal::SlowDown`].
pub(crate) fn start(
    shared: &Shared,
    talk: &mut Talk,
    request: &wire::RegisterStart,
) -> Result<wire::RegisterAnswer, Refusal> {
    let account = account_id(&request.account)?;
    if request.message.len() != REGISTRATION_REQUEST_BYTES {
        return Err(Refusal::Malformed("a registration begins with 32 bytes"));
    }
    match talk.logged_in {
        Some(logged_in) if logged_in.account != account => return Err(Refusal::Denied),
        Some(_) => {}
        None => {
            shared
                .accounts
                .budget
                .attempt(&account, talk.origin, Instant::now())?;
            count_attempt(shared, &account);
        }
    }
    let (_, setup) = shared.accounts.newest().ok_or(Refusal::Internal)?;
    let message = setup
        .register(&account, &request.message)
        .map_err(|_| Refusal::Malformed("a registration begins with an element of the group"))?;
    talk.registering = Some(account);
    Ok(wire::RegisterAnswer {
        message: message.into(),
    })
}

/// Keeps the record: of a new account, or in place of the one that was logged in to. Record and
/// vault are one transaction.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::OutOfOrder`], [`Refusal::Admission`], [`Refusal::Taken`],
/// [`Refusal::Denied`] (the password was changed meanwhile), [`Refusal::StaleVault`], or what the
/// write says.
pub(crate) async fn finish(
    shared: &Shared,
    talk: &mut Talk,
    request: wire::RegisterFinish,
) -> Result<(), Refusal> {
    let account = account_id(&request.account)?;
    if talk.registering.take() != Some(account) {
        return Err(Refusal::OutOfOrder("a registration begins before it ends"));
    }
    let record = Record::from_bytes(&request.record)
        .map_err(|_| Refusal::Malformed("this is no record of a registration"))?;
    let stretching = shared.accounts.costs(request.stretching.as_ref())?;
    let write_key = PublicKey::from_slice(&request.write_key)
        .ok_or(Refusal::Malformed("a public key has 32 bytes"))?;
    let vault = request.vault;
    vault.as_ref().map_or(Ok(()), check_vault)?;
    let (setup, _) = shared.accounts.newest().ok_or(Refusal::Internal)?;
    let logged_in = talk.logged_in;
    let entry = match logged_in {
        Some(_) => Entry::Open,
        None => ticket::entry(shared, &request.admission),
    };
    let row = AccountRow {
        setup,
        stretching,
        record: *record.as_bytes(),
        write_key,
        vault_version: vault.as_ref().map_or(0, |vault| vault.version),
        failed_logins: 0,
        failed_day: Day(0),
        ticket_epoch: 0,
        tickets_drawn: 0,
        flags: 0,
    };
    let hash = record_hash(&row);
    let parts = vault.map(|vault| VaultParts {
        request: vault.request_part,
        recovery: vault.recovery_part,
    });
    change(shared, &account, entry, move |found| {
        let done = || Said::Done(Box::new(found.row.clone()));
        let before = &found.row;
        let version_before = if found.is_there() {
            before.vault_version
        } else {
            0
        };
        let is_stale = parts.is_some() && !follows(version_before, row.vault_version);
        match logged_in {
            None if !found.is_there() && is_stale => (Change::Nothing, Said::Stale),
            None if !found.is_there() => (Change::Put(row, parts), done()),
            // The answer was lost and it is said again.
            None if before.record == row.record && before.write_key == row.write_key => {
                (Change::Nothing, done())
            }
            None => (Change::Nothing, Said::Taken),
            Some(logged_in) if !logged_in.is_of(found) => (Change::Nothing, Said::Denied),
            Some(_) if is_stale => (Change::Nothing, Said::Stale),
            Some(_) => {
                let row = AccountRow {
                    vault_version: row.vault_version.max(before.vault_version),
                    failed_logins: before.failed_logins,
                    failed_day: before.failed_day,
                    ticket_epoch: before.ticket_epoch,
                    tickets_drawn: before.tickets_drawn,
                    flags: before.flags,
                    ..row
                };
                (Change::Put(row, parts), done())
            }
        }
    })
    .await?;
    if logged_in.is_some() {
        talk.logged_in = Some(LoggedIn {
            account,
            record: hash,
        });
    }
    Ok(())
}
