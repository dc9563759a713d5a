//! What day it is, and how long a family's log stays fresh (PROTOCOL §7.8).
//!
//! A tablet's own clock may be set by anyone who holds it, and the relay may hold everything
//! back. So only guardians' heads move what a device takes for now; its own clock only bounds
//! them, and counts the days since.

use std::collections::BTreeMap;

use super::head::Head;
use crate::day::{DAY_MS, Day, Timestamp};
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

/// Days that the own clock is believed to have counted right since a head: as long as a relay
/// keeps the mailbox of a device that stays away.
const COUNTED_DAYS_MAX: u32 = 90;

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
        // A relay that kept heads back must not turn time back with them, and so renew a lease
        // that is over. Only days that nobody can have been away for are a wrong own clock.
        let counted = own.0.saturating_sub(self.anchor.0);
        if self.now.is_some() && head.day() == self.today(own) {
            // The own clock has counted right so far, and counts on from here.
            self.set(head.day(), own);
            return Heard::Old;
        }
        let past = self.now.is_some() && head.day() <= self.today(own);
        if past && counted <= COUNTED_DAYS_MAX {
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

/// The most that is counted between two looks at the own clock: a device that runs and is
/// attached looks every hour. More is a clock that was set, or a device that was off.
const LOOK_MS_MAX: u64 = 2 * 3_600_000;

/// The newest day on which a guardian of each family signed its head, and how long this device
/// has run since it heard that.
///
/// [`Clock::today`] forgets days when the own clock is set back. Running time is added up as
/// the own clock goes forward, and setting it back takes none away: whoever does so again and
/// again keeps no lease alive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    newest: BTreeMap<FamilyId, Newest>,
    /// What the own clock said last; volatile.
    seen: Option<Timestamp>,
}

/// A family's newest head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Newest {
    day: Day,
    /// How long this device has run since it was heard.
    run_ms: u64,
}

impl Lease {
    /// Looks at the own clock, and counts what it has gone forward since the last look.
    pub fn observe(&mut self, own: Timestamp) {
        let Some(seen) = self.seen.replace(own) else {
            return;
        };
        let run = own.0.saturating_sub(seen.0).min(LOOK_MS_MAX);
        for newest in self.newest.values_mut() {
            newest.run_ms = newest.run_ms.saturating_add(run);
        }
    }

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
            let newest = Newest {
                day: head.day(),
                run_ms: 0,
            };
            self.newest.insert(head.family(), newest);
        }
        counts
    }

    /// After a correction of the clock: no head is of a later day than it is.
    pub fn corrected(&mut self, today: Day) {
        for newest in self.newest.values_mut() {
            newest.day = today.min(newest.day);
        }
    }

    /// The day of the family's newest head.
    #[must_use]
    pub fn newest(&self, family: &FamilyId) -> Option<Day> {
        self.newest.get(family).map(|newest| newest.day)
    }

    /// Whether the family's head is at most `lease_days` old, by the day and by how long this
    /// device has run since it heard it.
    #[must_use]
    pub fn is_fresh(&self, family: &FamilyId, lease_days: u32, today: Day) -> bool {
        // Heard on the first of the days by which it may be ahead, it lasts to the end of its
        // last one.
        let days = lease_days.saturating_add(limits::CLOCK_AHEAD_DAYS_MAX + 1);
        let run_ms_max = u64::from(days).saturating_mul(DAY_MS);
        self.newest.get(family).is_some_and(|newest| {
            today <= newest.day.plus(lease_days) && newest.run_ms <= run_ms_max
        })
    }

    /// Forgets families that nobody here talks with any more.
    pub fn keep(&mut self, wanted: impl Fn(&FamilyId) -> bool) {
        self.newest.retain(|family, _| wanted(family));
    }
}

/// What is stored of both.
#[must_use]
pub fn clock_record(clock: &Clock, lease: &Lease) -> wire::ClockRecord {
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
            .map(|(family, newest)| wire::LeaseRecord {
                family: family.to_bytes(),
                newest_day: newest.day.0,
                run_ms: newest.run_ms,
            })
            .collect(),
    }
}

