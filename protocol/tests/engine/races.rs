//! Commits that lose, commits learned of by another way than their own answer, and a
//! family log that comes ahead of its conversation.

use kinline_protocol::engine::io::{Command, Event, MemberRole};

use super::life::{NAMES, check_agreement};
use super::world::World;
use kinline_protocol::pairing::CodeKind;

fn refusals(world: &mut World) -> usize {
    let refused = |event: &Event| matches!(event, Event::Refused { .. });
    let names: Vec<_> = world.devices.keys().copied().collect();
    names
        .into_iter()
        .map(|name| world.count(name, refused))
        .sum()
}

#[test]
fn an_offer_lost_by_walking_is_made_again_and_the_old_one_never() {
    let mut world = World::new();
    let family = world.family();
    let before = world.epoch("mum", family);
    world.relay.hold_sends_of = Some("mum");
    world.self_update("mum", family);
    world.self_update("dad", family);
    // Mum walked dad's commit while the answer to her own offer was outstanding.
    assert_eq!(world.epoch("mum", family), before + 1);
    world.relay.serve_held();
    world.settle();
    assert_eq!(
        world.epoch("mum", family),
        before + 2,
        "her own change came after all"
    );
    check_agreement(&mut world);
    assert_eq!(refusals(&mut world), 0);
    world.text("mum", family, "and on");
    world.settle();
    assert_eq!(world.texts("kid"), ["and on"]);
    assert!(
        NAMES
            .iter()
            .all(|name| world.devices[name].engine.is_settled())
    );
}

#[test]
fn an_offer_lost_by_walking_is_forgotten_when_the_process_dies() {
    let mut world = World::new();
    let family = world.family();
    let before = world.epoch("mum", family);
    world.relay.hold_sends_of = Some("mum");
    world.self_update("mum", family);
    world.self_update("dad", family);
    world.relay.hold_sends_of = None;
    world.restart("mum");
    world.connect("mum");
    world.settle();
    assert_eq!(world.epoch("mum", family), before + 2);
    check_agreement(&mut world);
    assert_eq!(refusals(&mut world), 0);
}

#[test]
fn many_lost_races_leave_the_address_in_the_tree_open() {
    let mut world = World::new();
    let family = world.family();
    world.relay.hold_sends_of = Some("mum");
    world.self_update("mum", family);
    for _ in 0..5 {
        world.self_update("dad", family);
    }
    world.text("dad", family, "can you read me?");
    let unreadable = |event: &Event| matches!(event, Event::Unreadable { .. });
    assert_eq!(world.texts("mum"), ["can you read me?"]);
    assert_eq!(world.count("mum", unreadable), 0);
    world.relay.serve_held();
    world.settle();
    check_agreement(&mut world);
    assert_eq!(refusals(&mut world), 0);
}

#[test]
fn a_denied_win_is_still_a_win() {
    let mut world = World::new();
    let family = world.family();
    // The relay keeps mum's commit, and tells her that something void won.
    world.relay.deny_wins = 1;
    world.self_update("mum", family);
    world.settle();
    world.disconnect("mum");
    world.connect("mum");
    world.settle();
    check_agreement(&mut world);
    world.text("mum", family, "still in");
    world.text("kid", family, "me too");
    world.settle();
    assert_eq!(world.texts("dad"), ["still in", "me too"]);
    assert_eq!(world.texts("mum").len(), 2);
}

#[test]
fn a_room_may_bring_the_family_log_before_the_family_conversation_does() {
    let mut world = World::new();
    let family = world.family();
    // The tablet never hears that a second tablet was added: the look is lost.
    world.add("sis");
    let kid = world.mailbox("kid");
    world.relay.drop_for = Some(kid);
    world.pair("dad", "sis", MemberRole::Child, "Eva");
    world.relay.drop_for = None;
    let room = world.room("mum", &["kid"], "Two");
    world.text("mum", room, "look");
    world.settle();
    assert_eq!(world.texts("kid"), ["look"]);
    world.text("dad", family, "Eva is here");
    world.settle();
    let mut read = world.texts("kid");
    read.sort();
    assert_eq!(read, ["Eva is here", "look"]);
    assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
    assert_eq!(refusals(&mut world), 0);
}

#[test]
fn a_welcome_waits_until_the_invited_one_has_read_it() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "before");
    world.settle();
    let mailbox = world.mailbox("kid");
    world.relay.paused = Some(mailbox);
    let members = vec![world.device("kid").engine.member().unwrap()];
    world.command(
        "mum",
        Command::CreateConversation {
            title: "Two".into(),
            members,
        },
    );
    // The tablet speaks before it has read the welcome: that says nothing about the welcome.
    world.pass(1_000);
    world.text("kid", family, "hi");
    world.command(
        "kid",
        Command::MarkRead {
            conversation: family,
        },
    );
    world.pass(120_000);
    world.relay.unpause();
    world.settle();
    assert_eq!(world.device("kid").engine.conversations().len(), 2);
    let unreadable = |event: &Event| matches!(event, Event::Unreadable { .. });
    assert_eq!(world.count("kid", unreadable), 0);
}

#[test]
fn a_device_that_died_while_it_was_paired_can_be_paired_again() {
    let mut world = World::new();
    for name in ["mum", "kid"] {
        world.add(name);
    }
    world.connect("mum");
    world.command(
        "mum",
        Command::CreateFamily {
            family_name: "Reed".into(),
            guardian_name: "Anna".into(),
        },
    );
    world.command(
        "mum",
        Command::StartPairing {
            role: MemberRole::Child,
            name: "Mia".into(),
            by: CodeKind::Qr,
        },
    );
    let code = world
        .device("mum")
        .events
        .iter()
        .find_map(|event| match event {
            Event::PairingCode { code } => Some(code.clone()),
            _ => None,
        });
    world.connect("kid");
    world.command(
        "kid",
        Command::JoinByCode {
            code: code.unwrap(),
        },
    );
    world.restart("kid");
    world.command("mum", Command::AnswerPairing { accept: true });
    world.settle();
    world.disconnect("mum");
    world.pair("mum", "kid", MemberRole::Child, "Mia");
    assert_eq!(world.device("kid").engine.conversations().len(), 1);
    assert_eq!(refusals(&mut world), 0);
}

#[test]
fn a_win_that_is_called_somebody_elses_is_still_a_win() {
    let mut world = World::new();
    let family = world.family();
    world.relay.deny_wins = 1;
    world.relay.deny_by_name = true;
    world.self_update("mum", family);
    world.settle();
    check_agreement(&mut world);
    world.text("mum", family, "still in");
    world.settle();
    assert_eq!(world.texts("dad"), ["still in"]);
    assert!(world.device("mum").engine.is_settled());
}

#[test]
fn what_is_written_into_a_room_before_it_stands_arrives() {
    let mut world = World::new();
    world.family();
    world.disconnect("mum");
    let members = vec![world.device("kid").engine.member().unwrap()];
    world.command(
        "mum",
        Command::CreateConversation {
            title: "Two".into(),
            members,
        },
    );
    let room = world.conversation("mum", "Two");
    world.text("mum", room, "one");
    world.restart("mum");
    world.text("mum", room, "two");
    world.connect("mum");
    world.settle();
    world.text("kid", room, "three");
    world.settle();
    assert_eq!(world.texts("kid"), ["one", "two", "three"]);
    assert_eq!(world.texts("mum"), ["one", "two", "three"]);
    assert!(world.texts("dad").is_empty());
}
