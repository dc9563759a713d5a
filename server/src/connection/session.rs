//! What one connection has proved and opened.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kinline_protocol::attach::{Challenge, NONCE_BYTES};
use kinline_protocol::ids::RendezvousId;
use kinline_protocol::limits;
use kinline_protocol::wire::{self, codec::FEATURES};

use crate::account::Talk;
use crate::errors::Refusal;
use crate::listener::Origin;
use crate::mailbox::{Inbox, Limiter, Mailbox, limiter};
use crate::random::{self, RandomError};
use crate::relay::Shared;

/// What a connection is for, from its first frame that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Nothing said yet.
    Undecided,
    /// Mailboxes.
    Mailbox,
    /// An account.
    Account,
}

/// The state of one connection; dropping it detaches and leaves every rendezvous.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    /// Tells connections of this process apart.
    pub(super) id: u64,
    pub(super) nonce: [u8; NONCE_BYTES],
    pub(super) inbox: Arc<Inbox>,
    pub(super) mailbox: Option<Arc<Mailbox>>,
    pub(super) rendezvous: Vec<RendezvousId>,
    /// What this connection is for.
    pub(super) side: Side,
    origin: Origin,
    /// What it said about an account.
    account: Option<Box<Talk>>,
    /// Entries of the operator's log when it said hello.
    pub(super) operator_log: u64,
    /// Deliveries that were acknowledged.
    pub(super) acknowledged: u64,
    /// Frames, while attached.
    pub(super) frames: Limiter,
    /// Frames, before that.
    pub(super) frames_unattached: Limiter,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, origin: Origin) -> Result<Self, RandomError> {
        let limits = &shared.limits;
        Ok(Self {
            id: shared.connections.fetch_add(1, Ordering::Relaxed),
            nonce: random::bytes()?,
            inbox: Arc::new(Inbox::default()),
            mailbox: None,
            rendezvous: Vec::new(),
            side: Side::Undecided,
            origin,
            account: None,
            operator_log: shared.operator.size(),
            acknowledged: 0,
            frames: limiter(limits.frames_per_second, limits.frames_burst),
            frames_unattached: limiter(
                limits.unattached_frames_per_second,
                limits.unattached_frames_burst,
            ),
            shared,
        })
    }

    pub(super) fn challenge(&self) -> Challenge<'_> {
        Challenge {
            server_name: &self.shared.server_name,
            nonce: &self.nonce,
        }
    }

    pub(super) fn attached(&self) -> Result<&Arc<Mailbox>, Refusal> {
        self.mailbox.as_ref().ok_or(Refusal::NotAttached)
    }

    /// What this connection said about an account, and what else such a frame needs.
    pub(super) fn talking(&mut self) -> (&Shared, &mut Talk) {
        let origin = self.origin;
        let talk = self
            .account
            .get_or_insert_with(|| Box::new(Talk::new(origin)));
        (&self.shared, talk)
    }

    pub(super) fn detach(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.detach(&*self.shared.storage, self.id);
        }
        for id in self.rendezvous.drain(..) {
            self.shared.rendezvous.leave(id, self.id);
        }
    }

    pub(super) fn hello(&self) -> wire::Hello {
        wire::Hello {
            nonce: self.nonce.to_vec().into(),
            server_name: self.shared.server_name.clone(),
            limits: Some(announced(&self.shared)),
            features: FEATURES.to_vec(),
            day: self.shared.clock.day().0,
            stretching: self.shared.accounts.announced(),
            operator_checkpoint: self.shared.operator.checkpoint(),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.detach();
    }
}

fn announced(shared: &Shared) -> wire::Limits {
    let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    wire::Limits {
        client_frame_bytes_max: number(limits::CLIENT_FRAME_BYTES_MAX),
        send_deliveries_max: number(limits::SEND_DELIVERIES_MAX),
        mailbox_envelopes_max: shared.limits.mailbox_envelopes,
        commit_bytes_max: number(limits::COMMIT_BYTES_MAX),
        signal_bytes_max: number(limits::SIGNAL_BYTES_MAX),
        blob_bytes_max: shared.limits.blob_bytes,
        mailbox_blob_bytes_per_day_max: shared.limits.blob_bytes_per_day,
        delivery_window_max: limits::DELIVERY_WINDOW_MAX,
        envelope_retention_days: limits::ENVELOPE_RETENTION_DAYS,
        commit_retention_days: limits::COMMIT_RETENTION_DAYS,
        blob_retention_days: limits::BLOB_RETENTION_DAYS,
        mailbox_idle_days: limits::MAILBOX_IDLE_DAYS,
        rendezvous_seconds_max: limits::RENDEZVOUS_SECONDS_MAX,
        rendezvous_message_bytes_max: number(limits::RENDEZVOUS_MESSAGE_BYTES_MAX),
    }
}
