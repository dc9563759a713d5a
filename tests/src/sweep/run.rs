//! The command: what is asked for, in order, and the report.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use super::cuts::Life;
use super::damage::Whole;
use super::kills::{self, Plan};
use super::process::Program;
use super::report::Report;
use super::stage::Stage;
use super::{device, errors, full, planted, strace};

/// Something was lost, or a planted fault was not caught.
const EXIT_LOST: u8 = 1;
/// Asked for what can't be done.
const EXIT_REFUSED: u8 = 2;
/// Cuts of one life: then another one is watched.
const CUTS_OF_A_LIFE: usize = 50;
const HELP: &str = "crash-sweep [--kills N] [--cuts N] [--errors N] [--damages N]
            [--device-kills N] [--device-cuts N] [--device-errors N]
            [--device-damages N] [--pairing-kills N] [--report FILE] [--seed N] [--jobs N]

Kills a relay at N points of its life, cuts its power at N, lets its disk fail at
N and bits flip N times; does all of it to a device, and kills one of two devices at N
points of their pairing; looks at what is left, and plants faults that must be caught. Exit status: 0 nothing lost, 1 something lost or a planted fault
missed, 2 refused.";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    kills: usize,
    cuts: usize,
    errors: usize,
    damages: usize,
    device_kills: usize,
    device_cuts: usize,
    device_errors: usize,
    device_damages: usize,
    pairing_kills: usize,
    report: Option<PathBuf>,
    seed: Option<u64>,
    jobs: usize,
}

impl Options {
    fn parse(arguments: &[OsString]) -> Result<Self, String> {
        let mut options = Self {
            kills: 50,
            cuts: 50,
            errors: 25,
            damages: 25,
            device_kills: 25,
            device_cuts: 25,
            device_errors: 10,
            device_damages: 25,
            pairing_kills: 10,
            report: None,
            seed: None,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let name = name.to_str().ok_or("an argument is not text")?;
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} is not known, or needs a value\n{HELP}"))?;
            let text = value.to_str().unwrap_or_default();
            let wrong = || format!("{name} needs a number, not {text:?}");
            match name {
                "--kills" => options.kills = text.parse().map_err(|_| wrong())?,
                "--cuts" => options.cuts = text.parse().map_err(|_| wrong())?,
                "--errors" => options.errors = text.parse().map_err(|_| wrong())?,
                "--damages" => options.damages = text.parse().map_err(|_| wrong())?,
                "--device-kills" => options.device_kills = text.parse().map_err(|_| wrong())?,
                "--device-cuts" => options.device_cuts = text.parse().map_err(|_| wrong())?,
                "--device-errors" => options.device_errors = text.parse().map_err(|_| wrong())?,
                "--device-damages" => options.device_damages = text.parse().map_err(|_| wrong())?,
                "--pairing-kills" => options.pairing_kills = text.parse().map_err(|_| wrong())?,
                "--seed" => options.seed = Some(text.parse().map_err(|_| wrong())?),
                "--jobs" => options.jobs = text.parse().map_err(|_| wrong())?,
                "--report" => options.report = Some(value.into()),
                _ => return Err(format!("{name} is not known\n{HELP}")),
            }
        }
        if options.jobs == 0 {
            return Err("--jobs needs at least 1".into());
        }
        Ok(options)
    }
}

/// Runs the command; `relay …` is the relay itself and `device …` a device, which the sweeps
/// start so.
///
/// # Panics
/// When something goes wrong that is no fault of the relay.
#[must_use]
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some("relay") => return kinline_server::cli::main_with(arguments),
        Some("device") => return crate::chat::main(arguments.into_iter().skip(1)),
        Some("--help" | "-h") => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let options = match Options::parse(&arguments).and_then(|options| {
        strace::check()?;
        if let Some(report) = &options.report {
            let written = std::fs::write(report, "");
            written.map_err(|error| format!("{} can't be written: {error}", report.display()))?;
        }
        Ok(options)
    }) {
        Ok(options) => options,
        Err(sentence) => {
            eprintln!("crash-sweep: {sentence}");
            return ExitCode::from(EXIT_REFUSED);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(sweep(&options));
    print!("{}", report.table());
    if let Some(path) = &options.report {
        let text = serde_json::to_string_pretty(&report.json()).unwrap();
        std::fs::write(path, text + "\n").unwrap();
    }
    if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_LOST)
    }
}

async fn sweep(options: &Options) -> Report {
    let began = Instant::now();
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("seed {seed}; repeat with --seed {seed}");
    let mut report = Report {
        seed,
        ..Report::default()
    };
    let stage = Stage::set(
        Program::linked_in(),
        Program::linked_in(),
        seed,
        options.jobs,
    )
    .await;
    let plan = Plan::of(&Life::watch(&stage).await);
    report.points = plan.points.len();
    kill_sweep(&stage, &plan, options.kills, &mut report).await;
    cut_sweep(&stage, options.cuts, &mut report).await;
    error_sweep(&stage, &plan, options.errors, &mut report).await;
    damage_sweep(&stage, options.damages, &mut report).await;
    full_disk(&stage, &mut report).await;
    device_sweep(options, seed, &mut report).await;
    device_troubles(options, seed, &mut report).await;
    planted_sweep(seed, &mut report).await;
    report.seconds = began.elapsed().as_secs();
    report
}

