//! What is left of a leaf that a device had before it came back: its words at the relay.

use kinline_protocol::engine::io::Event;
use kinline_protocol::ids::ConversationId;

use super::world::{Name, World};

fn is_back(event: &Event) -> bool {
    matches!(event, Event::BackIn { .. })
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
