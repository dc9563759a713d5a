//! Times by their shape: numbers and texts near now that say more than the day.

/// How far from now a number may be and still be taken for a time: two years, in seconds.
const NEAR: i64 = 2 * 366 * DAY;
const DAY: i64 = 86_400;

/// How a time was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeShape {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
    Julian,
    Text,
}

impl TimeShape {
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Seconds => "a time in seconds",
            Self::Milliseconds => "a time in milliseconds",
            Self::Microseconds => "a time in microseconds",
            Self::Nanoseconds => "a time in nanoseconds",
            Self::Julian => "a Julian date with a fraction",
            Self::Text => "a date with a time of day",
        }
    }
}

/// Whole days are what a relay may know; anything finer near `now` (seconds since 1970) is not.
pub(crate) fn time_in_integer(number: i64, now: i64) -> Option<TimeShape> {
    let units = [
        (1, TimeShape::Seconds),
        (1_000, TimeShape::Milliseconds),
        (1_000_000, TimeShape::Microseconds),
        (1_000_000_000, TimeShape::Nanoseconds),
    ];
    units.into_iter().find_map(|(unit, shape)| {
        let near = (number / unit).abs_diff(now) <= NEAR.unsigned_abs();
        (near && number % (DAY * unit) != 0).then_some(shape)
    })
}

pub(crate) fn time_in_real(number: f64, now: i64) -> Option<TimeShape> {
    let now = now as f64;
    let near = NEAR as f64;
    let julian_now = now / DAY as f64 + 2_440_587.5;
    if (number - now).abs() <= near && number % DAY as f64 != 0.0 {
        Some(TimeShape::Seconds)
    } else if (number / 1e3 - now).abs() <= near && number % (DAY as f64 * 1e3) != 0.0 {
        Some(TimeShape::Milliseconds)
    } else if (number - julian_now).abs() <= near / DAY as f64 && (number * 2.0).fract() != 0.0 {
        Some(TimeShape::Julian)
    } else {
        None
    }
}

/// `2026-11-21T20:59`, `2026-11-21 20:59`, anywhere in a text.
pub(crate) fn time_in_text(text: &[u8]) -> Option<TimeShape> {
    let shape = b"dddd-dd-dd?dd:dd";
    let fits = |window: &[u8]| {
        window.iter().zip(shape).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            b'?' => matches!(byte, b' ' | b'T' | b't'),
            other => byte == other,
        })
    };
    text.windows(shape.len())
        .take(1_024)
        .any(fits)
        .then_some(TimeShape::Text)
}

/// Eight bytes that are a time, or sixteen that begin with one in milliseconds (UUID version 7,
/// ULID).
pub(crate) fn time_in_blob(bytes: &[u8], now: i64) -> bool {
    if let Ok(eight) = <[u8; 8]>::try_from(bytes) {
        [i64::from_be_bytes(eight), i64::from_le_bytes(eight)]
            .into_iter()
            .any(|number| time_in_integer(number, now).is_some())
    } else if bytes.len() == 16
        && let Some(six) = bytes.first_chunk::<6>()
    {
        let number = six
            .iter()
            .fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
        time_in_integer(number, now) == Some(TimeShape::Milliseconds)
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{TimeShape, time_in_blob, time_in_integer, time_in_real, time_in_text};

    const NOW: i64 = 1_795_290_000;

    #[test]
    fn days_pass_and_finer_times_do_not() {
        assert_eq!(time_in_integer(NOW / 86_400, NOW), None);
        assert_eq!(time_in_integer(NOW / 86_400 * 86_400, NOW), None);
        assert_eq!(time_in_integer(1024, NOW), None);
        assert_eq!(time_in_integer(i64::MIN, NOW), None);
        assert_eq!(time_in_integer(NOW - 77, NOW), Some(TimeShape::Seconds));
        assert_eq!(
            time_in_integer(NOW * 1_000 + 5, NOW),
            Some(TimeShape::Milliseconds)
        );
        assert_eq!(
            time_in_integer(NOW * 1_000_000_000 + 5, NOW),
            Some(TimeShape::Nanoseconds)
        );
        assert_eq!(time_in_real(2_461_366.2, NOW), Some(TimeShape::Julian));
        assert_eq!(time_in_real(0.25, NOW), None);
        assert_eq!(
            time_in_text(b"at 2026-11-21T20:59:13Z"),
            Some(TimeShape::Text)
        );
        assert_eq!(time_in_text(b"2026-11-21"), None);
    }

    #[test]
    fn times_in_blobs_and_ordered_ids() {
        assert!(time_in_blob(&(NOW + 3).to_be_bytes(), NOW));
        assert!(time_in_blob(&(NOW * 1_000 + 3).to_le_bytes(), NOW));
        let mut id = [0xA7; 16];
        assert!(!time_in_blob(&id, NOW));
        let ms = ((NOW * 1_000 + 3) << 16).to_be_bytes();
        id.iter_mut()
            .zip(ms)
            .take(6)
            .for_each(|(to, from)| *to = from);
        assert!(time_in_blob(&id, NOW));
    }
}
