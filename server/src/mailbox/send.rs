//! A Send: check each delivery, accept what is good, answer when it is safe.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use futures_util::future::join_all;
use kinline_protocol::ids::{MailboxId, MessageId, SlotToken};
use kinline_protocol::wire::{self, RecipientStatus};
use kinline_protocol::{grant, limits, padme};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::inbox::Inbox;
use super::queue::Acceptance;
use super::state::{Inner, Mailbox, new_envelopes, outcome};
use super::waiter::{Outcome, Waiter, WholeSend};
use crate::errors::Refusal;
use crate::relay::Shared;
use crate::storage::{Accepted, SlotOffer, Write, WriteError};
use crate::tripwire::Alarm;

/// When to try again after a full mailbox: its device has to come and fetch first.
const FULL_RETRY_MS: u32 = 60_000;

/// The answer to one recipient.
enum Answer {
    Now(RecipientStatus, u32),
    Later(oneshot::Receiver<Outcome>),
}

/// What became of a Send at once.
pub(crate) enum Sent {
    /// It was of one envelope: the connection's inbox gets its outcome.
    Whole,
    /// It is answered when all of it is known.
    Parts(PendingSend),
}

/// A Send that was accepted; resolves to its answer.
pub(crate) struct PendingSend {
    answers: Vec<Answer>,
    commit: Option<oneshot::Receiver<Result<Accepted, WriteError>>>,
}

/// One delivery, measured.
struct Delivery {
    mailbox: MailboxId,
    grant: Bytes,
    message: MessageId,
    envelope: Bytes,
}

fn parse(request: wire::Send) -> Result<(Vec<Delivery>, Option<SlotOffer>), Refusal> {
    if request.deliveries.len() > limits::SEND_DELIVERIES_MAX {
        return Err(Refusal::Malformed("more deliveries than a Send may have"));
    }
    if request.deliveries.is_empty() && request.commit.is_none() {
        return Err(Refusal::Malformed("a Send without anything to send"));
    }
    let deliveries = request
        .deliveries
        .into_iter()
        .map(|delivery| {
            if delivery.envelope.len() != limits::ENVELOPE_BYTES {
                return Err(Refusal::Malformed("an envelope has 1,024 bytes"));
            }
            if delivery.grant.len() != grant::GRANT_BYTES {
                return Err(Refusal::Malformed("a grant has 125 bytes"));
            }
            Ok(Delivery {
                mailbox: MailboxId::try_from(&delivery.mailbox)
                    .map_err(|_| Refusal::Malformed("a mailbox id has 16 bytes"))?,
                message: MessageId::try_from(&delivery.message_id)
                    .map_err(|_| Refusal::Malformed("a message id has 16 bytes"))?,
                grant: delivery.grant,
                // A copy: the slice would keep the whole frame in memory.
                envelope: Bytes::copy_from_slice(&delivery.envelope),
            })
        })
        .collect::<Result<_, _>>()?;
    let commit = request
        .commit
        .map(|offer| {
            let size = offer.sealed.len() as u64;
            if offer.sealed.len() > limits::COMMIT_BYTES_MAX || !padme::is_class(size) {
                return Err(Refusal::Malformed(
                    "a sealed commit has a size class of at most 64 KiB",
                ));
            }
            let token = SlotToken::try_from(&offer.token)
                .map_err(|_| Refusal::Malformed("a token has 16 bytes"))?;
            Ok(SlotOffer {
                token,
                sealed: offer.sealed,
            })
        })
        .transpose()?;
    Ok((deliveries, commit))
}

