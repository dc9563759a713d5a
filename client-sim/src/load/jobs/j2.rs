//! J2: envelopes for absent devices, stored; then their devices come.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kinline_server::measure::spooled;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Bench;
use crate::load::baseline::inserts;
use crate::load::child::{RelayChild, RelaySetup};
use crate::load::pairs::{Pending, unexpected};
use crate::load::people::{Door, Mailbox, attached};
use crate::load::process::{Process, bytes_on_disk};
use crate::load::report::{JobReport, Target};
use crate::load::tally::{Latency, Tally, count};
use crate::load::trouble::Trouble;
use crate::load::wire::{Connection, Dial, FIRST_REQUEST, Seen, Stamp, Template};

/// Senders, and unanswered Sends of each: enough that a group can gather while another is written.
const SENDERS: usize = 50;
const WINDOW: u64 = 32;
/// How long storing or draining may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Envelopes that a recipient lets the relay send ahead: what the protocol allows.
const CREDIT: u32 = 256;

/// What storing or draining took.
pub(super) struct Phase {
    pub(super) rate: f64,
    pub(super) latency: Latency,
    pub(super) relay_cpu_s_per_1k: f64,
    relay_cores: f64,
    generator_cores: f64,
}

impl Phase {
    fn onto(&self, mut job: JobReport) -> JobReport {
        job.relay_cpu_s_per_1k = Some(self.relay_cpu_s_per_1k);
        job.relay_cores = Some(self.relay_cores);
        job.generator_cores = Some(self.generator_cores);
        job.generator_was_the_bottleneck = self.generator_cores > 0.9 && self.relay_cores < 0.9;
        job.detail("p50_ms", self.latency.p50_ms)
            .detail("p99_ms", self.latency.p99_ms)
    }
}

/// Times `work` on `messages` messages.
async fn phase(
    relay: Process,
    messages: u64,
    tally: &Tally,
    work: impl Future<Output = Result<(), Trouble>>,
) -> Result<Phase, Trouble> {
    let usage = || {
        (
            Instant::now(),
            relay.cpu_seconds(),
            Process::own().cpu_seconds(),
        )
    };
    let (began, relay_before, own_before) = usage();
    timeout(PATIENCE, work)
        .await
        .map_err(|_| Trouble::new("storing or draining did not come to an end"))??;
    let (ended, relay_after, own_after) = usage();
    let took = (ended - began).as_secs_f64().max(1e-9);
    let messages = messages as f64;
    let (delivery, acknowledgement) = tally.latencies();
    Ok(Phase {
        rate: messages / took,
        latency: Latency::from(if delivery.is_empty() {
            &acknowledgement
        } else {
            &delivery
        }),
        relay_cpu_s_per_1k: (relay_after - relay_before) / messages.max(1.0) * 1_000.0,
        relay_cores: (relay_after - relay_before) / took,
        generator_cores: (own_after - own_before) / took,
    })
}

async fn all(mut tasks: JoinSet<Result<(), Trouble>>) -> Result<(), Trouble> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Trouble::new(error.to_string()))??;
    }
    Ok(())
}

/// One sender's share: `each` envelopes to each of its recipients, in turns.
async fn store(
    mut connection: Connection,
    mut templates: Vec<Template>,
    each: u64,
    tally: Rc<Tally>,
) -> Result<(), Trouble> {
    let recipients = templates.len() as u64;
    let total = each * recipients;
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let mut pending = Pending::new();
    while answered < total {
        while sent < total && sent - answered < WINDOW {
            let at = usize::try_from(sent % recipients.max(1)).unwrap_or_default();
            let Some(template) = templates.get_mut(at) else {
                return Err(Trouble::new("no recipient"));
            };
            let at_ns = tally.now_ns();
            let number = sent / recipients;
            pending.put(sent, at_ns);
            template.put(
                &mut connection.output,
                FIRST_REQUEST + sent,
                Stamp { number, at_ns },
            );
            sent += 1;
            count(&tally.sent);
        }
        connection.turn().await?;
        while let Some(seen) = connection.next()? {
            match seen {
                Seen::Answer {
                    request_id, status, ..
                } => {
                    answered += 1;
                    if Seen::is_ok(status) {
                        tally.note_acknowledgement(pending.take(request_id - FIRST_REQUEST));
                    } else {
                        count(&tally.refused);
                    }
                }
                other => unexpected(other)?,
            }
        }
    }
    Ok(())
}

