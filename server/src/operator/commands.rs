//! The operator's commands: `operator …`, `notice`, `lockdown`, `decoys`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use kinline_protocol::day::Day;
use kinline_protocol::ids::AccountId;
use kinline_protocol::operator::{Language, Severity, Statement};
use kinline_protocol::primitives::hash::sha256;
use kinline_protocol::server_name::operator_text;
use kinline_protocol::ticket::epoch_of;
use tokio::runtime::Runtime;

use super::keys::{NoticeKey, OfflineKey};
use super::publish::publish;
use crate::account::Accounts;
use crate::cli::{EXIT_FAILED, Options, refused, say, with_config};
use crate::clock::Clock;
use crate::config::Config;
use crate::relay::{open_rows, open_secrets};
use crate::storage::{EmbeddedStorage, SqliteStorage};
use crate::tripwire::{self, MarkError};

/// Days for which a notice key is certified, when nothing else is said: a year and a month.
const CERTIFIED_DAYS: u32 = 396;

/// `operator …`.
#[derive(Debug, Args)]
pub(crate) struct OperatorCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the offline key and print its public half, which devices pin. Move the file away.
    Init {
        /// Where to put it: a stick that you take out, not this machine.
        #[arg(long, value_name = "FILE")]
        offline_key: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// Make a new notice key and certify it with the offline key; the one before is over.
    Certify {
        /// The offline key, brought back for a moment.
        #[arg(long, value_name = "FILE")]
        offline_key: PathBuf,
        #[command(flatten)]
        notice: NoticeOption,
        /// Days for which it is good.
        #[arg(long, default_value_t = CERTIFIED_DAYS, value_parser = clap::value_parser!(u32).range(1..=1_500))]
        days: u32,
        /// Number of the certificate, above all before it [default: counts on by itself]
        #[arg(long)]
        serial: Option<u32>,
        #[command(flatten)]
        options: Options,
    },
    /// Publish the keys under which tickets of this epoch and the next are issued; once a month, at
    /// least. An epoch has one key for everybody, or accounts could be told apart by it.
    Issuer {
        #[command(flatten)]
        notice: NoticeOption,
        #[command(flatten)]
        options: Options,
    },
    /// Publish the hash of the terms of the service.
    Terms {
        /// Their JSON.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        notice: NoticeOption,
        #[command(flatten)]
        options: Options,
    },
}

/// Where the notice key is.
#[derive(Debug, Args)]
struct NoticeOption {
    /// The notice key, outside the data folder [default: kinline-notice.key beside it]
    #[arg(long, value_name = "FILE")]
    notice_key: Option<PathBuf>,
}

impl NoticeOption {
    fn path(&self, config: &Config) -> PathBuf {
        self.notice_key
            .clone()
            .unwrap_or_else(|| config.notice_key())
    }
}

/// `notice`.
#[derive(Debug, Args)]
pub(crate) struct NoticeArgs {
    /// What guardians read: 1 to 4,000 characters.
    #[arg(long)]
    text: String,
    /// How much it matters: info, warning, alarm
    #[arg(long, default_value = "info", value_parser = parse_severity)]
    severity: Severity,
    /// The language of the text
    #[arg(long, default_value = "en", value_parser = parse_language)]
    language: Language,
    #[command(flatten)]
    notice: NoticeOption,
    #[command(flatten)]
    options: Options,
}

/// `lockdown`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["reason", "lift"])))]
pub(crate) struct LockdownArgs {
    /// Why, as guardians read it: 1 to 4,000 characters.
    #[arg(long)]
    reason: Option<String>,
    /// Devices keep their keys, grants and addresses.
    #[arg(long, conflicts_with = "lift")]
    no_renew: bool,
    /// The lockdown is over.
    #[arg(long)]
    lift: bool,
    #[command(flatten)]
    notice: NoticeOption,
    #[command(flatten)]
    options: Options,
}

/// `decoys`.
#[derive(Debug, Args)]
pub(crate) struct DecoysArgs {
    /// How many decoy mailboxes there should be.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    count: u32,
    /// The id, 64 hexadecimal digits, of an account that you have registered under a name that a
    /// guesser would try: it becomes a decoy, with a vault of noise. Said again it gets other noise,
    /// as a family's phone writes its vault anew
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    account: Vec<Id>,
    /// Noise takes the place of a vault that the account has: a phone of yours wrote it
    #[arg(long, requires = "account")]
    replace_vault: bool,
    #[command(flatten)]
    options: Options,
}

/// 32 bytes.
#[derive(Debug, Clone, Copy)]
struct Id([u8; 32]);

fn parse_id(text: &str) -> Result<Id, String> {
    let bytes = hex::decode(text).ok().and_then(|key| key.try_into().ok());
    bytes
        .map(Id)
        .ok_or_else(|| "must be 64 hexadecimal digits".into())
}

fn parse_severity(text: &str) -> Result<Severity, String> {
    [Severity::Info, Severity::Warning, Severity::Alarm]
        .into_iter()
        .find(|severity| severity.as_str() == text)
        .ok_or_else(|| "must be info, warning or alarm".into())
}

fn parse_language(text: &str) -> Result<Language, String> {
    Language::new(text).map_err(|error| error.to_string())
}

