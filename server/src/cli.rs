//! The command line. `kinline-sim relay …` calls the same function.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::{Args, Parser, Subcommand};
use kinline_protocol::server_name::RelayAddress;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli_keys::{self, KeysCommand};
use crate::clock::Clock;
use crate::config::{Admission, Config, LogFormat, LogLevel};
use crate::mailbox::admission_hash;
use crate::operator::{DecoysArgs, LockdownArgs, NoticeArgs, NoticeKey, OperatorCommand};
use crate::random;
use crate::relay::{Relay, StartError, load_tls, open_rows};
use crate::storage::{RowWrite, reply};

/// Refused to start: configuration, key file, data folder, certificate, port.
const EXIT_REFUSED: u8 = 2;
/// Failed while running.
pub(crate) const EXIT_FAILED: u8 = 1;

/// The relay of Kinline: keeps 1,024 bytes of noise until the other side has them.
///
/// Configuration comes from a file (--config), then from environment variables
/// (KINLINE_RELAY_LISTEN, KINLINE_RELAY_LIMITS__HOLD_MS, …), then from flags; later ones win, and an
/// unknown key is refused. Exit status: 0 ended as asked, 1 failed while running, 2 refused
/// to start (the sentence on standard error says why).
#[derive(Debug, Parser)]
#[command(name = "kinline-server", version, about, long_about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay until SIGTERM or SIGINT.
    ///
    /// Prints one line on standard output as soon as devices can connect:
    /// "listening wss://host:port#pin=…". That address is what a pairing code carries.
    Serve(Options),
    /// Make an admission code and print it, once. Works beside a running relay.
    Admit {
        /// How many mailboxes and accounts the code opens (one for each device and each parent).
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        #[command(flatten)]
        options: Options,
    },
    /// The operator's keys and log (PROTOCOL §16). Works beside a running relay.
    Operator(OperatorCommand),
    /// Put a signed notice before every guardian. Works beside a running relay.
    Notice(NoticeArgs),
    /// Lock the relay down by a signed order, or lift that. Works beside a running relay.
    ///
    /// Logins, pairing and reading in bulk stop at once, and every device makes its keys, grants and
    /// addresses anew. Ordinary messages go on, and nothing that was acknowledged is lost.
    Lockdown(LockdownArgs),
    /// Make decoy mailboxes until there are so many: whoever touches one raises an alarm.
    Decoys(DecoysArgs),
    /// Print the relay's address with its pin, making its certificate if there is none.
    Pin(Options),
    /// Look at the keys of the key file, copy them, or change them. Never prints a secret.
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Configuration file (TOML). See deploy/kinline.toml for every key.
    #[arg(long, value_name = "FILE", env = crate::config::ENV_CONFIG)]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// Flags become keys of the configuration.
#[derive(Debug, Args, Serialize)]
struct Flags {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Folder of database and blobs [default: kinline-state/data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    /// File with the keys to the database, outside the data folder [default: kinline.key beside it]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    /// Host or host:port under which devices reach the relay [default: where it listens]
    #[arg(long, value_name = "HOST[:PORT]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    public_address: Option<String>,
    /// Name that devices sign [default: the pin]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    /// Who may open mailboxes and accounts: "open" for everybody, "codes" for who has an admission
    /// code, "tickets" for who has a code or a ticket that an account drew
    #[arg(long, value_parser = parse_admission)]
    #[serde(skip_serializing_if = "Option::is_none")]
    admission: Option<Admission>,
    /// Loopback address for Prometheus metrics [default: not served]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_listen: Option<SocketAddr>,
    /// How the log on standard error looks: "human" or "json"
    #[arg(long, value_parser = parse_log)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogFormat>,
    /// What is logged: error, warn, info, debug [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_level: Option<LogLevel>,
    #[command(flatten)]
    #[serde(skip_serializing_if = "TlsFlags::is_empty")]
    tls: TlsFlags,
}

/// Flags of the section `tls`.
#[derive(Debug, Args, Serialize)]
struct TlsFlags {
    /// Folder of the relay's own CA [default: tls beside the data folder]
    #[arg(long = "tls-folder", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<PathBuf>,
    /// Certificate chain (PEM) to use instead of the relay's own
    #[arg(long = "tls-cert", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<PathBuf>,
    /// Key (PEM) of --tls-cert
    #[arg(long = "tls-key", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
}

impl TlsFlags {
    const fn is_empty(&self) -> bool {
        self.folder.is_none() && self.cert.is_none() && self.key.is_none()
    }
}

fn parse_admission(text: &str) -> Result<Admission, String> {
    match text {
        "open" => Ok(Admission::Open),
        "codes" => Ok(Admission::Codes),
        "tickets" => Ok(Admission::Tickets),
        _ => Err("must be open, codes or tickets".into()),
    }
}

fn parse_log(text: &str) -> Result<LogFormat, String> {
    match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be human or json".into()),
    }
}

