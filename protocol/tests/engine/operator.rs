//! The operator's word: it reaches guardians, is obeyed, and what is not the operator's does nothing.

use bytes::Bytes;
use kinline_protocol::day::{DAY_MS, Day};
use kinline_protocol::engine::IssuerVerdict;
use kinline_protocol::engine::io::{Command, Event, Input};
use kinline_protocol::operator::{
    Checkpoint, Language, NoticeCertificate, OperatorLog, Severity, Statement,
};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::wire::{self, ServerFrame, server_frame::Body as Say};

use super::relay::OperatorView;
use super::world::{Name, World};

/// An operator with both keys.
#[derive(Clone)]
struct Operator {
    offline: SecretKey,
    notice: SecretKey,
    log: OperatorLog,
    view: OperatorView,
    day: Day,
}

impl Operator {
    fn new(world: &World, seed: u8) -> Self {
        let offline = SecretKey::from_seed(&[seed; 32]);
        let mut operator = Self {
            notice: SecretKey::from_seed(&[seed + 1; 32]),
            log: OperatorLog::new(offline.public()),
            offline,
            view: OperatorView::default(),
            day: world.now.day(),
        };
        operator.certify(1);
        operator
    }

    fn certify(&mut self, serial: u32) {
        let (key, last) = (self.notice.public(), self.day.plus(400));
        let certificate = NoticeCertificate::sign(&self.offline, serial, key, self.day, last);
        self.write(Statement::Certificate {
            offline: self.offline.public(),
            certificate: *certificate.as_bytes(),
        });
    }

    fn write(&mut self, statement: Statement) {
        let entry = self.log.write(statement, self.day, &self.notice).unwrap();
        self.view.entries.push(entry.into());
        let checkpoint = Checkpoint::sign(&self.log, self.day, &self.notice).unwrap();
        self.view.checkpoint = Bytes::copy_from_slice(checkpoint.as_bytes());
    }

    fn says(&mut self, text: &str) {
        self.write(Statement::Notice {
            severity: Severity::Warning,
            language: Language::new("en").unwrap(),
            text: text.into(),
        });
    }

    fn locks(&mut self, renew: bool) {
        self.write(Statement::Lockdown {
            reason: "the relay was broken into".into(),
            renew,
        });
    }

    /// The relay has it and tells everybody.
    fn publish(&self, world: &mut World) {
        world.relay.operator = self.view.clone();
        world.relay.operator_news();
        world.settle();
    }
}

const EVERYBODY: [Name; 3] = ["mum", "dad", "kid"];

fn notices(world: &mut World, name: Name) -> Vec<String> {
    let notices = world.device(name).engine.operator_notices();
    notices.into_iter().map(|notice| notice.text).collect()
}

fn is_cut(event: &Event) -> bool {
    matches!(event, Event::OperatorLogCut { .. })
}

fn is_forked(event: &Event) -> bool {
    matches!(event, Event::OperatorLogForked { .. })
}

fn complaints(world: &mut World) -> usize {
    let complains =
        |event: &Event| is_cut(event) || is_forked(event) || *event == Event::OperatorForged;
    EVERYBODY
        .iter()
        .map(|name| world.count(name, complains))
        .sum()
}

#[test]
fn a_notice_is_before_every_guardian_until_somebody_has_read_it_and_on_no_childs_screen() {
    let mut world = World::new();
    let mut operator = Operator::new(&world, 1);
    world.relay.operator = operator.view.clone();
    world.family();
    operator.says("We move on Sunday.");
    operator.says("And on Monday.");
    operator.publish(&mut world);
    for name in ["mum", "dad"] {
        assert_eq!(
            notices(&mut world, name),
            ["We move on Sunday.", "And on Monday."]
        );
        let told = |event: &Event| matches!(event, Event::OperatorNotice(_));
        assert_eq!(world.count(name, told), 2);
        world.restart(name);
        assert_eq!(notices(&mut world, name).len(), 2);
    }
    assert!(notices(&mut world, "kid").is_empty());
    let told = |event: &Event| matches!(event, Event::OperatorNotice(_));
    assert_eq!(world.count("kid", told), 0);

    let read = |index| Command::AcknowledgeNotice { index };
    world.connect("mum");
    world.command("mum", read(1));
    assert!(world.try_command("mum", read(1)).is_err());
    assert_eq!(notices(&mut world, "mum"), ["And on Monday."]);
    world.restart("mum");
    world.connect("mum");
    world.settle();
    assert_eq!(notices(&mut world, "mum"), ["And on Monday."]);
    assert_eq!(complaints(&mut world), 0);
}

