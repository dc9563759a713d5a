//! What all sweeps share: the program, its keys, a folder for each life, and the look afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use kinline_protocol::server_name::RelayAddress;
use tempfile::TempDir;
use tokio::time::timeout;

use super::cast::{Cast, SENDERS};
use super::drain::drain;
use super::driver::{self, envelopes_of};
use super::oracle::{Verdict, judge};
use super::process::{Ended, Process, Program};
use super::record::{Envelope, Fact, Notebook, Record};

/// Sends of each sender in one life: some hundred envelopes, four slots, a second in all.
const ROUNDS: usize = 16;

/// A life takes a second, and so does the look at what it left.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the sweeps happen.
pub struct Stage {
    /// The relay that lives.
    pub program: Program,
    /// The relay that is started afterwards.
    after: Program,
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
    pub async fn set(program: Program, after: Program, seed: u64, jobs: usize) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("crash-sweep")
            .tempdir()
            .unwrap();
        // A folder that hands out envelopes often, writes them often and folds its log in often.
        let busy = |program: Program| {
            program
                .with("LIMITS__HOLD_MS", "20")
                .with("LIMITS__CHECKPOINT_AFTER_MS", "10")
        };
        let (program, after) = (busy(program), busy(after));
        let first = folder.path().join("first");
        std::fs::create_dir_all(first.join("keys")).unwrap();
        let relay = Process::start(&after, &first, &[]).await;
        let started = relay.address.is_some();
        let ended = relay.terminate().await;
        assert!(started, "the relay does not start: {}", ended.log);
        Self {
            program,
            after,
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
        self.look_at(folder, record, moment)
            .await
            .unwrap_or_else(|ended| {
                let said = ended.log.lines().last().unwrap_or_default();
                Verdict {
                    lost: vec![format!("the relay does not start again: {said}")],
                    ..Verdict::default()
                }
            })
    }

    /// [`Self::look`] at a folder over which no relay may start.
    ///
    /// # Errors
    /// How it ended, when it did not start.
    pub async fn look_at(
        &self,
        folder: &Path,
        record: &Record,
        moment: u64,
    ) -> Result<Verdict, Ended> {
        let relay = Process::start(&self.after, folder, &[]).await;
        let Some(address) = relay.address.clone() else {
            return Err(relay.ended().await);
        };
        let unanswered = unanswered(&self.cast, record, moment);
        let found = timeout(PATIENCE, drain(&address, &self.cast, &unanswered)).await;
        let ended = relay.terminate().await;
        Ok(match found {
            Ok(Ok(found)) => judge(&self.cast, record, moment, &found),
            Ok(Err(_)) => wrong(format!(
                "the relay ended while it was drained: {}",
                ended.log
            )),
            Err(_) => wrong("the relay fell silent while it was drained".into()),
        })
    }

    /// Lives over a relay until one of them ends; whether they did in time.
    pub async fn live(&self, relay: &RelayAddress, notes: &Notebook) -> Verdict {
        match timeout(PATIENCE, driver::live(relay, &self.cast, notes)).await {
            Ok(()) => Verdict::default(),
            Err(_) => wrong("the relay fell silent".into()),
        }
    }
}

fn wrong(sentence: String) -> Verdict {
    Verdict {
        wrong: vec![sentence],
        ..Verdict::default()
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

pub(super) fn copy(from: &Path, to: &Path) {
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
