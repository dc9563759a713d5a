//! Children of two families, and the guardians who decide.

use kinline_protocol::engine::io::{Command, Event};

use super::vocabulary::wish;
use super::world::World;

fn two_families() -> World {
    let mut world = World::new();
    world.family();
    world.second_family();
    world.meet("mum", "kid", "ana", "leo");
    world
}

#[test]
fn guardians_meet_and_a_link_stands() {
    let mut world = two_families();
    let link = world.link("mum");
    assert_eq!(world.link("ana"), link);
    // The other guardian's phone comes in by itself: the child's tablet never does.
    assert_eq!(world.link("dad"), link);
    assert_eq!(world.device("kid").engine.conversations().len(), 1);
    assert_eq!(world.device("leo").engine.conversations().len(), 1);
}

#[test]
fn children_talk_under_a_pass_of_both_families() {
    let mut world = two_families();
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    let room = world.contact("kid");
    assert_eq!(world.contact("leo"), room);
    world.text("kid", room, "hi Leo");
    world.text("leo", room, "hi Mia");
    world.settle();
    assert_eq!(world.texts("leo"), ["hi Leo", "hi Mia"]);
    assert_eq!(world.texts("kid"), ["hi Leo", "hi Mia"]);
    for name in ["mum", "dad", "ana"] {
        assert!(world.texts(name).is_empty(), "{name} is not in it");
    }
}

#[test]
fn nobody_answers_what_another_guardian_of_their_own_offered() {
    let mut world = two_families();
    let pass = world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    let offered = |event: &Event| matches!(event, Event::PassOffered { .. });
    assert_eq!(world.count("ana", offered), 1);
    assert_eq!(world.count("dad", offered), 0);
    let wish = Some(wish());
    let answer = Command::AnswerPass { pass, wish };
    assert!(world.try_command("dad", answer).is_err());
}

#[test]
fn a_revoked_pass_ends_it_even_while_that_tablet_is_off() {
    let mut world = two_families();
    let pass = world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    let room = world.contact("kid");
    world.text("leo", room, "before");
    world.settle();
    world.disconnect("kid");
    world.command("mum", Command::RevokePass { pass });
    world.settle();
    world.text("leo", room, "after");
    world.settle();
    world.connect("kid");
    world.settle();
    assert_eq!(world.texts("kid"), ["before"]);
    let refused = world.try_command(
        "kid",
        Command::Send {
            conversation: room,
            body: kinline_protocol::content::Body::Text {
                text: "psst".into(),
            },
            reply_to: None,
            disappear_seconds: 0,
            blob: None,
        },
    );
    assert!(refused.is_err(), "the tablet writes nothing there");
    assert!(!world.texts("leo").contains(&"psst".to_owned()));
    let gone = |event: &Event| matches!(event, Event::DeviceRemoved { .. });
    assert!(world.count("kid", gone) + world.count("leo", gone) >= 1);
}