async fn kill_sweep(stage: &Stage, plan: &Plan, kills: usize, report: &mut Report) {
    println!("{kills} kills at {} points of a life", plan.points.len());
    let points = plan.spread(kills);
    let killed = stage
        .each(points, async |point| {
            kills::until_struck(stage, plan, point).await
        })
        .await;
    for killed in killed.into_iter().flatten() {
        if killed.struck {
            report.kills += 1;
        } else {
            report.missed += 1;
        }
        report.add(&format!("killed at {:?}", killed.point), killed.verdict);
    }
}

async fn cut_sweep(stage: &Stage, cuts: usize, report: &mut Report) {
    let mut left = cuts;
    let mut lives = 0;
    while left > 0 {
        let life = Life::watch(stage).await;
        let now = left.min(CUTS_OF_A_LIFE);
        let plan = life.plan(now, stage.seed.wrapping_add(lives));
        let moments = life.moments();
        println!("{now} cuts at {} moments of a life", moments.len());
        let verdicts = stage
            .each(plan.iter().copied(), async |cut| life.end(stage, cut).await)
            .await;
        for (cut, verdict) in plan.iter().zip(verdicts) {
            report.cuts += 1;
            let place = moments.iter().position(|moment| *moment == cut.moment);
            let place = format!(
                "life {lives}, moment {place:?}, {:?}, {}",
                cut.rest, cut.seed
            );
            report.add(&place, verdict);
        }
        left -= now;
        lives += 1;
    }
}

async fn error_sweep(stage: &Stage, plan: &Plan, errors: usize, report: &mut Report) {
    let plan = plan.only(errors::concerns);
    println!("{errors} errors at {} points of a life", plan.points.len());
    let points = plan.spread(errors);
    let failed = stage
        .each(points, async |point| {
            errors::fail(stage, &plan, point).await
        })
        .await;
    for failed in failed {
        if failed.struck {
            report.errors += 1;
        } else {
            report.missed += 1;
        }
        report.add(&format!("EIO at {:?}", failed.point), failed.verdict);
    }
}

async fn damage_sweep(stage: &Stage, damages: usize, report: &mut Report) {
    let whole = Whole::live(stage).await;
    println!("{damages} times bits flip");
    let seeds: Vec<u64> = (0..damages as u64)
        .map(|place| stage.seed.wrapping_add(place))
        .collect();
    let damaged = stage
        .each(seeds.iter().copied(), async |seed| {
            whole.damage(stage, seed).await
        })
        .await;
    for (seed, verdict) in seeds.iter().zip(damaged) {
        report.damages += 1;
        match verdict {
            None => report.refused += 1,
            Some(verdict) => report.damaged(&format!("damage {seed}"), verdict),
        }
    }
}

async fn full_disk(stage: &Stage, report: &mut Report) {
    let full = full::fill_up(stage).await;
    match full.kind {
        Some(kind) => println!("a full disk: {kind}"),
        None => report
            .skipped
            .push("blobs on a full disk: no small file system can be mounted here (it takes root); the database's part was tried without".into()),
    }
    report.add("full disk", full.verdict);
    let dry = full::run_dry(stage).await;
    println!("a full disk: {}", dry.kind.unwrap_or_default());
    report.add("no room in the database", dry.verdict);
}

async fn device_sweep(options: &Options, seed: u64, report: &mut Report) {
    let (kills, cuts) = (options.device_kills, options.device_cuts);
    if kills + cuts == 0 {
        return;
    }
    let mut tally = device::run::sweep(kills, cuts, seed, options.jobs).await;
    for (place, verdict) in std::mem::take(&mut tally.found) {
        report.add(&format!("device, {place}"), verdict);
    }
    report.device = tally;
    report.planted.extend(device::run::plant(seed).await);
}

/// What else befalls devices: both at a time.
async fn device_troubles(options: &Options, seed: u64, report: &mut Report) {
    let disk = device::disk::sweep(options.device_errors, options.device_damages, seed);
    let pairing = device::pairing::sweep(options.pairing_kills);
    let (mut disk, mut pairing) = tokio::join!(disk, pairing);
    for (place, verdict) in std::mem::take(&mut disk.found)
        .into_iter()
        .chain(std::mem::take(&mut pairing.found))
    {
        report.add(&format!("device, {place}"), verdict);
    }
    (report.device_disk, report.pairing) = (disk, pairing);
}

async fn planted_sweep(seed: u64, report: &mut Report) {
    let program = match planted::build() {
        Ok(program) => program,
        Err(sentence) => {
            report.places.push(sentence);
            return;
        }
    };
    for fault in planted::FAULTS {
        let caught = planted::plant(&program, fault, seed).await;
        report.planted.push(caught);
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn what_is_asked_for_is_understood_or_refused() {
        let options = parse(&[
            "--kills",
            "3",
            "--cuts",
            "4",
            "--report",
            "x",
            "--seed",
            "5",
            "--pairing-kills",
            "6",
        ]);
        let options = options.unwrap();
        assert_eq!((options.kills, options.cuts, options.seed), (3, 4, Some(5)));
        assert_eq!(options.pairing_kills, 6);
        for wrong in [
            &["--kills"][..],
            &["--kills", "many"],
            &["--jobs", "0"],
            &["--what", "1"],
            &["7"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
