//! How a guardian who has lost every device comes back (PROTOCOL §7.10).
//!
//! Two keys of each guardian stand in the log that lie on no device: what the password leads to
//! can ask, what password and recovery code lead to can come back. Neither signs a statement: they
//! consent to their own guardian's return and to nothing else, so whoever finds them decides
//! nothing.

use std::collections::BTreeSet;

use super::error::LogError;
use super::state::State;
use crate::day::Day;
use crate::identity::decision::{AddedDevice, Decision, RecoveryKeys, Return, ReturnWay, Role};
use crate::identity::statement::{Statement, consented_by, signed_by};
use crate::ids::MemberId;
use crate::limits;
use crate::primitives::sign::PublicKey;
use crate::wire;

/// A wish to come back that a guardian's device has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What was asked for.
    pub back: Return,
    /// When it was shown.
    pub day: Day,
    /// By whose device.
    pub shown_by: BTreeSet<MemberId>,
}

impl State {
    /// Judges who consented to a guardian's return, or to showing that it asks; `None` for every
    /// other decision.
    pub(super) fn judge_return(
        &self,
        signed: &wire::SignedStatement,
        statement: &Statement,
        decision: &[u8],
    ) -> Option<Result<BTreeSet<MemberId>, LogError>> {
        let (back, asks) = match &statement.decision {
            Decision::Return(back) => (back, false),
            Decision::Ask(back) => (back, true),
            _ => return None,
        };
        let consents = |key: &PublicKey| consented_by(signed, statement, decision, key);
        Some(self.judge_wish(back, asks, signed, statement.day, &consents))
    }

    fn judge_wish(
        &self,
        back: &Return,
        asks: bool,
        signed: &wire::SignedStatement,
        day: Day,
        consents: &dyn Fn(&PublicKey) -> bool,
    ) -> Result<BTreeSet<MemberId>, LogError> {
        let member = back.member();
        let keys = self.recovery.get(&member).ok_or(LogError::NoRecovery)?;
        let key = match back.way {
            ReturnWay::Code => &keys.recovery,
            ReturnWay::Guardian | ReturnWay::Waited => &keys.request,
        };
        if !consents(key) {
            return Err(LogError::Wish);
        }
        if back.way == ReturnWay::Code && !asks {
            // The same guardian with fewer devices: nothing widens, so nothing freezes it. Nobody
            // else has to be there: a family may have one guardian, and its tablet carries this.
            return Ok(BTreeSet::from([member]));
        }
        // Somebody else's word, and not only a yes to it: a yes names no place and no day.
        let others: BTreeSet<MemberId> = self
            .identity_keys()
            .filter(|(key, other)| *other != member && signed_by(signed, key))
            .map(|(_, other)| other)
            .collect();
        if others.is_empty() {
            return Err(LogError::Signature);
        }
        if asks {
            return self.judge_ask(back, day).map(|()| others);
        }
        if let Some(freeze) = self.freeze(day) {
            return Err(LogError::Frozen {
                until: freeze.until,
            });
        }
        if back.way == ReturnWay::Waited {
            let asked = self.asks.get(&member).filter(|asked| asked.back == *back);
            let from = asked
                .ok_or(LogError::NotShown)?
                .day
                .plus(limits::RETURN_WAIT_DAYS);
            if day < from {
                return Err(LogError::ReturnEarly { from });
            }
        }
        Ok(others)
    }

    fn judge_ask(&self, back: &Return, day: Day) -> Result<(), LogError> {
        if back.way != ReturnWay::Waited {
            return Err(LogError::Field("way to come back"));
        }
        if let Some(vetoed) = self.vetoes.get(&back.member()) {
            let from = vetoed.plus(limits::RETURN_VETO_DAYS);
            if day < from {
                return Err(LogError::Vetoed { from });
            }
        }
        Ok(())
    }

    /// The keys of a guardian, said by that guardian.
    pub(super) fn set_recovery(
        &mut self,
        member: MemberId,
        keys: RecoveryKeys,
    ) -> Result<(), LogError> {
        if self.members.get(&member).map(|it| it.role) != Some(Role::Guardian) {
            return Err(LogError::Contradiction(
                "recovery keys are for a guardian of the family",
            ));
        }
        if keys.request == keys.recovery
            || self.has_key(&keys.request)
            || self.has_key(&keys.recovery)
        {
            return Err(LogError::Contradiction(
                "a recovery key was in the family before",
            ));
        }
        self.former_recovery.insert(keys.request);
        self.former_recovery.insert(keys.recovery);
        self.recovery.insert(member, keys);
        self.asks.remove(&member);
        Ok(())
    }

    /// Whether a key stands or stood anywhere in this log: two uses of one would be two signers
    /// with one hand.
    pub(super) fn has_key(&self, key: &PublicKey) -> bool {
        let of_device = |device: &AddedDevice| {
            device.signature_key == *key || device.identity_key.as_ref() == Some(key)
        };
        self.former_recovery.contains(key)
            || self.devices.values().any(|entry| of_device(&entry.device))
    }

    /// All that this guardian had is lost; one new device is in its place.
    pub(super) fn come_back(&mut self, back: Return) -> Result<(), LogError> {
        let member = back.member();
        let lost: BTreeSet<_> = self.devices_of(member).collect();
        self.add_device(back.device.clone())?;
        self.mark_removed(&lost, true);
        if let Some(entry) = self.devices.get_mut(&back.device.device) {
            entry.came_back = Some(back.way);
        }
        // Whoever took the phone may have them: the new one draws others.
        self.forget_recovery(&member);
        Ok(())
    }

    pub(super) fn forget_recovery(&mut self, member: &MemberId) {
        self.recovery.remove(member);
        self.asks.remove(member);
        self.vetoes.remove(member);
    }

    pub(super) fn ask(&mut self, back: Return, day: Day, shown_by: &BTreeSet<MemberId>) {
        let asked = Asked {
            back,
            day,
            shown_by: shown_by.clone(),
        };
        self.asks.insert(asked.back.member(), asked);
    }

    pub(super) fn veto(&mut self, member: MemberId, day: Day) -> Result<(), LogError> {
        // It may have been heard of and not been shown yet.
        if self.asks.remove(&member).is_none() && !self.recovery.contains_key(&member) {
            return Err(LogError::Contradiction(
                "nobody of that name can ask to come back",
            ));
        }
        self.vetoes.insert(member, day);
        Ok(())
    }
}
