//! The shell around a scripted engine, a real store and a real socket.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::io::{
    Changes, Command, Deadline, Event, Fetch, FetchOutcome, Input, Output, RecordClass, RecordKey,
    Upload, UploadOutcome, UploadSource,
};
use kinline_protocol::secrets::Secret;
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::{ClientFrame, Ping, Pong, ServerFrame, client_frame, server_frame};
use rand::rngs::StdRng;

use super::{Core, DeviceError, DeviceHandle, LinkStatus, Refused, ShellOptions, start};
use crate::connection::test_relay::{TestBlob, TestCa, TestRelay};
use crate::store::{Argon2Cost, Store, StoreError, StoreOptions, put_blob};

const LONG: Duration = Duration::from_secs(30);

/// Answers each input with what its script holds, and keeps what it was told.
#[derive(Default)]
struct Script {
    told: Vec<String>,
    on_connected: VecDeque<Output>,
    on_command: VecDeque<Result<Output, Refused>>,
    on_tick: VecDeque<Output>,
    deadline: Option<Timestamp>,
    settled: bool,
}

struct Fake {
    relay: RelayAddress,
    script: Arc<Mutex<Script>>,
}

impl Core for Fake {
    fn input(&mut self, input: Input, _now: Timestamp, _rng: &mut StdRng) -> Output {
        let mut script = self.script.lock().unwrap();
        match input {
            Input::Connected(_) => {
                script.told.push("connected".into());
                script.on_connected.pop_front().unwrap_or_default()
            }
            Input::Disconnected => {
                script.told.push("disconnected".into());
                Output::default()
            }
            Input::Frames(frames) => {
                for frame in &frames {
                    script.told.push(format!("frame {}", frame.request_id));
                }
                Output {
                    events: vec![Event::CaughtUp],
                    ..Output::default()
                }
            }
            Input::Uploaded { outcome, .. } => {
                script.told.push(format!("uploaded {outcome:?}"));
                Output {
                    events: vec![Event::StaleStore],
                    ..Output::default()
                }
            }
            Input::Fetched { outcome, .. } => {
                let what = match outcome {
                    FetchOutcome::Got(bytes) => format!("{} bytes", bytes.len()),
                    other => format!("{other:?}"),
                };
                script.told.push(format!("fetched {what}"));
                Output {
                    events: vec![Event::StaleStore],
                    ..Output::default()
                }
            }
            Input::Read { records, .. } => {
                script.told.push(format!("read {} records", records.len()));
                Output::default()
            }
            Input::Tick => {
                script.told.push("tick".into());
                script.deadline = None;
                script.on_tick.pop_front().unwrap_or_default()
            }
        }
    }

    fn command(
        &mut self,
        _command: Command,
        _now: Timestamp,
        _rng: &mut StdRng,
    ) -> Result<Output, Refused> {
        let mut script = self.script.lock().unwrap();
        script
            .on_command
            .pop_front()
            .unwrap_or_else(|| Err(Refused("not now".into())))
    }

    fn deadline(&self) -> Deadline {
        self.script.lock().unwrap().deadline
    }

    fn is_settled(&self) -> bool {
        self.script.lock().unwrap().settled
    }

    fn note(&self, event: &Event, _now: Timestamp) -> Option<Vec<u8>> {
        match event {
            Event::Attached { waiting } => Some(waiting.to_be_bytes().to_vec()),
            _ => None,
        }
    }

    fn relay(&self) -> &RelayAddress {
        &self.relay
    }
}

struct World {
    relay: TestRelay,
    folder: tempfile::TempDir,
    script: Arc<Mutex<Script>>,
    device: DeviceHandle<Fake>,
}

fn store_options() -> StoreOptions {
    StoreOptions {
        passphrase: None,
        cost: Argon2Cost::CHEAP,
    }
}

async fn world(script: Script, online: bool) -> World {
    let relay = TestRelay::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), &store_options()).unwrap();
    let script = Arc::new(Mutex::new(script));
    let core = Fake {
        relay: relay.address.clone(),
        script: Arc::clone(&script),
    };
    let options = ShellOptions {
        online,
        ..ShellOptions::default()
    };
    let device = start(core, store, options).unwrap();
    World {
        relay,
        folder,
        script,
        device,
    }
}

fn told(script: &Arc<Mutex<Script>>) -> Vec<String> {
    script.lock().unwrap().told.clone()
}

