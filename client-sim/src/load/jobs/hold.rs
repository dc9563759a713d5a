//! Deliver before disk: how many envelopes are never written, and what it costs to write all.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Bench;
use crate::load::child::{RelayChild, RelaySetup};
use crate::load::course::{Course, Outcome, Pace};
use crate::load::pairs::run_with;
use crate::load::report::{JobReport, Target};
use crate::load::tally::Tally;
use crate::load::trouble::Trouble;

const WRITTEN: &str = "kinline_envelopes_written_total";

/// A counter of the relay's metrics; 0 before it counted anything.
async fn counter(relay: &RelayChild, name: &str) -> Result<f64, Trouble> {
    let port = relay
        .metrics_port
        .ok_or_else(|| Trouble::new("this relay serves no metrics"))?;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await?;
    let mut text = String::new();
    stream.take(1 << 20).read_to_string(&mut text).await?;
    Ok(text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .unwrap_or_default())
}

/// What a run cost the disk.
struct Written {
    /// Share of its envelopes that never reached the disk, in percent.
    never_percent: f64,
    /// Bytes that the relay wrote for each envelope.
    bytes_each: f64,
}

/// A run, and what it cost the disk.
async fn course(
    bench: &Bench,
    title: &str,
    setup: &RelaySetup,
    course: Course,
    delay: Duration,
) -> Result<(Outcome, Written), Trouble> {
    bench.progress.begin(title);
    let relay = bench.launcher.relay(setup).await?;
    let dial = relay.child.dial()?;
    let tally = Rc::new(Tally::new());
    let process = relay.child.process();
    let before = process.bytes_written();
    let outcome = run_with(&dial, process, course, delay, &tally, &bench.progress).await?;
    // Whatever is still held is acknowledged or written by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let written = counter(&relay, WRITTEN).await?;
    let bytes = process.bytes_written() - before;
    relay.stop().await?;
    let all = (outcome.acknowledged as f64).max(1.0);
    let written = Written {
        never_percent: (1.0 - written / all) * 100.0,
        bytes_each: bytes / all,
    };
    Ok((outcome, written))
}

/// Runs the job.
pub(in crate::load) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let plan = &bench.plan;
    let on = RelaySetup {
        metrics: true,
        ..RelaySetup::default()
    };
    let off = on.clone().with("hold_ms", 0);
    let mut rows = Vec::new();
    let quiet = plan.course(plan.hold_pairs, Pace::Rate(plan.hold_rate));
    for ms in [0, 50, 150] {
        let delay = Duration::from_millis(ms);
        for (setup, name, words) in [(&on, "hold", "Hold"), (&off, "hold-off", "Hold off")] {
            let title = format!("{words}, acknowledged {ms} ms late");
            let (outcome, written) = course(bench, &title, setup, quiet, delay).await?;
            let row = JobReport::new(
                &format!("{name}-{ms}"),
                &format!("{title}: never written"),
                written.never_percent,
                "%",
            )
            .of_run(&outcome)
            .detail("bytes_written_each", written.bytes_each)
            .detail("asked_per_s", plan.hold_rate);
            rows.push(if name == "hold" {
                row
            } else {
                row.note("Written at once, and delivered at once: the sender's OK comes with whichever is first.")
            });
        }
    }
    let busy = plan.course(plan.pairs, Pace::Window(plan.window));
    let title = format!("Hold, {} pairs, window {}", plan.pairs, plan.window);
    let (with, written_with) =
        course(bench, &format!("{title}, on"), &on, busy, Duration::ZERO).await?;
    let (without, written_without) =
        course(bench, &format!("{title}, off"), &off, busy, Duration::ZERO).await?;
    rows.push(
        JobReport::new(
            "hold-rate",
            &format!("{title}: rate"),
            with.rate,
            "messages/s",
        )
        .beside(without.rate, "the same with everything written")
        .aims_at(Target::RatioAtLeast(1.0))
        .of_run(&with)
        .detail("never_written_percent", written_with.never_percent)
        .detail("bytes_written_each", written_with.bytes_each)
        .detail("off_never_written_percent", written_without.never_percent)
        .detail("off_bytes_written_each", written_without.bytes_each)
        .detail("off_cpu_s_per_1k", without.server_cpu_s_per_1k)
        .detail("off_delivered_p50_ms", without.delivery.p50_ms)
        .detail("off_delivered_p99_ms", without.delivery.p99_ms)
        .detail("off_acknowledged_p50_ms", without.acknowledgement.p50_ms)
        .detail("off_acknowledged_p99_ms", without.acknowledgement.p99_ms),
    );
    Ok(rows)
}
