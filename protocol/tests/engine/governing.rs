//! Decisions of guardians: alone, together, against each other.

use kinline_protocol::day::Day;
use kinline_protocol::engine::CommandError;
use kinline_protocol::engine::io::{Command, Event, MemberRole, RecordClass, RecordKey};
use kinline_protocol::identity::{Decision, LogError, Settings};
use kinline_protocol::wire;
use prost::Message as _;

use super::world::{Name, World};

fn member(world: &mut World, name: Name) -> kinline_protocol::ids::MemberId {
    world.device(name).engine.member().unwrap()
}

const DAY_MS: u64 = 24 * 3_600_000;

#[test]
fn a_lost_tablet_goes_out_everywhere_and_its_mailbox_is_closed() {
    let mut world = World::new();
    let family = world.family();
    world.add("sis");
    world.pair("dad", "sis", MemberRole::Child, "Eva");
    world.settle();
    let room = world.room("kid", &["sis"], "Girls");
    world.disconnect("sis");
    let device = world.device("sis").engine.device();
    let mailbox = world.mailbox("sis");
    world.command("mum", Command::RemoveDevice { device });
    world.settle();
    assert!(world.relay.closed.contains(&mailbox), "nothing in or out");
    let closed = |event: &Event| matches!(event, Event::MailboxClosed { undone: false, .. });
    assert_eq!(world.count("mum", closed), 1);
    for (name, id) in [
        ("mum", family),
        ("dad", family),
        ("kid", family),
        ("kid", room),
    ] {
        let all = world.device(name).engine.conversations();
        let it = all.iter().find(|c| c.id == id).unwrap();
        let still = it.members.iter().any(|m| m.devices.contains(&device));
        assert!(!still, "{name} still has it in {}", it.title);
    }
    world.text("kid", family, "only us");
    world.settle();
    assert_eq!(world.texts("dad"), ["only us"]);
    assert!(world.texts("sis").is_empty());
    assert!(world.device("mum").engine.is_settled());
}

#[test]
fn a_removed_guardian_reads_and_writes_nothing_more() {
    let mut world = World::new();
    let family = world.family();
    world.text("dad", family, "before");
    world.settle();
    let dad = member(&mut world, "dad");
    world.command("mum", Command::RemoveMember { member: dad });
    world.settle();
    let told = |event: &Event| matches!(event, Event::MemberRemoved { frozen: true, .. });
    for name in ["mum", "kid", "dad"] {
        assert_eq!(world.count(name, told), 1, "{name} hears of it");
    }
    world.text("mum", family, "after");
    world.settle();
    assert_eq!(world.texts("dad"), ["before"]);
    assert!(world.texts("kid").contains(&"after".to_owned()));
    let denied = world.try_command(
        "dad",
        Command::Typing {
            conversation: family,
        },
    );
    assert!(denied.is_err());
    // What he knew of the tablet's mailbox is worth nothing soon.
    let renewed = world.record::<kinline_protocol::wire::DeviceRecord>("kid", b"device");
    assert!(renewed.next_close_seed.is_empty() && renewed.revocation_seed_from > 0);
}

fn today(world: &World) -> Day {
    Day(u32::try_from(world.now.0 / DAY_MS).unwrap())
}

#[test]
fn a_removal_that_waited_is_of_the_day_on_which_it_is_carried() {
    let mut world = World::new();
    world.family();
    let dad = member(&mut world, "dad");
    world.disconnect("mum");
    world.command("mum", Command::RemoveMember { member: dad });
    for _ in 0..5 {
        world.pass(DAY_MS);
        world.settle();
    }
    world.connect("mum");
    world.settle();
    let log = world.device("kid").engine.family_log().unwrap().clone();
    let day = today(&world);
    assert_eq!(log.removals().values().next().unwrap().day, day);
    assert!(log.is_frozen(day).is_some());
}

