//! Closing a mailbox, or undoing that, with its close key.

use kinline_protocol::attach::{Challenge, verify_close};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits;
use kinline_protocol::wire::CloseMailbox;

use super::attach::NOBODY;
use crate::errors::Refusal;
use crate::relay::Shared;
use crate::storage::reply;
use crate::tripwire::Alarm;

/// Nothing goes in or out from now on; the mailbox is deleted when
/// `limits::MAILBOX_CLOSED_DAYS` have passed, unless this is undone before.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::Denied`], or what the write says.
pub(crate) async fn close(
    shared: &Shared,
    challenge: &Challenge<'_>,
    request: &CloseMailbox,
) -> Result<(), Refusal> {
    let id = MailboxId::try_from(&request.mailbox)
        .map_err(|_| Refusal::Malformed("a mailbox id has 16 bytes"))?;
    let row = shared.storage.mailbox(id).await?;
    if row.as_ref().is_some_and(|row| row.decoy) {
        shared.tripwire.touched(Alarm::Close);
    }
    let key = row.as_ref().map_or(NOBODY, |row| row.keys.close);
    let proof = verify_close(&key, challenge, &id, request.undo, &request.signature);
    if row.is_none() || proof.is_err() {
        return Err(Refusal::Denied);
    }
    let mailbox = shared.mailboxes.load(id).await?.ok_or(Refusal::Denied)?;
    let today = shared.clock.day();
    let written = {
        let mut inner = mailbox.lock();
        // Renewed between the check and here.
        if inner.close_key != key {
            return Err(Refusal::Denied);
        }
        // Closed twice or undone twice: the days go on counting, but it is written again. The
        // first time may have found no room, or may not be durable yet.
        if inner.closed == request.undo {
            let days = if request.undo {
                limits::MAILBOX_IDLE_DAYS
            } else {
                limits::MAILBOX_CLOSED_DAYS
            };
            inner.set_closed(!request.undo, today.plus(days));
            // Detached here and now: the connection may take a moment to hear of its end.
            if !request.undo
                && let Some(inbox) = inner.queue.end()
            {
                mailbox.submit_held(&mut inner, &*shared.storage, u64::MAX);
                inbox.end(Refusal::Denied);
            }
        }
        let (done, written) = reply();
        mailbox.submit_state(&mut inner, &*shared.storage, done);
        written
    };
    written.await?;
    Ok(())
}
