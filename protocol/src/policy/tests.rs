//! Policies over the year, in zones with daylight saving time and without.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use jiff::civil::date;

use super::{Audience, DayCount, Policy, QuietHours, Verdict, Why};
use crate::content::{Body, Control, Progress, kinds};
use crate::day::Timestamp;
use crate::ids::ContentId;

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
const ALL_WEEK: u8 = 0x7F;

fn span(weekdays: u8, from: (u16, u16), to: (u16, u16)) -> QuietHours {
    QuietHours {
        weekdays,
        from_minute: from.0 * 60 + from.1,
        to_minute: to.0 * 60 + to.1,
    }
}

fn quiet(zone: &str, spans: &[QuietHours]) -> Policy {
    let policy = Policy {
        quiet: spans.to_vec(),
        ..Policy::open(zone)
    };
    policy.check().unwrap();
    policy
}

fn text() -> Body {
    Body::Text { text: "hi".into() }
}

fn judge(policy: &Policy, body: &Body, now: Timestamp) -> Verdict {
    policy.judge(body, Audience::Others, now, DayCount::default())
}

fn sentence(policy: &Policy, now: Timestamp) -> String {
    match judge(policy, &text(), now) {
        Verdict::Allowed => String::new(),
        Verdict::Refused(why) => why.to_string(),
    }
}

fn is_quiet(policy: &Policy, now: Timestamp) -> bool {
    matches!(
        judge(policy, &text(), now),
        Verdict::Refused(Why::Quiet(_) | Why::AlwaysQuiet)
    )
}

/// Milliseconds of a UTC time.
fn utc(y: i16, mo: i8, d: i8, h: i8, mi: i8) -> Timestamp {
    let at = date(y, mo, d).at(h, mi, 0, 0).in_tz("UTC").unwrap();
    Timestamp(u64::try_from(at.timestamp().as_millisecond()).unwrap())
}

/// The quiet spans of some days, found by asking minute by minute.
fn found(policy: &Policy, from: Timestamp, days: u64) -> Vec<(Timestamp, Timestamp)> {
    let mut spans = Vec::new();
    let mut start = None;
    for minute in 0..days * 24 * 60 {
        let now = from.plus_ms(minute * MINUTE_MS);
        match (start, is_quiet(policy, now)) {
            (None, true) => start = Some(now),
            (Some(since), false) => {
                spans.push((since, now));
                start = None;
            }
            _ => {}
        }
    }
    spans
}

#[test]
fn a_night_crosses_midnight() {
    // 12 January 2026 is a Monday; Berlin is an hour ahead of UTC.
    let policy = quiet("Europe/Berlin", &[span(ALL_WEEK, (20, 0), (7, 0))]);
    assert_eq!(sentence(&policy, utc(2026, 1, 12, 18, 59)), "");
    let words = "It is quiet time until 07:00.";
    for now in [
        utc(2026, 1, 12, 19, 0),
        utc(2026, 1, 12, 23, 30),
        utc(2026, 1, 13, 5, 59),
    ] {
        assert_eq!(sentence(&policy, now), words);
        assert_eq!(policy.next_change(now), Some(utc(2026, 1, 13, 6, 0)));
    }
    assert_eq!(sentence(&policy, utc(2026, 1, 13, 6, 0)), "");
    let next = policy.next_change(utc(2026, 1, 13, 6, 0));
    assert_eq!(next, Some(utc(2026, 1, 13, 19, 0)));
}

#[test]
fn a_span_belongs_to_the_weekday_it_begins_on() {
    // Friday's night only: bit 4.
    let policy = quiet("Europe/Berlin", &[span(1 << 4, (22, 0), (9, 0))]);
    assert!(!is_quiet(&policy, utc(2026, 1, 15, 22, 0)), "Thursday");
    assert!(is_quiet(&policy, utc(2026, 1, 16, 22, 0)), "Friday");
    assert!(is_quiet(&policy, utc(2026, 1, 17, 7, 59)), "Saturday");
    assert!(!is_quiet(&policy, utc(2026, 1, 17, 8, 0)), "Saturday");
    assert!(!is_quiet(&policy, utc(2026, 1, 17, 22, 0)), "Saturday");
    // From Sunday into Monday, over the end of the week.
    let policy = quiet("Europe/Berlin", &[span(1 << 6, (22, 0), (6, 0))]);
    assert!(is_quiet(&policy, utc(2026, 1, 18, 22, 0)));
    assert!(is_quiet(&policy, utc(2026, 1, 19, 4, 59)));
    assert!(!is_quiet(&policy, utc(2026, 1, 19, 5, 0)));
}

