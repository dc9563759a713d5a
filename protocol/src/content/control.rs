//! What devices say to each other inside a conversation (PROTOCOL §8.6): in order, confirmed
//! and sent again like messages, and never shown as one.
//!
//! Statements, heads, passes and key packages are carried as their exact bytes, bounded and
//! otherwise unread here: who acts on them checks them.

use bytes::Bytes;
use prost::Message as _;

use super::BodyError;
use super::body::bounded;
use crate::conversation::Person;
use crate::ids::{ContentId, ConversationId, DeviceId, FamilyId, MemberId, PassId};
use crate::limits;
use crate::operator::CHECKPOINT_BYTES;
use crate::wire::{self, control::Body as WireBody};

/// Bytes of one control content: with id, number and signature it is below
/// [`limits::CONTENT_BYTES_MAX`].
const CONTROL_BYTES_MAX: usize = 120 * 1_024;
const _: () = assert!(CONTROL_BYTES_MAX + 1_024 <= limits::CONTENT_BYTES_MAX);
/// Bytes of a signed head or a consent: a head has below 100, keys and signatures 96.
const SMALL_BYTES_MAX: usize = 1_024;
/// Bytes of a decision or a contact pass: two sides of eight guardians have below 1 KiB.
const DECISION_BYTES_MAX: usize = 16 * 1_024;
/// Bytes of a key package.
const KEY_PACKAGE_BYTES_MAX: usize = 16 * 1_024;
/// Bytes of a wish to come back: a key package and three decisions with their consents.
const RETURN_BYTES_MAX: usize = 32 * 1_024;
/// Key packages in one control content: one for each leaf of a conversation.
const KEY_PACKAGES_MAX: usize = limits::CONVERSATION_LEAVES_MAX;
/// Bytes of a code's text.
const CODE_BYTES_MAX: usize = 1_024;
/// Bytes of a sentence, or of the words that go with a request or a report.
const WORDS_BYTES_MAX: usize = 1_024;

/// One control content, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// A guardian's fresh signature of its family's head: the bytes of a `SignedHead`.
    Head(Bytes),
    /// Entries of a family's log.
    News(LogNews),
    /// A decision that needs other guardians' consent.
    Proposal(Proposal),
    /// A contact pass on its way between two families' guardians.
    PassOffer(PassOffer),
    /// A child asks its guardians for a friend.
    FriendRequest(FriendRequest),
    /// A reported message.
    Report(Report),
    /// A content of another conversation, for guardians to see.
    Copy(Copied),
    /// What a device's gate refused.
    Refusal(Refusal),
    /// One device of a child is to form the conversation that a pass is for.
    Setup(ContactSetup),
    /// Children of several families in one conversation, on its way between guardians.
    Group(GroupOffer),
    /// How far this device was shown the operator's log: the bytes of a checkpoint.
    OperatorSeen(Bytes),
    /// A guardian asks to come back: the bytes of a `ReturnRequest`, 1 byte to 32 KiB.
    ReturnRequest(Bytes),
    /// A guardian's phone has written its vault.
    VaultNote {
        /// Whose.
        member: MemberId,
        /// Its version.
        version: u64,
    },
    /// A guardian wants a child, or the family, erased everywhere.
    Erase(Erase),
}

/// A guardian wants a child, or the family, erased everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erase {
    /// The child; `None`: the family.
    pub member: Option<MemberId>,
    /// Also what the child said, on the family's other devices.
    pub messages: bool,
}

/// Children of several families in one conversation, on its way between guardians.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffer {
    /// Names it.
    pub group: [u8; 16],
    /// One of each family, ascending; two or three.
    pub children: Vec<Person>,
    /// The conversation's title; 1 to [`limits::NAME_BYTES_MAX`] bytes.
    pub title: String,
    /// Offer or answer.
    pub stage: PassStage,
    /// Of the devices of the one who accepts; at most 32 of 16 KiB.
    pub key_packages: Vec<Bytes>,
}

/// One device of a child is to form the conversation that a pass is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactSetup {
    /// The pass.
    pub pass: PassId,
    /// The device that forms it.
    pub device: DeviceId,
    /// The conversation's title; at most [`limits::NAME_BYTES_MAX`] bytes.
    pub title: String,
    /// Of the other families' devices; at most 32 of 16 KiB.
    pub key_packages: Vec<Bytes>,
    /// The children of a group; empty: the two of the pass.
    pub children: Vec<Person>,
}

/// Entries of a family's log, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogNews {
    /// Whose.
    pub family: FamilyId,
    /// Index of the first of them. What is too long for one content is said in parts.
    pub from: u64,
    /// At least one; each either shown or hidden behind its hash of 32 bytes.
    pub entries: Vec<wire::LogEntry>,
    /// Bytes of a `SignedHead` that vouches for what is hidden; at most 1 KiB.
    pub head: Bytes,
}

