//! The sweeps of a device, and the faults that are planted in it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::Mutex;

use super::death::{Death, End, Step, points, spread};
use super::world::{Fate, Fault, World};
use crate::sweep::oracle::Verdict;
use crate::sweep::planted::Caught;
use crate::sweep::power::Rest;

/// Deaths of one device: then another family is founded, so that screens stay short.
const DEATHS_OF_A_WORLD: usize = 40;
/// Deaths before a fault counts as missed.
const DEATHS_MAX: usize = 40;

/// What the sweeps of a device add up to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Points in one life.
    pub points: usize,
    /// Devices killed at a point that they came to.
    pub kills: usize,
    /// Devices whose power went at such a point.
    pub cuts: usize,
    /// Lives that ended before their point came.
    pub missed: usize,
    /// What devices had reported as kept before they died.
    pub kept: usize,
    /// What they had confirmed to others before they died.
    pub confirmed: usize,
    /// Where something was found, and what.
    pub found: Vec<(String, Verdict)>,
}

/// Kills a device at `kills` points of its life and cuts its power at `cuts`.
///
/// # Panics
/// When the first family can't even be founded.
pub async fn sweep(kills: usize, cuts: usize, seed: u64, jobs: usize) -> Tally {
    let mut tally = Tally::default();
    if kills + cuts == 0 {
        return tally;
    }
    let mut world = World::begin().await;
    let points = points(&world.count().await);
    world.end().await;
    assert!(!points.is_empty(), "nothing was seen of a life");
    tally.points = points.len();
    println!(
        "{kills} kills and {cuts} cuts of a device at {} points of a life",
        points.len()
    );
    let mut deaths = spread(&points, kills, false, seed);
    deaths.extend(spread(&points, cuts, true, seed));
    let shared = Arc::new(Mutex::new(tally));
    let size = deaths.len().div_ceil(jobs).min(DEATHS_OF_A_WORLD);
    let worlds = deaths.chunks(size).map(|deaths| {
        let (deaths, shared) = (deaths.to_vec(), Arc::clone(&shared));
        async move { run_through(&deaths, &shared).await }
    });
    stream::iter(worlds)
        .buffer_unordered(jobs)
        .collect::<Vec<()>>()
        .await;
    Arc::into_inner(shared).expect("all are done").into_inner()
}

/// Dies these deaths in one world after the other: one in which something was found is left.
async fn run_through(deaths: &[Death], tally: &Mutex<Tally>) {
    let mut left = deaths.to_vec();
    left.reverse();
    while !left.is_empty() {
        let (mut world, mut kept, mut confirmed) = (World::begin().await, 0, 0);
        while let Some(mut death) = left.pop() {
            let Some((back, fate)) = die(world, death, None).await else {
                let verdict = wrong("the family does not come to rest");
                tally
                    .lock()
                    .await
                    .found
                    .push((format!("{death:?}"), verdict));
                break;
            };
            let mut tally = tally.lock().await;
            match (fate.struck, death.end) {
                (false, _) => tally.missed += 1,
                (true, End::Kill) => tally.kills += 1,
                (true, End::Cut { .. }) => tally.cuts += 1,
            }
            tally.kept += fate.kept - kept;
            tally.confirmed += fate.confirmed.saturating_sub(confirmed);
            (kept, confirmed) = (fate.kept, fate.confirmed);
            world = back;
            if !fate.verdict.is_clean() {
                tally.found.push((format!("{death:?}"), fate.verdict));
                break;
            }
            if !fate.struck && death.number > 1 {
                // No two lives are quite alike: earlier, then.
                death.number = death.number * 3 / 4;
                left.push(death);
            }
            if left.is_empty() {
                drop(tally);
                world.end().await;
                return;
            }
        }
    }
}

/// A world in which a wait is in vain is lost, and says so on standard error.
async fn die(mut world: World, death: Death, fault: Option<Fault>) -> Option<(World, Fate)> {
    let dying = async move {
        let fate = world.die(death, fault).await;
        (world, fate)
    };
    AssertUnwindSafe(dying).catch_unwind().await.ok()
}

fn wrong(sentence: &str) -> Verdict {
    Verdict {
        wrong: vec![sentence.to_owned()],
        ..Verdict::default()
    }
}

/// Plants each fault in a device that dies until something was lost.
pub async fn plant(seed: u64) -> Vec<Caught> {
    let cut = |step| {
        move |number| Death {
            step,
            number,
            end: End::Cut {
                rest: Rest::Nothing,
                seed,
            },
        }
    };
    vec![
        until_caught(
            Fault::SyncOff,
            "a device's syncs do nothing (synchronous=OFF)",
            cut(Step::Frame),
        )
        .await,
        until_caught(
            Fault::Early,
            "a device's frames leave before what they rest on is written",
            // What this sync is of was reported before.
            cut(Step::Sync),
        )
        .await,
    ]
}

async fn until_caught(fault: Fault, words: &'static str, at: impl Fn(u32) -> Death) -> Caught {
    let mut world = Some(World::begin().await);
    let mut caught = Caught {
        fault: words,
        after: None,
        lost: None,
    };
    for tried in 1..=DEATHS_MAX {
        // The first calls of a life shake hands; a life has more than twenty of each kind.
        let number = u32::try_from(tried % 20 + 4).unwrap_or(u32::MAX);
        let Some(now) = world.take() else { break };
        let Some((back, fate)) = die(now, at(number), Some(fault)).await else {
            // What it lost keeps the family from coming to rest.
            caught.after = Some(tried);
            caught.lost = Some("the family's rest".into());
            return caught;
        };
        if let Some(first) = [fate.verdict.lost, fate.verdict.wrong].concat().first() {
            caught.after = Some(tried);
            caught.lost = Some(first.clone());
            back.end().await;
            return caught;
        }
        world = Some(back);
    }
    caught
}
