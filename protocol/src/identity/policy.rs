//! What a child may do, and when: the part of the family log that its own devices enforce.

use super::log::LogError;
use crate::limits;
use crate::wire;

/// Text.
pub const KIND_TEXT: u32 = 1;
/// Stickers.
pub const KIND_STICKER: u32 = 2;
/// Photos.
pub const KIND_PHOTO: u32 = 4;
/// Voice messages.
pub const KIND_VOICE: u32 = 8;
/// Learning reports.
pub const KIND_PROGRESS: u32 = 16;
/// Every kind that is known here. Reactions, edits and deletes go with any.
pub const KINDS_ALL: u32 = KIND_TEXT | KIND_STICKER | KIND_PHOTO | KIND_VOICE | KIND_PROGRESS;

/// Minutes of a day.
const DAY_MINUTES: u32 = 1_440;
/// Minutes of a week.
const WEEK_MINUTES: u32 = 7 * DAY_MINUTES;
/// A bit for each weekday.
const WEEKDAYS_ALL: u32 = 0b111_1111;

/// What a child may do. None at all means that everything is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// IANA name of the child's time zone.
    pub time_zone: String,
    /// When nothing is shown or sent.
    pub quiet: Vec<QuietHours>,
    /// Allowed kinds of content, [`KIND_TEXT`] and so on.
    pub kinds: u32,
    /// Contents that the child may send in a day; 0: no limit.
    pub messages_per_day: u32,
    /// Nothing at all for now.
    pub paused: bool,
}

/// Minutes of some weekdays, in the child's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// Bit 0 Monday … bit 6 Sunday: the day on which they begin.
    pub weekdays: u32,
    /// First minute of the day, 0 to 1439.
    pub from_minute: u32,
    /// First minute after, 0 to 1440; when it is not after `from_minute`, of the next day.
    pub to_minute: u32,
}

impl QuietHours {
    /// The minutes of the week (0: Monday 00:00), each once, that these hours cover.
    fn minutes(self) -> impl Iterator<Item = u32> {
        let length = if self.to_minute > self.from_minute {
            self.to_minute - self.from_minute
        } else {
            DAY_MINUTES - self.from_minute + self.to_minute
        };
        (0..7)
            .filter(move |weekday| self.weekdays >> weekday & 1 == 1)
            .flat_map(move |weekday| {
                let start = weekday * DAY_MINUTES + self.from_minute;
                (start..start + length).map(|minute| minute % WEEK_MINUTES)
            })
    }
}

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
        for minute in self.quiet.iter().flat_map(|hours| hours.minutes()) {
            if let Some(minute) = quiet.get_mut(minute as usize) {
                *minute = true;
            }
        }
        before
            .quiet
            .iter()
            .flat_map(|hours| hours.minutes())
            .all(|minute| quiet.get(minute as usize) == Some(&true))
    }

    pub(crate) fn to_wire(&self) -> wire::Policy {
        wire::Policy {
            time_zone: self.time_zone.clone(),
            quiet: self
                .quiet
                .iter()
                .map(|hours| wire::QuietHours {
                    weekdays: hours.weekdays,
                    from_minute: hours.from_minute,
                    to_minute: hours.to_minute,
                })
                .collect(),
            kinds: self.kinds,
            messages_per_day: self.messages_per_day,
            paused: self.paused,
        }
    }

    pub(crate) fn from_wire(policy: wire::Policy) -> Result<Self, LogError> {
        let zone = &policy.time_zone;
        let spelled = !zone.is_empty()
            && zone.len() <= limits::TIME_ZONE_BYTES_MAX
            && zone.bytes().all(|byte| byte.is_ascii_graphic());
        if !spelled {
            return Err(LogError::Field("time zone"));
        }
        if policy.quiet.len() > limits::QUIET_HOURS_MAX {
            return Err(LogError::Field("number of quiet hours"));
        }
        let quiet = policy
            .quiet
            .into_iter()
            .map(|hours| {
                let sound = (1..=WEEKDAYS_ALL).contains(&hours.weekdays)
                    && hours.from_minute < DAY_MINUTES
                    && hours.to_minute <= DAY_MINUTES;
                sound
                    .then_some(QuietHours {
                        weekdays: hours.weekdays,
                        from_minute: hours.from_minute,
                        to_minute: hours.to_minute,
                    })
                    .ok_or(LogError::Field("time of quiet hours"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            time_zone: policy.time_zone,
            quiet,
            kinds: policy.kinds,
            messages_per_day: policy.messages_per_day,
            paused: policy.paused,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{KIND_PHOTO, KIND_TEXT, KINDS_ALL, Policy, QuietHours};
    use crate::identity::LogError;

    const NIGHT: QuietHours = QuietHours {
        weekdays: 0b111_1111,
        from_minute: 1_200,
        to_minute: 420,
    };

    fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = Policy {
            time_zone: "Europe/Zurich".into(),
            quiet: vec![NIGHT],
            kinds: KIND_TEXT | KIND_PHOTO,
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
                to_minute: 1_440,
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
            ("fewer kinds", true, policy(|p| p.kinds = KIND_TEXT)),
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
            ("another kind", false, policy(|p| p.kinds = KINDS_ALL)),
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
                policy(|p| (p.paused, p.kinds) = (true, KINDS_ALL)),
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
    fn policies_read_back_and_bounds_hold() {
        let good = policy(|_| ());
        assert_eq!(Policy::from_wire(good.to_wire()).unwrap(), good);
        let cases: [(&str, Policy); 7] = [
            ("time zone", policy(|p| p.time_zone.clear())),
            ("time zone", policy(|p| p.time_zone = "z".repeat(65))),
            ("time zone", policy(|p| p.time_zone = "a b".into())),
            (
                "number of quiet hours",
                policy(|p| p.quiet = vec![NIGHT; 33]),
            ),
            ("time of quiet hours", policy(|p| p.quiet[0].weekdays = 0)),
            (
                "time of quiet hours",
                policy(|p| p.quiet[0].from_minute = 1_440),
            ),
            (
                "time of quiet hours",
                policy(|p| p.quiet[0].to_minute = 1_441),
            ),
        ];
        for (field, bad) in cases {
            assert_eq!(
                Policy::from_wire(bad.to_wire()),
                Err(LogError::Field(field))
            );
        }
    }
}
