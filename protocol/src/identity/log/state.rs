//! What the statements of a log imply: members, devices, passes, policies.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::error::LogError;
use super::recovery::Asked;
use crate::day::Day;
use crate::identity::decision::{
    AddedDevice, AddedMember, Decision, RecoveryKeys, ReturnWay, Role, Settings,
};
use crate::identity::pass::ContactPass;
use crate::ids::{DeviceId, FamilyId, MemberId, PassId};
use crate::limits;
use crate::policy::Policy;
use crate::primitives::sign::PublicKey;

/// A person of the family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Guardian or child.
    pub role: Role,
    /// Name.
    pub name: String,
}

/// What the log implies about a device: this key speaks for this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Family.
    pub family: FamilyId,
    /// Member.
    pub member: MemberId,
    /// The member's role.
    pub role: Role,
    /// Device.
    pub device: DeviceId,
    /// The signature key of its MLS leaves.
    pub signature_key: PublicKey,
}

/// A pass as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassEntry {
    /// What it says.
    pub pass: ContactPass,
    /// Its exact bytes.
    pub bytes: Bytes,
    /// The day it was approved.
    pub approved_day: Day,
    /// The day it was revoked; `None`: it was not.
    pub revoked: Option<Day>,
}

/// Where a removal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Of a child, or of a guardian by itself: nothing to object to.
    Final,
    /// Of a guardian by others: it may object for [`limits::REMOVAL_FREEZE_DAYS`].
    Open,
    /// It objected: what widens is frozen until one side withdraws.
    Objected,
    /// The removed guardian gave in.
    Accepted,
    /// Who removed it took that back: it is a guardian again, with the devices that it had.
    /// What widens stays frozen until it says that it is back, or is removed again.
    Undone,
    /// And it is back.
    Returned,
}

/// A member that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Index of the statement that removed it.
    pub index: u64,
    /// Who was removed.
    pub member: MemberId,
    /// What it was.
    pub person: Member,
    /// The devices that it had until then: they speak for it when it objects, and are its own
    /// again when the removal is taken back.
    pub devices: BTreeSet<DeviceId>,
    /// When.
    pub day: Day,
    /// The guardians who signed.
    pub signers: BTreeSet<MemberId>,
    /// Where it stands.
    pub standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeviceEntry {
    pub(super) device: AddedDevice,
    pub(super) removed: bool,
    /// Its guardian came back with it.
    pub(super) came_back: Option<ReturnWay>,
}

/// Where a decision stands, and who signed it.
pub(super) struct Place<'a> {
    pub(super) index: u64,
    pub(super) day: Day,
    pub(super) signers: &'a BTreeSet<MemberId>,
    /// Whether it is one of those of which a day has so many.
    pub(super) counts: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) family: FamilyId,
    pub(super) family_name: String,
    pub(super) settings: Settings,
    pub(super) day: Day,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) devices: BTreeMap<DeviceId, DeviceEntry>,
    pub(super) removals: BTreeMap<u64, Removal>,
    pub(super) passes: BTreeMap<PassId, PassEntry>,
    pub(super) policies: BTreeMap<MemberId, Policy>,
    /// With which guardians come back who lost every device.
    pub(super) recovery: BTreeMap<MemberId, RecoveryKeys>,
    /// Every key that ever was one of these.
    pub(super) former_recovery: BTreeSet<PublicKey>,
    /// Guardians who have ever said how they come back: other keys in the place of theirs widen
    /// nothing.
    pub(super) recoverable: BTreeSet<MemberId>,
    /// Devices that ask to come back, and were shown to another guardian.
    pub(super) asks: BTreeMap<DeviceId, Asked>,
    /// Devices whose wish to come back was vetoed.
    pub(super) vetoed: BTreeSet<DeviceId>,
    /// Guardians who came back by the password alone: none of their devices is given history.
    pub(super) waited: BTreeSet<MemberId>,
    /// The days of wishes and returns that were carried into the log, by index.
    pub(super) returned: BTreeMap<u64, Day>,
    /// Statements of `day` that count, by who signed.
    pub(super) of_day: BTreeMap<MemberId, u32>,
}

