//! Guardians with more than one phone, and one who comes back after all.

use kinline_protocol::day::Day;
use kinline_protocol::engine::CommandError;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::identity::{Decision, Settings, Standing, Supervision};
use kinline_protocol::ids::{DeviceId, MemberId};
use kinline_protocol::pairing::CodeKind;
use kinline_protocol::wire;

use super::vocabulary::wish;
use super::world::{Name, World};

const DAY_MS: u64 = 24 * 3_600_000;

fn member(world: &mut World, name: Name) -> MemberId {
    world.device(name).engine.member().unwrap()
}

fn device(world: &mut World, name: Name) -> DeviceId {
    world.device(name).engine.device()
}

/// Mum's second phone.
fn second_phone(world: &mut World) {
    world.add("mum2");
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    world.settle();
}

/// The first phone is lost; the second takes it out.
fn lose_the_first(world: &mut World) {
    world.disconnect("mum");
    let lost = device(world, "mum");
    world.command("mum2", Command::RemoveDevice { device: lost });
    world.settle();
}

fn remove(world: &mut World, by: Name, whom: Name) {
    let member = member(world, whom);
    world.command(by, Command::RemoveMember { member });
    world.settle();
}

#[test]
fn a_second_phone_decides_for_its_guardian_and_goes_on_without_the_first() {
    let mut world = World::new();
    let family = world.family();
    second_phone(&mut world);
    assert_eq!(member(&mut world, "mum2"), member(&mut world, "mum"));
    let added = |event: &Event| matches!(event, Event::Decided { decision: Decision::AddDevice(_), by, .. } if by.len() == 1);
    assert!(world.count("dad", added) >= 1, "the other guardian is told");

    lose_the_first(&mut world);
    world.add("sis");
    world.pair("mum2", "sis", MemberRole::Child, "Eva");
    world.text("mum2", family, "the old one is in the lake");
    world.settle();
    for name in ["dad", "kid", "sis"] {
        let seen = world
            .texts(name)
            .contains(&"the old one is in the lake".to_owned());
        assert!(seen || name == "sis", "{name}");
    }
    // It has the children's mailboxes in its keeping, and keeps the family current.
    let kid = device(&mut world, "kid");
    let close = Command::CloseMailbox {
        device: kid,
        undo: false,
    };
    world.command("mum2", close);
    world.settle();
    let mailbox = world.mailbox("kid");
    assert!(world.relay.closed.contains(&mailbox));
    world.disconnect("dad");
    for _ in 0..5 {
        world.pass(DAY_MS);
        world.settle();
    }
    let own = world.device("sis").engine.family_log().unwrap().family();
    let heard = world.device("sis").engine.heard_on(&own).unwrap();
    assert!(heard.plus(1) >= world.now.day(), "{heard}");
}

#[test]
fn another_guardian_lets_no_phone_in_under_that_name() {
    let mut world = World::new();
    world.family();
    let start = |name: &str| Command::StartPairing {
        role: MemberRole::Guardian,
        name: name.into(),
        by: CodeKind::Qr,
    };
    let refused = world.try_command("dad", start("Anna"));
    assert!(matches!(refused, Err(CommandError::GuardianThere)));
    let child = world.try_command("dad", start("Mia"));
    assert!(matches!(child, Err(CommandError::NameTaken)));
    world.command("mum", start("Anna"));
}

#[test]
fn two_phones_of_one_guardian_are_one_signature() {
    let mut world = World::new();
    world.family();
    second_phone(&mut world);
    world.signatures("mum", 2);
    let settings = world.signatures("mum", 1);
    let asked = |world: &mut World, name: Name| {
        let events = &world.device(name).events;
        events.iter().rev().find_map(|event| match event {
            Event::Proposal { proposal, .. } => Some(*proposal),
            _ => None,
        })
    };
    assert_eq!(asked(&mut world, "mum2"), None, "she has said yes already");
    let proposal = asked(&mut world, "dad").unwrap();
    let yes = Command::AnswerProposal {
        proposal,
        accept: true,
    };
    let own = world.try_command("mum2", yes.clone());
    assert!(matches!(own, Err(CommandError::NoProposal)));
    world.command("dad", yes);
    world.settle();
    for name in ["mum", "mum2", "dad", "kid"] {
        let log = world.device(name).engine.family_log().unwrap();
        assert_eq!(log.settings(), settings, "{name}");
    }
}

