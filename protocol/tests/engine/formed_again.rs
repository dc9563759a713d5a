//! What was decided and said where it could not go on: in a conversation that was formed
//! again, and on a device that comes back.

use kinline_protocol::content::Control;
use kinline_protocol::engine::CommandError;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::identity::{Decision, Settings};
use kinline_protocol::ids::ConversationId;
use kinline_protocol::pairing::CodeKind;

use super::members::spoil;
use super::world::{Name, World};

fn lease(lease_days: u32) -> Command {
    Command::ChangeSettings {
        settings: Settings {
            signatures: 1,
            lease_days,
        },
    }
}

fn lease_of(world: &mut World, name: Name) -> u32 {
    let log = world.device(name).engine.family_log().unwrap();
    log.settings().lease_days
}

fn decided(lease_days: u32) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Decided { decision: Decision::Settings(settings), .. } if settings.lease_days == lease_days)
}

fn not_decided(event: &Event) -> bool {
    matches!(event, Event::NotDecided { .. })
}

/// Nobody can change the family's conversation any more, and everybody has seen it.
fn stuck(world: &mut World, family: ConversationId) {
    spoil(world, "kid", family);
    world.self_update("mum", family);
    world.settle();
}

#[test]
fn what_waited_to_be_decided_is_decided_where_it_goes_on() {
    let mut world = World::new();
    let family = world.family();
    stuck(&mut world, family);
    world.command("mum", lease(9));
    world.disconnect("dad");
    world.settle();
    world.command(
        "dad",
        Command::ChangeSettings {
            settings: Settings {
                signatures: 2,
                lease_days: 9,
            },
        },
    );
    assert_eq!(lease_of(&mut world, "kid"), 7, "nothing can be decided");
    world.command(
        "mum",
        Command::Reform {
            conversation: family,
        },
    );
    world.settle();
    assert_eq!(lease_of(&mut world, "kid"), 9, "hers goes on");
    world.connect("dad");
    world.settle();
    for name in ["mum", "dad", "kid"] {
        let log = world.device(name).engine.family_log().unwrap();
        assert_eq!(log.settings().signatures, 2, "so does his: {name}");
        assert_eq!(world.count(name, not_decided), 0);
        assert_eq!(world.count(name, decided(9)), 2);
    }
    for name in ["mum", "dad", "kid"] {
        assert!(world.device(name).engine.is_settled(), "{name} is settled");
    }
}

#[test]
fn a_decision_that_can_not_be_made_any_more_is_named_with_its_reason() {
    let mut world = World::new();
    let family = world.family();
    world.add("sis");
    world.pair("mum", "sis", MemberRole::Child, "Eva");
    world.settle();
    let device = world.device("sis").engine.device();
    stuck(&mut world, family);
    world.disconnect("dad");
    world.command("dad", Command::RemoveDevice { device });
    world.command("mum", Command::RemoveDevice { device });
    world.command(
        "mum",
        Command::Reform {
            conversation: family,
        },
    );
    world.settle();
    world.connect("dad");
    world.settle();
    let named = |event: &Event| {
        matches!(event, Event::NotDecided { decisions, sentence }
            if *decisions == [Decision::RemoveDevice(device)] && sentence.contains("contradicts"))
    };
    assert_eq!(world.count("dad", named), 1, "he hears why");
    assert_eq!(world.count("mum", not_decided), 0);
    let log = world.device("kid").engine.family_log().unwrap();
    assert!(log.certificate(&device).is_none());
    assert!(world.device("dad").engine.is_settled());
}

#[test]
fn what_devices_had_not_heard_is_said_where_it_goes_on_and_heard_once() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("dad");
    let child = world.device("kid").engine.member().unwrap();
    let by = CodeKind::Qr;
    world.command("mum", Command::StartMeeting { child, by });
    let shown = world.device("mum").events.iter();
    let mut codes = shown.filter_map(|event| match event {
        Event::MeetingCode { code } => Some(code.clone()),
        _ => None,
    });
    let request = Command::RequestFriend {
        code: codes.next().unwrap(),
        words: "please".into(),
    };
    world.command("kid", request);
    world.settle();
    let heard = |event: &Event| matches!(event, Event::Control { control: Control::FriendRequest(request), .. } if request.words == "please");
    assert_eq!(world.count("mum", heard), 1);
    // Nothing of what waited for him reaches him.
    let mailbox = world.mailbox("dad");
    world.relay.mailboxes.get_mut(&mailbox).unwrap().clear();
    stuck(&mut world, family);
    world.command(
        "mum",
        Command::Reform {
            conversation: family,
        },
    );
    world.settle();
    assert_eq!(world.count("dad", heard), 0);
    world.connect("dad");
    world.settle();
    assert_eq!(world.count("dad", heard), 1, "he hears it in the new one");
    assert_eq!(world.count("mum", heard), 1, "and she not again");
    assert!(world.device("kid").engine.is_settled());
}

