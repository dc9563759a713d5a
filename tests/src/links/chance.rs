//! How well the guesses fit, and whether chance does as well.
//!
//! The test is a permutation test: the same rankings are scored against families dealt to accounts
//! at random, 9,999 times. The share of deals that fit at least as well as the truth is the p of
//! a figure; it tells if any of the three has less than [`THRESHOLD`].

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha20Rng;

use super::guess::{Learned, Ranked};

const DEALS: usize = 9_999;
/// How many of the best guesses count in the second figure.
const BEST: usize = 10;
/// A p below this is no chance: 0.001, for each of three figures.
pub const THRESHOLD: f64 = 0.001;

/// One figure beside what chance gives.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// As measured.
    pub value: f64,
    /// Mean over random deals.
    pub chance: f64,
    /// The interval that 95 % of the deals fall into.
    pub interval: [f64; 2],
    /// Share of deals that are at least as good.
    pub p: f64,
}

/// How well rows were told together.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// How many guesses there were.
    pub guesses: usize,
    /// Share of guesses whose first candidate is right.
    pub first: Figure,
    /// Share with a right one among the ten best.
    pub best: Figure,
    /// How likely a right one stands before a wrong one.
    pub area: Figure,
}

impl Measured {
    /// Whether chance does as well.
    #[must_use]
    pub fn is_chance(&self) -> bool {
        [self.first, self.best, self.area]
            .iter()
            .all(|figure| figure.p >= THRESHOLD)
    }
}

/// What is guessed about: rows of which each has to be told its family's others.
pub(super) struct Question {
    /// One for each family, in the order of families.
    pub(super) subjects: Vec<Ranked>,
    /// What they may belong to.
    pub(super) objects: Vec<Ranked>,
    /// Deals are made among families of the same class only.
    pub(super) classes: Vec<i64>,
}

/// For one subject and each family of its half: right at first, among the best, area.
type Fits = Vec<[f64; 3]>;

impl Question {
    /// Learns on one half and guesses about the other, and the other way round.
    pub(super) fn measure(&self, random: &mut ChaCha20Rng) -> Measured {
        let mut order: Vec<usize> = (0..self.subjects.len()).collect();
        order.shuffle(random);
        let (left, right) = order.split_at(order.len() / 2);
        let halves = [
            (right, self.fits(left, right, random)),
            (left, self.fits(right, left, random)),
        ];
        let truth = self.total(&halves, None);
        let deals: Vec<[f64; 3]> = (0..DEALS)
            .map(|_| self.total(&halves, Some(random)))
            .collect();
        let figure = |at: usize| {
            let mut values: Vec<f64> = deals.iter().map(|deal| deal[at]).collect();
            values.sort_by(f64::total_cmp);
            let least = values.partition_point(|value| *value < truth[at] - 1e-12);
            Figure {
                value: truth[at],
                chance: values.iter().sum::<f64>() / DEALS as f64,
                interval: [values[DEALS / 40], values[DEALS - 1 - DEALS / 40]],
                p: (DEALS - least + 1) as f64 / (DEALS + 1) as f64,
            }
        };
        Measured {
            guesses: self.subjects.len(),
            first: figure(0),
            best: figure(1),
            area: figure(2),
        }
    }

    fn of(&self, families: &[usize]) -> (Vec<Ranked>, Vec<Ranked>) {
        let mut chosen = vec![false; self.subjects.len()];
        families.iter().for_each(|family| chosen[*family] = true);
        let pick = |rows: &[Ranked]| -> Vec<Ranked> {
            rows.iter()
                .filter(|row| chosen[row.family])
                .cloned()
                .collect()
        };
        (pick(&self.subjects), pick(&self.objects))
    }

    fn fits(&self, learn: &[usize], guess: &[usize], random: &mut ChaCha20Rng) -> Vec<Fits> {
        let (subjects, objects) = self.of(learn);
        let learned = Learned::from(&subjects, &objects);
        let (_, objects) = self.of(guess);
        let objects: Vec<Ranked> = objects.iter().map(|it| learned.extend(it)).collect();
        guess
            .iter()
            .map(|family| {
                let subject = &self.subjects[*family];
                // Equal scores are put in a random order.
                let mut ranking: Vec<(f64, u32, usize)> = objects
                    .iter()
                    .map(|it| (learned.score(subject, it), random.random(), it.family))
                    .collect();
                ranking.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                let mut places: Vec<Vec<usize>> = vec![Vec::new(); self.subjects.len()];
                for (place, one) in ranking.iter().enumerate() {
                    places[one.2].push(place);
                }
                guess
                    .iter()
                    .map(|family| fit(&places[*family], ranking.len()))
                    .collect()
            })
            .collect()
    }

    /// Means over all guesses, for the truth or for a random deal.
    fn total(
        &self,
        halves: &[(&[usize], Vec<Fits>); 2],
        mut random: Option<&mut ChaCha20Rng>,
    ) -> [f64; 3] {
        let mut sum = [0.0; 3];
        for (families, fits) in halves {
            let mut dealt: Vec<usize> = (0..families.len()).collect();
            if let Some(random) = random.as_deref_mut() {
                dealt.shuffle(random);
                // Within each class: the order of positions stays, who sits there is dealt.
                let class = |at: &usize| self.classes[families[*at]];
                let mut seats: Vec<usize> = (0..families.len()).collect();
                seats.sort_by_key(class);
                dealt.sort_by_key(class);
                let mut out = vec![0; families.len()];
                for (seat, who) in seats.iter().zip(&dealt) {
                    out[*seat] = *who;
                }
                dealt = out;
            }
            for (fits, dealt) in fits.iter().zip(dealt) {
                for (sum, value) in sum.iter_mut().zip(fits[dealt]) {
                    *sum += value;
                }
            }
        }
        sum.map(|sum| sum / self.subjects.len() as f64)
    }
}

fn fit(places: &[usize], all: usize) -> [f64; 3] {
    let first = f64::from(u8::from(places.contains(&0)));
    let best = f64::from(u8::from(places.iter().any(|place| *place < BEST)));
    let (own, others) = (places.len(), all - places.len());
    // Mann and Whitney: pairs of a right one before a wrong one.
    let before: usize = places
        .iter()
        .enumerate()
        .map(|(rank, place)| others - (place - rank))
        .sum();
    [first, best, before as f64 / (own * others).max(1) as f64]
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn the_area_is_that_of_mann_and_whitney() {
        assert_eq!(fit(&[0, 1], 10), [1.0, 1.0, 1.0]);
        assert_eq!(fit(&[8, 9], 10), [0.0, 1.0, 0.0]);
        assert_eq!(fit(&[10], 21), [0.0, 0.0, 0.5]);
    }
}
