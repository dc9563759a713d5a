//! A relay and devices in one thread without sockets, files or clocks: what the engine
//! needs to be told, and what it says, step by step.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use kinline_protocol::blob::{owner_hash, read_hash};
use kinline_protocol::content::Body;
use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::io::{
    Command, Event, FetchOutcome, Input, MemberRole, Output, RecordClass, RecordKey, UploadOutcome, UploadSource,
};
use kinline_protocol::engine::view::{self, MessageView};
use kinline_protocol::engine::{Engine, Setup};
use kinline_protocol::ids::ConversationId;
use kinline_protocol::limits;
use kinline_protocol::wire::{
    self, ClientFrame, ServerFrame, client_frame::Body as C, server_frame::Body as S,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

pub(crate) type Name = &'static str;

pub(crate) struct Device {
    pub(crate) engine: Engine,
    pub(crate) store: BTreeMap<RecordKey, Vec<u8>>,
    pub(crate) online: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) files: HashMap<[u8; 16], Bytes>,
    pub(crate) mailbox: Option<Vec<u8>>,
    /// Delivery numbers in flight: number -> message id.
    in_flight: VecDeque<(u64, Bytes)>,
    pub(crate) next_number: u64,
    inputs: VecDeque<Input>,
}

#[derive(Default)]
pub(crate) struct Relay {
    pub(crate) mailboxes: HashMap<Vec<u8>, VecDeque<(Bytes, Bytes)>>,
    pub(crate) slots: HashMap<Vec<u8>, Bytes>,
    pub(crate) blobs: HashMap<Vec<u8>, (Vec<u8>, Bytes)>,
    rendezvous: HashMap<Vec<u8>, (Name, Option<Name>)>,
    /// Envelopes this relay drops silently although it says ok.
    pub(crate) drop_next: usize,
    pub(crate) full: Option<Vec<u8>>,
    pub(crate) answer_sends: bool,
}

pub(crate) struct World {
    pub(crate) devices: BTreeMap<Name, Device>,
    pub(crate) relay: Relay,
    pub(crate) now: Timestamp,
    pub(crate) rng: ChaCha20Rng,
}

const ADDRESS: &str = "wss://localhost:1#pin=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

