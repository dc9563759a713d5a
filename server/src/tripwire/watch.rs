//! Whether more leaves than acknowledged deliveries explain.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::lock;

/// What is compared, in milliseconds.
const WINDOW_MS: u64 = 60_000;
/// An envelope may be delivered twice, when a connection broke before it was acknowledged.
const DELIVERED_PER_ACKNOWLEDGED: u64 = 2;
/// Bytes of blobs that one acknowledged envelope explains: most bring none, a photo has some 300 KiB.
const BLOB_BYTES_PER_ACKNOWLEDGED: u64 = 1_024 * 1_024;

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// Envelopes.
    Envelopes,
    /// Bytes of blobs.
    Blobs,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    delivered: u64,
    acknowledged: u64,
    blob_bytes: u64,
}

#[derive(Default)]
struct Window {
    began: u64,
    at: Counts,
    /// Said in this window already.
    said: Vec<Excess>,
}

/// Counts what leaves and what is acknowledged. It names nobody: one count for the whole relay.
pub(crate) struct Watch {
    delivered: AtomicU64,
    acknowledged: AtomicU64,
    blob_bytes: AtomicU64,
    envelopes_max: u64,
    blob_bytes_max: u64,
    window: Mutex<Window>,
}

impl Watch {
    /// Nothing counted yet.
    pub(super) fn new(envelopes_max: u64, blob_bytes_max: u64) -> Self {
        Self {
            delivered: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            blob_bytes: AtomicU64::new(0),
            envelopes_max,
            blob_bytes_max,
            window: Mutex::default(),
        }
    }

    /// Envelopes left.
    pub(crate) fn delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
    }

    /// A device has confirmed envelopes.
    pub(crate) fn acknowledged(&self, count: u64) {
        self.acknowledged.fetch_add(count, Ordering::Relaxed);
    }

    /// Bytes of a blob leave.
    pub(crate) fn blob_bytes(&self, count: u64) {
        self.blob_bytes.fetch_add(count, Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        Counts {
            delivered: self.delivered.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            blob_bytes: self.blob_bytes.load(Ordering::Relaxed),
        }
    }

    /// What there is too much of since the window began, each once in a window. `now_ms` counts from
    /// anywhere and never goes back.
    pub(super) fn look(&self, now_ms: u64) -> Vec<Excess> {
        let counts = self.counts();
        let mut window = lock(&self.window);
        let acknowledged = counts.acknowledged.saturating_sub(window.at.acknowledged);
        let delivered = counts.delivered.saturating_sub(window.at.delivered);
        let blob_bytes = counts.blob_bytes.saturating_sub(window.at.blob_bytes);
        let envelopes_max = self
            .envelopes_max
            .saturating_add(acknowledged.saturating_mul(DELIVERED_PER_ACKNOWLEDGED));
        let blob_bytes_max = self
            .blob_bytes_max
            .saturating_add(acknowledged.saturating_mul(BLOB_BYTES_PER_ACKNOWLEDGED));
        let mut found = Vec::new();
        for (excess, is_there) in [
            (Excess::Envelopes, delivered > envelopes_max),
            (Excess::Blobs, blob_bytes > blob_bytes_max),
        ] {
            if is_there && !window.said.contains(&excess) {
                window.said.push(excess);
                found.push(excess);
            }
        }
        if now_ms.saturating_sub(window.began) >= WINDOW_MS {
            *window = Window {
                began: now_ms,
                at: counts,
                said: Vec::new(),
            };
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{Excess, WINDOW_MS, Watch};

    const NONE: [Excess; 0] = [];

    #[test]
    fn what_is_acknowledged_is_explained_however_much_it_is() {
        let watch = Watch::new(1_000, 1 << 30);
        for second in 0..600 {
            watch.delivered(5_000);
            watch.acknowledged(5_000);
            watch.blob_bytes(300 * 1_024 * 5_000);
            assert_eq!(watch.look(second * 1_000), NONE);
        }
    }

    #[test]
    fn what_leaves_and_is_not_is_told_once_a_minute() {
        let watch = Watch::new(1_000, 1 << 30);
        watch.delivered(1_000);
        assert_eq!(watch.look(1_000), NONE);
        watch.delivered(1);
        assert_eq!(watch.look(2_000), [Excess::Envelopes]);
        watch.delivered(1_000);
        assert_eq!(watch.look(3_000), NONE, "said already");
        assert_eq!(watch.look(WINDOW_MS), NONE);
        watch.delivered(1_001);
        watch.blob_bytes((1 << 30) + 1);
        assert_eq!(
            watch.look(WINDOW_MS + 1),
            [Excess::Envelopes, Excess::Blobs]
        );
    }

    #[test]
    fn a_little_in_every_minute_is_not_added_up() {
        let watch = Watch::new(1_000, 1 << 30);
        for minute in 1..100 {
            watch.delivered(900);
            assert_eq!(watch.look(minute * WINDOW_MS), NONE);
        }
    }
}
