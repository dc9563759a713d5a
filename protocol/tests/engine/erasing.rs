//! A child, or a family, is erased everywhere.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kinline_protocol::engine::CommandError;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::ids::MemberId;

use super::world::{Kill, Name, World};

const DAY_MS: u64 = 24 * 3_600_000;

fn member(world: &mut World, name: Name) -> MemberId {
    world.device(name).engine.member().unwrap()
}

fn is_member(world: &mut World, seen_by: Name, member: MemberId) -> bool {
    let log = world.device(seen_by).engine.family_log().unwrap();
    log.members().contains_key(&member)
}

fn is_over(world: &mut World, name: Name) -> bool {
    let told = world.count(name, |event| matches!(event, Event::Erased { .. }));
    let over = world.device(name).engine.is_erased();
    assert_eq!(told > 0, over, "{name}");
    over
}

#[test]
fn a_child_is_erased_on_its_tablet_at_the_relay_and_where_it_spoke() {
    let mut world = World::new();
    let family = world.family();
    world.text("kid", family, "mine");
    world.text("mum", family, "hers");
    world.settle();
    let kid = member(&mut world, "kid");
    let mailbox = world.mailbox("kid");
    let erase = Command::EraseMember {
        member: kid,
        messages: true,
    };
    world.command("mum", erase);
    world.settle();
    assert!(is_over(&mut world, "kid"));
    let backups = world.count(
        "kid",
        |event| matches!(event, Event::Erased { backups_end: Some(day) } if day.0 == 20_900),
    );
    assert_eq!(backups, 1);
    assert!(!world.relay.mailboxes.contains_key(&mailbox));
    for name in ["mum", "dad"] {
        assert!(!is_member(&mut world, name, kid), "{name}");
        assert_eq!(world.texts(name), ["hers"], "{name}");
        assert!(!is_over(&mut world, name));
        assert!(world.device(name).engine.erasures().is_empty());
    }
    // After a start it says so again, and attaches nowhere.
    world.restart("kid");
    world.connect("kid");
    assert!(is_over(&mut world, "kid"));
    world.text("mum", family, "life goes on");
    world.settle();
    assert!(world.texts("dad").contains(&"life goes on".into()));
}

fn erase_and_die(kill: Option<(Name, usize, bool)>) -> [usize; 2] {
    let names: [Name; 2] = ["mum", "kid"];
    let mut world = World::new();
    world.frame_by_frame = true;
    let family = world.family();
    world.text("kid", family, "mine");
    world.settle();
    let kid = member(&mut world, "kid");
    let before = names.map(|name| world.devices[name].outputs);
    world.kill = kill.map(|(name, after, sent)| Kill {
        name,
        output: world.devices[name].outputs + after,
        sent,
    });
    let erase = Command::EraseMember {
        member: kid,
        messages: true,
    };
    world.command("mum", erase);
    world.settle();
    world.kill = None;
    world.settle();
    assert!(world.device("kid").engine.is_erased());
    for name in ["mum", "dad"] {
        assert!(!is_member(&mut world, name, kid), "{name}");
        assert!(world.texts(name).is_empty(), "{name}");
    }
    let after = names.map(|name| world.devices[name].outputs);
    [after[0] - before[0], after[1] - before[1]]
}

#[test]
fn it_is_carried_out_wherever_a_device_dies() {
    let outputs = erase_and_die(None);
    for (place, name) in ["mum", "kid"].into_iter().enumerate() {
        for after in 1..=outputs[place] {
            for sent in [false, true] {
                let kill = Some((name, after, sent));
                let lived = catch_unwind(AssertUnwindSafe(|| erase_and_die(kill)));
                assert!(lived.is_ok(), "{name} died at {after}, sent: {sent}");
            }
        }
    }
}

#[test]
fn a_relay_that_never_answers_keeps_no_tablet_from_being_wiped() {
    const MINUTE: u64 = 60_000;
    let mut world = World::new();
    world.family();
    let kid = member(&mut world, "kid");
    world.relay.answer_erasures = false;
    let erase = Command::EraseMember {
        member: kid,
        messages: false,
    };
    world.command("mum", erase);
    world.pass(MINUTE);
    assert!(!is_over(&mut world, "kid"));
    // Another connection asks again, and gives the relay its time again.
    world.pass(MINUTE + 30_000);
    world.disconnect("kid");
    world.connect("kid");
    world.pass(MINUTE);
    assert!(!is_over(&mut world, "kid"));
    world.pass(MINUTE);
    assert!(is_over(&mut world, "kid"));
    let told = world.count("kid", |event| {
        matches!(event, Event::Erased { backups_end: None })
    });
    assert_eq!(told, 1);
}

#[test]
fn a_tablet_that_is_off_is_cut_off_after_three_days_and_wiped_when_it_hears() {
    let mut world = World::new();
    world.family();
    let kid = member(&mut world, "kid");
    let tablet = world.device("kid").engine.device();
    let mailbox = world.mailbox("kid");
    world.disconnect("kid");
    let erase = Command::EraseMember {
        member: kid,
        messages: false,
    };
    world.command("mum", erase);
    for _ in 0..2 {
        world.pass(DAY_MS);
        world.settle();
        assert!(is_member(&mut world, "mum", kid), "it may still hear of it");
        let waits = world.device("mum").engine.erasure_waits_for(Some(kid));
        assert_eq!(waits, [tablet]);
    }
    world.restart("mum");
    world.connect("mum");
    world.pass(DAY_MS);
    world.settle();
    assert!(!is_member(&mut world, "dad", kid));
    assert!(world.relay.closed.contains(&mailbox));
    // This relay still hands out what waits there; one that does not is heard as gone.
    world.connect("kid");
    world.settle();
    assert!(is_over(&mut world, "kid"));
}

#[test]
fn only_guardians_erase_and_only_children() {
    let mut world = World::new();
    world.family();
    let (kid, dad) = (member(&mut world, "kid"), member(&mut world, "dad"));
    let erase = |member| Command::EraseMember {
        member,
        messages: true,
    };
    let refused = world.try_command("kid", erase(kid));
    assert!(matches!(refused, Err(CommandError::NotGuardian)));
    let refused = world.try_command("kid", Command::EraseFamily);
    assert!(matches!(refused, Err(CommandError::NotGuardian)));
    let refused = world.try_command("mum", erase(dad));
    assert!(matches!(refused, Err(CommandError::NoMember)));
}

#[test]
fn a_family_goes_with_each_guardian_saying_it_for_themselves() {
    let mut world = World::new();
    world.family();
    world.command("mum", Command::EraseFamily);
    world.settle();
    assert!(is_over(&mut world, "kid"));
    assert!(is_over(&mut world, "mum"), "once the tablet has heard");
    assert!(!is_over(&mut world, "dad"), "his phone is his");
    let asked = |event: &Event| matches!(event, Event::EraseAsked { member: None, .. });
    assert_eq!(world.count("dad", asked), 1);
    world.command("dad", Command::EraseFamily);
    for _ in 0..4 {
        world.pass(DAY_MS);
        world.settle();
    }
    assert!(is_over(&mut world, "dad"));
    assert!(world.relay.mailboxes.is_empty(), "nothing is left");
}
