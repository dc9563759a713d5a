//! Who may put out whom.

use super::world::{Contact, DAY, Family, LAST, Link, Room, World, device, member, pass_id, row};
use crate::conversation::gate::Refusal;
use crate::identity::Decision;

#[test]
fn a_member_its_own_a_guardian_its_familys() {
    let all = World::new();
    let cases: [(_, _, u8, u8, bool); 18] = [
        ("a child its own", Family, 115, 215, true),
        ("a child a guardian's", Family, 115, 111, false),
        ("a child its sibling's", Family, 115, 116, false),
        ("a guardian a child's", Family, 111, 115, true),
        ("a guardian another one's", Family, 111, 112, true),
        ("a child its own", Room, 115, 215, true),
        ("a child a guardian's", Room, 115, 111, false),
        ("a guardian a child's", Room, 111, 115, true),
        ("a child its own", Contact, 115, 215, true),
        ("a child another's", Contact, 115, 125, false),
        ("a child its supervisor", Contact, 115, 111, false),
        ("a child another's supervisor", Contact, 115, 121, false),
        ("a guardian its child's", Contact, 111, 115, true),
        ("a guardian another's child's", Contact, 111, 125, false),
        ("a guardian another family's", Contact, 111, 121, false),
        ("a guardian its own", Link, 111, 111, true),
        ("a guardian its family's", Link, 111, 112, true),
        ("a guardian another family's", Link, 111, 121, false),
    ];
    for (name, kind, by, whom, good) in cases {
        let (families, devices): (&[u8], &[u8]) = match kind {
            Family | Room => (&[1], &[111, 112, 115, 215, 116]),
            Contact => (&[1, 2], &[111, 121, 115, 215, 125]),
            Link => (&[1, 2], &[111, 112, 121]),
        };
        let row = row(name, kind, &all, families, devices)
            .by(by)
            .removes(&[whom]);
        if good {
            row.is_good();
        } else {
            row.is_refused(&Refusal::Removal);
        }
    }
}

#[test]
fn what_a_log_put_out_anyone_carries_out() {
    let all = World::new();
    let lost = all.and_by(1, Decision::RemoveDevice(device(112)), 12);
    for kind in [Family, Room] {
        row(
            "a device, in the same change",
            kind,
            &all,
            &[1],
            &[115, 112],
        )
        .to(&lost, &[1])
        .removes(&[112])
        .is_good();
        row("a device, before", kind, &lost, &[1], &[115, 112])
            .removes(&[112])
            .is_good();
    }
    let gone = all.and(2, Decision::RemoveMember(member(22)));
    row(
        "a guardian of a link",
        Link,
        &all,
        &[1, 2],
        &[111, 122, 121],
    )
    .to(&gone, &[1, 2])
    .removes(&[122])
    .is_good();
    let lost = all.and(2, Decision::RemoveDevice(device(225)));
    row(
        "a friend's tablet",
        Contact,
        &all,
        &[1, 2],
        &[115, 125, 225],
    )
    .to(&lost, &[1, 2])
    .removes(&[225])
    .is_good();
    row(
        "and not the other one",
        Contact,
        &all,
        &[1, 2],
        &[115, 125, 225],
    )
    .to(&lost, &[1, 2])
    .removes(&[125])
    .is_refused(&Refusal::Removal);
}

#[test]
fn where_a_pass_is_void_anyone_parts_its_children() {
    let all = World::new();
    let there = &[115, 111, 125, 121];
    for f in [1, 2] {
        let revoked = all.and(f, Decision::RevokePass(pass_id(1)));
        for by in [115, 111, 125, 121] {
            let others: Vec<u8> = there.iter().copied().filter(|n| *n != by).collect();
            row("in the same change", Contact, &all, &[1, 2], there)
                .by(by)
                .to(&revoked, &[1, 2])
                .removes(&others)
                .is_good();
            row("before", Contact, &revoked, &[1, 2], there)
                .by(by)
                .removes(&others)
                .is_good();
            row("without those news", Contact, &all, &[1, 2], there)
                .by(by)
                .removes(&others)
                .is_refused(&Refusal::Removal);
        }
    }
    row("after its last day", Contact, &all, &[1, 2], there)
        .on(LAST + 1)
        .removes(&[125, 121])
        .is_good();
    row("on its last day", Contact, &all, &[1, 2], there)
        .on(LAST)
        .removes(&[125, 121])
        .is_refused(&Refusal::Removal);
}

#[test]
fn with_three_a_void_pass_parts_those_two() {
    let all = World::new();
    let there = &[115, 125, 135, 121];
    let revoked = all.and(1, Decision::RevokePass(pass_id(1)));
    let three = |name, by| {
        row(name, Contact, &all, &[1, 2, 3], there)
            .by(by)
            .to(&revoked, &[1, 2, 3])
    };
    three("one of them", 135).removes(&[115]).is_good();
    three("the other", 135).removes(&[125]).is_good();
    three("not the third", 115)
        .removes(&[135])
        .is_refused(&Refusal::Removal);
    // Pass 3 names this guardian too.
    three("not who is named elsewhere", 115)
        .removes(&[121])
        .is_refused(&Refusal::Removal);
}

#[test]
fn a_guardian_whose_child_went_goes_too() {
    let all = World::new();
    row(
        "nobody is left to be seen",
        Contact,
        &all,
        &[1, 2],
        &[115, 111, 121],
    )
    .removes(&[121])
    .is_good();
    row(
        "not in one go",
        Contact,
        &all,
        &[1, 2],
        &[111, 115, 125, 121],
    )
    .removes(&[115, 121])
    .is_refused(&Refusal::Removal);
}

