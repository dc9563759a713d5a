//! What waits: full mailboxes, gaps, repeats, attachments that are gone, devices that are
//! off for long.

use bytes::Bytes;
use kinline_protocol::attachment::encrypt_bytes;
use kinline_protocol::content::{Body, Photo};
use kinline_protocol::engine::io::{Command, Event, OutgoingBlob, UploadOutcome};
use kinline_protocol::engine::view::Receipt;
use kinline_protocol::ids::ConversationId;
use kinline_protocol::limits;
use kinline_protocol::secrets::Secret;

use super::world::{Name, World};

const HOUR: u64 = 3_600_000;

fn unreadable(event: &Event) -> bool {
    matches!(event, Event::Unreadable { .. })
}

fn gap(event: &Event) -> bool {
    matches!(event, Event::Gap { .. })
}

/// A photo whose encrypted bytes lie in the device's file.
pub(crate) fn photo(world: &mut World, name: Name) -> (Body, OutgoingBlob) {
    let (blob, stored) = encrypt_bytes(&[7; 5_000], &mut world.rng).unwrap();
    let handle = [world.devices[name].files.len() as u8 + 1; 16];
    world.device(name).files.insert(handle, stored);
    let outgoing = OutgoingBlob {
        handle,
        read_secret: blob.read_secret.clone(),
        owner_secret: Secret::random(&mut world.rng),
        size: blob.size,
    };
    let photo = Photo {
        blob,
        width: 10,
        height: 10,
        blurhash: String::new(),
        caption: String::new(),
    };
    (Body::Photo(photo), outgoing)
}

pub(crate) fn photo_to(world: &mut World, name: Name, conversation: ConversationId) -> Command {
    let (body, blob) = photo(world, name);
    Command::Send {
        conversation,
        body,
        reply_to: None,
        disappear_seconds: 0,
        blob: Some(blob),
    }
}

#[test]
fn a_refused_grant_lets_another_envelope_try_a_mailbox_that_was_full() {
    let mut world = World::new();
    let family = world.family();
    let kid = world.mailbox("kid");
    world.relay.full = Some(kid.clone());
    world.text("mum", family, "hello");
    world.run();
    // The one that tries again is told something else, and tries no more by itself.
    world.relay.full = None;
    world.relay.shut = Some(kid);
    world.pass(2_100);
    world.run();
    world.relay.shut = None;
    world.text("mum", family, "again");
    world.settle();
    assert!(world.device("mum").engine.is_settled(), "it has gone");
    world.pass(3_600_000);
    world.settle();
    assert_eq!(world.texts("kid"), ["hello", "again"], "no gap stays");
}

#[test]
fn two_envelopes_under_one_revoked_grant_both_go_to_the_new_address() {
    let mut world = World::new();
    let family = world.family();
    // Both are on their way before the first is answered.
    world.disconnect("mum");
    world.text("mum", family, "first");
    world.text("mum", family, "second");
    world.relay.shut_times = Some((world.mailbox("kid"), 2));
    world.connect("mum");
    assert_eq!(
        world.relay.shut_times.as_ref().map(|(_, times)| *times),
        Some(0)
    );
    assert_eq!(
        world.texts("kid"),
        ["first", "second"],
        "neither is given up"
    );
    assert_eq!(world.count("kid", gap), 0);
}

#[test]
fn one_full_mailbox_stops_nobody_else() {
    let mut world = World::new();
    let family = world.family();
    let kid = world.mailbox("kid");
    world.relay.full = Some(kid);
    let served = world.relay.requests_served;
    for n in 0..150 {
        world.text("mum", family, &format!("{n}"));
    }
    for _ in 0..30 {
        world.pass(10_000);
    }
    assert_eq!(
        world.texts("dad").len(),
        150,
        "dad gets all of them meanwhile"
    );
    let served = world.relay.requests_served - served;
    assert!(served < 1_500, "{served} requests although nothing moves");
    let named = world.count("mum", |event| {
        matches!(event, Event::RecipientRefused { .. })
    });
    assert!((1..50).contains(&named), "named {named} times");
    world.restart("mum");
    world.connect("mum");
    world.relay.full = None;
    for _ in 0..40 {
        world.pass(30_000);
    }
    let texts = world.texts("kid");
    assert_eq!(texts.len(), 150);
    assert!(
        texts
            .iter()
            .map(|text| text.parse::<u32>().unwrap())
            .is_sorted()
    );
    assert_eq!(
        world.count("kid", unreadable),
        0,
        "nothing had to be asked for again"
    );
    world.settle();
    assert!(world.device("mum").engine.is_settled());
}

