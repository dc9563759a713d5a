//! A tablet that is lost: its child gets another one.

use kinline_protocol::engine::io::{Command, MemberRole};

use super::recovery::HOUR_MS;
use super::vocabulary::wish;
use super::world::World;

#[test]
fn a_lost_tablet_is_replaced_and_comes_into_its_rooms_again() {
    let mut world = World::new();
    world.family();
    let room = world.room("mum", &["mum", "kid"], "homework");
    let lost = world.device("kid").engine.device();
    world.disconnect("kid");
    world.command("mum", Command::RemoveDevice { device: lost });
    world.settle();
    world.add("kid2");
    world.pair("mum", "kid2", MemberRole::Child, "Mia");
    world.settle();
    let rooms = world.device("kid2").engine.conversations();
    assert!(rooms.iter().any(|it| it.id == room), "{rooms:?}");
    world.text("kid2", room, "a new tablet");
    world.settle();
    assert!(world.texts("mum").contains(&"a new tablet".to_owned()));
    assert!(!world.texts("dad").contains(&"a new tablet".to_owned()));
}

#[test]
fn a_lost_tablet_is_replaced_and_its_friends_are_there_again() {
    let mut world = World::new();
    world.family();
    world.second_family();
    world.meet("mum", "kid", "ana", "leo");
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    world.settle();
    let lost = world.device("kid").engine.device();
    world.disconnect("kid");
    world.command("mum", Command::RemoveDevice { device: lost });
    world.settle();
    world.add("kid2");
    world.pair("mum", "kid2", MemberRole::Child, "Mia");
    for _ in 0..3 {
        world.pass(13 * HOUR_MS);
        world.settle();
    }
    let contact = world.contact("kid2");
    world.text("kid2", contact, "I have a new tablet");
    world.settle();
    assert!(
        world
            .texts("leo")
            .contains(&"I have a new tablet".to_owned())
    );
}
