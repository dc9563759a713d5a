//! How the rest of a program talks to a running device.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kinline_protocol::engine::io::{Changes, Command, Event};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::actor::{Actor, Request, SharedStore};
use super::events::EventLog;
use super::link::{Link, Task};
use super::transfers::Transfers;
use super::vault::VaultWriter;
use super::{Clock, Core, DeviceError, EventReader, Status};
use crate::connection::{Backoff, BlobClient, client_config};
use crate::random;
use crate::store::{Protection, Records, Store};

/// Requests that wait for the device's task.
const REQUESTS_MAX: usize = 32;

/// How a device is started.
#[derive(Debug, Clone)]
pub struct ShellOptions {
    /// Connect at once.
    pub online: bool,
    /// The device's clock.
    pub clock: Clock,
}

impl Default for ShellOptions {
    fn default() -> Self {
        Self {
            online: true,
            clock: Clock::default(),
        }
    }
}

/// A running device. Clones talk to the same one; it ends with the last of them, or by
/// [`Self::shutdown`].
pub struct DeviceHandle<C: Core> {
    requests: mpsc::Sender<Request<C>>,
    status: watch::Receiver<Status>,
    events: EventReader,
    store: std::sync::Weak<std::sync::Mutex<Store>>,
    blobs: BlobClient,
    folder: std::path::PathBuf,
    protection: Protection,
    clock: Clock,
    task: Arc<Task<()>>,
}

impl<C: Core> Clone for DeviceHandle<C> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            status: self.status.clone(),
            events: self.events.clone(),
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            folder: self.folder.clone(),
            protection: self.protection,
            clock: self.clock.clone(),
            task: Arc::clone(&self.task),
        }
    }
}

impl<C: Core> std::fmt::Debug for DeviceHandle<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceHandle")
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}

/// Starts a device on the current tokio runtime.
///
/// # Errors
/// [`DeviceError::Stopped`] when TLS can't be set up.
pub fn start<C: Core>(
    core: C,
    store: Store,
    options: ShellOptions,
) -> Result<DeviceHandle<C>, DeviceError> {
    let tls =
        client_config(core.relay()).map_err(|error| DeviceError::Stopped(error.to_string()))?;
    let blobs = BlobClient::new(core.relay().clone(), Arc::clone(&tls));
    let folder = store.folder().to_owned();
    let protection = store.protection();
    let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
    let (status_sender, status) = watch::channel(Status::default());
    let events = EventLog::new();
    let reader = events.reader();
    let store: SharedStore = Arc::new(std::sync::Mutex::new(store));
    let weak_store = Arc::downgrade(&store);
    let actor = Actor {
        core,
        store,
        rng: random::os(),
        clock: options.clock.clone(),
        events,
        status: status_sender,
        requests: inbox,
        link: Link::offline(),
        tls,
        transfers: Transfers::new(blobs.clone(), folder.clone()),
        vault: VaultWriter::default(),
        backoff: Backoff::default(),
        refusal: None,
        notes: 0,
        erased: false,
    };
    let task = Arc::new(Task::spawn(actor.run(options.online)));
    Ok(DeviceHandle {
        requests,
        status,
        events: reader,
        store: weak_store,
        blobs,
        folder,
        protection,
        clock: options.clock,
        task,
    })
}

