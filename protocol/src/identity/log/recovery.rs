//! How a guardian who has lost every device comes back (PROTOCOL §7.10).
//!
//! Two keys of each guardian stand in the log that lie on no device: what the password leads to
//! can ask, what password and recovery code lead to can come back. Neither signs a statement: they
//! consent to their own guardian's return and to nothing else, so whoever finds them decides
//! nothing.

use std::collections::BTreeSet;

use super::error::LogError;
use super::state::{Place, State};
use crate::day::Day;
use crate::identity::decision::{AddedDevice, Decision, RecoveryKeys, Return, ReturnWay, Role};
use crate::identity::statement::{Statement, consented_by, signed_by};
use crate::ids::{DeviceId, MemberId};
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
        if self.vetoed.contains(&back.device.device) {
            return Err(LogError::Vetoed);
        }
        if self.is_busy(&others, day) {
            return Err(LogError::Often(day));
        }
        if asks {
            return match back.way {
                ReturnWay::Waited => Ok(others),
                _ => Err(LogError::Field("way to come back")),
            };
        }
        if let Some(freeze) = self.freeze(day) {
            return Err(LogError::Frozen {
                until: freeze.until,
            });
        }
        if back.way == ReturnWay::Waited {
            let asked = self.asks.get(&back.device.device);
            let from = asked
                .filter(|asked| asked.back == *back)
                .ok_or(LogError::NotShown)?
                .day
                .plus(limits::RETURN_WAIT_DAYS);
            if day < from {
                return Err(LogError::ReturnEarly { from });
            }
        }
        Ok(others)
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
        self.recoverable.insert(member);
        // What was asked with the keys before is asked no more.
        self.asks.retain(|_, asked| asked.back.member() != member);
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

    /// All that this guardian had is lost; one new device is in its place. Its keys hold until it
    /// says others: a first try that broke off must not lock its guardian out.
    pub(super) fn come_back(&mut self, back: Return, place: &Place<'_>) -> Result<(), LogError> {
        let member = back.member();
        let lost: BTreeSet<_> = self.devices_of(member).collect();
        self.add_device(back.device.clone())?;
        self.mark_removed(&lost, true);
        if let Some(entry) = self.devices.get_mut(&back.device.device) {
            entry.came_back = Some(back.way);
        }
        match back.way {
            // Whoever guessed the password may be that guardian by now. With keys of its own it
            // comes back by a code, too: only another guardian's word ends it.
            ReturnWay::Waited => {
                self.waited.insert(member);
                self.recovery.remove(&member);
            }
            ReturnWay::Guardian => {
                self.waited.remove(&member);
                self.recovery.remove(&member);
            }
            ReturnWay::Code => {}
        }
        self.asks.retain(|_, asked| asked.back.member() != member);
        self.returned.insert(place.index, place.day);
        Ok(())
    }

    /// Whether a guardian came back by the password alone, and no other guardian has said since
    /// that it is they.
    pub(super) fn has_waited(&self, member: &MemberId) -> bool {
        self.waited.contains(member)
    }

    pub(super) fn forget_recovery(&mut self, member: &MemberId) {
        self.recovery.remove(member);
        self.recoverable.remove(member);
        self.waited.remove(member);
        self.asks.retain(|_, asked| asked.back.member() != *member);
    }

    pub(super) fn ask(&mut self, back: Return, place: &Place<'_>) -> Result<(), LogError> {
        let member = back.member();
        let others = self.asks.values().filter(|it| it.back.member() == member);
        if others.count() >= limits::RETURN_ASKS_MAX {
            return Err(LogError::Contradiction(
                "that guardian asks with several devices already: veto those that are not theirs",
            ));
        }
        let asked = Asked {
            back,
            day: place.day,
            shown_by: place.signers.clone(),
        };
        self.asks.insert(asked.back.device.device, asked);
        self.returned.insert(place.index, place.day);
        Ok(())
    }

    pub(super) fn veto(
        &mut self,
        member: MemberId,
        device: DeviceId,
        place: &Place<'_>,
    ) -> Result<(), LogError> {
        if !self.recovery.contains_key(&member) || self.devices.contains_key(&device) {
            return Err(LogError::Contradiction(
                "nobody can ask to come back so, or is back already",
            ));
        }
        self.asks.remove(&device);
        self.vetoed.insert(device);
        if place.signers.contains(&member) {
            // It was not they who asked: somebody knows what leads to these keys.
            self.recovery.remove(&member);
            self.asks.retain(|_, asked| asked.back.member() != member);
        }
        Ok(())
    }
}