/// What was stored; fields that are damaged are left out.
#[must_use]
pub fn read_clock_record(
    record: &wire::ClockRecord,
    family: FamilyId,
    build: Day,
) -> (Clock, Lease) {
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
            let family = FamilyId::try_from(&lease.family).ok()?;
            let newest = Newest {
                day: Day(lease.newest_day),
                run_ms: lease.run_ms,
            };
            Some((family, newest))
        })
        .collect();
    (clock, Lease { newest, seen: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{Clock, Heard, Lease, clock_record, read_clock_record};
    use crate::day::{DAY_MS, Day, Timestamp};
    use crate::identity::head::tests::{family, key};
    use crate::identity::{FamilyLog, Head, SignedHead, sign_head};
    use crate::primitives::sign::SecretKey;

    const BUILD: Day = Day(500);
    const YEAR: u32 = 365;

    fn head(log: &FamilyLog, day: u32, correction: bool, key: &SecretKey) -> Head {
        SignedHead::from_wire(&sign_head(log, Day(day), correction, key))
            .unwrap()
            .verify(log)
            .unwrap()
    }

    fn heard(day: u32) -> Head {
        head(&family(1), day, false, &key(1))
    }

    fn correction(day: u32) -> Head {
        head(&family(1), day, true, &key(1))
    }

    fn clock() -> Clock {
        Clock::new(family(1).family(), BUILD)
    }

    #[test]
    fn heads_move_the_clock_forward_and_two_days_past_its_own_at_most() {
        let moved = |day| Heard::Moved(Day(day));
        let ahead = |head, own| Heard::Ahead {
            head: Day(head),
            own: Day(own),
        };
        // (own clock, head, what it does, now after)
        let steps = [
            (600, 600, moved(600), 600),
            (600, 600, Heard::Old, 600),
            (601, 599, Heard::Old, 600),
            (601, 603, moved(603), 603),
            (601, 604, ahead(604, 601), 603),
            (600 + YEAR, 604, moved(604), 604),
            (604, 604 + YEAR, ahead(604 + YEAR, 604), 604),
            // A clock that was set back to before the build date bounds nothing.
            (499, 700, moved(700), 700),
            (500, 703, ahead(703, 500), 700),
            (0, 703, moved(703), 703),
        ];
        let mut clock = clock();
        for (own, day, expected, now) in steps {
            assert_eq!(clock.hear(&heard(day), Day(own)), expected, "{own} {day}");
            assert_eq!(clock.now(), Some(Day(now)), "{own} {day}");
        }
        let foreign = head(&family(2), 604, false, &key(2));
        assert_eq!(clock.hear(&foreign, Day(604)), Heard::Foreign);
        let foreign = head(&family(2), 604, true, &key(2));
        assert_eq!(clock.hear(&foreign, Day(604)), Heard::Foreign);
    }

    #[test]
    fn heads_that_were_kept_back_turn_no_time_back() {
        let mut clock = clock();
        clock.hear(&heard(600), Day(600));
        // Twelve days without a head; then the oldest of those that were kept back.
        assert_eq!(clock.hear(&heard(601), Day(612)), Heard::Old);
        assert_eq!(clock.today(Day(612)), Day(612));
        assert_eq!(clock.hear(&heard(612), Day(612)), Heard::Old);
        assert_eq!(clock.hear(&heard(613), Day(612)), Heard::Moved(Day(613)));
        assert_eq!(clock.today(Day(612)), Day(613));
    }

    #[test]
    fn a_correction_sets_the_clock_once() {
        let mut clock = clock();
        let wrong = 600 + YEAR;
        // Both the tablet's clock and a guardian's are a year ahead.
        assert_eq!(
            clock.hear(&heard(wrong), Day(wrong)),
            Heard::Moved(Day(wrong))
        );
        let corrected = Heard::Corrected {
            from: Some(Day(wrong)),
            to: Day(600),
        };
        assert_eq!(clock.hear(&correction(600), Day(wrong)), corrected);
        assert_eq!(clock.now(), Some(Day(600)));
        assert_eq!(clock.hear(&heard(650), Day(wrong)), Heard::Moved(Day(650)));
        // Replayed, it turns nothing back.
        assert_eq!(clock.hear(&correction(600), Day(wrong)), Heard::Old);
        assert_eq!(clock.now(), Some(Day(650)));
        // Nor does another one that was signed over a shorter log than the last.
        let mut longer = family(1);
        for statement in longer.propose(
            vec![crate::identity::Decision::Settings(
                crate::identity::Settings {
                    lease_days: 3,
                    ..crate::identity::Settings::default()
                },
            )],
            &key(1),
            Day(600),
            &mut crate::identity::head::tests::rng(),
        ) {
            longer.append(&statement).unwrap();
        }
        let newer = head(&longer, 660, true, &key(1));
        assert!(matches!(
            clock.hear(&newer, Day(660)),
            Heard::Corrected { .. }
        ));
        assert_eq!(clock.hear(&correction(640), Day(660)), Heard::Old);
        // A correction reaches clocks that are behind, too.
        let mut behind = self::clock();
        let far = correction(600 + YEAR);
        assert!(matches!(
            behind.hear(&far, Day(600)),
            Heard::Corrected { .. }
        ));
    }

    #[test]
    fn days_are_counted_by_the_own_clock_between_heads() {
        let mut clock = clock();
        assert_eq!(clock.today(Day(600)), Day(600), "nothing told yet");
        clock.hear(&heard(600), Day(600 + YEAR));
        assert_eq!(clock.today(Day(600 + YEAR)), Day(600));
        assert_eq!(clock.today(Day(603 + YEAR)), Day(603));
        // Set back by a year: time stands still and does not run back.
        assert_eq!(clock.today(Day(600)), Day(600));
        assert!(clock.observe(Day(600)) && !clock.observe(Day(600)));
        assert_eq!(clock.today(Day(604)), Day(604), "and runs on from there");
        // An old head that is played again each day does not hold it.
        assert_eq!(clock.hear(&heard(600), Day(609)), Heard::Old);
        assert_eq!(clock.today(Day(609)), Day(609));
    }

    #[test]
    fn a_lease_lasts_to_its_last_day_and_no_longer() {
        let family = family(1).family();
        let mut lease = Lease::default();
        assert!(!lease.is_fresh(&family, 7, Day(600)), "never heard");
        assert!(lease.hear(&heard(600), Day(600)));
        for (days, today, fresh) in [
            (7, 600, true),
            (7, 607, true),
            (7, 608, false),
            (3, 603, true),
            (3, 604, false),
            (14, 614, true),
            (14, 615, false),
            (14, 600 + YEAR, false),
            (7, 599, true),
        ] {
            let is_fresh = lease.is_fresh(&family, days, Day(today));
            assert_eq!(is_fresh, fresh, "{days} {today}");
        }
        assert!(!lease.hear(&heard(599), Day(601)), "older");
        assert!(!lease.hear(&heard(600), Day(601)), "the same");
        assert!(!lease.hear(&heard(604), Day(601)), "too far ahead");
        assert!(lease.hear(&heard(603), Day(601)));
        assert_eq!(lease.newest(&family), Some(Day(603)));
        lease.corrected(Day(602));
        assert_eq!(lease.newest(&family), Some(Day(602)));
        lease.corrected(Day(700));
        assert_eq!(lease.newest(&family), Some(Day(602)));
        lease.keep(|_| false);
        assert_eq!(lease, Lease::default());
    }

    #[test]
    fn heads_that_come_on_their_day_are_counted_from() {
        let mut clock = clock();
        for day in 600..=700 {
            clock.hear(&heard(day), Day(day));
        }
        // Ten days off, and then all that came meanwhile, the oldest first.
        for day in 701..710 {
            assert_eq!(clock.hear(&heard(day), Day(710)), Heard::Old);
            assert_eq!(clock.today(Day(710)), Day(710), "time is not turned back");
        }
    }

    const HOUR_MS: u64 = 3_600_000;

    /// Looks at the own clock every hour from the beginning of a day on.
    fn run(lease: &mut Lease, from: u32, hours: u64) {
        let start = u64::from(from) * DAY_MS;
        for hour in 0..=hours {
            lease.observe(Timestamp(start + hour * HOUR_MS));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_again_and_again_keeps_no_lease() {
        let family = family(1).family();
        let mut clock = clock();
        let mut lease = Lease::default();
        clock.hear(&heard(600), Day(600));
        lease.hear(&heard(600), Day(600));
        // Before each midnight it is set back, and the process is started anew.
        let mut nights = 0;
        while lease.is_fresh(&family, 7, clock.today(Day(600))) {
            assert!(nights < 30, "the lease never ends");
            run(&mut lease, 600, 23);
            let stored = clock_record(&clock, &lease);
            (clock, lease) = read_clock_record(&stored, family, BUILD);
            nights += 1;
        }
        assert_eq!(clock.today(Day(600)), Day(600));
        // 10 days of 24 hours, in days of 23.
        assert_eq!(nights, 11);
        // A guardian is heard: all is well again, but not by what was heard before.
        assert!(!lease.hear(&heard(600), Day(600)));
        assert!(!lease.is_fresh(&family, 7, Day(600)));
        assert!(lease.hear(&heard(602), Day(600)));
        assert!(lease.is_fresh(&family, 7, Day(600)));
    }

    #[test]
    fn a_clock_that_runs_ends_a_lease_on_its_day_and_not_before() {
        let family = family(1).family();
        for heard_on in [598, 600, 607] {
            let mut lease = Lease::default();
            lease.hear(&heard(600), Day(heard_on));
            run(&mut lease, heard_on, u64::from(608 - heard_on) * 24);
            assert!(lease.is_fresh(&family, 7, Day(607)), "{heard_on}");
            assert!(!lease.is_fresh(&family, 7, Day(608)), "{heard_on}");
        }
    }

    #[test]
    fn a_clock_that_jumps_ends_no_lease_by_itself() {
        let family = family(1).family();
        let mut lease = Lease::default();
        lease.hear(&heard(600), Day(600));
        // A tablet that starts in 1970 and is set right, again and again.
        for _ in 0..100 {
            lease.observe(Timestamp(0));
            lease.observe(Timestamp(600 * DAY_MS));
        }
        assert!(lease.is_fresh(&family, 7, Day(600)), "two hours each time");
        for _ in 0..100 {
            lease.observe(Timestamp(0));
            lease.observe(Timestamp(600 * DAY_MS));
        }
        assert!(!lease.is_fresh(&family, 7, Day(600)));
    }

    #[test]
    fn what_is_stored_reads_back() {
        let mut clock = clock();
        clock.hear(&heard(600), Day(601));
        clock.hear(&correction(590), Day(602));
        let mut lease = Lease::default();
        lease.hear(&heard(600), Day(600));
        run(&mut lease, 600, 5);
        lease.seen = None;
        let record = clock_record(&clock, &lease);
        let read = read_clock_record(&record, family(1).family(), BUILD);
        assert_eq!(read, (clock, lease));
        let empty = read_clock_record(&Default::default(), family(1).family(), BUILD);
        assert_eq!(empty, (self::clock(), Lease::default()));
    }
}
