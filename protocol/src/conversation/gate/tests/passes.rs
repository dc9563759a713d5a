//! Which children are together, and which guardians with them.

use super::world::{Contact, DAY, LAST, World, pass_id, row};
use crate::content::kinds;
use crate::conversation::gate::Refusal;
use crate::identity::{Decision, PassTerms};

/// A guardian brings the other family's child to its own.
fn meeting(name: &'static str, world: &World) -> super::world::Row {
    row(name, Contact, world, &[1, 2], &[115]).adds(&[125])
}

#[test]
fn two_children_meet_under_a_pass_that_both_families_hold_to() {
    let (none, all) = (World::without_passes(), World::new());
    meeting("approved by both", &all).is_good();
    meeting("without a pass", &none).is_refused(&Refusal::Pass);
    for f in [1, 2] {
        let one = none.and(f, Decision::ApprovePass(none.pass(1)));
        meeting("approved by one", &one).is_refused(&Refusal::Pass);
        let revoked = all.and(f, Decision::RevokePass(pass_id(1)));
        meeting("revoked by one", &revoked).is_refused(&Refusal::Pass);
        meeting("revoked by one with it", &all)
            .to(&revoked, &[1, 2])
            .is_refused(&Refusal::Pass);
        let gone = all.and(f, Decision::RemoveMember(super::world::member(10 * f + 5)));
        let refusal = [Refusal::Company, Refusal::Stranger][usize::from(f) - 1].clone();
        row("the child has gone", Contact, &all, &[1, 2], &[115, 111])
            .by(111)
            .to(&gone, &[1, 2])
            .adds(&[125])
            .is_refused(&refusal);
    }
    let other = PassTerms {
        kinds: kinds::ALL - 1,
        ..none.pass(1).terms().clone()
    };
    let other = crate::identity::ContactPass::new(other).unwrap();
    let different = none
        .and(1, Decision::ApprovePass(none.pass(1)))
        .and(2, Decision::ApprovePass(other));
    meeting("other bytes", &different).is_refused(&Refusal::Pass);
    meeting("approved with it", &none)
        .to(&all, &[1, 2])
        .is_good();
}

#[test]
fn a_pass_holds_on_its_days() {
    let all = World::new();
    meeting("on its last day", &all).on(LAST).is_good();
    meeting("a day late", &all)
        .on(LAST + 1)
        .is_refused(&Refusal::Pass);
    let terms = PassTerms {
        first_day: crate::day::Day(DAY + 5),
        ..all.pass(1).terms().clone()
    };
    let early = crate::identity::ContactPass::new(terms).unwrap();
    let none = World::without_passes();
    let early = none
        .and(1, Decision::ApprovePass(early.clone()))
        .and(2, Decision::ApprovePass(early));
    meeting("too early", &early)
        .on(DAY + 4)
        .is_refused(&Refusal::Pass);
    meeting("on its first day", &early).on(DAY + 5).is_good();
}

#[test]
fn a_pass_is_for_its_children_alone() {
    let all = World::new();
    row("the other child there", Contact, &all, &[1, 2], &[115])
        .adds(&[126])
        .is_refused(&Refusal::Pass);
    row("the other child here", Contact, &all, &[1, 2], &[115, 125])
        .adds(&[116])
        .is_refused(&Refusal::Pass);
    row("siblings", Contact, &all, &[1, 2], &[115])
        .adds(&[116])
        .is_good();
}

#[test]
fn a_third_child_has_a_pass_with_each() {
    let all = World::new();
    let third = |name, world: &World| {
        row(name, Contact, world, &[1, 2], &[111, 115, 125])
            .to(world, &[1, 2, 3])
            .adds(&[135])
    };
    third("with each", &all).is_good();
    for (n, f) in [(2, 1), (2, 3), (3, 2), (3, 3)] {
        let world = all.and(f, Decision::RevokePass(pass_id(n)));
        third("not with each", &world).is_refused(&Refusal::Pass);
    }
    // The two who were there are not together under a pass any more.
    let world = all.and(2, Decision::RevokePass(pass_id(1)));
    third("the others apart", &world).is_refused(&Refusal::Company);
    third("one of them goes", &world).removes(&[125]).is_good();
}

