//! What all members of a conversation agree on: the group context extension.

use prost::Message;

use super::rights::Person;
use crate::day::Day;
use crate::ids::{FamilyId, MemberId};
use crate::limits;
use crate::wire;

const VERSION: u32 = 1;

/// What a conversation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConversationKind {
    /// All devices of one family; carries its log.
    Family,
    /// Some members of one family.
    Room,
    /// Children of two or three families, and the guardians that their passes name.
    Contact,
    /// Guardians of two families who have met; nothing in it is shown as a message.
    Link,
}

impl ConversationKind {
    /// Whether members of other families are in it.
    #[must_use]
    pub const fn crosses_families(self) -> bool {
        matches!(self, Self::Contact | Self::Link)
    }

    /// How many families it has room for.
    #[must_use]
    pub const fn parties_max(self) -> usize {
        match self {
            Self::Family | Self::Room => 1,
            Self::Link => 2,
            Self::Contact => limits::CONVERSATION_FAMILIES_MAX,
        }
    }

    pub(crate) fn to_wire(self) -> i32 {
        match self {
            Self::Family => wire::ConversationKind::Family,
            Self::Room => wire::ConversationKind::Room,
            Self::Contact => wire::ConversationKind::Contact,
            Self::Link => wire::ConversationKind::Link,
        }
        .into()
    }

    pub(crate) const fn from_wire(kind: wire::ConversationKind) -> Option<Self> {
        match kind {
            wire::ConversationKind::Family => Some(Self::Family),
            wire::ConversationKind::Room => Some(Self::Room),
            wire::ConversationKind::Contact => Some(Self::Contact),
            wire::ConversationKind::Link => Some(Self::Link),
            wire::ConversationKind::Unspecified => None,
        }
    }
}

/// A family in a conversation, and the head of its log there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Party {
    /// Which family.
    pub family: FamilyId,
    /// Head of its log, as far as this conversation has followed it.
    pub head: [u8; 32],
}

/// The group context extension 0xF0A2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationContext {
    /// What it is for.
    pub kind: ConversationKind,
    /// Title; in the family conversation the family's name.
    pub title: String,
    /// Whose members are in it, by family id, ascending.
    pub parties: Vec<Party>,
    /// The day of its last change, by the one who made it; never decreases.
    pub day: Day,
    /// Who left it by themselves, ascending: nobody brings them back but a guardian of theirs.
    pub left: Vec<Person>,
}

impl ConversationContext {
    pub(crate) fn to_wire(&self) -> wire::ConversationContext {
        let party = |party: &Party| wire::Party {
            family: party.family.to_bytes(),
            head: party.head.to_vec().into(),
        };
        wire::ConversationContext {
            version: VERSION,
            kind: self.kind.to_wire(),
            title: self.title.clone(),
            parties: self.parties.iter().map(party).collect(),
            day: self.day.0,
            left: self
                .left
                .iter()
                .map(|person| wire::Person {
                    family: person.family.to_bytes(),
                    member: person.member.to_bytes(),
                })
                .collect(),
        }
    }

    /// Reads the extension's bytes; `None` when they are of another version or out of bounds.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let context = wire::ConversationContext::decode(bytes).ok()?;
        let kind = ConversationKind::from_wire(context.kind())?;
        if context.version != VERSION
            || context.title.len() > limits::NAME_BYTES_MAX
            || context.parties.is_empty()
            || context.parties.len() > kind.parties_max()
        {
            return None;
        }
        let mut parties: Vec<Party> = Vec::with_capacity(context.parties.len());
        for party in &context.parties {
            let party = Party {
                family: FamilyId::try_from(&party.family).ok()?,
                head: party.head.as_ref().try_into().ok()?,
            };
            if parties
                .last()
                .is_some_and(|last| last.family >= party.family)
            {
                return None;
            }
            parties.push(party);
        }
        let mut left: Vec<Person> = Vec::new();
        for person in context
            .left
            .iter()
            .take(limits::CONVERSATION_LEAVES_MAX + 1)
        {
            let person = Person {
                family: FamilyId::try_from(&person.family).ok()?,
                member: MemberId::try_from(&person.member).ok()?,
            };
            if left.last().is_some_and(|last| *last >= person) {
                return None;
            }
            left.push(person);
        }
        if left.len() > limits::CONVERSATION_LEAVES_MAX {
            return None;
        }
        Some(Self {
            left,
            kind,
            title: context.title,
            parties,
            day: Day(context.day),
        })
    }
}
