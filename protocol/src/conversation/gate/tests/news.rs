//! The log entries that ride on a change, and the heads that it names.

use super::world::{Contact, Family, Link, Room, World, child, device, device_of, pass_id, row};
use crate::conversation::gate::Refusal;
use crate::conversation::{ConversationKind, Parties};
use crate::identity::{Decision, LogError};
use crate::wire::{LogEntry, PartyNews};

const KINDS: [(ConversationKind, &[u8], u8); 4] = [
    (Family, &[1], 115),
    (Room, &[1], 115),
    (Contact, &[1, 2], 115),
    (Link, &[1, 2], 121),
];

fn shown(statement: crate::wire::SignedStatement) -> LogEntry {
    LogEntry {
        statement: Some(statement),
        ..LogEntry::default()
    }
}

fn hidden(n: u8) -> LogEntry {
    LogEntry {
        statement: None,
        hash: vec![n; 32].into(),
    }
}

fn news(world: &World, f: u8, from: u64, entries: Vec<LogEntry>) -> Vec<PartyNews> {
    vec![PartyNews {
        family: world.family(f).to_bytes(),
        from,
        entries,
    }]
}

#[test]
fn heads_are_where_the_news_lead() {
    let all = World::new();
    let next = all.and(1, Decision::AddDevice(device_of(70, 15)));
    for (kind, families, other) in KINDS {
        let there = &[111, other];
        row("the news", kind, &all, families, there)
            .to(&next, families)
            .is_good();
        row("a device with its statement", kind, &all, families, there)
            .to(&next, families)
            .removes(&[])
            .is_good();
        row("a head without news", kind, &all, families, there)
            .to(&next, families)
            .with_news(vec![])
            .is_refused(&Refusal::Head);
        let (before, after) = (all.parties(families), next.parties(families));
        row("news without the head", kind, &all, families, there)
            .with_news(before.news(&after))
            .is_refused(&Refusal::Head);
        row("from another head", kind, &all, families, there)
            .to(&next, families)
            .naming(&after, &after)
            .is_refused(&Refusal::Head);
    }
    row("from an older head", Family, &next, &[1], &[111])
        .naming(&all.parties(&[1]), &next.parties(&[1]))
        .is_refused(&Refusal::Head);
    row(
        "the leaf comes with its statement",
        Family,
        &all,
        &[1],
        &[111],
    )
    .to(&next, &[1])
    .adds(&[70])
    .is_good();
    row("and not before it", Family, &all, &[1], &[111])
        .adds(&[70])
        .is_refused(&Refusal::Stranger);
}

#[test]
fn news_continue_the_log() {
    let all = World::new();
    let one = all.and(1, Decision::AddDevice(device_of(70, 15)));
    let two = one.and(1, Decision::RemoveDevice(device(70)));
    let fork = all
        .and(1, Decision::AddDevice(device_of(71, 15)))
        .and(1, Decision::RemoveDevice(device(71)));
    let len = all.log(1).len();
    for (kind, families, other) in KINDS {
        let there = &[111, other];
        let to = |name| row(name, kind, &all, families, there).to(&two, families);
        let entries = |world: &World, from: u64| {
            let mut entries = world.log(1).entries();
            entries.split_off(usize::try_from(from).unwrap())
        };
        to("both").is_good();
        to("one after the other")
            .with_news(
                [
                    news(&all, 1, len, entries(&one, len)),
                    news(&all, 1, len + 1, entries(&two, len + 1)),
                ]
                .concat(),
            )
            .is_refused(&Refusal::Log(LogError::Contradiction(
                "a family is named twice",
            )));
        to("all of it again")
            .with_news(news(&all, 1, 0, entries(&two, 0)))
            .is_good();
        let hole = |expected, found| Refusal::Log(LogError::Hole { expected, found });
        to("a hole")
            .with_news(news(&all, 1, len + 1, entries(&two, len + 1)))
            .is_refused(&hole(len, len + 1));
        to("the hole denied")
            .with_news(news(&all, 1, len, entries(&two, len + 1)))
            .is_refused(&hole(len, len + 1));
        to("another place named")
            .with_news(news(&all, 1, len + 9, entries(&two, len)))
            .is_refused(&hole(len, len + 9));
        to("again")
            .with_news(news(&all, 1, len - 1, entries(&two, len - 1)))
            .is_refused(&hole(len, len - 1));
        to("a fork")
            .with_news(news(&all, 1, len, entries(&fork, len + 1)))
            .is_refused(&hole(len, len + 1));
        row("a fork of the last", kind, &one, families, there)
            .to(&two, families)
            .with_news(news(&all, 1, len + 1, entries(&fork, len + 1)))
            .is_refused(&Refusal::Log(LogError::Fork));
        row("another past", kind, &one, families, there)
            .with_news(news(&all, 1, 0, entries(&fork, 0)))
            .is_refused(&Refusal::Log(LogError::Fork));
        let unsigned = all.signed(1, Decision::AddDevice(device_of(70, 15)), 15);
        to("not by a guardian")
            .with_news(news(&all, 1, len, vec![shown(unsigned)]))
            .is_refused(&Refusal::Log(LogError::Signature));
        let foreign = all.signed(2, Decision::AddDevice(device_of(70, 25)), 21);
        to("another family's")
            .with_news(news(&all, 1, len, vec![shown(foreign)]))
            .is_refused(&Refusal::Log(LogError::Family));
    }
    row("under another name", Contact, &all, &[1, 2], &[111, 115])
        .to(&all, &[1, 2, 3])
        .with_news(vec![PartyNews {
            family: crate::ids::FamilyId::new([7; 16]).to_bytes(),
            ..all.parties(&[3]).to_wire()[0].clone()
        }])
        .is_refused(&Refusal::Log(LogError::Family));
}

