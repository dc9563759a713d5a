//! Local time, by the copy of the IANA database that is built in.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::day::{Day, Timestamp};

/// Clock changes that are looked at to find the one that skips a time of day.
const CHANGES_MAX: usize = 4;
const HOURS_OF_DAY: i64 = 24;
/// What [`Day`] counts from.
const EPOCH: Date = Date::constant(1970, 1, 1);

/// The clock on the wall where a child lives.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of this IANA name ("Europe/Berlin"); `None` when the database that is
    /// built in does not know it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        (!zone.is_unknown()).then_some(Self(zone))
    }

    /// The zone of this name, or UTC: a name in an old log may be gone, or newer than this
    /// version.
    #[must_use]
    pub fn named_or_utc(name: &str) -> Self {
        Self::named(name).unwrap_or(Self(TimeZone::UTC))
    }

    /// The local day, counted like [`Day`] from 1970-01-01.
    #[must_use]
    pub fn day(&self, now: Timestamp) -> Day {
        let hours = self.local(now).date().duration_since(EPOCH).as_hours();
        Day(u32::try_from(hours / HOURS_OF_DAY).unwrap_or(0))
    }

    /// The first moment of the local day after this moment's.
    #[must_use]
    pub fn next_day(&self, now: Timestamp) -> Option<Timestamp> {
        let tomorrow = self.local(now).date().tomorrow().ok()?;
        self.moment(tomorrow.at(0, 0, 0, 0))
    }

    /// What the clock shows; it stops at the end of the year 9999.
    pub(super) fn local(&self, now: Timestamp) -> DateTime {
        let moment = i64::try_from(now.0)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .unwrap_or(jiff::Timestamp::MAX);
        self.0.to_datetime(moment)
    }

    /// The first moment at which the clock shows this or, where it is set forward over it,
    /// more; `None` before 1970 and after 9999.
    pub(super) fn moment(&self, local: DateTime) -> Option<Timestamp> {
        let ambiguous = self.0.to_ambiguous_timestamp(local);
        let is_skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
        let mut moment = ambiguous.earlier().ok()?;
        if is_skipped {
            // What the offset after the change makes of it lies before the change.
            let changes = self.0.following(moment).take(CHANGES_MAX);
            moment = changes
                .map(|change| change.timestamp())
                .find(|change| self.0.to_datetime(*change) >= local)?;
        }
        u64::try_from(moment.as_millisecond()).ok().map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use jiff::civil::date;

    use super::Zone;
    use crate::day::{Day, Timestamp};

    #[test]
    fn zones_are_known_without_the_system() {
        for name in ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"] {
            assert!(Zone::named(name).is_some(), "{name}");
        }
        for name in [
            "",
            "Europe/Atlantis",
            "Etc/Unknown",
            "../etc/passwd",
            "CEST",
        ] {
            assert!(Zone::named(name).is_none(), "{name:?}");
        }
        let fallback = Zone::named_or_utc("Europe/Atlantis");
        assert_eq!(
            fallback.local(Timestamp(0)),
            date(1970, 1, 1).at(0, 0, 0, 0)
        );
    }

    #[test]
    fn a_local_day_begins_at_local_midnight() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        // 2026-07-01 00:00 in Berlin is 22:00 UTC of the day before.
        let midnight = Timestamp(1_782_856_800_000);
        assert_eq!(berlin.local(midnight), date(2026, 7, 1).at(0, 0, 0, 0));
        assert_eq!(berlin.day(midnight), Day(midnight.day().0 + 1));
        assert_eq!(berlin.day(Timestamp(midnight.0 - 1)), midnight.day());
        assert_eq!(berlin.next_day(Timestamp(midnight.0 - 1)), Some(midnight));
    }

    #[test]
    fn a_skipped_time_is_the_moment_of_the_change_and_a_doubled_one_its_first() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let change = berlin.moment(date(2026, 3, 29).at(3, 0, 0, 0)).unwrap();
        let skipped = berlin.moment(date(2026, 3, 29).at(2, 30, 0, 0)).unwrap();
        assert_eq!(skipped, change);
        let first = berlin.moment(date(2026, 10, 25).at(2, 30, 0, 0)).unwrap();
        let after = berlin.moment(date(2026, 10, 25).at(3, 30, 0, 0)).unwrap();
        assert_eq!(after.0 - first.0, 2 * 3_600_000);
        // Samoa had no 30 December 2011: its midnight is the one of the 31st.
        let apia = Zone::named("Pacific/Apia").unwrap();
        assert_eq!(
            apia.moment(date(2011, 12, 30).at(12, 0, 0, 0)),
            apia.moment(date(2011, 12, 31).at(0, 0, 0, 0))
        );
    }

    #[test]
    fn no_moment_is_too_far() {
        for name in ["Europe/Berlin", "Pacific/Kiritimati", "UTC"] {
            let zone = Zone::named(name).unwrap();
            for ms in [0, 1, u64::MAX / 2, u64::MAX] {
                let _ = zone.day(Timestamp(ms));
                let _ = zone.next_day(Timestamp(ms));
            }
        }
    }
}
