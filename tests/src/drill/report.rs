//! What each step took, and whether it was as it has to be.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde_json::json;

struct Step {
    name: &'static str,
    ok: bool,
    took: Duration,
    /// Figures of the step, or why it went wrong.
    said: String,
}

/// The steps so far.
pub(super) struct Report {
    began: Instant,
    steps: Vec<Step>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            steps: Vec::new(),
        }
    }

    /// Does a step; `None` when it went wrong, and what follows makes no sense.
    pub(super) async fn step<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = (T, String)>,
    ) -> Option<T> {
        let began = Instant::now();
        let ended = AssertUnwindSafe(work).catch_unwind().await;
        let (done, said) = match ended {
            Ok((done, said)) => (Some(done), said),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
                (None, text.unwrap_or_default())
            }
        };
        self.steps.push(Step {
            name,
            ok: done.is_some(),
            took: began.elapsed(),
            said,
        });
        done
    }

    /// A part of the step before, which took so long.
    pub(super) fn took(&mut self, name: &'static str, seconds: f64) {
        self.steps.push(Step {
            name,
            ok: true,
            took: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            said: String::new(),
        });
    }

    /// Whether there were steps, and all went well.
    pub(super) fn ok(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.ok)
    }

    pub(super) fn json(&self) -> String {
        let steps: Vec<_> = self
            .steps
            .iter()
            .map(|step| {
                json!({
                    "name": step.name, "ok": step.ok,
                    "seconds": step.took.as_secs_f64(), "said": step.said,
                })
            })
            .collect();
        let whole = json!({
            "ok": self.ok(),
            "seconds": self.began.elapsed().as_secs_f64(),
            "steps": steps,
        });
        format!("{whole:#}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let mark = if step.ok { '✓' } else { '✗' };
            let seconds = step.took.as_secs_f64();
            writeln!(f, "  {mark} {:<72} {seconds:>7.2} s", step.name)?;
            if !step.said.is_empty() {
                writeln!(f, "      {}", step.said)?;
            }
        }
        let word = if self.ok() { "All well" } else { "NOT WELL" };
        let whole = self.began.elapsed().as_secs_f64();
        writeln!(f, "{word}, after {whole:.1} s.")
    }
}
