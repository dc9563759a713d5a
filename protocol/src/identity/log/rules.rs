//! Who must sign what, and when nothing may widen (PROTOCOL §7.3, §7.4).

use std::collections::{BTreeMap, BTreeSet};

use super::error::LogError;
use super::state::{Certificate, Removal, Standing, State};
use crate::day::Day;
use crate::faults::{Fault, planted};
use crate::identity::decision::Decision;
use crate::identity::statement::{Statement, consented_by, signed_by};
use crate::ids::MemberId;
use crate::limits;
use crate::primitives::sign::PublicKey;
use crate::wire;

/// Why nothing may widen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze {
    /// Index of the statement that removed a guardian.
    pub removal: u64,
    /// The guardian.
    pub member: MemberId,
    /// The first day without the freeze; `None` while an objection stands, or a guardian whose
    /// removal was taken back is not there again.
    pub until: Option<Day>,
}

impl Removal {
    /// Whether it freezes what widens on this day.
    #[must_use]
    pub fn freezes(&self, day: Day) -> bool {
        match self.standing {
            Standing::Open => day < self.thaws(),
            Standing::Objected | Standing::Undone => true,
            Standing::Final | Standing::Accepted | Standing::Returned => false,
        }
    }

    /// The first day without the freeze, unless there is an objection.
    #[must_use]
    pub const fn thaws(&self) -> Day {
        self.day.plus(limits::REMOVAL_FREEZE_DAYS)
    }

    /// Whether a device of somebody who signed it must not say that its freeze is over: there
    /// are devices of `people`, all of the family, who did not.
    #[must_use]
    pub fn is_held(&self, by: &Certificate, people: &[Certificate]) -> bool {
        let signed = |holder: &Certificate| self.signers.contains(&holder.member);
        signed(by) && people.iter().any(|holder| !signed(holder))
    }

    /// Whether the removed guardian still counts among those who could sign: otherwise who
    /// removes the other could decide alone at once.
    fn counts(&self, day: Day) -> bool {
        match self.standing {
            Standing::Open | Standing::Accepted => day < self.day.plus(limits::REMOVAL_COUNTS_DAYS),
            Standing::Objected => true,
            // It counts among the guardians again.
            Standing::Undone | Standing::Returned | Standing::Final => false,
        }
    }
}

impl State {
    /// Whether the decision allows nothing that was not allowed before.
    fn narrows(&self, decision: &Decision) -> bool {
        match decision {
            Decision::RemoveMember(_) | Decision::RemoveDevice(_) | Decision::RevokePass(_) => true,
            Decision::SetPolicy { child, policy } => {
                policy.allows_nothing_beyond(self.policies.get(child))
            }
            Decision::Settings(settings) => {
                settings.signatures >= self.settings.signatures
                    && settings.lease_days <= self.settings.lease_days
            }
            // These two have their own signers.
            Decision::Object { .. } | Decision::Withdraw { .. } => true,
            Decision::Veto { .. } => true,
            // Others in the place of those that it had.
            Decision::SetRecovery { member, .. } => self.recoverable.contains(member),
            Decision::Found { .. }
            | Decision::AddMember(_)
            | Decision::AddDevice(_)
            | Decision::ApprovePass(_)
            | Decision::Return(_)
            | Decision::Ask(_) => false,
        }
    }

    /// Guardians who must sign on this day.
    pub(super) fn required(&self, decision: &Decision, day: Day) -> usize {
        if self.narrows(decision) {
            return 1;
        }
        let chosen = usize::try_from(self.settings.signatures).unwrap_or(usize::MAX);
        let removed = self
            .removals
            .values()
            .filter(|removal| removal.counts(day))
            .count();
        // One whose first device is still to come can't sign yet.
        let can_sign = |member: &MemberId| self.devices_of(*member).next().is_some();
        let guardians = self.guardians().filter(can_sign).count();
        chosen.min(guardians.saturating_add(removed)).max(1)
    }

    /// The freeze that lasts longest, if any holds on this day.
    pub(super) fn freeze(&self, day: Day) -> Option<Freeze> {
        self.removals
            .values()
            .filter(|removal| removal.freezes(day))
            .map(|removal| Freeze {
                removal: removal.index,
                member: removal.member,
                until: (removal.standing == Standing::Open)
                    .then(|| removal.day.plus(limits::REMOVAL_FREEZE_DAYS)),
            })
            .max_by_key(|freeze| freeze.until.unwrap_or(Day(u32::MAX)))
    }