#[test]
fn the_first_words_of_all_may_be_late() {
    let mut world = World::new();
    let family = world.family();
    let kid = world.mailbox("kid");
    world.relay.slow_once = Some(kid);
    world.text("dad", family, "first");
    world.text("dad", family, "second");
    world.settle();
    assert_eq!(world.texts("kid"), ["first", "second"]);
}

#[test]
fn the_first_words_of_all_may_be_lost() {
    let mut world = World::new();
    let family = world.family();
    world.relay.drop_next = 2;
    world.text("dad", family, "first");
    world.text("dad", family, "second");
    world.text("dad", family, &"third ".repeat(500));
    world.settle();
    for name in ["kid", "mum"] {
        assert_eq!(world.texts(name).len(), 3, "{name}");
        assert_eq!(world.texts(name)[..2], ["first", "second"], "{name}");
    }
}

#[test]
fn the_first_that_is_seen_may_be_long() {
    let mut world = World::new();
    let family = world.family();
    world.relay.drop_next = 2;
    world.text("dad", family, "first");
    world.text("dad", family, &"second ".repeat(500));
    world.settle();
    assert_eq!(world.texts("kid").len(), 2);
    assert_eq!(world.texts("mum").len(), 2);
}

#[test]
fn a_request_to_send_again_is_itself_repeated() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "one");
    world.settle();
    world.relay.drop_next = 2;
    world.text("mum", family, "two");
    let mum = world.mailbox("mum");
    // What the others ask of mum is lost too, for a while.
    world.relay.drop_for = Some(mum);
    world.text("mum", family, "three");
    world.pass(1_000);
    world.pass(1_000);
    world.relay.drop_for = None;
    assert_eq!(world.texts("kid"), ["one"]);
    world.settle();
    assert_eq!(world.texts("kid"), ["one", "two", "three"]);
    assert_eq!(world.texts("dad"), ["one", "two", "three"]);
}

#[test]
fn the_request_outlives_the_process() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "one");
    world.settle();
    world.relay.drop_next = 2;
    world.text("mum", family, "two");
    let mum = world.mailbox("mum");
    world.relay.drop_for = Some(mum);
    world.text("mum", family, "three");
    world.pass(1_000);
    world.relay.drop_for = None;
    world.restart("kid");
    world.connect("kid");
    world.settle();
    assert_eq!(world.texts("kid"), ["one", "two", "three"]);
}

#[test]
fn each_of_two_gaps_is_given_up() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "1");
    world.settle();
    let kid = world.mailbox("kid");
    for n in 2..=5 {
        world.relay.drop_for = (n % 2 == 0).then(|| kid.clone());
        world.text("mum", family, &format!("{n}"));
        // She goes before anybody can ask her.
        world.disconnect("mum");
        if n < 5 {
            world.relay.drop_for = Some(kid.clone());
            world.connect("mum");
            world.relay.drop_for = None;
        }
    }
    world.relay.drop_for = None;
    assert_eq!(world.texts("kid"), ["1"]);
    for _ in 0..140 {
        world.pass(60_000);
    }
    assert_eq!(world.texts("kid"), ["1", "3", "5"]);
    assert_eq!(world.count("kid", gap), 2);
}

