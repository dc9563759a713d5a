//! What day it is, and how long a family's log stays fresh (PROTOCOL §7.8).
//!
//! A tablet's own clock may be set by anyone who holds it, and the relay may hold everything
//! back. So only guardians' heads move what a device takes for now; its own clock only bounds
//! them, and counts the days since.

use std::collections::BTreeMap;

use super::head::Head;
use crate::day::Day;
use crate::ids::FamilyId;
use crate::limits;
use crate::wire;

/// What a head did to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is this day now.
    Moved(Day),
    /// A correction set the clock.
    Corrected {
        /// What it said; `None`: nothing yet.
        from: Option<Day>,
        /// What it says.
        to: Day,
    },
    /// Nothing new: of a day that passed, or a correction that was heard before.
    Old,
    /// Too far ahead of the device's own clock: guardians are told, nothing moved.
    Ahead {
        /// The day of the head.
        head: Day,
        /// The day of the device's own clock.
        own: Day,
    },
    /// Of another family: it moves nothing.
    Foreign,
}

/// What day the device's own family says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    family: FamilyId,
    build: Day,
    now: Option<Day>,
    /// The device's own clock when `now` was set.
    anchor: Day,
    corrected_at: u64,
    /// Corrections heard at that length of the log.
    corrections: Vec<[u8; 32]>,
}

impl Clock {
    /// A clock that has heard nothing. An own clock before `build`, the day this program was
    /// built, is known to be wrong.
    #[must_use]
    pub const fn new(family: FamilyId, build: Day) -> Self {
        Self {
            family,
            build,
            now: None,
            anchor: Day(0),
            corrected_at: 0,
            corrections: Vec::new(),
        }
    }

    /// The newest day that guardians told.
    #[must_use]
    pub const fn now(&self) -> Option<Day> {
        self.now
    }

    /// The day as best known: what guardians told and the days that the own clock counted
    /// since; the own clock alone while they have told nothing.
    #[must_use]
    pub fn today(&self, own: Day) -> Day {
        self.now
            .map_or(own, |now| now.plus(own.0.saturating_sub(self.anchor.0)))
    }

    /// Looks at the own clock: when it was set back, days are counted from there.
    /// Returns whether anything changed.
    pub fn observe(&mut self, own: Day) -> bool {
        let back = self.now.is_some() && own < self.anchor;
        if back {
            self.anchor = own;
        }
        back
    }

    /// Hears a guardian's head while the own clock says `own`.
    pub fn hear(&mut self, head: &Head, own: Day) -> Heard {
        if head.family() != self.family {
            return Heard::Foreign;
        }
        self.observe(own);
        if head.is_correction() {
            return self.correct(head, own);
        }
        let bound = own.plus(limits::CLOCK_AHEAD_DAYS_MAX);
        if own >= self.build && head.day() > bound {
            return Heard::Ahead {
                head: head.day(),
                own,
            };
        }
        if self.now.is_some_and(|now| head.day() <= now) {
            return Heard::Old;
        }
        self.set(head.day(), own);
        Heard::Moved(head.day())
    }

    /// A correction counts once, and not when a later one was signed over a longer log:
    /// whoever keeps an old one must not turn the clock back with it.
    fn correct(&mut self, head: &Head, own: Day) -> Heard {
        if head.statements() < self.corrected_at {
            return Heard::Old;
        }
        if head.statements() > self.corrected_at {
            self.corrections.clear();
            self.corrected_at = head.statements();
        }
        let full = self.corrections.len() >= limits::CLOCK_CORRECTIONS_MAX;
        if full || self.corrections.contains(&head.digest()) {
            return Heard::Old;
        }
        self.corrections.push(head.digest());
        let from = self.now;
        self.set(head.day(), own);
        Heard::Corrected {
            from,
            to: head.day(),
        }
    }

    const fn set(&mut self, now: Day, own: Day) {
        self.now = Some(now);
        self.anchor = own;
    }
}

/// The newest day on which a guardian of each family signed its head.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    newest: BTreeMap<FamilyId, Day>,
}

impl Lease {
    /// Hears a head; `today` is [`Clock::today`] after that clock heard it. One that is further
    /// ahead than the clock allows is not counted. Returns whether it was the newest.
    pub fn hear(&mut self, head: &Head, today: Day) -> bool {
        let ahead = head.day() > today.plus(limits::CLOCK_AHEAD_DAYS_MAX);
        let newer = self
            .newest(&head.family())
            .is_none_or(|day| head.day() > day);
        let room =
            self.newest.contains_key(&head.family()) || self.newest.len() < limits::LEASES_MAX;
        let counts = newer && room && !ahead;
        if counts {
            self.newest.insert(head.family(), head.day());
        }
        counts
    }

    /// After a correction of the clock: no head is of a later day than it is.
    pub fn corrected(&mut self, today: Day) {
        for day in self.newest.values_mut() {
            *day = today.min(*day);
        }
    }

    /// The day of the family's newest head.
    #[must_use]
    pub fn newest(&self, family: &FamilyId) -> Option<Day> {
        self.newest.get(family).copied()
    }

    /// Whether the family's head is at most `lease_days` old.
    #[must_use]
    pub fn is_fresh(&self, family: &FamilyId, lease_days: u32, today: Day) -> bool {
        self.newest(family)
            .is_some_and(|day| today <= day.plus(lease_days))
    }

    /// Forgets families that nobody here talks with any more.
    pub fn keep(&mut self, wanted: impl Fn(&FamilyId) -> bool) {
        self.newest.retain(|family, _| wanted(family));
    }
}

/// What is stored of both.
#[must_use]
pub fn to_record(clock: &Clock, lease: &Lease) -> wire::ClockRecord {
    wire::ClockRecord {
        known: clock.now.is_some(),
        now_day: clock.now.map_or(0, |day| day.0),
        anchor_day: clock.anchor.0,
        corrected_at: clock.corrected_at,
        corrections: clock
            .corrections
            .iter()
            .map(|digest| digest.to_vec().into())
            .collect(),
        leases: lease
            .newest
            .iter()
            .map(|(family, day)| wire::LeaseRecord {
                family: family.to_bytes(),
                newest_day: day.0,
            })
            .collect(),
    }
}

/// What was stored; fields that are damaged are left out.
#[must_use]
pub fn from_record(record: &wire::ClockRecord, family: FamilyId, build: Day) -> (Clock, Lease) {
    let clock = Clock {
        family,
        build,
        now: record.known.then_some(Day(record.now_day)),
        anchor: Day(record.anchor_day),
        corrected_at: record.corrected_at,
        corrections: record
            .corrections
            .iter()
            .filter_map(|digest| digest.as_ref().try_into().ok())
            .collect(),
    };
    let newest = record
        .leases
        .iter()
        .filter_map(|lease| {
            Some((
                FamilyId::try_from(&lease.family).ok()?,
                Day(lease.newest_day),
            ))
        })
        .collect();
    (clock, Lease { newest })
}
