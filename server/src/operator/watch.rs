//! Looks at the log's table: the operator's commands write to it beside the running relay.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::mailbox::Arrival;
use crate::relay::Shared;

/// How often the table is looked at: one read of one row.
const TICK: Duration = Duration::from_secs(1);

/// Runs until the relay stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let sound = look(&shared).await;
        if !sound && !failed {
            tracing::error!(
                "the operator's log in the database does not verify: what follows its last good entry is ignored"
            );
        }
        failed = !sound;
        shared.tripwire.tick();
    }
}

/// Takes over what was added, and tells everybody who is attached. `false` when it does not verify.
pub(crate) async fn look(shared: &Shared) -> bool {
    let before = shared.operator.size();
    loop {
        let rows = match shared.storage.operator_log(shared.operator.size()).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a read failed");
                break;
            }
        };
        if rows.is_empty() {
            break;
        }
        if shared.operator.take(&rows).is_err() {
            return false;
        }
    }
    if shared.operator.size() > before {
        let locked = shared.operator.lockdown.order().is_some();
        tracing::info!(locked, "the operator's log has grown");
        metrics::gauge!("kinline_locked_down").set(f64::from(u8::from(locked)));
        shared.mailboxes.tell_attached(&Arrival::OperatorNews);
    }
    true
}
