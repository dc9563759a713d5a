//! Telling the story: a line for each step, the thefts, the count, and what comes of it.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::cast::{Broken, Person, broken};
use super::day::Day;
use super::report::{DemoReport, Step};
use super::{DemoArgs, Obstacle, ledger, loot};

/// Lives a step of a day and tells how it went: `step!(day, "What happens", what_happens)`.
/// Says whether it went well.
macro_rules! step {
    ($day:expr, $name:expr, $story:expr) => {{
        let began = std::time::Instant::now();
        let result = $story.await;
        $day.note($name, began, result)
    }};
}
pub(super) use step;

impl Day {
    pub(super) fn chapter(&self, name: &str) {
        println!("\n{name}\n");
    }

    pub(super) fn note(&mut self, name: &str, began: Instant, result: Result<(), Broken>) -> bool {
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (mark, error) = match &result {
            Ok(()) => ("✓", None),
            Err(error) => ("✗", Some(error.to_string())),
        };
        println!("  {mark} {name:<74} {ms:>6} ms");
        if let Some(error) = &error {
            println!("      {error}");
        }
        drop(std::io::stdout().flush());
        self.report.steps.push(Step {
            name: name.to_owned(),
            ok: Some(result.is_ok()),
            ms,
            skipped: None,
            error,
        });
        result.is_ok()
    }

    pub(super) fn skip(&mut self, name: &str, why: &str) {
        println!("  – {name:<74} skipped");
        println!("      {why}");
        let skipped = Some(why.to_owned());
        self.report.steps.push(Step {
            name: name.to_owned(),
            ok: None,
            ms: 0,
            skipped,
            error: None,
        });
    }

    pub(super) fn keep<T>(
        &mut self,
        name: &str,
        began: Instant,
        result: Result<T, Broken>,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.note(name, began, Ok(()));
                Some(value)
            }
            Err(error) => {
                self.note(name, began, Err(error));
                None
            }
        }
    }

    // ---- the theft

    pub(super) async fn rob(&mut self, when: &'static str) -> Result<(), Obstacle> {
        let name = format!("Everything the relay has on disk is stolen {when}");
        let began = Instant::now();
        match loot::rob(&self.relay, when, &self.home).await? {
            Some(theft) => {
                self.thefts.push(theft);
                self.note(&name, began, Ok(()));
            }
            None => self.skip(&name, "needs --server-data"),
        }
        Ok(())
    }

    /// Searched at the end, when every secret of the story is known.
    pub(super) async fn search(&mut self) -> Result<(), Obstacle> {
        self.secrets.write(&self.home.join("canaries.txt"))?;
        for theft in std::mem::take(&mut self.thefts) {
            let began = Instant::now();
            let report = loot::search(&theft, self.secrets.lines(), &self.relay).await?;
            let result = if report.ok() {
                Ok(())
            } else {
                Err(broken(
                    "the thief finds something, or misses a planted leak",
                ))
            };
            self.note(
                &format!("The thief searches what was stolen {}", theft.when),
                began,
                result,
            );
            print_indented(&report.to_string());
            self.report.dump.push(report);
        }
        Ok(())
    }

    pub(super) async fn count(&mut self, people: &[&Person]) {
        let began = Instant::now();
        let mut witnesses = core::mem::take(&mut self.departed);
        for person in people {
            match person.witness().await {
                Ok(witness) => witnesses.push(witness),
                Err(error) => {
                    self.note("Every message is accounted for", began, Err(error));
                    return;
                }
            }
        }
        self.report.relay_refusals = ledger::relay_refusals(&witnesses);
        let count = ledger::count(&witnesses, &self.book.audiences());
        let result = if count.is_clean() {
            Ok(())
        } else {
            Err(broken(format!("{count:?}")))
        };
        self.report.messages = count;
        self.note("Every message is accounted for", began, result);
    }

    pub(super) fn finish(mut self, arguments: &DemoArgs) -> Result<bool, Obstacle> {
        self.report.ok = self.report.holds();
        self.report.print_summary();
        if let Some(path) = &arguments.report {
            write_json(path, &self.report)?;
            println!("The report is in {}.", path.display());
        }
        if let Some(pid) = self.relay.left_running() {
            println!("The relay was started again as process {pid} and goes on.");
        }
        if arguments.keep.is_some() {
            println!("Everything is kept in {}.", self.home.display());
        }
        Ok(self.report.ok)
    }
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("      {line}");
    }
}

fn write_json(path: &Path, report: &DemoReport) -> Result<(), Obstacle> {
    let json = serde_json::to_vec_pretty(report).map_err(|error| Obstacle(error.to_string()))?;
    std::fs::write(path, json).map_err(|error| Obstacle::file(path, &error))
}