#[test]
fn a_device_comes_back_by_its_own_wish() {
    let all = World::new();
    let cases: [(_, &[u8], &[u8], u8, u8); 6] = [
        (Family, &[1], &[115, 111], 115, 111),
        (Room, &[1], &[115, 111], 115, 111),
        (Contact, &[1, 2], &[115, 111, 125], 115, 111),
        (Contact, &[1, 2], &[115, 125], 115, 125),
        (Contact, &[1, 2], &[111, 115, 125], 111, 125),
        (Link, &[1, 2], &[111, 112, 121], 112, 121),
    ];
    for (kind, families, devices, by, whom) in cases {
        let again = || {
            row("a new leaf for the old", kind, &all, families, devices)
                .by(by)
                .removes(&[whom])
        };
        again().brings_back(whom, 1, 2).is_good();
        // With any other key package somebody would put it out.
        let refused = [
            again().adds(&[whom]),
            again().brings_back(whom, 9, 2),
            again().brings_back(whom, 1, 1),
        ];
        for refused in refused {
            assert!(
                kind == Link && by / 10 == whom / 10 || refused.judged().is_err(),
                "{kind:?} {by} {whom}"
            );
        }
    }
}

#[test]
fn a_member_and_a_guardian_renew_their_own() {
    let all = World::new();
    for (kind, families, devices, by, whom) in [
        (Contact, &[1, 2][..], &[215, 115, 125][..], 215, 115),
        (Contact, &[1, 2], &[111, 115, 125], 111, 115),
    ] {
        row("a new leaf for the old", kind, &all, families, devices)
            .by(by)
            .removes(&[whom])
            .adds(&[whom])
            .is_good();
    }
    row("another one in its place", Family, &all, &[1], &[115, 111])
        .removes(&[111])
        .adds(&[112])
        .is_refused(&Refusal::Removal);
    let lost = all.and(1, Decision::RemoveDevice(device(111)));
    row("a lost one", Family, &all, &[1], &[115, 111])
        .to(&lost, &[1])
        .removes(&[111])
        .adds(&[111])
        .is_refused(&Refusal::Stranger);
}

#[test]
fn a_guardian_goes_with_the_last_tablet_it_was_there_for() {
    let all = World::new();
    let lost = all.and(2, Decision::RemoveDevice(device(125)));
    let there = &[115, 111, 125, 121];
    row("in one change", Contact, &all, &[1, 2], there)
        .to(&lost, &[1, 2])
        .removes(&[125, 111, 121])
        .is_good();
    let there = &[115, 111, 125, 225];
    row("there is another one", Contact, &all, &[1, 2], there)
        .to(&lost, &[1, 2])
        .removes(&[125, 111])
        .is_refused(&Refusal::Removal);
}

#[test]
fn the_removal_of_a_guardian_is_not_dated_before_the_change_before() {
    let all = World::new();
    let gone = all.and(1, Decision::RemoveMember(member(12)));
    let by_itself = all.and_by(1, Decision::RemoveMember(member(12)), 12);
    let child = all.and(1, Decision::RemoveMember(member(16)));
    let lost = all.and_by(1, Decision::RemoveDevice(device(112)), 12);
    let later = DAY + 1;
    let to = |name, kind, families, to: &World| {
        row(name, kind, &all, families, &[111, 115]).to(to, families)
    };
    to("on that day", Family, &[1], &gone)
        .between(DAY, later)
        .is_good();
    to("before it", Family, &[1], &gone)
        .between(later, later)
        .is_refused(&Refusal::Backdated);
    for (name, world) in [
        ("by itself", &by_itself),
        ("a child", &child),
        ("a device", &lost),
    ] {
        to(name, Family, &[1], world)
            .between(later, later)
            .is_good();
    }
    // What moved at home comes to other conversations whenever it comes.
    to("a room", Room, &[1], &gone)
        .between(later, later)
        .is_good();
    to("contacts", Contact, &[1, 2], &gone)
        .between(later, later)
        .is_good();
    row("known before", Family, &gone, &[1], &[111, 115])
        .to(&gone.and(1, Decision::RemoveDevice(device(115))), &[1])
        .between(later, later)
        .is_good();
}

#[test]
fn who_removed_a_guardian_does_not_say_when_the_freeze_is_over() {
    let all = World::new();
    let gone = all.and(1, Decision::RemoveMember(member(12)));
    let (frozen, over) = (DAY + 2, DAY + 3);
    let on = |name, world: &World, devices: &[u8], by, before, after| {
        row(name, Family, world, &[1], devices)
            .by(by)
            .between(before, after)
    };
    let there = &[111, 115];
    on("before it is over", &gone, there, 111, DAY, frozen).is_good();
    on("when it is over", &gone, there, 111, DAY, over).is_refused(&Refusal::Thaw);
    on("a child says so", &gone, there, 115, DAY, over).is_good();
    on("after it was said", &gone, there, 111, over, over).is_good();
    on("nobody else is there", &gone, &[111], 111, DAY, over).is_good();
    row("nobody else stays", Family, &gone, &[1], there)
        .removes(&[115])
        .between(DAY, over)
        .is_good();
    row("in the same change", Family, &all, &[1], &[111, 112, 115])
        .to(&gone, &[1])
        .removes(&[112])
        .between(DAY, over)
        .is_refused(&Refusal::Thaw);
    let by_itself = all.and_by(1, Decision::RemoveMember(member(12)), 12);
    on("it went by itself", &by_itself, there, 111, DAY, over).is_good();
    let removal = gone.log(1).len() - 1;
    let objected = gone.and_by(1, Decision::Object { removal }, 12);
    on("it objected", &objected, there, 111, DAY, over).is_good();
    row("a room", Room, &gone, &[1], there)
        .between(DAY, over)
        .is_good();
}
