//! A new device of a member gets what was said before it came, from the family's other
//! devices, and nothing that its member did not see.

use std::collections::BTreeSet;

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event, MemberRole, RecordClass, RecordKey};
use kinline_protocol::ids::{ContentId, ConversationId};
use kinline_protocol::wire;
use prost::Message as _;

use super::world::{Name, World};

pub(crate) const MINUTE: u64 = 60_000;

/// A family that has talked, in the family's conversation and in a room of mum and kid.
fn talked() -> World {
    let mut world = World::new();
    talk(&mut world);
    world
}

pub(crate) fn talk(world: &mut World) {
    let family = world.family();
    let room = world.room("mum", &["kid"], "Two");
    for n in 0..12_usize {
        world.text(["mum", "dad", "kid"][n % 3], family, &format!("f{n}"));
    }
    for n in 0..6_usize {
        world.text(["mum", "kid"][n % 2], room, &format!("r{n}"));
    }
    world.settle();
}

pub(crate) fn second_phone(world: &mut World) {
    world.add("mum2");
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    world.settle();
}

pub(crate) fn family(world: &mut World, name: Name) -> ConversationId {
    world.device(name).engine.family_conversation().unwrap()
}

fn content_of(world: &mut World, name: Name, text: &str) -> ContentId {
    let screen = world.screen(name);
    let is_it =
        |body: &Option<Body>| matches!(body, Some(Body::Text { text: said }) if said == text);
    screen
        .iter()
        .find(|view| is_it(&view.body))
        .unwrap()
        .content
}

fn progress(world: &mut World, name: Name, id: ConversationId) -> Vec<(u64, u64, bool)> {
    let events = world.device(name).events.iter();
    let of = |event: &Event| match event {
        Event::History {
            conversation,
            done,
            total,
            finished,
        } if *conversation == id => Some((*done, *total, *finished)),
        _ => None,
    };
    events.filter_map(of).collect()
}

