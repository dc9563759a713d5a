//! One socket.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire;
use kinline_protocol::wire::client_frame::Body as Request;
use kinline_protocol::wire::server_frame::Body as Response;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::AsyncWrite as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::io::poll_read_buf;

use super::websocket::{self, Kind};
use super::{Seen, Stamp, frames};
use crate::connection::client_config;
use crate::load::trouble::Trouble;

/// A connection, a handshake or an answer must not take longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes read at once from a busy connection: a TLS record.
const READ_BYTES: usize = 16 * 1_024;
/// Request id of a ping.
const PING: u64 = 2;
/// Request id of a blob.
const CREATE: u64 = 3;
/// What a server may answer to the upgrade.
const HEAD_BYTES_MAX: usize = 8 * 1_024;

/// How to reach a server.
#[derive(Clone)]
pub(in crate::load) struct Dial {
    pub(in crate::load) address: RelayAddress,
    tls: Arc<ClientConfig>,
    peer: SocketAddr,
    /// Source address; loopback has ports for 28,000 connections from each.
    pub(in crate::load) from: Option<IpAddr>,
    /// Bytes that the system takes before they are read; as it likes when this is not said.
    pub(in crate::load) receive_bytes: Option<u32>,
}

impl Dial {
    pub(in crate::load) fn new(address: RelayAddress) -> Result<Self, Trouble> {
        let ip: IpAddr = address
            .host
            .parse()
            .map_err(|_| Trouble::new("the load generator dials addresses, not names"))?;
        Ok(Self {
            tls: client_config(&address)?,
            peer: SocketAddr::new(ip, address.port),
            address,
            from: None,
            receive_bytes: None,
        })
    }

    /// TCP and TLS.
    pub(in crate::load) async fn tls(&self) -> Result<TlsStream<TcpStream>, Trouble> {
        let name = ServerName::try_from(self.address.host.clone())
            .map_err(|error| Trouble::new(error.to_string()))?;
        let work = async {
            let tcp = if self.from.is_none() && self.receive_bytes.is_none() {
                TcpStream::connect(self.peer).await?
            } else {
                let socket = TcpSocket::new_v4()?;
                if let Some(bytes) = self.receive_bytes {
                    socket.set_recv_buffer_size(bytes)?;
                }
                if let Some(from) = self.from {
                    // The port is chosen at connect, when the other side is known.
                    socket.bind(SocketAddr::new(from, 0))?;
                }
                socket.connect(self.peer).await?
            };
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&self.tls))
                .connect(name, tcp)
                .await
        };
        match timeout(PATIENCE, work).await {
            Ok(stream) => Ok(stream?),
            Err(_) => Err(Trouble::new("the server did not take a connection in time")),
        }
    }

    /// A WebSocket on `path`.
    pub(in crate::load) async fn connect(&self, path: &str) -> Result<Connection, Trouble> {
        let mut connection = Connection {
            stream: self.tls().await?,
            input: BytesMut::new(),
            output: Vec::new(),
            sent: 0,
            flushing: false,
        };
        timeout(
            PATIENCE,
            connection.upgrade(&self.address.authority(), path),
        )
        .await
        .map_err(|_| Trouble::new("the server did not answer in time"))??;
        Ok(connection)
    }
}

/// A WebSocket over TLS. What is put waits in `output` until [`Self::turn`] moves it.
pub(in crate::load) struct Connection {
    stream: TlsStream<TcpStream>,
    input: BytesMut,
    pub(in crate::load) output: Vec<u8>,
    /// Bytes of `output` that are on their way already.
    sent: usize,
    flushing: bool,
}

