//! What guardians can decide, and its exact bytes.

use prost::Message;

use super::log::LogError;
use super::pass::ContactPass;
use crate::ids::{DeviceId, MemberId, PassId};
use crate::limits;
use crate::policy::Policy;
use crate::primitives::sign::PublicKey;
use crate::wire::{self, decision::Body};

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A grown-up who decides.
    Guardian,
    /// A child.
    Child,
}

/// A person as a statement adds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedMember {
    /// Id.
    pub member: MemberId,
    /// Guardian or child.
    pub role: Role,
    /// Name as the guardians say it.
    pub name: String,
}

/// A device as a statement adds one: from it follows the device's [`super::Certificate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedDevice {
    /// Whose.
    pub member: MemberId,
    /// Id: the credential of its MLS leaves.
    pub device: DeviceId,
    /// The signature key of its MLS leaves.
    pub signature_key: PublicKey,
    /// What it calls itself.
    pub name: String,
    /// Signs statements and heads for its guardian; `None` on a child's device.
    pub identity_key: Option<PublicKey>,
}

/// What a family chose about its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Guardians who must sign what widens: 1 or 2.
    pub signatures: u32,
    /// Days for which a guardian's head stays fresh: 3 to 14.
    pub lease_days: u32,
}

impl Default for Settings {
    /// One signature, seven days.
    fn default() -> Self {
        Self {
            signatures: 1,
            lease_days: 7,
        }
    }
}

/// How a guardian who has lost every device comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnWay {
    /// By the recovery code: at once.
    Code,
    /// By the password and another guardian's yes: at once.
    Guardian,
    /// By the password alone: after a day in which another guardian's device showed it and nobody
    /// vetoed. Such a device is given no history.
    Waited,
}

/// The keys with which a guardian comes back: they sign consents to its own return, and nothing
/// else counts of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryKeys {
    /// Asks to come back: the password leads to it.
    pub request: PublicKey,
    /// Comes back: password and recovery code lead to it.
    pub recovery: PublicKey,
}

/// A guardian comes back: this device in place of all that they had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The new device, with an identity key of its own.
    pub device: AddedDevice,
    /// How.
    pub way: ReturnWay,
}

/// What guardians can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The first statement, signed by a root key that is then erased.
    Found {
        /// Names the family and signed this statement.
        root_key: PublicKey,
        /// Name of the family.
        family_name: String,
        /// The first guardian.
        guardian: AddedMember,
        /// Their first device.
        device: AddedDevice,
        /// What holds at first.
        settings: Settings,
    },
    /// A person belongs to the family from now on.
    AddMember(AddedMember),
    /// A device belongs to a member from now on.
    AddDevice(AddedDevice),
    /// A device does not belong to the family any more.
    RemoveDevice(DeviceId),
    /// A person and all their devices do not belong to the family any more.
    RemoveMember(MemberId),
    /// A child may talk with a child of another family, as the pass says.
    ApprovePass(ContactPass),
    /// The pass is void from now on.
    RevokePass(PassId),
    /// What a child may do from now on.
    SetPolicy {
        /// Whose.
        child: MemberId,
        /// In place of the one before.
        policy: Policy,
    },
    /// What holds from now on.
    Settings(Settings),
    /// A removed guardian does not agree: what widens stays frozen.
    Object {
        /// Index of the statement that removed it.
        removal: u64,
    },
    /// One side gives in: the removed guardian, or one that removed it. Said by a guardian whose
    /// removal was taken back: it is in the family again.
    Withdraw {
        /// Index of the statement that removed a guardian.
        removal: u64,
    },
    /// How a guardian could come back who has lost every device; in place of the keys before.
    SetRecovery {
        /// Whose; said by themselves.
        member: MemberId,
        /// The keys.
        keys: RecoveryKeys,
    },
    /// A guardian who has lost every device is back.
    Return(Return),
    /// A guardian's device has shown another guardian's wish to come back.
    Ask(Return),
    /// A guardian does not agree that another one comes back with this device. Said by the one
    /// whose return it is, it also voids the keys: somebody else knows the password.
    Veto {
        /// As whom it asked.
        member: MemberId,
        /// The device that asked.
        device: DeviceId,
    },
}

impl Decision {
    /// Whether it can only take away what the log has given, or speaks for somebody who was
    /// removed: there can't be more of these than of the others.
    pub(super) const fn takes_away(&self) -> bool {
        matches!(
            self,
            Self::RemoveMember(_)
                | Self::RemoveDevice(_)
                | Self::RevokePass(_)
                | Self::Object { .. }
        )
    }