/// One recipient: attaches, takes and acknowledges until it has all that is for it.
async fn drain(
    mailbox: Rc<Mailbox>,
    mut door: Door,
    each: u64,
    tally: Rc<Tally>,
) -> Result<(), Trouble> {
    let began = tally.now_ns();
    door.connection.output.reserve(256);
    mailbox.ask_to_attach(&mut door, CREDIT);
    let mut connection = door.connection;
    let mut seen_numbers = HashSet::new();
    while (seen_numbers.len() as u64) < each {
        connection.turn().await?;
        let mut through = None;
        while let Some(seen) = connection.next()? {
            match seen {
                Seen::Deliver { number, stamp } => {
                    through = Some(number);
                    if seen_numbers.insert(stamp.number) {
                        tally.note_delivery(began);
                    } else {
                        count(&tally.doubled);
                    }
                }
                other => unexpected(other)?,
            }
        }
        if let Some(through) = through {
            connection.put_acknowledgement(through);
        }
    }
    connection.flush().await?;
    // Ends when the relay has read the acknowledgement: a ping's answer comes after it.
    connection.ping().await
}

/// Stores `each` envelopes for every mailbox; none of their devices is there.
pub(super) async fn store_for(
    dial: &Dial,
    relay: Process,
    mailboxes: &[Rc<Mailbox>],
    each: u64,
    rng: &mut rand::rngs::StdRng,
) -> Result<(Phase, Rc<Tally>), Trouble> {
    let tally = Rc::new(Tally::new());
    tally.measuring.set(true);
    let mut tasks = Vec::new();
    for share in mailboxes.chunks(mailboxes.len().div_ceil(SENDERS).max(1)) {
        let (_, connection) = attached(dial, rng, 1).await?;
        let templates = share
            .iter()
            .map(|mailbox| Template::new(mailbox.id, &mailbox.grant(), rng))
            .collect();
        tasks.push(store(connection, templates, each, Rc::clone(&tally)));
    }
    let work = async {
        let mut set = JoinSet::new();
        for task in tasks {
            set.spawn_local(task);
        }
        all(set).await
    };
    let phase = phase(relay, mailboxes.len() as u64 * each, &tally, work).await?;
    Ok((phase, tally))
}

/// Lets every mailbox's device come and take `each` envelopes. Doors are opened before the
/// clock starts: what a handshake costs is not what is asked here.
pub(super) async fn drain_all(
    dial: &Dial,
    relay: Process,
    mailboxes: &[Rc<Mailbox>],
    each: u64,
) -> Result<(Phase, Rc<Tally>), Trouble> {
    let tally = Rc::new(Tally::new());
    tally.measuring.set(true);
    let mut doors = Vec::new();
    for mailbox in mailboxes {
        doors.push((Rc::clone(mailbox), Door::enter(dial).await?));
    }
    let work = async {
        let mut set = JoinSet::new();
        for (mailbox, door) in doors {
            set.spawn_local(drain(mailbox, door, each, Rc::clone(&tally)));
        }
        all(set).await
    };
    let phase = phase(relay, mailboxes.len() as u64 * each, &tally, work).await?;
    Ok((phase, tally))
}

/// Mailboxes whose devices go away again.
pub(super) async fn absent(
    dial: &Dial,
    count: u32,
    rng: &mut rand::rngs::StdRng,
) -> Result<Vec<Rc<Mailbox>>, Trouble> {
    let mut door = Door::enter(dial).await?;
    let mut mailboxes = Vec::new();
    for _ in 0..count {
        let mailbox = Mailbox::random(rng);
        mailbox.open(&mut door).await?;
        mailboxes.push(Rc::new(mailbox));
    }
    Ok(mailboxes)
}

/// Waits until the relay has folded its database's log in and tidied its spool up.
pub(super) async fn folded(relay: &RelayChild) -> bool {
    let log = relay.data().join("relay.sqlite-wal");
    let spool = relay.data().join("spool");
    let busy = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|it| it.path().extension().is_none_or(|name| name != "sorted"))
    };
    for _ in 0..300 {
        sleep(Duration::from_millis(100)).await;
        let cut = std::fs::metadata(&log).map_or(0, |found| found.len()) == 0;
        if cut && !std::fs::read_dir(&spool).into_iter().flatten().any(busy) {
            return true;
        }
    }
    false
}

