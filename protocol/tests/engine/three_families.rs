//! Children of three families in one conversation.

use kinline_protocol::conversation::Person;
use kinline_protocol::engine::CommandError;
use kinline_protocol::engine::io::{Command, Event};

use super::two_families::{days, two_families};
use super::vocabulary::wish;
use super::world::World;

fn three_families() -> World {
    let mut world = two_families();
    world.third_family();
    world.meet("mum", "kid", "zoe", "tim");
    world.meet("zoe", "tim", "ana", "leo");
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    world.agree(("mum", "kid"), ("zoe", "tim"), [wish(), wish()]);
    world
}

fn person(world: &mut World, guardian: &'static str, child: &'static str) -> Person {
    let family = world.device(guardian).engine.family_log().unwrap().family();
    let member = world.device(child).engine.member().unwrap();
    Person { family, member }
}

fn offered(world: &World, name: &'static str) -> Option<[u8; 16]> {
    let events = world.devices[name].events.iter().rev();
    events
        .filter_map(|event| match event {
            Event::GroupOffered { group, .. } => Some(*group),
            _ => None,
        })
        .next()
}

/// Kid, Leo and Tim.
fn children(world: &mut World) -> Vec<Person> {
    vec![
        person(world, "mum", "kid"),
        person(world, "ana", "leo"),
        person(world, "zoe", "tim"),
    ]
}

#[test]
fn children_of_three_families_talk_when_each_two_have_a_pass() {
    let mut world = three_families();
    let children = children(&mut world);
    let offer = Command::OfferGroup {
        children,
        title: "Band".into(),
    };
    world.command("mum", offer.clone());
    world.settle();
    // What mum asks is not for dad to answer, though he is in the link too.
    assert_eq!(offered(&world, "dad"), None);
    // Leo and Tim have no pass yet.
    let group = offered(&world, "ana").expect("ana is asked");
    let answer = Command::AnswerGroup {
        group,
        accept: true,
    };
    let early = world.try_command("ana", answer.clone());
    assert!(matches!(early, Err(CommandError::NoPass)));
    world.agree(("zoe", "tim"), ("ana", "leo"), [wish(), wish()]);
    for name in ["ana", "zoe"] {
        world.command(name, answer.clone());
        world.settle();
    }
    for name in ["mum", "dad", "ana", "zoe"] {
        let engine = &world.device(name).engine;
        assert_eq!(engine.groups_under_way(), vec![], "{name}");
        assert_eq!(engine.counters().unreadable, 0, "{name}");
    }
    let room = world.conversation("kid", "Band");
    for (name, words) in [("kid", "one"), ("leo", "two"), ("tim", "three")] {
        assert_eq!(world.conversation(name, "Band"), room);
        world.text(name, room, words);
        world.settle();
    }
    for name in ["kid", "leo", "tim"] {
        let mut read = world.texts(name);
        read.retain(|text| ["one", "two", "three"].contains(&text.as_str()));
        assert_eq!(read, ["one", "two", "three"], "{name}");
    }
    // One pass less, and the two it was between are not together any more.
    let tim = person(&mut world, "zoe", "tim");
    let log = world.device("ana").engine.family_log().unwrap();
    let pass = log
        .passes()
        .iter()
        .find(|(_, entry)| entry.pass.children().contains(&(tim.family, tim.member)))
        .map(|(id, _)| *id)
        .unwrap();
    world.command("ana", Command::RevokePass { pass });
    days(&mut world, 1);
    let all = world.device("kid").engine.conversations();
    let it = all.iter().find(|c| c.id == room).unwrap();
    let together = |name: &'static str| {
        let device = world.devices[name].engine.device();
        it.members.iter().any(|m| m.devices.contains(&device))
    };
    assert!(!(together("leo") && together("tim")));
    // Whoever was taken out had keys to renew there: nobody has to be told that it can't.
    for name in ["kid", "leo", "tim", "mum", "dad", "ana", "zoe"] {
        let counters = world.device(name).engine.counters();
        assert_eq!(counters.refused, 0, "{name}");
    }
}

#[test]
fn one_no_ends_a_group_and_a_yes_that_comes_later_does_no_harm() {
    let mut world = three_families();
    world.agree(("zoe", "tim"), ("ana", "leo"), [wish(), wish()]);
    let children = children(&mut world);
    let offer = Command::OfferGroup {
        children,
        title: "Choir".into(),
    };
    world.command("mum", offer);
    world.settle();
    let group = offered(&world, "ana").expect("ana is asked");
    assert_eq!(world.device("mum").engine.groups_under_way().len(), 1);
    for (name, accept) in [("ana", false), ("zoe", true)] {
        world.command(name, Command::AnswerGroup { group, accept });
        world.settle();
    }
    let answers = |world: &mut World| {
        let events = world.device("mum").events.iter();
        let answered = events.filter_map(|event| match event {
            Event::GroupAnswered { accepted, .. } => Some(*accepted),
            _ => None,
        });
        answered.collect::<Vec<_>>()
    };
    assert_eq!(answers(&mut world), [false]);
    let mum = &world.device("mum").engine;
    assert_eq!(mum.groups_under_way(), vec![]);
    assert_eq!(mum.counters().unreadable, 0);
    let rooms = world.device("kid").engine.conversations();
    assert!(rooms.iter().all(|room| room.title != "Choir"));
}
