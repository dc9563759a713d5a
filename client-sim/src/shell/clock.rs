//! The device's clock: the machine's, plus an offset that a story may set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use kinline_protocol::day::Timestamp;

/// A clock that can be put forward, so that a test need not wait; clones share the offset.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    ahead_ms: Arc<AtomicU64>,
}

impl Clock {
    /// Now, as this device believes.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let machine = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let ms = u64::try_from(machine.as_millis()).unwrap_or(u64::MAX);
        Timestamp(ms).plus_ms(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Puts the clock forward. A running device notices through
    /// [`super::DeviceHandle::advance_clock`].
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }
}
