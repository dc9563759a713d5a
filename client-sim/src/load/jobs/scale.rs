//! A relay whose database is full, beside one that is empty.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits::ENVELOPE_BYTES;
use kinline_server::Config;
use kinline_server::measure::Seeding;
use rand::Rng as _;
use tempfile::TempDir;

use super::Bench;
use super::j2::{drain_all, folded, store_for};
use crate::load::child::RelaySetup;
use crate::load::people::{Door, Mailbox, noise};
use crate::load::process::bytes_on_disk;
use crate::load::report::{JobReport, Target};
use crate::load::tally::{Latency, histogram};
use crate::load::trouble::Trouble;
use crate::load::wire::Stamp;

/// Envelopes that wait in each mailbox.
const EACH: u64 = 10;
/// Mailboxes that are attached to, drained, and sent to, at most; a tenth of all at least one.
const PROBES: usize = 1_000;
/// Mailboxes filled in one go: 8,000 envelopes are a group of the relay's own size.
const AT_ONCE: usize = 800;

/// What one relay could do.
struct Probe {
    attach: Latency,
    drained: f64,
    sent: f64,
    /// Bytes written to the disk for each byte of an envelope.
    amplification: f64,
    /// The same for what is drained.
    drain_amplification: f64,
    drain_cpu: f64,
    bytes_on_disk: f64,
    opened_s: f64,
}

/// The mailboxes that are looked at: some to attach to, some to drain, some to send to.
struct Chosen {
    attach: Vec<Rc<Mailbox>>,
    drain: Vec<Rc<Mailbox>>,
    send: Vec<Rc<Mailbox>>,
}

fn random_places(count: usize) -> Vec<[u8; 16]> {
    let mut rng = rand::rng();
    let mut places: Vec<[u8; 16]> = (0..count)
        .map(|_| {
            let mut place = [0; 16];
            rng.fill_bytes(&mut place);
            place
        })
        .collect();
    places.sort_unstable();
    places
}

/// A relay's folder with `mailboxes` mailboxes of ten envelopes each, and some of them.
async fn seed(
    bench: &Bench,
    mailboxes: usize,
    probes: usize,
) -> Result<(TempDir, Chosen), Trouble> {
    let setup = RelaySetup::default();
    // The relay makes its keys and its schema itself.
    let home = bench.launcher.relay(&setup).await?.stop().await?;
    let none = std::collections::BTreeMap::<&str, &str>::new();
    let config = Config::load(Some(&home.path().join("relay.toml")), none)
        .map_err(|error| Trouble::new(error.to_string()))?;
    let seeding = Seeding::open(&config)
        .await
        .map_err(|error| Trouble::new(error.to_string()))?;
    let one = Mailbox::random(&mut crate::random::os());
    let bodies: Vec<Bytes> = (0..EACH)
        .map(|number| {
            let mut body = noise(ENVELOPE_BYTES);
            Stamp { number, at_ns: 0 }.write(&mut body);
            body.into()
        })
        .collect();
    let places = random_places(mailboxes);
    let began = Instant::now();
    let mut filled = 0_usize;
    // A line for each twentieth.
    let step = (mailboxes / 20).max(1);
    for chunk in places.chunks(AT_ONCE) {
        let ids: Vec<MailboxId> = chunk
            .iter()
            .map(|place| seeding.mailbox_at(place))
            .collect();
        if !seeding.fill(&ids, one.keys(), &bodies).await {
            return Err(Trouble::new(
                "the database could not be filled: is the disk full?",
            ));
        }
        filled += ids.len();
        if filled == mailboxes || filled / step > (filled - ids.len()) / step {
            let rate = (filled as u64 * EACH) as f64 / began.elapsed().as_secs_f64().max(1e-9);
            bench.progress.line(&format!(
                "{:.0} % filled, {rate:.0} envelopes/s",
                filled as f64 / mailboxes as f64 * 100.0
            ));
        }
    }
    let stride = (mailboxes / (3 * probes)).max(1);
    let mut chosen = places
        .iter()
        .step_by(stride)
        .map(|place| Rc::new(one.twin(seeding.mailbox_at(place))));
    let (mut attach, mut drain, mut send) = (vec![], vec![], vec![]);
    while let (Some(first), Some(second), Some(third)) =
        (chosen.next(), chosen.next(), chosen.next())
    {
        attach.push(first);
        drain.push(second);
        send.push(third);
        if attach.len() == probes {
            break;
        }
    }
    seeding.close().await;
    let chosen = Chosen {
        attach,
        drain,
        send,
    };
    Ok((home, chosen))
}