/// How many slots of the relay's spool hold anything.
fn slots(relay: &RelayChild) -> Result<u64, Trouble> {
    let look = spooled(&relay.data(), &relay.key_file());
    look.map(|it| it.slots)
        .map_err(|error| Trouble::new(format!("the spool can't be read: {error}")))
}

/// Waits until nothing lies in the spool any more; returns what does.
async fn forgotten(relay: &RelayChild) -> Result<(bool, u64), Trouble> {
    let mut last = (false, 0);
    // A tidy spool may be one that the deletions have not reached yet.
    for _ in 0..20 {
        let cut = folded(relay).await;
        last = (cut, slots(relay)?);
        if let (true, 0) = last {
            break;
        }
    }
    Ok(last)
}

/// Runs J2.
pub(in crate::load) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let plan = &bench.plan;
    let each = u64::from(plan.absent_envelopes / plan.absent_recipients.max(1));
    let total = each * u64::from(plan.absent_recipients);
    let bare = inserts::run(bench, plan.insert_rows).await?;

    bench.progress.begin("J2, storing");
    let relay = bench.launcher.relay(&RelaySetup::default()).await?;
    let dial = relay.child.dial()?;
    let process = relay.child.process();
    let mut rng = crate::random::os();
    let mailboxes = absent(&dial, plan.absent_recipients, &mut rng).await?;
    folded(&relay).await;
    let empty = bytes_on_disk(&relay.data());
    let written_before = process.bytes_written();
    let (stored, storing) = store_for(&dial, process, &mailboxes, each, &mut rng).await?;
    let with_log = bytes_on_disk(&relay.data()).saturating_sub(empty);
    let cut = folded(&relay).await;
    let written = process.bytes_written() - written_before;
    let on_disk = bytes_on_disk(&relay.data()).saturating_sub(empty);
    let there = slots(&relay)?;

    bench.progress.begin("J2, draining");
    let (drained, draining) = drain_all(&dial, process, &mailboxes, each).await?;
    let (cut_again, left) = forgotten(&relay).await?;
    relay.stop().await?;

    let title = format!(
        "J2, {total} envelopes to {} absent devices",
        plan.absent_recipients
    );
    let payload = total as f64 * 1_024.0;
    let stored_row = JobReport::new(
        "j2-stored",
        &format!("{title}: stored"),
        stored.rate,
        "envelopes/s",
    )
    .beside(bare, "batched inserts into a table of SQLite")
    .aims_at(Target::RatioAtLeast(0.7))
    .detail("refused", storing.refused.get() as f64)
    .note(format!(
        "{SENDERS} senders with {WINDOW} unanswered Sends of one envelope each."
    ));
    let mut drained_row = JobReport::new("j2-drained", "J2: drained", drained.rate, "envelopes/s")
        .beside(stored.rate, "stored")
        .aims_at(Target::RatioAtLeast(1.0));
    drained_row.lost = Some(
        storing
            .acknowledged
            .get()
            .saturating_sub(draining.delivered.get()),
    );
    drained_row.doubled = Some(draining.doubled.get());
    let mut bytes = JobReport::new(
        "j2-bytes",
        "J2: bytes on disk per byte",
        on_disk as f64 / payload,
        "B/B",
    )
    .aims_at(Target::FigureAtMost(1.3))
    .detail("before_it_was_tidied_up", with_log as f64 / payload)
    .detail("bytes_written_per_byte", written / payload);
    if !cut {
        bytes = bytes.note("The relay did not come to rest within 30 s.");
    }
    let mut remains = JobReport::new(
        "j2-remains",
        "J2: slots of the spool still in use after drain and tidying",
        left as f64,
        "envelopes",
    )
    .aims_at(Target::FigureAtMost(0.0))
    .detail("slots_before", there as f64);
    if there != total {
        // A count that is wrong says nothing.
        remains.ok = None;
        remains = remains.note("They were not counted right before the drain either.");
    }
    if !cut_again {
        remains = remains.note("The relay did not come to rest within 30 s.");
    }
    Ok(vec![
        stored.onto(stored_row),
        drained.onto(drained_row),
        bytes,
        remains,
    ])
}
