//! The jobs: each measures one thing beside its baseline and returns its rows.

pub(super) mod j1;

use super::child::{Child, Launcher, RelaySetup, Role};
use super::course::{Course, Outcome};
use super::plan::Plan;
use super::progress::Progress;
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
    pub(super) async fn over_relay(
        &self,
        title: &str,
        course: Course,
    ) -> Result<Outcome, Trouble> {
        self.progress.begin(&format!("{title}, relay"));
        let relay = self.launcher.relay(&RelaySetup::default()).await?;
        let dial = relay.child.dial()?;
        let outcome = pairs::run(&dial, relay.child.process(), course, &self.progress).await?;
        relay.stop().await?;
        Ok(outcome)
    }

    /// The same course over the bare echo.
    pub(super) async fn over_echo(
        &self,
        title: &str,
        course: Course,
    ) -> Result<Outcome, Trouble> {
        self.progress.begin(&format!("{title}, bare echo"));
        let folder = self.launcher.folder()?;
        let child = Child::bare(Role::Echo, folder.path(), self.launcher.cores).await?;
        let dial = child.dial()?;
        baseline::echo::run(&dial, child.process(), course, &self.progress).await
    }
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
