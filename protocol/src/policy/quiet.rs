//! Quiet hours: spans of local time, by weekday.

use core::fmt;

use jiff::civil::{Date, DateTime, Weekday};

use super::Zone;
use crate::day::{DAY_MS, Timestamp};
use crate::wire;

/// Minutes of a day.
pub(crate) const DAY_MINUTES: u16 = 24 * 60;
/// One bit for each day of the week.
pub(super) const WEEKDAYS_ALL: u8 = 0x7F;
/// Local days whose spans are laid out: a week, and the two before that may reach into it
/// (where the clock skips a day), and one so that a week's end is seen.
const DAYS_BEFORE: u8 = 2;
const DAYS_LAID_OUT: u8 = DAYS_BEFORE + 9;
/// What goes on for so long never ends: the spans repeat each week.
const ENDLESS_MS: u64 = 8 * DAY_MS;

/// A span of the day in which a child does not write to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// On which days it begins: bit 0 Monday … bit 6 Sunday.
    pub weekdays: u8,
    /// First minute of the local day, 0 to 1,439.
    pub from_minute: u16,
    /// First minute that is not quiet any more, 0 to 1,439; of the next day unless it is
    /// more than `from_minute`. So 0 is midnight, and equal ones make a whole day.
    pub to_minute: u16,
}

impl QuietHours {
    pub(super) const fn is_in_bounds(self) -> bool {
        self.weekdays > 0
            && self.weekdays <= WEEKDAYS_ALL
            && self.from_minute < DAY_MINUTES
            && self.to_minute < DAY_MINUTES
    }

    pub(super) fn to_wire(self) -> wire::QuietHours {
        wire::QuietHours {
            weekdays: self.weekdays.into(),
            from_minute: self.from_minute.into(),
            to_minute: self.to_minute.into(),
        }
    }

    /// `None` when out of bounds.
    pub(super) fn from_wire(quiet: &wire::QuietHours) -> Option<Self> {
        let quiet = Self {
            weekdays: quiet.weekdays.try_into().ok()?,
            from_minute: quiet.from_minute.try_into().ok()?,
            to_minute: quiet.to_minute.try_into().ok()?,
        };
        quiet.is_in_bounds().then_some(quiet)
    }

    /// The span that begins on this local day: its first moment, and the first after it.
    fn span(self, date: Date, zone: &Zone) -> Option<(Timestamp, Timestamp)> {
        let bit = 1_u8 << date.weekday().to_monday_zero_offset();
        if self.weekdays & bit == 0 {
            return None;
        }
        let last = if self.to_minute > self.from_minute {
            date
        } else {
            date.tomorrow().ok()?
        };
        let start = zone.moment(at(date, self.from_minute)?)?;
        let end = zone.moment(at(last, self.to_minute)?)?;
        Some((start, end))
    }
}

fn at(date: Date, minute: u16) -> Option<DateTime> {
    let hour = i8::try_from(minute / 60).ok()?;
    let minute = i8::try_from(minute % 60).ok()?;
    Some(date.to_datetime(jiff::civil::Time::new(hour, minute, 0, 0).ok()?))
}

/// When quiet time ends, as a clock on the wall shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietEnd {
    /// The moment.
    pub at: Timestamp,
    /// Hour of the local day.
    pub hour: u8,
    /// Minute of the hour.
    pub minute: u8,
    /// The local day of the week, when it is a day or more away.
    pub weekday: Option<&'static str>,
}

impl QuietEnd {
    fn of(end: Timestamp, now: Timestamp, zone: &Zone) -> Self {
        let local = zone.local(end);
        let is_far = end.0.saturating_sub(now.0) >= DAY_MS;
        Self {
            at: end,
            hour: local.hour().unsigned_abs(),
            minute: local.minute().unsigned_abs(),
            weekday: is_far.then(|| name(local.date().weekday())),
        }
    }
}

impl fmt::Display for QuietEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(weekday) = self.weekday {
            write!(f, "{weekday}, ")?;
        }
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

const fn name(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

/// How quiet it is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quiet {
    /// Not now, but from then on.
    From(Timestamp),
    /// Now, until then.
    Until(QuietEnd),
    /// Never.
    Never,
    /// The whole week.
    Always,
}

/// Lays the spans of the week around `now` out, joins those that touch, and looks.
pub(super) fn quiet_at(hours: &[QuietHours], zone: &Zone, now: Timestamp) -> Quiet {
    let mut date = zone.local(now).date();
    for _ in 0..DAYS_BEFORE {
        date = date.yesterday().unwrap_or(date);
    }
    let mut spans = Vec::new();
    for _ in 0..DAYS_LAID_OUT {
        spans.extend(hours.iter().filter_map(|quiet| quiet.span(date, zone)));
        let Ok(next) = date.tomorrow() else { break };
        date = next;
    }
    // A span that the clock skips has no length.
    spans.retain(|(start, end)| *end > now && start < end);
    spans.sort_unstable();
    let Some((start, mut end)) = spans.first().copied() else {
        return Quiet::Never;
    };
    if start > now {
        return Quiet::From(start);
    }
    for (start, other) in spans {
        if start > end {
            break;
        }
        end = end.max(other);
    }
    if end.0.saturating_sub(now.0) > ENDLESS_MS {
        return Quiet::Always;
    }
    Quiet::Until(QuietEnd::of(end, now, zone))
}