/// Blobs that a device still means to delete.
fn garbage(world: &mut World, name: Name) -> Vec<wire::GarbageRecord> {
    let store = world.device(name).store.iter();
    let of = |key: &RecordKey| key.class == RecordClass::State && key.name.starts_with(b"x/");
    let found = store.filter(|(key, _)| of(key));
    found
        .map(|(_, value)| wire::GarbageRecord::decode(value.as_slice()).unwrap())
        .collect()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// So much that it needs several pieces.
fn much(world: &mut World, id: ConversationId) {
    for n in 0..45_usize {
        let text = format!("{n:02} {}", "x".repeat(18_000));
        world.text(["mum", "kid"][n % 2], id, &text);
    }
    world.settle();
}

#[test]
fn a_second_phone_has_what_was_said_before_in_the_same_order() {
    let mut world = talked();
    second_phone(&mut world);
    assert_eq!(world.texts("mum2"), world.texts("mum"));
    let shown = world.count("mum2", |event| matches!(event, Event::Message { .. }));
    assert_eq!(shown, 0, "nothing of it is news");
    let family = family(&mut world, "mum2");
    let seen = progress(&mut world, "mum2", family);
    assert_eq!(seen.first(), Some(&(12, 12, true)));
    assert_eq!(seen.last(), Some(&(12, 12, true)));
    world.text("dad", family, "after");
    world.settle();
    assert_eq!(world.texts("mum2").len(), 19);
    assert_eq!(world.texts("mum2"), world.texts("mum"));
    assert!(
        world
            .screen("mum2")
            .iter()
            .all(|view| view.told_by.is_none())
    );
    // Blobs of pieces are deleted as soon as they were read.
    for name in ["mum", "dad", "kid"] {
        let left = garbage(&mut world, name)
            .iter()
            .filter(|it| it.history)
            .count();
        assert_eq!(left, 0, "{name}");
    }
    // It survives a restart, and is not asked for again.
    let outputs = world.devices["mum"].outputs;
    world.restart("mum2");
    world.connect("mum2");
    world.settle();
    assert_eq!(world.texts("mum2"), world.texts("mum"));
    assert!(world.devices["mum"].outputs < outputs + 12);
}

#[test]
fn a_child_gets_its_own_from_a_guardian_and_from_its_brothers_tablet() {
    let mut world = talked();
    let room = world.conversation("kid", "Two");
    // The tablet falls into the lake; a guardian takes it out and pairs another.
    world.disconnect("kid");
    world.add("kid2");
    world.pair("mum", "kid2", MemberRole::Child, "Mia");
    world.settle();
    assert_eq!(sorted(world.texts("kid2")), sorted(world.texts("mum")));
    assert!(world.texts("kid2").contains(&"r5".into()), "{room:?}");
}

#[test]
fn a_surprise_stays_one() {
    let mut world = World::new();
    let family = world.family();
    let secret = world.room("mum", &["dad"], "Party");
    world.text("mum", secret, "she must not know");
    world.text("mum", family, "hello");
    world.settle();
    world.add("kid2");
    world.pair("mum", "kid2", MemberRole::Child, "Mia");
    world.settle();
    assert_eq!(world.texts("kid2"), ["hello"]);
    assert!(!rooms(&mut world, "kid2").contains(&secret));
    // Nor from the phone of a guardian that was itself told of it.
    second_phone(&mut world);
    assert!(world.texts("mum2").contains(&"she must not know".into()));
    world.disconnect("mum");
    world.disconnect("dad");
    world.add("kid3");
    world.pair("mum2", "kid3", MemberRole::Child, "Mia");
    world.settle();
    assert_eq!(world.texts("kid3"), ["hello"]);
}

fn rooms(world: &mut World, name: Name) -> Vec<ConversationId> {
    let all = world.device(name).engine.conversations();
    all.iter().map(|it| it.id).collect()
}

#[test]
fn a_giver_that_died_before_it_answered_does_so_when_it_is_back() {
    let mut world = talked();
    world.add("mum2");
    world.reads_left = Some(0);
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    assert!(world.texts("mum2").is_empty());
    world.reads_left = None;
    world.restart("mum");
    world.connect("mum");
    // Sooner than it would be asked again.
    for _ in 0..10 {
        world.pass(1_000);
    }
    assert_eq!(world.texts("mum2"), world.texts("mum"));
}

#[test]
fn who_came_later_gets_nothing_from_before_on_any_device() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "before her brother came");
    world.settle();
    world.add("bob");
    world.pair("mum", "bob", MemberRole::Child, "Bob");
    world.settle();
    world.text("mum", family, "after");
    world.settle();
    assert_eq!(world.texts("bob"), ["after"]);
    // His second tablet could be told by four devices that know more.
    world.add("bob2");
    world.pair("mum", "bob2", MemberRole::Child, "Bob");
    world.settle();
    assert_eq!(world.texts("bob2"), ["after"]);
    // Nor does what a phone was given itself, later.
    second_phone(&mut world);
    assert_eq!(world.texts("mum2"), ["before her brother came", "after"]);
    for name in ["mum", "dad", "kid", "bob", "bob2"] {
        world.disconnect(name);
    }
    let lost = world.device("bob").engine.device();
    world.command("mum2", Command::RemoveDevice { device: lost });
    world.settle();
    world.add("bob3");
    world.pair("mum2", "bob3", MemberRole::Child, "Bob");
    world.settle();
    assert_eq!(
        world.texts("bob3"),
        ["after"],
        "told by a phone that was told"
    );
}

