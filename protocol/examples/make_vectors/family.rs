//! Vectors of the family log: whole logs, extracts, passes, heads.

use kinline_protocol::content::kinds;
use kinline_protocol::day::Day;
use kinline_protocol::identity::{
    ContactPass, Decision, FamilyLog, PassGuardian, PassSide, PassTerms, Settings, Shown,
    Supervision, sign_head,
};
use kinline_protocol::ids::{DeviceId, FamilyId, PassId};
use kinline_protocol::policy::{Policy, QuietHours};
use kinline_protocol::wire;
use prost::Message;
use serde_json::{Value, json};

use super::story::{Story, child, device, guardian, id, key, three};
use super::{file, flipped, rng, with};

fn pass(family: FamilyId) -> PassTerms {
    PassTerms {
        pass: PassId::new([0x70; 16]),
        sides: [
            PassSide {
                family,
                child: id(5),
                supervision: Supervision::Everything,
                guardians: vec![
                    PassGuardian {
                        member: id(1),
                        may_write: true,
                    },
                    PassGuardian {
                        member: id(2),
                        may_write: false,
                    },
                ],
            },
            PassSide {
                family: FamilyId::new([0xfa; 16]),
                child: id(0x25),
                supervision: Supervision::Contacts,
                guardians: vec![],
            },
        ],
        kinds: kinds::ALL,
        first_day: Day(20_601),
        last_day: Day(21_001),
    }
}

/// Every kind of statement, once at least.
fn full() -> Story {
    let story = three();
    let pass = ContactPass::new(pass(story.0.family())).unwrap();
    let policy = Policy {
        time_zone: "Europe/Zurich".into(),
        quiet: vec![QuietHours {
            weekdays: 0b001_1111,
            from_minute: 1_200,
            to_minute: 420,
        }],
        kinds: kinds::ALL,
        messages_per_day: 50,
        paused: false,
    };
    let story = story
        .then(Decision::ApprovePass(pass.clone()), 20_601, &[1, 2])
        .then(
            Decision::SetPolicy {
                child: id(5),
                policy,
            },
            20_602,
            &[2],
        )
        .then(Decision::AddMember(child(6, "Leo")), 20_602, &[1, 2])
        .then(
            Decision::Settings(Settings {
                signatures: 2,
                lease_days: 5,
            }),
            20_602,
            &[1],
        );
    let removal = story.0.len();
    story
        .then(Decision::RemoveMember(id(2)), 20_603, &[1])
        .then(Decision::Object { removal }, 20_605, &[2])
        .then(Decision::Withdraw { removal }, 20_610, &[1])
        .then(Decision::Withdraw { removal }, 20_610, &[2])
        .then(Decision::AddDevice(device(0x23, 2)), 20_610, &[1, 2])
        .then(
            Decision::RemoveDevice(DeviceId::new([0x22; 16])),
            20_610,
            &[2],
        )
        .then_on(0x23, Decision::RevokePass(pass.id()), 20_610)
        .then(
            Decision::RemoveDevice(DeviceId::new([0x55; 16])),
            20_611,
            &[1],
        )
        .then(Decision::RemoveMember(id(6)), 20_611, &[1])
}

fn hex_entries(entries: &[wire::LogEntry]) -> Value {
    entries
        .iter()
        .map(|entry| hex::encode(entry.encode_to_vec()))
        .collect()
}

pub(super) fn good(name: &str, entries: &[wire::LogEntry]) -> Value {
    let log = FamilyLog::from_entries(entries).unwrap();
    let guardians: Vec<String> = log
        .guardians()
        .map(|member| hex::encode(member.as_bytes()))
        .collect();
    let devices: Vec<String> = log
        .certificates()
        .map(|certificate| hex::encode(certificate.device.as_bytes()))
        .collect();
    json!({
        "name": name, "outcome": "ok",
        "family": hex::encode(log.family().as_bytes()),
        "entries": hex_entries(entries),
        "head": hex::encode(log.head()),
        "whole": log.is_whole(),
        "guardians": guardians,
        "devices": devices,
    })
}

pub(super) fn refused(name: &str, outcome: &str, entries: &[wire::LogEntry]) -> Value {
    json!({ "name": name, "outcome": outcome, "entries": hex_entries(entries) })
}

