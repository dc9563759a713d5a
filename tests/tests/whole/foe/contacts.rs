//! Checks that stand between families, each left out once.

use kinline_protocol::content::{Body, Control};
use kinline_protocol::conversation::{ConversationContext, Parties, ProposedChange};
use kinline_protocol::engine::io::{Command, MemberRole, PassWish};
use kinline_protocol::faults::{Fault, plant};
use kinline_protocol::identity::{FamilyLog, Supervision, sign_head};
use kinline_protocol::wire;
use kinline_tests::foe::{Life, Manners, wish};
use prost::Message as _;

use super::accomplice::{move_on, text, turn_coat, utter};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// More days than a lease lasts.
const DAYS: usize = 9;

/// Tells the story in which this check matters, with the check or without; what the oracle says.
pub(crate) fn tell(fault: Fault, left_out: bool) -> Vec<String> {
    let mut life = Life::friends(11, Manners::BAD);
    let room = life.contact("mia").unwrap();
    life.text("mia", room, "hi Leo").unwrap();
    life.text("leo", room, "hi Mia").unwrap();
    life.settle();
    assert_eq!(life.verdict(), Vec::<String>::new());
    let left_out = left_out.then_some(fault);
    match fault {
        Fault::Pass | Fault::Revocation => revoked(&mut life, left_out),
        Fault::HiddenTail => hidden_tail(&mut life, left_out),
        Fault::Early => early(&mut life, left_out),
        Fault::Supervision => unwatched(&mut life, left_out),
        _ => without_guardians(&mut life, fault, left_out),
    }
    life.verdict()
}

/// A pass wants a guardian in the room, and she leaves it.
fn unwatched(life: &mut Life, left_out: Option<Fault>) {
    assert!(life.end_pass());
    life.settle();
    let mum = life.devices["mum"].engine.member().unwrap();
    let watched = PassWish {
        supervision: Supervision::Everything,
        guardians: vec![(mum, true)],
        ..wish()
    };
    assert!(life.agree_on(watched, wish()).is_some());
    life.settle();
    let room = life.contact("mum").expect("she is in it");
    life.text("mia", room, "is she watching?").unwrap();
    life.settle();
    assert_eq!(life.verdict(), Vec::<String>::new());
    life.oracle.unsettle(room);
    life.command("mum", Command::Leave { conversation: room });
    life.settle();
    let _left_out = plant(left_out);
    life.text("mia", room, "now she is not");
    life.settle();
}

/// A guardian ends the contact, and the children go on.
fn revoked(life: &mut Life, left_out: Option<Fault>) {
    let room = life.contact("mia").unwrap();
    let _left_out = plant(left_out);
    assert!(life.end_pass());
    life.settle();
    life.text("leo", room, "still there?");
    life.text("mia", room, "and you?");
    life.settle();
}

/// No guardian of the first family is heard any more, or only in the name of one.
fn without_guardians(life: &mut Life, fault: Fault, left_out: Option<Fault>) {
    let (room, family) = (life.contact("mia").unwrap(), life.family());
    life.add("mia2", "Mia");
    assert!(life.pair("mum", "mia2", MemberRole::Child));
    let mut outlaw = turn_coat(life, "mia2", family);
    for name in ["mum", "dad", "mia"] {
        life.disconnect(name);
    }
    life.text("leo", room, "for later").unwrap();
    // It is had and not shown.
    life.oracle.unsettle(room);
    life.settle();
    for _ in 0..DAYS {
        life.pass(DAY_MS);
    }
    life.disconnect("ana");
    let _left_out = plant(left_out);
    if fault == Fault::HeadSigner {
        let (own, key) = (outlaw.signer.device, outlaw.signer.key.clone());
        let others = life.devices["mia"].other_logs();
        let logs: Vec<FamilyLog> = [vec![outlaw.log.clone()], others].concat();
        let next = life.devices["mia"].next_of(own, family);
        for (sequence, log) in (next..).zip(&logs) {
            let head = sign_head(log, life.now.day(), false, &key).encode_to_vec();
            let mut said = text(own, family, sequence, "");
            said.body = Body::Control(Control::Head(head.into()));
            utter(life, &mut outlaw, "mia", family, &said, &key);
        }
    }
    life.connect("mia");
    life.settle();
}

/// Somebody tells another family's log with an end that nobody signed.
fn hidden_tail(life: &mut Life, left_out: Option<Fault>) {
    let log = life.devices["ana"].log().unwrap();
    let mut entries = log.entries();
    entries.push(wire::LogEntry {
        hash: vec![7; 32].into(),
        ..wire::LogEntry::default()
    });
    let news = [wire::PartyNews {
        family: log.family().to_bytes(),
        from: 0,
        entries,
    }];
    let known = life.devices["mia"].parties(life.family()).unwrap();
    let _left_out = plant(left_out);
    if known.after(&news).is_ok() || Parties::from_wire(&news).is_ok() {
        let what = "a log ends with what nobody signed";
        life.oracle.faults.push(what.into());
    }
}

/// A member says that it is another month.
fn early(life: &mut Life, left_out: Option<Fault>) {
    let family = life.family();
    let mut mia = turn_coat(life, "mia", family);
    life.oracle.spoilt.insert(family);
    let context = mia.conversation.context().unwrap();
    let change = ProposedChange {
        context: Some(ConversationContext {
            day: life.now.day().plus(30),
            ..context
        }),
        ..ProposedChange::default()
    };
    assert!(mia.offer(&mut life.liar.honest, change, &mut life.rng));
    let _left_out = plant(left_out);
    move_on(life, &["mum", "dad"], family);
}
