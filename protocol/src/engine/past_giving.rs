//! Giving history to another device of the family (PROTOCOL §17): only what its member saw
//! itself, as of who was in the conversation when it was shown here, and never what
//! disappeared or was taken back. A request is kept until its piece is on its way; the words
//! lie in records that the shell reads back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::io::Read;
use super::past_media::MediaWish;
use super::records;
use super::state::Cx;
use crate::content::Content;
use crate::day::Day;
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
use crate::limits;
use crate::wire;

/// Pieces that one device gets in a day: 100 MiB.
const PIECES_MAX: u32 = 400;

/// What other devices asked for.
#[derive(Debug, Default)]
pub(super) struct Giving {
    pub(super) asked: BTreeMap<(ConversationId, DeviceId), wire::HistoryRequest>,
    pub(super) media: BTreeSet<MediaWish>,
    // Volatile from here on.
    reading: BTreeMap<u64, Plan>,
    next_read: u64,
    given: BTreeMap<DeviceId, (Day, u32)>,
}

/// What goes into a piece, once its records are read.
#[derive(Debug)]
struct Plan {
    id: ConversationId,
    device: DeviceId,
    request: Bytes,
    /// Oldest first.
    messages: Vec<(u64, ContentId)>,
    /// That follow these.
    more: u64,
    guardian: bool,
}

impl Engine {
    /// A device of the family asks for history. Its leaf has signed that.
    pub(super) fn history_asked(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        request: wire::HistoryRequest,
        cx: &mut Cx<'_>,
    ) {
        // It has read what lies there for it.
        self.collect_history(id, device, cx);
        let key = records::state(records::GIVING, &[id.as_bytes(), device.as_bytes()]);
        self.giving
            .reading
            .retain(|_, plan| (plan.id, plan.device) != (id, device));
        if request.done {
            self.giving.asked.remove(&(id, device));
            cx.erase(key);
            return;
        }
        if request.request.len() != 16 || !self.may_be_given(device) {
            return;
        }
        let today = cx.now.day();
        let (day, given) = self.giving.given.entry(device).or_insert((today, 0));
        if *day != today {
            (*day, *given) = (today, 0);
        }
        if *given >= PIECES_MAX {
            return;
        }
        *given += 1;
        cx.put_message(key, &request);
        self.giving.asked.insert((id, device), request);
    }

    /// Only devices of this family, and not all of those.
    pub(super) fn may_be_given(&self, device: DeviceId) -> bool {
        let own = self.log.as_ref();
        let certified = own.is_some_and(|log| log.certificate(&device).is_some());
        certified && self.may_have_history(device)
    }

    /// Whether a member of the family was there when a message was shown here.
    pub(super) fn was_there(
        &self,
        id: ConversationId,
        entry: &wire::IndexRecord,
        who: MemberId,
    ) -> bool {
        let Some(place) = entry.audience.checked_sub(1) else {
            // From before audiences were kept: this device's own member saw what it saw.
            return self.member() == Some(who);
        };
        let room = self.rooms.get(&id);
        let place = usize::try_from(place).ok();
        let audience = room
            .zip(place)
            .and_then(|(room, at)| room.audiences.get(at));
        audience.is_some_and(|audience| {
            let mut members = audience.chunks_exact(MemberId::LEN);
            members.any(|member| member == who.as_bytes())
        })
    }

    /// Looks up what was asked for and is not looked up yet.
    pub(super) fn tend_giving(&mut self, cx: &mut Cx<'_>) {
        let reading = |id: &ConversationId, device: &DeviceId| {
            let mut plans = self.giving.reading.values();
            plans.any(|plan| plan.id == *id && plan.device == *device)
        };
        let new: Vec<(ConversationId, DeviceId)> = self
            .giving
            .asked
            .keys()
            .filter(|(id, device)| !reading(id, device))
            .copied()
            .collect();
        for (id, device) in new {
            self.plan_piece(id, device, cx);
        }
    }

    fn plan_piece(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        let Some(request) = self.giving.asked.get(&(id, device)).cloned() else {
            return;
        };
        let certificate = self.log.as_ref().and_then(|log| log.certificate(&device));
        let here = self
            .rooms
            .get(&id)
            .is_some_and(|room| room.conversation.leaf(device).is_some());
        let Some(certificate) = certificate.filter(|_| here) else {
            self.giving.asked.remove(&(id, device));
            cx.erase(records::state(
                records::GIVING,
                &[id.as_bytes(), device.as_bytes()],
            ));
            return;
        };
        let have: BTreeSet<&[u8]> = request.have.chunks_exact(8).collect();
        let mut messages: Vec<(u64, ContentId)> = self
            .index
            .iter()
            .filter(|(content, entry)| {
                entry.conversation.as_ref() == id.as_bytes()
                    && entry.order > request.cursor
                    && entry.veiled_until_day == 0
                    && !content
                        .as_bytes()
                        .first_chunk::<8>()
                        .is_some_and(|it| have.contains(it.as_slice()))
                    && self.was_there(id, entry, certificate.member)
            })
            .map(|(content, entry)| (entry.order, *content))
            .collect();
        messages.sort_unstable();
        let all = messages.len();
        messages.truncate(limits::HISTORY_PIECE_MESSAGES_MAX);
        let plan = Plan {
            id,
            device,
            request: request.request,
            more: (all - messages.len()) as u64,
            messages,
            guardian: self.guardian_of(device).is_some(),
        };
        if plan.messages.is_empty() {
            return self.give(&plan, &BTreeMap::new(), cx);
        }
        let number = self.giving.next_read;
        self.giving.next_read += 1;
        cx.out.reads.push(Read {
            number,
            names: self.names_of(&plan),
        });
        self.giving.reading.insert(number, plan);
    }

