//! Devices that can't follow any more come back as new leaves, and say what they miss.

use std::collections::{BTreeMap, BTreeSet};

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event, MemberRole, RecordKey};
use kinline_protocol::identity::{Decision, Settings};
use kinline_protocol::ids::{ContentId, ConversationId};

use super::world::{Name, World};

#[test]
fn a_restored_copy_comes_back_as_a_new_leaf_and_reuses_nothing() {
    let mut world = World::new();
    let family = world.family();
    let room = world.room("mum", &["kid"], "Two");
    world.text("kid", family, "before");
    world.settle();
    let copy = world.device("kid").store.clone();
    for n in 0..5 {
        world.text("kid", family, &format!("kid {n}"));
        world.text("mum", family, &format!("mum {n}"));
        world.settle();
    }
    world.disconnect("kid");
    world.text("mum", family, "while it is off");
    world.device("kid").store = copy;
    world.relay.knows_copies = true;
    world.restart("kid");
    world.text("kid", family, "written on the copy");
    let mailbox = world.mailbox("kid");
    let sent = world.relay.seen.len();
    world.connect("kid");
    assert_eq!(world.count("kid", |event| *event == Event::StaleStore), 1);
    assert!(!world.device("kid").engine.is_attached());
    assert_ne!(world.mailbox("kid"), mailbox, "it draws a new mailbox");
    assert_eq!(world.relay.seen.len(), sent, "nothing leaves the old leaf");
    world.connect("kid");
    world.settle();
    let back = |event: &Event| matches!(event, Event::BackIn { .. });
    assert_eq!(world.count("kid", back), 2, "into both conversations");
    assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
    assert_eq!(world.epoch("kid", room), world.epoch("mum", room));
    for name in ["mum", "dad"] {
        let texts = world.texts(name);
        let copied = texts.iter().filter(|text| *text == "written on the copy");
        assert_eq!(copied.count(), 1, "{name} reads {texts:?}");
        // A key that was used before would open nothing there.
        let unreadable = |event: &Event| matches!(event, Event::Unreadable { .. });
        assert_eq!(world.count(name, unreadable), 0, "{name}");
    }
    assert!(world.texts("kid").contains(&"while it is off".to_owned()));
    world.text("kid", room, "here I am");
    world.text("mum", room, "and I");
    world.settle();
    assert!(world.texts("mum").contains(&"here I am".to_owned()));
    assert!(world.texts("kid").contains(&"and I".to_owned()));
    world.restart("kid");
    world.connect("kid");
    world.text("kid", family, "and again");
    world.settle();
    assert!(world.texts("dad").contains(&"and again".to_owned()));
    assert!(world.device("kid").engine.is_settled());
}

#[test]
fn a_copy_from_before_others_moved_on_finds_them() {
    let mut world = World::new();
    let family = world.family();
    let copy = world.device("kid").store.clone();
    world.text("kid", family, "after the copy");
    world.settle();
    world.disconnect("kid");
    // More often than anybody keeps an address open.
    for _ in 0..5 {
        for name in ["mum", "dad"] {
            world.self_update(name, family);
            world.settle();
        }
    }
    world.device("kid").store = copy;
    world.relay.knows_copies = true;
    world.restart("kid");
    world.connect("kid");
    assert_eq!(world.count("kid", |event| *event == Event::StaleStore), 1);
    world.connect("kid");
    world.settle();
    let back = |event: &Event| matches!(event, Event::BackIn { .. });
    assert_eq!(world.count("kid", back), 1);
    assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
    world.text("kid", family, "here I am");
    world.settle();
    assert!(world.texts("dad").contains(&"here I am".to_owned()));
}

#[test]
fn a_device_whose_slots_are_withheld_says_so_and_comes_back() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("kid");
    world.self_update("mum", family);
    world.settle();
    // The relay shows the tablet nothing of what followed.
    world.relay.withholds_slots_from = Some("kid");
    world.connect("kid");
    world.text("mum", family, "after it");
    world.text("kid", family, "can you hear me?");
    world.settle();
    for _ in 0..4 {
        world.pass(61_000);
        world.settle();
    }
    let forked = |event: &Event| matches!(event, Event::Forked { .. });
    assert_eq!(world.count("kid", forked), 1);
    assert_eq!(
        world.count("kid", |event| matches!(event, Event::BackIn { .. })),
        1
    );
    world.settle();
    assert!(world.texts("mum").contains(&"can you hear me?".to_owned()));
    world.relay.withholds_slots_from = None;
    world.disconnect("kid");
    world.connect("kid");
    world.settle();
    assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
}

