//! Whether bytes that ought to be ciphertext look like noise.
//!
//! Each test has a limit that honest noise crosses less than once in 10^9 runs, so an alarm is no
//! accident; plaintext, ECB, a fixed header, padding outside the seal and counters cross it at once.

use std::collections::HashSet;

use crate::report::{RandomnessReport, TestReport};

/// Bound of tests that are normally distributed: beyond 7 sigma lies 2.6e-12.
const SIGMA: f64 = 7.0;
/// The same for pooled byte counts, whose tail is a little heavier at five expected per value.
const SIGMA_COUNTS: f64 = 7.5;
/// The same for single bodies, of which there may be a million, with four expected per value.
const SIGMA_BODY: f64 = 10.0;
/// The same for single bits of single positions: by Hoeffding 2·exp(-9²/2) = 5e-18 each, and an
/// envelope has 8,192.
const SIGMA_BIT: f64 = 9.0;
/// Byte counts need five expected of each value.
const COUNTS_BYTES_MIN: u64 = 5 * 256;
/// A body shorter than this is judged only together with the others.
const BODY_BYTES_MIN: usize = 1024;
/// Positions can be judged from this many samples on.
const POSITIONS_SAMPLES_MIN: u32 = 8;
/// How many 16-byte blocks are remembered (32 MB); later ones are compared with these.
const BLOCKS_MAX: usize = 2_000_000;
/// How likely an alarm about a run of equal or of readable bytes may be.
const RUN_CHANCE: f64 = 1e-10;
/// Variance of a uniform byte.
const BYTE_VARIANCE: f64 = 65_535.0 / 12.0;
/// Lanes of eight bits overflow after this many samples.
const LANE_SAMPLES: u32 = 255;

/// Which tests make sense for a kind of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    /// The same position across samples (not where a version byte is allowed).
    pub(crate) positions: bool,
    /// Equal 16-byte blocks (not where ids repeat on purpose).
    pub(crate) blocks: bool,
    /// How many first bytes to leave out (a version byte).
    pub(crate) skip: usize,
}

/// Gathers samples and judges them together.
#[derive(Debug)]
pub(crate) struct Noise {
    subject: String,
    scope: Scope,
    samples: u64,
    bytes: u64,
    counts: Vec<u64>,
    serial: i64,
    pairs: u64,
    worst_body: f64,
    longest_equal: u64,
    longest_readable: u64,
    blocks: HashSet<u128>,
    repeated_blocks: u64,
    length: usize,
    lanes: Vec<u64>,
    in_lanes: u32,
    ones_at: Vec<[u32; 8]>,
    positioned: u32,
    spread: Vec<u64>,
}

