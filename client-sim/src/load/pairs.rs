//! Senders and recipients in pairs, all attached to one relay.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::course::{Course, Outcome, Pace, conduct};
use super::people::attached;
use super::process::Process;
use super::progress::Progress;
use super::tally::{Tally, count};
use super::trouble::Trouble;
use super::wire::{Connection, Dial, Seen, Stamp, Template};

/// Deliveries that a recipient lets the relay send ahead.
const RECIPIENT_WINDOW: u32 = 256;
/// Sends of one sender that wait for their answer, in open loop; what is due then leaves
/// later, and its latency counts from when it was due.
const OUTSTANDING_MAX: u64 = 1_024;

/// What the two of a pair know of each other.
#[derive(Default)]
struct Between {
    /// How many will come, when the sender has sent its last.
    total: Cell<Option<u64>>,
    ended: Notify,
}

/// When a sender's next envelope is due.
pub(super) enum Due {
    /// As soon as one of `window` is free.
    Window(u64),
    /// At fixed moments of the run.
    Every { interval_ns: f64, first_ns: f64 },
}

impl Due {
    /// For sender `index` of `pairs`: their moments are spread evenly.
    pub(super) fn of(pace: Pace, index: u32, pairs: u32, tally: &Tally) -> Self {
        match pace {
            Pace::Window(window) => Self::Window(u64::from(window.max(1))),
            Pace::Rate(rate) => {
                let interval_ns = f64::from(pairs) / rate.max(1e-3) * 1e9;
                let phase = f64::from(index) / f64::from(pairs);
                Self::Every {
                    interval_ns,
                    first_ns: tally.now_ns() as f64 + phase * interval_ns,
                }
            }
        }
    }

    /// When envelope `number` is due with `outstanding` unanswered; `None` when it has to wait
    /// for an answer.
    pub(super) fn at(&self, number: u64, outstanding: u64, now_ns: u64) -> Option<u64> {
        match *self {
            Self::Window(window) => (outstanding < window).then_some(now_ns),
            Self::Every {
                interval_ns,
                first_ns,
            } => {
                let at = Duration::from_secs_f64((first_ns + number as f64 * interval_ns) / 1e9);
                let at = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
                (outstanding < OUTSTANDING_MAX).then_some(at)
            }
        }
    }
}

/// Answers come in any order: when each request was due, by its number.
pub(super) struct Pending(Vec<u64>);

impl Pending {
    pub(super) fn new() -> Self {
        Self(vec![0; 2_048])
    }

    fn place(&mut self, request: u64) -> Option<&mut u64> {
        let at = usize::try_from(request % self.0.len() as u64).ok()?;
        self.0.get_mut(at)
    }

    pub(super) fn put(&mut self, request: u64, at_ns: u64) {
        if let Some(place) = self.place(request) {
            *place = at_ns;
        }
    }

    pub(super) fn take(&mut self, request: u64) -> u64 {
        self.place(request).copied().unwrap_or_default()
    }
}

async fn sender(
    mut connection: Connection,
    mut template: Template,
    due: Due,
    tally: Rc<Tally>,
    between: Rc<Between>,
) -> Result<(), Trouble> {
    let (mut number, mut outstanding) = (0_u64, 0_u64);
    let mut pending = Pending::new();
    loop {
        let mut later = None;
        while !tally.stopped.get() {
            let now_ns = tally.now_ns();
            let Some(at_ns) = due.at(number, outstanding, now_ns) else {
                break;
            };
            if at_ns > now_ns {
                later = Some(at_ns);
                break;
            }
            let request = super::wire::FIRST_REQUEST + number;
            let stamp = Stamp { number, at_ns };
            pending.put(request, at_ns);
            template.put(&mut connection.output, request, stamp);
            number += 1;
            outstanding += 1;
            count(&tally.sent);
        }
        if tally.stopped.get() && outstanding == 0 {
            break;
        }
        let wake = later.map_or_else(
            || Instant::now() + Duration::from_secs(1),
            |at_ns| tally.moment(at_ns),
        );
        tokio::select! {
            turned = connection.turn() => turned?,
            () = sleep_until(wake), if later.is_some() || outstanding == 0 => {}
        }
        while let Some(seen) = connection.next()? {
            if let Seen::Answer {
                request_id, status, ..
            } = seen
            {
                outstanding = outstanding.saturating_sub(1);
                if Seen::is_ok(status) {
                    tally.note_acknowledgement(pending.take(request_id));
                } else {
                    count(&tally.refused);
                }
            } else {
                unexpected(seen)?;
            }
        }
    }
    between.total.set(Some(number));
    between.ended.notify_one();
    Ok(())
}

/// An error frame ends a run: nothing that was measured beside it would mean anything.
pub(super) fn unexpected(seen: Seen) -> Result<(), Trouble> {
    use kinline_protocol::wire::server_frame::Body;
    match seen {
        Seen::Other {
            body: Body::Error(error),
            ..
        } => Err(Trouble::new(format!(
            "the relay refused: {}",
            error.sentence
        ))),
        _ => Ok(()),
    }
}

