//! How long to stay away after a failed connection: full jitter.
//!
//! Source: "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): a wait drawn
//! evenly from zero to the current bound spreads devices best after a relay's restart.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// The bound after the first failure.
const BASE: Duration = Duration::from_millis(200);
/// The bound never grows beyond this.
const CAP: Duration = Duration::from_secs(30);

/// Counts failures in a row and draws the waits between them.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Draws the wait after one more failure: evenly from zero to
    /// min(30 s, 200 ms · 2^failures before).
    pub fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let bound = BASE
            .saturating_mul(1_u32.checked_shl(self.failures.min(16)).unwrap_or(u32::MAX))
            .min(CAP);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(rng.random_range(0.0..=1.0))
    }

    /// Failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A connection stood: the next failure is a first one again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use std::time::Duration;

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::Backoff;

    #[test]
    fn waits_stay_below_a_growing_bound_and_spread_over_it() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut largest = [Duration::ZERO; 12];
        let mut smallest = [Duration::MAX; 12];
        for _ in 0..500 {
            let mut backoff = Backoff::default();
            for at in 0..12 {
                let wait = backoff.next(&mut rng);
                largest[at] = largest[at].max(wait);
                smallest[at] = smallest[at].min(wait);
            }
        }
        for at in 0..12 {
            let bound = Duration::from_millis(200 << at).min(Duration::from_secs(30));
            assert!(largest[at] <= bound, "{at}");
            assert!(largest[at] > bound.mul_f64(0.95), "{at}");
            assert!(smallest[at] < bound.mul_f64(0.05), "{at}");
        }
    }

    #[test]
    fn a_success_starts_over() {
        let mut rng = StdRng::seed_from_u64(8);
        let mut backoff = Backoff::default();
        for _ in 0..10_000 {
            backoff.next(&mut rng);
        }
        assert_eq!(backoff.failures(), 10_000);
        backoff.reset();
        assert!(backoff.next(&mut rng) <= Duration::from_millis(200));
    }
}
