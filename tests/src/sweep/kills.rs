//! SIGKILL at the Nth sync, write or change of a name, for every N until the life ends.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use super::cuts::Life;
use super::oracle::Verdict;
use super::process::Process;
use super::record::Notebook;
use super::stage::Stage;
use super::strace::{Kind, injecting};

/// SIGKILL.
const KILL: i32 = 9;

/// Which files: database, journals and tidying have a thread of their own each, and strace counts
/// in each thread by itself. So the calls of each part are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The database, its log, and the folder that holds them.
    Database,
    /// The blobs' files and folders.
    Blobs,
    /// The spool's journals.
    Journals,
    /// The spool's other files, and its folder.
    Tidying,
}

/// Numbers of the spool's segments that a life comes to, with room for another that is slower.
const SEGMENTS: u32 = 96;

impl Part {
    /// The part that a path below the relay's folder belongs to.
    fn of(path: &Path) -> Self {
        if path.starts_with("data/blobs") {
            Self::Blobs
        } else if !path.starts_with(SPOOL) {
            Self::Database
        } else if path.extension().is_some_and(|name| name == "journal") {
            Self::Journals
        } else {
            Self::Tidying
        }
    }

    /// Paths that lives have whether or not the one that was watched had them: what the spool's
    /// segments are called depends on the moment.
    fn always(self) -> Vec<PathBuf> {
        let all = |kind| (1..=SEGMENTS).map(move |it| format!("{SPOOL}/{it:08x}.{kind}").into());
        match self {
            Self::Database | Self::Blobs => Vec::new(),
            Self::Journals => all("journal").collect(),
            Self::Tidying => {
                let folder = std::iter::once(PathBuf::from(SPOOL));
                folder.chain(all("sorted")).chain(all("new")).collect()
            }
        }
    }
}

/// The spool's folder below the relay's.
const SPOOL: &str = "data/spool";

/// A moment in a life: the `number`th call of a kind, in whichever thread comes to it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// On which files.
    pub part: Part,
    /// Of what kind.
    pub kind: Kind,
    /// From one.
    pub number: u32,
}

/// Where something can be done to a relay.
#[derive(Debug, Default, Clone)]
pub struct Plan {
    /// Every point, in the order of [`Part`], [`Kind`] and number.
    pub points: Vec<Point>,
    paths: BTreeMap<Part, BTreeSet<PathBuf>>,
}

impl Plan {
    /// The points of a life that was watched.
    #[must_use]
    pub fn of(life: &Life) -> Self {
        let mut plan = Self::default();
        let mut counts: BTreeMap<(Part, Kind), BTreeMap<u32, u32>> = BTreeMap::new();
        for (call, path) in life.calls.iter().zip(life.paths()) {
            let part = Part::of(&path);
            if let Some(kind) = call.effect.kind() {
                let threads = counts.entry((part, kind)).or_default();
                *threads.entry(call.thread).or_default() += 1;
            }
            plan.paths.entry(part).or_default().insert(path);
        }
        for ((part, kind), threads) in counts {
            let most = threads.values().max().copied().unwrap_or_default();
            plan.points
                .extend((1..=most).map(|number| Point { part, kind, number }));
        }
        plan
    }

    /// The plan with those points alone.
    #[must_use]
    pub fn only(&self, concerns: impl Fn(&Point) -> bool) -> Self {
        let mut plan = self.clone();
        plan.points.retain(concerns);
        plan
    }

    /// `count` of the points, spread evenly; all of them and then again when that is more.
    #[must_use]
    pub fn spread(&self, count: usize) -> Vec<Point> {
        let all = self.points.len();
        (0..count)
            .map(|place| {
                if count <= all {
                    self.points[place * all / count]
                } else {
                    self.points[place % all]
                }
            })
            .collect()
    }

    /// The paths of a part, below a folder.
    #[must_use]
    pub fn paths(&self, part: Part, folder: &Path) -> Vec<PathBuf> {
        let seen = self.paths.get(&part).into_iter().flatten().cloned();
        let all: BTreeSet<PathBuf> = seen.chain(part.always()).collect();
        all.into_iter().map(|path| folder.join(path)).collect()
    }
}

/// How a kill went.
#[derive(Debug, Clone)]
pub struct Killed {
    /// Where.
    pub point: Point,
    /// Whether the relay came to the point at all.
    pub struck: bool,
    /// What was found afterwards.
    pub verdict: Verdict,
}

/// Lives until the point, dies, and is looked at.
pub async fn kill(stage: &Stage, plan: &Plan, point: Point) -> Killed {
    let folder = stage.fresh();
    let paths = plan.paths(point.part, folder.path());
    let nowhere = Path::new("/dev/null");
    let witness = injecting(point.kind, "signal=KILL", point.number, &paths, nowhere);
    let relay = Process::start(&stage.program, folder.path(), &witness).await;
    let notes = Notebook::default();
    let mut lived = Verdict::default();
    if let Some(address) = relay.address.clone() {
        lived = stage.live(&address, &notes).await;
    }
    let ended = relay.terminate().await;
    let mut verdict = stage.look(folder.path(), &notes.record(), u64::MAX).await;
    verdict.add(lived);
    Killed {
        point,
        struck: ended.status.signal() == Some(KILL),
        verdict,
    }
}

/// [`kill`]; no two lives are quite alike, and when one ends before the point came, the next is
/// killed earlier.
pub async fn until_struck(stage: &Stage, plan: &Plan, mut point: Point) -> Vec<Killed> {
    let mut killed = Vec::new();
    loop {
        let one = kill(stage, plan, point).await;
        let done = one.struck || point.number == 1;
        killed.push(one);
        if done {
            return killed;
        }
        point.number = point.number * 3 / 4;
    }
}