#[test]
fn the_key_is_pinned_at_the_first_hello_and_handed_on_when_devices_are_paired() {
    let mut world = World::new();
    let operator = Operator::new(&world, 1);
    world.relay.operator = operator.view.clone();
    world.family();
    let key = operator.offline.public();
    for name in EVERYBODY {
        let status = world.device(name).engine.operator().unwrap();
        assert_eq!((status.key, status.entries), (key, 1));
        assert_eq!(status.vouched, name != "mum", "{name}");
        let pinned = |vouched| Event::OperatorPinned { key, vouched };
        let first = world.count(name, |event| *event == pinned(false));
        let later = world.count(name, |event| *event == pinned(true));
        // The others had asked the relay before the code named the key.
        assert_eq!((first, later), (1, usize::from(name != "mum")), "{name}");
    }
    assert_eq!(complaints(&mut world), 0);
}

#[test]
fn a_new_device_that_is_shown_another_operator_hears_it_from_its_family() {
    let mut world = World::new();
    let operator = Operator::new(&world, 1);
    world.relay.operator = operator.view.clone();
    let enemy = Operator::new(&world, 50);
    world.relay.operator_for.insert("kid", enemy.view.clone());
    world.family();
    let status = world.device("kid").engine.operator().unwrap();
    assert_eq!(
        (status.key, status.vouched),
        (operator.offline.public(), true)
    );
    assert_eq!(status.entries, 0, "the relay shows it nothing of that one");
    assert_eq!(world.count("kid", is_forked), 1);
    assert!(world.device("kid").engine.counters().forged > 0);
}

#[test]
fn what_is_not_the_operators_does_nothing() {
    let mut world = World::new();
    let mut operator = Operator::new(&world, 1);
    world.relay.operator = operator.view.clone();
    let family = world.family();
    let old = operator.clone();
    operator.says("true");
    operator.publish(&mut world);
    let before: Vec<u64> = EVERYBODY.map(|name| world.epoch(name, family)).to_vec();

    // Another operator altogether; a thief of an old notice key; a changed entry.
    let mut enemy = Operator::new(&world, 50);
    enemy.locks(true);
    enemy.says("false");
    let mut thief = operator.clone();
    operator.notice = SecretKey::from_seed(&[77; 32]);
    operator.certify(2);
    operator.publish(&mut world);
    thief.locks(true);
    thief.locks(true);
    let mut changed = operator.clone();
    changed.locks(true);
    let last = changed.view.entries.pop().unwrap();
    let mut bytes = last.to_vec();
    bytes[60] ^= 1;
    changed.view.entries.push(bytes.into());

    for (forged, view) in [enemy.view, changed.view].into_iter().enumerate() {
        world.relay.operator = view;
        world.relay.operator_news();
        world.settle();
        for name in EVERYBODY {
            let counted = world.device(name).engine.counters().forged;
            assert!(counted > forged as u64, "{name}");
            world.disconnect(name);
            world.connect(name);
        }
        world.settle();
    }
    assert_eq!(EVERYBODY.map(|name| world.count(name, is_forked)), [0; 3]);
    // Signed by the operator's key of before: a fork, which is said.
    world.relay.operator = thief.view;
    world.relay.operator_news();
    world.settle();
    assert_eq!(EVERYBODY.map(|name| world.count(name, is_forked)), [1; 3]);
    // Replayed: what was true once.
    world.relay.operator = old.view;
    world.relay.operator_news();
    world.settle();
    assert_eq!(EVERYBODY.map(|name| world.count(name, is_cut)), [1; 3]);
    world.relay.operator_news();
    world.settle();
    assert_eq!(
        EVERYBODY.map(|name| world.count(name, is_cut)),
        [1; 3],
        "once"
    );

    for name in EVERYBODY {
        let status = world.device(name).engine.operator().unwrap();
        assert!(!status.locked_down);
        assert_eq!(status.entries, operator.log.position().size);
        let locked = |event: &Event| matches!(event, Event::LockedDown { .. });
        assert_eq!(world.count(name, locked), 0);
    }
    assert_eq!(notices(&mut world, "mum"), ["true"]);
    assert_eq!(
        before,
        EVERYBODY.map(|name| world.epoch(name, family)).to_vec()
    );
    // And when the relay is honest again, all goes on.
    operator.says("still here");
    operator.publish(&mut world);
    assert_eq!(notices(&mut world, "dad"), ["true", "still here"]);
}

