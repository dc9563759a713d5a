//! Tickets that a phone keeps are spent where they are needed, and nowhere else.

use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::pairing::{CodeKind, PairingCode};
use kinline_protocol::ticket::{TICKET_BYTES, Ticket, epoch_of};
use kinline_protocol::wire;

use super::waiting::photo_to;
use super::world::{Name, World};

/// A ticket of this world's day; what the relay makes of it, the relay is told.
fn ticket(world: &World, number: u8) -> String {
    let mut bytes = [number; TICKET_BYTES];
    bytes[0] = 1;
    let epoch = epoch_of(world.now.day().0);
    bytes[1..5].copy_from_slice(&epoch.to_be_bytes());
    Ticket::from_bytes(&bytes).unwrap().to_text()
}

/// Gives a phone tickets, and makes the relay ask for one: it takes those that are told.
fn give(world: &mut World, name: Name, numbers: &[u8], good: &[u8]) {
    let tickets = numbers.iter().map(|number| ticket(world, *number));
    let tickets = tickets.collect();
    let good = good.iter().map(|number| ticket(world, *number)).collect();
    world.relay.admits = Some(good);
    world.command(name, Command::KeepTickets { tickets });
}

fn kept(world: &mut World, name: Name) -> usize {
    world
        .record::<wire::DeviceRecord>(name, b"device")
        .tickets
        .len()
}

fn show(world: &mut World, name: Name) -> PairingCode {
    let start = Command::StartPairing {
        role: MemberRole::Child,
        name: "Leo".into(),
        by: CodeKind::Qr,
    };
    world.command(name, start);
    let events = world.device(name).events.iter().rev();
    let code = events.clone().find_map(|event| match event {
        Event::PairingCode { code } => Some(code.parse().unwrap()),
        _ => None,
    });
    code.expect("a code")
}

#[test]
fn a_ticket_in_the_code_lets_a_new_device_in() {
    let mut world = World::new();
    let family = world.family();
    give(&mut world, "mum", &[1, 2], &[1, 2]);
    world.pair("mum", "leo", MemberRole::Child, "Leo");
    assert_eq!(kept(&mut world, "mum"), 1, "one is spent");
    world.text("leo", family, "I am in");
    world.settle();
    assert!(world.texts("dad").contains(&"I am in".to_owned()));
    // What let it in is no use to anybody else, and it keeps nothing of it.
    let record: wire::DeviceRecord = world.record("leo", b"device");
    assert_eq!(
        (record.invitation, record.admission_code),
        Default::default()
    );
}

#[test]
fn showing_a_code_spends_nothing() {
    let mut world = World::new();
    world.family();
    give(&mut world, "mum", &[1, 2], &[2]);
    // One after the other, so that a ticket that is spent after all blocks nobody for ever.
    let first = show(&mut world, "mum").admission;
    let second = show(&mut world, "mum").admission;
    assert_ne!(first, second);
    assert_eq!(show(&mut world, "mum").admission, first);
    assert_eq!(kept(&mut world, "mum"), 2);
    world.restart("mum");
    world.connect("mum");
    assert_eq!(show(&mut world, "mum").admission, second);
    assert_eq!(kept(&mut world, "mum"), 2);
}

#[test]
fn old_tickets_are_shown_to_nobody() {
    let mut world = World::new();
    world.family();
    give(&mut world, "mum", &[1], &[1]);
    world.pass(59 * 86_400_000);
    world.settle();
    assert_eq!(show(&mut world, "mum").admission, "");
}

#[test]
fn a_restored_device_opens_its_new_mailbox_with_a_ticket() {
    let mut world = World::new();
    let family = world.family();
    // The first that it tries was spent before the copy came back.
    give(&mut world, "mum", &[1, 2], &[1]);
    let copy = world.device("mum").store.clone();
    world.text("mum", family, "after the copy");
    world.settle();
    world.disconnect("mum");
    world.device("mum").store = copy;
    world.relay.knows_copies = true;
    world.restart("mum");
    world.connect("mum");
    assert_eq!(world.count("mum", |event| *event == Event::StaleStore), 1);
    world.connect("mum");
    assert!(!world.device("mum").engine.is_attached(), "a spent one");
    world.connect("mum");
    world.settle();
    assert_eq!(kept(&mut world, "mum"), 0);
    world.text("mum", family, "here I am");
    world.settle();
    assert!(world.texts("dad").contains(&"here I am".to_owned()));
}

#[test]
fn one_ticket_makes_room_for_all_that_waits() {
    let mut world = World::new();
    let family = world.family();
    // The first that it tries was spent before.
    give(&mut world, "mum", &[1, 2, 3], &[1, 2]);
    world.relay.free_blobs = Some(0);
    world.disconnect("mum");
    for _ in 0..3 {
        let send = photo_to(&mut world, "mum", family);
        world.command("mum", send);
    }
    world.connect("mum");
    world.settle();
    assert_eq!(world.screen("kid").len(), 3);
    assert_eq!(kept(&mut world, "mum"), 1, "the spent one, and a good one");
}

#[test]
fn where_there_is_room_none_is_spent() {
    let mut world = World::new();
    let family = world.family();
    give(&mut world, "mum", &[1], &[1]);
    world.relay.free_blobs = Some(1);
    let send = photo_to(&mut world, "mum", family);
    world.command("mum", send);
    world.settle();
    assert_eq!(world.screen("kid").len(), 1);
    assert_eq!(kept(&mut world, "mum"), 1);
}

#[test]
fn a_ticket_that_makes_no_room_is_the_last_of_its_day() {
    let mut world = World::new();
    let family = world.family();
    give(&mut world, "mum", &[1, 2, 3], &[1, 2, 3]);
    world.relay.refuse_blobs = usize::MAX;
    let send = photo_to(&mut world, "mum", family);
    world.command("mum", send);
    world.settle();
    assert_eq!(kept(&mut world, "mum"), 2);
    world.pass(86_400_000);
    world.settle();
    assert_eq!(kept(&mut world, "mum"), 1);
}
