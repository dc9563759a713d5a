//! What is written: kept as content until every device has confirmed it, encrypted only
//! while attached and caught up, sent again until the relay has it.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::device::{CommandError, Engine, keep_until};
use super::inbox::application_payload;
use super::io::{Event, OutgoingBlob};
use super::records;
use super::session::Request;
use super::state::Cx;
use crate::attachment::encrypt_bytes;
use crate::content::{Body, Content};
use crate::conversation::Address;
use crate::envelope::{self, Kind, Payload};
use crate::ids::{ContentId, ConversationId, DeviceId, MessageId};
use crate::wire::{self, OutgoingState, RecipientStatus, client_frame::Body as ClientBody};

/// Contents that may wait on a device that is offline.
const OUTBOX_MAX: usize = 10_000;
/// Sends on their way at a time.
const SENDS_IN_FLIGHT_MAX: usize = 32;
/// Sends that are encrypted ahead of the relay's answers.
const SENDS_MAX: usize = 64;
/// A content that the relay took but a device has not confirmed is sent again after this.
const REPEAT_MS: u64 = 6 * 3_600_000;

/// Whether every device has it, or never will.
pub(super) fn is_confirmed(outgoing: &wire::OutgoingRecord) -> bool {
    outgoing.peers.iter().all(|peer| {
        matches!(peer.state(), OutgoingState::Confirmed | OutgoingState::Fetched | OutgoingState::Failed)
    })
}

fn is_done(outgoing: &wire::OutgoingRecord) -> bool {
    is_confirmed(outgoing)
        && (outgoing.attachment.is_none()
            || outgoing.peers.iter().all(|peer| matches!(peer.state(), OutgoingState::Fetched | OutgoingState::Failed)))
}

/// One recipient of a send.
pub(super) struct Recipient {
    pub(super) device: DeviceId,
    pub(super) address: Address,
}

impl Engine {
    pub(super) fn write(
        &mut self,
        id: ConversationId,
        body: Body,
        reply_to: Option<ContentId>,
        disappear_seconds: u32,
        blob: Option<OutgoingBlob>,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        body.check()?;
        let member = self.member().ok_or(CommandError::NoFamily)?;
        if self.outbox.len() >= OUTBOX_MAX {
            return Err(CommandError::OutboxFull(self.outbox.len()));
        }
        if body.attachment().is_some() != blob.is_some() {
            return Err(CommandError::Blob);
        }
        self.check_target(id, &body, reply_to)?;
        let device = self.signer.device;
        let room = self.rooms.get_mut(&id).ok_or(CommandError::NoConversation)?;
        if !room.conversation.is_active() {
            return Err(CommandError::Removed);
        }
        let content = Content {
            id: ContentId::new(cx.random16()),
            conversation: id,
            sender: device,
            sequence: room.next_sequence,
            sent_at: cx.now,
            keep_until: keep_until(cx.now),
            disappear_seconds,
            reply_to,
            body,
        };
        room.next_sequence += 1;
        room.dirty = true;
        let peers: Vec<wire::OutgoingPeer> = room
            .conversation
            .leaves()
            .into_iter()
            .filter(|leaf| leaf.device != device)
            .map(|leaf| wire::OutgoingPeer {
                device: leaf.device.to_bytes(),
                state: OutgoingState::Waiting.into(),
                sent_at_ms: 0,
            })
            .collect();
        let signed = content.sign(&self.signer.key);
        self.apply(id, &content, member, &signed, true, cx);
        self.own_contents.insert((id, content.sequence), content.id);
        if peers.is_empty() {
            return Ok(());
        }
        let attachment = blob.map(|blob| wire::BlobUploadRecord {
            handle: blob.handle.to_vec().into(),
            read_secret: blob.read_secret.expose().to_vec().into(),
            owner_secret: blob.owner_secret.expose().to_vec().into(),
            size: blob.size,
            done: false,
            inline: Bytes::new(),
        });
        let outgoing = wire::OutgoingRecord {
            signed_content: signed.into(),
            conversation: id.to_bytes(),
            content_id: content.id.to_bytes(),
            sequence: content.sequence,
            peers,
            attachment,
            keep_until_day: content.keep_until.0,
        };
        self.save_outgoing(id, &outgoing, cx);
        self.outbox.insert((id, content.sequence), outgoing);
        Ok(())
    }