#[test]
fn two_guardians_keep_the_day_of_their_family_and_one_alone_need_not() {
    let mut world = World::new();
    let family = world.family();
    let a_day = |world: &mut World| {
        let before = world.epoch("kid", family);
        world.pass(DAY_MS);
        world.settle();
        world.epoch("kid", family) - before
    };
    for _ in 0..3 {
        assert_eq!(a_day(&mut world), 1, "once a day");
    }
    world.disconnect("mum");
    world.disconnect("dad");
    let days: Vec<u64> = (0..4).map(|_| a_day(&mut world)).collect();
    assert_eq!(days, [0, 1, 0, 0], "a tablet, two days past what was told");
    world.connect("mum");
    world.connect("dad");
    world.settle();
    let dad = member(&mut world, "dad");
    world.command("mum", Command::RemoveMember { member: dad });
    world.settle();
    let days: Vec<u64> = (0..5).map(|_| a_day(&mut world)).collect();
    assert_eq!(
        days,
        [0, 0, 1, 0, 0],
        "the tablet says that the freeze is over"
    );
}

#[test]
fn who_removed_a_guardian_waits_until_another_device_says_that_the_freeze_is_over() {
    let mut world = World::new();
    world.family();
    let dad = member(&mut world, "dad");
    world.command("mum", Command::RemoveMember { member: dad });
    world.settle();
    world.disconnect("kid");
    world.add("sis");
    world.connect("sis");
    for _ in 0..5 {
        world.pass(DAY_MS);
        world.settle();
    }
    let paired = |world: &mut World| world.try_pair("mum", "sis", MemberRole::Child, "Eva");
    assert!(!paired(&mut world), "nobody else has said so");
    let kid = member(&mut world, "kid");
    let policy = kinline_protocol::policy::Policy::open("Europe/Zurich");
    let paused = kinline_protocol::policy::Policy {
        paused: true,
        ..policy
    };
    let pause = Command::SetPolicy {
        child: kid,
        policy: paused,
    };
    world.command("mum", pause);
    world.settle();
    let log = world.device("mum").engine.family_log().unwrap();
    assert!(log.policy(&kid).is_some(), "what narrows goes on");
    world.connect("kid");
    world.settle();
    assert!(paired(&mut world), "the tablet has");
}

#[test]
fn what_widens_is_frozen_until_an_objection_is_settled() {
    let mut world = World::new();
    world.family();
    let dad = member(&mut world, "dad");
    world.command("mum", Command::RemoveMember { member: dad });
    world.settle();
    let today = today(&world);
    let text = world.device("dad").engine.objection(today).unwrap();
    world.add("sis");
    world.connect("sis");
    let frozen = |world: &mut World| !world.try_pair("mum", "sis", MemberRole::Child, "Eva");
    assert!(frozen(&mut world), "three days");
    world.command("kid", Command::CarryObjection { text: text.clone() });
    world.settle();
    for _ in 0..20 {
        world.pass(DAY_MS);
        world.settle();
    }
    assert!(frozen(&mut world), "an objection keeps it frozen");
    let again = world.try_command("kid", Command::CarryObjection { text });
    assert!(again.is_err(), "once");
    let log = world.device("mum").engine.family_log().unwrap();
    let removal = *log.removals().keys().next().unwrap();
    world.command("mum", Command::Withdraw { removal });
    world.settle();
    let log = world.device("kid").engine.family_log().unwrap();
    assert!(
        log.members().contains_key(&dad),
        "the removal is taken back"
    );
    assert!(!frozen(&mut world), "and the family goes on");
}

#[test]
fn two_signatures_mean_two_guardians() {
    let mut world = World::new();
    world.family();
    world.signatures("mum", 2);
    world.add("sis");
    world.connect("sis");
    assert!(!world.try_pair("mum", "sis", MemberRole::Child, "Eva"));
    let asked: Vec<[u8; 16]> = world
        .device("dad")
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Proposal { proposal, .. } => Some(*proposal),
            _ => None,
        })
        .collect();
    assert_eq!(asked.len(), 2, "the member and her device");
    world.restart("dad");
    world.connect("dad");
    for proposal in asked.clone() {
        world.command(
            "dad",
            Command::AnswerProposal {
                proposal,
                accept: true,
            },
        );
        world.settle();
    }
    assert!(world.device("sis").engine.member().is_some(), "she is in");
    let twice = world.try_command(
        "dad",
        Command::AnswerProposal {
            proposal: asked[0],
            accept: true,
        },
    );
    assert!(matches!(twice, Err(CommandError::NoProposal)));
    let by_both = |event: &Event| matches!(event, Event::Decided { decision: Decision::AddDevice(_), by, .. } if by.len() == 2);
    assert!(
        world.count("kid", by_both) >= 1,
        "everyone sees who decided"
    );
}

