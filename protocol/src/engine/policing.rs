//! What a family lets a child do with others, enforced on the child's device: what it may
//! write, and when it is shown what others wrote (PROTOCOL §8.7). At a guardian: setting it.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::content::{Body, Content};
use crate::conversation::ConversationKind;
use crate::day::{Day, Timestamp};
use crate::identity::{Certificate, Decision, FamilyLog, Role};
use crate::ids::{ConversationId, DeviceId, MemberId};
use crate::policy::{Audience, DayCount, Policy, Verdict, Why};
use crate::wire;

/// Contents that wait for the end of quiet time: a thousand in each of ten nights.
const RESTING_MAX: usize = 10_000;
/// Bytes of them: as much as gaps may hold back, twice.
const RESTING_BYTES_MAX: usize = 32 * 1_024 * 1_024;

/// A content that is not shown yet.
struct Resting {
    conversation: ConversationId,
    sender: DeviceId,
    sequence: u64,
    signed: Bytes,
}

/// What a child's device keeps for its policy.
#[derive(Default)]
pub(super) struct Policing {
    /// Messages to others today.
    count: DayCount,
    /// Not shown yet, in the order in which they would have been.
    resting: BTreeMap<u64, Resting>,
    resting_bytes: usize,
    next: u64,
    /// Volatile: when to look again whether they may be shown.
    wake_at: Option<Timestamp>,
}

impl Policing {
    pub(super) const fn load_count(&mut self, record: &wire::DayCountRecord) {
        self.count = DayCount {
            day: Day(record.day),
            sent: record.sent,
        };
    }

    /// `None` when it can't be read; it was checked before it was kept.
    pub(super) fn load_resting(&mut self, number: u64, signed: Bytes) -> Option<()> {
        let resting = read(signed)?;
        self.resting_bytes = self.resting_bytes.saturating_add(resting.signed.len());
        self.resting.insert(number, resting);
        self.next = self.next.max(number.saturating_add(1));
        self.wake_at = Some(Timestamp(0));
        Some(())
    }

    /// The first content of each device that is not shown yet in a conversation.
    pub(super) fn unseen(&self, id: ConversationId) -> BTreeMap<DeviceId, u64> {
        let mut first = BTreeMap::new();
        let here = self.resting.values().filter(|of| of.conversation == id);
        for resting in here {
            first.entry(resting.sender).or_insert(resting.sequence);
        }
        first
    }
}

fn read(signed: Bytes) -> Option<Resting> {
    let parts = wire::SignedContent::decode(signed.clone()).ok()?;
    let content = Content::decode(&parts.content).ok()?;
    Some(Resting {
        conversation: content.conversation,
        sender: content.sender,
        sequence: content.sequence,
        signed,
    })
}

/// How a child's policy stands at a moment, for its screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyNow {
    /// Why nothing goes to others and nothing of them is shown; `None`: it does and is.
    pub stopped: Option<Why>,
    /// Kinds of content that may go: bits of [`crate::content::kinds`].
    pub kinds: u32,
    /// Messages to others that are left today; `None`: as many as one likes.
    pub left_today: Option<u32>,
    /// Contents of others that wait to be shown.
    pub waiting: usize,
    /// When the clock alone changes any of this next.
    pub changes_at: Option<Timestamp>,
}

impl Engine {
    /// A child's policy; `None`: there is none, and everything is allowed.
    #[must_use]
    pub fn policy_of(&self, child: &MemberId) -> Option<&Policy> {
        self.log.as_ref()?.policy(child)
    }

    /// How the policy of this device's child stands; `None` when it has none.
    #[must_use]
    pub fn policy_now(&self, now: Timestamp) -> Option<PolicyNow> {
        let policy = self.own_policy()?;
        let stopped = policy.rest(now);
        Some(PolicyNow {
            stopped,
            kinds: policy.kinds,
            left_today: policy.left_today(now, self.policing.count),
            waiting: self.policing.resting.len(),
            changes_at: policy.next_change(now),
        })
    }