    fn check_target(&self, id: ConversationId, body: &Body, reply_to: Option<ContentId>) -> Result<(), CommandError> {
        let member = self.member().ok_or(CommandError::NoFamily)?;
        let target = match body {
            Body::Reaction { target, .. } => Some(*target),
            Body::Edit { target, .. } | Body::Delete { target } => {
                if self.is_target(id, *target) && !self.is_author(id, *target, member) {
                    return Err(CommandError::NotAuthor);
                }
                Some(*target)
            }
            _ => None,
        };
        for target in target.into_iter().chain(reply_to) {
            if !self.is_target(id, target) {
                return Err(CommandError::NoTarget);
            }
        }
        Ok(())
    }

    fn save_outgoing(&self, id: ConversationId, outgoing: &wire::OutgoingRecord, cx: &mut Cx<'_>) {
        cx.put_message(records::outgoing(id, outgoing.sequence), outgoing);
    }

    /// Encrypts what waits, in order, for whom it waits.
    pub(super) fn flush_outbox(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.caught_up {
            return;
        }
        let mut blocked = BTreeSet::new();
        let keys: Vec<_> = self.outbox.keys().copied().collect();
        for (id, sequence) in keys {
            if blocked.contains(&id) {
                continue;
            }
            if self.sends.len() >= SENDS_MAX {
                break;
            }
            let ready = self.rooms.get(&id).is_some_and(|room| room.synced && room.conversation.is_active());
            if !ready || !self.encrypt_outgoing(id, sequence, cx) {
                blocked.insert(id);
            }
        }
    }

    /// False when this content has to wait, and with it what its sender wrote after it.
    fn encrypt_outgoing(&mut self, id: ConversationId, sequence: u64, cx: &mut Cx<'_>) -> bool {
        let Some(mut outgoing) = self.outbox.remove(&(id, sequence)) else { return true };
        let sent = self.encrypt_for_waiting(id, &mut outgoing, cx);
        let done = is_done(&outgoing);
        if done {
            self.finish_outgoing(id, &outgoing, cx);
        } else {
            self.outbox.insert((id, sequence), outgoing);
        }
        sent
    }

    fn encrypt_for_waiting(&mut self, id: ConversationId, outgoing: &mut wire::OutgoingRecord, cx: &mut Cx<'_>) -> bool {
        let Some(room) = self.rooms.get_mut(&id) else { return true };
        let leaves = room.conversation.leaves();
        let mut recipients = Vec::new();
        let mut changed = false;
        for peer in &mut outgoing.peers {
            if peer.state() != OutgoingState::Waiting {
                continue;
            }
            changed = true;
            match leaves.iter().find(|leaf| leaf.device.as_bytes().as_slice() == peer.device.as_ref()) {
                Some(leaf) => recipients.push(Recipient { device: leaf.device, address: leaf.address.clone() }),
                None => peer.set_state(OutgoingState::Failed),
            }
        }
        if !recipients.is_empty() {
            if outgoing.attachment.as_ref().is_some_and(|upload| !upload.done) {
                return false;
            }
            room.dirty = true;
            let message = match room.conversation.encrypt(&self.signer, &outgoing.signed_content) {
                Ok(message) => message,
                Err(error) => {
                    self.counters.refused += 1;
                    cx.event(Event::Refused { conversation: id, sentence: error.to_string() });
                    return false;
                }
            };
            let payload = application_payload(self.signer.device, outgoing.sequence, &message);
            for peer in &mut outgoing.peers {
                if peer.state() == OutgoingState::Waiting {
                    peer.set_state(OutgoingState::Sent);
                    peer.sent_at_ms = cx.now.0;
                }
            }
            let mut send = wire::PendingSendRecord {
                conversation: id.to_bytes(),
                content_id: outgoing.content_id.clone(),
                ..wire::PendingSendRecord::default()
            };
            self.seal_for(&recipients, Kind::Application, payload, &mut send, cx);
            self.queue_send(send, cx);
        }
        if changed {
            self.save_outgoing(id, outgoing, cx);
        }
        true
    }