/// A decision that needs other guardians' consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Bytes of a `Decision`, 1 to 16 KiB.
    pub decision: Bytes,
    /// Stands in the statement that will carry it.
    pub salt: [u8; 16],
    /// Bytes of a `Consent`, at most 1 KiB.
    pub consent: Bytes,
    /// Of devices that the decision adds; at most 32 of 16 KiB.
    pub key_packages: Vec<Bytes>,
}

/// How far a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassStage {
    /// The other family is asked.
    Offered,
    /// It says yes.
    Accepted,
    /// It says no.
    Refused,
}

/// A contact pass on its way between two families' guardians.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassOffer {
    /// Bytes of a `ContactPass`, 1 to 16 KiB.
    pub pass: Bytes,
    /// Offer or answer.
    pub stage: PassStage,
    /// Why it was refused; at most 1,024 bytes, may be empty.
    pub sentence: String,
    /// Of the devices that the pass is about; at most 32 of 16 KiB.
    pub key_packages: Vec<Bytes>,
}

/// A child asks its guardians for a friend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FriendRequest {
    /// The text of the other child's code; 1 to 1,024 bytes.
    pub code: String,
    /// What the child says to it; at most 1,024 bytes, may be empty.
    pub words: String,
}

/// A reported message, provable by its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Bytes of the `SignedContent`, not empty.
    pub signed_content: Bytes,
    /// Where it was said.
    pub conversation: ConversationId,
    /// Public key of the device that signed it.
    pub sender_key: [u8; 32],
    /// As the reporting device shows it; at most [`limits::NAME_BYTES_MAX`] bytes.
    pub sender_name: String,
    /// What the reporter says to it; at most 1,024 bytes, may be empty.
    pub words: String,
}

/// A content of another conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Where it was said.
    pub conversation: ConversationId,
    /// Its id there: two tablets of a child copy it once.
    pub original: ContentId,
    /// By whom.
    pub sender_member: MemberId,
    /// As the copying device shows it; at most [`limits::NAME_BYTES_MAX`] bytes.
    pub sender_name: String,
    /// Bytes of a `Content`, not empty.
    pub content: Bytes,
}

/// What a device's gate refused, for the guardians to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where.
    pub conversation: ConversationId,
    /// Why; 1 to 1,024 bytes.
    pub sentence: String,
}

fn filled(what: &'static str, bytes: &[u8], max: usize) -> Result<(), BodyError> {
    if bytes.is_empty() {
        return Err(BodyError::Control(what));
    }
    at_most(what, bytes, max)
}

fn at_most(what: &'static str, bytes: &[u8], max: usize) -> Result<(), BodyError> {
    if bytes.len() > max {
        return Err(BodyError::TooLong {
            what,
            max,
            unit: "bytes",
        });
    }
    Ok(())
}

fn check_key_packages(packages: &[Bytes]) -> Result<(), BodyError> {
    if packages.len() > KEY_PACKAGES_MAX {
        return Err(BodyError::TooLong {
            what: "the list of key packages",
            max: KEY_PACKAGES_MAX,
            unit: "entries",
        });
    }
    packages
        .iter()
        .try_for_each(|package| filled("a key package", package, KEY_PACKAGE_BYTES_MAX))
}

fn check_entry(entry: &wire::LogEntry) -> Result<(), BodyError> {
    let is_one = match &entry.statement {
        Some(_) => entry.hash.is_empty(),
        None => entry.hash.len() == 32,
    };
    if is_one {
        Ok(())
    } else {
        Err(BodyError::Control("an entry of a family log"))
    }
}