impl Connection {
    async fn upgrade(&mut self, authority: &str, path: &str) -> Result<(), Trouble> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2lubGluZS1zaW0tbG9hZA==\r\n\
             Sec-WebSocket-Protocol: {}\r\n\r\n",
            wire::SUBPROTOCOL
        );
        self.output.extend_from_slice(request.as_bytes());
        loop {
            self.turn().await?;
            if let Some(end) = self
                .input
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                if !self.input.starts_with(b"HTTP/1.1 101") {
                    return Err(Trouble::new("the server does not take WebSockets"));
                }
                self.input.advance(end + 4);
                return Ok(());
            }
            if self.input.len() > HEAD_BYTES_MAX {
                return Err(Trouble::new("the server's answer has no end"));
            }
        }
    }

    /// Puts a frame that needs no speed.
    pub(in crate::load) fn put(&mut self, request_id: u64, body: Request) {
        let frame = wire::encode(&wire::ClientFrame {
            request_id,
            critical: vec![],
            body: Some(body),
        });
        websocket::put_header(&mut self.output, Kind::Binary, frame.len());
        self.output.extend_from_slice(&frame);
    }

    /// Puts the acknowledgement of everything up to `through`.
    pub(in crate::load) fn put_acknowledgement(&mut self, through: u64) {
        self.put(
            0,
            Request::Acknowledge(wire::Acknowledge {
                through,
                generation: 1,
            }),
        );
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.get(self.sent..)
            && !rest.is_empty()
        {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
            self.flushing = true;
        }
        self.output.clear();
        self.sent = 0;
        if self.flushing {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what waits and returns as soon as something was read. Both go on at once, so
    /// that two full sides can't block each other. Cancel-safe.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the other side has ended it.
    pub(in crate::load) async fn turn(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            if let Poll::Ready(written) = self.poll_write(context) {
                written?;
            }
            self.input.reserve(READ_BYTES);
            match ready!(poll_read_buf(
                Pin::new(&mut self.stream),
                context,
                &mut self.input
            ))? {
                0 => Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server ended a connection",
                ))),
                _ => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    /// As [`Self::turn`], but returns as well when the system has everything. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub(in crate::load) async fn press(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            let written = self.poll_write(context)?;
            self.input.reserve(READ_BYTES);
            match poll_read_buf(Pin::new(&mut self.stream), context, &mut self.input)? {
                Poll::Ready(0) => Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server ended a connection",
                ))),
                Poll::Ready(_) => Poll::Ready(Ok(())),
                Poll::Pending => written.map(Ok),
            }
        })
        .await
    }

    /// Writes what waits and returns when the system has it. Cancel-safe.
    ///
    /// # Errors
    /// Of the socket.
    pub(in crate::load) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_write(context)).await
    }

    /// Gives back memory that a connection at rest does not need.
    pub(in crate::load) fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }

    /// Cuts the next message out of what was read; pings are answered on the way.
    fn message<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Trouble> {
        loop {
            let found = websocket::next(&mut self.input);
            let Some((kind, length)) = found.map_err(|error| Trouble::new(error.to_string()))?
            else {
                return Ok(None);
            };
            let payload = self.input.get(..length).unwrap_or_default();
            match kind {
                Kind::Binary => {
                    let value = read(payload);
                    self.input.advance(length);
                    return Ok(Some(value));
                }
                Kind::Ping => {
                    websocket::put_header(&mut self.output, Kind::Pong, length);
                    self.output.extend_from_slice(payload);
                }
                Kind::Pong => {}
                Kind::Close => return Err(Trouble::new("the server closed a connection")),
            }
            self.input.advance(length);
        }
    }

    /// The next frame of a relay, of those that were read.
    ///
    /// # Errors
    /// [`Trouble`] when the relay ended the connection or says what is no frame.
    pub(in crate::load) fn next(&mut self) -> Result<Option<Seen>, Trouble> {
        self.message(frames::read)?
            .transpose()
            .map_err(|error| Trouble::new(error.to_string()))
    }

    /// The stamp of the next plain message (of the echo), of those that were read.
    pub(in crate::load) fn next_plain(&mut self) -> Result<Option<Option<Stamp>>, Trouble> {
        self.message(Stamp::read)
    }

    /// Makes room for a blob.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub(in crate::load) async fn create_blob(
        &mut self,
        read_hash: &[u8],
        owner_hash: &[u8],
        size: u64,
    ) -> Result<(), Trouble> {
        let request = wire::CreateBlob {
            read_hash: read_hash.to_vec().into(),
            owner_hash: owner_hash.to_vec().into(),
            size,
            ticket: String::new(),
        };
        self.put(CREATE, Request::CreateBlob(request));
        self.answer(CREATE).await.map(drop)
    }

    /// Returns when the relay has read everything before this.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub(in crate::load) async fn ping(&mut self) -> Result<(), Trouble> {
        self.put(PING, Request::Ping(wire::Ping {}));
        self.answer(PING).await.map(drop)
    }

    /// Waits for the answer to `request_id`.
    ///
    /// # Errors
    /// [`Trouble`] with the relay's sentence when it refuses.
    pub(in crate::load) async fn answer(&mut self, request_id: u64) -> Result<Response, Trouble> {
        let work = async {
            loop {
                while let Some(seen) = self.next()? {
                    match seen {
                        Seen::Other {
                            body: Response::Error(error),
                            ..
                        } => {
                            return Err(Trouble::new(format!(
                                "the relay refused: {}",
                                error.sentence
                            )));
                        }
                        Seen::Other {
                            request_id: id,
                            body,
                        } if id == request_id => return Ok(body),
                        _ => {}
                    }
                }
                self.turn().await?;
            }
        };
        timeout(PATIENCE, work)
            .await
            .map_err(|_| Trouble::new("the relay did not answer in time"))?
    }
}
