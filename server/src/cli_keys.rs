//! `kinline-server keys …`: what an operator does with the key file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use kinline_protocol::day::Day;
use kinline_protocol::ticket::epoch_of;
use tokio::runtime::Builder;

use crate::cli::{Options, refused, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::keys::{Held, KeyFile, KeyFileError, Rotated, export, rotate};
use crate::relay::{StartError, rotate_at_rest};
use crate::storage::{SqliteStorage, lock};
use crate::ticket::Issuer;

/// What to do with the key file.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Say which versions of which keys there are, whether they were exported, and the public keys
    /// of tickets, which `operator issuer` publishes.
    Show(#[command(flatten)] Options),
    /// Copy the key file to FILE, which must not be there yet, mode 0600. Keep it away from
    /// backups of the data folder: together they are everything.
    Export {
        /// Where to, outside the data folder
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// Add a newer version of a key. The relay must not be running; it uses the new one from its
    /// next start on.
    Rotate {
        /// Which key
        which: Which,
        #[command(flatten)]
        options: Options,
    },
}

impl KeysCommand {
    /// Where the key file is looked for.
    pub(crate) const fn options(&self) -> &Options {
        match self {
            Self::Show(options) | Self::Export { options, .. } | Self::Rotate { options, .. } => {
                options
            }
        }
    }
}

/// A key that can be changed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Which {
    /// What everything on the disk is sealed under; all of it is written anew, which takes its time
    AtRest,
    /// What logins depend on: new accounts have the new one at once, others after their next login
    Accounts,
    /// What tickets are made with, from the next epoch of 30 days on
    Tickets,
}

/// Runs a command.
pub(crate) fn run(config: &Config, command: &KeysCommand) -> ExitCode {
    match carry_out(config, command) {
        Ok(lines) => {
            lines.iter().for_each(|line| say(line));
            ExitCode::SUCCESS
        }
        Err(error) => refused(&error),
    }
}

fn carry_out(config: &Config, command: &KeysCommand) -> Result<Vec<String>, StartError> {
    config.check_places()?;
    let path = config.key_file();
    let today = Clock::system().day();
    let rotated = match command {
        KeysCommand::Rotate { which, .. } => Some(*which),
        KeysCommand::Show(_) | KeysCommand::Export { .. } => None,
    };
    if let Some(Which::AtRest) = rotated {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| KeyFileError::Io { path, source })?;
        return Ok(show(
            &runtime.block_on(rotate_at_rest(config, today))?,
            today,
        ));
    }
    // Changed only where no relay has the old ones in its memory.
    let _lock = match command {
        KeysCommand::Rotate { .. } if config.data.exists() => Some(lock(&config.data)?),
        _ => None,
    };
    let exists = SqliteStorage::exists(&config.data);
    let keys = KeyFile::open_or_create(&path, &config.data, exists)?;
    match command {
        KeysCommand::Show(_) => Ok(show(&keys, today)),
        KeysCommand::Export { file, .. } => {
            export(&Held::take(&path)?, &config.data, file)?;
            Ok(vec![format!(
                "copied to {}: keep it away from backups of {}",
                file.display(),
                config.data.display()
            )])
        }
        KeysCommand::Rotate { .. } => {
            let which = match rotated {
                Some(Which::Accounts) => Rotated::Accounts,
                _ => Rotated::Tickets,
            };
            let keys = rotate(&Held::take(&path)?, which, today.0)?;
            Ok(show(&keys, today))
        }
    }
}

fn show(keys: &KeyFile, today: Day) -> Vec<String> {
    let mut lines = vec![format!("at-rest {}: in use", keys.at_rest_version())];
    if keys.is_changing() {
        lines.push("at-rest: a change of it broke off; the next start ends it".into());
    }
    for (at, key) in keys.accounts.iter().enumerate() {
        lines.push(match at {
            0 => format!("accounts {}: for new registrations", key.version),
            _ => format!(
                "accounts {}: until its accounts have logged in",
                key.version
            ),
        });
    }
    for key in &keys.tickets {
        let (version, epoch) = (key.version, key.first_epoch);
        lines.push(format!("tickets {version}: from epoch {epoch} on"));
    }
    // Public, for the operator's log.
    let issuer = Issuer::new(keys.tickets.clone());
    let now = epoch_of(today.0);
    for epoch in [now, now.saturating_add(1)] {
        if let Some(key) = issuer.key(epoch) {
            lines.push(format!(
                "public key of epoch {epoch}: {}",
                hex::encode(key.public())
            ));
        }
    }
    lines.push(if keys.is_exported() {
        "exported: yes, as they are now".into()
    } else {
        "exported: not as they are now; run kinline-server keys export FILE".into()
    });
    lines
}
