//! Whether a child's policy narrows what the one before allowed: what one guardian may do
//! alone (PROTOCOL §7.3, §7.6).

use crate::policy::{DAY_MINUTES, Policy, QuietHours};

/// Minutes of a week.
const WEEK_MINUTES: u32 = 7 * DAY_MINUTES as u32;

impl Policy {
    /// Whether this allows nothing that `before` did not; `None` allowed everything.
    ///
    /// Another time zone moves the hours and the count of the day, so it counts as more as
    /// soon as the policy before had either.
    #[must_use]
    pub fn allows_nothing_beyond(&self, before: Option<&Self>) -> bool {
        let Some(before) = before else {
            return true;
        };
        let bound_to_zone = !before.quiet.is_empty() || before.messages_per_day != 0;
        let zone = self.time_zone == before.time_zone || !bound_to_zone;
        let kinds = self.kinds & !before.kinds == 0;
        let messages = before.messages_per_day == 0
            || (1..=before.messages_per_day).contains(&self.messages_per_day);
        let paused = self.paused || !before.paused;
        zone && kinds && messages && paused && self.covers_quiet_of(before)
    }

    fn covers_quiet_of(&self, before: &Self) -> bool {
        let mut quiet = vec![false; WEEK_MINUTES as usize];
        for minute in self.quiet.iter().flat_map(|hours| minutes(*hours)) {
            if let Some(minute) = quiet.get_mut(minute as usize) {
                *minute = true;
            }
        }
        before
            .quiet
            .iter()
            .flat_map(|hours| minutes(*hours))
            .all(|minute| quiet.get(minute as usize) == Some(&true))
    }
}

