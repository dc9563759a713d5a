//! Erasing a mailbox with everything in it.

use std::sync::Arc;

use kinline_protocol::attach::{Challenge, verify_erase};
use kinline_protocol::wire::EraseMailbox;

use super::state::Mailbox;
use crate::errors::Refusal;
use crate::relay::Shared;
use crate::storage::{Expired, Write, reply};

/// Removes the mailbox that the connection is attached to, now. Nothing of it is on the disk any
/// more when this returns, but where the file system keeps what was overwritten.
///
/// # Errors
/// [`Refusal::Denied`] (bad proof), [`Refusal::Replaced`], or what the write says: then it is
/// still there.
pub(crate) async fn erase(
    shared: &Shared,
    challenge: &Challenge<'_>,
    mailbox: &Arc<Mailbox>,
    connection: u64,
    request: &EraseMailbox,
) -> Result<(), Refusal> {
    let key = &mailbox.authentication;
    verify_erase(key, challenge, &mailbox.id, &request.signature).map_err(|_| Refusal::Denied)?;
    let erased = {
        let mut inner = mailbox.lock();
        if !inner.queue.is_attached_by(connection) {
            return Err(Refusal::Replaced);
        }
        // Nothing comes in from here on, and what is held goes to the disk before it goes.
        inner.closed = true;
        inner.queue.end();
        mailbox.submit_held(&mut inner, &*shared.storage, u64::MAX);
        let (done, erased) = reply();
        shared.storage.submit(Write::Erase {
            mailbox: mailbox.id,
            done,
        });
        erased
    };
    if let Err(error) = erased.await {
        mailbox.lock().closed = false;
        return Err(error.into());
    }
    shared.mailboxes.expired(&Expired {
        mailboxes: vec![mailbox.id],
        ..Expired::default()
    });
    Ok(())
}