/// Checks and accepts a Send. `attached` is the sender's own mailbox, if the connection is
/// attached. What comes later on the same connection is accepted later.
///
/// # Errors
/// [`Refusal`] of the whole Send: malformed, not attached, quota, or no room; nothing is accepted then.
pub(crate) async fn accept(
    shared: &Shared,
    attached: Option<&Arc<Mailbox>>,
    from: (&Arc<Inbox>, u64),
    request: wire::Send,
) -> Result<Sent, Refusal> {
    let generation = request.generation;
    let (mut deliveries, commit) = parse(request)?;
    let today = shared.clock.day();
    if let Some(mailbox) = attached {
        let mut inner = mailbox.lock();
        mailbox.note_generation(&mut inner, &*shared.storage, generation);
    }
    if let Some(offer) = &commit {
        let mailbox = attached.ok_or(Refusal::NotAttached)?;
        if !mailbox.lock().use_bytes(
            today,
            offer.sealed.len() as u64,
            shared.limits.blob_bytes_per_day,
        ) {
            return Err(Refusal::Quota);
        }
    }
    let count = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
    let mut room = Arc::clone(&shared.room)
        .try_acquire_many_owned(count)
        .map_err(|_| Refusal::NoRoom)?;
    if commit.is_none()
        && deliveries.len() == 1
        && let Some(delivery) = deliveries.pop()
    {
        let sent = accept_whole(shared, from, delivery, room).await?;
        shared.meters.sends.increment(1);
        return Ok(sent);
    }
    let checked = check_all(shared, deliveries).await?;
    shared.meters.sends.increment(1);
    let mut permit = move || room.split(1);
    Ok(Sent::Parts(match commit {
        None => accept_deliveries(shared, checked, &mut permit),
        Some(offer) => accept_behind_slot(shared, checked, offer, &mut permit),
    }))
}

/// A Send of one envelope, which most are: its answer takes the short way.
async fn accept_whole(
    shared: &Shared,
    (inbox, request_id): (&Arc<Inbox>, u64),
    delivery: Delivery,
    room: OwnedSemaphorePermit,
) -> Result<Sent, Refusal> {
    let answered = |status, retry| {
        Ok(Sent::Parts(PendingSend {
            answers: vec![Answer::Now(status, retry)],
            commit: None,
        }))
    };
    let mailbox = match permit(shared, delivery.mailbox, delivery.grant).await? {
        Ok(mailbox) => mailbox,
        Err((status, retry)) => return answered(status, retry),
    };
    if let Err(retry) = mailbox.slow_down() {
        return answered(RecipientStatus::SlowDown, retry);
    }
    let mut inner = mailbox.lock();
    let waiter = || Waiter::Whole(WholeSend::new(Arc::clone(inbox), request_id));
    match put(
        &mut inner,
        delivery.message,
        delivery.envelope,
        waiter,
        Some(room),
    ) {
        Ok(order) => {
            if let Some(order) = order {
                place(shared, &mailbox, &mut inner, order);
            }
            Ok(Sent::Whole)
        }
        Err((status, retry)) => answered(status, retry),
    }
}

/// A delivery that may go in, or the answer why not.
enum Checked {
    Good(Arc<Mailbox>, MessageId, Bytes),
    Bad(RecipientStatus, u32),
}

async fn check_all(shared: &Shared, deliveries: Vec<Delivery>) -> Result<Vec<Checked>, Refusal> {
    let checks = deliveries.into_iter().map(|delivery| async move {
        Ok(
            match permit(shared, delivery.mailbox, delivery.grant).await? {
                Ok(mailbox) => Checked::Good(mailbox, delivery.message, delivery.envelope),
                Err((status, retry)) => Checked::Bad(status, retry),
            },
        )
    });
    let mut checked = join_all(checks)
        .await
        .into_iter()
        .collect::<Result<Vec<_>, Refusal>>()?;
    // In their order, after all were looked up: of two for one mailbox never only the second.
    for delivery in &mut checked {
        if let Checked::Good(mailbox, ..) = delivery
            && let Err(retry_after_ms) = mailbox.slow_down()
        {
            *delivery = Checked::Bad(RecipientStatus::SlowDown, retry_after_ms);
        }
    }
    Ok(checked)
}

type NotPermitted = (RecipientStatus, u32);

