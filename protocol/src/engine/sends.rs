//! Sealed envelopes on their way to the relay: persisted before they leave, repeated until
//! the relay has answered for each recipient. A mailbox that is full holds up nobody else.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::device::Engine;
use super::io::Event;
use super::records;
use super::session::Request;
use super::state::Cx;
use crate::attachment::{EncryptError, encrypt_bytes};
use crate::conversation::Address;
use crate::day::Timestamp;
use crate::envelope::{self, Kind, Payload};
use crate::ids::{ConversationId, DeviceId, MessageId};
use crate::wire::{self, OutgoingState, RecipientStatus, client_frame::Body as ClientBody};

/// Sends on their way at a time.
const SENDS_IN_FLIGHT_MAX: usize = 32;
/// Sends that are encrypted ahead of the relay's answers.
const SENDS_MAX: usize = 64;
/// A mailbox that took nothing is tried again after this, doubled each time.
const REST_MS: u64 = 2_000;
/// The longest such wait: five minutes.
const REST_MS_MAX: u64 = 300_000;

/// One recipient of a send.
pub(super) struct Recipient {
    pub(super) device: DeviceId,
    pub(super) address: Address,
}

/// Mailboxes that were full or asked to slow down. What is for them waits in its order;
/// when the wait is over, one envelope finds out.
#[derive(Debug, Default)]
pub(super) struct Rests {
    mailboxes: BTreeMap<Bytes, Rest>,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    /// `None`: one envelope may try, or tries.
    until: Option<Timestamp>,
    wait_ms: u64,
    trying: bool,
}

impl Rests {
    fn is_resting(&self, mailbox: &Bytes) -> bool {
        self.mailboxes.contains_key(mailbox)
    }

    /// Whether an envelope may go there now.
    pub(super) fn may_try(&self, mailbox: &Bytes) -> bool {
        self.mailboxes
            .get(mailbox)
            .is_none_or(|rest| rest.until.is_none() && !rest.trying)
    }

    fn admit(&mut self, mailbox: &Bytes) -> bool {
        if !self.may_try(mailbox) {
            return false;
        }
        if let Some(rest) = self.mailboxes.get_mut(mailbox) {
            rest.trying = true;
        }
        true
    }

    /// It took nothing; true when it did before.
    fn rest(&mut self, mailbox: &Bytes, now: Timestamp, asked_ms: u64) -> bool {
        let known = self.mailboxes.get(mailbox).copied();
        // Of several that were on their way together, only the first counts.
        let waits = known.is_some_and(|rest| rest.until.is_some());
        let wait_ms = match known {
            Some(rest) if waits => rest.wait_ms,
            Some(rest) => rest.wait_ms.saturating_mul(2).min(REST_MS_MAX),
            None => REST_MS,
        };
        let until = Some(now.plus_ms(wait_ms.max(asked_ms)));
        self.mailboxes.insert(
            mailbox.clone(),
            Rest {
                until,
                wait_ms,
                trying: false,
            },
        );
        known.is_none()
    }

    /// Nothing was found out: another may try.
    fn release<'a>(&mut self, mailboxes: impl Iterator<Item = &'a Bytes>) {
        for mailbox in mailboxes {
            if let Some(rest) = self.mailboxes.get_mut(mailbox) {
                rest.trying = false;
            }
        }
    }

    fn wake(&mut self, mailbox: &Bytes) -> bool {
        self.mailboxes.remove(mailbox).is_some()
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.mailboxes.values().filter_map(|rest| rest.until).min()
    }

    /// True when somewhere one envelope may try again.
    pub(super) fn tick(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        for rest in self
            .mailboxes
            .values_mut()
            .filter(|rest| rest.until.is_some_and(|at| at <= now))
        {
            rest.until = None;
            any = true;
        }
        any
    }
}

fn is_offer(send: &wire::PendingSendRecord, winner: &Bytes) -> bool {
    let offer = send.commit.as_ref().map(|commit| &commit.sealed);
    !winner.is_empty() && offer == Some(winner)
}

