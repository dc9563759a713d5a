//! What the liar lies about: a small relay in memory that does what PROTOCOL says.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use kinline_protocol::attach::{
    Challenge, MailboxKeys, verify_close, verify_open, verify_renew_close_key,
};
use kinline_protocol::day::Day;
use kinline_protocol::grant::{GrantIn, revocation_hash};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::wire::{
    self, ClientFrame, ErrorCode, RecipientStatus, ServerFrame, client_frame::Body as C,
    server_frame::Body as S,
};

/// A connection, by the order in which they were made.
pub type Line = u64;

/// Deliveries unacknowledged at a time.
const WINDOW: usize = 64;

#[derive(Debug, Default)]
struct Connection {
    server_name: String,
    nonce: Bytes,
    mailbox: Option<Vec<u8>>,
    in_flight: VecDeque<(u64, Bytes)>,
    next_number: u64,
}

impl Connection {
    fn challenge(&self) -> Challenge<'_> {
        Challenge {
            server_name: &self.server_name,
            nonce: &self.nonce,
        }
    }

    /// It is nobody's any more.
    fn detach(&mut self) {
        self.mailbox = None;
        self.in_flight.clear();
        self.next_number = 0;
    }
}

/// A blob.
#[derive(Debug, Default, Clone)]
pub struct Blob {
    /// Who may upload it and delete it.
    pub owner_hash: Vec<u8>,
    /// Its bytes so far.
    pub bytes: Vec<u8>,
    /// Its full size.
    pub size: u64,
}

/// The relay.
#[derive(Debug, Default)]
pub struct Honest {
    /// Today, as days are counted on the wire.
    pub day: u32,
    /// Message id and envelope, by mailbox.
    pub mailboxes: BTreeMap<Vec<u8>, VecDeque<(Bytes, Bytes)>>,
    /// Sealed commits by token.
    pub slots: BTreeMap<Vec<u8>, Bytes>,
    /// Blobs by the hash of their read secret.
    pub blobs: HashMap<Vec<u8>, Blob>,
    /// Hashes of grants that were revoked.
    pub revoked: HashSet<[u8; 32]>,
    /// Mailboxes that are closed.
    pub closed: HashSet<Vec<u8>>,
    keys: BTreeMap<Vec<u8>, MailboxKeys>,
    generations: BTreeMap<Vec<u8>, u64>,
    meetings: BTreeMap<Vec<u8>, (Line, Option<Line>)>,
    lines: BTreeMap<Line, Connection>,
    /// What it has to say.
    pub out: VecDeque<(Line, ServerFrame)>,
}

impl Honest {
    /// A connection stands; what its hello said.
    pub fn connected(&mut self, line: Line, server_name: &str, nonce: &Bytes) {
        let connection = Connection {
            server_name: server_name.to_owned(),
            nonce: nonce.clone(),
            ..Connection::default()
        };
        self.lines.insert(line, connection);
    }

