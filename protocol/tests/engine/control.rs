//! What devices say to each other beside messages, and learning reports.

use kinline_protocol::content::{Body, BodyError, Control, FriendRequest, Progress};
use kinline_protocol::day::Day;
use kinline_protocol::engine::CommandError;
use kinline_protocol::engine::io::{Command, Event, RecordClass, RecordKey};
use kinline_protocol::ids::ConversationId;
use kinline_protocol::wire;
use prost::Message as _;

use super::world::{Name, World};

const DAY_MS: u64 = 24 * 3_600_000;

fn control(n: usize) -> Body {
    Body::Control(Control::FriendRequest(FriendRequest {
        code: format!("code {n}"),
        words: String::new(),
    }))
}

fn progress() -> Body {
    Body::Progress(Progress {
        app: "Number Garden".into(),
        activity: "Adding".into(),
        level: Some(3),
        score: None,
        out_of: None,
        seconds: 720,
        text: String::new(),
    })
}

/// What a device was told, in order.
fn told(world: &mut World, name: Name, of: ConversationId) -> Vec<String> {
    let events = &world.device(name).events;
    let codes = events.iter().filter_map(|event| match event {
        Event::Control {
            conversation,
            control: Control::FriendRequest(request),
            ..
        } if *conversation == of => Some(request.code.clone()),
        _ => None,
    });
    codes.collect()
}

fn history(world: &mut World, name: Name) -> usize {
    let store = &world.device(name).store;
    store
        .keys()
        .filter(|key| key.class == RecordClass::History)
        .count()
}

#[test]
fn control_contents_arrive_once_in_order_through_restarts_and_are_not_shown() {
    let mut world = World::new();
    let family = world.family();
    world.text("kid", family, "before");
    world.settle();
    let records = history(&mut world, "mum");
    world.disconnect("mum");
    world.disconnect("dad");
    // Written offline, kept over the death of its device, sent after.
    world.disconnect("kid");
    world.say("kid", family, control(1));
    world.say("kid", family, control(2));
    world.restart("kid");
    world.connect("kid");
    world.say("kid", family, control(3));
    world.settle();
    // One recipient dies with what waits for it, and after it was told.
    world.restart("mum");
    world.connect("mum");
    world.connect("dad");
    world.settle();
    world.restart("mum");
    world.connect("mum");
    world.text("kid", family, "after");
    world.settle();

    for name in ["mum", "dad"] {
        let all = ["code 1", "code 2", "code 3"];
        assert_eq!(told(&mut world, name, family), all, "{name}");
        assert_eq!(world.texts(name), ["before", "after"], "{name}");
        assert_eq!(world.screen(name).len(), 2, "{name}");
        let shown = world.count(name, |event| matches!(event, Event::Message { .. }));
        assert_eq!(shown, 2, "{name}");
    }
    // The only record that came is of the message.
    assert_eq!(history(&mut world, "mum"), records + 1);
    assert!(told(&mut world, "kid", family).is_empty());
    assert_eq!(world.screen("kid").len(), 2);
    for name in ["mum", "dad", "kid"] {
        let engine = &world.device(name).engine;
        assert!(engine.is_settled(), "{name}");
        assert_eq!(engine.counters().unconfirmed, 0, "{name}");
        assert_eq!(engine.counters().gaps, 0, "{name}");
    }
    let delivered = |event: &Event| matches!(event, Event::Delivered { .. });
    // Two texts to two devices: nothing is told about what is not shown.
    assert_eq!(world.count("kid", delivered), 4);
}

#[test]
fn a_lost_control_content_is_sent_again() {
    let mut world = World::new();
    let family = world.family();
    world.relay.drop_for = Some(world.mailbox("mum"));
    world.say("kid", family, control(1));
    world.relay.drop_for = None;
    assert!(told(&mut world, "mum", family).is_empty());
    world.say("kid", family, control(2));
    world.settle();
    assert_eq!(told(&mut world, "mum", family), ["code 1", "code 2"]);
}

