//! One contact floods one mailbox, under the limits that a relay has by default.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::heard::Heard;
use super::rows::Scene;
use crate::load::child::RelaySetup;
use crate::load::jobs::Bench;
use crate::load::pairs::{Arrivals, unexpected};
use crate::load::people::attached;
use crate::load::report::{JobReport, Target};
use crate::load::tally::count;
use crate::load::trouble::Trouble;
use crate::load::wire::{Connection, FIRST_REQUEST, Seen, Stamp, Template};

/// Bytes that wait for the socket: it never runs dry.
const AHEAD_BYTES: usize = 64 * 1_024;
/// Envelopes that the recipient lets the relay send ahead.
const WINDOW: u32 = 256;
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the flooder and its recipient share.
#[derive(Default)]
struct Flood {
    stopped: Cell<bool>,
    sent: Cell<u64>,
    heard: RefCell<Heard>,
    /// Envelopes with their recipient, and those that came again.
    came: Cell<u64>,
    doubled: Cell<u64>,
}

/// Sends whatever the socket takes.
async fn send(
    mut connection: Connection,
    mut template: Template,
    flood: Rc<Flood>,
) -> Result<(), Trouble> {
    let mut answered = 0;
    while !flood.stopped.get() || answered < flood.sent.get() {
        while !flood.stopped.get() && connection.output.len() < AHEAD_BYTES {
            let number = flood.sent.get();
            let stamp = Stamp { number, at_ns: 0 };
            template.put(&mut connection.output, FIRST_REQUEST + number, stamp);
            count(&flood.sent);
        }
        if flood.stopped.get() {
            connection.turn().await?;
        } else {
            connection.press().await?;
        }
        while let Some(seen) = connection.next()? {
            if flood.heard.borrow_mut().take(&seen)? {
                answered += 1;
            }
        }
    }
    Ok(())
}

/// Reads and acknowledges, until it is dropped.
async fn receive(mut connection: Connection, flood: Rc<Flood>) -> Result<(), Trouble> {
    let mut arrivals = Arrivals::default();
    loop {
        connection.turn().await?;
        let mut through = None;
        while let Some(seen) = connection.next()? {
            let Seen::Deliver { number, stamp } = seen else {
                unexpected(seen)?;
                continue;
            };
            through = Some(number);
            count(if arrivals.take(stamp.number) {
                &flood.came
            } else {
                &flood.doubled
            });
        }
        if let Some(through) = through {
            connection.put_acknowledgement(through);
        }
    }
}

/// Runs it.
pub(super) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let title = "Flood, one contact";
    bench.progress.begin(title);
    let setup = RelaySetup {
        limits: vec![],
        metrics: false,
    };
    let relay = bench.launcher.relay(&setup).await?;
    let (dial, process) = (relay.child.dial()?, relay.child.process());
    let mut rng = crate::random::os();
    let (_, from) = attached(&dial, &mut rng, WINDOW).await?;
    let (mailbox, to) = attached(&dial, &mut rng, WINDOW).await?;
    let template = Template::new(mailbox.id, &mailbox.grant(), &mut rng);
    let scene = Scene::set(bench, &dial, process).await?;

    bench.progress.line("the flood begins");
    let during = scene.begin().await?;
    let flood = Rc::new(Flood::default());
    let mut tasks = JoinSet::new();
    tasks.spawn_local(receive(to, Rc::clone(&flood)));
    let began = Instant::now();
    let sending = async {
        let stop = async {
            sleep(bench.plan.flood).await;
            // On a machine that is slow it takes longer before it is too much.
            while flood.heard.borrow().refused() == 0 {
                sleep(LOOK_EVERY).await;
            }
            flood.stopped.set(true);
            Ok(())
        };
        tokio::try_join!(send(from, template, Rc::clone(&flood)), stop)
    };
    timeout(bench.plan.flood + PATIENCE, sending)
        .await
        .map_err(|_| Trouble::new("the relay leaves a flood without an answer"))??;
    let seconds = began.elapsed().as_secs_f64();
    let rows = during.end("contact", title).await?;
    // What was written first is still on its way to its recipient.
    let arriving = async {
        while flood.came.get() < flood.heard.borrow().accepted {
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        _ = timeout(PATIENCE, arriving) => {}
        Some(ended) = tasks.join_next() => {
            ended.map_err(|error| Trouble::new(error.to_string()))??;
        }
    }
    relay.stop().await?;

    let (heard, sent) = (flood.heard.borrow().clone(), flood.sent.get() as f64);
    let mut refused = JobReport::new(
        "flood-contact-refused",
        &format!("{title}: refused at once"),
        heard.refused() as f64 / sent.max(1.0) * 100.0,
        "%",
    )
    .detail("offered_per_s", sent / seconds)
    .detail("accepted_per_s", heard.accepted as f64 / seconds)
    .detail("slow_down", heard.slow_down as f64)
    .detail("full", heard.full as f64)
    .note("It sends what its socket takes; limits are as a relay has them by default.");
    refused.lost = Some(heard.accepted.saturating_sub(flood.came.get()));
    refused.doubled = Some(flood.doubled.get());
    let unexplained = JobReport::new(
        "flood-contact-unexplained",
        &format!("{title}: refused without a reason and a time"),
        heard.unexplained as f64,
        "refusals",
    )
    .aims_at(Target::FigureAtMost(0.0))
    .detail("refusals", heard.refused() as f64)
    .detail("longest_retry_ms", f64::from(heard.retry_ms_max));
    Ok(rows.into_iter().chain([refused, unexplained]).collect())
}
