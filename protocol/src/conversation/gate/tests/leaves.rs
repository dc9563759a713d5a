//! Who comes in, with what leaf, and brought by whom; what may ride on a change.

use super::world::{
    Contact, DAY, Family, Link, Room, Row, World, child, device_of, key, leaf, pass_id, row,
};
use crate::conversation::gate::{NewLeaf, Refusal};
use crate::conversation::{ConversationKind, Parties};
use crate::identity::{Decision, LogError};

const KINDS: [ConversationKind; 4] = [Family, Room, Contact, Link];

/// A conversation of each kind to which device 205 + 10 (112 in a link) could be added.
fn place(name: &'static str, kind: ConversationKind, world: &World) -> (Row, u8) {
    match kind {
        Family | Room => (row(name, kind, world, &[1], &[111, 115]), 215),
        Contact => (row(name, kind, world, &[1, 2], &[115, 125]), 215),
        Link => (row(name, kind, world, &[1, 2], &[111, 121]), 112),
    }
}

#[test]
fn a_leaf_is_that_of_a_certified_device_in_every_kind() {
    let world = World::new();
    for kind in KINDS {
        let (good, n) = place("certified", kind, &world);
        good.adds(&[n]).is_good();
        let (stranger, _) = place("a stranger", kind, &world);
        stranger.adds(&[77]).is_refused(&Refusal::Stranger);
        let nameless = NewLeaf {
            device: None,
            ..leaf(n)
        };
        let (row, _) = place("without a name", kind, &world);
        row.adds_leaf(nameless).is_refused(&Refusal::Stranger);
        let stolen = NewLeaf {
            signature_key: key(99).public(),
            ..leaf(n)
        };
        let (row, _) = place("another key", kind, &world);
        row.adds_leaf(stolen).is_refused(&Refusal::Key);
        let mute = NewLeaf {
            address: None,
            ..leaf(n)
        };
        let (row, _) = place("no address", kind, &world);
        row.adds_leaf(mute).is_refused(&Refusal::Address);
        let (twice, _) = place("twice in one change", kind, &world);
        twice.adds(&[n, n]).is_refused(&Refusal::Again);
        let (there, _) = place("there already", kind, &world);
        let own = if kind == Link { 121 } else { 115 };
        there.adds(&[own]).is_refused(&Refusal::Again);
        let (gone, _) = place("removed by the log in the same change", kind, &world);
        // A guardian's phone goes by its guardian's word.
        let by = if n % 10 < 5 { n % 100 } else { 11 };
        let without = world.and_by(1, Decision::RemoveDevice(super::world::device(n)), by);
        let families: &[u8] = if kind.crosses_families() {
            &[1, 2]
        } else {
            &[1]
        };
        gone.to(&without, families)
            .adds(&[n])
            .is_refused(&Refusal::Stranger);
    }
}

#[test]
fn who_commits_is_in_a_family_here_and_stays_its_device() {
    let world = World::new();
    for kind in KINDS {
        let (good, _) = place("nothing changes", kind, &world);
        good.is_good();
        let (row, _) = place("by a stranger", kind, &world);
        row.by(77).is_refused(&Refusal::Committer);
        let (row, _) = place("by a third family's", kind, &world);
        row.by(135).is_refused(&Refusal::Committer);
        let (row, _) = place("foreign proposals", kind, &world);
        row.foreign().is_refused(&Refusal::Proposal);
        let by = if kind == Link { 121 } else { 115 };
        let renewing = |name, leaf| place(name, kind, &world).0.by(by).renews(leaf);
        renewing("renewed", leaf(by)).is_good();
        renewing("as another", leaf(111)).is_refused(&Refusal::Key);
        let other_key = NewLeaf {
            signature_key: key(99).public(),
            ..leaf(by)
        };
        renewing("another key", other_key).is_refused(&Refusal::Key);
        let other_name = NewLeaf {
            device: Some(super::world::device(111)),
            ..leaf(by)
        };
        renewing("another name", other_name).is_refused(&Refusal::Key);
        let mute = NewLeaf {
            address: None,
            ..leaf(by)
        };
        renewing("no address", mute).is_refused(&Refusal::Address);
    }
}

#[test]
fn a_committer_may_put_itself_out_but_bring_nobody_then() {
    let world = World::new();
    let without = world.and(1, Decision::RemoveDevice(super::world::device(111)));
    let leaving = |name| row(name, Family, &world, &[1], &[111, 115]).to(&without, &[1]);
    leaving("leaves").renews(leaf(111)).is_good();
    leaving("leaves and brings")
        .adds(&[215])
        .is_refused(&Refusal::Company);
    let out = |name| row(name, Family, &without, &[1], &[111, 115]);
    out("has left").is_refused(&Refusal::Committer);
    out("another sweeps up").by(115).removes(&[111]).is_good();
}

#[test]
fn children_bring_their_family_guardians_whom_the_passes_name() {
    let world = World::new();
    let two = |name, by| row(name, Contact, &world, &[1, 2], &[115, 125, 111, 121]).by(by);
    two("a child its second tablet", 115).adds(&[215]).is_good();
    two("a child another family's", 115)
        .adds(&[225])
        .is_refused(&Refusal::Adder);
    two("a guardian another family's", 111)
        .adds(&[225])
        .is_good();
    let three = |name, by| {
        row(name, Contact, &world, &[1, 2], &[115, 125, 111])
            .by(by)
            .to(&world, &[1, 2, 3])
            .adds(&[135])
    };
    three("a guardian a third family's child", 111).is_good();
    three("a child a third family's child", 115).is_refused(&Refusal::Adder);
    let forming = |name, families, kind, by| row(name, kind, &world, families, &[by]);
    forming("a child forms it", &[1, 2], Contact, 115)
        .adds(&[125, 111, 121])
        .is_good();
    forming("a child forms one of three", &[1, 2, 3], Contact, 115)
        .adds(&[125, 135])
        .is_good();
    forming("families come with its first change", &[1], Contact, 115)
        .to(&world, &[1, 2])
        .adds(&[125])
        .is_good();
    forming("a guardian forms a link", &[1], Link, 111)
        .to(&world, &[1, 2])
        .adds(&[121])
        .is_good();
    // Within a family its log says who comes in.
    for kind in [Family, Room] {
        row("a child a guardian", kind, &world, &[1], &[115, 111])
            .adds(&[112])
            .is_good();
    }
}

