//! A day with a family (being written).

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
    /// Process of that relay, if it may be killed
    #[arg(long, value_name = "PID", requires = "server")]
    pub server_pid: Option<u32>,
    /// Data folder of that relay, if it may be robbed
    #[arg(long, value_name = "DIR", requires = "server", value_hint = ValueHint::DirPath)]
    pub server_data: Option<PathBuf>,
    /// Keep everything in this folder: the relay's files, the loot, the devices, the secrets
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub keep: Option<PathBuf>,
}

/// Lives the day.
#[must_use]
pub fn run(_arguments: DemoArgs) -> ExitCode {
    eprintln!("kinline-sim: the demo is not part of this build");
    ExitCode::from(2)
}
