//! When decoys seem to be used: as often as the real ones are.
//!
//! What a thief sees of a mailbox is its last day: 90 days after it was last attached. Its *age* is
//! how many days ago that was. Each day so many decoys of an age come back that those who stay are as
//! large a part of all decoys as the real ones of that age are of all real ones: of the young ages,
//! where most come back, as large as yesterday's of the same age; of the old ones, where each last day
//! has few and they hardly change, as large as those with the very same last day. A decoy that
//! stays away for 90 days ends as the others do, and a new one takes its place.

use kinline_protocol::limits::MAILBOX_IDLE_DAYS;

/// Ages from 0 to the last day.
const AGES: usize = MAILBOX_IDLE_DAYS as usize + 1;
/// Up to this age many come back on the next day.
const YOUNG: u32 = 7;
/// Below so many real mailboxes their days say little.
const ENOUGH: u32 = 16;
/// What stays away then: most come back on the next day.
const FEW_STAY: f64 = 0.2;

/// How many mailboxes there are of each age, as today begins.
#[derive(Debug, Clone)]
pub(super) struct Ages {
    counts: [u32; AGES],
    all: u32,
}

impl Ages {
    /// Of these ages, in days.
    pub(super) fn of(ages: impl Iterator<Item = u32>) -> Self {
        let mut counts = [0_u32; AGES];
        let mut all = 0_u32;
        for age in ages {
            let place = usize::try_from(age).unwrap_or(AGES);
            if let Some(count) = counts.get_mut(place) {
                *count = count.saturating_add(1);
                all = all.saturating_add(1);
            }
        }
        Self { counts, all }
    }

    /// An age as one of these has it, for `chance` in 0..1.
    pub(super) fn draw(&self, chance: f64) -> u32 {
        let mut left = chance * f64::from(self.all);
        for (age, count) in (0..).zip(self.counts) {
            left -= f64::from(count);
            if left < 0.0 {
                return age;
            }
        }
        0
    }

    fn share(&self, age: u32) -> f64 {
        let place = usize::try_from(age).unwrap_or(AGES);
        let count = self.counts.get(place).copied().unwrap_or(0);
        f64::from(count) / f64::from(self.all.max(1))
    }

    /// With what chance a decoy of this age is not used today, when these are the real ones.
    pub(super) fn stays(&self, age: u32, decoys: &Self) -> f64 {
        if self.all < ENOUGH {
            return FEW_STAY;
        }
        // One day older than today is as old as this yesterday.
        let like = if age <= YOUNG { age + 1 } else { age };
        let there = decoys.share(age);
        if there > 0.0 {
            (self.share(like) / there).min(1.0)
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use super::{AGES, Ages};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    /// Ages of real mailboxes: most are used on most days, some on weekends, some are given up.
    fn live(rng: &mut ChaCha20Rng, ages: &mut Vec<u32>, habits: &mut Vec<f64>, families: usize) {
        for (age, habit) in ages.iter_mut().zip(habits.iter_mut()) {
            if rng.random_bool(0.004) {
                *habit = 0.0; // lost, broken, grown out of
            }
            *age = if rng.random_bool(*habit) { 0 } else { *age + 1 };
        }
        let gone: Vec<bool> = ages.iter().map(|age| *age as usize >= AGES).collect();
        let mut keep = gone.iter().map(|gone| !gone);
        ages.retain(|_| keep.next().unwrap());
        let mut keep = gone.iter().map(|gone| !gone);
        habits.retain(|_| keep.next().unwrap());
        while ages.len() < families {
            ages.push(0);
            habits.push([0.95, 0.8, 0.3][rng.random_range(0..3)]);
        }
    }

    /// How well the age tells decoys from real ones: a classifier that learns on one half how much
    /// likelier each span of ages is for a decoy, and is asked about the other half. 0.5 is chance.
    fn told_apart(real: &[u32], decoys: &[u32]) -> f64 {
        let span = |age: u32| match age {
            0..=6 => age as usize,
            7..=13 => 7,
            14..=29 => 8,
            30..=59 => 9,
            _ => 10,
        };
        let mut learned = [[1.0_f64; 2]; 11];
        let halves = |ages: &[u32], half: usize| -> Vec<u32> {
            ages.iter().skip(half).step_by(2).copied().collect()
        };
        for (class, ages) in [real, decoys].into_iter().enumerate() {
            let learning = halves(ages, 0);
            let share = 1.0 / learning.len() as f64;
            for age in learning {
                learned[span(age)][class] += share * 1_000.0;
            }
        }
        let score = |age: u32| learned[span(age)][1] / learned[span(age)][0];
        let (real, decoys) = (halves(real, 1), halves(decoys, 1));
        let mut right = 0.0;
        for decoy in &decoys {
            for other in &real {
                let (a, b) = (score(*decoy), score(*other));
                right += if a > b {
                    1.0
                } else if a < b {
                    0.0
                } else {
                    0.5
                };
            }
        }
        right / (real.len() * decoys.len()) as f64
    }

    #[test]
    fn after_half_a_year_their_days_tell_decoys_from_nobody_and_a_planted_habit_is_caught() {
        let seed = 7;
        println!("seed {seed}");
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (mut real, mut habits) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            live(&mut rng, &mut real, &mut habits, 3_000);
        }
        let first = Ages::of(real.iter().copied());
        let mut decoys: Vec<u32> = (0..1_000).map(|_| first.draw(rng.random())).collect();
        // What a careless relay would have: decoys that are never used again.
        let mut asleep = decoys.clone();
        let older = |ages: &[u32]| Ages::of(ages.iter().map(|age| age + 1));
        for _ in 0..180 {
            let (others, ours) = (older(&real), older(&decoys));
            for age in &mut decoys {
                *age += 1;
                let stays = others.stays(*age, &ours) > rng.random();
                if !stays || *age as usize >= AGES {
                    *age = 0;
                }
            }
            for age in &mut asleep {
                *age = (*age + 1) % AGES as u32;
            }
            live(&mut rng, &mut real, &mut habits, 3_000);
        }
        let ours = told_apart(&real, &decoys);
        let asleep = told_apart(&real, &asleep);
        let awake = told_apart(&real, &vec![0; 1_000]);
        println!("ours {ours:.3}, never used {asleep:.3}, used daily {awake:.3}");
        assert!((0.44..0.56).contains(&ours), "{ours}");
        assert!(asleep > 0.7, "{asleep}");
        assert!(awake > 0.6, "{awake}");
    }

    #[test]
    fn where_few_are_real_most_decoys_come_back() {
        let (few, none) = (
            Ages::of([0, 0, 1].into_iter()),
            Ages::of(std::iter::empty()),
        );
        assert!((few.stays(1, &few) - 0.2).abs() < f64::EPSILON);
        assert_eq!((few.draw(0.5), few.draw(0.9), none.draw(0.3)), (0, 1, 0));
    }
}