fn parse_level(text: &str) -> Result<LogLevel, String> {
    match text {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        _ => Err("must be error, warn, info or debug".into()),
    }
}

/// Runs the command line; `args` begins with the program's name. Must be called outside of
/// any async runtime: it starts its own.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_REFUSED } else { 0 });
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return refused(&error),
    };
    match cli.command {
        Command::Serve(options) => with_config(&options, |config| runtime.block_on(serve(config))),
        Command::Admit { uses, options } => {
            with_config(&options, |config| runtime.block_on(admit(&config, uses)))
        }
        Command::Operator(command) => command.run(&runtime),
        Command::Notice(args) => args.run(&runtime),
        Command::Lockdown(args) => args.run(&runtime),
        Command::Decoys(args) => args.run(&runtime),
        Command::Pin(options) => with_config(&options, |config| pin(&config)),
        Command::Keys(command) => {
            with_config(command.options(), |config| cli_keys::run(&config, &command))
        }
    }
}

/// On one core a runtime of one thread: its queue is one, in which everybody comes in turn. A worker
/// of the other kind has room for 256 tasks, and lets those beyond wait ten times as long.
fn runtime() -> io::Result<Runtime> {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let mut builder = match cores {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

pub(crate) fn with_config(options: &Options, run: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::load(options.config.as_deref(), &options.flags) {
        Ok(config) => run(config),
        Err(error) => refused(&error),
    }
}

pub(crate) fn refused(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "kinline-server: {error}");
    ExitCode::from(EXIT_REFUSED)
}

pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn start_log(config: &Config) {
    let filter = EnvFilter::new(format!("warn,kinline_server={}", config.log_level.as_str()));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let _ = match config.log {
        LogFormat::Human => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

async fn serve(config: Config) -> ExitCode {
    start_log(&config);
    // Before anything is printed: whoever reads our line may stop us at once.
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return ExitCode::from(EXIT_FAILED);
    };
    let relay = match Relay::start(config).await {
        Ok(relay) => relay,
        Err(error) => return refused(&error),
    };
    say(&format!("listening {}", relay.relay_address()));
    if let Some(address) = relay.admin_address() {
        say(&format!("metrics http://{address}/metrics"));
    }
    let failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = relay.failed() => true,
    };
    tracing::info!(failed, "stopping");
    if relay.shutdown().await {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    }
}

async fn admit(config: &Config, uses: u32) -> ExitCode {
    let storage = match open_rows(config, &Clock::system()).await {
        Ok(storage) => storage,
        Err(error) => return refused(&error),
    };
    let Ok(code) = random::bytes::<16>().map(hex::encode) else {
        return ExitCode::from(EXIT_FAILED);
    };
    let (done, added) = reply();
    storage.submit(RowWrite::AddAdmission {
        hash: admission_hash(&code),
        uses,
        done,
    });
    let added = added.await;
    storage.close_all().await;
    match added {
        Ok(()) => {
            say(&code);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kinline-server: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn pin(config: &Config) -> ExitCode {
    let address = load_tls(config).and_then(|tls| {
        config
            .relay_address(config.listen, tls.pin)
            .map_err(StartError::Config)
    });
    // Root's alone: whoever may not read it gets the address without.
    let operator = NoticeKey::read(&config.notice_key()).ok();
    let address = address.map(|address| RelayAddress {
        operator: operator.map(|key| key.operator),
        ..address
    });
    match address {
        Ok(address) => {
            say(&address.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => refused(&error),
    }
}
