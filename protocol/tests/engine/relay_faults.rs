//! A relay that says the wrong thing at the wrong time.

use kinline_protocol::engine::io::{Command, Event, Input};
use kinline_protocol::wire::{self, ServerFrame, server_frame::Body as S};

use super::life::check_agreement;
use super::world::World;

fn frame(request_id: u64, body: S) -> Input {
    Input::Frames(vec![ServerFrame {
        request_id,
        critical: vec![],
        body: Some(body),
    }])
}

fn deliver(number: u64) -> S {
    S::Deliver(wire::Deliver {
        number,
        message_id: vec![1; 16].into(),
        envelope: vec![2; 1_024].into(),
    })
}

#[test]
fn nothing_is_taken_before_the_connection_is_attached() {
    let mut world = World::new();
    world.add("mum");
    world.input("mum", frame(0, deliver(1)));
    assert_eq!(world.device("mum").engine.counters().unreadable, 0);
    world.input(
        "mum",
        frame(
            1,
            S::Attached(wire::Attached {
                waiting: 1,
                window: 64,
            }),
        ),
    );
    assert!(
        !world.device("mum").engine.is_attached(),
        "nobody asked to attach"
    );
}

#[test]
fn a_miscount_ends_the_connection_and_what_follows_it_is_not_heard() {
    for number in [0, 2, u64::MAX] {
        let mut world = World::new();
        world.family();
        let told = world.device("mum").engine.counters().unreadable;
        let frames = [deliver(number), deliver(1), deliver(2)];
        let frames = frames.into_iter().map(|body| ServerFrame {
            request_id: 0,
            critical: vec![],
            body: Some(body),
        });
        world.disconnect("mum");
        world.connect("mum");
        world.input("mum", Input::Frames(frames.collect()));
        assert!(!world.device("mum").online, "the device hangs up");
        assert_eq!(world.device("mum").engine.counters().unreadable, told);
    }
}

#[test]
fn a_lonely_change_whose_answer_is_lost_is_done_when_its_slot_shows_it() {
    let mut world = World::new();
    world.add("mum");
    world.connect("mum");
    world.command(
        "mum",
        Command::CreateFamily {
            family_name: "Reed".into(),
            guardian_name: "Anna".into(),
        },
    );
    world.settle();
    let family = world.device("mum").engine.family_conversation().unwrap();
    world.relay.answer_sends = false;
    world.self_update("mum", family);
    world.disconnect("mum");
    world.relay.answer_sends = true;
    world.connect("mum");
    world.settle();
    assert_eq!(world.epoch("mum", family), 1);
    assert!(
        world.device("mum").engine.is_settled(),
        "nothing is left to be sent to nobody"
    );
}

#[test]
fn a_mailbox_that_was_said_to_be_open_and_is_not_is_opened_after_all() {
    let mut world = World::new();
    world.add("mum");
    world.connect("mum");
    let mailbox = world.mailbox("mum");
    world.disconnect("mum");
    assert!(world.relay.mailboxes.remove(&mailbox).is_some());
    world.connect("mum");
    assert!(!world.device("mum").engine.is_attached(), "nobody knows it");
    world.connect("mum");
    assert!(world.device("mum").engine.is_attached());
    assert!(world.relay.mailboxes.contains_key(&mailbox));
}

#[test]
fn a_mailbox_that_was_closed_is_not_opened_again() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "hello");
    world.settle();
    assert_eq!(world.texts("kid"), ["hello"]);
    let mailbox = world.mailbox("kid");
    world.disconnect("kid");
    assert!(world.relay.mailboxes.remove(&mailbox).is_some());
    for _ in 0..3 {
        world.connect("kid");
        assert!(!world.device("kid").engine.is_attached());
    }
    assert!(!world.relay.mailboxes.contains_key(&mailbox));
}

#[test]
fn answers_to_nobody_change_nothing() {
    let mut world = World::new();
    let family = world.family();
    for id in [0, 1, 5, 400, u64::MAX] {
        for body in [
            S::MailboxOpened(wire::MailboxOpened {}),
            S::Attached(wire::Attached {
                waiting: u64::MAX,
                window: 0,
            }),
            S::SendResult(wire::SendResult::default()),
            S::CommitSlot(wire::CommitSlot {
                present: true,
                sealed: vec![1; 70_000].into(),
            }),
            S::BlobCreated(wire::BlobCreated {
                offset: u64::MAX,
                expires_day: 0,
            }),
            S::SignalDelivered(wire::SignalDelivered {
                body: vec![0; 256].into(),
            }),
            S::RendezvousReady(wire::RendezvousReady::default()),
            S::RendezvousGot(wire::RendezvousGot::default()),
            S::Error(wire::Error::default()),
        ] {
            world.input("mum", frame(id, body));
        }
    }
    world.text("mum", family, "hello");
    world.settle();
    assert_eq!(world.texts("kid"), ["hello"]);
}

