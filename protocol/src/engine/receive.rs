//! Contents that arrive: opened, checked, put into their sender's order, shown once.

use bytes::Bytes;
use prost::Message;

use super::device::Engine;
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::content::{Content, ContentIn};
use crate::conversation::message_epoch;
use crate::day::Timestamp;
use crate::faults::{Fault, planted};
use crate::ids::{ConversationId, DeviceId};
use crate::wire::{self, SequenceRange};

/// Contents of one sender that gaps may hold back.
const HELD_MAX: usize = 2_000;
/// Bytes that gaps may hold back in all: a hundred of the longest texts.
const HELD_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Holes that one request names.
const HOLES_MAX: usize = 8;
/// A number that stands outside the seal of MLS is believed at most so far ahead.
const HINT_AHEAD_MAX: u64 = 10_000;
/// Wait before missing contents are asked for again, doubled each time.
const ASK_AGAIN_MS: u64 = 5_000;
/// The longest such wait: ten minutes.
const ASK_AGAIN_MS_MAX: u64 = 600_000;

/// A sender that is asked for what is missing of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    at: Timestamp,
    wait_ms: u64,
    /// The first missing when it was last asked.
    from: u64,
}

impl Ask {
    pub(super) const fn new() -> Self {
        Self {
            at: Timestamp(0),
            wait_ms: ASK_AGAIN_MS,
            from: 0,
        }
    }

    /// A new connection: at once.
    pub(super) const fn again(&mut self) {
        *self = Self::new();
    }

    pub(super) const fn at(&self) -> Timestamp {
        self.at
    }

    fn asked(&mut self, now: Timestamp, from: u64) {
        self.at = now.plus_ms(self.wait_ms);
        self.wait_ms = self.wait_ms.saturating_mul(2).min(ASK_AGAIN_MS_MAX);
        self.from = from;
    }
}

/// A content that a gap holds back.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// Since when; zero after a restart: then since the gap is known.
    pub(super) since: Timestamp,
    pub(super) signed: Bytes,
}

/// What the envelope says about the message in it; it is not authenticated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hint {
    pub(super) sender: DeviceId,
    pub(super) sequence: u64,
    /// The first content that this device gets of the sender; 0: not told.
    pub(super) start: u64,
}

impl Engine {
    /// Opens one MLS message.
    pub(super) fn open_content(
        &mut self,
        id: ConversationId,
        hint: Hint,
        message: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let own = self.signer.device;
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.dirty = true;
        let (device, key, signed) = match room.conversation.decrypt(message) {
            Ok(opened) => opened,
            Err(error) => {
                let had = room
                    .peers
                    .get(&hint.sender)
                    .is_some_and(|peer| hint.sequence <= peer.delivered_through)
                    || self.held.contains_key(&(id, hint.sender, hint.sequence));
                if had {
                    self.counters.duplicates += 1;
                } else {
                    self.unreadable(&error.to_string(), cx);
                    self.missed(id, hint, cx);
                    self.did_not_open(id, hint.sender, message, cx);
                }
                return;
            }
        };
        room.strange.remove(&device);
        if message_epoch(message) == Some(room.conversation.epoch()) {
            room.heard_another(own);
        }
        let leaf_epoch = room.peers.get(&device).map_or(0, |peer| peer.leaf_epoch);
        if message_epoch(message).is_some_and(|epoch| epoch < leaf_epoch) {
            // Of the leaf that it had before it came back: its numbers mean something else now,
            // and the new leaf says again what is still open.
            self.counters.duplicates += 1;
            return;
        }
        let content = ContentIn::parse(&signed).and_then(|content| content.verify(&key));
        match content {
            Ok(content)
                if (content.sender == device || planted(Fault::ContentSender))
                    && (content.conversation == id || planted(Fault::ContentConversation))
                    && device != self.signer.device =>
            {
                self.arrived(id, &content, hint.start, signed, cx);
                self.heard(id, device, cx);
            }
            Ok(_) => self.unreadable(
                "it names another sender or conversation than it came from",
                cx,
            ),
            Err(error) => self.unreadable(&error.to_string(), cx),
        }
    }

    /// A message of this epoch from a device that is in it should open.
    fn did_not_open(&mut self, id: ConversationId, sender: DeviceId, message: &[u8], cx: &Cx<'_>) {
        let here = self.rooms.get(&id).is_some_and(|room| {
            message_epoch(message) == Some(room.conversation.epoch())
                && room.conversation.leaf(sender).is_some()
        });
        if here {
            self.strange(id, sender, cx);
        }
    }

