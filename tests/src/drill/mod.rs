//! The recovery drill: a family of two guardians and two children loses a phone and a laptop, and
//! comes back; the relay is broken into, and every guardian hears of it; and a stolen database of a
//! thousand families tells nobody's mailboxes. Each step is timed.
//!
//! ```text
//! recovery-drill [--report FILE] [--messages N]
//! ```
//! Exit status: 0 when every step was as it has to be, 1 when one was not, 2 when the call made no
//! sense. The report is JSON: `ok`, `seconds`, `steps[] {name, ok, seconds}`.

mod breach;
mod cast;
mod links;
mod lost;
mod report;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use cast::Cast;
use report::Report;

use crate::program;

/// Messages of history, when nothing else is said.
const MESSAGES: usize = 500;

struct Options {
    report: Option<PathBuf>,
    messages: usize,
}

fn options(arguments: impl Iterator<Item = OsString>) -> Result<Options, String> {
    let mut options = Options {
        report: None,
        messages: MESSAGES,
    };
    let mut arguments = arguments.map(|it| it.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--report" => options.report = Some(value()?.into()),
            "--messages" => {
                let number = value()?.parse().ok().filter(|number| *number > 0);
                options.messages = number.ok_or("--messages wants a number above 0")?;
            }
            other => return Err(format!("unknown: {other}")),
        }
    }
    Ok(options)
}

/// Runs the drill.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let options = match options(arguments) {
        Ok(options) => options,
        Err(sentence) => {
            eprintln!("recovery-drill: {sentence}\nrecovery-drill [--report FILE] [--messages N]");
            return ExitCode::from(2);
        }
    };
    program::be_own_relay();
    let runtime = tokio::runtime::Runtime::new().expect("tasks can be started");
    let report = runtime.block_on(drill(options.messages));
    runtime.shutdown_background();
    print!("{report}");
    if let Some(path) = options.report
        && let Err(error) = std::fs::write(&path, report.json())
    {
        eprintln!("recovery-drill: {}: {error}", path.display());
        return ExitCode::from(2);
    }
    ExitCode::from(u8::from(!report.ok()))
}

/// All three.
async fn drill(messages: usize) -> Report {
    let mut report = Report::new();
    let mut cast = Cast::gather().await;
    if lost::drill(&mut cast, messages, &mut report)
        .await
        .is_some()
    {
        let _ = breach::drill(&mut report).await;
    }
    let _ = links::drill(&mut report).await;
    report
}
