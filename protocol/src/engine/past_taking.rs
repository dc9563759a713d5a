//! Taking in history that another device of the family gave (PROTOCOL §17): each message as
//! its sender signed it, with its signed changes, in its place before all that was seen here.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::io::Event;
use super::past::late_key;
use super::records;
use super::state::Cx;
use crate::content::{Body, Content, ContentIn};
use crate::day::Timestamp;
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
use crate::limits;
use crate::wire;

/// Below the second of a message's place on the screen, a counter.
const COUNTER_BITS: u32 = 20;
/// Changes that are kept for messages that are still to come.
const LATE_MAX: usize = 1_000;
/// Audiences that a conversation remembers.
const AUDIENCES_MAX: usize = 4_096;

/// Why a piece of history is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Lie {
    #[error("what a device gave of the history is damaged")]
    Damaged,
    #[error("a device gave a message of the history that its sender did not sign")]
    Altered,
    #[error(
        "a device gave a message of the history under the name of somebody of this family who has no such device"
    )]
    Name,
}

impl Engine {
    /// A piece came. All of it is kept together with how far this device is.
    pub(super) fn history_given(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        piece: &wire::HistoryPiece,
        cx: &mut Cx<'_>,
    ) {
        let Some(past) = self.pasts.get_mut(&id).filter(|past| {
            !past.record.complete
                && past.record.giver.as_ref() == device.as_bytes()
                && past.record.request == piece.request
                && !piece.request.is_empty()
        }) else {
            // Of a request that was given up.
            return;
        };
        let moved = piece.cursor > past.record.cursor;
        past.record.request = Bytes::new();
        let mut taken = 0_u64;
        let mut lie = None;
        for message in &piece.messages {
            match self.take_past(id, device, message, cx) {
                Ok(true) => taken += 1,
                Ok(false) => {}
                Err(error) => {
                    lie = Some(error);
                    break;
                }
            }
        }
        let Some(past) = self.pasts.get_mut(&id) else {
            return;
        };
        past.record.done = past.record.done.saturating_add(taken);
        past.record.left = piece.left;
        past.record.cursor = piece.cursor;
        past.silent.remove(&device);
        past.rounds = 0;
        past.record.asks = 0;
        past.asked = false;
        past.next_at = None;
        let over = piece.last || !moved || lie.is_some();
        if over {
            past.record.heard.push(device.to_bytes());
            past.record.giver = Bytes::new();
            (past.record.cursor, past.record.left) = (0, 0);
            past.record.finished |= lie.is_none();
        }
        let record = past.record.clone();
        self.save_past(id, cx);
        if let Some(lie) = lie {
            self.counters.refused += 1;
            cx.event(Event::Refused {
                conversation: id,
                sentence: lie.to_string(),
            });
        }
        if over {
            let done = wire::HistoryRequest {
                done: true,
                ..wire::HistoryRequest::default()
            };
            self.say_history(id, device, done, cx);
        }
        cx.event(Event::History {
            conversation: id,
            done: record.done,
            total: record.done.saturating_add(record.left),
            finished: record.finished,
        });
    }

