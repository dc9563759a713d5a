//! The relay's clock: days, nothing finer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use kinline_protocol::day::{Day, Timestamp};

/// Where the relay's day comes from: the system, or a test's hand.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicU32>),
}

impl Clock {
    /// The system's clock, UTC.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands on `day` until [`Clock::advance`] moves it. Clones move together.
    #[must_use]
    pub fn manual(day: Day) -> Self {
        Self(Source::Manual(Arc::new(AtomicU32::new(day.0))))
    }

    /// Moves a manual clock forward by `days`; a system clock does not move.
    pub fn advance(&self, days: u32) {
        if let Source::Manual(day) = &self.0 {
            day.fetch_add(days, Ordering::SeqCst);
        }
    }

    /// Today.
    #[must_use]
    pub fn day(&self) -> Day {
        match &self.0 {
            Source::Manual(day) => Day(day.load(Ordering::SeqCst)),
            Source::System => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).day()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use kinline_protocol::day::Day;

    #[test]
    fn a_manual_clock_moves_only_by_hand_and_clones_move_with_it() {
        let clock = Clock::manual(Day(100));
        let other = clock.clone();
        assert_eq!(clock.day(), Day(100));
        other.advance(31);
        assert_eq!(clock.day(), Day(131));
    }
}
