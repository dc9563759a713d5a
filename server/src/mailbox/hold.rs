//! Envelopes that were handed to an attached device wait here for its acknowledgement; those
//! that are not acknowledged in time are written.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::state::Mailbox;
use crate::storage::Storage;

/// One held envelope.
pub(crate) struct Held {
    /// When it must be on its way to the disk.
    pub(super) until: Instant,
    /// Its mailbox.
    pub(super) mailbox: Arc<Mailbox>,
    /// Its order.
    pub(super) order: u64,
}

/// Submits held envelopes when their time is up. All wait equally long, so that they come
/// in the order in which they are due.
pub(crate) async fn hold(mut held: mpsc::Receiver<Held>, storage: Arc<dyn Storage>) {
    while let Some(Held {
        until,
        mailbox,
        order,
    }) = held.recv().await
    {
        // Those that came within a millisecond are due together.
        if until > Instant::now() {
            sleep_until(until).await;
        }
        let mut inner = mailbox.lock();
        mailbox.submit_held(&mut inner, &*storage, order);
    }
}