    /// A connection is gone.
    pub fn gone(&mut self, line: Line) {
        self.lines.remove(&line);
        self.out.retain(|(to, _)| *to != line);
        let ended: Vec<Vec<u8>> = self
            .meetings
            .iter()
            .filter(|(_, (opener, joiner))| *opener == line || *joiner == Some(line))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            self.end_meeting(line, &id);
        }
    }

    /// One side of a meeting leaves it.
    fn end_meeting(&mut self, line: Line, id: &[u8]) {
        let Some((opener, joiner)) = self.meetings.remove(id) else {
            return;
        };
        let other = if opener == line { joiner } else { Some(opener) };
        if let Some(other) = other.filter(|other| self.lines.contains_key(other)) {
            let got = wire::RendezvousGot {
                rendezvous: id.to_vec().into(),
                closed: true,
                ..wire::RendezvousGot::default()
            };
            self.say(other, 0, S::RendezvousGot(got));
        }
    }

    /// The mailbox that is attached there.
    #[must_use]
    pub fn mailbox_of(&self, line: Line) -> Option<&Vec<u8>> {
        self.lines.get(&line)?.mailbox.as_ref()
    }

    /// Says something.
    pub fn say(&mut self, line: Line, request_id: u64, body: S) {
        let frame = ServerFrame {
            request_id,
            critical: vec![],
            body: Some(body),
        };
        self.out.push_back((line, frame));
    }

    fn refuse(&mut self, line: Line, id: u64, code: ErrorCode) {
        let error = wire::Error {
            code: code.into(),
            sentence: "no".into(),
            ..wire::Error::default()
        };
        self.say(line, id, S::Error(error));
    }

    /// Does what a device asks for.
    pub fn serve(&mut self, line: Line, frame: ClientFrame) {
        let id = frame.request_id;
        let Some(body) = frame.body else { return };
        match body {
            C::OpenMailbox(open) => self.open(line, id, &open),
            C::Attach(attach) => self.attach(line, id, &attach),
            C::Acknowledge(acknowledge) => {
                self.saw_generation(line, acknowledge.generation);
                self.acknowledge(line, acknowledge.through);
            }
            C::Send(send) => {
                self.saw_generation(line, send.generation);
                self.send(line, id, send);
            }
            C::FetchCommit(fetch) => {
                let sealed = self.slots.get(fetch.token.as_ref()).cloned();
                let slot = wire::CommitSlot {
                    present: sealed.is_some(),
                    sealed: sealed.unwrap_or_default(),
                };
                self.say(line, id, S::CommitSlot(slot));
            }
            C::Signal(signal) => {
                for delivery in signal.deliveries {
                    if let Some(to) = self.attached(&delivery.mailbox) {
                        let body = delivery.body;
                        self.say(to, 0, S::SignalDelivered(wire::SignalDelivered { body }));
                    }
                }
            }
            C::CreateBlob(create) => {
                let blob = self
                    .blobs
                    .entry(create.read_hash.to_vec())
                    .or_insert_with(|| Blob {
                        owner_hash: create.owner_hash.to_vec(),
                        bytes: vec![],
                        size: create.size,
                    });
                let offset = blob.bytes.len() as u64;
                let created = wire::BlobCreated {
                    offset,
                    expires_day: 0,
                };
                self.say(line, id, S::BlobCreated(created));
            }
            C::RevokeGrant(revoke) => {
                self.revoked.insert(revocation_hash(&revoke.secret));
                self.say(line, id, S::GrantRevoked(wire::GrantRevoked {}));
            }
            C::CloseMailbox(close) => self.close(line, id, &close),
            C::RenewCloseKey(renew) => self.renew(line, id, &renew),
            C::RegisterStart(_)
            | C::RegisterFinish(_)
            | C::LoginStart(_)
            | C::LoginFinish(_)
            | C::DeleteAccount(_)
            | C::FetchVault(_)
            | C::PutVault(_)
            | C::DrawTickets(_)
            | C::FetchOperatorLog(_)
            | C::EraseMailbox(_) => {} // this relay has no accounts and no operator
            C::Ping(_) => self.say(line, id, S::Pong(wire::Pong {})),
            C::RendezvousOpen(_)
            | C::RendezvousJoin(_)
            | C::RendezvousPut(_)
            | C::RendezvousLeave(_) => {
                self.meet(line, id, body);
            }
        }
    }

    fn open(&mut self, line: Line, id: u64, open: &wire::OpenMailbox) {
        let key = |bytes: &Bytes| PublicKey::from_slice(bytes);
        let keys = key(&open.authentication_key)
            .zip(key(&open.grant_key))
            .zip(key(&open.close_key))
            .map(|((authentication, grant), close)| MailboxKeys {
                authentication,
                grant,
                close,
            });
        let mailbox = MailboxId::try_from(&open.mailbox).ok();
        let connection = self.lines.get(&line);
        let held = self.keys.get(open.mailbox.as_ref());
        let Some((keys, _)) = keys.zip(mailbox).filter(|(keys, mailbox)| {
            held.is_none_or(|held| held.authentication == keys.authentication)
                && connection.is_some_and(|connection| {
                    let challenge = connection.challenge();
                    let (generation, signature) = (open.generation, &open.signature);
                    verify_open(&challenge, mailbox, keys, generation, signature).is_ok()
                })
        }) else {
            return self.refuse(line, id, ErrorCode::Denied);
        };
        let mailbox = open.mailbox.to_vec();
        self.keys.entry(mailbox.clone()).or_insert(keys);
        self.mailboxes.entry(mailbox).or_default();
        self.say(line, id, S::MailboxOpened(wire::MailboxOpened {}));
    }

    fn close(&mut self, line: Line, id: u64, close: &wire::CloseMailbox) {
        let mailbox = close.mailbox.to_vec();
        let signed = self
            .keys
            .get(&mailbox)
            .zip(self.lines.get(&line))
            .zip(MailboxId::try_from(&close.mailbox).ok());
        let signed = signed.is_some_and(|((keys, connection), mailbox)| {
            let challenge = connection.challenge();
            verify_close(
                &keys.close,
                &challenge,
                &mailbox,
                close.undo,
                &close.signature,
            )
            .is_ok()
        });
        if !signed {
            return self.refuse(line, id, ErrorCode::Denied);
        }
        if close.undo {
            self.closed.remove(&mailbox);
        } else {
            if let Some(attached) = self.attached(&mailbox)
                && let Some(connection) = self.lines.get_mut(&attached)
            {
                connection.detach();
            }
            self.closed.insert(mailbox);
        }
        self.say(line, id, S::MailboxClosed(wire::MailboxClosed {}));
    }

    fn renew(&mut self, line: Line, id: u64, renew: &wire::RenewCloseKey) {
        let new = PublicKey::from_slice(&renew.close_key);
        let Some(connection) = self.lines.get(&line) else {
            return;
        };
        let keys = connection
            .mailbox
            .as_ref()
            .and_then(|mailbox| Some((mailbox, self.keys.get_mut(mailbox)?)));
        let Some(((mailbox, keys), new)) = keys.zip(new) else {
            return self.refuse(line, id, ErrorCode::Denied);
        };
        let named = MailboxId::try_from(mailbox.as_slice());
        let signed = named.is_ok_and(|mailbox| {
            let (key, challenge) = (keys.authentication, connection.challenge());
            verify_renew_close_key(&key, &challenge, &mailbox, &new, &renew.signature).is_ok()
        });
        if !signed {
            return self.refuse(line, id, ErrorCode::Denied);
        }
        keys.close = new;
        self.say(line, id, S::CloseKeyRenewed(wire::CloseKeyRenewed {}));
    }

    fn saw_generation(&mut self, line: Line, generation: u64) {
        if let Some(mailbox) = self.mailbox_of(line).cloned() {
            let seen = self.generations.entry(mailbox).or_default();
            *seen = (*seen).max(generation);
        }
    }

    fn meet(&mut self, line: Line, id: u64, body: C) {
        match body {
            C::RendezvousOpen(open) => {
                let held = self.meetings.get(open.rendezvous.as_ref());
                if held.is_some_and(|(opener, _)| *opener != line) {
                    return self.refuse(line, id, ErrorCode::Taken);
                }
                let meeting = self.meetings.entry(open.rendezvous.to_vec());
                meeting.or_insert((line, None));
                let ready = wire::RendezvousReady {
                    rendezvous: open.rendezvous,
                    joined: false,
                };
                self.say(line, id, S::RendezvousReady(ready));
            }
            C::RendezvousJoin(join) => {
                let Some(meeting) = self.meetings.get_mut(join.rendezvous.as_ref()) else {
                    return self.refuse(line, id, ErrorCode::NotFound);
                };
                let (opener, joiner) = *meeting;
                // Only the first may.
                if opener == line || joiner.is_some_and(|joiner| joiner != line) {
                    return self.refuse(line, id, ErrorCode::Taken);
                }
                meeting.1 = Some(line);
                let ready = wire::RendezvousReady {
                    rendezvous: join.rendezvous,
                    joined: true,
                };
                self.say(opener, 0, S::RendezvousReady(ready.clone()));
                self.say(line, id, S::RendezvousReady(ready));
            }
            C::RendezvousLeave(leave) => {
                let meeting = self.meetings.get(leave.rendezvous.as_ref());
                if meeting.is_some_and(|(opener, joiner)| *opener == line || *joiner == Some(line))
                {
                    self.end_meeting(line, &leave.rendezvous);
                }
            }
            C::RendezvousPut(put) => {
                let meeting = self.meetings.get(put.rendezvous.as_ref()).copied();
                let Some((opener, joiner)) =
                    meeting.filter(|(opener, joiner)| *opener == line || *joiner == Some(line))
                else {
                    return;
                };
                let other = if opener == line { joiner } else { Some(opener) };
                if let Some(other) = other {
                    let got = wire::RendezvousGot {
                        rendezvous: put.rendezvous,
                        body: put.body,
                        closed: false,
                    };
                    self.say(other, 0, S::RendezvousGot(got));
                }
            }
            _ => {}
        }
    }

    fn attached(&self, mailbox: &[u8]) -> Option<Line> {
        let mut lines = self.lines.iter();
        lines
            .find(|(_, connection)| connection.mailbox.as_deref() == Some(mailbox))
            .map(|(line, _)| *line)
    }

    fn attach(&mut self, line: Line, id: u64, attach: &wire::Attach) {
        let mailbox = attach.mailbox.to_vec();
        let Some(waiting) = self.mailboxes.get(&mailbox).map(VecDeque::len) else {
            return self.refuse(line, id, ErrorCode::Denied);
        };
        if self.closed.contains(&mailbox) {
            return self.refuse(line, id, ErrorCode::Denied);
        }
        let seen = self.generations.entry(mailbox.clone()).or_default();
        if attach.generation < *seen {
            return self.refuse(line, id, ErrorCode::StaleGeneration);
        }
        *seen = attach.generation;
        // A second connection of the same mailbox ends the first.
        if let Some(before) = self.attached(&mailbox)
            && let Some(before) = self.lines.get_mut(&before)
        {
            before.detach();
        }
        let Some(connection) = self.lines.get_mut(&line) else {
            return;
        };
        connection.detach();
        connection.mailbox = Some(mailbox);
        connection.next_number = 1;
        let attached = wire::Attached {
            waiting: waiting as u64,
            window: 64,
        };
        self.say(line, id, S::Attached(attached));
        self.deliver(line);
    }

    fn acknowledge(&mut self, line: Line, through: u64) {
        let Some(connection) = self.lines.get_mut(&line) else {
            return;
        };
        let mailbox = connection.mailbox.as_ref();
        let Some(mailbox) = mailbox.and_then(|mailbox| self.mailboxes.get_mut(mailbox)) else {
            return;
        };
        let mut done = HashSet::new();
        while connection
            .in_flight
            .front()
            .is_some_and(|(number, _)| *number <= through)
        {
            done.extend(connection.in_flight.pop_front().map(|(_, message)| message));
        }
        mailbox.retain(|(id, _)| !done.contains(id));
        self.deliver(line);
    }

    fn send(&mut self, line: Line, id: u64, send: wire::Send) {
        let mut commit = None;
        if let Some(offer) = send.commit {
            let held = self
                .slots
                .entry(offer.token.to_vec())
                .or_insert_with(|| offer.sealed.clone())
                .clone();
            let mine = held == offer.sealed;
            let winner = if mine { Bytes::new() } else { held };
            commit = Some(wire::CommitAnswer { mine, winner });
            if !mine {
                let result = wire::SendResult {
                    recipients: vec![],
                    commit,
                };
                return self.say(line, id, S::SendResult(result));
            }
        }
        let mut recipients = Vec::new();
        for delivery in send.deliveries {
            let status = match self.refusal(&delivery) {
                Some(status) => status,
                None if self.put(&delivery.mailbox, delivery.message_id, delivery.envelope) => {
                    RecipientStatus::Ok
                }
                None => RecipientStatus::Gone,
            };
            recipients.push(wire::RecipientAnswer {
                status: status.into(),
                retry_after_ms: 0,
            });
        }
        let result = wire::SendResult { recipients, commit };
        self.say(line, id, S::SendResult(result));
    }

    /// Why a delivery is not taken.
    fn refusal(&self, delivery: &wire::Delivery) -> Option<RecipientStatus> {
        if self.closed.contains(delivery.mailbox.as_ref()) {
            return Some(RecipientStatus::Gone);
        }
        // Where envelopes go that get lost nobody has keys.
        let keys = self.keys.get(delivery.mailbox.as_ref())?;
        let mailbox = MailboxId::try_from(&delivery.mailbox).ok()?;
        let good = GrantIn::parse(&delivery.grant).is_ok_and(|grant| {
            !self.revoked.contains(&grant.revocation_hash())
                && grant.verify(&keys.grant, &mailbox, Day(self.day)).is_ok()
        });
        (!good).then_some(RecipientStatus::Revoked)
    }

    /// Puts an envelope into a mailbox, unless it is there; false when there is no such mailbox.
    pub fn put(&mut self, mailbox: &[u8], message_id: Bytes, envelope: Bytes) -> bool {
        let Some(stored) = self.mailboxes.get_mut(mailbox) else {
            return false;
        };
        if !stored.iter().any(|(id, _)| *id == message_id) {
            stored.push_back((message_id, envelope));
        }
        if let Some(line) = self.attached(mailbox) {
            self.deliver(line);
        }
        true
    }

    fn deliver(&mut self, line: Line) {
        let Some(connection) = self.lines.get_mut(&line) else {
            return;
        };
        let of = connection.mailbox.as_ref();
        let Some(stored) = of.and_then(|mailbox| self.mailboxes.get(mailbox)) else {
            return;
        };
        let flying: HashSet<&Bytes> = connection.in_flight.iter().map(|(_, id)| id).collect();
        let room = WINDOW.saturating_sub(flying.len());
        let next: Vec<(Bytes, Bytes)> = stored
            .iter()
            .filter(|(id, _)| !flying.contains(id))
            .take(room)
            .cloned()
            .collect();
        for (message_id, envelope) in next {
            let number = connection.next_number;
            connection.next_number += 1;
            connection.in_flight.push_back((number, message_id.clone()));
            let deliver = wire::Deliver {
                number,
                message_id,
                envelope,
            };
            let frame = ServerFrame {
                request_id: 0,
                critical: vec![],
                body: Some(S::Deliver(deliver)),
            };
            self.out.push_back((line, frame));
        }
    }
}