#[test]
fn a_slot_that_the_relay_can_not_read_keeps_no_other_conversation_waiting_and_is_left_behind() {
    let mut world = World::new();
    let family = world.family();
    let room = world.room("mum", &["kid"], "Plans");
    world.settle();
    world.disconnect("kid");
    world.self_update("mum", family);
    world.settle();
    // What ended the family's epoch is damaged on the relay's disk.
    let before: Vec<Vec<u8>> = world.relay.slots.keys().cloned().collect();
    world.relay.damaged_slots = before.into_iter().collect();
    world.text("mum", family, "after it");
    world.text("mum", room, "in the room");
    world.settle();
    world.connect("kid");
    for _ in 0..8 {
        world.pass(61_000);
        world.settle();
    }
    assert!(world.texts("kid").contains(&"in the room".to_owned()));
    let refused = |event: &Event| matches!(event, Event::Refused { sentence, .. } if sentence.contains("the relay can't read"));
    assert!(world.count("kid", refused) >= 1);
    let back = |event: &Event| matches!(event, Event::BackIn { .. });
    assert_eq!(world.count("kid", back), 1);
    world.text("kid", family, "there again");
    world.text("kid", room, "and here");
    world.settle();
    for text in ["there again", "and here"] {
        assert!(world.texts("mum").contains(&text.to_owned()), "{text}");
    }
    assert!(world.texts("kid").contains(&"after it".to_owned()));
    assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
}

#[test]
fn a_conversation_whose_slot_nobody_can_read_is_formed_again_by_a_guardian() {
    let mut world = World::new();
    let family = world.family();
    // The relay takes a change, and its disk spoils it before anybody hears of it.
    world.relay.hold_sends_of = Some("mum");
    world.command(
        "mum",
        Command::SelfUpdate {
            conversation: family,
        },
    );
    world.settle();
    let token = world
        .relay
        .held
        .iter()
        .find_map(|(_, _, send)| send.commit.clone());
    world
        .relay
        .damaged_slots
        .insert(token.unwrap().token.to_vec());
    world.relay.held.clear();
    world.relay.hold_sends_of = None;
    for name in ["mum", "dad", "kid"] {
        world.disconnect(name);
        world.connect(name);
    }
    for _ in 0..4 {
        world.pass(61_000);
        world.settle();
    }
    world.command(
        "dad",
        Command::Reform {
            conversation: family,
        },
    );
    world.settle();
    let new = world.device("dad").engine.family_conversation().unwrap();
    assert_ne!(new, family);
    world.text("mum", new, "we go on");
    world.settle();
    for name in ["dad", "kid"] {
        assert_eq!(world.device(name).engine.family_conversation(), Some(new));
        assert!(world.texts(name).contains(&"we go on".to_owned()), "{name}");
    }
}

#[test]
fn a_device_whose_way_back_was_lost_asks_for_it_again() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("kid");
    let update = |conversation| Command::SelfUpdate { conversation };
    world.command("mum", update(family));
    world.settle();
    world.relay.withholds_slots_from = Some("kid");
    world.connect("kid");
    world.text("mum", family, "after it");
    world.text("kid", family, "can you hear me?");
    world.pass(3_000);
    // The welcome never arrives, and the tablet sees the change that takes its old leaf out.
    let mailbox = world.mailbox("kid");
    world.relay.drop_for = Some(mailbox);
    for _ in 0..4 {
        world.pass(61_000);
        world.settle();
    }
    world.relay.withholds_slots_from = None;
    world.disconnect("kid");
    world.connect("kid");
    world.settle();
    let back = |event: &Event| matches!(event, Event::BackIn { .. });
    assert_eq!(world.count("kid", back), 0);
    world.relay.drop_for = None;
    world.pass(601_000);
    world.settle();
    assert_eq!(world.count("kid", back), 1);
    assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
    for name in ["mum", "dad"] {
        let texts = world.texts(name);
        assert!(
            texts.contains(&"can you hear me?".to_owned()),
            "{name} reads {texts:?}"
        );
    }
    let unsaid = |event: &Event| matches!(event, Event::Undelivered { .. });
    assert_eq!(world.count("kid", unsaid), 0);
}

