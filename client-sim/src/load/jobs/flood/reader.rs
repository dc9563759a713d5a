//! A device attaches and never reads, while others send to it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::heard::Heard;
use super::rows::Scene;
use crate::load::child::RelaySetup;
use crate::load::jobs::Bench;
use crate::load::pairs::{Arrivals, unexpected};
use crate::load::people::{Door, Mailbox, attached};
use crate::load::report::{JobReport, Target};
use crate::load::trouble::Trouble;
use crate::load::wire::{Connection, Dial, FIRST_REQUEST, Seen, Stamp, Template};

/// Senders, and unanswered Sends of each.
const SENDERS: u64 = 4;
const WINDOW: u64 = 32;
/// Envelopes that the reader asks for ahead: what the protocol allows.
const AHEAD: u32 = 256;
/// Bytes that the reader's system takes for it: so what it does not read stays with the relay.
const RECEIVE_BYTES: u32 = 4_096;
/// How long a mailbox may take to be full, and to be drained.
const PATIENCE: Duration = Duration::from_secs(300);

/// Sends with a window until it hears that the mailbox is full: then it waits as it was told.
async fn send(
    mut connection: Connection,
    mut template: Template,
    number: u64,
    heard: Rc<RefCell<Heard>>,
) -> Result<(), Trouble> {
    let (mut sent, mut answered) = (0, 0);
    loop {
        let is_full = heard.borrow().full > 0;
        while !is_full && sent - answered < WINDOW {
            let stamp = Stamp {
                // Unlike those of the other senders.
                number: sent * SENDERS + number,
                at_ns: 0,
            };
            template.put(&mut connection.output, FIRST_REQUEST + sent, stamp);
            sent += 1;
        }
        if is_full && sent == answered {
            return Ok(());
        }
        connection.turn().await?;
        while let Some(seen) = connection.next()? {
            if heard.borrow_mut().take(&seen)? {
                answered += 1;
            }
        }
    }
}

/// Attaches anew and takes everything; how many were there once, and again.
async fn drain(dial: &Dial, mailbox: &Mailbox) -> Result<(u64, u64), Trouble> {
    let mut door = Door::enter(dial).await?;
    let waiting = mailbox.attach(&mut door, AHEAD).await?;
    let mut connection = door.connection;
    let mut arrivals: Vec<Arrivals> = (0..SENDERS).map(|_| Arrivals::default()).collect();
    let (mut came, mut again) = (0, 0);
    while came + again < waiting {
        let mut through = None;
        while let Some(seen) = connection.next()? {
            let Seen::Deliver { number, stamp } = seen else {
                unexpected(seen)?;
                continue;
            };
            through = Some(number);
            let of = usize::try_from(stamp.number % SENDERS).unwrap_or_default();
            let arrivals = arrivals.get_mut(of);
            if arrivals.is_some_and(|arrivals| arrivals.take(stamp.number)) {
                came += 1;
            } else {
                again += 1;
            }
        }
        if let Some(through) = through {
            connection.put_acknowledgement(through);
        }
        if came + again < waiting {
            connection.turn().await?;
        }
    }
    connection.ping().await?;
    Ok((came, again))
}

/// Runs it.
pub(super) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let title = "Flood, a reader that never reads";
    bench.progress.begin(title);
    let holds = bench.plan.flood_mailbox;
    let setup = RelaySetup::default().with("mailbox_envelopes", holds.into());
    let relay = bench.launcher.relay(&setup).await?;
    let (dial, process) = (relay.child.dial()?, relay.child.process());
    let mut rng = crate::random::os();
    let mut small = dial.clone();
    small.receive_bytes = Some(RECEIVE_BYTES);
    let (mailbox, reader) = attached(&small, &mut rng, AHEAD).await?;
    let scene = Scene::set(bench, &dial, process).await?;

    bench.progress.line("the flood begins");
    let during = scene.begin().await?;
    let heard = Rc::new(RefCell::new(Heard::default()));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for number in 0..SENDERS {
        let (_, from) = attached(&dial, &mut rng, AHEAD).await?;
        let template = Template::new(mailbox.id, &mailbox.grant(), &mut rng);
        tasks.spawn_local(send(from, template, number, Rc::clone(&heard)));
    }
    let filled = async {
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| Trouble::new(error.to_string()))??;
        }
        Ok::<_, Trouble>(())
    };
    // A sender that hears nothing but silence is told in the row.
    let in_time = timeout(PATIENCE, filled).await;
    let took = began.elapsed();
    let is_full = matches!(in_time, Ok(Ok(())));
    if let Ok(ended) = in_time {
        ended?;
    }
    // The relay has the reader's bytes on its hands for a while longer.
    sleep_until(began + bench.plan.measured).await;
    let mut rows = during.end("reader", title).await?;
    drop(reader);
    let (came, again) = timeout(PATIENCE, drain(&dial, &mailbox))
        .await
        .map_err(|_| Trouble::new("a full mailbox could not be drained in time"))??;
    relay.stop().await?;

    let heard = heard.borrow().clone();
    let mut full = JobReport::new(
        "flood-reader-full",
        &format!("{title}: envelopes taken before its senders hear `full`"),
        heard.accepted as f64,
        "envelopes",
    )
    .beside(holds.into(), "what a mailbox may hold")
    .aims_at(Target::RatioAtMost(1.0))
    .detail("took_s", took.as_secs_f64())
    .detail("full", heard.full as f64)
    .detail("slow_down", heard.slow_down as f64)
    .detail("unexplained", heard.unexplained as f64)
    .detail("longest_retry_ms", f64::from(heard.retry_ms_max))
    .detail("drained_afterwards", came as f64);
    if !is_full || heard.unexplained > 0 {
        full.ok = Some(false);
        full = full.note("Its senders did not hear `full` with a time to wait.");
    }
    full.lost = Some(heard.accepted.saturating_sub(came));
    full.doubled = Some(again);
    rows.push(full);
    Ok(rows)
}
