//! The family log: a hash chain of signed decisions, folded into who is who.

use std::collections::BTreeMap;

use super::statement::{self, AddedDevice, AddedMember, Decision, Statement, sign_statement};
use crate::day::Day;
use crate::faults::{Fault, planted};
use crate::ids::{DeviceId, FamilyId, IdLengthError, MemberId};
use crate::labels;
use crate::limits;
use crate::primitives::sign::{PublicKey, SecretKey};
use crate::wire;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A grown-up who decides.
    Guardian,
    /// A child.
    Child,
}

/// A person of the family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Guardian or child.
    pub role: Role,
    /// Name.
    pub name: String,
    /// Signs statements; guardians only.
    pub identity_key: Option<PublicKey>,
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

/// Why a statement does not extend a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not protobuf of this schema.
    #[error("the family log is damaged")]
    Malformed(#[source] prost::DecodeError),
    /// A version this code does not know.
    #[error("the family log has a statement of version {0}, which is not known here")]
    Version(u32),
    /// A decision this code does not know.
    #[error("the family log has a decision that is not known here")]
    UnknownDecision,
    /// A field out of bounds.
    #[error("a statement of the family log has a bad {0}")]
    Field(&'static str),
    /// An id of a wrong length.
    #[error("a statement of the family log carries a damaged id")]
    Id(#[from] IdLengthError),
    /// A log without statements.
    #[error("the family log is empty")]
    Empty,
    /// Longer than [`limits::FAMILY_LOG_STATEMENTS_MAX`].
    #[error("the family log is full")]
    Full,
    /// Of another family.
    #[error("the statement is of another family")]
    Family,
    /// Not the next one.
    #[error("the family log has a hole: statement {found} where {expected} was due")]
    Hole {
        /// The index due.
        expected: u64,
        /// The index found.
        found: u64,
    },
    /// Continues another past.
    #[error("the statement continues another past than this family's log")]
    Fork,
    /// Not signed by anyone who may.
    #[error("the statement is not signed by a guardian of the family")]
    Signature,
    /// Contradicts the log: a member or device that is there already, or is not there.
    #[error("the statement contradicts the log: {0}")]
    Contradiction(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct DeviceEntry {
    device: AddedDevice,
    removed: bool,
}

/// A checked log: every statement in it was verified when it was appended.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyLog {
    family: FamilyId,
    family_name: String,
    statements: Vec<wire::SignedStatement>,
    head: [u8; 32],
    members: BTreeMap<MemberId, Member>,
    devices: BTreeMap<DeviceId, DeviceEntry>,
}

impl FamilyLog {
    /// Founds a family: draws a root key, signs the first statement with it, and erases it.
    ///
    /// # Errors
    /// [`LogError::Field`] for a name out of bounds.
    pub fn found(
        family_name: &str,
        guardian: AddedMember,
        device: AddedDevice,
        day: Day,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Self, LogError> {
        let root = SecretKey::random(rng);
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let statement = Statement {
            family: statement::family_id(&root.public()),
            index: 0,
            previous_head: None,
            day,
            salt,
            decision: Decision::Found {
                root_key: root.public(),
                family_name: family_name.to_owned(),
                guardian,
                device,
            },
        };
        Self::from_statements(&[sign_statement(&statement, &[&root])])
    }

    /// Reads and checks a whole log.
    ///
    /// # Errors
    /// [`LogError`] of the first statement that does not hold.
    pub fn from_statements(statements: &[wire::SignedStatement]) -> Result<Self, LogError> {
        let (first, rest) = statements.split_first().ok_or(LogError::Empty)?;
        let statement = Statement::decode(&first.statement)?;
        let Decision::Found {
            root_key,
            family_name,
            guardian,
            device,
        } = statement.decision
        else {
            return Err(LogError::Hole {
                expected: 0,
                found: statement.index,
            });
        };
        if statement.index != 0 || statement.previous_head.is_some() {
            return Err(LogError::Hole {
                expected: 0,
                found: statement.index,
            });
        }
        if statement.family != statement::family_id(&root_key) {
            return Err(LogError::Family);
        }
        if !signed_by(first, &root_key) {
            return Err(LogError::Signature);
        }
        if guardian.role != Role::Guardian || device.member != guardian.member {
            return Err(LogError::Contradiction("a family is founded by a guardian"));
        }
        let mut log = Self {
            family: statement.family,
            family_name,
            statements: vec![first.clone()],
            head: statement::next_head(None, &first.statement),
            members: BTreeMap::new(),
            devices: BTreeMap::new(),
        };
        log.add_member(guardian)?;
        log.add_device(device)?;
        for statement in rest {
            log.append(statement)?;
        }
        Ok(log)
    }

    /// Checks one more statement and appends it; on an error the log is as it was.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn append(&mut self, signed: &wire::SignedStatement) -> Result<(), LogError> {
        if self.statements.len() >= limits::FAMILY_LOG_STATEMENTS_MAX {
            return Err(LogError::Full);
        }
        let statement = Statement::decode(&signed.statement)?;
        if statement.family != self.family {
            return Err(LogError::Family);
        }
        let expected = self.statements.len() as u64;
        if statement.index != expected {
            return Err(LogError::Hole {
                expected,
                found: statement.index,
            });
        }
        if statement.previous_head != Some(self.head) {
            return Err(LogError::Fork);
        }
        let guardian_signed = self
            .members
            .values()
            .filter_map(|member| member.identity_key.as_ref())
            .any(|key| signed_by(signed, key));
        if !guardian_signed && !planted(Fault::Statement) {
            return Err(LogError::Signature);
        }
        match statement.decision {
            Decision::Found { .. } => {
                return Err(LogError::Contradiction("a family is founded once"));
            }
            Decision::AddMember(member) => self.add_member(member)?,
            Decision::AddDevice(device) => self.add_device(device)?,
            Decision::RemoveDevice(device) => match self.devices.get_mut(&device) {
                Some(entry) if !entry.removed => entry.removed = true,
                _ => {
                    return Err(LogError::Contradiction(
                        "the removed device is not in the family",
                    ));
                }
            },
        }
        self.head = statement::next_head(Some(&self.head), &signed.statement);
        self.statements.push(signed.clone());
        Ok(())
    }

    /// The statements that append `decisions` to this log, signed by one guardian.
    #[must_use]
    pub fn propose(
        &self,
        decisions: Vec<Decision>,
        key: &SecretKey,
        day: Day,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Vec<wire::SignedStatement> {
        let mut head = self.head;
        let mut index = self.statements.len() as u64;
        let mut statements = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let mut salt = [0; 16];
            rng.fill_bytes(&mut salt);
            let statement = Statement {
                family: self.family,
                index,
                previous_head: Some(head),
                day,
                salt,
                decision,
            };
            let signed = sign_statement(&statement, &[key]);
            head = statement::next_head(Some(&head), &signed.statement);
            index = index.saturating_add(1);
            statements.push(signed);
        }
        statements
    }

    /// Whether this log's past begins with exactly `head`: used while pairing.
    #[must_use]
    pub fn contains_head(&self, wanted: &[u8; 32]) -> bool {
        let mut head = None;
        self.statements.iter().any(|signed| {
            let next = statement::next_head(head.as_ref(), &signed.statement);
            head = Some(next);
            next == *wanted
        })
    }

    /// This log as it was when `wanted` was its head; `None` when it never was.
    #[must_use]
    pub fn up_to(&self, wanted: &[u8; 32]) -> Option<Self> {
        let mut head = None;
        let at = self.statements.iter().position(|signed| {
            let next = statement::next_head(head.as_ref(), &signed.statement);
            head = Some(next);
            next == *wanted
        })?;
        // They were checked before, so this finds them good again.
        Self::from_statements(self.statements.get(..=at)?).ok()
    }

    /// The certificate of a device that belongs to the family now.
    #[must_use]
    pub fn certificate(&self, device: &DeviceId) -> Option<Certificate> {
        let entry = self.devices.get(device).filter(|entry| !entry.removed)?;
        let member = self.members.get(&entry.device.member)?;
        Some(Certificate {
            family: self.family,
            member: entry.device.member,
            role: member.role,
            device: *device,
            signature_key: entry.device.signature_key,
        })
    }

    /// Certificates of all devices that belong to the family now.
    pub fn certificates(&self) -> impl Iterator<Item = Certificate> {
        self.devices
            .keys()
            .filter_map(|device| self.certificate(device))
    }

    /// Members by id.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    /// Id of the family.
    #[must_use]
    pub const fn family(&self) -> FamilyId {
        self.family
    }

    /// Name of the family.
    #[must_use]
    pub fn family_name(&self) -> &str {
        &self.family_name
    }

    /// Hash over the whole past.
    #[must_use]
    pub const fn head(&self) -> &[u8; 32] {
        &self.head
    }

    /// The exact signed statements.
    #[must_use]
    pub fn statements(&self) -> &[wire::SignedStatement] {
        &self.statements
    }

    fn add_member(&mut self, member: AddedMember) -> Result<(), LogError> {
        if self.members.contains_key(&member.member) {
            return Err(LogError::Contradiction(
                "the added member is in the family already",
            ));
        }
        self.members.insert(
            member.member,
            Member {
                role: member.role,
                name: member.name,
                identity_key: member.identity_key,
            },
        );
        Ok(())
    }

    fn add_device(&mut self, device: AddedDevice) -> Result<(), LogError> {
        if !self.members.contains_key(&device.member) {
            return Err(LogError::Contradiction(
                "the added device belongs to nobody in the family",
            ));
        }
        let taken = |entry: &DeviceEntry| entry.device.signature_key == device.signature_key;
        if self.devices.contains_key(&device.device) || self.devices.values().any(taken) {
            return Err(LogError::Contradiction(
                "the added device was in the family before",
            ));
        }
        self.devices.insert(
            device.device,
            DeviceEntry {
                device,
                removed: false,
            },
        );
        Ok(())
    }
}

fn signed_by(signed: &wire::SignedStatement, key: &PublicKey) -> bool {
    signed
        .signatures
        .iter()
        .take(limits::CONVERSATION_LEAVES_MAX)
        .any(|signature| {
            signature.key.as_ref() == key.as_bytes()
                && key
                    .verify(
                        labels::SIGN_STATEMENT,
                        &signed.statement,
                        &signature.signature,
                    )
                    .is_ok()
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{FamilyLog, LogError, Role};
    use crate::day::Day;
    use crate::identity::{AddedDevice, AddedMember, Decision};
    use crate::ids::{DeviceId, MemberId};
    use crate::primitives::sign::SecretKey;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([9; 32])
    }

    fn member(n: u8, identity: Option<&SecretKey>) -> AddedMember {
        AddedMember {
            member: MemberId::new([n; 16]),
            role: if identity.is_some() {
                Role::Guardian
            } else {
                Role::Child
            },
            name: format!("member {n}"),
            identity_key: identity.map(SecretKey::public),
        }
    }

    fn device(n: u8, of: u8) -> AddedDevice {
        AddedDevice {
            member: MemberId::new([of; 16]),
            device: DeviceId::new([n; 16]),
            signature_key: SecretKey::from_seed(&[n; 32]).public(),
            name: "tablet".into(),
        }
    }

    fn family() -> (FamilyLog, SecretKey) {
        let identity = SecretKey::from_seed(&[100; 32]);
        (
            FamilyLog::found(
                "Family",
                member(1, Some(&identity)),
                device(11, 1),
                Day(1),
                &mut rng(),
            )
            .unwrap(),
            identity,
        )
    }

    #[test]
    fn a_family_grows_and_its_log_reads_back() {
        let (mut log, identity) = family();
        let statements = log.propose(
            vec![
                Decision::AddMember(member(2, None)),
                Decision::AddDevice(device(22, 2)),
            ],
            &identity,
            Day(2),
            &mut rng(),
        );
        let before = *log.head();
        for statement in &statements {
            log.append(statement).unwrap();
        }
        let certificate = log.certificate(&DeviceId::new([22; 16])).unwrap();
        assert_eq!(
            (certificate.member, certificate.role),
            (MemberId::new([2; 16]), Role::Child)
        );
        assert_eq!(FamilyLog::from_statements(log.statements()).unwrap(), log);
        assert!(log.contains_head(&before) && !log.contains_head(&[0; 32]));
        assert_eq!(log.up_to(&before).unwrap(), family().0);
        assert_eq!(log.up_to(log.head()).unwrap(), log);
        assert!(log.up_to(&[0; 32]).is_none());
    }

    #[test]
    fn only_guardians_of_the_family_decide() {
        let (mut log, _) = family();
        let before = log.clone();
        let stranger = SecretKey::from_seed(&[101; 32]);
        let statement = log.propose(
            vec![Decision::AddMember(member(2, None))],
            &stranger,
            Day(2),
            &mut rng(),
        );
        assert_eq!(log.append(&statement[0]), Err(LogError::Signature));
        assert_eq!(log, before);
    }

    #[test]
    fn holes_forks_and_contradictions_are_refused() {
        let (mut log, identity) = family();
        let two = log.propose(
            vec![
                Decision::AddMember(member(2, None)),
                Decision::AddMember(member(3, None)),
            ],
            &identity,
            Day(2),
            &mut rng(),
        );
        assert!(matches!(
            log.append(&two[1]),
            Err(LogError::Hole {
                expected: 1,
                found: 2
            })
        ));
        let other = log.propose(
            vec![Decision::AddMember(member(4, None))],
            &identity,
            Day(2),
            &mut rng(),
        );
        log.append(&two[0]).unwrap();
        assert!(matches!(log.append(&other[0]), Err(LogError::Hole { .. })));
        let (mut fork, _) = family();
        fork.append(&other[0]).unwrap();
        assert_eq!(fork.append(&two[1]), Err(LogError::Fork));
        let again = log.propose(
            vec![Decision::AddDevice(device(11, 1))],
            &identity,
            Day(2),
            &mut rng(),
        );
        assert!(matches!(
            log.append(&again[0]),
            Err(LogError::Contradiction(_))
        ));
    }

    #[test]
    fn a_removed_device_has_no_certificate_and_does_not_come_back() {
        let (mut log, identity) = family();
        let statements = log.propose(
            vec![
                Decision::RemoveDevice(DeviceId::new([11; 16])),
                Decision::AddDevice(device(11, 1)),
            ],
            &identity,
            Day(2),
            &mut rng(),
        );
        log.append(&statements[0]).unwrap();
        assert_eq!(log.certificate(&DeviceId::new([11; 16])), None);
        assert!(log.append(&statements[1]).is_err());
    }

    #[test]
    fn every_changed_byte_of_a_statement_is_refused() {
        let (log, identity) = family();
        let statement = log
            .propose(
                vec![Decision::AddMember(member(2, None))],
                &identity,
                Day(2),
                &mut rng(),
            )
            .remove(0);
        for at in 0..statement.statement.len() {
            let mut bytes = statement.statement.to_vec();
            bytes[at] ^= 1;
            let mut log = log.clone();
            let bad = crate::wire::SignedStatement {
                statement: bytes.into(),
                ..statement.clone()
            };
            assert!(log.append(&bad).is_err(), "byte {at}");
        }
    }
}
