//! What was allowed and is no more, what is not yet, and clocks that are wrong by a year.

use kinline_protocol::engine::io::{Command, PassWish};
use kinline_protocol::ids::ConversationId;
use kinline_tests::foe::{Life, Manners, Name, wish};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
const YEAR: i32 = 365;

/// Two families that have met, and the conversation of their children.
fn friends(seed: u64) -> (Life, ConversationId) {
    let mut life = Life::friends(seed, Manners::BAD);
    life.liar.be_honest(true);
    let room = life.contact("mia").unwrap();
    (life, room)
}

fn days(life: &mut Life, days: usize) {
    for _ in 0..days {
        life.pass(DAY_MS);
        life.settle();
    }
}

/// Whether what one says there now comes onto the other's screen.
fn reaches(life: &mut Life, from: Name, to: Name, room: ConversationId) -> bool {
    let Some(content) = life.text(from, room, "are you there?") else {
        return false;
    };
    life.settle();
    let to = life.id(to);
    life.oracle.is_shown(to, content)
}

fn reach_each_other(life: &mut Life, room: ConversationId) -> bool {
    reaches(life, "mia", "leo", room) && reaches(life, "leo", "mia", room)
}

#[test]
fn a_pass_that_ran_out_lets_nobody_talk() {
    let (mut life, _) = friends(31);
    assert!(life.end_pass());
    life.settle();
    let short = PassWish { days: 3, ..wish() };
    life.agree(short).unwrap();
    let all = life.devices["mia"].engine.conversations();
    let rooms: Vec<ConversationId> = all.iter().map(|it| it.id).collect();
    let room = (rooms.into_iter())
        .find(|id| {
            life.devices["leo"]
                .look(*id)
                .is_some_and(|it| it.leaves.len() == 2 && it.epoch > 0)
        })
        .unwrap();
    assert!(reach_each_other(&mut life, room));
    days(&mut life, 3);
    assert!(reach_each_other(&mut life, room), "the last day counts");
    days(&mut life, 2);
    assert!(!reaches(&mut life, "mia", "leo", room));
    assert!(!reaches(&mut life, "leo", "mia", room));
    assert_eq!(life.verdict(), Vec::<String>::new());
}

/// The relay says everything again that it ever heard: nothing that was agreed on holds again.
#[test]
fn a_pass_that_was_revoked_is_not_replayed_into_force() {
    let (mut life, room) = friends(32);
    assert!(reach_each_other(&mut life, room));
    assert!(life.end_pass());
    life.settle();
    let shown = |life: &Life| {
        let screens = ["mum", "mia", "ana", "leo"].map(|name| life.devices[name].screen().len());
        let logs = ["mum", "mia", "ana", "leo"].map(|name| life.devices[name].log());
        (screens, logs)
    };
    let before = shown(&life);
    let all = life.liar.remembered();
    assert!(all.len() > 50);
    for (mailbox, message, envelope) in &all {
        life.liar
            .honest
            .put(mailbox, message.clone(), envelope.clone());
    }
    for name in ["mum", "mia", "ana", "leo"] {
        life.connect(name);
    }
    life.settle();
    assert!(shown(&life) == before, "{} envelopes again", all.len());
    assert!(!reaches(&mut life, "mia", "leo", room));
    assert!(!reaches(&mut life, "leo", "mia", room));
    for name in ["mia", "leo"] {
        let all = life.devices[name].engine.conversations();
        let it = all.iter().find(|it| it.id == room).unwrap();
        assert!(it.members.len() < 2, "{name} is with {:?}", it.members);
    }
    assert_eq!(life.verdict(), Vec::<String>::new());
}

/// A tablet that was taken out of its family says again what it said, and is not let in again
/// by what let it in.
#[test]
fn a_device_that_was_removed_is_not_replayed_into_the_family() {
    let mut life = Life::of(3, 33, Manners::BAD);
    life.liar.be_honest(true);
    let family = life.family();
    life.text("mia2", family, "here I am").unwrap();
    life.settle();
    let device = life.id("mia2");
    life.oracle.allow_removal(family, device);
    life.oracle.expel(device);
    life.command("mum", Command::RemoveDevice { device });
    life.settle();
    let leaves = |life: &Life| life.devices["mum"].look(family).unwrap().leaves.len();
    let before = (leaves(&life), life.devices["mum"].screen().len());
    for (mailbox, message, envelope) in life.liar.remembered() {
        life.liar.honest.put(&mailbox, message, envelope);
    }
    for name in ["mum", "mia", "dad", "mia2"] {
        life.connect(name);
    }
    life.text("mia2", family, "and still here");
    life.settle();
    assert_eq!((leaves(&life), life.devices["mum"].screen().len()), before);
    for name in ["mum", "mia", "dad"] {
        let log = life.devices[name].log().unwrap();
        assert_eq!(log.certificate(&device), None, "{name}");
    }
    assert_eq!(life.verdict(), Vec::<String>::new());
}

/// A tablet's clock goes wrong by a year: its guardians say what day it is, and its friends
/// are there as before.
#[test]
fn a_tablet_whose_clock_is_wrong_by_a_year_goes_by_its_guardians() {
    for wrong in [YEAR, -YEAR] {
        let (mut life, room) = friends(34);
        assert!(reach_each_other(&mut life, room));
        life.device("mia").clock.days_ahead = wrong;
        days(&mut life, 2);
        let (today, shown) = (life.now.day(), life.time_of("mia"));
        let known = life.devices["mia"].engine.day(shown);
        assert!(known.0.abs_diff(today.0) <= 2, "{known:?} is not {today:?}");
        assert!(reach_each_other(&mut life, room), "{wrong} days");
        // And right again.
        life.device("mia").clock.days_ahead = 0;
        days(&mut life, 2);
        assert!(reach_each_other(&mut life, room), "after {wrong} days");
        assert_eq!(life.verdict(), Vec::<String>::new());
    }
}

/// A guardian's phone whose clock is a year ahead moves nobody's day, ends no lease and silences
/// nobody: the others follow nothing of a day that has not come.
#[test]
fn a_phone_that_is_a_year_ahead_moves_nobodys_day() {
    let (mut life, room) = friends(35);
    life.device("dad").clock.days_ahead = YEAR;
    days(&mut life, 3);
    let today = life.now.day();
    for name in ["mum", "mia", "ana", "leo"] {
        let known = life.devices[name].engine.day(life.now);
        assert!(
            known.0.abs_diff(today.0) <= 2,
            "{name}: {known:?} is not {today:?}"
        );
    }
    assert!(reach_each_other(&mut life, room));
    let family = life.family();
    assert!(reaches(&mut life, "mum", "mia", family));
    assert_eq!(life.verdict(), Vec::<String>::new());
}
