//! The disk fails (EIO) at the Nth sync or write: the relay says so, acknowledges nothing more,
//! and ends. It never tries a sync again: after one that failed, nobody knows what the disk has,
//! and the next one would say that all is well.

use std::collections::HashMap;

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

/// A sync as strace wrote it: on one line, or on two when another thread's call came in between.
struct Sync {
    thread: String,
    text: String,
    begin: usize,
    end: usize,
}

impl Sync {
    fn has_failed(&self) -> bool {
        self.text.contains("(INJECTED)")
    }

    /// The path in `fsync(7</path>) = 0`.
    fn name(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once('<')?;
        rest.split_once('>').map(|(name, _)| name)
    }
}

/// All syncs, in the order in which they began.
fn syncs(watched: &str) -> Vec<Sync> {
    let mut all: Vec<Sync> = Vec::new();
    let mut under_way: HashMap<&str, usize> = HashMap::new();
    for (at, line) in watched.lines().enumerate() {
        let Some(thread) = line.split_whitespace().next() else {
            continue;
        };
        let resumed = line.split_once(" resumed>").map(|(_, end)| end);
        if let (Some(end), Some(sync)) = (
            resumed,
            under_way.remove(thread).and_then(|it| all.get_mut(it)),
        ) {
            sync.text.push_str(end);
            sync.end = at;
        } else if line.contains("sync(") {
            let begin = line.strip_suffix(" <unfinished ...>");
            if begin.is_some() {
                under_way.insert(thread, all.len());
            }
            all.push(Sync {
                thread: thread.to_owned(),
                text: begin.unwrap_or(line).to_owned(),
                begin: at,
                end: if begin.is_some() { usize::MAX } else { at },
            });
        }
    }
    all
}

/// Whether what failed was a sync of the folder by SQLite, which does not look at what it says
/// (SECURITY, Known gaps): made by the thread that synced one of its files just before.
fn is_sqlites_folder(watched: &str) -> bool {
    let all = syncs(watched);
    let Some(at) = all.iter().position(Sync::has_failed) else {
        return false;
    };
    let (before, here) = (&all[..at], &all[at]);
    let mut before = before.iter().rev();
    let last = before.find(|sync| sync.thread == here.thread);
    let of_sqlite = |sync: &Sync| sync.text.contains("/relay.sqlite");
    here.text.contains("/data>") && last.is_some_and(of_sqlite)
}

/// Syncs of a file that began after one of it had failed.
fn retried(watched: &str) -> usize {
    let all = syncs(watched);
    let Some(failed) = all.iter().find(|sync| sync.has_failed()) else {
        return 0;
    };
    let again = |sync: &&Sync| sync.begin > failed.end && sync.name() == failed.name();
    all.iter().filter(again).count()
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

    #[test]
    fn calls_of_several_threads_at_once_are_put_together_again() {
        let begun = "1 fsync(3</a> <unfinished ...>\n";
        let failed = "1 <... fsync resumed>) = -1 EIO (Input/output error) (INJECTED)\n";
        let (other, done) = (
            "2 fsync(5</b> <unfinished ...>\n",
            "2 <... fsync resumed>) = 0\n",
        );
        let again = "3 fsync(3</a> <unfinished ...>\n";
        assert_eq!(retried(&format!("{begun}{other}{failed}{done}")), 0);
        assert_eq!(retried(&format!("{begun}{other}{failed}{done}{again}")), 1);
        let wal = "1 fdatasync(4</x/data/relay.sqlite-wal>) = 0\n";
        let folder = begun.replace("</a>", "</x/data>");
        assert!(is_sqlites_folder(&format!("{wal}{folder}{other}{failed}")));
        assert!(!is_sqlites_folder(&format!("{folder}{wal}{failed}")));
    }
}
