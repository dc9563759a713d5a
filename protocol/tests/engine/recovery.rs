//! A guardian who has lost every phone comes back, and nobody else does.

use kinline_protocol::account::{AccountKeys, OpenedVault, RecoveryCode, open_vault};
use kinline_protocol::day::Day;
use kinline_protocol::engine::io::{Command, Event, MemberRole, VaultOutcome};
use kinline_protocol::engine::{CommandError, RecoveryGap, RecoveryStatus, VaultWrite};
use kinline_protocol::identity::{Decision, Return, ReturnWay};
use kinline_protocol::ids::{AccountId, ConversationId, MemberId};
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire;

use super::vocabulary::wish;
use super::world::{Name, World};

pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const CODE: &str =
    "legal winner thank year wave sausage worth useful legal winner thank yellow";

pub(crate) fn member(world: &mut World, name: Name) -> MemberId {
    world.device(name).engine.member().unwrap()
}

/// What a login would make of a password; its number stands for it.
pub(crate) fn keys(password: u8, code: bool) -> AccountKeys {
    let code: RecoveryCode = match code {
        true => CODE.parse().unwrap(),
        false => {
            let export = Secret::new([password; 64]);
            return AccountKeys::derive(AccountId::new([9; 32]), &export, None);
        }
    };
    let export = Secret::new([password; 64]);
    AccountKeys::derive(AccountId::new([9; 32]), &export, Some(&code))
}

pub(crate) fn keep(world: &mut World, name: Name, keys: AccountKeys) {
    let command = Command::KeepAccount {
        keys: Box::new(keys),
        vault: None,
        fresh: false,
        renewed: false,
    };
    world.command(name, command);
    world.settle();
}

/// The vault that a phone asked for last, written.
pub(crate) fn written(world: &mut World, name: Name) -> wire::Vault {
    let write = last_due(world, name).expect("a vault was due");
    let version = write.vault.version;
    world.command(name, told_written(version, 0));
    world.settle();
    write.vault
}

/// The relay has a vault, and heard of so many failed logins.
pub(crate) fn told_written(version: u64, failed_logins: u32) -> Command {
    let outcome = VaultOutcome::Written {
        failed_logins,
        failed_day: Day(20_600),
    };
    Command::VaultWritten { version, outcome }
}

pub(crate) fn last_due(world: &mut World, name: Name) -> Option<VaultWrite> {
    let events = world.device(name).events.iter().rev();
    events.clone().find_map(|event| match event {
        Event::VaultDue(write) => Some((**write).clone()),
        _ => None,
    })
}

pub(crate) fn opened(vault: &wire::Vault, keys: &AccountKeys) -> OpenedVault {
    open_vault(&keys.account, &keys.vault, vault).unwrap()
}

/// What mum wrote before she lost her phone.
pub(crate) const BEFORE: &str = "before the lake";

/// Mum has an account with a code, everything is put by, and then her phone is gone.
pub(crate) fn lost(world: &mut World) -> (ConversationId, wire::Vault) {
    let family = world.family();
    world.text("mum", family, BEFORE);
    keep(world, "mum", keys(1, true));
    let vault = written(world, "mum");
    world.disconnect("mum");
    (family, vault)
}

pub(crate) fn come_back(world: &mut World, name: Name, vault: &wire::Vault, keys: AccountKeys) {
    world.add(name);
    world.connect(name);
    let command = Command::ComeBack {
        vault: Box::new(opened(vault, &keys)),
        keys: Box::new(keys),
        renewed: true,
    };
    world.command(name, command);
    world.settle();
}

pub(crate) fn recovery(world: &mut World, name: Name) -> RecoveryStatus {
    let now = world.now;
    world.device(name).engine.recovery_status(now)
}

pub(crate) fn is_in(world: &mut World, name: Name) -> bool {
    world.device(name).engine.member().is_some()
}

pub(crate) fn asked(world: &mut World, name: Name) -> usize {
    world.count(name, |event| matches!(event, Event::ReturnAsked { .. }))
}