async fn probe(bench: &Bench, home: TempDir, chosen: &Chosen) -> Result<Probe, Trouble> {
    let began = Instant::now();
    let relay = bench
        .launcher
        .relay_in(home, &RelaySetup::default())
        .await?;
    let opened_s = began.elapsed().as_secs_f64();
    let (dial, process) = (relay.child.dial()?, relay.child.process());
    let mut attach = histogram();
    for mailbox in &chosen.attach {
        let mut door = Door::enter(&dial).await?;
        let began = Instant::now();
        mailbox.attach(&mut door, 1).await?;
        attach.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    bench.progress.line("drains");
    let before = process.bytes_written();
    let (drained, _) = drain_all(&dial, process, &chosen.drain, EACH).await?;
    folded(&relay).await;
    let payload = (chosen.drain.len() as u64 * EACH * 1_024) as f64;
    let drain_amplification = (process.bytes_written() - before) / payload.max(1.0);
    bench.progress.line("sends");
    let before = process.bytes_written();
    let mut rng = crate::random::os();
    let (sent, _) = store_for(&dial, process, &chosen.send, EACH, &mut rng).await?;
    folded(&relay).await;
    let payload = (chosen.send.len() as u64 * EACH * 1_024) as f64;
    let amplification = (process.bytes_written() - before) / payload.max(1.0);
    let bytes_on_disk = bytes_on_disk(&relay.data()) as f64;
    relay.stop().await?;
    Ok(Probe {
        attach: Latency::from(&attach),
        drained: drained.rate,
        sent: sent.rate,
        amplification,
        drain_amplification,
        drain_cpu: drained.relay_cpu_s_per_1k,
        bytes_on_disk,
        opened_s,
    })
}

/// Runs the job.
pub(in crate::load) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let envelopes = bench.plan.scale_envelopes;
    let mailboxes = usize::try_from(envelopes / EACH)
        .unwrap_or(usize::MAX)
        .max(3);
    let probes = PROBES.min(mailboxes / 10).max(1);
    bench.progress.begin("Scale, an empty database");
    let (home, chosen) = seed(bench, 3 * probes, probes).await?;
    let empty = probe(bench, home, &chosen).await?;
    bench.progress.begin("Scale, a full one");
    let (home, chosen) = seed(bench, mailboxes, probes).await?;
    let full = probe(bench, home, &chosen).await?;

    let title = format!("Scale, {envelopes} envelopes over {mailboxes} mailboxes");
    let beside = format!("a database of {} mailboxes", 3 * probes);
    Ok(vec![
        JobReport::new(
            "scale-attach",
            &format!("{title}: p50 of an attach"),
            full.attach.p50_ms,
            "ms",
        )
        .beside(empty.attach.p50_ms, &beside)
        .aims_at(Target::RatioAtMost(2.0))
        .note("What the relay reads may still lie in the system's page cache from filling it.")
        .detail("p99_ms", full.attach.p99_ms)
        .detail("empty_p99_ms", empty.attach.p99_ms)
        .detail("bytes_on_disk", full.bytes_on_disk)
        .detail("relay_start_s", full.opened_s)
        .detail("empty_relay_start_s", empty.opened_s),
        JobReport::new(
            "scale-send",
            "Scale: stored for absent devices",
            full.sent,
            "envelopes/s",
        )
        .beside(empty.sent, &beside)
        .aims_at(Target::RatioAtLeast(0.5)),
        JobReport::new("scale-drain", "Scale: drained", full.drained, "envelopes/s")
            .beside(empty.drained, &beside)
            .aims_at(Target::RatioAtLeast(0.5))
            .detail("cpu_s_per_1k", full.drain_cpu)
            .detail("empty_cpu_s_per_1k", empty.drain_cpu),
        JobReport::new(
            "scale-written",
            "Scale: bytes written to the disk per byte",
            full.amplification,
            "B/B",
        )
        .beside(empty.amplification, &beside)
        .aims_at(Target::FigureAtMost(4.0))
        .detail("while_draining", full.drain_amplification)
        .note(format!(
            "{} envelopes to {} mailboxes all over the table.",
            chosen.send.len() as u64 * EACH,
            chosen.send.len()
        )),
    ])
}
