//! What every call of `device` shares: the state folder, the passphrase, patience.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kinline_protocol::engine::Setup;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::ids::ConversationId;
use zeroize::Zeroizing;

use super::args::Delivery;
use super::failure::Failure;
use super::find;
use super::message::harmless;
use crate::connection::{client_config, connect};
use crate::device::{Book, Device, copy_pictures, create, give_media, open, sentence};
use crate::shell::{DeviceError, ShellOptions, Status};
use crate::store::{Argon2Cost, Passphrase, Store, StoreOptions};

/// Failures in a row after which a relay counts as not there.
const FAILURES_MAX: u32 = 4;
/// A passphrase file is not read beyond this.
const PASSPHRASE_BYTES_MAX: usize = 4_096;

/// One call's surroundings.
pub(super) struct Session {
    folder: PathBuf,
    store: StoreOptions,
    patience: Duration,
}

impl Session {
    pub(super) fn new(
        folder: PathBuf,
        passphrase_file: Option<&Path>,
        timeout_seconds: u64,
    ) -> Result<Self, Failure> {
        let store = StoreOptions {
            passphrase: passphrase(passphrase_file)?,
            cost: Argon2Cost::DEFAULT,
        };
        Ok(Self {
            folder,
            store,
            patience: Duration::from_secs(timeout_seconds),
        })
    }

    pub(super) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether a device lives in the folder.
    pub(super) fn has_device(&self) -> Result<bool, Failure> {
        if !Store::exists(&self.folder) {
            return Ok(false);
        }
        let store = Store::open(&self.folder, &self.store)?;
        Ok(!store.load_state()?.is_empty())
    }

    /// Opens the device and lets it connect.
    pub(super) fn open(&self) -> Result<Device, Failure> {
        self.open_with(true)
    }

    /// Opens the device without the relay.
    pub(super) fn open_offline(&self) -> Result<Device, Failure> {
        self.open_with(false)
    }

    fn open_with(&self, online: bool) -> Result<Device, Failure> {
        let options = ShellOptions {
            online,
            ..ShellOptions::default()
        };
        Ok(open(&self.folder, &self.store, options)?)
    }

    /// Makes a device, but only when its relay is there and is the right one: a wrong address
    /// or a refused
    /// admission code leaves no device behind.
    pub(super) async fn create(&self, setup: Setup) -> Result<Device, Failure> {
        let tls = client_config(&setup.relay).map_err(|error| Failure::new(error.to_string()))?;
        drop(connect(&setup.relay, &tls).await?);
        let device = create(&self.folder, &self.store, setup, ShellOptions::default())?;
        if let Err(failure) = self.settle(&device).await {
            device.shutdown().await;
            // Nobody has met it, and with another code or relay it can be made again.
            Store::discard(&self.folder)?;
            return Err(failure);
        }
        Ok(device)
    }

    /// Waits until everything is delivered and read.
    pub(super) async fn settle(&self, device: &Device) -> Result<(), Failure> {
        match self.try_settle(device).await? {
            Settled::Yes => Ok(()),
            Settled::NotNow(sentence) => Err(Failure::new(sentence)),
        }
    }