impl Engine {
    /// Seals one payload for each recipient; what does not fit becomes one blob for all.
    ///
    /// # Errors
    /// [`EncryptError::TooLarge`]: nothing was added to the send then.
    pub(super) fn seal_for(
        &mut self,
        recipients: &[Recipient],
        kind: Kind,
        payload: Vec<u8>,
        send: &mut wire::PendingSendRecord,
        cx: &mut Cx<'_>,
    ) -> Result<(), EncryptError> {
        let payload = if envelope::fits(payload.len()) {
            Payload::Inline(payload)
        } else {
            let (pointer, stored) = encrypt_bytes(&payload, &mut cx.rng)?;
            send.overflow = Some(wire::BlobUploadRecord {
                handle: cx.random16().to_vec().into(),
                read_secret: pointer.read_secret.expose().to_vec().into(),
                owner_secret: [cx.random16(), cx.random16()].concat().into(),
                size: pointer.size,
                done: false,
                inline: stored,
            });
            let readers = recipients.iter();
            send.readers = readers
                .map(|recipient| recipient.device.to_bytes())
                .collect();
            Payload::Pointer(pointer.to_wire())
        };
        for recipient in recipients {
            let message = MessageId::new(cx.random16());
            let address = &recipient.address;
            let sealed = envelope::seal(
                &address.sealing_key,
                &address.mailbox,
                &message,
                kind,
                &payload,
                &mut cx.rng,
            );
            if let Ok(envelope) = sealed {
                send.deliveries.push(wire::Delivery {
                    mailbox: address.mailbox.to_bytes(),
                    grant: address.grant.as_bytes().to_vec().into(),
                    message_id: message.to_bytes(),
                    envelope,
                });
                send.devices.push(recipient.device.to_bytes());
            }
        }
        Ok(())
    }

    pub(super) fn queue_send(&mut self, send: wire::PendingSendRecord, cx: &mut Cx<'_>) {
        // Never a number again while its answer may be on the way.
        let number = self.next_send;
        self.next_send = number.saturating_add(1);
        cx.put_message(records::number(records::SEND, number), &send);
        self.transfers.open_send(number, &send);
        self.sends.insert(number, send);
    }

    /// Whether enough is encrypted ahead; what waits for resting mailboxes does not count.
    pub(super) fn sends_are_many(&self) -> bool {
        if self.sends.len() < SENDS_MAX {
            return false;
        }
        let moves = |send: &&wire::PendingSendRecord| {
            send.commit.is_some()
                || send
                    .deliveries
                    .iter()
                    .any(|to| !self.session.rests.is_resting(&to.mailbox))
        };
        self.sends
            .values()
            .filter(moves)
            .nth(SENDS_MAX - 1)
            .is_some()
    }

    /// Sends what is ready; contents of a conversation in their order. Nothing leaves before
    /// everything that waited is read: whoever hears from a device may count on that.
    pub(super) fn flush_sends(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        let mut blocked: BTreeSet<&Bytes> = BTreeSet::new();
        let mut ready = Vec::new();
        for (number, send) in &self.sends {
            let content = !send.content_id.is_empty();
            if self.session.sent.contains_key(number)
                || (content && blocked.contains(&send.conversation))
            {
                continue;
            }
            let uploading = send.overflow.as_ref().is_some_and(|upload| !upload.done);
            if uploading || self.session.delayed.contains_key(number) {
                if content {
                    blocked.insert(&send.conversation);
                }
                continue;
            }
            if self.session.sent.len() + ready.len() >= SENDS_IN_FLIGHT_MAX {
                break;
            }
            let rests = &mut self.session.rests;
            let deliveries: Vec<wire::Delivery> = send
                .deliveries
                .iter()
                .filter(|to| send.commit.is_some() || rests.admit(&to.mailbox))
                .cloned()
                .collect();
            if !deliveries.is_empty() || send.commit.is_some() {
                // The generation is that of what is about to be persisted: `finish` fills it in.
                ready.push((
                    *number,
                    wire::Send {
                        deliveries,
                        commit: send.commit.clone(),
                        generation: 0,
                    },
                ));
            }
        }
        for (number, send) in ready {
            let ids = send
                .deliveries
                .iter()
                .map(|delivery| delivery.message_id.clone())
                .collect();
            self.session.sent.insert(number, ids);
            self.request(Request::Send(number), ClientBody::Send(send), cx);
        }
    }

    pub(super) fn send_answered(&mut self, number: u64, result: wire::SendResult, cx: &mut Cx<'_>) {
        // Not there any more: dropped since, because its commit had become impossible.
        let Some(ids) = self.session.sent.remove(&number) else {
            return;
        };
        let Some(mut send) = self.sends.remove(&number) else {
            return;
        };
        if send.commit.is_some() {
            match result.commit {
                // Whatever the relay calls it: it holds what we offered.
                Some(answer) if answer.mine || is_offer(&send, &answer.winner) => {
                    if !self.commit_won(&send, cx) {
                        return self.discard_send(number, &send, cx);
                    }
                    send.commit = None;
                    send.news.clear();
                    // Whom it took out is not written to again.
                    self.keep_members(&mut send);
                }
                Some(answer) => return self.commit_lost(number, send, &answer.winner, cx),
                None => return self.delay_send(number, send, cx),
            }
        }
        if result.recipients.len() != ids.len() {
            return self.delay_send(number, send, cx);
        }
        self.session.succeeded();
        let answers: BTreeMap<Bytes, wire::RecipientAnswer> =
            ids.into_iter().zip(result.recipients).collect();
        let mut left = wire::PendingSendRecord {
            deliveries: vec![],
            devices: vec![],
            ..send.clone()
        };
        for (delivery, device) in send.deliveries.iter().zip(&send.devices) {
            let answer = answers.get(&delivery.message_id);
            if !answer
                .is_some_and(|answer| self.recipient_answered(&send, delivery, device, answer, cx))
            {
                left.deliveries.push(delivery.clone());
                left.devices.push(device.clone());
            }
        }
        if left.deliveries.is_empty() {
            cx.erase(records::number(records::SEND, number));
            self.retire_overflow(&send, cx);
        } else {
            cx.put_message(records::number(records::SEND, number), &left);
            self.sends.insert(number, left);
        }
    }