impl<C: Core> DeviceHandle<C> {
    fn stopped(&self) -> DeviceError {
        let status = self.status.borrow();
        status
            .stopped
            .clone()
            .unwrap_or_else(|| DeviceError::Stopped("its task has ended".into()))
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request<C>,
    ) -> Result<T, DeviceError> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(request(reply)).await.is_err() {
            return Err(self.stopped());
        }
        answer.await.map_err(|_| self.stopped())
    }

    /// Gives a command. When this returns `Ok`, what it changed is durable, and what it wants
    /// to send has been handed to the connection or waits in the durable outbox.
    ///
    /// # Errors
    /// [`DeviceError::Refused`] with the engine's sentence, [`DeviceError::Store`],
    /// [`DeviceError::Stopped`].
    pub async fn command(&self, command: Command) -> Result<(), DeviceError> {
        self.ask(|reply| Request::Command(Box::new(command), reply))
            .await?
    }

    /// Looks at the engine: `device.with(|engine| engine.conversations()).await`.
    ///
    /// # Errors
    /// [`DeviceError::Stopped`].
    pub async fn with<T: Send + 'static>(
        &self,
        look: impl FnOnce(&C) -> T + Send + 'static,
    ) -> Result<T, DeviceError> {
        self.ask(|reply: oneshot::Sender<T>| {
            Request::Question(Box::new(move |core| drop(reply.send(look(core)))))
        })
        .await
    }

    /// A reader of the events that happen from now on. Take it before giving the command
    /// whose effect is waited for.
    #[must_use]
    pub fn events(&self) -> EventReader {
        let mut reader = self.events.clone();
        reader.skip_to_now();
        reader
    }

    /// A reader of all events since the device started (the newest 8,192 are kept).
    #[must_use]
    pub fn events_from_start(&self) -> EventReader {
        self.events.clone()
    }

    /// Waits until an event makes `wanted` say `Some`; events since the start of the device
    /// count too, so that there is no race with a command given before.
    ///
    /// # Errors
    /// [`DeviceError::TimedOut`] naming `what` and the connection's trouble,
    /// [`DeviceError::Stopped`].
    pub async fn wait_for<T>(
        &self,
        what: &str,
        within: Duration,
        wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, DeviceError> {
        let mut reader = self.events_from_start();
        match reader.wait_for(what, within, wanted).await {
            Err(DeviceError::TimedOut { what, within, .. }) => Err(self.timed_out(&what, within)),
            Err(DeviceError::Stopped(_)) => Err(self.stopped()),
            other => other,
        }
    }

    fn timed_out(&self, what: &str, within: Duration) -> DeviceError {
        let status = self.status.borrow();
        DeviceError::TimedOut {
            what: what.to_owned(),
            within,
            trouble: status.trouble.as_ref().map(|it| it.sentence.clone()),
        }
    }

    /// Waits until everything is delivered, read, acknowledged and transferred, as far as
    /// this device knows.
    ///
    /// # Errors
    /// [`DeviceError::TimedOut`], [`DeviceError::Stopped`], [`DeviceError::Store`].
    pub async fn settled(&self, within: Duration) -> Result<(), DeviceError> {
        self.status_until("settling", within, |status| status.settled.then_some(()))
            .await
    }

    /// Waits until the device's status makes `wanted` say `Some`.
    ///
    /// # Errors
    /// As [`Self::settled`].
    pub async fn status_until<T>(
        &self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Status) -> Option<T>,
    ) -> Result<T, DeviceError> {
        let mut status = self.status.clone();
        let watching = async {
            loop {
                {
                    let now = status.borrow_and_update();
                    if let Some(stopped) = &now.stopped {
                        return Err(stopped.clone());
                    }
                    if let Some(found) = wanted(&now) {
                        return Ok(found);
                    }
                }
                if status.changed().await.is_err() {
                    return Err(self.stopped());
                }
            }
        };
        match timeout(within, watching).await {
            Ok(result) => result,
            Err(_) => Err(self.timed_out(what, within)),
        }
    }

    /// How the device is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Cuts the connection and stays away, transfers included. When this returns the engine
    /// knows it.
    ///
    /// # Errors
    /// [`DeviceError::Stopped`], [`DeviceError::Store`].
    pub async fn go_offline(&self) -> Result<(), DeviceError> {
        self.ask(Request::GoOffline).await
    }

    /// Connects, and keeps the connection up from now on.
    ///
    /// # Errors
    /// [`DeviceError::Stopped`].
    pub async fn go_online(&self) -> Result<(), DeviceError> {
        self.ask(Request::GoOnline).await
    }

    /// Puts the device's clock forward and lets the engine look at it.
    ///
    /// # Errors
    /// [`DeviceError::Stopped`], [`DeviceError::Store`].
    pub async fn advance_clock(&self, by: Duration) -> Result<(), DeviceError> {
        self.clock.advance(by);
        self.ask(Request::Tick).await
    }

    /// The device's clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The state folder.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// What protects the key of the device's store.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// The way to the relay's blobs.
    #[must_use]
    pub const fn blobs(&self) -> &BlobClient {
        &self.blobs
    }

    /// All history records: what [`kinline_protocol::engine`]'s view makes messages of.
    ///
    /// # Errors
    /// [`DeviceError::Stopped`], [`DeviceError::Store`].
    pub async fn history(&self) -> Result<Records, DeviceError> {
        let store = self.store.upgrade().ok_or_else(|| self.stopped())?;
        let read = move || {
            store
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .history()
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(DeviceError::Stopped(error.to_string())),
        }
    }

    /// Makes changes of the shell's own records durable.
    ///
    /// # Errors
    /// [`DeviceError::Stopped`], [`DeviceError::Store`].
    pub(crate) async fn keep(&self, changes: Changes) -> Result<(), DeviceError> {
        let store = self.store.upgrade().ok_or_else(|| self.stopped())?;
        let write = move || {
            store
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .commit(&changes)
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(DeviceError::Stopped(error.to_string())),
        }
    }

    /// Ends politely: acknowledgements on their way leave first, the store is closed and its
    /// lock is free when this returns. A device that has stopped already is fine.
    pub async fn shutdown(self) {
        drop(self.ask(Request::Shutdown).await);
    }
}
