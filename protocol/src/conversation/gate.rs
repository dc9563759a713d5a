//! The gate: one pure function that decides whether a change of a conversation is allowed
//! (PROTOCOL §6.9).
//!
//! It judges the change and not the past: who comes in, who goes out, who asked, and
//! whether the entries that ride on the commit move the logs to the heads it names. All it
//! looks at is shared by all members of the conversation, so all come to the same verdict.

use super::Address;
use super::context::{ConversationContext, ConversationKind, Party};
use super::parties::Parties;
use super::rights::Person;
use crate::faults::{Fault, planted};
use crate::identity::{Certificate, FamilyLog, LogError, Role};
use crate::ids::{ConversationId, DeviceId};
use crate::primitives::sign::PublicKey;
use crate::wire;
use std::collections::BTreeMap;

/// A leaf that a change brings in, or that a committer renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLeaf {
    /// The device its credential names; `None` when it names none.
    pub device: Option<DeviceId>,
    /// Its signature key.
    pub signature_key: PublicKey,
    /// Its address; `None` when damaged.
    pub address: Option<Address>,
}

/// What a commit would change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'a> {
    /// The device that committed.
    pub committer: DeviceId,
    /// Leaves added.
    pub added: Vec<NewLeaf>,
    /// Devices removed.
    pub removed: Vec<DeviceId>,
    /// The committer's renewed leaf.
    pub updated: Option<NewLeaf>,
    /// Proposals of kinds that are never allowed.
    pub foreign_proposals: bool,
    /// The context before.
    pub before: &'a ConversationContext,
    /// The context after.
    pub after: &'a ConversationContext,
    /// Log entries that ride on the commit.
    pub news: &'a [wire::PartyNews],
    /// The devices in it before the change.
    pub devices: &'a [DeviceId],
    /// Which conversation it is.
    pub conversation: ConversationId,
    /// The numbers of the addresses of those devices.
    pub numbers: &'a BTreeMap<DeviceId, u64>,
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The committer belongs to no family in the conversation.
    #[error("the change was made by a device that does not belong to the family")]
    Committer,
    /// A proposal of a kind that is never allowed.
    #[error("the change contains something that is never allowed")]
    Proposal,
    /// A leaf without a certificate.
    #[error("the change brings in a device that no guardian has let into the family")]
    Stranger,
    /// A leaf whose key is not the certified one.
    #[error("the change brings in a device under another device's name")]
    Key,
    /// A leaf that nobody could reach.
    #[error("the change brings in a device without a usable address")]
    Address,
    /// A device that is in the conversation already.
    #[error("the change brings in a device that is in the conversation already")]
    Again,
    /// Children whose guardians have not both agreed.
    #[error("the change brings together children without a contact pass that holds")]
    Pass,
    /// A guardian whom no pass names.
    #[error("the change brings in a guardian whom no contact pass names")]
    Unnamed,
    /// A child among guardians.
    #[error("the change brings a child into a conversation of guardians")]
    Guardians,
    /// The committer may not add that device.
    #[error("the change adds a device that its author may not add")]
    Adder,
    /// The committer may not remove that device.
    #[error("the change removes a device that its author may not remove")]
    Removal,
    /// Kind, families or title changed.
    #[error("the change turns the conversation into another one")]
    Context,
    /// The day goes back.
    #[error("the change was made on a day before the last one")]
    Day,
    /// A guardian is removed on a day before the change before it: its freeze would lie behind.
    #[error("the change removes a guardian on a day before the change before it")]
    Backdated,
    /// Who removed a guardian says that the freeze is over, while others are there to say so.
    #[error("the change ends the freeze after a guardian's removal, and its author removed them")]
    Thaw,
    /// The head named is not the one the entries lead to.
    #[error("the change names another family log than its entries lead to")]
    Head,
    /// A family hides entries of its log from itself.
    #[error("the change hides entries of a family's log from that family")]
    Hidden,
    /// The entries do not extend the log.
    #[error("the change carries entries of a family log that do not hold: {0}")]
    Log(#[from] LogError),
    /// Somebody comes in while somebody is there who may not be.
    #[error("the change brings somebody together with a device that has to go first")]
    Company,
    /// Somebody is said to have left, or brought back, by who may not say so.
    #[error("the change brings in, or puts out, somebody who left by themselves")]
    Left,
    /// Too many leaves.
    #[error("the conversation would become too large")]
    Size,
}

