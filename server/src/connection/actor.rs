//! The loop of one connection.
//!
//! What it says is gathered and goes out when there is nothing else to do at this moment: under
//! load one write carries many frames, and at rest nothing waits.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use kinline_protocol::limits;
use kinline_protocol::wire::client_frame::Body as Request;
use kinline_protocol::wire::server_frame::Body as Response;
use kinline_protocol::wire::{self, FrameError, ServerFrame};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tungstenite::{Error, Message};

use super::frames::{Handling, Reply};
use super::session::Session;
use super::share::{DEAF, Share};
use super::socket::Socket;
use crate::errors::Refusal;
use crate::listener::{Stream, Visit, turn};
use crate::mailbox::{Arrival, Outcome, whole};

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

/// Room for frames until they are copied: three envelopes.
const ENCODED_BYTES: usize = 4 * 1_024;

thread_local! {
    static ENCODED: RefCell<BytesMut> = RefCell::default();
}

/// The connection is over.
struct Over;

type Answer = (u64, Result<Response, Refusal>);

/// What there is to do next.
enum Event {
    Stop,
    Answer(Answer),
    Woken,
    Heard(Option<Result<Message, Error>>),
    Tick,
    Lost,
}

/// What becomes of an event.
enum Step {
    Stop,
    Tell,
    Frame(u64, Request),
    Utter(Option<Words>),
}

/// Something to say, and whether it is the last.
type Words = (Message, bool);

/// Sources of events, asked in turn.
const SOURCES: usize = 3;
/// The clock and the end of the relay come first once in so many turns; else when nothing else is to do.
const RARE: usize = 32;

pub(super) struct Actor {
    session: Session,
    socket: Socket<Stream>,
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
    pub(super) fn new(session: Session, socket: Socket<Stream>) -> Self {
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
    pub(super) async fn run(mut self: Box<Self>, visit: Arc<Visit>) {
        metrics::gauge!("kinline_connections").increment(1.0);
        let _over = self.converse().await;
        // Whoever comes back from the same network finds room.
        drop(visit);
        let shared = Arc::clone(&self.session.shared);
        let turn = turn(&shared.turns).await;
        drop(self);
        drop(turn);
        metrics::gauge!("kinline_connections").decrement(1.0);
    }

    async fn converse(&mut self) -> Result<(), Over> {
        let hello = Response::Hello(self.session.hello());
        self.say(0, hello)?;
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
            let heard = matches!(event, Event::Heard(_));
            match self.step(event)? {
                Step::Stop => {
                    drop(woken);
                    return Box::pin(self.stop()).await;
                }
                Step::Tell => {
                    woken.set(inbox.woken());
                    self.tell().await?;
                }
                Step::Frame(request_id, request) => {
                    let reply = match self.session.handle(request_id, request) {
                        Ok(Handling::Done(reply)) => Ok(reply),
                        Ok(Handling::Wait(reply)) => reply.await,
                        Err(refusal) => Err(refusal),
                    };
                    let words = self.reply(request_id, reply);
                    self.utter(words).await?;
                    self.deliver().await?;
                }
                Step::Utter(words) => self.utter(words).await?,
            }
            if heard && self.share.heard() {
                // Behind everybody who is ready, and whoever comes by then.
                yield_now().await;
            }
        }
    }

    /// Does of an event what needs no waiting: what would be kept meanwhile, every connection at
    /// rest had room for.
    fn step(&mut self, event: Event) -> Result<Step, Over> {
        match event {
            Event::Stop => Ok(Step::Stop),
            Event::Answer((request_id, answer)) => Ok(Step::Utter(answered(request_id, answer))),
            Event::Woken => Ok(Step::Tell),
            Event::Heard(message) => self.hear(message),
            Event::Tick => self.tick(),
            Event::Lost => Err(Over),
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
                    if let Poll::Ready(message) = self.socket.poll_next(cx) {
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
        match self.socket.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.unsaid_since = None;
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Event::Lost),
            Poll::Pending => Poll::Pending,
        }
    }