#[test]
fn spans_that_touch_are_one_and_a_far_end_names_its_day() {
    let weekend = [
        span(1 << 5, (0, 0), (0, 0)),
        span(1 << 6, (0, 0), (12, 0)),
        span(1 << 6, (11, 0), (18, 30)),
    ];
    let policy = quiet("Europe/Berlin", &weekend);
    let now = utc(2026, 1, 17, 10, 0);
    assert_eq!(
        sentence(&policy, now),
        "It is quiet time until Sunday, 18:30."
    );
    assert_eq!(policy.next_change(now), Some(utc(2026, 1, 18, 17, 30)));
    let later = utc(2026, 1, 18, 10, 0);
    assert_eq!(sentence(&policy, later), "It is quiet time until 18:30.");
}

#[test]
fn a_span_inside_another_does_not_end_it() {
    let spans = [
        span(ALL_WEEK, (10, 0), (20, 0)),
        span(ALL_WEEK, (11, 0), (12, 0)),
    ];
    let policy = quiet("UTC", &spans);
    let words = "It is quiet time until 20:00.";
    assert_eq!(sentence(&policy, utc(2026, 6, 1, 10, 30)), words);
}

#[test]
fn a_week_without_a_pause_is_always_quiet() {
    let policy = quiet("Europe/Berlin", &[span(ALL_WEEK, (8, 0), (8, 0))]);
    let now = utc(2026, 3, 28, 12, 0);
    assert_eq!(
        judge(&policy, &text(), now),
        Verdict::Refused(Why::AlwaysQuiet)
    );
    assert_eq!(policy.next_change(now), None);
    // Its own guardians are reached all the same.
    let family = policy.judge(&text(), Audience::Family, now, DayCount::default());
    assert_eq!(family, Verdict::Allowed);
}

#[test]
fn berlins_nights_when_the_clock_changes() {
    let policy = quiet("Europe/Berlin", &[span(ALL_WEEK, (21, 0), (7, 0))]);
    // 29 March 2026, 02:00 becomes 03:00: nine hours.
    let night = found(&policy, utc(2026, 3, 28, 12, 0), 1);
    assert_eq!(night, [(utc(2026, 3, 28, 20, 0), utc(2026, 3, 29, 5, 0))]);
    // 25 October 2026, 03:00 becomes 02:00: eleven hours.
    let night = found(&policy, utc(2026, 10, 24, 12, 0), 1);
    assert_eq!(night, [(utc(2026, 10, 24, 19, 0), utc(2026, 10, 25, 6, 0))]);
    // Any other: ten.
    let night = found(&policy, utc(2026, 6, 1, 12, 0), 1);
    assert_eq!(night, [(utc(2026, 6, 1, 19, 0), utc(2026, 6, 2, 5, 0))]);
}

#[test]
fn new_yorks_nights_when_the_clock_changes() {
    let policy = quiet("America/New_York", &[span(ALL_WEEK, (21, 0), (7, 0))]);
    // 8 March 2026.
    let night = found(&policy, utc(2026, 3, 7, 18, 0), 1);
    assert_eq!(night, [(utc(2026, 3, 8, 2, 0), utc(2026, 3, 8, 11, 0))]);
    // 1 November 2026.
    let night = found(&policy, utc(2026, 10, 31, 18, 0), 1);
    assert_eq!(night, [(utc(2026, 11, 1, 1, 0), utc(2026, 11, 1, 12, 0))]);
}

#[test]
fn a_zone_without_changes_has_the_same_night_all_year() {
    let policy = quiet("Asia/Kolkata", &[span(ALL_WEEK, (21, 0), (7, 0))]);
    for (month, day) in [(3, 28), (7, 1), (10, 24), (12, 31)] {
        let night = found(&policy, utc(2026, month, day, 6, 0), 1);
        let start = utc(2026, month, day, 15, 30);
        assert_eq!(night, [(start, start.plus_ms(10 * HOUR_MS))]);
    }
}

