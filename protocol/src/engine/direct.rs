//! One to one, outside the ratchet: confirmations and requests to send again.

use bytes::Bytes;
use prost::Message;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::outgoing::ANSWER_MS;
use super::records;
use super::sends::Recipient;
use super::state::Cx;
use crate::conversation::Address;
use crate::day::Timestamp;
use crate::envelope::Kind;
use crate::faults::{Fault, planted};
use crate::ids::{ContentId, ConversationId, DeviceId};
use crate::labels;
use crate::wire::{self, OutgoingState};

/// Confirmations of this long are said at once.
const BATCH_MS: u64 = 50;
/// Ranges that one request may ask for again.
const RANGES_MAX: usize = 8;
/// Contents that one range may ask for again.
const RESEND_MAX: u64 = 1_000;
/// What was sent so recently is not sent again, however often it is asked for.
const RESEND_AGAIN_MS: u64 = 1_000;
/// Fetched attachments that one confirmation names: below what an overflow holds.
const FETCHED_MAX: usize = 1_000;

impl Engine {
    /// This device owes `device` a confirmation.
    pub(super) fn confirm(&mut self, id: ConversationId, device: DeviceId, cx: &Cx<'_>) {
        if let Some(room) = self.rooms.get_mut(&id) {
            room.peer(device).confirmation_due = true;
            self.confirm_at.get_or_insert(cx.now.plus_ms(BATCH_MS));
        }
    }

    /// Something may be due from before.
    pub(super) fn resume_confirmations(&mut self) {
        let due = self
            .rooms
            .values()
            .flat_map(|room| room.peers.values())
            .any(|peer| peer.confirmation_due);
        if due || !self.asks.is_empty() {
            self.confirm_at = Some(Timestamp(0));
        }
    }

    /// Says what is due, once everything that waited is read: before that, what a peer would
    /// take for missing may be on its way.
    pub(super) fn flush_confirmations(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        let now = cx.now;
        let confirm = self.confirm_at.is_some_and(|at| at <= now);
        let mut due: std::collections::BTreeSet<(ConversationId, DeviceId)> = self
            .asks
            .iter()
            .filter(|(_, ask)| ask.at() <= now)
            .map(|(key, _)| *key)
            .collect();
        if confirm {
            self.confirm_at = None;
            for (id, room) in &self.rooms {
                let peers = room.peers.iter().filter(|(_, peer)| peer.confirmation_due);
                due.extend(peers.map(|(device, _)| (*id, *device)));
            }
        }
        for (id, device) in due {
            self.say_confirmation(id, device, cx);
        }
    }

    fn say_confirmation(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        let holes = self.holes_to_ask(id, device, cx.now);
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let mailbox = room
            .conversation
            .leaf(device)
            .map(|leaf| leaf.address.mailbox.to_bytes());
        let Some(mailbox) = mailbox.filter(|_| room.conversation.is_active()) else {
            // Nobody is there to be told.
            room.peer(device).confirmation_due = false;
            self.asks.remove(&(id, device));
            return;
        };
        if !self.session.rests.may_try(&mailbox) {
            // Stays due until its mailbox takes something again.
            return;
        }
        let mut fetched = self
            .fetched_contents
            .remove(&(id, device))
            .unwrap_or_default();
        let later = fetched.split_off(fetched.len().min(FETCHED_MAX));
        for content in &fetched {
            cx.erase(records::fetched(id, device, *content));
        }
        let peer = room.peer(device);
        peer.confirmation_due = !later.is_empty();
        let confirmation = wire::Confirmation {
            from: peer.first_sequence_seen,
            delivered_through: peer.delivered_through,
            read_through: peer.read_through,
            fetched: fetched.into_iter().map(ContentId::to_bytes).collect(),
        };
        if !later.is_empty() {
            self.fetched_contents.insert((id, device), later);
            self.confirm_at = Some(cx.now.plus_ms(BATCH_MS));
        }
        let direct = wire::Direct {
            confirmation: Some(confirmation),
            resend: holes,
            ..wire::Direct::default()
        };
        self.send_direct(id, device, direct, cx);
    }

