//! What a guardian sets for a child, and how the child's tablet keeps to it.

use kinline_protocol::content::{Body, kinds};
use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::CommandError;
use kinline_protocol::engine::io::{Command, Event, MemberRole, RecordClass, RecordKey};
use kinline_protocol::identity::Decision;
use kinline_protocol::ids::{ConversationId, MemberId};
use kinline_protocol::policy::{Policy, PolicyError, QuietHours, Why};
use kinline_protocol::wire;
use prost::Message as _;

use super::world::{Kill, Name, World};

const DAY_MS: u64 = 86_400_000;
const MINUTE_MS: u64 = 60_000;

/// Berlin is an hour ahead of UTC; the world begins on a Friday in January, at 09:00 there.
fn open() -> Policy {
    Policy::open("Europe/Berlin")
}

/// 20:00 to 07:00.
fn nights() -> Policy {
    Policy {
        quiet: vec![QuietHours {
            weekdays: 0x7f,
            from_minute: 20 * 60,
            to_minute: 7 * 60,
        }],
        ..open()
    }
}

fn member(world: &mut World, name: Name) -> MemberId {
    world.device(name).engine.member().unwrap()
}

fn set(world: &mut World, by: Name, policy: Policy) {
    try_set(world, by, policy).unwrap();
    world.settle();
}

fn try_set(world: &mut World, by: Name, policy: Policy) -> Result<(), CommandError> {
    let child = member(world, "kid");
    world.try_command(by, Command::SetPolicy { child, policy })
}

fn policy(world: &mut World, at: Name) -> Option<Policy> {
    let child = member(world, "kid");
    world.device(at).engine.policy_of(&child).cloned()
}

/// The family, a second child, and a room of the two children and one guardian.
fn children(world: &mut World) -> (ConversationId, ConversationId) {
    let family = world.family();
    world.add("sib");
    world.pair("mum", "sib", MemberRole::Child, "Tom");
    (family, world.room("mum", &["kid", "sib"], "Children"))
}

/// Lets time pass to the next time that a clock in Berlin shows this.
fn until(world: &mut World, hour: u64, minute: u64) {
    let local = (world.now.0 + 60 * MINUTE_MS) % DAY_MS;
    let wanted = (hour * 60 + minute) * MINUTE_MS;
    world.pass((wanted + DAY_MS - local) % DAY_MS);
}

fn send(conversation: ConversationId, body: Body) -> Command {
    Command::Send {
        conversation,
        body,
        reply_to: None,
        disappear_seconds: 0,
        blob: None,
    }
}

fn text(text: &str) -> Body {
    Body::Text { text: text.into() }
}

fn sticker() -> Body {
    Body::Sticker {
        pack: String::new(),
        name: "cat".into(),
    }
}

/// Refused by the policy, with this sentence, and nothing is changed.
fn refused(world: &mut World, conversation: ConversationId, body: Body) -> String {
    let before = world.device("kid").store.clone();
    let generation = world.device("kid").engine.generation();
    let error = world
        .try_command("kid", send(conversation, body))
        .unwrap_err();
    assert!(matches!(error, CommandError::Policy(_)), "{error:?}");
    assert_eq!(world.device("kid").engine.generation(), generation);
    assert_eq!(world.device("kid").store, before);
    error.to_string()
}

fn waiting(world: &mut World) -> usize {
    let now = world.now;
    let now = world.device("kid").engine.policy_now(now);
    now.map_or(0, |policy| policy.waiting)
}

fn changes(world: &mut World, name: Name) -> usize {
    let kid = member(world, "kid");
    world.count(
        name,
        |event| matches!(event, Event::PolicyChanged { child } if *child == kid),
    )
}

