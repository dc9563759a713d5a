//! How many messages a child sent to others today.

use crate::day::Day;

/// Days that a device's clock may be turned back without its count following: as far as a
/// guardian's head may be ahead of it.
const BACK_DAYS_MAX: u32 = 2;

/// Messages to others in one local day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayCount {
    /// The local day.
    pub day: Day,
    /// So many messages.
    pub sent: u32,
}

impl Default for DayCount {
    /// Nothing yet, on the first of all days.
    fn default() -> Self {
        Self {
            day: Day(0),
            sent: 0,
        }
    }
}

impl DayCount {
    /// This count, on that local day: a later day begins at none. An earlier one does not,
    /// so that turning the clock back wins nothing; one that is much earlier is a clock that
    /// was set right, and the count goes on there.
    #[must_use]
    pub fn on(self, today: Day) -> Self {
        if today > self.day {
            Self {
                day: today,
                sent: 0,
            }
        } else if today.plus(BACK_DAYS_MAX) < self.day {
            Self { day: today, ..self }
        } else {
            self
        }
    }

    /// One more.
    #[must_use]
    pub const fn plus_one(self) -> Self {
        Self {
            day: self.day,
            sent: self.sent.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DayCount;
    use crate::day::Day;

    #[test]
    fn a_later_day_begins_anew_and_an_earlier_one_does_not() {
        let count = DayCount {
            day: Day(100),
            sent: 7,
        };
        let on = |day| count.on(Day(day));
        assert_eq!(on(100), count);
        assert_eq!((on(101).day, on(101).sent), (Day(101), 0));
        assert_eq!(on(99), count);
        assert_eq!(on(98), count);
        assert_eq!((on(97).day, on(97).sent), (Day(97), 7));
        assert_eq!(count.plus_one().sent, 8);
        assert_eq!(DayCount::default().on(Day(5)).day, Day(5));
    }
}
