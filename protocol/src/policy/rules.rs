//! A child's policy: what it says, its bounds and its wire form.

use super::quiet::{Quiet, quiet_at};
use super::{QuietHours, Zone};
use crate::content::kinds;
use crate::day::Timestamp;
use crate::limits::{QUIET_HOURS_MAX, TIME_ZONE_BYTES_MAX};
use crate::wire;

/// What a child may do with others; guardians are always reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// IANA name of the zone the child lives in ("Europe/Berlin").
    pub time_zone: String,
    /// At most 32 spans.
    pub quiet: Vec<QuietHours>,
    /// Kinds of content that are allowed: bits of [`kinds`].
    pub kinds: u32,
    /// Messages to others in a local day; 0: as many as one likes.
    pub messages_per_day: u32,
    /// Nothing goes to others.
    pub paused: bool,
}

/// Why a policy can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The database that is built in does not know the zone.
    #[error("there is no time zone {0:?}; they are named like \"Europe/Berlin\"")]
    TimeZone(String),
    /// The zone's name can't be one.
    #[error("the name of a time zone has 1 to {TIME_ZONE_BYTES_MAX} characters without spaces")]
    TimeZoneName,
    /// Too many spans.
    #[error("there can be at most {QUIET_HOURS_MAX} quiet times")]
    TooMany,
    /// A span out of bounds.
    #[error(
        "a quiet time needs a day of the week, and a beginning and an end between 00:00 and 23:59"
    )]
    Quiet,
}

impl Policy {
    /// Allows everything.
    #[must_use]
    pub fn open(time_zone: impl Into<String>) -> Self {
        Self {
            time_zone: time_zone.into(),
            quiet: vec![],
            kinds: kinds::ALL,
            messages_per_day: 0,
            paused: false,
        }
    }

