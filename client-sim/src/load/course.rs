//! How a run goes: warm up, measure, stop, count what is missing.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant as Moment, sleep_until, timeout};

use super::process::Process;
use super::progress::Progress;
use super::tally::{Latency, Second, Tally};
use super::trouble::Trouble;

/// How long what was sent may take to arrive after the end.
const TAIL: Duration = Duration::from_secs(30);

/// When to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// Closed loop: at most so many unacknowledged for each sender.
    Window(u32),
    /// Open loop: so many each second from all senders together, whatever comes back.
    Rate(f64),
}

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) pairs: u32,
    pub(super) pace: Pace,
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    /// Messages a second that were acknowledged while it was measured.
    pub(super) rate: f64,
    /// From the intended moment of sending to the recipient.
    pub(super) delivery: Latency,
    /// From the intended moment of sending to the sender's `OK`.
    pub(super) acknowledgement: Latency,
    pub(super) seconds: Vec<Second>,
    /// Percentile and milliseconds, for the plot.
    #[serde(skip)]
    pub(super) spread: Vec<(f64, f64)>,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    pub(super) refused: u64,
    /// Acknowledged and not with the recipient.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// CPU of the relay or baseline for a thousand messages.
    pub(super) server_cpu_s_per_1k: f64,
    /// Its share of a core.
    pub(super) server_cores: f64,
    /// Ours.
    pub(super) generator_cores: f64,
}

/// CPU of both sides up to a moment.
struct Usage {
    at: Instant,
    own: f64,
    server: f64,
    acknowledged: u64,
}

impl Usage {
    fn now(tally: &Tally, server: Process) -> Self {
        Self {
            at: Instant::now(),
            own: Process::own().cpu_seconds(),
            server: server.cpu_seconds(),
            acknowledged: tally.acknowledged.get(),
        }
    }
}

/// Lets `tasks` run through a course, and tells what came of it.
pub(super) async fn conduct(
    course: Course,
    tally: &Rc<Tally>,
    mut tasks: JoinSet<Result<(), Trouble>>,
    server: Process,
    progress: &Progress,
) -> Result<Outcome, Trouble> {
    let measure = async {
        tokio::time::sleep(course.warm_up).await;
        tally.measuring.set(true);
        let start = Usage::now(tally, server);
        let mut seconds = Vec::new();
        let (mut last_at, mut last) = (start.at, start.acknowledged);
        let end = Moment::from_std(start.at + course.measured);
        // Whoever set it running may also end it.
        while Moment::now() < end && !tally.stopped.get() {
            sleep_until(end.min(Moment::now() + Duration::from_secs(1))).await;
            let (at, acknowledged) = (Instant::now(), tally.acknowledged.get());
            let latency = tally.recently();
            let second = Second {
                at: (at - start.at).as_secs_f64(),
                rate: (acknowledged - last) as f64 / (at - last_at).as_secs_f64().max(1e-9),
                p50_ms: latency.p50_ms,
                p99_ms: latency.p99_ms,
            };
            progress.second(&second, course.measured);
            seconds.push(second);
            (last_at, last) = (at, acknowledged);
        }
        let stop = Usage::now(tally, server);
        tally.measuring.set(false);
        tally.stopped.set(true);
        (start, stop, seconds)
    };
    let mut measure = pin!(measure);
    let (start, stop, seconds) = loop {
        tokio::select! {
            measured = &mut measure => break measured,
            Some(ended) = tasks.join_next() => {
                ended.map_err(|error| Trouble::new(error.to_string()))??;
                if !tally.stopped.get() {
                    return Err(Trouble::new("a device stopped before the end"));
                }
            }
        }
    };
    let tail = async {
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| Trouble::new(error.to_string()))??;
        }
        Ok::<(), Trouble>(())
    };
    // Whoever is not done by then waits for what was lost.
    if let Ok(ended) = timeout(TAIL, tail).await {
        ended?;
    }
    let took = (stop.at - start.at).as_secs_f64().max(1e-9);
    let messages = (stop.acknowledged - start.acknowledged) as f64;
    let (delivery, acknowledgement) = tally.latencies();
    Ok(Outcome {
        rate: messages / took,
        spread: spread(&delivery),
        delivery: Latency::from(&delivery),
        acknowledgement: Latency::from(&acknowledgement),
        seconds,
        sent: tally.sent.get(),
        acknowledged: tally.acknowledged.get(),
        delivered: tally.delivered.get(),
        refused: tally.refused.get(),
        lost: tally
            .acknowledged
            .get()
            .saturating_sub(tally.delivered.get()),
        doubled: tally.doubled.get(),
        server_cpu_s_per_1k: (stop.server - start.server) / messages.max(1.0) * 1_000.0,
        server_cores: (stop.server - start.server) / took,
        generator_cores: (stop.own - start.own) / took,
    })
}

fn spread(histogram: &hdrhistogram::Histogram<u64>) -> Vec<(f64, f64)> {
    [
        0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999,
    ]
    .map(|quantile| {
        let ms = histogram.value_at_quantile(quantile) as f64 / 1e6;
        (quantile, ms)
    })
    .to_vec()
}

impl Outcome {
    /// Whether the generator had nothing left to give while the other side had.
    pub(super) fn generator_was_the_bottleneck(&self) -> bool {
        self.generator_cores > 0.9 && self.server_cores < 0.9
    }
}
