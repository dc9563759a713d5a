//! One connection to a relay that may die at any moment: its end is an answer, not a panic.

use std::collections::VecDeque;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use kinline_client_sim::connection::client_config;
use kinline_protocol::attach::{self, Challenge};
use kinline_protocol::blob::{OFFSET_HEADER, OWNER_HEADER, PATH, READ_HEADER};
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, ClientFrame};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::cast::{Blob, Mailbox};

/// Nothing on loopback takes this long; a relay that is silent for it has failed the sweep.
const PATIENCE: Duration = Duration::from_secs(60);

/// The connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// An answer, or the relay's refusal.
pub type Answer<T> = Result<Result<T, wire::Error>, Gone>;

/// One connection.
pub struct Client {
    stream: WebSocketStream<TlsStream<TcpStream>>,
    server_name: String,
    nonce: Vec<u8>,
    /// The relay's day.
    pub day: u32,
    request_id: u64,
    delivered: VecDeque<wire::Deliver>,
}

async fn dial(relay: &RelayAddress) -> Result<TlsStream<TcpStream>, Gone> {
    let connect = async {
        let stream = TcpStream::connect((relay.host.as_str(), relay.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(relay.host.clone()).unwrap();
        TlsConnector::from(client_config(relay).unwrap())
            .connect(name, stream)
            .await
    };
    in_time(connect).await.map_err(|_: std::io::Error| Gone)
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("the relay is silent")
}

impl Client {
    /// Connects and hears the relay's hello.
    ///
    /// # Errors
    /// [`Gone`].
    ///
    /// # Panics
    /// When the relay says anything else, or nothing.
    pub async fn connect(relay: &RelayAddress) -> Result<Self, Gone> {
        let mut request = format!("wss://{}{}", relay.authority(), wire::PATH)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", wire::SUBPROTOCOL.parse().unwrap());
        let upgrade = tokio_tungstenite::client_async(request, dial(relay).await?);
        let (stream, _) = in_time(upgrade).await.map_err(|_| Gone)?;
        let mut client = Self {
            stream,
            server_name: relay.server_name(),
            nonce: vec![],
            day: 0,
            request_id: 0,
            delivered: VecDeque::new(),
        };
        match client.frame().await? {
            (0, Say::Hello(hello)) => {
                client.nonce = hello.nonce.to_vec();
                client.day = hello.day;
                Ok(client)
            }
            other => panic!("a connection begins with hello, not {other:?}"),
        }
    }

    fn challenge(&self) -> Challenge<'_> {
        Challenge {
            server_name: &self.server_name,
            nonce: &self.nonce,
        }
    }

    /// Sends a frame and returns its request id.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn tell(&mut self, body: Ask) -> Result<u64, Gone> {
        self.request_id += 1;
        let frame = ClientFrame {
            request_id: self.request_id,
            critical: vec![],
            body: Some(body),
        };
        let message = Message::Binary(wire::encode(&frame));
        in_time(self.stream.send(message)).await.map_err(|_| Gone)?;
        Ok(self.request_id)
    }

    async fn frame(&mut self) -> Result<(u64, Say), Gone> {
        loop {
            match in_time(self.stream.next()).await {
                Some(Ok(Message::Binary(bytes))) => {
                    let frame = wire::decode_server(bytes).expect("a frame");
                    return Ok((frame.request_id, frame.body.expect("a body")));
                }
                None | Some(Ok(Message::Close(_)) | Err(_)) => return Err(Gone),
                Some(Ok(_)) => {}
            }
        }
    }

    /// The answer to a frame; deliveries that come meanwhile are kept for [`Self::delivery`].
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn ask(&mut self, body: Ask) -> Answer<Say> {
        let wanted = self.tell(body).await?;
        loop {
            match self.frame().await? {
                (id, Say::Error(error)) if id == wanted => return Ok(Err(error)),
                (id, say) if id == wanted => return Ok(Ok(say)),
                (_, Say::Deliver(deliver)) => self.delivered.push_back(deliver),
                (_, Say::Error(error)) if error.closing => return Err(Gone),
                (_, other) => panic!("unasked: {other:?}"),
            }
        }
    }

    /// The next delivery.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn delivery(&mut self) -> Result<wire::Deliver, Gone> {
        if let Some(deliver) = self.delivered.pop_front() {
            return Ok(deliver);
        }
        match self.frame().await? {
            (_, Say::Deliver(deliver)) => Ok(deliver),
            (_, Say::Error(error)) if error.closing => Err(Gone),
            (_, other) => panic!("unasked: {other:?}"),
        }
    }

    /// Everything that was delivered before the relay answers a ping.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn delivered(&mut self) -> Result<Vec<wire::Deliver>, Gone> {
        let _ = self.ask(Ask::Ping(wire::Ping {})).await?;
        Ok(self.delivered.drain(..).collect())
    }

    /// Opens a mailbox.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn open(&mut self, mailbox: &Mailbox) -> Answer<Say> {
        let keys = mailbox.keys();
        let challenge = self.challenge();
        let signature =
            attach::sign_open(&mailbox.authentication, &challenge, &mailbox.id, &keys, 1);
        self.ask(Ask::OpenMailbox(wire::OpenMailbox {
            mailbox: mailbox.id.to_bytes(),
            authentication_key: keys.authentication.as_bytes().to_vec().into(),
            grant_key: keys.grant.as_bytes().to_vec().into(),
            close_key: keys.close.as_bytes().to_vec().into(),
            generation: 1,
            admission_code: String::new(),
            signature: signature.to_vec().into(),
        }))
        .await
    }

    /// Attaches; how many envelopes wait.
    ///
    /// # Errors
    /// [`Gone`].
    ///
    /// # Panics
    /// When the relay answers anything else.
    pub async fn attach(&mut self, mailbox: &Mailbox, window: u32) -> Answer<u64> {
        let challenge = self.challenge();
        let signature =
            attach::sign_attach(&mailbox.authentication, &challenge, &mailbox.id, 1, window);
        let request = wire::Attach {
            mailbox: mailbox.id.to_bytes(),
            generation: 1,
            window,
            signature: signature.to_vec().into(),
        };
        Ok(match self.ask(Ask::Attach(request)).await? {
            Ok(Say::Attached(attached)) => Ok(attached.waiting),
            Ok(other) => panic!("not attached: {other:?}"),
            Err(error) => Err(error),
        })
    }

    /// Acknowledges deliveries.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn acknowledge(&mut self, through: u64) -> Result<(), Gone> {
        let body = wire::Acknowledge {
            through,
            generation: 1,
        };
        self.tell(Ask::Acknowledge(body)).await.map(|_| ())
    }

    /// Sends.
    ///
    /// # Errors
    /// [`Gone`].
    ///
    /// # Panics
    /// When the relay answers anything else.
    pub async fn send(&mut self, send: wire::Send) -> Answer<wire::SendResult> {
        Ok(match self.ask(Ask::Send(send)).await? {
            Ok(Say::SendResult(result)) => Ok(result),
            Ok(other) => panic!("not sent: {other:?}"),
            Err(error) => Err(error),
        })
    }

    /// Closes a mailbox, or undoes that.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn close(&mut self, mailbox: &Mailbox, undo: bool) -> Answer<Say> {
        let challenge = self.challenge();
        let signature = attach::sign_close(&mailbox.close, &challenge, &mailbox.id, undo);
        self.ask(Ask::CloseMailbox(wire::CloseMailbox {
            mailbox: mailbox.id.to_bytes(),
            undo,
            signature: signature.to_vec().into(),
        }))
        .await
    }
}