    /// What goes again goes to those who are in the conversation, or come in with this send.
    fn keep_members(&self, send: &mut wire::PendingSendRecord) {
        let id = ConversationId::try_from(&send.conversation).ok();
        let Some(room) = id.and_then(|id| self.rooms.get(&id)) else {
            return;
        };
        let members: BTreeSet<Bytes> = (room.conversation.devices().into_iter())
            .map(DeviceId::to_bytes)
            .collect();
        let all = std::mem::take(&mut send.deliveries).into_iter();
        let all = all.zip(std::mem::take(&mut send.devices));
        (send.deliveries, send.devices) = all.filter(|(_, to)| members.contains(to)).unzip();
    }

    /// True when nothing more is to be done for this recipient.
    fn recipient_answered(
        &mut self,
        send: &wire::PendingSendRecord,
        delivery: &wire::Delivery,
        device: &Bytes,
        answer: &wire::RecipientAnswer,
        cx: &mut Cx<'_>,
    ) -> bool {
        let sentence = match answer.status() {
            RecipientStatus::Ok => {
                if self.session.rests.wake(&delivery.mailbox) {
                    self.resume_confirmations();
                }
                self.mark(send, device, OutgoingState::Stored, cx);
                self.return_answered(device, true, cx);
                return true;
            }
            RecipientStatus::Full | RecipientStatus::SlowDown | RecipientStatus::Unspecified => {
                let after = u64::from(answer.retry_after_ms);
                let newly = self.session.rests.rest(&delivery.mailbox, cx.now, after);
                if newly && answer.status() == RecipientStatus::Full {
                    self.name_recipient(device, "its mailbox is full; it is tried again", cx);
                }
                return false;
            }
            RecipientStatus::Revoked => "its grant was revoked or has expired",
            RecipientStatus::Gone => "its mailbox is gone",
        };
        // That says nothing of the mailbox: another envelope may try whether it takes more.
        self.session
            .rests
            .release(core::iter::once(&delivery.mailbox));
        let renewed = self
            .current_grant(send, device)
            .is_some_and(|grant| *grant != delivery.grant);
        if renewed {
            // It has given us another address since this was sealed.
            self.mark(send, device, OutgoingState::Waiting, cx);
            if !send.direct.is_empty() {
                self.seal_direct_again(send, device, cx);
            }
        } else if answer.status() == RecipientStatus::Revoked && self.may_be_renewed(send, delivery)
        {
            self.mark(send, device, OutgoingState::Waiting, cx);
            if !send.direct.is_empty() {
                self.session.rests.rest(&delivery.mailbox, cx.now, 0);
                return false;
            }
        } else {
            self.name_recipient(device, sentence, cx);
            self.return_answered(device, false, cx);
            // A device that is still in the conversation may come back as a new leaf, with
            // another address. A content that is given up would be a gap there for ever: what
            // was written before it and after it goes to the new leaf.
            let may_come_back = answer.status() == RecipientStatus::Revoked
                && self.current_grant(send, device).is_some();
            let state = if may_come_back {
                OutgoingState::Stored
            } else {
                OutgoingState::Failed
            };
            self.mark(send, device, state, cx);
        }
        true
    }

    /// Whether the new address may stand in a commit that was not walked here yet: this is the
    /// first time on this connection that the grant is said to be revoked, or that was said of
    /// another envelope and the commits are being looked for.
    fn may_be_renewed(
        &mut self,
        send: &wire::PendingSendRecord,
        delivery: &wire::Delivery,
    ) -> bool {
        let first = self.session.revoked.insert(delivery.grant.clone());
        let id = ConversationId::try_from(&send.conversation).ok();
        let Some(room) = id.and_then(|id| self.rooms.get_mut(&id)) else {
            return first;
        };
        room.synced &= !first;
        !room.synced
    }

