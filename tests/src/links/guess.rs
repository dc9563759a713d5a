//! The classifier: what rows that belong together have in common.
//!
//! Each number of a row is turned into its rank among all rows of the table. Two kinds of features
//! are looked at: how far a number of one side is from a number of the other, and how far it is
//! from what is expected for a row whose two numbers are near those of rows that are known (so a
//! row's age within its page says something together with the page's number). Each difference
//! falls into one of 33 bins, by sign and magnitude. How much likelier a bin is among rows that
//! belong together than among all was learned on one half of the families; features that say
//! no more there than chance are left out, and the sum of the other ones' logarithms is a pair's
//! score on the other half (a naive Bayes classifier). It needs no idea of what tells, nor in
//! which direction.

use super::pages::Row;

const BINS: usize = 33;
/// Pairs, at most, that a bin's share among all pairs is estimated from.
const PAIRS_MAX: usize = 200_000;
/// Known rows that an expectation is the mean of.
const NEIGHBOURS: usize = 12;
/// Known rows that expectations are made of, at most.
const KNOWN_MAX: usize = 2_000;
/// How many standard deviations beyond chance a feature must be to be taken; the three best are
/// taken anyway.
const DEVIATIONS: f64 = 4.0;

/// A row's numbers as ranks between 0 and 1.
#[derive(Debug, Clone)]
pub(super) struct Ranked {
    pub(super) family: usize,
    numbers: Vec<f64>,
}

/// Ranks of all rows that belong to a family; numbers that are pages stay as they are, too, so
/// that pages of two tables can lie beside each other.
pub(super) fn ranked(rows: &[(usize, &Row)]) -> Vec<Ranked> {
    let count = rows.first().map_or(0, |row| row.1.shows.len());
    let mut all: Vec<Ranked> = rows
        .iter()
        .map(|(family, _)| Ranked {
            family: *family,
            numbers: Vec::new(),
        })
        .collect();
    for at in 0..count {
        let mut sorted: Vec<f64> = rows.iter().map(|row| row.1.shows[at]).collect();
        sorted.sort_by(f64::total_cmp);
        if sorted.first() == sorted.last() {
            continue; // says nothing
        }
        for (row, into) in rows.iter().zip(&mut all) {
            let value = row.1.shows[at];
            let before = sorted.partition_point(|other| *other < value);
            let through = sorted.partition_point(|other| *other <= value);
            into.numbers
                .push((before + through) as f64 / 2.0 / rows.len() as f64);
            if matches!(at, 1 | 4 | 5) {
                into.numbers.push(value);
            }
        }
    }
    all
}

fn bin(difference: f64) -> usize {
    let magnitude = (difference.abs() * 65_536.0).max(1.0).log2() as usize;
    let middle = BINS / 2;
    if difference < 0.0 {
        middle - magnitude.min(middle)
    } else {
        middle + magnitude.min(middle)
    }
}

/// What rows on the other side are expected to be like: known pairs.
struct Known {
    rows: Vec<(Ranked, Vec<f64>)>,
}

impl Known {
    fn of(subjects: &[Ranked], objects: &[Ranked]) -> Self {
        let find = |family| subjects.iter().find(|subject| subject.family == family);
        let pair = |object: &Ranked| Some((object.clone(), find(object.family)?.numbers.clone()));
        let rows = objects.iter().take(KNOWN_MAX).filter_map(pair);
        Self {
            rows: rows.collect(),
        }
    }

    /// The object with what is expected of its subject, for each two of its numbers. A row of the
    /// same family is no neighbour: it would tell what is to be learned.
    fn extend(&self, object: &Ranked) -> Ranked {
        let mut numbers = object.numbers.clone();
        let count = object.numbers.len();
        for first in 0..count {
            for second in first + 1..count {
                let mut near: Vec<(f64, usize)> = self
                    .rows
                    .iter()
                    .enumerate()
                    .filter(|(_, (known, _))| known.family != object.family)
                    .map(|(at, (known, _))| {
                        let one = known.numbers[first] - object.numbers[first];
                        let other = known.numbers[second] - object.numbers[second];
                        (one * one + other * other, at)
                    })
                    .collect();
                let wanted = NEIGHBOURS.min(near.len());
                if wanted < near.len() {
                    near.select_nth_unstable_by(wanted, |a, b| a.0.total_cmp(&b.0));
                }
                near.truncate(wanted);
                let targets = self.rows.first().map_or(0, |row| row.1.len());
                numbers.extend((0..targets).map(|target| {
                    let sum: f64 = near.iter().map(|(_, at)| self.rows[*at].1[target]).sum();
                    sum / wanted.max(1) as f64
                }));
            }
        }
        Ranked {
            family: object.family,
            numbers,
        }
    }
}