fn any_command() -> Command {
    Command::AnswerPairing { accept: true }
}

fn frame(request_id: u64) -> ClientFrame {
    ClientFrame {
        request_id,
        critical: Vec::new(),
        body: Some(client_frame::Body::Ping(Ping {})),
    }
}

fn answer(request_id: u64) -> ServerFrame {
    ServerFrame {
        request_id,
        critical: Vec::new(),
        body: Some(server_frame::Body::Pong(Pong {})),
    }
}

fn record(name: &str, value: &str) -> Changes {
    let key = RecordKey {
        class: RecordClass::State,
        name: name.into(),
    };
    Changes {
        records: [(key, Some(value.into()))].into(),
    }
}

#[tokio::test]
async fn what_is_to_be_told_later_is_durable_when_it_is_told_now() {
    let attached = |waiting| Event::Attached { waiting };
    let script = Script {
        on_command: [
            Ok(Output {
                events: vec![attached(1), Event::CaughtUp, attached(2)],
                ..Output::default()
            }),
            Err(Refused("no".into())),
            Ok(Output {
                changes: record("some", "thing"),
                events: vec![attached(3)],
                ..Output::default()
            }),
        ]
        .into(),
        ..Script::default()
    };
    let world = world(script, false).await;
    for succeeds in [true, false, true] {
        let done = world.device.command(any_command()).await;
        assert_eq!(done.is_ok(), succeeds);
    }
    let kept = super::notes::of(world.device.history().await.unwrap());
    let numbers: Vec<u8> = kept.iter().map(|(_, value)| value[7]).collect();
    assert_eq!(numbers, [1, 2, 3]);
    // Read: one is changed, one goes.
    let changes = Changes {
        records: [
            (kept[0].0.clone(), None),
            (kept[1].0.clone(), Some(vec![0; 8])),
        ]
        .into(),
    };
    world.device.keep(changes).await.unwrap();
    world.device.shutdown().await;
    let store = Store::open(world.folder.path(), &store_options()).unwrap();
    let kept = super::notes::of(store.history().unwrap());
    let numbers: Vec<u8> = kept.iter().map(|(_, value)| value[7]).collect();
    assert_eq!(numbers, [0, 3]);
}

