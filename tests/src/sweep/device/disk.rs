//! A device's disk fails (EIO) at the Nth sync or write, and bits flip on it.
//!
//! SQLite tries again when it could not fold its log in, and nobody hears of that: so whatever
//! the device did after an error, its power is cut at the end. What it kept or confirmed must be
//! there without anything that was not synced.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use futures_util::FutureExt as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use super::death::{Step, points, spread};
use super::look::{self, Found};
use super::world::{Fate, World};
use crate::sweep::oracle::Verdict;
use crate::sweep::power::{Disk, Rest, cut_after};
use crate::sweep::strace::recording_death;
use crate::sweep::trace;

/// How a device's last words begin when it can't go on.
const FAILED: &str = "failed ";
/// Bits that flip at once, when it is not one alone.
const BITS: u32 = 16;

/// Whether errors are done at a kind of call: those are the disk's.
#[must_use]
pub const fn concerns(step: Step) -> bool {
    matches!(step, Step::Sync | Step::Database)
}

/// What errors and damages of a device's disk add up to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Devices whose disk failed at a point that they came to.
    pub errors: usize,
    /// Of these, those that stopped and said why; the others went on.
    pub stopped: usize,
    /// Lives that ended before their point came.
    pub missed: usize,
    /// Times that bits flipped.
    pub damages: usize,
    /// Of these, those that were refused.
    pub refused: usize,
    /// Where something was found, and what.
    pub found: Vec<(String, Verdict)>,
}

/// Lets a device's disk fail at `errors` points of its life, and bits flip on it `damages` times.
///
/// # Panics
/// When the first family can't even be founded.
pub async fn sweep(errors: usize, damages: usize, seed: u64) -> Tally {
    let mut tally = Tally::default();
    if errors + damages == 0 {
        return tally;
    }
    let mut world = World::begin().await;
    let counts = world.count().await;
    let disk: Vec<_> = counts.into_iter().filter(|it| concerns(it.0)).collect();
    let points = points(&disk);
    println!(
        "{errors} errors of a device's disk at {} points of a life",
        points.len()
    );
    println!("{damages} times bits flip on it");
    let whole = world.whole().await;
    // A copy without damage shows everything: what is refused below is the damage.
    let untouched = world.damage(&whole, 0, seed).await;
    assert_eq!(untouched, Some(Verdict::default()), "no damage");
    for seed in (0..damages as u64).map(|place| seed.wrapping_add(place)) {
        tally.damages += 1;
        // One bit is the hardest to notice.
        let bits = if seed % 2 == 0 { 1 } else { BITS };
        let damaged = AssertUnwindSafe(world.damage(&whole, bits, seed))
            .catch_unwind()
            .await;
        match damaged {
            Ok(None) => tally.refused += 1,
            Ok(Some(verdict)) => tally.found.push((format!("damage {seed}"), verdict)),
            Err(_) => tally
                .found
                .push((format!("damage {seed}"), wrong("it panics"))),
        }
    }
    for death in spread(&points, errors, false, seed) {
        let (step, number) = (death.step, death.number);
        let place = format!("EIO at {step:?} {number}");
        let failing = async move {
            let failed = world.fail(step, number).await;
            (world, failed)
        };
        match AssertUnwindSafe(failing).catch_unwind().await {
            Ok((back, Failed { stopped, fate })) => {
                world = back;
                tally.errors += usize::from(fate.struck);
                tally.missed += usize::from(!fate.struck);
                tally.stopped += usize::from(stopped);
                let clean = fate.verdict.is_clean();
                tally.found.push((place, fate.verdict));
                if clean {
                    continue;
                }
                world.end().await;
            }
            Err(_) => tally
                .found
                .push((place, wrong("the family does not come to rest"))),
        }
        world = World::begin().await;
    }
    world.end().await;
    tally
}

fn wrong(sentence: &str) -> Verdict {
    Verdict {
        wrong: vec![sentence.to_owned()],
        ..Verdict::default()
    }
}

/// How an error went.
#[derive(Debug)]
pub struct Failed {
    /// Whether the device stopped, and said why; else it went on.
    pub stopped: bool,
    /// What was found.
    pub fate: Fate,
}