    /// Checks a policy that is being made: the bounds, and that its zone is known.
    ///
    /// # Errors
    /// Every [`PolicyError`], with a sentence for the guardian who makes it.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.check_bounds()?;
        match Zone::named(&self.time_zone) {
            Some(_) => Ok(()),
            None => Err(PolicyError::TimeZone(self.time_zone.clone())),
        }
    }

    fn check_bounds(&self) -> Result<(), PolicyError> {
        let zone = self.time_zone.as_bytes();
        let is_spelled = (1..=TIME_ZONE_BYTES_MAX).contains(&zone.len())
            && zone.iter().all(u8::is_ascii_graphic);
        if !is_spelled {
            return Err(PolicyError::TimeZoneName);
        }
        if self.quiet.len() > QUIET_HOURS_MAX {
            return Err(PolicyError::TooMany);
        }
        if !self.quiet.iter().all(|quiet| quiet.is_in_bounds()) {
            return Err(PolicyError::Quiet);
        }
        Ok(())
    }

    /// As it stands in a statement.
    #[must_use]
    pub fn to_wire(&self) -> wire::Policy {
        wire::Policy {
            time_zone: self.time_zone.clone(),
            quiet: self.quiet.iter().map(|quiet| quiet.to_wire()).collect(),
            kinds: self.kinds,
            messages_per_day: self.messages_per_day,
            paused: self.paused,
        }
    }

    /// Reads a statement's policy. An unknown zone is let pass, and is UTC then: the
    /// statement may be older or newer than this version's database.
    ///
    /// # Errors
    /// [`PolicyError`] of the bounds.
    pub fn from_wire(policy: &wire::Policy) -> Result<Self, PolicyError> {
        if policy.quiet.len() > QUIET_HOURS_MAX {
            return Err(PolicyError::TooMany);
        }
        let quiet = policy.quiet.iter().map(QuietHours::from_wire);
        let policy = Self {
            time_zone: policy.time_zone.clone(),
            quiet: quiet.collect::<Option<_>>().ok_or(PolicyError::Quiet)?,
            kinds: policy.kinds,
            messages_per_day: policy.messages_per_day,
            paused: policy.paused,
        };
        policy.check_bounds()?;
        Ok(policy)
    }

    /// The child's clock; UTC when the zone's name is unknown here.
    #[must_use]
    pub fn zone(&self) -> Zone {
        Zone::named_or_utc(&self.time_zone)
    }

    pub(super) fn quiet(&self, now: Timestamp) -> Quiet {
        if self.quiet.is_empty() {
            return Quiet::Never;
        }
        quiet_at(&self.quiet, &self.zone(), now)
    }

    /// The next moment at which a verdict changes by the clock alone: quiet time begins or
    /// ends, or a day with a new count begins. `None`: never.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        if self.paused {
            return None;
        }
        let quiet = match self.quiet(now) {
            Quiet::From(at) => Some(at),
            Quiet::Until(end) => Some(end.at),
            Quiet::Always => return None,
            Quiet::Never => None,
        };
        let new_day = (self.messages_per_day > 0).then(|| self.zone().next_day(now));
        [quiet, new_day.flatten()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use prost::Message as _;

    use super::{Policy, PolicyError};
    use crate::policy::QuietHours;
    use crate::wire;

    const NIGHT: QuietHours = QuietHours {
        weekdays: 0x7F,
        from_minute: 20 * 60,
        to_minute: 7 * 60,
    };

    fn policy() -> Policy {
        Policy {
            quiet: vec![NIGHT],
            kinds: 5,
            messages_per_day: 20,
            paused: true,
            ..Policy::open("Europe/Berlin")
        }
    }

    #[test]
    fn golden_bytes_and_round_trip() {
        let bytes = policy().to_wire().encode_to_vec();
        // time_zone, one span (127, 1200, 420), kinds 5, 20 messages a day, paused.
        let golden = "0a0d4575726f70652f4265726c696e1208087f10b00918a403180520142801";
        assert_eq!(hex::encode(&bytes), golden);
        let read = wire::Policy::decode(bytes.as_slice()).unwrap();
        assert_eq!(Policy::from_wire(&read), Ok(policy()));
    }

    #[test]
    fn bounds_hold_when_made_and_when_read() {
        let spans = |quiet: QuietHours| Policy {
            quiet: vec![quiet],
            ..policy()
        };
        let many = Policy {
            quiet: vec![NIGHT; 33],
            ..policy()
        };
        let long = Policy::open("x".repeat(65));
        let bad = [
            (many, PolicyError::TooMany),
            (long, PolicyError::TimeZoneName),
            (
                spans(QuietHours {
                    weekdays: 0,
                    ..NIGHT
                }),
                PolicyError::Quiet,
            ),
            (
                spans(QuietHours {
                    weekdays: 0x80,
                    ..NIGHT
                }),
                PolicyError::Quiet,
            ),
            (
                spans(QuietHours {
                    from_minute: 1_440,
                    ..NIGHT
                }),
                PolicyError::Quiet,
            ),
            (
                spans(QuietHours {
                    to_minute: 1_440,
                    ..NIGHT
                }),
                PolicyError::Quiet,
            ),
        ];
        for (policy, error) in bad {
            assert_eq!(policy.check(), Err(error.clone()));
            assert_eq!(Policy::from_wire(&policy.to_wire()), Err(error));
        }
        let mut wide = policy().to_wire();
        wide.quiet[0].from_minute = 65_536;
        assert_eq!(Policy::from_wire(&wide), Err(PolicyError::Quiet));
    }

    #[test]
    fn an_unknown_zone_is_refused_when_made_and_utc_when_read() {
        let policy = Policy::open("Europe/Atlantis");
        let error = policy.check().unwrap_err();
        assert_eq!(error, PolicyError::TimeZone("Europe/Atlantis".into()));
        assert!(error.to_string().contains("Europe/Atlantis"));
        let read = Policy::from_wire(&policy.to_wire()).unwrap();
        assert_eq!(read, policy);
    }
}