/// A statement that Anna signs and Ben consents to until day 20,605.
fn consented(day: u32) -> (Vec<wire::LogEntry>, Value) {
    let story = three();
    let decision = Decision::AddMember(child(6, "Leo"));
    let salt = [0xcc; 16];
    let consent = story.0.consent(&decision, &salt, Day(20_605), &key(2));
    let fields = json!({
        "consent": {
            "seed": hex::encode(key(2).seed()),
            "family": hex::encode(story.0.family().as_bytes()),
            "salt": hex::encode(salt),
            "last_day": 20_605,
            "decision": hex::encode(decision.encode()),
            "signature": hex::encode(&consent.signature),
        }
    });
    let signed = story
        .0
        .propose_with(decision, salt, vec![consent], &[&key(1)], Day(day));
    (story.and(signed), fields)
}

pub(super) fn logs() -> Value {
    let whole = full();
    let shown = Shown {
        children: [id(5)].into(),
        passes: [PassId::new([0x70; 16])].into(),
    };
    let extract = whole.0.extract(&shown);
    let (in_time, consent) = consented(20_605);
    let (expired, _) = consented(20_606);
    let story = Story::new(1).then(Decision::AddMember(guardian(2, "Ben")), 20_601, &[1]);
    let removed = three().then(Decision::RemoveMember(id(2)), 20_610, &[1]);
    let removal = removed.0.len() - 1;
    let undone = three()
        .then(Decision::RemoveMember(id(2)), 20_610, &[1])
        .then(Decision::Withdraw { removal }, 20_611, &[1]);
    let back = three()
        .then(Decision::RemoveMember(id(2)), 20_610, &[1])
        .then(Decision::Withdraw { removal }, 20_611, &[1])
        .then(Decision::Withdraw { removal }, 20_611, &[2]);
    let two_phones = three().then(Decision::AddDevice(device(0x23, 2)), 20_601, &[1, 2]);
    let leo = || Decision::AddMember(child(6, "Leo"));
    let mut tampered = extract.clone();
    let hidden = tampered
        .iter()
        .position(|entry| entry.statement.is_none())
        .unwrap();
    tampered[hidden].hash = flipped(&extract[hidden].hash, 31).into();
    let mut hole = extract.clone();
    hole.remove(hidden);
    let mut neither = extract.clone();
    neither[hidden].hash.clear();
    let hidden_entry = wire::LogEntry {
        statement: None,
        hash: vec![0x0f; 32].into(),
    };
    let full_log = [Story::new(1).0.entries(), vec![hidden_entry]].concat();
    let bad_pass = {
        let mut bytes = pass(story.0.family());
        bytes.kinds = 1;
        let mut pass = ContactPass::new(bytes).unwrap().bytes().to_vec();
        // `kinds` is field 4: its tag 0x20 and the value 1 become a field 4 of 0.
        let at = pass.windows(2).rposition(|two| two == [0x20, 1]).unwrap();
        pass[at + 1] = 0;
        wire::Decision {
            body: Some(wire::decision::Body::ApprovePass(wire::ApprovePass {
                pass: pass.into(),
            })),
        }
        .encode_to_vec()
    };
    let with_decision = |bytes: Vec<u8>| story.damaged(|s| s.decision = bytes.into());
    let late = removed.signed(Decision::Object { removal }, 20_613, &[2]);
    let vectors = vec![
        good("every kind of statement", &whole.0.entries()),
        good("an extract for the friends of one child", &extract),
        with(&good("a consent on its last day", &in_time), consent),
        refused("a consent a day later", "signatures", &expired),
        refused("no entry at all", "empty", &[]),
        with(
            &refused("one statement too many", "full", &full_log),
            json!({ "repeat": 10_000 }),
        ),
        refused(
            "a decision that is no protobuf",
            "malformed",
            &with_decision(vec![0x0a, 5]),
        ),
        refused(
            "a decision of a later version",
            "unknown decision",
            &with_decision(vec![0xf2, 0x01, 0]),
        ),
        refused(
            "a pass that allows nothing",
            "pass",
            &with_decision(bad_pass),
        ),
        refused(
            "another version",
            "version",
            &story.damaged(|s| s.version = 2),
        ),
        refused(
            "a short salt",
            "field",
            &story.damaged(|s| s.salt.truncate(15)),
        ),
        refused(
            "a short family id",
            "id",
            &story.damaged(|s| s.family.truncate(15)),
        ),
        refused("neither shown nor hidden", "entry", &neither),
        refused(
            "of another family",
            "family",
            &story.forged(|s| s.family = FamilyId::new([0xfa; 16])),
        ),
        refused("an entry is missing", "hole", &hole),
        refused("a changed hash of a hidden entry", "fork", &tampered),
        refused(
            "over another past",
            "fork",
            &story.forged(|s| s.previous_head = Some([0; 32])),
        ),
        refused(
            "of the day before",
            "day",
            &story.forged(|s| s.day = Day(20_600)),
        ),
        refused(
            "with a salt that was used",
            "salt",
            &story.forged(|s| s.salt = [1; 16]),
        ),
        refused(
            "with the settings that it has",
            "unchanged",
            &story.and(story.signed(Decision::Settings(story.0.settings()), 20_601, &[1])),
        ),
        refused(
            "signed by a stranger",
            "signature",
            &story.and(story.signed(leo(), 20_601, &[9])),
        ),
        refused(
            "signed by one of two",
            "signatures",
            &three().and(three().signed(leo(), 20_601, &[1])),
        ),
        refused(
            "widens two days after a guardian's removal",
            "frozen",
            &removed.and(removed.signed(leo(), 20_612, &[1])),
        ),
        refused(
            "widens alone thirteen days after a guardian's removal",
            "signatures",
            &removed.and(removed.signed(leo(), 20_623, &[1])),
        ),
        good(
            "widens alone fourteen days after a guardian's removal",
            &removed.and(removed.signed(leo(), 20_624, &[1])),
        ),
        refused(
            "removes a guardian's only phone",
            "last device",
            &removed.and(removed.signed(
                Decision::RemoveDevice(DeviceId::new([0x11; 16])),
                20_612,
                &[1],
            )),
        ),
        refused(
            "lets a phone in as another guardian's",
            "own device",
            &three().and(three().signed(Decision::AddDevice(device(0x23, 2)), 20_601, &[1])),
        ),
        refused(
            "takes out one of another guardian's phones",
            "own device",
            &two_phones.and(two_phones.signed(
                Decision::RemoveDevice(DeviceId::new([0x22; 16])),
                20_602,
                &[1],
            )),
        ),
        refused(
            "widens before a guardian whose removal was taken back is there",
            "frozen",
            &undone.and(undone.signed(leo(), 20_699, &[1])),
        ),
        good(
            "widens when that guardian said that it is back",
            &back.and(back.signed(leo(), 20_611, &[1, 2])),
        ),
        refused(
            "objects three days after",
            "objection late",
            &removed.and(late),
        ),
        refused(
            "removes the last guardian",
            "last guardian",
            &removed.and(removed.signed(Decision::RemoveMember(id(1)), 20_612, &[1])),
        ),
        refused(
            "removes a stranger",
            "contradiction",
            &story.and(story.signed(Decision::RemoveMember(id(9)), 20_612, &[1])),
        ),
    ];
    let vectors = [vectors, super::recovery::logs()].concat();
    file("family log", vectors)
}

