//! Who runs on which core: the relay or a baseline on one, the generator on the other, alike
//! for both, so that a ratio compares like with like.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two cores of a run; none on a machine, or in a container, that has only one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    pair: Option<(usize, usize)>,
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    // A system that refuses leaves us unpinned; the report's shares of a core show it.
    let _ = sched_setaffinity(None, &set);
}

impl Cores {
    /// Takes the first two cores that this process may use, and pins the calling thread to
    /// the generator's. Threads that it starts later inherit that.
    pub(super) fn take(pinned: bool) -> Self {
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let cores = Self {
            pair: pinned.then(|| cores.next().zip(cores.next())).flatten(),
        };
        if let Some((_, generator)) = cores.pair {
            pin(generator);
        }
        cores
    }

    /// Does `work`, which starts a process, on the relay's core: the process inherits it.
    pub(super) fn on_the_other<T>(self, work: impl FnOnce() -> T) -> T {
        match self.pair {
            None => work(),
            Some((relay, generator)) => {
                pin(relay);
                let value = work();
                pin(generator);
                value
            }
        }
    }

    /// Whether both have a core of their own.
    pub(super) const fn pinned(self) -> bool {
        self.pair.is_some()
    }
}

/// Raises the number of files that this process may have open to what the system allows it;
/// returns that. Children inherit it.
pub(super) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    let raised = Rlimit {
        current: Some(most),
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}
