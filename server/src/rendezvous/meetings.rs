//! All open rendezvous.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kinline_protocol::ids::RendezvousId;
use kinline_protocol::limits;
use tokio::time::sleep;

use crate::errors::Refusal;
use crate::mailbox::{Arrival, Inbox};
use crate::sync::lock;

/// Rendezvous open at a time on the whole relay: each lasts ten minutes at most, so this is
/// some hundred thousand pairings a day.
const OPEN_MAX: usize = 1_024;
/// Bytes that wait for sides that did not join yet, over all rendezvous.
const WAITING_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// Again when the other side has read something.
const RETRY_MS: u32 = 250;

struct Side {
    connection: u64,
    inbox: Arc<Inbox>,
}

struct Meeting {
    serial: u64,
    opener: Side,
    joiner: Option<Side>,
    /// What the opener said before anybody joined.
    waiting: VecDeque<Bytes>,
}

#[derive(Default)]
struct State {
    open: HashMap<RendezvousId, Meeting>,
    waiting_bytes: usize,
    serial: u64,
}

/// The relay's meeting points.
#[derive(Clone, Default)]
pub(crate) struct Rendezvous(Arc<Mutex<State>>);

impl Rendezvous {
    /// Opens one for `seconds`; the same connection may repeat that.
    ///
    /// # Errors
    /// [`Refusal::Taken`], [`Refusal::NoRoom`].
    pub(crate) fn open(
        &self,
        id: RendezvousId,
        seconds: u32,
        connection: u64,
        inbox: &Arc<Inbox>,
    ) -> Result<(), Refusal> {
        let mut state = lock(&self.0);
        if let Some(meeting) = state.open.get(&id) {
            return if meeting.opener.connection == connection {
                Ok(())
            } else {
                Err(Refusal::Taken)
            };
        }
        if state.open.len() >= OPEN_MAX {
            return Err(Refusal::NoRoom);
        }
        state.serial += 1;
        let serial = state.serial;
        let opener = Side {
            connection,
            inbox: Arc::clone(inbox),
        };
        state.open.insert(
            id,
            Meeting {
                serial,
                opener,
                joiner: None,
                waiting: VecDeque::new(),
            },
        );
        drop(state);
        let all = self.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(u64::from(seconds))).await;
            all.expire(id, serial);
        });
        Ok(())
    }

    /// Joins one; only the first may. What the opener said already comes at once.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Taken`].
    pub(crate) fn join(
        &self,
        id: RendezvousId,
        connection: u64,
        inbox: &Arc<Inbox>,
    ) -> Result<(), Refusal> {
        let mut state = lock(&self.0);
        let meeting = state.open.get_mut(&id).ok_or(Refusal::NotFound)?;
        match &meeting.joiner {
            Some(joiner) if joiner.connection == connection => return Ok(()),
            Some(_) => return Err(Refusal::Taken),
            None if meeting.opener.connection == connection => return Err(Refusal::Taken),
            None => {}
        }
        meeting.joiner = Some(Side {
            connection,
            inbox: Arc::clone(inbox),
        });
        meeting.opener.inbox.put(Arrival::Joined(id));
        let waiting = std::mem::take(&mut meeting.waiting);
        state.waiting_bytes = state
            .waiting_bytes
            .saturating_sub(waiting.iter().map(Bytes::len).sum());
        for body in waiting {
            inbox.put(Arrival::Met(id, body));
        }
        Ok(())
    }

    /// Says something to the other side, or keeps it until somebody joins.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for a side that is none, [`Refusal::SlowDown`] when the other
    /// side has too much to read, [`Refusal::NoRoom`].
    pub(crate) fn put(
        &self,
        id: RendezvousId,
        connection: u64,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let body = Bytes::copy_from_slice(body);
        let mut guard = lock(&self.0);
        let state = &mut *guard;
        let meeting = state.open.get_mut(&id).ok_or(Refusal::NotFound)?;
        let other = match &meeting.joiner {
            Some(joiner) if joiner.connection == connection => Some(&meeting.opener),
            joiner if meeting.opener.connection == connection => joiner.as_ref(),
            _ => return Err(Refusal::NotFound),
        };
        if let Some(other) = other {
            let taken = other.inbox.put(Arrival::Met(id, body));
            return if taken {
                Ok(())
            } else {
                Err(Refusal::SlowDown {
                    retry_after_ms: RETRY_MS,
                })
            };
        }
        if meeting.waiting.len() >= limits::RENDEZVOUS_MESSAGES_MAX {
            return Err(Refusal::SlowDown {
                retry_after_ms: RETRY_MS,
            });
        }
        if state.waiting_bytes + body.len() > WAITING_BYTES_MAX {
            return Err(Refusal::NoRoom);
        }
        state.waiting_bytes += body.len();
        meeting.waiting.push_back(body);
        Ok(())
    }

    /// A side leaves: the rendezvous ends for the other one too.
    pub(crate) fn leave(&self, id: RendezvousId, connection: u64) {
        let side = |side: &Side| side.connection == connection;
        self.end(
            id,
            |meeting| side(&meeting.opener) || meeting.joiner.as_ref().is_some_and(side),
            Some(connection),
        );
    }

    /// Its time is up. Another one may have been opened under the same id since.
    fn expire(&self, id: RendezvousId, serial: u64) {
        self.end(id, |meeting| meeting.serial == serial, None);
    }

    fn end(&self, id: RendezvousId, which: impl FnOnce(&Meeting) -> bool, but: Option<u64>) {
        let mut state = lock(&self.0);
        if !state.open.get(&id).is_some_and(which) {
            return;
        }
        let Some(meeting) = state.open.remove(&id) else {
            return;
        };
        state.waiting_bytes = state
            .waiting_bytes
            .saturating_sub(meeting.waiting.iter().map(Bytes::len).sum());
        for side in std::iter::once(meeting.opener).chain(meeting.joiner) {
            if Some(side.connection) != but {
                side.inbox.put(Arrival::Ended(id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use kinline_protocol::ids::RendezvousId;
    use kinline_protocol::limits;

    use super::Rendezvous;
    use crate::errors::Refusal;
    use crate::mailbox::{Arrival, Inbox};

    const ID: RendezvousId = RendezvousId::new([1; 16]);

    fn inbox() -> Arc<Inbox> {
        Arc::new(Inbox::default())
    }

    #[tokio::test]
    async fn what_was_said_before_anybody_joined_comes_in_order() {
        let (all, opener, joiner) = (Rendezvous::default(), inbox(), inbox());
        all.open(ID, 60, 1, &opener).unwrap();
        all.put(ID, 1, b"one").unwrap();
        all.put(ID, 1, b"two").unwrap();
        all.join(ID, 2, &joiner).unwrap();
        assert_eq!(opener.next(), Ok(Some(Arrival::Joined(ID))));
        assert_eq!(joiner.next(), Ok(Some(Arrival::Met(ID, b"one"[..].into()))));
        assert_eq!(joiner.next(), Ok(Some(Arrival::Met(ID, b"two"[..].into()))));
        all.put(ID, 2, b"three").unwrap();
        assert_eq!(
            opener.next(),
            Ok(Some(Arrival::Met(ID, b"three"[..].into())))
        );
    }

    #[tokio::test]
    async fn one_joiner_only_and_strangers_see_nothing() {
        let (all, opener, joiner) = (Rendezvous::default(), inbox(), inbox());
        assert_eq!(all.join(ID, 2, &joiner), Err(Refusal::NotFound));
        all.open(ID, 60, 1, &opener).unwrap();
        assert_eq!(all.open(ID, 60, 3, &inbox()), Err(Refusal::Taken));
        assert_eq!(all.put(ID, 3, b"x"), Err(Refusal::NotFound));
        all.join(ID, 2, &joiner).unwrap();
        assert_eq!(all.join(ID, 3, &inbox()), Err(Refusal::Taken));
    }

    #[tokio::test]
    async fn a_side_that_does_not_read_is_not_waited_for() {
        let (all, opener, joiner) = (Rendezvous::default(), inbox(), inbox());
        all.open(ID, 60, 1, &opener).unwrap();
        all.join(ID, 2, &joiner).unwrap();
        for _ in 0..limits::RENDEZVOUS_MESSAGES_MAX {
            all.put(ID, 1, b"x").unwrap();
        }
        assert!(matches!(
            all.put(ID, 1, b"x"),
            Err(Refusal::SlowDown { .. })
        ));
        joiner.next().unwrap();
        all.put(ID, 1, b"x").unwrap();
    }

    #[tokio::test]
    async fn it_ends_for_both_when_its_time_is_up_and_for_the_other_when_one_leaves() {
        let (all, opener, joiner) = (Rendezvous::default(), inbox(), inbox());
        all.open(ID, 60, 1, &opener).unwrap();
        all.join(ID, 2, &joiner).unwrap();
        opener.next().unwrap();
        all.expire(ID, 1);
        assert_eq!(opener.next(), Ok(Some(Arrival::Ended(ID))));
        assert_eq!(joiner.next(), Ok(Some(Arrival::Ended(ID))));
        all.open(ID, 60, 1, &opener).unwrap();
        all.expire(ID, 1); // the first one's timer: not this one's
        all.join(ID, 2, &joiner).unwrap();
        all.leave(ID, 1);
        assert_eq!(joiner.next(), Ok(Some(Arrival::Ended(ID))));
        assert_eq!(all.put(ID, 2, b"x"), Err(Refusal::NotFound));
    }
}
