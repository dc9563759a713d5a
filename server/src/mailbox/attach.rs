//! Attaching a connection to a mailbox, acknowledging on it, and detaching.

use std::sync::Arc;

use kinline_protocol::attach::{Challenge, verify_attach};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits;
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::wire;

use super::inbox::Inbox;
use super::queue::{Delivered, NotDelivered, Take};
use super::state::Mailbox;
use crate::errors::Refusal;
use crate::listener::turn;
use crate::relay::Shared;
use crate::storage::{ReadError, Storage};
use crate::tripwire::Alarm;

/// Verified against when there is no such mailbox, so that the answer takes as long: the
/// base point of Ed25519, a valid key whose secret nobody needs.
pub(super) const NOBODY: PublicKey = PublicKey::new([
    0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
    0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
]);

/// Checks the proof and attaches; the connection attached before is told to end.
///
/// The row is read from the disk even when the mailbox is loaded, and a signature is
/// verified even when there is none: unknown mailboxes and bad proofs answer alike.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::Denied`], [`Refusal::StaleGeneration`].
pub(crate) async fn attach(
    shared: &Shared,
    challenge: &Challenge<'_>,
    request: &wire::Attach,
    connection: u64,
    inbox: &Arc<Inbox>,
) -> Result<(Arc<Mailbox>, wire::Attached), Refusal> {
    let id = MailboxId::try_from(&request.mailbox)
        .map_err(|_| Refusal::Malformed("a mailbox id has 16 bytes"))?;
    if request.window == 0 {
        return Err(Refusal::Malformed("the window is at least 1"));
    }
    let row = shared.storage.mailbox(id).await?;
    if row.as_ref().is_some_and(|row| row.decoy) {
        shared.tripwire.touched(Alarm::Attach);
    }
    let key = row.as_ref().map_or(NOBODY, |row| row.keys.authentication);
    let turn = turn(&shared.turns).await;
    let proof = verify_attach(
        &key,
        challenge,
        &id,
        request.generation,
        request.window,
        &request.signature,
    );
    drop(turn);
    if row.is_none() || proof.is_err() {
        return Err(Refusal::Denied);
    }
    let mailbox = shared.mailboxes.load(id).await?.ok_or(Refusal::Denied)?;
    let window = request.window.min(limits::DELIVERY_WINDOW_MAX);
    let mut inner = mailbox.lock();
    if inner.closed {
        return Err(Refusal::Denied);
    }
    if request.generation < inner.generation() {
        return Err(Refusal::StaleGeneration);
    }
    let storage = &*shared.storage;
    if let Some(replaced) = inner.queue.attach(connection, window, Arc::clone(inbox)) {
        replaced.end(Refusal::Replaced);
    }
    mailbox.note_generation(&mut inner, storage, request.generation);
    mailbox.keep(&mut inner, storage, shared.clock.day());
    let waiting = inner.queue.waiting() as u64;
    drop(inner);
    Ok((mailbox, wire::Attached { waiting, window }))
}

impl Mailbox {
    /// Ends this connection's attachment: what was held is written, the generation too.
    pub(crate) fn detach(self: &Arc<Self>, storage: &dyn Storage, connection: u64) {
        let mut inner = self.lock();
        if inner.queue.detach(connection) {
            self.submit_held(&mut inner, storage, u64::MAX);
            self.flush_generation(&mut inner, storage);
        }
    }

    /// Takes an acknowledgement; what is on disk up to there is deleted.
    ///
    /// # Errors
    /// [`Refusal::OutOfOrder`] for what was not delivered.
    pub(crate) fn acknowledge(
        self: &Arc<Self>,
        storage: &dyn Storage,
        connection: u64,
        request: &wire::Acknowledge,
    ) -> Result<(), Refusal> {
        let mut inner = self.lock();
        match inner.queue.acknowledge(connection, request.through) {
            Err(NotDelivered) => return Err(Refusal::OutOfOrder("this was not delivered")),
            Ok(Some(through)) => self.submit_deletion(&mut inner, storage, through),
            Ok(None) => {}
        }
        self.note_generation(&mut inner, storage, request.generation);
        Ok(())
    }

    /// As [`Self::next`], and in a lockdown no more than one mailbox is handed on one day: what is
    /// beyond waits.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) async fn next_page(
        &self,
        shared: &Shared,
        connection: u64,
        page: u32,
    ) -> Result<Vec<Delivered>, ReadError> {
        let Some(order) = shared.operator.lockdown.order() else {
            return self.next(&*shared.storage, connection, page).await;
        };
        let granted = self.lock().bulk.take(order, shared.clock.day(), page);
        if granted == 0 {
            return Ok(Vec::new());
        }
        let delivered = self.next(&*shared.storage, connection, granted).await;
        let count = delivered.as_ref().map_or(0, Vec::len);
        let unused = granted.saturating_sub(u32::try_from(count).unwrap_or(granted));
        self.lock().bulk.give_back(unused);
        delivered
    }

    /// The next envelopes for this connection, at most `page`: from the disk first, then from
    /// memory. Empty when nothing waits or the window is used up.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) async fn next(
        &self,
        storage: &dyn Storage,
        connection: u64,
        page: u32,
    ) -> Result<Vec<Delivered>, ReadError> {
        loop {
            let step = self.lock().queue.take(connection, page);
            match step {
                Take::Nothing => return Ok(Vec::new()),
                Take::Deliver(delivered) => return Ok(delivered),
                Take::Read {
                    after,
                    through,
                    limit,
                } => {
                    let rows = storage.envelopes(self.id, after, through, limit).await?;
                    let delivered = self.lock().queue.read(connection, through, limit, rows);
                    if !delivered.is_empty() {
                        return Ok(delivered);
                    }
                }
            }
        }
    }
}
