//! Three days with a family: two guardians' phones, a child's tablet, a relay that is killed and
//! robbed, two friends' families, and parents who decide. Everything in it is real: the socket,
//! the database, the keys, the media.
//!
//! [`day`] tells the first day with [`talk`] and [`night`], [`friends`] the second with
//! [`acquaintance`], [`watch`], [`three`] and [`parting`], [`lake`] what comes then; [`telling`] prints it. [`cast`] holds the
//! people, [`relay`] the relay's process, [`loot`] the theft, [`ledger`] counts what was sent and
//! received, [`report`] what comes out.

mod acquaintance;
mod cast;
mod day;
mod friends;
mod lake;
mod ledger;
mod loot;
mod media;
mod night;
mod parting;
mod relay;
mod report;
mod secrets;
mod talk;
mod telling;
mod three;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueHint};
use kinline_protocol::server_name::RelayAddress;

/// What the demo was told.
#[derive(Debug, Clone, Default, Args)]
pub struct DemoArgs {
    /// Send this photo instead of the one that ships with the project
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub photo: Option<PathBuf>,
    /// Send this recording instead of the one that ships with the project
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub audio: Option<PathBuf>,
    /// Write what happened into this file, as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// Use a relay that already runs: wss://host:port#pin=…
    #[arg(long, value_name = "URI")]
    pub server: Option<RelayAddress>,
    /// Process of that relay, if it may be killed (and started again with its own command line)
    #[arg(long, value_name = "PID", requires = "server")]
    pub server_pid: Option<u32>,
    /// Data folder of that relay, if it may be robbed
    #[arg(long, value_name = "DIR", requires = "server", value_hint = ValueHint::DirPath)]
    pub server_data: Option<PathBuf>,
    /// Keep everything in this folder: the relay's files, the loot, the devices, the secrets
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub keep: Option<PathBuf>,
}

/// Something that kept the day from being lived at all: no promise was broken, none was shown.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Obstacle(pub(crate) String);

impl Obstacle {
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

/// Lives the day. Exit status 0: every promise held; 1: one did not; 2: it could not begin.
#[must_use]
pub fn run(arguments: DemoArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kinline-sim: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(day::live(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(obstacle) => {
            eprintln!("kinline-sim: {obstacle}");
            ExitCode::from(2)
        }
    }
}
