//! Bits flip in the database and in blobs: whatever the relay then hands out is what was sent.

use std::path::{Path, PathBuf};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use super::oracle::Verdict;
use super::process::Process;
use super::record::{Notebook, Record};
use super::stage::{self, Stage};

/// The most bits that flip at once.
const BITS_MAX: u32 = 16;
/// Status of a relay that does not start.
const REFUSED: i32 = 2;

/// A life that ended well, to be damaged again and again.
pub struct Whole {
    folder: tempfile::TempDir,
    record: Record,
}

impl Whole {
    /// Lives once.
    ///
    /// # Panics
    /// When the relay does not.
    pub async fn live(stage: &Stage) -> Self {
        let folder = stage.fresh();
        let relay = Process::start(&stage.program, folder.path(), &[]).await;
        let notes = Notebook::default();
        let address = relay.address.clone().expect("it starts");
        let lived = stage.live(&address, &notes).await;
        assert!(lived.is_clean(), "{lived:?}");
        relay.terminate().await;
        Self {
            folder,
            record: notes.record(),
        }
    }

    /// Flips a few bits of one file and looks at what a relay makes of it. What it hands out must
    /// be good; what it refuses is only counted. `None` when it refused to start, with a sentence.
    ///
    /// # Panics
    /// When the system refuses.
    pub async fn damage(&self, stage: &Stage, seed: u64) -> Option<Verdict> {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let folder = stage.fresh();
        let data = folder.path().join("data");
        stage::copy(&self.folder.path().join("data"), &data);
        let mut files = Vec::new();
        list(&data, &mut files);
        // The database as often as all others together.
        let database = data.join("relay.sqlite");
        let others: Vec<_> = files.iter().filter(|path| **path != database).collect();
        let path = if random.random_bool(0.5) || others.is_empty() {
            &database
        } else {
            others[random.random_range(0..others.len())]
        };
        let mut bytes = std::fs::read(path).unwrap();
        for _ in 0..random.random_range(1..=BITS_MAX) {
            let place = random.random_range(0..bytes.len());
            bytes[place] ^= 1 << random.random_range(0..8_u32);
        }
        std::fs::write(path, bytes).unwrap();
        let mut verdict = match stage.look_at(folder.path(), &self.record, u64::MAX).await {
            Ok(verdict) => verdict,
            Err(ended) if ended.status.code() == Some(REFUSED) => return None,
            Err(ended) => {
                let mut verdict = Verdict::default();
                let sentence = format!("after damage it ended with {}", ended.status);
                verdict.wrong.push(sentence);
                verdict
            }
        };
        // Damage loses, and may end the relay; the promise is that it is not handed out.
        verdict.lost.clear();
        let allowed = ["nothing new is taken", "the relay ended while"];
        verdict
            .wrong
            .retain(|wrong| !allowed.iter().any(|begins| wrong.starts_with(begins)));
        Some(verdict)
    }
}

/// Every file with bytes in it.
fn list(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            list(&path, into);
        } else if std::fs::metadata(&path).unwrap().len() > 0 {
            into.push(path);
        }
    }
}
