//! The WebSocket that carries frames.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use kinline_protocol::limits;
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::{self, ClientFrame, FrameError, Hello, ServerFrame, server_frame};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use super::ConnectError;
use super::dial::{PATIENCE, dial};
use super::error::SocketError;

/// Why a socket that stood is gone.
pub type Lost = SocketError;

/// A ping leaves this often, so that both sides and every box between see life.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Silence longer than three pings: the relay is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

type Stream = WebSocketStream<TlsStream<TcpStream>>;

/// A socket that stands; the relay has said hello.
pub struct Socket {
    stream: Stream,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Socket")
    }
}

/// Connects to a relay and waits for its hello.
///
/// # Errors
/// [`ConnectError`] with a sentence for the person who waits.
pub async fn connect(
    relay: &RelayAddress,
    tls: &Arc<ClientConfig>,
) -> Result<(Hello, Socket), ConnectError> {
    let tcp = dial(relay, tls).await?;
    let authority = relay.authority();
    match timeout(PATIENCE, greet(relay, tcp)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(what)) => Err(match what {
            Greeting::Network(source) => ConnectError::Unreachable { authority, source },
            Greeting::Strange(what) => ConnectError::NotARelay { authority, what },
        }),
        Err(_) => Err(ConnectError::TimedOut { authority }),
    }
}

enum Greeting {
    Network(std::io::Error),
    Strange(String),
}

async fn greet(
    relay: &RelayAddress,
    tcp: TlsStream<TcpStream>,
) -> Result<(Hello, Socket), Greeting> {
    let url = format!("wss://{}{}", relay.authority(), wire::PATH);
    let mut request = url
        .into_client_request()
        .map_err(|error| Greeting::Strange(error.to_string()))?;
    request.headers_mut().insert(
        "sec-websocket-protocol",
        HeaderValue::from_static(wire::SUBPROTOCOL),
    );
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1_024)
        .write_buffer_size(16 * 1_024)
        .max_write_buffer_size(4 * limits::CLIENT_FRAME_BYTES_MAX)
        .max_message_size(Some(limits::SERVER_FRAME_BYTES_MAX))
        .max_frame_size(Some(limits::SERVER_FRAME_BYTES_MAX));
    let (mut stream, _) = tokio_tungstenite::client_async_with_config(request, tcp, Some(config))
        .await
        .map_err(|error| match error {
            tungstenite::Error::Io(error) => Greeting::Network(error),
            tungstenite::Error::Http(answer) => {
                Greeting::Strange(format!("it answered HTTP {}", answer.status().as_u16()))
            }
            other => Greeting::Strange(other.to_string()),
        })?;
    loop {
        match stream.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                let frame = wire::decode_server(bytes)
                    .map_err(|error| Greeting::Strange(error.to_string()))?;
                return match frame.body {
                    Some(server_frame::Body::Hello(hello)) => Ok((hello, Socket { stream })),
                    // A relay that shuts down or is full says so instead of hello.
                    Some(server_frame::Body::Error(error)) => Err(Greeting::Network(
                        std::io::Error::new(std::io::ErrorKind::ConnectionRefused, error.sentence),
                    )),
                    _ => Err(Greeting::Strange("it did not say hello first".into())),
                };
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) | None => {
                return Err(Greeting::Network(
                    std::io::ErrorKind::ConnectionReset.into(),
                ));
            }
            Some(Ok(_)) => return Err(Greeting::Strange("it sent text".into())),
            Some(Err(tungstenite::Error::Io(error))) => return Err(Greeting::Network(error)),
            Some(Err(error)) => return Err(Greeting::Strange(error.to_string())),
        }
    }
}

impl Socket {
    /// Moves frames both ways until the connection ends or either channel is dropped.
    ///
    /// Reading goes on while writing waits, so that two full sides can't block each other.
    /// A full `incoming` makes the relay wait (its credit window bounds what is under way).
    pub async fn run(
        self,
        mut outgoing: mpsc::Receiver<ClientFrame>,
        incoming: mpsc::Sender<ServerFrame>,
    ) -> Lost {
        let (mut sink, mut stream) = self.stream.split();
        let lost = tokio::select! {
            lost = read(&mut stream, &incoming) => lost,
            lost = write(&mut sink, &mut outgoing) => lost,
        };
        // A polite end when we are the ones who leave; nobody waits for the answer.
        drop(timeout(Duration::from_secs(1), sink.close()).await);
        lost
    }
}

async fn read(stream: &mut SplitStream<Stream>, incoming: &mpsc::Sender<ServerFrame>) -> Lost {
    loop {
        let message = match timeout(SILENCE_MAX, stream.next()).await {
            Err(_) => return SocketError::Silent,
            Ok(None | Some(Ok(Message::Close(_)))) => return SocketError::Closed,
            Ok(Some(Err(error))) => return SocketError::Broken(error.to_string()),
            Ok(Some(Ok(message))) => message,
        };
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) => continue,
            _ => return SocketError::Kind,
        };
        match wire::decode_server(bytes) {
            Ok(frame) => {
                if incoming.send(frame).await.is_err() {
                    return SocketError::Closed;
                }
            }
            // Something new that nobody asked for: not for this version.
            Err(FrameError::UnknownKind { request_id: 0 }) => {}
            Err(error) => return error.into(),
        }
    }
}

async fn write(
    sink: &mut SplitSink<Stream, Message>,
    outgoing: &mut mpsc::Receiver<ClientFrame>,
) -> Lost {
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    loop {
        let sent = tokio::select! {
            frame = outgoing.recv() => {
                let Some(frame) = frame else { return SocketError::Closed };
                send_all(sink, frame, outgoing).await
            }
            _ = ping.tick() => sink.send(Message::Ping(bytes::Bytes::new())).await,
        };
        if let Err(error) = sent {
            return SocketError::Broken(error.to_string());
        }
    }
}

/// Writes one frame and whatever is ready behind it, then flushes once.
async fn send_all(
    sink: &mut SplitSink<Stream, Message>,
    first: ClientFrame,
    outgoing: &mut mpsc::Receiver<ClientFrame>,
) -> Result<(), tungstenite::Error> {
    sink.feed(Message::Binary(wire::encode(&first))).await?;
    while let Ok(frame) = outgoing.try_recv() {
        sink.feed(Message::Binary(wire::encode(&frame))).await?;
    }
    sink.flush().await
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
