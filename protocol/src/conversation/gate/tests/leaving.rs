//! Who leaves by themselves, and who may bring them back; and days.

use super::world::{DAY, World, row};
use crate::conversation::ConversationKind::{Contact, Family, Room};
use crate::conversation::gate::Refusal;

/// A guardian 111 and a child 115 of the first family, a child 125 of the second.
const THREE: &[u8] = &[115, 111, 125];

#[test]
fn everybody_leaves_for_themselves_or_is_taken_by_their_guardian() {
    let all = World::new();
    let said = |by: u8, before: &[u8], after: &[u8]| {
        row("somebody leaves", Contact, &all, &[1, 2], THREE)
            .by(by)
            .left(before, after)
    };
    said(115, &[], &[115]).is_good();
    said(125, &[], &[125]).is_good();
    said(111, &[], &[115]).is_good();
    said(125, &[], &[115]).is_refused(&Refusal::Left);
    said(115, &[], &[125]).is_refused(&Refusal::Left);
    said(111, &[], &[125]).is_refused(&Refusal::Left);
    // Back comes who left through a guardian of theirs alone.
    said(111, &[115], &[]).is_good();
    said(115, &[115], &[]).is_refused(&Refusal::Left);
    said(125, &[115], &[]).is_refused(&Refusal::Left);
    said(111, &[125], &[]).is_refused(&Refusal::Left);
    said(125, &[115], &[115]).is_good();
}

#[test]
fn who_left_is_taken_out_by_anyone_and_added_by_nobody() {
    let all = World::new();
    row("taken out", Contact, &all, &[1, 2], THREE)
        .by(125)
        .left(&[115], &[115])
        .removes(&[115])
        .is_good();
    row("did not leave", Contact, &all, &[1, 2], THREE)
        .by(125)
        .removes(&[115])
        .is_refused(&Refusal::Removal);
    row("not again", Contact, &all, &[1, 2], &[111, 125])
        .left(&[115], &[115])
        .adds(&[115])
        .is_refused(&Refusal::Left);
    row(
        "not as another tablet either",
        Contact,
        &all,
        &[1, 2],
        &[125, 111],
    )
    .by(111)
    .left(&[115], &[115])
    .adds(&[115])
    .is_refused(&Refusal::Left);
    row("brought back", Contact, &all, &[1, 2], &[111, 125])
        .left(&[115], &[])
        .adds(&[115])
        .is_good();
}

#[test]
fn nobody_leaves_the_family() {
    let all = World::new();
    row("the family's", Family, &all, &[1], &[115, 111])
        .left(&[], &[115])
        .is_refused(&Refusal::Context);
    row("a room", Room, &all, &[1], &[115, 111])
        .left(&[], &[115])
        .is_good();
}

#[test]
fn no_change_is_of_a_day_before_what_the_logs_say() {
    let all = World::new();
    let mut row = row("yesterday", Contact, &all, &[1, 2], THREE);
    row = row.between(DAY - 40, DAY - 30);
    row.is_refused(&Refusal::Day);
}
