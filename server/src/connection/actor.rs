//! The loop of one connection.
//!
//! What it says is gathered and goes out when there is nothing else to do at this moment: under
//! load one write carries many frames, and at rest nothing waits.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{Sink, SinkExt, Stream};
use kinline_protocol::limits;
use kinline_protocol::wire::server_frame::Body as Response;
use kinline_protocol::wire::{self, FrameError, SUBPROTOCOL, ServerFrame};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::frames::Reply;
use super::session::Session;
use super::share::{DEAF, Share};
use crate::errors::Refusal;
use crate::listener::Visit;
use crate::mailbox::{Arrival, Outcome, whole};
use crate::relay::Shared;

/// Sends of one connection whose answers are outstanding; above this it is not read.
const ANSWERS_MAX: usize = 64;
/// Envelopes read from the disk at a time for one connection: 32 KiB.
const PAGE: u32 = 32;
/// A reader that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long answers may take when the relay stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the other side may take to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of frames gathered before they go out although more is to do: seven envelopes. A
/// connection keeps as much memory as it ever gathered.
const GATHER_BYTES: usize = 8 * 1_024;
/// Bytes read at a time from what is opened already. A connection keeps room for a frame, made
/// behind what was read of it, so that little is read at first.
const READ_BYTES: usize = 256;
/// A frame that is a little too large is read and answered; beyond that the connection just ends.
const TOO_LARGE_SLACK: usize = 64 * 1_024;

/// Turns an HTTP request into a connection of `kinline.v1`.
pub(crate) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(visit): Extension<Arc<Visit>>,
    request: WebSocketUpgrade,
) -> HttpResponse {
    let request = request
        .protocols([SUBPROTOCOL])
        .max_message_size(limits::CLIENT_FRAME_BYTES_MAX + TOO_LARGE_SLACK)
        .max_frame_size(limits::CLIENT_FRAME_BYTES_MAX + TOO_LARGE_SLACK)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(GATHER_BYTES);
    if request.selected_protocol().is_none() {
        let sentence =
            "this endpoint speaks the WebSocket subprotocol kinline.v1 and nothing else\n";
        return (StatusCode::BAD_REQUEST, sentence).into_response();
    }
    request.on_upgrade(move |socket| {
        // A task of its own: the one that calls this keeps room for the socket while it runs.
        let tracker = shared.tracker.clone();
        if let Ok(session) = Session::new(shared) {
            tracker.spawn(Box::new(Actor::new(session, socket)).run(visit));
        }
        std::future::ready(())
    })
}

/// The connection is over.
struct Over;

type Answer = (u64, Result<Response, Refusal>);

/// What there is to do next.
enum Event {
    Stop,
    Answer(Answer),
    Woken,
    Heard(Option<Result<Message, axum::Error>>),
    Tick,
    Lost,
}

/// Sources of events, asked in turn.
const SOURCES: usize = 3;
/// The clock and the end of the relay come first once in so many turns; else when nothing else is to do.
const RARE: usize = 32;

struct Actor {
    session: Session,
    socket: WebSocket,
    /// Made when there is something to wait for.
    answers: Option<FuturesUnordered<BoxFuture<'static, Answer>>>,
    /// Sends whose answers come through the inbox.
    open: usize,
    /// Room for such answers, kept.
    answered: Vec<(u64, Outcome)>,
    heard_at: Instant,
    frame_at: Instant,
    /// Since when something that was said has not gone out.
    unsaid_since: Option<Instant>,
    /// The source that is asked first.
    turn: usize,
    share: Share,
}

impl Actor {
    fn new(session: Session, socket: WebSocket) -> Self {
        let now = Instant::now();
        Self {
            session,
            socket,
            answers: None,
            open: 0,
            answered: Vec::new(),
            heard_at: now,
            frame_at: now,
            unsaid_since: None,
            turn: 0,
            share: Share::default(),
        }
    }

    /// A connection at rest is mostly this future, so what is rare is in a box.
    async fn run(mut self: Box<Self>, _visit: Arc<Visit>) {
        metrics::gauge!("kinline_connections").increment(1.0);
        let _over = self.converse().await;
        metrics::gauge!("kinline_connections").decrement(1.0);
    }