#[test]
fn everyone_is_told_of_a_policy_and_a_tablet_keeps_it_over_a_restart() {
    let mut world = World::new();
    world.family();
    assert!(policy(&mut world, "kid").is_none());
    let now = world.now;
    assert!(world.device("kid").engine.policy_now(now).is_none());
    set(&mut world, "dad", nights());
    for name in ["mum", "dad", "kid"] {
        assert_eq!(policy(&mut world, name), Some(nights()), "{name}");
        assert_eq!(changes(&mut world, name), 1, "{name}");
    }
    world.restart("kid");
    assert_eq!(policy(&mut world, "kid"), Some(nights()));
    let screen = world.device("kid").engine.policy_now(now).unwrap();
    assert_eq!((screen.stopped, screen.left_today), (None, None));
    assert_eq!(screen.kinds, kinds::ALL);
    // Tonight at eight.
    assert_eq!(screen.changes_at, Some(Timestamp(1_800_039_600_000)));
    let mum = world.device("mum").engine.policy_now(now);
    assert!(mum.is_none(), "a guardian has no policy");
}

#[test]
fn a_policy_is_set_by_guardians_for_children_and_must_hold() {
    let mut world = World::new();
    world.family();
    let error = try_set(&mut world, "kid", open()).unwrap_err();
    assert!(matches!(error, CommandError::NotGuardian), "{error:?}");
    let atlantis = Policy::open("Europe/Atlantis");
    let error = try_set(&mut world, "mum", atlantis).unwrap_err();
    assert!(
        matches!(&error, CommandError::BadPolicy(PolicyError::TimeZone(_))),
        "{error:?}"
    );
    let guardian = member(&mut world, "dad");
    for child in [guardian, MemberId::new([9; 16])] {
        let policy = open();
        let error = world
            .try_command("mum", Command::SetPolicy { child, policy })
            .unwrap_err();
        assert!(matches!(error, CommandError::NoMember), "{error:?}");
    }
    set(&mut world, "mum", nights());
    let error = try_set(&mut world, "mum", nights()).unwrap_err();
    assert!(matches!(error, CommandError::Nothing), "{error:?}");
}

/// Has a device's engine find a change in its store that no command queued.
fn slip_in(world: &mut World, name: Name, family: ConversationId, decision: &Decision) {
    let operation = wire::OperationRecord {
        conversation: family.to_bytes(),
        decisions: vec![wire::DecisionRecord {
            decision: decision.encode().into(),
            salt: vec![0xa5; 16].into(),
            consents: vec![],
        }],
        ..wire::OperationRecord::default()
    };
    let key = RecordKey {
        class: RecordClass::State,
        name: [b"q/".as_slice(), &u64::to_be_bytes(1 << 40)].concat(),
    };
    world
        .device(name)
        .store
        .insert(key, operation.encode_to_vec());
    world.restart(name);
    world.connect(name);
    world.settle();
}

#[test]
fn neither_a_child_nor_a_removed_guardian_sets_a_policy() {
    let mut world = World::new();
    let family = world.family();
    set(&mut world, "mum", nights());
    let child = member(&mut world, "kid");
    let own = Decision::SetPolicy {
        child,
        policy: open(),
    };
    slip_in(&mut world, "kid", family, &own);
    assert_eq!(policy(&mut world, "mum"), Some(nights()));
    assert_eq!(policy(&mut world, "kid"), Some(nights()));
    let told = |event: &Event| matches!(event, Event::NotDecided { .. });
    assert_eq!(world.count("kid", told), 1);
    // Dad's phone is off when he is removed, and has a looser policy ready.
    let dad = member(&mut world, "dad");
    world.disconnect("dad");
    try_set(&mut world, "dad", open()).unwrap();
    slip_in(&mut world, "mum", family, &Decision::RemoveMember(dad));
    world.connect("dad");
    world.settle();
    for name in ["mum", "kid"] {
        let log = world.device(name).engine.family_log().unwrap();
        assert!(!log.members().contains_key(&dad), "{name}");
        assert_eq!(policy(&mut world, name), Some(nights()), "{name}");
        assert_eq!(changes(&mut world, name), 1, "{name}");
    }
    assert!(try_set(&mut world, "dad", open()).is_err());
}