impl OperatorCommand {
    /// Runs it.
    pub(crate) fn run(self, runtime: &Runtime) -> ExitCode {
        match self.verb {
            Verb::Init {
                offline_key,
                options,
            } => with_config(&options, |config| {
                match OfflineKey::create(&offline_key, &config.data) {
                    Ok(key) => {
                        say(&format!("operator {}", operator_text(&key.public())));
                        ExitCode::SUCCESS
                    }
                    Err(error) => refused(&error),
                }
            }),
            Verb::Certify {
                offline_key,
                notice,
                days,
                serial,
                options,
            } => with_config(&options, |config| {
                let today = Clock::system().day();
                let path = notice.path(&config);
                let certified = OfflineKey::read(&offline_key)
                    .and_then(|key| key.certify(&path, &config.data, today, days, serial));
                let key = match certified {
                    Ok(key) => key,
                    Err(error) => return refused(&error),
                };
                say(&format!(
                    "certified {} until {}",
                    path.display(),
                    key.certificate.last
                ));
                // On another machine than the relay's there is no log: its next entry brings it.
                if EmbeddedStorage::exists(&config.data) {
                    runtime.block_on(add(&config, &key, Vec::new()))
                } else {
                    ExitCode::SUCCESS
                }
            }),
            Verb::Issuer { notice, options } => {
                with_config(&options, |config| {
                    match NoticeKey::read(&notice.path(&config)) {
                        Ok(key) => runtime.block_on(issue(&config, &key)),
                        Err(error) => refused(&error),
                    }
                })
            }
            Verb::Terms {
                file,
                notice,
                options,
            } => match std::fs::read(&file) {
                Ok(terms) => {
                    let hash = sha256(&terms);
                    say_signed(runtime, &options, &notice, Statement::Terms { hash })
                }
                Err(error) => refused(&error),
            },
        }
    }
}

impl NoticeArgs {
    /// Runs it.
    pub(crate) fn run(self, runtime: &Runtime) -> ExitCode {
        let statement = Statement::Notice {
            severity: self.severity,
            language: self.language,
            text: self.text,
        };
        say_signed(runtime, &self.options, &self.notice, statement)
    }
}

impl LockdownArgs {
    /// Runs it.
    pub(crate) fn run(self, runtime: &Runtime) -> ExitCode {
        let statement = match self.reason {
            Some(reason) => Statement::Lockdown {
                reason,
                renew: !self.no_renew,
            },
            None => Statement::Lift,
        };
        say_signed(runtime, &self.options, &self.notice, statement)
    }
}

impl DecoysArgs {
    /// Runs it.
    pub(crate) fn run(self, runtime: &Runtime) -> ExitCode {
        with_config(&self.options, |config| {
            runtime.block_on(async {
                let clock = Clock::system();
                let (storage, accounts, _) = match open_secrets(&config, &clock).await {
                    Ok(opened) => opened,
                    Err(error) => return refused(&error),
                };
                let status = self.make(&storage, &accounts, clock.day()).await;
                storage.close_all().await;
                status
            })
        })
    }

    async fn make(&self, storage: &SqliteStorage, accounts: &Accounts, today: Day) -> ExitCode {
        let submit = |write| storage.submit(write);
        if let Err(error) = self.mark(storage, accounts).await {
            return failed(&error);
        }
        if self.count == 0 {
            return ExitCode::SUCCESS;
        }
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        match storage.mailboxes().await {
            Ok(all) => {
                let now = tripwire::make(&all, today, count, submit).await;
                say(&format!("decoys {now}"));
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error),
        }
    }

    async fn mark(&self, storage: &SqliteStorage, accounts: &Accounts) -> Result<(), MarkError> {
        if self.account.is_empty() {
            return Ok(());
        }
        let vaults = storage.vaults().await?;
        for id in &self.account {
            let places = accounts.places(&AccountId::new(id.0));
            tripwire::mark_account(storage, places, &vaults, self.replace_vault).await?;
            say("decoy account");
        }
        Ok(())
    }
}

/// Signs one statement and adds it to the log.
fn say_signed(
    runtime: &Runtime,
    options: &Options,
    notice: &NoticeOption,
    statement: Statement,
) -> ExitCode {
    with_config(options, |config| {
        match NoticeKey::read(&notice.path(&config)) {
            Ok(key) => runtime.block_on(add(&config, &key, vec![statement])),
            Err(error) => refused(&error),
        }
    })
}

async fn issue(config: &Config, key: &NoticeKey) -> ExitCode {
    let clock = Clock::system();
    let (storage, _, issuer) = match open_secrets(config, &clock).await {
        Ok(opened) => opened,
        Err(error) => return refused(&error),
    };
    let now = epoch_of(clock.day().0);
    let statements = [now, now.saturating_add(1)]
        .into_iter()
        .filter_map(|epoch| {
            let key = issuer.key(epoch)?.public();
            Some(Statement::IssuerKey { epoch, key })
        })
        .collect();
    published(storage, clock.day(), key, statements).await
}

async fn add(config: &Config, key: &NoticeKey, statements: Vec<Statement>) -> ExitCode {
    let clock = Clock::system();
    let storage = match open_rows(config, &clock).await {
        Ok(storage) => storage,
        Err(error) => return refused(&error),
    };
    published(storage, clock.day(), key, statements).await
}

async fn published(
    storage: SqliteStorage,
    today: Day,
    key: &NoticeKey,
    statements: Vec<Statement>,
) -> ExitCode {
    let published = publish(&storage, today, key, statements).await;
    storage.close_all().await;
    match published {
        Ok(position) => {
            say(&format!("entries {}", position.size));
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let _ = refused(error);
    ExitCode::from(EXIT_FAILED)
}
