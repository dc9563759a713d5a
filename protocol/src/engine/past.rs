//! What was said before this device came (PROTOCOL §17): a further device of a member, or the
//! one of a member who is back, asks the family's other devices in the conversation for it,
//! one after the other, piece by piece. How far it is stands beside what came in, so that it
//! goes on from there after anything.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::device::Engine;
use super::records;
use super::state::{Cx, Room};
use crate::day::Timestamp;
use crate::identity::Role;
use crate::ids::{ContentId, ConversationId, DeviceId};
use crate::wire;

/// Who has not answered for this long, while this device was there, is passed over.
const ANSWER_MS: u64 = 3 * 60_000;
/// … and who was asked so often without an answer.
const ASKS_MAX: u32 = 3;
/// After all were asked in vain, so long until the next round; doubled each time …
const ROUND_MS: u64 = 10 * 60_000;
/// … up to six hours.
const ROUND_MS_MAX: u64 = 6 * 3_600_000;
/// Days after which nobody is asked any more.
const ASK_DAYS: u32 = 30;
/// Places on the screen below this are for what comes in with the history: its second on the
/// giver's screen, and a counter.
pub(super) const LIVE_ORDER: u64 = 1 << 52;
/// Content ids that a request names as known.
const HAVE_MAX: usize = 20_000;

/// History of a conversation that is coming in.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) record: wire::PastRecord,
    /// By target and their own id.
    pub(super) late: BTreeMap<(ContentId, ContentId), wire::LateRecord>,
    // Volatile from here on.
    /// When to ask next; `None`: at once.
    pub(super) next_at: Option<Timestamp>,
    /// A request is under way since this device was started.
    pub(super) asked: bool,
    /// Who did not answer in this round.
    pub(super) silent: BTreeSet<DeviceId>,
    pub(super) rounds: u32,
}

/// How much of a conversation's history has come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryProgress {
    /// Where.
    pub conversation: ConversationId,
    /// Messages that came in.
    pub done: u64,
    /// Messages that are known of.
    pub total: u64,
    /// A device has given all it has.
    pub finished: bool,
    /// The device that is asked.
    pub giver: Option<DeviceId>,
}

impl Engine {
    /// Whether a device may be given history at all. One that came back with a password alone
    /// may not.
    pub(super) fn may_have_history(&self, device: DeviceId) -> bool {
        let Some(log) = self.log.as_ref() else {
            return true;
        };
        let owner = log.owner_ever(&device);
        !owner.is_some_and(|owner| log.has_waited(&owner))
    }

    /// How much of the history has come in, for each conversation that this device came to
    /// after others of its member.
    #[must_use]
    pub fn history_progress(&self) -> Vec<HistoryProgress> {
        let all = self.pasts.iter();
        all.map(|(id, past)| HistoryProgress {
            conversation: *id,
            done: past.record.done,
            total: past.record.done.saturating_add(past.record.left),
            finished: past.record.finished,
            giver: DeviceId::try_from(&past.record.giver).ok(),
        })
        .collect()
    }

    /// This device has come into a conversation: when its member had others before, they, or
    /// others of the family, may know what was said there.
    pub(super) fn begin_past(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let own = self.device();
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.next_order = LIVE_ORDER;
        // In the first epoch nobody has said anything.
        let fresh = room.conversation.epoch() <= 1;
        let member = self.member();
        let others = member.zip(self.log.as_ref()).is_some_and(|(member, log)| {
            let mut devices = log.devices_ever(member);
            devices.any(|device| device != own)
        });
        if fresh || !others {
            return;
        }
        let record = wire::PastRecord {
            since_day: self.today(cx.now).0,
            ..wire::PastRecord::default()
        };
        let past = Past {
            record,
            ..Past::default()
        };
        self.pasts.insert(id, past);
        self.save_past(id, cx);
    }

    pub(super) fn save_past(&self, id: ConversationId, cx: &mut Cx<'_>) {
        if let Some(past) = self.pasts.get(&id) {
            cx.put_message(
                records::state(records::PAST, &[id.as_bytes()]),
                &past.record,
            );
        }
    }

    // ---- asking

    pub(super) fn past_deadline(&self) -> Option<Timestamp> {
        let open = self.pasts.values().filter(|past| !past.record.complete);
        open.map(|past| self.past_due(past)).min()
    }

    /// Who is asked has to answer only while this device is there.
    fn past_due(&self, past: &Past) -> Timestamp {
        let next = past.next_at.unwrap_or(Timestamp(0));
        let here = self.session.caught_up_at.filter(|_| past.asked);
        here.map_or(next, |at| next.max(at.plus_ms(ANSWER_MS)))
    }

    pub(super) fn tend_past(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        let due: Vec<ConversationId> = self
            .pasts
            .iter()
            .filter(|(_, past)| !past.record.complete && self.past_due(past) <= cx.now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.ask_past(id, cx);
        }
    }

