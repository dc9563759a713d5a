//! The mailboxes in use, loaded when first needed and forgotten when idle.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;

use super::hold::Holds;
use super::state::{Mailbox, limiter};
use super::{Arrival, Queue};
use crate::storage::{Expired, ReadError, Storage};
use crate::sync::lock;

const SHARDS: usize = 64;
/// How long an unused mailbox stays loaded; with it goes the memory of recent message ids.
const IDLE: Duration = Duration::from_secs(600);

/// How mailboxes behave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MailboxLimits {
    /// Envelopes a mailbox holds.
    pub(crate) envelopes_max: u32,
    /// Deliveries into one mailbox per second, in the long run.
    pub(crate) deliveries_per_second: NonZeroU32,
    /// Deliveries into one mailbox at once.
    pub(crate) deliveries_burst: NonZeroU32,
    /// How long an envelope for an attached device waits for its acknowledgement before it is written.
    pub(crate) hold: Duration,
    /// Mailboxes kept loaded; above this, idle ones are forgotten at once.
    pub(crate) loaded_max: usize,
}

#[derive(Default)]
struct Shard {
    loaded: Mutex<HashMap<MailboxId, Arc<Mailbox>>>,
    /// Grows whenever something is forgotten: a load that began before starts over.
    forgotten: AtomicU64,
}

/// All mailboxes in use.
pub(crate) struct Mailboxes {
    shards: Vec<Shard>,
    hasher: RandomState,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) limits: MailboxLimits,
    pub(super) holds: Holds,
}

impl Mailboxes {
    /// None loaded yet.
    pub(crate) fn new(storage: Arc<dyn Storage>, limits: MailboxLimits, holds: Holds) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            storage,
            limits,
            holds,
        }
    }

    fn shard(&self, id: &MailboxId) -> Option<&Shard> {
        let hash = self.hasher.hash_one(id);
        let place = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        self.shards.get(place)
    }

    /// The mailbox, loaded if need be; `None` when there is no such mailbox.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) async fn load(&self, id: MailboxId) -> Result<Option<Arc<Mailbox>>, ReadError> {
        let Some(shard) = self.shard(&id) else {
            return Ok(None);
        };
        loop {
            if let Some(mailbox) = lock(&shard.loaded).get(&id) {
                return Ok(Some(Arc::clone(mailbox)));
            }
            let before = shard.forgotten.load(Ordering::SeqCst);
            let Some(row) = self.storage.mailbox(id).await? else {
                return Ok(None);
            };
            let stored = self.storage.stored(id).await?;
            let full_at = usize::try_from(self.limits.envelopes_max).unwrap_or(usize::MAX);
            let limiter = limiter(
                self.limits.deliveries_per_second,
                self.limits.deliveries_burst,
            );
            let fresh = Arc::new(Mailbox::new(id, &row, Queue::new(stored, full_at), limiter));
            let mut loaded = lock(&shard.loaded);
            if shard.forgotten.load(Ordering::SeqCst) == before {
                let mailbox = loaded.entry(id).or_insert(fresh);
                return Ok(Some(Arc::clone(mailbox)));
            }
        }
    }

    /// Forgets idle mailboxes.
    pub(crate) fn sweep(&self) {
        let count: usize = self
            .shards
            .iter()
            .map(|shard| lock(&shard.loaded).len())
            .sum();
        metrics::gauge!("kinline_mailboxes_loaded")
            .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        let idle = if count > self.limits.loaded_max {
            Duration::ZERO
        } else {
            IDLE
        };
        for shard in &self.shards {
            let mut loaded = lock(&shard.loaded);
            let before = loaded.len();
            // Whoever uses a mailbox holds a reference, taken under this lock.
            loaded.retain(|_, mailbox| {
                let used = Arc::strong_count(mailbox) > 1;
                !mailbox.is_idle(idle) || used
            });
            if loaded.len() < before {
                shard.forgotten.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Keeps every attached mailbox for another idle period.
    pub(crate) fn keep_attached(&self, today: Day) {
        for mailbox in self.all() {
            let mut inner = mailbox.lock();
            if inner.queue.is_attached() {
                mailbox.keep(&mut inner, &*self.storage, today);
            }
        }
    }

    /// Puts something before every connection that is attached.
    pub(crate) fn tell_attached(&self, arrival: &Arrival) {
        for mailbox in self.all() {
            if let Some(inbox) = mailbox.lock().queue.inbox() {
                inbox.put(arrival.clone());
            }
        }
    }

    /// Takes note of what the retention removed.
    pub(crate) fn expired(&self, expired: &Expired) {
        for (id, through) in &expired.envelopes {
            let Some(shard) = self.shard(id) else {
                continue;
            };
            if let Some(mailbox) = lock(&shard.loaded).get(id) {
                mailbox.lock().queue.expire(*through);
            }
        }
        for id in &expired.mailboxes {
            let Some(shard) = self.shard(id) else {
                continue;
            };
            let gone = lock(&shard.loaded).remove(id);
            shard.forgotten.fetch_add(1, Ordering::SeqCst);
            if let Some(mailbox) = gone {
                let mut inner = mailbox.lock();
                inner.closed = true;
                if let Some(inbox) = inner.queue.inbox() {
                    inbox.end(crate::errors::Refusal::Denied);
                }
            }
        }
    }

    fn all(&self) -> Vec<Arc<Mailbox>> {
        self.shards
            .iter()
            .flat_map(|shard| lock(&shard.loaded).values().cloned().collect::<Vec<_>>())
            .collect()
    }
}
