//! The gate's first tests, from when there was one family.

use super::world::{Family, Room, World, device_of, key, leaf, row};
use crate::conversation::gate::{NewLeaf, Refusal};
use crate::identity::{Decision, LogError};

#[test]
fn a_device_comes_in_with_a_guardians_statement_and_not_without() {
    let world = World::without_passes();
    let next = world.and(1, Decision::AddDevice(device_of(70, 15)));
    let adding = |name| row(name, Family, &world, &[1], &[111, 115]).to(&next, &[1]);
    adding("good").adds(&[70]).is_good();
    row("unsigned", Family, &world, &[1], &[111, 115])
        .adds(&[70])
        .is_refused(&Refusal::Stranger);
    let (old, new) = (world.parties(&[1]), next.parties(&[1]));
    row("the head stays", Family, &world, &[1], &[111, 115])
        .with_news(old.news(&new))
        .adds(&[70])
        .is_refused(&Refusal::Head);
    let wrong_key = NewLeaf {
        signature_key: key(99).public(),
        ..leaf(70)
    };
    adding("a stolen name")
        .adds_leaf(wrong_key)
        .is_refused(&Refusal::Key);
    let unreachable = NewLeaf {
        address: None,
        ..leaf(70)
    };
    adding("mute")
        .adds_leaf(unreachable)
        .is_refused(&Refusal::Address);
}

/// A device may know its log further than a conversation has followed it: what counts is the
/// log that all members share in this epoch.
#[test]
fn a_log_that_is_known_further_judges_the_past_as_it_was() {
    let world = World::without_passes();
    let next = world.and(1, Decision::AddDevice(device_of(70, 15)));
    let ahead = next.and(1, Decision::AddDevice(device_of(71, 15)));
    let (old, new) = (world.parties(&[1]), ahead.parties(&[1]));
    for kind in [Family, Room] {
        row("early", kind, &world, &[1], &[111])
            .adds(&[71])
            .is_refused(&Refusal::Stranger);
        row("a past that is not this one's", kind, &ahead, &[1], &[111])
            .naming(&old, &new)
            .is_refused(&Refusal::Head);
        let fork = world.and(1, Decision::AddDevice(device_of(72, 15)));
        row("news for another past", kind, &fork, &[1], &[111])
            .to(&ahead, &[1])
            .with_news(next.parties(&[1]).news(&new))
            .is_refused(&Refusal::Log(LogError::Fork));
    }
}

#[test]
fn a_child_cannot_let_anyone_in() {
    let world = World::without_passes();
    let forged = world.signed(1, Decision::AddDevice(device_of(70, 15)), 115);
    let entry = crate::wire::LogEntry {
        statement: Some(forged),
        ..crate::wire::LogEntry::default()
    };
    let news = crate::wire::PartyNews {
        family: world.family(1).to_bytes(),
        from: world.log(1).len(),
        entries: vec![entry],
    };
    row("forged", Family, &world, &[1], &[115])
        .with_news(vec![news])
        .adds(&[70])
        .is_refused(&Refusal::Log(LogError::Signature));
}

#[test]
fn strangers_foreign_proposals_and_other_contexts_are_refused() {
    let world = World::without_passes();
    let room = |name| row(name, Room, &world, &[1], &[111, 115]);
    room("a stranger").by(77).is_refused(&Refusal::Committer);
    room("foreign").foreign().is_refused(&Refusal::Proposal);
    room("renamed")
        .becomes(|after| after.title = "G".into())
        .is_refused(&Refusal::Context);
    let many: Vec<u8> = (40..=70).collect();
    let mut full = world.clone();
    for n in &many {
        full = full.and(1, Decision::AddDevice(device_of(*n, 15)));
    }
    row("large", Room, &full, &[1], &many)
        .adds(&[111, 115])
        .is_refused(&Refusal::Size);
}

#[test]
fn a_child_removes_its_own_devices_only_a_guardian_any() {
    let world = World::without_passes();
    let removing = |name, by, whom| {
        row(name, Room, &world, &[1], &[111, 115])
            .by(by)
            .removes(&[whom])
    };
    removing("its own", 115, 115).is_good();
    removing("a guardian", 111, 115).is_good();
    removing("a guardian's", 115, 111).is_refused(&Refusal::Removal);
}

#[test]
fn a_renewed_leaf_stays_its_device() {
    let world = World::without_passes();
    let renewing = |name, n| {
        row(name, Room, &world, &[1], &[111, 115])
            .by(115)
            .renews(leaf(n))
    };
    renewing("its own", 115).is_good();
    renewing("another's", 111).is_refused(&Refusal::Key);
}
