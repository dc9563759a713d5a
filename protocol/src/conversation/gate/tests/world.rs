//! Three families whose children know each other, and one row of the gate's table.
//!
//! Member `n` of family `f` (1, 2, 3) has the id `10 f + n`: guardians 1 and 2, children 5 and
//! 6. Device `100 + m` is member `m`'s, and `200 + m` their second one.

use crate::content::kinds;
use crate::conversation::gate::{Change, NewLeaf, Refusal, judge};
use crate::conversation::{
    ConversationContext, ConversationKind, OwnAddress, Parties, Party, Person,
};
use crate::day::Day;
use crate::identity::{
    AddedDevice, AddedMember, ContactPass, Decision, FamilyLog, PassGuardian, PassSide, PassTerms,
    Role, Settings, Shown, Supervision,
};
use crate::ids::{ConversationId, DeviceId, FamilyId, MailboxId, MemberId, PassId};
use crate::primitives::sign::SecretKey;
use crate::secrets::Secret;
use crate::wire;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

pub(super) use ConversationKind::{Contact, Family, Link, Room};

/// The day of every statement, and the first of every pass.
pub(super) const DAY: u32 = 100;
/// The last day of every pass.
pub(super) const LAST: u32 = 300;

pub(super) fn member(n: u8) -> MemberId {
    MemberId::new([n; 16])
}

pub(super) fn device(n: u8) -> DeviceId {
    DeviceId::new([n; 16])
}

pub(super) fn pass_id(n: u8) -> PassId {
    PassId::new([n; 16])
}

/// Signs statements (members) or leaves (devices).
pub(super) fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

pub(super) fn guardian(n: u8) -> AddedMember {
    AddedMember {
        member: member(n),
        role: Role::Guardian,
        name: format!("guardian {n}"),
    }
}

pub(super) fn child(n: u8) -> AddedMember {
    AddedMember {
        member: member(n),
        role: Role::Child,
        name: format!("child {n}"),
    }
}

/// A guardian (11, 12, 21, 22) has the key of its number on its first device.
pub(super) fn device_of(n: u8, of: u8) -> AddedDevice {
    let identity = if n == of + 100 {
        key(of)
    } else {
        let mut seed = [n; 32];
        seed[0] = 0;
        SecretKey::from_seed(&seed)
    };
    AddedDevice {
        member: member(of),
        device: device(n),
        signature_key: key(n).public(),
        name: "tablet".into(),
        identity_key: (of % 10 < 5).then(|| identity.public()),
    }
}

pub(super) fn leaf(n: u8) -> NewLeaf {
    let (_, address) = OwnAddress::draw(
        MailboxId::new([n; 16]),
        &key(99),
        &Secret::new([1; 32]),
        &ConversationId::new([1; 16]),
        1,
        Day(1),
        &mut ChaCha20Rng::from_seed([n; 32]),
    );
    NewLeaf {
        device: Some(device(n)),
        signature_key: key(n).public(),
        address: Some(address),
    }
}

/// The logs of families 1, 2, 3.
#[derive(Clone)]
pub(super) struct World(Vec<FamilyLog>);

impl World {
    /// The families, without passes.
    pub(super) fn without_passes() -> Self {
        let found = |f: u8| {
            let rng = &mut ChaCha20Rng::from_seed([f; 32]);
            let (first, phone) = (10 * f + 1, 110 + 10 * f - 9);
            let settings = Settings::default();
            let guardian = guardian(first);
            FamilyLog::found(
                "F",
                guardian,
                device_of(phone, first),
                settings,
                Day(DAY),
                rng,
            )
        };
        let mut world = Self((1..=3).map(|f| found(f).unwrap()).collect());
        for f in 1..=3 {
            let base = 10 * f;
            let second = Decision::AddMember(guardian(base + 2));
            let children = [5, 6].map(|n| Decision::AddMember(child(base + n)));
            let devices = [
                (102 + base, 2),
                (105 + base, 5),
                (106 + base, 6),
                (205 + base, 5),
            ];
            let devices = devices.map(|(n, of)| Decision::AddDevice(device_of(n, base + of)));
            for decision in [second].into_iter().chain(children).chain(devices) {
                world = world.and(f, decision);
            }
            // A second phone of each guardian.
            for of in [base + 1, base + 2] {
                let phone = Decision::AddDevice(device_of(200 + of, of));
                world = world.and_by(f, phone, of);
            }
        }
        world
    }

