//! The two families, and every log that their guardians can sign: each is made once.

use std::collections::{BTreeSet, HashMap};

use kinline_protocol::day::Day;
use kinline_protocol::identity::{
    AddedDevice, AddedMember, ContactPass, Decision, FamilyLog, PassGuardian, PassSide, PassTerms,
    Role, Settings, Shown, Supervision,
};
use kinline_protocol::ids::{DeviceId, FamilyId, MemberId, PassId};
use kinline_protocol::primitives::sign::{PublicKey, SecretKey};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// Devices by number; each is its member's only one, and names them too.
pub(crate) const ANNA: u8 = 0;
pub(crate) const BEN: u8 = 1;
pub(crate) const MIA: u8 = 2;
pub(crate) const CARO: u8 = 3;
pub(crate) const LEO: u8 = 4;
/// A device of nobody.
pub(crate) const STRANGER: u8 = 5;
pub(crate) const DEVICES: [u8; 5] = [ANNA, BEN, MIA, CARO, LEO];
pub(crate) const NAMES: [&str; 6] = ["Anna", "Ben", "Mia", "Caro", "Leo", "a stranger"];

/// Days since the start, coarse: a freeze later, and when a removed guardian counts no more.
pub(crate) const DAYS: [u32; 3] = [100, 103, 114];

/// The family of a device: 0 has guardians Anna and Ben and the child Mia, 1 has the guardian
/// Caro and the child Leo.
pub(crate) fn family_of(device: u8) -> usize {
    usize::from(device >= CARO)
}

pub(crate) fn is_guardian(device: u8) -> bool {
    [ANNA, BEN, CARO].contains(&device)
}

pub(crate) fn device_id(n: u8) -> DeviceId {
    DeviceId::new([n + 1; 16])
}

pub(crate) fn device_key(n: u8) -> PublicKey {
    SecretKey::from_seed(&[n + 1; 32]).public()
}

fn member(n: u8) -> MemberId {
    MemberId::new([n + 1; 16])
}

fn identity(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n + 101; 32])
}

fn pass_id(n: u8) -> PassId {
    PassId::new([n; 16])
}

/// What a guardian may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    RemoveMember(u8),
    RemoveDevice(u8),
    Revoke(u8),
    /// The second pass, which names Ben and Caro in place of Anna.
    ApproveAgain,
    Object,
    Withdraw,
}

/// What each guardian may sign, and whose key it is.
pub(crate) const ACTS: [(u8, Act); 14] = [
    (ANNA, Act::RemoveMember(BEN)),
    (ANNA, Act::RemoveDevice(MIA)),
    (ANNA, Act::Revoke(1)),
    (ANNA, Act::ApproveAgain),
    (ANNA, Act::Withdraw),
    (BEN, Act::RemoveMember(ANNA)),
    (BEN, Act::Revoke(2)),
    (BEN, Act::ApproveAgain),
    (BEN, Act::Object),
    (BEN, Act::Withdraw),
    (CARO, Act::RemoveDevice(LEO)),
    (CARO, Act::RemoveMember(LEO)),
    (CARO, Act::Revoke(1)),
    (CARO, Act::ApproveAgain),
];

/// A log with the one before it.
struct Node {
    log: FamilyLog,
    /// What the other family is shown of it.
    extract: FamilyLog,
    parent: u16,
}

/// All logs that were reached; a log is a number here.
pub(crate) struct Families {
    logs: Vec<Node>,
    by_head: HashMap<[u8; 32], u16>,
    signed: HashMap<(u16, u8, Act, u8), Option<u16>>,
    second: ContactPass,
}

fn found(family: &str, first: u8) -> FamilyLog {
    let guardian = added(first, Role::Guardian);
    let rng = &mut ChaCha20Rng::from_seed([first; 32]);
    let day = Day(DAYS[0]);
    FamilyLog::found(
        family,
        guardian,
        added_device(first),
        Settings::default(),
        day,
        rng,
    )
    .unwrap()
}

fn added(n: u8, role: Role) -> AddedMember {
    AddedMember {
        member: member(n),
        role,
        name: NAMES[usize::from(n)].into(),
    }
}

fn added_device(n: u8) -> AddedDevice {
    AddedDevice {
        member: member(n),
        device: device_id(n),
        signature_key: device_key(n),
        name: "device".into(),
        identity_key: is_guardian(n).then(|| identity(n).public()),
    }
}

fn append(log: &mut FamilyLog, decision: Decision, by: u8, day: u32) -> bool {
    let mut salt = [by; 16];
    salt[..8].copy_from_slice(&log.len().to_be_bytes());
    let signed = log.propose_with(decision, salt, vec![], &[&identity(by)], Day(day));
    log.append(&signed).is_ok()
}

