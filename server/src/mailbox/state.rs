//! A mailbox in use: its keys, its queue, and what is written about it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{InsufficientCapacity, Quota, RateLimiter};
use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::limits;
use kinline_protocol::primitives::sign::PublicKey;
use tokio::time::Instant;

use super::grants::Trusted;
use super::queue::Queue;
use super::waiter::Outcome;
use crate::operator::Bulk;
use crate::storage::{
    Accepted, Done, MailboxRow, NewEnvelope, RowWrite, Storage, Write, WriteError,
};
use crate::sync::lock;

/// A rate limiter over one thing.
pub(crate) type Limiter =
    RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// Makes a limiter of `burst` at once and `per_second` after that.
pub(crate) fn limiter(per_second: NonZeroU32, burst: NonZeroU32) -> Limiter {
    RateLimiter::direct_with_clock(
        Quota::per_second(per_second).allow_burst(burst),
        MonotonicClock,
    )
}

/// Takes `count` from a limiter, or says how many milliseconds to wait.
pub(crate) fn take(limiter: &Limiter, count: NonZeroU32) -> Result<(), u32> {
    match limiter.check_n(count) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(not_until)) => {
            let wait = not_until.wait_time_from(MonotonicClock.now());
            Err(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1))
        }
        // More than there ever is at once: then all that there is.
        Err(InsufficientCapacity(all)) => match NonZeroU32::new(all) {
            Some(all) if all < count => take(limiter, all),
            _ => Err(1_000),
        },
    }
}

/// How long a changed generation may stay unwritten.
const GENERATION_WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// A mailbox in use.
pub(crate) struct Mailbox {
    /// Its id.
    pub(crate) id: MailboxId,
    /// The key that attaches.
    pub(crate) authentication: PublicKey,
    /// The key that signs grants.
    pub(crate) grant: PublicKey,
    /// Nobody's.
    pub(crate) decoy: bool,
    /// Deliveries into it.
    limiter: Limiter,
    inner: Mutex<Inner>,
}

/// What changes about it.
pub(crate) struct Inner {
    /// Its envelopes.
    pub(crate) queue: Queue,
    /// Closed with its close key, or deleted.
    pub(crate) closed: bool,
    /// The key that closes, as the disk has it.
    pub(crate) close_key: PublicKey,
    generation: u64,
    generation_written: u64,
    generation_written_at: Instant,
    expires: Day,
    bytes_day: Day,
    bytes_used: u64,
    /// What tickets added to what there is that day.
    bytes_added: u64,
    /// The grant that was checked last: mostly the next one is the same.
    pub(super) trusted: Option<Box<Trusted>>,
    /// What was handed out in a lockdown.
    pub(crate) bulk: Bulk,
    /// Its held envelopes will be looked at.
    pub(super) is_looked_at: bool,
    /// Used since `used_at`: the clock is asked by the sweep alone.
    used: bool,
    used_at: Instant,
}

impl Mailbox {
    /// A mailbox as read from the disk.
    pub(crate) fn new(id: MailboxId, row: &MailboxRow, queue: Queue, limiter: Limiter) -> Self {
        let now = Instant::now();
        Self {
            id,
            authentication: row.keys.authentication,
            grant: row.keys.grant,
            decoy: row.decoy,
            limiter,
            inner: Mutex::new(Inner {
                queue,
                closed: row.closed,
                close_key: row.keys.close,
                generation: row.generation,
                generation_written: row.generation,
                generation_written_at: now,
                expires: row.expires,
                bytes_day: Day(0),
                bytes_used: 0,
                bytes_added: 0,
                trusted: None,
                bulk: Bulk::default(),
                is_looked_at: false,
                used: false,
                used_at: now,
            }),
        }
    }

    /// Counts one delivery; too many say in how many milliseconds to try again.
    pub(crate) fn slow_down(&self) -> Result<(), u32> {
        take(&self.limiter, NonZeroU32::MIN)
    }