impl Noise {
    pub(crate) fn new(subject: impl Into<String>, scope: Scope) -> Self {
        // Each bit of a byte in a lane of its own, so that one addition counts eight positions.
        let spread = (0_u64..256)
            .map(|byte| (0..8).fold(0, |lanes, bit| lanes | (((byte >> bit) & 1) << (8 * bit))))
            .collect();
        Self {
            subject: subject.into(),
            scope,
            samples: 0,
            bytes: 0,
            counts: vec![0; 256],
            serial: 0,
            pairs: 0,
            worst_body: 0.0,
            longest_equal: 0,
            longest_readable: 0,
            blocks: HashSet::new(),
            repeated_blocks: 0,
            length: 0,
            lanes: Vec::new(),
            in_lanes: 0,
            ones_at: Vec::new(),
            positioned: 0,
            spread,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Takes one sample.
    pub(crate) fn push(&mut self, sample: &[u8]) {
        let body = sample.get(self.scope.skip..).unwrap_or_default();
        if body.is_empty() {
            return;
        }
        self.samples = self.samples.saturating_add(1);
        self.bytes = self.bytes.saturating_add(body.len() as u64);
        let mut counts = vec![0_u64; 256];
        let (mut previous, mut equal, mut readable) = (None, 0_u64, 0_u64);
        for byte in body {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count = count.wrapping_add(1);
            }
            if let Some(before) = previous {
                // Twice the distance from the mean, so that it stays an integer.
                let product = (2 * i64::from(before) - 255) * (2 * i64::from(*byte) - 255);
                self.serial = self.serial.wrapping_add(product);
            }
            equal = if previous == Some(*byte) {
                equal.wrapping_add(1)
            } else {
                1
            };
            readable = if matches!(*byte, 0x20..=0x7e) {
                readable.wrapping_add(1)
            } else {
                0
            };
            if equal > self.longest_equal {
                self.longest_equal = equal;
            }
            if readable > self.longest_readable {
                self.longest_readable = readable;
            }
            previous = Some(*byte);
        }
        self.pairs = self
            .pairs
            .saturating_add((body.len() as u64).saturating_sub(1));
        if body.len() >= BODY_BYTES_MIN {
            let sigma = counts_sigma(&counts, body.len() as u64);
            if sigma > self.worst_body {
                self.worst_body = sigma;
            }
        }
        for (all, one) in self.counts.iter_mut().zip(&counts) {
            *all = all.saturating_add(*one);
        }
        if self.scope.blocks {
            self.push_blocks(body);
        }
        if self.scope.positions {
            self.push_positions(body);
        }
    }

    /// Block ciphers without chaining repeat blocks, wherever their text begins: the second
    /// alignment is the one after a 24-byte nonce.
    fn push_blocks(&mut self, body: &[u8]) {
        for shift in [0_usize, 8] {
            for block in body.get(shift..).unwrap_or_default().as_chunks::<16>().0 {
                let block = u128::from_le_bytes(*block);
                if self.blocks.len() >= BLOCKS_MAX {
                    if self.blocks.contains(&block) {
                        self.repeated_blocks = self.repeated_blocks.saturating_add(1);
                    }
                } else if !self.blocks.insert(block) {
                    self.repeated_blocks = self.repeated_blocks.saturating_add(1);
                }
            }
        }
    }

    fn push_positions(&mut self, body: &[u8]) {
        if self.length == 0 {
            self.length = body.len();
            self.lanes = vec![0; body.len()];
            self.ones_at = vec![[0; 8]; body.len()];
        }
        if body.len() != self.length || self.positioned == u32::MAX {
            return;
        }
        for (lanes, byte) in self.lanes.iter_mut().zip(body) {
            *lanes = lanes.wrapping_add(self.spread.get(usize::from(*byte)).copied().unwrap_or(0));
        }
        self.positioned = self.positioned.saturating_add(1);
        self.in_lanes = self.in_lanes.saturating_add(1);
        if self.in_lanes == LANE_SAMPLES {
            self.flush_lanes();
        }
    }

    fn flush_lanes(&mut self) {
        for (lanes, ones) in self.lanes.iter_mut().zip(&mut self.ones_at) {
            for (count, lane) in ones.iter_mut().zip(lanes.to_le_bytes()) {
                *count = count.saturating_add(u32::from(lane));
            }
            *lanes = 0;
        }
        self.in_lanes = 0;
    }

    /// Judges what was gathered.
    pub(crate) fn judge(mut self) -> RandomnessReport {
        self.flush_lanes();
        let mut tests = Vec::new();
        let mut test = |name: &str, value: f64, limit: f64| {
            let pass = value.abs() <= limit;
            // Three decimals are enough to read, and survive JSON unchanged.
            let value = (value * 1e3).round() / 1e3;
            tests.push(TestReport {
                name: name.to_owned(),
                value,
                limit,
                pass,
            });
        };
        let bytes = self.bytes as f64;
        let bits = bytes * 8.0;
        if self.bytes >= 64 {
            let ones: f64 = (0_u32..)
                .zip(&self.counts)
                .map(|(byte, count)| f64::from(byte.count_ones()) * *count as f64)
                .sum();
            test(
                "ones among bits (sigma)",
                (ones - bits / 2.0) / (bits / 4.0).sqrt(),
                SIGMA,
            );
        }
        if self.bytes >= COUNTS_BYTES_MIN {
            test(
                "byte values, chi-square (sigma)",
                counts_sigma(&self.counts, self.bytes),
                SIGMA_COUNTS,
            );
        }
        if self.pairs >= 1_000 {
            let pairs = self.pairs as f64;
            let sigma = self.serial as f64 / 4.0 / (BYTE_VARIANCE * pairs.sqrt());
            test("correlation of neighbours (sigma)", sigma, SIGMA);
        }
        if self.worst_body > 0.0 {
            test(
                "byte values of the worst sample (sigma)",
                self.worst_body,
                SIGMA_BODY,
            );
        }
        let run_limit = |share: f64| ((bytes / RUN_CHANCE).ln() / (1.0 / share).ln()).ceil() + 1.0;
        test(
            "longest run of one byte",
            self.longest_equal as f64,
            run_limit(1.0 / 256.0),
        );
        test(
            "longest run of readable bytes",
            self.longest_readable as f64,
            run_limit(95.0 / 256.0),
        );
        if self.scope.blocks && self.bytes >= 32 {
            test("repeated 16-byte blocks", self.repeated_blocks as f64, 0.0);
        }
        if self.positioned >= POSITIONS_SAMPLES_MIN {
            let samples = f64::from(self.positioned);
            let (mut squares, mut worst, mut positions) = (0.0_f64, 0.0_f64, 0.0_f64);
            for ones in self.ones_at.iter().flatten() {
                let sigma = (f64::from(*ones) - samples / 2.0) / (samples / 4.0).sqrt();
                squares += sigma * sigma;
                worst = worst.max(sigma.abs());
                positions += 1.0;
            }
            test(
                "bits by position, chi-square (sigma)",
                chi_square_sigma(squares, positions),
                SIGMA,
            );
            test("most lopsided bit position (sigma)", worst, SIGMA_BIT);
        }
        RandomnessReport {
            subject: self.subject,
            samples: self.samples,
            bytes: self.bytes,
            pass: tests.iter().all(|test| test.pass),
            tests,
        }
    }
}

/// How far the counts of 256 byte values are from even.
fn counts_sigma(counts: &[u64], bytes: u64) -> f64 {
    let expected = bytes as f64 / 256.0;
    let squares: f64 = counts
        .iter()
        .map(|count| (*count as f64 - expected) * (*count as f64 - expected))
        .sum();
    chi_square_sigma(squares / expected, 255.0)
}

/// Wilson and Hilferty: the cube root of a chi-square variable is nearly normal.
fn chi_square_sigma(value: f64, freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    ((value / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]
    use super::{Noise, Scope};
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng as _, SeedableRng as _};

    const SEED: u64 = 20_151_114;
    const BODIES: Scope = Scope {
        positions: true,
        blocks: true,
        skip: 0,
    };

    fn judge(count: usize, mut shape: impl FnMut(usize, &mut [u8])) -> Vec<String> {
        let mut random = ChaCha20Rng::seed_from_u64(SEED);
        let mut noise = Noise::new("bodies", BODIES);
        let mut body = [0; 1024];
        for index in 0..count {
            random.fill_bytes(&mut body);
            shape(index, &mut body);
            noise.push(&body);
        }
        let report = noise.judge();
        assert_eq!(report.samples, count as u64);
        let failed: Vec<_> = report.tests.iter().filter(|t| !t.pass).collect();
        assert_eq!(report.pass, failed.is_empty());
        failed.iter().map(|t| t.name.clone()).collect()
    }

    #[test]
    fn ten_thousand_honest_bodies_pass() {
        let failed = judge(10_000, |_, _| {});
        assert!(failed.is_empty(), "seed {SEED}: {failed:?}");
    }

    #[test]
    fn few_honest_bodies_pass() {
        for count in [1, 2, 8, 50] {
            let failed = judge(count, |_, _| {});
            assert!(failed.is_empty(), "seed {SEED}, {count} bodies: {failed:?}");
        }
    }

    fn caught(by: &str, count: usize, shape: impl FnMut(usize, &mut [u8])) {
        let failed = judge(count, shape);
        assert!(
            failed.iter().any(|name| name.contains(by)),
            "{by}: only {failed:?}"
        );
    }

    #[test]
    fn structured_bodies_are_caught_each_by_its_test() {
        caught("readable", 1, |_, body| {
            for (at, byte) in body.iter_mut().take(200).enumerate() {
                *byte = b"Dear Ottilie, "[at % 14];
            }
        });
        caught("worst sample", 500, |index, body| {
            if index == 250 {
                body.iter_mut()
                    .for_each(|byte| *byte = b'A' + (*byte & 0x1f));
            }
        });
        caught("run of one byte", 3, |_, body| body[900..].fill(0));
        caught("ones", 40, |_, body| {
            body.iter_mut().for_each(|byte| *byte &= 0xfe)
        });
        caught("byte values, chi", 40, |_, body| {
            body.iter_mut().for_each(|byte| *byte &= 0xfe)
        });
        caught("neighbours", 40, |_, body| {
            for at in 1..body.len() {
                body[at] = body[at - 1].wrapping_add(body[at] & 0x0f);
            }
        });
        caught("blocks", 2, |_, body| {
            let block: [u8; 16] = std::array::from_fn(|at| body[24 + at]);
            body[24 + 160..24 + 176].copy_from_slice(&block);
        });
        caught("position, chi", 10, |_, body| {
            body[..16].copy_from_slice(b"\x01\x9ckinline-v01abc")
        });
        caught("lopsided", 200, |_, body| body[500] = 7);
        caught("lopsided", 600, |index, body| body[0] = (index / 256) as u8);
    }
}