    /// And passes: 1 joins children 15 and 25, 2 joins 15 and 35, 3 joins 25 and 35. They name
    /// guardian 11 (1 and 2), 21 (1 and 3) and 32 (2).
    pub(super) fn new() -> Self {
        let mut world = Self::without_passes();
        for (n, families) in [(1, [1, 2]), (2, [1, 3]), (3, [2, 3])] {
            for f in families {
                let pass = world.pass(n);
                world = world.and(f, Decision::ApprovePass(pass));
            }
        }
        world
    }

    pub(super) fn pass(&self, n: u8) -> ContactPass {
        let (families, guardians): (_, [&[u8]; 2]) = match n {
            1 => ([1, 2], [&[11], &[21]]),
            2 => ([1, 3], [&[11], &[32]]),
            _ => ([2, 3], [&[21], &[]]),
        };
        self.pass_with(
            n,
            [(families[0], guardians[0]), (families[1], guardians[1])],
        )
    }

    /// For the children 5 of two families, naming these guardians.
    pub(super) fn pass_with(&self, n: u8, sides: [(u8, &[u8]); 2]) -> ContactPass {
        let side = |(f, guardians): (u8, &[u8])| PassSide {
            family: self.family(f),
            child: member(10 * f + 5),
            supervision: Supervision::Contacts,
            guardians: guardians
                .iter()
                .map(|n| PassGuardian {
                    member: member(*n),
                    may_write: true,
                })
                .collect(),
        };
        ContactPass::new(PassTerms {
            pass: pass_id(n),
            sides: sides.map(side),
            kinds: kinds::ALL,
            first_day: Day(DAY),
            last_day: Day(LAST),
        })
        .unwrap()
    }

    pub(super) fn log(&self, f: u8) -> &FamilyLog {
        &self.0[usize::from(f) - 1]
    }

    pub(super) fn family(&self, f: u8) -> FamilyId {
        self.log(f).family()
    }

    /// A statement of family `f`, by its guardian 1.
    pub(super) fn signed(&self, f: u8, decision: Decision, by: u8) -> wire::SignedStatement {
        let log = self.log(f);
        let mut salt = [f; 16];
        salt[..8].copy_from_slice(&log.len().to_be_bytes());
        log.propose_with(decision, salt, vec![], &[&key(by)], Day(DAY))
    }

    /// And one more decision of family `f`.
    pub(super) fn and(&self, f: u8, decision: Decision) -> Self {
        self.and_by(f, decision, 10 * f + 1)
    }

    /// And one more, by this guardian.
    pub(super) fn and_by(&self, f: u8, decision: Decision, by: u8) -> Self {
        let signed = self.signed(f, decision, by);
        let mut world = self.clone();
        world.0[usize::from(f) - 1].append(&signed).unwrap();
        world
    }

    /// With what another family sees of family `f`.
    pub(super) fn extracted(&self, f: u8, passes: &[u8]) -> Self {
        let shown = Shown {
            passes: passes.iter().map(|n| pass_id(*n)).collect(),
            ..Shown::default()
        };
        let entries = self.log(f).extract(&shown);
        let mut world = self.clone();
        world.0[usize::from(f) - 1] = FamilyLog::from_entries(&entries).unwrap();
        world
    }

    pub(super) fn parties(&self, families: &[u8]) -> Parties {
        families.iter().map(|f| self.log(*f).clone()).collect()
    }
}

/// One row: a change that is good but for what the row says.
pub(super) struct Row {
    name: &'static str,
    kind: ConversationKind,
    before: Parties,
    after: Parties,
    devices: Vec<u8>,
    by: u8,
    added: Vec<NewLeaf>,
    removed: Vec<u8>,
    updated: Option<NewLeaf>,
    foreign: bool,
    days: (u32, u32),
    news: Option<Vec<wire::PartyNews>>,
    heads: Option<(Vec<Party>, Vec<Party>)>,
    becomes: Option<ConversationContext>,
    left: (Vec<Person>, Vec<Person>),
}

/// In a conversation of these families with these devices, the first of them changes something.
pub(super) fn row(
    name: &'static str,
    kind: ConversationKind,
    world: &World,
    families: &[u8],
    devices: &[u8],
) -> Row {
    let parties = world.parties(families);
    Row {
        name,
        kind,
        before: parties.clone(),
        after: parties,
        devices: devices.to_vec(),
        by: devices[0],
        added: vec![],
        removed: vec![],
        updated: None,
        foreign: false,
        days: (DAY, DAY),
        news: None,
        heads: None,
        becomes: None,
        left: (vec![], vec![]),
    }
}