/// An answer over HTTPS.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// How many bytes of the blob the relay has, if it said so.
    pub offset: Option<u64>,
    /// What it sent.
    pub body: Bytes,
}

async fn request(
    relay: &RelayAddress,
    method: &str,
    headers: &[(&str, String)],
    body: Bytes,
) -> Result<Reply, Gone> {
    let stream = TokioIo::new(dial(relay).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .map_err(|_| Gone)?;
    let driver = tokio::spawn(connection);
    let mut request = hyper::Request::builder()
        .method(method)
        .uri(PATH)
        .header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let response = in_time(sender.send_request(request)).await;
    let (parts, body) = response.map_err(|_| Gone)?.into_parts();
    let body = in_time(body.collect()).await.map_err(|_| Gone)?.to_bytes();
    drop(sender);
    driver.abort();
    let number = |name: &str| parts.headers.get(name)?.to_str().ok()?.parse().ok();
    Ok(Reply {
        status: parts.status.as_u16(),
        offset: number(OFFSET_HEADER).or_else(|| {
            let length = (method == "HEAD").then(|| number("content-length"));
            length.flatten()
        }),
        body,
    })
}

impl Blob {
    fn owned(&self) -> (&'static str, String) {
        (OWNER_HEADER, URL_SAFE_NO_PAD.encode(self.owner))
    }

    /// Puts bytes at an offset.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn put(
        &self,
        relay: &RelayAddress,
        offset: usize,
        bytes: Bytes,
    ) -> Result<Reply, Gone> {
        let headers = [self.owned(), (OFFSET_HEADER, offset.to_string())];
        request(relay, "PATCH", &headers, bytes).await
    }

    /// How far it is.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn look(&self, relay: &RelayAddress) -> Result<Reply, Gone> {
        request(relay, "HEAD", &[self.owned()], Bytes::new()).await
    }

    /// Fetches it.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn fetch(&self, relay: &RelayAddress) -> Result<Reply, Gone> {
        let read = (READ_HEADER, URL_SAFE_NO_PAD.encode(self.read));
        request(relay, "GET", &[read], Bytes::new()).await
    }

    /// Deletes it.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn delete(&self, relay: &RelayAddress) -> Result<Reply, Gone> {
        request(relay, "DELETE", &[self.owned()], Bytes::new()).await
    }
}
