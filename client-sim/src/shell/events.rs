//! The events of a device, kept so that several can read them and none is lost to a race.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinline_protocol::engine::io::Event;
use tokio::sync::watch;
use tokio::time::timeout;

use super::DeviceError;

/// Events kept for late readers; older ones go.
const EVENTS_MAX: usize = 8_192;

#[derive(Debug)]
struct Kept {
    events: VecDeque<Event>,
    /// Number of the first kept event.
    first: u64,
}

/// Writes events; readers follow by themselves.
#[derive(Debug)]
pub(super) struct EventLog {
    kept: Arc<Mutex<Kept>>,
    end: watch::Sender<u64>,
}

fn locked(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventLog {
    pub(super) fn new() -> Self {
        Self {
            kept: Arc::new(Mutex::new(Kept {
                events: VecDeque::new(),
                first: 0,
            })),
            end: watch::Sender::new(0),
        }
    }

    /// A reader that starts with the first event that is still kept.
    pub(super) fn reader(&self) -> EventReader {
        EventReader {
            kept: Arc::clone(&self.kept),
            end: self.end.subscribe(),
            next: 0,
            missed: 0,
        }
    }

    pub(super) fn append(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut kept = locked(&self.kept);
        for event in events {
            if kept.events.len() == EVENTS_MAX {
                kept.events.pop_front();
                kept.first += 1;
            }
            kept.events.push_back(event);
        }
        let end = kept.first + kept.events.len() as u64;
        drop(kept);
        self.end.send_replace(end);
    }
}

/// Reads a device's events in order, at its own pace.
#[derive(Debug, Clone)]
pub struct EventReader {
    kept: Arc<Mutex<Kept>>,
    end: watch::Receiver<u64>,
    next: u64,
    missed: u64,
}

impl EventReader {
    /// Passes over everything that happened so far.
    pub fn skip_to_now(&mut self) {
        let kept = locked(&self.kept);
        self.next = kept.first + kept.events.len() as u64;
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        let kept = locked(&self.kept);
        if self.next < kept.first {
            self.missed += kept.first - self.next;
            self.next = kept.first;
        }
        let at = usize::try_from(self.next - kept.first).ok()?;
        let event = kept.events.get(at)?.clone();
        drop(kept);
        self.next += 1;
        Some(event)
    }

    /// The next event; `None` when the device has stopped and all are read. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            self.end.mark_unchanged();
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            if self.end.changed().await.is_err() {
                return self.try_next();
            }
        }
    }

    /// Events that this reader was too slow for.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// Reads on until `wanted` says `Some`, at most for `within`.
    ///
    /// # Errors
    /// [`DeviceError::TimedOut`] naming `what`, [`DeviceError::Stopped`].
    pub async fn wait_for<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, DeviceError> {
        let search = async {
            while let Some(event) = self.next().await {
                if let Some(found) = wanted(&event) {
                    return Ok(found);
                }
            }
            Err(DeviceError::Stopped(format!("before {what}")))
        };
        match timeout(within, search).await {
            Ok(result) => result,
            Err(_) => Err(DeviceError::TimedOut {
                what: what.to_owned(),
                within,
                trouble: None,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use std::time::Duration;

    use kinline_protocol::engine::io::Event;

    use super::{EVENTS_MAX, EventLog};

    fn attached(waiting: u64) -> Event {
        Event::Attached { waiting }
    }

    #[tokio::test]
    async fn every_reader_sees_every_event_in_order() {
        let log = EventLog::new();
        let mut first = log.reader();
        log.append(vec![attached(0), attached(1)]);
        let mut second = log.reader();
        let mut third = log.reader();
        third.skip_to_now();
        log.append(vec![attached(2)]);
        for number in 0..3 {
            assert_eq!(first.next().await, Some(attached(number)));
            assert_eq!(second.next().await, Some(attached(number)));
        }
        assert_eq!(third.next().await, Some(attached(2)));
        assert_eq!(first.try_next(), None);
        drop(log);
        assert_eq!(first.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_reader_knows_what_it_missed() {
        let log = EventLog::new();
        let mut reader = log.reader();
        let many = EVENTS_MAX as u64 + 5;
        log.append((0..many).map(attached).collect());
        assert_eq!(reader.next().await, Some(attached(5)));
        assert_eq!(reader.missed(), 5);
    }

    #[tokio::test]
    async fn waiting_finds_what_came_before_and_what_comes_later() {
        let log = EventLog::new();
        let mut reader = log.reader();
        log.append(vec![attached(1)]);
        let long = Duration::from_secs(60);
        let seven = |event: &Event| (*event == attached(7)).then_some(7);
        let waiting = tokio::spawn(async move { reader.wait_for("seven", long, seven).await });
        tokio::task::yield_now().await;
        log.append(vec![attached(7)]);
        assert_eq!(waiting.await.unwrap().unwrap(), 7);
    }
}