impl Control {
    pub(super) fn check(&self) -> Result<(), BodyError> {
        match self {
            Self::Head(head) => filled("a head", head, SMALL_BYTES_MAX)?,
            Self::OperatorSeen(checkpoint) => {
                if checkpoint.len() != CHECKPOINT_BYTES {
                    return Err(BodyError::Control("a checkpoint"));
                }
            }
            Self::News(news) => {
                if news.entries.is_empty() {
                    return Err(BodyError::Control("a family log"));
                }
                at_most("a head", &news.head, SMALL_BYTES_MAX)?;
                news.entries.iter().try_for_each(check_entry)?;
            }
            Self::Proposal(proposal) => {
                filled("a decision", &proposal.decision, DECISION_BYTES_MAX)?;
                at_most("a consent", &proposal.consent, SMALL_BYTES_MAX)?;
                check_key_packages(&proposal.key_packages)?;
            }
            Self::PassOffer(offer) => {
                filled("a contact pass", &offer.pass, DECISION_BYTES_MAX)?;
                bounded("the answer", &offer.sentence, WORDS_BYTES_MAX)?;
                check_key_packages(&offer.key_packages)?;
            }
            Self::FriendRequest(request) => {
                filled("a code", request.code.as_bytes(), CODE_BYTES_MAX)?;
                bounded("the request", &request.words, WORDS_BYTES_MAX)?;
            }
            Self::Report(report) => {
                filled("a message", &report.signed_content, CONTROL_BYTES_MAX)?;
                bounded("the name", &report.sender_name, limits::NAME_BYTES_MAX)?;
                bounded("the report", &report.words, WORDS_BYTES_MAX)?;
            }
            Self::Copy(copy) => {
                filled("a message", &copy.content, CONTROL_BYTES_MAX)?;
                bounded("the name", &copy.sender_name, limits::NAME_BYTES_MAX)?;
            }
            Self::Refusal(refusal) => {
                filled("a sentence", refusal.sentence.as_bytes(), WORDS_BYTES_MAX)?;
            }
            Self::Setup(setup) => {
                bounded("the title", &setup.title, limits::NAME_BYTES_MAX)?;
                if !setup.children.is_empty() {
                    check_children(&setup.children)?;
                }
                check_key_packages(&setup.key_packages)?;
            }
            Self::Group(offer) => {
                filled("a title", offer.title.as_bytes(), limits::NAME_BYTES_MAX)?;
                check_children(&offer.children)?;
                check_key_packages(&offer.key_packages)?;
            }
            Self::ReturnRequest(request) => {
                filled("a wish to come back", request, RETURN_BYTES_MAX)?;
            }
            Self::VaultNote { .. } => {}
            Self::Erase(_) => {}
        }
        // Its parts may be in their bounds and too much together.
        if self.to_wire().encoded_len() > CONTROL_BYTES_MAX {
            return Err(BodyError::TooLong {
                what: "what a device says",
                max: CONTROL_BYTES_MAX,
                unit: "bytes",
            });
        }
        Ok(())
    }

    pub(super) fn to_wire(&self) -> wire::Control {
        let body = match self.clone() {
            Self::Head(head) => WireBody::Head(head),
            Self::OperatorSeen(checkpoint) => WireBody::OperatorSeen(checkpoint),
            Self::News(news) => WireBody::News(wire::LogNews {
                family: news.family.to_bytes(),
                from: news.from,
                entries: news.entries,
                head: news.head,
            }),
            Self::Setup(setup) => WireBody::Setup(wire::ContactSetup {
                pass: setup.pass.to_bytes(),
                device: setup.device.to_bytes(),
                title: setup.title,
                key_packages: setup.key_packages,
                children: people_to_wire(&setup.children),
            }),
            Self::Group(offer) => WireBody::Group(wire::Group {
                group: offer.group.to_vec().into(),
                children: people_to_wire(&offer.children),
                title: offer.title,
                accepted: offer.stage == PassStage::Accepted,
                refused: offer.stage == PassStage::Refused,
                key_packages: offer.key_packages,
            }),
            Self::Proposal(proposal) => WireBody::Proposal(wire::Proposal {
                decision: proposal.decision,
                salt: proposal.salt.to_vec().into(),
                consent: proposal.consent,
                key_packages: proposal.key_packages,
            }),
            Self::PassOffer(offer) => WireBody::PassOffer(wire::PassOffer {
                pass: offer.pass,
                accepted: offer.stage == PassStage::Accepted,
                refused: offer.stage == PassStage::Refused,
                sentence: offer.sentence,
                key_packages: offer.key_packages,
            }),
            Self::FriendRequest(request) => WireBody::FriendRequest(wire::FriendRequest {
                code: request.code,
                words: request.words,
            }),
            Self::Report(report) => WireBody::Report(wire::Report {
                signed_content: report.signed_content,
                conversation: report.conversation.to_bytes(),
                sender_key: report.sender_key.to_vec().into(),
                sender_name: report.sender_name,
                words: report.words,
            }),
            Self::Copy(copy) => WireBody::Copy(wire::Copy {
                conversation: copy.conversation.to_bytes(),
                original: copy.original.to_bytes(),
                sender_member: copy.sender_member.to_bytes(),
                sender_name: copy.sender_name,
                content: copy.content,
            }),
            Self::Refusal(refusal) => WireBody::Refusal(wire::Refusal {
                conversation: refusal.conversation.to_bytes(),
                sentence: refusal.sentence,
            }),
            Self::ReturnRequest(request) => WireBody::ReturnRequest(request),
            Self::VaultNote { member, version } => WireBody::VaultNote(wire::VaultNote {
                member: member.to_bytes(),
                version,
            }),
            Self::Erase(erase) => WireBody::Erase(wire::Erase {
                member: erase.member.map(MemberId::to_bytes).unwrap_or_default(),
                messages: erase.messages,
            }),
        };
        wire::Control { body: Some(body) }
    }