    /// Takes the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = lock(&self.inner);
        inner.used = true;
        inner
    }

    /// Whether it can be forgotten: unused for `idle`, nothing of it in memory alone. Unused for
    /// so long, it keeps no memory of what it had, forgotten or not.
    pub(crate) fn is_idle(&self, idle: Duration) -> bool {
        let mut inner = lock(&self.inner);
        if std::mem::take(&mut inner.used) {
            inner.used_at = Instant::now();
        }
        let unused = inner.used_at.elapsed() >= idle;
        if unused {
            inner.queue.rest();
        }
        unused && inner.queue.is_idle() && inner.generation == inner.generation_written
    }

    /// Submits held envelopes up to `through`; under the mailbox's lock, so that writes keep their order.
    pub(crate) fn submit_held(
        self: &Arc<Self>,
        inner: &mut Inner,
        storage: &dyn Storage,
        through: u64,
    ) {
        let rows = inner.queue.submit_held(through);
        if rows.is_empty() {
            return;
        }
        let orders: Vec<u64> = rows.iter().map(|(order, ..)| *order).collect();
        let mailbox = Arc::clone(self);
        storage.submit(Write::Accept {
            slot: None,
            envelopes: new_envelopes(self.id, rows).collect(),
            done: Box::new(move |result| mailbox.settle(&orders, outcome(&result))),
        });
    }

    /// Submits what has been held for `time` by now; when to look again, if more is held.
    pub(super) fn write_overdue(
        self: &Arc<Self>,
        storage: &dyn Storage,
        now: Instant,
        time: Duration,
    ) -> Option<Instant> {
        let mut inner = lock(&self.inner);
        if let Some(then) = now.checked_sub(time) {
            let through = inner.queue.held_by(then);
            self.submit_held(&mut inner, storage, through);
        }
        let next = inner.queue.held_since().map(|since| since + time);
        inner.is_looked_at = next.is_some();
        next
    }

    /// A write of these orders ended.
    pub(crate) fn settle(&self, orders: &[u64], outcome: Outcome) {
        let mut inner = lock(&self.inner);
        inner.queue.settle(orders, outcome);
        if let Some(inbox) = inner.queue.inbox() {
            inbox.wake();
        }
    }

    /// Deletes stored envelopes up to `through`; under the mailbox's lock.
    pub(crate) fn submit_deletion(
        self: &Arc<Self>,
        inner: &mut Inner,
        storage: &dyn Storage,
        through: u64,
    ) {
        inner.queue.deletion(true);
        let mailbox = Arc::clone(self);
        storage.submit(Write::DeleteThrough {
            mailbox: self.id,
            through,
            done: Box::new(move |_| lock(&mailbox.inner).queue.deletion(false)),
        });
    }

    /// Writes generation, closing and last day; under the mailbox's lock.
    pub(crate) fn submit_state(
        self: &Arc<Self>,
        inner: &mut Inner,
        storage: &dyn Storage,
        done: Done<()>,
    ) {
        inner.generation_written = inner.generation;
        inner.generation_written_at = Instant::now();
        let mailbox = Arc::clone(self);
        storage.submit(Write::Row(RowWrite::PutMailbox {
            id: self.id,
            generation: inner.generation,
            closed: inner.closed,
            decoy: self.decoy,
            expires: inner.expires,
            done: Box::new(move |result| {
                if result.is_err() {
                    lock(&mailbox.inner).generation_written = 0;
                }
                done(result);
            }),
        }));
    }

    /// Writes another close key, which counts from when it is durable; under the mailbox's
    /// lock. `done` is told whether the mailbox is still there.
    pub(crate) fn submit_close_key(
        self: &Arc<Self>,
        storage: &dyn Storage,
        close: PublicKey,
        done: Done<bool>,
    ) {
        let mailbox = Arc::clone(self);
        storage.submit(Write::Row(RowWrite::PutKeys {
            id: self.id,
            keys: MailboxKeys {
                authentication: self.authentication,
                grant: self.grant,
                close,
            },
            done: Box::new(move |result| {
                if result == Ok(true) {
                    lock(&mailbox.inner).close_key = close;
                }
                done(result);
            }),
        }));
    }

    /// Takes note of a generation; written at most once a minute.
    pub(crate) fn note_generation(
        self: &Arc<Self>,
        inner: &mut Inner,
        storage: &dyn Storage,
        generation: u64,
    ) {
        inner.generation = inner.generation.max(generation);
        if inner.generation > inner.generation_written
            && inner.generation_written_at.elapsed() >= GENERATION_WRITE_INTERVAL
        {
            self.submit_state(inner, storage, Box::new(|_| {}));
        }
    }

    /// Writes the generation if it changed since it was written.
    pub(crate) fn flush_generation(self: &Arc<Self>, inner: &mut Inner, storage: &dyn Storage) {
        if inner.generation > inner.generation_written {
            self.submit_state(inner, storage, Box::new(|_| {}));
        }
    }

    /// An attached mailbox is kept for another idle period; written once a day.
    pub(crate) fn keep(self: &Arc<Self>, inner: &mut Inner, storage: &dyn Storage, today: Day) {
        let expires = today.plus(limits::MAILBOX_IDLE_DAYS);
        if !inner.closed && inner.expires < expires {
            inner.expires = expires;
            self.submit_state(inner, storage, Box::new(|_| {}));
        }
    }
}

impl Inner {
    /// The highest generation seen.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Sets closing and last day together.
    pub(crate) const fn set_closed(&mut self, closed: bool, expires: Day) {
        self.closed = closed;
        self.expires = expires;
    }

    /// Takes `bytes` from what the mailbox may upload today; `false` when that is used up.
    pub(crate) fn use_bytes(&mut self, today: Day, bytes: u64, max: u64) -> bool {
        self.begin_day(today);
        match self.bytes_used.checked_add(bytes) {
            Some(used) if used <= max.saturating_add(self.bytes_added) => {
                self.bytes_used = used;
                true
            }
            _ => false,
        }
    }

    fn begin_day(&mut self, today: Day) {
        if self.bytes_day != today {
            self.bytes_day = today;
            self.bytes_used = 0;
            self.bytes_added = 0;
        }
    }

    /// Adds to what the mailbox may upload today.
    pub(crate) fn add_bytes(&mut self, today: Day, bytes: u64) {
        self.begin_day(today);
        self.bytes_added = self.bytes_added.saturating_add(bytes);
    }

    /// Gives back what [`Inner::use_bytes`] took for nothing.
    pub(crate) fn give_back_bytes(&mut self, today: Day, bytes: u64) {
        if self.bytes_day == today {
            self.bytes_used = self.bytes_used.saturating_sub(bytes);
        }
    }
}

/// What the writer says, as what the sender hears.
pub(crate) const fn outcome(result: &Result<Accepted, WriteError>) -> Outcome {
    match result {
        Ok(Accepted::Stored) => Outcome::Stored,
        Ok(Accepted::Lost { .. }) => Outcome::Lost,
        Ok(Accepted::Damaged) => Outcome::Failed,
        Err(WriteError::NoRoom) => Outcome::NoRoom,
        Err(WriteError::Failed) => Outcome::Failed,
    }
}

/// Rows of the queue as rows of the storage.
pub(crate) fn new_envelopes(
    mailbox: MailboxId,
    rows: Vec<(u64, MessageId, Bytes)>,
) -> impl Iterator<Item = NewEnvelope> {
    rows.into_iter()
        .map(move |(order, message, body)| NewEnvelope {
            mailbox,
            order,
            message,
            body,
        })
}