    /// The bytes that stand in a statement, and that consents are given to.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let body = match self {
            Self::Found {
                root_key,
                family_name,
                guardian,
                device,
                settings,
            } => Body::Found(wire::Found {
                root_key: root_key.as_bytes().to_vec().into(),
                family_name: family_name.clone(),
                guardian: Some(guardian.to_wire()),
                device: Some(device.to_wire()),
                settings: Some(settings.to_wire()),
            }),
            Self::AddMember(member) => Body::AddMember(member.to_wire()),
            Self::AddDevice(device) => Body::AddDevice(device.to_wire()),
            Self::RemoveDevice(device) => Body::RemoveDevice(wire::RemoveDevice {
                device: device.to_bytes(),
            }),
            Self::RemoveMember(member) => Body::RemoveMember(wire::RemoveMember {
                member: member.to_bytes(),
            }),
            Self::ApprovePass(pass) => Body::ApprovePass(wire::ApprovePass {
                pass: pass.bytes().clone(),
            }),
            Self::RevokePass(pass) => Body::RevokePass(wire::RevokePass {
                pass: pass.to_bytes(),
            }),
            Self::SetPolicy { child, policy } => Body::SetPolicy(wire::SetPolicy {
                child: child.to_bytes(),
                policy: Some(policy.to_wire()),
            }),
            Self::Settings(settings) => Body::Settings(settings.to_wire()),
            Self::Object { removal } => Body::Object(wire::Object { removal: *removal }),
            Self::Withdraw { removal } => Body::Withdraw(wire::Withdraw { removal: *removal }),
            Self::SetRecovery { member, keys } => Body::SetRecovery(wire::SetRecovery {
                member: member.to_bytes(),
                request_key: keys.request.as_bytes().to_vec().into(),
                recovery_key: keys.recovery.as_bytes().to_vec().into(),
            }),
            Self::Return(back) => Body::Return(back.to_wire()),
            Self::Ask(back) => Body::Ask(wire::Ask {
                r#return: Some(back.to_wire()),
            }),
            Self::Veto { member, device } => Body::Veto(wire::Veto {
                member: member.to_bytes(),
                device: device.to_bytes(),
            }),
        };
        wire::Decision { body: Some(body) }.encode_to_vec()
    }

    /// Reads a decision and checks its bounds.
    ///
    /// # Errors
    /// [`LogError`] when it is damaged, unknown, or a field is out of bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let decision = wire::Decision::decode(bytes).map_err(LogError::Malformed)?;
        Ok(match decision.body.ok_or(LogError::UnknownDecision)? {
            Body::Found(found) => Self::Found {
                root_key: PublicKey::from_slice(&found.root_key)
                    .ok_or(LogError::Field("root key"))?,
                family_name: name(found.family_name)?,
                guardian: AddedMember::from_wire(
                    found.guardian.ok_or(LogError::Field("guardian"))?,
                )?,
                device: AddedDevice::from_wire(found.device.ok_or(LogError::Field("device"))?)?,
                settings: Settings::from_wire(found.settings.ok_or(LogError::Field("settings"))?)?,
            },
            Body::AddMember(member) => Self::AddMember(AddedMember::from_wire(member)?),
            Body::AddDevice(device) => Self::AddDevice(AddedDevice::from_wire(device)?),
            Body::RemoveDevice(remove) => Self::RemoveDevice(DeviceId::try_from(&remove.device)?),
            Body::RemoveMember(remove) => Self::RemoveMember(MemberId::try_from(&remove.member)?),
            Body::ApprovePass(approve) => Self::ApprovePass(ContactPass::decode(&approve.pass)?),
            Body::RevokePass(revoke) => Self::RevokePass(PassId::try_from(&revoke.pass)?),
            Body::SetPolicy(set) => Self::SetPolicy {
                child: MemberId::try_from(&set.child)?,
                policy: Policy::from_wire(&set.policy.ok_or(LogError::Field("policy"))?)?,
            },
            Body::Settings(settings) => Self::Settings(Settings::from_wire(settings)?),
            Body::Object(object) => Self::Object {
                removal: object.removal,
            },
            Body::Withdraw(withdraw) => Self::Withdraw {
                removal: withdraw.removal,
            },
            Body::SetRecovery(set) => Self::SetRecovery {
                member: MemberId::try_from(&set.member)?,
                keys: RecoveryKeys {
                    request: PublicKey::from_slice(&set.request_key)
                        .ok_or(LogError::Field("request key"))?,
                    recovery: PublicKey::from_slice(&set.recovery_key)
                        .ok_or(LogError::Field("recovery key"))?,
                },
            },
            Body::Return(back) => Self::Return(Return::from_wire(back)?),
            Body::Ask(ask) => Self::Ask(Return::from_wire(
                ask.r#return.ok_or(LogError::Field("return"))?,
            )?),
            Body::Veto(veto) => Self::Veto {
                member: MemberId::try_from(&veto.member)?,
                device: DeviceId::try_from(&veto.device)?,
            },
        })
    }
}