/// What came to a recipient, told by the stamps of its one sender.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// The number that comes next when nothing is missing.
    expected: u64,
    /// How many came for the first time.
    came: u64,
}

impl Arrivals {
    /// Takes one; whether it is new. One that came before, or after a later one, is not.
    pub(super) const fn take(&mut self, number: u64) -> bool {
        let new = number >= self.expected;
        if new {
            self.expected = number + 1;
            self.came += 1;
        }
        new
    }
}

async fn recipient(
    mut connection: Connection,
    acknowledge_after: Duration,
    tally: Rc<Tally>,
    between: Rc<Between>,
) -> Result<(), Trouble> {
    let mut arrivals = Arrivals::default();
    // What was delivered and is not acknowledged yet, and when it will be.
    let mut late: VecDeque<(Instant, u64)> = VecDeque::new();
    loop {
        if between
            .total
            .get()
            .is_some_and(|total| arrivals.came >= total)
            && late.is_empty()
        {
            // The last acknowledgement leaves, too.
            connection.flush().await?;
            return Ok(());
        }
        tokio::select! {
            turned = connection.turn() => turned?,
            () = between.ended.notified() => {}
            () = sleep_until(late.front().map_or_else(Instant::now, |(at, _)| *at)), if !late.is_empty() => {}
        }
        let mut through = None;
        while let Some(seen) = connection.next()? {
            if let Seen::Deliver { number, stamp } = seen {
                through = Some(number);
                if arrivals.take(stamp.number) {
                    tally.note_delivery(stamp.at_ns);
                } else {
                    count(&tally.doubled);
                }
            } else {
                unexpected(seen)?;
            }
        }
        match through {
            Some(through) if acknowledge_after.is_zero() => connection.put_acknowledgement(through),
            Some(through) => late.push_back((Instant::now() + acknowledge_after, through)),
            None => {}
        }
        let now = Instant::now();
        let mut due = None;
        while let Some((_, through)) = late.pop_front_if(|(at, _)| *at <= now) {
            due = Some(through);
        }
        if let Some(through) = due {
            connection.put_acknowledgement(through);
        }
    }
}

/// Runs a course of pairs over the relay at `dial`.
pub(super) async fn run(
    dial: &Dial,
    server: Process,
    course: Course,
    progress: &Progress,
) -> Result<Outcome, Trouble> {
    let tally = Rc::new(Tally::new());
    run_with(dial, server, course, Duration::ZERO, &tally, progress).await
}

/// The same, with recipients that acknowledge so much later, and counters that others may
/// look at; it ends when they set `stopped`.
pub(super) async fn run_with(
    dial: &Dial,
    server: Process,
    course: Course,
    acknowledge_after: Duration,
    tally: &Rc<Tally>,
    progress: &Progress,
) -> Result<Outcome, Trouble> {
    let mut rng = crate::random::os();
    let mut ready = Vec::new();
    for _ in 0..course.pairs {
        let (_, from) = attached(dial, &mut rng, RECIPIENT_WINDOW).await?;
        let (mailbox, to) = attached(dial, &mut rng, RECIPIENT_WINDOW).await?;
        let template = Template::new(mailbox.id, &mailbox.grant(), &mut rng);
        ready.push((from, to, template));
    }
    let mut tasks = JoinSet::new();
    for (index, (from, to, template)) in (0..).zip(ready) {
        let between = Rc::new(Between::default());
        let due = Due::of(course.pace, index, course.pairs, tally);
        tasks.spawn_local(sender(
            from,
            template,
            due,
            Rc::clone(tally),
            Rc::clone(&between),
        ));
        tasks.spawn_local(recipient(to, acknowledge_after, Rc::clone(tally), between));
    }
    conduct(course, tally, tasks, server, progress).await
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, Due, Pending};
    use crate::load::course::Pace;
    use crate::load::tally::Tally;

    #[test]
    fn what_comes_twice_or_too_late_is_not_new() {
        let mut arrivals = Arrivals::default();
        let new = [0, 1, 1, 0, 3, 2].map(|number| arrivals.take(number));
        assert_eq!(new, [true, true, false, false, true, false]);
        assert_eq!(arrivals.came, 3);
    }

    #[test]
    fn a_window_lets_so_many_through() {
        let due = Due::of(Pace::Window(2), 0, 1, &Tally::new());
        assert_eq!(due.at(5, 1, 77), Some(77));
        assert_eq!(due.at(5, 2, 77), None);
    }

    #[test]
    fn a_rate_keeps_its_moments_whatever_comes_back() {
        let due = Due::Every {
            interval_ns: 1_000.0,
            first_ns: 500.0,
        };
        assert_eq!(due.at(0, 0, 9), Some(500));
        assert_eq!(due.at(3, 900, 1 << 30), Some(3_500));
        assert_eq!(due.at(3, 1_024, 1 << 30), None);
    }

    #[test]
    fn answers_find_their_moment_in_any_order() {
        let mut pending = Pending::new();
        pending.put(1, 10);
        pending.put(2, 20);
        assert_eq!((pending.take(2), pending.take(1)), (20, 10));
    }
}
