//! Why a store is not taken up, and why a command is not carried out.

use crate::content::BodyError;
use crate::conversation::{ConversationError, KeyPackageError};
use crate::identity::LogError;
use crate::limits;
use crate::pairing::CodeError;

/// Why a store can't be taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Nothing of a device in it.
    #[error("there is no device in this store")]
    Empty,
    /// Written by a newer version.
    #[error(
        "this store was written by a newer version of Kinline (store version {0}); update first"
    )]
    Newer(u32),
    /// A record can't be read.
    #[error("this store is damaged: {0}")]
    Damaged(&'static str),
    /// The machine gives no randomness.
    #[error("this machine gives no random numbers")]
    Randomness,
}

/// Why a command can't be carried out; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// This device belongs to a family already.
    #[error("this device belongs to a family already")]
    InFamily,
    /// This device belongs to no family yet.
    #[error("this device belongs to no family yet")]
    NoFamily,
    /// Only guardians may.
    #[error("only a guardian's device may do that")]
    NotGuardian,
    /// No such conversation.
    #[error("there is no such conversation on this device")]
    NoConversation,
    /// This device was removed from it.
    #[error("this device is not in that conversation any more")]
    Removed,
    /// Needs a connection.
    #[error("the relay can't be reached right now; this needs it")]
    Offline,
    /// Nothing to answer.
    #[error("there is no pairing to answer")]
    NoPairing,
    /// A pairing is under way.
    #[error("a pairing is under way; finish or cancel it first")]
    PairingUnderWay,
    /// The code can't be used.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The code has expired.
    #[error("this pairing code has expired; ask for a new one")]
    CodeExpired,
    /// The code is for another relay than this device uses.
    #[error("this pairing code is for another relay than the one this device uses")]
    OtherRelay,
    /// A name out of bounds.
    #[error("a name must have between 1 and {} bytes", limits::NAME_BYTES_MAX)]
    Name,
    /// The content is out of bounds.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Photo and voice come with their encrypted bytes, others without.
    #[error("photos and voice messages come with their encrypted file, other messages without one")]
    Blob,
    /// The target of a reaction, an edit, a deletion or a reply is not known here.
    #[error("the message that this is about is not on this device")]
    NoTarget,
    /// Learning reports stay in the family.
    #[error("learning reports go into the family's conversation only")]
    FamilyOnly,
    /// Only its author may.
    #[error("only the one who wrote a message may change it or take it back")]
    NotAuthor,
    /// No such member.
    #[error("there is no such member in the family")]
    NoMember,
    /// No key package of a device is here.
    #[error("the device of {0} has not given this one a key package yet; try again in a moment")]
    NoKeyPackage(String),
    /// The device has not entrusted its mailbox to this one.
    #[error("that device has not entrusted its mailbox to this one")]
    NotEntrusted,
    /// What was wanted is so already.
    #[error("there is nothing to change")]
    Nothing,
    /// Too much waits to be sent.
    #[error("{0} messages wait to be sent already; connect to the relay first")]
    OutboxFull(usize),
    /// The family log refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// MLS or the gate refused.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// A key package could not be made.
    #[error(transparent)]
    KeyPackage(#[from] KeyPackageError),
}

/// A device without a name is called so.
pub(super) fn named(name: &str) -> String {
    let name: String = name.chars().take(limits::NAME_BYTES_MAX / 4).collect();
    if name.is_empty() {
        "device".to_owned()
    } else {
        name
    }
}

pub(super) fn check_name(name: &str) -> Result<(), CommandError> {
    if name.trim().is_empty() || name.len() > limits::NAME_BYTES_MAX {
        return Err(CommandError::Name);
    }
    Ok(())
}