#[test]
fn spans_inside_a_change() {
    // 02:15 to 02:45 does not exist on 29 March, and its first is meant on 25 October.
    let policy = quiet("Europe/Berlin", &[span(ALL_WEEK, (2, 15), (2, 45))]);
    assert_eq!(found(&policy, utc(2026, 3, 28, 12, 0), 1), []);
    let next = policy.next_change(utc(2026, 3, 28, 12, 0));
    assert_eq!(next, Some(utc(2026, 3, 30, 0, 15)));
    let change = utc(2026, 10, 25, 0, 0);
    let night = found(&policy, utc(2026, 10, 24, 12, 0), 1);
    assert_eq!(
        night,
        [(
            change.plus_ms(15 * MINUTE_MS),
            change.plus_ms(45 * MINUTE_MS)
        )]
    );
    // One that ends inside what is skipped ends with the change.
    let policy = quiet("Europe/Berlin", &[span(ALL_WEEK, (22, 0), (2, 30))]);
    let night = found(&policy, utc(2026, 3, 28, 12, 0), 1);
    assert_eq!(night, [(utc(2026, 3, 28, 21, 0), utc(2026, 3, 29, 1, 0))]);
}

#[test]
fn the_next_change_is_where_asking_finds_it() {
    let spans = [
        span(0x1F, (20, 30), (6, 45)),
        span(0x60, (22, 0), (8, 0)),
        span(0x0A, (13, 0), (14, 30)),
    ];
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
        let policy = quiet(zone, &spans);
        for from in [
            utc(2026, 3, 26, 0, 0),
            utc(2026, 10, 22, 0, 0),
            utc(2026, 4, 3, 0, 0),
        ] {
            let mut now = from;
            while now < from.plus_ms(5 * 24 * HOUR_MS) {
                let next = policy.next_change(now).unwrap();
                let before = is_quiet(&policy, now);
                assert_eq!(
                    is_quiet(&policy, Timestamp(next.0 - 1)),
                    before,
                    "{zone} {now:?}"
                );
                assert_ne!(is_quiet(&policy, next), before, "{zone} {now:?}");
                now = next;
            }
        }
    }
}

#[test]
fn an_unknown_zone_of_an_old_log_is_utc() {
    let policy = Policy {
        time_zone: "Europe/Atlantis".into(),
        quiet: vec![span(ALL_WEEK, (20, 0), (7, 0))],
        ..Policy::open("")
    };
    let night = found(&policy, utc(2026, 3, 28, 12, 0), 1);
    assert_eq!(night, [(utc(2026, 3, 28, 20, 0), utc(2026, 3, 29, 7, 0))]);
}

#[test]
fn kinds_are_switched_off_one_by_one() {
    let now = utc(2026, 6, 1, 12, 0);
    let sticker = Body::Sticker {
        pack: String::new(),
        name: "cat".into(),
    };
    let policy = Policy {
        kinds: kinds::ALL & !kinds::STICKER,
        ..Policy::open("UTC")
    };
    assert_eq!(judge(&policy, &text(), now), Verdict::Allowed);
    let Verdict::Refused(why) = judge(&policy, &sticker, now) else {
        unreachable!("stickers are off");
    };
    assert_eq!(
        why.to_string(),
        "Stickers are switched off for this tablet."
    );
    let nothing = Policy {
        kinds: 0,
        ..Policy::open("UTC")
    };
    let target = ContentId::new([1; 16]);
    let reaction = Body::Reaction {
        target,
        emoji: "+".into(),
    };
    assert_ne!(judge(&nothing, &text(), now), Verdict::Allowed);
    assert_eq!(judge(&nothing, &reaction, now), Verdict::Allowed);
    for (kind, words) in [
        (kinds::PHOTO, "Photos"),
        (kinds::VOICE, "Voice messages"),
        (kinds::TEXT, "Texts"),
        (kinds::PROGRESS, "Learning reports"),
    ] {
        assert_eq!(kinds::name(kind), words);
    }
}

