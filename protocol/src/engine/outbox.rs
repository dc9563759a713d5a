//! What is written: kept as content until every device has confirmed it, encrypted only
//! while attached and caught up.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::contents::ContentKey;
use super::copies::pointer_of;
use super::device::{Engine, keep_until};
use super::errors::CommandError;
use super::inbox::application_payload;
use super::io::{Event, OutgoingBlob};
use super::outgoing::is_open;
use super::sends::Recipient;
use super::state::Cx;
use crate::content::{Body, Content};
use crate::envelope::Kind;
use crate::ids::{ContentId, ConversationId, DeviceId};
use crate::limits;
use crate::wire::{self, OutgoingState};

/// Contents that may wait on a device that is offline.
const OUTBOX_MAX: usize = 10_000;

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
        let member = self.member().ok_or_else(|| self.no_family())?;
        if self.outbox.len() >= OUTBOX_MAX {
            return Err(CommandError::OutboxFull(self.outbox.len()));
        }
        // What the pointer in the content names is what goes up.
        let pointer = pointer_of(&body);
        let named = pointer
            .as_ref()
            .map(|pointer| (&pointer.read_secret, pointer.size));
        if named != blob.as_ref().map(|blob| (&blob.read_secret, blob.size)) {
            return Err(CommandError::Blob);
        }
        self.check_target(id, &body, reply_to)?;
        self.check_rights(id, &body, cx)?;
        let device = self.signer.device;
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        if !room.conversation.is_active() {
            return Err(CommandError::Removed);
        }
        if !room.may_hold(&body) {
            return Err(CommandError::FamilyOnly);
        }
        self.police(id, &body, cx)?;
        let room = self
            .rooms
            .get_mut(&id)
            .ok_or(CommandError::NoConversation)?;
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
        let mut readers = room.conversation.devices();
        readers.retain(|other| *other != device);
        readers.extend(self.joining(id));
        let peers: Vec<wire::OutgoingPeer> = readers
            .into_iter()
            .map(|reader| wire::OutgoingPeer {
                device: reader.to_bytes(),
                state: OutgoingState::Waiting.into(),
                sent_at_ms: 0,
            })
            .collect();
        let signed = content.sign(&self.signer.key);
        self.apply(id, &content, member, &signed, true, cx);
        // Nobody waits for the receipts of what is not shown.
        if !matches!(content.body, Body::Control(_)) {
            self.own_contents.insert((id, content.sequence), content.id);
        }
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
            control: matches!(content.body, Body::Control(_)),
        };
        self.transfers
            .open_content((id, content.sequence), &outgoing);
        self.put_back((id, content.sequence), outgoing, cx);
        Ok(())
    }

    fn check_target(
        &self,
        id: ConversationId,
        body: &Body,
        reply_to: Option<ContentId>,
    ) -> Result<(), CommandError> {
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

    /// Encrypts what waits, in order, for whom it waits.
    pub(super) fn flush_outbox(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        let mut blocked = BTreeSet::new();
        for key in self.outbox.waiting() {
            let (id, _) = key;
            if blocked.contains(&id) {
                continue;
            }
            if self.sends_are_many() {
                break;
            }
            let ready = self
                .rooms
                .get(&id)
                .is_some_and(|room| room.synced && room.can_talk() && !room.is_silenced())
                && !self.is_forming(id)
                && self.is_in_order(id, cx);
            if !ready || !self.encrypt_waiting(key, cx) {
                blocked.insert(id);
            }
        }
    }

    /// False when this content has to wait, and with it what this device wrote after it.
    fn encrypt_waiting(&mut self, key: ContentKey, cx: &mut Cx<'_>) -> bool {
        let Some(room) = self.rooms.get(&key.0) else {
            return true;
        };
        let devices = room.conversation.devices();
        let gone = |peer: &wire::OutgoingPeer| {
            peer.state() == OutgoingState::Waiting
                && !devices
                    .iter()
                    .any(|device| peer.device.as_ref() == device.as_bytes())
        };
        self.fail(key, "it is not in the conversation", gone, cx);
        let Some(mut outgoing) = self.outbox.remove(&key) else {
            return true;
        };
        let sent = self.encrypt_for_waiting(key, &mut outgoing, cx);
        if sent {
            self.put_back(key, outgoing, cx);
        } else {
            self.outbox.insert(key, outgoing);
        }
        sent
    }

    fn encrypt_for_waiting(
        &mut self,
        key: ContentKey,
        outgoing: &mut wire::OutgoingRecord,
        cx: &mut Cx<'_>,
    ) -> bool {
        let (id, sequence) = key;
        if outgoing
            .attachment
            .as_ref()
            .is_some_and(|upload| !upload.done)
        {
            return false;
        }
        let recipients = self.waiting_recipients(key, outgoing);
        if recipients.is_empty() {
            return true;
        }
        let Some(room) = self.rooms.get_mut(&id) else {
            return true;
        };
        room.dirty = true;
        let message = match room
            .conversation
            .encrypt(&self.signer, &outgoing.signed_content)
        {
            Ok(message) => message,
            Err(error) => {
                self.counters.refused += 1;
                cx.event(Event::Refused {
                    conversation: id,
                    sentence: error.to_string(),
                });
                return false;
            }
        };
        let members = room.conversation.devices().len();
        if recipients.values().map(Vec::len).sum::<usize>() + 1 < members {
            room.partial_generations += 1;
        }
        room.sent_since_update += 1;
        // One message; who has to be told another start gets it in another send.
        for (start, recipients) in recipients {
            let payload = application_payload(self.signer.device, sequence, start, &message);
            let mut send = wire::PendingSendRecord {
                conversation: id.to_bytes(),
                content_id: outgoing.content_id.clone(),
                ..wire::PendingSendRecord::default()
            };
            // Contents are bounded far below what overflows hold.
            if self
                .seal_for(&recipients, Kind::Application, payload, &mut send, cx)
                .is_ok()
            {
                self.queue_send(send, cx);
            }
        }
        for peer in outgoing
            .peers
            .iter_mut()
            .filter(|peer| peer.state() == OutgoingState::Waiting)
        {
            peer.set_state(OutgoingState::Sent);
            peer.sent_at_ms = cx.now.0;
        }
        true
    }

    /// For whom a content waits, by where they begin.
    fn waiting_recipients(
        &self,
        key: ContentKey,
        outgoing: &wire::OutgoingRecord,
    ) -> BTreeMap<u64, Vec<Recipient>> {
        let mut recipients: BTreeMap<u64, Vec<Recipient>> = BTreeMap::new();
        let Some(room) = self.rooms.get(&key.0) else {
            return recipients;
        };
        for peer in outgoing
            .peers
            .iter()
            .filter(|peer| peer.state() == OutgoingState::Waiting)
        {
            let device = DeviceId::try_from(&peer.device).ok();
            if let Some(leaf) = device.and_then(|device| room.conversation.leaf(device)) {
                let start = self.start_for(key, leaf.device, &peer.device);
                let recipient = Recipient {
                    device: leaf.device,
                    address: leaf.address,
                };
                recipients.entry(start).or_default().push(recipient);
            }
        }
        recipients
    }

    /// The first content that a device has still to get of this one. It is told always: a new
    /// leaf does not know it, whatever its former one has confirmed, even if the relay says that
    /// again after the new one is here.
    fn start_for(&self, key: ContentKey, device: DeviceId, bytes: &Bytes) -> u64 {
        let room = self.rooms.get(&key.0);
        let confirmed = room
            .and_then(|room| room.peers.get(&device))
            .map_or(0, |peer| peer.confirmed_through);
        let meant = |outgoing: &wire::OutgoingRecord| {
            outgoing
                .peers
                .iter()
                .any(|peer| peer.device == *bytes && is_open(peer.state()))
        };
        let first = self
            .outbox
            .from(key.0, confirmed.saturating_add(1))
            .find(|(_, outgoing)| meant(outgoing))
            .map(|((_, sequence), _)| *sequence);
        first.map_or(key.1, |first| first.min(key.1))
    }

    /// When many messages went to some members only, the others' ratchets must not fall so
    /// far behind that they can't follow: a new epoch starts all ratchets afresh.
    pub(super) fn renew_ratchets(&mut self, cx: &mut Cx<'_>) {
        let worn: Vec<ConversationId> = self
            .rooms
            .values()
            .filter(|room| {
                room.partial_generations >= limits::UNCONFIRMED_GENERATIONS_MAX
                    || room.sent_since_update >= limits::MESSAGES_PER_UPDATE
            })
            .map(super::state::Room::id)
            .collect();
        for id in worn {
            if let Some(room) = self.rooms.get_mut(&id) {
                room.partial_generations = 0;
                room.sent_since_update = 0;
            }
            self.renew(id, cx);
        }
    }
}
