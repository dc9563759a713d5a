//! What is written: kept as content until every device has confirmed it, encrypted only
//! while attached and caught up, and again for whom it did not reach.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::contents::ContentKey;
use super::device::{Engine, keep_until};
use super::errors::CommandError;
use super::inbox::application_payload;
use super::io::{Event, OutgoingBlob};
use super::records;
use super::sends::Recipient;
use super::state::Cx;
use crate::content::{Body, Content};
use crate::envelope::Kind;
use crate::ids::{ContentId, ConversationId, DeviceId};
use crate::limits;
use crate::wire::{self, OutgoingState};

/// Contents that may wait on a device that is offline.
const OUTBOX_MAX: usize = 10_000;
/// The last content that the relay took but a device has not confirmed is sent again after
/// this: if it arrives, it shows what else is missing.
const REPEAT_MS: u64 = 6 * 3_600_000;
/// A device that speaks so long after something was sent to it should have confirmed it.
pub(super) const ANSWER_MS: u64 = 60_000;

/// Whether every device has it, or never will.
pub(super) fn is_confirmed(outgoing: &wire::OutgoingRecord) -> bool {
    outgoing.peers.iter().all(|peer| {
        matches!(
            peer.state(),
            OutgoingState::Confirmed | OutgoingState::Fetched | OutgoingState::Failed
        )
    })
}

fn is_done(outgoing: &wire::OutgoingRecord) -> bool {
    is_confirmed(outgoing)
        && (outgoing.attachment.is_none()
            || outgoing
                .peers
                .iter()
                .all(|peer| matches!(peer.state(), OutgoingState::Fetched | OutgoingState::Failed)))
}