fn name(name: String) -> Result<String, LogError> {
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
        return Err(LogError::Field("name"));
    }
    Ok(name)
}

impl Return {
    /// Who comes back.
    #[must_use]
    pub const fn member(&self) -> MemberId {
        self.device.member
    }

    pub(crate) fn to_wire(&self) -> wire::Return {
        wire::Return {
            device: Some(self.device.to_wire()),
            way: match self.way {
                ReturnWay::Code => wire::ReturnWay::Code,
                ReturnWay::Guardian => wire::ReturnWay::Guardian,
                ReturnWay::Waited => wire::ReturnWay::Waited,
            }
            .into(),
        }
    }

    pub(crate) fn from_wire(back: wire::Return) -> Result<Self, LogError> {
        let way = match back.way() {
            wire::ReturnWay::Code => ReturnWay::Code,
            wire::ReturnWay::Guardian => ReturnWay::Guardian,
            wire::ReturnWay::Waited => ReturnWay::Waited,
            wire::ReturnWay::Unspecified => return Err(LogError::Field("way to come back")),
        };
        let device = back.device.ok_or(LogError::Field("device"))?;
        Ok(Self {
            device: AddedDevice::from_wire(device)?,
            way,
        })
    }
}

impl Settings {
    pub(crate) const fn to_wire(self) -> wire::Settings {
        wire::Settings {
            signatures: self.signatures,
            lease_days: self.lease_days,
        }
    }

    pub(crate) fn from_wire(settings: wire::Settings) -> Result<Self, LogError> {
        if !(1..=limits::SIGNATURES_CHOSEN_MAX).contains(&settings.signatures) {
            return Err(LogError::Field("number of signatures"));
        }
        if !(limits::LEASE_DAYS_MIN..=limits::LEASE_DAYS_MAX).contains(&settings.lease_days) {
            return Err(LogError::Field("lease"));
        }
        Ok(Self {
            signatures: settings.signatures,
            lease_days: settings.lease_days,
        })
    }
}

impl AddedMember {
    pub(crate) fn to_wire(&self) -> wire::AddMember {
        wire::AddMember {
            member: self.member.to_bytes(),
            role: match self.role {
                Role::Guardian => wire::Role::Guardian,
                Role::Child => wire::Role::Child,
            }
            .into(),
            name: self.name.clone(),
        }
    }

    pub(crate) fn from_wire(member: wire::AddMember) -> Result<Self, LogError> {
        let role = match member.role() {
            wire::Role::Guardian => Role::Guardian,
            wire::Role::Child => Role::Child,
            wire::Role::Unspecified => return Err(LogError::Field("role")),
        };
        Ok(Self {
            member: MemberId::try_from(&member.member)?,
            role,
            name: name(member.name)?,
        })
    }
}

impl AddedDevice {
    pub(crate) fn to_wire(&self) -> wire::AddDevice {
        wire::AddDevice {
            member: self.member.to_bytes(),
            device: self.device.to_bytes(),
            signature_key: self.signature_key.as_bytes().to_vec().into(),
            name: self.name.clone(),
            identity_key: self
                .identity_key
                .map(|key| key.as_bytes().to_vec().into())
                .unwrap_or_default(),
        }
    }

    pub(crate) fn from_wire(device: wire::AddDevice) -> Result<Self, LogError> {
        let identity_key = match device.identity_key.as_ref() {
            [] => None,
            key => Some(PublicKey::from_slice(key).ok_or(LogError::Field("identity key"))?),
        };
        Ok(Self {
            member: MemberId::try_from(&device.member)?,
            device: DeviceId::try_from(&device.device)?,
            signature_key: PublicKey::from_slice(&device.signature_key)
                .ok_or(LogError::Field("signature key"))?,
            name: name(device.name)?,
            identity_key,
        })
    }
}
