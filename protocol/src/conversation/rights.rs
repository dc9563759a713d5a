//! Who may be in a conversation: pure, over the logs that its members share.
//!
//! The same rules serve the gate (may this leaf come in?), a joiner (do all belong here?),
//! and a device that is about to send (do all still belong here?).

use super::context::ConversationKind;
use super::gate::Refusal;
use super::parties::Parties;
use crate::day::Day;
use crate::faults::{Fault, planted};
use crate::identity::{Certificate, ContactPass, Role, Supervision};
use crate::ids::{DeviceId, FamilyId, MemberId};

/// A person in a conversation, whichever of their devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person {
    /// Family.
    pub family: FamilyId,
    /// Member.
    pub member: MemberId,
}

impl From<&Certificate> for Person {
    fn from(certificate: &Certificate) -> Self {
        Self {
            family: certificate.family,
            member: certificate.member,
        }
    }
}

impl Parties {
    /// A pass that lets two children of different families talk on a day: approved by both
    /// families in the same bytes, revoked by none.
    #[must_use]
    pub fn pass_between(&self, one: Person, other: Person, day: Day) -> Option<&ContactPass> {
        self.passes_between(one, other, day).next()
    }

    /// All of these: a new pass may be approved before the one before it ends.
    fn passes_between(
        &self,
        one: Person,
        other: Person,
        day: Day,
    ) -> impl Iterator<Item = &ContactPass> {
        let pair = |person: Person| (person.family, person.member);
        let (first, second) = (pair(one), pair(other));
        let logs = self.log(&one.family).zip(self.log(&other.family));
        logs.into_iter().flat_map(move |(log, others)| {
            log.passes().keys().filter_map(move |id| {
                let ours = log.valid_pass(id, day)?;
                let theirs = others.valid_pass(id, day)?;
                let agreed = ours.bytes == theirs.bytes && ours.pass.joins(first, second);
                agreed.then_some(&ours.pass)
            })
        })
    }

    /// All passes that hold between children of different families among `people`.
    #[must_use]
    pub fn passes_among(&self, people: &[Certificate], day: Day) -> Vec<&ContactPass> {
        let children: Vec<Person> = people
            .iter()
            .filter(|certificate| certificate.role == Role::Child)
            .map(Person::from)
            .collect();
        let mut passes: Vec<&ContactPass> = Vec::new();
        for (at, one) in children.iter().enumerate() {
            for other in children.iter().skip(at.saturating_add(1)) {
                if one.family == other.family {
                    continue;
                }
                for pass in self.passes_between(*one, *other, day) {
                    if !passes.contains(&pass) {
                        passes.push(pass);
                    }
                }
            }
        }
        passes
    }

    /// What a guardian may do in a contact conversation with these people: `None` when no pass
    /// names them, else whether some pass lets them write.
    #[must_use]
    pub fn guardian_in(&self, guardian: Person, people: &[Certificate], day: Day) -> Option<bool> {
        let passes = self.passes_among(people, day);
        let named = passes
            .iter()
            .filter_map(|pass| pass.names_guardian(&guardian.family, &guardian.member));
        named.reduce(|one, other| one || other)
    }

    /// Whether the holder of a certificate may be in a conversation of this kind with these
    /// people on this day. `people` are all who are in it, the holder included.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn may_be_in(
        &self,
        kind: ConversationKind,
        holder: &Certificate,
        people: &[Certificate],
        day: Day,
    ) -> Result<(), Refusal> {
        match (kind, holder.role) {
            (ConversationKind::Family | ConversationKind::Room, _)
            | (ConversationKind::Link, Role::Guardian) => Ok(()),
            (ConversationKind::Link, Role::Child) => Err(Refusal::Guardians),
            (ConversationKind::Contact, Role::Child) => {
                let mine = Person::from(holder);
                let strangers = people
                    .iter()
                    .filter(|other| other.role == Role::Child && other.family != holder.family)
                    .any(|other| self.pass_between(mine, Person::from(other), day).is_none());
                if strangers && !planted(Fault::Pass) {
                    return Err(Refusal::Pass);
                }
                Ok(())
            }
            (ConversationKind::Contact, Role::Guardian) => self
                .guardian_in(Person::from(holder), people, day)
                .map(|_| ())
                .ok_or(Refusal::Unnamed),
        }
    }

    /// Whether a guardian has to be in a contact conversation with these people: a pass says
    /// that their family sees everything there, and names them.
    #[must_use]
    pub fn is_supervised_by(
        &self,
        guardian: &Certificate,
        people: &[Certificate],
        day: Day,
    ) -> bool {
        self.passes_among(people, day).iter().any(|pass| {
            pass.side_of(&guardian.family).is_some_and(|side| {
                side.supervision == Supervision::Everything
                    && side
                        .guardians
                        .iter()
                        .any(|named| named.member == guardian.member)
            })
        })
    }

    /// Certificates of devices; those without one are left out.
    #[must_use]
    pub fn certificates_of(&self, devices: &[DeviceId]) -> Vec<Certificate> {
        devices
            .iter()
            .filter_map(|device| self.certificate(device))
            .collect()
    }
}