/// The mailbox, if `grant` permits to put something into it. How often is another question:
/// [`Mailbox::slow_down`].
///
/// # Errors
/// [`Refusal::Internal`] when the database could not be read.
pub(crate) async fn permit(
    shared: &Shared,
    id: MailboxId,
    grant: Bytes,
) -> Result<Result<Arc<Mailbox>, NotPermitted>, Refusal> {
    let Some(mailbox) = shared.mailboxes.load(id).await? else {
        return Ok(Err((RecipientStatus::Gone, 0)));
    };
    if mailbox.decoy {
        shared.tripwire.touched(Alarm::Send);
    }
    let today = shared.clock.day();
    {
        let inner = mailbox.lock();
        if inner.closed {
            return Ok(Err((RecipientStatus::Gone, 0)));
        }
        let trusted = inner.trusted.as_ref();
        if trusted.is_some_and(|trusted| shared.grants.is_trusted(trusted, &grant, today)) {
            drop(inner);
            return Ok(Ok(mailbox));
        }
    }
    let Some(trusted) = shared.grants.to_trust(&grant, today) else {
        return Ok(Err((RecipientStatus::Revoked, 0)));
    };
    // When all speak for the first time this takes long: the frame does not stay that long.
    drop(grant);
    if !shared
        .grants
        .is_good(trusted.bytes(), &mailbox.grant, &id, today)
        .await?
    {
        return Ok(Err((RecipientStatus::Revoked, 0)));
    }
    mailbox.lock().trusted = Some(trusted);
    Ok(Ok(mailbox))
}

fn accept_deliveries(
    shared: &Shared,
    checked: Vec<Checked>,
    permit: &mut impl FnMut() -> Option<OwnedSemaphorePermit>,
) -> PendingSend {
    let answers = checked
        .into_iter()
        .map(|checked| match checked {
            Checked::Bad(status, retry) => Answer::Now(status, retry),
            Checked::Good(mailbox, message, body) => {
                let (waiter, outcome) = oneshot::channel();
                let mut inner = mailbox.lock();
                match put(&mut inner, message, body, || Waiter::Part(waiter), permit()) {
                    Ok(order) => {
                        if let Some(order) = order {
                            place(shared, &mailbox, &mut inner, order);
                        }
                        Answer::Later(outcome)
                    }
                    Err((status, retry)) => Answer::Now(status, retry),
                }
            }
        })
        .collect();
    PendingSend {
        answers,
        commit: None,
    }
}