#[test]
fn a_second_phone_keeps_contacts_when_the_first_is_lost() {
    let mut world = World::new();
    world.family();
    world.second_family();
    world.meet("mum", "kid", "ana", "leo");
    let mut watched = wish();
    watched.supervision = Supervision::Everything;
    watched.guardians = vec![(member(&mut world, "mum"), false)];
    let pass = world.agree(("mum", "kid"), ("ana", "leo"), [watched, wish()]);
    let room = world.contact("kid");
    second_phone(&mut world);
    assert_eq!(world.link("mum2"), world.link("ana"));
    assert_eq!(
        world.contact("mum2"),
        room,
        "where its guardian reads along"
    );
    lose_the_first(&mut world);
    world.text("leo", room, "hi Mia");
    world.text("kid", room, "hi Leo");
    world.settle();
    for name in ["kid", "leo", "mum2"] {
        let texts = world.texts(name);
        for text in ["hi Mia", "hi Leo"] {
            assert!(texts.contains(&text.to_owned()), "{name}: {texts:?}");
        }
    }
    world.command("mum2", Command::RevokePass { pass });
    world.settle();
    world.settle();
    let log = world.device("leo").engine.family_log().unwrap();
    let family = log.family();
    assert!(log.passes().contains_key(&pass), "{family:?}");
    let late = world.try_command(
        "leo",
        Command::Send {
            conversation: room,
            body: kinline_protocol::content::Body::Text { text: "x".into() },
            reply_to: None,
            disappear_seconds: 0,
            blob: None,
        },
    );
    assert!(late.is_err(), "it is over");
}

#[test]
fn a_guardian_whose_removal_was_taken_back_is_there_again_with_its_phones() {
    let mut world = World::new();
    let family = world.family();
    world.second_family();
    world.meet("mum", "kid", "ana", "leo");
    let dad = member(&mut world, "dad");
    world.add("dad2");
    world.pair("dad", "dad2", MemberRole::Guardian, "Ben");
    world.settle();
    remove(&mut world, "mum", "dad");
    world.text("mum", family, "between us");
    world.text("kid", family, "where is he?");
    world.settle();
    let log = world.device("mum").engine.family_log().unwrap();
    let removal = *log.removals().keys().next().unwrap();
    // One of his phones is off while that is taken back.
    world.disconnect("dad2");
    world.disconnect("dad");
    world.command("mum", Command::Withdraw { removal });
    world.settle();
    let standing = |world: &mut World| {
        let log = world.device("kid").engine.family_log().unwrap();
        assert!(log.members().contains_key(&dad));
        log.removals()[&removal].standing
    };
    assert_eq!(standing(&mut world), Standing::Undone);
    world.add("sis");
    world.connect("sis");
    assert!(
        !world.try_pair("mum", "sis", MemberRole::Child, "Eva"),
        "nothing widens until he says that he is back"
    );
    world.connect("dad");
    world.settle();
    assert_eq!(standing(&mut world), Standing::Returned);
    world.connect("dad2");
    world.settle();
    world.pair("dad2", "sis", MemberRole::Child, "Eva");
    world.text("dad2", family, "hello again");
    world.text("kid", family, "hello dad");
    world.text("mum", family, "sorry");
    world.settle();
    for name in ["mum", "dad", "dad2", "kid"] {
        let texts = world.texts(name);
        for text in ["hello again", "hello dad", "sorry"] {
            assert!(texts.contains(&text.to_owned()), "{name}: {texts:?}");
        }
        assert!(world.device(name).engine.is_settled(), "{name}");
    }
    for missed in ["between us", "where is he?"] {
        let texts = world.texts("dad");
        assert!(!texts.contains(&missed.to_owned()), "he was out then");
    }
    assert_eq!(world.link("dad"), world.link("ana"));
    // And holds the child's mailbox again, under secrets that are new.
    let kid = device(&mut world, "kid");
    let close = Command::CloseMailbox {
        device: kid,
        undo: false,
    };
    world.command("dad", close);
    world.settle();
    let mailbox = world.mailbox("kid");
    assert!(world.relay.closed.contains(&mailbox));
}

