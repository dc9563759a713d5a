//! What happens during a run, counted while it goes on.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies from a microsecond to two minutes at three digits; what lies outside counts as the edge.
pub(super) fn histogram() -> Histogram<u64> {
    const BOUNDS_NS: (u64, u64) = (1_000, 120_000_000_000);
    Histogram::new_with_bounds(BOUNDS_NS.0, BOUNDS_NS.1, 3)
        .unwrap_or_else(|_| Histogram::<u64>::new(3).unwrap_or_else(|_| std::process::abort()))
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) max_ms: f64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        Self {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1e6,
        }
    }
}

/// One second of a run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Second {
    pub(super) at: f64,
    pub(super) rate: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// A clock and counters, shared by all tasks of one thread.
pub(super) struct Tally {
    began: Instant,
    /// Whether latencies count.
    pub(super) measuring: Cell<bool>,
    /// Whether nothing new is sent.
    pub(super) stopped: Cell<bool>,
    /// Sends that left.
    pub(super) sent: Cell<u64>,
    /// Those that were answered `OK`.
    pub(super) acknowledged: Cell<u64>,
    /// Those that were answered otherwise.
    pub(super) refused: Cell<u64>,
    /// Envelopes that came to their recipient for the first time.
    pub(super) delivered: Cell<u64>,
    /// Envelopes that came again, or after a later one.
    pub(super) doubled: Cell<u64>,
    /// From the intended moment of sending to the recipient.
    delivery: RefCell<Histogram<u64>>,
    /// From the intended moment of sending to the sender's `OK`.
    acknowledgement: RefCell<Histogram<u64>>,
    recent: RefCell<Histogram<u64>>,
}

/// Adds one.
pub(super) fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            measuring: Cell::new(false),
            stopped: Cell::new(false),
            sent: Cell::new(0),
            acknowledged: Cell::new(0),
            refused: Cell::new(0),
            delivered: Cell::new(0),
            doubled: Cell::new(0),
            delivery: RefCell::new(histogram()),
            acknowledgement: RefCell::new(histogram()),
            recent: RefCell::new(histogram()),
        }
    }

    /// Nanoseconds of the run.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment that is `ns` nanoseconds into the run.
    pub(super) fn moment(&self, ns: u64) -> tokio::time::Instant {
        (self.began + Duration::from_nanos(ns)).into()
    }

    /// An envelope that was to be sent at `at_ns` is with its recipient.
    pub(super) fn note_delivery(&self, at_ns: u64) {
        count(&self.delivered);
        if self.measuring.get() {
            let took = self.now_ns().saturating_sub(at_ns);
            self.recent.borrow_mut().saturating_record(took);
        }
    }

    /// The sender of what was to be sent at `at_ns` knows that it is safe.
    pub(super) fn note_acknowledgement(&self, at_ns: u64) {
        count(&self.acknowledged);
        if self.measuring.get() {
            let took = self.now_ns().saturating_sub(at_ns);
            self.acknowledgement.borrow_mut().saturating_record(took);
        }
    }

    /// Latencies to recipients since this was asked last.
    pub(super) fn recently(&self) -> Latency {
        let mut recent = self.recent.borrow_mut();
        let latency = Latency::from(&*recent);
        // Equal bounds: nothing can fail to fit.
        let _ = self.delivery.borrow_mut().add(&*recent);
        recent.reset();
        latency
    }

    /// All latencies to recipients, and to senders' answers.
    pub(super) fn latencies(&self) -> (Histogram<u64>, Histogram<u64>) {
        let _ = self.recently();
        (
            self.delivery.borrow().clone(),
            self.acknowledgement.borrow().clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Latency, Tally, histogram};

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut values = histogram();
        for ms in 1..=1_000_u64 {
            values.saturating_record(ms * 1_000_000);
        }
        let latency = Latency::from(&values);
        assert!((latency.p50_ms - 500.0).abs() < 1.0, "{latency:?}");
        assert!((latency.p99_ms - 990.0).abs() < 1.0, "{latency:?}");
        assert!((latency.max_ms - 1_000.0).abs() < 1.0, "{latency:?}");
        values.saturating_record(u64::MAX);
        assert!(Latency::from(&values).max_ms < 130_000.0);
    }

    #[test]
    fn only_what_is_measured_has_a_latency_and_all_is_counted() {
        let tally = Tally::new();
        tally.note_delivery(0);
        tally.measuring.set(true);
        tally.note_delivery(0);
        tally.note_acknowledgement(0);
        assert!(tally.recently().p50_ms > 0.0);
        tally.note_delivery(0);
        let (delivery, acknowledgement) = tally.latencies();
        assert_eq!((delivery.len(), acknowledgement.len()), (2, 1));
        assert_eq!((tally.delivered.get(), tally.acknowledged.get()), (3, 1));
    }
}
