//! What the relay said, and when: the only thing that it is held to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kinline_protocol::ids::{MailboxId, MessageId, SlotToken};

/// One envelope on its way into one mailbox.
pub type Envelope = (MailboxId, MessageId);

/// Something that the relay said, or that a device got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The mailbox is open.
    Opened(MailboxId),
    /// It said ok to an envelope.
    Acknowledged(Envelope),
    /// An envelope reached its device, which acknowledges it after this was noted.
    Received(Envelope),
    /// An envelope came twice on one connection, or after it was acknowledged there.
    Twice(Envelope),
    /// An envelope came with bytes that nobody sent under its name.
    Damaged(Envelope),
    /// A slot is held by these bytes.
    Slot(SlotToken, Bytes),
    /// It refused an envelope together with its slot.
    Void(Envelope),
    /// The doomed grant is revoked.
    Revoked,
    /// Dora's mailbox is closed.
    Closed,
    /// So many bytes of a blob are durable.
    Durable(usize, u64),
    /// A blob is being deleted: from now on it may be gone.
    Deleting(usize),
    /// A blob is deleted.
    Deleted(usize),
}

/// Who sent an envelope, and as the how-manieth of its Sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Which sender.
    pub sender: usize,
    /// Its place among this sender's Sends.
    pub round: usize,
}

/// Everything that happened in one life of a relay.
#[derive(Debug, Clone, Default)]
pub struct Record {
    facts: Vec<(u64, Fact)>,
    /// Envelopes that were sent, whether or not they were answered.
    pub sent: BTreeMap<Envelope, Origin>,
}

/// Where several actors note what they hear.
#[derive(Debug, Clone, Default)]
pub struct Notebook(Arc<Mutex<Record>>);

impl Notebook {
    /// Notes a fact, now.
    ///
    /// # Panics
    /// When another actor panicked.
    pub fn note(&self, fact: Fact) {
        let mut record = self.0.lock().unwrap();
        // Under the lock, so that facts and times stand in one order.
        let at = now();
        record.facts.push((at, fact));
    }

    /// Notes that an envelope is about to be sent.
    ///
    /// # Panics
    /// As [`Self::note`].
    pub fn send(&self, envelope: Envelope, origin: Origin) {
        self.0
            .lock()
            .unwrap()
            .sent
            .entry(envelope)
            .or_insert(origin);
    }

    /// Everything noted so far.
    ///
    /// # Panics
    /// As [`Self::note`].
    #[must_use]
    pub fn record(&self) -> Record {
        self.0.lock().unwrap().clone()
    }
}

impl Record {
    /// What had happened before a moment, in nanoseconds since 1970.
    pub fn before(&self, moment: u64) -> impl Iterator<Item = &Fact> {
        self.facts
            .iter()
            .filter(move |(at, _)| *at < moment)
            .map(|(_, fact)| fact)
    }

    /// How many facts there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether nothing was said.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Adds a fact with its time; for tests of the oracle.
    pub fn add(&mut self, at: u64, fact: Fact) {
        self.facts.push((at, fact));
    }
}

/// Nanoseconds since 1970, by the clock that strace writes beside each call.
///
/// # Panics
/// When the clock stands before 1970.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}
