//! One mailbox's envelopes: order, what is only in memory, what was delivered. No I/O.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kinline_protocol::ids::MessageId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::hold::HeldPlace;
use super::inbox::Inbox;
use super::waiter::{Outcome, Waiter};
use crate::storage::StoredEnvelope;

/// Message ids remembered after their envelopes were acknowledged, while the mailbox is in
/// use: a sender that lost our answer repeats its Send within seconds, not hundreds of
/// messages later.
const RECENT_MAX: usize = 256;
/// Repeated Sends that may wait for the same envelope.
const WAITERS_MAX: usize = 8;

/// What [`Queue::accept`] decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It is new and has this order.
    New(u64),
    /// It was accepted before; the waiter is or will be told.
    Known,
    /// The mailbox holds as many as it may.
    Full,
    /// Too many repetitions wait already.
    Busy,
}

/// An envelope on its way to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Its number on this connection, from one.
    pub(crate) number: u64,
    /// Names the sealed bytes.
    pub(crate) message: MessageId,
    /// The sealed bytes.
    pub(crate) body: Bytes,
}

/// What the connection should do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Nothing waits, or the window is used up.
    Nothing,
    /// Read at most `limit` stored envelopes with `after < order <= through` and hand them to [`Queue::read`].
    Read {
        /// The last order delivered.
        after: u64,
        /// The last order on disk.
        through: u64,
        /// Credit left, at most the page asked for.
        limit: u32,
    },
    /// Send these.
    Deliver(Vec<Delivered>),
}

/// An acknowledgement of what was not delivered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotDelivered;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In memory only, for a moment.
    Held,
    /// Handed to the writer.
    Submitted,
    /// Handed to the writer behind a commit slot: not delivered before that is durable.
    Gated,
}

struct Pending {
    order: u64,
    message: MessageId,
    body: Bytes,
    stage: Stage,
    /// Since when it is held; gone when it is not held any more.
    held: Option<(Instant, HeldPlace)>,
    waiters: Vec<Waiter>,
    /// Counts against the relay's memory; given back when dropped.
    _room: Option<OwnedSemaphorePermit>,
}

struct Reader {
    connection: u64,
    inbox: Arc<Inbox>,
    window: u32,
    /// The last order delivered.
    cursor: u64,
    next_number: u64,
    acknowledged: u64,
    /// Orders delivered and not acknowledged, in order.
    unacknowledged: VecDeque<u64>,
}

/// The queue of one mailbox.
pub(crate) struct Queue {
    /// All undelivered or unacknowledged envelopes, in order.
    live: VecDeque<(u64, MessageId)>,
    /// Ids of `live` and `recent`.
    ids: HashSet<MessageId>,
    recent: VecDeque<MessageId>,
    /// The end of `live` that the disk does not have yet. All its orders are above `stored_max`.
    pending: VecDeque<Pending>,
    next_order: u64,
    /// The highest order that the disk has.
    stored_max: u64,
    /// The highest order acknowledged: the disk may still have it, until its deletion is written.
    acknowledged_max: u64,
    /// Lowest and highest order that may be on disk or on the way there and were not deleted.
    on_disk: Option<(u64, u64)>,
    /// Writes submitted and not settled.
    in_flight: u32,
    reader: Option<Reader>,
    full_at: usize,
}

impl Queue {
    /// A queue over what the disk holds, in order.
    pub(crate) fn new(stored: Vec<(u64, MessageId)>, full_at: usize) -> Self {
        let on_disk = stored
            .first()
            .zip(stored.last())
            .map(|((first, _), (last, _))| (*first, *last));
        let last = on_disk.map_or(0, |(_, last)| last);
        Self {
            ids: stored.iter().map(|(_, message)| *message).collect(),
            live: stored.into(),
            recent: VecDeque::new(),
            pending: VecDeque::new(),
            next_order: last + 1,
            stored_max: last,
            acknowledged_max: 0,
            on_disk,
            in_flight: 0,
            reader: None,
            full_at,
        }
    }

