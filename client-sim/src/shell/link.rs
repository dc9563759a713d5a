//! The connection of a device, as its task sees it.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::{ClientFrame, Hello, ServerFrame};
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::LinkStatus;
use crate::connection::{ConnectError, Lost, Socket, connect};

/// Frames handed to the engine at once, and so persisted and acknowledged together.
const FRAMES_AT_ONCE: usize = 64;
/// Frames of the relay that wait for the engine: one delivery window.
const INCOMING_MAX: usize = 256;
/// Frames that wait for the socket.
const OUTGOING_MAX: usize = 64;
/// Frames that wait for those; a relay so slow that they pile up loses the connection.
const UNSENT_MAX: usize = 8_192;

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub(super) fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// What came of it; `None` when it broke off. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
enum State {
    Offline,
    Connecting(Task<Result<(Hello, Socket), ConnectError>>),
    Up(Up),
    Waiting(Instant),
}

#[derive(Debug)]
struct Up {
    outgoing: mpsc::Sender<ClientFrame>,
    incoming: mpsc::Receiver<ServerFrame>,
    task: Task<Lost>,
}

/// What happened to the connection.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// It stands.
    Up(Hello),
    /// It could not be made.
    Failed(ConnectError),
    /// Frames came.
    Frames(Vec<ServerFrame>),
    /// It is gone.
    Lost(String),
    /// There may be room for frames that wait.
    Room,
    /// The wait is over.
    Retry,
}

/// One device's connection.
#[derive(Debug)]
pub(super) struct Link {
    state: State,
    unsent: VecDeque<ClientFrame>,
}

impl Link {
    pub(super) const fn offline() -> Self {
        Self {
            state: State::Offline,
            unsent: VecDeque::new(),
        }
    }

    pub(super) const fn status(&self) -> LinkStatus {
        match self.state {
            State::Offline => LinkStatus::Offline,
            State::Connecting(_) => LinkStatus::Connecting,
            State::Up(_) => LinkStatus::Up,
            State::Waiting(_) => LinkStatus::Waiting,
        }
    }

    /// Starts to connect; whatever was before ends.
    pub(super) fn connect(&mut self, relay: RelayAddress, tls: Arc<ClientConfig>) {
        self.unsent.clear();
        self.state = State::Connecting(Task::spawn(async move { connect(&relay, &tls).await }));
    }

    /// Cuts the connection and stays away.
    pub(super) fn go_offline(&mut self) {
        self.unsent.clear();
        self.state = State::Offline;
    }

    /// Cuts the connection and stays away for `wait`.
    pub(super) fn wait(&mut self, wait: Duration) {
        self.unsent.clear();
        self.state = State::Waiting(Instant::now() + wait);
    }

    /// Sends in order; nothing happens without a connection. `false`: the relay is so slow
    /// that the connection must be cut.
    #[must_use]
    pub(super) fn send(&mut self, frames: Vec<ClientFrame>) -> bool {
        if matches!(self.state, State::Up(_)) {
            self.unsent.extend(frames);
            self.flush();
        }
        self.unsent.len() <= UNSENT_MAX
    }

    /// Whether all frames have been handed to the socket.
    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    pub(super) fn flush(&mut self) {
        let State::Up(up) = &self.state else { return };
        while let Some(frame) = self.unsent.pop_front() {
            if let Err(error) = up.outgoing.try_send(frame) {
                // A closed channel shows as lost when it is read next.
                self.unsent.push_front(error.into_inner());
                return;
            }
        }
    }

    /// The next thing that happens. Cancel-safe.
    pub(super) async fn next(&mut self) -> LinkEvent {
        match &mut self.state {
            State::Offline => pending().await,
            State::Waiting(until) => {
                sleep_until(*until).await;
                LinkEvent::Retry
            }
            State::Connecting(task) => match (&mut task.0).await {
                Ok(Ok((hello, socket))) => {
                    let (outgoing, to_send) = mpsc::channel(OUTGOING_MAX);
                    let (received, incoming) = mpsc::channel(INCOMING_MAX);
                    self.state = State::Up(Up {
                        outgoing,
                        incoming,
                        task: Task::spawn(socket.run(to_send, received)),
                    });
                    LinkEvent::Up(hello)
                }
                Ok(Err(error)) => LinkEvent::Failed(error),
                Err(error) => LinkEvent::Lost(error.to_string()),
            },
            State::Up(up) => {
                let mut frames = Vec::new();
                let waiting = !self.unsent.is_empty() && !up.outgoing.is_closed();
                tokio::select! {
                    count = up.incoming.recv_many(&mut frames, FRAMES_AT_ONCE) => {
                        if count == 0 {
                            return match (&mut up.task.0).await {
                                Ok(lost) => LinkEvent::Lost(lost.to_string()),
                                Err(error) => LinkEvent::Lost(error.to_string()),
                            };
                        }
                        LinkEvent::Frames(frames)
                    }
                    _ = up.outgoing.reserve(), if waiting => LinkEvent::Room,
                }
            }
        }
    }

    /// Ends politely: what was handed to the socket leaves first, for at most two seconds.
    pub(super) async fn finish(&mut self) {
        self.flush();
        if let State::Up(mut up) = std::mem::replace(&mut self.state, State::Offline) {
            drop(up.outgoing);
            // Reading goes on, so that a full channel can't hold the writer up.
            let ending = async {
                while up.incoming.recv().await.is_some() {}
                drop((&mut up.task.0).await);
            };
            drop(timeout(Duration::from_secs(2), ending).await);
        }
    }
}