#[test]
fn what_is_gone_stays_gone_and_what_was_changed_stays_changed() {
    let mut world = World::new();
    let family = world.family();
    for text in ["deleted", "edited", "loved", "gone"] {
        let command = Command::Send {
            conversation: family,
            body: Body::Text { text: text.into() },
            reply_to: None,
            disappear_seconds: if text == "gone" { 60 } else { 0 },
            blob: None,
        };
        world.command("kid", command);
    }
    world.settle();
    let (deleted, edited, loved) = (
        content_of(&mut world, "mum", "deleted"),
        content_of(&mut world, "mum", "edited"),
        content_of(&mut world, "mum", "loved"),
    );
    world.say("kid", family, Body::Delete { target: deleted });
    let text = "better words".to_owned();
    world.say(
        "kid",
        family,
        Body::Edit {
            target: edited,
            text,
        },
    );
    let emoji = "👍".to_owned();
    world.say(
        "dad",
        family,
        Body::Reaction {
            target: loved,
            emoji,
        },
    );
    world.settle();
    world.settle();
    second_phone(&mut world);
    assert_eq!(world.texts("mum2"), ["better words", "loved"]);
    let screen = world.screen("mum2");
    let loved = screen.iter().find(|view| view.content == loved).unwrap();
    assert_eq!(loved.reactions.len(), 1);
    // What is taken back on its way here is taken back here too.
    world.disconnect("mum");
    let edited_now = content_of(&mut world, "kid", "edited");
    world.say("kid", family, Body::Delete { target: edited_now });
    world.settle();
    assert_eq!(world.texts("mum2"), ["loved"]);
}

#[test]
fn what_is_taken_back_before_its_message_has_come_is_not_shown_after_it() {
    let mut world = World::new();
    let family = world.family();
    for text in ["taken back", "changed", "stays"] {
        world.text("kid", family, text);
    }
    world.settle();
    let (taken, changed) = (
        content_of(&mut world, "kid", "taken back"),
        content_of(&mut world, "kid", "changed"),
    );
    // Those who could give it are away before they hear of the changes.
    world.add("mum2");
    world.frame_by_frame = true;
    world.reads_left = Some(0);
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    for name in ["mum", "dad"] {
        world.disconnect(name);
    }
    assert!(world.texts("mum2").is_empty(), "nothing has come yet");
    world.say("kid", family, Body::Delete { target: taken });
    let text = "new words".to_owned();
    world.say(
        "kid",
        family,
        Body::Edit {
            target: changed,
            text,
        },
    );
    world.settle();
    world.disconnect("kid");
    world.reads_left = None;
    // Mum's first phone knows nothing of the changes when it answers.
    let kid = world.mailbox("mum");
    world.relay.mailboxes.get_mut(&kid).unwrap().clear();
    world.connect("mum");
    for _ in 0..12 {
        world.pass(MINUTE);
        world.settle();
    }
    assert_eq!(world.texts("mum2"), ["new words", "stays"]);
}

#[test]
fn it_goes_on_with_another_giver_where_one_stopped() {
    let mut world = World::new();
    let family = world.family();
    much(&mut world, family);
    world.add("mum2");
    world.frame_by_frame = true;
    // After the first piece mum's first phone gives nothing any more.
    world.reads_left = Some(1);
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    let got = world.texts("mum2").len();
    assert!((1..45).contains(&got), "{got} came");
    let seen = progress(&mut world, "mum2", family);
    assert_eq!(seen, [(got as u64, 45, false)]);
    world.disconnect("mum");
    world.reads_left = None;
    // The new device dies too, and goes on.
    world.restart("mum2");
    world.connect("mum2");
    for _ in 0..12 {
        world.pass(MINUTE);
        world.settle();
    }
    assert_eq!(sorted(world.texts("mum2")), sorted(world.texts("mum")));
    let screen = world.screen("mum2");
    let ids: BTreeSet<ContentId> = screen.iter().map(|view| view.content).collect();
    assert_eq!(ids.len(), screen.len(), "nothing twice");
    let seen = progress(&mut world, "mum2", family);
    assert!(
        seen.windows(2).all(|pair| pair[0].0 <= pair[1].0),
        "{seen:?}"
    );
    assert_eq!(seen.last().unwrap(), &(45, 45, true));
    // What one gave, the next does not give again.
    assert!(seen.iter().all(|(_, total, _)| *total == 45), "{seen:?}");
}

