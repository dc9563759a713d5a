//! Devices and a relay in one thread without sockets, files or clocks: what the engine
//! needs to be told, and what it says, step by step.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use kinline_protocol::blob::{owner_hash, read_hash};
use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::io::{
    Command, Event, FetchOutcome, Input, Output, RecordClass, RecordKey, UploadOutcome,
    UploadSource,
};
use kinline_protocol::engine::{CommandError, Engine, Setup};
use kinline_protocol::wire;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::relay::Relay;

pub(crate) type Name = &'static str;

pub(crate) struct Device {
    pub(crate) engine: Engine,
    pub(crate) store: BTreeMap<RecordKey, Vec<u8>>,
    pub(crate) online: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) files: HashMap<[u8; 16], Bytes>,
    /// Outputs that were persisted.
    pub(crate) outputs: usize,
    inputs: VecDeque<Input>,
}

/// A device dies when it has persisted its `output`th output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    pub(crate) name: Name,
    pub(crate) output: usize,
    /// What the output wanted sent was sent, but nothing of the answers arrives.
    pub(crate) sent: bool,
}

pub(crate) struct World {
    pub(crate) devices: BTreeMap<Name, Device>,
    pub(crate) relay: Relay,
    pub(crate) now: Timestamp,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) kill: Option<Kill>,
    /// Every frame comes alone, so that there are more places to die.
    pub(crate) frame_by_frame: bool,
    /// How often the process of a device died.
    pub(crate) killed: usize,
    /// Uploads are answered with this while set.
    pub(crate) upload_outcome: Option<UploadOutcome>,
    /// So many more times history is read back for anybody, while set.
    pub(crate) reads_left: Option<usize>,
}

const ADDRESS: &str = "wss://localhost:1#pin=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