#[test]
fn at_night_a_child_reaches_its_guardians_and_nobody_else() {
    let mut world = World::new();
    let (family, room) = children(&mut world);
    let guardians = world.room("mum", &["dad", "kid"], "Guardians");
    set(&mut world, "mum", nights());
    world.text("kid", room, "before");
    until(&mut world, 20, 0);
    let sentence = "It is quiet time until 07:00.";
    assert_eq!(refused(&mut world, room, text("late")), sentence);
    for conversation in [family, guardians] {
        world.text("kid", conversation, "I can't sleep");
    }
    until(&mut world, 23, 59);
    assert_eq!(refused(&mut world, room, sticker()), sentence);
    until(&mut world, 6, 59);
    world.restart("kid");
    assert_eq!(refused(&mut world, room, text("early")), sentence);
    world.connect("kid");
    until(&mut world, 7, 0);
    world.text("kid", room, "good morning");
    world.settle();
    let mut sib = world.texts("sib");
    sib.sort();
    assert_eq!(sib, ["I can't sleep", "before", "good morning"]);
    let dad = world.texts("dad");
    assert_eq!(dad, ["I can't sleep", "I can't sleep"]);
}

#[test]
fn who_comes_into_a_room_with_its_first_change_reads_it_too() {
    let mut world = World::new();
    children(&mut world);
    set(&mut world, "mum", nights());
    until(&mut world, 21, 0);
    world.disconnect("kid");
    let mut form = |with: &[Name], title: &str| {
        let members = with.iter().map(|name| member(&mut world, name)).collect();
        let create = Command::CreateConversation {
            title: title.into(),
            members,
        };
        world.command("kid", create);
        world.conversation("kid", title)
    };
    let (mum, sib) = (form(&["mum"], "Mum"), form(&["mum", "sib"], "Us"));
    world.text("kid", mum, "are you there?");
    assert_eq!(
        refused(&mut world, sib, text("psst")),
        "It is quiet time until 07:00."
    );
}