#[test]
fn frames_that_nobody_asked_for_do_nothing() {
    let mut world = World::new();
    let mut operator = Operator::new(&world, 1);
    world.relay.operator = operator.view.clone();
    world.family();
    operator.locks(true);
    for checkpoint in [
        Bytes::new(),
        vec![7; 218].into(),
        operator.view.checkpoint.clone(),
    ] {
        let part = wire::OperatorLogPart {
            entries: operator.view.entries[1..].to_vec(),
            checkpoint,
        };
        let frame = ServerFrame {
            request_id: 0,
            critical: vec![],
            body: Some(Say::OperatorLogPart(part)),
        };
        world.input("mum", Input::Frames(vec![frame]));
    }
    assert!(!world.device("mum").engine.operator().unwrap().locked_down);
}

#[test]
fn devices_of_a_family_find_out_who_is_shown_another_log() {
    let mut world = World::new();
    let mut operator = Operator::new(&world, 1);
    world.relay.operator = operator.view.clone();
    world.family();
    // The operator, or who has its notice key, says one thing to the tablet and another to the rest.
    let mut other = operator.clone();
    operator.says("one");
    other.says("another");
    world.relay.operator_for.insert("kid", other.view.clone());
    operator.publish(&mut world);
    for name in EVERYBODY {
        assert!(world.count(name, is_forked) > 0, "{name}");
    }
    // Every guardian hears it from whoever noticed.
    let told = |event: &Event| {
        matches!(event, Event::Control { .. }) && format!("{event:?}").contains("two logs")
    };
    for name in ["mum", "dad"] {
        assert!(world.count(name, told) > 0, "{name}");
    }
}

#[test]
fn a_log_that_is_kept_back_from_one_of_them_shows_when_they_talk() {
    let mut world = World::new();
    let mut operator = Operator::new(&world, 1);
    world.relay.operator = operator.view.clone();
    world.family();
    world
        .relay
        .operator_for
        .insert("dad", operator.view.clone());
    operator.says("he must not hear of it");
    operator.publish(&mut world);
    assert_eq!(world.count("dad", is_cut), 1);
    assert_eq!(world.count("mum", is_cut), 0);
    // As soon as it is shown to him as well, all is well.
    world.relay.operator_for.clear();
    world.relay.operator_news();
    world.settle();
    assert_eq!(notices(&mut world, "dad"), ["he must not hear of it"]);
    assert_eq!(world.count("dad", is_cut), 1);
}

#[test]
fn each_device_says_how_far_it_was_shown_the_log_once_a_day() {
    let mut world = World::new();
    let operator = Operator::new(&world, 1);
    world.relay.operator = operator.view.clone();
    world.family();
    let seen = world.relay.seen.len();
    world.settle();
    assert_eq!(world.relay.seen.len(), seen, "nothing more to say today");
    let mut record: wire::OperatorRecord = world.record("kid", b"operator");
    assert_eq!(record.told_size, 1);
    let day = record.told_day;
    world.pass(2 * DAY_MS);
    world.settle();
    record = world.record("kid", b"operator");
    assert!(record.told_day > day);
}

