//! What others put before a connection: bounded, and never waited for.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use kinline_protocol::ids::RendezvousId;
use kinline_protocol::limits;
use tokio::sync::Notify;

use super::waiter::Outcome;
use crate::errors::Refusal;
use crate::sync::lock;

/// Ephemeral signals that may wait for a slow connection; more are dropped, as they may be.
const SIGNALS_MAX: usize = 32;
/// Short rendezvous notices ("joined", "closed"): two for each rendezvous of a connection.
const NOTICES_MAX: usize = 64;

/// Something for the connection to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// An ephemeral signal.
    Signal(Bytes),
    /// The other side joined.
    Joined(RendezvousId),
    /// A message of the other side.
    Met(RendezvousId, Bytes),
    /// The rendezvous ended.
    Ended(RendezvousId),
    /// The operator's log has grown.
    OperatorNews,
}

#[derive(Default)]
struct State {
    /// Request ids of Sends with what became of them; as many as the connection has open.
    answers: Vec<(u64, Outcome)>,
    arrivals: VecDeque<Arrival>,
    signals: usize,
    messages: usize,
    end: Option<Refusal>,
}

/// One connection's inbox.
#[derive(Default)]
pub(crate) struct Inbox {
    notify: Notify,
    state: Mutex<State>,
}

impl Inbox {
    /// Wakes the connection: something may wait in its mailbox.
    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Resolves when something may have arrived.
    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Puts something in. `false` when there is no room, and then it is dropped.
    pub(crate) fn put(&self, arrival: Arrival) -> bool {
        let mut state = lock(&self.state);
        let room = match &arrival {
            Arrival::Signal(_) => state.signals < SIGNALS_MAX,
            Arrival::Met(..) => state.messages < limits::RENDEZVOUS_MESSAGES_MAX,
            Arrival::Joined(_) | Arrival::Ended(_) | Arrival::OperatorNews => {
                state.arrivals.len() < NOTICES_MAX + SIGNALS_MAX
            }
        };
        if room {
            match &arrival {
                Arrival::Signal(_) => state.signals += 1,
                Arrival::Met(..) => state.messages += 1,
                Arrival::Joined(_) | Arrival::Ended(_) | Arrival::OperatorNews => {}
            }
            state.arrivals.push_back(arrival);
        }
        drop(state);
        self.wake();
        room
    }

    /// What became of a Send of this connection.
    pub(super) fn answered(&self, request_id: u64, outcome: Outcome) {
        lock(&self.state).answers.push((request_id, outcome));
        self.wake();
    }

    /// Takes what became of Sends, in place of what is in `answers`.
    pub(crate) fn take_answers(&self, answers: &mut Vec<(u64, Outcome)>) {
        answers.clear();
        std::mem::swap(&mut lock(&self.state).answers, answers);
    }

    /// Asks the connection to end.
    pub(crate) fn end(&self, reason: Refusal) {
        lock(&self.state).end.get_or_insert(reason);
        self.wake();
    }

    /// Takes the next arrival, or the reason to end.
    pub(crate) fn next(&self) -> Result<Option<Arrival>, Refusal> {
        let mut state = lock(&self.state);
        if let Some(reason) = &state.end {
            return Err(reason.clone());
        }
        let arrival = state.arrivals.pop_front();
        match &arrival {
            Some(Arrival::Signal(_)) => state.signals -= 1,
            Some(Arrival::Met(..)) => state.messages -= 1,
            _ => {}
        }
        Ok(arrival)
    }
}