#[test]
fn a_refused_slot_is_asked_again_but_not_at_once() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("kid");
    world.self_update("mum", family);
    world.text("mum", family, "moved on");
    world.settle();
    world.relay.refuse_slots = 4;
    let served = world.relay.requests_served;
    world.connect("kid");
    assert!(
        world.relay.requests_served - served < 10,
        "one question at a time"
    );
    for _ in 0..40 {
        world.pass(10_000);
    }
    assert_eq!(world.texts("kid"), ["moved on"]);
    assert!(world.device("kid").engine.is_settled());
}

#[test]
fn an_empty_slot_of_one_room_is_not_taken_for_another() {
    let mut world = World::new();
    let family = world.family();
    let room = world.room("mum", &["dad", "kid"], "Three");
    for _ in 0..3 {
        world.disconnect("kid");
        world.self_update("mum", family);
        world.command("dad", Command::SelfUpdate { conversation: room });
        world.text("mum", room, "x");
        world.text("dad", family, "y");
        world.settle();
        world.connect("kid");
        world.settle();
        assert!(world.device("kid").engine.is_settled());
    }
    check_agreement(&mut world);
    assert_eq!(world.texts("kid").len(), 6);
}

#[test]
fn more_said_to_wait_than_comes_does_not_silence_a_device() {
    let mut world = World::new();
    let family = world.family();
    let kid = world.mailbox("kid");
    world.disconnect("kid");
    world.text("mum", family, "one");
    world.settle();
    // One of the envelopes that are counted goes before it is delivered.
    world.relay.paused = Some(kid.clone());
    world.connect("kid");
    world.relay.mailboxes.get_mut(&kid).unwrap().clear();
    world.relay.unpause();
    world.run();
    world.text("kid", family, "hello?");
    world.settle();
    assert!(world.texts("mum").contains(&"hello?".to_owned()));
}

#[test]
fn the_same_message_under_another_number_is_shown_once() {
    let mut world = World::new();
    let family = world.family();
    let kid = world.mailbox("kid");
    world.relay.paused = Some(kid.clone());
    for n in 0..5 {
        world.text("mum", family, &format!("{n}"));
    }
    let twice: Vec<_> = world.relay.mailboxes[&kid].iter().cloned().collect();
    world.relay.mailboxes.get_mut(&kid).unwrap().extend(twice);
    world.relay.unpause();
    world.run();
    world.settle();
    assert_eq!(world.texts("kid"), ["0", "1", "2", "3", "4"]);
    let noted = |event: &Event| matches!(event, Event::Unreadable { .. } | Event::Gap { .. });
    assert_eq!(world.count("kid", noted), 0);
}

#[test]
fn the_same_message_twice_behind_a_gap_is_shown_once() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "0");
    world.settle();
    let kid = world.mailbox("kid");
    world.relay.paused = Some(kid.clone());
    for n in 1..4 {
        world.text("mum", family, &format!("{n}"));
    }
    let mailbox = world.relay.mailboxes.get_mut(&kid).unwrap();
    mailbox.pop_front();
    let twice: Vec<_> = mailbox.iter().cloned().collect();
    mailbox.extend(twice);
    world.relay.unpause();
    world.run();
    world.settle();
    assert_eq!(world.texts("kid"), ["0", "1", "2", "3"]);
    assert_eq!(
        world.count("kid", |event| matches!(event, Event::Unreadable { .. })),
        0
    );
}

#[test]
fn a_relay_of_another_name_hears_nothing() {
    let mut world = World::new();
    world.add("mum");
    let hello = wire::Hello {
        nonce: vec![7; 32].into(),
        server_name: "pin:other".into(),
        ..wire::Hello::default()
    };
    world.device("mum").online = true;
    world.input("mum", Input::Connected(hello));
    assert!(!world.device("mum").online);
    assert_eq!(world.relay.requests_served, 0);
}