    async fn converse(&mut self) -> Result<(), Over> {
        let hello = Response::Hello(self.session.hello());
        self.say(0, hello).await?;
        let shared = Arc::clone(&self.session.shared);
        let inbox = Arc::clone(&self.session.inbox);
        let mut ticks = interval(shared.limits.idle / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = Box::pin(shared.stopping.cancelled());
        // In a box that can be dropped: while it waits, nobody else is woken.
        let mut woken = Box::pin(inbox.woken());
        loop {
            let event = poll_fn(|cx| {
                self.turn = self.turn.wrapping_add(1);
                let due = self.turn.is_multiple_of(RARE);
                for rare in [due, !due] {
                    if !rare {
                        let heard = self.poll_sources(woken.as_mut(), cx);
                        if heard.is_ready() {
                            return heard;
                        }
                    } else if stopping.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Event::Stop);
                    } else if ticks.poll_tick(cx).is_ready() {
                        return Poll::Ready(Event::Tick);
                    }
                }
                self.share.rested();
                self.poll_flush(cx)
            })
            .await;
            match event {
                Event::Stop => {
                    drop(woken);
                    return Box::pin(self.stop()).await;
                }
                Event::Answer((request_id, answer)) => self.answer(request_id, answer).await?,
                Event::Woken => {
                    woken.set(inbox.woken());
                    self.tell().await?;
                }
                Event::Heard(message) => {
                    self.hear(message).await?;
                    if self.share.heard() {
                        // Behind everybody who is ready, and whoever comes by then.
                        yield_now().await;
                    }
                }
                Event::Tick => self.tick().await?,
                Event::Lost => return Err(Over),
            }
        }
    }

    /// Fair on purpose: neither a flood of frames nor a flood of deliveries may keep the other
    /// waiting, above all not the acknowledgements.
    fn poll_sources(
        &mut self,
        mut woken: Pin<&mut impl Future<Output = ()>>,
        cx: &mut Context<'_>,
    ) -> Poll<Event> {
        for source in 0..SOURCES {
            match self.turn.wrapping_add(source) % SOURCES {
                0 => {
                    if let Some(answers) = &mut self.answers {
                        match answers.poll_next_unpin(cx) {
                            Poll::Ready(Some(answer)) => return Poll::Ready(Event::Answer(answer)),
                            Poll::Ready(None) => self.answers = None,
                            Poll::Pending => {}
                        }
                    }
                }
                1 if woken.as_mut().poll(cx).is_ready() => return Poll::Ready(Event::Woken),
                2 if self.outstanding() < ANSWERS_MAX && self.share.may_hear(cx) => {
                    if let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(cx) {
                        return Poll::Ready(Event::Heard(message));
                    }
                }
                _ => {}
            }
        }
        Poll::Pending
    }

    /// Sends whose answers are outstanding.
    fn outstanding(&self) -> usize {
        self.answers.as_ref().map_or(0, FuturesUnordered::len) + self.open
    }

    /// There is nothing to do but to let what was said go out.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.unsaid_since.is_none() {
            return Poll::Pending;
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.unsaid_since = None;
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Event::Lost),
            Poll::Pending => Poll::Pending,
        }
    }

    /// One message of the device.
    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Over> {
        self.heard_at = Instant::now();
        let bytes = match message {
            None => return Err(Over),
            Some(Err(error)) if is_too_large(&error) => {
                return self
                    .refuse(
                        0,
                        &Refusal::TooLarge {
                            max: limits::CLIENT_FRAME_BYTES_MAX,
                        },
                    )
                    .await;
            }
            Some(Err(_)) => return Err(Over),
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Text(_))) => {
                return self
                    .refuse(0, &Refusal::Malformed("frames are binary messages"))
                    .await;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_))) => return Err(Over),
        };
        self.frame_at = self.heard_at;
        let frame = match wire::decode_client(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                let (request_id, refusal) = refusal(&error);
                return self.refuse(request_id, &refusal).await;
            }
        };
        let Some(body) = frame.body else {
            return Ok(());
        };
        let request_id = frame.request_id;
        match self.session.handle(request_id, body).await {
            Ok(Reply::Nothing) => {}
            Ok(Reply::Soon) => self.open += 1,
            Ok(Reply::Now(response)) => self.answer(request_id, Ok(response)).await?,
            Ok(Reply::Later(answer)) => self
                .answers
                .get_or_insert_default()
                .push(Box::pin(async move { (request_id, answer.await) })),
            Err(refusal) => {
                if matches!(refusal, Refusal::SlowDown { .. }) {
                    self.share.refused(DEAF);
                }
                self.answer(request_id, Err(refusal)).await?;
            }
        }
        self.deliver().await
    }

    /// What others put into the inbox, and what waits in the mailbox.
    async fn tell(&mut self) -> Result<(), Over> {
        self.tell_answers().await?;
        loop {
            match self.session.inbox.next() {
                Err(reason) => return self.finish(&reason).await,
                Ok(None) => return self.deliver().await,
                Ok(Some(arrival)) => {
                    let response = match arrival {
                        Arrival::Signal(body) => {
                            Response::SignalDelivered(wire::SignalDelivered { body })
                        }
                        Arrival::Joined(id) => Response::RendezvousReady(wire::RendezvousReady {
                            rendezvous: id.to_bytes(),
                            joined: true,
                        }),
                        Arrival::Met(id, body) => Response::RendezvousGot(wire::RendezvousGot {
                            rendezvous: id.to_bytes(),
                            body,
                            closed: false,
                        }),
                        Arrival::Ended(id) => {
                            self.session.rendezvous.retain(|other| *other != id);
                            Response::RendezvousGot(wire::RendezvousGot {
                                rendezvous: id.to_bytes(),
                                body: bytes::Bytes::new(),
                                closed: true,
                            })
                        }
                    };
                    self.say(0, response).await?;
                }
            }
        }
    }

    /// What became of Sends of one envelope.
    async fn tell_answers(&mut self) -> Result<(), Over> {
        let mut answered = std::mem::take(&mut self.answered);
        self.session.inbox.take_answers(&mut answered);
        for (request_id, outcome) in answered.drain(..) {
            self.open = self.open.saturating_sub(1);
            let answer = whole(outcome).map(Response::SendResult);
            self.answer(request_id, answer).await?;
        }
        self.answered = answered;
        Ok(())
    }

    /// Delivers while the window has credit.
    async fn deliver(&mut self) -> Result<(), Over> {
        let Some(mailbox) = self.session.mailbox.clone() else {
            return Ok(());
        };
        let shared = Arc::clone(&self.session.shared);
        loop {
            let page = match mailbox.next(&*shared.storage, self.session.id, PAGE).await {
                Ok(page) => page,
                Err(error) => return self.finish(&error.into()).await,
            };
            if page.is_empty() {
                return Ok(());
            }
            shared.meters.delivered.increment(page.len() as u64);
            for delivered in page {
                let deliver = wire::Deliver {
                    number: delivered.number,
                    message_id: delivered.message.to_bytes(),
                    envelope: delivered.body,
                };
                self.say(0, Response::Deliver(deliver)).await?;
            }
        }
    }

    async fn tick(&mut self) -> Result<(), Over> {
        let limits = &self.session.shared.limits;
        let silent = self.heard_at.elapsed() >= limits.idle;
        let useless =
            self.session.mailbox.is_none() && self.frame_at.elapsed() >= limits.unattached_idle;
        let stalled = self
            .unsaid_since
            .is_some_and(|since| since.elapsed() >= WRITE_TIMEOUT);
        if silent || useless || stalled {
            return Err(Over);
        }
        // Whoever speaks by itself is asked nothing.
        if self.heard_at.elapsed() < limits.idle / 2 {
            return Ok(());
        }
        self.put(Message::Ping(bytes::Bytes::new())).await
    }

    /// An answer, unless none was wanted; a refusal is always said.
    fn answer(
        &mut self,
        request_id: u64,
        answer: Result<Response, Refusal>,
    ) -> impl Future<Output = Result<(), Over>> + Send {
        let words = match answer {
            Ok(_) if request_id == 0 => None,
            Ok(response) => Some((message(request_id, response), false)),
            Err(refusal) => Some(words(request_id, &refusal)),
        };
        self.utter(words)
    }

    /// Says why and ends, or goes on if the stream can still be trusted.
    fn refuse(
        &mut self,
        request_id: u64,
        refusal: &Refusal,
    ) -> impl Future<Output = Result<(), Over>> + Send {
        self.utter(Some(words(request_id, refusal)))
    }

    /// Says why and ends, whatever the reason.
    fn finish(&mut self, reason: &Refusal) -> impl Future<Output = Result<(), Over>> + Send {
        count(reason);
        let error = wire::Error {
            closing: true,
            ..reason.to_wire()
        };
        self.utter(Some((message(0, Response::Error(error)), true)))
    }

    /// Says it, if it is something, and ends if it is the last.
    async fn utter(&mut self, words: Option<(Message, bool)>) -> Result<(), Over> {
        let Some((message, last)) = words else {
            return Ok(());
        };
        self.put(message).await?;
        if last {
            Box::pin(self.goodbye()).await
        } else {
            Ok(())
        }
    }

    /// The relay stops: what was accepted is answered first.
    async fn stop(&mut self) -> Result<(), Over> {
        self.session.detach();
        let until = Instant::now() + DRAIN_TIMEOUT;
        let mut answers = self.answers.take().unwrap_or_default();
        while let Ok(Some((request_id, answer))) = timeout_at(until, answers.next()).await {
            self.answer(request_id, answer).await?;
        }
        self.tell_answers().await?;
        let inbox = Arc::clone(&self.session.inbox);
        while self.open > 0 && timeout_at(until, inbox.woken()).await.is_ok() {
            self.tell_answers().await?;
        }
        self.refuse(0, &Refusal::ShuttingDown).await
    }

    async fn goodbye(&mut self) -> Result<(), Over> {
        self.session.detach();
        self.put(Message::Close(None)).await?;
        timeout(WRITE_TIMEOUT, self.socket.flush())
            .await
            .map_err(|_| Over)?
            .map_err(|_| Over)?;
        // Whatever still comes is read and dropped, so that the other side sees our last frame
        // before the connection is reset.
        let _ = timeout(GOODBYE_TIMEOUT, async {
            while let Some(Ok(_)) = self.socket.recv().await {}
        })
        .await;
        Err(Over)
    }

    fn say(
        &mut self,
        request_id: u64,
        body: Response,
    ) -> impl Future<Output = Result<(), Over>> + Send {
        self.put(message(request_id, body))
    }

    /// Says it, at the latest when there is nothing else to do.
    async fn put(&mut self, message: Message) -> Result<(), Over> {
        // A timer for each frame would cost more than the frame.
        let ready = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.socket).poll_ready(cx))).await;
        match ready {
            Poll::Ready(ready) => ready.map_err(|_| Over)?,
            Poll::Pending => {
                let room = poll_fn(|cx| Pin::new(&mut self.socket).poll_ready(cx));
                Box::pin(timeout(WRITE_TIMEOUT, room))
                    .await
                    .map_err(|_| Over)?
                    .map_err(|_| Over)?;
            }
        }
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(|_| Over)?;
        self.unsaid_since.get_or_insert_with(Instant::now);
        Ok(())
    }
}