    /// Envelopes that wait or are unacknowledged.
    pub(crate) fn waiting(&self) -> usize {
        self.live.len()
    }

    /// Whether the queue can be forgotten and read from the disk again.
    pub(crate) fn is_idle(&self) -> bool {
        self.reader.is_none() && self.pending.is_empty() && self.in_flight == 0
    }

    /// Whether a device is attached.
    pub(crate) const fn is_attached(&self) -> bool {
        self.reader.is_some()
    }

    /// Whether this connection is the attached one.
    pub(crate) fn is_attached_by(&self, connection: u64) -> bool {
        self.reader
            .as_ref()
            .is_some_and(|reader| reader.connection == connection)
    }

    /// The attached connection's inbox.
    pub(crate) fn inbox(&self) -> Option<&Arc<Inbox>> {
        self.reader.as_ref().map(|reader| &reader.inbox)
    }

    /// Takes an envelope at the end of the queue, held in memory. The first with a message id
    /// wins. The waiter is asked for only where it is told something: not when this says
    /// [`Acceptance::Full`] or [`Acceptance::Busy`].
    pub(crate) fn accept(
        &mut self,
        message: MessageId,
        body: Bytes,
        waiter: impl FnOnce() -> Waiter,
        room: Option<OwnedSemaphorePermit>,
    ) -> Acceptance {
        if self.ids.contains(&message) {
            return self.accept_again(message, waiter);
        }
        if self.live.len() >= self.full_at {
            return Acceptance::Full;
        }
        self.restart_when_empty();
        let order = self.next_order;
        self.next_order += 1;
        self.ids.insert(message);
        self.live.push_back((order, message));
        self.pending.push_back(Pending {
            order,
            message,
            body,
            stage: Stage::Held,
            held: None,
            waiters: vec![waiter()],
            _room: room,
        });
        Acceptance::New(order)
    }

    fn accept_again(&mut self, message: MessageId, waiter: impl FnOnce() -> Waiter) -> Acceptance {
        match self
            .pending
            .iter_mut()
            .find(|pending| pending.message == message)
        {
            Some(pending) if pending.waiters.len() >= WAITERS_MAX => Acceptance::Busy,
            Some(pending) => {
                pending.waiters.push(waiter());
                Acceptance::Known
            }
            None => {
                waiter().tell(Outcome::Stored);
                Acceptance::Known
            }
        }
    }

    /// Orders start at one again when nothing is left anywhere: the numbers on disk then say
    /// less about how much a mailbox received.
    fn restart_when_empty(&mut self) {
        let delivered = self
            .reader
            .as_ref()
            .is_some_and(|reader| !reader.unacknowledged.is_empty());
        let in_memory = !self.live.is_empty() || !self.pending.is_empty();
        if in_memory || delivered || self.on_disk.is_some() || self.in_flight > 0 {
            return;
        }
        self.next_order = 1;
        self.stored_max = 0;
        self.acknowledged_max = 0;
        if let Some(reader) = &mut self.reader {
            reader.cursor = 0;
        }
    }

    /// The envelope of this order is held from now on.
    pub(super) fn hold(&mut self, order: u64, now: Instant, place: HeldPlace) {
        if let Some(pending) = self.pending.back_mut().filter(|it| it.order == order) {
            pending.held = Some((now, place));
        }
    }

    /// Since when the oldest envelope that is held is.
    pub(crate) fn held_since(&self) -> Option<Instant> {
        let mut held = self.pending.iter().filter_map(|it| it.held.as_ref());
        held.next().map(|(since, _)| *since)
    }

    /// The last order that was held by then already; zero when none was. All before it were too.
    pub(crate) fn held_by(&self, then: Instant) -> u64 {
        let held = |it: &&Pending| it.held.as_ref().is_some_and(|(since, _)| *since <= then);
        self.pending
            .iter()
            .rev()
            .find(held)
            .map_or(0, |it| it.order)
    }