#[test]
fn with_the_code_at_once_by_the_tablet_alone() {
    let mut world = World::new();
    let (family, vault) = lost(&mut world);
    let mum = member(&mut world, "mum");
    let room = world.room("dad", &["kid", "dad"], "without mum");
    world.disconnect("dad");
    come_back(&mut world, "new", &vault, keys(1, true));
    assert_eq!(member(&mut world, "new"), mum, "the tablet let it in");
    // The lost phone reads and writes nothing more.
    world.text("kid", family, "is that you?");
    world.text("new", family, "it is");
    world.settle();
    assert!(world.texts("kid").contains(&"it is".to_owned()));
    assert!(world.texts("new").contains(&"is that you?".to_owned()));
    world.connect("mum");
    world.settle();
    assert!(!world.texts("mum").contains(&"is that you?".to_owned()));
    assert!(!is_in(&mut world, "mum"));
    // A surprise stays one.
    let rooms = world.device("new").engine.conversations();
    assert!(rooms.iter().all(|it| it.id != room));
    world.connect("dad");
    world.settle();
    world.text("dad", family, "good to have you back");
    world.settle();
    assert!(
        world
            .texts("new")
            .contains(&"good to have you back".to_owned())
    );
    // What was said before is there again, from the tablet.
    assert!(world.texts("new").contains(&BEFORE.to_owned()));
    // New keys are in the log, and a new vault is due under the same password and code.
    let again = written(&mut world, "new");
    assert!(again.version > vault.version);
    let kept = opened(&again, &keys(1, true));
    let before = opened(&vault, &keys(1, true));
    assert_ne!(kept.request.request_seed, before.request.request_seed);
    let status = recovery(&mut world, "new");
    assert!(status.by_code && status.by_guardian, "{status:?}");
}

#[test]
fn rooms_get_their_guardian_back_too() {
    let mut world = World::new();
    world.family();
    let room = world.room("mum", &["mum", "kid"], "homework");
    world.text("mum", room, "page 12");
    keep(&mut world, "mum", keys(1, true));
    let vault = written(&mut world, "mum");
    world.disconnect("mum");
    come_back(&mut world, "new", &vault, keys(1, true));
    assert!(is_in(&mut world, "new"));
    let back = world.device("new").engine.conversations();
    assert!(back.iter().any(|it| it.id == room), "{back:?}");
    world.text("kid", room, "done");
    world.settle();
    assert!(world.texts("new").contains(&"done".to_owned()));
    assert!(!world.texts("dad").contains(&"done".to_owned()));
}

#[test]
fn in_a_family_of_one_guardian_the_code_is_the_only_way() {
    let mut world = World::new();
    for name in ["mum", "kid"] {
        world.add(name);
    }
    world.connect("mum");
    let found = Command::CreateFamily {
        family_name: "Two".into(),
        guardian_name: "Anna".into(),
    };
    world.command("mum", found);
    world.settle();
    world.pair("mum", "kid", MemberRole::Child, "Mia");
    keep(&mut world, "mum", keys(1, false));
    written(&mut world, "mum");
    let status = recovery(&mut world, "mum");
    assert!(!status.by_code && !status.by_guardian && !status.by_waiting);
    assert!(status.gaps.contains(&RecoveryGap::OnlyGuardian));
    keep(&mut world, "mum", keys(1, true));
    let vault = written(&mut world, "mum");
    let status = recovery(&mut world, "mum");
    assert!(status.by_code && status.gaps.is_empty(), "{status:?}");
    world.disconnect("mum");
    // A guessed password yields nothing here, however long somebody waits.
    come_back(&mut world, "thief", &vault, keys(1, false));
    for _ in 0..30 {
        world.pass(6 * HOUR_MS);
        world.settle();
    }
    assert!(!is_in(&mut world, "thief"));
    assert!(world.texts("thief").is_empty());
    come_back(&mut world, "new", &vault, keys(1, true));
    assert!(is_in(&mut world, "new"));
}

#[test]
fn with_the_password_and_another_guardians_yes() {
    let mut world = World::new();
    let (family, vault) = lost(&mut world);
    let mum = member(&mut world, "mum");
    come_back(&mut world, "new", &vault, keys(1, false));
    assert!(!is_in(&mut world, "new"));
    assert_eq!(
        asked(&mut world, "dad"),
        1,
        "once, by however many it is told"
    );
    assert_eq!(asked(&mut world, "kid"), 0, "children are not asked");
    let new = world.device("new").engine.device();
    let accept = |accept| Command::AnswerReturn {
        device: new,
        accept,
    };
    let pictures = world.device("new").engine.return_pictures().unwrap();
    let shown = |event: &Event| matches!(event, Event::ReturnAsked { pictures: shown, .. } if *shown == pictures);
    assert_eq!(world.count("dad", shown), 1);
    let child = world.try_command("kid", accept(true));
    assert!(matches!(child, Err(CommandError::NotGuardian)));
    world.command("dad", accept(true));
    world.settle();
    assert_eq!(member(&mut world, "new"), mum);
    world.text("new", family, "thank you");
    world.settle();
    assert!(world.texts("new").contains(&BEFORE.to_owned()));
    assert!(world.texts("dad").contains(&"thank you".to_owned()));
    assert!(matches!(
        world.try_command("dad", accept(true)),
        Err(CommandError::NoReturn)
    ));
}

