//! One to one, outside the ratchet: confirmations, requests to send again, key packages.

use prost::Message;

use super::device::{CommandError, Engine};
use super::io::Event;
use super::outbox::Recipient;
use super::records;
use super::state::Cx;
use crate::conversation::{check_key_package, make_key_package};
use crate::day::Timestamp;
use crate::envelope::Kind;
use crate::ids::{ContentId, ConversationId, DeviceId};
use crate::labels;
use crate::primitives::aead;
use crate::wire::{self, OutgoingState, client_frame::Body as ClientBody};

/// Confirmations of this long are said at once.
const BATCH_MS: u64 = 50;
/// Contents one request may ask for again.
const RESEND_MAX: u64 = 1_000;
/// Key packages kept of one device.
const PEER_KEY_PACKAGES_MAX: usize = 8;
/// Key packages given to a family device when it comes in.
const KEY_PACKAGES_GIVEN: u64 = 2;
/// Scope of the addresses in key packages: their conversation is not known yet.
const NO_CONVERSATION: ConversationId = ConversationId::new([0; 16]);
/// A signal's padded plaintext, so that all look alike.
const SIGNAL_PLAINTEXT_BYTES: usize = 96;

impl Engine {
    /// This device owes `device` a confirmation.
    pub(super) fn confirm(&mut self, id: ConversationId, device: DeviceId, cx: &Cx<'_>) {
        if let Some(room) = self.rooms.get_mut(&id) {
            room.peer(device).confirmation_due = true;
            self.confirm_at.get_or_insert(cx.now.plus_ms(BATCH_MS));
        }
    }

    pub(super) fn resume_confirmations(&mut self) {
        let due = self.rooms.values().flat_map(|room| room.peers.values()).any(|peer| peer.confirmation_due);
        if due {
            self.confirm_at = Some(Timestamp(0));
        }
    }

    pub(super) fn flush_confirmations(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || self.confirm_at.is_none_or(|at| at > cx.now) {
            return;
        }
        self.confirm_at = None;
        let mut due = Vec::new();
        for (id, room) in &self.rooms {
            let peers = room.peers.iter().filter(|(_, peer)| peer.confirmation_due);
            due.extend(peers.map(|(device, _)| (*id, *device)));
        }
        for (id, device) in due {
            let missing = self.missing(id, device);
            let asked = self.resend_wanted.get(&(id, device)).is_some_and(|at| *at <= cx.now);
            let fetched = self.fetched_contents.remove(&(id, device)).unwrap_or_default();
            let Some(room) = self.rooms.get_mut(&id) else { continue };
            let peer = room.peer(device);
            peer.confirmation_due = false;
            let confirmation = wire::Confirmation {
                from: peer.first_sequence_seen,
                delivered_through: peer.delivered_through,
                read_through: peer.read_through,
                fetched: fetched.into_iter().map(ContentId::to_bytes).collect(),
            };
            let direct = wire::Direct {
                confirmation: Some(confirmation),
                resend: missing.filter(|_| asked).into_iter().collect(),
                ..wire::Direct::default()
            };
            self.send_direct(id, device, direct, cx);
        }
    }

    fn send_direct(&mut self, id: ConversationId, device: DeviceId, direct: wire::Direct, cx: &mut Cx<'_>) {
        let Some(leaf) = self.rooms.get(&id).and_then(|room| room.conversation.leaf(device)) else { return };
        let direct = wire::Direct {
            sender_device: self.signer.device.to_bytes(),
            recipient_device: device.to_bytes(),
            conversation: id.to_bytes(),
            ..direct
        }
        .encode_to_vec();
        let signature = self.signer.key.sign(labels::SIGN_DIRECT, &direct).to_vec().into();
        let payload = wire::SignedDirect { direct: direct.into(), signature }.encode_to_vec();
        let mut send = wire::PendingSendRecord { conversation: id.to_bytes(), ..wire::PendingSendRecord::default() };
        self.seal_for(&[Recipient { device, address: leaf.address }], Kind::Direct, payload, &mut send, cx);
        self.queue_send(send, cx);
    }

    pub(super) fn direct(&mut self, id: ConversationId, payload: &[u8], cx: &mut Cx<'_>) {
        let Some((device, direct)) = self.checked_direct(id, payload) else {
            self.unreadable("a one-to-one message is damaged or not signed by its sender", cx);
            return;
        };
        if let Some(confirmation) = &direct.confirmation {
            self.confirmed(id, device, confirmation, cx);
        }
        for range in direct.resend.iter().take(8) {
            self.send_again(id, device, range, cx);
        }
        if !direct.key_packages.is_empty() {
            self.take_key_packages(device, &direct.key_packages, cx);
        }
        if direct.wants_key_packages {
            self.give_key_packages(id, device, 1, cx);
        }
        self.collect_device(device, cx);
    }

