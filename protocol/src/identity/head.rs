//! Signed heads: a guardian says which log it knows, and what day it is (PROTOCOL §7.7).

use bytes::Bytes;
use prost::Message;

use super::log::FamilyLog;
use crate::day::Day;
use crate::faults::{Fault, planted};
use crate::ids::{FamilyId, IdLengthError, MemberId};
use crate::labels;
use crate::primitives::hash;
use crate::primitives::sign::{PublicKey, SecretKey};
use crate::wire;

/// Version of heads this code writes and reads.
const VERSION: u32 = 1;

/// A head that a guardian of its family signed. Only [`SignedHead::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    family: FamilyId,
    signer: MemberId,
    statements: u64,
    day: Day,
    correction: bool,
    digest: [u8; 32],
}

impl Head {
    /// Whose log.
    #[must_use]
    pub const fn family(&self) -> FamilyId {
        self.family
    }

    /// The guardian who signed.
    #[must_use]
    pub const fn signer(&self) -> MemberId {
        self.signer
    }

    /// Entries of the log that the guardian knew.
    #[must_use]
    pub const fn statements(&self) -> u64 {
        self.statements
    }

    /// The day on which they signed.
    #[must_use]
    pub const fn day(&self) -> Day {
        self.day
    }

    /// Whether it says what day it is even to clocks that are ahead.
    #[must_use]
    pub const fn is_correction(&self) -> bool {
        self.correction
    }

