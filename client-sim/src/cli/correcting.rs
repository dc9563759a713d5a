//! `correct-time`: a guardian says what day it is. Passes end and leases run out by that day on
//! every device of the family, so a slip of the pen is caught here.

use kinline_protocol::day::Day;
use kinline_protocol::engine::io::Command;
use kinline_protocol::limits::BUILD_DAY;

use super::failure::Failure;
use super::session::Session;

/// Days ahead of what is known here that need no second word.
const AHEAD_DAYS_MAX: u32 = 31;
/// Days ahead that nobody can mean: ten years.
const FAR_DAYS_MAX: u32 = 3_653;

/// `correct-time`
pub(super) async fn correct(session: &Session, day: Day, far: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let now = device.clock().now();
    let known = device.with(move |engine| engine.day(now)).await?;
    if let Err(sentence) = check(day, known.max(now.day()), far) {
        device.shutdown().await;
        return Err(Failure::refused(sentence));
    }
    session
        .carry_out(device, Command::CorrectTime { day })
        .await
}

/// Whether somebody can mean this day, when it was `known` until now.
fn check(day: Day, known: Day, far: bool) -> Result<(), String> {
    if day < BUILD_DAY {
        return Err(format!(
            "{day} can't be today: this version of Kinline was made on {BUILD_DAY}"
        ));
    }
    let known = known.max(BUILD_DAY);
    if day > known.plus(FAR_DAYS_MAX) {
        return Err(format!(
            "{day} can't be today: that is more than ten years after {known}, the day as known here"
        ));
    }
    if day > known.plus(AHEAD_DAYS_MAX) && !far {
        return Err(format!(
            "{day} is {} days after {known}, the day as known here: contact passes end by it, and children reach their family only until guardians' phones were heard; if it is right, say --far too",
            day.0.saturating_sub(known.0)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use kinline_protocol::day::Day;
    use kinline_protocol::limits::BUILD_DAY;

    use super::{AHEAD_DAYS_MAX, FAR_DAYS_MAX, check};

    #[test]
    fn a_day_that_nobody_can_mean_is_not_taken() {
        let known = BUILD_DAY.plus(100);
        for far in [false, true] {
            for days in [0, 99, 100, 100 + AHEAD_DAYS_MAX] {
                assert_eq!(check(BUILD_DAY.plus(days), known, far), Ok(()), "{days}");
            }
            let early = check(Day(BUILD_DAY.0 - 1), known, far).unwrap_err();
            assert!(early.contains("was made on 2026-11-01"), "{early}");
            let late = check(known.plus(FAR_DAYS_MAX + 1), known, far).unwrap_err();
            assert!(late.contains("ten years"), "{late}");
        }
        for days in [AHEAD_DAYS_MAX + 1, FAR_DAYS_MAX] {
            let once = check(known.plus(days), known, false).unwrap_err();
            assert!(once.contains("--far") && once.contains(&days.to_string()));
            assert_eq!(check(known.plus(days), known, true), Ok(()));
        }
        // A clock that says 1970 bounds nothing.
        assert_eq!(check(BUILD_DAY.plus(5), Day(3), false), Ok(()));
    }
}