    pub(super) fn send_direct(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        direct: wire::Direct,
        cx: &mut Cx<'_>,
    ) {
        let Some(leaf) = self
            .rooms
            .get(&id)
            .and_then(|room| room.conversation.leaf(device))
        else {
            return;
        };
        let history = direct.history_piece.is_some();
        let payload = self.signed_direct(id, device, direct);
        let send = wire::PendingSendRecord {
            conversation: id.to_bytes(),
            // What is asked for again anyway is not kept twice.
            direct: if history {
                Bytes::new()
            } else {
                payload.clone().into()
            },
            history,
            ..wire::PendingSendRecord::default()
        };
        self.queue_direct(device, leaf.address, payload, send, cx);
    }

    /// The exact bytes that go to a device, signed.
    pub(super) fn signed_direct(
        &self,
        id: ConversationId,
        device: DeviceId,
        direct: wire::Direct,
    ) -> Vec<u8> {
        let direct = wire::Direct {
            sender_device: self.signer.device.to_bytes(),
            recipient_device: device.to_bytes(),
            conversation: id.to_bytes(),
            ..direct
        }
        .encode_to_vec();
        let signature = self
            .signer
            .key
            .sign(labels::SIGN_DIRECT, &direct)
            .to_vec()
            .into();
        wire::SignedDirect {
            direct: direct.into(),
            signature,
        }
        .encode_to_vec()
    }

    fn queue_direct(
        &mut self,
        device: DeviceId,
        address: Address,
        payload: Vec<u8>,
        mut send: wire::PendingSendRecord,
        cx: &mut Cx<'_>,
    ) {
        // Bounds on what a direct carries keep it far below what overflows hold.
        if self
            .seal_for(
                &[Recipient { device, address }],
                Kind::Direct,
                payload,
                &mut send,
                cx,
            )
            .is_ok()
        {
            self.queue_send(send, cx);
        }
    }

    /// The address that a one-to-one message was sealed for is not good any more. What it
    /// confirms and asks for is said afresh: the device may be back as a new leaf, which counts
    /// its contents anew, and would take old numbers for new ones.
    pub(super) fn seal_direct_again(
        &mut self,
        send: &wire::PendingSendRecord,
        device: &Bytes,
        cx: &mut Cx<'_>,
    ) {
        let direct = wire::SignedDirect::decode(send.direct.clone())
            .and_then(|signed| wire::Direct::decode(signed.direct));
        let (Ok(id), Ok(device), Ok(mut direct)) = (
            ConversationId::try_from(&send.conversation),
            DeviceId::try_from(device),
            direct,
        ) else {
            return;
        };
        direct.resend.clear();
        if let Some(confirmation) = direct.confirmation.take() {
            for content in &confirmation.fetched {
                if let Ok(content) = ContentId::try_from(content) {
                    self.owe_fetched(id, device, content, cx);
                }
            }
            self.confirm(id, device, cx);
        }
        let says_more = !direct.key_packages.is_empty()
            || direct.wants_key_packages
            || direct.handover.is_some()
            || direct.reentry.is_some()
            || direct.history_request.is_some()
            || direct.media_request.is_some()
            || direct.media_answer.is_some();
        if says_more {
            self.send_direct(id, device, direct, cx);
        }
    }

    /// A confirmation to this device is to name an attachment that was fetched.
    fn owe_fetched(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        content: ContentId,
        cx: &mut Cx<'_>,
    ) {
        let fetched = self.fetched_contents.entry((id, device)).or_default();
        if !fetched.contains(&content) {
            fetched.push(content);
            cx.put(records::fetched(id, device, content), vec![1]);
        }
    }

