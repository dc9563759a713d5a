//! What the liar lies about: a small relay in memory that does what PROTOCOL says.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
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
    mailbox: Option<Vec<u8>>,
    in_flight: VecDeque<(u64, Bytes)>,
    next_number: u64,
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
    /// Message id and envelope, by mailbox.
    pub mailboxes: BTreeMap<Vec<u8>, VecDeque<(Bytes, Bytes)>>,
    /// Sealed commits by token.
    pub slots: BTreeMap<Vec<u8>, Bytes>,
    /// Blobs by the hash of their read secret.
    pub blobs: HashMap<Vec<u8>, Blob>,
    meetings: BTreeMap<Vec<u8>, (Line, Option<Line>)>,
    lines: BTreeMap<Line, Connection>,
    /// What it has to say.
    pub out: VecDeque<(Line, ServerFrame)>,
}

impl Honest {
    /// A connection stands.
    pub fn connected(&mut self, line: Line) {
        self.lines.insert(line, Connection::default());
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
            let Some((opener, joiner)) = self.meetings.remove(&id) else {
                continue;
            };
            let other = if opener == line { joiner } else { Some(opener) };
            if let Some(other) = other.filter(|other| self.lines.contains_key(other)) {
                let got = wire::RendezvousGot {
                    rendezvous: id.into(),
                    closed: true,
                    ..wire::RendezvousGot::default()
                };
                self.say(other, 0, S::RendezvousGot(got));
            }
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
            C::OpenMailbox(open) => {
                self.mailboxes.entry(open.mailbox.to_vec()).or_default();
                self.say(line, id, S::MailboxOpened(wire::MailboxOpened {}));
            }
            C::Attach(attach) => self.attach(line, id, &attach),
            C::Acknowledge(acknowledge) => self.acknowledge(line, acknowledge.through),
            C::Send(send) => self.send(line, id, send),
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
            C::RevokeGrant(_) => self.say(line, id, S::GrantRevoked(wire::GrantRevoked {})),
            C::CloseMailbox(_) => self.say(line, id, S::MailboxClosed(wire::MailboxClosed {})),
            C::Ping(_) => self.say(line, id, S::Pong(wire::Pong {})),
            C::RendezvousOpen(_) | C::RendezvousJoin(_) | C::RendezvousPut(_) => {
                self.meet(line, id, body);
            }
        }
    }

    fn meet(&mut self, line: Line, id: u64, body: C) {
        match body {
            C::RendezvousOpen(open) => {
                self.meetings.insert(open.rendezvous.to_vec(), (line, None));
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
                meeting.1 = Some(line);
                let opener = meeting.0;
                let ready = wire::RendezvousReady {
                    rendezvous: join.rendezvous,
                    joined: true,
                };
                self.say(opener, 0, S::RendezvousReady(ready.clone()));
                self.say(line, id, S::RendezvousReady(ready));
            }
            C::RendezvousPut(put) => {
                let Some((opener, joiner)) = self.meetings.get(put.rendezvous.as_ref()).copied()
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
        // A second connection of the same mailbox ends the first.
        if let Some(before) = self.attached(&mailbox) {
            self.lines.insert(before, Connection::default());
        }
        let connection = Connection {
            mailbox: Some(mailbox),
            in_flight: VecDeque::new(),
            next_number: 1,
        };
        self.lines.insert(line, connection);
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
            let known = self.put(&delivery.mailbox, delivery.message_id, delivery.envelope);
            let status = if known {
                RecipientStatus::Ok
            } else {
                RecipientStatus::Gone
            };
            recipients.push(wire::RecipientAnswer {
                status: status.into(),
                retry_after_ms: 0,
            });
        }
        let result = wire::SendResult { recipients, commit };
        self.say(line, id, S::SendResult(result));
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