const fn is_open(state: OutgoingState) -> bool {
    matches!(
        state,
        OutgoingState::Waiting | OutgoingState::Sent | OutgoingState::Stored
    )
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
        // What the pointer in the content names is what goes up.
        let named = body
            .attachment()
            .map(|pointer| (&pointer.read_secret, pointer.size));
        if named != blob.as_ref().map(|blob| (&blob.read_secret, blob.size)) {
            return Err(CommandError::Blob);
        }
        self.check_target(id, &body, reply_to)?;
        let device = self.signer.device;
        let room = self
            .rooms
            .get_mut(&id)
            .ok_or(CommandError::NoConversation)?;
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
            .devices()
            .into_iter()
            .filter(|other| *other != device)
            .map(|other| wire::OutgoingPeer {
                device: other.to_bytes(),
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
                .is_some_and(|room| room.synced && room.conversation.is_active());
            if !ready || !self.encrypt_waiting(key, cx) {
                blocked.insert(id);
            }
        }
    }

    /// False when this content has to wait, and with it what this device wrote after it.
    fn encrypt_waiting(&mut self, key: ContentKey, cx: &mut Cx<'_>) -> bool {
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
        let Some(recipients) = self.waiting_recipients(key, outgoing) else {
            return true;
        };
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

    /// For whom a content waits, by where they begin; devices that left get nothing more.
    fn waiting_recipients(
        &self,
        key: ContentKey,
        outgoing: &mut wire::OutgoingRecord,
    ) -> Option<BTreeMap<u64, Vec<Recipient>>> {
        let room = self.rooms.get(&key.0)?;
        let mut recipients: BTreeMap<u64, Vec<Recipient>> = BTreeMap::new();
        for peer in outgoing
            .peers
            .iter_mut()
            .filter(|peer| peer.state() == OutgoingState::Waiting)
        {
            let leaf = DeviceId::try_from(&peer.device)
                .ok()
                .and_then(|device| room.conversation.leaf(device));
            match leaf {
                Some(leaf) => {
                    let start = self.start_for(key, leaf.device, &peer.device);
                    let recipient = Recipient {
                        device: leaf.device,
                        address: leaf.address,
                    };
                    recipients.entry(start).or_default().push(recipient);
                }
                None => peer.set_state(OutgoingState::Failed),
            }
        }
        Some(recipients)
    }

    /// The first content that a device will ever get of this one; 0 when it knows, because it
    /// has confirmed something.
    fn start_for(&self, key: ContentKey, device: DeviceId, bytes: &Bytes) -> u64 {
        let peer = self
            .rooms
            .get(&key.0)
            .and_then(|room| room.peers.get(&device));
        if peer.is_some_and(|peer| peer.confirmed_through > 0) {
            return 0;
        }
        let meant = |outgoing: &wire::OutgoingRecord| {
            outgoing
                .peers
                .iter()
                .any(|peer| peer.device == *bytes && is_open(peer.state()))
        };
        let first = self
            .outbox
            .from(key.0, 0)
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
            .filter(|room| room.partial_generations >= limits::UNCONFIRMED_GENERATIONS_MAX)
            .map(super::state::Room::id)
            .collect();
        for id in worn {
            if let Some(room) = self.rooms.get_mut(&id) {
                room.partial_generations = 0;
            }
            self.renew(id, cx);
        }
    }

    /// Keeps a content that still has to reach somebody, or lets it go.
    pub(super) fn put_back(
        &mut self,
        key: ContentKey,
        outgoing: wire::OutgoingRecord,
        cx: &mut Cx<'_>,
    ) {
        let record = records::outgoing(key.0, key.1);
        if is_done(&outgoing) {
            cx.erase(record);
            if let Some(upload) = &outgoing.attachment {
                self.delete_blob(upload, cx);
            }
            self.collect_content(&outgoing.content_id, cx);
        } else {
            cx.put_message(record, &outgoing);
            self.outbox.insert(key, outgoing);
        }
    }

    /// Changes what is known of a content's recipients; `change` says whether it did.
    pub(super) fn change_peers(
        &mut self,
        key: ContentKey,
        cx: &mut Cx<'_>,
        mut change: impl FnMut(&mut wire::OutgoingPeer) -> bool,
    ) {
        let Some(mut outgoing) = self.outbox.remove(&key) else {
            return;
        };
        let mut changed = false;
        for peer in &mut outgoing.peers {
            changed |= change(peer);
        }
        if changed {
            self.put_back(key, outgoing, cx);
        } else {
            self.outbox.insert(key, outgoing);
        }
    }

    /// The kept contents are encrypted again, for the one who lacks them.
    pub(super) fn send_again(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        range: core::ops::RangeInclusive<u64>,
        sent_before_ms: u64,
        cx: &mut Cx<'_>,
    ) {
        let lacks = |peer: &wire::OutgoingPeer| {
            peer.device.as_ref() == device.as_bytes()
                && peer.state() == OutgoingState::Stored
                && peer.sent_at_ms <= sent_before_ms
        };
        let (first, last) = (*range.start(), *range.end());
        let found = self
            .outbox
            .from(id, first)
            .take_while(|((_, sequence), _)| *sequence <= last);
        let keys: Vec<ContentKey> = found
            .filter(|(_, outgoing)| outgoing.peers.iter().any(lacks))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.change_peers(key, cx, |peer| {
                let again = lacks(peer);
                if again {
                    peer.set_state(OutgoingState::Waiting);
                }
                again
            });
        }
    }

    /// What is too old visibly expires; the last that a device has not confirmed for long is
    /// sent again.
    pub(super) fn expire_outbox(&mut self, cx: &mut Cx<'_>) {
        let today = cx.now.day().0;
        let mut last = BTreeSet::new();
        let mut due = Vec::new();
        for (key, outgoing) in self.outbox.iter().rev() {
            if outgoing.keep_until_day < today {
                due.push((*key, None));
                continue;
            }
            for peer in outgoing.peers.iter().filter(|peer| is_open(peer.state())) {
                let is_last = last.insert((key.0, peer.device.clone()));
                let old = peer.sent_at_ms.saturating_add(REPEAT_MS) <= cx.now.0;
                if is_last && old && peer.state() == OutgoingState::Stored {
                    due.push((*key, Some(peer.device.clone())));
                }
            }
        }
        for (key, device) in due {
            match device {
                Some(device) => self.change_peers(key, cx, |peer| {
                    let again = peer.device == device && peer.state() == OutgoingState::Stored;
                    if again {
                        peer.set_state(OutgoingState::Waiting);
                    }
                    again
                }),
                None => self.fail(key, "it was not fetched in time", |_| true, cx),
            }
        }
    }

    /// A content does not go to some devices any more; who had not got it is named.
    pub(super) fn fail(
        &mut self,
        key: ContentKey,
        sentence: &str,
        whom: impl Fn(&wire::OutgoingPeer) -> bool,
        cx: &mut Cx<'_>,
    ) {
        let content = self
            .outbox
            .get(&key)
            .and_then(|outgoing| ContentId::try_from(&outgoing.content_id).ok());
        let mut named = Vec::new();
        self.change_peers(key, cx, |peer| {
            let gone = !matches!(peer.state(), OutgoingState::Fetched | OutgoingState::Failed)
                && whom(peer);
            if gone {
                if is_open(peer.state()) {
                    named.push(peer.device.clone());
                }
                peer.set_state(OutgoingState::Failed);
            }
            gone
        });
        for device in named {
            if let Some((content, device)) = content.zip(DeviceId::try_from(&device).ok()) {
                cx.event(Event::Undelivered {
                    content,
                    device,
                    sentence: sentence.to_owned(),
                });
            }
        }
    }

    /// Contents of a conversation do not go to these devices any more.
    pub(super) fn fail_all(
        &mut self,
        id: ConversationId,
        sentence: &str,
        whom: impl Fn(&wire::OutgoingPeer) -> bool,
        cx: &mut Cx<'_>,
    ) {
        let keys: Vec<ContentKey> = self.outbox.from(id, 0).map(|(key, _)| *key).collect();
        for key in keys {
            self.fail(key, sentence, &whom, cx);
        }
    }

    /// The bytes of an attachment are gone: in the content's place, which its readers wait
    /// for, goes that it was taken back.
    pub(super) fn take_back(&mut self, key: ContentKey, cx: &mut Cx<'_>) {
        let Some(outgoing) = self.outbox.get(&key) else {
            return;
        };
        let Ok(target) = ContentId::try_from(&outgoing.content_id) else {
            return;
        };
        let devices: Vec<Bytes> = outgoing
            .peers
            .iter()
            .map(|peer| peer.device.clone())
            .collect();
        let content = Content {
            id: ContentId::new(cx.random16()),
            conversation: key.0,
            sender: self.signer.device,
            sequence: key.1,
            sent_at: cx.now,
            keep_until: keep_until(cx.now),
            disappear_seconds: 0,
            reply_to: None,
            body: Body::Delete { target },
        };
        let Some(mut outgoing) = self.outbox.remove(&key) else {
            return;
        };
        outgoing.signed_content = content.sign(&self.signer.key).into();
        outgoing.content_id = content.id.to_bytes();
        if let Some(upload) = outgoing.attachment.take() {
            self.delete_blob(&upload, cx);
        }
        self.put_back(key, outgoing, cx);
        self.strip(key.0, target, cx);
        for device in devices
            .iter()
            .filter_map(|device| DeviceId::try_from(device).ok())
        {
            let sentence = "its attachment is gone from this device".to_owned();
            cx.event(Event::Undelivered {
                content: target,
                device,
                sentence,
            });
        }
    }
}
