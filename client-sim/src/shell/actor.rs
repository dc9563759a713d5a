//! The task that owns the engine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event, Input, Output, Read, UploadOutcome};
use rand::rngs::StdRng;
use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::events::EventLog;
use super::link::{Link, LinkEvent};
use super::notes;
use super::transfers::Transfers;
use super::vault::VaultWriter;
use super::{Clock, Core, DeviceError, LinkStatus, LinkTrouble, Refused, Status};
use crate::connection::{Backoff, ConnectError};
use crate::store::{Records, Store, StoreError, remove_blob, remove_media};

/// A deadline further away is looked at again after this long: clocks jump.
const NAP_MAX: Duration = Duration::from_secs(600);
/// An engine that wants its tick at once, again and again, gets it this often.
const NAP_MIN: Duration = Duration::from_millis(5);

/// A closure that looks at the engine.
pub(super) type Question<C> = Box<dyn FnOnce(&C) + Send>;

/// What a handle asks of the task.
pub(super) enum Request<C> {
    Command(Box<Command>, oneshot::Sender<Result<(), DeviceError>>),
    Question(Question<C>),
    GoOffline(oneshot::Sender<()>),
    GoOnline(oneshot::Sender<()>),
    Tick(oneshot::Sender<()>),
    Shutdown(oneshot::Sender<()>),
}

/// The store, shared with those who only read its history.
pub(super) type SharedStore = Arc<Mutex<Store>>;

pub(super) struct Actor<C: Core> {
    pub(super) core: C,
    pub(super) store: SharedStore,
    pub(super) rng: StdRng,
    pub(super) clock: Clock,
    pub(super) events: EventLog,
    pub(super) status: watch::Sender<Status>,
    pub(super) requests: mpsc::Receiver<Request<C>>,
    pub(super) link: Link,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) transfers: Transfers,
    pub(super) vault: VaultWriter,
    pub(super) backoff: Backoff,
    /// What the relay refused on this connection: says more than that it ended.
    pub(super) refusal: Option<String>,
    /// Notes taken so far.
    pub(super) notes: u64,
    /// The device is over: nothing of it is kept.
    pub(super) erased: bool,
}