#[tokio::test]
async fn what_a_command_changed_is_durable_before_its_frame_arrives() {
    let script = Script {
        on_command: (0..50)
            .map(|number| {
                Ok(Output {
                    changes: record("counter", &number.to_string()),
                    frames: vec![frame(number)],
                    ..Output::default()
                })
            })
            .collect(),
        ..Script::default()
    };
    let mut world = world(script, true).await;
    let mut socket = world.relay.socket().await;
    socket.hello().await;
    world
        .device
        .status_until("up", LONG, |status| {
            (status.link == LinkStatus::Up).then_some(())
        })
        .await
        .unwrap();
    for number in 0..50 {
        // Not waited for: the frame alone must be reason enough to trust the disk.
        let device = world.device.clone();
        let commanding = tokio::spawn(async move { device.command(any_command()).await });
        assert_eq!(socket.frame().await.unwrap().request_id, number);
        // The files as a crash at this very moment would leave them.
        let copy = tempfile::tempdir().unwrap();
        for name in ["device.db", "device.db-wal", "store.key"] {
            std::fs::copy(world.folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let store = Store::open(copy.path(), &store_options()).unwrap();
        let state = store.load_state().unwrap();
        let value = state.first().map(|(_, value)| value.clone());
        assert_eq!(value.unwrap(), number.to_string().as_bytes());
        commanding.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_store_that_fails_stops_the_device_before_anything_leaves() {
    let long_name = RecordKey {
        class: RecordClass::State,
        name: vec![1; 70_000],
    };
    let script = Script {
        on_command: [Ok(Output {
            changes: Changes {
                records: [(long_name, Some(Vec::new()))].into(),
            },
            frames: vec![frame(9)],
            events: vec![Event::CaughtUp],
            ..Output::default()
        })]
        .into(),
        ..Script::default()
    };
    let mut world = world(script, true).await;
    let mut socket = world.relay.socket().await;
    socket.hello().await;
    let mut events = world.device.events();
    let error = world.device.command(any_command()).await.unwrap_err();
    assert!(
        matches!(&error, DeviceError::Store(it) if matches!(**it, StoreError::NameTooLong { .. }))
    );
    assert_eq!(socket.frame().await, None);
    assert_eq!(events.next().await, None);
    assert!(world.device.command(any_command()).await.is_err());
    assert!(world.device.settled(LONG).await.is_err());
    // The folder is free again.
    Store::open(world.folder.path(), &store_options()).unwrap();
}

#[tokio::test]
async fn a_refused_command_is_told_and_changes_nothing() {
    let world = world(Script::default(), false).await;
    let error = world.device.command(any_command()).await.unwrap_err();
    assert_eq!(error.to_string(), "not now");
    assert!(world.device.history().await.unwrap().is_empty());
}

#[tokio::test]
async fn frames_come_in_order_and_a_lost_connection_is_made_again() {
    let mut world = world(Script::default(), true).await;
    let mut socket = world.relay.socket().await;
    socket.hello().await;
    for number in 1..=300 {
        socket.send(answer(number)).await;
    }
    // The socket goes only after the relay saw that everything was read.
    while told(&world.script).last().map(String::as_str) != Some("frame 300") {
        tokio::task::yield_now().await;
    }
    drop(socket);
    let mut socket = world.relay.socket().await;
    socket.hello().await;
    socket.send(answer(301)).await;
    while told(&world.script).last().map(String::as_str) != Some("frame 301") {
        tokio::task::yield_now().await;
    }
    let mut expected = vec!["connected".to_owned()];
    expected.extend((1..=300).map(|number| format!("frame {number}")));
    expected.extend(["disconnected", "connected", "frame 301"].map(String::from));
    assert_eq!(told(&world.script), expected);
}

#[tokio::test]
async fn offline_means_offline_and_online_comes_back() {
    let mut world = world(Script::default(), true).await;
    let mut socket = world.relay.socket().await;
    socket.hello().await;
    let up = |status: &super::Status| (status.link == LinkStatus::Up).then_some(());
    world.device.status_until("up", LONG, up).await.unwrap();
    world.device.go_offline().await.unwrap();
    assert_eq!(socket.frame().await, None);
    assert_eq!(told(&world.script), ["connected", "disconnected"]);
    assert_eq!(world.device.status().link, LinkStatus::Offline);
    world.device.go_online().await.unwrap();
    let mut socket = world.relay.socket().await;
    socket.hello().await;
    world.device.status_until("up", LONG, up).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_closes_is_disconnected_and_connects_again() {
    let script = Script {
        on_connected: [Output {
            frames: vec![frame(1)],
            close: true,
            ..Output::default()
        }]
        .into(),
        ..Script::default()
    };
    let mut world = world(script, true).await;
    world.relay.socket().await.hello().await;
    let mut socket = world.relay.socket().await;
    socket.hello().await;
    let up = |status: &super::Status| (status.link == LinkStatus::Up).then_some(());
    world.device.status_until("up", LONG, up).await.unwrap();
    let told = told(&world.script);
    assert_eq!(told[..3], ["connected", "disconnected", "connected"]);
}

#[tokio::test]
async fn transfers_run_and_their_files_go_when_the_relay_has_them() {
    let secret = Secret::new([5; 32]);
    let handle = [8; 16];
    let script = Script {
        on_command: [
            Ok(Output {
                uploads: vec![Upload {
                    handle,
                    owner_secret: secret.clone(),
                    offset: 0,
                    size: 5,
                    source: UploadSource::File,
                }],
                ..Output::default()
            }),
            Ok(Output {
                fetches: vec![Fetch {
                    read_secret: secret.clone(),
                    size: 5,
                }],
                ..Output::default()
            }),
            Ok(Output {
                blob_deletions: vec![secret.clone()],
                ..Output::default()
            }),
            Ok(Output {
                uploads: vec![Upload {
                    handle: [9; 16],
                    owner_secret: secret.clone(),
                    offset: 0,
                    size: 5,
                    source: UploadSource::File,
                }],
                ..Output::default()
            }),
        ]
        .into(),
        settled: true,
        ..Script::default()
    };
    let mut world = world(script, true).await;
    let mut socket = world.relay.socket().await;
    socket.hello().await;
    world.device.settled(LONG).await.unwrap();
    let name = URL_SAFE_NO_PAD.encode(secret.expose());
    world
        .relay
        .blobs
        .lock()
        .unwrap()
        .blobs
        .insert(name.clone(), TestBlob::default());
    put_blob::<StoreError>(world.folder.path(), &handle, |file| {
        file.write_all(b"noise").unwrap();
        Ok(())
    })
    .unwrap();
    for expected in ["uploaded Done", "fetched 5 bytes"] {
        world.device.command(any_command()).await.unwrap();
        world.device.settled(LONG).await.unwrap();
        assert_eq!(told(&world.script).last().unwrap(), expected);
    }
    let path = crate::store::blob_path(world.folder.path(), &handle);
    assert!(!path.exists());
    world.device.command(any_command()).await.unwrap();
    while world.relay.blobs.lock().unwrap().blobs.contains_key(&name) {
        tokio::task::yield_now().await;
    }
    world.device.command(any_command()).await.unwrap();
    world.device.settled(LONG).await.unwrap();
    let lost = format!("uploaded {:?}", UploadOutcome::Lost);
    assert_eq!(*told(&world.script).last().unwrap(), lost);
}

#[tokio::test]
async fn transfers_asked_for_while_offline_are_answered_as_unreachable() {
    let script = Script {
        on_command: [Ok(Output {
            fetches: vec![Fetch {
                read_secret: Secret::new([5; 32]),
                size: 5,
            }],
            ..Output::default()
        })]
        .into(),
        ..Script::default()
    };
    let world = world(script, false).await;
    world.device.command(any_command()).await.unwrap();
    world
        .device
        .wait_for("the answer", LONG, |event| {
            (*event == Event::StaleStore).then_some(())
        })
        .await
        .unwrap();
    assert_eq!(told(&world.script), ["fetched Unreachable"]);
}

#[tokio::test]
async fn a_deadline_brings_a_tick_and_a_moved_clock_too() {
    let script = Script {
        deadline: Some(Timestamp(0)),
        on_tick: [Output {
            events: vec![Event::CaughtUp],
            ..Output::default()
        }]
        .into(),
        ..Script::default()
    };
    let world = world(script, false).await;
    world
        .device
        .wait_for("the tick", LONG, |event| {
            (*event == Event::CaughtUp).then_some(())
        })
        .await
        .unwrap();
    let before = world.device.clock().now();
    world.device.advance_clock(LONG * 100).await.unwrap();
    assert!(world.device.clock().now() >= before.plus_ms(3_000_000));
    assert_eq!(told(&world.script), ["tick", "tick"]);
}

#[tokio::test]
async fn a_wrong_certificate_shows_in_the_status() {
    let (pinned, other) = (TestCa::new(), TestCa::new());
    let relay = TestRelay::start_with(&pinned, &other, "127.0.0.1:0".parse().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path(), &store_options()).unwrap();
    let core = Fake {
        relay: relay.address.clone(),
        script: Arc::default(),
    };
    let device = start(core, store, ShellOptions::default()).unwrap();
    let trouble = device
        .status_until("trouble", LONG, |status| status.trouble.clone())
        .await
        .unwrap();
    assert!(trouble.is_final);
    assert!(trouble.sentence.contains("not the one in the pairing code"));
    device.shutdown().await;
    Store::open(folder.path(), &store_options()).unwrap();
}

#[tokio::test]
async fn a_polite_end_sends_what_was_written() {
    let script = Script {
        on_command: [Ok(Output {
            frames: (0..500).map(frame).collect(),
            ..Output::default()
        })]
        .into(),
        ..Script::default()
    };
    let mut world = world(script, true).await;
    let mut socket = world.relay.socket().await;
    socket.hello().await;
    let up = |status: &super::Status| (status.link == LinkStatus::Up).then_some(());
    world.device.status_until("up", LONG, up).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut seen = 0;
        while let Some(frame) = socket.frame().await {
            assert_eq!(frame.request_id, seen);
            seen += 1;
        }
        seen
    });
    world.device.command(any_command()).await.unwrap();
    // All but what no longer fits between the task and the socket has left by then.
    world.device.shutdown().await;
    assert!(reading.await.unwrap() >= 64);
}

#[tokio::test]
async fn question_sees_the_engine() {
    let world = world(Script::default(), false).await;
    let port = world.device.with(|core| core.relay.port).await.unwrap();
    assert_eq!(port, world.relay.address.port);
}
