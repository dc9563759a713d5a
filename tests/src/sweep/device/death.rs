//! Where a device dies, and what is left of its folder.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use crate::sweep::power::Rest;

/// A kind of call at which a device dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A sync.
    Sync,
    /// A write to the database or its log.
    Database,
    /// A write to any other file; what it reports is one of these, too.
    File,
    /// A change of a folder's names.
    Name,
    /// Bytes that leave for the relay.
    Frame,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Sync,
        Self::Database,
        Self::File,
        Self::Name,
        Self::Frame,
    ];

    /// strace's list of the calls. SQLite alone writes at a place of its choice.
    #[must_use]
    pub const fn calls(self) -> &'static str {
        match self {
            Self::Sync => "fsync,fdatasync",
            Self::Database => "pwrite64,ftruncate",
            Self::File => "write",
            Self::Name => "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat",
            Self::Frame => "sendto",
        }
    }
}

/// What happens to the folder of a device that died.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum End {
    /// Nothing: it was killed, and the system has all that it wrote.
    Kill,
    /// The power went.
    Cut {
        /// What becomes of what was not synced.
        rest: Rest,
        /// Seed of what is left to chance.
        seed: u64,
    },
}

/// One death.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Death {
    /// At which kind of call.
    pub step: Step,
    /// At which of them, in whichever thread comes to it first; from one.
    pub number: u32,
    /// With which end.
    pub end: End,
}

/// Every point of a life, as it was counted.
#[must_use]
pub fn points(counts: &[(Step, u32)]) -> Vec<(Step, u32)> {
    counts
        .iter()
        .flat_map(|(step, most)| (1..=*most).map(|number| (*step, number)))
        .collect()
}

/// `count` deaths spread over these points: all of them and then again when that is more.
#[must_use]
pub fn spread(points: &[(Step, u32)], count: usize, cut: bool, seed: u64) -> Vec<Death> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let all = points.len();
    (0..count)
        .map(|place| {
            let at = if count <= all {
                place * all / count
            } else {
                place % all
            };
            let (step, number) = points[at];
            let rest = match place % 3 {
                0 => Rest::Nothing,
                _ => Rest::Some {
                    share: [0.1, 0.5, 0.9][random.random_range(0..3)],
                    sector: [512, 4_096][random.random_range(0..2)],
                },
            };
            let end = if cut {
                End::Cut {
                    rest,
                    seed: random.random(),
                }
            } else {
                End::Kill
            };
            Death { step, number, end }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{End, Step, points, spread};

    #[test]
    fn every_point_has_its_turn() {
        let all = points(&[(Step::Sync, 3), (Step::Name, 0), (Step::Frame, 2)]);
        assert_eq!(all.len(), 5);
        let at = |count| -> BTreeSet<(Step, u32)> {
            let deaths = spread(&all, count, true, 1).into_iter();
            deaths.map(|death| (death.step, death.number)).collect()
        };
        assert_eq!(at(5).len(), 5);
        assert_eq!(at(7).len(), 5);
        assert_eq!(at(2), [(Step::Sync, 1), (Step::Sync, 3)].into());
        assert!(
            spread(&all, 3, false, 1)
                .iter()
                .all(|it| it.end == End::Kill)
        );
    }
}