    pub(super) fn direct(&mut self, id: ConversationId, payload: &[u8], cx: &mut Cx<'_>) {
        let Some((device, direct)) = self.checked_direct(id, payload) else {
            self.unreadable(
                "a one-to-one message is damaged or not signed by its sender",
                cx,
            );
            return;
        };
        if let Some(confirmation) = &direct.confirmation {
            self.confirmed(id, device, confirmation, cx);
        }
        for range in direct.resend.iter().take(RANGES_MAX) {
            let last = range.through.min(range.from.saturating_add(RESEND_MAX));
            let before = cx.now.0.saturating_sub(RESEND_AGAIN_MS);
            self.send_again(id, device, range.from..=last, before, cx);
        }
        if !direct.key_packages.is_empty() {
            self.take_key_packages(id, device, &direct.key_packages, cx);
        }
        if let Some(handover) = &direct.handover {
            self.take_handover(id, device, handover, cx);
        }
        if let Some(reentry) = &direct.reentry {
            self.reentry_asked(id, device, reentry, cx);
        }
        if direct.wants_key_packages {
            self.key_packages_wanted(id, device, cx);
        }
        if let Some(request) = direct.history_request {
            self.history_asked(id, device, request, cx);
        }
        if let Some(piece) = &direct.history_piece {
            self.history_given(id, device, piece, cx);
        }
        if let Some(request) = &direct.media_request {
            self.media_asked(id, device, request, cx);
        }
        if let Some(answer) = &direct.media_answer {
            self.media_answered(id, device, answer, cx);
        }
        // Who asks to come back speaks from a leaf that it can't use.
        if direct.reentry.is_none() {
            self.heard(id, device, cx);
        }
    }

    /// A one-to-one message for the leaf that this device had: who missed that it came back may
    /// have to come back itself, and knows no other address. Its numbers mean nothing any more.
    pub(super) fn direct_to_former(&mut self, id: ConversationId, payload: &[u8], cx: &mut Cx<'_>) {
        let asked = self.checked_direct(id, payload);
        if let Some((device, Some(reentry))) = asked.map(|(device, it)| (device, it.reentry)) {
            self.reentry_asked(id, device, &reentry, cx);
        }
    }

    /// A device speaks only after it has read its mailbox: what was put there long enough
    /// before and is not confirmed, it did not get.
    pub(super) fn heard(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        let room = self.rooms.get_mut(&id);
        if let Some(room) = room.filter(|room| {
            let peer = room.peers.get(&device);
            peer.is_some_and(|peer| peer.unheard)
        }) {
            room.peer(device).unheard = false;
            let log = self.log.as_ref();
            if log.is_some_and(|log| log.came_back(&device).is_some()) {
                // Back for good: what was lost with its guardian's former devices knew our address.
                self.replace_address(id, cx);
            }
        }
        if !self.session.is_caught_up() {
            // From the past: it says nothing about now.
            return;
        }
        self.collect_device(id, device, cx);
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let from = room
            .peers
            .get(&device)
            .map_or(1, |peer| peer.confirmed_through.saturating_add(1));
        if from < room.next_sequence {
            let before = cx.now.0.saturating_sub(ANSWER_MS);
            self.send_again(id, device, from..=u64::MAX, before, cx);
        }
    }

    /// The next epoch, when a one-to-one message names a sender that is not in this one.
    pub(super) fn next_epoch_if_stranger(&self, id: ConversationId, payload: &[u8]) -> Option<u64> {
        let signed = wire::SignedDirect::decode(payload).ok()?;
        let direct = wire::Direct::decode(signed.direct).ok()?;
        let device = DeviceId::try_from(&direct.sender_device).ok()?;
        let conversation = &self.rooms.get(&id)?.conversation;
        conversation
            .leaf(device)
            .is_none()
            .then(|| conversation.epoch().saturating_add(1))
    }