/// Judges a change by the logs that all members share; returns the logs after it.
///
/// # Errors
/// [`Refusal`]; the caller's state must then be exactly as before.
pub fn judge(change: &Change<'_>, before: &Parties) -> Result<Parties, Refusal> {
    let committer = before
        .certificate(&change.committer)
        .ok_or(Refusal::Committer)?;
    if change.foreign_proposals {
        return Err(Refusal::Proposal);
    }
    let after = judge_context(change, before)?;
    let devices = judge_size(change)?;
    judge_updated(change, &committer)?;
    judge_left(change, &committer, before)?;
    judge_thaw(change, &committer, &after, &devices)?;
    let people = after.certificates_of(&devices);
    for leaf in &change.added {
        let certificate = match certified(leaf, &after) {
            Err(Refusal::Stranger) if planted(Fault::Stranger) => continue,
            certified => certified?,
        };
        let kind = change.after.kind;
        after.may_be_in(kind, &certificate, &people, change.after.day)?;
        if change.after.left.contains(&Person::from(&certificate)) {
            return Err(Refusal::Left);
        }
        judge_adder(change, &committer, &certificate)?;
    }
    judge_families(change, &after)?;
    judge_company(change, &after, &devices, &people)?;
    for device in &change.removed {
        let removed = Removed {
            device: *device,
            // Who stays with whom is asked of everybody who was there and is in a family still.
            people: &after.certificates_of(change.devices),
        };
        judge_removal(change, &committer, &removed, before, &after)?;
    }
    Ok(after)
}

fn judge_context(change: &Change<'_>, before: &Parties) -> Result<Parties, Refusal> {
    let (old, new) = (change.before, change.after);
    if (old.kind != new.kind || old.title != new.title) && !planted(Fault::Context) {
        return Err(Refusal::Context);
    }
    if new.day < old.day {
        return Err(Refusal::Day);
    }
    if old.parties != before.heads() {
        return Err(Refusal::Head);
    }
    let families = |parties: &[Party]| parties.iter().map(|party| party.family).collect::<Vec<_>>();
    let (old_families, new_families) = (families(&old.parties), families(&new.parties));
    let stay = old_families
        .iter()
        .all(|family| new_families.contains(family));
    if !stay || new_families.len() > new.kind.parties_max() {
        return Err(Refusal::Context);
    }
    let after = before.after(change.news)?;
    if after.heads() != new.parties {
        return Err(Refusal::Head);
    }
    // A day before what the logs say by now would let a pass hold that is over.
    if after.logs().any(|log| log.day() > new.day) {
        return Err(Refusal::Day);
    }
    let within = !new.kind.crosses_families();
    if within && after.logs().any(|log| !log.is_whole()) {
        return Err(Refusal::Hidden);
    }
    // The family's log moves here first; elsewhere it may come late.
    if new.kind == ConversationKind::Family {
        let known = before.logs().next().map_or(0, FamilyLog::len);
        if after.logs().any(|log| log.is_backdated(known, old.day)) {
            return Err(Refusal::Backdated);
        }
    }
    Ok(after)
}

/// A family more comes with the first child of it, so into contacts alone: without a child there
/// it could do nothing but take the place of another, or claim what belongs to others.
fn judge_families(change: &Change<'_>, after: &Parties) -> Result<(), Refusal> {
    let was_there = |family| change.before.parties.iter().any(|old| old.family == family);
    let child_comes = |family| {
        let added = change.added.iter().filter_map(|leaf| leaf.device);
        added
            .filter_map(|device| after.certificate(&device))
            .any(|certificate| certificate.family == family && certificate.role == Role::Child)
    };
    let mut new = change.after.parties.iter().map(|party| party.family);
    if is_forming(change) || new.all(|family| was_there(family) || child_comes(family)) {
        return Ok(());
    }
    Err(Refusal::Context)
}

/// Who comes in meets all who are there after the change, so all of them have to belong there:
/// a joiner asks the same, and would not come.
fn judge_company(
    change: &Change<'_>,
    after: &Parties,
    devices: &[DeviceId],
    people: &[Certificate],
) -> Result<(), Refusal> {
    if change.added.is_empty() || planted(Fault::Stranger) {
        return Ok(());
    }
    for device in devices {
        let certificate = after.certificate(device).ok_or(Refusal::Company)?;
        after
            .may_be_in(change.after.kind, &certificate, people, change.after.day)
            .map_err(|_| Refusal::Company)?;
    }
    Ok(())
}

/// The first change of a conversation: its founder is alone in it.
fn is_forming(change: &Change<'_>) -> bool {
    change.devices == [change.committer]
}

/// The devices after the change.
fn judge_size(change: &Change<'_>) -> Result<Vec<DeviceId>, Refusal> {
    let mut devices: Vec<DeviceId> = change
        .devices
        .iter()
        .filter(|device| !change.removed.contains(device))
        .copied()
        .collect();
    for leaf in &change.added {
        let device = leaf.device.ok_or(Refusal::Stranger)?;
        if devices.contains(&device) {
            return Err(Refusal::Again);
        }
        devices.push(device);
    }
    if devices.len() > crate::limits::CONVERSATION_LEAVES_MAX {
        return Err(Refusal::Size);
    }
    Ok(devices)
}

/// The committer's renewed leaf stays what it was: one that its own change puts out of the
/// family still makes that change.
fn judge_updated(change: &Change<'_>, committer: &Certificate) -> Result<(), Refusal> {
    let Some(leaf) = &change.updated else {
        return Ok(());
    };
    if leaf.device != Some(change.committer) || leaf.signature_key != committer.signature_key {
        return Err(Refusal::Key);
    }
    if leaf.address.is_none() {
        return Err(Refusal::Address);
    }
    Ok(())
}

