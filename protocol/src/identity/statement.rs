//! Statements of guardians: what can be decided, and the exact bytes that are signed.

use prost::Message;

use super::log::{LogError, Role};
use crate::day::Day;
use crate::ids::{DeviceId, FamilyId, MemberId};
use crate::labels;
use crate::limits;
use crate::primitives::hash;
use crate::primitives::sign::{PublicKey, SecretKey};
use crate::wire::{self, statement::Body as WireBody};

/// Version of statements this code writes and reads.
pub(super) const VERSION: u32 = 1;

/// A person as a statement adds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedMember {
    /// Id.
    pub member: MemberId,
    /// Guardian or child.
    pub role: Role,
    /// Name as the guardians say it.
    pub name: String,
    /// Signs statements; guardians only.
    pub identity_key: Option<PublicKey>,
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
    },
    /// A person belongs to the family from now on.
    AddMember(AddedMember),
    /// A device belongs to a member from now on.
    AddDevice(AddedDevice),
    /// A device does not belong to the family any more.
    RemoveDevice(DeviceId),
}

/// A decision with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Whose log.
    pub family: FamilyId,
    /// Place: 0 for the first.
    pub index: u64,
    /// Head of the log before it; `None` for the first.
    pub previous_head: Option<[u8; 32]>,
    /// The day it was signed.
    pub day: Day,
    /// Makes the hash say nothing about the statement.
    pub salt: [u8; 16],
    /// What was decided.
    pub decision: Decision,
}

impl Statement {
    /// The bytes that are signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::Statement {
            version: VERSION,
            family: self.family.to_bytes(),
            index: self.index,
            previous_head: self
                .previous_head
                .map(|head| head.to_vec().into())
                .unwrap_or_default(),
            day: self.day.0,
            salt: self.salt.to_vec().into(),
            body: Some(match &self.decision {
                Decision::Found {
                    root_key,
                    family_name,
                    guardian,
                    device,
                } => WireBody::Found(wire::Found {
                    root_key: root_key.as_bytes().to_vec().into(),
                    family_name: family_name.clone(),
                    guardian: Some(guardian.to_wire()),
                    device: Some(device.to_wire()),
                }),
                Decision::AddMember(member) => WireBody::AddMember(member.to_wire()),
                Decision::AddDevice(device) => WireBody::AddDevice(device.to_wire()),
                Decision::RemoveDevice(device) => WireBody::RemoveDevice(wire::RemoveDevice {
                    device: device.to_bytes(),
                }),
            }),
        }
        .encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let statement = wire::Statement::decode(bytes).map_err(LogError::Malformed)?;
        if statement.version != VERSION {
            return Err(LogError::Version(statement.version));
        }
        let previous_head = if statement.previous_head.is_empty() {
            None
        } else {
            Some(
                statement
                    .previous_head
                    .as_ref()
                    .try_into()
                    .map_err(|_| LogError::Field("previous head"))?,
            )
        };
        Ok(Self {
            family: FamilyId::try_from(&statement.family)?,
            index: statement.index,
            previous_head,
            day: Day(statement.day),
            salt: statement
                .salt
                .as_ref()
                .try_into()
                .map_err(|_| LogError::Field("salt"))?,
            decision: match statement.body.ok_or(LogError::UnknownDecision)? {
                WireBody::Found(found) => Decision::Found {
                    root_key: PublicKey::from_slice(&found.root_key)
                        .ok_or(LogError::Field("root key"))?,
                    family_name: name(found.family_name)?,
                    guardian: AddedMember::from_wire(
                        found.guardian.ok_or(LogError::Field("guardian"))?,
                    )?,
                    device: AddedDevice::from_wire(found.device.ok_or(LogError::Field("device"))?)?,
                },
                WireBody::AddMember(member) => Decision::AddMember(AddedMember::from_wire(member)?),
                WireBody::AddDevice(device) => Decision::AddDevice(AddedDevice::from_wire(device)?),
                WireBody::RemoveDevice(remove) => {
                    Decision::RemoveDevice(DeviceId::try_from(&remove.device)?)
                }
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
            identity_key: self
                .identity_key
                .map(|key| key.as_bytes().to_vec().into())
                .unwrap_or_default(),
        }
    }

    pub(crate) fn from_wire(member: wire::AddMember) -> Result<Self, LogError> {
        let role = match member.role() {
            wire::Role::Guardian => Role::Guardian,
            wire::Role::Child => Role::Child,
            wire::Role::Unspecified => return Err(LogError::Field("role")),
        };
        let identity_key = match role {
            Role::Guardian => Some(
                PublicKey::from_slice(&member.identity_key)
                    .ok_or(LogError::Field("identity key"))?,
            ),
            Role::Child if member.identity_key.is_empty() => None,
            Role::Child => return Err(LogError::Field("identity key")),
        };
        Ok(Self {
            member: MemberId::try_from(&member.member)?,
            role,
            name: name(member.name)?,
            identity_key,
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
        }
    }

    pub(crate) fn from_wire(device: wire::AddDevice) -> Result<Self, LogError> {
        Ok(Self {
            member: MemberId::try_from(&device.member)?,
            device: DeviceId::try_from(&device.device)?,
            signature_key: PublicKey::from_slice(&device.signature_key)
                .ok_or(LogError::Field("signature key"))?,
            name: name(device.name)?,
        })
    }
}

/// Signs a statement; the first with the root key, later ones with guardians' identity keys.
#[must_use]
pub fn sign_statement(statement: &Statement, keys: &[&SecretKey]) -> wire::SignedStatement {
    let bytes = statement.encode();
    let signatures = keys
        .iter()
        .map(|key| wire::StatementSignature {
            key: key.public().as_bytes().to_vec().into(),
            signature: key.sign(labels::SIGN_STATEMENT, &bytes).to_vec().into(),
        })
        .collect();
    wire::SignedStatement {
        statement: bytes.into(),
        signatures,
        consents: vec![],
    }
}

/// The family's id: a hash of the root key that signed its first statement.
pub(super) fn family_id(root_key: &PublicKey) -> FamilyId {
    let hash = hash::labelled(labels::HASH_FAMILY, &[root_key.as_bytes()]);
    let (id, _) = hash
        .split_first_chunk::<16>()
        .map_or(([0; 16], ()), |(id, _)| (*id, ()));
    FamilyId::new(id)
}

/// The head after `statement`: `H(previous head, H(exact statement bytes))`; the salt is in the bytes.
pub(super) fn next_head(previous: Option<&[u8; 32]>, statement: &[u8]) -> [u8; 32] {
    let statement = hash::labelled(labels::HASH_STATEMENT, &[statement]);
    hash::labelled(
        labels::HASH_HEAD,
        &[previous.map_or(&[][..], |head| &head[..]), &statement],
    )
}
