//! Who waits for what becomes of an envelope.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::inbox::Inbox;

/// What became of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The device has it, or the disk has it.
    Stored,
    /// There was no room.
    NoRoom,
    /// Its commit slot was lost; nothing was stored.
    Lost,
    /// The database failed.
    Failed,
}

/// Who waits for an [`Outcome`].
pub(crate) enum Waiter {
    /// A Send of several parts, which is answered when the last of them is known.
    Part(oneshot::Sender<Outcome>),
    /// A Send of one envelope: the outcome is its whole answer, and goes straight to the
    /// connection it came from.
    Whole(WholeSend),
}

impl Waiter {
    /// Tells the outcome.
    pub(crate) fn tell(self, outcome: Outcome) {
        match self {
            Self::Part(part) => drop(part.send(outcome)),
            Self::Whole(mut whole) => whole.answer(outcome),
        }
    }
}

/// A Send of one envelope whose answer is outstanding. Dropped unanswered, it failed.
pub(crate) struct WholeSend {
    inbox: Option<Arc<Inbox>>,
    request_id: u64,
}

impl WholeSend {
    /// A Send that came as `request_id` through the connection with this inbox.
    pub(crate) const fn new(inbox: Arc<Inbox>, request_id: u64) -> Self {
        Self {
            inbox: Some(inbox),
            request_id,
        }
    }

    fn answer(&mut self, outcome: Outcome) {
        if let Some(inbox) = self.inbox.take() {
            inbox.answered(self.request_id, outcome);
        }
    }
}

impl Drop for WholeSend {
    fn drop(&mut self) {
        self.answer(Outcome::Failed);
    }
}
