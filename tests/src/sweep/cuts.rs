//! The power goes at every call that matters: a life is watched once, and cut in many places.

use std::path::PathBuf;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use tempfile::TempDir;

use super::oracle::Verdict;
use super::power::{Rest, cut};
use super::process::Process;
use super::record::{Notebook, Record};
use super::stage::Stage;
use super::strace;
use super::trace::{self, Call, Effect};

/// By how much each sync is slowed: between an early answer and its sync is then time to cut.
const SLOW_SYNC_US: u32 = 1_000;

/// A life that was watched to its end.
pub struct Life {
    folder: TempDir,
    /// Every call that changed the data, or made it durable.
    pub calls: Vec<Call>,
    record: Record,
}

/// One power cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// When, in nanoseconds since 1970.
    pub moment: u64,
    /// What becomes of what was not synced.
    pub rest: Rest,
    /// Seed of what is left to chance.
    pub seed: u64,
}

impl Life {
    /// Lives once under observation.
    ///
    /// # Panics
    /// When strace says something that is not understood, or the relay did not live.
    pub async fn watch(stage: &Stage) -> Self {
        let folder = stage.fresh();
        let trace = folder.path().join("trace");
        let witness = strace::recording(&trace, SLOW_SYNC_US);
        let relay = Process::start(&stage.program, folder.path(), &witness).await;
        let notes = Notebook::default();
        let address = relay.address.clone();
        if let Some(address) = &address {
            let lived = stage.live(address, &notes).await;
            assert!(lived.is_clean(), "{lived:?}");
        }
        let ended = relay.terminate().await;
        assert!(address.is_some(), "the relay does not start: {}", ended.log);
        let text = std::fs::read_to_string(&trace).unwrap();
        let mut calls = trace::read(&text, folder.path()).unwrap();
        // Not the keys, which were there before, nor the log; but the folder that holds them all.
        let data = folder.path().join("data");
        calls.retain(|call| {
            let path = call.effect.path();
            path.starts_with(&data) || path == folder.path()
        });
        std::fs::remove_file(trace).unwrap();
        Self {
            folder,
            calls,
            record: notes.record(),
        }
    }

    /// Files and folders of the data, relative to the life's folder.
    ///
    /// # Panics
    /// Never: every path lies within the folder.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.calls.iter().map(|call| {
            let path = call.effect.path();
            path.strip_prefix(self.folder.path()).unwrap().to_owned()
        })
    }

    /// When the power may go: just before each call, and just before each sync has ended.
    #[must_use]
    pub fn moments(&self) -> Vec<u64> {
        let mut moments: Vec<u64> = self
            .calls
            .iter()
            .flat_map(|call| {
                let sync = matches!(call.effect, Effect::Sync { .. });
                [Some(call.at), sync.then(|| call.end - 1)]
            })
            .flatten()
            .collect();
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// `count` cuts all over this life.
    #[must_use]
    pub fn plan(&self, count: usize, seed: u64) -> Vec<Cut> {
        let moments = self.moments();
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        (0..count)
            .map(|place| {
                // A different place in each part, so that none is left out.
                let (from, to) = (
                    place * moments.len() / count,
                    ((place + 1) * moments.len() / count).max(place * moments.len() / count + 1),
                );
                let moment = moments[random.random_range(from..to).min(moments.len() - 1)];
                let share = [0.1, 0.5, 0.9][random.random_range(0..3)];
                let sector = [512, 4_096][random.random_range(0..2)];
                let rest = match place % 4 {
                    0 => Rest::Nothing,
                    1 if place % 16 == 1 => Rest::Everything,
                    _ => Rest::Some { share, sector },
                };
                Cut {
                    moment,
                    rest,
                    seed: random.random(),
                }
            })
            .collect()
    }

    /// Cuts the power, starts a relay over what is left, and judges.
    pub async fn end(&self, stage: &Stage, cut_at: Cut) -> Verdict {
        let mut random = ChaCha20Rng::seed_from_u64(cut_at.seed);
        let disk = cut(&self.calls, cut_at.moment, cut_at.rest, &mut random);
        let folder = stage.fresh();
        disk.write(self.folder.path(), folder.path());
        stage.look(folder.path(), &self.record, cut_at.moment).await
    }
}