#[test]
fn what_is_written_before_the_others_are_in_is_for_them_too() {
    let mut world = World::new();
    let family = world.family();
    stuck(&mut world, family);
    world.relay.hold_sends_of = Some("mum");
    let again = Command::Reform {
        conversation: family,
    };
    world.command("mum", again);
    let new = world.device("mum").engine.family_conversation().unwrap();
    assert_ne!(new, family);
    world.text("mum", new, "hello again");
    world.relay.hold_sends_of = None;
    world.relay.serve_held();
    world.settle();
    for name in ["dad", "kid"] {
        let texts = world.texts(name);
        assert!(
            texts.contains(&"hello again".to_owned()),
            "{name} reads {texts:?}"
        );
    }
}

#[test]
fn what_was_decided_on_a_restored_copy_is_decided_once_it_is_back() {
    let mut world = World::new();
    world.family();
    world.disconnect("mum");
    world.command("mum", lease(9));
    let copy = world.device("mum").store.clone();
    world.connect("mum");
    world.settle();
    assert_eq!(lease_of(&mut world, "kid"), 9);
    world.command("mum", lease(11));
    world.settle();
    world.disconnect("mum");
    world.device("mum").store = copy;
    world.relay.knows_copies = true;
    world.restart("mum");
    let kid = world.device("kid").engine.member().unwrap();
    let removed = Command::RemoveMember { member: kid };
    world.command("mum", removed);
    world.connect("mum");
    world.connect("mum");
    world.settle();
    let back = |event: &Event| matches!(event, Event::BackIn { .. });
    assert_eq!(world.count("mum", back), 1);
    for name in ["mum", "dad"] {
        assert_eq!(lease_of(&mut world, name), 11, "not a second time: {name}");
        let log = world.device(name).engine.family_log().unwrap();
        assert!(!log.members().contains_key(&kid), "but the other: {name}");
    }
    assert_eq!(world.count("mum", not_decided), 0);
    assert!(world.device("mum").engine.is_settled());
}

#[test]
fn who_was_left_out_follows_a_guardian() {
    let mut world = World::new();
    let family = world.family();
    // She uses up what she has of his phone, which is off; the tablet has some left.
    world.disconnect("dad");
    world.relay.drop_for = Some(world.mailbox("dad"));
    for title in ["one", "two"] {
        world.room("mum", &["dad"], title);
    }
    world.relay.drop_for = None;
    stuck(&mut world, family);
    world.command(
        "mum",
        Command::Reform {
            conversation: family,
        },
    );
    world.settle();
    let new = world.device("mum").engine.family_conversation().unwrap();
    assert_ne!(new, family);
    assert_eq!(world.device("kid").engine.family_conversation(), Some(new));
    world.connect("dad");
    world.settle();
    assert_eq!(world.device("dad").engine.family_conversation(), Some(new));
    world.text("dad", new, "here I am");
    world.settle();
    for name in ["mum", "kid"] {
        assert!(world.texts(name).contains(&"here I am".to_owned()));
    }
    let refused = |event: &Event| matches!(event, Event::Unreadable { reason, .. } if reason.contains("already"));
    assert_eq!(world.count("dad", refused), 0, "no tablet invites him");
}

#[test]
fn a_room_that_is_lost_to_all_is_formed_again_at_a_guardians_word() {
    let mut world = World::new();
    world.family();
    let room = world.room("mum", &["kid"], "Two");
    world.text("kid", room, "before");
    world.settle();
    world.relay.knows_copies = true;
    // Both are restored from copies: neither can bring the other back there.
    for name in ["mum", "kid"] {
        let copy = world.device(name).store.clone();
        world.text(name, room, "soon forgotten");
        world.settle();
        world.disconnect(name);
        world.device(name).store = copy;
        world.restart(name);
    }
    for name in ["mum", "kid"] {
        world.connect(name);
        world.connect(name);
        world.settle();
    }
    let again = Command::Reform { conversation: room };
    let early = world.try_command("mum", again.clone());
    assert!(matches!(early, Err(CommandError::ComingBack)));
    for _ in 0..4 {
        world.pass(200_000);
        world.settle();
    }
    let child = world.try_command("kid", again.clone());
    assert!(matches!(child, Err(CommandError::NotGuardian)));
    world.command("mum", again);
    world.settle();
    let both = ["mum", "kid"].map(|name| {
        let all = world.device(name).engine.conversations();
        let mut new = all.iter().filter(|c| c.title == "Two" && c.id != room);
        new.next().map(|c| c.id)
    });
    assert!(both[0].is_some() && both[0] == both[1]);
    world.text("kid", both[0].unwrap(), "we go on");
    world.settle();
    assert!(world.texts("mum").contains(&"we go on".to_owned()));
}
