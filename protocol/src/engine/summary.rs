//! What a device says about its conversations.

use std::collections::BTreeMap;

use super::device::Engine;
use super::state::Room;
use crate::conversation::ConversationKind;
use crate::identity::Role;
use crate::ids::{ConversationId, DeviceId, FamilyId, MemberId};

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
    pub silence: Option<super::io::Silence>,
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

impl Engine {
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