#[test]
fn a_gap_is_not_given_up_before_the_mailbox_was_read() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "one");
    world.settle();
    let kid = world.mailbox("kid");
    world.relay.drop_for = Some(kid);
    world.text("mum", family, "two");
    world.relay.drop_for = None;
    world.text("mum", family, "three");
    world.disconnect("kid");
    world.disconnect("mum");
    // The tablet is off for longer than a gap may last; mum comes half a minute after it.
    world.pass(3 * HOUR);
    world.connect("kid");
    world.pass(1_000);
    world.pass(29_000);
    world.connect("mum");
    world.settle();
    assert_eq!(world.texts("kid"), ["one", "two", "three"]);
    assert_eq!(world.count("kid", gap), 0);
}

#[test]
fn an_attachment_that_is_gone_holds_nothing_back() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "before");
    world.upload_outcome = Some(UploadOutcome::Lost);
    let send = photo_to(&mut world, "mum", family);
    world.command("mum", send);
    world.upload_outcome = None;
    world.text("mum", family, "after");
    world.settle();
    assert_eq!(world.texts("kid"), ["before", "after"]);
    assert_eq!(
        world.count("mum", |event| matches!(event, Event::Undelivered { .. })),
        2
    );
    assert_eq!(
        world.count("kid", |event| gap(event) || unreadable(event)),
        0
    );
    assert!(
        world
            .screen("mum")
            .iter()
            .all(|view| !matches!(view.body, Some(Body::Photo(_))))
    );
}

#[test]
fn room_for_an_attachment_is_asked_for_again_but_not_at_once() {
    let mut world = World::new();
    let family = world.family();
    world.relay.refuse_blobs = 3;
    let send = photo_to(&mut world, "mum", family);
    let served = world.relay.requests_served;
    world.command("mum", send);
    assert!(world.relay.requests_served - served <= 2);
    world.settle();
    assert_eq!(world.screen("kid").len(), 1);
}

#[test]
fn having_fetched_an_attachment_outlives_the_process() {
    let mut world = World::new();
    let family = world.family();
    let before: Vec<Vec<u8>> = world.relay.blobs.keys().cloned().collect();
    let send = photo_to(&mut world, "mum", family);
    world.command("mum", send);
    world.settle();
    assert!(world.relay.blobs.keys().any(|blob| !before.contains(blob)));
    let content = world.screen("kid")[0].content;
    let kid = world.device("kid").engine.device();
    for name in ["kid", "dad"] {
        world.command(name, Command::AttachmentFetched { content });
        // Its confirmation has not left yet.
        world.restart(name);
        world.connect(name);
    }
    world.settle();
    assert_eq!(world.screen("mum")[0].receipts[&kid], Receipt::Fetched);
    assert!(
        world.relay.blobs.keys().all(|blob| before.contains(blob)),
        "nobody needs it any more"
    );
}

#[test]
fn nobody_is_flooded_while_it_is_off() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("kid");
    for n in 0..20 {
        world.text("mum", family, &format!("{n}"));
    }
    for _ in 0..48 {
        world.pass(HOUR);
    }
    let kid = world.mailbox("kid");
    let waiting = world.relay.mailboxes[&kid].len();
    assert!(
        waiting < 60,
        "{waiting} envelopes wait for a tablet that is off"
    );
    world.connect("kid");
    world.settle();
    assert_eq!(world.texts("kid").len(), 20);
}

#[test]
fn the_last_words_are_repeated_too() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "one");
    world.settle();
    world.relay.drop_next = 2;
    world.text("mum", family, "last");
    for _ in 0..10 {
        world.pass(HOUR);
    }
    assert_eq!(world.texts("kid"), ["one", "last"]);
    assert_eq!(world.texts("dad"), ["one", "last"]);
}

#[test]
fn whoever_speaks_without_having_confirmed_gets_it_again() {
    let mut world = World::new();
    let family = world.family();
    world.text("mum", family, "one");
    world.settle();
    world.relay.drop_next = 2;
    world.text("mum", family, "last");
    world.pass(120_000);
    world.text("dad", family, "anybody there?");
    world.settle();
    assert!(
        world.texts("dad").contains(&"last".to_owned()),
        "mum confirmed to dad and heard from him"
    );
}