/// Days are what people say. So where others are, who removed a guardian does not carry the day
/// past the freeze: the device of another member does, by its own clock.
fn judge_thaw(
    change: &Change<'_>,
    committer: &Certificate,
    after: &Parties,
    devices: &[DeviceId],
) -> Result<(), Refusal> {
    if change.after.kind != ConversationKind::Family {
        return Ok(());
    }
    let Some(log) = after.log(&committer.family) else {
        return Ok(());
    };
    let people = after.certificates_of(devices);
    let ended = log
        .thawing(change.before.day)
        .any(|removal| removal.thaws() <= change.after.day && removal.is_held(committer, &people));
    if ended { Err(Refusal::Thaw) } else { Ok(()) }
}

/// Who leaves says so for itself, or a guardian for a member of its family; who is back again
/// is so by a guardian of its family.
fn judge_left(
    change: &Change<'_>,
    committer: &Certificate,
    before: &Parties,
) -> Result<(), Refusal> {
    let (old, new) = (&change.before.left, &change.after.left);
    if change.after.kind == ConversationKind::Family && !new.is_empty() {
        return Err(Refusal::Context);
    }
    let guarded =
        |person: &Person| committer.role == Role::Guardian && committer.family == person.family;
    let mut gone = new.iter().filter(|person| !old.contains(person));
    let mut back = old.iter().filter(|person| !new.contains(person));
    let itself = Person::from(committer);
    let there: Vec<Person> = before
        .certificates_of(change.devices)
        .iter()
        .map(Person::from)
        .collect();
    // A list filled with names of nobody would keep others from leaving.
    let may_go = |person: &Person| there.contains(person) && (*person == itself || guarded(person));
    if gone.all(may_go) && back.all(guarded) {
        Ok(())
    } else {
        Err(Refusal::Left)
    }
}

/// The certificate of a leaf that comes in.
///
/// # Errors
/// [`Refusal::Stranger`], [`Refusal::Key`], [`Refusal::Address`].
fn certified(leaf: &NewLeaf, parties: &Parties) -> Result<Certificate, Refusal> {
    let certificate = leaf
        .device
        .and_then(|device| parties.certificate(&device))
        .ok_or(Refusal::Stranger)?;
    if certificate.signature_key != leaf.signature_key && !planted(Fault::LeafKey) {
        return Err(Refusal::Key);
    }
    if leaf.address.is_none() {
        return Err(Refusal::Address);
    }
    Ok(certificate)
}

/// Within a family its log says who comes in, whoever carries that out. Into a conversation
/// with others a family's devices bring devices of their family; guardians, and who forms it,
/// bring whom the passes name.
fn judge_adder(
    change: &Change<'_>,
    committer: &Certificate,
    added: &Certificate,
) -> Result<(), Refusal> {
    let own = committer.family == added.family || comes_back(change, added.device);
    if own || committer.role == Role::Guardian || is_forming(change) {
        return Ok(());
    }
    Err(Refusal::Adder)
}

/// Whether a device that is in comes in again as a new leaf, by its own wish: with a key
/// package that it made for that, after the address that it has.
fn comes_back(change: &Change<'_>, device: DeviceId) -> bool {
    let Some(number) = change.numbers.get(&device) else {
        return false;
    };
    let wishes = |leaf: &NewLeaf| {
        leaf.device == Some(device)
            && leaf.address.as_ref().is_some_and(|address| {
                let wished =
                    address.back_into == Some(change.conversation) && address.number > *number;
                wished || planted(Fault::Wish)
            })
    };
    change.removed.contains(&device)
        && change.devices.contains(&device)
        && change.added.iter().any(wishes)
}

struct Removed<'a> {
    device: DeviceId,
    people: &'a [Certificate],
}

fn judge_removal(
    change: &Change<'_>,
    committer: &Certificate,
    removed: &Removed<'_>,
    before: &Parties,
    after: &Parties,
) -> Result<(), Refusal> {
    // Not in its family any more: anyone may carry that out.
    let Some(certificate) = after.certificate(&removed.device) else {
        return Ok(());
    };
    let who = before.certificate(&removed.device).unwrap_or(certificate);
    let own = Person::from(&who) == Person::from(committer);
    let guarded = committer.role == Role::Guardian && committer.family == who.family;
    let (kind, day) = (change.after.kind, change.after.day);
    let out_of_place = after.may_be_in(kind, &who, removed.people, day).is_err();
    let renewed = comes_back(change, removed.device);
    let left = change.after.left.contains(&Person::from(&who));
    if left || own || guarded || renewed || out_of_place || planted(Fault::Removal) {
        return Ok(());
    }
    Err(Refusal::Removal)
}

#[cfg(test)]
mod tests;