    /// Takes one message in; false for what is here already, or is over.
    fn take_past(
        &mut self,
        id: ConversationId,
        giver: DeviceId,
        message: &wire::HistoryMessage,
        cx: &mut Cx<'_>,
    ) -> Result<bool, Lie> {
        let signed = ContentIn::parse(&message.signed_content).map_err(|_| Lie::Damaged)?;
        let parts = wire::SignedContent::decode(message.signed_content.clone())
            .map_err(|_| Lie::Damaged)?;
        let content = Content::decode(&parts.content).map_err(|_| Lie::Damaged)?;
        let claimed = MemberId::try_from(&message.sender_member).map_err(|_| Lie::Damaged)?;
        // Copies of pictures are of another conversation, and for guardians.
        let copy = content.conversation != id;
        if copy && self.guardian_of(self.device()).is_none() {
            return Err(Lie::Damaged);
        }
        let (member, told_by) = match self.writer_ever(id, content.sender) {
            Some((key, member)) if !copy => {
                signed.verify(&key).map_err(|_| Lie::Altered)?;
                (member, Bytes::new())
            }
            Some((_, member)) => (member, giver.to_bytes()),
            // Our own family's devices are all known, also those that are gone.
            None if self.is_of_family(claimed) => return Err(Lie::Name),
            None => (claimed, giver.to_bytes()),
        };
        let shown = matches!(
            content.body,
            Body::Text { .. }
                | Body::Sticker { .. }
                | Body::Photo(_)
                | Body::Voice(_)
                | Body::Progress(_)
        );
        if !shown || self.index.contains_key(&content.id) {
            return Ok(false);
        }
        if self.past_is_off(id, &content.body, member) {
            return Ok(false);
        }
        let stays_until = cx
            .now
            .plus_ms(u64::from(content.disappear_seconds) * 1_000)
            .0;
        let disappears = match (content.disappear_seconds, message.disappears_at_ms) {
            (0, _) => 0,
            (_, 0) => stays_until,
            (_, at) => at.min(stays_until),
        };
        if disappears > 0 && disappears <= cx.now.0 {
            return Ok(false);
        }
        let changes: Vec<(Body, MemberId, &Bytes)> = message
            .changes
            .iter()
            .map(|change| self.past_change(id, &content, change))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect();
        let shown_at = message.shown_at_ms.min(cx.now.0);
        let audience = self.audience_told(id, &message.audience);
        let Some(order) = self.past_order(id, shown_at) else {
            return Ok(false);
        };
        if disappears > 0 {
            self.disappearing
                .insert((Timestamp(disappears), content.id));
        }
        let stored = wire::StoredMessageRecord {
            content: parts.content,
            signature: parts.signature,
            sender_member: member.to_bytes(),
            order,
            shown_at_ms: shown_at,
            disappears_at_ms: disappears,
            content_id: content.id.to_bytes(),
            told_by,
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
            audience,
            past: true,
            ..wire::IndexRecord::default()
        };
        self.save_entry(content.id, entry, cx);
        if copy {
            self.copied_before(content.conversation, content.id, cx);
        }
        self.make_changes(id, content.id, changes, cx);
        Ok(true)
    }