/// Why the loop ends.
enum End {
    Wanted(Option<oneshot::Sender<()>>),
    Store(StoreError),
    Erased,
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<C: Core> Actor<C> {
    pub(super) async fn run(mut self, online: bool) {
        if online {
            self.go_online();
        }
        self.publish();
        let end = loop {
            match self.step().await {
                Ok(()) if self.erased => break End::Erased,
                Ok(()) => self.publish(),
                Err(end) => break end,
            }
        };
        let mut gone = None;
        let (stopped, reply) = match end {
            End::Erased => {
                self.transfers.finish().await;
                self.link.finish().await;
                gone = Some(self.transfers.folder().to_owned());
                let why = "it was erased, because a guardian wanted it so";
                (DeviceError::Stopped(why.into()), None)
            }
            End::Wanted(reply) => {
                self.link.finish().await;
                (DeviceError::Stopped("it was shut down".into()), reply)
            }
            End::Store(error) => {
                // Nothing of this output may leave, so the connection is cut, not closed.
                self.link.go_offline();
                (error.into(), None)
            }
        };
        let status = self.status.clone();
        // The store closes, and its lock opens, before anybody hears that the device is gone.
        // Nor before what is to be deleted is.
        let requests = std::mem::replace(&mut self.requests, mpsc::channel(1).1);
        drop(self);
        let stopped = match gone.map(|folder| Store::erase(&folder)) {
            Some(Err(error)) => error.into(),
            _ => stopped,
        };
        status.send_modify(|status| {
            *status = Status {
                stopped: Some(stopped),
                ..Status::default()
            };
        });
        drop(requests);
        if let Some(reply) = reply {
            let _ = reply.send(());
        }
    }

    /// Waits for one thing and does it.
    async fn step(&mut self) -> Result<(), End> {
        let nap = self.nap();
        tokio::select! {
            request = self.requests.recv() => match request {
                Some(request) => self.answer(request).await,
                None => Err(End::Wanted(None)),
            },
            event = self.link.next() => Ok(self.link_event(event).await?),
            input = self.transfers.next() => match input {
                Some(input) => Ok(self.transferred(input).await?),
                None => Ok(()),
            },
            written = self.vault.next() => {
                // What became of it is taken as it is: nobody waits for an answer.
                drop(self.command(written).await?);
                Ok(())
            }
            () = sleep(nap) => {
                if self.core.deadline().is_some_and(|at| at <= self.clock.now()) {
                    self.input(Input::Tick).await?;
                }
                Ok(())
            }
        }
    }

    fn nap(&self) -> Duration {
        let Some(deadline) = self.core.deadline() else {
            return NAP_MAX;
        };
        let ms = deadline.0.saturating_sub(self.clock.now().0);
        Duration::from_millis(ms).clamp(NAP_MIN, NAP_MAX)
    }

    fn publish(&self) {
        let link = self.link.status();
        let settled = link == LinkStatus::Up
            && self.core.is_settled()
            && self.link.is_flushed()
            && self.transfers.is_idle()
            && self.vault.is_idle();
        self.status.send_if_modified(|status| {
            let changed = status.link != link || status.settled != settled;
            status.link = link;
            status.settled = settled;
            changed
        });
    }

    async fn answer(&mut self, request: Request<C>) -> Result<(), End> {
        match request {
            Request::Command(command, reply) => {
                let result = match self.command(*command).await {
                    Ok(result) => result,
                    Err(error) => {
                        let error = Arc::new(error);
                        drop(reply.send(Err(DeviceError::Store(Arc::clone(&error)))));
                        return Err(match Arc::try_unwrap(error) {
                            Ok(error) => End::Store(error),
                            Err(shared) => End::Store(StoreError::damaged(shared.to_string())),
                        });
                    }
                };
                self.publish();
                drop(reply.send(result.map_err(|refused| DeviceError::Refused(refused.0))));
            }
            Request::Question(question) => question(&self.core),
            Request::GoOffline(reply) => {
                self.go_offline().await?;
                self.publish();
                let _ = reply.send(());
            }
            Request::GoOnline(reply) => {
                self.go_online();
                self.publish();
                let _ = reply.send(());
            }
            Request::Tick(reply) => {
                self.input(Input::Tick).await?;
                self.publish();
                let _ = reply.send(());
            }
            Request::Shutdown(reply) => return Err(End::Wanted(Some(reply))),
        }
        Ok(())
    }

    fn go_online(&mut self) {
        self.transfers.go_online();
        if self.link.status() == LinkStatus::Offline {
            self.backoff.reset();
            self.connect();
        }
    }

    fn connect(&mut self) {
        self.link
            .connect(self.core.relay().clone(), Arc::clone(&self.tls));
    }

    async fn go_offline(&mut self) -> Result<(), StoreError> {
        let was_up = self.link.status() == LinkStatus::Up;
        self.link.go_offline();
        let inputs = self.transfers.go_offline();
        if was_up {
            self.input(Input::Disconnected).await?;
        }
        for input in inputs {
            self.input(input).await?;
        }
        Ok(())
    }

    async fn link_event(&mut self, event: LinkEvent) -> Result<(), StoreError> {
        match event {
            LinkEvent::Up(hello) => self.input(Input::Connected(hello)).await,
            LinkEvent::Frames(frames) => self.input(Input::Frames(frames)).await,
            LinkEvent::Failed(error) => {
                let is_final = ConnectError::is_final(&error);
                self.stay_away(error.to_string(), is_final);
                Ok(())
            }
            LinkEvent::Lost(sentence) => self.lost(sentence).await,
            LinkEvent::Room => {
                self.link.flush();
                Ok(())
            }
            LinkEvent::Retry => {
                self.connect();
                Ok(())
            }
        }
    }

    /// The connection is gone: the engine hears of it, and another try follows.
    async fn lost(&mut self, sentence: String) -> Result<(), StoreError> {
        self.stay_away(sentence, false);
        self.input(Input::Disconnected).await
    }

    fn stay_away(&mut self, sentence: String, is_final: bool) {
        let sentence = self.refusal.take().unwrap_or(sentence);
        let wait = self.backoff.next(&mut self.rng);
        self.link.wait(wait);
        let failures = self.backoff.failures();
        self.status.send_modify(|status| {
            status.trouble = Some(LinkTrouble {
                sentence,
                is_final,
                failures,
            });
        });
    }

    async fn transferred(&mut self, input: Input) -> Result<(), StoreError> {
        let uploaded = match &input {
            Input::Uploaded {
                handle,
                outcome: UploadOutcome::Done,
            } => Some(*handle),
            _ => None,
        };
        self.input(input).await?;
        // It is durable by now that the relay has it.
        if let Some(handle) = uploaded {
            remove_blob(self.transfers.folder(), &handle);
        }
        Ok(())
    }

    async fn command(&mut self, command: Command) -> Result<Result<(), Refused>, StoreError> {
        let now = self.clock.now();
        match self.core.command(command, now, &mut self.rng) {
            Ok(output) => self.apply(output).await.map(Ok),
            Err(refused) => Ok(Err(refused)),
        }
    }

    async fn input(&mut self, input: Input) -> Result<(), StoreError> {
        let now = self.clock.now();
        let output = self.core.input(input, now, &mut self.rng);
        self.apply(output).await
    }

    /// Persists, and only then does everything else.
    async fn apply(&mut self, output: Output) -> Result<(), StoreError> {
        let mut output = output;
        let mut reads = VecDeque::new();
        loop {
            self.take_notes(&mut output);
            self.persist(&mut output).await?;
            for event in &output.events {
                self.heed(event);
            }
            let kept_up = self.link.send(output.frames);
            for upload in output.uploads {
                self.transfers.upload(upload);
            }
            for fetch in output.fetches {
                self.transfers.fetch(fetch);
            }
            for owner in output.blob_deletions {
                self.transfers.delete(owner);
            }
            self.events.append(output.events);
            reads.extend(output.reads);
            if (kept_up && !output.close) || self.link.status() != LinkStatus::Up {
                let Some(Read { number, names }) = reads.pop_front() else {
                    return Ok(());
                };
                let records = self.read_back(names).await?;
                let now = self.clock.now();
                let input = Input::Read { number, records };
                output = self.core.input(input, now, &mut self.rng);
                continue;
            }
            let sentence = if kept_up {
                "the device ended the connection"
            } else {
                "the relay is too slow"
            };
            self.stay_away(sentence.into(), false);
            let now = self.clock.now();
            output = self.core.input(Input::Disconnected, now, &mut self.rng);
        }
    }

    async fn read_back(&mut self, names: Vec<Vec<u8>>) -> Result<Records, StoreError> {
        let store = Arc::clone(&self.store);
        let work = move || {
            store
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .history_of(names)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::damaged(format!("a read broke off: {error}"))),
        }
    }

