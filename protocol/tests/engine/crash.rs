//! A device dies between any two of its outputs, before or after what it wanted sent was
//! sent, and comes back from its store.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kinline_protocol::engine::io::{Command, Event};

use super::life::{Life, NAMES};
use super::world::{Kill, Name, World, seed};

fn outputs_of_a_life() -> Vec<(Name, usize)> {
    let mut world = World::new();
    world.frame_by_frame = true;
    let mut life = Life::default();
    life.live(&mut world);
    life.check(&mut world);
    NAMES
        .iter()
        .map(|name| (*name, world.devices[name].outputs))
        .collect()
}

fn die(kill: Kill) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new();
        world.frame_by_frame = true;
        world.kill = Some(kill);
        let mut life = Life::default();
        life.live(&mut world);
        world.settle();
        assert_eq!(world.killed, 1, "the story is long enough");
        life.check(&mut world);
        for name in NAMES {
            let trouble =
                |event: &&Event| matches!(event, Event::Unreadable { .. } | Event::Gap { .. });
            let trouble: Vec<Event> = world
                .device(name)
                .events
                .iter()
                .filter(trouble)
                .cloned()
                .collect();
            assert!(trouble.is_empty(), "{name}: {trouble:?}");
            let refused = world.count(name, |event| {
                matches!(event, Event::Refused { .. } | Event::StaleStore)
            });
            assert_eq!(refused, 0, "{name} refused nothing");
        }
    }));
    outcome.map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        format!(
            "{kill:?}: {}",
            text.unwrap_or_default()
                .chars()
                .take(600)
                .collect::<String>()
        )
    })
}

/// Every place where a device can die; one in seven of them, which ones by the seed, unless
/// `KINLINE_SWEEP=all`.
fn sweep(name: Name, sent: bool) {
    let all = std::env::var("KINLINE_SWEEP").is_ok_and(|sweep| sweep == "all");
    let stride = if all { 1 } else { 7 };
    let outputs = outputs_of_a_life()
        .into_iter()
        .find(|(of, _)| *of == name)
        .unwrap()
        .1;
    let first = if all { 1 } else { 1 + seed() as usize % stride };
    let deaths: Vec<usize> = (first..outputs).step_by(stride).collect();
    assert!(!deaths.is_empty());
    let failed: Vec<String> = deaths
        .iter()
        .filter_map(|output| {
            die(Kill {
                name,
                output: *output,
                sent,
            })
            .err()
        })
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} deaths did harm:\n{}",
        failed.len(),
        deaths.len(),
        failed.join("\n")
    );
}

#[test]
fn a_guardian_dies_before_sending() {
    sweep("mum", false);
}

#[test]
fn a_guardian_dies_before_the_answer() {
    sweep("mum", true);
}

#[test]
fn the_child_dies_before_sending() {
    sweep("kid", false);
}

#[test]
fn the_child_dies_before_the_answer() {
    sweep("kid", true);
}

#[test]
fn the_other_guardian_dies_either_way() {
    sweep("dad", false);
    sweep("dad", true);
}

#[test]
fn dying_again_and_again_loses_nothing() {
    let mut world = World::new();
    let family = world.family();
    for n in 0..30_usize {
        let by = NAMES[n % 3];
        world.text(by, family, &format!("{n}"));
        let victim = NAMES[(n / 2) % 3];
        let output = world.devices[victim].outputs + 1 + n % 4;
        world.kill = Some(Kill {
            name: victim,
            output,
            sent: n % 2 == 0,
        });
        if n % 5 == 0 {
            world.command(
                by,
                Command::SelfUpdate {
                    conversation: family,
                },
            );
        }
    }
    world.kill = None;
    world.settle();
    assert!(world.killed > 10);
    for name in NAMES {
        assert_eq!(world.texts(name).len(), 30, "{name}");
        assert!(world.device(name).engine.is_settled(), "{name}");
    }
}