/// A device restored from `copy`, which the relay knows to be old, comes back as a new leaf.
fn restore(world: &mut World, name: &'static str, copy: BTreeMap<RecordKey, Vec<u8>>) {
    world.disconnect(name);
    world.restore(name, copy);
    let back = |event: &Event| matches!(event, Event::BackIn { .. });
    assert_eq!(world.count(name, back), 1);
}

#[test]
fn nobody_waits_for_what_a_new_leaf_says_again_to_others() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("dad");
    world.text("kid", family, "one");
    world.text("kid", family, "two");
    world.settle();
    let copy = world.device("kid").store.clone();
    world.text("kid", family, "three");
    world.settle();
    restore(&mut world, "kid", copy);
    // Its first and second are for him alone: she has had them.
    world.text("kid", family, "four");
    world.settle();
    let texts = world.texts("mum");
    assert!(texts.contains(&"four".to_owned()), "{texts:?}");
    world.connect("dad");
    world.settle();
    let texts = world.texts("dad");
    assert!(texts.contains(&"four".to_owned()), "{texts:?}");
}

#[test]
fn what_was_confirmed_of_an_old_leaf_says_nothing_of_the_new_one() {
    let mut world = World::new();
    let family = world.family();
    for text in ["one", "two", "three"] {
        world.text("kid", family, text);
    }
    world.settle();
    // That four are there can't be said yet.
    let mailbox = world.mailbox("kid");
    world.relay.full = Some(mailbox.clone());
    world.text("kid", family, "four");
    world.settle();
    world.disconnect("mum");
    let copy = world.device("kid").store.clone();
    world.text("kid", family, "five");
    world.settle();
    world.relay.full = None;
    world.relay.shut = Some(mailbox);
    restore(&mut world, "kid", copy);
    // Her mailbox gets none of what the new leaf says, up to its fourth.
    world.relay.drop_for = Some(world.mailbox("mum"));
    for text in ["six", "seven", "eight"] {
        world.text("kid", family, text);
    }
    world.connect("mum");
    world.settle();
    world.relay.drop_for = None;
    for _ in 0..3 {
        world.pass(61_000);
        world.text("mum", family, "anything new?");
        world.settle();
    }
    let texts = world.texts("mum");
    for text in ["six", "seven", "eight"] {
        assert!(texts.contains(&text.to_owned()), "{text} of {texts:?}");
    }
}

#[test]
fn of_two_pasts_one_wins_and_everybody_comes_into_it() {
    for seed in 1..6 {
        let mut world = World::seeded(seed);
        let family = world.family();
        for name in ["mum", "dad", "kid"] {
            world.disconnect(name);
        }
        // Each guardian is told that its own change holds the slot; the tablet sees one.
        world.relay.forks_slots = true;
        for name in ["mum", "dad"] {
            world.connect(name);
            world.self_update(name, family);
            world.settle();
            world.disconnect(name);
        }
        world.relay.forks_slots = false;
        for name in ["mum", "dad", "kid"] {
            world.connect(name);
        }
        world.text("mum", family, "from mum");
        world.text("dad", family, "from dad");
        for _ in 0..20 {
            world.pass(61_000);
            world.settle();
            for name in ["mum", "dad"] {
                world.text(name, family, "still there?");
            }
        }
        world.settle();
        assert_eq!(
            world.epoch("dad", family),
            world.epoch("mum", family),
            "seed {seed}"
        );
        assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
        let told = |event: &Event| matches!(event, Event::Forked { .. });
        assert!(world.count("mum", told) + world.count("dad", told) >= 1);
        assert_eq!(
            world.epoch("dad", family),
            world.epoch("mum", family),
            "seed {seed}"
        );
        assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
        world.text("dad", family, "one again");
        world.settle();
        assert!(world.texts("mum").contains(&"one again".to_owned()));
        assert!(world.texts("kid").contains(&"one again".to_owned()));
    }
}