    /// One message of the device.
    fn hear(&mut self, message: Option<Result<Message, Error>>) -> Result<Step, Over> {
        self.heard_at = Instant::now();
        let refuse = |request_id, refusal| Ok(Step::Utter(Some(words(request_id, &refusal))));
        let bytes = match message {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Text(_))) => {
                return refuse(0, Refusal::Malformed("frames are binary messages"));
            }
            Some(Ok(Message::Ping(_))) => {
                // The socket answers by itself.
                self.unsaid_since.get_or_insert(self.heard_at);
                return Ok(Step::Utter(None));
            }
            Some(Ok(Message::Pong(_))) => return Ok(Step::Utter(None)),
            Some(Err(Error::Capacity(_))) => {
                let max = limits::CLIENT_FRAME_BYTES_MAX;
                return refuse(0, Refusal::TooLarge { max });
            }
            None | Some(Ok(Message::Close(_) | Message::Frame(_)) | Err(_)) => return Err(Over),
        };
        self.frame_at = self.heard_at;
        match wire::decode_client(bytes) {
            Ok(frame) => Ok(match frame.body {
                Some(body) => Step::Frame(frame.request_id, body),
                None => Step::Utter(None),
            }),
            Err(error) => {
                let (request_id, refusal) = refusal(&error);
                refuse(request_id, refusal)
            }
        }
    }

    /// What there is to say to a frame that was handled.
    fn reply(&mut self, request_id: u64, reply: Result<Reply, Refusal>) -> Option<Words> {
        match reply {
            Ok(Reply::Nothing) => None,
            Ok(Reply::Soon) => {
                self.open += 1;
                None
            }
            Ok(Reply::Now(response)) => answered(request_id, Ok(response)),
            Ok(Reply::Later(answer)) => {
                let answer = Box::pin(async move { (request_id, answer.await) });
                self.answers.get_or_insert_default().push(answer);
                None
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::SlowDown { .. }) {
                    self.share.refused(DEAF);
                }
                answered(request_id, Err(refusal))
            }
        }
    }

    /// What others put into the inbox, and what waits in the mailbox.
    async fn tell(&mut self) -> Result<(), Over> {
        self.tell_answers().await?;
        loop {
            self.room().await?;
            match self.session.inbox.next() {
                Err(reason) => return self.finish(&reason).await,
                Ok(None) => return self.deliver().await,
                Ok(Some(arrival)) => {
                    let response = self.arrived(arrival);
                    self.say(0, response)?;
                }
            }
        }
    }

    fn arrived(&mut self, arrival: Arrival) -> Response {
        match arrival {
            Arrival::Signal(body) => Response::SignalDelivered(wire::SignalDelivered { body }),
            Arrival::Joined(id) => Response::RendezvousReady(wire::RendezvousReady {
                rendezvous: id.to_bytes(),
                joined: true,
            }),
            Arrival::Met(id, body) => Response::RendezvousGot(wire::RendezvousGot {
                rendezvous: id.to_bytes(),
                body,
                closed: false,
            }),
            Arrival::OperatorNews => Response::OperatorNews(wire::OperatorNews {
                checkpoint: self.session.shared.operator.checkpoint(),
            }),
            Arrival::Ended(id) => {
                self.session.rendezvous.retain(|other| *other != id);
                Response::RendezvousGot(wire::RendezvousGot {
                    rendezvous: id.to_bytes(),
                    body: bytes::Bytes::new(),
                    closed: true,
                })
            }
        }
    }

    /// What became of Sends of one envelope.
    async fn tell_answers(&mut self) -> Result<(), Over> {
        let mut outcomes = std::mem::take(&mut self.answered);
        self.session.inbox.take_answers(&mut outcomes);
        for (request_id, outcome) in outcomes.drain(..) {
            self.open = self.open.saturating_sub(1);
            let answer = whole(outcome).map(Response::SendResult);
            let words = answered(request_id, answer);
            self.utter(words).await?;
        }
        self.answered = outcomes;
        Ok(())
    }

    /// Delivers while the window has credit.
    async fn deliver(&mut self) -> Result<(), Over> {
        loop {
            let Some(mailbox) = &self.session.mailbox else {
                return Ok(());
            };
            let shared = &self.session.shared;
            let page = match mailbox.next_page(shared, self.session.id, PAGE).await {
                Ok(page) => page,
                Err(error) => return self.finish(&error.into()).await,
            };
            if page.is_empty() {
                return Ok(());
            }
            shared.tripwire.watch.delivered(page.len() as u64);
            let delivered = &self.session.shared.meters.delivered;
            delivered.increment(page.len() as u64);
            let mut page = page.into_iter();
            loop {
                self.room().await?;
                let Some(delivered) = page.next() else {
                    break;
                };
                let deliver = wire::Deliver {
                    number: delivered.number,
                    message_id: delivered.message.to_bytes(),
                    envelope: delivered.body,
                };
                self.say(0, Response::Deliver(deliver))?;
            }
        }
    }

    fn tick(&mut self) -> Result<Step, Over> {
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
        let asked = self.heard_at.elapsed() >= limits.idle / 2;
        let ping = || (Message::Ping(bytes::Bytes::new()), false);
        Ok(Step::Utter(asked.then(ping)))
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
    async fn utter(&mut self, words: Option<Words>) -> Result<(), Over> {
        let Some((message, last)) = words else {
            return Ok(());
        };
        self.room().await?;
        self.put(message)?;
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
            self.utter(answered(request_id, answer)).await?;
        }
        self.tell_answers().await?;
        let inbox = Arc::clone(&self.session.inbox);
        while self.open > 0 && timeout_at(until, inbox.woken()).await.is_ok() {
            self.tell_answers().await?;
        }
        self.utter(Some(words(0, &Refusal::ShuttingDown))).await
    }

    async fn goodbye(&mut self) -> Result<(), Over> {
        self.session.detach();
        self.room().await?;
        self.put(Message::Close(None))?;
        timeout(WRITE_TIMEOUT, poll_fn(|cx| self.socket.poll_flush(cx)))
            .await
            .map_err(|_| Over)?
            .map_err(|_| Over)?;
        // Whatever still comes is read and dropped, so that the other side sees our last frame
        // before the connection is reset.
        let _ = timeout(GOODBYE_TIMEOUT, async {
            while let Some(Ok(_)) = poll_fn(|cx| self.socket.poll_next(cx)).await {}
        })
        .await;
        Err(Over)
    }

    /// Says it where there is room.
    fn say(&mut self, request_id: u64, body: Response) -> Result<(), Over> {
        self.put(message(request_id, body))
    }

    /// Puts it where there is room; it goes out at the latest when there is nothing else to do.
    fn put(&mut self, message: Message) -> Result<(), Over> {
        self.socket.put(message).map_err(|_| Over)?;
        self.unsaid_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Waits for room to say something in.
    async fn room(&mut self) -> Result<(), Over> {
        // A timer for each frame would cost more than the frame.
        if self.socket.is_blocked() {
            let room = poll_fn(|cx| self.socket.poll_flush(cx));
            Box::pin(timeout(WRITE_TIMEOUT, room))
                .await
                .map_err(|_| Over)?
                .map_err(|_| Over)?;
            // All of it went: a slow device is not one that takes nothing.
            self.unsaid_since = None;
        }
        Ok(())
    }
}

/// A frame as it goes out. It is copied at once into what the connection gathers, so all that a
/// thread says takes turns in the same room.
fn message(request_id: u64, body: Response) -> Message {
    let frame = ServerFrame {
        request_id,
        critical: Vec::new(),
        body: Some(body),
    };
    ENCODED.with_borrow_mut(|room| {
        if room.capacity() == 0 {
            room.reserve(ENCODED_BYTES);
        }
        Message::Binary(wire::encode_within(&frame, room))
    })
}

/// A refusal as it goes out, and whether it is the last that is said.
fn words(request_id: u64, refusal: &Refusal) -> Words {
    count(refusal);
    let error = Response::Error(refusal.to_wire());
    (message(request_id, error), refusal.closes())
}

/// An answer as it goes out, unless none was wanted; a refusal is always said.
fn answered(request_id: u64, answer: Result<Response, Refusal>) -> Option<Words> {
    match answer {
        Ok(_) if request_id == 0 => None,
        Ok(response) => Some((message(request_id, response), false)),
        Err(refusal) => Some(words(request_id, &refusal)),
    }
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
