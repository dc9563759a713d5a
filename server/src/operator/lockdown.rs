//! What a lockdown stops (PROTOCOL §16.5): logins, pairing, and reading in bulk. Ordinary messages go
//! on, and nothing that was acknowledged is lost: what is not handed out now waits.

use std::sync::atomic::{AtomicU64, Ordering};

use kinline_protocol::day::Day;
use kinline_protocol::limits;

use crate::errors::Refusal;

/// Envelopes that one mailbox is handed on one day of a lockdown: five times what a busy family's
/// device gets (400), a fifth of what a mailbox can hold.
const BULK_ENVELOPES_MAX: u32 = limits::MAILBOX_ENVELOPES_MAX / 5;
/// The largest blob that is handed out in a lockdown: 1 MiB is what words, welcomes and small
/// pictures need.
pub(crate) const BULK_BLOB_BYTES_MAX: u64 = 1_024 * 1_024;

/// Whether the relay is locked down.
#[derive(Debug, Default)]
pub(crate) struct Lockdown {
    /// The number of the log's entry that ordered it, and one; 0 when there is none.
    order: AtomicU64,
}

impl Lockdown {
    /// Takes what the log says.
    pub(super) fn set(&self, entry: Option<u64>) {
        let order = entry.map_or(0, |index| index.saturating_add(1));
        self.order.store(order, Ordering::SeqCst);
    }

    /// Tells lockdowns apart; `None` when there is none.
    pub(crate) fn order(&self) -> Option<u64> {
        Some(self.order.load(Ordering::SeqCst)).filter(|order| *order > 0)
    }

    /// For logins, pairing, and whatever else a lockdown stops.
    ///
    /// # Errors
    /// [`Refusal::LockedDown`] as long as the relay is locked down.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match self.order() {
            Some(_) => Err(Refusal::LockedDown),
            None => Ok(()),
        }
    }
}

/// What one mailbox was handed in a lockdown, today.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bulk {
    order: u64,
    day: u32,
    taken: u32,
}

impl Bulk {
    /// Takes up to `wanted` envelopes from what is left for today: how many.
    pub(crate) fn take(&mut self, order: u64, today: Day, wanted: u32) -> u32 {
        if (self.order, self.day) != (order, today.0) {
            *self = Self {
                order,
                day: today.0,
                taken: 0,
            };
        }
        let granted = wanted.min(BULK_ENVELOPES_MAX.saturating_sub(self.taken));
        self.taken = self.taken.saturating_add(granted);
        granted
    }

    /// Gives back what [`Self::take`] took for nothing.
    pub(crate) const fn give_back(&mut self, count: u32) {
        self.taken = self.taken.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::{BULK_ENVELOPES_MAX, Bulk, Lockdown};
    use crate::errors::Refusal;
    use kinline_protocol::day::Day;

    #[test]
    fn it_holds_until_it_is_lifted() {
        let lockdown = Lockdown::default();
        assert_eq!(lockdown.check(), Ok(()));
        lockdown.set(Some(0));
        assert_eq!(lockdown.check(), Err(Refusal::LockedDown));
        assert_eq!(lockdown.order(), Some(1));
        lockdown.set(None);
        assert_eq!(lockdown.check(), Ok(()));
    }

    #[test]
    fn so_much_in_bulk_and_no_more_each_day_of_each_lockdown() {
        let mut bulk = Bulk::default();
        assert_eq!(
            bulk.take(1, Day(7), BULK_ENVELOPES_MAX - 1),
            BULK_ENVELOPES_MAX - 1
        );
        assert_eq!(bulk.take(1, Day(7), 32), 1);
        assert_eq!(bulk.take(1, Day(7), 32), 0);
        bulk.give_back(1);
        assert_eq!(bulk.take(1, Day(7), 32), 1);
        assert_eq!(bulk.take(1, Day(8), 32), 32);
        assert_eq!(bulk.take(2, Day(8), u32::MAX), BULK_ENVELOPES_MAX);
    }
}
