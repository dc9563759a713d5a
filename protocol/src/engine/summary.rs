//! What a device says about its conversations.

use std::collections::BTreeMap;

use super::device::Engine;
use super::governing::consented_until;
use super::io::Silence;
use super::state::Room;
use crate::conversation::{ConversationKind, Person};
use crate::day::{Day, Timestamp};
use crate::identity::{ContactPass, Decision, FamilyLog, Role};
use crate::ids::{ConversationId, DeviceId, FamilyId, MemberId, PassId};

/// A conversation, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationSummary {
    /// Id.
    pub id: ConversationId,
    /// Family conversation or room.
    pub kind: ConversationKind,
    /// Title.
    pub title: String,
    /// MLS epoch.
    pub epoch: u64,
    /// Why nothing is sent into it, when it was last tried.
    pub silence: Option<Silence>,
    /// Who is in it.
    pub members: Vec<MemberSummary>,
}

/// A member, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSummary {
    /// Id.
    pub member: MemberId,
    /// Whose member: this device's family or another.
    pub family: FamilyId,
    /// Guardian or child.
    pub role: Role,
    /// Name in the family log.
    pub name: String,
    /// Their devices in the conversation.
    pub devices: Vec<DeviceId>,
}

/// What a guardian has asked the others' yes for, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalSummary {
    /// To be named in the answer.
    pub proposal: [u8; 16],
    /// Who asks.
    pub by: MemberId,
    /// Asked by this device's guardian: it waits for another's yes; else for this one's.
    pub ours: bool,
    /// What.
    pub decision: Decision,
    /// The last day on which it can be agreed to.
    pub last_day: Day,
}

/// A contact pass that the guardians of two families have not both approved yet, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassUnderWay {
    /// What it says so far: the asked family's side is filled in with its answer.
    pub pass: ContactPass,
    /// Where it was offered.
    pub link: ConversationId,
    /// Offered by this family; else it waits for this family's answer until it is accepted.
    pub ours: bool,
    /// The asked family has said yes.
    pub accepted: bool,
}

/// A group of children of several families to which not everybody has agreed yet, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupUnderWay {
    /// To be named in the answer.
    pub group: [u8; 16],
    /// Who would be in it.
    pub children: Vec<Person>,
    /// What it is to be called.
    pub title: String,
    /// The family that asks, when it is another one and still linked with this device.
    pub asked_by: Option<FamilyId>,
    /// Asked for by this device; else it waits for its answer.
    pub ours: bool,
    /// Families that have agreed.
    pub accepted: Vec<FamilyId>,
}

impl Engine {
    /// The day as this device knows it: what guardians told, and the days counted since.
    #[must_use]
    pub fn day(&self, now: Timestamp) -> Day {
        self.today(now)
    }

    /// The logs of this device's family and of others, as far as it was shown them; its own
    /// comes first.
    pub fn family_logs(&self) -> impl Iterator<Item = &FamilyLog> {
        self.log.iter().chain(self.friends.values())
    }

    /// The newest day on which a guardian of a family was heard.
    #[must_use]
    pub fn heard_on(&self, family: &FamilyId) -> Option<Day> {
        self.lease.newest(family)
    }

    /// The contact passes that let the people of a conversation be in it today: what it says
    /// of supervision holds.
    #[must_use]
    pub fn passes_of(&self, conversation: ConversationId, now: Timestamp) -> Vec<ContactPass> {
        let Some(room) = self.rooms.get(&conversation) else {
            return vec![];
        };
        let newest = self.newest_parties(room);
        let people = newest.certificates_of(&room.conversation.devices());
        let passes = newest.passes_among(&people, self.today(now));
        passes.into_iter().cloned().collect()
    }

    /// Why nothing would be sent into a conversation now.
    #[must_use]
    pub fn silence_of(&self, conversation: ConversationId, now: Timestamp) -> Option<Silence> {
        self.silence(self.rooms.get(&conversation)?, now)
    }

    /// Members whose messages are not shown in a conversation.
    #[must_use]
    pub fn blocked_in(&self, conversation: ConversationId) -> Vec<MemberId> {
        let room = self.rooms.get(&conversation);
        room.map_or_else(Vec::new, |room| room.blocked.iter().copied().collect())
    }

    /// Children's devices that have entrusted their mailboxes to this one.
    #[must_use]
    pub fn entrusted(&self) -> Vec<DeviceId> {
        self.wards.keys().copied().collect()
    }

    /// What waits for a guardian's yes: other guardians' proposals that this device has not
    /// answered, and its own that are not decided. A no is told to nobody: a proposal runs out.
    #[must_use]
    pub fn proposals(&self) -> Vec<ProposalSummary> {
        self.proposals
            .iter()
            .filter_map(|(salt, record)| {
                let decision = &record.proposal.as_ref()?.decision;
                let by = MemberId::try_from(&record.by).ok()?;
                Some(ProposalSummary {
                    proposal: *salt,
                    by,
                    ours: self.member() == Some(by),
                    decision: Decision::decode(decision).ok()?,
                    last_day: consented_until(record)?,
                })
            })
            .collect()
    }

    /// Contact passes on their way, by id.
    #[must_use]
    pub fn passes_under_way(&self) -> BTreeMap<PassId, PassUnderWay> {
        self.passes
            .iter()
            .filter(|(_, record)| record.said_at_ms == 0)
            .filter_map(|(id, record)| {
                let under_way = PassUnderWay {
                    pass: ContactPass::decode(&record.pass).ok()?,
                    link: ConversationId::try_from(&record.link).ok()?,
                    ours: record.ours,
                    accepted: record.accepted,
                };
                Some((*id, under_way))
            })
            .collect()
    }

    /// All conversations of this device.
    #[must_use]
    pub fn conversations(&self) -> Vec<ConversationSummary> {
        self.rooms.values().map(|room| self.summary(room)).collect()
    }

    fn summary(&self, room: &Room) -> ConversationSummary {
        let mut members: BTreeMap<MemberId, MemberSummary> = BTreeMap::new();
        for device in room.conversation.devices() {
            let Some(certificate) = self.certificate_in(room.id(), device) else {
                continue;
            };
            members
                .entry(certificate.member)
                .or_insert_with(|| MemberSummary {
                    member: certificate.member,
                    family: certificate.family,
                    role: certificate.role,
                    name: self.name_in(room.id(), certificate.member),
                    devices: vec![],
                })
                .devices
                .push(device);
        }
        ConversationSummary {
            id: room.id(),
            kind: room.kind,
            title: room.title.clone(),
            epoch: room.conversation.epoch(),
            silence: room.silence,
            members: members.into_values().collect(),
        }
    }
}
