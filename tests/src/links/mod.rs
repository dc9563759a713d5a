//! Whether a stolen database tells which mailboxes belong to which account, and which mailboxes
//! to one family, better than chance.
//!
//! ```text
//! link-drill [--families N] [--days N] [--seed N] [--report FILE]
//! ```
//! Families come to a relay's storage one after the other over several days ([`town`]), through
//! its writer but without sockets and logins. The database is stolen with its log, but without the
//! key file, and its pages are read byte by byte ([`pages`]): in which page a row lies, where in
//! it, which pages hold its vault, of which sizes, until which day it is kept. A classifier that
//! is told the truth about half of the families guesses about the other half ([`guess`]), and is
//! compared with what it would get if families had been dealt to accounts at random
//! ([`chance`]). Databases in which something does tell show that it can find it.
//!
//! Exit status: 0 when the tidied database tells nothing and every planted tell was found, 1
//! when not, 2 when the call made no sense.

mod chance;
mod guess;
mod pages;
mod report;
mod thefts;
mod town;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

pub use chance::{Measured, THRESHOLD};
pub use report::{Copy, Figures};
pub use thefts::measure;

/// How many families come, over how many days.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Families in all.
    pub families: usize,
    /// Days on which they come.
    pub days: usize,
    /// Of everything random.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            families: 1_000,
            days: 10,
            seed: 5,
        }
    }
}

fn options(arguments: impl Iterator<Item = OsString>) -> Result<(Plan, Option<PathBuf>), String> {
    let mut plan = Plan::default();
    let mut report = None;
    let mut arguments = arguments.map(|it| it.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or(format!("{argument} wants a value"))?;
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| format!("{argument} wants a number"))
        };
        match argument.as_str() {
            "--families" => plan.families = number()?.clamp(20, 100_000) as usize,
            "--days" => plan.days = number()?.clamp(2, 80) as usize,
            "--seed" => plan.seed = number()?,
            "--report" => report = Some(value.into()),
            other => return Err(format!("unknown: {other}")),
        }
    }
    Ok((plan, report))
}

/// Runs the drill.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (plan, report) = match options(arguments) {
        Ok(options) => options,
        Err(sentence) => {
            eprintln!(
                "link-drill: {sentence}\nlink-drill [--families N] [--days N] [--seed N] [--report FILE]"
            );
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("tasks can be started");
    let figures = runtime.block_on(measure(plan));
    print!("{figures}");
    if let Some(path) = report
        && let Err(error) = std::fs::write(&path, figures.json())
    {
        eprintln!("link-drill: {}: {error}", path.display());
        return ExitCode::from(2);
    }
    ExitCode::from(u8::from(!figures.ok()))
}