    fn checked_direct(&self, id: ConversationId, payload: &[u8]) -> Option<(DeviceId, wire::Direct)> {
        let signed = wire::SignedDirect::decode(payload).ok()?;
        let direct = wire::Direct::decode(signed.direct.clone()).ok()?;
        let device = DeviceId::try_from(&direct.sender_device).ok()?;
        let leaf = self.rooms.get(&id)?.conversation.leaf(device)?;
        leaf.signature_key.verify(labels::SIGN_DIRECT, &signed.direct, &signed.signature).ok()?;
        let mine = direct.recipient_device.as_ref() == self.signer.device.as_bytes();
        (mine && direct.conversation.as_ref() == id.as_bytes()).then_some((device, direct))
    }

    fn confirmed(&mut self, id: ConversationId, device: DeviceId, confirmation: &wire::Confirmation, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let last = room.next_sequence.saturating_sub(1);
        let delivered = confirmation.delivered_through.min(last);
        let read = confirmation.read_through.min(delivered);
        let peer = room.peer(device);
        let (first, old_delivered, old_read) = (peer.first_sequence_sent, peer.confirmed_through, peer.read_through_by_peer);
        peer.confirmed_through = delivered.max(old_delivered);
        peer.read_through_by_peer = read.max(old_read);
        let from = confirmation.from.max(1);
        for sequence in old_delivered.max(from.saturating_sub(1)).saturating_add(1)..=delivered {
            self.peer_has(id, sequence, device, OutgoingState::Confirmed, cx);
            self.receipt(id, sequence, device, 1, cx);
        }
        for sequence in old_read.saturating_add(1)..=read {
            self.receipt(id, sequence, device, 2, cx);
        }
        // What it was meant to get before the first it saw, it never got.
        if confirmation.from > 0 && first < confirmation.from {
            let range = wire::SequenceRange { from: first, through: confirmation.from.saturating_sub(1) };
            self.send_again(id, device, &range, cx);
        }
        for content in &confirmation.fetched {
            let found = self.outbox.iter().find(|((at, _), outgoing)| *at == id && outgoing.content_id == *content);
            if let Some(((_, sequence), _)) = found {
                let sequence = *sequence;
                self.peer_has(id, sequence, device, OutgoingState::Fetched, cx);
                self.receipt(id, sequence, device, 3, cx);
            }
        }
    }

    fn peer_has(&mut self, id: ConversationId, sequence: u64, device: DeviceId, state: OutgoingState, cx: &mut Cx<'_>) {
        let Some(mut outgoing) = self.outbox.remove(&(id, sequence)) else { return };
        for peer in outgoing.peers.iter_mut().filter(|peer| peer.device.as_ref() == device.as_bytes()) {
            if peer.state() != OutgoingState::Fetched {
                peer.set_state(state);
            }
        }
        self.put_back(id, outgoing, cx);
    }

    fn receipt(&mut self, id: ConversationId, sequence: u64, device: DeviceId, level: u8, cx: &mut Cx<'_>) {
        let Some(content) = self.own_contents.get(&(id, sequence)).copied() else { return };
        cx.put(records::receipt(id, content, device), vec![level]);
        cx.event(match level {
            1 => Event::Delivered { content, device },
            2 => Event::Read { content, device },
            _ => Event::Fetched { content, device },
        });
    }