    /// Judges who signed; returns those who count.
    pub(super) fn judge(
        &self,
        signed: &wire::SignedStatement,
        statement: &Statement,
        decision: &[u8],
    ) -> Result<BTreeSet<MemberId>, LogError> {
        let too_many = |count: usize| count > limits::STATEMENT_SIGNATURES_MAX;
        if too_many(signed.signatures.len()) || too_many(signed.consents.len()) {
            return Err(LogError::Field("number of signatures"));
        }
        if let Some(judged) = self.judge_return(signed, statement, decision) {
            return judged;
        }
        let about = self.removal_of(&statement.decision)?;
        // One who is a guardian again signs as guardians do: a phone may have gone since.
        let out = about.filter(|removal| removal.standing != Standing::Undone);
        let removed = out.into_iter().flat_map(|removal| self.keys_at(removal));
        let may_sign: BTreeMap<PublicKey, MemberId> = self.identity_keys().chain(removed).collect();
        // A consent says nothing about the statement's place and day: someone must sign those.
        if !may_sign.keys().any(|key| signed_by(signed, key)) && !planted(Fault::Statement) {
            return Err(LogError::Signature);
        }
        // A guardian counts once, with however many devices.
        let signers: BTreeSet<MemberId> = may_sign
            .into_iter()
            .filter(|(key, _)| {
                signed_by(signed, key) || consented_by(signed, statement, decision, key)
            })
            .map(|(_, member)| member)
            .collect();
        match (&statement.decision, about) {
            (Decision::Object { .. }, Some(removal)) => {
                if !signers.contains(&removal.member) {
                    return Err(LogError::Signature);
                }
            }
            (Decision::Withdraw { .. }, Some(removal)) => {
                let may_withdraw =
                    |who: &MemberId| removal.member == *who || removal.signers.contains(who);
                if !signers.iter().any(may_withdraw) {
                    return Err(LogError::Signature);
                }
            }
            (decision, _) => {
                if !self.narrows(decision)
                    && let Some(freeze) = self.freeze(statement.day)
                {
                    return Err(LogError::Frozen {
                        until: freeze.until,
                    });
                }
                if self.is_anothers_device(decision, &signers) && !planted(Fault::OwnDevice) {
                    return Err(LogError::OwnDevice);
                }
                let needed = self.required(decision, statement.day);
                if signers.len() < needed && !planted(Fault::Statement) {
                    return Err(LogError::Signatures {
                        needed,
                        found: signers.len(),
                    });
                }
            }
        }
        if !statement.decision.takes_away() && self.is_busy(&signers, statement.day) {
            return Err(LogError::Often(statement.day));
        }
        Ok(signers)
    }

    /// Whether it adds a device to a guardian who has one and did not sign, or takes one away, or
    /// says how that guardian comes back: who lets a device in would speak and read in that
    /// guardian's name, and who takes away all but one that is lost would remove the guardian
    /// without freeze and objection.
    fn is_anothers_device(&self, decision: &Decision, signers: &BTreeSet<MemberId>) -> bool {
        let owner = match decision {
            Decision::AddDevice(device) => Some(device.member),
            Decision::SetRecovery { member, .. } => Some(*member),
            Decision::RemoveDevice(device) => self
                .devices
                .get(device)
                .filter(|entry| !entry.removed && self.devices_of(entry.device.member).count() > 1)
                .map(|entry| entry.device.member),
            _ => None,
        };
        let can_sign = |owner| self.identity_keys().any(|(_, member)| member == owner);
        owner.is_some_and(|owner| can_sign(owner) && !signers.contains(&owner))
    }

    /// The removal that an objection or its withdrawal is about.
    fn removal_of(&self, decision: &Decision) -> Result<Option<&Removal>, LogError> {
        let (Decision::Object { removal } | Decision::Withdraw { removal }) = decision else {
            return Ok(None);
        };
        let removal = self
            .removals
            .get(removal)
            .ok_or(LogError::Contradiction("nobody was removed there"))?;
        Ok(Some(removal))
    }
}