/// `KINLINE_SEED`, or 1.
pub(crate) fn seed() -> u64 {
    std::env::var("KINLINE_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1)
}

impl World {
    pub(crate) fn new() -> Self {
        Self::seeded(seed())
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        println!("KINLINE_SEED={seed}");
        Self {
            devices: BTreeMap::new(),
            relay: Relay::default(),
            now: Timestamp(1_800_000_000_000),
            rng: ChaCha20Rng::seed_from_u64(seed),
            kill: None,
            frame_by_frame: false,
            killed: 0,
            upload_outcome: None,
            reads_left: None,
        }
    }

    pub(crate) fn add(&mut self, name: Name) {
        self.add_by(name, "");
    }

    /// A new device that shows the relay a code or a ticket.
    pub(crate) fn add_by(&mut self, name: Name, admission: &str) {
        let setup = Setup {
            relay: ADDRESS.parse().unwrap(),
            device_name: name.into(),
            admission_code: admission.into(),
        };
        let (engine, output) = Engine::create(setup, self.now, &mut self.rng).unwrap();
        let device = Device {
            engine,
            store: BTreeMap::new(),
            online: false,
            events: vec![],
            files: HashMap::new(),
            outputs: 0,
            inputs: VecDeque::new(),
        };
        self.devices.insert(name, device);
        self.carry_out(name, output);
    }

    pub(crate) fn device(&mut self, name: Name) -> &mut Device {
        self.devices.get_mut(name).unwrap()
    }

    /// The mailbox of a device, from its own records.
    pub(crate) fn mailbox(&mut self, name: Name) -> Vec<u8> {
        self.record::<wire::DeviceRecord>(name, b"device")
            .mailbox
            .to_vec()
    }

    /// A state record of a device.
    pub(crate) fn record<M: prost::Message + Default>(&mut self, name: Name, record: &[u8]) -> M {
        let key = RecordKey {
            class: RecordClass::State,
            name: record.to_vec(),
        };
        M::decode(self.device(name).store[&key].as_slice()).unwrap()
    }

    pub(crate) fn connect(&mut self, name: Name) {
        self.dial(name);
        self.run();
    }

    fn dial(&mut self, name: Name) {
        self.relay.disconnect(name);
        let operator_checkpoint = self.relay.operator_of(name).checkpoint.clone();
        let device = self.device(name);
        device.online = true;
        let server_name = device.engine.relay().server_name();
        let hello = wire::Hello {
            nonce: vec![7; 32].into(),
            server_name,
            operator_checkpoint,
            ..wire::Hello::default()
        };
        device.inputs.push_back(Input::Connected(hello));
    }

    pub(crate) fn disconnect(&mut self, name: Name) {
        self.drop_connection(name);
        self.device(name).inputs.push_back(Input::Disconnected);
        self.run();
    }

    fn drop_connection(&mut self, name: Name) {
        self.relay.disconnect(name);
        let device = self.device(name);
        device.online = false;
        device.inputs.clear();
    }

    /// The process dies and comes back from its store; offline.
    pub(crate) fn restart(&mut self, name: Name) {
        self.drop_connection(name);
        let device = self.device(name);
        let state = device
            .store
            .iter()
            .filter(|(key, _)| key.class == RecordClass::State);
        device.engine =
            Engine::load(state.map(|(key, value)| (key.name.clone(), value.clone()))).unwrap();
    }

    pub(crate) fn command(&mut self, name: Name, command: Command) {
        self.try_command(name, command).unwrap();
    }

    pub(crate) fn try_command(&mut self, name: Name, command: Command) -> Result<(), CommandError> {
        let now = self.now;
        let output =
            self.devices
                .get_mut(name)
                .unwrap()
                .engine
                .command(command, now, &mut self.rng)?;
        self.carry_out(name, output);
        self.run();
        Ok(())
    }

    /// Something that no device expects.
    pub(crate) fn input(&mut self, name: Name, input: Input) {
        self.device(name).inputs.push_back(input);
        self.run();
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        let names: Vec<Name> = self.devices.keys().copied().collect();
        for name in names {
            let due = self
                .device(name)
                .engine
                .deadline()
                .is_some_and(|at| at <= self.now);
            if due {
                self.device(name).inputs.push_back(Input::Tick);
            }
        }
        self.run();
        let now = self.now;
        for (name, device) in &self.devices {
            let deadline = device.engine.deadline();
            assert!(
                deadline.is_none_or(|at| at > now),
                "{name} wants its tick again and again"
            );
        }
    }

    /// Until nothing more happens, time passing in small steps.
    pub(crate) fn settle(&mut self) {
        for _ in 0..40 {
            self.pass(3_000);
        }
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..200_000 {
            self.collect();
            let next = self
                .devices
                .iter_mut()
                .find_map(|(name, device)| Some((*name, device.inputs.pop_front()?)));
            let Some((name, input)) = next else { return };
            let now = self.now;
            let output =
                self.devices
                    .get_mut(name)
                    .unwrap()
                    .engine
                    .input(input, now, &mut self.rng);
            self.carry_out(name, output);
        }
        panic!("the devices never come to rest");
    }

    /// What the relay says becomes input, in as few batches as a socket would give.
    fn collect(&mut self) {
        let alone = self.frame_by_frame;
        while let Some((name, frame)) = self.relay.out.pop_front() {
            let device = self.device(name);
            match device.inputs.back_mut() {
                Some(Input::Frames(frames)) if !alone => frames.push(frame),
                _ => device.inputs.push_back(Input::Frames(vec![frame])),
            }
        }
    }

    fn carry_out(&mut self, name: Name, output: Output) {
        let device = self.device(name);
        for (key, value) in output.changes.records {
            match value {
                Some(value) => device.store.insert(key, value),
                None => device.store.remove(&key),
            };
        }
        device.outputs += 1;
        let killed = self
            .kill
            .filter(|kill| kill.name == name && kill.output == self.devices[name].outputs);
        if killed.is_some_and(|kill| !kill.sent) {
            return self.revive(name);
        }
        self.device(name).events.extend(output.events);
        for upload in output.uploads {
            if let Some(outcome) = self.upload_outcome {
                self.device(name).inputs.push_back(Input::Uploaded {
                    handle: upload.handle,
                    outcome,
                });
                continue;
            }
            let bytes = match upload.source {
                UploadSource::Bytes(bytes) => bytes,
                UploadSource::File => self.device(name).files[&upload.handle].clone(),
            };
            assert_eq!(bytes.len() as u64, upload.size);
            let owner = owner_hash(upload.owner_secret.expose()).to_vec();
            let outcome = match self.relay.blobs.values_mut().find(|(o, _)| *o == owner) {
                Some(blob) => {
                    blob.1 = bytes;
                    UploadOutcome::Done
                }
                None => UploadOutcome::Unreachable,
            };
            self.device(name).inputs.push_back(Input::Uploaded {
                handle: upload.handle,
                outcome,
            });
        }
        for read in output.reads {
            if let Some(left) = &mut self.reads_left {
                if *left == 0 {
                    continue;
                }
                *left -= 1;
            }
            let device = self.device(name);
            let found = |name: Vec<u8>| {
                let class = RecordClass::History;
                let key = RecordKey { class, name };
                let value = device.store.get(&key)?.clone();
                Some((key.name, value))
            };
            let records = read.names.into_iter().filter_map(found).collect();
            let number = read.number;
            device.inputs.push_back(Input::Read { number, records });
        }
        for fetch in output.fetches {
            let found = self
                .relay
                .blobs
                .get(read_hash(fetch.read_secret.expose()).as_slice());
            let outcome = found.map_or(FetchOutcome::NotFound, |(_, bytes)| {
                FetchOutcome::Got(bytes.clone())
            });
            self.device(name).inputs.push_back(Input::Fetched {
                read_secret: fetch.read_secret,
                outcome,
            });
        }
        for secret in output
            .blob_deletions
            .into_iter()
            .filter(|_| !self.relay.keeps_blobs)
        {
            let owner = owner_hash(secret.expose()).to_vec();
            self.relay.blobs.retain(|_, (o, _)| *o != owner);
        }
        for frame in output.frames {
            if self.device(name).online {
                self.relay.serve(name, frame);
            }
        }
        if output.close {
            self.drop_connection(name);
            self.device(name).inputs.push_back(Input::Disconnected);
        }
        if killed.is_some() {
            self.revive(name);
        }
    }

    fn revive(&mut self, name: Name) {
        self.killed += 1;
        let online = self.device(name).online;
        self.restart(name);
        if online {
            self.dial(name);
        }
    }
}
