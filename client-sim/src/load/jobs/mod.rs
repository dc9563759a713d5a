//! The jobs: each measures one thing beside its baseline and returns its rows.

pub(super) mod blobs;
pub(super) mod device;
pub(super) mod flood;
pub(super) mod free;
pub(super) mod hold;
pub(super) mod j1;
pub(super) mod j2;
pub(super) mod j3;
pub(super) mod scale;

use super::child::{Child, Launcher, RelaySetup, Role};
use super::course::{Course, Outcome, Pace};
use super::plan::Plan;
use super::progress::Progress;
use super::report::JobReport;
use super::trouble::Trouble;
use super::{baseline, pairs};

/// What every job has at hand.
pub(super) struct Bench {
    pub(super) plan: Plan,
    pub(super) launcher: Launcher,
    pub(super) progress: Progress,
}

impl Bench {
    /// A course of pairs over a relay of its own.
    pub(super) async fn over_relay(&self, title: &str, course: Course) -> Result<Outcome, Trouble> {
        self.progress.begin(&format!("{title}, relay"));
        let relay = self.launcher.relay(&RelaySetup::default()).await?;
        let dial = relay.child.dial()?;
        let outcome = pairs::run(&dial, relay.child.process(), course, &self.progress).await?;
        relay.stop().await?;
        Ok(outcome)
    }

    /// The same course over the bare echo.
    pub(super) async fn over_echo(&self, title: &str, course: Course) -> Result<Outcome, Trouble> {
        self.progress.begin(&format!("{title}, bare echo"));
        let folder = self.launcher.folder()?;
        let child = Child::bare(Role::Echo, folder.path(), self.launcher.cores).await?;
        let dial = child.dial()?;
        baseline::echo::run(&dial, child.process(), course, &self.progress).await
    }
}

/// The baselines alone.
pub(super) async fn baselines(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let plan = &bench.plan;
    let busy = plan.course(plan.pairs, Pace::Window(plan.window));
    let title = format!(
        "Bare echo, {} connections, window {}",
        plan.pairs, plan.window
    );
    let echo = bench.over_echo(&title, busy).await?;
    let alone = "Bare echo, 1 connection, window 1";
    let one = bench
        .over_echo(alone, plan.course(1, Pace::Window(1)))
        .await?;
    let rows = baseline::inserts::run(bench, plan.insert_rows).await?;
    let (syncs, sync) = baseline::syncs::run(bench)?;
    let (up, down) = blobs::bare_speed(bench).await?;
    Ok(vec![
        JobReport::new("echo", &title, echo.rate, "messages/s").of_run(&echo),
        JobReport::new(
            "echo-latency",
            &format!("{alone}: p50"),
            one.delivery.p50_ms,
            "ms",
        )
        .of_run(&one),
        JobReport::new("inserts", "Bare batched inserts", rows, "rows/s"),
        JobReport::new(
            "syncs",
            "Bare appends of 8 KiB, each synced",
            syncs,
            "syncs/s",
        )
        .detail("p50_ms", sync.p50_ms)
        .detail("p99_ms", sync.p99_ms),
        JobReport::new("files-up", "Bare file server, up", up, "MiB/s"),
        JobReport::new("files-down", "Bare file server, down", down, "MiB/s"),
    ])
}

/// The one in the middle, by `of`.
pub(super) fn median<T>(mut all: Vec<T>, of: impl Fn(&T) -> f64) -> Option<T> {
    all.sort_by(|one, other| of(one).total_cmp(&of(other)));
    let middle = all.len() / 2;
    all.into_iter().nth(middle)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_middle_is_in_the_middle() {
        assert_eq!(median(vec![3, 1, 2], |value| f64::from(*value)), Some(2));
        assert_eq!(median(Vec::<i32>::new(), |value| f64::from(*value)), None);
    }
}