#[test]
fn with_the_password_alone_after_a_day_on_another_guardians_screen() {
    let mut world = World::new();
    let (_, vault) = lost(&mut world);
    let mum = member(&mut world, "mum");
    come_back(&mut world, "new", &vault, keys(1, false));
    // As long as nobody has seen it nothing begins.
    for _ in 0..3 {
        world.pass(30 * HOUR_MS);
        world.settle();
    }
    assert!(!is_in(&mut world, "new"));
    let new = world.device("new").engine.device();
    world.command("dad", Command::ReturnShown { device: new });
    world.settle();
    let asks = world
        .device("kid")
        .engine
        .family_log()
        .unwrap()
        .asks()
        .count();
    assert_eq!(asks, 1, "all of the family know that it was shown");
    world.pass(23 * HOUR_MS);
    world.settle();
    assert!(!is_in(&mut world, "new"), "not before the day is over");
    for _ in 0..4 {
        world.pass(HOUR_MS);
        world.settle();
    }
    assert_eq!(member(&mut world, "new"), mum);
    let device = world.device("new").engine.device();
    let log = world.device("dad").engine.family_log().unwrap();
    assert_eq!(log.came_back(&device), Some(ReturnWay::Waited));
    // A guessed password yields no history, not even so.
    for _ in 0..5 {
        world.pass(12 * HOUR_MS);
        world.settle();
    }
    assert!(!world.texts("new").contains(&BEFORE.to_owned()));
}

#[test]
fn a_veto_ends_it_also_by_the_phone_that_is_not_lost() {
    for by in ["dad", "mum"] {
        let mut world = World::new();
        let (_, vault) = lost(&mut world);
        world.connect("mum");
        come_back(&mut world, "thief", &vault, keys(1, false));
        let own = world.count("mum", |event| {
            matches!(event, Event::ReturnAsked { own: true, .. })
        });
        assert_eq!(own, 1, "who still has a phone sees it");
        let thief = world.device("thief").engine.device();
        world.command("dad", Command::ReturnShown { device: thief });
        world.settle();
        let veto = Command::AnswerReturn {
            device: thief,
            accept: false,
        };
        world.command(by, veto);
        world.settle();
        for _ in 0..10 {
            world.pass(10 * HOUR_MS);
            world.settle();
        }
        assert!(!is_in(&mut world, "thief"), "{by}");
        assert!(is_in(&mut world, "mum"), "{by}");
        assert!(world.texts("thief").is_empty());
    }
}

#[test]
fn a_wish_that_no_key_signed_is_not_heard() {
    let mut world = World::new();
    let (_, vault) = lost(&mut world);
    // Somebody who has the addresses and another key.
    let mut forged = opened(&vault, &keys(1, true));
    forged.request.request_seed = vec![7; 32].into();
    forged.recovery.as_mut().unwrap().recovery_seed = vec![8; 32].into();
    world.add("thief");
    world.connect("thief");
    let command = Command::ComeBack {
        vault: Box::new(forged),
        keys: Box::new(keys(1, true)),
        renewed: true,
    };
    world.command("thief", command);
    world.settle();
    assert!(!is_in(&mut world, "thief"));
    assert_eq!(asked(&mut world, "dad"), 0);
    assert!(world.count("kid", |event| matches!(event, Event::Unreadable { .. })) > 0);
}

