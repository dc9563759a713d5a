//! What a family lives through, as far as it needs no socket.

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::engine::view::Receipt;
use kinline_protocol::limits;

use super::world::World;

#[test]
fn a_family_forms_and_everyone_knows_everyone() {
    let mut world = World::new();
    let family = world.family();
    for name in ["mum", "dad", "kid"] {
        let conversations = world.device(name).engine.conversations();
        assert_eq!(conversations.len(), 1);
        assert_eq!(conversations[0].id, family);
        let names: Vec<_> = conversations[0]
            .members
            .iter()
            .map(|member| member.name.as_str())
            .collect();
        for expected in ["Anna", "Ben", "Mia"] {
            assert!(names.contains(&expected), "{name} sees {names:?}");
        }
    }
    let told = |event: &Event| matches!(event, Event::DeviceAdded { name, .. } if name == "Ben");
    assert!(
        world.device("kid").events.iter().any(told),
        "the child's tablet is told of the second guardian"
    );
}

#[test]
fn texts_arrive_once_in_order_and_are_confirmed() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "Hello 👋");
    world.text("kid", family, "שלום");
    world.text("dad", family, &"long ".repeat(1_000));
    world.settle();
    for name in ["mum", "dad", "kid"] {
        let texts = world.texts(name);
        assert_eq!(texts.len(), 3, "{name}");
        assert!(texts.contains(&"שלום".to_owned()));
    }
    world.command(
        "kid",
        Command::MarkRead {
            conversation: family,
        },
    );
    world.settle();
    let kid = world.device("kid").engine.device();
    let dad = world.device("dad").engine.device();
    let mine = world
        .screen("mum")
        .into_iter()
        .find(|view| view.mine)
        .unwrap();
    assert_eq!(mine.receipts[&kid], Receipt::Read);
    assert_eq!(mine.receipts[&dad], Receipt::Delivered);
    assert_eq!(world.device("mum").engine.counters().unconfirmed, 0);
    assert!(
        world
            .relay
            .mailboxes
            .values()
            .all(std::collections::VecDeque::is_empty)
    );
    assert!(
        world.relay.blobs.is_empty(),
        "overflow blobs are deleted when everyone has them"
    );
}

#[test]
fn fifty_messages_wait_for_a_tablet_that_is_off() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("kid");
    for n in 0..50 {
        world.text(
            if n % 2 == 0 { "mum" } else { "dad" },
            family,
            &format!("{n}"),
        );
    }
    world.restart("kid");
    world.connect("kid");
    world.settle();
    let texts = world.texts("kid");
    assert_eq!(texts.len(), 50);
    for sender in 0..2 {
        let of: Vec<usize> = texts
            .iter()
            .map(|t| t.parse().unwrap())
            .filter(|n| n % 2 == sender)
            .collect();
        assert!(of.is_sorted());
    }
}

#[test]
fn written_offline_while_the_conversation_moves_on() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("dad");
    world.text("dad", family, "from the train");
    world.restart("dad");
    for n in 0..6 {
        let who = if n % 2 == 0 { "mum" } else { "kid" };
        world.command(
            who,
            Command::SelfUpdate {
                conversation: family,
            },
        );
        world.settle();
    }
    let before = world.device("dad").engine.conversations()[0].epoch;
    let after = world.device("mum").engine.conversations()[0].epoch;
    assert_eq!(after, before + 6);
    world.connect("dad");
    world.settle();
    assert_eq!(world.device("dad").engine.conversations()[0].epoch, after);
    for name in ["mum", "kid"] {
        assert_eq!(world.texts(name), ["from the train"], "{name}");
    }
}

#[test]
fn two_commits_at_once_converge() {
    let mut world = World::new();
    let family = world.family();
    for name in ["mum", "dad", "kid"] {
        world.disconnect(name);
    }
    for name in ["mum", "dad", "kid"] {
        world.self_update(name, family);
    }
    for name in ["mum", "dad", "kid"] {
        world.connect(name);
    }
    world.settle();
    let epochs: Vec<u64> = ["mum", "dad", "kid"]
        .map(|name| world.device(name).engine.conversations()[0].epoch)
        .to_vec();
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    world.text("kid", family, "still here");
    world.settle();
    assert_eq!(world.texts("dad"), ["still here"]);
}

#[test]
fn a_commit_whose_answer_was_lost_is_still_ours() {
    let mut world = World::new();
    let family = world.family();
    world.relay.answer_sends = false;
    world.self_update("mum", family);
    world.restart("mum");
    world.relay.answer_sends = true;
    world.connect("mum");
    world.settle();
    world.text("mum", family, "after");
    world.settle();
    assert_eq!(world.texts("kid"), ["after"]);
    assert!(world.device("mum").engine.is_settled());
}