#[test]
fn re_adds_are_bounded() {
    let mut world = World::new();
    let family = world.family();
    world.relay.knows_copies = true;
    world.add("sis");
    world.pair("dad", "sis", MemberRole::Child, "Eva");
    world.settle();
    let mut back = 0;
    for round in 0..6 {
        let copy = world.device("sis").store.clone();
        world.text("sis", family, &format!("round {round}"));
        world.settle();
        world.disconnect("sis");
        world.device("sis").store = copy;
        world.restart("sis");
        world.connect("sis");
        world.connect("sis");
        world.settle();
        back = world.count("sis", |event| matches!(event, Event::BackIn { .. }));
        if back <= round {
            break;
        }
    }
    assert_eq!(back, 3, "three times a day");
    for _ in 0..26 {
        world.pass(3_600_000);
        world.settle();
    }
    let later = world.count("sis", |event| matches!(event, Event::BackIn { .. }));
    assert_eq!(later, 4, "and again tomorrow");
}

/// Each guardian decides on another lease, and is told that its own decision holds the slot.
/// Of what the first says to the second by the way, nothing arrives when `unheard`.
fn two_decisions(world: &mut World, unheard: bool) -> ConversationId {
    let family = world.family();
    for name in ["mum", "dad", "kid"] {
        world.disconnect(name);
    }
    world.relay.forks_slots = true;
    for (name, other, lease_days) in [("mum", "dad", 9), ("dad", "mum", 11)] {
        world.relay.drop_for = unheard.then(|| world.mailbox(other));
        world.connect(name);
        let settings = Settings {
            signatures: 1,
            lease_days,
        };
        world.command(name, Command::ChangeSettings { settings });
        world.settle();
        world.disconnect(name);
    }
    world.relay.drop_for = None;
    world.relay.forks_slots = false;
    for name in ["mum", "dad"] {
        world.connect(name);
    }
    for _ in 0..20 {
        world.pass(61_000);
        world.settle();
        for name in ["mum", "dad"] {
            world.text(name, family, "still there?");
        }
    }
    world.settle();
    family
}

fn head(world: &mut World, name: Name) -> [u8; 32] {
    *world.device(name).engine.family_log().unwrap().head()
}

#[test]
fn a_decision_of_the_side_that_gives_way_is_made_after_all() {
    let mut world = World::new();
    let family = two_decisions(&mut world, false);
    world.connect("kid");
    world.settle();
    let decided = |days: u32| move |event: &Event| matches!(event, Event::Decided { decision: Decision::Settings(settings), .. } if settings.lease_days == days);
    for name in ["mum", "dad", "kid"] {
        for days in [9, 11] {
            assert_eq!(world.count(name, decided(days)), 1, "{name}: {days}");
        }
        assert_eq!(world.epoch(name, family), world.epoch("mum", family));
        assert_eq!(head(&mut world, name), head(&mut world, "mum"));
    }
    let back = |event: &Event| matches!(event, Event::BackIn { .. });
    assert!(world.count("mum", back) + world.count("dad", back) >= 1);
}

#[test]
fn two_pasts_of_the_log_are_told() {
    let mut world = World::new();
    two_decisions(&mut world, true);
    let forked = |event: &Event| matches!(event, Event::LogForked { .. });
    assert!(
        world.count("mum", forked) + world.count("dad", forked) >= 1,
        "a guardian sees it on their own phone"
    );
    assert_ne!(
        head(&mut world, "mum"),
        head(&mut world, "dad"),
        "none gives in"
    );
}

#[test]
fn receipts_after_a_restart_are_for_what_a_device_said_since_it_came_back() {
    let mut world = World::new();
    let family = world.family();
    for n in 0..6 {
        world.text("dad", family, &format!("before {n}"));
    }
    world.settle();
    let copy = world.device("dad").store.clone();
    world.self_update("dad", family);
    world.settle();
    world.disconnect("dad");
    world.restore("dad", copy);
    for n in 0..6 {
        world.text("dad", family, &format!("after {n}"));
    }
    world.settle();
    world.restart("dad");
    world.connect("dad");
    world.settle();
    world.device("dad").events.clear();
    let read = Command::MarkRead {
        conversation: family,
    };
    world.command("kid", read);
    world.settle();
    let told: BTreeSet<ContentId> = world
        .device("dad")
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Read { content, .. } => Some(*content),
            _ => None,
        })
        .collect();
    let after = world.screen("dad").into_iter().filter(
        |view| matches!(&view.body, Some(Body::Text { text }) if text.starts_with("after")),
    );
    let after: BTreeSet<ContentId> = after.map(|view| view.content).collect();
    assert_eq!(after.len(), 6);
    assert_eq!(told, after);
}
