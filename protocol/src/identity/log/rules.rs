//! Who must sign what, and when nothing may widen (PROTOCOL §7.3, §7.4).

use std::collections::BTreeSet;

use super::chain::FamilyLog;
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
    /// The first day without the freeze; `None` while an objection stands.
    pub until: Option<Day>,
}

impl Removal {
    /// Whether it freezes what widens on this day.
    #[must_use]
    pub fn freezes(&self, day: Day) -> bool {
        match self.standing {
            Standing::Open => day < self.thaws(),
            Standing::Objected => true,
            Standing::Final | Standing::Accepted | Standing::Undone => false,
        }
    }

    /// The first day without the freeze, unless there is an objection.
    #[must_use]
    pub const fn thaws(&self) -> Day {
        self.day.plus(limits::REMOVAL_FREEZE_DAYS)
    }

    /// Whether a device of somebody who signed it must not say that its freeze is over: there
    /// are devices of `people` who did not. `log` is one in which that somebody is a guardian.
    #[must_use]
    pub fn is_held(&self, by: &Certificate, log: &FamilyLog, people: &[Certificate]) -> bool {
        let signed = |holder: &Certificate| {
            let member = log.members().get(&holder.member);
            member
                .and_then(|member| member.identity_key)
                .is_some_and(|key| self.signers.contains(&key))
        };
        signed(by) && people.iter().any(|holder| !signed(holder))
    }

    /// Whether the removed guardian still counts among those who could sign: otherwise who
    /// removes the other could decide alone at once.
    fn counts(&self, day: Day) -> bool {
        match self.standing {
            Standing::Open | Standing::Accepted => day < self.day.plus(limits::REMOVAL_COUNTS_DAYS),
            Standing::Objected => true,
            Standing::Final | Standing::Undone => false,
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
            Decision::Found { .. }
            | Decision::AddMember(_)
            | Decision::AddDevice(_)
            | Decision::ApprovePass(_) => false,
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
        chosen
            .min(self.guardians().count().saturating_add(removed))
            .max(1)
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
    ) -> Result<BTreeSet<PublicKey>, LogError> {
        let too_many = |count: usize| count > limits::STATEMENT_SIGNATURES_MAX;
        if too_many(signed.signatures.len()) || too_many(signed.consents.len()) {
            return Err(LogError::Field("number of signatures"));
        }
        let guardians: BTreeSet<PublicKey> = self.guardians().map(|(_, key)| key).collect();
        let removed = self.removed_signer(&statement.decision)?;
        let may_sign: BTreeSet<PublicKey> = guardians.iter().copied().chain(removed).collect();
        // A consent says nothing about the statement's place and day: someone must sign those.
        if !may_sign.iter().any(|key| signed_by(signed, key)) && !planted(Fault::Statement) {
            return Err(LogError::Signature);
        }
        let signers: BTreeSet<PublicKey> = may_sign
            .into_iter()
            .filter(|key| signed_by(signed, key) || consented_by(signed, statement, decision, key))
            .collect();
        match &statement.decision {
            Decision::Object { .. } => {
                if !removed.is_some_and(|key| signers.contains(&key)) {
                    return Err(LogError::Signature);
                }
            }
            Decision::Withdraw { removal } => {
                let remover = |key: &PublicKey| {
                    self.removals
                        .get(removal)
                        .is_some_and(|removal| removal.signers.contains(key))
                };
                let may_withdraw = |key: &PublicKey| removed == Some(*key) || remover(key);
                if !signers.iter().any(may_withdraw) {
                    return Err(LogError::Signature);
                }
            }
            decision => {
                if !self.narrows(decision)
                    && let Some(freeze) = self.freeze(statement.day)
                {
                    return Err(LogError::Frozen {
                        until: freeze.until,
                    });
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

    /// The key of the removed guardian that an objection or its withdrawal is about.
    fn removed_signer(&self, decision: &Decision) -> Result<Option<PublicKey>, LogError> {
        let (Decision::Object { removal } | Decision::Withdraw { removal }) = decision else {
            return Ok(None);
        };
        let removal = self
            .removals
            .get(removal)
            .ok_or(LogError::Contradiction("nobody was removed there"))?;
        Ok(removal.person.identity_key)
    }
}
