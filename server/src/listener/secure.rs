//! TLS over a stream, which keeps nothing that it does not need.
//!
//! `tokio-rustls` keeps a buffer of 4 KiB for each connection, which at rest was the largest thing
//! that a connection had. Here bytes are received into room that the thread lends, as many at a
//! time as come, and a connection holds of them only part of a record. What rustls does stays with
//! rustls: this moves bytes to it and from it, by its unbuffered interface.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;

use super::turn::turn;

/// Room that a thread lends to whoever receives: a whole record and as much again as a handshake
/// may leave before it. A handshake message that does not fit is none of a device.
const ROOM_BYTES: usize = 20 * 1_024;
/// Sealed bytes that wait to be sent; with more, nothing is sealed.
const SEALED_MAX: usize = 16 * 1_024;
/// Bytes sealed at a time: a record.
const RECORD_BYTES: usize = 16 * 1_024;
/// What a record has beside its bytes, and more than a close notice or an alert has.
const RECORD_MORE: usize = 64;
/// Most handshake messages fit; room is made for those that don't.
const HANDSHAKE_BYTES: usize = 2 * 1_024;

thread_local! {
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Room for what is sealed or opened, lent while there is something.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream under TLS, the server's side.
pub(crate) struct Secure<S> {
    stream: S,
    tls: UnbufferedServerConnection,
    /// Received and not understood yet: part of a record.
    received: Vec<u8>,
    /// Opened and not read yet.
    opened: Vec<u8>,
    /// How much of `opened` was read.
    read: usize,
    /// Sealed and not sent yet.
    sealed: Vec<u8>,
    /// How much of `sealed` was sent.
    sent: usize,
    /// The other side said that it sends no more.
    ended: bool,
    /// We said so.
    closed: bool,
}

/// What to do with what rustls has.
enum Work<'a> {
    /// Open what came.
    Open,
    /// Seal this.
    Seal(&'a [u8]),
    /// Say that nothing more is sent.
    Close,
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secure<S> {
    /// Takes the other side's handshake, each step of it in a turn of `turns`: a handshake costs as
    /// much as a hundred messages, and a crowd of them would keep everybody else waiting.
    ///
    /// # Errors
    /// What the stream says, and [`io::ErrorKind::InvalidData`] for a handshake that is none.
    pub(super) async fn accept(
        stream: S,
        config: Arc<ServerConfig>,
        turns: &Semaphore,
    ) -> io::Result<Self> {
        let mut secure = Self {
            stream,
            tls: UnbufferedServerConnection::new(config).map_err(broken)?,
            received: Vec::new(),
            opened: Vec::new(),
            read: 0,
            sealed: Vec::new(),
            sent: 0,
            ended: false,
            closed: false,
        };
        loop {
            let mut turn = turn(turns).await;
            let step = poll_fn(|context| {
                // Polled again: something came, which waits for another turn.
                if turn.is_none() {
                    return Poll::Ready(None);
                }
                let step = secure.poll_handshake(context).map(Some);
                // Nobody keeps a turn who waits for the other side.
                turn = None;
                step
            });
            if let Some(done) = step.await {
                return done.map(|()| secure);
            }
        }
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Received is even while nothing can be sent, or two who write would wait for each other.
            let _ = self.poll_send(context)?;
            if !self.tls.is_handshaking() {
                // What is left to say goes with what is said next.
                return Poll::Ready(Ok(()));
            }
            if !ready!(self.poll_receive(context))? {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Receives once and opens what is whole; `false` at the stream's end.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut room = ROOM.take();
        room.resize(ROOM_BYTES, 0);
        let result = self.poll_receive_into(&mut room, context);
        ROOM.set(room);
        if matches!(result, Poll::Ready(Err(_))) {
            // Whatever there is to say about it, if it can be said at once.
            let _ = self.poll_send(context);
        }
        result
    }

    fn poll_receive_into(
        &mut self,
        room: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut space = ReadBuf::new(room);
        if self.received.len() >= space.remaining() {
            return Poll::Ready(Err(broken("a handshake message is too large")));
        }
        space.put_slice(&self.received);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut space))?;
        let all = space.filled_mut();
        if all.len() == self.received.len() {
            return Poll::Ready(Ok(false));
        }
        let done = self.work(all, Work::Open)?;
        let left = all.get(done..).unwrap_or_default();
        // A connection at rest keeps none of it.
        self.received = left.to_vec();
        Poll::Ready(Ok(true))
    }

    /// Does with rustls what there is to do; returns how much of `bytes` is done with.
    fn work(&mut self, mut bytes: &mut [u8], work: Work<'_>) -> io::Result<usize> {
        let mut done = 0;
        loop {
            let status = self.tls.process_tls_records(bytes);
            let mut discard = status.discard;
            let mut last = false;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    if self.opened.capacity() == 0 {
                        self.opened = SPARE.take();
                    }
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(broken)?;
                        discard += record.discard;
                        self.opened.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    put(&mut self.sealed, HANDSHAKE_BYTES, |room| {
                        data.encode(room).map_err(room_for_encoding)
                    })?;
                }
                // It is behind all that was sealed before, and goes with it.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    match work {
                        Work::Open => {}
                        Work::Seal(plain) => {
                            put(&mut self.sealed, plain.len() + RECORD_MORE, |room| {
                                traffic.encrypt(plain, room).map_err(room_for_sealing)
                            })?;
                        }
                        Work::Close => put(&mut self.sealed, RECORD_MORE, |room| {
                            traffic.queue_close_notify(room).map_err(room_for_sealing)
                        })?,
                    }
                    last = true;
                }
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(ConnectionState::Closed) => {
                    self.ended = true;
                    last = true;
                }
                Ok(ConnectionState::BlockedHandshake) => last = true,
                // There is no early data: the configuration allows none.
                Ok(_) => return Err(broken("TLS is in a state that it can't be in")),
                Err(error) => {
                    self.complain(bytes);
                    return Err(broken(error));
                }
            }
            done += discard;
            bytes = std::mem::take(&mut bytes)
                .get_mut(discard..)
                .unwrap_or_default();
            if last {
                return Ok(done);
            }
        }
    }

    /// Seals the alert that rustls has for the other side after an error.
    fn complain(&mut self, bytes: &mut [u8]) {
        if let Ok(ConnectionState::EncodeTlsData(mut data)) =
            self.tls.process_tls_records(bytes).state
        {
            let _ = put(&mut self.sealed, RECORD_MORE, |room| {
                data.encode(room).map_err(room_for_encoding)
            });
        }
    }

    /// [`Secure::work`] when nothing came.
    fn work_on(&mut self, work: Work<'_>) -> io::Result<()> {
        let mut received = std::mem::take(&mut self.received);
        let done = self.work(&mut received, work)?;
        received.drain(..done.min(received.len()));
        self.received = received;
        Ok(())
    }

    /// Sends what is sealed.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.sealed.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        if self.sent > 0 {
            self.sent = 0;
            give_back(&mut self.sealed);
        }
        Poll::Ready(Ok(()))
    }
}

