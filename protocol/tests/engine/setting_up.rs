//! The conversation of a pass stands in the end, whatever becomes of the tablet that was to
//! form it.

use kinline_protocol::content::Control;
use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::wire;
use prost::Message as _;

use super::vocabulary::wish;
use super::world::{Name, World};

const DAY_MS: u64 = 24 * 3_600_000;

fn two_families() -> World {
    let mut world = World::new();
    world.family();
    world.second_family();
    world.meet("mum", "kid", "ana", "leo");
    world
}

fn days(world: &mut World, count: u64) {
    for _ in 0..count * 4 {
        world.pass(DAY_MS / 4);
        world.settle();
    }
}

/// How many contact conversations a device sees.
fn contacts(world: &mut World, name: Name) -> usize {
    let all = world.device(name).engine.conversations();
    let contact = all.iter().filter(|c| c.kind == ConversationKind::Contact);
    contact.count()
}

fn they_talk(world: &mut World, child: Name) {
    let room = world.contact(child);
    assert_eq!(world.contact("leo"), room);
    let text = format!("hi Leo, says {child}");
    world.text(child, room, &text);
    world.settle();
    assert!(world.texts("leo").contains(&text));
}

/// Records of passes on their way.
fn kept(world: &mut World, name: Name) -> usize {
    let store = world.device(name).store.keys();
    store.filter(|key| key.name.starts_with(b"pass/")).count()
}

#[test]
fn another_tablet_forms_it_when_the_first_is_off() {
    let mut world = two_families();
    world.add("tab");
    world.pair("mum", "tab", MemberRole::Child, "Mia");
    world.settle();
    let ids = ["kid", "tab"].map(|name| (world.device(name).engine.device(), name));
    let (first, other) = if ids[0] < ids[1] {
        (ids[0].1, ids[1].1)
    } else {
        (ids[1].1, ids[0].1)
    };
    world.disconnect(first);
    world.agree(("mum", first), ("ana", "leo"), [wish(), wish()]);
    assert_eq!(
        contacts(&mut world, other),
        0,
        "it was to be formed by {first}"
    );
    assert_eq!(contacts(&mut world, "leo"), 0);
    days(&mut world, 2);
    they_talk(&mut world, other);
    world.connect(first);
    world.settle();
    days(&mut world, 2);
    they_talk(&mut world, first);
    for name in [first, other, "leo"] {
        assert_eq!(contacts(&mut world, name), 1, "{name} has one");
    }
    for name in ["mum", "dad", "ana"] {
        assert_eq!(kept(&mut world, name), 0, "{name} has nothing left to do");
    }
}

#[test]
fn a_tablet_that_is_gone_is_replaced_by_the_next() {
    let mut world = two_families();
    world.disconnect("kid");
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    let device = world.device("kid").engine.device();
    world.command("mum", Command::RemoveDevice { device });
    world.settle();
    world.add("tab");
    world.pair("mum", "tab", MemberRole::Child, "Mia");
    world.settle();
    they_talk(&mut world, "tab");
}

#[test]
fn a_tablet_that_was_restored_while_it_formed_it_is_asked_again() {
    let mut world = two_families();
    world.relay.hold_sends_of = Some("kid");
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    assert_eq!(contacts(&mut world, "kid"), 1, "alone in it");
    assert_eq!(contacts(&mut world, "leo"), 0);
    let copy = world.device("kid").store.clone();
    let family = world.device("kid").engine.family_conversation().unwrap();
    world.text("kid", family, "soon forgotten here");
    world.disconnect("kid");
    world.relay.serve_held();
    world.restore("kid", copy);
    assert_eq!(contacts(&mut world, "kid"), 0, "nothing is left of that");
    days(&mut world, 2);
    they_talk(&mut world, "kid");
}

#[test]
fn another_guardian_has_it_formed_when_the_first_is_off() {
    let mut world = two_families();
    world.disconnect("kid");
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    let device = world.device("kid").engine.device();
    world.command("mum", Command::RemoveDevice { device });
    world.settle();
    world.disconnect("mum");
    world.add("tab");
    world.pair("dad", "tab", MemberRole::Child, "Mia");
    days(&mut world, 5);
    they_talk(&mut world, "tab");
}

#[test]
fn what_a_child_left_is_not_formed_again() {
    let mut world = two_families();
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    they_talk(&mut world, "kid");
    let conversation = world.contact("kid");
    world.command("kid", Command::Leave { conversation });
    world.settle();
    days(&mut world, 5);
    let joined = |event: &Event| matches!(event, Event::Joined { .. });
    let before = world.count("leo", joined);
    days(&mut world, 5);
    assert_eq!(world.count("leo", joined), before);
    assert_eq!(contacts(&mut world, "leo"), 1);
    for name in ["mum", "dad"] {
        assert_eq!(kept(&mut world, name), 0);
    }
}

#[test]
fn a_key_package_that_lets_nobody_in_is_told_and_another_asked_for() {
    let mut world = two_families();
    let leo = world.device("leo").engine.device();
    for value in world.device("ana").store.values_mut() {
        let Ok(record) = wire::PeerKeyPackageRecord::decode(value.as_slice()) else {
            continue;
        };
        if record.device.as_ref() == leo.as_bytes() && record.key_package.len() > 64 {
            let record = wire::PeerKeyPackageRecord {
                key_package: vec![7; 100].into(),
                ..record
            };
            *value = record.encode_to_vec();
        }
    }
    world.restart("ana");
    world.connect("ana");
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    assert_eq!(contacts(&mut world, "kid"), 0, "not alone in it");
    let told = |event: &Event| matches!(event, Event::Control { control: Control::Refusal(refusal), .. } if refusal.sentence.contains("key package"));
    for name in ["mum", "dad"] {
        assert_eq!(world.count(name, told), 1, "{name} hears of it");
    }
    days(&mut world, 4);
    they_talk(&mut world, "kid");
}