    /// What an event means for the shell itself.
    fn heed(&mut self, event: &Event) {
        match event {
            Event::Attached { .. } => {
                self.backoff.reset();
                self.refusal = None;
                self.status.send_modify(|status| status.trouble = None);
            }
            Event::Erased { .. } => self.erased = true,
            Event::RelayError { sentence, .. } => self.refusal = Some(sentence.clone()),
            Event::StaleStore => {
                self.refusal = Some(
                    "this state folder is a copy of an older state: the relay has seen a newer one"
                        .into(),
                );
            }
            Event::VaultDue(write) => {
                let relay = self.core.relay().clone();
                self.vault
                    .write((**write).clone(), relay, Arc::clone(&self.tls));
            }
            // What nobody may see any more is not kept as a file either.
            Event::Disappeared { content, .. }
            | Event::Message {
                body: Body::Delete { target: content },
                ..
            } => remove_media(self.transfers.folder(), *content),
            _ => {}
        }
    }

    /// Puts notes of what happened beside what is to be persisted.
    fn take_notes(&mut self, output: &mut Output) {
        let now = self.clock.now();
        for event in &output.events {
            if let Some(note) = self.core.note(event, now) {
                let key = notes::key(now, self.notes);
                self.notes = self.notes.saturating_add(1);
                output.changes.records.insert(key, Some(note));
            }
        }
    }

    async fn persist(&mut self, output: &mut Output) -> Result<(), StoreError> {
        if output.changes.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut output.changes);
        let store = Arc::clone(&self.store);
        let work = move || {
            store
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .commit(&changes)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::damaged(format!("a write broke off: {error}"))),
        }
    }
}
