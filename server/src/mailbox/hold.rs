//! Envelopes that were handed to an attached device wait here for its acknowledgement; those
//! that are not acknowledged in time are written.
//!
//! A mailbox is looked at when the oldest of what it holds is due, and then again for what it
//! holds by then: a busy one costs four looks a second, however much passes through it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicUsize};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::state::{Inner, Mailbox};
use crate::storage::Storage;

/// Mailboxes whose first look is not arranged yet: the task takes them as fast as they come.
const NEW_MAX: usize = 4_096;

/// A place among the envelopes that are held; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct HeldPlace(Arc<AtomicUsize>);

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, atomic::Ordering::Relaxed);
    }
}

/// When to look at a mailbox.
pub(crate) struct Look {
    at: Instant,
    mailbox: Arc<Mailbox>,
}

impl PartialEq for Look {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Look {}

impl PartialOrd for Look {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Look {
    /// The soonest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

/// What may be held, and how long.
pub(crate) struct Holds {
    time: Duration,
    held: Arc<AtomicUsize>,
    held_max: usize,
    new: mpsc::Sender<Look>,
}

impl Holds {
    /// Holds at most `held_max` envelopes of all mailboxes, each for at most `time`; none when
    /// that is zero. The other half is for [`hold`].
    pub(crate) fn new(time: Duration, held_max: usize) -> (Self, mpsc::Receiver<Look>) {
        let (new, looks) = mpsc::channel(NEW_MAX);
        let holds = Self {
            time,
            held: Arc::default(),
            held_max,
            new,
        };
        (holds, looks)
    }

    /// Holds the mailbox's newest envelope, of this order; false when there is no room for that.
    pub(super) fn hold(&self, mailbox: &Arc<Mailbox>, inner: &mut Inner, order: u64) -> bool {
        if self.time.is_zero() {
            return false;
        }
        let place = HeldPlace(Arc::clone(&self.held));
        // Counted before it is known whether there is room: given back below if not.
        if self.held.fetch_add(1, atomic::Ordering::Relaxed) >= self.held_max {
            return false;
        }
        let now = Instant::now();
        if !inner.is_looked_at {
            let look = Look {
                at: now + self.time,
                mailbox: Arc::clone(mailbox),
            };
            if self.new.try_send(look).is_err() {
                return false;
            }
            inner.is_looked_at = true;
        }
        inner.queue.hold(order, now, place);
        true
    }
}

/// Submits held envelopes when their `time` is up.
pub(crate) async fn hold(mut new: mpsc::Receiver<Look>, time: Duration, storage: Arc<dyn Storage>) {
    let mut looks: BinaryHeap<Look> = BinaryHeap::new();
    loop {
        let next = looks.peek().map(|look| look.at);
        let arrived = match next {
            None => new.recv().await,
            Some(at) => tokio::select! {
                arrived = new.recv() => arrived,
                () = sleep_until(at) => {
                    let now = Instant::now();
                    while looks.peek().is_some_and(|look| look.at <= now)
                        && let Some(Look { mailbox, .. }) = looks.pop()
                    {
                        if let Some(at) = mailbox.write_overdue(&*storage, now, time) {
                            looks.push(Look { at, mailbox });
                        }
                    }
                    continue;
                }
            },
        };
        match arrived {
            Some(look) => looks.push(look),
            // The relay is gone: whoever detached has written what it held.
            None => return,
        }
    }
}