    /// Names exactly this head: a correction counts once.
    pub(super) const fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Why a head counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not protobuf of this schema.
    #[error("the head of a family log is damaged")]
    Malformed(#[source] prost::DecodeError),
    /// A version this code does not know.
    #[error("the head of a family log is of version {0}, which is not known here")]
    Version(u32),
    /// A field out of bounds.
    #[error("the head of a family log has a bad {0}")]
    Field(&'static str),
    /// An id of a wrong length.
    #[error("the head of a family log carries a damaged id")]
    Id(#[from] IdLengthError),
    /// Of another family than the log.
    #[error("the head is of another family's log")]
    Family,
    /// Not signed by the key it names.
    #[error("the head of a family log is not signed by whom it says")]
    Signature,
    /// Of a longer log than the one known here: ask for its statements first.
    #[error("the head is of a longer log ({found} statements) than is known here ({known})")]
    Unknown {
        /// Entries known here.
        known: u64,
        /// Entries of the head.
        found: u64,
    },
    /// Of another past than the log known here.
    #[error("the head is of another past than the family's log: someone was shown a fork")]
    Fork,
    /// Signed by someone who was no guardian then, or is none any more.
    #[error("the head is signed by someone who is no guardian of the family")]
    Signer,
    /// Hidden entries follow the head: nobody says that they are the family's.
    #[error("the log goes on behind the head that a guardian signed, with entries that are hidden")]
    Unvouched,
}

/// A head as it came: who signed it is not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    bytes: Bytes,
    key: PublicKey,
    signature: Bytes,
    family: FamilyId,
    head: [u8; 32],
    statements: u64,
    day: Day,
    correction: bool,
}

impl SignedHead {
    /// Reads a signed head.
    ///
    /// # Errors
    /// [`HeadError`] when it is damaged.
    pub fn from_wire(signed: &wire::SignedHead) -> Result<Self, HeadError> {
        let head = wire::Head::decode(signed.head.as_ref()).map_err(HeadError::Malformed)?;
        if head.version != VERSION {
            return Err(HeadError::Version(head.version));
        }
        if head.statements == 0 {
            return Err(HeadError::Field("number of statements"));
        }
        Ok(Self {
            bytes: signed.head.clone(),
            key: PublicKey::from_slice(&signed.key).ok_or(HeadError::Field("key"))?,
            signature: signed.signature.clone(),
            family: FamilyId::try_from(&head.family)?,
            head: head
                .head
                .as_ref()
                .try_into()
                .map_err(|_| HeadError::Field("hash"))?,
            statements: head.statements,
            day: Day(head.day),
            correction: head.correction,
        })
    }

    /// The family whose log it claims to be of: tells which log to verify it with.
    #[must_use]
    pub const fn family(&self) -> FamilyId {
        self.family
    }

    /// Checks it against the family's log: signed by a guardian of that head who still is one.
    ///
    /// # Errors
    /// [`HeadError::Unknown`] when the log has to be brought up to date first,
    /// [`HeadError::Fork`] when it is of another past, else why it counts for nothing.
    pub fn verify(&self, log: &FamilyLog) -> Result<Head, HeadError> {
        if self.family != log.family() {
            return Err(HeadError::Family);
        }
        self.key
            .verify(labels::SIGN_HEAD, &self.bytes, &self.signature)
            .map_err(|_| HeadError::Signature)?;
        // Someone who is unknown here may be a guardian further on.
        if self.statements > log.len() {
            return Err(HeadError::Unknown {
                known: log.len(),
                found: self.statements,
            });
        }
        if log.head_at(self.statements) != Some(&self.head) {
            return Err(if self.signer_in(log).is_some() {
                HeadError::Fork
            } else {
                HeadError::Signer
            });
        }
        let signer = self.signer_in(log).ok_or(HeadError::Signer)?;
        if self.head != *log.head() {
            let then = log.up_to(&self.head).ok_or(HeadError::Fork)?;
            self.signer_in(&then).ok_or(HeadError::Signer)?;
        }
        Ok(Head {
            family: self.family,
            signer,
            statements: self.statements,
            day: self.day,
            correction: self.correction,
            digest: hash::sha256(&self.bytes),
        })
    }

    /// As [`Self::verify`], for a log that just came as entries: nobody signed hidden entries,
    /// so none may follow this head. Only then may the log take the place of a shorter one.
    ///
    /// # Errors
    /// [`HeadError::Unvouched`] when some do, else as [`Self::verify`].
    pub fn vouch(&self, log: &FamilyLog) -> Result<Head, HeadError> {
        let head = self.verify(log)?;
        if log.hides_from(self.statements) {
            return Err(HeadError::Unvouched);
        }
        Ok(head)
    }

    fn signer_in(&self, log: &FamilyLog) -> Option<MemberId> {
        log.identity_keys()
            .find(|(key, _)| *key == self.key || planted(Fault::HeadSigner))
            .map(|(_, member)| member)
    }
}

/// Signs the head of `log` as of `day`, with a guardian's identity key. A correction sets
/// clocks even backwards.
#[must_use]
pub fn sign_head(log: &FamilyLog, day: Day, correction: bool, key: &SecretKey) -> wire::SignedHead {
    let head = wire::Head {
        version: VERSION,
        family: log.family().to_bytes(),
        head: log.head().to_vec().into(),
        statements: log.len(),
        day: day.0,
        correction,
    }
    .encode_to_vec();
    wire::SignedHead {
        key: key.public().as_bytes().to_vec().into(),
        signature: key.sign(labels::SIGN_HEAD, &head).to_vec().into(),
        head: head.into(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{HeadError, SignedHead, sign_head};
    use crate::day::Day;
    use crate::identity::{AddedDevice, AddedMember, Decision, FamilyLog, Role, Settings, Shown};
    use crate::ids::{DeviceId, MemberId};
    use crate::labels;
    use crate::primitives::sign::SecretKey;
    use crate::wire;
    use prost::Message;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    pub(in super::super) fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([5; 32])
    }

    /// The identity key of guardian `n`.
    pub(in super::super) fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[100 + n; 32])
    }

    fn guardian(n: u8) -> AddedMember {
        AddedMember {
            member: MemberId::new([n; 16]),
            role: Role::Guardian,
            name: "g".into(),
        }
    }

    /// Founded by guardian `n` on day 10.
    pub(in super::super) fn family(n: u8) -> FamilyLog {
        let device = AddedDevice {
            member: MemberId::new([n; 16]),
            device: DeviceId::new([n + 10; 16]),
            signature_key: SecretKey::from_seed(&[n; 32]).public(),
            name: "d".into(),
            identity_key: Some(key(n).public()),
        };
        let mut rng = ChaCha20Rng::from_seed([100 + n; 32]);
        let settings = Settings::default();
        FamilyLog::found("F", guardian(n), device, settings, Day(10), &mut rng).unwrap()
    }

    /// And guardian `n` with a phone.
    fn joined(log: FamilyLog, n: u8) -> FamilyLog {
        let phone = AddedDevice {
            member: MemberId::new([n; 16]),
            device: DeviceId::new([n + 10; 16]),
            signature_key: SecretKey::from_seed(&[n; 32]).public(),
            name: "d".into(),
            identity_key: Some(key(n).public()),
        };
        let log = with(log, Decision::AddMember(guardian(n)), 1);
        with(log, Decision::AddDevice(phone), 1)
    }

    fn with(mut log: FamilyLog, decision: Decision, by: u8) -> FamilyLog {
        let seed = [u8::try_from(log.len()).unwrap(); 32];
        let mut rng = ChaCha20Rng::from_seed(seed);
        let statement = log.propose(vec![decision], &key(by), Day(10), &mut rng);
        log.append(&statement[0]).unwrap();
        log
    }

    fn verify(signed: &wire::SignedHead, log: &FamilyLog) -> Result<MemberId, HeadError> {
        SignedHead::from_wire(signed)?
            .verify(log)
            .map(|head| head.signer())
    }

    #[test]
    fn a_head_of_a_guardian_holds_and_says_what_was_signed() {
        let log = family(1);
        let signed = SignedHead::from_wire(&sign_head(&log, Day(20), true, &key(1))).unwrap();
        assert_eq!(signed.family(), log.family());
        let head = signed.verify(&log).unwrap();
        assert_eq!((head.family(), head.day()), (log.family(), Day(20)));
        assert_eq!((head.statements(), head.is_correction()), (1, true));
        assert_eq!(head.signer(), MemberId::new([1; 16]));
    }

    #[test]
    fn heads_of_longer_other_and_foreign_logs_are_told_apart() {
        let log = family(1);
        let two = joined(log.clone(), 2);
        let other = joined(log.clone(), 3);
        let head = |log: &FamilyLog, n| sign_head(log, Day(20), false, &key(n));
        let first = Ok(MemberId::new([1; 16]));
        assert_eq!(verify(&head(&log, 1), &two), first, "an older head");
        let unknown = HeadError::Unknown { known: 1, found: 3 };
        assert_eq!(verify(&head(&two, 1), &log), Err(unknown));
        assert_eq!(verify(&head(&two, 1), &other), Err(HeadError::Fork));
        assert_eq!(verify(&head(&family(2), 2), &log), Err(HeadError::Family));
        // Guardian 2 was none yet at the first head, a stranger is none anywhere.
        assert_eq!(verify(&head(&log, 2), &two), Err(HeadError::Signer));
        assert_eq!(verify(&head(&two, 9), &two), Err(HeadError::Signer));
        assert_eq!(verify(&head(&two, 9), &other), Err(HeadError::Signer));
        // Once removed, a guardian says nothing any more, not even about what it knew.
        let gone = with(
            two.clone(),
            Decision::RemoveMember(MemberId::new([2; 16])),
            1,
        );
        assert!(verify(&head(&two, 2), &two).is_ok());
        assert_eq!(verify(&head(&two, 2), &gone), Err(HeadError::Signer));
        assert_eq!(verify(&head(&gone, 2), &gone), Err(HeadError::Signer));
        // Whoever sees an extract judges the same heads.
        let extract = FamilyLog::from_entries(&two.extract(&Shown::default())).unwrap();
        assert!(verify(&head(&two, 2), &extract).is_ok());
    }

    #[test]
    fn hidden_entries_at_the_end_need_a_head_that_names_them() {
        let log = family(1);
        let two = with(
            log.clone(),
            Decision::AddMember(AddedMember {
                role: Role::Child,
                ..guardian(5)
            }),
            1,
        );
        let extract = FamilyLog::from_entries(&two.extract(&Shown::default())).unwrap();
        let signed = |log: &FamilyLog| {
            SignedHead::from_wire(&sign_head(log, Day(20), false, &key(1))).unwrap()
        };
        assert!(signed(&two).vouch(&extract).is_ok());
        assert!(signed(&log).verify(&extract).is_ok());
        assert_eq!(signed(&log).vouch(&extract), Err(HeadError::Unvouched));
        assert!(signed(&log).vouch(&two).is_ok(), "shown: it was signed");
        // What someone made up behind the family's log.
        let mut entries = log.entries();
        entries.push(wire::LogEntry {
            statement: None,
            hash: vec![7; 32].into(),
        });
        let made_up = log.merged(&entries).unwrap();
        assert_eq!(signed(&log).vouch(&made_up), Err(HeadError::Unvouched));
        assert_eq!(signed(&two).vouch(&made_up), Err(HeadError::Fork));
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let log = family(1);
        let good = sign_head(&log, Day(20), false, &key(1));
        for at in 0..good.head.len() + 64 {
            let mut bad = good.clone();
            let (field, at) = if at < good.head.len() {
                (&mut bad.head, at)
            } else {
                (&mut bad.signature, at - good.head.len())
            };
            let mut bytes = field.to_vec();
            bytes[at] ^= 1;
            *field = bytes.into();
            assert!(verify(&bad, &log).is_err(), "byte {at}");
        }
        let changed = |change: fn(&mut wire::Head)| {
            let mut head = wire::Head::decode(good.head.as_ref()).unwrap();
            change(&mut head);
            let head = head.encode_to_vec();
            let signed = wire::SignedHead {
                key: good.key.clone(),
                signature: key(1).sign(labels::SIGN_HEAD, &head).to_vec().into(),
                head: head.into(),
            };
            verify(&signed, &log).unwrap_err()
        };
        assert_eq!(changed(|h| h.version = 2), HeadError::Version(2));
        assert_eq!(
            changed(|h| h.statements = 0),
            HeadError::Field("number of statements")
        );
        assert_eq!(changed(|h| h.head.clear()), HeadError::Field("hash"));
        assert!(matches!(changed(|h| h.family.clear()), HeadError::Id(_)));
        assert_eq!(changed(|h| h.head = vec![0; 32].into()), HeadError::Fork);
        // A statement's signature is none of a head, nor the other way round.
        let mut confused = good.clone();
        let signature = key(1).sign(labels::SIGN_STATEMENT, &good.head);
        confused.signature = signature.to_vec().into();
        assert_eq!(verify(&confused, &log), Err(HeadError::Signature));
    }
}