    fn checked_direct(
        &self,
        id: ConversationId,
        payload: &[u8],
    ) -> Option<(DeviceId, wire::Direct)> {
        let signed = wire::SignedDirect::decode(payload).ok()?;
        let direct = wire::Direct::decode(signed.direct.clone()).ok()?;
        let device = DeviceId::try_from(&direct.sender_device).ok()?;
        let leaf = self.rooms.get(&id)?.conversation.leaf(device)?;
        if !planted(Fault::DirectSignature) {
            leaf.signature_key
                .verify(labels::SIGN_DIRECT, &signed.direct, &signed.signature)
                .ok()?;
        }
        let mine = direct.recipient_device.as_ref() == self.signer.device.as_bytes();
        (mine && direct.conversation.as_ref() == id.as_bytes()).then_some((device, direct))
    }

    fn confirmed(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        confirmation: &wire::Confirmation,
        cx: &mut Cx<'_>,
    ) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let last = room.next_sequence.saturating_sub(1);
        let delivered = confirmation.delivered_through.min(last);
        let read = confirmation.read_through.min(delivered);
        let peer = room.peer(device);
        let (old_delivered, old_read) = (peer.confirmed_through, peer.read_through_by_peer);
        peer.confirmed_through = delivered.max(old_delivered);
        peer.read_through_by_peer = read.max(old_read);
        // It never got what came before its first.
        let before_first = confirmation.from.max(1).saturating_sub(1);
        for sequence in old_delivered.max(before_first).saturating_add(1)..=delivered {
            self.peer_has((id, sequence), device, OutgoingState::Confirmed, cx);
            self.receipt(id, sequence, device, 1, cx);
        }
        for sequence in old_read.max(before_first).saturating_add(1)..=read {
            self.receipt(id, sequence, device, 2, cx);
        }
        for content in confirmation.fetched.iter().take(FETCHED_MAX) {
            if let Some(key) = self.outbox.find(content).filter(|(of, _)| *of == id) {
                self.peer_has(key, device, OutgoingState::Fetched, cx);
                self.receipt(id, key.1, device, 3, cx);
            }
        }
    }

    fn peer_has(
        &mut self,
        key: super::contents::ContentKey,
        device: DeviceId,
        state: OutgoingState,
        cx: &mut Cx<'_>,
    ) {
        self.change_peers(key, cx, |peer| {
            let news = peer.device.as_ref() == device.as_bytes()
                && peer.state() != OutgoingState::Fetched
                && peer.state() != state;
            if news {
                peer.set_state(state);
            }
            news
        });
    }

    fn receipt(
        &mut self,
        id: ConversationId,
        sequence: u64,
        device: DeviceId,
        level: u8,
        cx: &mut Cx<'_>,
    ) {
        let Some(content) = self.own_contents.get(&(id, sequence)).copied() else {
            return;
        };
        cx.put(records::receipt(id, content, device), vec![level]);
        cx.event(match level {
            1 => Event::Delivered { content, device },
            2 => Event::Read { content, device },
            _ => Event::Fetched { content, device },
        });
    }

    // ---- what a person does

    pub(super) fn mark_read(
        &mut self,
        id: ConversationId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let unseen = self.policing.unseen(id);
        let room = self
            .rooms
            .get_mut(&id)
            .ok_or(CommandError::NoConversation)?;
        let mut due = Vec::new();
        for (device, peer) in &mut room.peers {
            let shown = unseen
                .get(device)
                .map_or(peer.delivered_through, |first| first.saturating_sub(1));
            if peer.read_through < shown {
                peer.read_through = shown;
                due.push(*device);
            }
        }
        for device in due {
            self.confirm(id, device, cx);
        }
        Ok(())
    }

    pub(super) fn attachment_fetched(
        &mut self,
        content: ContentId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let entry = self.index.get(&content).ok_or(CommandError::NoTarget)?;
        let id = ConversationId::try_from(&entry.conversation)
            .map_err(|_| CommandError::NoConversation)?;
        let device =
            DeviceId::try_from(&entry.sender_device).map_err(|_| CommandError::NoMember)?;
        if entry.past {
            // Its sender has long forgotten it; who put it up again has not.
            self.media_fetched(id, content, cx);
        } else if !entry.mine {
            self.owe_fetched(id, device, content, cx);
            self.confirm(id, device, cx);
        }
        Ok(())
    }
}
