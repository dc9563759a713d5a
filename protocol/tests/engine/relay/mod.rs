//! A relay in one thread, without sockets or disk; it does what it is told to do wrong.

mod mailboxes;
mod meetings;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use kinline_protocol::grant::revocation_hash;
use kinline_protocol::wire::{
    self, ClientFrame, ErrorCode, ServerFrame, client_frame::Body as C, server_frame::Body as S,
};
use prost::Message as _;
use rand::RngExt;

use super::chaos::Chaos;
use super::world::Name;

/// Deliveries unacknowledged at a time.
const WINDOW: usize = 64;

/// A connection as the relay sees it.
#[derive(Default)]
pub(super) struct Connection {
    pub(super) mailbox: Option<Vec<u8>>,
    in_flight: VecDeque<(u64, Bytes)>,
    pub(super) next_number: u64,
}

/// An operator's log as the relay shows it.
#[derive(Default, Clone)]
pub(crate) struct OperatorView {
    pub(crate) entries: Vec<Bytes>,
    pub(crate) checkpoint: Bytes,
}

pub(crate) struct Relay {
    pub(crate) mailboxes: BTreeMap<Vec<u8>, VecDeque<(Bytes, Bytes)>>,
    pub(crate) slots: HashMap<Vec<u8>, Bytes>,
    pub(crate) blobs: HashMap<Vec<u8>, (Vec<u8>, Bytes)>,
    rendezvous: HashMap<Vec<u8>, (Name, Option<Name>)>,
    pub(super) connections: BTreeMap<Name, Connection>,
    generations: HashMap<Vec<u8>, u64>,
    pub(super) nonces: HashMap<Vec<u8>, Bytes>,
    /// Every envelope it ever took, and for which mailbox.
    pub(crate) seen: Vec<(Vec<u8>, Bytes, Bytes)>,
    /// Envelopes of sends whose offer came too late.
    pub(crate) late: Vec<(Vec<u8>, Bytes, Bytes)>,
    /// Deletes no blob, whoever asks.
    pub(crate) keeps_blobs: bool,
    /// Envelopes it drops silently although it says ok.
    pub(crate) drop_next: usize,
    /// Drops everything for this mailbox although it says ok.
    pub(crate) drop_for: Option<Vec<u8>>,
    pub(crate) full: Option<Vec<u8>>,
    /// Says of every grant for this mailbox that it was revoked.
    pub(crate) shut: Option<Vec<u8>>,
    /// As `shut`, for so many envelopes.
    pub(crate) shut_times: Option<(Vec<u8>, usize)>,
    /// Asks once to slow down with what goes to this mailbox.
    pub(crate) slow_once: Option<Vec<u8>>,
    /// Keeps what is for this mailbox to itself.
    pub(crate) paused: Option<Vec<u8>>,
    pub(crate) answer_sends: bool,
    /// Whether it says, and does, anything when a mailbox is to be erased.
    pub(crate) answer_erasures: bool,
    /// Sends of this device wait until `serve_held`.
    pub(crate) hold_sends_of: Option<Name>,
    pub(crate) held: Vec<(Name, u64, wire::Send)>,
    /// So many slot questions are answered with an error.
    pub(crate) refuse_slots: usize,
    /// So many offers that won are answered with a void winner.
    pub(crate) deny_wins: usize,
    /// … or with the offer itself, as if it were somebody else's.
    pub(crate) deny_by_name: bool,
    /// Codes and tickets that open one mailbox each; an open relay while `None`.
    pub(crate) admits: Option<Vec<String>>,
    /// So many blobs it takes before it wants a ticket, which makes room for ten; any number
    /// while `None`.
    pub(crate) free_blobs: Option<usize>,
    /// So many requests for room are answered with an error.
    pub(crate) refuse_blobs: usize,
    /// So many meeting points are said to be taken.
    pub(crate) take_next: usize,
    /// Every frame that it was ever told, while set.
    pub(crate) heard: Option<Vec<Vec<u8>>>,
    pub(crate) requests_served: usize,
    pub(crate) chaos: Option<Chaos>,
    /// Says to this device that every slot is empty.
    pub(crate) withholds_slots_from: Option<Name>,
    /// Slots that it can't read any more: it fails for look and offer alike.
    pub(crate) damaged_slots: HashSet<Vec<u8>>,
    /// Keeps a slot for each device, as if nobody else had offered anything.
    pub(crate) forks_slots: bool,
    /// Hashes of revoked grants.
    pub(crate) revoked: HashSet<[u8; 32]>,
    /// Closed mailboxes.
    pub(crate) closed: HashSet<Vec<u8>>,
    /// Refuses an older store instead of failing the test.
    pub(crate) knows_copies: bool,
    /// The operator's log, and what some devices are shown in its place.
    pub(crate) operator: OperatorView,
    pub(crate) operator_for: HashMap<Name, OperatorView>,
    /// Answers nobody who asks for it.
    pub(crate) withholds_operator_log: bool,
    /// What goes to devices.
    pub(crate) out: VecDeque<(Name, ServerFrame)>,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            mailboxes: BTreeMap::new(),
            slots: HashMap::new(),
            blobs: HashMap::new(),
            withholds_slots_from: None,
            damaged_slots: HashSet::new(),
            forks_slots: false,
            revoked: HashSet::new(),
            closed: HashSet::new(),
            knows_copies: false,
            rendezvous: HashMap::new(),
            connections: BTreeMap::new(),
            generations: HashMap::new(),
            nonces: HashMap::new(),
            seen: vec![],
            late: vec![],
            keeps_blobs: false,
            drop_next: 0,
            drop_for: None,
            full: None,
            shut: None,
            shut_times: None,
            slow_once: None,
            paused: None,
            answer_sends: true,
            answer_erasures: true,
            hold_sends_of: None,
            held: vec![],
            refuse_slots: 0,
            deny_wins: 0,
            deny_by_name: false,
            admits: None,
            free_blobs: None,
            refuse_blobs: 0,
            take_next: 0,
            heard: None,
            requests_served: 0,
            chaos: None,
            operator: OperatorView::default(),
            operator_for: HashMap::new(),
            withholds_operator_log: false,
            out: VecDeque::new(),
        }
    }
}