    /// An edit or a reaction that was made before: nobody changes a message but its author, and
    /// what can't be checked is left out.
    fn past_change<'a>(
        &self,
        id: ConversationId,
        of: &Content,
        change: &'a Bytes,
    ) -> Result<Option<(Body, MemberId, &'a Bytes)>, Lie> {
        let signed = ContentIn::parse(change).map_err(|_| Lie::Damaged)?;
        let parts = wire::SignedContent::decode(change.clone()).map_err(|_| Lie::Damaged)?;
        let content = Content::decode(&parts.content).map_err(|_| Lie::Damaged)?;
        let Some((key, member)) = self.writer_ever(id, content.sender) else {
            return Ok(None);
        };
        let content = signed.verify(&key).map_err(|_| Lie::Altered)?;
        let author = self.writer_ever(id, of.sender).map(|(_, member)| member);
        let fits = match content.body {
            Body::Edit { target, .. } => target == of.id && author == Some(member),
            Body::Reaction { target, .. } => target == of.id,
            _ => false,
        };
        if !fits || content.conversation != id {
            return Err(Lie::Damaged);
        }
        let edit = matches!(content.body, Body::Edit { .. });
        if edit && self.past_is_off(id, &content.body, member) {
            return Ok(None);
        }
        Ok(Some((content.body, member, change)))
    }

    /// What was changed before goes in first; what has come since then is newer.
    fn make_changes(
        &mut self,
        id: ConversationId,
        target: ContentId,
        changes: Vec<(Body, MemberId, &Bytes)>,
        cx: &mut Cx<'_>,
    ) {
        let late: Vec<(ContentId, wire::LateRecord)> = self
            .pasts
            .get(&id)
            .into_iter()
            .flat_map(|past| past.late.iter())
            .filter(|((of, _), _)| *of == target)
            .map(|((_, content), record)| (*content, record.clone()))
            .collect();
        let late: Vec<(ContentId, Content, MemberId, Bytes)> = late
            .into_iter()
            .filter_map(|(of, record)| {
                let parts = wire::SignedContent::decode(record.signed_content.clone()).ok()?;
                let content = Content::decode(&parts.content).ok()?;
                let member = MemberId::try_from(&record.sender_member).ok()?;
                Some((of, content, member, record.signed_content))
            })
            .collect();
        let reacted = |by: MemberId| {
            let mut reactions = late.iter();
            reactions.any(|(_, content, member, _)| {
                matches!(content.body, Body::Reaction { .. }) && *member == by
            })
        };
        for (body, member, said) in changes {
            match body {
                Body::Edit { text, .. } => self.put_edit(id, target, &text, said, cx),
                Body::Reaction { emoji, .. } if !reacted(member) => {
                    self.react(id, target, member, &emoji, said, cx);
                }
                _ => {}
            }
        }
        for (of, content, member, signed) in late {
            if let Some(past) = self.pasts.get_mut(&id) {
                past.late.remove(&(target, of));
            }
            cx.erase(late_key(id, target, of));
            if !matches!(content.body, Body::Reaction { .. }) {
                self.apply(id, &content, member, &signed, false, cx);
            }
        }
    }

    /// Keeps what was said about a message that is still to come with the history.
    pub(super) fn keep_late(
        &mut self,
        id: ConversationId,
        target: ContentId,
        content: ContentId,
        member: MemberId,
        signed: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let open = self.pasts.get_mut(&id);
        let Some(past) = open.filter(|past| !past.record.complete && past.late.len() < LATE_MAX)
        else {
            return;
        };
        let record = wire::LateRecord {
            signed_content: signed.to_vec().into(),
            sender_member: member.to_bytes(),
        };
        cx.put_message(late_key(id, target, content), &record);
        past.late.insert((target, content), record);
    }

    // ---- who and where

    /// The key of a device and whose it is or was, as far as this device was ever shown.
    fn writer_ever(
        &self,
        id: ConversationId,
        device: DeviceId,
    ) -> Option<(crate::primitives::sign::PublicKey, MemberId)> {
        let parties = self.rooms.get(&id).into_iter();
        let parties = parties.flat_map(|room| room.conversation.parties().logs());
        let mut logs = self.log.iter().chain(parties).chain(self.friends.values());
        logs.find_map(|log| Some((log.signature_key_ever(&device)?, log.member_ever(&device)?)))
    }

    fn is_of_family(&self, member: MemberId) -> bool {
        let log = self.log.as_ref();
        log.is_some_and(|log| log.name_ever(&member).is_some())
    }

    /// A place on the screen, before all that this device has seen itself.
    fn past_order(&mut self, id: ConversationId, shown_at: u64) -> Option<u64> {
        let past = self.pasts.get_mut(&id)?;
        let counter = past.record.placed & ((1 << COUNTER_BITS) - 1);
        past.record.placed = past.record.placed.wrapping_add(1);
        let second = u64::from(u32::try_from(shown_at / 1_000).unwrap_or(u32::MAX));
        Some((second << COUNTER_BITS) | counter)
    }

    /// The audience of what is said now.
    pub(super) fn audience_now(&mut self, id: ConversationId) -> u32 {
        let (Some(room), Some(log)) = (self.rooms.get(&id), self.log.as_ref()) else {
            return 0;
        };
        let devices = room.conversation.devices();
        let members: BTreeSet<MemberId> = devices
            .iter()
            .filter_map(|device| Some(log.certificate(device)?.member))
            .collect();
        let members: Vec<u8> = members.iter().flat_map(|it| *it.as_bytes()).collect();
        self.audience_place(id, members.into())
    }

    fn audience_told(&mut self, id: ConversationId, members: &Bytes) -> u32 {
        let sound = !members.is_empty()
            && members.len().is_multiple_of(MemberId::LEN)
            && members.len() <= MemberId::LEN * limits::CONVERSATION_LEAVES_MAX;
        if sound {
            self.audience_place(id, members.clone())
        } else {
            0
        }
    }

    fn audience_place(&mut self, id: ConversationId, members: Bytes) -> u32 {
        let Some(room) = self.rooms.get_mut(&id) else {
            return 0;
        };
        let place = room.audiences.iter().position(|it| *it == members);
        let place = match place {
            Some(place) => place,
            None if room.audiences.len() < AUDIENCES_MAX => {
                room.audiences.push(members);
                room.dirty = true;
                room.audiences.len() - 1
            }
            None => return 0,
        };
        u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1)
    }
}
