//! Replacing a mailbox's close key, so that who knew the old one closes nothing any more.

use std::sync::Arc;

use kinline_protocol::attach::{Challenge, verify_renew_close_key};
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::wire::RenewCloseKey;

use super::state::Mailbox;
use crate::errors::Refusal;
use crate::relay::Shared;
use crate::storage::reply;

/// The new key is on disk before this returns; the old one counts until then.
///
/// Only the connection that is attached at this moment may: else what a lost connection had
/// asked for could come after what the next one asks for.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::Denied`] (bad proof, closed, or deleted),
/// [`Refusal::Replaced`], or what the write says.
pub(crate) async fn renew_close_key(
    shared: &Shared,
    challenge: &Challenge<'_>,
    mailbox: &Arc<Mailbox>,
    connection: u64,
    request: &RenewCloseKey,
) -> Result<(), Refusal> {
    let close = PublicKey::from_slice(&request.close_key)
        .ok_or(Refusal::Malformed("a public key has 32 bytes"))?;
    verify_renew_close_key(
        &mailbox.authentication,
        challenge,
        &mailbox.id,
        &close,
        &request.signature,
    )
    .map_err(|_| Refusal::Denied)?;
    let renewed = {
        let inner = mailbox.lock();
        if inner.closed {
            return Err(Refusal::Denied);
        }
        if !inner.queue.is_attached_by(connection) {
            return Err(Refusal::Replaced);
        }
        let (done, renewed) = reply();
        mailbox.submit_close_key(&*shared.storage, close, done);
        renewed
    };
    if renewed.await? {
        Ok(())
    } else {
        Err(Refusal::Denied)
    }
}