    fn names_of(&self, plan: &Plan) -> Vec<Vec<u8>> {
        let parties = self.rooms.get(&plan.id).into_iter();
        let members: BTreeSet<MemberId> = parties
            .flat_map(|room| room.conversation.parties().logs())
            .flat_map(|log| log.members().keys().copied())
            .collect();
        let mut names = Vec::new();
        for (order, content) in &plan.messages {
            names.push(records::message(plan.id, *order).name);
            names.push(records::edit_said(plan.id, *content).name);
            let reactions = members.iter();
            names.extend(reactions.map(|by| records::reaction_said(plan.id, *content, *by).name));
        }
        names
    }

    /// What the shell has read back goes on its way.
    pub(super) fn history_read(
        &mut self,
        number: u64,
        found: Vec<(Vec<u8>, Vec<u8>)>,
        cx: &mut Cx<'_>,
    ) {
        if let Some(plan) = self.giving.reading.remove(&number) {
            let found = found.into_iter().collect();
            self.give(&plan, &found, cx);
        }
    }

    fn give(&mut self, plan: &Plan, found: &BTreeMap<Vec<u8>, Vec<u8>>, cx: &mut Cx<'_>) {
        let (id, device) = (plan.id, plan.device);
        let mut piece = wire::HistoryPiece {
            request: plan.request.clone(),
            ..wire::HistoryPiece::default()
        };
        let mut bytes = 0;
        let mut done = 0;
        for (order, content) in &plan.messages {
            if bytes >= limits::HISTORY_PIECE_BYTES {
                break;
            }
            done += 1;
            piece.cursor = *order;
            if let Some(message) = self.message_of(plan, *order, *content, found) {
                bytes += message.encoded_len();
                piece.messages.push(message);
            }
        }
        piece.left = plan.more + (plan.messages.len() - done) as u64;
        piece.last = piece.left == 0;
        self.giving.asked.remove(&(id, device));
        cx.erase(records::state(
            records::GIVING,
            &[id.as_bytes(), device.as_bytes()],
        ));
        let direct = wire::Direct {
            history_piece: Some(piece),
            ..wire::Direct::default()
        };
        self.send_direct(id, device, direct, cx);
    }

    /// One message with what became of it; `None` for what is gone meanwhile.
    fn message_of(
        &self,
        plan: &Plan,
        order: u64,
        content: ContentId,
        found: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Option<wire::HistoryMessage> {
        let id = plan.id;
        let entry = self.index.get(&content)?;
        if entry.conversation.as_ref() != id.as_bytes() || entry.veiled_until_day > 0 {
            return None;
        }
        let stored = found.get(&records::message(id, order).name)?;
        let stored = wire::StoredMessageRecord::decode(stored.as_slice()).ok()?;
        if stored.deleted || stored.content_id.as_ref() != content.as_bytes() {
            return None;
        }
        // Copies of pictures from elsewhere are for guardians.
        let said = Content::decode(&stored.content).ok()?;
        if said.conversation != id && !plan.guardian {
            return None;
        }
        let edit = found.get(&records::edit_said(id, content).name);
        let reactions =
            records::history(records::REACTION_SAID, &[id.as_bytes(), content.as_bytes()]);
        let reactions = found
            .range(reactions.name.clone()..)
            .take_while(|(name, _)| name.starts_with(&reactions.name))
            .map(|(_, said)| said);
        let changes = edit.into_iter().chain(reactions);
        let audience = entry.audience.checked_sub(1).and_then(|place| {
            let room = self.rooms.get(&id)?;
            room.audiences.get(usize::try_from(place).ok()?).cloned()
        });
        let signed = wire::SignedContent {
            content: stored.content,
            signature: stored.signature,
        };
        Some(wire::HistoryMessage {
            signed_content: signed.encode_to_vec().into(),
            sender_member: stored.sender_member,
            shown_at_ms: stored.shown_at_ms,
            disappears_at_ms: stored.disappears_at_ms,
            changes: changes.map(|said| Bytes::copy_from_slice(said)).collect(),
            audience: audience.unwrap_or_default(),
        })
    }
}
