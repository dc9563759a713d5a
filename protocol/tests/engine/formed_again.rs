//! What was decided and said where it could not go on: in a conversation that was formed
//! again, and on a device that comes back.

use kinline_protocol::content::Control;
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