#[test]
fn a_learning_report_from_elsewhere_is_not_shown_and_closes_no_gap() {
    let mut world = World::new();
    world.family();
    let room = world.room("mum", &["kid"], "Two");
    // A tablet that takes the room for the family's conversation.
    let key = RecordKey {
        class: RecordClass::State,
        name: [b"c/", room.as_bytes().as_slice()].concat(),
    };
    let stored = world.device("kid").store[&key].clone();
    let mut record = wire::ConversationRecord::decode(stored.as_slice()).unwrap();
    record.set_kind(wire::ConversationKind::Family);
    let tampered = record.encode_to_vec();
    world.device("kid").store.insert(key, tampered);
    world.restart("kid");
    world.connect("kid");
    world.say("kid", room, progress());
    world.text("kid", room, "after");
    world.settle();
    assert_eq!(world.screen("kid").len(), 2, "the tablet shows both");
    assert_eq!(world.screen("mum").len(), 1, "the phone shows the text");
    assert_eq!(world.texts("mum"), ["after"]);
    assert_eq!(world.device("mum").engine.counters().unreadable, 1);
    assert_eq!(world.device("kid").engine.counters().unconfirmed, 0);
}

#[test]
fn learning_reports_stay_in_the_family() {
    let mut world = World::new();
    let family = world.family();
    let room = world.room("mum", &["kid"], "Two");
    world.say("kid", family, progress());
    world.settle();
    for name in ["mum", "dad"] {
        let shown = world.screen(name);
        assert_eq!(shown.len(), 1, "{name}");
        assert_eq!(shown[0].body, Some(progress()), "{name}");
    }
    let elsewhere = Command::Send {
        conversation: room,
        body: progress(),
        reply_to: None,
        disappear_seconds: 0,
        blob: None,
    };
    let refused = world.try_command("kid", elsewhere);
    assert!(matches!(refused, Err(CommandError::FamilyOnly)));
    let empty = Command::Send {
        conversation: family,
        body: Body::Control(Control::Head(bytes::Bytes::new())),
        reply_to: None,
        disappear_seconds: 0,
        blob: None,
    };
    let refused = world.try_command("kid", empty);
    let sentence = BodyError::Control("a head").to_string();
    assert_eq!(refused.unwrap_err().to_string(), sentence);
}

#[test]
fn a_time_that_lies_ahead_is_told_to_every_guardian_once_a_day() {
    let mut world = World::new();
    world.family();
    world.disconnect("mum");
    world.disconnect("kid");
    let now = world.now;
    world.pass(10 * DAY_MS);
    world.settle();
    world.now = now;
    world.connect("kid");
    world.settle();
    world.connect("mum");
    world.settle();
    let noticed = |event: &Event| matches!(event, Event::TimeAhead { .. });
    assert_eq!(world.count("kid", noticed), 1);
    let kid = world.device("kid").engine.device();
    let told = |event: &Event| matches!(event, Event::Control { sender, control: Control::Refusal(refusal), .. } if *sender == kid && refusal.sentence.contains("own clock"));
    for name in ["mum", "dad"] {
        assert_eq!(world.count(name, told), 1, "{name}");
    }
}

#[test]
fn a_day_that_a_guardian_sets_is_told_to_every_device_and_stays() {
    let mut world = World::new();
    world.family();
    let day = Day(u32::try_from(world.now.0 / DAY_MS).unwrap() + 20);
    let child = world.try_command("kid", Command::CorrectTime { day });
    assert!(matches!(child, Err(CommandError::NotGuardian)));
    world.disconnect("dad");
    world.command("mum", Command::CorrectTime { day });
    world.settle();
    world.connect("dad");
    world.settle();
    for name in ["mum", "dad", "kid"] {
        world.restart(name);
        world.connect(name);
    }
    world.settle();
    let told = |event: &Event| *event == Event::TimeCorrected { day };
    for name in ["mum", "dad", "kid"] {
        assert_eq!(world.count(name, told), 1, "{name} says so, once");
    }
}
