//! The gate: one pure function that decides whether a change of a conversation is allowed.
//!
//! It judges the change and not the past: who comes in, who goes out, who asked, and
//! whether the statements that ride on the commit move the log to the head it names.

use super::{Address, ConversationContext, ConversationKind};
use crate::faults::{Fault, planted};
use crate::identity::{Certificate, FamilyLog, LogError, Role};
use crate::ids::DeviceId;
use crate::primitives::sign::PublicKey;
use crate::wire;

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
    /// Statements that ride on the commit.
    pub statements: &'a [wire::SignedStatement],
    /// Leaves after the change.
    pub leaves_after: usize,
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The committer is not in the family.
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
    /// The committer may not remove that device.
    #[error("the change removes a device that its author may not remove")]
    Removal,
    /// Kind, family or title changed.
    #[error("the change turns the conversation into another one")]
    Context,
    /// The head named is not the one the statements lead to.
    #[error("the change names another family log than its statements lead to")]
    Head,
    /// The statements do not extend the log.
    #[error("the change carries statements that do not hold: {0}")]
    Log(#[from] LogError),
    /// Too many leaves.
    #[error("the conversation would become too large")]
    Size,
}

/// Judges a change against the family's log; returns the log that is known after it.
///
/// # Errors
/// [`Refusal`]; the caller's state must then be exactly as before.
pub fn judge(change: &Change<'_>, known: &FamilyLog) -> Result<FamilyLog, Refusal> {
    let base;
    let log = match change.before.kind {
        // The log may be known further than this conversation's past: a room's welcome brings
        // one. What counts is the log that all members share in this epoch.
        ConversationKind::Family if change.before.head != *known.head() => {
            base = known.up_to(&change.before.head).ok_or(Refusal::Head)?;
            &base
        }
        ConversationKind::Family | ConversationKind::Room => known,
    };
    let after = judge_change(change, log)?;
    if known.contains_head(after.head()) {
        return Ok(known.clone());
    }
    if after.contains_head(known.head()) {
        return Ok(after);
    }
    Err(LogError::Fork.into())
}

fn judge_change(change: &Change<'_>, log: &FamilyLog) -> Result<FamilyLog, Refusal> {
    let committer = log
        .certificate(&change.committer)
        .ok_or(Refusal::Committer)?;
    if change.foreign_proposals {
        return Err(Refusal::Proposal);
    }
    if change.leaves_after > crate::limits::CONVERSATION_LEAVES_MAX {
        return Err(Refusal::Size);
    }
    let after = judge_context(change, log)?;
    for leaf in &change.added {
        judge_leaf(leaf, &after)?;
    }
    if let Some(leaf) = &change.updated {
        if leaf.device != Some(change.committer) {
            return Err(Refusal::Key);
        }
        judge_leaf(leaf, &after)?;
    }
    for device in &change.removed {
        judge_removal(*device, &committer, log, &after)?;
    }
    Ok(after)
}

fn judge_context(change: &Change<'_>, log: &FamilyLog) -> Result<FamilyLog, Refusal> {
    let (before, after) = (change.before, change.after);
    let same =
        before.family == after.family && before.kind == after.kind && before.title == after.title;
    if !same && !planted(Fault::Context) {
        return Err(Refusal::Context);
    }
    let mut next = log.clone();
    match before.kind {
        ConversationKind::Family => {
            if before.head != *log.head() {
                return Err(Refusal::Head);
            }
            for statement in change.statements {
                next.append(statement)?;
            }
            if after.head != *next.head() {
                return Err(Refusal::Head);
            }
        }
        ConversationKind::Room => {
            if !change.statements.is_empty() || before.head != after.head {
                return Err(Refusal::Head);
            }
        }
    }
    Ok(next)
}

fn judge_leaf(leaf: &NewLeaf, log: &FamilyLog) -> Result<(), Refusal> {
    let certificate = leaf.device.and_then(|device| log.certificate(&device));
    if certificate.is_none() && planted(Fault::Stranger) {
        return Ok(());
    }
    let certificate = certificate.ok_or(Refusal::Stranger)?;
    if certificate.signature_key != leaf.signature_key && !planted(Fault::LeafKey) {
        return Err(Refusal::Key);
    }
    if leaf.address.is_none() {
        return Err(Refusal::Address);
    }
    Ok(())
}

