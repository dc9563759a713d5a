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
    if struck && !is_sqlites_folder(&watched) {
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

/// Whether what failed was a sync of the folder by SQLite, which does not look at what it says
/// (SECURITY, Known gaps): made by the thread that synced one of its files just before.
fn is_sqlites_folder(watched: &str) -> bool {
    let all: Vec<&str> = watched.lines().filter(|it| it.contains("sync(")).collect();
    let thread = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let Some(at) = all.iter().position(|line| line.contains("(INJECTED)")) else {
        return false;
    };
    let (before, here) = (&all[..at], all[at]);
    let last = before
        .iter()
        .rev()
        .find(|line| thread(line) == thread(here));
    let of_sqlite = |line: &&&str| line.contains("/relay.sqlite");
    here.contains("/data>") && last.is_some_and(|line| of_sqlite(&line))
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
    use super::{is_sqlites_folder, retried};

    #[test]
    fn a_sync_of_the_folder_by_sqlite_is_told_from_one_of_ours() {
        let ours = "1 fsync(9</x/data>) = -1 EIO (Input/output error) (INJECTED)\n";
        let wal = "1 fsync(12</x/data/relay.sqlite-wal>) = 0\n";
        let other = wal.replace("1 fsync", "2 fsync");
        assert!(is_sqlites_folder(&format!("{wal}{other}{ours}")));
        assert!(!is_sqlites_folder(&format!("{other}{ours}")));
        assert!(!is_sqlites_folder(ours));
        assert!(!is_sqlites_folder(&format!(
            "{wal}{}",
            ours.replace("</x/data>", "</x/data/spool>")
        )));
    }

    #[test]
    fn a_sync_that_is_tried_again_is_counted() {
        let failed = "1 fsync(3</a>) = -1 EIO (Input/output error) (INJECTED)\n";
        let (same, other) = ("2 fdatasync(4</a>) = 0\n", "1 fsync(5</b>) = 0\n");
        assert_eq!(retried(&format!("{same}{failed}{other}")), 0);
        assert_eq!(retried(&format!("{failed}{other}{same}{same}")), 2);
    }
}
