//! A phone dies while its guardian goes and comes back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::identity::Standing;

use super::world::{Kill, Name, World, seed};

const NAMES: [Name; 5] = ["mum", "mum2", "dad", "dad2", "kid"];

fn live(world: &mut World, kill: Option<(Name, usize, bool)>) -> Vec<usize> {
    world.frame_by_frame = true;
    let family = world.family();
    for (by, new, name) in [("mum", "mum2", "Anna"), ("dad", "dad2", "Ben")] {
        world.add(new);
        world.pair(by, new, MemberRole::Guardian, name);
        world.settle();
    }
    let before: Vec<usize> = NAMES
        .iter()
        .map(|name| world.devices[name].outputs)
        .collect();
    world.kill = kill.map(|(name, after, sent)| Kill {
        name,
        output: world.devices[name].outputs + after,
        sent,
    });
    for (n, name) in NAMES.iter().enumerate() {
        world.text(name, family, &format!("before {n}"));
    }
    let member = world.device("dad").engine.member().unwrap();
    world.command("mum2", Command::RemoveMember { member });
    world.settle();
    let log = world.device("kid").engine.family_log().unwrap();
    let removal = *log.removals().keys().next().unwrap();
    world.command("mum", Command::Withdraw { removal });
    world.settle();
    let lost = world.device("mum").engine.device();
    world.command("mum2", Command::RemoveDevice { device: lost });
    world.settle();
    world.settle();
    world.kill = None;
    let log = world.device("kid").engine.family_log().unwrap();
    assert_eq!(log.removals()[&removal].standing, Standing::Returned);
    for name in ["mum2", "dad", "dad2", "kid"] {
        world.text(name, family, &format!("after {name}"));
    }
    world.settle();
    for name in ["mum2", "dad", "dad2", "kid"] {
        let texts = world.texts(name);
        for by in ["mum2", "dad", "dad2", "kid"] {
            let text = format!("after {by}");
            let shown = texts.iter().filter(|it| **it == text).count();
            assert_eq!(shown, 1, "{name}: {text} in {texts:?}");
        }
        for n in 0..5 {
            let text = format!("before {n}");
            let shown = texts.iter().filter(|it| **it == text).count();
            assert_eq!(shown, 1, "{name}: {text} in {texts:?}");
        }
        assert!(world.device(name).engine.is_settled(), "{name}");
        let trouble = |event: &&Event| {
            matches!(
                event,
                Event::Unreadable { .. }
                    | Event::Gap { .. }
                    | Event::Refused { .. }
                    | Event::StaleStore
                    | Event::NotDecided { .. }
            )
        };
        let trouble: Vec<&Event> = world.devices[name].events.iter().filter(trouble).collect();
        assert!(trouble.is_empty(), "{name}: {trouble:?}");
    }
    NAMES
        .iter()
        .zip(before)
        .map(|(name, before)| world.devices[name].outputs - before)
        .collect()
}

#[test]
fn a_phone_dies_while_a_guardian_goes_and_comes_back() {
    let outputs = live(&mut World::new(), None);
    let all = std::env::var("KINLINE_SWEEP").is_ok_and(|sweep| sweep == "all");
    let stride = if all { 1 } else { 90 };
    let mut failed = vec![];
    let mut died = 0;
    for (name, outputs) in NAMES.into_iter().zip(outputs) {
        for after in (1 + seed() as usize % stride..=outputs).step_by(stride) {
            for sent in [false, true] {
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    live(&mut World::new(), Some((name, after, sent)));
                }));
                died += 1;
                if let Err(panic) = outcome {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text =
                        text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
                    failed.push(format!(
                        "{name} {after} {sent}: {}",
                        text.unwrap_or_default()
                            .chars()
                            .take(500)
                            .collect::<String>()
                    ));
                }
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {died}:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