#[test]
fn what_others_write_at_night_is_shown_in_the_morning_in_order() {
    let mut world = World::new();
    let (family, room) = children(&mut world);
    set(&mut world, "mum", nights());
    until(&mut world, 21, 0);
    for n in 0..3 {
        world.text("sib", room, &format!("{n}"));
    }
    world.text("mum", room, "sleep now");
    world.text("sib", family, "in the family");
    world.command("kid", Command::MarkRead { conversation: room });
    world.command("sib", Command::Typing { conversation: room });
    world.settle();
    // Guardians, and the family, are not kept waiting; it has it all, and says so.
    let shown = |world: &mut World| {
        let mut texts = world.texts("kid");
        texts.sort();
        texts
    };
    assert_eq!(shown(&mut world), ["in the family", "sleep now"]);
    assert_eq!(waiting(&mut world), 3);
    let tablet = world.device("kid").engine.device();
    let sent = |world: &mut World, read: bool| {
        world.count("sib", |event| match event {
            Event::Delivered { device, .. } => !read && *device == tablet,
            Event::Read { device, .. } => read && *device == tablet,
            _ => false,
        })
    };
    assert_eq!(sent(&mut world, false), 4);
    assert_eq!(sent(&mut world, true), 0, "nobody has seen it");
    let typing = |event: &Event| matches!(event, Event::Typing { .. });
    assert_eq!(world.count("kid", typing), 0);
    assert_eq!(world.device("sib").engine.counters().unconfirmed, 0);
    // It dies in the night, more comes while it is off and after.
    world.restart("kid");
    world.text("sib", room, "3");
    world.connect("kid");
    world.settle();
    world.text("sib", room, "4");
    world.settle();
    assert_eq!(waiting(&mut world), 5);
    assert_eq!(shown(&mut world).len(), 2);
    until(&mut world, 6, 59);
    assert_eq!(waiting(&mut world), 5);
    // Off the network when the night ends: the clock alone shows it.
    world.disconnect("kid");
    until(&mut world, 7, 0);
    let of = |world: &mut World| {
        let mut screen = world.screen("kid");
        screen.retain(|view| view.conversation == room);
        screen
            .into_iter()
            .filter_map(|view| match view.body {
                Some(Body::Text { text }) => Some(text),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let all = ["sleep now", "0", "1", "2", "3", "4"];
    assert_eq!(of(&mut world), all);
    assert_eq!(waiting(&mut world), 0);
    let records = |world: &mut World| {
        let store = &world.device("kid").store;
        store
            .keys()
            .filter(|key| key.name.starts_with(b"n/"))
            .count()
    };
    assert_eq!(records(&mut world), 0);
    world.restart("kid");
    world.connect("kid");
    world.text("sib", room, "5");
    world.command("kid", Command::MarkRead { conversation: room });
    world.settle();
    assert_eq!(of(&mut world)[..6], all);
    assert_eq!(of(&mut world).len(), 7);
    assert_eq!(sent(&mut world, true), 6);
    let seen = |event: &Event| matches!(event, Event::Message { conversation, mine: false, .. } if *conversation == room);
    assert_eq!(world.count("kid", seen), 7, "each once");
}

#[test]
fn a_tablet_that_starts_after_the_night_shows_what_came_in_it() {
    let mut world = World::new();
    let (_, room) = children(&mut world);
    set(&mut world, "mum", nights());
    until(&mut world, 22, 0);
    world.text("sib", room, "first");
    world.text("sib", room, "oops");
    let target = world.screen("sib").last().unwrap().content;
    world.say("sib", room, Body::Delete { target });
    world.settle();
    assert_eq!(waiting(&mut world), 3);
    world.restart("kid");
    until(&mut world, 8, 0);
    assert_eq!(world.texts("kid"), ["first"]);
    world.text("sib", room, "second");
    world.connect("kid");
    world.settle();
    assert_eq!(world.texts("kid"), ["first", "second"]);
    assert_eq!(
        world.screen("kid").len(),
        3,
        "what was taken back leaves a trace"
    );
    assert_eq!(world.device("kid").engine.counters().duplicates, 0);
}

#[test]
fn a_tablet_that_dies_in_the_morning_shows_each_once() {
    for sent in [false, true] {
        let mut world = World::new();
        let (_, room) = children(&mut world);
        set(&mut world, "mum", nights());
        until(&mut world, 22, 0);
        for n in 0..4 {
            world.text("sib", room, &format!("{n}"));
        }
        until(&mut world, 6, 59);
        assert_eq!(waiting(&mut world), 4);
        world.kill = Some(Kill {
            name: "kid",
            output: world.devices["kid"].outputs + 1,
            sent,
        });
        until(&mut world, 7, 0);
        world.settle();
        assert_eq!(world.killed, 1);
        assert_eq!(world.texts("kid"), ["0", "1", "2", "3"], "{sent}");
        assert_eq!(waiting(&mut world), 0);
    }
}

#[test]
fn a_pause_stops_both_ways_and_its_end_shows_what_waited_at_once() {
    let mut world = World::new();
    let (family, room) = children(&mut world);
    let paused = Policy {
        paused: true,
        ..open()
    };
    set(&mut world, "mum", paused);
    let sentence = "Your guardians have paused messages with others.";
    assert_eq!(refused(&mut world, room, text("hey")), sentence);
    let now = world.now;
    let screen = world.device("kid").engine.policy_now(now).unwrap();
    assert_eq!(
        (screen.stopped, screen.changes_at),
        (Some(Why::Paused), None)
    );
    world.text("sib", room, "one");
    world.text("sib", room, "two");
    world.text("kid", family, "why?");
    world.pass(3 * DAY_MS);
    world.settle();
    assert_eq!(world.texts("kid"), ["why?"]);
    assert_eq!(waiting(&mut world), 2);
    // The end of the pause and more words wait for a tablet that is off.
    world.disconnect("kid");
    set(&mut world, "dad", open());
    world.text("sib", room, "three");
    world.settle();
    world.connect("kid");
    world.settle();
    let mut texts = world.texts("kid");
    texts.retain(|text| text != "why?");
    assert_eq!(texts, ["one", "two", "three"]);
    world.text("kid", room, "hey");
}

#[test]
fn messages_of_a_day_are_counted_over_restarts() {
    let mut world = World::new();
    let (family, room) = children(&mut world);
    let limit = Policy {
        messages_per_day: 3,
        ..open()
    };
    set(&mut world, "mum", limit.clone());
    let left = |world: &mut World| {
        let now = world.now;
        let now = world.device("kid").engine.policy_now(now);
        now.unwrap().left_today.unwrap()
    };
    world.text("kid", room, "1");
    world.text("kid", room, "2");
    world.restart("kid");
    assert_eq!(left(&mut world), 1);
    world.text("kid", room, "3");
    let sentence = "That was 3 messages today; there are more tomorrow.";
    assert_eq!(refused(&mut world, room, text("4")), sentence);
    world.restart("kid");
    assert_eq!(refused(&mut world, room, text("4")), sentence);
    world.connect("kid");
    world.text("kid", family, "4");
    // Neither another policy nor a clock turned back makes it less.
    set(
        &mut world,
        "mum",
        Policy {
            kinds: kinds::TEXT,
            ..limit
        },
    );
    assert_eq!(left(&mut world), 0);
    let now = world.now;
    world.now = Timestamp(now.0 - DAY_MS);
    assert_eq!(refused(&mut world, room, text("4")), sentence);
    world.now = now;
    until(&mut world, 23, 59);
    assert_eq!(refused(&mut world, room, text("4")), sentence);
    until(&mut world, 0, 0);
    assert_eq!(left(&mut world), 3);
    world.text("kid", room, "5");
    world.settle();
    let of_kid = world.texts("sib");
    let mut of_kid: Vec<_> = of_kid.iter().map(String::as_str).collect();
    of_kid.sort_unstable();
    assert_eq!(of_kid, ["1", "2", "3", "4", "5"]);
    // What others write is not the child's to count.
    world.text("sib", room, "hi");
    world.settle();
    assert_eq!(left(&mut world), 2);
}

#[test]
fn a_kind_that_is_off_neither_goes_nor_is_shown() {
    let mut world = World::new();
    let (family, room) = children(&mut world);
    let no_stickers = Policy {
        kinds: kinds::ALL & !kinds::STICKER,
        ..nights()
    };
    set(&mut world, "mum", no_stickers);
    let sentence = "Stickers are switched off for this tablet.";
    assert_eq!(refused(&mut world, room, sticker()), sentence);
    world.say("kid", family, sticker());
    world.say("sib", family, sticker());
    world.say("mum", room, sticker());
    world.say("sib", room, sticker());
    world.text("sib", room, "did you see it?");
    world.settle();
    let shown = |world: &mut World, by: Name| {
        let by = member(world, by);
        let mut screen = world.screen("kid");
        screen.retain(|view| view.conversation == room && view.sender == by);
        screen.len()
    };
    assert_eq!(shown(&mut world, "mum"), 1, "guardians send what they like");
    assert_eq!(shown(&mut world, "sib"), 1);
    let sib = member(&mut world, "sib");
    let withheld = |world: &mut World| {
        world.count("kid", |event| match event {
            Event::Withheld {
                conversation,
                sender,
                sentence: why,
                ..
            } => {
                assert_eq!((*conversation, *sender), (room, sib));
                assert_eq!(why, sentence);
                true
            }
            _ => false,
        })
    };
    assert_eq!(withheld(&mut world), 1);
    assert_eq!(world.device("kid").engine.counters().withheld, 1);
    assert_eq!(world.device("sib").engine.counters().unconfirmed, 0);
    // Nothing can be said about it, and nobody else misses it.
    let target = world
        .screen("sib")
        .into_iter()
        .rev()
        .find(|view| view.mine && view.conversation == room && view.body == Some(sticker()))
        .unwrap()
        .content;
    world.say("sib", room, Body::Delete { target });
    world.settle();
    assert_eq!(shown(&mut world, "sib"), 1);
    // One that comes at night is judged in the morning, by the policy of the morning.
    until(&mut world, 21, 0);
    world.say("sib", room, sticker());
    world.settle();
    assert_eq!((waiting(&mut world), withheld(&mut world)), (1, 1));
    set(&mut world, "mum", nights());
    until(&mut world, 7, 0);
    assert_eq!(shown(&mut world, "sib"), 2);
    assert_eq!(withheld(&mut world), 1, "what was withheld stays so");
}

#[test]
fn words_do_not_come_in_as_the_edit_of_a_sticker() {
    let mut world = World::new();
    let (_, room) = children(&mut world);
    let stickers = Policy {
        kinds: kinds::STICKER,
        messages_per_day: 2,
        ..open()
    };
    set(&mut world, "mum", stickers.clone());
    world.say("kid", room, sticker());
    world.say("sib", room, sticker());
    world.settle();
    let target = |world: &mut World, name: Name, mine: bool| {
        let screen = world.screen(name);
        let view = screen.iter().find(|view| view.mine == mine);
        view.unwrap().content
    };
    let edit = |target| Body::Edit {
        target,
        text: "psst".into(),
    };
    let theirs = target(&mut world, "sib", true);
    world.say("sib", room, edit(theirs));
    world.settle();
    let withheld = |event: &Event| matches!(event, Event::Withheld { .. });
    assert_eq!(world.count("kid", withheld), 1);
    let screen = world.screen("kid");
    let it = screen.iter().find(|view| view.content == theirs).unwrap();
    assert_eq!(it.edited, None);
    let mine = target(&mut world, "kid", true);
    let sentence = "Texts are switched off for this tablet.";
    assert_eq!(refused(&mut world, room, edit(mine)), sentence);
    // Where words are allowed, an edit is no message more.
    let words = Policy {
        kinds: kinds::STICKER | kinds::TEXT,
        ..stickers
    };
    set(&mut world, "mum", words);
    world.say("kid", room, edit(mine));
    world.say("kid", room, sticker());
    let sentence = "That was 2 messages today; there are more tomorrow.";
    assert_eq!(refused(&mut world, room, sticker()), sentence);
}

#[test]
fn history_brings_no_child_what_its_policy_keeps_from_it() {
    let mut world = World::new();
    let (_, room) = children(&mut world);
    let only_text = Policy {
        kinds: kinds::TEXT,
        ..nights()
    };
    set(&mut world, "mum", only_text);
    let sticker = || Body::Sticker {
        pack: "woods".into(),
        name: "hedgehog".into(),
    };
    world.command("sib", send(room, sticker()));
    world.command("mum", send(room, sticker()));
    world.command("sib", send(room, text("hello")));
    world.settle();
    until(&mut world, 21, 0);
    world.settle();
    world.add("kid2");
    world.pair("mum", "kid2", MemberRole::Child, "Mia");
    world.settle();
    let shown = |world: &mut World| world.screen("kid2").len();
    assert_eq!(shown(&mut world), 0, "at night nothing of others comes in");
    until(&mut world, 7, 10);
    world.settle();
    // Her guardian's sticker, and her brother's words; not his sticker.
    assert_eq!(shown(&mut world), 2);
    assert_eq!(world.texts("kid2"), ["hello"]);
}