#[test]
fn both_remove_each_other_and_one_order_is_kept() {
    for seed in 1..4 {
        let mut world = World::seeded(seed);
        let family = world.family();
        let (mum, dad) = (member(&mut world, "mum"), member(&mut world, "dad"));
        world.disconnect("mum");
        world.disconnect("dad");
        world.command("mum", Command::RemoveMember { member: dad });
        world.command("dad", Command::RemoveMember { member: mum });
        world.connect("dad");
        world.connect("mum");
        world.settle();
        let log = world.device("kid").engine.family_log().unwrap().clone();
        assert_eq!(log.removals().len(), 1, "seed {seed}");
        let winner = if log.members().contains_key(&mum) {
            "mum"
        } else {
            "dad"
        };
        assert_eq!(
            world.device(winner).engine.family_log().unwrap().head(),
            log.head()
        );
        world.text(winner, family, "still here");
        world.settle();
        assert_eq!(world.texts("kid"), ["still here"]);
    }
}

#[test]
fn decisions_that_the_log_would_not_take_are_refused_at_once() {
    let mut world = World::new();
    world.family();
    let mum = member(&mut world, "mum");
    let kid = world.try_command("kid", Command::RemoveMember { member: mum });
    assert!(matches!(kid, Err(CommandError::NotGuardian)));
    let dad = member(&mut world, "dad");
    world.command("mum", Command::RemoveMember { member: dad });
    world.settle();
    let last = world.try_command("mum", Command::RemoveMember { member: mum });
    assert!(matches!(
        last,
        Err(CommandError::Log(LogError::LastGuardian))
    ));
    let twice = world.try_command("mum", Command::RemoveMember { member: dad });
    assert!(matches!(twice, Err(CommandError::Log(_))));
    let removed = world.try_command("dad", Command::RemoveMember { member: mum });
    assert!(removed.is_err(), "a removed guardian decides nothing");
}

#[test]
fn a_guardian_forms_a_conversation_again_whose_slot_is_void() {
    let mut world = World::new();
    let family = world.family();
    let room = world.room("mum", &["dad", "kid"], "Three");
    for id in [room, family] {
        super::members::spoil(&mut world, "kid", id);
        world.command("mum", Command::SelfUpdate { conversation: id });
        world.settle();
        let kid = world.try_command("kid", Command::Reform { conversation: id });
        assert!(matches!(kid, Err(CommandError::NotGuardian)));
        world.command("mum", Command::Reform { conversation: id });
        world.settle();
        let again = world.try_command("mum", Command::Reform { conversation: id });
        assert!(matches!(again, Err(CommandError::NotStuck)));
    }
    let reformed = |event: &Event| matches!(event, Event::Reformed { .. });
    assert_eq!(world.count("mum", reformed), 2);
    assert!(world.count("kid", reformed) >= 1);
    let new = world.device("mum").engine.family_conversation().unwrap();
    assert_ne!(new, family);
    for name in ["dad", "kid"] {
        assert_eq!(world.device(name).engine.family_conversation(), Some(new));
    }
    world.text("kid", new, "we go on");
    world.settle();
    assert!(world.texts("dad").contains(&"we go on".to_owned()));
    world.restart("dad");
    world.connect("dad");
    world.text("dad", new, "as before");
    world.settle();
    assert!(world.texts("kid").contains(&"as before".to_owned()));
}

