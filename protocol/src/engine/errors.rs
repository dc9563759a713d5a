//! Why a store is not taken up, and why a command is not carried out.

use crate::content::BodyError;
use crate::conversation::{ConversationError, KeyPackageError};
use crate::identity::{LogError, PassError};
use crate::limits;
use crate::pairing::{CodeError, SHORT_CODE_TRIES_MAX};
use crate::policy::{PolicyError, Why};

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
    /// This device was taken out of its family.
    #[error("this device does not belong to its family any more")]
    OutOfFamily,
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
    /// No such notice.
    #[error("there is no such notice of the operator on this device")]
    NoNotice,
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
    /// This device has tried that short code as often as it may.
    #[error("{}", PairingError::Burnt)]
    CodeBurnt,
    /// The code is for another relay than this device uses.
    #[error("this pairing code is for another relay than the one this device uses")]
    OtherRelay,
    /// A name out of bounds.
    #[error("a name must have between 1 and {} bytes", limits::NAME_BYTES_MAX)]
    Name,
    /// Another guardian of that name is there: their further phone is theirs to let in.
    #[error(
        "a guardian of this family has that name already, and lets a further phone in from one they have; when they have lost them all, remove the guardian here, after which nothing new is allowed for {} days; somebody new needs another name",
        limits::REMOVAL_FREEZE_DAYS
    )]
    GuardianThere,
    /// Somebody else has that name.
    #[error("somebody else in this family has that name already; say another one")]
    NameTaken,
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
    /// No such proposal, or it was answered.
    #[error("there is no such proposal of another guardian, or it was answered already")]
    NoProposal,
    /// Nobody asks.
    #[error("that guardian does not ask to come back, or it is settled")]
    NoReturn,
    /// The guardian who asks has a phone: this one.
    #[error(
        "you have this phone: let a further one in from it, or veto if it was not you who asked"
    )]
    OwnReturn,
    /// Another phone of this guardian has put things by that only the code opens.
    #[error("type the recovery code too: another phone of yours has put by what only it opens")]
    RecoveryCode,
    /// Nothing to object to.
    #[error("there is no removal that this device's guardian could still object to")]
    NothingToObject,
    /// Not the text of an objection.
    #[error("that is not the text of an objection, or it is damaged")]
    Objection,
    /// The device has not entrusted its mailbox to this one.
    #[error("that device has not entrusted its mailbox to this one")]
    NotEntrusted,
    /// What was wanted is so already.
    #[error("there is nothing to change")]
    Nothing,
    /// Too much waits to be sent.
    #[error("{0} messages wait to be sent already; connect to the relay first")]
    OutboxFull(usize),
    /// The contact pass does not let it.
    #[error("the contact pass of this conversation does not allow that")]
    NotAllowed,
    /// Nobody of another family is in it any more.
    #[error("this contact has ended: nobody of another family is in this conversation any more")]
    Over,
    /// Nobody blocks their own guardians.
    #[error("your own guardians can't be blocked")]
    OwnFamily,
    /// Nothing is wrong with it.
    #[error("that conversation can still be changed: there is no need to form it again")]
    NotStuck,
    /// Another device may still bring this one back.
    #[error(
        "this device has asked the others to bring it back into that conversation; form it again when none has within ten minutes of being online"
    )]
    ComingBack,
    /// No group of children.
    #[error("a group is of one child of each of two or three families, ours among them")]
    Group,
    /// No such pass.
    #[error("there is no such contact pass, or it does not hold any more")]
    NoPass,
    /// The pass can't be made so.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The child's policy refuses, in words for the child.
    #[error(transparent)]
    Policy(#[from] Why),
    /// A policy that can't be.
    #[error(transparent)]
    BadPolicy(#[from] PolicyError),
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

/// How a pairing ended badly, or a try of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// The digits were wrong; people may type them again.
    #[error("that code is not right; {}", tries(*tries_left))]
    WrongCode {
        /// Tries that are left, at least one.
        tries_left: u8,
    },
    /// The digits were wrong too often.
    #[error(
        "that code was wrong {SHORT_CODE_TRIES_MAX} times and is worthless now; ask for a new one"
    )]
    Burnt,
    /// Nobody came in time.
    #[error("the pairing code has expired")]
    Expired,
    /// The relay knows no such meeting point.
    #[error(
        "the relay has no meeting point for this pairing code: it was used already or has run out; ask for a new one"
    )]
    NoMeetingPoint,
    /// As above, for a code that was typed.
    #[error(
        "the relay knows no such code: it was used already, has run out, or belongs to another relay; ask for a new one"
    )]
    UnknownShortCode,
    /// Another device is at the meeting point.
    #[error("another device is using this pairing code already; ask for a new one")]
    InUse,
    /// Every code that was drawn had a meeting point that others use.
    #[error("the relay has no meeting point free; try again in a few minutes")]
    NoneFree,
    /// The other side is gone.
    #[error("the other side left, or the code has expired")]
    Left,
    /// The connection is gone.
    #[error("the connection was lost while pairing; ask for a new code")]
    ConnectionLost,
    /// The guardian said no, in these words.
    #[error("{0}")]
    Declined(String),
    /// The handshake failed, for the reason given.
    #[error("{0}")]
    Handshake(String),
    /// The new device's request does not hold.
    #[error("the new device's request does not hold")]
    Request,
    /// The new device's answer can't be read.
    #[error("the new device's answer is damaged")]
    NewDevice,
    /// The guardian's answer can't be read.
    #[error("the guardian's answer is damaged")]
    Guardian,
    /// This device failed inside, for the reason given.
    #[error("{0}")]
    Inside(String),
}

fn tries(left: u8) -> String {
    match left {
        1 => "one try is left".to_owned(),
        2 => "two tries are left".to_owned(),
        more => format!("{more} tries are left"),
    }
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