fn pass(n: u8, last_day: u32, families: [FamilyId; 2], named: [Option<u8>; 2]) -> ContactPass {
    let side = |at: usize| PassSide {
        family: families[at],
        child: member([MIA, LEO][at]),
        supervision: match named[at] {
            Some(_) => Supervision::Everything,
            None => Supervision::Contacts,
        },
        guardians: named[at]
            .iter()
            .map(|n| PassGuardian {
                member: member(*n),
                may_write: false,
            })
            .collect(),
    };
    ContactPass::new(PassTerms {
        pass: pass_id(n),
        sides: [side(0), side(1)],
        kinds: kinline_protocol::content::kinds::ALL,
        first_day: Day(DAYS[0]),
        last_day: Day(last_day),
    })
    .unwrap()
}

impl Families {
    /// Both, with a pass that names Anna and ends before the last of [`DAYS`].
    pub(crate) fn new() -> Self {
        let (mut one, mut other) = (found("One", ANNA), found("Other", CARO));
        let families = [one.family(), other.family()];
        let first = pass(1, DAYS[2] - 1, families, [Some(ANNA), None]);
        let second = pass(2, DAYS[2] + 100, families, [Some(BEN), Some(CARO)]);
        let day = DAYS[0];
        let whole = [
            Decision::AddMember(added(BEN, Role::Guardian)),
            Decision::AddDevice(added_device(BEN)),
            Decision::AddMember(added(MIA, Role::Child)),
            Decision::AddDevice(added_device(MIA)),
            Decision::ApprovePass(first.clone()),
        ];
        for decision in whole {
            assert!(append(&mut one, decision, ANNA, day));
        }
        let whole = [
            Decision::AddMember(added(LEO, Role::Child)),
            Decision::AddDevice(added_device(LEO)),
            Decision::ApprovePass(first),
        ];
        for decision in whole {
            assert!(append(&mut other, decision, CARO, day));
        }
        let mut families = Self {
            logs: vec![],
            by_head: HashMap::new(),
            signed: HashMap::new(),
            second,
        };
        families.intern(one, 0);
        families.intern(other, 1);
        families
    }

    fn intern(&mut self, log: FamilyLog, parent: u16) -> u16 {
        let next = u16::try_from(self.logs.len()).unwrap();
        let (number, head) = (
            *self.by_head.entry(*log.head()).or_insert(next),
            *log.head(),
        );
        if number == next {
            let extract = extract(&log);
            self.logs.push(Node {
                log,
                extract,
                parent,
            });
        }
        debug_assert_eq!(self.logs[usize::from(number)].log.head(), &head);
        number
    }

    pub(crate) fn log(&self, n: u16) -> &FamilyLog {
        &self.logs[usize::from(n)].log
    }

    pub(crate) fn len(&self) -> usize {
        self.logs.len()
    }

    /// The log one statement after `known` on the way to `tip`.
    pub(crate) fn step(&self, known: u16, tip: u16) -> u16 {
        let mut at = tip;
        while at != known && self.logs[usize::from(at)].parent != known {
            at = self.logs[usize::from(at)].parent;
        }
        at
    }

    /// The log after a guardian signed; `None` when it would not hold.
    pub(crate) fn signed(&mut self, log: u16, by: u8, act: Act, day: u8) -> Option<u16> {
        if let Some(known) = self.signed.get(&(log, by, act, day)) {
            return *known;
        }
        let mut after = self.log(log).clone();
        let removal = after.removals().keys().next_back().copied().unwrap_or(0);
        let decision = match act {
            Act::RemoveMember(n) => Decision::RemoveMember(member(n)),
            Act::RemoveDevice(n) => Decision::RemoveDevice(device_id(n)),
            Act::Revoke(n) => Decision::RevokePass(pass_id(n)),
            Act::ApproveAgain => Decision::ApprovePass(self.second.clone()),
            Act::Object => Decision::Object { removal },
            Act::Withdraw => Decision::Withdraw { removal },
        };
        let holds = append(&mut after, decision, by, DAYS[usize::from(day)]);
        let result = holds.then(|| self.intern(after, log));
        self.signed.insert((log, by, act, day), result);
        result
    }

    pub(crate) fn extract(&self, n: u16) -> &FamilyLog {
        &self.logs[usize::from(n)].extract
    }
}

fn extract(log: &FamilyLog) -> FamilyLog {
    let passes: BTreeSet<PassId> = log.passes().keys().copied().collect();
    let shown = Shown {
        passes,
        ..Shown::default()
    };
    FamilyLog::from_entries(&log.extract(&shown)).unwrap()
}
