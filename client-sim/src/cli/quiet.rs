//! What policies and dates are written as on the command line.

use kinline_protocol::day::Day;
use kinline_protocol::policy::QuietHours;

use crate::device::{KINDS, WEEKDAYS};

/// Reads `mon-fri 20:00-07:00` (also `mon-fri=…`, `mon,wed …`, `daily …`).
pub(super) fn quiet(text: &str) -> Result<QuietHours, String> {
    let help = || "a quiet time is written like \"mon-fri 20:00-07:00\"".to_owned();
    let (days, span) = text.trim().split_once([' ', '=']).ok_or_else(help)?;
    let (from, to) = span.trim().split_once('-').ok_or_else(help)?;
    Ok(QuietHours {
        weekdays: weekdays(days)?,
        from_minute: minute(from).ok_or_else(help)?,
        to_minute: minute(to).ok_or_else(help)?,
    })
}

fn weekdays(text: &str) -> Result<u8, String> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok(0x7F);
    }
    let day = |name: &str| {
        let lower = name.trim().to_lowercase();
        let found = WEEKDAYS.iter().position(|known| lower.starts_with(known));
        found.ok_or_else(|| format!("{name:?} is no day of the week: say mon, tue, … or daily"))
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        let mut at = first;
        loop {
            bits |= 1_u8 << at;
            if at == last {
                break;
            }
            // sat-mon goes over the end of the week.
            at = (at + 1) % WEEKDAYS.len();
        }
    }
    Ok(bits)
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Reads `text,photo` into bits of content kinds; `all` for all, `none` for none.
pub(super) fn kinds(text: &str) -> Result<u32, String> {
    if text == "all" {
        return Ok(KINDS.iter().fold(0, |bits, (_, bit)| bits | bit));
    }
    if text == "none" {
        return Ok(0);
    }
    text.split(',').try_fold(0, |bits, name| {
        let found = KINDS.iter().find(|(known, _)| *known == name.trim());
        match found {
            Some((_, bit)) => Ok(bits | bit),
            None => Err(format!(
                "{name:?} is no kind of message: say {}, all or none",
                KINDS.map(|(known, _)| known).join(", ")
            )),
        }
    })
}

/// Reads a date, `2026-11-22`.
pub(super) fn date(text: &str) -> Result<Day, String> {
    let help = || format!("{text:?} is no date: write it like 2026-11-22");
    let year: u32 = text
        .split('-')
        .next()
        .and_then(|year| year.parse().ok())
        .filter(|year| (1970..=9_999).contains(year))
        .ok_or_else(help)?;
    // Days are told as dates: look for the one that is told so.
    let first = (year - 1_970) * 365;
    (first..first + 2_500)
        .map(Day)
        .find(|day| day.to_string() == text.trim())
        .ok_or_else(help)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{date, kinds, quiet};
    use crate::device::quiet_words;

    #[test]
    fn quiet_times_are_read_as_they_are_told() {
        for text in ["mon-fri 20:00-07:00", "mon,wed,sat-sun 00:00-23:59"] {
            assert_eq!(quiet_words(&quiet(text).unwrap()), text);
        }
        assert_eq!(quiet("Daily=20:00-07:00").unwrap().weekdays, 0x7F);
        assert_eq!(quiet("sat-mon 1:00-2:00").unwrap().weekdays, 0b110_0001);
        for text in ["", "mon", "mon 20:00", "mon 24:00-07:00", "x 20:00-21:00"] {
            assert!(quiet(text).is_err(), "{text}");
        }
    }

    #[test]
    fn kinds_and_dates_are_read() {
        assert_eq!(kinds("text,photo"), Ok(5));
        assert_eq!((kinds("all"), kinds("none")), (Ok(31), Ok(0)));
        assert!(kinds("smell").unwrap_err().contains("sticker"));
        for text in ["1970-01-01", "2024-02-29", "2026-11-22", "9999-12-31"] {
            assert_eq!(date(text).map(|day| day.to_string()), Ok(text.to_owned()));
        }
        for text in ["2026-02-30", "1969-12-31", "10000-01-01", "x", ""] {
            assert!(date(text).is_err(), "{text}");
        }
    }
}
