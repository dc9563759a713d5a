//! Faults that are planted in the relay, and must be caught: an oracle that never failed is not
//! trusted.
//!
//! They are in the relay only with its feature `planted-faults`, which no program for people is
//! built with: the relay that has them is built here, as a program of its own.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::cuts::{Cut, Life};
use super::power::Rest;
use super::process::Program;
use super::stage::Stage;

/// The program with the faults.
const PROGRAM: &str = "planted-relay";
/// Variable that says which.
const VARIABLE: &str = "KINLINE_PLANTED_FAULT";
/// Cuts of a life, and lives, before a fault counts as missed.
const CUTS_MAX: usize = 64;
const LIVES_MAX: usize = 3;

/// Every planted fault: as the relay knows it, and in words.
pub const FAULTS: [(&str, &str); 2] = [
    ("sync-off", "the database never syncs (synchronous=OFF)"),
    (
        "acknowledge-early",
        "ok is said before the group is written",
    ),
];

/// How a planted fault fared.
#[derive(Debug, Clone)]
pub struct Caught {
    /// In words.
    pub fault: &'static str,
    /// Cuts that were made until something was lost; `None` when nothing ever was.
    pub after: Option<usize>,
    /// What was lost first.
    pub lost: Option<String>,
}

/// Builds the relay with the faults, beside this program.
///
/// # Errors
/// A sentence when cargo can't.
///
/// # Panics
/// When this program has no path.
pub fn build() -> Result<Program, String> {
    let this = std::env::current_exe().expect("this program has a path");
    let built = this.parent().unwrap_or(Path::new("."));
    let target = built.parent().unwrap_or(built);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--locked",
            "--quiet",
            "-p",
            "kinline-tests",
            "-p",
            "kinline-server",
        ])
        .args([
            "--features",
            "kinline-server/planted-faults",
            "--bin",
            PROGRAM,
        ])
        .arg("--target-dir")
        .arg(target)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    match command.status() {
        Ok(status) if status.success() => Ok(Program {
            command: vec![built.join(PROGRAM).into()],
            environment: vec![],
        }),
        Ok(_) => Err("the relay with planted faults could not be built".into()),
        Err(error) => Err(format!("cargo can't be run ({error})")),
    }
}

/// Plants one fault and cuts the power until something that was acknowledged is lost.
pub async fn plant(program: &Program, fault: (&str, &'static str), seed: u64) -> Caught {
    let mut program = program.clone();
    program
        .environment
        .push((VARIABLE.to_owned(), fault.0.to_owned()));
    let stage = Stage::set(program, Program::linked_in(), seed, 1).await;
    let mut tried = 0;
    for _ in 0..LIVES_MAX {
        let life = Life::watch(&stage).await;
        let moments = life.moments();
        let count = CUTS_MAX.min(moments.len());
        // From the end: there is the most to be lost.
        for place in 0..count {
            tried += 1;
            let cut = Cut {
                moment: moments[moments.len() - 1 - place * moments.len() / count],
                rest: Rest::Nothing,
                seed,
            };
            let verdict = life.end(&stage, cut).await;
            if let Some(lost) = verdict.lost.first() {
                return Caught {
                    fault: fault.1,
                    after: Some(tried),
                    lost: Some(lost.clone()),
                };
            }
        }
    }
    Caught {
        fault: fault.1,
        after: None,
        lost: None,
    }
}