impl Relay {
    pub(crate) fn disconnect(&mut self, name: Name) {
        self.connections.remove(name);
        self.end_meetings(name);
        self.held.retain(|(of, _, _)| *of != name);
        self.out.retain(|(to, _)| *to != name);
    }

    pub(crate) fn operator_of(&self, name: Name) -> &OperatorView {
        self.operator_for.get(name).unwrap_or(&self.operator)
    }

    /// Tells everybody who is attached that the log has grown.
    pub(crate) fn operator_news(&mut self) {
        let attached = self.connections.iter().filter(|(_, c)| c.mailbox.is_some());
        let names: Vec<Name> = attached.map(|(name, _)| *name).collect();
        for name in names {
            let checkpoint = self.operator_of(name).checkpoint.clone();
            self.say(name, 0, S::OperatorNews(wire::OperatorNews { checkpoint }));
        }
    }

    pub(crate) fn mailbox_of(&self, name: Name) -> Option<&Vec<u8>> {
        self.connections.get(name)?.mailbox.as_ref()
    }

    pub(crate) fn say(&mut self, name: Name, request_id: u64, body: S) {
        self.out.push_back((
            name,
            ServerFrame {
                request_id,
                critical: vec![],
                body: Some(body),
            },
        ));
    }

    /// Uses up what lets a mailbox in.
    fn admits(&mut self, shown: &str) -> bool {
        let Some(good) = &mut self.admits else {
            return true;
        };
        let at = good.iter().position(|it| it == shown);
        at.map(|at| good.remove(at)).is_some()
    }

