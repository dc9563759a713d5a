//! J1: from sender to recipient, both attached.

use super::{Bench, median};
use crate::load::course::{Outcome, Pace};
use crate::load::report::{JobReport, Plot, Target};
use crate::load::trouble::Trouble;

const ECHO: &str = "the bare echo, one hop, nothing stored";
/// Share of the maximum rate that the open loop asks for.
const OPEN_SHARE: f64 = 0.7;
/// p99 that many pairs, or a busy relay, must stay below.
const P99_MS: f64 = 25.0;

/// Relay and echo in turns, and of each the run in the middle.
async fn in_turns(
    bench: &Bench,
    title: &str,
    pairs: u32,
    window: u32,
    by: impl Fn(&Outcome) -> f64 + Copy,
) -> Result<(Outcome, Outcome), Trouble> {
    let course = bench.plan.course(pairs, Pace::Window(window));
    let (mut relay, mut echo) = (vec![], vec![]);
    for _ in 0..bench.plan.rounds {
        echo.push(bench.over_echo(title, course).await?);
        relay.push(bench.over_relay(title, course).await?);
    }
    let none = || Trouble::new("no round was run");
    Ok((
        median(relay, by).ok_or_else(none)?,
        median(echo, by).ok_or_else(none)?,
    ))
}

/// Rate and latency of each second.
fn plots(title: &str, runs: &[(&str, &Outcome)]) -> Vec<Plot> {
    let seconds = |y: &str, log, of: fn(&crate::load::tally::Second) -> f64| Plot {
        title: format!("{title}, {y}"),
        x: "seconds".into(),
        y: y.into(),
        log,
        lines: runs
            .iter()
            .map(|(name, run)| {
                let points = run.seconds.iter().map(|second| (second.at, of(second)));
                ((*name).to_owned(), points.collect())
            })
            .collect(),
    };
    let spread = Plot {
        title: format!("{title}, how long messages took"),
        x: "nines of messages (1 = 90 %, 2 = 99 %)".into(),
        y: "milliseconds".into(),
        log: true,
        lines: runs
            .iter()
            .map(|(name, run)| {
                let points = run.spread.iter().map(|(q, ms)| (-(1.0 - q).log10(), *ms));
                ((*name).to_owned(), points.collect())
            })
            .collect(),
    };
    vec![
        seconds("messages a second", false, |second| second.rate),
        seconds("p99 in milliseconds", true, |second| second.p99_ms),
        spread,
    ]
}

fn with_plots(mut job: JobReport, runs: &[(&str, &Outcome)]) -> JobReport {
    let title = job.title.split(": ").next().unwrap_or_default().to_owned();
    job.plots = plots(&title, runs);
    job
}

/// Runs J1.
pub(in crate::load) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let plan = &bench.plan;
    let title = format!("J1, {} pairs, window {}", plan.pairs, plan.window);
    let (busy, echo) = in_turns(bench, &title, plan.pairs, plan.window, |run| run.rate).await?;
    let rate = JobReport::new("j1", &format!("{title}: rate"), busy.rate, "messages/s")
        .beside(echo.rate, ECHO)
        .aims_at(Target::RatioAtLeast(0.5))
        .of_run(&busy)
        .detail(
            "echo_cpu_by_relay_cpu",
            echo.server_cpu_s_per_1k / busy.server_cpu_s_per_1k.max(1e-9),
        )
        .detail("echo_p50_ms", echo.delivery.p50_ms)
        .detail("echo_p99_ms", echo.delivery.p99_ms)
        .detail("echo_cpu_s_per_1k", echo.server_cpu_s_per_1k)
        .detail("echo_cores", echo.server_cores)
        .detail("echo_generator_cores", echo.generator_cores);
    let rate = with_plots(rate, &[("relay", &busy), ("bare echo", &echo)]);

    let alone = "J1, 1 pair, window 1";
    let by = |run: &Outcome| run.acknowledgement.p50_ms;
    let (one, echo_one) = in_turns(bench, alone, 1, 1, by).await?;
    let base = echo_one.delivery.p50_ms;
    let delivered = JobReport::new(
        "j1-delivered",
        &format!("{alone}: p50 to the recipient"),
        one.delivery.p50_ms,
        "ms",
    )
    .beside(base, ECHO)
    .aims_at(Target::RatioAtMost(2.5))
    .of_run(&one);
    let delivered = with_plots(delivered, &[("relay", &one), ("bare echo", &echo_one)]);
    let acknowledged = JobReport::new(
        "j1-acknowledged",
        &format!("{alone}: p50 to the sender's OK"),
        one.acknowledgement.p50_ms,
        "ms",
    )
    .beside(base, ECHO)
    .aims_at(Target::RatioAtMost(2.5))
    .of_run(&one)
    .note("To OK it is twice the echo's way: to the recipient, its acknowledgement, and back.");

    let title = format!("J1, {} pairs, window {}", plan.pairs_many, plan.window);
    let course = plan.course(plan.pairs_many, Pace::Window(plan.window));
    let many = bench.over_relay(&title, course).await?;
    let fifty = format!("the same with {} pairs", plan.pairs);
    let many_rate = JobReport::new(
        "j1-many",
        &format!("{title}: rate"),
        many.rate,
        "messages/s",
    )
    .beside(busy.rate, &fifty)
    .aims_at(Target::RatioAtLeast(0.8))
    .of_run(&many);
    let many_rate = with_plots(many_rate, &[("relay", &many)]);

    let asked = busy.rate * OPEN_SHARE;
    let title = format!("J1, open loop at {:.0} %", OPEN_SHARE * 100.0);
    let course = plan.course(plan.pairs, Pace::Rate(asked));
    let open = bench.over_relay(&title, course).await?;
    let open_p99 = JobReport::new(
        "j1-open-p99",
        &format!("{title}: p99 to the recipient"),
        open.delivery.p99_ms,
        "ms",
    )
    .aims_at(Target::FigureBelow(P99_MS))
    .of_run(&open)
    .detail("asked_per_s", asked)
    .note("Latency counts from the intended moment of sending, which a timer keeps within a millisecond.");
    let open_p99 = with_plots(open_p99, &[("relay", &open)]);
    let open_rate = JobReport::new(
        "j1-open",
        &format!("{title}: rate"),
        open.rate,
        "messages/s",
    )
    .beside(asked, "the rate that was asked for")
    .of_run(&open);
    Ok(vec![
        rate,
        delivered,
        acknowledged,
        many_rate,
        open_rate,
        open_p99,
    ])
}