#[test]
fn a_lockdown_has_every_device_renew_everything_and_the_family_goes_on() {
    let mut world = World::new();
    let mut operator = Operator::new(&world, 1);
    world.relay.operator = operator.view.clone();
    let family = world.family();
    let room = world.room("mum", &["dad", "kid"], "Holidays");
    world.disconnect("kid");
    let secrets = |world: &mut World, name| {
        let record: wire::DeviceRecord = world.record(name, b"device");
        (
            record.close_seed,
            record.revocation_seed,
            record.address_serial,
        )
    };
    let before = EVERYBODY.map(|name| secrets(&mut world, name));
    let epochs = [family, room].map(|id| world.epoch("mum", id));
    let revoked = world.relay.revoked.len();
    world.text("mum", family, "before");
    operator.locks(true);
    operator.publish(&mut world);
    world.text("dad", family, "during");
    world.settle();
    world.connect("kid");
    world.settle();
    for (name, before) in EVERYBODY.into_iter().zip(before) {
        let after = secrets(&mut world, name);
        assert_ne!(before.0, after.0, "{name}: close key");
        assert_ne!(before.1, after.1, "{name}: revocation seed");
        assert!(after.2 >= before.2 + 2, "{name}: an address in each room");
        let reason = if name == "kid" {
            ""
        } else {
            "the relay was broken into"
        };
        let locked = Event::LockedDown {
            reason: reason.into(),
            renew: true,
        };
        assert_eq!(world.count(name, |event| *event == locked), 1, "{name}");
        assert!(world.device(name).engine.is_settled(), "{name}");
    }
    // Each of three devices has made a change in each of two rooms, and revoked what was before.
    for (id, before) in [family, room].into_iter().zip(epochs) {
        assert!(world.epoch("mum", id) >= before + 3);
    }
    assert!(world.relay.revoked.len() >= revoked + 6);
    assert_eq!(notices(&mut world, "mum"), ["the relay was broken into"]);

    operator.write(Statement::Lift);
    operator.publish(&mut world);
    for name in EVERYBODY {
        assert_eq!(
            world.count(name, |event| *event == Event::LockdownLifted),
            1
        );
    }
    for name in EVERYBODY {
        world.text(name, family, name);
    }
    world.settle();
    for name in EVERYBODY {
        let texts = world.texts(name);
        for text in ["before", "during", "mum", "dad", "kid"] {
            assert!(
                texts.contains(&text.to_owned()),
                "{name} has {text}: {texts:?}"
            );
        }
    }
    // Nothing is renewed again when it comes back.
    let after = EVERYBODY.map(|name| secrets(&mut world, name));
    for name in EVERYBODY {
        world.restart(name);
        world.connect(name);
    }
    world.settle();
    assert_eq!(after, EVERYBODY.map(|name| secrets(&mut world, name)));
    assert_eq!(complaints(&mut world), 0);
}

#[test]
fn keys_of_tickets_are_those_of_the_log() {
    let mut world = World::new();
    let mut operator = Operator::new(&world, 1);
    operator.write(Statement::IssuerKey {
        epoch: 700,
        key: [9; 32],
    });
    operator.write(Statement::Terms { hash: [3; 32] });
    for number in 0..9 {
        operator.says(&format!("{number}"));
    }
    world.relay.operator = operator.view.clone();
    world.family();
    for name in EVERYBODY {
        world.restart(name);
        let engine = &world.device(name).engine;
        assert_eq!(engine.issuer_key(700), Some([9; 32]));
        assert_eq!(engine.issuer_key(701), None);
        assert_eq!(engine.terms_hash(), Some([3; 32]));
    }
    assert_eq!(notices(&mut world, "mum").len(), 9);
}

#[test]
fn tickets_under_a_key_that_the_log_does_not_name_are_not_spent() {
    let mut world = World::new();
    world.family();
    let judge = |world: &mut World, epoch, key| {
        let engine = &world.device("mum").engine;
        engine.judge_issuer(epoch, &[key; 32])
    };
    // Without an operator there is the relay's word alone.
    let verdict = judge(&mut world, 700, 9);
    assert_eq!(verdict, IssuerVerdict::NoOperator);
    assert!(verdict.may_spend());
    let mut operator = Operator::new(&world, 1);
    operator.write(Statement::IssuerKey {
        epoch: 700,
        key: [9; 32],
    });
    operator.publish(&mut world);
    for (epoch, key, expected, good) in [
        (700, 9, IssuerVerdict::Named, true),
        (700, 8, IssuerVerdict::Other, false),
        (701, 9, IssuerVerdict::Unnamed, false),
    ] {
        let verdict = judge(&mut world, epoch, key);
        assert_eq!((verdict, verdict.may_spend()), (expected, good));
    }
}

#[test]
fn a_device_has_not_settled_before_it_has_read_the_log() {
    let mut world = World::new();
    world.family();
    let mut operator = Operator::new(&world, 1);
    operator.says("We move on Sunday.");
    world.relay.operator = operator.view.clone();
    world.relay.withholds_operator_log = true;
    world.connect("mum");
    world.settle();
    assert!(!world.device("mum").engine.is_settled());
    world.relay.withholds_operator_log = false;
    world.connect("mum");
    world.settle();
    assert!(world.device("mum").engine.is_settled());
}