impl World {
    pub(crate) fn new() -> Self {
        let seed = std::env::var("KINLINE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_u64);
        println!("KINLINE_SEED={seed}");
        Self {
            devices: BTreeMap::new(),
            relay: Relay { answer_sends: true, ..Relay::default() },
            now: Timestamp(1_800_000_000_000),
            rng: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    pub(crate) fn add(&mut self, name: Name) {
        let setup =
            Setup { relay: ADDRESS.parse().unwrap(), device_name: name.into(), admission_code: String::new() };
        let (engine, output) = Engine::create(setup, self.now, &mut self.rng).unwrap();
        let device = Device {
            engine,
            store: BTreeMap::new(),
            online: false,
            events: vec![],
            files: HashMap::new(),
            mailbox: None,
            in_flight: VecDeque::new(),
            next_number: 1,
            inputs: VecDeque::new(),
        };
        self.devices.insert(name, device);
        self.carry_out(name, output);
    }

    pub(crate) fn device(&mut self, name: Name) -> &mut Device {
        self.devices.get_mut(name).unwrap()
    }

    pub(crate) fn connect(&mut self, name: Name) {
        let device = self.device(name);
        device.online = true;
        device.next_number = 1;
        let server_name = device.engine.relay().server_name();
        let hello = wire::Hello { nonce: vec![7; 32].into(), server_name, ..wire::Hello::default() };
        device.inputs.push_back(Input::Connected(hello));
        self.run();
    }

    pub(crate) fn disconnect(&mut self, name: Name) {
        self.drop_connection(name);
        self.device(name).inputs.push_back(Input::Disconnected);
        self.run();
    }

    fn drop_connection(&mut self, name: Name) {
        let device = self.device(name);
        device.online = false;
        device.mailbox = None;
        device.in_flight.clear();
        device.inputs.clear();
    }

    /// The process dies and comes back from its store; offline.
    pub(crate) fn restart(&mut self, name: Name) {
        self.drop_connection(name);
        let device = self.device(name);
        let state = device.store.iter().filter(|(key, _)| key.class == RecordClass::State);
        device.engine = Engine::load(state.map(|(key, value)| (key.name.clone(), value.clone()))).unwrap();
    }

    pub(crate) fn command(&mut self, name: Name, command: Command) {
        self.try_command(name, command).unwrap();
    }

    pub(crate) fn try_command(
        &mut self,
        name: Name,
        command: Command,
    ) -> Result<(), kinline_protocol::engine::CommandError> {
        let now = self.now;
        let output = self.devices.get_mut(name).unwrap().engine.command(command, now, &mut self.rng)?;
        self.carry_out(name, output);
        self.run();
        Ok(())
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        let names: Vec<Name> = self.devices.keys().copied().collect();
        for name in names {
            let due = self.device(name).engine.deadline().is_some_and(|at| at <= self.now);
            if due {
                self.device(name).inputs.push_back(Input::Tick);
            }
        }
        self.run();
    }

    /// Until nothing more happens, time passing in small steps.
    pub(crate) fn settle(&mut self) {
        for _ in 0..40 {
            self.pass(3_000);
        }
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..100_000 {
            let next = self.devices.iter_mut().find_map(|(name, device)| Some((*name, device.inputs.pop_front()?)));
            let Some((name, input)) = next else { return };
            let now = self.now;
            let output = self.devices.get_mut(name).unwrap().engine.input(input, now, &mut self.rng);
            self.carry_out(name, output);
        }
        panic!("the devices never come to rest");
    }

    fn carry_out(&mut self, name: Name, output: Output) {
        let device = self.device(name);
        for (key, value) in output.changes.records {
            match value {
                Some(value) => device.store.insert(key, value),
                None => device.store.remove(&key),
            };
        }
        device.events.extend(output.events);
        for upload in output.uploads {
            let bytes = match upload.source {
                UploadSource::Bytes(bytes) => bytes,
                UploadSource::File => self.device(name).files[&upload.handle].clone(),
            };
            assert_eq!(bytes.len() as u64, upload.size);
            let owner = owner_hash(upload.owner_secret.expose()).to_vec();
            let blob = self.relay.blobs.values_mut().find(|(o, _)| *o == owner).unwrap();
            blob.1 = bytes;
            self.device(name).inputs.push_back(Input::Uploaded { handle: upload.handle, outcome: UploadOutcome::Done });
        }
        for fetch in output.fetches {
            let found = self.relay.blobs.get(read_hash(fetch.read_secret.expose()).as_slice());
            let outcome = found.map_or(FetchOutcome::NotFound, |(_, bytes)| FetchOutcome::Got(bytes.clone()));
            self.device(name).inputs.push_back(Input::Fetched { read_secret: fetch.read_secret, outcome });
        }
        for secret in output.blob_deletions {
            let owner = owner_hash(secret.expose()).to_vec();
            self.relay.blobs.retain(|_, (o, _)| *o != owner);
        }
        for frame in output.frames {
            if self.device(name).online {
                self.serve(name, frame);
            }
        }
        if output.close {
            self.drop_connection(name);
        }
    }

    fn answer(&mut self, name: Name, request_id: u64, body: S) {
        let frame = ServerFrame { request_id, critical: vec![], body: Some(body) };
        self.device(name).inputs.push_back(Input::Frames(vec![frame]));
    }

    fn serve(&mut self, name: Name, frame: ClientFrame) {
        let id = frame.request_id;
        match frame.body.unwrap() {
            C::OpenMailbox(open) => {
                self.relay.mailboxes.entry(open.mailbox.to_vec()).or_default();
                self.answer(name, id, S::MailboxOpened(wire::MailboxOpened {}));
            }
            C::Attach(attach) => {
                self.device(name).mailbox = Some(attach.mailbox.to_vec());
                let waiting = self.relay.mailboxes[attach.mailbox.as_ref()].len() as u64;
                self.answer(name, id, S::Attached(wire::Attached { waiting, window: 64 }));
                self.deliver(name);
            }
            C::Acknowledge(acknowledge) => {
                let device = self.devices.get_mut(name).unwrap();
                let mailbox = self.relay.mailboxes.get_mut(device.mailbox.as_ref().unwrap()).unwrap();
                while device.in_flight.front().is_some_and(|(number, _)| *number <= acknowledge.through) {
                    let (_, message) = device.in_flight.pop_front().unwrap();
                    mailbox.retain(|(id, _)| *id != message);
                }
                self.deliver(name);
            }
            C::Send(send) => self.send(name, id, send),
            C::FetchCommit(fetch) => {
                let sealed = self.relay.slots.get(fetch.token.as_ref()).cloned();
                let slot = wire::CommitSlot { present: sealed.is_some(), sealed: sealed.unwrap_or_default() };
                self.answer(name, id, S::CommitSlot(slot));
            }
            C::Signal(signal) => {
                for delivery in signal.deliveries {
                    let to = self.devices.iter().find(|(_, d)| d.mailbox.as_deref() == Some(&delivery.mailbox[..]));
                    if let Some(to) = to.map(|(name, _)| *name) {
                        self.answer(to, 0, S::SignalDelivered(wire::SignalDelivered { body: delivery.body }));
                    }
                }
            }
            C::CreateBlob(create) => {
                let entry = self.relay.blobs.entry(create.read_hash.to_vec());
                let (_, bytes) = entry.or_insert((create.owner_hash.to_vec(), Bytes::new()));
                let offset = bytes.len() as u64;
                self.answer(name, id, S::BlobCreated(wire::BlobCreated { offset, expires_day: 0 }));
            }
            C::RendezvousOpen(open) => {
                self.relay.rendezvous.insert(open.rendezvous.to_vec(), (name, None));
                let ready = wire::RendezvousReady { rendezvous: open.rendezvous, joined: false };
                self.answer(name, id, S::RendezvousReady(ready));
            }
            C::RendezvousJoin(join) => {
                let meeting = self.relay.rendezvous.get_mut(join.rendezvous.as_ref()).unwrap();
                meeting.1 = Some(name);
                let opener = meeting.0;
                let ready = wire::RendezvousReady { rendezvous: join.rendezvous, joined: true };
                self.answer(opener, 0, S::RendezvousReady(ready.clone()));
                self.answer(name, id, S::RendezvousReady(ready));
            }
            C::RendezvousPut(put) => {
                let (opener, joiner) = self.relay.rendezvous[put.rendezvous.as_ref()];
                let other = if opener == name { joiner.unwrap() } else { opener };
                let got = wire::RendezvousGot { rendezvous: put.rendezvous, body: put.body, closed: false };
                self.answer(other, 0, S::RendezvousGot(got));
            }
            other => panic!("not served here: {other:?}"),
        }
    }

    fn send(&mut self, name: Name, id: u64, send: wire::Send) {
        let mut commit = None;
        if let Some(offer) = send.commit {
            let held = self.relay.slots.entry(offer.token.to_vec()).or_insert_with(|| offer.sealed.clone()).clone();
            let mine = held == offer.sealed;
            commit = Some(wire::CommitAnswer { mine, winner: if mine { Bytes::new() } else { held } });
            if !mine {
                let result = wire::SendResult { recipients: vec![], commit };
                return self.answer(name, id, S::SendResult(result));
            }
        }
        let mut recipients = Vec::new();
        let mut touched = Vec::new();
        for delivery in send.deliveries {
            assert_eq!(delivery.envelope.len(), limits::ENVELOPE_BYTES);
            let status = if self.relay.full.as_deref() == Some(delivery.mailbox.as_ref()) {
                wire::RecipientStatus::Full
            } else if let Some(mailbox) = self.relay.mailboxes.get_mut(delivery.mailbox.as_ref()) {
                if self.relay.drop_next > 0 {
                    self.relay.drop_next -= 1;
                } else if !mailbox.iter().any(|(id, _)| *id == delivery.message_id) {
                    mailbox.push_back((delivery.message_id, delivery.envelope));
                }
                touched.push(delivery.mailbox.to_vec());
                wire::RecipientStatus::Ok
            } else {
                wire::RecipientStatus::Gone
            };
            recipients.push(wire::RecipientAnswer { status: status.into(), retry_after_ms: 0 });
        }
        let attached: Vec<Name> = self
            .devices
            .iter()
            .filter(|(_, device)| device.mailbox.as_ref().is_some_and(|mailbox| touched.contains(mailbox)))
            .map(|(name, _)| *name)
            .collect();
        for device in attached {
            self.deliver(device);
        }
        if self.relay.answer_sends {
            self.answer(name, id, S::SendResult(wire::SendResult { recipients, commit }));
        }
    }

    fn deliver(&mut self, name: Name) {
        let device = self.devices.get_mut(name).unwrap();
        let mailbox = &self.relay.mailboxes[device.mailbox.as_ref().unwrap()];
        let mut frames = Vec::new();
        for (message, envelope) in mailbox {
            if device.in_flight.len() >= 64 {
                break;
            }
            if device.in_flight.iter().any(|(_, id)| id == message) {
                continue;
            }
            device.in_flight.push_back((device.next_number, message.clone()));
            let deliver = wire::Deliver {
                number: device.next_number,
                message_id: message.clone(),
                envelope: envelope.clone(),
            };
            device.next_number += 1;
            frames.push(ServerFrame { request_id: 0, critical: vec![], body: Some(S::Deliver(deliver)) });
        }
        if !frames.is_empty() {
            device.inputs.push_back(Input::Frames(frames));
        }
    }

    // ---- stories' vocabulary

    pub(crate) fn pair(&mut self, guardian: Name, new: Name, role: MemberRole, name: &str) {
        self.command(guardian, Command::StartPairing { role, name: name.into() });
        let code = self.device(guardian).events.iter().rev().find_map(|event| match event {
            Event::PairingCode { code } => Some(code.clone()),
            _ => None,
        });
        self.connect(new);
        self.command(new, Command::JoinByCode { code: code.unwrap() });
        let pictures = |events: &[Event]| {
            events.iter().rev().find_map(|event| match event {
                Event::PairingRequest { pictures, .. } | Event::PairingStarted { pictures } => Some(pictures.clone()),
                _ => None,
            })
        };
        let (mine, theirs) = (pictures(&self.device(guardian).events), pictures(&self.device(new).events));
        assert!(mine.is_some() && mine == theirs);
        self.command(guardian, Command::AnswerPairing { accept: true });
        self.settle();
    }

    /// Two guardians' phones and a child's tablet, all attached.
    pub(crate) fn family(&mut self) -> ConversationId {
        for name in ["mum", "dad", "kid"] {
            self.add(name);
        }
        self.connect("mum");
        let create = Command::CreateFamily { family_name: "Reed".into(), guardian_name: "Anna".into() };
        self.command("mum", create);
        self.pair("mum", "kid", MemberRole::Child, "Mia");
        self.pair("mum", "dad", MemberRole::Guardian, "Ben");
        for name in ["mum", "dad", "kid"] {
            assert!(self.device(name).engine.is_settled(), "{name} is settled");
        }
        self.device("kid").engine.family_conversation().unwrap()
    }

    pub(crate) fn say(&mut self, name: Name, conversation: ConversationId, body: Body) {
        self.command(
            name,
            Command::Send { conversation, body, reply_to: None, disappear_seconds: 0, blob: None },
        );
    }

    pub(crate) fn text(&mut self, name: Name, conversation: ConversationId, text: &str) {
        self.say(name, conversation, Body::Text { text: text.into() });
    }

    pub(crate) fn screen(&mut self, name: Name) -> Vec<MessageView> {
        let history = self.device(name).store.iter().filter(|(key, _)| key.class == RecordClass::History);
        view::messages(history.map(|(key, value)| (key.name.clone(), value.clone())))
    }

    pub(crate) fn texts(&mut self, name: Name) -> Vec<String> {
        let texts = self.screen(name).into_iter().filter_map(|view| match view.body {
            Some(Body::Text { text }) => Some(view.edited.unwrap_or(text)),
            _ => None,
        });
        texts.collect()
    }
}