#[test]
fn a_wish_that_would_hold_for_long_is_not_heard() {
    let mut world = World::new();
    let (_, vault) = lost(&mut world);
    for name in ["dad", "kid"] {
        world.disconnect(name);
    }
    // A guesser's clock says what it likes.
    let today = world.now;
    world.now = today.plus_ms(30 * 24 * HOUR_MS);
    come_back(&mut world, "guesser", &vault, keys(1, false));
    world.disconnect("guesser");
    world.now = today;
    for name in ["dad", "kid"] {
        world.connect(name);
        world.settle();
        assert_eq!(world.device(name).engine.returns().count(), 0, "{name}");
    }
    assert_eq!(asked(&mut world, "dad"), 0);
    // What its owner asks is heard.
    come_back(&mut world, "new", &vault, keys(1, false));
    assert_eq!(asked(&mut world, "dad"), 1);
}

#[test]
fn when_the_family_has_moved_on_whoever_comes_back_is_told() {
    let mut world = World::new();
    world.family();
    world.add("sis");
    world.pair("mum", "sis", MemberRole::Child, "Eva");
    world.settle();
    keep(&mut world, "mum", keys(1, true));
    let vault = written(&mut world, "mum");
    world.disconnect("mum");
    // A tablet is put out: all others change their addresses, and nobody is left who puts them by.
    let device = world.device("sis").engine.device();
    world.disconnect("sis");
    world.command("dad", Command::RemoveDevice { device });
    world.settle();
    come_back(&mut world, "new", &vault, keys(1, true));
    for _ in 0..5 {
        world.pass(HOUR_MS);
        world.settle();
    }
    assert!(!is_in(&mut world, "new"));
    let told = world.count("new", |event| *event == Event::ReturnUnheard);
    assert_eq!(told, 1);
    // The guardian who is left pairs it.
    world.add("again");
    world.pair("dad", "again", MemberRole::Guardian, "Anna again");
    world.settle();
    assert!(is_in(&mut world, "again"));
}

#[test]
fn it_goes_on_after_each_death_of_the_new_phone() {
    for output in 1..40 {
        let mut world = World::seeded(7);
        let (_, vault) = lost(&mut world);
        world.add("new");
        world.connect("new");
        let outputs = world.device("new").outputs;
        world.kill = Some(super::world::Kill {
            name: "new",
            output: outputs + output,
            sent: output % 2 == 0,
        });
        let command = Command::ComeBack {
            vault: Box::new(opened(&vault, &keys(1, true))),
            keys: Box::new(keys(1, true)),
            renewed: true,
        };
        world.command("new", command);
        world.settle();
        if world.killed == 0 {
            assert!(output > 3);
            return;
        }
        world.pass(700_000);
        world.settle();
        assert!(is_in(&mut world, "new"), "killed at output {output}");
    }
}

#[test]
fn the_decision_says_how_and_what_was_lost_is_out() {
    let mut world = World::new();
    let (_, vault) = lost(&mut world);
    come_back(&mut world, "new", &vault, keys(1, true));
    let device = world.device("new").engine.device();
    let decided = |event: &Event| {
        matches!(event, Event::Decided { decision: Decision::Return(Return { device: new, way }), .. }
            if *way == ReturnWay::Code && new.device == device)
    };
    for name in ["dad", "kid"] {
        assert_eq!(world.count(name, decided), 1, "{name}");
    }
}

#[test]
fn friends_go_on_hearing_of_a_family_whose_only_guardian_is_back() {
    let mut world = World::new();
    world.family();
    world.second_family();
    world.meet("mum", "kid", "ana", "leo");
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    world.settle();
    let contact = world.contact("kid");
    keep(&mut world, "ana", keys(1, true));
    let vault = written(&mut world, "ana");
    let link = world.link("ana");
    world.disconnect("ana");
    come_back(&mut world, "new", &vault, keys(1, true));
    world.settle();
    let back = world.device("new").engine.conversations();
    assert!(back.iter().any(|it| it.id == link), "{back:?}");
    // Three weeks, longer than any lease: each family hears the other's guardians.
    for _ in 0..21 {
        world.pass(24 * HOUR_MS);
        world.settle();
    }
    world.text("kid", contact, "are you there?");
    world.text("leo", contact, "I am");
    world.settle();
    assert!(world.texts("leo").contains(&"are you there?".to_owned()));
    assert!(world.texts("kid").contains(&"I am".to_owned()));
    // The lost phone is out of the link too.
    let old = world.device("ana").engine.device();
    let links = world.device("mum").engine.conversations();
    let link = links.iter().find(|it| it.id == link).unwrap();
    assert!(
        link.members
            .iter()
            .all(|member| !member.devices.contains(&old)),
        "{link:?}"
    );
}