#[test]
fn who_was_removed_and_taken_back_is_never_left_out_by_the_log_alone() {
    let mut world = World::new();
    world.family();
    let dad = member(&mut world, "dad");
    let today = Day(world.now.day().0);
    remove(&mut world, "mum", "dad");
    let text = world.device("dad").engine.objection(today).unwrap();
    world.command("kid", Command::CarryObjection { text });
    world.settle();
    let log = world.device("mum").engine.family_log().unwrap();
    let removal = *log.removals().keys().next().unwrap();
    world.command("mum", Command::Withdraw { removal });
    world.settle();
    let today = world.now.day();
    let log = world.device("kid").engine.family_log().unwrap();
    assert!(log.members().contains_key(&dad));
    assert_eq!(log.removals()[&removal].standing, Standing::Returned);
    assert!(log.is_frozen(today).is_none());
}

#[test]
fn who_finds_one_phone_of_a_guardian_loses_the_childrens_mailboxes_with_it() {
    let mut world = World::new();
    world.family();
    second_phone(&mut world);
    let before: wire::DeviceRecord = world.record("kid", b"device");
    lose_the_first(&mut world);
    let after: wire::DeviceRecord = world.record("kid", b"device");
    assert_ne!(before.close_seed, after.close_seed);
    assert_ne!(before.revocation_seed, after.revocation_seed);
    assert!(after.next_close_seed.is_empty(), "the relay has taken it");
}

#[test]
fn both_phones_say_at_once_that_their_guardian_is_back() {
    let mut world = World::new();
    let family = world.family();
    world.add("dad2");
    world.pair("dad", "dad2", MemberRole::Guardian, "Ben");
    world.settle();
    remove(&mut world, "mum", "dad");
    let log = world.device("mum").engine.family_log().unwrap();
    let removal = *log.removals().keys().next().unwrap();
    world.command("mum", Command::Withdraw { removal });
    world.settle();
    let log = world.device("kid").engine.family_log().unwrap();
    assert_eq!(log.removals()[&removal].standing, Standing::Returned);
    for name in ["dad", "dad2", "mum", "kid"] {
        let events = &world.device(name).events;
        let trouble = |event: &&Event| {
            matches!(
                event,
                Event::NotDecided { .. } | Event::Unreadable { .. } | Event::Refused { .. }
            )
        };
        let trouble: Vec<&Event> = events.iter().filter(trouble).collect();
        assert!(trouble.is_empty(), "{name}: {trouble:?}");
    }
    for name in ["dad", "dad2", "kid"] {
        world.text(name, family, name);
    }
    world.settle();
    for name in ["mum", "dad", "dad2", "kid"] {
        let mut texts = world.texts(name);
        texts.sort_unstable();
        assert_eq!(texts, ["dad", "dad2", "kid"], "{name}");
    }
}

#[test]
fn who_has_decided_enough_for_a_day_comes_back_the_day_after() {
    let mut world = World::new();
    world.family();
    for n in 0..64 {
        let settings = Settings {
            signatures: 1,
            lease_days: 8 + n % 2,
        };
        world.command("dad", Command::ChangeSettings { settings });
    }
    world.settle();
    let busy = Command::ChangeSettings {
        settings: Settings {
            signatures: 1,
            lease_days: 10,
        },
    };
    assert!(world.try_command("dad", busy).is_err());
    remove(&mut world, "mum", "dad");
    let log = world.device("mum").engine.family_log().unwrap();
    let removal = *log.removals().keys().next().unwrap();
    world.command("mum", Command::Withdraw { removal });
    world.settle();
    world.settle();
    let unread = world.count("dad", |event| matches!(event, Event::Unreadable { .. }));
    assert!(unread <= 1, "it is said {unread} times");
    world.pass(DAY_MS);
    world.settle();
    let log = world.device("kid").engine.family_log().unwrap();
    assert_eq!(log.removals()[&removal].standing, Standing::Returned);
}