    /// Family devices in a conversation: first those of this member, then guardians', then
    /// children's.
    pub(super) fn past_givers(&self, id: ConversationId) -> Vec<DeviceId> {
        let own = self.device();
        let (Some(room), Some(log)) = (self.rooms.get(&id), self.log.as_ref()) else {
            return vec![];
        };
        let member = self.member();
        let others = room.conversation.devices().into_iter();
        let others = others.filter(|device| *device != own);
        let mut ranked: Vec<(u8, DeviceId)> = others
            .filter_map(|device| {
                let certificate = log.certificate(&device)?;
                let rank = match certificate.role {
                    _ if Some(certificate.member) == member => 0,
                    Role::Guardian => 1,
                    Role::Child => 2,
                };
                Some((rank, device))
            })
            .collect();
        ranked.sort();
        ranked.into_iter().map(|(_, device)| device).collect()
    }

    fn ask_past(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let ready = self.rooms.get(&id).is_some_and(Room::can_talk)
            && self.may_have_history(self.device())
            && !self.past_rests(id, cx.now);
        let givers = self.past_givers(id);
        let today = self.today(cx.now).0;
        let Some(past) = self.pasts.get_mut(&id) else {
            return;
        };
        past.next_at = Some(cx.now.plus_ms(ANSWER_MS));
        if !ready {
            return;
        }
        let heard = |device: &DeviceId| {
            let mut heard = past.record.heard.iter();
            heard.any(|it| it.as_ref() == device.as_bytes())
        };
        let open: Vec<DeviceId> = givers.into_iter().filter(|it| !heard(it)).collect();
        let over = past.record.since_day.saturating_add(ASK_DAYS) < today;
        if open.is_empty() || over {
            return self.complete_past(id, cx);
        }
        let current = DeviceId::try_from(&past.record.giver).ok();
        // Also one that was asked in several short lives of this process.
        if (past.asked || past.record.asks >= ASKS_MAX)
            && let Some(silent) = current
        {
            past.silent.insert(silent);
        }
        let stays = current.and_then(|it| open.iter().position(|of| *of == it));
        let (before, after) = open.split_at(stays.unwrap_or_default());
        let mut round = after.iter().chain(before);
        let Some(giver) = round.find(|it| !past.silent.contains(it)).copied() else {
            // All were asked in vain: a round later again.
            past.silent.clear();
            let wait = ROUND_MS.saturating_mul(1 << past.rounds.min(8));
            past.next_at = Some(cx.now.plus_ms(wait.min(ROUND_MS_MAX)));
            past.rounds = past.rounds.saturating_add(1);
            (past.asked, past.record.asks) = (false, 0);
            return;
        };
        if current != Some(giver) {
            past.record.several |= past.record.done > 0 || !past.record.heard.is_empty();
            past.record.giver = giver.to_bytes();
            past.record.cursor = 0;
            past.record.left = 0;
            past.record.asks = 0;
        }
        past.record.asks = past.record.asks.saturating_add(1);
        past.asked = true;
        past.record.request = cx.random16().to_vec().into();
        let request = wire::HistoryRequest {
            request: past.record.request.clone(),
            cursor: past.record.cursor,
            have: if past.record.several {
                self.have(id)
            } else {
                Bytes::new()
            },
            done: false,
        };
        self.save_past(id, cx);
        self.say_history(id, giver, request, cx);
    }

    pub(super) fn say_history(
        &mut self,
        id: ConversationId,
        giver: DeviceId,
        request: wire::HistoryRequest,
        cx: &mut Cx<'_>,
    ) {
        let direct = wire::Direct {
            history_request: Some(request),
            ..wire::Direct::default()
        };
        self.send_direct(id, giver, direct, cx);
    }

    /// Beginnings of the ids of what has come in of a conversation.
    fn have(&self, id: ConversationId) -> Bytes {
        let here = self
            .index
            .iter()
            .filter(|(_, entry)| entry.past && entry.conversation.as_ref() == id.as_bytes());
        let ids = here.filter_map(|(content, _)| content.as_bytes().first_chunk::<8>().copied());
        ids.take(HAVE_MAX).flatten().collect::<Vec<u8>>().into()
    }

    fn complete_past(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let Some(past) = self.pasts.get_mut(&id) else {
            return;
        };
        past.record.complete = true;
        past.record.finished = true;
        past.record.giver = Bytes::new();
        past.record.left = 0;
        for (target, content) in std::mem::take(&mut past.late).into_keys() {
            cx.erase(late_key(id, target, content));
        }
        self.save_past(id, cx);
    }
}

pub(super) fn late_key(
    id: ConversationId,
    target: ContentId,
    content: ContentId,
) -> super::io::RecordKey {
    records::state(
        records::LATE,
        &[id.as_bytes(), target.as_bytes(), content.as_bytes()],
    )
}