#[test]
fn a_reaction_may_come_before_its_target() {
    let mut world = World::new();
    let family = world.family();
    let kid = world.mailbox("kid");
    world.text("mum", family, "zero");
    world.settle();
    world.relay.drop_for = Some(kid);
    world.text("mum", family, "one");
    world.relay.drop_for = None;
    let target = world.screen("dad").last().unwrap().content;
    world.say(
        "dad",
        family,
        Body::Reaction {
            target,
            emoji: "👍".into(),
        },
    );
    world.settle();
    world.text("mum", family, "two");
    world.settle();
    assert_eq!(world.texts("kid"), ["zero", "one", "two"]);
    let view = world
        .screen("kid")
        .into_iter()
        .find(|view| view.content == target)
        .unwrap();
    assert_eq!(view.reactions.len(), 1);
}

#[test]
fn new_words_for_what_has_disappeared_are_not_kept() {
    let mut world = World::new();
    let family = world.family();
    let send = Command::Send {
        conversation: family,
        body: Body::Text {
            text: "rosebud".into(),
        },
        reply_to: None,
        disappear_seconds: 5,
        blob: None,
    };
    world.command("mum", send);
    let target = world.screen("mum")[0].content;
    world.disconnect("mum");
    world.say(
        "mum",
        family,
        Body::Edit {
            target,
            text: "tulip".into(),
        },
    );
    world.settle();
    world.connect("mum");
    world.settle();
    for name in ["mum", "dad", "kid"] {
        let kept = world
            .device(name)
            .store
            .values()
            .any(|value| value.windows(5).any(|window| window == b"tulip"));
        assert!(!kept, "{name}");
    }
    world.restart("kid");
    world.restart("mum");
}

#[test]
fn what_nobody_fetched_for_a_month_expires_visibly() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("kid");
    world.text("mum", family, "hello?");
    world.settle();
    let undelivered = |event: &Event| matches!(event, Event::Undelivered { .. });
    for _ in 0..limits::CONTENT_KEEP_DAYS {
        world.pass(24 * HOUR);
    }
    assert_eq!(world.count("mum", undelivered), 0);
    for _ in 0..2 {
        world.pass(24 * HOUR);
    }
    assert_eq!(world.count("mum", undelivered), 1);
    assert_eq!(world.device("mum").engine.counters().unconfirmed, 0);
}

#[test]
fn an_unknown_upload_is_nothing() {
    let mut world = World::new();
    world.family();
    let input = kinline_protocol::engine::io::Input::Uploaded {
        handle: [9; 16],
        outcome: UploadOutcome::Lost,
    };
    world.input("mum", input);
    let outcome = kinline_protocol::engine::io::FetchOutcome::Got(Bytes::from_static(b"noise"));
    let input = kinline_protocol::engine::io::Input::Fetched {
        read_secret: Secret::new([1; 32]),
        outcome,
    };
    world.input("mum", input);
    assert!(world.device("mum").engine.is_settled());
}

#[test]
fn a_welcome_for_several_waits_for_each_of_them() {
    let mut world = World::new();
    world.family();
    for off in ["dad", "kid"] {
        let on = if off == "dad" { "kid" } else { "dad" };
        world.disconnect(off);
        let room = world.room("mum", &["dad", "kid"], off);
        // Whoever is in speaks, long after the welcome was put into its mailbox.
        world.pass(120_000);
        world.text(on, room, &format!("{on} is in"));
        world.settle();
        world.connect(off);
        world.settle();
        world.text(off, room, &format!("{off} is in"));
        world.settle();
        for text in [format!("{on} is in"), format!("{off} is in")] {
            assert!(world.texts("mum").contains(&text), "{text}");
            assert!(world.texts(off).contains(&text), "{text} for {off}");
        }
        world.pass(120_000);
        for name in [on, off] {
            world.text(name, room, "still here");
        }
        world.settle();
        let name = [b"x/".as_slice(), room.as_bytes()].concat();
        let kept = world.device("mum").store.keys();
        let kept = kept.filter(|key| key.name.starts_with(&name)).count();
        assert_eq!(kept, 0, "then it goes");
    }
}