pub(super) fn passes() -> Value {
    let terms = pass(Story::new(1).0.family());
    let pass = ContactPass::new(terms.clone()).unwrap();
    let side = |side: &PassSide| {
        let guardians: Vec<Value> = side
            .guardians
            .iter()
            .map(|guardian| json!([hex::encode(guardian.member.as_bytes()), guardian.may_write]))
            .collect();
        json!({
            "family": hex::encode(side.family.as_bytes()),
            "child": hex::encode(side.child.as_bytes()),
            "supervision": format!("{:?}", side.supervision),
            "guardians": guardians,
        })
    };
    let [one, other] = pass.sides();
    let good = json!({
        "name": "a pass for its longest time", "outcome": "ok",
        "pass": hex::encode(pass.bytes()),
        "id": hex::encode(pass.id().as_bytes()),
        "sides": { "0": side(one), "1": side(other) },
        "kinds": pass.kinds(),
        "first_day": terms.first_day.0, "last_day": terms.last_day.0,
    });
    let decoded = wire::ContactPass::decode(pass.bytes().as_ref()).unwrap();
    let refused = |name: &str, outcome: &str, change: &dyn Fn(&mut wire::ContactPass)| {
        let mut changed = decoded.clone();
        change(&mut changed);
        json!({
            "name": name, "outcome": outcome, "pass": hex::encode(changed.encode_to_vec()),
        })
    };
    let vectors = vec![
        good,
        json!({ "name": "no protobuf", "outcome": "malformed", "pass": "0a05" }),
        json!({ "name": "too long", "outcome": "length", "pass": hex::encode([0; 1_025]) }),
        refused("another version", "version", &|p| p.version = 2),
        refused("a short id", "id", &|p| p.pass.truncate(15)),
        refused("one side", "sides", &|p| p.sides.truncate(1)),
        refused("one family twice", "sides", &|p| {
            p.sides[1].family = p.sides[0].family.clone();
        }),
        refused("an unknown supervision", "supervision", &|p| {
            p.sides[0].supervision = 4;
        }),
        refused("everything, and nobody in the room", "guardians", &|p| {
            p.sides[0].guardians.clear();
        }),
        refused("a guardian twice", "guardians", &|p| {
            let again = p.sides[0].guardians[0].clone();
            p.sides[0].guardians.push(again);
        }),
        refused("no kind", "kinds", &|p| p.kinds = 0),
        refused("a day too long", "days", &|p| p.last_day += 1),
        refused("over before it begins", "days", &|p| p.last_day = 20_600),
    ];
    file("contact pass", vectors)
}

