//! What messages cost a device: real engines, real stores, a real relay.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Bench;
use crate::load::child::RelaySetup;
use crate::load::families::{Family, shown, until_shown};
use crate::load::process::Process;
use crate::load::report::JobReport;
use crate::load::tally::{Latency, histogram};
use crate::load::trouble::Trouble;

/// A text as people write them.
const TEXT: &str = "Guten Morgen, hast du dein Pausenbrot eingepackt? Und die Flöte auch?";
/// How long a device may catch up.
const PATIENCE: Duration = Duration::from_secs(900);

/// Latency of `count` runs of `work`, and this process's CPU for one, in milliseconds.
async fn timed(
    count: u32,
    mut work: impl AsyncFnMut(u32) -> Result<(), Trouble>,
) -> Result<(Latency, f64), Trouble> {
    let mut took = histogram();
    let cpu = Process::own().cpu_seconds();
    for number in 0..count {
        let began = Instant::now();
        work(number).await?;
        took.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    let cpu = (Process::own().cpu_seconds() - cpu) / f64::from(count.max(1)) * 1_000.0;
    Ok((Latency::from(&took), cpu))
}

fn row(name: &str, title: &str, (latency, cpu): (Latency, f64)) -> JobReport {
    JobReport::new(name, title, latency.p50_ms, "ms")
        .detail("p90_ms", latency.p90_ms)
        .detail("p99_ms", latency.p99_ms)
        .detail("cpu_ms_each", cpu)
}

/// Runs the job.
pub(in crate::load) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let plan = &bench.plan;
    bench.progress.begin("Device, a family comes together");
    let relay = bench.launcher.relay(&RelaySetup::default()).await?;
    let folder = bench.launcher.folder()?;
    let mut family = Family::found(folder.path().join("two"), &relay.child.address).await?;
    family.admit().await?;
    family.settled().await?;

    bench.progress.begin("Device, one message at a time");
    let tablet = family
        .tablets
        .first()
        .cloned()
        .ok_or_else(|| Trouble::new("the family has no tablet"))?;
    let mut events = tablet.events();
    let to_screen = timed(plan.device_messages, async |number| {
        family.say(format!("{number}: {TEXT}")).await?;
        shown(&mut events).await
    })
    .await?;
    family.settled().await?;

    bench.progress.begin("Device, sending alone");
    tablet.go_offline().await?;
    let missed = plan.device_missed;
    let sending = timed(missed, async |number| {
        if number.is_multiple_of(1_000) {
            bench.progress.line(&format!("{number} of {missed}"));
        }
        family.say(format!("{number}: {TEXT}")).await
    })
    .await?;
    family.phone.settled(PATIENCE).await?;
    family.phone.go_offline().await?;

    bench.progress.begin("Device, catching up");
    let own = Process::own();
    let (before, cpu) = (own.memory().rss_kib, own.cpu_seconds());
    let peak = Cell::new(before);
    let mut events = tablet.events();
    let began = Instant::now();
    tablet.go_online().await?;
    let watch = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            peak.set(own.memory().rss_kib.max(peak.get()));
        }
    };
    let caught = tokio::select! {
        caught = until_shown(&mut events, missed, PATIENCE) => caught?,
        () = watch => 0,
    };
    let took = began.elapsed().as_secs_f64().max(1e-9);
    let cpu = (own.cpu_seconds() - cpu) / f64::from(caught.max(1)) * 1_000.0;
    family.end().await;

    bench.progress.begin("Device, a large family");
    let mut family = Family::found(folder.path().join("many"), &relay.child.address).await?;
    for _ in 2..plan.device_members {
        family.admit().await?;
        family.settled().await?;
    }
    let began = Instant::now();
    let cpu_before = own.cpu_seconds();
    family.admit().await?;
    let joined = began.elapsed();
    let joined_cpu = own.cpu_seconds() - cpu_before;
    family.end().await;
    relay.stop().await?;

    let mut caught_up = JobReport::new(
        "device-catch-up",
        &format!("Device: catching up {missed} missed messages"),
        f64::from(caught) / took,
        "messages/s",
    )
    .detail("took_s", took)
    .detail("cpu_ms_each", cpu);
    caught_up.lost = Some(u64::from(missed - caught));
    Ok(vec![
        row(
            "device-send",
            "Device: encrypt, seal, persist and send a text, for one",
            sending,
        )
        .note("The recipient is away; until the store has it and the connection got it."),
        row(
            "device-shown",
            "Device: from one screen to the other",
            to_screen,
        )
        .note("Sent as above, relayed, opened, persisted and shown, both devices in this process."),
        JobReport::new(
            "device-join",
            &format!("Device: join a conversation of {}", plan.device_members),
            joined.as_secs_f64() * 1_000.0,
            "ms",
        )
        .detail("cpu_ms_both_sides", joined_cpu * 1_000.0)
        .note(
            "From the code on the phone to being in: pairing, the commit, the welcome, all of it.",
        ),
        caught_up,
        JobReport::new(
            "device-memory",
            "Device: memory while catching up",
            (peak.get() - before) / 1_024.0,
            "MiB more",
        )
        .detail("before_mib", before / 1_024.0)
        .note("Of this process, in which the phone lives, too."),
    ])
}