fn judge_removal(
    device: DeviceId,
    committer: &Certificate,
    log: &FamilyLog,
    after: &FamilyLog,
) -> Result<(), Refusal> {
    let removed_by_log = after.certificate(&device).is_none();
    let own = log
        .certificate(&device)
        .is_some_and(|certificate| certificate.member == committer.member);
    let may = removed_by_log || own || committer.role == Role::Guardian;
    if may || planted(Fault::Removal) {
        return Ok(());
    }
    Err(Refusal::Removal)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{Change, NewLeaf, Refusal, judge};
    use crate::conversation::{ConversationContext, ConversationKind, OwnAddress};
    use crate::day::Day;
    use crate::identity::{AddedDevice, AddedMember, Decision, FamilyLog, LogError, Role};
    use crate::ids::{ConversationId, DeviceId, MailboxId, MemberId};
    use crate::primitives::sign::SecretKey;
    use crate::secrets::Secret;
    use crate::wire::SignedStatement;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    fn device(n: u8, member: u8) -> AddedDevice {
        AddedDevice {
            member: MemberId::new([member; 16]),
            device: DeviceId::new([n; 16]),
            signature_key: key(n).public(),
            name: "d".into(),
        }
    }

    fn leaf(n: u8) -> NewLeaf {
        let (_, address) = OwnAddress::draw(
            MailboxId::new([n; 16]),
            &key(200),
            &Secret::new([1; 32]),
            &ConversationId::new([1; 16]),
            1,
            Day(1),
            &mut ChaCha20Rng::from_seed([n; 32]),
        );
        NewLeaf {
            device: Some(DeviceId::new([n; 16])),
            signature_key: key(n).public(),
            address: Some(address),
        }
    }

    /// A guardian (member 1, device 11) and a child (member 2, device 22).
    fn family() -> FamilyLog {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let guardian = AddedMember {
            member: MemberId::new([1; 16]),
            role: Role::Guardian,
            name: "g".into(),
            identity_key: Some(key(100).public()),
        };
        let child = AddedMember {
            member: MemberId::new([2; 16]),
            role: Role::Child,
            name: "c".into(),
            identity_key: None,
        };
        let mut log = FamilyLog::found("F", guardian, device(11, 1), Day(1), &mut rng).unwrap();
        for statement in log.propose(
            vec![
                Decision::AddMember(child),
                Decision::AddDevice(device(22, 2)),
            ],
            &key(100),
            Day(1),
            &mut rng,
        ) {
            log.append(&statement).unwrap();
        }
        log
    }

    fn adding(n: u8, member: u8, signer: u8) -> (FamilyLog, Vec<SignedStatement>, [u8; 32]) {
        let log = family();
        let statements = log.propose(
            vec![Decision::AddDevice(device(n, member))],
            &key(signer),
            Day(2),
            &mut ChaCha20Rng::from_seed([4; 32]),
        );
        let mut next = log.clone();
        let head = if next.append(&statements[0]).is_ok() {
            *next.head()
        } else {
            [0; 32]
        };
        (log, statements, head)
    }

    fn context(head: [u8; 32], kind: ConversationKind) -> ConversationContext {
        ConversationContext {
            family: family().family(),
            head,
            kind,
            title: "F".into(),
        }
    }

    fn change<'a>(
        before: &'a ConversationContext,
        after: &'a ConversationContext,
        by: u8,
    ) -> Change<'a> {
        Change {
            committer: DeviceId::new([by; 16]),
            added: vec![],
            removed: vec![],
            updated: None,
            foreign_proposals: false,
            before,
            after,
            statements: &[],
            leaves_after: 3,
        }
    }

    #[test]
    fn a_device_comes_in_with_a_guardians_statement_and_not_without() {
        let (log, statements, head) = adding(33, 2, 100);
        let before = context(*log.head(), ConversationKind::Family);
        let after = context(head, ConversationKind::Family);
        let good = Change {
            added: vec![leaf(33)],
            statements: &statements,
            ..change(&before, &after, 11)
        };
        assert_eq!(*judge(&good, &log).unwrap().head(), head);

        let unsigned = Change {
            added: vec![leaf(33)],
            ..change(&before, &before, 11)
        };
        assert_eq!(judge(&unsigned, &log), Err(Refusal::Stranger));
        let wrong_head = Change {
            added: vec![leaf(33)],
            statements: &statements,
            ..change(&before, &before, 11)
        };
        assert_eq!(judge(&wrong_head, &log), Err(Refusal::Head));
        let wrong_key = NewLeaf {
            signature_key: key(99).public(),
            ..leaf(33)
        };
        let stolen_name = Change {
            added: vec![wrong_key],
            statements: &statements,
            ..change(&before, &after, 11)
        };
        assert_eq!(judge(&stolen_name, &log), Err(Refusal::Key));
        let unreachable = NewLeaf {
            address: None,
            ..leaf(33)
        };
        let mute = Change {
            added: vec![unreachable],
            statements: &statements,
            ..change(&before, &after, 11)
        };
        assert_eq!(judge(&mute, &log), Err(Refusal::Address));
    }

    #[test]
    fn a_log_that_is_known_further_judges_the_past_as_it_was() {
        let (log, statements, head) = adding(33, 2, 100);
        let before = context(*log.head(), ConversationKind::Family);
        let after = context(head, ConversationKind::Family);
        let mut ahead = log.clone();
        ahead.append(&statements[0]).unwrap();
        let more = ahead.propose(
            vec![Decision::AddDevice(device(44, 2))],
            &key(100),
            Day(3),
            &mut ChaCha20Rng::from_seed([5; 32]),
        );
        ahead.append(&more[0]).unwrap();
        let adding = Change {
            added: vec![leaf(33)],
            statements: &statements,
            ..change(&before, &after, 11)
        };
        // What is known is not forgotten.
        assert_eq!(judge(&adding, &ahead), Ok(ahead.clone()));
        let early = Change {
            added: vec![leaf(44)],
            ..change(&before, &before, 11)
        };
        assert_eq!(judge(&early, &ahead), Err(Refusal::Stranger));
        // Statements that lead elsewhere than to what is known are a fork.
        let mut fork = log.clone();
        let other = log.propose(
            vec![Decision::AddDevice(device(55, 2))],
            &key(100),
            Day(2),
            &mut ChaCha20Rng::from_seed([6; 32]),
        );
        fork.append(&other[0]).unwrap();
        assert_eq!(judge(&adding, &fork), Err(Refusal::Log(LogError::Fork)));
        let stranger = context([7; 32], ConversationKind::Family);
        let nowhere = change(&stranger, &stranger, 11);
        assert_eq!(judge(&nowhere, &ahead), Err(Refusal::Head));
    }

    #[test]
    fn a_child_cannot_let_anyone_in() {
        let (log, statements, _) = adding(33, 2, 22);
        let before = context(*log.head(), ConversationKind::Family);
        let after = context([9; 32], ConversationKind::Family);
        let forged = Change {
            added: vec![leaf(33)],
            statements: &statements,
            ..change(&before, &after, 22)
        };
        assert!(matches!(judge(&forged, &log), Err(Refusal::Log(_))));
    }

    #[test]
    fn strangers_foreign_proposals_and_other_contexts_are_refused() {
        let log = family();
        let before = context(*log.head(), ConversationKind::Room);
        assert_eq!(
            judge(&change(&before, &before, 77), &log),
            Err(Refusal::Committer)
        );
        let foreign = Change {
            foreign_proposals: true,
            ..change(&before, &before, 11)
        };
        assert_eq!(judge(&foreign, &log), Err(Refusal::Proposal));
        let renamed = ConversationContext {
            title: "G".into(),
            ..before.clone()
        };
        assert_eq!(
            judge(&change(&before, &renamed, 11), &log),
            Err(Refusal::Context)
        );
        let large = Change {
            leaves_after: 33,
            ..change(&before, &before, 11)
        };
        assert_eq!(judge(&large, &log), Err(Refusal::Size));
    }

    #[test]
    fn a_child_removes_its_own_devices_only_a_guardian_any() {
        let log = family();
        let before = context(*log.head(), ConversationKind::Room);
        let removing = |by, whom| Change {
            removed: vec![DeviceId::new([whom; 16])],
            ..change(&before, &before, by)
        };
        assert!(judge(&removing(22, 22), &log).is_ok());
        assert!(judge(&removing(11, 22), &log).is_ok());
        assert_eq!(judge(&removing(22, 11), &log), Err(Refusal::Removal));
    }

    #[test]
    fn a_renewed_leaf_stays_its_device() {
        let log = family();
        let before = context(*log.head(), ConversationKind::Room);
        let updated = |n| Change {
            updated: Some(leaf(n)),
            ..change(&before, &before, 22)
        };
        assert!(judge(&updated(22), &log).is_ok());
        assert_eq!(judge(&updated(11), &log), Err(Refusal::Key));
    }
}
