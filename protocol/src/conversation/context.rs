//! What all members of a conversation agree on: the group context extension.

use prost::Message;

use crate::ids::FamilyId;
use crate::limits;
use crate::wire;

const VERSION: u32 = 1;

/// What a conversation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationKind {
    /// All devices of one family; carries its log.
    Family,
    /// Some devices of one family.
    Room,
}

/// The group context extension 0xF0A2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationContext {
    /// Whose.
    pub family: FamilyId,
    /// Head of the family's log: for a room, at the time it was formed.
    pub head: [u8; 32],
    /// Family conversation or room.
    pub kind: ConversationKind,
    /// Title; in the family conversation the family's name.
    pub title: String,
}

impl ConversationContext {
    pub(crate) fn to_wire(&self) -> wire::ConversationContext {
        wire::ConversationContext {
            version: VERSION,
            family: self.family.to_bytes(),
            head: self.head.to_vec().into(),
            kind: match self.kind {
                ConversationKind::Family => wire::ConversationKind::Family,
                ConversationKind::Room => wire::ConversationKind::Room,
            }
            .into(),
            title: self.title.clone(),
        }
    }

    /// Reads the extension's bytes; `None` when they are of another version or out of bounds.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let context = wire::ConversationContext::decode(bytes).ok()?;
        if context.version != VERSION || context.title.len() > limits::NAME_BYTES_MAX {
            return None;
        }
        Some(Self {
            family: FamilyId::try_from(&context.family).ok()?,
            head: context.head.as_ref().try_into().ok()?,
            kind: match context.kind() {
                wire::ConversationKind::Family => ConversationKind::Family,
                wire::ConversationKind::Room => ConversationKind::Room,
                wire::ConversationKind::Unspecified => return None,
            },
            title: context.title,
        })
    }
}