pub(super) fn heads() -> Value {
    let story = three();
    let log = &story.0;
    let signed = sign_head(log, Day(20_620), false, &key(2));
    let good = json!({
        "name": "a guardian's head", "outcome": "ok",
        "entries": hex_entries(&log.entries()),
        "signed_head": hex::encode(signed.encode_to_vec()),
        "family": hex::encode(log.family().as_bytes()),
        "signer": hex::encode(id(2).as_bytes()),
        "statements": 5, "day": 20_620, "correction": false,
    });
    let vector = |name: &str, outcome: &str, signed: &wire::SignedHead| {
        let named = json!({
            "name": name, "outcome": outcome,
            "signed_head": hex::encode(signed.encode_to_vec()),
        });
        with(&good, named)
    };
    let removed = three().then(Decision::RemoveMember(id(2)), 20_610, &[1]);
    let other = three().then(Decision::RemoveMember(id(5)), 20_610, &[1]);
    let hidden_after = other.0.extract(&Shown::default());
    let correction = sign_head(log, Day(20_602), true, &key(1));
    let mut later = signed.clone();
    let mut head = wire::Head::decode(signed.head.as_ref()).unwrap();
    head.day += 1;
    later.head = head.encode_to_vec().into();
    let mut version = signed.clone();
    head.version = 2;
    version.head = head.encode_to_vec().into();
    let vectors = vec![
        good.clone(),
        with(
            &vector("a correction", "ok", &correction),
            json!({ "signer": hex::encode(id(1).as_bytes()), "day": 20_602, "correction": true }),
        ),
        vector("a day that was not signed", "signature", &later),
        vector("another version", "version", &version),
        vector(
            "of a longer log",
            "unknown",
            &sign_head(&removed.0, Day(20_620), false, &key(1)),
        ),
        vector(
            "signed by a stranger",
            "signer",
            &sign_head(log, Day(20_620), false, &key(9)),
        ),
        vector(
            "of another family",
            "family",
            &sign_head(
                &FamilyLog::found(
                    "Oak",
                    guardian(1, "Anna"),
                    device(0x11, 1),
                    Settings::default(),
                    Day(20_600),
                    &mut rng(21),
                )
                .unwrap(),
                Day(20_620),
                false,
                &key(1),
            ),
        ),
        with(
            &vector(
                "of another past",
                "fork",
                &sign_head(&other.0, Day(20_620), false, &key(1)),
            ),
            json!({ "entries": hex_entries(&removed.0.entries()) }),
        ),
        with(
            &vector("before a hidden entry", "unvouched", &signed),
            json!({ "entries": hex_entries(&hidden_after) }),
        ),
        with(
            &vector("by a guardian who was removed since", "signer", &signed),
            json!({ "entries": hex_entries(&removed.0.entries()) }),
        ),
    ];
    file("family head", vectors)
}
