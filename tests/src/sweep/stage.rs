//! What all sweeps share: the program, its keys, a folder for each life, and the look afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;

use super::cast::{Cast, SENDERS};
use super::drain::drain;
use super::driver::envelopes_of;
use super::oracle::{Verdict, judge};
use super::process::{Process, Program};
use super::record::{Envelope, Fact, Record};

/// Sends of each sender in one life: some hundred envelopes, four slots, a second in all.
const ROUNDS: usize = 16;

/// Where the sweeps happen.
pub struct Stage {
    /// The relay.
    pub program: Program,
    /// Who takes part.
    pub cast: Arc<Cast>,
    /// From which everything random comes.
    pub seed: u64,
    /// Relays at a time.
    pub jobs: usize,
    folder: TempDir,
}

impl Stage {
    /// Makes the relay's keys, which all lives share: its blobs then have the same names in each.
    ///
    /// # Panics
    /// When a relay can't be started at all.
    pub async fn set(program: Program, seed: u64, jobs: usize) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("crash-sweep")
            .tempdir()
            .unwrap();
        // A folder that hands out envelopes often, writes them often and folds its log in often.
        let program = program
            .with("LIMITS__HOLD_MS", "20")
            .with("LIMITS__CHECKPOINT_AFTER_MS", "10");
        let first = folder.path().join("first");
        std::fs::create_dir_all(first.join("keys")).unwrap();
        let relay = Process::start(&program, &first, &[]).await;
        let started = relay.address.is_some();
        let ended = relay.terminate().await;
        assert!(started, "the relay does not start: {}", ended.log);
        Self {
            program,
            cast: Arc::new(Cast::new(seed, ROUNDS)),
            seed,
            jobs,
            folder,
        }
    }

    /// A folder with keys and nothing else.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn fresh(&self) -> TempDir {
        let folder = TempDir::new_in(self.folder.path()).unwrap();
        copy(
            &self.folder.path().join("first/keys"),
            &folder.path().join("keys"),
        );
        folder
    }

    /// Does something for each of `points`, a few at a time; what comes of it in their order.
    pub async fn each<P, T>(
        &self,
        points: impl IntoIterator<Item = P>,
        work: impl AsyncFn(P) -> T,
    ) -> Vec<T> {
        let work = &work;
        stream::iter(points.into_iter().map(|point| work(point)))
            .buffered(self.jobs)
            .collect()
            .await
    }

    /// Starts a relay over a folder in which another died at `moment`, takes everything out and
    /// judges.
    pub async fn look(&self, folder: &Path, record: &Record, moment: u64) -> Verdict {
        let relay = Process::start(&self.program, folder, &[]).await;
        let Some(address) = relay.address.clone() else {
            let log = relay.ended().await.log;
            let said = log.lines().last().unwrap_or_default();
            return Verdict {
                lost: vec![format!("the relay does not start again: {said}")],
                ..Verdict::default()
            };
        };
        let unanswered = unanswered(&self.cast, record, moment);
        let found = drain(&address, &self.cast, &unanswered).await;
        let ended = relay.terminate().await;
        match found {
            Ok(found) => judge(&self.cast, record, moment, &found),
            Err(_) => Verdict {
                wrong: vec![format!(
                    "the relay ended while it was drained: {}",
                    ended.log
                )],
                ..Verdict::default()
            },
        }
    }
}

/// Sends that were begun and of whose envelopes no answer speaks.
fn unanswered(cast: &Cast, record: &Record, moment: u64) -> Vec<(usize, usize)> {
    let answered: BTreeSet<Envelope> = record
        .before(moment)
        .filter_map(|fact| match fact {
            Fact::Acknowledged(envelope) | Fact::Void(envelope) => Some(*envelope),
            _ => None,
        })
        .collect();
    let all = (0..SENDERS).flat_map(|sender| (0..cast.rounds).map(move |round| (sender, round)));
    all.filter(|(sender, round)| {
        let envelopes = envelopes_of(cast, *sender, *round);
        let begun = envelopes.iter().any(|name| record.sent.contains_key(name));
        begun && !envelopes.iter().any(|name| answered.contains(name))
    })
    .collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