impl Row {
    pub(super) fn by(mut self, device: u8) -> Self {
        self.by = device;
        self
    }

    pub(super) fn adds(mut self, devices: &[u8]) -> Self {
        self.added = devices.iter().map(|n| leaf(*n)).collect();
        self
    }

    /// Adds a device with a key package that it made to come back with.
    pub(super) fn brings_back(mut self, n: u8, into: u8, number: u64) -> Self {
        let mut leaf = leaf(n);
        if let Some(address) = &mut leaf.address {
            address.back_into = Some(ConversationId::new([into; 16]));
            address.number = number;
        }
        self.added.push(leaf);
        self
    }

    pub(super) fn adds_leaf(mut self, leaf: NewLeaf) -> Self {
        self.added.push(leaf);
        self
    }

    pub(super) fn removes(mut self, devices: &[u8]) -> Self {
        self.removed = devices.to_vec();
        self
    }

    pub(super) fn renews(mut self, leaf: NewLeaf) -> Self {
        self.updated = Some(leaf);
        self
    }

    pub(super) fn foreign(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// The day of the change.
    pub(super) fn on(mut self, day: u32) -> Self {
        self.days.1 = day;
        self
    }

    /// The days of the context before and of the change.
    pub(super) fn between(mut self, before: u32, after: u32) -> Self {
        self.days = (before, after);
        self
    }

    /// To what these families' logs say in another world.
    pub(super) fn to(mut self, world: &World, families: &[u8]) -> Self {
        self.after = world.parties(families);
        self
    }

    /// With these news in place of those that lead there.
    pub(super) fn with_news(mut self, news: Vec<wire::PartyNews>) -> Self {
        self.news = Some(news);
        self
    }

    /// Naming these heads before and after.
    pub(super) fn naming(mut self, before: &Parties, after: &Parties) -> Self {
        self.heads = Some((before.heads(), after.heads()));
        self
    }

    /// These had left before, and these after: as (family, member).
    pub(super) fn left(mut self, before: &[u8], after: &[u8]) -> Self {
        let people = |devices: &[u8]| {
            let parties = self.before.logs().cloned().collect::<Parties>();
            let mut people: Vec<Person> = devices
                .iter()
                .map(|n| Person::from(&parties.certificate(&device(*n)).unwrap()))
                .collect();
            people.sort_unstable();
            people
        };
        self.left = (people(before), people(after));
        self
    }

    /// With this in place of the context after.
    pub(super) fn becomes(mut self, change: impl FnOnce(&mut ConversationContext)) -> Self {
        let mut context = self.context(self.after.heads(), self.days.1);
        change(&mut context);
        self.becomes = Some(context);
        self
    }

    fn context(&self, parties: Vec<Party>, day: u32) -> ConversationContext {
        ConversationContext {
            kind: self.kind,
            title: "T".into(),
            parties,
            day: Day(day),
            left: vec![],
        }
    }

    pub(super) fn judged(&self) -> Result<Parties, Refusal> {
        let heads = self.heads.clone();
        let (heads_before, heads_after) =
            heads.unwrap_or_else(|| (self.before.heads(), self.after.heads()));
        let mut before = self.context(heads_before, self.days.0);
        let mut after = self.context(heads_after, self.days.1);
        (before.left, after.left) = self.left.clone();
        let after = self.becomes.clone().unwrap_or(after);
        let news = self.news.clone();
        let news = news.unwrap_or_else(|| self.before.news(&self.after));
        let devices: Vec<DeviceId> = self.devices.iter().map(|n| device(*n)).collect();
        let change = Change {
            committer: device(self.by),
            added: self.added.clone(),
            removed: self.removed.iter().map(|n| device(*n)).collect(),
            updated: self.updated.clone(),
            foreign_proposals: self.foreign,
            before: &before,
            after: &after,
            news: &news,
            devices: &devices,
            conversation: ConversationId::new([1; 16]),
            numbers: &devices.iter().map(|device| (*device, 1)).collect(),
        };
        let known = self.before.clone();
        let judged = judge(&change, &known);
        assert_eq!(known, self.before, "{}: the logs before", self.name);
        judged
    }

    #[track_caller]
    pub(super) fn is_refused(&self, refusal: &Refusal) {
        assert_eq!(self.judged().err().as_ref(), Some(refusal), "{}", self.name);
    }

    #[track_caller]
    pub(super) fn is_good(&self) {
        assert_eq!(self.judged().as_ref(), Ok(&self.after), "{}", self.name);
    }
}