#[test]
fn what_the_relay_drops_is_asked_for_again() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "one");
    world.settle();
    world.relay.drop_next = 2;
    world.text("mum", family, "two");
    world.text("mum", family, "three");
    world.settle();
    assert_eq!(world.texts("kid"), ["one", "two", "three"]);
    assert_eq!(world.texts("dad"), ["one", "two", "three"]);
}

#[test]
fn a_full_mailbox_is_named_and_the_others_get_theirs() {
    let mut world = World::new();
    let family = world.family();
    let mailbox = world.mailbox("kid");
    world.relay.full = Some(mailbox);
    for name in ["mum", "dad", "kid"] {
        world.text(name, family, name);
    }
    let named = |event: &Event| matches!(event, Event::RecipientRefused { .. });
    let refused = world
        .devices
        .values()
        .filter(|device| device.events.iter().any(named))
        .count();
    assert_eq!(refused, 2, "both others are told");
    world.relay.full = None;
    world.settle();
    for name in ["mum", "dad", "kid"] {
        assert_eq!(world.texts(name).len(), 3, "{name}");
    }
}

#[test]
fn edits_deletions_and_reactions_by_their_authors_only() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "dinner at six");
    world.settle();
    let target = world.screen("kid")[0].content;
    let edit = |text: &str| Body::Edit {
        target,
        text: text.into(),
    };
    let denied = world.try_command(
        "kid",
        Command::Send {
            conversation: family,
            body: edit("sweets at six"),
            reply_to: None,
            disappear_seconds: 0,
            blob: None,
        },
    );
    assert!(denied.is_err());
    world.say("mum", family, edit("dinner at seven"));
    world.say(
        "kid",
        family,
        Body::Reaction {
            target,
            emoji: "👍".into(),
        },
    );
    world.settle();
    let view = &world.screen("dad")[0];
    assert_eq!(view.edited.as_deref(), Some("dinner at seven"));
    assert_eq!(view.reactions.values().collect::<Vec<_>>(), ["👍"]);
    world.say("mum", family, Body::Delete { target });
    world.settle();
    for name in ["mum", "dad", "kid"] {
        let view = &world.screen(name)[0];
        assert!(
            view.body.is_none() && view.edited.is_none() && view.reactions.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn disappearing_messages_disappear_on_every_screen() {
    let mut world = World::new();
    let family = world.family();
    world.command(
        "kid",
        Command::Send {
            conversation: family,
            body: Body::Text {
                text: "rosebud".into(),
            },
            reply_to: None,
            disappear_seconds: 600,
            blob: None,
        },
    );
    world.settle();
    assert_eq!(world.texts("mum"), ["rosebud"]);
    world.restart("mum");
    world.pass(600_000);
    for name in ["mum", "dad", "kid"] {
        assert!(world.texts(name).is_empty(), "{name}");
        let store = &world.device(name).store;
        assert!(
            store
                .values()
                .all(|value| !value.windows(7).any(|window| window == b"rosebud")),
            "{name}"
        );
    }
}

#[test]
fn a_room_of_two_and_nobody_else_reads_it() {
    let mut world = World::new();
    let family = world.family();
    let members = vec![world.device("kid").engine.member().unwrap()];
    world.command(
        "mum",
        Command::CreateConversation {
            title: "Surprise".into(),
            members,
        },
    );
    world.settle();
    let room = world
        .device("kid")
        .engine
        .conversations()
        .into_iter()
        .find(|c| c.title == "Surprise")
        .unwrap()
        .id;
    assert_ne!(room, family);
    world.text("kid", room, "for dad's birthday");
    world.settle();
    assert_eq!(world.texts("mum"), ["for dad's birthday"]);
    assert!(world.texts("dad").is_empty());
    assert_eq!(world.device("dad").engine.conversations().len(), 1);
}

#[test]
fn a_gap_is_shown_after_an_hour_not_before() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "one");
    world.settle();
    world.relay.drop_next = 2;
    world.text("mum", family, "lost");
    world.disconnect("mum");
    // What mum writes later is not there; only another of her messages shows that one is missing.
    world.connect("mum");
    let has_gap = |world: &mut World| {
        world
            .device("kid")
            .events
            .iter()
            .any(|e| matches!(e, Event::Gap { .. }))
    };
    world.relay.drop_next = 0;
    world.text("mum", family, "three");
    world.disconnect("mum");
    world.pass(limits::GAP_HOLD_MS - 200_000);
    assert!(!has_gap(&mut world));
    assert_eq!(world.texts("kid"), ["one"]);
    world.pass(400_000);
    assert!(has_gap(&mut world));
    assert_eq!(world.texts("kid"), ["one", "three"]);
}

#[test]
fn typing_is_seen_by_who_is_there() {
    let mut world = World::new();
    let family = world.family();
    world.command(
        "kid",
        Command::Typing {
            conversation: family,
        },
    );
    let typing = |event: &Event| matches!(event, Event::Typing { .. });
    assert!(world.device("mum").events.iter().any(typing));
    assert!(world.device("dad").events.iter().any(typing));
}