const fn room_for_encoding(error: EncodeError) -> Option<usize> {
    match error {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

const fn room_for_sealing(error: EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Puts behind `sealed` what `write` writes into `room` bytes; it fails with how many it needs, or
/// for good.
fn put(
    sealed: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> io::Result<()> {
    if sealed.capacity() == 0 {
        *sealed = SPARE.take();
    }
    let before = sealed.len();
    loop {
        sealed.resize(before + room, 0);
        match write(sealed.get_mut(before..).unwrap_or_default()) {
            Ok(bytes) => {
                sealed.truncate(before + bytes);
                return Ok(());
            }
            Err(Some(needed)) if needed > room => room = needed,
            Err(_) => {
                sealed.truncate(before);
                return Err(broken("TLS can't seal anything more"));
            }
        }
    }
}

/// What the thread lends next time.
fn give_back(room: &mut Vec<u8>) {
    let mut room = std::mem::take(room);
    room.clear();
    SPARE.set(room);
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secure<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.opened.is_empty() && !this.ended {
            if !ready!(this.poll_receive(context))? && !this.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let rest = this.opened.get(this.read..).unwrap_or_default();
        let taken = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..taken).unwrap_or_default());
        this.read += taken;
        if this.read >= this.opened.len() {
            this.read = 0;
            give_back(&mut this.opened);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secure<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.sealed.len() - this.sent >= SEALED_MAX {
            ready!(this.poll_send(context))?;
        }
        if this.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let bytes = bytes.get(..RECORD_BYTES).unwrap_or(bytes);
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.work_on(Work::Seal(bytes))?;
        // It is taken, whether it leaves now or later.
        match this.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.closed {
            this.closed = true;
            this.work_on(Work::Close)?;
        }
        ready!(this.poll_send(context))?;
        match ready!(Pin::new(&mut this.stream).poll_shutdown(context)) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
#[path = "secure_tests.rs"]
mod tests;
