//! A relay that does wrong at random, people who do whatever, devices that die; when the
//! relay behaves again, all are of one mind.

use kinline_protocol::engine::io::Command;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::chaos::Chaos;
use super::life::{Life, NAMES};
use super::world::{Kill, Name, World, seed};

fn chaos(seed: u64) {
    let mut world = World::seeded(seed);
    let family = world.family();
    let room = world.room("mum", &["kid"], "Two");
    let mut dice = ChaCha20Rng::seed_from_u64(seed ^ 0xdead);
    let mut life = Life::default();
    world.relay.chaos = Some(Chaos::new(seed));
    for n in 0..60 {
        let name: Name = NAMES[dice.random_range(0..3)];
        match dice.random_range(0..20) {
            0..=8 => life.text(&mut world, name, family, &NAMES, &format!("f{n}")),
            9..=10 if name != "dad" => {
                life.text(&mut world, name, room, &["mum", "kid"], &format!("r{n}"))
            }
            11 => life.text(
                &mut world,
                name,
                family,
                &NAMES,
                &format!("l{n} {}", "long ".repeat(300)),
            ),
            12 => world.command(
                name,
                Command::SelfUpdate {
                    conversation: family,
                },
            ),
            13 => world.disconnect(name),
            14 => world.restart(name),
            15 => world.command(
                name,
                Command::MarkRead {
                    conversation: family,
                },
            ),
            16 => world.command(
                name,
                Command::Typing {
                    conversation: family,
                },
            ),
            17 => {
                let output = world.devices[name].outputs + dice.random_range(1..6);
                let sent = dice.random_range(0..2) == 0;
                world.kill = Some(Kill { name, output, sent });
            }
            _ => {}
        }
        world.frame_by_frame = dice.random_range(0..2) == 0;
        world.pass(dice.random_range(1..20_000));
        if dice.random_range(0..3) == 0 {
            let away = NAMES.into_iter().find(|name| !world.devices[name].online);
            if let Some(away) = away {
                world.connect(away);
            }
        }
    }
    world.relay.chaos = None;
    world.kill = None;
    for name in NAMES {
        world.disconnect(name);
    }
    for name in NAMES {
        world.connect(name);
    }
    world.settle();
    for _ in 0..3 {
        for _ in 0..14 {
            world.pass(30 * 60_000);
        }
        world.settle();
    }
    life.check(&mut world);
}

#[test]
fn all_are_of_one_mind_when_the_relay_behaves_again() {
    if let Some(one) = std::env::var("KINLINE_FUZZ_ONE")
        .ok()
        .and_then(|s| s.parse().ok())
    {
        return chaos(one);
    }
    let rounds: u64 = std::env::var("KINLINE_FUZZ_ROUNDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(12);
    for round in 0..rounds {
        chaos(seed().wrapping_mul(1_000).wrapping_add(round));
    }
}