    /// Everything held up to and including `through`, now to be submitted as one write.
    /// Empty when there is nothing to submit; else [`Queue::settle`] must follow.
    pub(crate) fn submit_held(&mut self, through: u64) -> Vec<(u64, MessageId, Bytes)> {
        self.submit(through, Stage::Submitted)
    }

    /// [`Queue::submit_held`] behind a commit slot. Nothing may be held before it.
    pub(crate) fn submit_gated(&mut self, through: u64) -> Vec<(u64, MessageId, Bytes)> {
        self.submit(through, Stage::Gated)
    }

    fn submit(&mut self, through: u64, stage: Stage) -> Vec<(u64, MessageId, Bytes)> {
        let rows: Vec<_> = self
            .pending
            .iter_mut()
            .filter(|pending| pending.stage == Stage::Held && pending.order <= through)
            .map(|pending| {
                pending.stage = stage;
                pending.held = None;
                (pending.order, pending.message, pending.body.clone())
            })
            .collect();
        if let Some(((first, ..), (last, ..))) = rows.first().zip(rows.last()) {
            self.in_flight += 1;
            self.on_disk = Some(match self.on_disk {
                Some((lowest, highest)) => (lowest.min(*first), highest.max(*last)),
                None => (*first, *last),
            });
        }
        rows
    }

    /// A write of these orders ended. On anything but [`Outcome::Stored`] they are forgotten.
    pub(crate) fn settle(&mut self, orders: &[u64], outcome: Outcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        for order in orders {
            let Ok(place) = self
                .pending
                .binary_search_by_key(order, |pending| pending.order)
            else {
                continue; // acknowledged meanwhile
            };
            let Some(pending) = self.pending.remove(place) else {
                continue;
            };
            if outcome == Outcome::Stored {
                self.stored_max = self.stored_max.max(*order);
            } else {
                self.ids.remove(&pending.message);
                if let Ok(place) = self.live.binary_search_by_key(order, |(order, _)| *order) {
                    self.live.remove(place);
                }
            }
            for waiter in pending.waiters {
                waiter.tell(outcome);
            }
        }
    }

