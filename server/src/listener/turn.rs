//! What a crowd does at once, one after the other.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

/// Waits for one of `turns`, and then for everybody else who is ready: what costs as much as many
/// messages (a handshake, a proof, an end) and is done by thousands at once when a network fails,
/// would keep the others waiting. The turn lasts as long as what is returned.
pub(crate) async fn turn(turns: &Semaphore) -> Option<SemaphorePermit<'_>> {
    let turn = turns.acquire().await.ok();
    yield_now().await;
    turn
}