    fn own_policy(&self) -> Option<&Policy> {
        self.policy_of(&self.member()?)
    }

    // ---- at a guardian

    pub(super) fn set_policy(
        &mut self,
        child: MemberId,
        policy: Policy,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        let family = self.family_conversation().ok_or(CommandError::NoFamily)?;
        if self.identity_key().is_none() {
            return Err(CommandError::NotGuardian);
        }
        policy.check()?;
        let own = self.certificate_in(family, self.signer.device);
        if own.is_none_or(|own| own.role != Role::Guardian) {
            return Err(CommandError::Removed);
        }
        let member = log.members().get(&child);
        if member.is_none_or(|member| member.role != Role::Child) {
            return Err(CommandError::NoMember);
        }
        if log.policy(&child) == Some(&policy) {
            return Err(CommandError::Nothing);
        }
        let decision = Decision::SetPolicy { child, policy };
        self.decide(&[decision], vec![], cx)
    }

    /// Says whose policy a newer log of the family changes.
    pub(super) fn tell_policies(&self, newer: &FamilyLog, cx: &mut Cx<'_>) {
        let Some(log) = &self.log else { return };
        for child in newer.members().keys() {
            if newer.policy(child) != log.policy(child) {
                cx.event(Event::PolicyChanged { child: *child });
            }
        }
    }

    // ---- what a child writes

    /// Refuses what the child may not write now; counts what it may.
    pub(super) fn police(
        &mut self,
        id: ConversationId,
        body: &Body,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let Some(policy) = self.own_policy() else {
            return Ok(());
        };
        let audience = self.audience(id);
        let before = self.policing.count;
        if let Verdict::Refused(why) = policy.judge(body, audience, cx.now, before) {
            return Err(why.into());
        }
        let count = policy.count(body, audience, cx.now, before);
        if count != before {
            self.policing.count = count;
            let record = wire::DayCountRecord {
                day: count.day.0,
                sent: count.sent,
            };
            cx.put_message(records::state(records::DAY_COUNT, &[]), &record);
        }
        Ok(())
    }

    /// Who reads what this device writes in a conversation.
    fn audience(&self, id: ConversationId) -> Audience {
        let Some(room) = self.rooms.get(&id) else {
            return Audience::Others;
        };
        if room.kind == ConversationKind::Family {
            return Audience::Family;
        }
        let readers = room.conversation.devices().into_iter();
        let mut readers = readers.chain(self.joining(id));
        if readers.all(|device| self.is_close(id, device)) {
            Audience::Guardians
        } else {
            Audience::Others
        }
    }

    /// Whether a device is this member's own or of a guardian of its family, or the
    /// conversation is the family's.
    fn is_close(&self, id: ConversationId, device: DeviceId) -> bool {
        let room = self.rooms.get(&id);
        if room.is_some_and(|room| room.kind == ConversationKind::Family) {
            return true;
        }
        let is_close = |certificate: Certificate| {
            self.is_own(&certificate.family)
                && (certificate.role == Role::Guardian || Some(certificate.member) == self.member())
        };
        self.certificate_in(id, device).is_some_and(is_close)
    }

    /// Whether nobody is told that this child is typing there.
    pub(super) fn types_unseen(&self, id: ConversationId, now: Timestamp) -> bool {
        let policy = self.own_policy();
        policy.is_some_and(|policy| policy.rest(now).is_some())
            && self.audience(id) == Audience::Others
    }

    // ---- what a child is shown

    /// Whether the policy of this device's child keeps history of a conversation from it for
    /// now.
    pub(super) fn past_rests(&self, id: ConversationId, now: Timestamp) -> bool {
        let room = self.rooms.get(&id);
        let home = room.is_some_and(|room| room.kind == ConversationKind::Family);
        let policy = self.own_policy();
        !home && policy.is_some_and(|policy| policy.rest(now).is_some())
    }

