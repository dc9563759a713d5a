//! Logging in.

use std::time::Instant;

use kinline_protocol::primitives::opaque::relay::Record;
use kinline_protocol::primitives::opaque::{LOGIN_PROOF_BYTES, LOGIN_REQUEST_BYTES, Names};
use kinline_protocol::ticket::epoch_of;
use kinline_protocol::wire;

use super::talk::{LoggedIn, Talk, Waiting, account_id, change, count_attempt, record_hash};
use crate::config::Admission;
use crate::errors::Refusal;
use crate::random;
use crate::relay::Shared;
use crate::storage::{AccountRow, Change, Entry, Said};
use crate::tripwire::{Alarm, DECOY_ACCOUNT};

/// Answers KE1 with KE2, whether or not there is such an account.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::SlowDown`], or what the read says.
pub(crate) async fn start(
    shared: &Shared,
    talk: &mut Talk,
    request: &wire::LoginStart,
) -> Result<wire::LoginAnswer, Refusal> {
    let account = account_id(&request.account)?;
    if request.message.len() != LOGIN_REQUEST_BYTES {
        return Err(Refusal::Malformed("a login begins with 96 bytes"));
    }
    (talk.waiting, talk.logged_in) = (None, None);
    let accounts = &shared.accounts;
    accounts
        .budget
        .attempt(&account, talk.origin, Instant::now())?;
    let found = shared
        .storage
        .account(accounts.places(&account), false)
        .await?;
    count_attempt(shared, &account);
    if found.is_there() && found.row.flags & DECOY_ACCOUNT != 0 {
        shared.tripwire.touched(Alarm::Account);
    }
    let setup = accounts
        .setup(&account, &found, shared.clock.day())
        .ok_or_else(|| {
            tracing::error!("the key file lacks a setup that an account depends on");
            Refusal::Internal
        })?;
    // Also nobody's, for the work's sake.
    let record = Record::from_bytes(&found.row.record).map_err(|_| Refusal::Internal)?;
    let names = Names {
        account: &account,
        server: &shared.server_name,
    };
    let (login, message) = setup
        .login(
            found.is_there().then_some(&record),
            names,
            &request.message,
            &mut random::generator()?,
        )
        .map_err(|_| Refusal::Malformed("a login begins with elements of the group"))?;
    accounts.worked(1);
    talk.waiting = Some(Waiting {
        account,
        login,
        record: record_hash(&found.row),
        failed_logins: found.row.failed_logins,
        failed_day: found.row.failed_day,
    });
    Ok(wire::LoginAnswer {
        message: message.into(),
    })
}

/// Checks KE3. Good for one try: the state that it answers is gone then.
///
/// # Errors
/// [`Refusal::OutOfOrder`], [`Refusal::Malformed`], [`Refusal::Denied`], or what the write says.
pub(crate) async fn finish(
    shared: &Shared,
    talk: &mut Talk,
    request: &wire::LoginFinish,
) -> Result<wire::LoggedIn, Refusal> {
    let waiting = talk
        .waiting
        .take()
        .ok_or(Refusal::OutOfOrder("a login begins before it ends"))?;
    if request.message.len() != LOGIN_PROOF_BYTES {
        return Err(Refusal::Malformed("a login ends with 64 bytes"));
    }
    let account = waiting.account;
    let names = Names {
        account: &account,
        server: &shared.server_name,
    };
    if waiting.login.finish(names, &request.message).is_err() {
        metrics::counter!("kinline_logins_total", "end" => "denied").increment(1);
        return Err(Refusal::Denied);
    }
    let logged_in = LoggedIn {
        account,
        record: waiting.record,
    };
    let before = change(shared, &account, Entry::Open, move |found| {
        // Changed since it began: the old password is none any more.
        if !logged_in.is_of(found) {
            return (Change::Nothing, Said::Denied);
        }
        let row = AccountRow {
            failed_logins: 0,
            ..found.row.clone()
        };
        (Change::Count(row), Said::Done(Box::new(found.row.clone())))
    })
    .await?;
    metrics::counter!("kinline_logins_total", "end" => "good").increment(1);
    talk.logged_in = Some(logged_in);
    let accounts = &shared.accounts;
    accounts
        .budget
        .welcome(&account, talk.origin, Instant::now());
    // This login was counted when it began.
    let failed = before.failed_logins.saturating_sub(1);
    let failed_day = match failed {
        0 => 0,
        // Others came in between.
        _ if failed > waiting.failed_logins => before.failed_day.0,
        _ => waiting.failed_day.0,
    };
    let epoch = epoch_of(shared.clock.day().0);
    let drawn = if before.ticket_epoch == epoch {
        before.tickets_drawn
    } else {
        0
    };
    let issuer_key = shared.issuer.key(epoch).ok_or(Refusal::Internal)?.public();
    Ok(wire::LoggedIn {
        failed_logins: failed,
        failed_day,
        renew: accounts.is_outdated(&before),
        vault_version: before.vault_version,
        tickets_left: match shared.admission {
            Admission::Tickets => accounts.tickets_max.saturating_sub(drawn),
            // They would open nothing here.
            Admission::Open | Admission::Codes => 0,
        },
        ticket_epoch: epoch,
        issuer_key: issuer_key.to_vec().into(),
    })
}