impl World {
    /// One life in which the `number`th of these calls fails; then the power goes.
    ///
    /// # Panics
    /// When the family does not come to rest afterwards, or the machine refuses.
    pub async fn fail(&mut self, step: Step, number: u32) -> Failed {
        let trace = self.home.path().join("trace");
        let before = Disk::read(&self.mum);
        let witness = recording_death(step.calls(), "error=EIO", number, false, &trace);
        let words = self.live(&witness, None).await;
        self.note(&words);
        let text = std::fs::read_to_string(&trace).unwrap();
        let struck = text.contains("(INJECTED)");
        let calls = trace::read(&text, &self.mum).unwrap();
        let mut random = ChaCha20Rng::seed_from_u64(0);
        cut_after(&before, &calls, u64::MAX, Rest::Nothing, &mut random).put_back(&self.mum);
        let mut fate = self.look(struck).await;
        let end = ending(words.last().map(String::as_str));
        let stopped = end == Some(true);
        if end.is_none() || (stopped && !struck) {
            let last = words.last().cloned().unwrap_or_default();
            let sentence = format!("after EIO its last word was {last:?}");
            fate.verdict.wrong.push(sentence);
        }
        Failed { stopped, fate }
    }

    /// What is in the store now, to be damaged.
    ///
    /// # Panics
    /// When it does not open.
    pub async fn whole(&self) -> Found {
        look::offline(&self.mum).await.unwrap()
    }

    /// Flips so many bits in a copy of the store. `None` when that is refused with a sentence;
    /// what is shown all the same must be what was shown before.
    ///
    /// # Panics
    /// When the system refuses.
    pub async fn damage(&self, whole: &Found, bits: u32, seed: u64) -> Option<Verdict> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let folder = tempfile::tempdir_in(self.home.path()).unwrap();
        copy(&self.mum, folder.path());
        // The key is small: seldom.
        let name = if random.random_bool(0.1) {
            "store.key"
        } else {
            "device.db"
        };
        let path = folder.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        for _ in 0..bits {
            let place = random.random_range(0..bytes.len());
            bytes[place] ^= 1 << random.random_range(0..8_u32);
        }
        std::fs::write(&path, bytes).unwrap();
        judge_damaged(look::offline(folder.path()).await, whole)
    }
}

/// Whether a device stopped because of an error and said so, or went on to its end; `None` when
/// it ended without a word.
fn ending(last: Option<&str>) -> Option<bool> {
    match last {
        Some("stopped") => Some(false),
        Some(word) => word
            .strip_prefix(FAILED)
            .filter(|sentence| !sentence.trim().is_empty())
            .map(|_| true),
        None => None,
    }
}

fn judge_damaged(found: Result<Found, String>, whole: &Found) -> Option<Verdict> {
    let mut verdict = Verdict::default();
    match found {
        Err(sentence) if sentence.trim().is_empty() => {
            verdict
                .wrong
                .push("damage is refused without a word".into());
        }
        Err(_) => return None,
        Ok(found) if found == *whole => {}
        Ok(found) => {
            let missing = |of: &Found, from: &Found| {
                let there = |line| from.screen.contains(line);
                of.screen.iter().filter(|line| !there(line)).count()
            };
            let (lost, new) = (missing(whole, &found), missing(&found, whole));
            let sentence =
                format!("after damage {lost} messages are gone and {new} were never said");
            verdict.wrong.push(sentence);
        }
    }
    Some(verdict)
}

/// The files of a folder, and those of the folders in it.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use kinline_protocol::ids::ContentId;

    use super::{Found, ending, judge_damaged};

    #[test]
    fn a_device_says_why_it_stops() {
        assert_eq!(ending(Some("stopped")), Some(false));
        assert_eq!(ending(Some("failed the disk")), Some(true));
        for silent in [None, Some("failed "), Some("kept Mum 1")] {
            assert_eq!(ending(silent), None, "{silent:?}");
        }
    }

    #[test]
    fn damage_is_refused_or_shows_nothing_else() {
        let found = |texts: &[&str]| Found {
            screen: texts
                .iter()
                .map(|text| (ContentId::new([1; 16]), Some((*text).to_owned())))
                .collect(),
            numbers: vec![],
        };
        let whole = found(&["Mum 1", "Mum 2"]);
        assert_eq!(judge_damaged(Err("it is damaged".into()), &whole), None);
        let clean = |found| judge_damaged(found, &whole).is_some_and(|it| it.is_clean());
        assert!(clean(Ok(found(&["Mum 1", "Mum 2"]))));
        assert!(!clean(Ok(found(&["Mum 1"]))), "gone");
        assert!(!clean(Ok(found(&["Mum 1", "Mum 9"]))), "another");
        assert!(!clean(Err(String::new())), "without a word");
    }
}
