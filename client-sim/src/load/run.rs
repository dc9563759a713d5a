//! From the command line to the jobs and the report.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use tokio::signal::unix::{SignalKind, signal};

use super::args::{ChildArgs, Job, LoadArgs};
use super::child::{Launcher, Role, end_with_parent};
use super::cores::{Cores, raise_open_files};
use super::jobs::{self, Bench};
use super::plan::Plan;
use super::process::{load_average, machine};
use super::progress::Progress;
use super::report::{self, JobReport, Report};
use super::trouble::Trouble;
use super::{baseline, child};

/// Runs `kinline-sim load`.
#[must_use]
pub fn run(arguments: &LoadArgs) -> ExitCode {
    match measure(arguments) {
        Ok(report) => match report.broken() {
            None => ExitCode::SUCCESS,
            Some(sentence) => {
                eprintln!("kinline-sim: {sentence}");
                ExitCode::from(1)
            }
        },
        Err(trouble) => {
            eprintln!("kinline-sim: {trouble}");
            ExitCode::from(2)
        }
    }
}

/// Is a relay or a baseline: the hidden verb.
#[must_use]
pub fn be_child(arguments: ChildArgs) -> ExitCode {
    end_with_parent();
    match arguments.role {
        Role::Relay => {
            let program = std::iter::once(child::VERB.into());
            kinline_server::cli::main_with(program.chain(arguments.arguments))
        }
        role => {
            let folder = arguments.arguments.into_iter().next().unwrap_or_default();
            baseline::serve(role, Path::new(&folder))
        }
    }
}

fn check(arguments: &LoadArgs) -> Result<(), Trouble> {
    let scratch = arguments.scratch.as_deref();
    if let Some(folder) = scratch.filter(|folder| !folder.is_dir()) {
        return Err(Trouble::new(format!("{} is no folder", folder.display())));
    }
    let program = arguments.relay_program.as_deref();
    if let Some(program) = program.filter(|program| !program.is_file()) {
        return Err(Trouble::new(format!("{} is no program", program.display())));
    }
    // Before an hour of measuring, not after it.
    if let Some(file) = &arguments.report {
        std::fs::write(file, "").map_err(|error| Trouble::file(file, &error))?;
    }
    Ok(())
}

fn measure(arguments: &LoadArgs) -> Result<Report, Trouble> {
    check(arguments)?;
    let cores = Cores::take(!arguments.no_pin);
    let bench = Bench {
        plan: Plan::of(arguments),
        launcher: Launcher {
            program: arguments.relay_program.clone(),
            scratch: arguments.scratch.clone().unwrap_or_else(std::env::temp_dir),
            cores,
        },
        progress: Progress::new(),
    };
    let open_files = raise_open_files();
    bench
        .progress
        .line(&format!("{open_files} files may be open"));
    let began = SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs();
    let load_before = load_average();
    // One thread: what it does not do can't be waited for.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let jobs = local.block_on(&runtime, async {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        // Whatever ends this: the processes that were started end with their values.
        tokio::select! {
            jobs = all(arguments, &bench, open_files) => jobs,
            _ = interrupt.recv() => Err(Trouble::new("interrupted")),
            _ = terminate.recv() => Err(Trouble::new("interrupted")),
        }
    })?;
    bench.progress.settle();
    let report = Report {
        version: 1,
        machine: machine(),
        began,
        command: std::env::args()
            .skip(1)
            .fold("kinline-sim".into(), |all, one| all + " " + &one),
        relay: arguments.relay_program.as_ref().map_or_else(
            || "built in".into(),
            |program| program.display().to_string(),
        ),
        pinned: cores.pinned(),
        optimized: !cfg!(debug_assertions),
        load_before,
        load_after: load_average(),
        jobs,
    };
    report::print(&report);
    if let Some(file) = &arguments.report {
        report::write(&report, file)?;
    }
    Ok(report)
}

async fn all(
    arguments: &LoadArgs,
    bench: &Bench,
    open_files: u64,
) -> Result<Vec<JobReport>, Trouble> {
    if arguments.baseline {
        return jobs::baselines(bench).await;
    }
    if !arguments.all && arguments.job.is_empty() {
        return jobs::free::run(bench, arguments).await;
    }
    let mut rows = Vec::new();
    let chosen: &[Job] = if arguments.all {
        &Job::ALL
    } else {
        &arguments.job
    };
    for job in chosen {
        rows.extend(match job {
            Job::J1 => jobs::j1::run(bench).await?,
            Job::J2 => jobs::j2::run(bench).await?,
            Job::J3 => jobs::j3::run(bench, open_files).await?,
            Job::Blobs => jobs::blobs::run(bench).await?,
            Job::Hold => jobs::hold::run(bench).await?,
            Job::Flood => jobs::flood::run(bench).await?,
            Job::Scale => jobs::scale::run(bench).await?,
            Job::Device => jobs::device::run(bench).await?,
        });
    }
    Ok(rows)
}
