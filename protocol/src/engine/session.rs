//! The connection: hello, opening the mailbox, attaching, and who waits for which answer.

use std::collections::BTreeMap;

use super::device::Engine;
use super::io::Event;
use super::state::Cx;
use crate::attach::{self, Challenge, MailboxKeys, NONCE_BYTES};
use crate::day::Timestamp;
use crate::ids::ConversationId;
use crate::limits;
use crate::wire::{
    self, ClientFrame, ErrorCode, Hello, ServerFrame, client_frame::Body as ClientBody, server_frame::Body as ServerBody,
};

/// Deliveries this device lets the relay have in flight.
const WINDOW: u32 = 64;
/// Wait before something that failed is tried again.
const RETRY_MS: u64 = 2_000;

/// Who waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    OpenMailbox,
    Attach,
    Send(u64),
    /// The slot of a conversation, at this epoch.
    FetchCommit(ConversationId, u64),
    CreateBlob(super::io::BlobHandle),
    Rendezvous,
    Other,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Offline,
    Opening,
    Attaching,
    Attached,
    /// The relay has seen a newer store: nothing more is said on this connection.
    Refused,
}

/// What lasts as long as a connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    phase: Phase,
    nonce: Vec<u8>,
    next_request: u64,
    pub(super) requests: BTreeMap<u64, Request>,
    /// Envelopes that waited at the attach and are not processed yet.
    pub(super) waiting: u64,
    /// Everything that waited is processed and every slot was seen empty.
    pub(super) caught_up: bool,
    /// Sends on their way on this connection.
    pub(super) sent: std::collections::BTreeSet<u64>,
    /// Sends that the relay asked to repeat later.
    pub(super) delayed: std::collections::BTreeSet<u64>,
}

impl Session {
    pub(super) const fn is_attached(&self) -> bool {
        matches!(self.phase, Phase::Attached)
    }

    pub(super) fn retry(&mut self) {
        self.delayed.clear();
    }

    pub(super) fn is_asking(&self, request: &Request) -> bool {
        self.requests.values().any(|asked| asked == request)
    }
}

impl Engine {
    pub(super) fn request(&mut self, request: Request, body: ClientBody, cx: &mut Cx<'_>) {
        self.session.next_request += 1;
        let request_id = self.session.next_request;
        self.session.requests.insert(request_id, request);
        cx.out.frames.push(ClientFrame { request_id, critical: vec![], body: Some(body) });
    }

    /// Tries again in a moment.
    pub(super) fn retry_later(&mut self, after_ms: u64, cx: &Cx<'_>) {
        let at = cx.now.plus_ms(after_ms.max(RETRY_MS));
        self.retry_at = Some(self.retry_at.map_or(at, |old| old.min(at)));
    }

    pub(super) fn connected(&mut self, hello: Hello, cx: &mut Cx<'_>) {
        self.disconnected(cx);
        let name = self.relay.server_name();
        if hello.server_name != name || hello.nonce.len() != NONCE_BYTES {
            cx.event(Event::RelayError {
                code: ErrorCode::Denied,
                sentence: "the relay calls itself something else than the address that was dialled".into(),
            });
            cx.out.close = true;
            return;
        }
        self.session.nonce = hello.nonce.to_vec();
        if self.record.mailbox_open {
            self.attach(cx);
        } else {
            self.open_mailbox(cx);
        }
    }

    fn open_mailbox(&mut self, cx: &mut Cx<'_>) {
        self.session.phase = Phase::Opening;
        let authentication = Self::secret_key(&self.record.authentication_seed);
        let keys = MailboxKeys {
            authentication: authentication.public(),
            grant: Self::secret_key(&self.record.grant_seed).public(),
            close: Self::secret_key(&self.record.close_seed).public(),
        };
        let name = self.relay.server_name();
        let challenge = Challenge { server_name: &name, nonce: &self.session.nonce };
        let signature = attach::sign_open(&authentication, &challenge, &self.mailbox, &keys, self.generation);
        let open = wire::OpenMailbox {
            mailbox: self.mailbox.to_bytes(),
            authentication_key: keys.authentication.as_bytes().to_vec().into(),
            grant_key: keys.grant.as_bytes().to_vec().into(),
            close_key: keys.close.as_bytes().to_vec().into(),
            generation: self.generation,
            admission_code: self.record.admission_code.clone(),
            signature: signature.to_vec().into(),
        };
        self.request(Request::OpenMailbox, ClientBody::OpenMailbox(open), cx);
    }

