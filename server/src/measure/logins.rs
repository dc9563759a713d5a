//! A relay's answers about accounts, without sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kinline_protocol::attach::Challenge;
use kinline_protocol::ids::AccountId;
use kinline_protocol::wire;

use crate::account::{self, Talk};
use crate::listener::Origin;
use crate::relay::{RunningRelay, Shared};

/// Asks each time from a network of its own, so that no budget of a network comes in between.
pub struct Logins {
    shared: Arc<Shared>,
    networks: AtomicU64,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Logins")
    }
}

/// A login whose first message was answered.
pub struct Begun {
    talk: Talk,
    /// The answer.
    pub answer: Vec<u8>,
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Begun")
    }
}

impl Logins {
    /// Of a running relay.
    #[must_use]
    pub fn of(relay: &RunningRelay) -> Self {
        Self {
            shared: relay.shared(),
            networks: AtomicU64::new(1),
        }
    }

    fn talk(&self) -> Talk {
        let network = self.networks.fetch_add(1, Ordering::Relaxed);
        Talk::new(Origin {
            network,
            region: network,
        })
    }

    /// The answer to a registration, and whether its record, which `record` makes of it, was kept.
    pub async fn register(
        &self,
        start: wire::RegisterStart,
        record: impl FnOnce(&[u8]) -> wire::RegisterFinish,
    ) -> bool {
        let mut talk = self.talk();
        let Ok(answer) = account::register_start(&self.shared, &mut talk, &start) else {
            return false;
        };
        let finish = record(&answer.message);
        account::register_finish(&self.shared, &mut talk, finish)
            .await
            .is_ok()
    }

    /// The answer to the first message of a login.
    pub async fn login(&self, start: &wire::LoginStart) -> Option<Begun> {
        let mut talk = self.talk();
        let answer = account::login_start(&self.shared, &mut talk, start).await;
        let answer = answer.ok()?.message.to_vec();
        Some(Begun { talk, answer })
    }

    /// Whether the last message of a login is a good one.
    pub async fn finish(&self, begun: &mut Begun, finish: &wire::LoginFinish) -> bool {
        account::login_finish(&self.shared, &mut begun.talk, finish)
            .await
            .is_ok()
    }

    /// Whether a vault is taken, on a connection whose nonce is this.
    pub async fn put(&self, nonce: &[u8], request: wire::PutVault) -> bool {
        let talk = self.talk();
        let challenge = Challenge {
            server_name: &self.shared.server_name,
            nonce,
        };
        account::put_vault(&self.shared, &talk, &challenge, request)
            .await
            .is_ok()
    }

    /// Counts a try as the answer to a login does, once more: what that answer would save that
    /// left it out.
    pub fn count_once_more(&self, account: &AccountId) {
        account::count_attempt(&self.shared, account);
    }
}
