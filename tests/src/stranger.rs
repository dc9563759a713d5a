//! Somebody who has the relay's address, and says what no device would say.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use kinline_client_sim::connection::client_config;
use kinline_protocol::attach::{self, Challenge};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, ClientFrame, ErrorCode};
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Nothing on loopback takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection made by hand.
pub struct Stranger {
    stream: WebSocketStream<TlsStream<TcpStream>>,
    server_name: String,
    nonce: Vec<u8>,
    request_id: u64,
}

/// TLS to the relay, before anything is said.
///
/// # Panics
/// When the relay is not there.
pub async fn dial(relay: &RelayAddress) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect((relay.host.as_str(), relay.port))
        .await
        .unwrap();
    let name = ServerName::try_from(relay.host.clone()).unwrap();
    TlsConnector::from(client_config(relay).unwrap())
        .connect(name, stream)
        .await
        .unwrap()
}

impl Stranger {
    /// Connects and hears the relay's hello.
    ///
    /// # Panics
    /// When the relay says anything else.
    pub async fn connect(relay: &RelayAddress) -> Self {
        let mut request = format!("wss://{}{}", relay.authority(), wire::PATH)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", wire::SUBPROTOCOL.parse().unwrap());
        let (stream, _) = tokio_tungstenite::client_async(request, dial(relay).await)
            .await
            .unwrap();
        let mut stranger = Self {
            stream,
            server_name: relay.server_name(),
            nonce: vec![],
            request_id: 0,
        };
        match stranger.next().await {
            Some((0, Say::Hello(hello))) => stranger.nonce = hello.nonce.to_vec(),
            other => panic!("a connection begins with hello, not {other:?}"),
        }
        stranger
    }

    /// Sends a WebSocket message.
    pub async fn message(&mut self, message: Message) {
        // The relay may have closed already, which the next read tells.
        drop(self.stream.send(message).await);
    }

    /// Writes bytes under the WebSocket: frames that no library would make.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        drop(stream.write_all(bytes).await);
        drop(stream.flush().await);
    }

    /// Sends a frame and returns its request id.
    pub async fn tell(&mut self, body: Ask) -> u64 {
        self.request_id += 1;
        let frame = ClientFrame {
            request_id: self.request_id,
            critical: vec![],
            body: Some(body),
        };
        self.message(Message::Binary(wire::encode(&frame))).await;
        self.request_id
    }

    /// What the relay says next; `None` when the connection is over.
    ///
    /// # Panics
    /// When it says nothing.
    pub async fn next(&mut self) -> Option<(u64, Say)> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next())
                .await
                .expect("the relay says nothing")?;
            match message {
                Ok(Message::Binary(bytes)) => {
                    let frame = wire::decode_server(bytes).unwrap();
                    return Some((frame.request_id, frame.body.unwrap()));
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Sends a frame and returns its answer.
    ///
    /// # Panics
    /// When the connection ends instead.
    pub async fn ask(&mut self, body: Ask) -> Say {
        let wanted = self.tell(body).await;
        loop {
            let (request_id, say) = self.next().await.expect("an answer");
            if request_id == wanted {
                return say;
            }
        }
    }

    /// The relay's last word is this error with a sentence, then the connection ends.
    ///
    /// # Panics
    /// When it is anything else.
    pub async fn is_turned_away(&mut self, code: ErrorCode) {
        match self.next().await {
            Some((_, Say::Error(error))) => {
                assert_eq!(error.code(), code, "{}", error.sentence);
                assert!(error.closing && !error.sentence.is_empty());
            }
            other => panic!("{code:?} was expected, not {other:?}"),
        }
        assert!(self.next().await.is_none(), "the connection goes on");
    }

    /// As [`Self::is_turned_away`], but the error may be lost on its way: who goes on sending
    /// what nobody reads has its connection reset.
    ///
    /// # Panics
    /// When the relay says anything else, or goes on.
    pub async fn is_turned_away_or_dropped(&mut self, code: ErrorCode) {
        match self.next().await {
            None => {}
            Some((_, Say::Error(error))) => {
                assert_eq!(error.code(), code, "{}", error.sentence);
                self.is_dropped().await;
            }
            other => panic!("{code:?} was expected, not {other:?}"),
        }
    }

    /// The connection ends without another word.
    ///
    /// # Panics
    /// When the relay says anything.
    pub async fn is_dropped(&mut self) {
        let next = self.next().await;
        assert!(next.is_none(), "{next:?}");
    }

    /// The relay goes on serving this connection.
    ///
    /// # Panics
    /// When it does not.
    pub async fn is_still_served(&mut self) {
        let answer = self.ask(Ask::Ping(wire::Ping {})).await;
        assert_eq!(answer, Say::Pong(wire::Pong {}));
    }

    /// A good request to attach to somebody's mailbox, for who has its key.
    #[must_use]
    pub fn attach_request(
        &self,
        mailbox: MailboxId,
        key: &SecretKey,
        generation: u64,
    ) -> wire::Attach {
        let challenge = Challenge {
            server_name: &self.server_name,
            nonce: &self.nonce,
        };
        let signature = attach::sign_attach(key, &challenge, &mailbox, generation, 16);
        wire::Attach {
            mailbox: mailbox.to_bytes(),
            generation,
            window: 16,
            signature: signature.to_vec().into(),
        }
    }

    /// Closes a mailbox with its close key.
    ///
    /// # Panics
    /// When the relay refuses.
    pub async fn close_mailbox(&mut self, mailbox: MailboxId, close_key: &SecretKey) {
        let challenge = Challenge {
            server_name: &self.server_name,
            nonce: &self.nonce,
        };
        let signature = attach::sign_close(close_key, &challenge, &mailbox, false);
        let answer = self
            .ask(Ask::CloseMailbox(wire::CloseMailbox {
                mailbox: mailbox.to_bytes(),
                undo: false,
                signature: signature.to_vec().into(),
            }))
            .await;
        assert_eq!(answer, Say::MailboxClosed(wire::MailboxClosed {}));
    }
}