    /// Whether the policy of this device's child keeps a content that comes with the history
    /// from it for good. Its guardians' words, and its own, never.
    pub(super) fn past_is_off(&self, id: ConversationId, body: &Body, by: MemberId) -> bool {
        let room = self.rooms.get(&id);
        let home = room.is_some_and(|room| room.kind == ConversationKind::Family);
        let known = self.log.as_ref().and_then(|log| log.members().get(&by));
        let guardian = known.is_some_and(|known| known.role == Role::Guardian);
        let policy = self.own_policy();
        let off = policy.is_some_and(|policy| !policy.allows_kind(body.kind_bit()));
        off && !home && !guardian && self.member() != Some(by)
    }

    /// Whether what a device says now waits for another time.
    pub(super) fn rests(&self, id: ConversationId, sender: DeviceId, now: Timestamp) -> bool {
        let policy = self.own_policy();
        let quiet =
            policy.is_some_and(|policy| policy.rest(now).is_some()) && !self.is_close(id, sender);
        quiet || self.lease_rests(id, sender, now)
    }

    /// Keeps for later, or leaves out, what the child is not to be shown now; false: it is.
    pub(super) fn keeps_from_child(
        &mut self,
        id: ConversationId,
        content: &Content,
        member: MemberId,
        signed: &[u8],
        cx: &mut Cx<'_>,
    ) -> bool {
        // What was kept comes first: the policy may have changed just now.
        self.wake(cx);
        if matches!(content.body, Body::Control(_)) {
            return false;
        }
        let kind = content.body.kind_bit();
        let off = self
            .own_policy()
            .is_some_and(|policy| !policy.allows_kind(kind));
        if self.rests(id, content.sender, cx.now) {
            if !self.lay_aside(signed, cx) {
                let sentence = "More arrived in quiet time than this tablet keeps.".into();
                self.withhold(id, content, member, sentence, cx);
            }
            true
        } else if off && !self.is_close(id, content.sender) {
            let why = Why::Kind(crate::content::kinds::name(kind));
            self.withhold(id, content, member, why.to_string(), cx);
            true
        } else {
            false
        }
    }

    /// False when too much is kept.
    fn lay_aside(&mut self, signed: &[u8], cx: &mut Cx<'_>) -> bool {
        let now = cx.now;
        let policing = &mut self.policing;
        let bytes = policing.resting_bytes.saturating_add(signed.len());
        if policing.resting.len() >= RESTING_MAX || bytes > RESTING_BYTES_MAX {
            return false;
        }
        let Some(resting) = read(Bytes::copy_from_slice(signed)) else {
            return false;
        };
        let record = wire::HeldContentRecord {
            signed_content: resting.signed.clone(),
        };
        cx.put_message(records::number(records::RESTING, policing.next), &record);
        policing.resting.insert(policing.next, resting);
        policing.resting_bytes = bytes;
        policing.next = policing.next.saturating_add(1);
        self.policing.wake_at = self.own_policy().and_then(|policy| policy.next_change(now));
        true
    }

    /// Never shown: what it was stays unsaid, and nothing more can be said about it.
    fn withhold(
        &mut self,
        id: ConversationId,
        content: &Content,
        member: MemberId,
        sentence: String,
        cx: &mut Cx<'_>,
    ) {
        self.counters.withheld += 1;
        let entry = wire::IndexRecord {
            sender_member: member.to_bytes(),
            sender_device: content.sender.to_bytes(),
            sequence: content.sequence,
            ..wire::IndexRecord::default()
        };
        self.save_entry(content.id, entry, cx);
        cx.event(Event::Withheld {
            conversation: id,
            content: content.id,
            sender: member,
            sentence,
        });
    }

    /// When to look again whether what waits may be shown.
    pub(super) const fn wake_deadline(&self) -> Option<Timestamp> {
        self.policing.wake_at
    }

