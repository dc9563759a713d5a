//! The disk fails (EIO) at the Nth sync or write: the relay says so, acknowledges nothing more,
//! and ends. It never tries a sync again: after one that failed, nobody knows what the disk has,
//! and the next one would say that all is well.

use super::kills::{Plan, Point};
use super::oracle::Verdict;
use super::process::{Ended, Process};
use super::record::Notebook;
use super::stage::Stage;
use super::strace::{Kind, injecting};

/// What the relay says in its log.
const SENTENCE: &str = "nothing more is acknowledged";
/// Status of a relay that failed while it ran, and of one that did not start.
const FAILED: i32 = 1;
const REFUSED: i32 = 2;

/// How an error went.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Where.
    pub point: Point,
    /// Whether the relay came to the point at all.
    pub struck: bool,
    /// What was found afterwards.
    pub verdict: Verdict,
}

/// Whether errors are done at a point: names are not made while a relay acknowledges.
#[must_use]
pub fn concerns(point: &Point) -> bool {
    point.kind != Kind::Name
}

/// Lives until the disk fails, and looks whether the relay did what it must.
///
/// # Panics
/// When the system refuses.
pub async fn fail(stage: &Stage, plan: &Plan, point: Point) -> Failed {
    let folder = stage.fresh();
    let paths = plan.paths(point.part, folder.path());
    let trace = folder.path().join("trace");
    let witness = injecting(point.kind, "error=EIO", point.number, &paths, &trace);
    let relay = Process::start(&stage.program, folder.path(), &witness).await;
    let notes = Notebook::default();
    let listened = relay.address.is_some();
    let mut lived = Verdict::default();
    if let Some(address) = relay.address.clone() {
        lived = stage.live(&address, &notes).await;
    }
    let ended = relay.terminate().await;
    let watched = std::fs::read_to_string(&trace).unwrap();
    let mut wrong = Vec::new();
    let struck = watched.contains("(INJECTED)");
    if struck {
        wrong = judge(&ended, listened, &watched, point.kind);
    }
    let mut verdict = stage.look(folder.path(), &notes.record(), u64::MAX).await;
    verdict.add(lived);
    verdict.wrong.extend(wrong);
    Failed {
        point,
        struck,
        verdict,
    }
}

fn judge(ended: &Ended, listened: bool, watched: &str, kind: Kind) -> Vec<String> {
    let mut wrong = Vec::new();
    let expected = if listened { FAILED } else { REFUSED };
    if ended.status.code() != Some(expected) {
        wrong.push(format!("after EIO it ended with {}", ended.status));
    }
    if listened && !ended.log.contains(SENTENCE) {
        wrong.push("after EIO its log does not say what happened".into());
    }
    if kind == Kind::Sync && listened {
        let again = retried(watched);
        if again > 0 {
            wrong.push(format!("after EIO {again} more syncs of the same file"));
        }
    }
    wrong
}

/// Syncs of a file after one of it failed.
fn retried(watched: &str) -> usize {
    let mut lines = watched.lines().filter(|line| line.contains("sync("));
    let failed = lines.find(|line| line.contains("(INJECTED)"));
    let Some(file) = failed.and_then(name) else {
        return 0;
    };
    lines.filter(|line| name(line) == Some(file)).count()
}

/// The path in `fsync(7</path>) = 0`.
fn name(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once('<')?;
    rest.split_once('>').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::retried;

    #[test]
    fn a_sync_that_is_tried_again_is_counted() {
        let failed = "1 fsync(3</a>) = -1 EIO (Input/output error) (INJECTED)\n";
        let (same, other) = ("2 fdatasync(4</a>) = 0\n", "1 fsync(5</b>) = 0\n");
        assert_eq!(retried(&format!("{same}{failed}{other}")), 0);
        assert_eq!(retried(&format!("{failed}{other}{same}{same}")), 2);
    }
}