    fn attach(&mut self, cx: &mut Cx<'_>) {
        self.session.phase = Phase::Attaching;
        let name = self.relay.server_name();
        let challenge = Challenge { server_name: &name, nonce: &self.session.nonce };
        let window = WINDOW.min(limits::DELIVERY_WINDOW_MAX);
        let key = Self::secret_key(&self.record.authentication_seed);
        let signature = attach::sign_attach(&key, &challenge, &self.mailbox, self.generation, window);
        let attach = wire::Attach {
            mailbox: self.mailbox.to_bytes(),
            generation: self.generation,
            window,
            signature: signature.to_vec().into(),
        };
        self.request(Request::Attach, ClientBody::Attach(attach), cx);
    }

    pub(super) fn disconnected(&mut self, cx: &mut Cx<'_>) {
        let next_request = self.session.next_request;
        self.session = Session { next_request, ..Session::default() };
        self.inbox = super::inbox::Inbox::default();
        self.transfers.restart();
        for room in self.rooms.values_mut() {
            room.synced = false;
        }
        self.retry_at = None;
        self.abandon_pairing(cx);
    }

    pub(super) fn frame(&mut self, frame: ServerFrame, cx: &mut Cx<'_>) {
        let request = self.session.requests.remove(&frame.request_id);
        let Some(body) = frame.body else { return };
        match (body, request) {
            (ServerBody::Deliver(deliver), _) => self.delivered(deliver, cx),
            (ServerBody::Error(error), request) => self.refused(request, error, cx),
            (ServerBody::MailboxOpened(_), Some(Request::OpenMailbox)) => {
                self.record.mailbox_open = true;
                self.record.admission_code.clear();
                self.save_device(cx);
                self.attach(cx);
            }
            (ServerBody::Attached(attached), Some(Request::Attach)) => {
                self.session.phase = Phase::Attached;
                self.session.waiting = attached.waiting;
                cx.event(Event::Attached { waiting: attached.waiting });
                self.join_rendezvous(cx);
            }
            (ServerBody::SendResult(result), Some(Request::Send(number))) => self.send_answered(number, result, cx),
            (ServerBody::CommitSlot(slot), Some(Request::FetchCommit(conversation, epoch))) => {
                self.slot_answered(conversation, epoch, slot, cx);
            }
            (ServerBody::BlobCreated(created), Some(Request::CreateBlob(handle))) => {
                self.blob_created(handle, created.offset, cx);
            }
            (ServerBody::SignalDelivered(signal), _) => self.signal(&signal.body, cx),
            (ServerBody::RendezvousReady(ready), _) => self.rendezvous_ready(&ready, cx),
            (ServerBody::RendezvousGot(got), _) => self.rendezvous_got(&got, cx),
            // Answers that change nothing, and answers to nobody: a relay may say them, we need not listen.
            _ => {}
        }
    }

    fn refused(&mut self, request: Option<Request>, error: wire::Error, cx: &mut Cx<'_>) {
        let code = error.code();
        let after = u64::from(error.retry_after_ms);
        match (&request, code) {
            (Some(Request::Attach), ErrorCode::StaleGeneration) => {
                self.session.phase = Phase::Refused;
                cx.event(Event::StaleStore);
            }
            (Some(Request::Send(number)), _) => {
                self.session.sent.remove(number);
                self.session.delayed.insert(*number);
                self.retry_later(after, cx);
            }
            (Some(Request::CreateBlob(handle)), _) => self.blob_refused(*handle, after, cx),
            (Some(Request::FetchCommit(..)), _) => self.retry_later(after, cx),
            (Some(Request::Rendezvous), _) => self.pairing_failed("the relay refused the pairing code's meeting point", cx),
            _ => {}
        }
        cx.event(Event::RelayError { code, sentence: error.sentence });
        if error.closing || matches!(request, Some(Request::Attach | Request::OpenMailbox)) {
            cx.out.close = true;
        }
    }

    /// When gaps are given up.
    pub(super) fn gap_deadline(&self) -> Option<Timestamp> {
        let since = self.rooms.values().flat_map(|room| room.peers.values()).map(|peer| peer.gap_since_ms);
        since.filter(|since| *since > 0).min().map(|since| Timestamp(since).plus_ms(limits::GAP_HOLD_MS))
    }
}