    /// Seals one payload for each recipient; what does not fit becomes one blob for all.
    pub(super) fn seal_for(
        &mut self,
        recipients: &[Recipient],
        kind: Kind,
        payload: Vec<u8>,
        send: &mut wire::PendingSendRecord,
        cx: &mut Cx<'_>,
    ) {
        let payload = if envelope::fits(payload.len()) {
            Payload::Inline(payload)
        } else {
            // Bounds on contents, logs and welcomes keep this below OVERFLOW_BYTES_MAX.
            let Ok((pointer, stored)) = encrypt_bytes(&payload, &mut cx.rng) else { return };
            send.overflow = Some(wire::BlobUploadRecord {
                handle: cx.random16().to_vec().into(),
                read_secret: pointer.read_secret.expose().to_vec().into(),
                owner_secret: [cx.random16(), cx.random16()].concat().into(),
                size: pointer.size,
                done: false,
                inline: stored,
            });
            Payload::Pointer(pointer.to_wire())
        };
        for recipient in recipients {
            let message = MessageId::new(cx.random16());
            let address = &recipient.address;
            let sealed =
                envelope::seal(&address.sealing_key, &address.mailbox, &message, kind, &payload, &mut cx.rng);
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
    }

    pub(super) fn queue_send(&mut self, send: wire::PendingSendRecord, cx: &mut Cx<'_>) {
        let number = self.sends.last_key_value().map_or(1, |(number, _)| number.saturating_add(1));
        cx.put_message(records::number(records::SEND, number), &send);
        self.sends.insert(number, send);
    }

    /// Sends what is ready, in order within each conversation.
    pub(super) fn flush_sends(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() {
            return;
        }
        let mut blocked: BTreeSet<Bytes> = BTreeSet::new();
        let mut ready = Vec::new();
        for (number, send) in &self.sends {
            if self.session.sent.contains(number) || blocked.contains(&send.conversation) {
                continue;
            }
            let uploading = send.overflow.as_ref().is_some_and(|upload| !upload.done);
            if uploading || self.session.delayed.contains(number) {
                blocked.insert(send.conversation.clone());
                continue;
            }
            if self.session.sent.len() + ready.len() >= SENDS_IN_FLIGHT_MAX {
                break;
            }
            let frame = wire::Send {
                deliveries: send.deliveries.clone(),
                commit: send.commit.clone(),
                generation: self.generation,
            };
            ready.push((*number, frame));
        }
        for (number, frame) in ready {
            self.session.sent.insert(number);
            self.request(Request::Send(number), ClientBody::Send(frame), cx);
        }
    }

    pub(super) fn send_answered(&mut self, number: u64, result: wire::SendResult, cx: &mut Cx<'_>) {
        self.session.sent.remove(&number);
        let Some(mut send) = self.sends.remove(&number) else { return };
        if send.commit.is_some() {
            match result.commit {
                Some(answer) if answer.mine => {
                    self.commit_won(&send, cx);
                    send.commit = None;
                    send.statements.clear();
                }
                Some(answer) => {
                    cx.erase(records::number(records::SEND, number));
                    self.discard_overflow(&send, cx);
                    self.commit_lost(&send, &answer.winner, cx);
                    return;
                }
                None => {
                    self.delay_send(number, send, 0, cx);
                    return;
                }
            }
        }
        if result.recipients.len() != send.deliveries.len() {
            self.delay_send(number, send, 0, cx);
            return;
        }
        let mut again = wire::PendingSendRecord { deliveries: vec![], devices: vec![], ..send.clone() };
        let mut wait = 0;
        for ((delivery, device), answer) in send.deliveries.iter().zip(&send.devices).zip(&result.recipients) {
            let Ok(device_id) = DeviceId::try_from(device) else { continue };
            let refused = match answer.status() {
                RecipientStatus::Ok => {
                    self.mark(&send, device, OutgoingState::Sent, OutgoingState::Stored, cx);
                    continue;
                }
                RecipientStatus::Revoked => "its grant was revoked or has expired",
                RecipientStatus::Gone => "its mailbox is gone",
                RecipientStatus::Full => "its mailbox is full; it is tried again",
                RecipientStatus::SlowDown | RecipientStatus::Unspecified => "",
            };
            if !refused.is_empty() {
                cx.event(Event::RecipientRefused { device: device_id, sentence: refused.to_owned() });
            }
            if matches!(answer.status(), RecipientStatus::Revoked | RecipientStatus::Gone) {
                self.mark(&send, device, OutgoingState::Sent, OutgoingState::Failed, cx);
            } else {
                wait = wait.max(u64::from(answer.retry_after_ms));
                again.deliveries.push(delivery.clone());
                again.devices.push(device.clone());
            }
        }
        if again.deliveries.is_empty() {
            cx.erase(records::number(records::SEND, number));
            self.retire_overflow(&send, cx);
        } else {
            self.delay_send(number, again, wait, cx);
        }
    }

    fn delay_send(&mut self, number: u64, send: wire::PendingSendRecord, wait_ms: u64, cx: &mut Cx<'_>) {
        cx.put_message(records::number(records::SEND, number), &send);
        self.sends.insert(number, send);
        self.session.delayed.insert(number);
        self.retry_later(wait_ms, cx);
    }

    fn mark(&mut self, send: &wire::PendingSendRecord, device: &Bytes, from: OutgoingState, to: OutgoingState, cx: &mut Cx<'_>) {
        let Some(key) = self.outgoing_of(send) else { return };
        let Some(mut outgoing) = self.outbox.remove(&key) else { return };
        for peer in outgoing.peers.iter_mut().filter(|peer| peer.device == *device) {
            if peer.state() == from {
                peer.set_state(to);
            }
        }
        self.put_back(key.0, outgoing, cx);
    }

    fn outgoing_of(&self, send: &wire::PendingSendRecord) -> Option<(ConversationId, u64)> {
        if send.content_id.is_empty() {
            return None;
        }
        let id = ConversationId::try_from(&send.conversation).ok()?;
        let found = self.outbox.range((id, 0)..=(id, u64::MAX)).find(|(_, outgoing)| outgoing.content_id == send.content_id);
        found.map(|(key, _)| *key)
    }

    /// Keeps a content that still has to reach somebody, or lets it go.
    pub(super) fn put_back(&mut self, id: ConversationId, outgoing: wire::OutgoingRecord, cx: &mut Cx<'_>) {
        if is_done(&outgoing) {
            self.finish_outgoing(id, &outgoing, cx);
        } else {
            self.save_outgoing(id, &outgoing, cx);
            self.outbox.insert((id, outgoing.sequence), outgoing);
        }
    }

    fn finish_outgoing(&mut self, id: ConversationId, outgoing: &wire::OutgoingRecord, cx: &mut Cx<'_>) {
        cx.erase(records::outgoing(id, outgoing.sequence));
        if let Some(upload) = &outgoing.attachment {
            self.delete_blob(upload, cx);
        }
        self.collect_content(&outgoing.content_id, cx);
    }

    /// What has not been confirmed for long is sent again; what is too old visibly expires.
    pub(super) fn expire_outbox(&mut self, cx: &mut Cx<'_>) {
        let today = cx.now.day().0;
        let keys: Vec<_> = self.outbox.keys().copied().collect();
        for key in keys {
            let Some(mut outgoing) = self.outbox.remove(&key) else { continue };
            let expired = outgoing.keep_until_day < today;
            let mut changed = false;
            for peer in &mut outgoing.peers {
                let open = matches!(peer.state(), OutgoingState::Waiting | OutgoingState::Sent | OutgoingState::Stored);
                if open && expired {
                    peer.set_state(OutgoingState::Failed);
                    changed = true;
                    let ids = ContentId::try_from(&outgoing.content_id).ok().zip(DeviceId::try_from(&peer.device).ok());
                    if let Some((content, device)) = ids {
                        let sentence = "it was not fetched in time".to_owned();
                        cx.event(Event::Undelivered { content, device, sentence });
                    }
                } else if peer.state() == OutgoingState::Stored && peer.sent_at_ms.saturating_add(REPEAT_MS) <= cx.now.0 {
                    peer.set_state(OutgoingState::Waiting);
                    changed = true;
                } else if peer.state() == OutgoingState::Confirmed && expired {
                    peer.set_state(OutgoingState::Failed);
                    changed = true;
                }
            }
            if changed {
                self.put_back(key.0, outgoing, cx);
            } else {
                self.outbox.insert(key, outgoing);
            }
        }
    }

    /// Devices that left get nothing more.
    pub(super) fn forget_recipient(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        let keys: Vec<_> = self.outbox.range((id, 0)..=(id, u64::MAX)).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(mut outgoing) = self.outbox.remove(&key) else { continue };
            for peer in outgoing.peers.iter_mut().filter(|peer| peer.device.as_ref() == device.as_bytes()) {
                if peer.state() != OutgoingState::Fetched {
                    peer.set_state(OutgoingState::Failed);
                }
            }
            self.put_back(id, outgoing, cx);
        }
    }

}