#[test]
fn a_child_always_reaches_its_guardians() {
    let now = utc(2026, 6, 1, 12, 0);
    let policy = Policy {
        quiet: vec![span(ALL_WEEK, (0, 0), (0, 0))],
        kinds: 0,
        messages_per_day: 1,
        paused: true,
        ..Policy::open("Europe/Berlin")
    };
    let progress = Body::Progress(Progress {
        app: "a".into(),
        activity: "b".into(),
        level: None,
        score: None,
        out_of: None,
        seconds: 0,
        text: String::new(),
    });
    let full = DayCount {
        day: policy.zone().day(now),
        sent: u32::MAX,
    };
    for audience in [Audience::Family, Audience::Guardians] {
        for body in [text(), progress.clone()] {
            assert_eq!(policy.judge(&body, audience, now, full), Verdict::Allowed);
        }
        assert_eq!(policy.count(&text(), audience, now, full), full);
    }
    let others = policy.judge(&text(), Audience::Others, now, full);
    assert_eq!(others, Verdict::Refused(Why::Paused));
    assert_eq!(
        Why::Paused.to_string(),
        "Your guardians have paused messages with others."
    );
    assert_eq!(policy.next_change(now), None);
    // What takes back, and what devices say, goes through everything.
    let delete = Body::Delete {
        target: ContentId::new([1; 16]),
    };
    let control = Body::Control(Control::Head(vec![1].into()));
    for body in [delete, control] {
        assert_eq!(
            policy.judge(&body, Audience::Others, now, full),
            Verdict::Allowed
        );
    }
}

#[test]
fn messages_are_counted_by_the_local_day() {
    let policy = Policy {
        messages_per_day: 2,
        ..Policy::open("America/New_York")
    };
    let judge = |now, count| policy.judge(&text(), Audience::Others, now, count);
    let evening = utc(2026, 6, 2, 3, 59);
    let mut count = DayCount::default();
    for _ in 0..2 {
        assert_eq!(judge(evening, count), Verdict::Allowed);
        count = policy.count(&text(), Audience::Others, evening, count);
    }
    let Verdict::Refused(why) = judge(evening, count) else {
        unreachable!("two were sent");
    };
    assert_eq!(
        why.to_string(),
        "That was 2 messages today; there are more tomorrow."
    );
    // 23:59 there; the day of UTC began hours ago.
    let midnight = utc(2026, 6, 2, 4, 0);
    assert_eq!(policy.next_change(evening), Some(midnight));
    assert_eq!(judge(midnight, count), Verdict::Allowed);
    let next = policy.count(&text(), Audience::Others, midnight, count);
    assert_eq!(next.sent, 1);
    // Back to yesterday: the new day's count stays.
    assert_eq!(
        policy.count(&text(), Audience::Others, evening, next).sent,
        2
    );
    let reaction = Body::Reaction {
        target: ContentId::new([1; 16]),
        emoji: "+".into(),
    };
    assert_eq!(
        policy.count(&reaction, Audience::Others, midnight, next),
        next
    );
    assert_eq!(
        policy.judge(&reaction, Audience::Others, evening, count),
        Verdict::Allowed
    );
    let one = Why::Limit { messages: 1 };
    assert_eq!(
        one.to_string(),
        "That was 1 message today; there are more tomorrow."
    );
}

#[test]
fn what_rests_and_what_is_left() {
    let policy = Policy {
        messages_per_day: 2,
        kinds: kinds::TEXT,
        ..quiet("UTC", &[span(ALL_WEEK, (20, 0), (7, 0))])
    };
    let (day, night) = (utc(2026, 6, 1, 12, 0), utc(2026, 6, 1, 23, 0));
    assert_eq!(policy.rest(day), None);
    assert!(matches!(policy.rest(night), Some(Why::Quiet(_))));
    let paused = Policy {
        paused: true,
        ..policy.clone()
    };
    assert_eq!(paused.rest(day), Some(Why::Paused));
    assert_eq!(Policy::open("UTC").rest(night), None);
    assert!(policy.allows_kind(kinds::TEXT));
    assert!(policy.allows_kind(0), "reactions go with any");
    assert!(!policy.allows_kind(kinds::PHOTO));
    let mut count = DayCount::default();
    for left in [2, 1, 0, 0] {
        assert_eq!(policy.left_today(day, count), Some(left));
        count = policy.count(&text(), Audience::Others, day, count);
    }
    assert_eq!(policy.left_today(day.plus_ms(24 * HOUR_MS), count), Some(2));
    assert_eq!(Policy::open("UTC").left_today(day, count), None);
}

#[test]
fn no_time_is_too_far() {
    let policy = Policy {
        messages_per_day: 1,
        ..quiet("Europe/Berlin", &[span(ALL_WEEK, (20, 0), (7, 0))])
    };
    for ms in [0, 1, HOUR_MS, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
        let _ = judge(&policy, &text(), Timestamp(ms));
        let _ = policy.next_change(Timestamp(ms));
    }
}