    /// The kept content is encrypted again, for the one who lacks it.
    fn send_again(&mut self, id: ConversationId, device: DeviceId, range: &wire::SequenceRange, cx: &mut Cx<'_>) {
        let through = range.through.min(range.from.saturating_add(RESEND_MAX));
        if range.from > through {
            return;
        }
        let keys: Vec<_> = self.outbox.range((id, range.from)..=(id, through)).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(mut outgoing) = self.outbox.remove(&key) else { continue };
            for peer in outgoing.peers.iter_mut().filter(|peer| peer.device.as_ref() == device.as_bytes()) {
                if peer.state() == OutgoingState::Stored {
                    peer.set_state(OutgoingState::Waiting);
                }
            }
            self.put_back(id, outgoing, cx);
        }
    }

    // ---- key packages

    /// Gives a family device key packages for its use alone.
    pub(super) fn offer_key_packages(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        let given = self.rooms.get_mut(&id).map_or(KEY_PACKAGES_GIVEN, |room| room.peer(device).key_packages_sent);
        if given < KEY_PACKAGES_GIVEN {
            self.give_key_packages(id, device, KEY_PACKAGES_GIVEN - given, cx);
        }
    }

    pub(super) fn give_key_packages(&mut self, id: ConversationId, device: DeviceId, count: u64, cx: &mut Cx<'_>) {
        let mut public = Vec::new();
        for _ in 0..count.min(KEY_PACKAGES_GIVEN) {
            if let Ok(bytes) = self.new_key_package(Some(device), cx) {
                public.push(bytes.into());
            }
        }
        if let Some(room) = self.rooms.get_mut(&id) {
            room.peer(device).key_packages_sent += public.len() as u64;
        }
        self.send_direct(id, device, wire::Direct { key_packages: public, ..wire::Direct::default() }, cx);
    }

    pub(super) fn new_key_package(&mut self, for_device: Option<DeviceId>, cx: &mut Cx<'_>) -> Result<Vec<u8>, CommandError> {
        let (own, address) = self.draw_address(NO_CONVERSATION, cx);
        let made = make_key_package(&self.crypto, &self.signer, own, &address)?;
        let record = wire::KeyPackageRecord {
            for_device: for_device.map(DeviceId::to_bytes).unwrap_or_default(),
            address: Some(made.address.to_wire()),
            storage: made
                .storage
                .into_iter()
                .map(|(key, value)| wire::StorageEntry { key: key.into(), value: value.into() })
                .collect(),
        };
        let id = cx.random16().to_vec();
        cx.put_message(records::state(records::KEY_PACKAGE, &[&id]), &record);
        self.key_packages.insert(id, record);
        Ok(made.public)
    }

    fn take_key_packages(&mut self, device: DeviceId, packages: &[bytes::Bytes], cx: &mut Cx<'_>) {
        for package in packages.iter().take(PEER_KEY_PACKAGES_MAX) {
            let kept = self.peer_key_packages.values().filter(|kept| kept.device.as_ref() == device.as_bytes()).count();
            if kept >= PEER_KEY_PACKAGES_MAX {
                return;
            }
            match check_key_package(&self.crypto, package) {
                Ok(checked) if checked.device == device => {
                    let record =
                        wire::PeerKeyPackageRecord { device: device.to_bytes(), key_package: package.clone() };
                    let id = cx.random16().to_vec();
                    cx.put_message(records::state(records::PEER_KEY_PACKAGE, &[&id]), &record);
                    self.peer_key_packages.insert(id, record);
                }
                _ => self.unreadable("a key package is damaged or of another device", cx),
            }
        }
    }

    // ---- what a person does

    pub(super) fn mark_read(&mut self, id: ConversationId, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let room = self.rooms.get_mut(&id).ok_or(CommandError::NoConversation)?;
        let mut due = Vec::new();
        for (device, peer) in &mut room.peers {
            if peer.read_through < peer.delivered_through {
                peer.read_through = peer.delivered_through;
                due.push(*device);
            }
        }
        for device in due {
            self.confirm(id, device, cx);
        }
        Ok(())
    }

    pub(super) fn attachment_fetched(&mut self, content: ContentId, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let entry = self.index.get(&content).ok_or(CommandError::NoTarget)?;
        let id = ConversationId::try_from(&entry.conversation).map_err(|_| CommandError::NoConversation)?;
        let device = DeviceId::try_from(&entry.sender_device).map_err(|_| CommandError::NoMember)?;
        if !entry.mine {
            self.fetched_contents.entry((id, device)).or_default().push(content);
            self.confirm(id, device, cx);
        }
        Ok(())
    }

    pub(super) fn typing(&mut self, id: ConversationId, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        if !self.session.is_attached() {
            return Ok(());
        }
        let key = room.conversation.signal_key()?;
        let mut plain = wire::SignalContent {
            conversation: id.to_bytes(),
            sender_device: self.signer.device.to_bytes(),
            typing: true,
        }
        .encode_length_delimited_to_vec();
        plain.resize(SIGNAL_PLAINTEXT_BYTES.max(plain.len()), 0);
        let mut deliveries = Vec::new();
        for leaf in room.conversation.leaves().into_iter().filter(|leaf| leaf.device != self.signer.device) {
            let associated = [labels::AEAD_SIGNAL, leaf.address.mailbox.as_bytes()].concat();
            deliveries.push(wire::SignalDelivery {
                mailbox: leaf.address.mailbox.to_bytes(),
                grant: leaf.address.grant.as_bytes().to_vec().into(),
                body: aead::seal(&key, &associated, &plain, &mut cx.rng).into(),
            });
        }
        cx.out.frames.push(wire::ClientFrame {
            request_id: 0,
            critical: vec![],
            body: Some(ClientBody::Signal(wire::Signal { deliveries })),
        });
        Ok(())
    }

    /// A signal that opens under some conversation's key is shown; any other is nothing.
    pub(super) fn signal(&mut self, body: &[u8], cx: &mut Cx<'_>) {
        let associated = [labels::AEAD_SIGNAL, self.mailbox.as_bytes()].concat();
        for (id, room) in &self.rooms {
            let Ok(key) = room.conversation.signal_key() else { continue };
            let Ok(plain) = aead::open(&key, &associated, body) else { continue };
            let Ok(signal) = wire::SignalContent::decode_length_delimited(plain.as_slice()) else { return };
            let member = DeviceId::try_from(&signal.sender_device)
                .ok()
                .filter(|device| room.conversation.leaf(*device).is_some())
                .and_then(|device| self.certificate_member(device));
            if let Some(member) = member.filter(|_| signal.typing && signal.conversation.as_ref() == id.as_bytes()) {
                cx.event(Event::Typing { conversation: *id, member });
            }
            return;
        }
    }
}