#[test]
fn what_comes_from_its_sender_after_the_history_is_news_once() {
    let mut world = talked();
    let family = family(&mut world, "mum");
    world.add("mum2");
    world.reads_left = Some(0);
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    let mailbox = world.mailbox("mum2");
    world.relay.drop_for = Some(mailbox);
    world.text("dad", family, "lost on its way");
    world.relay.drop_for = None;
    world.reads_left = None;
    // He is away before he hears that it is missing.
    world.disconnect("dad");
    for _ in 0..4 {
        world.pass(MINUTE);
    }
    let lost = content_of(&mut world, "mum2", "lost on its way");
    let news = |world: &mut World| {
        world.count(
            "mum2",
            |event| matches!(event, Event::Message { content, .. } if *content == lost),
        )
    };
    assert_eq!(news(&mut world), 0);
    world.connect("dad");
    for text in ["the next", "and one more"] {
        world.text("dad", family, text);
        world.settle();
    }
    assert_eq!(news(&mut world), 1);
    assert_eq!(world.texts("mum2"), world.texts("mum"));
}

#[test]
fn a_tablet_that_was_off_for_long_answers_as_soon_as_it_is_there() {
    let mut world = talked();
    world.add("mum2");
    world.reads_left = Some(0);
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    for name in ["mum", "dad", "kid"] {
        world.disconnect(name);
    }
    // Asked again and again, more and more seldom.
    for _ in 0..60 {
        world.pass(10 * MINUTE);
    }
    assert!(world.texts("mum2").is_empty());
    world.reads_left = None;
    world.restart("kid");
    world.connect("kid");
    for _ in 0..5 {
        world.pass(1_000);
    }
    assert_eq!(sorted(world.texts("mum2")), sorted(world.texts("kid")));
}

/// Alters what a device stores of a message.
fn forge(
    world: &mut World,
    name: Name,
    text: &str,
    change: impl Fn(&mut wire::StoredMessageRecord),
) {
    let content = content_of(world, name, text);
    let store = &mut world.device(name).store;
    let of = |key: &RecordKey| key.class == RecordClass::History && key.name.starts_with(b"m/");
    for (_, value) in store.iter_mut().filter(|(key, _)| of(key)) {
        let mut record = wire::StoredMessageRecord::decode(value.as_slice()).unwrap();
        if record.content_id.as_ref() == content.as_bytes() {
            change(&mut record);
            *value = record.encode_to_vec();
        }
    }
}

#[test]
fn a_giver_that_lies_is_not_believed_and_another_is_asked() {
    let mut world = talked();
    forge(&mut world, "mum", "f4", |record| {
        let mut content = wire::Content::decode(record.content.clone()).unwrap();
        let text = "dad never said this".to_owned();
        content.body = Some(wire::content::Body::Text(wire::Text { text }));
        record.content = content.encode_to_vec().into();
    });
    second_phone(&mut world);
    for _ in 0..6 {
        world.pass(MINUTE);
        world.settle();
    }
    let texts = world.texts("mum2");
    assert!(!texts.contains(&"dad never said this".into()), "{texts:?}");
    assert!(
        texts.contains(&"f4".into()),
        "dad's phone says what he said"
    );
    assert_eq!(texts.len(), 18);
    assert!(world.count("mum2", |event| matches!(event, Event::Refused { .. })) >= 1);
}

#[test]
fn nobody_is_given_words_under_the_name_of_a_device_that_never_was() {
    let mut world = talked();
    forge(&mut world, "mum", "f4", |record| {
        let mut content = wire::Content::decode(record.content.clone()).unwrap();
        content.sender_device = vec![9; 16].into();
        record.content = content.encode_to_vec().into();
    });
    second_phone(&mut world);
    world.settle();
    let screen = world.screen("mum2");
    assert!(
        screen
            .iter()
            .all(|view| view.device.is_none_or(|it| *it.as_bytes() != [9; 16]))
    );
}