    fn arrived(
        &mut self,
        id: ConversationId,
        content: &Content,
        start: u64,
        signed: Vec<u8>,
        cx: &mut Cx<'_>,
    ) {
        let sender = content.sender;
        let sequence = content.sequence;
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let peer = room.peer(sender);
        if peer.first_sequence_seen == 0 {
            // It was there before this device: its first content for us is not its first.
            let start = if (1..=sequence).contains(&start) {
                start
            } else {
                sequence
            };
            peer.first_sequence_seen = start;
            peer.delivered_through = start.saturating_sub(1);
        }
        let next = peer.delivered_through.saturating_add(1);
        if planted(Fault::ContentOrder) {
            return self.show(id, content, &signed, cx);
        }
        if sequence < next || self.held.contains_key(&(id, sender, sequence)) {
            // Its sender does not know that we have it.
            self.counters.duplicates += 1;
            self.confirm(id, sender, cx);
        } else if sequence > next {
            if self.hold(id, content, signed.into(), cx) {
                self.ask(id, sender, cx);
            }
        } else {
            self.show(id, content, &signed, cx);
            self.release(id, sender, cx);
        }
    }

    /// Keeps a content until what comes before it is there; false when too much is kept.
    fn hold(
        &mut self,
        id: ConversationId,
        content: &Content,
        signed: Bytes,
        cx: &mut Cx<'_>,
    ) -> bool {
        let sender = content.sender;
        let of_sender = || {
            self.held
                .range((id, sender, 0)..=(id, sender, u64::MAX))
                .count()
        };
        let many = self.held.len() >= HELD_MAX && of_sender() >= HELD_MAX;
        if many || self.held_bytes.saturating_add(signed.len()) > HELD_BYTES_MAX {
            // Not lost: it is not confirmed, so its sender repeats it.
            self.unreadable("too much is held back by gaps", cx);
            return false;
        }
        let record = wire::HeldContentRecord {
            signed_content: signed.clone(),
        };
        cx.put_message(records::held(id, sender, content.sequence), &record);
        self.held_bytes += signed.len();
        self.held.insert(
            (id, sender, content.sequence),
            Held {
                since: cx.now,
                signed,
            },
        );
        true
    }

    pub(super) fn take_held(
        &mut self,
        id: ConversationId,
        sender: DeviceId,
        sequence: u64,
        cx: &mut Cx<'_>,
    ) -> Option<Held> {
        let held = self.held.remove(&(id, sender, sequence))?;
        self.held_bytes = self.held_bytes.saturating_sub(held.signed.len());
        cx.erase(records::held(id, sender, sequence));
        Some(held)
    }

    fn first_held(&self, id: ConversationId, sender: DeviceId) -> Option<(u64, Timestamp)> {
        let first = self
            .held
            .range((id, sender, 0)..=(id, sender, u64::MAX))
            .next();
        first.map(|((_, _, sequence), held)| (*sequence, held.since))
    }

    /// Shows what a filled gap held back.
    fn release(&mut self, id: ConversationId, sender: DeviceId, cx: &mut Cx<'_>) {
        loop {
            let Some(room) = self.rooms.get_mut(&id) else {
                return;
            };
            let next = room.peer(sender).delivered_through.saturating_add(1);
            let Some(held) = self.take_held(id, sender, next, cx) else {
                break;
            };
            let content = wire::SignedContent::decode(held.signed.clone())
                .ok()
                .and_then(|s| Content::decode(&s.content).ok());
            match content {
                Some(content) => self.show(id, &content, &held.signed, cx),
                // It was checked before it was held; count it as had, or the gap never closes.
                None => self.advance(id, sender, next),
            }
        }
        let held = self.first_held(id, sender);
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let peer = room.peer(sender);
        match held {
            // The next gap is as old as what it holds back.
            Some((_, since)) => peer.gap_since_ms = peer.gap_since_ms.max(since.0).max(1),
            None if peer.missing_through <= peer.delivered_through => {
                peer.gap_since_ms = 0;
                self.asks.remove(&(id, sender));
            }
            None => {}
        }
        self.confirm(id, sender, cx);
    }

    pub(super) fn advance(&mut self, id: ConversationId, sender: DeviceId, sequence: u64) {
        if let Some(room) = self.rooms.get_mut(&id) {
            let peer = room.peer(sender);
            peer.delivered_through = peer.delivered_through.max(sequence);
        }
    }

    // ---- gaps

    /// A message did not open. Its number is only a hint: it is asked for, never skipped over.
    fn missed(&mut self, id: ConversationId, hint: Hint, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if room.conversation.leaf(hint.sender).is_none() {
            return;
        }
        let peer = room.peer(hint.sender);
        if hint.sequence > peer.delivered_through.saturating_add(HINT_AHEAD_MAX) {
            return;
        }
        peer.missing_through = peer.missing_through.max(hint.sequence);
        self.ask(id, hint.sender, cx);
    }

    /// Remembers since when something is missing, and has its sender asked for it.
    fn ask(&mut self, id: ConversationId, sender: DeviceId, cx: &Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let peer = room.peer(sender);
        if peer.gap_since_ms == 0 {
            peer.gap_since_ms = cx.now.0.max(1);
        }
        let from = peer.delivered_through.saturating_add(1);
        let ask = self.asks.entry((id, sender)).or_insert(Ask {
            at: cx.now,
            ..Ask::new()
        });
        if from > ask.from && ask.from > 0 {
            // Another gap than the one that was asked for.
            *ask = Ask {
                at: cx.now,
                ..Ask::new()
            };
        }
        if ask.at <= cx.now {
            self.confirm(id, sender, cx);
        }
    }

