//! A phone dies while the history of before comes to it, or while it gives it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kinline_protocol::engine::io::MemberRole;

use super::history::{MINUTE, family, talk};
use super::world::{Kill, Name, World, seed};

fn live(world: &mut World, kill: Option<(Name, usize, bool)>) -> Vec<usize> {
    world.frame_by_frame = true;
    talk(world);
    world.add("mum2");
    let names: [Name; 2] = ["mum", "mum2"];
    let before: Vec<usize> = names
        .iter()
        .map(|name| world.devices[name].outputs)
        .collect();
    world.kill = kill.map(|(name, after, sent)| Kill {
        name,
        output: world.devices[name].outputs + after,
        sent,
    });
    let paired = (0..6).any(|_| world.try_pair("mum", "mum2", MemberRole::Guardian, "Anna"));
    assert!(paired);
    world.settle();
    world.kill = None;
    for _ in 0..10 {
        world.pass(MINUTE);
        world.settle();
    }
    assert_eq!(world.texts("mum2"), world.texts("mum"));
    let family = family(world, "mum2");
    world.text("mum2", family, "here I am");
    world.settle();
    assert_eq!(world.texts("mum2"), world.texts("mum"));
    assert!(world.device("mum2").engine.is_settled());
    let progress = world.device("mum2").engine.history_progress();
    assert!(progress.iter().all(|it| it.finished && it.done == it.total));
    let counted = names.iter().zip(before);
    counted
        .map(|(name, before)| world.devices[name].outputs - before)
        .collect()
}

/// Each place where the new phone or the giver can die; one in nine, which ones by the seed,
/// unless `KINLINE_SWEEP=all`.
fn sweep(name: Name, place: usize, sent: bool) {
    let outputs = live(&mut World::new(), None)[place];
    let all = std::env::var("KINLINE_SWEEP").is_ok_and(|sweep| sweep == "all");
    let stride = if all { 1 } else { 9 };
    let first = if all { 1 } else { 1 + seed() as usize % stride };
    let deaths: Vec<usize> = (first..outputs).step_by(stride).collect();
    assert!(!deaths.is_empty());
    let failed: Vec<usize> = deaths
        .into_iter()
        .filter(|after| {
            let mut world = World::new();
            let kill = Some((name, *after, sent));
            catch_unwind(AssertUnwindSafe(|| live(&mut world, kill))).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{name} may not die at {failed:?}");
}

#[test]
fn the_new_phone_dies_anywhere_and_has_it_all_in_the_end() {
    sweep("mum2", 1, false);
    sweep("mum2", 1, true);
}

#[test]
fn the_giver_dies_anywhere_and_the_new_phone_has_it_all_in_the_end() {
    sweep("mum", 0, false);
    sweep("mum", 0, true);
}
