//! A family log that grows, for vectors of it.

use kinline_protocol::day::Day;
use kinline_protocol::identity::{
    AddedDevice, AddedMember, Decision, FamilyLog, Role, Settings, Statement, sign_statement,
};
use kinline_protocol::ids::{DeviceId, MemberId};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::wire;
use prost::Message;

use super::rng;

pub(super) fn id(n: u8) -> MemberId {
    MemberId::new([n; 16])
}

/// The identity key of guardian `n`: its seed is 32 times `0x80 + n`.
pub(super) fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[0x80 + n; 32])
}

pub(super) fn guardian(n: u8, name: &str) -> AddedMember {
    AddedMember {
        member: id(n),
        role: Role::Guardian,
        name: name.into(),
    }
}

pub(super) fn child(n: u8, name: &str) -> AddedMember {
    AddedMember {
        member: id(n),
        role: Role::Child,
        name: name.into(),
    }
}

/// The identity key of a guardian's device: on the first, that of the guardian's number, else its
/// seed is 32 times `0xc0 + n`.
fn key_on(n: u8, of: u8) -> SecretKey {
    if n == 0x11 * of {
        key(of)
    } else {
        SecretKey::from_seed(&[0xc0 + n; 32])
    }
}

/// Members below 5 are guardians.
pub(super) fn device(n: u8, of: u8) -> AddedDevice {
    AddedDevice {
        member: id(of),
        device: DeviceId::new([n; 16]),
        signature_key: SecretKey::from_seed(&[n; 32]).public(),
        name: "tablet".into(),
        identity_key: (of < 5).then(|| key_on(n, of).public()),
    }
}

/// A log that grows by statements with salts 1, 2, 3 …
pub(super) struct Story(pub(super) FamilyLog);

impl Story {
    /// Anna (1) founds with device 0x11, on day 20,600.
    pub(super) fn new(signatures: u32) -> Self {
        let settings = Settings {
            signatures,
            lease_days: 7,
        };
        let anna = guardian(1, "Anna");
        let phone = device(0x11, 1);
        Self(FamilyLog::found("Elm", anna, phone, settings, Day(20_600), &mut rng(20)).unwrap())
    }

    pub(super) fn signed(&self, decision: Decision, day: u32, by: &[u8]) -> wire::SignedStatement {
        let keys: Vec<SecretKey> = by.iter().map(|n| key(*n)).collect();
        let salt = [u8::try_from(self.0.len()).unwrap(); 16];
        let keys = keys.iter().collect::<Vec<_>>();
        self.0.propose_with(decision, salt, vec![], &keys, Day(day))
    }

    pub(super) fn then(mut self, decision: Decision, day: u32, by: &[u8]) -> Self {
        let signed = self.signed(decision, day, by);
        self.0.append(&signed).unwrap();
        self
    }

    /// By another phone of Ben's.
    pub(super) fn then_on(mut self, phone: u8, decision: Decision, day: u32) -> Self {
        let salt = [u8::try_from(self.0.len()).unwrap(); 16];
        let key = key_on(phone, 2);
        let signed = self
            .0
            .propose_with(decision, salt, vec![], &[&key], Day(day));
        self.0.append(&signed).unwrap();
        self
    }

    /// The entries, and one more that does not belong there.
    pub(super) fn and(&self, signed: wire::SignedStatement) -> Vec<wire::LogEntry> {
        let mut entries = self.0.entries();
        entries.push(wire::LogEntry {
            statement: Some(signed),
            ..wire::LogEntry::default()
        });
        entries
    }

    /// As [`Self::and`], a statement that is changed before it is signed.
    pub(super) fn forged(&self, change: impl FnOnce(&mut Statement)) -> Vec<wire::LogEntry> {
        let good = self.signed(Decision::AddMember(child(6, "Leo")), 20_601, &[1]);
        let mut statement = Statement::decode(&good.statement).unwrap();
        change(&mut statement);
        self.and(sign_statement(&statement, &[&key(1)]))
    }

    /// As [`Self::and`], with changed bytes of a statement.
    pub(super) fn damaged(&self, change: impl FnOnce(&mut wire::Statement)) -> Vec<wire::LogEntry> {
        let mut signed = self.signed(Decision::AddMember(child(6, "Leo")), 20_601, &[1]);
        let mut statement = wire::Statement::decode(signed.statement.as_ref()).unwrap();
        change(&mut statement);
        signed.statement = statement.encode_to_vec().into();
        self.and(signed)
    }
}

/// Anna and Ben (2), who chose two signatures, and Mia (5).
pub(super) fn three() -> Story {
    Story::new(2)
        .then(Decision::AddMember(guardian(2, "Ben")), 20_600, &[1])
        .then(Decision::AddDevice(device(0x22, 2)), 20_600, &[1, 2])
        .then(Decision::AddMember(child(5, "Mia")), 20_600, &[1, 2])
        .then(Decision::AddDevice(device(0x55, 5)), 20_601, &[1, 2])
}