    /// What to ask a sender for now: nothing before it is time to ask again.
    pub(super) fn holes_to_ask(
        &mut self,
        id: ConversationId,
        sender: DeviceId,
        now: Timestamp,
    ) -> Vec<SequenceRange> {
        if self.asks.get(&(id, sender)).is_none_or(|ask| ask.at > now) {
            return vec![];
        }
        let holes = self.holes(id, sender);
        match (holes.first(), self.asks.get_mut(&(id, sender))) {
            (Some(first), Some(ask)) => ask.asked(now, first.from),
            _ => {
                self.asks.remove(&(id, sender));
            }
        }
        holes
    }

    /// What is missing of a sender, the first of it.
    fn holes(&self, id: ConversationId, sender: DeviceId) -> Vec<SequenceRange> {
        let Some(peer) = self.rooms.get(&id).and_then(|room| room.peers.get(&sender)) else {
            return vec![];
        };
        let mut holes = Vec::new();
        let mut from = peer.delivered_through.saturating_add(1);
        for ((_, _, held), _) in self.held.range((id, sender, from)..=(id, sender, u64::MAX)) {
            if from < *held {
                holes.push(SequenceRange {
                    from,
                    through: held.saturating_sub(1),
                });
            }
            from = held.saturating_add(1);
            if holes.len() >= HOLES_MAX {
                return holes;
            }
        }
        if from <= peer.missing_through {
            holes.push(SequenceRange {
                from,
                through: peer.missing_through,
            });
        }
        holes
    }

    /// Gaps hold back what follows for an hour while attached, then show as a gap.
    pub(super) fn give_up_gaps(&mut self, cx: &mut Cx<'_>) {
        let mut over = Vec::new();
        for (id, room) in &self.rooms {
            let devices = room
                .peers
                .keys()
                .filter(|device| self.is_gap_over(*id, **device, cx.now));
            over.extend(devices.map(|device| (*id, *device)));
        }
        for (id, device) in over {
            while self.is_gap_over(id, device, cx.now) {
                self.give_up_gap(id, device, cx);
            }
        }
    }

    fn is_gap_over(&self, id: ConversationId, device: DeviceId, now: Timestamp) -> bool {
        let peer = self.rooms.get(&id).and_then(|room| room.peers.get(&device));
        peer.and_then(|peer| self.gap_over(peer.gap_since_ms))
            .is_some_and(|at| at <= now)
    }

    fn give_up_gap(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        let held = self.first_held(id, device);
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let peer = room.peer(device);
        peer.gap_since_ms = 0;
        self.asks.remove(&(id, device));
        match held {
            // Signed contents after it prove that something is missing.
            Some((first, _)) => {
                let (from, through) = (
                    peer.delivered_through.saturating_add(1),
                    first.saturating_sub(1),
                );
                self.counters.gaps += 1;
                cx.event(Event::Gap {
                    conversation: id,
                    device,
                    from,
                    through,
                });
                self.advance(id, device, through);
                self.release(id, device, cx);
                if self.first_held(id, device).is_some() {
                    self.asks.insert((id, device), Ask::new());
                }
            }
            // Nothing but a hint said so.
            None => peer.missing_through = 0,
        }
    }

    /// A device is gone and will not be asked any more: what it said is shown as far as it is here.
    pub(super) fn give_up_device(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        while self.first_held(id, device).is_some() {
            self.give_up_gap(id, device, cx);
        }
        self.asks.remove(&(id, device));
    }

    pub(super) fn show(
        &mut self,
        id: ConversationId,
        content: &Content,
        signed: &[u8],
        cx: &mut Cx<'_>,
    ) {
        self.advance(id, content.sender, content.sequence);
        let Some(holder) = self.certificate_in(id, content.sender) else {
            self.unreadable("its sender does not belong to the family any more", cx);
            return;
        };
        let member = holder.member;
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        if !self.may_say(room, &holder, &content.body, cx.now) {
            self.counters.refused += 1;
            cx.event(Event::Refused {
                conversation: id,
                sentence: "something was said that the contact pass does not allow".into(),
            });
            return;
        }
        if room.blocked.contains(&member) {
            // Its sender never learns of it.
            return;
        }
        let known = self.index.get(&content.id);
        if let Some(known) = known.filter(|_| !planted(Fault::ContentAgain)) {
            if known.sender_device.as_ref() == content.sender.as_bytes() {
                // Said again by a device that came back, or given with the history before.
                self.counters.duplicates += 1;
                self.announce(id, content, member, cx);
            } else {
                self.unreadable("its id was used before", cx);
            }
            return;
        }
        if !(self.rooms.get(&id)).is_some_and(|room| room.may_hold(&content.body)) {
            self.unreadable(
                "it is a learning report outside the family's conversation",
                cx,
            );
            return;
        }
        // Nothing that acts may stand before this: what waits for another time comes by again.
        if self.keeps_from_child(id, content, member, signed, cx) {
            return;
        }
        self.apply(id, content, member, signed, false, cx);
    }
}