/// One feature that was learned.
struct Feature {
    /// Which number of the subject.
    subject: usize,
    /// Which number of the extended object.
    object: usize,
    weights: [f64; BINS],
    /// How far beyond chance it is, in standard deviations.
    says: f64,
}

/// What was learned.
pub(super) struct Learned {
    known: Known,
    features: Vec<Feature>,
}

impl Learned {
    /// From pairs whose truth is known.
    pub(super) fn from(subjects: &[Ranked], objects: &[Ranked]) -> Self {
        let known = Known::of(subjects, objects);
        let objects: Vec<Ranked> = objects.iter().map(|object| known.extend(object)).collect();
        let targets = subjects.first().map_or(0, |row| row.numbers.len());
        let plain = known.rows.first().map_or(0, |row| row.0.numbers.len());
        let extended = objects.first().map_or(0, |row| row.numbers.len());
        let plains = (0..targets).flat_map(|subject| (0..plain).map(move |at| (subject, at)));
        let expected = (plain..extended).map(|at| ((at - plain) % targets.max(1), at));
        let places: Vec<(usize, usize)> = plains.chain(expected).collect();
        let mut linked = vec![[0_u32; BINS]; places.len()];
        let mut all = vec![[0_u32; BINS]; places.len()];
        let stride = (subjects.len() * objects.len() / PAIRS_MAX).max(1);
        let mut turn = 0;
        for subject in subjects {
            for object in &objects {
                turn += 1;
                let same = subject.family == object.family;
                if !same && turn % stride != 0 {
                    continue;
                }
                let into = if same { &mut linked } else { &mut all };
                for (counts, place) in into.iter_mut().zip(&places) {
                    counts[bin(subject.numbers[place.0] - object.numbers[place.1])] += 1;
                }
            }
        }
        let counted = linked.iter().zip(&all).zip(places);
        let mut features: Vec<Feature> = counted
            .map(|((linked, all), (subject, object))| Feature::new(linked, all, subject, object))
            .collect();
        features.sort_by(|a, b| b.says.total_cmp(&a.says));
        let good = features.partition_point(|feature| feature.says > DEVIATIONS);
        features.truncate(good.max(3));
        Self { known, features }
    }

    /// A row of the other half as [`score`](Self::score) wants it.
    pub(super) fn extend(&self, object: &Ranked) -> Ranked {
        self.known.extend(object)
    }

    /// How likely two rows belong together; only its order means anything.
    pub(super) fn score(&self, subject: &Ranked, extended: &Ranked) -> f64 {
        let weight = |feature: &Feature| {
            let difference = subject.numbers[feature.subject] - extended.numbers[feature.object];
            feature.weights[bin(difference)]
        };
        self.features.iter().map(weight).sum()
    }
}

impl Feature {
    fn new(linked: &[u32; BINS], all: &[u32; BINS], subject: usize, object: usize) -> Self {
        let sum = |counts: &[u32; BINS]| f64::from(counts.iter().sum::<u32>());
        let (links, pairs) = (sum(linked), sum(all));
        let share = |counts: &[u32; BINS], of: f64, at: usize| {
            (f64::from(counts[at]) + 1.0) / (of + BINS as f64)
        };
        let weights =
            std::array::from_fn(|at| (share(linked, links, at) / share(all, pairs, at)).ln());
        // Twice the logarithm of the likelihood ratio: chi-squared, if it were chance.
        let used = all.iter().filter(|count| **count > 0).count().max(2) - 1;
        let ratio: f64 = (0..BINS)
            .map(|at| {
                let expected = share(all, pairs, at) * links;
                let seen = f64::from(linked[at]);
                if seen > 0.0 {
                    seen * (seen / expected).ln()
                } else {
                    0.0
                }
            })
            .sum();
        let freedom = used as f64;
        Self {
            subject,
            object,
            weights,
            says: (2.0 * ratio - freedom) / (2.0 * freedom).sqrt(),
        }
    }
}