    fn name_recipient(&self, device: &Bytes, sentence: &str, cx: &mut Cx<'_>) {
        if let Ok(device) = DeviceId::try_from(device) {
            cx.event(Event::RecipientRefused {
                device,
                sentence: sentence.to_owned(),
            });
        }
    }

    fn current_grant(&self, send: &wire::PendingSendRecord, device: &Bytes) -> Option<Vec<u8>> {
        let id = ConversationId::try_from(&send.conversation).ok()?;
        let leaf = self
            .rooms
            .get(&id)?
            .conversation
            .leaf(DeviceId::try_from(device).ok()?)?;
        Some(leaf.address.grant.as_bytes().to_vec())
    }

    /// The whole send failed: it is repeated after a while.
    pub(super) fn send_refused(&mut self, number: u64, after_ms: u64, cx: &Cx<'_>) {
        if self.session.sent.remove(&number).is_some() {
            self.put_off(number, after_ms, cx);
        }
    }

    fn put_off(&mut self, number: u64, after_ms: u64, cx: &Cx<'_>) {
        let at = self.session.retry_at(cx.now, after_ms);
        self.session.delayed.insert(number, at);
        if let Some(send) = self.sends.get(&number) {
            self.session
                .rests
                .release(send.deliveries.iter().map(|delivery| &delivery.mailbox));
        }
    }

    pub(super) fn delay_send(
        &mut self,
        number: u64,
        send: wire::PendingSendRecord,
        cx: &mut Cx<'_>,
    ) {
        cx.put_message(records::number(records::SEND, number), &send);
        self.sends.insert(number, send);
        self.put_off(number, 0, cx);
    }

    /// The relay never took it, and never will be asked to again.
    pub(super) fn discard_send(
        &mut self,
        number: u64,
        send: &wire::PendingSendRecord,
        cx: &mut Cx<'_>,
    ) {
        self.sends.remove(&number);
        self.session.sent.remove(&number);
        self.session.delayed.remove(&number);
        cx.erase(records::number(records::SEND, number));
        self.session
            .rests
            .release(send.deliveries.iter().map(|delivery| &delivery.mailbox));
        if let Some(upload) = &send.overflow {
            self.delete_blob(upload, cx);
        }
    }

    /// Drops the sends of a conversation that `which` picks.
    pub(super) fn discard_sends(
        &mut self,
        id: ConversationId,
        which: impl Fn(&wire::PendingSendRecord) -> bool,
        cx: &mut Cx<'_>,
    ) {
        let of = |send: &wire::PendingSendRecord| {
            send.conversation.as_ref() == id.as_bytes() && which(send)
        };
        let numbers: Vec<u64> = self
            .sends
            .iter()
            .filter(|(_, send)| of(send))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            if let Some(send) = self.sends.get(&number).cloned() {
                self.discard_send(number, &send, cx);
            }
        }
    }

    /// What was sealed for a device that left, and has not gone out, never does.
    pub(super) fn forget_recipient(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        cx: &mut Cx<'_>,
    ) {
        let is_left = |to: &Bytes| to.as_ref() == device.as_bytes();
        let of = |send: &wire::PendingSendRecord| {
            send.conversation.as_ref() == id.as_bytes() && send.devices.iter().any(is_left)
        };
        let found = self.sends.iter().filter(|(_, send)| of(send));
        let found: Vec<(u64, wire::PendingSendRecord)> = found
            .map(|(number, send)| (*number, send.clone()))
            .collect();
        for (number, send) in found {
            let all = send.deliveries.iter().zip(&send.devices);
            let (left, kept): (Vec<_>, Vec<_>) = all.partition(|(_, to)| is_left(to));
            let left = left.iter().map(|(delivery, _)| &delivery.mailbox);
            self.session.rests.release(left);
            if kept.is_empty() && send.commit.is_none() {
                self.discard_send(number, &send, cx);
                continue;
            }
            let (deliveries, devices) = kept
                .into_iter()
                .map(|(delivery, to)| (delivery.clone(), to.clone()))
                .unzip();
            let rest = wire::PendingSendRecord {
                deliveries,
                devices,
                ..send.clone()
            };
            cx.put_message(records::number(records::SEND, number), &rest);
            self.sends.insert(number, rest);
        }
    }

    /// What became of a content that was on its way to a device.
    fn mark(
        &mut self,
        send: &wire::PendingSendRecord,
        device: &Bytes,
        to: OutgoingState,
        cx: &mut Cx<'_>,
    ) {
        if send.content_id.is_empty() {
            return;
        }
        let Some(key) = self.outbox.find(&send.content_id) else {
            return;
        };
        self.change_peers(key, cx, |peer| {
            let on_its_way = peer.device == *device && peer.state() == OutgoingState::Sent;
            if on_its_way {
                peer.set_state(to);
            }
            on_its_way
        });
    }
}
