//! Every state that two families can bring a contact conversation into, within bounds.
//!
//! The logs, the gate and who may be in are the real ones; slots and relay are abstract: one
//! commit for each epoch, the first wins, and everybody walks to it. A breadth-first search
//! looks at every order of what guardians sign, what devices propose (a device that follows no
//! rules proposes anything), and how late each learns of it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod conversations;
mod families;
mod search;

use kinline_protocol::conversation::{Change, Parties, Refusal, judge};
use search::{Bounds, Search};

const BOUNDS: Bounds = Bounds {
    statements: 2,
    commits: 3,
    total: 3,
};

/// For gates with a hole, which is found near the start.
const NEAR: Bounds = Bounds {
    statements: 1,
    commits: 2,
    total: 3,
};

#[test]
fn no_order_of_events_brings_anyone_where_they_may_not_be() {
    let mut search = Search::new(Box::new(judge), BOUNDS);
    if let Err(violation) = search.run() {
        panic!("{violation}");
    }
    println!("{search}");
    assert!(search.states() > 100_000, "{search}");
    assert!(
        search.accepted() > 100 && search.refused() > 100,
        "{search}"
    );
}

/// The gate without the rules that refuse so.
fn without(refusals: &'static [Refusal]) -> Search {
    let gate = |change: &Change<'_>, before: &Parties| match judge(change, before) {
        Err(refusal) if refusals.contains(&refusal) => Ok(before.after(change.news)?),
        judged => judged,
    };
    Search::new(Box::new(gate), NEAR)
}

#[track_caller]
fn finds(mut search: Search, what: &str) {
    let found = search.run().expect_err("a hole in the gate is found");
    println!("{found}");
    assert!(found.contains(what), "{found}");
}

#[test]
fn a_gate_that_knows_no_strangers_is_found_out() {
    finds(without(&[Refusal::Stranger]), "a stranger");
}

#[test]
fn a_gate_that_asks_no_pass_is_found_out() {
    finds(without(&[Refusal::Pass]), "without a pass");
}

#[test]
fn a_gate_that_lets_any_guardian_in_is_found_out() {
    finds(without(&[Refusal::Unnamed]), "whom no pass names");
}

#[test]
fn a_gate_that_lets_anyone_remove_is_found_out() {
    finds(without(&[Refusal::Removal]), "who may not");
}

#[test]
fn a_gate_that_lets_anyone_stay_with_who_comes_is_found_out() {
    finds(without(&[Refusal::Company]), "with those who come");
}

/// Nobody can part those whose pass is void: they stay together.
#[test]
fn a_gate_that_refuses_too_much_is_found_out() {
    let gate = |change: &Change<'_>, before: &Parties| {
        let after = judge(change, before)?;
        let put_out = change
            .removed
            .iter()
            .any(|device| after.certificate(device).is_some());
        if put_out {
            return Err(Refusal::Removal);
        }
        Ok(after)
    };
    finds(Search::new(Box::new(gate), NEAR), "stays for ever");
}

/// One who walks there and one who brought it there have to come to the same logs.
#[test]
fn a_gate_that_forgets_the_news_is_found_out() {
    let gate =
        |change: &Change<'_>, before: &Parties| judge(change, before).map(|_| before.clone());
    finds(Search::new(Box::new(gate), NEAR), "other logs");
}