    pub(super) fn error(&mut self, name: Name, request_id: u64, code: ErrorCode) {
        let error = wire::Error {
            code: code.into(),
            sentence: "no".into(),
            ..wire::Error::default()
        };
        self.say(name, request_id, S::Error(error));
    }

    pub(super) fn strikes(&mut self, chance: impl Fn(&Chaos) -> u32) -> bool {
        let Some(chaos) = &mut self.chaos else {
            return false;
        };
        let chance = chance(chaos);
        chaos.strikes(chance)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.chaos
            .as_mut()
            .map_or(0, |chaos| chaos.rng.random_range(0..bound))
    }

    pub(crate) fn serve(&mut self, name: Name, frame: ClientFrame) {
        let id = frame.request_id;
        self.requests_served += 1;
        if let Some(heard) = &mut self.heard {
            heard.push(frame.encode_to_vec());
        }
        if self.strikes(|chaos| chaos.garbage) {
            self.babble(name);
        }
        let body = frame.body.unwrap();
        let asks = matches!(body, C::Send(_) | C::FetchCommit(_) | C::CreateBlob(_));
        if asks && self.strikes(|chaos| chaos.lie) {
            return self.lie(name, id, body);
        }
        match body {
            C::OpenMailbox(open) => {
                let is_new = !self.mailboxes.contains_key(open.mailbox.as_ref());
                if is_new && !self.admits(&open.admission_code) {
                    return self.error(name, id, ErrorCode::Admission);
                }
                self.mailboxes.entry(open.mailbox.to_vec()).or_default();
                self.say(name, id, S::MailboxOpened(wire::MailboxOpened {}));
            }
            C::Attach(attach) => self.attach(name, id, &attach),
            C::Acknowledge(acknowledge) => {
                self.saw_generation(name, acknowledge.generation);
                self.acknowledge(name, acknowledge.through);
            }
            C::Send(send) => {
                self.saw_generation(name, send.generation);
                let offers = send.commit.as_ref();
                if offers.is_some_and(|offer| self.damaged_slots.contains(offer.token.as_ref())) {
                    return self.error(name, id, ErrorCode::Internal);
                }
                if self.hold_sends_of == Some(name) {
                    self.held.push((name, id, send));
                } else {
                    self.send(name, id, send);
                }
            }
            C::FetchCommit(fetch) => {
                if self.refuse_slots > 0 {
                    self.refuse_slots -= 1;
                    return self.error(name, id, ErrorCode::SlowDown);
                }
                if self.damaged_slots.contains(fetch.token.as_ref()) {
                    return self.error(name, id, ErrorCode::Internal);
                }
                let sealed = self
                    .slots
                    .get(fetch.token.as_ref())
                    .filter(|_| self.withholds_slots_from != Some(name) && !self.forks_slots)
                    .cloned();
                let slot = wire::CommitSlot {
                    present: sealed.is_some(),
                    sealed: sealed.unwrap_or_default(),
                };
                self.say(name, id, S::CommitSlot(slot));
            }
            C::Signal(signal) => {
                for delivery in signal.deliveries {
                    let to = self
                        .connections
                        .iter()
                        .find(|(_, c)| c.mailbox.as_deref() == Some(&delivery.mailbox[..]));
                    if let Some(to) = to.map(|(name, _)| *name) {
                        self.say(
                            to,
                            0,
                            S::SignalDelivered(wire::SignalDelivered {
                                body: delivery.body,
                            }),
                        );
                    }
                }
            }
            C::CreateBlob(create) => {
                if self.refuse_blobs > 0 {
                    self.refuse_blobs -= 1;
                    return self.error(name, id, ErrorCode::Quota);
                }
                if let Some(free) = self.free_blobs {
                    let more = match free {
                        0 if create.ticket.is_empty() => None,
                        0 => self.admits(&create.ticket).then_some(10),
                        free => Some(free),
                    };
                    let Some(room) = more else {
                        let code = match create.ticket.is_empty() {
                            true => ErrorCode::Quota,
                            false => ErrorCode::Admission,
                        };
                        return self.error(name, id, code);
                    };
                    self.free_blobs = Some(room - 1);
                }
                let entry = self.blobs.entry(create.read_hash.to_vec());
                let (_, bytes) = entry.or_insert((create.owner_hash.to_vec(), Bytes::new()));
                let offset = bytes.len() as u64;
                self.say(
                    name,
                    id,
                    S::BlobCreated(wire::BlobCreated {
                        offset,
                        expires_day: 0,
                    }),
                );
            }
            C::RevokeGrant(revoke) => {
                self.revoked.insert(revocation_hash(&revoke.secret));
                self.say(name, id, S::GrantRevoked(wire::GrantRevoked {}));
            }
            C::CloseMailbox(close) => {
                let mailbox = close.mailbox.to_vec();
                if close.undo {
                    self.closed.remove(&mailbox);
                } else {
                    self.closed.insert(mailbox);
                }
                self.say(name, id, S::MailboxClosed(wire::MailboxClosed {}));
            }
            C::EraseMailbox(_) if !self.answer_erasures => {}
            C::EraseMailbox(_) => {
                let connection = self.connections.get_mut(name);
                if let Some(mailbox) = connection.and_then(|it| it.mailbox.take()) {
                    self.mailboxes.remove(&mailbox);
                    let backups_end_day = 20_900;
                    self.say(
                        name,
                        id,
                        S::MailboxErased(wire::MailboxErased { backups_end_day }),
                    );
                }
            }
            C::RenewCloseKey(_) => {
                self.say(name, id, S::CloseKeyRenewed(wire::CloseKeyRenewed {}));
            }
            C::FetchOperatorLog(_) if self.withholds_operator_log => {}
            C::FetchOperatorLog(fetch) => {
                let view = self.operator_of(name);
                let from = usize::try_from(fetch.from).unwrap_or(usize::MAX);
                let entries = view.entries.iter().skip(from).take(4).cloned().collect();
                let checkpoint = view.checkpoint.clone();
                let part = wire::OperatorLogPart {
                    entries,
                    checkpoint,
                };
                self.say(name, id, S::OperatorLogPart(part));
            }
            other => self.serve_meeting(name, id, other),
        }
    }