    /// Shows what waited, once the policy lets it be shown.
    pub(super) fn wake(&mut self, cx: &mut Cx<'_>) {
        if self.policing.resting.is_empty() {
            return;
        }
        // A tablet that the family has put out shows nothing more.
        if self.member().is_none() {
            self.policing.wake_at = None;
            return;
        }
        let policy = self.own_policy();
        self.policing.wake_at = policy
            .filter(|policy| policy.rest(cx.now).is_some())
            .and_then(|policy| policy.next_change(cx.now));
        let mut rests: BTreeMap<(ConversationId, DeviceId), bool> = BTreeMap::new();
        for resting in self.policing.resting.values() {
            let key = (resting.conversation, resting.sender);
            rests
                .entry(key)
                .or_insert_with(|| self.rests(key.0, key.1, cx.now));
        }
        let (stay, go): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.policing.resting)
                .into_iter()
                .partition(|(_, resting)| {
                    rests.get(&(resting.conversation, resting.sender)) == Some(&true)
                });
        self.policing.resting = stay;
        self.policing.resting_bytes = self
            .policing
            .resting
            .values()
            .map(|resting| resting.signed.len())
            .sum();
        for (number, resting) in go {
            cx.erase(records::number(records::RESTING, number));
            let content = wire::SignedContent::decode(resting.signed.clone())
                .ok()
                .and_then(|parts| Content::decode(&parts.content).ok());
            if let Some(content) = content {
                self.show(resting.conversation, &content, &resting.signed, cx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha20Rng;

    use super::{Policing, RESTING_BYTES_MAX, RESTING_MAX};
    use crate::content::{Body, Content};
    use crate::day::{Day, Timestamp};
    use crate::engine::io::Output;
    use crate::engine::state::Cx;
    use crate::engine::{Engine, Setup};
    use crate::ids::{ContentId, ConversationId, DeviceId};
    use crate::primitives::sign::SecretKey;

    #[test]
    fn what_waits_is_bounded() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let relay = "wss://localhost:1#pin=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
        let setup = Setup {
            relay: relay.parse().unwrap(),
            device_name: "tablet".into(),
            admission_code: String::new(),
        };
        let now = Timestamp(1);
        let (mut engine, _) = Engine::create(setup, now, &mut rng).unwrap();
        let content = Content {
            id: ContentId::new([1; 16]),
            conversation: ConversationId::new([2; 16]),
            sender: DeviceId::new([3; 16]),
            sequence: 4,
            sent_at: now,
            keep_until: Day(30),
            disappear_seconds: 0,
            reply_to: None,
            body: Body::Text { text: "hi".into() },
        };
        let signed = content.sign(&SecretKey::from_seed(&[5; 32]));
        let mut cx = Cx {
            now,
            rng: &mut rng,
            out: Output::default(),
        };
        assert!(!engine.lay_aside(b"\xff", &mut cx), "not a content");
        engine.policing.resting_bytes = RESTING_BYTES_MAX - signed.len();
        assert!(engine.lay_aside(&signed, &mut cx));
        assert!(!engine.lay_aside(&signed, &mut cx), "too many bytes");
        engine.policing.resting_bytes = signed.len();
        for _ in 1..RESTING_MAX {
            assert!(engine.lay_aside(&signed, &mut cx));
        }
        assert!(!engine.lay_aside(&signed, &mut cx), "too many");
        let kept = RESTING_MAX.checked_mul(signed.len()).unwrap();
        assert_eq!(engine.policing.resting_bytes, kept);
        assert_eq!(cx.out.changes.records.len(), RESTING_MAX);
        let unseen = engine.policing.unseen(content.conversation);
        assert_eq!(unseen.get(&content.sender), Some(&4));
        assert!(
            engine
                .policing
                .unseen(ConversationId::new([9; 16]))
                .is_empty()
        );
    }

    #[test]
    fn a_damaged_record_is_not_taken_up() {
        let mut policing = Policing::default();
        assert_eq!(policing.load_resting(1, Bytes::from_static(b"\xff")), None);
        assert_eq!(policing.load_resting(1, Bytes::new()), None);
        assert_eq!(policing.wake_at, None);
    }
}