/// Puts one envelope at the end of a queue: its order, if it is new there, or why not.
fn put(
    inner: &mut Inner,
    message: MessageId,
    body: Bytes,
    waiter: impl FnOnce() -> Waiter,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Option<u64>, NotPermitted> {
    if inner.closed {
        return Err((RecipientStatus::Gone, 0));
    }
    match inner.queue.accept(message, body, waiter, permit) {
        Acceptance::New(order) => Ok(Some(order)),
        Acceptance::Known => Ok(None),
        Acceptance::Full => Err((RecipientStatus::Full, FULL_RETRY_MS)),
        Acceptance::Busy => Err((RecipientStatus::SlowDown, 1_000)),
    }
}

/// An attached device gets it at once and it is held for a moment; for an absent one it is written.
fn place(shared: &Shared, mailbox: &Arc<Mailbox>, inner: &mut Inner, order: u64) {
    if let Some(inbox) = inner.queue.inbox() {
        inbox.wake();
        if shared.mailboxes.holds.hold(mailbox, inner, order) {
            return;
        }
    }
    mailbox.submit_held(inner, &*shared.storage, order);
}

/// Slot and envelopes are one write. All mailboxes are locked until it is submitted, in the
/// order of their ids so that two such Sends can't wait for each other; everything that they
/// hold goes before it.
fn accept_behind_slot(
    shared: &Shared,
    checked: Vec<Checked>,
    slot: SlotOffer,
    permit: &mut impl FnMut() -> Option<OwnedSemaphorePermit>,
) -> PendingSend {
    let mut mailboxes: Vec<Arc<Mailbox>> = checked
        .iter()
        .filter_map(|checked| match checked {
            Checked::Good(mailbox, ..) => Some(Arc::clone(mailbox)),
            Checked::Bad(..) => None,
        })
        .collect();
    mailboxes.sort_by_key(|mailbox| mailbox.id);
    mailboxes.dedup_by_key(|mailbox| mailbox.id);
    let mut locked: HashMap<MailboxId, MutexGuard<'_, Inner>> = HashMap::new();
    for mailbox in &mailboxes {
        let mut inner = mailbox.lock();
        mailbox.submit_held(&mut inner, &*shared.storage, u64::MAX);
        locked.insert(mailbox.id, inner);
    }
    let answers = checked
        .into_iter()
        .map(|checked| match checked {
            Checked::Bad(status, retry) => Answer::Now(status, retry),
            Checked::Good(mailbox, message, body) => match locked.get_mut(&mailbox.id) {
                None => Answer::Now(RecipientStatus::Gone, 0),
                Some(inner) => {
                    let (waiter, outcome) = oneshot::channel();
                    match put(inner, message, body, || Waiter::Part(waiter), permit()) {
                        Ok(_) => Answer::Later(outcome),
                        Err((status, retry)) => Answer::Now(status, retry),
                    }
                }
            },
        })
        .collect();
    let mut envelopes = Vec::new();
    let mut places: Vec<(Arc<Mailbox>, Vec<u64>)> = Vec::new();
    for mailbox in &mailboxes {
        let Some(inner) = locked.get_mut(&mailbox.id) else {
            continue;
        };
        let rows = inner.queue.submit_gated(u64::MAX);
        if !rows.is_empty() {
            places.push((
                Arc::clone(mailbox),
                rows.iter().map(|(order, ..)| *order).collect(),
            ));
            envelopes.extend(new_envelopes(mailbox.id, rows));
        }
    }
    let (done, commit) = oneshot::channel();
    shared.storage.submit(Write::Accept {
        slot: Some(slot),
        envelopes,
        done: Box::new(move |result| {
            for (mailbox, orders) in places {
                mailbox.settle(&orders, outcome(&result));
            }
            let _ = done.send(result);
        }),
    });
    drop(locked);
    PendingSend {
        answers,
        commit: Some(commit),
    }
}

/// What a recipient's outcome is to the sender.
fn recipient(outcome: Outcome) -> Result<(RecipientStatus, u32), Refusal> {
    match outcome {
        Outcome::Stored => Ok((RecipientStatus::Ok, 0)),
        // It was part of another Send whose slot was lost: this one may be tried again.
        Outcome::Lost => Ok((RecipientStatus::SlowDown, 100)),
        Outcome::NoRoom => Err(Refusal::NoRoom),
        Outcome::Failed => Err(Refusal::Internal),
    }
}

/// The answer to a Send of one envelope with this outcome.
///
/// # Errors
/// As [`PendingSend::answer`].
pub(crate) fn whole(outcome: Outcome) -> Result<wire::SendResult, Refusal> {
    let (status, retry_after_ms) = recipient(outcome)?;
    Ok(wire::SendResult {
        recipients: vec![wire::RecipientAnswer {
            status: status.into(),
            retry_after_ms,
        }],
        commit: None,
    })
}

impl PendingSend {
    /// Resolves when every recipient's device or the disk has its envelope.
    ///
    /// # Errors
    /// [`Refusal::NoRoom`] or [`Refusal::Internal`]: nothing is acknowledged then, and the
    /// same Send may be repeated.
    pub(crate) async fn answer(self) -> Result<wire::SendResult, Refusal> {
        let commit = match self.commit {
            None => None,
            Some(commit) => match commit.await.unwrap_or(Err(WriteError::Failed))? {
                Accepted::Stored => Some(wire::CommitAnswer {
                    mine: true,
                    winner: Bytes::new(),
                }),
                Accepted::Damaged => return Err(Refusal::Internal),
                Accepted::Lost { winner } => {
                    let commit = Some(wire::CommitAnswer {
                        mine: false,
                        winner,
                    });
                    return Ok(wire::SendResult {
                        recipients: Vec::new(),
                        commit,
                    });
                }
            },
        };
        let mut recipients = Vec::with_capacity(self.answers.len());
        let mut refused = None;
        for answer in self.answers {
            let (status, retry_after_ms) = match answer {
                Answer::Now(status, retry) => (status, retry),
                Answer::Later(outcome) => {
                    match recipient(outcome.await.unwrap_or(Outcome::Failed)) {
                        Ok(answer) => answer,
                        Err(refusal) => {
                            refused = Some(refusal);
                            continue;
                        }
                    }
                }
            };
            recipients.push(wire::RecipientAnswer {
                status: status.into(),
                retry_after_ms,
            });
        }
        match refused {
            Some(refusal) => Err(refusal),
            None => Ok(wire::SendResult { recipients, commit }),
        }
    }
}