/// A frame as it goes out.
fn message(request_id: u64, body: Response) -> Message {
    Message::Binary(wire::encode(&ServerFrame {
        request_id,
        critical: Vec::new(),
        body: Some(body),
    }))
}

/// A refusal as it goes out, and whether it is the last that is said.
fn words(request_id: u64, refusal: &Refusal) -> (Message, bool) {
    count(refusal);
    let error = Response::Error(refusal.to_wire());
    (message(request_id, error), refusal.closes())
}

fn count(refusal: &Refusal) {
    metrics::counter!("kinline_refusals_total", "code" => refusal.label()).increment(1);
}

fn refusal(error: &FrameError) -> (u64, Refusal) {
    match *error {
        FrameError::TooLarge { max, .. } => (0, Refusal::TooLarge { max }),
        FrameError::Malformed(_) => (0, Refusal::Malformed("the bytes are no frame")),
        FrameError::UnknownKind { request_id } => (request_id, Refusal::UnknownKind),
        FrameError::Unsupported {
            request_id,
            feature,
        } => (request_id, Refusal::Unsupported(feature)),
    }
}

/// Tells a message that is too large from a lost connection.
fn is_too_large(error: &axum::Error) -> bool {
    let mut source = Some(error as &dyn std::error::Error);
    while let Some(error) = source {
        if matches!(error.downcast_ref(), Some(tungstenite::Error::Capacity(_))) {
            return true;
        }
        source = error.source();
    }
    false
}