#[test]
fn nobody_comes_to_those_who_have_to_go() {
    let all = World::new();
    let tabletless = all.and(2, Decision::RemoveDevice(super::world::device(125)));
    let with_lost = |name| row(name, Contact, &tabletless, &[1, 2], &[115, 125]).adds(&[215]);
    with_lost("a lost tablet stays").is_refused(&Refusal::Company);
    with_lost("a lost tablet goes").removes(&[125]).is_good();
    let unnamed = |name| row(name, Contact, &all, &[1, 2], &[115, 125, 112]).adds(&[215]);
    unnamed("a guardian whom no pass names stays").is_refused(&Refusal::Company);
    unnamed("such a guardian goes").removes(&[112]).is_good();
    // What brings nobody is not asked that: a past can't be healed otherwise.
    row(
        "nobody comes",
        Contact,
        &tabletless,
        &[1, 2],
        &[115, 125, 112],
    )
    .is_good();
}

#[test]
fn a_guardian_is_there_when_a_pass_names_them() {
    let all = World::new();
    let two = |name, n| row(name, Contact, &all, &[1, 2], &[115, 125]).adds(&[n]);
    two("named", 111).is_good();
    two("not named", 112).is_refused(&Refusal::Unnamed);
    row("the other's, named", Contact, &all, &[1, 2], &[115])
        .adds(&[125, 121])
        .is_good();
    row("the other's, not named", Contact, &all, &[1, 2], &[115])
        .adds(&[125, 122])
        .is_refused(&Refusal::Unnamed);
    let guardian = |name, devices, n| {
        row(name, Contact, &all, &[1, 2, 3], devices)
            .by(115)
            .adds(&[n])
    };
    guardian("named with one who is not there", &[115, 125], 111).is_good();
    row(
        "of a family whose child is not there",
        Contact,
        &all,
        &[1, 2, 3],
        &[111, 115, 125],
    )
    .adds(&[132])
    .is_refused(&Refusal::Unnamed);
    row(
        "with its child",
        Contact,
        &all,
        &[1, 2, 3],
        &[111, 115, 125],
    )
    .adds(&[132, 135])
    .is_good();
    row(
        "of no family here",
        Contact,
        &all,
        &[1, 2],
        &[111, 115, 125],
    )
    .adds(&[132])
    .is_refused(&Refusal::Stranger);
    row("after the last day", Contact, &all, &[1, 2], &[115, 125])
        .on(LAST + 1)
        .adds(&[111])
        .is_refused(&Refusal::Unnamed);
    row("alone with its child", Contact, &all, &[1, 2], &[115])
        .adds(&[111])
        .is_refused(&Refusal::Unnamed);
}

#[test]
fn of_two_passes_each_counts() {
    let mut world = World::new();
    for (n, guardian) in [(0, 12), (9, 22)] {
        let pass = world.pass_with(
            n,
            if guardian == 12 {
                [(1, &[12]), (2, &[])]
            } else {
                [(1, &[]), (2, &[22])]
            },
        );
        for f in [1, 2] {
            world = world.and(f, Decision::ApprovePass(pass.clone()));
        }
    }
    for n in [111, 112] {
        row(
            "named by one of them",
            Contact,
            &world,
            &[1, 2],
            &[115, 125],
        )
        .adds(&[n])
        .is_good();
    }
    let people = world
        .parties(&[1, 2])
        .certificates_of(&[115, 125].map(super::world::device));
    let passes = world.parties(&[1, 2]);
    let passes = passes.passes_among(&people, crate::day::Day(DAY));
    let ids: Vec<_> = passes.iter().map(|pass| pass.id()).collect();
    assert_eq!(ids, [0, 1, 9].map(pass_id));
    let revoked = world.and(1, Decision::RevokePass(pass_id(0)));
    row(
        "that one is revoked",
        Contact,
        &revoked,
        &[1, 2],
        &[115, 125],
    )
    .adds(&[112])
    .is_refused(&Refusal::Unnamed);
}
