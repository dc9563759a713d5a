//! What is left of a leaf that a device had before it came back: its words at the relay, and
//! its offers.

use kinline_protocol::engine::io::Event;
use kinline_protocol::ids::ConversationId;

use super::world::{Name, World};

fn is_back(event: &Event) -> bool {
    matches!(event, Event::BackIn { .. })
}

fn blames(event: &Event) -> bool {
    matches!(event, Event::Refused { .. })
}

/// A device is restored from its store of before "after the copy".
fn restore_to_before(world: &mut World, name: Name, family: ConversationId) {
    let copy = world.device(name).store.clone();
    world.text(name, family, "after the copy");
    world.settle();
    world.disconnect(name);
    world.restore(name, copy);
    assert_eq!(world.count(name, is_back), 1);
}

#[test]
fn what_a_former_leaf_confirmed_loses_nothing_of_the_new_one() {
    let mut world = World::new();
    let family = world.family();
    world.text("kid", family, "one");
    world.settle();
    let of_kid = world.mailbox("kid");
    let mut said = world.relay.seen.clone();
    said.retain(|(to, ..)| *to == of_kid);
    restore_to_before(&mut world, "dad", family);
    // The relay says again what dad's former leaf had confirmed.
    for (to, message_id, envelope) in said {
        world.relay.plant(&to, message_id, envelope);
    }
    world.settle();
    // The first words to his new leaf are lost.
    let of_dad = world.mailbox("dad");
    world.relay.drop_for = Some(of_dad);
    for text in ["two", "three"] {
        world.text("kid", family, text);
    }
    world.settle();
    world.relay.drop_for = None;
    world.text("kid", family, "four");
    world.settle();
    let texts = world.texts("dad");
    for text in ["two", "three", "four"] {
        assert!(texts.contains(&text.to_owned()), "{text} of {texts:?}");
    }
    let gap = |event: &Event| matches!(event, Event::Gap { .. });
    assert_eq!(world.count("dad", gap), 0);
}

/// The tablet's offer holds its slot, and the relay's answer is lost.
fn offer(world: &mut World, family: ConversationId) {
    world.relay.answer_sends = false;
    world.self_update("kid", family);
    world.relay.answer_sends = true;
}

#[test]
fn a_device_that_dropped_what_holds_its_slot_blames_nobody() {
    let mut world = World::new();
    let family = world.family();
    offer(&mut world, family);
    let copy = world.device("kid").store.clone();
    world.text("kid", family, "after the copy");
    world.disconnect("kid");
    // The relay says that it is a copy, so the offer is dropped; and shows it in the slot.
    world.restore("kid", copy);
    assert_eq!(world.count("kid", blames), 0);
    assert_eq!(world.count("kid", is_back), 1);
    world.text("kid", family, "here I am");
    world.settle();
    assert!(world.texts("mum").contains(&"here I am".to_owned()));
    assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
}

#[test]
fn an_own_offer_that_a_device_does_not_know_shows_that_it_is_a_copy() {
    let mut world = World::new();
    let family = world.family();
    let copy = world.device("kid").store.clone();
    world.self_update("kid", family);
    world.settle();
    world.disconnect("kid");
    // The relay keeps to itself that it has seen a newer store.
    world.relay.forget_generations();
    world.device("kid").store = copy;
    world.restart("kid");
    world.connect("kid");
    world.settle();
    assert_eq!(world.count("kid", blames), 0);
    let forked = |event: &Event| matches!(event, Event::Forked { .. });
    assert_eq!(world.count("kid", forked), 1, "it says so");
    assert_eq!(world.count("kid", is_back), 1);
    world.text("kid", family, "here I am");
    world.settle();
    assert!(world.texts("mum").contains(&"here I am".to_owned()));
    assert_eq!(world.epoch("kid", family), world.epoch("mum", family));
}

/// Both guardians offer to bring the tablet back. It never hears of the offer that came into the
/// slot: the relay hands it the welcome of the other one, which leads into a past of its own.
fn lead_astray(world: &mut World, family: ConversationId) {
    let copy = world.device("kid").store.clone();
    world.text("kid", family, "after the copy");
    world.settle();
    world.disconnect("kid");
    world.device("kid").store = copy;
    world.relay.knows_copies = true;
    world.relay.keeps_blobs = true;
    world.restart("kid");
    world.connect("kid");
    let mailbox = world.mailbox("kid");
    world.relay.drop_for = Some(mailbox.clone());
    world.relay.hold_sends_of = Some("dad");
    world.connect("kid");
    world.pass(3_000);
    world.relay.serve_held();
    world.run();
    world.relay.drop_for = None;
    for (to, message_id, envelope) in std::mem::take(&mut world.relay.late) {
        if to == mailbox {
            world.relay.plant(&to, message_id, envelope);
        }
    }
    world.run();
    assert_eq!(world.count("kid", is_back), 1);
}

#[test]
fn whoever_was_led_into_a_past_of_its_own_can_still_be_reached() {
    let mut world = World::new();
    let family = world.family();
    lead_astray(&mut world, family);
    // It lets addresses go for newer ones, which nobody else ever hears of.
    for name in ["mum", "dad"] {
        world.disconnect(name);
    }
    for _ in 0..6 {
        world.self_update("kid", family);
        world.settle();
    }
    world.restart("kid");
    for name in ["kid", "mum", "dad"] {
        world.connect(name);
    }
    world.settle();
    for _ in 0..4 {
        world.text("kid", family, "can you hear me?");
        world.pass(61_000);
        world.settle();
    }
    for name in ["mum", "dad"] {
        assert_eq!(world.epoch(name, family), world.epoch("kid", family));
        world.text(name, family, &format!("{name} can"));
    }
    world.settle();
    let texts = world.texts("kid");
    for text in ["mum can", "dad can"] {
        assert!(texts.contains(&text.to_owned()), "{text} of {texts:?}");
    }
    let heard = world.texts("mum");
    let heard = heard.iter().filter(|text| *text == "can you hear me?");
    assert_eq!(heard.count(), 4);
}
