//! What goes when its time is up, and the small housekeeping in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::relay::Shared;
use crate::storage::{Write, reply};
use crate::tripwire;

/// How often the day is looked at and idle mailboxes are forgotten.
const TICK: Duration = Duration::from_secs(30);

/// Runs until the relay stops: at the start, and whenever the day changes.
pub(crate) async fn run(shared: Arc<Shared>) {
    remove_orphans(&shared).await;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done = None;
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let today = shared.clock.day();
        if done != Some(today) {
            tripwire::tend(&shared, false).await;
            sweep(&shared).await;
            done = Some(today);
        }
        tripwire::tick(&shared);
        shared.mailboxes.sweep();
    }
}

/// Removes what expired before today.
pub(crate) async fn sweep(shared: &Shared) {
    let today = shared.clock.day();
    shared.mailboxes.keep_attached(today);
    for part in 0..=u8::MAX {
        let (done, expired) = reply();
        shared.storage.submit(Write::Expire { today, part, done });
        let Ok(expired) = expired.await else {
            tracing::warn!(
                "the retention could not run; it is tried again tomorrow or at the next start"
            );
            return;
        };
        shared.mailboxes.expired(&expired);
        for file in &expired.files {
            if let Err(error) = shared.blobs.remove(file, today).await {
                tracing::warn!(kind = %error.kind(), "an expired blob's file could not be removed");
            }
        }
    }
}

/// Removes files whose rows a crash or a deletion left behind.
async fn remove_orphans(shared: &Shared) {
    let names = match shared.blobs.names().await {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(kind = %error.kind(), "the folder of blobs could not be read");
            return;
        }
    };
    for name in names {
        if let Ok(false) = shared.storage.is_blob_file(name.clone()).await {
            let _ = shared.blobs.remove(&name, shared.clock.day()).await;
        }
    }
}