    /// A deletion was submitted or settled.
    pub(crate) const fn deletion(&mut self, submitted: bool) {
        if submitted {
            self.in_flight = self.in_flight.saturating_add(1);
        } else {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    /// Attaches a connection; returns the inbox of the one that it replaces.
    pub(crate) fn attach(
        &mut self,
        connection: u64,
        window: u32,
        inbox: Arc<Inbox>,
    ) -> Option<Arc<Inbox>> {
        let reader = Reader {
            connection,
            inbox,
            window,
            cursor: self.acknowledged_max,
            next_number: 1,
            acknowledged: 0,
            unacknowledged: VecDeque::new(),
        };
        self.reader.replace(reader).map(|old| old.inbox)
    }

    /// Detaches a connection, if it is still the attached one. What is held must then be submitted.
    pub(crate) fn detach(&mut self, connection: u64) -> bool {
        let mine = self.is_attached_by(connection);
        if mine {
            self.reader = None;
        }
        mine
    }

    /// Detaches whichever connection is attached and returns its inbox. What is held must
    /// then be submitted.
    pub(crate) fn end(&mut self) -> Option<Arc<Inbox>> {
        self.reader.take().map(|reader| reader.inbox)
    }

    /// What to deliver next to `connection`, at most `page` envelopes.
    pub(crate) fn take(&mut self, connection: u64, page: u32) -> Take {
        let Some(reader) = self
            .reader
            .as_mut()
            .filter(|reader| reader.connection == connection)
        else {
            return Take::Nothing;
        };
        let limit = reader.credit().min(page);
        if limit == 0 {
            return Take::Nothing;
        }
        if reader.cursor < self.stored_max {
            return Take::Read {
                after: reader.cursor,
                through: self.stored_max,
                limit,
            };
        }
        let start = self
            .pending
            .partition_point(|pending| pending.order <= reader.cursor);
        let delivered: Vec<_> = self
            .pending
            .iter()
            .skip(start)
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .take_while(|pending| pending.stage != Stage::Gated)
            .map(|pending| reader.deliver(pending.order, pending.message, pending.body.clone()))
            .collect();
        if delivered.is_empty() {
            Take::Nothing
        } else {
            Take::Deliver(delivered)
        }
    }

    /// Numbers the page read for [`Take::Read`].
    pub(crate) fn read(
        &mut self,
        connection: u64,
        through: u64,
        limit: u32,
        page: Vec<StoredEnvelope>,
    ) -> Vec<Delivered> {
        let Some(reader) = self
            .reader
            .as_mut()
            .filter(|reader| reader.connection == connection)
        else {
            return Vec::new();
        };
        let complete = page.len() < usize::try_from(limit).unwrap_or(usize::MAX);
        let last = page.last().map_or(0, |envelope| envelope.order);
        let delivered: Vec<_> = page
            .into_iter()
            .filter(|envelope| envelope.order > reader.cursor)
            .collect::<Vec<_>>()
            .into_iter()
            // What was damaged on disk is passed over: it goes with the next acknowledgement of
            // something behind it, and its sender sends it again when nobody confirms it.
            .filter_map(|envelope| Some((envelope.order, envelope.message, envelope.body?)))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(order, message, body)| reader.deliver(order, message, body))
            .collect();
        reader.cursor = reader.cursor.max(if complete { through } else { last });
        delivered
    }

    /// Takes an acknowledgement of everything up to delivery number `through`. Returns the
    /// order up to which the disk must now be cleaned.
    ///
    /// # Errors
    /// [`NotDelivered`] when `through` was not delivered on this connection.
    pub(crate) fn acknowledge(
        &mut self,
        connection: u64,
        through: u64,
    ) -> Result<Option<u64>, NotDelivered> {
        let Some(reader) = self
            .reader
            .as_mut()
            .filter(|reader| reader.connection == connection)
        else {
            return Ok(None); // replaced meanwhile: the next connection gets it again
        };
        if through >= reader.next_number {
            return Err(NotDelivered);
        }
        let mut last = None;
        while reader.acknowledged < through {
            reader.acknowledged += 1;
            last = reader.unacknowledged.pop_front().or(last);
        }
        let Some(last) = last else { return Ok(None) };
        self.acknowledged_max = last;
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.order <= last) {
            for waiter in pending.waiters {
                waiter.tell(Outcome::Stored);
            }
        }
        while let Some((_, message)) = self.live.pop_front_if(|(order, _)| *order <= last) {
            self.recent.push_back(message);
        }
        if self.pending.is_empty() {
            // Its first room is for four, more than most at rest have had at a time.
            self.pending = VecDeque::new();
        }
        while self.recent.len() > RECENT_MAX
            && let Some(message) = self.recent.pop_front()
        {
            self.ids.remove(&message);
        }
        match self.on_disk {
            Some((lowest, highest)) if lowest <= last => {
                self.on_disk = (highest > last).then_some((last + 1, highest));
                Ok(Some(last))
            }
            _ => Ok(None),
        }
    }

    /// Forgets which messages were acknowledged, and gives room back.
    pub(crate) fn rest(&mut self) {
        for message in std::mem::take(&mut self.recent) {
            self.ids.remove(&message);
        }
        self.ids.shrink_to_fit();
        self.live.shrink_to_fit();
        self.pending.shrink_to_fit();
    }

    /// The retention removed everything stored up to `through`.
    pub(crate) fn expire(&mut self, through: u64) {
        while let Some((_, message)) = self.live.pop_front_if(|(order, _)| *order <= through) {
            self.ids.remove(&message);
        }
    }
}

impl Reader {
    fn credit(&self) -> u32 {
        self.window
            .saturating_sub(u32::try_from(self.unacknowledged.len()).unwrap_or(u32::MAX))
    }

    fn deliver(&mut self, order: u64, message: MessageId, body: Bytes) -> Delivered {
        let number = self.next_number;
        self.next_number += 1;
        self.cursor = order;
        self.unacknowledged.push_back(order);
        Delivered {
            number,
            message,
            body,
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
