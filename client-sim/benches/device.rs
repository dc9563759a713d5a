//! What a message costs a device: encrypting, sealing and persisting; opening and persisting.
//!
//! The relay is the one without sockets that the engine's stories use; the store is the real
//! one, synced. Each figure stands beside the store's own transaction of the same bytes, so
//! that the ratio survives a busy disk. `cargo bench -p kinline-client-sim --bench device`
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a measurement"
)]

#[path = "../../protocol/tests/engine/chaos.rs"]
mod chaos;
#[path = "../../protocol/tests/engine/relay/mod.rs"]
mod relay;
#[path = "../../protocol/tests/engine/vocabulary.rs"]
mod vocabulary;
#[path = "../../protocol/tests/engine/world.rs"]
mod world;

use std::time::{Duration, Instant};

use kinline_client_sim::store::{Store, StoreOptions};
use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Changes, Command, Input, Output};
use kinline_protocol::wire::client_frame::Body as C;
use kinline_protocol::wire::{self, ServerFrame, server_frame::Body as S};
use world::World;

const ROUNDS: usize = 300;

#[derive(Default)]
struct Series(Vec<Duration>);

impl Series {
    fn median_us(&mut self) -> f64 {
        self.0.sort_unstable();
        self.0[self.0.len() / 2].as_secs_f64() * 1e6
    }
}

/// Times `work`, and what it returns last.
fn timed<T>(series: &mut Series, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let value = work();
    series.0.push(began.elapsed());
    value
}

fn main() {
    let mut world = World::new();
    let family = world.family();
    let folder = tempfile::tempdir().unwrap();
    let mut stores = ["mum", "kid"].map(|name| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let mut store = Store::create(&path, &StoreOptions::default()).unwrap();
        let records = world.device(name).store.iter();
        let changes = Changes {
            records: records
                .map(|(key, value)| (key.clone(), Some(value.clone())))
                .collect(),
        };
        store.commit(&changes).unwrap();
        store
    });
    // A new connection: its deliveries are counted from one.
    world.disconnect("kid");
    world.connect("kid");
    world.settle();
    let mailbox = world.relay.mailbox_of("kid").unwrap().clone();
    let text = "Guten Morgen, hast du dein Pausenbrot eingepackt? Und die Flöte auch?";
    let (mut write, mut write_persist, mut open, mut open_persist) = (
        Series::default(),
        Series::default(),
        Series::default(),
        Series::default(),
    );
    let mut bytes_persisted = 0_usize;
    for number in 1..=ROUNDS {
        let now = world.now;
        let body = Body::Text { text: text.into() };
        let command = Command::Send {
            conversation: family,
            body,
            reply_to: None,
            disappear_seconds: 0,
            blob: None,
        };
        let mum = world.devices.get_mut("mum").unwrap();
        let output = timed(&mut write, || {
            mum.engine.command(command, now, &mut world.rng).unwrap()
        });
        bytes_persisted += persisted(&output);
        timed(&mut write_persist, || {
            stores[0].commit(&output.changes).unwrap()
        });
        let (request_id, send) = output
            .frames
            .iter()
            .find_map(|frame| match &frame.body {
                Some(C::Send(send)) => Some((frame.request_id, send.clone())),
                _ => None,
            })
            .unwrap();
        let ok = wire::RecipientAnswer {
            status: wire::RecipientStatus::Ok.into(),
            retry_after_ms: 0,
        };
        let result = wire::SendResult {
            recipients: vec![ok; send.deliveries.len()],
            commit: None,
        };
        let answer = ServerFrame {
            request_id,
            critical: vec![],
            body: Some(S::SendResult(result)),
        };
        let output = mum
            .engine
            .input(Input::Frames(vec![answer]), now, &mut world.rng);
        stores[0].commit(&output.changes).unwrap();
        // The child's tablet: the delivery that opens there.
        let kid = world.devices.get_mut("kid").unwrap();
        for delivery in &send.deliveries {
            let deliver = wire::Deliver {
                number: number as u64,
                message_id: delivery.message_id.clone(),
                envelope: delivery.envelope.clone(),
            };
            if delivery.mailbox.as_ref() != mailbox.as_slice() {
                continue;
            }
            let frame = ServerFrame {
                request_id: 0,
                critical: vec![],
                body: Some(S::Deliver(deliver)),
            };
            let output = timed(&mut open, || {
                kid.engine
                    .input(Input::Frames(vec![frame]), now, &mut world.rng)
            });
            assert!(!output.changes.is_empty() && !output.close);
            timed(&mut open_persist, || {
                stores[1].commit(&output.changes).unwrap()
            });
        }
    }
    assert_eq!(open.0.len(), ROUNDS, "every message was opened");
    // The same number of bytes in one transaction of one record: what the disk asks for anyway.
    let mut bare = Series::default();
    let blob = vec![7_u8; bytes_persisted / ROUNDS];
    for number in 0..ROUNDS as u64 {
        let key = kinline_protocol::engine::io::RecordKey {
            class: kinline_protocol::engine::io::RecordClass::History,
            name: number.to_be_bytes().to_vec(),
        };
        let changes = Changes {
            records: [(key, Some(blob.clone()))].into(),
        };
        timed(&mut bare, || stores[0].commit(&changes).unwrap());
    }
    let (write, write_persist, open, open_persist, bare) = (
        write.median_us(),
        write_persist.median_us(),
        open.median_us(),
        open_persist.median_us(),
        bare.median_us(),
    );
    println!(
        "medians of {ROUNDS}, conversation of 3 leaves, text of {} bytes",
        text.len()
    );
    println!("write: sign, encrypt, seal for two  {write:>9.1} µs");
    println!(
        "       persist, synced              {write_persist:>9.1} µs   {} bytes",
        bytes_persisted / ROUNDS
    );
    println!("open:  unseal, decrypt, verify      {open:>9.1} µs");
    println!("       persist, synced              {open_persist:>9.1} µs");
    println!("one record of as many bytes, synced {bare:>9.1} µs");
    println!(
        "ratio  persist (write) / one record {:>9.2}",
        write_persist / bare
    );
    println!(
        "ratio  (write + persist) / persist  {:>9.2}",
        (write + write_persist) / write_persist
    );
    println!(
        "ratio  (open + persist) / persist   {:>9.2}",
        (open + open_persist) / open_persist
    );
}

fn persisted(output: &Output) -> usize {
    output
        .changes
        .records
        .iter()
        .map(|(key, value)| key.name.len() + value.as_ref().map_or(0, Vec::len))
        .sum()
}
