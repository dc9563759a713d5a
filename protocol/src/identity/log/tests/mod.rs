#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod chain;
mod extract;
mod phones;
mod random;
mod recovery;
mod rules;

use super::FamilyLog;
use crate::content::kinds;
use crate::day::Day;
use crate::identity::{
    AddedDevice, AddedMember, ContactPass, Decision, LogError, PassGuardian, PassSide, PassTerms,
    Role, Settings, Supervision,
};
use crate::ids::{DeviceId, FamilyId, MemberId, PassId};
use crate::policy::Policy;
use crate::primitives::sign::SecretKey;
use crate::wire;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

pub(super) fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

pub(super) fn id(n: u8) -> MemberId {
    MemberId::new([n; 16])
}

/// The identity key of guardian `n`.
pub(super) fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[100 + n; 32])
}

pub(super) fn guardian(n: u8) -> AddedMember {
    AddedMember {
        member: id(n),
        role: Role::Guardian,
        name: format!("guardian {n}"),
    }
}

pub(super) fn child(n: u8) -> AddedMember {
    AddedMember {
        member: id(n),
        role: Role::Child,
        name: format!("child {n}"),
    }
}

/// The identity key of a guardian's device: on the first, that of the guardian's number.
pub(super) fn key_on(n: u8, of: u8) -> SecretKey {
    if n == 11 * of {
        key(of)
    } else {
        SecretKey::from_seed(&[190 + n; 32])
    }
}

/// Members 1 to 4 are guardians.
pub(super) fn device(n: u8, of: u8) -> AddedDevice {
    AddedDevice {
        member: id(of),
        device: DeviceId::new([n; 16]),
        signature_key: SecretKey::from_seed(&[n; 32]).public(),
        name: "tablet".into(),
        identity_key: (1..5).contains(&of).then(|| key_on(n, of).public()),
    }
}

pub(super) const FOREIGN: FamilyId = FamilyId::new([200; 16]);

/// For child `of` of `family` and one of [`FOREIGN`], with these guardians on our side.
pub(super) fn pass(n: u8, family: FamilyId, of: u8, guardians: &[u8]) -> ContactPass {
    let guardians = guardians
        .iter()
        .map(|n| PassGuardian {
            member: id(*n),
            may_write: true,
        })
        .collect();
    ContactPass::new(PassTerms {
        pass: PassId::new([n; 16]),
        sides: [
            PassSide {
                family,
                child: id(of),
                supervision: Supervision::Pictures,
                guardians,
            },
            PassSide {
                family: FOREIGN,
                child: id(201),
                supervision: Supervision::Contacts,
                guardians: vec![],
            },
        ],
        kinds: kinds::ALL,
        first_day: Day(10),
        last_day: Day(300),
    })
    .unwrap()
}

pub(super) fn policy(messages_per_day: u32) -> Policy {
    Policy {
        time_zone: "Europe/Zurich".into(),
        quiet: vec![],
        kinds: kinds::ALL,
        messages_per_day,
        paused: false,
    }
}

/// A family with a number that makes each salt new.
pub(super) struct Family {
    pub(super) log: FamilyLog,
    salts: u64,
}

impl Family {
    /// Guardian 1 with device 11, on day 10.
    pub(super) fn new(signatures: u32) -> Self {
        let settings = Settings {
            signatures,
            lease_days: 7,
        };
        let log = FamilyLog::found(
            "Family",
            guardian(1),
            device(11, 1),
            settings,
            Day(10),
            &mut rng(9),
        );
        Self {
            log: log.unwrap(),
            salts: 0,
        }
    }

    /// Guardians 1 and 2, child 5 with device 55, on day 10.
    pub(super) fn of_three(signatures: u32) -> Self {
        let mut family = Self::new(signatures);
        family.good(Decision::AddMember(guardian(2)), 10, &[1]);
        family.good(Decision::AddDevice(device(22, 2)), 10, &[1, 2]);
        family.good(Decision::AddMember(child(5)), 10, &[1, 2]);
        family.good(Decision::AddDevice(device(55, 5)), 10, &[1, 2]);
        family
    }

    pub(super) fn salt(&mut self) -> [u8; 16] {
        self.salts += 1;
        let mut salt = [0xee; 16];
        salt[..8].copy_from_slice(&self.salts.to_be_bytes());
        salt
    }

    pub(super) fn signed(
        &mut self,
        decision: Decision,
        day: u32,
        by: &[u8],
    ) -> wire::SignedStatement {
        let keys: Vec<SecretKey> = by.iter().map(|n| key(*n)).collect();
        let salt = self.salt();
        self.log.propose_with(
            decision,
            salt,
            vec![],
            &keys.iter().collect::<Vec<_>>(),
            Day(day),
        )
    }

    /// Appends; a refusal must leave the log as it was.
    pub(super) fn append(&mut self, signed: &wire::SignedStatement) -> Result<(), LogError> {
        let before = self.log.clone();
        let result = self.log.append(signed);
        if result.is_err() {
            assert_eq!(self.log, before);
        }
        result
    }

    pub(super) fn decide(
        &mut self,
        decision: Decision,
        day: u32,
        by: &[u8],
    ) -> Result<(), LogError> {
        let signed = self.signed(decision, day, by);
        self.append(&signed)
    }

    pub(super) fn good(&mut self, decision: Decision, day: u32, by: &[u8]) {
        self.decide(decision, day, by).unwrap();
    }

    pub(super) fn pass(&self, n: u8, of: u8, guardians: &[u8]) -> ContactPass {
        pass(n, self.log.family(), of, guardians)
    }
}