    fn saw_generation(&mut self, name: Name, generation: u64) {
        let mailbox = self.connections.get(name).and_then(|c| c.mailbox.clone());
        if let Some(mailbox) = mailbox {
            let seen = self.generations.entry(mailbox).or_default();
            *seen = (*seen).max(generation);
        }
    }

    fn attach(&mut self, name: Name, id: u64, attach: &wire::Attach) {
        if !self.mailboxes.contains_key(attach.mailbox.as_ref()) {
            return self.error(name, id, ErrorCode::Denied);
        }
        let seen = self.generations.entry(attach.mailbox.to_vec()).or_default();
        if attach.generation < *seen && self.knows_copies {
            return self.error(name, id, ErrorCode::StaleGeneration);
        }
        assert!(
            attach.generation >= *seen,
            "{name} attaches with an older store than the relay has seen"
        );
        *seen = attach.generation;
        // A second connection of the same mailbox ends the first.
        for connection in self.connections.values_mut() {
            if connection.mailbox.as_deref() == Some(&attach.mailbox[..]) {
                *connection = Connection::default();
            }
        }
        let mailbox = attach.mailbox.to_vec();
        let waiting = self.mailboxes[&mailbox].len() as u64;
        self.connections.insert(
            name,
            Connection {
                mailbox: Some(mailbox),
                in_flight: VecDeque::new(),
                next_number: 1,
            },
        );
        self.say(
            name,
            id,
            S::Attached(wire::Attached {
                waiting,
                window: 64,
            }),
        );
        self.deliver(name);
    }

    /// Keeps to itself which stores it has seen.
    pub(crate) fn forget_generations(&mut self) {
        self.generations.clear();
    }
}
