//! A family of engines in one thread, without sockets, files or clocks, against the enemy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kinline_protocol::blob::{owner_hash, read_hash};
use kinline_protocol::content::Body;
use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::day::{Day, Timestamp};
use kinline_protocol::engine::io::{
    Command, Event, FetchOutcome, Input, MemberRole, Output, RecordClass, RecordKey, UploadOutcome,
    UploadSource,
};
use kinline_protocol::engine::{Engine, Setup};
use kinline_protocol::ids::{ContentId, ConversationId, DeviceId, PassId};
use kinline_protocol::wire::{self, FrameError, ServerFrame, server_frame::Body as S};
use prost::Message as _;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::device::{Bar, Device, Logs, Name, OwnClock};
use super::honest::Line;
use super::liar::{Liar, Manners, Said};
use super::oracle::Oracle;

/// Who is let in after the founder: device, person, role.
pub const FAMILY: [(Name, &str, MemberRole); 4] = [
    ("mia", "Mia", MemberRole::Child),
    ("dad", "Ben", MemberRole::Guardian),
    ("mia2", "Mia", MemberRole::Child),
    ("gran", "Ruth", MemberRole::Guardian),
];
/// Whose house it is.
const HOUSE: &str = "Reed";
const ADDRESS: &str = "wss://localhost:1#pin=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
/// Inputs after which something goes round in circles.
const INPUTS_MAX: usize = 400_000;
/// How long the devices are left alone before the reckoning: gaps are given up after an hour,
/// what is unconfirmed is sent again after six.
pub const WAITING_MS: u64 = 3_600_000;

/// What a device has just made.
enum News {
    /// A content was encrypted for everybody in a conversation.
    Encrypted(ConversationId),
    /// A key package with which it would come back into a conversation.
    WishesBack(ConversationId),
}

/// A family and its enemy.
pub struct Life {
    /// Its devices.
    pub devices: BTreeMap<Name, Device>,
    /// The enemy.
    pub liar: Liar,
    /// Who watches.
    pub oracle: Oracle,
    /// The clock of all devices.
    pub now: Timestamp,
    /// Contents for contacts whose author knew that no pass holds; a new one may come.
    pub unsayable: BTreeSet<ContentId>,
    /// The newest day on which a guardian of a house was there to sign a head.
    pub guardian_days: BTreeMap<&'static str, Day>,
    /// Passes that two families agreed on and did not revoke.
    pub passes: Vec<PassId>,
    /// Events are printed (`KINLINE_FOE_TRACE`).
    pub trace: bool,
    /// What people and keys are drawn from.
    pub rng: ChaCha20Rng,
    /// What else happened in the newest command or input: only its events.
    pub events: BTreeMap<Name, Vec<Event>>,
}

impl Life {
    /// The founder alone, attached to an enemy that is honest so far.
    ///
    /// # Panics
    /// When she can't found a family.
    #[must_use]
    pub fn found(seed: u64, manners: Manners) -> Self {
        let mut life = Self {
            devices: BTreeMap::new(),
            liar: Liar::new(seed, manners),
            oracle: Oracle::default(),
            now: Timestamp(1_800_000_000_000),
            unsayable: BTreeSet::new(),
            guardian_days: BTreeMap::new(),
            passes: vec![],
            trace: std::env::var("KINLINE_FOE_TRACE").is_ok(),
            rng: ChaCha20Rng::seed_from_u64(seed ^ 0x5eed),
            events: BTreeMap::new(),
        };
        life.liar.be_honest(true);
        life.add("mum", "Anna");
        life.connect("mum");
        let create = Command::CreateFamily {
            family_name: HOUSE.into(),
            guardian_name: "Anna".into(),
        };
        life.admit("mum");
        life.command("mum", create);
        life.settle();
        life
    }

    /// The family that [`FAMILY`] names, `count` of it let in by an honest relay; it lies from
    /// now on.
    ///
    /// # Panics
    /// When somebody does not come in.
    #[must_use]
    pub fn of(count: usize, seed: u64, manners: Manners) -> Self {
        let mut life = Self::found(seed, manners);
        for (name, person, role) in FAMILY.into_iter().take(count) {
            life.add(name, person);
            assert!(life.pair("mum", name, role), "{name} could not come in");
        }
        life.liar.be_honest(false);
        life
    }