#[test]
fn phone_and_tablet_lost_and_one_tablet_is_left() {
    let mut world = World::new();
    let family = world.family();
    world.add("sis");
    world.pair("mum", "sis", MemberRole::Child, "Eva");
    world.settle();
    let room = world.room("mum", &["mum", "kid"], "homework");
    world.text("mum", family, BEFORE);
    world.text("kid", room, "page 12");
    world.settle();
    keep(&mut world, "mum", keys(1, true));
    let vault = written(&mut world, "mum");
    for name in ["mum", "dad", "kid"] {
        world.disconnect(name);
    }
    come_back(&mut world, "new", &vault, keys(1, true));
    assert!(is_in(&mut world, "new"));
    // Those who are gone are asked first, and do not answer.
    for _ in 0..20 {
        world.pass(HOUR_MS / 4);
        world.settle();
    }
    assert!(world.texts("new").contains(&BEFORE.to_owned()));
    // The child's lost tablet goes out, and a new one comes in, where it was before.
    let lost = world.device("kid").engine.device();
    world.command("new", Command::RemoveDevice { device: lost });
    world.settle();
    world.add("kid2");
    world.pair("new", "kid2", MemberRole::Child, "Mia");
    world.settle();
    assert!(world.texts("kid2").contains(&BEFORE.to_owned()));
    // Nobody who was in the room is left: it does not come back, and who asks is told so before.
    let rooms = world.device("kid2").engine.conversations();
    assert!(rooms.iter().all(|it| it.id != room));
}

#[test]
fn when_every_device_is_lost_nobody_answers_and_that_was_said_before() {
    let mut world = World::new();
    world.add("mum");
    world.connect("mum");
    let found = Command::CreateFamily {
        family_name: "One".into(),
        guardian_name: "Anna".into(),
    };
    world.command("mum", found);
    world.settle();
    keep(&mut world, "mum", keys(1, true));
    let status = recovery(&mut world, "mum");
    assert!(status.gaps.contains(&RecoveryGap::NobodyElse), "{status:?}");
    assert!(!status.by_code);
    let vault = written(&mut world, "mum");
    world.disconnect("mum");
    come_back(&mut world, "new", &vault, keys(1, true));
    for _ in 0..10 {
        world.pass(24 * HOUR_MS);
        world.settle();
    }
    assert!(!is_in(&mut world, "new"));
    assert!(world.device("new").engine.is_returning());
}

#[test]
fn a_yes_is_to_the_device_that_was_compared_and_to_no_other() {
    let mut world = World::new();
    let (_, vault) = lost(&mut world);
    let mum = member(&mut world, "mum");
    come_back(&mut world, "new", &vault, keys(1, false));
    // Whoever guessed the password asks too, later, and calls its device the same.
    come_back(&mut world, "thief", &vault, keys(1, false));
    assert_eq!(asked(&mut world, "dad"), 2);
    let new = world.device("new").engine.device();
    let accept = Command::AnswerReturn {
        device: new,
        accept: true,
    };
    world.command("dad", accept);
    world.settle();
    assert_eq!(member(&mut world, "new"), mum);
    for _ in 0..10 {
        world.pass(10 * HOUR_MS);
        world.settle();
    }
    assert!(!is_in(&mut world, "thief"));
    assert_eq!(world.device("dad").engine.returns().count(), 0);
}

#[test]
fn a_second_try_in_a_new_folder_is_let_in_in_place_of_the_first() {
    let mut world = World::new();
    let (_, vault) = lost(&mut world);
    for name in ["dad", "kid"] {
        world.disconnect(name);
    }
    world.add("first");
    world.connect("first");
    let command = Command::ComeBack {
        vault: Box::new(opened(&vault, &keys(1, true))),
        keys: Box::new(keys(1, true)),
        renewed: true,
    };
    world.command("first", command);
    world.disconnect("first");
    // They let in whoever asked, and nobody is there to hear of it.
    for name in ["dad", "kid"] {
        world.connect(name);
    }
    world.settle();
    let first = world.device("first").engine.device();
    let log = world.device("kid").engine.family_log().unwrap();
    assert!(log.certificate(&first).is_some());
    come_back(&mut world, "second", &vault, keys(1, true));
    assert!(is_in(&mut world, "second"));
}
