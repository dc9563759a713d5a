//! What a guardian does when a conversation can't go on: it is formed again under another id,
//! and what waited in the old one goes on in it (PROTOCOL §6.12).

use prost::Message as _;

use super::contents::ContentKey;
use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::outgoing::is_open;
use super::reentry::ANSWER_MS;
use super::state::{Cx, Room};
use crate::content::Content;
use crate::conversation::{ConversationKind, Parties};
use crate::ids::{ConversationId, DeviceId};
use crate::wire::{self, OutgoingState};

impl Engine {
    /// A guardian forms a conversation again whose slot is filled with something that leads
    /// nowhere, or into which nobody brings this device back: the same people under a new id;
    /// family devices first, others as their key packages come.
    ///
    /// # Errors
    /// [`CommandError::NotStuck`] while it can still be changed; [`CommandError::ComingBack`]
    /// while somebody may still bring this device back.
    pub(super) fn reform(
        &mut self,
        id: ConversationId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.guardian_of(self.device())
            .ok_or(CommandError::NotGuardian)?;
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        if !matches!(room.kind, ConversationKind::Family | ConversationKind::Room) {
            // A pass has its conversation formed by the child's device.
            return Err(CommandError::NotStuck);
        }
        if room.superseded || (room.stuck().is_none() && !room.lost) {
            return Err(CommandError::NotStuck);
        }
        let asked_at = self.session.caught_up_at;
        if room.lost && asked_at.is_none_or(|at| at.plus_ms(ANSWER_MS) > cx.now) {
            return Err(CommandError::ComingBack);
        }
        let (kind, title) = (room.kind, room.title.clone());
        let devices = room.conversation.devices();
        let log = self.log.clone().ok_or(CommandError::NoFamily)?;
        let new = ConversationId::new(cx.random16());
        let mut used = Vec::new();
        let mut key_packages = Vec::new();
        for device in devices
            .into_iter()
            .filter(|device| *device != self.device())
        {
            let wanted = log.certificate(&device).is_some();
            if let Some((key, package)) = self.peer_key_package(device).filter(|_| wanted) {
                used.push(key);
                key_packages.push(package);
            }
        }
        if key_packages.is_empty() {
            self.session.packages_asked = false;
            return Err(CommandError::NoKeyPackage(title));
        }
        self.form(new, kind, &title, Parties::from(log), cx)?;
        for key in used {
            self.use_peer_key_package(key, cx);
        }
        let operation = wire::OperationRecord {
            conversation: new.to_bytes(),
            key_packages,
            ..wire::OperationRecord::default()
        };
        // First the people, then what was to be decided among them.
        self.queue_operation(operation, cx);
        self.supersede(id, new, cx);
        Ok(())
    }

    /// Another conversation takes the place of one that can't go on. What was decided and not
    /// yet done is done there; what devices had to be told, they are told there.
    pub(super) fn supersede(&mut self, old: ConversationId, new: ConversationId, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&old) else {
            return;
        };
        room.superseded = true;
        room.dirty = true;
        let family = room.kind == ConversationKind::Family;
        // Who was left out is asked for key packages.
        self.session.packages_asked = false;
        self.discard_sends(old, |_| true, cx);
        self.move_operations(old, new, cx);
        let keys: Vec<ContentKey> = self.outbox.from(old, 0).map(|(key, _)| *key).collect();
        for key in keys {
            let waits = self.outbox.get(&key).is_some_and(|it| it.control) && family;
            if !waits {
                self.fail(key, "the conversation was formed again", |_| true, cx);
            }
        }
        self.asks.retain(|(of, _), _| *of != old);
        if family {
            self.record.family_conversation = new.to_bytes();
            self.save_device(cx);
        }
        cx.event(Event::Reformed { old, new });
    }

    /// What devices had not heard yet in a family conversation that was formed again is said
    /// in the one that goes on, as soon as they are in it.
    pub(super) fn carry_over(&mut self, cx: &mut Cx<'_>) {
        let over = |room: &&Room| room.superseded && room.kind == ConversationKind::Family;
        let over: Vec<ConversationId> = self.rooms.values().filter(over).map(Room::id).collect();
        if over.is_empty() {
            return;
        }
        let Some((new, room)) = self
            .family_conversation()
            .and_then(|new| Some((new, self.rooms.get(&new)?)))
            .filter(|(_, room)| room.can_talk())
        else {
            return;
        };
        let there = room.conversation.devices();
        for old in over {
            let keys: Vec<ContentKey> = self.outbox.from(old, 0).map(|(key, _)| *key).collect();
            for key in keys {
                self.carry(key, new, &there, cx);
            }
        }
    }

    fn carry(&mut self, key: ContentKey, new: ConversationId, there: &[DeviceId], cx: &mut Cx<'_>) {
        let Some(outgoing) = self.outbox.get(&key).cloned() else {
            return;
        };
        let device = |peer: &wire::OutgoingPeer| DeviceId::try_from(&peer.device).ok();
        let is_there = |peer: &wire::OutgoingPeer| {
            is_open(peer.state()) && device(peer).is_some_and(|device| there.contains(&device))
        };
        if outgoing.peers.iter().any(is_there) {
            self.say_there(outgoing, new, there, cx);
        }
        let log = self.log.clone();
        self.change_peers(key, cx, |peer| {
            let gone = device(peer)
                .zip(log.as_ref())
                .is_none_or(|(device, log)| log.certificate(&device).is_none());
            let done = is_there(peer) || (gone && is_open(peer.state()));
            if done {
                peer.set_state(OutgoingState::Failed);
            }
            done
        });
    }

    /// Says the same content, under its id, in another conversation. All who are there get
    /// it: numbers have no holes. Who had it before knows its id.
    fn say_there(
        &mut self,
        outgoing: wire::OutgoingRecord,
        new: ConversationId,
        there: &[DeviceId],
        cx: &mut Cx<'_>,
    ) {
        let content = wire::SignedContent::decode(outgoing.signed_content.clone())
            .ok()
            .and_then(|signed| Content::decode(&signed.content).ok());
        let (Some(mut content), Some(room)) = (content, self.rooms.get_mut(&new)) else {
            return;
        };
        content.conversation = new;
        content.sequence = room.next_sequence;
        room.next_sequence += 1;
        room.dirty = true;
        let own = self.signer.device;
        let readers = there.iter().filter(|device| **device != own);
        let peers = readers.map(|device| wire::OutgoingPeer {
            device: device.to_bytes(),
            state: OutgoingState::Waiting.into(),
            sent_at_ms: 0,
        });
        let outgoing = wire::OutgoingRecord {
            signed_content: content.sign(&self.signer.key).into(),
            conversation: new.to_bytes(),
            sequence: content.sequence,
            peers: peers.collect(),
            ..outgoing
        };
        self.put_back((new, content.sequence), outgoing, cx);
    }
}