#[test]
fn the_other_phone_objects_though_the_first_is_off_for_long() {
    let mut world = World::new();
    world.family();
    world.add("dad2");
    world.pair("dad", "dad2", MemberRole::Guardian, "Ben");
    world.settle();
    world.disconnect("dad2");
    world.disconnect("dad");
    world.pass(DAY_MS);
    remove(&mut world, "mum", "dad");
    world.pass(DAY_MS);
    world.settle();
    world.connect("dad2");
    world.settle();
    let today = world.now.day();
    let text = world.device("dad2").engine.objection(today).unwrap();
    world.command("kid", Command::CarryObjection { text });
    world.settle();
    let log = world.device("mum").engine.family_log().unwrap();
    let removal = *log.removals().keys().next().unwrap();
    assert_eq!(log.removals()[&removal].standing, Standing::Objected);
    for _ in 0..20 {
        world.pass(DAY_MS);
        world.settle();
    }
    world.command("mum", Command::Withdraw { removal });
    world.settle();
    let log = world.device("kid").engine.family_log().unwrap();
    assert_eq!(log.removals()[&removal].standing, Standing::Returned);
    world.connect("dad");
    world.settle();
    let family = world.device("kid").engine.family_conversation().unwrap();
    world.text("dad", family, "the old one");
    world.text("kid", family, "hello");
    world.settle();
    for name in ["mum", "dad", "dad2", "kid"] {
        let mut texts = world.texts(name);
        texts.sort_unstable();
        assert_eq!(texts, ["hello", "the old one"], "{name}");
    }
}

#[test]
fn who_comes_back_reads_along_again_where_a_pass_says_so() {
    let mut world = World::new();
    world.family();
    world.second_family();
    world.meet("mum", "kid", "ana", "leo");
    world.add("dad2");
    world.pair("dad", "dad2", MemberRole::Guardian, "Ben");
    world.settle();
    let mut watched = wish();
    watched.supervision = Supervision::Everything;
    watched.guardians = vec![
        (member(&mut world, "dad"), true),
        (member(&mut world, "mum"), true),
    ];
    world.agree(("mum", "kid"), ("ana", "leo"), [watched, wish()]);
    let room = world.contact("kid");
    for name in ["dad", "dad2", "mum", "leo"] {
        assert_eq!(world.contact(name), room, "{name}");
    }
    world.text("dad", room, "first");
    world.settle();
    world.disconnect("dad2");
    remove(&mut world, "mum", "dad");
    world.text("kid", room, "secret");
    world.settle();
    let log = world.device("mum").engine.family_log().unwrap();
    let removal = *log.removals().keys().next().unwrap();
    world.command("mum", Command::Withdraw { removal });
    world.settle();
    world.connect("dad2");
    world.settle();
    world.pass(DAY_MS);
    world.settle();
    for name in ["dad", "dad2", "kid", "leo", "mum"] {
        world.text(name, room, &format!("by {name}"));
    }
    world.settle();
    world.restart("dad");
    world.connect("dad");
    world.text("leo", room, "good night");
    world.settle();
    for name in ["dad", "dad2", "kid", "leo", "mum"] {
        let texts = world.texts(name);
        for text in [
            "by dad",
            "by dad2",
            "by kid",
            "by leo",
            "by mum",
            "good night",
        ] {
            let shown = texts.iter().filter(|it| *it == text).count();
            assert_eq!(shown, 1, "{name}: {text} in {texts:?}");
        }
        let read = texts.contains(&"secret".to_owned());
        assert_eq!(read, !name.starts_with("dad"), "{name}");
        assert!(world.device(name).engine.is_settled(), "{name}");
    }
}

#[test]
fn a_guardian_who_goes_and_comes_again_and_again_is_there_in_the_end() {
    let mut world = World::new();
    let family = world.family();
    world.add("dad2");
    world.pair("dad", "dad2", MemberRole::Guardian, "Ben");
    world.settle();
    let member = member(&mut world, "dad");
    for round in 0..4 {
        if round % 2 == 0 {
            world.disconnect("dad");
        }
        world.command("mum", Command::RemoveMember { member });
        if round > 0 {
            world.settle();
        }
        let log = world.device("mum").engine.family_log().unwrap();
        let removal = *log.removals().keys().last().unwrap();
        world.command("mum", Command::Withdraw { removal });
        world.settle();
        world.connect("dad");
        world.settle();
        let log = world.device("kid").engine.family_log().unwrap();
        assert_eq!(log.removals()[&removal].standing, Standing::Returned);
    }
    for name in ["dad", "dad2", "kid", "mum"] {
        world.text(name, family, &format!("by {name}"));
    }
    world.settle();
    for name in ["dad", "dad2", "kid", "mum"] {
        let texts = world.texts(name);
        for by in ["dad", "dad2", "kid", "mum"] {
            let text = format!("by {by}");
            let shown = texts.iter().filter(|it| **it == text).count();
            assert_eq!(shown, 1, "{name}: {text} in {texts:?}");
        }
    }
}
