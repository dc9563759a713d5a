//! The real engine as the shell's core, and how a device is made and opened.

use std::path::Path;

use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::io::{Command, Deadline, Event, Input, Output};
use kinline_protocol::engine::view::{self, MessageView};
use kinline_protocol::engine::{Engine, LoadError, Setup};
use kinline_protocol::server_name::RelayAddress;
use rand::rngs::StdRng;

use super::notice;
use crate::random;
use crate::shell::{self, Core, DeviceError, DeviceHandle, Refused, ShellOptions};
use crate::store::{Store, StoreError, StoreOptions, sweep_blobs};

/// A running device.
pub type Device = DeviceHandle<Engine>;

impl Core for Engine {
    fn input(&mut self, input: Input, now: Timestamp, rng: &mut StdRng) -> Output {
        Self::input(self, input, now, rng)
    }

    fn command(
        &mut self,
        command: Command,
        now: Timestamp,
        rng: &mut StdRng,
    ) -> Result<Output, Refused> {
        Self::command(self, command, now, rng).map_err(|error| Refused(error.to_string()))
    }

    fn deadline(&self) -> Deadline {
        Self::deadline(self)
    }

    fn is_settled(&self) -> bool {
        Self::is_settled(self)
    }

    fn note(&self, event: &Event, now: Timestamp) -> Option<Vec<u8>> {
        notice::note(self, event, now)
    }

    fn relay(&self) -> &RelayAddress {
        Self::relay(self)
    }
}

/// All messages of a device as a screen shows them, by conversation and order.
///
/// # Errors
/// [`DeviceError::Stopped`], [`DeviceError::Store`].
pub async fn messages(device: &Device) -> Result<Vec<MessageView>, DeviceError> {
    Ok(view::messages(device.history().await?))
}

/// Why a device can't be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What stands in it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The device could not be started.
    #[error(transparent)]
    Start(#[from] DeviceError),
}

/// Makes a new device in `folder` and starts it. Its keys are durable when this returns.
///
/// # Errors
/// [`OpenError::Store`] when the folder holds a device already or can't be used.
pub fn create(
    folder: &Path,
    store: &StoreOptions,
    setup: Setup,
    options: ShellOptions,
) -> Result<Device, OpenError> {
    let mut store = empty_store(folder, store)?;
    let (engine, output) = Engine::create(setup, options.clock.now(), &mut random::os())?;
    // A new device has nothing to send yet: its mailbox opens at the first connection.
    store.commit(&output.changes)?;
    Ok(shell::start(engine, store, options)?)
}

/// A new store, or the one that an earlier try left without a device when it was broken off.
fn empty_store(folder: &Path, options: &StoreOptions) -> Result<Store, OpenError> {
    match Store::create(folder, options) {
        Err(there @ StoreError::AlreadyThere { .. }) => {
            let store = Store::open(folder, options)?;
            if store.load_state()?.is_empty() {
                Ok(store)
            } else {
                Err(there.into())
            }
        }
        other => Ok(other?),
    }
}

/// Opens the device in `folder` and starts it.
///
/// # Errors
/// [`OpenError`]: no device there, locked, of a newer version, damaged, wrong passphrase.
pub fn open(
    folder: &Path,
    store: &StoreOptions,
    options: ShellOptions,
) -> Result<Device, OpenError> {
    let store = Store::open(folder, store)?;
    let engine = Engine::load(store.load_state()?)?;
    sweep_blobs(folder, std::time::SystemTime::now());
    Ok(shell::start(engine, store, options)?)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use kinline_protocol::engine::{LoadError, Setup};

    use super::{OpenError, create, open};
    use crate::shell::ShellOptions;
    use crate::store::{Argon2Cost, Store, StoreError, StoreOptions};

    #[tokio::test]
    async fn a_device_that_was_not_finished_can_be_made_again_and_a_finished_one_can_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreOptions {
            passphrase: None,
            cost: Argon2Cost::CHEAP,
        };
        let options = ShellOptions {
            online: false,
            ..ShellOptions::default()
        };
        let setup = Setup {
            relay: "wss://localhost:1".parse().unwrap(),
            device_name: "phone".into(),
            admission_code: String::new(),
        };
        // What a crash between making the store and the device leaves.
        drop(Store::create(folder.path(), &store).unwrap());
        assert!(matches!(
            open(folder.path(), &store, options.clone()),
            Err(OpenError::Load(LoadError::Empty))
        ));
        let device = create(folder.path(), &store, setup.clone(), options.clone()).unwrap();
        let id = device.with(|engine| engine.device()).await.unwrap();
        device.shutdown().await;
        assert!(matches!(
            create(folder.path(), &store, setup, options.clone()),
            Err(OpenError::Store(StoreError::AlreadyThere { .. }))
        ));
        let device = open(folder.path(), &store, options).unwrap();
        assert_eq!(device.with(|engine| engine.device()).await.unwrap(), id);
    }
}
