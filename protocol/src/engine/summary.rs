//! What a device says about its conversations.

use std::collections::BTreeMap;

use super::device::Engine;
use super::state::Room;
use crate::conversation::ConversationKind;
use crate::identity::Role;
use crate::ids::{ConversationId, DeviceId, MemberId};

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
    /// Who is in it.
    pub members: Vec<MemberSummary>,
}

/// A member, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSummary {
    /// Id.
    pub member: MemberId,
    /// Guardian or child.
    pub role: Role,
    /// Name in the family log.
    pub name: String,
    /// Their devices in the conversation.
    pub devices: Vec<DeviceId>,
}

impl Engine {
    /// All conversations of this device.
    #[must_use]
    pub fn conversations(&self) -> Vec<ConversationSummary> {
        self.rooms.values().map(|room| self.summary(room)).collect()
    }

    fn summary(&self, room: &Room) -> ConversationSummary {
        let mut members: BTreeMap<MemberId, MemberSummary> = BTreeMap::new();
        for device in room.conversation.devices() {
            let Some((log, member)) = self.log.as_ref().zip(self.certificate_member(device)) else {
                continue;
            };
            let Some(entry) = log.members().get(&member) else {
                continue;
            };
            members
                .entry(member)
                .or_insert_with(|| MemberSummary {
                    member,
                    role: entry.role,
                    name: entry.name.clone(),
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
            members: members.into_values().collect(),
        }
    }
}
