//! Contents that arrive: opened, checked, put into their sender's order, shown once.

use prost::Message;

use super::device::Engine;
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::content::{Body, Content, ContentIn};
use crate::day::Timestamp;
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
use crate::limits;
use crate::wire;

/// Contents of one sender that a gap may hold back.
const HELD_MAX: usize = 2_000;
/// Wait before missing contents are asked for again.
const RESEND_AGAIN_MS: u64 = 30_000;

impl Engine {
    /// Opens one MLS message; `sender` and `sequence` are the envelope's hint.
    pub(super) fn open_content(&mut self, id: ConversationId, sender: DeviceId, sequence: u64, message: &[u8], cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        room.dirty = true;
        let opened = room.conversation.decrypt(message);
        let (device, key, signed) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let known = room.peers.get(&sender).is_some_and(|peer| sequence <= peer.delivered_through);
                if known {
                    self.counters.duplicates += 1;
                    return;
                }
                self.unreadable(&error.to_string(), cx);
                self.ask_again(id, sender, sequence, cx);
                return;
            }
        };
        let content = ContentIn::parse(&signed).and_then(|content| content.verify(&key));
        match content {
            Ok(content) if content.sender == device && content.conversation == id && device != self.signer.device => {
                self.arrived(id, content, signed, cx);
            }
            Ok(_) => self.unreadable("it names another sender or conversation than it came from", cx),
            Err(error) => self.unreadable(&error.to_string(), cx),
        }
    }

    fn arrived(&mut self, id: ConversationId, content: Content, signed: Vec<u8>, cx: &mut Cx<'_>) {
        let sender = content.sender;
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let peer = room.peer(sender);
        if peer.first_sequence_seen == 0 {
            // The sender learns from our confirmation where we began, and repeats what came before.
            peer.first_sequence_seen = content.sequence;
            peer.delivered_through = content.sequence.saturating_sub(1);
        }
        let next = peer.delivered_through.saturating_add(1);
        if content.sequence < next || self.held.contains_key(&(id, sender, content.sequence)) {
            self.counters.duplicates += 1;
            self.confirm(id, sender, cx);
            return;
        }
        if content.sequence > next {
            let held = self.held.range((id, sender, 0)..=(id, sender, u64::MAX)).count();
            if held >= HELD_MAX {
                self.unreadable("too much of its sender is held back by a gap", cx);
                return;
            }
            let sequence = content.sequence;
            self.hold(id, sender, sequence, signed, cx);
            self.ask_again(id, sender, next, cx);
            return;
        }
        self.show(id, &content, &signed, cx);
        self.release(id, sender, cx);
    }

    /// Shows what a filled gap held back.
    fn release(&mut self, id: ConversationId, sender: DeviceId, cx: &mut Cx<'_>) {
        loop {
            let Some(room) = self.rooms.get_mut(&id) else { return };
            let peer = room.peer(sender);
            let next = peer.delivered_through.saturating_add(1);
            let Some(held) = self.held.remove(&(id, sender, next)) else {
                let more = self.held.range((id, sender, 0)..=(id, sender, u64::MAX)).next().is_some();
                if !more {
                    peer.gap_since_ms = 0;
                }
                break;
            };
            cx.erase(records::held(id, sender, next));
            let signed = wire::HeldContentRecord::decode(held.as_slice()).unwrap_or_default().signed_content;
            let content = wire::SignedContent::decode(signed.clone()).ok().and_then(|s| Content::decode(&s.content).ok());
            match content {
                Some(content) => self.show(id, &content, &signed, cx),
                // It was checked before it was held; count it as had, or the gap never closes.
                None => self.advance(id, sender, next),
            }
        }
        self.confirm(id, sender, cx);
    }

    fn advance(&mut self, id: ConversationId, sender: DeviceId, sequence: u64) {
        if let Some(room) = self.rooms.get_mut(&id) {
            room.peer(sender).delivered_through = sequence;
        }
    }

    /// Remembers since when something is missing, and asks its sender for it.
    fn ask_again(&mut self, id: ConversationId, sender: DeviceId, sequence: u64, cx: &mut Cx<'_>) {
        let now = cx.now;
        let Some(room) = self.rooms.get_mut(&id) else { return };
        if room.conversation.leaf(sender).is_none() {
            return;
        }
        let peer = room.peer(sender);
        if peer.gap_since_ms == 0 {
            peer.gap_since_ms = now.0;
        }
        if peer.missing_through < sequence {
            peer.missing_through = sequence;
        }
        self.resend_wanted.insert((id, sender), now);
        self.confirm(id, sender, cx);
        self.retry_later(RESEND_AGAIN_MS, cx);
    }

    /// What is missing of a sender: from the first missing to the one before the first held.
    pub(super) fn missing(&self, id: ConversationId, sender: DeviceId) -> Option<wire::SequenceRange> {
        let peer = self.rooms.get(&id)?.peers.get(&sender)?;
        if peer.gap_since_ms == 0 {
            return None;
        }
        let from = peer.delivered_through.saturating_add(1);
        let held = self.held.range((id, sender, 0)..=(id, sender, u64::MAX)).next();
        let through = match held {
            Some(((_, _, first), _)) => first.saturating_sub(1),
            None => peer.missing_through,
        };
        (from <= through).then_some(wire::SequenceRange { from, through })
    }

    /// Gaps hold back what follows for an hour while attached, then show as a gap.
    pub(super) fn give_up_gaps(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() {
            return;
        }
        let mut over = Vec::new();
        for (id, room) in &self.rooms {
            for (device, peer) in &room.peers {
                let since = Timestamp(peer.gap_since_ms);
                if peer.gap_since_ms > 0 && since.plus_ms(limits::GAP_HOLD_MS) <= cx.now {
                    over.push((*id, *device));
                }
            }
        }
        for (id, device) in over {
            if let Some(range) = self.missing(id, device) {
                self.counters.gaps += 1;
                cx.event(Event::Gap { conversation: id, device, from: range.from, through: range.through });
                self.advance(id, device, range.through);
            }
            if let Some(room) = self.rooms.get_mut(&id) {
                room.peer(device).gap_since_ms = 0;
            }
            self.release(id, device, cx);
        }
    }

    fn show(&mut self, id: ConversationId, content: &Content, signed: &[u8], cx: &mut Cx<'_>) {
        self.advance(id, content.sender, content.sequence);
        let Some(member) = self.certificate_member(content.sender) else {
            self.unreadable("its sender does not belong to the family any more", cx);
            return;
        };
        if self.index.contains_key(&content.id) {
            self.unreadable("its id was used before", cx);
            return;
        }
        self.apply(id, content, member, signed, false, cx);
    }

    /// Puts a content, received or own, into the history.
    pub(super) fn apply(
        &mut self,
        id: ConversationId,
        content: &Content,
        member: MemberId,
        signed: &[u8],
        mine: bool,
        cx: &mut Cx<'_>,
    ) {
        match &content.body {
            Body::Text { .. } | Body::Sticker { .. } | Body::Photo(_) | Body::Voice(_) => {
                self.remember(id, content, member, signed, mine, cx);
            }
            Body::Reaction { target, emoji } => {
                if !self.is_target(id, *target) {
                    return;
                }
                let key = records::reaction(id, *target, member);
                if emoji.is_empty() {
                    cx.erase(key);
                } else {
                    cx.put(key, emoji.clone().into_bytes());
                }
            }
            Body::Edit { target, text } => {
                if !self.is_author(id, *target, member) {
                    self.unreadable("it changes somebody else's message", cx);
                    return;
                }
                cx.put(records::edit(id, *target), text.clone().into_bytes());
            }
            Body::Delete { target } => {
                if !self.is_author(id, *target, member) {
                    self.unreadable("it takes somebody else's message back", cx);
                    return;
                }
                self.strip(id, *target, cx);
            }
        }
        cx.event(Event::Message { conversation: id, content: content.id, sender: member, mine, body: content.body.clone() });
    }

    pub(super) fn is_target(&self, id: ConversationId, target: ContentId) -> bool {
        self.index.get(&target).is_some_and(|entry| entry.conversation.as_ref() == id.as_bytes())
    }

    pub(super) fn is_author(&self, id: ConversationId, target: ContentId, member: MemberId) -> bool {
        self.is_target(id, target)
            && self.index.get(&target).is_some_and(|entry| entry.sender_member.as_ref() == member.as_bytes())
    }

    fn remember(&mut self, id: ConversationId, content: &Content, member: MemberId, signed: &[u8], mine: bool, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let order = room.next_order;
        room.next_order += 1;
        room.dirty = true;
        let disappears = match content.disappear_seconds {
            0 => 0,
            seconds => cx.now.plus_ms(u64::from(seconds) * 1_000).0,
        };
        if disappears > 0 {
            self.disappearing.insert((Timestamp(disappears), content.id));
        }
        let parts = wire::SignedContent::decode(signed).unwrap_or_default();
        let stored = wire::StoredMessageRecord {
            content: parts.content,
            signature: parts.signature,
            sender_member: member.to_bytes(),
            order,
            shown_at_ms: cx.now.0,
            disappears_at_ms: disappears,
            mine,
            content_id: content.id.to_bytes(),
            ..wire::StoredMessageRecord::default()
        };
        cx.put_message(records::message(id, order), &stored);
        let entry = wire::IndexRecord {
            conversation: id.to_bytes(),
            order,
            sender_member: member.to_bytes(),
            disappears_at_ms: disappears,
            sender_device: content.sender.to_bytes(),
            sequence: content.sequence,
            mine,
        };
        cx.put_message(records::state(records::INDEX, &[content.id.as_bytes()]), &entry);
        self.index.insert(content.id, entry);
    }

    /// Erases what was said, and leaves that something was.
    fn strip(&mut self, id: ConversationId, target: ContentId, cx: &mut Cx<'_>) {
        let Some(entry) = self.index.get(&target) else { return };
        let stored = wire::StoredMessageRecord {
            sender_member: entry.sender_member.clone(),
            order: entry.order,
            deleted: true,
            mine: entry.mine,
            content_id: target.to_bytes(),
            shown_at_ms: cx.now.0,
            ..wire::StoredMessageRecord::default()
        };
        cx.put_message(records::message(id, entry.order), &stored);
        cx.erase(records::edit(id, target));
        let members: Vec<MemberId> =
            self.log.as_ref().map(|log| log.members().keys().copied().collect()).unwrap_or_default();
        for member in members {
            cx.erase(records::reaction(id, target, member));
        }
    }

    pub(super) fn disappear(&mut self, cx: &mut Cx<'_>) {
        while let Some((at, content)) = self.disappearing.first().copied() {
            if at > cx.now {
                break;
            }
            self.disappearing.pop_first();
            let Some(entry) = self.index.get(&content).cloned() else { continue };
            let Ok(id) = ConversationId::try_from(&entry.conversation) else { continue };
            self.strip(id, content, cx);
            let entry = wire::IndexRecord { disappears_at_ms: 0, ..entry };
            cx.put_message(records::state(records::INDEX, &[content.as_bytes()]), &entry);
            self.index.insert(content, entry);
            cx.event(Event::Disappeared { conversation: id, content });
        }
    }
}
