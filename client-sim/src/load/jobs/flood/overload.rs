//! Twice what the relay can carry, from senders whose rates are not limited.

use std::time::Duration;

use super::rows::Scene;
use crate::load::child::RelaySetup;
use crate::load::course::Pace;
use crate::load::jobs::Bench;
use crate::load::pairs;
use crate::load::report::{JobReport, Target};
use crate::load::trouble::Trouble;

/// Unanswered Sends of each sender in closed loop: as many as the relay has of one connection.
const WINDOW: u32 = 64;
/// How much more is offered than can be carried.
const TIMES: f64 = 2.0;

/// Runs it.
pub(super) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let title = "Flood, twice the sustainable rate";
    bench.progress.begin(title);
    let relay = bench.launcher.relay(&RelaySetup::default()).await?;
    let (dial, process) = (relay.child.dial()?, relay.child.process());
    let plan = &bench.plan;
    let course = plan.course(plan.pairs, Pace::Window(WINDOW));
    let most = pairs::run(&dial, process, course, &bench.progress).await?;
    let scene = Scene::set(bench, &dial, process).await?;

    bench.progress.line("the flood begins");
    let during = scene.begin().await?;
    let offered = most.rate * TIMES;
    let mut course = plan.course(plan.pairs, Pace::Rate(offered));
    course.warm_up = Duration::ZERO;
    course.measured = plan.flood;
    let run = pairs::run(&dial, process, course, &bench.progress).await?;
    let mut rows = during.end("overload", title).await?;
    relay.stop().await?;

    let due = offered * plan.flood.as_secs_f64();
    let share = |count: f64| count / due.max(1.0) * 100.0;
    rows.push(
        JobReport::new(
            "flood-overload-rate",
            &format!("{title}: carried"),
            run.rate,
            "messages/s",
        )
        .beside(most.rate, "as many as are carried in closed loop")
        .aims_at(Target::RatioAtLeast(0.8))
        .of_run(&run)
        .detail("offered_per_s", offered),
    );
    rows.push(
        JobReport::new(
            "flood-overload-kept-back",
            &format!("{title}: kept back at its senders"),
            share(due - run.sent as f64).max(0.0),
            "%",
        )
        .detail("refused_percent", share(run.refused as f64))
        .detail("carried_percent", share(run.acknowledged as f64))
        .note("Rates are not limited here, so nothing is refused: of a connection with 64 Sends unanswered no more is read, and TCP tells its sender to wait. By default a limit of rates answers `slow down` long before that."),
    );
    Ok(rows)
}
