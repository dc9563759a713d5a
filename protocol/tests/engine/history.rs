//! A new device of a member gets what was said before it came, from the family's other
//! devices, and nothing that its member did not see.

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event, MemberRole};

use super::world::{Kill, Name, World};

/// A family that has talked, in the family's conversation and in a room of mum and kid.
fn talked() -> World {
    let mut world = World::new();
    let family = world.family();
    let room = world.room("mum", &["kid"], "Two");
    for n in 0..12_usize {
        let by = ["mum", "dad", "kid"][n % 3];
        world.text(by, family, &format!("f{n}"));
    }
    for n in 0..6_usize {
        world.text(["mum", "kid"][n % 2], room, &format!("r{n}"));
    }
    world.settle();
    world
}

fn second(world: &mut World, first: Name, new: Name, role: MemberRole, name: &str) {
    world.add(new);
    let by = if role == MemberRole::Child { "mum" } else { first };
    world.pair(by, new, role, name);
    world.settle();
}

#[test]
fn a_second_phone_has_what_was_said_before_in_the_same_order() {
    let mut world = talked();
    second(&mut world, "mum", "mum2", MemberRole::Guardian, "Anna");
    assert_eq!(world.texts("mum2"), world.texts("mum"));
    let shown = world.count("mum2", |event| matches!(event, Event::Message { .. }));
    assert_eq!(shown, 0, "nothing of it is news");
    let family = world.conversation("mum2", "Reed");
    let last = world.device("mum2").events.iter().rev().find_map(|event| match event {
        Event::History { conversation, done, total, finished } if *conversation == family => {
            Some((*done, *total, *finished))
        }
        _ => None,
    });
    assert_eq!(last, Some((12, 12, true)));
    world.text("dad", family, "after");
    world.settle();
    assert_eq!(world.texts("mum2").len(), 19);
    assert_eq!(world.texts("mum2"), world.texts("mum"));
    let _ = (Kill { name: "mum", output: 0, sent: true }, Body::Text { text: String::new() });
    let _ = Command::AnswerPairing { accept: true };
}