    /// Reads without the bounds, which [`super::Body::from_wire`] checks.
    pub(super) fn from_wire(control: wire::Control) -> Result<Self, BodyError> {
        Ok(match control.body.ok_or(BodyError::Unknown)? {
            WireBody::Head(head) => Self::Head(head),
            WireBody::OperatorSeen(checkpoint) => Self::OperatorSeen(checkpoint),
            WireBody::News(news) => Self::News(LogNews {
                family: FamilyId::try_from(&news.family)?,
                from: news.from,
                entries: news.entries,
                head: news.head,
            }),
            WireBody::Setup(setup) => Self::Setup(ContactSetup {
                pass: PassId::try_from(&setup.pass)?,
                device: DeviceId::try_from(&setup.device)?,
                title: setup.title,
                key_packages: setup.key_packages,
                children: people_from_wire(&setup.children)?,
            }),
            WireBody::Group(offer) => Self::Group(GroupOffer {
                group: array("a group", &offer.group)?,
                children: people_from_wire(&offer.children)?,
                title: offer.title,
                stage: stage(offer.accepted, offer.refused)?,
                key_packages: offer.key_packages,
            }),
            WireBody::Proposal(proposal) => Self::Proposal(Proposal {
                decision: proposal.decision,
                salt: array("a salt", &proposal.salt)?,
                consent: proposal.consent,
                key_packages: proposal.key_packages,
            }),
            WireBody::PassOffer(offer) => Self::PassOffer(PassOffer {
                pass: offer.pass,
                stage: stage(offer.accepted, offer.refused)?,
                sentence: offer.sentence,
                key_packages: offer.key_packages,
            }),
            WireBody::FriendRequest(request) => Self::FriendRequest(FriendRequest {
                code: request.code,
                words: request.words,
            }),
            WireBody::Report(report) => Self::Report(Report {
                signed_content: report.signed_content,
                conversation: ConversationId::try_from(&report.conversation)?,
                sender_key: array("the sender's key", &report.sender_key)?,
                sender_name: report.sender_name,
                words: report.words,
            }),
            WireBody::Copy(copy) => Self::Copy(Copied {
                conversation: ConversationId::try_from(&copy.conversation)?,
                original: ContentId::try_from(&copy.original)?,
                sender_member: MemberId::try_from(&copy.sender_member)?,
                sender_name: copy.sender_name,
                content: copy.content,
            }),
            WireBody::Refusal(refusal) => Self::Refusal(Refusal {
                conversation: ConversationId::try_from(&refusal.conversation)?,
                sentence: refusal.sentence,
            }),
            WireBody::ReturnRequest(request) => Self::ReturnRequest(request),
            WireBody::VaultNote(note) => Self::VaultNote {
                member: MemberId::try_from(&note.member)?,
                version: note.version,
            },
            WireBody::Erase(erase) => Self::Erase(Erase {
                member: if erase.member.is_empty() {
                    None
                } else {
                    Some(MemberId::try_from(&erase.member)?)
                },
                messages: erase.messages,
            }),
        })
    }
}

const fn stage(accepted: bool, refused: bool) -> Result<PassStage, BodyError> {
    match (accepted, refused) {
        (false, false) => Ok(PassStage::Offered),
        (true, false) => Ok(PassStage::Accepted),
        (false, true) => Ok(PassStage::Refused),
        (true, true) => Err(BodyError::Control("the answer")),
    }
}

/// One child of each family, ascending.
fn check_children(children: &[Person]) -> Result<(), BodyError> {
    let several = (2..=limits::CONVERSATION_FAMILIES_MAX).contains(&children.len());
    let ascend = children
        .windows(2)
        .all(|two| matches!(two, [one, other] if one.family < other.family));
    if several && ascend {
        Ok(())
    } else {
        Err(BodyError::Control("a group of children"))
    }
}

fn people_to_wire(people: &[Person]) -> Vec<wire::Person> {
    let person = |person: &Person| wire::Person {
        family: person.family.to_bytes(),
        member: person.member.to_bytes(),
    };
    people.iter().map(person).collect()
}

fn people_from_wire(people: &[wire::Person]) -> Result<Vec<Person>, BodyError> {
    if people.len() > limits::CONVERSATION_FAMILIES_MAX {
        return Err(BodyError::Control("a group of children"));
    }
    let person = |person: &wire::Person| {
        Ok(Person {
            family: FamilyId::try_from(&person.family)?,
            member: MemberId::try_from(&person.member)?,
        })
    };
    people.iter().map(person).collect()
}

fn array<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], BodyError> {
    bytes.try_into().map_err(|_| BodyError::Control(what))
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