#[test]
fn children_stay_out_of_links() {
    let world = World::new();
    let link = |name| row(name, Link, &world, &[1, 2], &[111, 121]);
    link("its own child")
        .adds(&[115])
        .is_refused(&Refusal::Guardians);
    link("another guardian").adds(&[112, 122]).is_good();
    row("forming", Link, &world, &[1, 2], &[111])
        .adds(&[121, 125])
        .is_refused(&Refusal::Guardians);
}

#[test]
fn a_conversation_stays_what_it_is() {
    let world = World::new();
    for kind in KINDS {
        let (row, _) = place("another title", kind, &world);
        row.becomes(|after| after.title = "U".into())
            .is_refused(&Refusal::Context);
        let (row, _) = place("another kind", kind, &world);
        let other = if kind == Contact { Link } else { Contact };
        row.becomes(|after| after.kind = other)
            .is_refused(&Refusal::Context);
        let (row, _) = place("a day later", kind, &world);
        row.on(DAY + 1).is_good();
        let (row, _) = place("a day back", kind, &world);
        row.on(DAY - 1).is_refused(&Refusal::Day);
        let (row, _) = place("without its families", kind, &world);
        row.becomes(|after| after.parties.clear())
            .is_refused(&Refusal::Context);
    }
}

#[test]
fn a_family_more_comes_with_its_child_and_into_contacts_only() {
    let world = World::new();
    let grows = |name, kind, families: &[u8], to: &[u8], devices: &[u8]| {
        row(name, kind, &world, families, devices).to(&world, to)
    };
    grows(
        "with its child",
        Contact,
        &[1, 2],
        &[1, 2, 3],
        &[111, 115, 125],
    )
    .adds(&[135])
    .is_good();
    grows(
        "with nobody",
        Contact,
        &[1, 2],
        &[1, 2, 3],
        &[111, 115, 125],
    )
    .is_refused(&Refusal::Context);
    grows(
        "with its guardian alone",
        Contact,
        &[1, 2],
        &[1, 2, 3],
        &[111, 115, 125],
    )
    .adds(&[132])
    .is_refused(&Refusal::Unnamed);
    grows(
        "with another's tablet",
        Contact,
        &[1, 2],
        &[1, 2, 3],
        &[111, 115, 125],
    )
    .adds(&[215])
    .is_refused(&Refusal::Context);
    for kind in [Family, Room] {
        grows("a second", kind, &[1], &[1, 2], &[111, 115]).is_refused(&Refusal::Context);
        grows("a second, forming", kind, &[1], &[1, 2], &[111]).is_refused(&Refusal::Context);
    }
    grows("a third", Link, &[1, 2], &[1, 2, 3], &[111, 121])
        .adds(&[131])
        .is_refused(&Refusal::Context);
    grows("a third, forming", Link, &[1, 2], &[1, 2, 3], &[111])
        .adds(&[131])
        .is_refused(&Refusal::Context);
    grows(
        "a second after others came",
        Link,
        &[1],
        &[1, 2],
        &[111, 112],
    )
    .adds(&[121])
    .is_refused(&Refusal::Context);
    grows("one goes", Contact, &[1, 2, 3], &[1, 2], &[115, 125]).is_refused(&Refusal::Context);
}

#[test]
fn thirty_two_leaves_and_no_more() {
    let mut world = World::new();
    let devices: Vec<u8> = (40..=70).collect();
    for n in &devices {
        world = world.and(1, Decision::AddDevice(device_of(*n, 15)));
    }
    for kind in [Family, Room] {
        let full = |name| row(name, kind, &world, &[1], &devices);
        full("thirty-two").adds(&[115]).is_good();
        full("thirty-three")
            .adds(&[115, 215])
            .is_refused(&Refusal::Size);
        full("one goes first")
            .removes(&[41])
            .adds(&[115, 215])
            .is_good();
    }
}

#[test]
fn nobody_is_of_two_families() {
    let world = World::new();
    let two = |name, to: &World| {
        // As it came: collecting would not look at it.
        let before = world.parties(&[1, 2]);
        let after: Parties = to.parties(&[1, 2]);
        let news = before.news(&after);
        row(name, Contact, &world, &[1, 2], &[125, 115])
            .to(to, &[1, 2])
            .with_news(news)
    };
    let claimed = |what| Refusal::Log(LogError::Contradiction(what));
    let device = world.and(2, Decision::AddDevice(device_of(115, 25)));
    two("a device", &device)
        .removes(&[115])
        .is_refused(&claimed("a device belongs to two families"));
    // Who has heard of both claims believes neither.
    let heard = device.parties(&[1, 2]);
    assert_eq!(heard.certificate(&super::world::device(115)), None);
    let member = world.and(2, Decision::AddMember(child(15)));
    two("a member", &member).is_refused(&claimed("somebody belongs to two families"));
    let revoked = world.and(2, Decision::RevokePass(pass_id(1)));
    two("nobody", &revoked).is_good();
}
