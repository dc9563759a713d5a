//! A WebSocket that keeps nothing while nobody speaks.
//!
//! What tungstenite needs for the frames of a conversation (its state, a frame that came, frames
//! that go) is made when something comes or is said, and dropped when all of it is done with: at
//! rest a connection is its stream alone.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use kinline_protocol::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

/// Bytes of frames gathered before they go out although more is to do: seven envelopes.
const GATHER_BYTES: usize = 8 * 1_024;
/// Bytes read before everybody else comes first, even when they are no message yet: frames of
/// nothing may follow each other for ever.
const GLUT_BYTES: u64 = 64 * 1_024;
/// Bytes read at a time: a frame with an envelope, and some more.
const READ_BYTES: usize = 2 * 1_024;
/// A frame that is a little too large is read and answered; beyond that the connection just ends.
const TOO_LARGE_SLACK: usize = 64 * 1_024;

/// The server's side of a WebSocket.
pub(super) struct Socket<S> {
    stream: S,
    work: Option<Box<Work>>,
}

/// What there is of a WebSocket while something is under way.
struct Work {
    context: WebSocketContext,
    /// Bytes that the context was given.
    given: u64,
    /// Bytes that the messages it made of them had at least: as many as it was given only when
    /// nothing of a frame, and no part of a message, is left in it.
    taken: u64,
    /// All that was put into it has gone.
    flushed: bool,
    /// It could not send what it had; nothing is put into it meanwhile.
    blocked: bool,
}

/// The stream, as far as it goes without waiting.
struct Lent<'a, 'b, S> {
    /// What was read of it already.
    first: &'a [u8],
    stream: &'a mut S,
    context: &'a mut Context<'b>,
    given: &'a mut u64,
    /// How many may be given for now.
    most: u64,
}

impl Work {
    fn new() -> Box<Self> {
        Self::over(WebSocketContext::new(Role::Server, Some(config())), 0)
    }

    fn over(context: WebSocketContext, given: u64) -> Box<Self> {
        Box::new(Self {
            context,
            given,
            taken: 0,
            flushed: true,
            blocked: false,
        })
    }

    /// Whether a new one would go on as well.
    fn is_over(&self) -> bool {
        self.flushed
            && self.given == self.taken
            && self.context.can_read()
            && self.context.can_write()
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(limits::CLIENT_FRAME_BYTES_MAX + TOO_LARGE_SLACK))
        .max_frame_size(Some(limits::CLIENT_FRAME_BYTES_MAX + TOO_LARGE_SLACK))
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(GATHER_BYTES)
        // Of pongs that can't go out only the newest is kept.
        .max_write_buffer_size(GATHER_BYTES + 2 * limits::SERVER_FRAME_BYTES_MAX)
}

/// The fewest bytes in which a device can have sent this (RFC 6455 §5.2).
fn fewest(message: &Message) -> u64 {
    let payload = message.len();
    let length = match payload {
        0..126 => 0,
        126..65_536 => 2,
        _ => 8,
    };
    // Two bytes, more of the length, and the mask.
    (2 + length + 4 + payload) as u64
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Over a stream that was upgraded, of which `early` was read already.
    pub(super) fn new(stream: S, early: &[u8]) -> Self {
        let work = (!early.is_empty()).then(|| {
            let (part, config) = (early.to_vec(), Some(config()));
            let context = WebSocketContext::from_partially_read(part, Role::Server, config);
            Work::over(context, early.len() as u64)
        });
        Self { stream, work }
    }

    fn work<T>(
        &mut self,
        first: &[u8],
        context: &mut Context<'_>,
        work: impl FnOnce(&mut WebSocketContext, &mut Lent<'_, '_, S>) -> T,
    ) -> T {
        let of = self.work.get_or_insert_with(Work::new);
        let mut lent = Lent {
            first,
            stream: &mut self.stream,
            context,
            most: of.given.saturating_add(GLUT_BYTES),
            given: &mut of.given,
        };
        work(&mut of.context, &mut lent)
    }

    fn rest(&mut self) {
        if self.work.as_ref().is_some_and(|work| work.is_over()) {
            self.work = None;
        }
    }

    /// The next message; `None` at the end.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        let mut first = ReadBuf::uninit(&mut room);
        if self.work.is_none() {
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut first)) {
                Ok(()) if first.filled().is_empty() => return Poll::Ready(None),
                Ok(()) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
        match self.work(first.filled(), context, |it, lent| it.read(lent)) {
            Ok(message) => {
                if let Some(work) = &mut self.work {
                    work.taken += fewest(&message);
                    // An answer to it may have been put in.
                    work.flushed &= !message.is_ping();
                }
                self.rest();
                Poll::Ready(Some(Ok(message)))
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.rest();
                Poll::Pending
            }
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    /// Whether what was said can't go out: nothing more should be said before
    /// [`Socket::poll_flush`] is ready.
    pub(super) fn is_blocked(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.blocked)
    }

    /// Says something. It goes out with the next [`Socket::poll_flush`] at the latest, which alone
    /// wakes whoever waits for that.
    ///
    /// # Errors
    /// The connection is lost or closing.
    pub(super) fn put(&mut self, message: Message) -> Result<(), Error> {
        let mut context = Context::from_waker(Waker::noop());
        let put = self.work(&[], &mut context, |it, lent| it.write(lent, message));
        let blocked = match put {
            Ok(()) => false,
            // It was taken.
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => return Err(error),
        };
        if let Some(work) = &mut self.work {
            (work.flushed, work.blocked) = (false, blocked);
        }
        Ok(())
    }

    /// Ready when all that was said has gone.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.work.is_none() {
            return Poll::Ready(Ok(()));
        }
        match self.work(&[], context, |it, lent| it.flush(lent)) {
            Ok(()) => {
                if let Some(work) = &mut self.work {
                    (work.flushed, work.blocked) = (true, false);
                }
                self.rest();
                Poll::Ready(Ok(()))
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncRead + Unpin> Read for Lent<'_, '_, S> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if *self.given >= self.most {
            self.context.waker().wake_by_ref();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = if self.first.is_empty() {
            let mut room = ReadBuf::new(room);
            now(Pin::new(&mut *self.stream).poll_read(self.context, &mut room))?;
            room.filled().len()
        } else {
            self.first.read(room)?
        };
        *self.given += read as u64;
        Ok(read)
    }
}

impl<S: AsyncWrite + Unpin> Write for Lent<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.stream).poll_write(self.context, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        now(Pin::new(&mut *self.stream).poll_flush(self.context))
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
