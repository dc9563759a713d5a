//! What `kinline-sim load` can be told.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// One of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Job {
    /// Sender to recipient, both attached: rate, latency, many pairs, open loop
    J1,
    /// Envelopes for absent devices, stored and drained
    J2,
    /// Idle attached devices: memory, CPU at rest, all of them back after a cut
    J3,
    /// A relay that is full of envelopes and mailboxes, beside an empty one
    Scale,
    /// A large file up and down, beside a bare file server
    Blobs,
    /// Deliver before disk: what is never written, and what it costs to write everything
    Hold,
    /// Floods: one contact, a reader that never reads, twice the sustainable rate
    Flood,
    /// What messages cost a device: real engines and stores
    Device,
}

impl Job {
    /// All, in the order in which they run.
    pub(super) const ALL: [Self; 8] = [
        Self::J1,
        Self::J2,
        Self::J3,
        Self::Scale,
        Self::Blobs,
        Self::Hold,
        Self::Flood,
        Self::Device,
    ];
}

/// Options of `kinline-sim load`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without --all, --job or --baseline, one load of --pairs senders is put on a relay and told.\n\
    Examples:\n  \
    kinline-sim load --all --report load.json\n  \
    kinline-sim load --job j1 --pairs 50 --window 8 --seconds 10\n  \
    kinline-sim load --sealed --pairs 200 --rate 20000 --seconds 30\n\n\
    Exit status 0: measured, whether targets were reached or not. 1: something that was\n\
    acknowledged is missing, or came twice. 2: it could not be measured."
)]
pub struct LoadArgs {
    /// Run every job beside its baseline
    #[arg(long, conflicts_with_all = ["job", "baseline", "sealed"])]
    pub all: bool,
    /// Run one job beside its baseline; may be repeated
    #[arg(long, value_name = "NAME", value_enum, conflicts_with = "sealed")]
    pub job: Vec<Job>,
    /// Run the baselines alone: bare echo, batched inserts, syncs, file server
    #[arg(long, conflicts_with_all = ["job", "sealed"])]
    pub baseline: bool,
    /// Small counts and a second for each run: whether everything works, not how fast
    #[arg(long)]
    pub quick: bool,
    /// Write the report into this file as JSON, and a page with plots beside it (.html)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// Seconds that each run is measured [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: Option<u64>,
    /// Runs of each kind in J1, in turns with the echo; their medians are told [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: Option<u32>,
    /// Senders, each with a recipient of its own [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub pairs: Option<u32>,
    /// Closed loop: messages of one sender that are not acknowledged yet [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub window: Option<u32>,
    /// Open loop: messages a second of all senders together, whatever comes back
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with_all = ["window", "all", "job", "baseline"])]
    pub rate: Option<u32>,
    /// Envelopes sealed beforehand instead of families with real engines: the jobs of the
    /// relay always have them, so that the generator is not what is measured
    #[arg(long)]
    pub sealed: bool,
    /// Idle devices in J3 [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub devices: Option<u32>,
    /// Envelopes in the full database of the job "scale", for a tenth as many mailboxes [default: 10000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    pub scale: Option<u64>,
    /// Measure this program instead of the relay that is built in (it gets `serve --config FILE`)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::ExecutablePath)]
    pub relay_program: Option<PathBuf>,
    /// Folder for databases and blobs; what is measured is its disk [default: the system's for temporary files]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub scratch: Option<PathBuf>,
    /// Let the system choose the cores, instead of one for the relay and one for the generator
    #[arg(long)]
    pub no_pin: bool,
}

/// A process that the load generator starts.
#[derive(Debug, Args)]
pub struct ChildArgs {
    /// What to be.
    pub role: super::child::Role,
    /// Goes to the relay's own command line; a folder for a baseline.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<std::ffi::OsString>,
}
