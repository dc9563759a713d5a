//! Children of two families, and the guardians who decide.

use kinline_protocol::content::{Body, Control};
use kinline_protocol::engine::io::{Command, Event, PassWish, Silence};
use kinline_protocol::engine::{CommandError, view};
use kinline_protocol::identity::Supervision;

use super::vocabulary::wish;
use super::world::World;

pub(super) fn two_families() -> World {
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
fn what_one_guardian_is_told_of_a_contact_the_other_hears_too() {
    let mut world = two_families();
    let link = world.link_between("mum", "ana");
    let child = world.device("kid").engine.member().unwrap();
    let other_child = world.device("leo").engine.member().unwrap();
    for _ in 0..2 {
        world.command(
            "mum",
            Command::OfferPass {
                link,
                child,
                other_child,
                wish: wish(),
            },
        );
        world.settle();
        let offered = world.device("ana").events.iter().rev();
        let pass = offered.into_iter().find_map(|event| match event {
            Event::PassOffered { pass, .. } => Some(pass.id()),
            _ => None,
        });
        let pass = pass.unwrap();
        world.command("ana", Command::AnswerPass { pass, wish: None });
        world.settle();
    }
    let refused = |event: &Event| matches!(event, Event::PassRefused { .. });
    assert_eq!(world.count("mum", refused), 2);
    assert_eq!(world.count("dad", refused), 0);
    let told = |event: &Event| matches!(event, Event::Control { control: Control::Refusal(refusal), .. } if refusal.sentence.contains("does not want"));
    assert_eq!(world.count("dad", told), 1, "the same once a day");
    assert_eq!(world.count("ana", told), 0);
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
    let late = world.try_command(
        "leo",
        Command::Send {
            conversation: room,
            body: kinline_protocol::content::Body::Text {
                text: "after".into(),
            },
            reply_to: None,
            disappear_seconds: 0,
            blob: None,
        },
    );
    assert!(matches!(late, Err(CommandError::Over)));
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

const DAY_MS: u64 = 24 * 3_600_000;

pub(super) fn days(world: &mut World, count: u64) {
    for _ in 0..count * 4 {
        world.pass(DAY_MS / 4);
        world.settle();
    }
}

fn talkers() -> (World, kinline_protocol::ids::ConversationId) {
    let mut world = two_families();
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    let room = world.contact("kid");
    (world, room)
}

#[test]
fn leases_are_renewed_every_day_without_anyone_tapping() {
    let (mut world, room) = talkers();
    days(&mut world, 20);
    world.text("kid", room, "still friends");
    world.text("leo", room, "sure");
    world.settle();
    assert_eq!(world.texts("leo"), ["still friends", "sure"]);
    assert_eq!(world.texts("kid"), ["still friends", "sure"]);
}

#[test]
fn without_its_guardians_a_tablet_talks_to_its_family_only() {
    let (mut world, room) = talkers();
    let family = world.device("kid").engine.family_conversation().unwrap();
    for name in ["mum", "dad"] {
        world.disconnect(name);
    }
    days(&mut world, 9);
    world.text("kid", room, "anyone?");
    world.text("kid", family, "mum?");
    world.text("leo", room, "hello?");
    world.settle();
    assert!(!world.texts("leo").contains(&"anyone?".to_owned()));
    assert!(!world.texts("kid").contains(&"hello?".to_owned()));
    let silent = |event: &Event| {
        matches!(
            event,
            Event::Silent {
                why: Some(Silence::Lease),
                ..
            }
        )
    };
    assert_eq!(world.count("kid", silent), 1, "and it says why");
    world.restart("kid");
    world.connect("kid");
    world.connect("mum");
    days(&mut world, 1);
    assert!(world.texts("mum").contains(&"mum?".to_owned()));
    assert!(world.texts("leo").contains(&"anyone?".to_owned()));
    assert!(
        world.texts("kid").contains(&"hello?".to_owned()),
        "nothing is lost"
    );
}

#[test]
fn a_family_whose_guardians_are_silent_is_not_shown() {
    let (mut world, room) = talkers();
    world.disconnect("ana");
    days(&mut world, 9);
    world.text("leo", room, "my mum is away");
    world.text("kid", room, "hm");
    world.settle();
    assert!(world.texts("kid").is_empty() || world.texts("kid") == ["hm"]);
    world.connect("ana");
    days(&mut world, 1);
    assert!(world.texts("kid").contains(&"my mum is away".to_owned()));
    assert!(world.texts("leo").contains(&"hm".to_owned()));
}

#[test]
fn a_guardian_who_watches_is_in_the_room_and_silent() {
    let mut world = two_families();
    let ada = world.device("ana").engine.member().unwrap();
    let watching = PassWish {
        supervision: Supervision::Everything,
        guardians: vec![(ada, false)],
        ..wish()
    };
    world.agree(("mum", "kid"), ("ana", "leo"), [wish(), watching]);
    let room = world.contact("leo");
    assert_eq!(world.contact("ana"), room, "her leaf is visible in it");
    world.text("leo", room, "hi Mia");
    world.settle();
    assert_eq!(world.texts("kid"), ["hi Mia"]);
    assert_eq!(world.texts("ana"), ["hi Mia"]);
    let says = world.try_command(
        "ana",
        Command::Send {
            conversation: room,
            body: kinline_protocol::content::Body::Text { text: "boo".into() },
            reply_to: None,
            disappear_seconds: 0,
            blob: None,
        },
    );
    assert!(matches!(says, Err(CommandError::NotAllowed)));
}

#[test]
fn a_child_that_blocks_or_leaves_is_left_alone() {
    let (mut world, room) = talkers();
    let (leo, mum) = (
        world.device("leo").engine.member().unwrap(),
        world.device("mum").engine.member().unwrap(),
    );
    let family = world.device("kid").engine.family_conversation().unwrap();
    let own = world.try_command(
        "kid",
        Command::Block {
            conversation: family,
            member: mum,
            blocked: true,
        },
    );
    assert!(matches!(own, Err(CommandError::OwnFamily)));
    world.command(
        "kid",
        Command::Block {
            conversation: room,
            member: leo,
            blocked: true,
        },
    );
    world.text("leo", room, "ignored");
    world.settle();
    assert!(world.texts("kid").is_empty());
    world.restart("kid");
    world.connect("kid");
    world.text("leo", room, "still ignored");
    world.settle();
    assert!(world.texts("kid").is_empty());
    world.command("kid", Command::Leave { conversation: room });
    world.settle();
    let left = |event: &Event| matches!(event, Event::Left { .. });
    assert_eq!(world.count("leo", left), 1);
    let all = world.device("leo").engine.conversations();
    let it = all.iter().find(|c| c.id == room).unwrap();
    assert_eq!(it.members.len(), 1, "her tablet is out");
    for name in ["kid", "leo"] {
        world.restart(name);
        world.connect(name);
    }
    days(&mut world, 2);
    let all = world.device("leo").engine.conversations();
    let it = all.iter().find(|c| c.id == room).unwrap();
    assert_eq!(it.members.len(), 1, "and nobody brings her back");
}

#[test]
fn a_tablet_that_nobody_else_of_its_family_is_beside_comes_back_all_the_same() {
    let (mut world, room) = talkers();
    world.text("leo", room, "before");
    world.settle();
    let copy = world.device("kid").store.clone();
    world.text("kid", room, "soon forgotten here");
    world.settle();
    world.disconnect("kid");
    world.restore("kid", copy);
    let back =
        |event: &Event| matches!(event, Event::BackIn { conversation } if *conversation == room);
    assert_eq!(world.count("kid", back), 1);
    world.text("kid", room, "here again");
    world.text("leo", room, "good");
    world.settle();
    assert!(world.texts("leo").contains(&"here again".to_owned()));
    assert!(world.texts("kid").contains(&"good".to_owned()));
}

#[test]
fn what_outsiders_take_back_can_still_be_reported_for_a_month() {
    let (mut world, room) = talkers();
    world.text("leo", room, "you are stupid");
    world.text("kid", room, "I was wrong");
    world.settle();
    let screen = world.screen("kid");
    let (theirs, ours) = (screen[0].content, screen[1].content);
    for (name, target) in [("leo", theirs), ("kid", ours)] {
        world.say(
            name,
            room,
            kinline_protocol::content::Body::Delete { target },
        );
    }
    world.settle();
    for name in ["kid", "leo"] {
        assert!(world.screen(name).iter().all(|view| view.body.is_none()));
    }
    let kept = |world: &mut World| {
        let store = &world.device("kid").store;
        let history = store
            .iter()
            .map(|(key, value)| (key.name.clone(), value.clone()));
        view::signed(history, theirs)
    };
    let signed = kept(&mut world).expect("kept unseen");
    world.command(
        "kid",
        Command::Report {
            content: theirs,
            signed,
            words: "this hurt".into(),
        },
    );
    world.settle();
    let reported = |event: &Event| matches!(event, Event::Control { control: Control::Report(report), .. } if report.words == "this hurt" && report.sender_name == "Leo");
    assert_eq!(world.count("mum", reported), 1);
    assert_eq!(world.count("dad", reported), 1);
    assert_eq!(world.count("ana", reported), 0);
    days(&mut world, 32);
    assert!(kept(&mut world).is_none(), "and then it is gone");
    world.restart("kid");
}

#[test]
fn what_a_device_said_can_be_reported_after_it_was_removed() {
    let (mut world, room) = talkers();
    world.text("leo", room, "you are stupid");
    world.command(
        "leo",
        Command::Send {
            conversation: room,
            body: Body::Text {
                text: "very stupid".into(),
            },
            reply_to: None,
            disappear_seconds: 3_600,
            blob: None,
        },
    );
    world.settle();
    let (device, member) = {
        let leo = &world.device("leo").engine;
        (leo.device(), leo.member().unwrap())
    };
    let said: Vec<_> = world
        .screen("kid")
        .iter()
        .map(|view| view.content)
        .collect();
    world.command("ana", Command::RemoveDevice { device });
    world.settle();
    world.command("ana", Command::RemoveMember { member });
    world.settle();
    world.pass(2 * 3_600_000);
    world.settle();
    let log = world.device("kid").engine.family_logs().nth(1).unwrap();
    assert!(!log.members().contains_key(&member), "the friends told it");
    for (content, words) in said.into_iter().zip(["first", "second"]) {
        let store = &world.device("kid").store;
        let history = store
            .iter()
            .map(|(key, value)| (key.name.clone(), value.clone()));
        let signed = view::signed(history, content).expect(words);
        let report = Command::Report {
            content,
            signed,
            words: words.into(),
        };
        world.command("kid", report);
        world.settle();
        let reported = |event: &Event| matches!(event, Event::Control { control: Control::Report(report), .. } if report.words == words && report.sender_name == "Leo");
        assert_eq!(world.count("mum", reported), 1);
    }
}

#[test]
fn a_child_asks_for_a_friend_and_nothing_more_happens() {
    let mut world = World::new();
    world.family();
    world.second_family();
    let leo = world.device("leo").engine.member().unwrap();
    world.command(
        "ana",
        Command::StartMeeting {
            child: leo,
            by: kinline_protocol::pairing::CodeKind::Qr,
        },
    );
    let code = world
        .device("ana")
        .events
        .iter()
        .find_map(|event| match event {
            Event::MeetingCode { code } => Some(code.clone()),
            _ => None,
        })
        .unwrap();
    world.command(
        "kid",
        Command::RequestFriend {
            code: code.clone(),
            words: "Leo from school".into(),
        },
    );
    world.settle();
    let asked = |event: &Event| matches!(event, Event::Control { control: Control::FriendRequest(request), .. } if request.code == code);
    assert_eq!(world.count("mum", asked), 1);
    assert_eq!(world.device("kid").engine.conversations().len(), 1);
    let pairing = world.try_command(
        "kid",
        Command::RequestFriend {
            code: "kinline:pair:1:AAAA".into(),
            words: String::new(),
        },
    );
    assert!(pairing.is_err());
    // A child meets nobody by itself.
    let meets = world.try_command("kid", Command::JoinMeeting { code, child: leo });
    assert!(meets.is_err());
}

#[test]
fn pictures_are_copied_once_for_the_family_that_wants_them() {
    let mut world = two_families();
    world.add("sis");
    world.pair(
        "mum",
        "sis",
        kinline_protocol::engine::io::MemberRole::Child,
        "Mia",
    );
    world.settle();
    let pictures = PassWish {
        supervision: Supervision::Pictures,
        ..wish()
    };
    world.agree(("mum", "kid"), ("ana", "leo"), [pictures, wish()]);
    let room = world.contact("kid");
    assert_eq!(world.contact("sis"), room, "both tablets of Mia are in it");
    let (body, blob) = super::waiting::photo(&mut world, "leo");
    world.command(
        "leo",
        Command::Send {
            conversation: room,
            body,
            reply_to: None,
            disappear_seconds: 0,
            blob: Some(blob),
        },
    );
    world.settle();
    let wanted = world.device("kid").engine.copies_wanted();
    assert_eq!(wanted.len(), 1);
    assert_eq!(world.device("sis").engine.copies_wanted(), wanted);
    assert!(world.device("leo").engine.copies_wanted().is_empty());
    world.restart("kid");
    world.connect("kid");
    let (conversation, original) = world.device("kid").engine.copies_wanted()[0];
    assert_eq!(conversation, room);
    let (body, blob) = super::waiting::photo(&mut world, "kid");
    let copied = Some((body, blob));
    world.command("kid", Command::SendCopy { original, copied });
    world.settle();
    let copies = |event: &Event| matches!(event, Event::Control { control: Control::Copy(copy), .. } if copy.sender_name == "Leo" && copy.original == original);
    assert_eq!(world.count("mum", copies), 1);
    assert_eq!(world.count("dad", copies), 1);
    assert!(
        world.device("sis").engine.copies_wanted().is_empty(),
        "once"
    );
    let again = world.try_command(
        "sis",
        Command::SendCopy {
            original,
            copied: None,
        },
    );
    assert!(again.is_err());
}