/// The minutes of the week (0: Monday 00:00), each once, that these hours cover.
fn minutes(hours: QuietHours) -> impl Iterator<Item = u32> {
    let day = u32::from(DAY_MINUTES);
    let from = u32::from(hours.from_minute);
    let to = u32::from(hours.to_minute);
    let length = if to > from {
        to - from
    } else {
        day - from + to
    };
    (0..7_u32)
        .filter(move |weekday| u32::from(hours.weekdays) >> weekday & 1 == 1)
        .flat_map(move |weekday| {
            let start = weekday * day + from;
            (start..start + length).map(|minute| minute % WEEK_MINUTES)
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{Policy, QuietHours};
    use crate::content::kinds;
    use crate::identity::{Decision, LogError};
    use crate::ids::MemberId;
    use crate::policy::PolicyError;

    const NIGHT: QuietHours = QuietHours {
        weekdays: 0b111_1111,
        from_minute: 1_200,
        to_minute: 420,
    };

    fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = Policy {
            time_zone: "Europe/Zurich".into(),
            quiet: vec![NIGHT],
            kinds: kinds::TEXT | kinds::PHOTO,
            messages_per_day: 50,
            paused: false,
        };
        change(&mut policy);
        policy
    }

    #[test]
    fn less_of_anything_narrows_and_more_of_anything_widens() {
        let before = policy(|_| ());
        let longer = QuietHours {
            from_minute: 1_140,
            to_minute: 480,
            ..NIGHT
        };
        let halves = vec![
            QuietHours {
                to_minute: 0,
                ..NIGHT
            },
            QuietHours {
                from_minute: 0,
                to_minute: 420,
                ..NIGHT
            },
        ];
        let monday = QuietHours {
            weekdays: 1,
            from_minute: 600,
            to_minute: 660,
        };
        let cases = [
            ("the same", true, policy(|_| ())),
            ("longer nights", true, policy(|p| p.quiet = vec![longer])),
            ("nights in two halves", true, policy(|p| p.quiet = halves)),
            ("one more rest", true, policy(|p| p.quiet.push(monday))),
            ("fewer kinds", true, policy(|p| p.kinds = kinds::TEXT)),
            ("fewer messages", true, policy(|p| p.messages_per_day = 1)),
            ("a pause", true, policy(|p| p.paused = true)),
            ("no quiet", false, policy(|p| p.quiet.clear())),
            (
                "a shorter night",
                false,
                policy(|p| p.quiet[0].to_minute = 419),
            ),
            (
                "free on sunday nights",
                false,
                policy(|p| p.quiet[0].weekdays = 0b011_1111),
            ),
            ("another kind", false, policy(|p| p.kinds = kinds::ALL)),
            ("more messages", false, policy(|p| p.messages_per_day = 51)),
            ("no limit", false, policy(|p| p.messages_per_day = 0)),
            (
                "another zone",
                false,
                policy(|p| p.time_zone = "Asia/Tokyo".into()),
            ),
            (
                "a pause that hides more kinds",
                false,
                policy(|p| (p.paused, p.kinds) = (true, kinds::ALL)),
            ),
        ];
        for (name, narrows, after) in cases {
            assert_eq!(
                after.allows_nothing_beyond(Some(&before)),
                narrows,
                "{name}"
            );
            assert!(after.allows_nothing_beyond(None), "{name}");
        }
        let paused = policy(|p| p.paused = true);
        assert!(!before.allows_nothing_beyond(Some(&paused)), "unpausing");
        let free = policy(|p| {
            p.quiet.clear();
            p.messages_per_day = 0;
        });
        let moved = policy(|p| p.time_zone = "Asia/Tokyo".into());
        assert!(moved.allows_nothing_beyond(Some(&free)), "nothing to move");
    }

    #[test]
    fn a_night_that_begins_on_sunday_ends_on_monday() {
        let sunday = policy(|p| p.quiet[0].weekdays = 0b100_0000);
        let monday_morning = QuietHours {
            weekdays: 1,
            from_minute: 0,
            to_minute: 420,
        };
        let monday = policy(|p| p.quiet = vec![monday_morning]);
        assert!(sunday.allows_nothing_beyond(Some(&monday)));
        assert!(!monday.allows_nothing_beyond(Some(&sunday)));
    }

    #[test]
    fn a_whole_day_is_every_minute_of_it() {
        let whole = |minute| {
            policy(|p| {
                p.quiet[0].from_minute = minute;
                p.quiet[0].to_minute = minute;
            })
        };
        let midnight = whole(0);
        for before in [policy(|_| ()), whole(0), whole(700), whole(1_439)] {
            assert!(midnight.allows_nothing_beyond(Some(&before)));
        }
        assert!(!policy(|_| ()).allows_nothing_beyond(Some(&midnight)));
        // On one weekday: to midnight, and from then on not.
        let monday = |p: &mut Policy| p.quiet[0].weekdays = 1;
        let day = policy(|p| {
            monday(p);
            (p.quiet[0].from_minute, p.quiet[0].to_minute) = (0, 0);
        });
        let evening = policy(|p| {
            monday(p);
            p.quiet[0].to_minute = 0;
        });
        assert!(day.allows_nothing_beyond(Some(&evening)));
        assert!(!day.allows_nothing_beyond(Some(&policy(monday))));
    }

    #[test]
    fn policies_read_back_and_bounds_hold() {
        let read = |policy: &Policy| {
            let decision = Decision::SetPolicy {
                child: MemberId::new([5; 16]),
                policy: policy.clone(),
            };
            match Decision::decode(&decision.encode())? {
                Decision::SetPolicy { policy, .. } => Ok(policy),
                _ => Err(LogError::UnknownDecision),
            }
        };
        let good = policy(|_| ());
        assert_eq!(read(&good), Ok(good));
        let cases: [(PolicyError, Policy); 7] = [
            (PolicyError::TimeZoneName, policy(|p| p.time_zone.clear())),
            (
                PolicyError::TimeZoneName,
                policy(|p| p.time_zone = "z".repeat(65)),
            ),
            (
                PolicyError::TimeZoneName,
                policy(|p| p.time_zone = "a b".into()),
            ),
            (PolicyError::TooMany, policy(|p| p.quiet = vec![NIGHT; 33])),
            (PolicyError::Quiet, policy(|p| p.quiet[0].weekdays = 0)),
            (
                PolicyError::Quiet,
                policy(|p| p.quiet[0].from_minute = 1_440),
            ),
            (PolicyError::Quiet, policy(|p| p.quiet[0].to_minute = 1_440)),
        ];
        for (error, bad) in cases {
            assert_eq!(read(&bad), Err(LogError::Policy(error)));
        }
    }
}