    /// Unpacks a device of this person.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn add(&mut self, name: Name, person: &'static str) {
        self.add_to(HOUSE, name, person);
    }

    /// Unpacks a device of this person, of another house.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn add_to(&mut self, house: &'static str, name: Name, person: &'static str) {
        let setup = Setup {
            relay: ADDRESS.parse().unwrap(),
            device_name: name.into(),
            admission_code: String::new(),
        };
        let (engine, output) = Engine::create(setup, self.now, &mut self.rng).unwrap();
        let device = Device {
            engine,
            store: BTreeMap::new(),
            person,
            house,
            line: None,
            greeted: false,
            inputs: VecDeque::new(),
            retired: false,
            read: Logs::default(),
            clock: OwnClock::default(),
        };
        self.devices.insert(name, device);
        self.carry_out(name, output);
    }

    /// The oracle learns that a guardian let this device in.
    pub fn admit(&mut self, name: Name) {
        let keys = self.devices[name].keys();
        let seed = keys.signature_seed.as_ref().try_into().unwrap_or([0; 32]);
        let key = kinline_protocol::primitives::sign::SecretKey::from_seed(&seed).public();
        let (device, person) = (self.id(name), self.devices[name].person);
        let house = self.devices[name].house;
        self.oracle.admit(device, key, person, house);
    }

    /// A device.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn device(&mut self, name: Name) -> &mut Device {
        self.devices.get_mut(name).unwrap()
    }

    /// A device's id.
    #[must_use]
    pub fn id(&self, name: Name) -> DeviceId {
        self.devices[name].engine.device()
    }

    /// What a device's own clock shows.
    #[must_use]
    pub fn time_of(&self, name: Name) -> Timestamp {
        self.devices[name].clock.shows(self.now)
    }

    /// The family's conversation.
    ///
    /// # Panics
    /// When the founder has none.
    #[must_use]
    pub fn family(&self) -> ConversationId {
        self.devices["mum"].engine.family_conversation().unwrap()
    }

    // ---- connections

    /// Dials; whatever connection there was is gone.
    pub fn connect(&mut self, name: Name) {
        self.hang_up(name);
        let server_name = self.devices[name].engine.relay().server_name();
        let line = self.liar.connected(&server_name);
        let device = self.device(name);
        device.line = Some(line);
        device.greeted = false;
        let (house, guardian) = (device.house, device.is_guardian());
        if guardian {
            self.guardian_days.insert(house, self.now.day());
        }
        self.pump();
    }

    /// Cuts a device off.
    pub fn disconnect(&mut self, name: Name) {
        self.hang_up(name);
        self.pump();
    }

    fn hang_up(&mut self, name: Name) {
        let device = self.device(name);
        let Some(line) = device.line.take() else {
            return;
        };
        device.inputs.clear();
        device.inputs.push_back(Input::Disconnected);
        self.liar.gone(line);
    }

    /// The process dies and comes back from its store; offline.
    pub fn restart(&mut self, name: Name) {
        if self.trace {
            println!("{} {name} restarts", self.now.0);
        }
        self.hang_up(name);
        self.device(name).restart();
    }

    // ---- what happens

    /// A person does something; it must be possible.
    ///
    /// # Panics
    /// When it is refused.
    pub fn command(&mut self, name: Name, command: Command) {
        let done = self.try_command(name, command);
        assert!(done.is_ok(), "{name}: {}", done.unwrap_err());
    }

    /// A person does something, if it is possible.
    ///
    /// # Errors
    /// What the engine says.
    pub fn try_command(&mut self, name: Name, command: Command) -> Result<(), String> {
        let now = self.time_of(name);
        if self.trace {
            println!("{} {name} wants {command:?}", now.0);
        }
        let engine = &mut self.devices.get_mut(name).ok_or("no such device")?.engine;
        let output = engine
            .command(command, now, &mut self.rng)
            .map_err(|error| error.to_string())?;
        self.carry_out(name, output);
        self.pump();
        Ok(())
    }

    /// Says something, and tells the oracle; `None` when it is not possible there.
    pub fn say(&mut self, name: Name, id: ConversationId, body: Body) -> Option<ContentId> {
        let device = self.id(name);
        let all = self.devices[name].engine.conversations();
        let members = &all.iter().find(|it| it.id == id)?.members;
        let to: Vec<DeviceId> = members
            .iter()
            .flat_map(|member| member.devices.iter().copied())
            .filter(|to| *to != device)
            .collect();
        let contact = all
            .iter()
            .any(|it| it.id == id && it.kind == ConversationKind::Contact);
        let unsayable = contact && to.iter().any(|to| self.has_no_pass(name, *to));
        let send = Command::Send {
            conversation: id,
            body: body.clone(),
            reply_to: None,
            disappear_seconds: 0,
            blob: None,
        };
        let now = self.time_of(name);
        let engine = &mut self.devices.get_mut(name)?.engine;
        let output = engine.command(send, now, &mut self.rng).ok()?;
        let content = output.events.iter().find_map(|event| match event {
            Event::Message {
                content,
                mine: true,
                ..
            } => Some(*content),
            _ => None,
        })?;
        self.carry_out(name, output);
        if unsayable {
            self.unsayable.insert(content);
        }
        let number = self.devices[name].number_of(id, content);
        self.oracle.wrote(device, id, content, body, to, number);
        self.pump();
        Some(content)
    }

    /// Says a text.
    pub fn text(&mut self, name: Name, id: ConversationId, text: &str) -> Option<ContentId> {
        self.say(name, id, Body::Text { text: text.into() })
    }

    /// Time passes.
    ///
    /// # Panics
    /// When a device wants its tick again and again.
    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.liar.honest.day = self.now.day().0;
        let now = self.now;
        for device in self.devices.values() {
            if device.line.is_some() && device.is_guardian() {
                self.guardian_days.insert(device.house, now.day());
            }
        }
        for device in self.devices.values_mut().filter(|device| !device.retired) {
            let now = device.clock.shows(now);
            if device.engine.deadline().is_some_and(|at| at <= now) {
                device.inputs.push_back(Input::Tick);
            }
        }
        self.pump();
        for (name, device) in self.devices.iter().filter(|(_, device)| !device.retired) {
            let now = device.clock.shows(now);
            assert!(
                device.engine.deadline().is_none_or(|at| at > now),
                "{name} wants its tick again and again"
            );
        }
    }

    /// Until nothing more happens, time passing in small steps.
    pub fn settle(&mut self) {
        for _ in 0..25 {
            self.pass(3_000);
        }
    }

    /// Until nobody has anything to take in.
    ///
    /// # Panics
    /// When that never comes.
    pub fn pump(&mut self) {
        for _ in 0..INPUTS_MAX {
            while let Some((line, said)) = self.liar.pop() {
                self.hear(line, said);
            }
            let next = self
                .devices
                .iter_mut()
                .find_map(|(name, device)| Some((*name, device.inputs.pop_front()?)));
            let Some((name, input)) = next else { return };
            let now = self.time_of(name);
            let Some(device) = self.devices.get_mut(name) else {
                return;
            };
            let output = device.engine.input(input, now, &mut self.rng);
            self.carry_out(name, output);
        }
        panic!("the devices never come to rest");
    }

    /// What a shell makes of what comes in.
    fn hear(&mut self, line: Line, said: Said) {
        let found = self
            .devices
            .iter()
            .find(|(_, device)| device.line == Some(line));
        let Some(name) = found.map(|(name, _)| *name) else {
            return;
        };
        let frame = match said {
            Said::Frame(frame) => frame,
            Said::Bytes(bytes) => match wire::decode_server(bytes) {
                Ok(frame) => frame,
                Err(FrameError::UnknownKind { request_id: 0 }) => return,
                Err(_) => return self.hang_up(name),
            },
            Said::Cut => return self.hang_up(name),
        };
        let device = self.device(name);
        if !device.greeted {
            device.greeted = true;
            if let Some(S::Hello(hello)) = frame.body {
                device.inputs.push_back(Input::Connected(hello));
            }
            return;
        }
        Self::push(device, frame);
    }

    fn push(device: &mut Device, frame: ServerFrame) {
        match device.inputs.back_mut() {
            Some(Input::Frames(frames)) => frames.push(frame),
            _ => device.inputs.push_back(Input::Frames(vec![frame])),
        }
    }

    fn carry_out(&mut self, name: Name, output: Output) {
        let forbidden = self.forbidden(name, &output.events);
        let news = Self::news(&self.devices[name], &output.changes.records);
        let device = self.device(name);
        for (key, value) in output.changes.records {
            match value {
                Some(value) => device.store.insert(key, value),
                None => device.store.remove(&key),
            };
        }
        let id = device.engine.device();
        for (sender, before) in forbidden {
            let device = &self.devices[name];
            let after = device.bars(sender, self.time_of(name).day(), &self.guardian_days);
            // What came with the message may have come before it, or after it: of what kept it
            // from being shown, something has to be there at both ends.
            let still = |bar: &Bar| after.iter().any(|(other, _)| other == bar);
            if let Some((_, why)) = before.iter().find(|(bar, _)| still(bar)) {
                self.oracle.may_not_show(id, why);
            }
        }
        self.judge(name, news);
        for event in &output.events {
            self.witness(name, id, event);
        }
        self.events.entry(name).or_default().extend(output.events);
        for upload in output.uploads {
            let owner = owner_hash(upload.owner_secret.expose());
            let UploadSource::Bytes(bytes) = upload.source else {
                continue;
            };
            let from = usize::try_from(upload.offset).unwrap_or(usize::MAX);
            let rest = bytes.get(from..).unwrap_or_default();
            let there = self.liar.upload(&owner, from, rest);
            let outcome = match there {
                Some(there) if there as u64 >= upload.size => UploadOutcome::Done,
                _ => UploadOutcome::Unreachable,
            };
            let handle = upload.handle;
            let input = Input::Uploaded { handle, outcome };
            self.device(name).inputs.push_back(input);
        }
        for read in output.reads {
            let store = &self.device(name).store;
            let found = |name: Vec<u8>| {
                let class = RecordClass::History;
                let key = RecordKey { class, name };
                let value = store.get(&key)?.clone();
                Some((key.name, value))
            };
            let records = read.names.into_iter().filter_map(found).collect();
            let number = read.number;
            let input = Input::Read { number, records };
            self.device(name).inputs.push_back(input);
        }
        for fetch in output.fetches {
            let got = self.liar.download(&read_hash(fetch.read_secret.expose()));
            let outcome = got.map_or(FetchOutcome::NotFound, FetchOutcome::Got);
            let read_secret = fetch.read_secret;
            let input = Input::Fetched {
                read_secret,
                outcome,
            };
            self.device(name).inputs.push_back(input);
        }
        for secret in output.blob_deletions {
            self.liar.delete(&owner_hash(secret.expose()));
        }
        for frame in output.frames {
            self.oracle.said(id, &frame);
            if let Some(line) = self.devices[name].line {
                self.liar.hear(line, frame);
            }
        }
        if output.close {
            self.hang_up(name);
        }
    }

    /// What a device has just made, as what it persists shows.
    fn news(device: &Device, records: &BTreeMap<RecordKey, Option<Vec<u8>>>) -> Vec<News> {
        let new = records.iter().filter_map(|(key, value)| {
            let new = key.class == RecordClass::State && !device.store.contains_key(key);
            Some((&key.name, value.as_ref().filter(|_| new)?))
        });
        new.filter_map(|(name, value)| match name.get(..2) {
            Some(b"s/") => {
                let send = wire::PendingSendRecord::decode(value.as_slice()).ok()?;
                let id = ConversationId::try_from(&send.conversation).ok()?;
                (!send.content_id.is_empty()).then_some(News::Encrypted(id))
            }
            Some(b"k/") => {
                let package = wire::KeyPackageRecord::decode(value.as_slice()).ok()?;
                let id = ConversationId::try_from(&package.for_conversation).ok()?;
                Some(News::WishesBack(id))
            }
            _ => None,
        })
        .collect()
    }

    fn judge(&mut self, name: Name, news: Vec<News>) {
        let (id, today) = (self.id(name), self.time_of(name).day());
        self.oracle.day = self.now.day().0;
        for news in news {
            match news {
                News::WishesBack(conversation) => self.oracle.wishes_back(id, conversation),
                News::Encrypted(conversation) => {
                    let device = &self.devices[name];
                    if let Err(why) = device.may_encrypt(conversation, today, &self.guardian_days) {
                        self.oracle.may_not_encrypt(id, &why);
                    }
                }
            }
        }
    }

    /// Whether a device knows of no pass that holds with another.
    fn has_no_pass(&self, name: Name, other: DeviceId) -> bool {
        let may = self.devices[name].may_show(other, self.time_of(name).day(), &self.guardian_days);
        may.is_err_and(|why| why.starts_with("no pass"))
    }

    /// Messages from contacts that may not be shown by what a device knew before; whose, and why.
    fn forbidden(&mut self, name: Name, events: &[Event]) -> Vec<(DeviceId, Vec<(Bar, String)>)> {
        let mut unsaid = Vec::new();
        let device = &self.devices[name];
        let mut forbidden = Vec::new();
        for event in events {
            let Event::Message {
                conversation,
                content,
                mine: false,
                ..
            } = event
            else {
                continue;
            };
            let contact = device
                .engine
                .conversations()
                .iter()
                .any(|it| it.id == *conversation && it.kind == ConversationKind::Contact);
            let author = self.oracle.author(*content);
            let of = |id| self.devices.iter().find(|(_, it)| it.engine.device() == id);
            if self.unsayable.contains(content)
                && let Some((author, _)) = author.and_then(of)
                && self.has_no_pass(author, device.engine.device())
            {
                unsaid.push(format!("{author} knew that no pass holds"));
            }
            if let Some(sender) = author.filter(|_| contact) {
                let today = self.time_of(name).day();
                let bars = device.bars(sender, today, &self.guardian_days);
                if !bars.is_empty() {
                    forbidden.push((sender, bars));
                }
            }
        }
        let viewer = device.engine.device();
        for why in unsaid {
            self.oracle.may_not_show(viewer, &why);
        }
        forbidden
    }

    /// The oracle hears of an event, and looks into the store where that may have changed.
    fn witness(&mut self, name: Name, id: DeviceId, event: &Event) {
        if self.trace {
            println!("{} {name}: {event:?}", self.now.0);
        }
        let device = &self.devices[name];
        if let Event::BackIn { conversation } = event {
            let open = device.open_contents(*conversation);
            self.oracle.new_leaf(id, *conversation);
            self.oracle.recounted(&open);
        }
        let others = match event {
            Event::Message { mine: false, .. } => device.other_logs(),
            _ => vec![],
        };
        let logs: Vec<_> = device
            .engine
            .family_log()
            .into_iter()
            .chain(&others)
            .collect();
        self.oracle.event(id, event, &logs);
        if let Event::Joined { conversation, .. } | Event::Epoch { conversation, .. } = event
            && let Some(look) = device.look(*conversation)
        {
            // Whoever has a clock that is ahead makes changes of a day to come.
            let today = self.now.day().max(self.time_of(name).day());
            if look.context.day > today.plus(2) {
                let what = format!("{name} follows a change of a day that has not come");
                self.oracle.faults.push(what);
            }
            self.oracle.looked(id, *conversation, &look);
        }
    }

    /// What is wrong so far, if anything.
    #[must_use]
    pub fn verdict(&self) -> Vec<String> {
        let mut wrong = self.oracle.faults.clone();
        wrong.extend(self.liar.complaints.iter().cloned());
        wrong
    }
}
