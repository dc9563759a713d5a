//! What is shown: contents put into the history, and what later ones do to them. What
//! devices say to each other is told from it here, and is not shown.

use super::device::Engine;
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::content::{Body, Content, Control};
use crate::day::Timestamp;
use crate::identity::Role;
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
use crate::limits;
use crate::wire;
use prost::Message as _;

/// What is known here about the target of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Shown in this conversation.
    Here,
    /// Taken back, disappeared, or of another conversation.
    Gone,
    /// Not here, or not yet.
    Unknown,
}

impl Engine {
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
            Body::Control(control) => {
                if !mine {
                    self.know_again(content, control, member, cx);
                    self.controlled(id, content, control, cx);
                }
                return;
            }
            Body::Text { .. }
            | Body::Sticker { .. }
            | Body::Photo(_)
            | Body::Voice(_)
            | Body::Progress(_) => {
                self.remember(id, content, member, signed, mine, cx);
                self.want_copy(id, content, cx);
            }
            Body::Reaction { target, emoji } => {
                // Its target may still be on its way: it is of another sender.
                match self.target(id, *target) {
                    Target::Gone => return,
                    Target::Unknown => self.keep_late(id, *target, content.id, member, signed, cx),
                    Target::Here => {}
                }
                self.react(id, *target, member, emoji, signed, cx);
            }
            Body::Edit { target, .. } | Body::Delete { target }
                if self.target(id, *target) != Target::Here =>
            {
                if self.target(id, *target) == Target::Unknown {
                    self.keep_late(id, *target, content.id, member, signed, cx);
                }
                return;
            }
            Body::Edit { target, text } => {
                if !self.is_author(id, *target, member) {
                    self.unreadable("it changes somebody else's message", cx);
                    return;
                }
                self.put_edit(id, *target, text, signed, cx);
            }
            Body::Delete { target } => {
                if !self.is_author(id, *target, member) {
                    self.unreadable("it takes somebody else's message back", cx);
                    return;
                }
                self.take_away(id, *target, cx);
            }
        }
        cx.event(Event::Message {
            conversation: id,
            content: content.id,
            sender: member,
            mine,
            body: content.body.clone(),
        });
    }

    /// What is shown, and its exact words with the signature: another device of the family may
    /// be given them.
    pub(super) fn put_edit(
        &self,
        id: ConversationId,
        target: ContentId,
        text: &str,
        signed: &[u8],
        cx: &mut Cx<'_>,
    ) {
        cx.put(records::edit(id, target), text.as_bytes().to_vec());
        cx.put(records::edit_said(id, target), signed.to_vec());
    }

    /// As [`Self::put_edit`].
    pub(super) fn react(
        &self,
        id: ConversationId,
        target: ContentId,
        member: MemberId,
        emoji: &str,
        signed: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let key = records::reaction(id, target, member);
        let said = records::reaction_said(id, target, member);
        if emoji.is_empty() {
            cx.erase(key);
            cx.erase(said);
        } else {
            cx.put(key, emoji.as_bytes().to_vec());
            cx.put(said, signed.to_vec());
        }
    }

    /// Remembers the id of something that is to be heard once, for whoever says it again: of a
    /// new leaf, or in a conversation that was formed again. Heads and news may come as often
    /// as they like.
    fn know_again(
        &mut self,
        content: &Content,
        control: &Control,
        member: MemberId,
        cx: &mut Cx<'_>,
    ) {
        if matches!(control, Control::Head(_) | Control::News(_)) {
            return;
        }
        let entry = wire::IndexRecord {
            sender_member: member.to_bytes(),
            sender_device: content.sender.to_bytes(),
            ..wire::IndexRecord::default()
        };
        self.save_entry(content.id, entry, cx);
    }

    fn target(&self, id: ConversationId, target: ContentId) -> Target {
        match self.index.get(&target) {
            Some(entry) if entry.veiled_until_day > 0 => Target::Gone,
            Some(entry) if entry.conversation.as_ref() == id.as_bytes() => Target::Here,
            Some(_) => Target::Gone,
            None => Target::Unknown,
        }
    }

    pub(super) fn is_target(&self, id: ConversationId, target: ContentId) -> bool {
        self.target(id, target) == Target::Here
    }

    pub(super) fn is_author(
        &self,
        id: ConversationId,
        target: ContentId,
        member: MemberId,
    ) -> bool {
        self.is_target(id, target)
            && self
                .index
                .get(&target)
                .is_some_and(|entry| entry.sender_member.as_ref() == member.as_bytes())
    }

    pub(super) fn remember(
        &mut self,
        id: ConversationId,
        content: &Content,
        member: MemberId,
        signed: &[u8],
        mine: bool,
        cx: &mut Cx<'_>,
    ) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let order = room.next_order;
        room.next_order += 1;
        room.dirty = true;
        let audience = self.audience_now(id);
        let disappears = match content.disappear_seconds {
            0 => 0,
            seconds => cx.now.plus_ms(u64::from(seconds) * 1_000).0,
        };
        if disappears > 0 {
            self.disappearing
                .insert((Timestamp(disappears), content.id));
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
            veiled_until_day: 0,
            audience,
            past: false,
            announced: false,
        };
        self.save_entry(content.id, entry, cx);
    }

    pub(super) fn save_entry(
        &mut self,
        content: ContentId,
        entry: wire::IndexRecord,
        cx: &mut Cx<'_>,
    ) {
        cx.put_message(
            records::state(records::INDEX, &[content.as_bytes()]),
            &entry,
        );
        self.index.insert(content, entry);
    }

    /// Takes a content off the screen. What people outside its family took back or let
    /// disappear stays on a child's device, unseen, so that it can still be reported.
    fn take_away(&mut self, id: ConversationId, target: ContentId, cx: &mut Cx<'_>) {
        let Some(entry) = self.index.get(&target).cloned() else {
            return;
        };
        let child = self
            .log
            .as_ref()
            .and_then(|log| log.certificate(&self.device()))
            .is_some_and(|own| own.role == Role::Child);
        // Also when its device is in no family any more.
        let parties = self.rooms.get(&id).map(|room| room.conversation.parties());
        let sender = DeviceId::try_from(&entry.sender_device).ok();
        let outsider = parties.zip(sender).is_some_and(|(parties, sender)| {
            let mut others = parties.logs().filter(|log| !self.is_own(&log.family()));
            others.any(|log| log.signature_key_ever(&sender).is_some())
        });
        if !child || !outsider {
            return self.strip(id, target, cx);
        }
        self.disappearing
            .remove(&(Timestamp(entry.disappears_at_ms), target));
        cx.put(
            records::history(records::VEIL, &[id.as_bytes(), target.as_bytes()]),
            vec![1],
        );
        let until = self.today(cx.now).plus(limits::VEILED_DAYS);
        let entry = wire::IndexRecord {
            disappears_at_ms: 0,
            veiled_until_day: until.0.max(1),
            ..entry
        };
        self.save_entry(target, entry, cx);
    }

    /// What was kept unseen for long enough is erased.
    pub(super) fn erase_veiled(&mut self, cx: &mut Cx<'_>) {
        let today = self.today(cx.now).0;
        let over = |entry: &wire::IndexRecord| (1..today).contains(&entry.veiled_until_day);
        let over: Vec<(ContentId, ConversationId)> = self
            .index
            .iter()
            .filter(|(_, entry)| over(entry))
            .filter_map(|(target, entry)| {
                Some((*target, ConversationId::try_from(&entry.conversation).ok()?))
            })
            .collect();
        for (target, id) in over {
            cx.erase(records::history(
                records::VEIL,
                &[id.as_bytes(), target.as_bytes()],
            ));
            self.strip(id, target, cx);
        }
    }

    /// Erases what was said, and leaves that something was. Its index entry stays, of no
    /// conversation: the id is never taken again, and nothing more can be said about it.
    pub(super) fn strip(&mut self, id: ConversationId, target: ContentId, cx: &mut Cx<'_>) {
        let Some(entry) = self.index.get(&target).cloned() else {
            return;
        };
        self.disappearing
            .remove(&(Timestamp(entry.disappears_at_ms), target));
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
        cx.erase(records::edit_said(id, target));
        cx.erase(records::media(id, target));
        self.seek_no_more(id, target, cx);
        let parties = self.rooms.get(&id).map(|room| room.conversation.parties());
        let members: Vec<MemberId> = parties
            .into_iter()
            .flat_map(crate::conversation::Parties::logs)
            .flat_map(|log| log.members().keys().copied())
            .collect();
        for member in members {
            cx.erase(records::reaction(id, target, member));
            cx.erase(records::reaction_said(id, target, member));
        }
        let entry = wire::IndexRecord {
            conversation: bytes::Bytes::new(),
            disappears_at_ms: 0,
            veiled_until_day: 0,
            ..entry
        };
        self.save_entry(target, entry, cx);
    }

    pub(super) fn disappear(&mut self, cx: &mut Cx<'_>) {
        while let Some((at, content)) = self.disappearing.first().copied() {
            if at > cx.now {
                break;
            }
            self.disappearing.pop_first();
            let Some(entry) = self.index.get(&content) else {
                continue;
            };
            let Ok(id) = ConversationId::try_from(&entry.conversation) else {
                continue;
            };
            self.take_away(id, content, cx);
            cx.event(Event::Disappeared {
                conversation: id,
                content,
            });
        }
    }
}
