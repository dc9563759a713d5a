//! What a log says.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::FamilyLog;
use super::recovery::Asked;
use super::rules::Freeze;
use super::state::{Certificate, Member, PassEntry, Removal, Standing};
use crate::day::Day;
use crate::faults::{Fault, planted};
use crate::identity::decision::{Decision, RecoveryKeys, ReturnWay, Settings};
use crate::identity::statement::Statement;
use crate::ids::{DeviceId, FamilyId, MemberId, PassId};
use crate::policy::Policy;
use crate::primitives::sign::PublicKey;
use crate::wire;

impl FamilyLog {
    /// Entries, hidden ones included; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a log is never empty")]
    pub fn len(&self) -> u64 {
        self.heads.len() as u64
    }

    /// Whether an entry at this index or after it is hidden.
    pub(in crate::identity) fn hides_from(&self, index: u64) -> bool {
        self.hidden.range(index..).next().is_some()
    }

    /// Whether no entry is hidden.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.hidden.is_empty()
    }

    /// The exact signed statements; without the hidden ones.
    #[must_use]
    pub fn statements(&self) -> &[wire::SignedStatement] {
        &self.statements
    }

    /// What was decided from this index on, as far as it is shown, and by whom.
    #[must_use]
    pub fn decisions_from(&self, index: u64) -> Vec<(u64, Decision, BTreeSet<MemberId>)> {
        let places = (0..self.len()).filter(|index| !self.hidden.contains_key(index));
        let decided = places.zip(&self.statements).filter(|(at, _)| *at >= index);
        decided
            .filter_map(|(at, signed)| {
                let statement = Statement::decode(&signed.statement).ok()?;
                let by = self.signers.get(&at).cloned().unwrap_or_default();
                Some((at, statement.decision, by))
            })
            .collect()
    }

    /// Hash over the whole past.
    #[must_use]
    pub const fn head(&self) -> &[u8; 32] {
        &self.head
    }

    /// The day of the newest statement that is shown.
    #[must_use]
    pub const fn day(&self) -> Day {
        self.state.day
    }

    /// Id of the family.
    #[must_use]
    pub const fn family(&self) -> FamilyId {
        self.state.family
    }

    /// Name of the family.
    #[must_use]
    pub fn family_name(&self) -> &str {
        &self.state.family_name
    }

    /// What the family chose.
    #[must_use]
    pub const fn settings(&self) -> Settings {
        self.state.settings
    }

    /// Members by id.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.state.members
    }

    /// The guardians.
    pub fn guardians(&self) -> impl Iterator<Item = MemberId> {
        self.state.guardians()
    }

    /// The keys that sign statements and heads, each with the guardian whose device has it.
    pub fn identity_keys(&self) -> impl Iterator<Item = (PublicKey, MemberId)> {
        self.state.identity_keys()
    }

    /// The key with which a device of a guardian signs now.
    #[must_use]
    pub fn identity_key(&self, device: &DeviceId) -> Option<PublicKey> {
        let entry = self.state.devices.get(device)?;
        entry.device.identity_key.filter(|_| !entry.removed)
    }

    /// Every removal of a member, by the index of its statement.
    #[must_use]
    pub const fn removals(&self) -> &BTreeMap<u64, Removal> {
        &self.state.removals
    }

    /// Whether an entry from index `from` on removes a guardian, who did not sign that, on a day
    /// before `day`: so long ago that the freeze would be over; or lets one come back, or shows that
    /// one asks to, on such a day.
    #[must_use]
    pub fn is_backdated(&self, from: u64, day: Day) -> bool {
        let mut new = self.state.removals.range(from..);
        let removed =
            new.any(|(_, removal)| removal.standing != Standing::Final && removal.day < day);
        // Consents to a return hold for days: an old one is no newer for being dated back.
        let mut returned = self.state.returned.range(from..);
        removed || returned.any(|(_, returned)| *returned < day)
    }

    /// Removals that may still be objected to as long as the day is `day`: their freeze lasts.
    pub fn thawing(&self, day: Day) -> impl Iterator<Item = &Removal> {
        let mut removals = self.state.removals.values();
        core::iter::from_fn(move || {
            removals.find(|removal| removal.standing == Standing::Open && removal.freezes(day))
        })
    }

    /// Members that were removed and did not come back.
    pub fn removed_members(&self) -> impl Iterator<Item = &Removal> {
        self.state
            .removals
            .values()
            .filter(|removal| !matches!(removal.standing, Standing::Undone | Standing::Returned))
    }

    /// The certificate of a device that belongs to the family now.
    #[must_use]
    pub fn certificate(&self, device: &DeviceId) -> Option<Certificate> {
        let entry = self
            .state
            .devices
            .get(device)
            .filter(|entry| !entry.removed)?;
        let member = self.state.members.get(&entry.device.member)?;
        Some(Certificate {
            family: self.state.family,
            member: entry.device.member,
            role: member.role,
            device: *device,
            signature_key: entry.device.signature_key,
        })
    }

    /// The signature key of a device that belongs to the family, or once did: what it signed
    /// then is still its own.
    #[must_use]
    pub fn signature_key_ever(&self, device: &DeviceId) -> Option<PublicKey> {
        let entry = self.state.devices.get(device)?;
        Some(entry.device.signature_key)
    }

    /// Whose device this is, or was.
    #[must_use]
    pub fn member_ever(&self, device: &DeviceId) -> Option<MemberId> {
        let entry = self.state.devices.get(device)?;
        Some(entry.device.member)
    }

    /// Devices that a member has or had.
    pub fn devices_ever(&self, member: MemberId) -> impl Iterator<Item = DeviceId> {
        let of = self.state.devices.iter();
        of.filter(move |(_, entry)| entry.device.member == member)
            .map(|(device, _)| *device)
    }

    /// The name of a member who is in the family, or once was.
    #[must_use]
    pub fn name_ever(&self, member: &MemberId) -> Option<&str> {
        let removed = || {
            let mut removals = self.state.removals.values().rev();
            let removal = removals.find(|removal| removal.member == *member)?;
            Some(&removal.person)
        };
        let person = self.state.members.get(member).or_else(removed)?;
        Some(&person.name)
    }

    /// Certificates of all devices that belong to the family now.
    pub fn certificates(&self) -> impl Iterator<Item = Certificate> {
        self.state
            .devices
            .keys()
            .filter_map(|device| self.certificate(device))
    }

    /// Every pass that was ever approved.
    #[must_use]
    pub const fn passes(&self) -> &BTreeMap<PassId, PassEntry> {
        &self.state.passes
    }

    /// The pass, if this family holds to it on this day: approved, not revoked, its child
    /// still in the family, and in its days. The other family's log has to say the same.
    #[must_use]
    pub fn valid_pass(&self, id: &PassId, day: Day) -> Option<&PassEntry> {
        let entry = self.state.passes.get(id)?;
        let side = entry.pass.side_of(&self.state.family)?;
        let valid = (entry.revoked.is_none() || planted(Fault::Revocation))
            && self.state.members.contains_key(&side.child)
            && entry.pass.covers(day);
        valid.then_some(entry)
    }

    /// What this child may do; `None`: everything.
    #[must_use]
    pub fn policy(&self, child: &MemberId) -> Option<&Policy> {
        self.state.policies.get(child)
    }

    /// With which keys a guardian comes back who has lost every device.
    #[must_use]
    pub fn recovery(&self, member: &MemberId) -> Option<&RecoveryKeys> {
        self.state.recovery.get(member)
    }

    /// Whether a guardian had keys to come back with, and they lead back no more: one of the devices
    /// that knew them was put out, or their owner vetoed a wish that was signed with them.
    #[must_use]
    pub fn is_recovery_void(&self, member: &MemberId) -> bool {
        self.state.recoverable.contains(member) && !self.state.recovery.contains_key(member)
    }

    /// Guardians who ask to come back by their password alone, and were shown to another.
    pub fn asks(&self) -> impl Iterator<Item = &Asked> {
        self.state.asks.values()
    }

    /// Whether a guardian vetoed the wish of this device to come back.
    #[must_use]
    pub fn is_vetoed(&self, device: &DeviceId) -> bool {
        self.state.vetoed.contains(device)
    }

    /// Whether a member came back by the password alone, and no other guardian has let them back in
    /// since: none of their devices is given history.
    #[must_use]
    pub fn has_waited(&self, member: &MemberId) -> bool {
        self.state.has_waited(member)
    }

    /// How a guardian came back with this device; `None` when it was paired.
    #[must_use]
    pub fn came_back(&self, device: &DeviceId) -> Option<ReturnWay> {
        self.state.devices.get(device)?.came_back
    }

    /// Whose device this is, or was.
    #[must_use]
    pub fn owner_ever(&self, device: &DeviceId) -> Option<MemberId> {
        Some(self.state.devices.get(device)?.device.member)
    }

    /// Guardians who must sign this decision on this day, unless [`Self::is_frozen`].
    #[must_use]
    pub fn required_signatures(&self, decision: &Decision, day: Day) -> usize {
        self.state.required(decision, day)
    }

    /// Whether nothing may widen on this day, and why.
    #[must_use]
    pub fn is_frozen(&self, day: Day) -> Option<Freeze> {
        self.state.freeze(day)
    }
}