#[test]
fn a_bad_key_package_keeps_no_decision_from_being_made() {
    let mut world = World::new();
    let family = world.family();
    let settings = Settings {
        signatures: 1,
        lease_days: 9,
    };
    // A second guardian's yes brought it; nobody has looked at it yet.
    world.disconnect("mum");
    world.command("mum", Command::ChangeSettings { settings });
    for (key, value) in &mut world.device("mum").store {
        if key.class == RecordClass::State && key.name.starts_with(b"q/") {
            let operation = wire::OperationRecord::decode(value.as_slice()).unwrap();
            assert_eq!(operation.conversation.as_ref(), family.as_bytes());
            let operation = wire::OperationRecord {
                key_packages: vec![vec![7; 100].into()],
                ..operation
            };
            *value = operation.encode_to_vec();
        }
    }
    world.restart("mum");
    // Another change is faster, so that hers has to be made twice.
    world.relay.hold_sends_of = Some("mum");
    world.connect("mum");
    world.self_update("dad", family);
    world.relay.serve_held();
    world.settle();
    for name in ["mum", "dad", "kid"] {
        let log = world.device(name).engine.family_log().unwrap();
        assert_eq!(log.settings(), settings, "{name}");
    }
    let told = |event: &Event| matches!(event, Event::Refused { sentence, .. } if sentence.contains("could not be let in"));
    assert_eq!(
        world.count("mum", told),
        1,
        "and she hears what was left out"
    );
    assert!(world.device("mum").engine.is_settled());
}

#[test]
fn a_mailbox_that_was_closed_can_be_opened_again() {
    let mut world = World::new();
    let family = world.family();
    let mailbox = world.mailbox("kid");
    let device = world.device("kid").engine.device();
    let close = |undo| Command::CloseMailbox { device, undo };
    let child = world.try_command("kid", close(false));
    assert!(matches!(child, Err(CommandError::NotEntrusted)));
    world.command("mum", close(false));
    world.settle();
    assert!(world.relay.closed.contains(&mailbox));
    // The other guardian undoes it, offline first: it is said when the relay is there.
    world.disconnect("dad");
    world.command("dad", close(true));
    world.restart("dad");
    assert!(world.relay.closed.contains(&mailbox));
    world.connect("dad");
    world.settle();
    assert!(!world.relay.closed.contains(&mailbox), "open again");
    let said = |undone| move |event: &Event| *event == Event::MailboxClosed { device, undone };
    assert_eq!(world.count("mum", said(false)), 1);
    assert_eq!(world.count("dad", said(true)), 1);
    world.text("mum", family, "there you are");
    world.settle();
    assert!(world.texts("kid").contains(&"there you are".to_owned()));
    assert!(world.device("dad").engine.is_settled());
}

#[test]
fn a_removed_device_comes_back_under_neither_its_id_nor_its_key() {
    let mut world = World::new();
    world.family();
    world.add("sis");
    world.pair("dad", "sis", MemberRole::Child, "Eva");
    world.settle();
    let gone: wire::DeviceRecord = world.record("sis", b"device");
    let device = world.device("sis").engine.device();
    world.command("mum", Command::RemoveDevice { device });
    world.settle();
    let key = RecordKey {
        class: RecordClass::State,
        name: b"device".to_vec(),
    };
    for (new, id, seed) in [
        ("id", true, false),
        ("key", false, true),
        ("both", true, true),
    ] {
        world.add(new);
        let mut record: wire::DeviceRecord = world.record(new, b"device");
        if id {
            record.device = gone.device.clone();
        }
        if seed {
            record.signature_seed = gone.signature_seed.clone();
        }
        let store = &mut world.device(new).store;
        store.insert(key.clone(), record.encode_to_vec());
        world.restart(new);
        world.connect(new);
        assert!(
            !world.try_pair("mum", new, MemberRole::Child, "Eva"),
            "{new}"
        );
        let taken = world.try_command("mum", Command::AnswerPairing { accept: true });
        assert!(taken.is_err(), "{new}");
        world.settle();
        assert!(world.device(new).engine.member().is_none(), "{new}");
        assert_eq!(world.device(new).engine.conversations().len(), 0, "{new}");
    }
    let log = world.device("kid").engine.family_log().unwrap();
    assert!(log.certificate(&device).is_none());
    world.add("other");
    world.pair("mum", "other", MemberRole::Child, "Eva");
}
