//! The connection: hello, opening the mailbox, attaching, and who waits for which answer.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::device::Engine;
use super::io::Event;
use super::sends::Rests;
use super::state::Cx;
use crate::attach::{self, Challenge, MailboxKeys, NONCE_BYTES};
use crate::day::Timestamp;
use crate::faults::{Fault, planted};
use crate::ids::{ConversationId, DeviceId, PassId};
use crate::limits;
use crate::wire::{
    self, ClientFrame, ErrorCode, Hello, ServerFrame, client_frame::Body as ClientBody,
    server_frame::Body as ServerBody,
};

/// Deliveries this device lets the relay have in flight.
const WINDOW: u32 = 64;
/// Wait before something that failed is tried again; doubled with each failure in a row.
const RETRY_MS: u64 = 2_000;
/// Doublings: 2 s, 4 s, … 256 s.
const RETRY_DOUBLINGS_MAX: u32 = 7;
/// What the relay said to wait is taken as read when it delivers nothing for so long: it may
/// have counted envelopes that expired before their turn.
const DRAIN_MS: u64 = 30_000;
/// Old contents and addresses are looked through so often.
const UPKEEP_MS: u64 = 3_600_000;
/// A gap is not given up sooner after catching up: first its sender is asked.
const GAP_AFTER_CATCHING_UP_MS: u64 = 120_000;

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
    /// By record.
    Revoke(Vec<u8>),
    /// By mailbox.
    Close(Bytes),
    RenewCloseKey,
    OperatorLog,
    EraseMailbox,
    Other,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Offline,
    Opening,
    Attaching,
    Attached,
    /// The relay miscounted, or has seen a newer store: nothing more is said or heard on
    /// this connection.
    Over,
}

/// What lasts as long as a connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    phase: Phase,
    nonce: Vec<u8>,
    next_request: u64,
    requests: BTreeMap<u64, Request>,
    /// Envelopes that waited at the attach and are not processed yet.
    waiting: u64,
    drain_by: Option<Timestamp>,
    /// Since when everything that waited is processed and every slot was seen empty.
    pub(super) caught_up_at: Option<Timestamp>,
    /// Sends on their way on this connection: the message ids in each, in order.
    pub(super) sent: BTreeMap<u64, Vec<Bytes>>,
    /// Sends that failed as a whole, and when they are tried again.
    pub(super) delayed: BTreeMap<u64, Timestamp>,
    /// Mailboxes that took nothing lately.
    pub(super) rests: Rests,
    /// The relay did not want to tell a slot: not before this.
    pub(super) slots_after: Option<Timestamp>,
    /// Grants that were said to be revoked.
    pub(super) revoked: std::collections::BTreeSet<Bytes>,
    pub(super) upkeep_at: Option<Timestamp>,
    /// It was asked to erase the mailbox: until when it is waited for.
    pub(super) erased_by: Option<Timestamp>,
    /// What the hello said of the operator's log.
    operator_checkpoint: Bytes,
    /// Requests refused in a row.
    failures: u32,
    /// Family devices without a key package here have been asked for one.
    pub(super) packages_asked: bool,
    /// Who asked for key packages and got one, and when.
    pub(super) packages_given: BTreeMap<(ConversationId, DeviceId), Timestamp>,
    /// Passes for which another family asked for key packages again and got some, and when.
    pub(super) passes_answered: BTreeMap<PassId, Timestamp>,
}

impl Session {
    pub(super) const fn is_attached(&self) -> bool {
        matches!(self.phase, Phase::Attached)
    }

    pub(super) const fn is_caught_up(&self) -> bool {
        self.caught_up_at.is_some()
    }

    pub(super) const fn is_drained(&self) -> bool {
        self.waiting == 0
    }

    pub(super) fn is_asking(&self, request: &Request) -> bool {
        self.requests.values().any(|asked| asked == request)
    }

    /// The nonce of this connection's hello.
    pub(super) fn nonce(&self) -> &[u8] {
        &self.nonce
    }

    /// Requests about mailboxes that the relay has not answered.
    pub(super) fn requests_of_mailboxes(&self) -> usize {
        let about = |asked: &&Request| matches!(asked, Request::Revoke(_) | Request::Close(_));
        self.requests.values().filter(about).count()
    }