impl State {
    pub(super) fn founded(
        family: FamilyId,
        family_name: String,
        guardian: AddedMember,
        device: AddedDevice,
        settings: Settings,
        day: Day,
    ) -> Result<Self, LogError> {
        if guardian.role != Role::Guardian || device.member != guardian.member {
            return Err(LogError::Contradiction("a family is founded by a guardian"));
        }
        let mut state = Self {
            family,
            family_name,
            settings,
            day,
            members: BTreeMap::new(),
            devices: BTreeMap::new(),
            removals: BTreeMap::new(),
            passes: BTreeMap::new(),
            policies: BTreeMap::new(),
            recovery: BTreeMap::new(),
            former_recovery: BTreeSet::new(),
            recoverable: BTreeSet::new(),
            asks: BTreeMap::new(),
            vetoed: BTreeSet::new(),
            waited: BTreeSet::new(),
            returned: BTreeMap::new(),
            of_day: BTreeMap::new(),
        };
        state.add_member(guardian)?;
        state.add_device(device)?;
        Ok(state)
    }

    /// Applies a decision that `rules` let through; on an error nothing has changed.
    pub(super) fn apply(&mut self, decision: Decision, place: &Place<'_>) -> Result<(), LogError> {
        match decision {
            Decision::Found { .. } => {
                return Err(LogError::Contradiction("a family is founded once"));
            }
            Decision::AddMember(member) => self.add_member(member)?,
            Decision::AddDevice(device) => self.add_device(device)?,
            Decision::RemoveDevice(device) => self.remove_device(&device)?,
            Decision::RemoveMember(member) => self.remove_member(member, place)?,
            Decision::ApprovePass(pass) => self.approve_pass(pass, place.day)?,
            Decision::RevokePass(pass) => self.revoke_pass(&pass, place.day)?,
            Decision::SetPolicy { child, policy } => self.set_policy(child, policy)?,
            Decision::Settings(settings) => self.settings = settings,
            Decision::Object { removal } => self.object(removal, place.day)?,
            Decision::Withdraw { removal } => self.withdraw(removal, place)?,
            Decision::SetRecovery { member, keys } => self.set_recovery(member, keys)?,
            Decision::Return(back) => self.come_back(back, place)?,
            Decision::Ask(back) => self.ask(back, place)?,
            Decision::Veto { member, device } => self.veto(member, device, place)?,
        }
        if place.day != self.day {
            self.of_day.clear();
        }
        self.day = place.day;
        for signer in place.signers.iter().filter(|_| place.counts) {
            let count = self.of_day.entry(*signer).or_default();
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    /// Whether that is decided already.
    pub(super) fn has(&self, decision: &Decision) -> bool {
        match decision {
            Decision::SetPolicy { child, policy } => self.policies.get(child) == Some(policy),
            Decision::Settings(settings) => self.settings == *settings,
            Decision::SetRecovery { member, keys } => self.recovery.get(member) == Some(keys),
            Decision::Ask(back) => {
                let asked = self.asks.get(&back.device.device);
                asked.is_some_and(|asked| asked.back == *back)
            }
            Decision::Veto { device, .. } => self.vetoed.contains(device),
            _ => false,
        }
    }

    /// Whether one of these has signed as much on this day as the log takes of them.
    pub(super) fn is_busy(&self, signers: &BTreeSet<MemberId>, day: Day) -> bool {
        let busy = |signer| {
            self.of_day
                .get(signer)
                .is_some_and(|count| *count >= limits::FAMILY_LOG_DAY_MAX)
        };
        day == self.day && signers.iter().any(busy)
    }

    fn is(&self, member: &MemberId, role: Role) -> bool {
        self.members
            .get(member)
            .is_some_and(|known| known.role == role)
    }

    /// The guardians.
    pub(super) fn guardians(&self) -> impl Iterator<Item = MemberId> {
        let guardians = self.members.iter();
        guardians
            .filter(|(_, member)| member.role == Role::Guardian)
            .map(|(id, _)| *id)
    }

    /// The keys that sign for guardians, each of a device that belongs to the family now.
    pub(super) fn identity_keys(&self) -> impl Iterator<Item = (PublicKey, MemberId)> {
        let now = self.devices.values().filter(|entry| !entry.removed);
        now.filter_map(|entry| Some((entry.device.identity_key?, entry.device.member)))
    }

    /// The keys with which a removed guardian signed until then.
    pub(super) fn keys_at(&self, removal: &Removal) -> impl Iterator<Item = (PublicKey, MemberId)> {
        let devices = removal.devices.iter();
        devices.filter_map(|device| {
            let device = &self.devices.get(device)?.device;
            Some((device.identity_key?, device.member))
        })
    }

    /// Devices that this member has now.
    pub(super) fn devices_of(&self, member: MemberId) -> impl Iterator<Item = DeviceId> {
        let now = self.devices.iter().filter(|(_, entry)| !entry.removed);
        now.filter(move |(_, entry)| entry.device.member == member)
            .map(|(device, _)| *device)
    }

    /// The role of someone who is or was in the family.
    pub(super) fn role_ever(&self, member: &MemberId) -> Option<Role> {
        let removed = || {
            self.removals
                .values()
                .find(|removal| removal.member == *member)
        };
        self.members
            .get(member)
            .or_else(|| removed().map(|removal| &removal.person))
            .map(|person| person.role)
    }

    fn add_member(&mut self, member: AddedMember) -> Result<(), LogError> {
        if self.role_ever(&member.member).is_some() {
            return Err(LogError::Contradiction(
                "the added member was in the family before",
            ));
        }
        self.members.insert(
            member.member,
            Member {
                role: member.role,
                name: member.name,
            },
        );
        Ok(())
    }

    pub(super) fn add_device(&mut self, device: AddedDevice) -> Result<(), LogError> {
        let Some(owner) = self.members.get(&device.member) else {
            return Err(LogError::Contradiction(
                "the added device belongs to nobody in the family",
            ));
        };
        if device.identity_key.is_some() != (owner.role == Role::Guardian) {
            return Err(LogError::Contradiction(
                "a guardian's device has an identity key, and no other",
            ));
        }
        // Two guardians with one key would be two signers with one hand.
        let taken = |entry: &DeviceEntry| {
            let known = &entry.device;
            known.signature_key == device.signature_key
                || (known.identity_key.is_some() && known.identity_key == device.identity_key)
        };
        let recovers = |key: &PublicKey| self.former_recovery.contains(key);
        let recovery = recovers(&device.signature_key)
            || device.identity_key.is_some_and(|key| recovers(&key));
        let known = self.devices.contains_key(&device.device);
        if known || recovery || self.devices.values().any(taken) {
            return Err(LogError::Contradiction(
                "the added device was in the family before",
            ));
        }
        self.devices.insert(
            device.device,
            DeviceEntry {
                device,
                removed: false,
                came_back: None,
            },
        );
        Ok(())
    }

    fn remove_device(&mut self, device: &DeviceId) -> Result<(), LogError> {
        let entry = self.devices.get(device).filter(|entry| !entry.removed);
        let owner = entry
            .map(|entry| entry.device.member)
            .ok_or(LogError::Contradiction(
                "the removed device is not in the family",
            ))?;
        // Or it would be a way to remove a guardian without freeze and objection.
        if self.is(&owner, Role::Guardian) && self.devices_of(owner).count() == 1 {
            return Err(LogError::LastDevice);
        }
        if let Some(entry) = self.devices.get_mut(device) {
            entry.removed = true;
        }
        // Whoever has it has the keys to come back with, too.
        self.recovery.remove(&owner);
        Ok(())
    }

    fn remove_member(&mut self, member: MemberId, place: &Place<'_>) -> Result<(), LogError> {
        if self.is(&member, Role::Guardian) && self.guardians().count() == 1 {
            return Err(LogError::LastGuardian);
        }
        let person = self.members.remove(&member).ok_or(LogError::Contradiction(
            "the removed member is not in the family",
        ))?;
        let devices: BTreeSet<DeviceId> = self.devices_of(member).collect();
        self.mark_removed(&devices, true);
        self.policies.remove(&member);
        self.forget_recovery(&member);
        // Its return is not awaited any more.
        for before in self.removals.values_mut() {
            if before.member == member && before.standing == Standing::Undone {
                before.standing = Standing::Returned;
            }
        }
        let by_others = person.role == Role::Guardian && !place.signers.contains(&member);
        self.removals.insert(
            place.index,
            Removal {
                index: place.index,
                member,
                person,
                devices,
                day: place.day,
                signers: place.signers.clone(),
                standing: if by_others {
                    Standing::Open
                } else {
                    Standing::Final
                },
            },
        );
        Ok(())
    }

    fn approve_pass(&mut self, pass: ContactPass, day: Day) -> Result<(), LogError> {
        let side = pass
            .side_of(&self.family)
            .ok_or(LogError::Contradiction("the pass is for other families"))?;
        if !self.is(&side.child, Role::Child) {
            return Err(LogError::Contradiction(
                "the pass is for a child that is not in the family",
            ));
        }
        let guardians = side
            .guardians
            .iter()
            .all(|guardian| self.is(&guardian.member, Role::Guardian));
        if !guardians {
            return Err(LogError::Contradiction(
                "the pass names a guardian that is not in the family",
            ));
        }
        if self.passes.contains_key(&pass.id()) {
            return Err(LogError::Contradiction("the pass was approved before"));
        }
        self.passes.insert(
            pass.id(),
            PassEntry {
                bytes: pass.bytes().clone(),
                pass,
                approved_day: day,
                revoked: None,
            },
        );
        Ok(())
    }

    fn revoke_pass(&mut self, pass: &PassId, day: Day) -> Result<(), LogError> {
        match self.passes.get_mut(pass) {
            Some(entry) if entry.revoked.is_none() => entry.revoked = Some(day),
            _ => {
                return Err(LogError::Contradiction(
                    "the revoked pass is not one of the family's",
                ));
            }
        }
        Ok(())
    }

    fn set_policy(&mut self, child: MemberId, policy: Policy) -> Result<(), LogError> {
        if !self.is(&child, Role::Child) {
            return Err(LogError::Contradiction(
                "the policy is for a child that is not in the family",
            ));
        }
        self.policies.insert(child, policy);
        Ok(())
    }

    fn object(&mut self, removal: u64, day: Day) -> Result<(), LogError> {
        let removal = self.removal_mut(removal)?;
        if removal.standing != Standing::Open {
            return Err(LogError::Contradiction(
                "the removal can't be objected to, or was settled",
            ));
        }
        let until = removal.day.plus(limits::REMOVAL_FREEZE_DAYS);
        if day >= until {
            return Err(LogError::ObjectionLate { until });
        }
        removal.standing = Standing::Objected;
        Ok(())
    }

    fn withdraw(&mut self, removal: u64, place: &Place<'_>) -> Result<(), LogError> {
        let removal = self.removal_mut(removal)?;
        if !removal.freezes(place.day) {
            return Err(LogError::Contradiction("the removal is settled"));
        }
        let itself = place.signers.contains(&removal.member);
        match (removal.standing, itself) {
            (Standing::Undone, true) => removal.standing = Standing::Returned,
            (Standing::Undone, false) => {
                return Err(LogError::Contradiction(
                    "the removal was taken back, and waits for the guardian",
                ));
            }
            (_, true) => removal.standing = Standing::Accepted,
            (_, false) => {
                removal.standing = Standing::Undone;
                let (member, person) = (removal.member, removal.person.clone());
                let devices = removal.devices.clone();
                self.members.insert(member, person);
                self.mark_removed(&devices, false);
            }
        }
        Ok(())
    }

    pub(super) fn mark_removed(&mut self, devices: &BTreeSet<DeviceId>, removed: bool) {
        for device in devices {
            if let Some(entry) = self.devices.get_mut(device) {
                entry.removed = removed;
            }
        }
    }

    fn removal_mut(&mut self, index: u64) -> Result<&mut Removal, LogError> {
        self.removals
            .get_mut(&index)
            .ok_or(LogError::Contradiction("nobody was removed there"))
    }
}