    /// What the family is to get copies of goes out too, and what another device of it lacks.
    async fn copied(&self, device: &Device) -> Result<Settled, Failure> {
        if copy_pictures(device).await? + give_media(device).await? == 0 {
            return Ok(Settled::Yes);
        }
        match device.settled(self.patience).await {
            Ok(()) => Ok(Settled::Yes),
            Err(error @ DeviceError::TimedOut { .. }) => Ok(Settled::NotNow(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    async fn try_settle(&self, device: &Device) -> Result<Settled, Failure> {
        let done = device
            .status_until("everything being delivered", self.patience, judge)
            .await;
        match done {
            Ok(Ok(())) => self.copied(device).await,
            Ok(Err(end)) if end.is_final => Err(Failure::new(end.sentence)),
            Ok(Err(end)) => Ok(Settled::NotNow(end.sentence)),
            Err(error @ DeviceError::TimedOut { .. }) => Ok(Settled::NotNow(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Finds a conversation; one that is not known yet may be on its way from the relay.
    pub(super) async fn conversation(
        &self,
        device: &Device,
        title: Option<&str>,
    ) -> Result<ConversationId, Failure> {
        match find::conversation(device, title).await {
            Ok(found) => Ok(found),
            Err(unknown) => match self.try_settle(device).await? {
                Settled::Yes => find::conversation(device, title).await,
                Settled::NotNow(_) => Err(unknown),
            },
        }
    }

    /// Waits until what was written is delivered, and ends the device. When the relay is not
    /// there, what was written is kept, which is fine unless `delivery` says otherwise.
    pub(super) async fn deliver(&self, device: Device, delivery: &Delivery) -> Result<(), Failure> {
        let settled = self.try_settle(&device).await;
        device.shutdown().await;
        match settled? {
            Settled::Yes => Ok(()),
            Settled::NotNow(why) if delivery.require_delivery => Err(Failure::new(format!(
                "not delivered, but kept: it will be sent when the relay is there ({why})"
            ))),
            Settled::NotNow(why) => {
                eprintln!("kept, will be sent when the relay is there ({why})");
                Ok(())
            }
        }
    }

    /// Opens the device and has it hear of everything first: what is decided now should be
    /// decided by what holds now. A relay that is not there does not stand in the way.
    pub(super) async fn open_current(&self) -> Result<Device, Failure> {
        let device = self.open()?;
        if let Err(failure) = self.try_settle(&device).await {
            device.shutdown().await;
            return Err(failure);
        }
        Ok(device)
    }

    /// What the device knows of names.
    pub(super) async fn book(&self, device: &Device) -> Result<Book, Failure> {
        Ok(device.with(Book::of).await?)
    }

    /// Gives a command that is for the family or for others, waits until it is through, says
    /// what came of it, and ends the device.
    pub(super) async fn carry_out(&self, device: Device, command: Command) -> Result<(), Failure> {
        let mut events = device.events();
        if let Err(error) = device.command(command).await {
            device.shutdown().await;
            return Err(error.into());
        }
        let settled = self.try_settle(&device).await;
        let mut refused = None;
        let mut decided = false;
        while let Some(event) = events.try_next() {
            match &event {
                Event::Proposed { decisions } => {
                    let book = self.book(&device).await?;
                    for decision in decisions {
                        println!(
                            "Another guardian's yes is needed: {}.",
                            harmless(&book.decision(decision))
                        );
                    }
                    decided = true;
                }
                Event::Refused { sentence, .. } | Event::NotDecided { sentence, .. } => {
                    refused = Some(sentence.clone());
                }
                Event::Decided { .. }
                | Event::MailboxClosed { .. }
                | Event::TimeCorrected { .. }
                | Event::Reformed { .. }
                | Event::PassRefused { .. } => {
                    decided |= !matches!(event, Event::PassRefused { .. });
                    let told = device.with(move |engine| sentence(engine, &event)).await?;
                    if let Some(told) = told {
                        println!("{}", harmless(&told));
                    }
                }
                _ => {}
            }
        }
        device.shutdown().await;
        if let (Some(sentence), false) = (refused, decided) {
            return Err(Failure::refused(sentence));
        }
        match settled? {
            Settled::Yes => {}
            Settled::NotNow(why) => {
                eprintln!("kept, will be sent when the relay is there ({why})");
            }
        }
        Ok(())
    }

    /// Waits until everything is delivered and read, then ends the device.
    pub(super) async fn finish(&self, device: Device) -> Result<(), Failure> {
        let settled = self.settle(&device).await;
        device.shutdown().await;
        settled
    }
}

enum Settled {
    Yes,
    NotNow(String),
}

/// Why waiting longer makes no sense.
struct GivenUp {
    sentence: String,
    is_final: bool,
}

fn judge(status: &Status) -> Option<Result<(), GivenUp>> {
    if status.settled {
        return Some(Ok(()));
    }
    let trouble = status.trouble.as_ref()?;
    (trouble.is_final || trouble.failures >= FAILURES_MAX).then(|| {
        Err(GivenUp {
            sentence: trouble.sentence.clone(),
            is_final: trouble.is_final,
        })
    })
}

/// Waits for an event, but not longer than the connection gives reason to.
pub(super) async fn unless_hopeless<T>(
    device: &Device,
    waiting: impl Future<Output = Result<T, DeviceError>>,
) -> Result<T, Failure> {
    let hopeless = device.status_until("", Duration::MAX, |status| match judge(status) {
        Some(Err(end)) => Some(end.sentence),
        _ => None,
    });
    tokio::select! {
        biased;
        result = waiting => Ok(result?),
        sentence = hopeless => Err(Failure::new(sentence?)),
    }
}

fn passphrase(file: Option<&Path>) -> Result<Option<Passphrase>, Failure> {
    let bytes = match file {
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
            let mut bytes = Zeroizing::new(bytes);
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            bytes
        }
        None => match std::env::var_os("KINLINE_PASSPHRASE") {
            Some(text) => Zeroizing::new(text.into_encoded_bytes()),
            None => return Ok(None),
        },
    };
    if bytes.is_empty() || bytes.len() > PASSPHRASE_BYTES_MAX {
        return Err(Failure::new(format!(
            "the passphrase must have 1 to {PASSPHRASE_BYTES_MAX} bytes"
        )));
    }
    Ok(Some(Passphrase::new(bytes.to_vec())))
}