    /// One more of what waited is processed.
    pub(super) fn processed(&mut self, now: Timestamp) {
        self.waiting = self.waiting.saturating_sub(1);
        self.drain_by = (self.waiting > 0).then(|| now.plus_ms(DRAIN_MS));
    }

    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// When to try again what was just refused.
    pub(super) fn retry_at(&mut self, now: Timestamp, asked_ms: u64) -> Timestamp {
        let wait = RETRY_MS << self.failures.min(RETRY_DOUBLINGS_MAX);
        self.failures = self.failures.saturating_add(1);
        now.plus_ms(wait.max(asked_ms))
    }

    fn deadline(&self) -> Option<Timestamp> {
        let delayed = self.delayed.values().min().copied();
        let upkeep = self.upkeep_at.filter(|_| self.is_caught_up());
        [
            self.drain_by,
            self.slots_after,
            upkeep,
            delayed,
            self.rests.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lets go of every wait that is over.
    fn tick(&mut self, now: Timestamp) {
        if self.drain_by.is_some_and(|at| at <= now) {
            self.waiting = 0;
            self.drain_by = None;
        }
        self.slots_after = self.slots_after.filter(|at| *at > now);
        self.delayed.retain(|_, at| *at > now);
    }
}

impl Engine {
    pub(super) fn request(&mut self, request: Request, body: ClientBody, cx: &mut Cx<'_>) {
        self.session.next_request += 1;
        let request_id = self.session.next_request;
        self.session.requests.insert(request_id, request);
        cx.out.frames.push(ClientFrame {
            request_id,
            critical: vec![],
            body: Some(body),
        });
    }

    pub(super) fn connected(&mut self, hello: Hello, cx: &mut Cx<'_>) {
        self.disconnected(cx);
        let name = self.relay.server_name();
        let known = hello.server_name == name || planted(Fault::ServerName);
        if !known || hello.nonce.len() != NONCE_BYTES {
            cx.event(Event::RelayError {
                code: ErrorCode::Denied,
                sentence: "the relay calls itself something else than the address that was dialled"
                    .into(),
            });
            self.hang_up(cx);
            return;
        }
        if self.is_erased() {
            return self.tell_erased(cx);
        }
        self.session.nonce = hello.nonce.to_vec();
        self.session.operator_checkpoint = hello.operator_checkpoint;
        self.operator_connected();
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
        let challenge = Challenge {
            server_name: &name,
            nonce: &self.session.nonce,
        };
        let signature = attach::sign_open(
            &authentication,
            &challenge,
            &self.mailbox,
            &keys,
            self.generation,
        );
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
        let challenge = Challenge {
            server_name: &name,
            nonce: &self.session.nonce,
        };
        let window = WINDOW.min(limits::DELIVERY_WINDOW_MAX);
        let key = Self::secret_key(&self.record.authentication_seed);
        let generation = self.generation;
        let signature = attach::sign_attach(&key, &challenge, &self.mailbox, generation, window);
        let attach = wire::Attach {
            mailbox: self.mailbox.to_bytes(),
            generation,
            window,
            signature: signature.to_vec().into(),
        };
        self.request(Request::Attach, ClientBody::Attach(attach), cx);
    }

    pub(super) fn disconnected(&mut self, cx: &mut Cx<'_>) {
        let next_request = self.session.next_request;
        self.session = Session {
            next_request,
            ..Session::default()
        };
        self.inbox = super::inbox::Inbox::default();
        self.transfers.disconnected();
        for room in self.rooms.values_mut() {
            room.disconnected();
        }
        for ask in self.asks.values_mut() {
            ask.again();
        }
        self.abandon_pairing(cx);
        self.abandon_meeting(cx);
    }

    /// Closes the connection, and hears nothing more of it.
    pub(super) fn hang_up(&mut self, cx: &mut Cx<'_>) {
        self.session.phase = Phase::Over;
        cx.out.close = true;
    }

    pub(super) fn frame(&mut self, frame: ServerFrame, cx: &mut Cx<'_>) {
        let Some(body) = frame.body else { return };
        if matches!(self.session.phase, Phase::Offline | Phase::Over) {
            return;
        }
        match body {
            ServerBody::Deliver(deliver) => self.delivered(deliver, cx),
            ServerBody::SignalDelivered(signal) => self.signal(&signal.body, cx),
            ServerBody::OperatorNews(news) if self.session.is_attached() => {
                self.checkpoint_heard(&news.checkpoint, cx);
            }
            ServerBody::RendezvousGot(got) if self.meets_at(&got.rendezvous) => {
                self.meeting_got(&got, cx);
            }
            ServerBody::RendezvousGot(got) => self.rendezvous_got(&got, cx),
            answer => {
                let request = self.session.requests.remove(&frame.request_id);
                self.answer(request, answer, cx);
            }
        }
    }

    fn answer(&mut self, request: Option<Request>, answer: ServerBody, cx: &mut Cx<'_>) {
        match (answer, request) {
            (ServerBody::Error(error), request) => self.refused(request, error, cx),
            (ServerBody::MailboxOpened(_), Some(Request::OpenMailbox)) => {
                self.record.mailbox_open = true;
                self.save_device(cx);
                self.attach(cx);
            }
            (ServerBody::Attached(attached), Some(Request::Attach)) => {
                self.session.phase = Phase::Attached;
                if !self.record.admission_code.is_empty() {
                    // Used, and known to be: until here the same mailbox is opened again with it.
                    self.record.admission_code.clear();
                    self.save_device(cx);
                }
                self.session.waiting = attached.waiting;
                self.session.drain_by = (attached.waiting > 0).then(|| cx.now.plus_ms(DRAIN_MS));
                self.resume_confirmations();
                cx.event(Event::Attached {
                    waiting: attached.waiting,
                });
                self.renew_close_key(cx);
                let checkpoint = core::mem::take(&mut self.session.operator_checkpoint);
                self.checkpoint_heard(&checkpoint, cx);
                self.join_rendezvous(cx);
            }
            (ServerBody::SendResult(result), Some(Request::Send(number))) => {
                self.send_answered(number, result, cx)
            }
            (ServerBody::CommitSlot(slot), Some(Request::FetchCommit(conversation, epoch))) => {
                self.slot_answered(conversation, epoch, &slot, cx);
            }
            (ServerBody::BlobCreated(created), Some(Request::CreateBlob(handle))) => {
                self.blob_created(handle, created.offset, cx);
            }
            (ServerBody::GrantRevoked(_), Some(Request::Revoke(id))) => self.grant_revoked(&id, cx),
            (ServerBody::MailboxClosed(_), Some(Request::Close(mailbox))) => {
                self.mailbox_closed(&mailbox, cx);
            }
            (ServerBody::CloseKeyRenewed(_), Some(Request::RenewCloseKey)) => {
                self.close_key_renewed(cx);
            }
            (ServerBody::OperatorLogPart(part), Some(Request::OperatorLog)) => {
                self.operator_log_part(&part, cx);
            }
            (ServerBody::MailboxErased(erased), Some(Request::EraseMailbox)) => {
                self.mailbox_erased(erased.backups_end_day, cx);
            }
            // The opener hears of the joiner unasked.
            (ServerBody::RendezvousReady(ready), _) if self.meets_at(&ready.rendezvous) => {
                self.meeting_ready(&ready, cx);
            }
            (ServerBody::RendezvousReady(ready), _) => self.rendezvous_ready(&ready, cx),
            // Answers that change nothing, and answers to nobody: a relay may say them, we need not listen.
            _ => {}
        }
    }

    fn refused(&mut self, request: Option<Request>, error: wire::Error, cx: &mut Cx<'_>) {
        let code = error.code();
        let after = u64::from(error.retry_after_ms);
        match (&request, code) {
            // It is gone already, or this relay does not do that.
            (Some(Request::EraseMailbox), code) if !is_passing(code) => {
                return self.mailbox_erased(0, cx);
            }
            // Not now: on another connection.
            (Some(Request::EraseMailbox), _) => self.hang_up(cx),
            (Some(Request::Attach), ErrorCode::Denied) if self.is_being_erased() => {
                return self.mailbox_erased(0, cx);
            }
            (Some(Request::Attach), ErrorCode::StaleGeneration) => {
                cx.event(Event::StaleStore);
                self.start_over(cx);
            }
            (Some(Request::Attach), ErrorCode::Denied) if !self.record.mailbox_proven => {
                // That it was opened may have been a lie: the next connection asks again.
                self.record.mailbox_open = false;
                match self.record.admission_code.is_empty() {
                    true => self.renew_own_admission(cx),
                    false => self.save_device(cx),
                }
            }
            (Some(Request::OpenMailbox), ErrorCode::Admission) => self.renew_own_admission(cx),
            (Some(Request::Send(number)), _) => self.send_refused(*number, after, cx),
            (Some(Request::CreateBlob(handle)), code) => {
                let goes_on = self.create_refused(*handle, code, after, cx);
                if goes_on {
                    return;
                }
            }
            (Some(Request::FetchCommit(id, epoch)), code) => {
                let at = self.session.retry_at(cx.now, after);
                self.session.slots_after = Some(at);
                if code == ErrorCode::Internal {
                    self.slot_failed(*id, *epoch, cx);
                }
            }
            (Some(request @ (Request::Revoke(_) | Request::Close(_))), code)
                if !is_passing(code) =>
            {
                self.mailbox_refused(request, cx);
            }
            (Some(Request::Rendezvous), _) if self.meeting.is_some() => {
                self.meeting_point_refused(code, cx);
                return;
            }
            (Some(Request::Rendezvous), _) => {
                let goes_on = self.meeting_refused(code, cx);
                if goes_on {
                    return;
                }
            }
            _ => {}
        }
        cx.event(Event::RelayError {
            code,
            sentence: error.sentence,
        });
        if error.closing || matches!(request, Some(Request::Attach | Request::OpenMailbox)) {
            self.hang_up(cx);
        }
    }

    // ---- time

    /// When the session wants a tick, if it stands.
    pub(super) fn session_deadline(&self) -> Option<Timestamp> {
        if !self.session.is_attached() {
            return None;
        }
        let transfers = [
            self.session.deadline(),
            self.transfers.deadline(),
            self.inbox.deadline(),
        ];
        let caught_up = [
            self.confirm_at,
            self.suspicion_deadline(),
            self.gap_deadline(),
            self.asks.values().map(super::receive::Ask::at).min(),
            self.past_deadline(),
            self.erasing_deadline(),
        ];
        let caught_up = caught_up
            .into_iter()
            .filter(|_| self.session.is_caught_up());
        transfers.into_iter().chain(caught_up).flatten().min()
    }

    pub(super) fn session_tick(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() {
            return;
        }
        self.session.tick(cx.now);
        self.transfers.tick(cx.now);
        if self.session.rests.tick(cx.now) {
            // A confirmation that was held back may be what finds out.
            self.confirm_at = Some(cx.now);
        }
        self.fetch_again(cx);
        self.follow_suspicions(cx);
        if self.session.upkeep_at.is_some_and(|at| at <= cx.now) {
            self.upkeep(cx);
        }
    }

    /// What has to be looked after now and then, and when a device has caught up.
    pub(super) fn upkeep(&mut self, cx: &mut Cx<'_>) {
        let wait = if self.has_lost_rooms() {
            super::reentry::ANSWER_MS
        } else {
            UPKEEP_MS
        };
        self.session.upkeep_at = Some(cx.now.plus_ms(wait));
        self.expire_outbox(cx);
        self.renew_addresses(cx);
        self.retry_void_slots();
        self.observe_clock(cx);
        self.keep_day(cx);
        self.erase_veiled(cx);
        self.ask_all_back(cx);
    }

    /// When a gap that began at `since` is given up: after an hour, and not before its sender
    /// could be asked on this connection.
    pub(super) fn gap_over(&self, since: u64) -> Option<Timestamp> {
        let asked = self.session.caught_up_at?.plus_ms(GAP_AFTER_CATCHING_UP_MS);
        (since > 0).then(|| Timestamp(since).plus_ms(limits::GAP_HOLD_MS).max(asked))
    }

    fn gap_deadline(&self) -> Option<Timestamp> {
        let peers = self.rooms.values().flat_map(|room| room.peers.values());
        peers
            .filter_map(|peer| self.gap_over(peer.gap_since_ms))
            .min()
    }
}

/// Whether the same request may succeed later.
const fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::SlowDown
            | ErrorCode::NoRoom
            | ErrorCode::ShuttingDown
            | ErrorCode::Internal
            | ErrorCode::LockedDown
    )
}