#[test]
fn nothing_is_hidden_from_the_family_itself() {
    let all = World::new();
    let next = all.and(1, Decision::AddMember(child(17))).and_by(
        1,
        Decision::AddDevice(device_of(70, 12)),
        12,
    );
    let len = all.log(1).len();
    let entries = next.extracted(1, &[1]).log(1).entries();
    let entries = entries[usize::try_from(len).unwrap()..].to_vec();
    assert!(entries[0].statement.is_none() && entries[1].statement.is_some());
    let to = |kind, families, other| {
        row("a hidden entry", kind, &all, families, &[111, other])
            .to(&next, families)
            .with_news(news(&all, 1, len, entries.clone()))
    };
    to(Family, &[1], 115).is_refused(&Refusal::Hidden);
    to(Room, &[1], 115).is_refused(&Refusal::Hidden);
    for (kind, families, other) in [(Contact, &[1, 2], 125), (Link, &[1, 2], 121)] {
        let judged = to(kind, families, other).judged().unwrap();
        assert_eq!(judged.heads(), next.parties(families).heads());
        assert!(!judged.log(&all.family(1)).unwrap().is_whole());
    }
}

#[test]
fn what_is_shown_of_a_log_may_grow() {
    let all = World::new();
    let little = all.extracted(1, &[1]);
    assert!(little.parties(&[1, 2]).log(&all.family(1)).is_some());
    let more = all.extracted(1, &[1, 2]);
    row(
        "a third child's pass opens",
        Contact,
        &little,
        &[1, 2],
        &[111, 115, 125],
    )
    .to(&more, &[1, 2, 3])
    .adds(&[135])
    .is_good();
    row("without it", Contact, &little, &[1, 2], &[111, 115, 125])
        .to(&little, &[1, 2, 3])
        .adds(&[135])
        .is_refused(&Refusal::Pass);
    row(
        "a family shows its children as it likes",
        Contact,
        &little,
        &[1, 2],
        &[115, 125],
    )
    .adds(&[116])
    .is_refused(&Refusal::Stranger);
}

/// Anyone can make up a hash: a family that did not say what it leads to could never again say
/// anything in that conversation.
#[test]
fn no_log_ends_with_what_nobody_signed() {
    let all = World::new();
    let len = all.log(2).len();
    for (kind, by) in [(Contact, 115), (Contact, 125), (Link, 111), (Link, 121)] {
        let there = if kind == Link { [111, 121] } else { [115, 125] };
        let to = |name, entries| {
            row(name, kind, &all, &[1, 2], &there)
                .by(by)
                .with_news(news(&all, 2, len, entries))
                .is_refused(&Refusal::Log(LogError::Signature));
        };
        to("one", vec![hidden(9)]);
        let signed = all.signed(2, Decision::RevokePass(pass_id(1)), 21);
        to("after a good one", vec![shown(signed), hidden(9)]);
        let mut entries = all.log(2).entries();
        entries.push(hidden(9));
        row("of all of it", kind, &all, &[1, 2], &there)
            .by(by)
            .with_news(news(&all, 2, 0, entries))
            .is_refused(&Refusal::Log(LogError::Signature));
    }
    // Who brings an extract leaves its hidden end away.
    let next = all.and(2, Decision::AddMember(child(27)));
    let extract = next.extracted(2, &[1, 3]);
    let parties = extract.parties(&[1, 2]);
    assert_eq!(
        parties.log(&all.family(2)).unwrap().head(),
        all.log(2).head()
    );
    let wire = Parties::from_wire(&parties.to_wire()).unwrap();
    assert_eq!(wire, parties);
    let whole = news(&all, 2, 0, extract.log(2).entries());
    assert_eq!(Parties::from_wire(&whole), Err(LogError::Signature));
}
