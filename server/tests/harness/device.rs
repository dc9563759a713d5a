//! A mailbox's keys, and a socket that asks and listens.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use kinline_protocol::attach::{self, Challenge, MailboxKeys};
use kinline_protocol::day::Day;
use kinline_protocol::grant::{Grant, revocation_hash};
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::primitives::hash::sha256;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::server_name::{Pin, RelayAddress};
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, ClientFrame, ErrorCode, RecipientStatus};
use rand::Rng;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::TODAY;

/// Nothing on loopback takes this long; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Trusts the chain whose last certificate has the pin.
#[derive(Debug)]
struct Pinned(Pin);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = chain.last().expect("leaf and CA");
        let (_, parsed) = x509_parser::parse_x509_certificate(ca).unwrap();
        assert_eq!(Pin(sha256(parsed.tbs_certificate.subject_pki.raw)), self.0);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

pub async fn tls(address: &RelayAddress) -> TlsStream<TcpStream> {
    tls_of(address, rustls::ALL_VERSIONS).await.unwrap()
}

pub async fn tls_of(
    address: &RelayAddress,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address.authority()).await.unwrap();
    tls_over(tcp, address, versions).await
}

async fn tls_over(
    tcp: TcpStream,
    address: &RelayAddress,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned(address.pin.unwrap())))
            .with_no_client_auth();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// The keys of a mailbox.
pub struct Mailbox {
    /// The relay's day when it was made.
    pub today: u32,
    pub id: MailboxId,
    pub authentication: SecretKey,
    pub grant: SecretKey,
    pub close: SecretKey,
}

impl Mailbox {
    pub fn random() -> Self {
        let mut rng = rand::rng();
        Self {
            today: TODAY,
            id: MailboxId::random(&mut rng),
            authentication: SecretKey::random(&mut rng),
            grant: SecretKey::random(&mut rng),
            close: SecretKey::random(&mut rng),
        }
    }

    pub fn keys(&self) -> MailboxKeys {
        MailboxKeys {
            authentication: self.authentication.public(),
            grant: self.grant.public(),
            close: self.close.public(),
        }
    }

    /// A grant until `last_day`, revoked by 32 bytes of `secret`.
    pub fn grant(&self, last_day: u32, secret: u8) -> Vec<u8> {
        let grant = Grant {
            mailbox: self.id,
            serial: u64::from(secret),
            last_day: Day(last_day),
            revocation_hash: revocation_hash(&[secret; 32]),
        };
        grant.sign(&self.grant).to_vec()
    }

    /// A delivery into this mailbox whose envelope begins with `text`.
    pub fn delivery(&self, text: &str) -> wire::Delivery {
        let mut envelope = vec![0x5a; 1_024];
        envelope[..text.len()].copy_from_slice(text.as_bytes());
        wire::Delivery {
            mailbox: self.id.to_bytes(),
            grant: self.grant(self.today + 100, 1).into(),
            message_id: MessageId::random(&mut rand::rng()).to_bytes(),
            envelope: envelope.into(),
        }
    }
}

/// One connection.
pub struct Socket {
    stream: WebSocketStream<TlsStream<TcpStream>>,
    pub hello: wire::Hello,
    server_name: String,
    request_id: u64,
    /// Frames that came while an answer was awaited.
    unasked: VecDeque<Say>,
    /// Answers that came while another was awaited.
    answers: HashMap<u64, Say>,
}

impl Socket {
    pub async fn connect(address: &RelayAddress) -> Self {
        Self::over(tls(address).await, address).await
    }

    /// From another address of this machine: all of 127.0.0.0/8 is.
    pub async fn connect_from(address: &RelayAddress, from: [u8; 4]) -> Self {
        let tcp = TcpSocket::new_v4().unwrap();
        tcp.bind((from, 0).into()).unwrap();
        let to = address.authority().parse().unwrap();
        let tcp = tcp.connect(to).await.unwrap();
        let stream = tls_over(tcp, address, rustls::ALL_VERSIONS).await.unwrap();
        Self::over(stream, address).await
    }

    async fn over(stream: TlsStream<TcpStream>, address: &RelayAddress) -> Self {
        let mut request = format!("wss://{}{}", address.authority(), wire::PATH)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", wire::SUBPROTOCOL.parse().unwrap());
        let (stream, response) = tokio_tungstenite::client_async(request, stream)
            .await
            .unwrap();
        assert_eq!(
            response.headers()["sec-websocket-protocol"],
            wire::SUBPROTOCOL
        );
        let mut socket = Self {
            stream,
            hello: wire::Hello::default(),
            server_name: address.server_name(),
            request_id: 0,
            unasked: VecDeque::new(),
            answers: HashMap::new(),
        };
        match socket.next().await {
            Say::Hello(hello) => socket.hello = hello,
            other => panic!("a connection begins with hello, not {other:?}"),
        }
        assert_eq!(socket.hello.server_name, socket.server_name);
        socket
    }

    pub fn challenge(&self) -> Challenge<'_> {
        Challenge {
            server_name: &self.server_name,
            nonce: &self.hello.nonce,
        }
    }

    pub async fn raw(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    /// Sends what the relay may not even read to its end.
    pub async fn try_raw(&mut self, bytes: Vec<u8>) {
        let _ = self.stream.send(Message::Binary(bytes.into())).await;
    }

    /// Begins a binary message of `claimed` bytes and sends `sent` of them.
    pub async fn half_a_frame(&mut self, claimed: u64, sent: usize) {
        // RFC 6455 §5.2: final and binary; masked, 64 bits of length; a mask of zeros.
        let mut frame = vec![0x82, 0x80 | 127];
        frame.extend(claimed.to_be_bytes());
        frame.extend([0; 4]);
        frame.resize(frame.len() + sent, 0x5a);
        let stream = self.stream.get_mut();
        stream.write_all(&frame).await.unwrap();
        stream.flush().await.unwrap();
    }

    /// Whether the connection ends, after an error at most.
    pub async fn is_over(&mut self) -> bool {
        while let Some((_, body)) = self.frame().await {
            if !matches!(body, Say::Error(_)) {
                return false;
            }
        }
        true
    }

    /// Sends without waiting; returns the request id.
    pub async fn tell(&mut self, body: Ask) -> u64 {
        self.request_id += 1;
        let frame = ClientFrame {
            request_id: self.request_id,
            critical: vec![],
            body: Some(body),
        };
        self.raw(Message::Binary(wire::encode(&frame))).await;
        self.request_id
    }

    async fn frame(&mut self) -> Option<(u64, Say)> {
        loop {
            let message = timeout(PATIENCE, self.stream.next())
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

    /// The answer to a request; what comes unasked meanwhile is kept for [`Socket::next`].
    pub async fn answer(&mut self, request_id: u64) -> Say {
        if let Some(body) = self.answers.remove(&request_id) {
            return body;
        }
        loop {
            let (id, body) = self.frame().await.expect("the connection ended");
            if id == request_id {
                return body;
            }
            if id == 0 {
                self.unasked.push_back(body);
            } else {
                self.answers.insert(id, body);
            }
        }
    }

    pub async fn ask(&mut self, body: Ask) -> Say {
        let id = self.tell(body).await;
        self.answer(id).await
    }

    /// What the relay says next, unasked.
    pub async fn next(&mut self) -> Say {
        match self.unasked.pop_front() {
            Some(body) => body,
            None => self.frame().await.expect("the connection ended").1,
        }
    }

    /// Whether nothing came unasked until now: a ping's answer comes after everything before it.
    pub async fn is_quiet(&mut self) -> bool {
        assert_eq!(
            self.ask(Ask::Ping(wire::Ping {})).await,
            Say::Pong(wire::Pong {})
        );
        self.unasked.is_empty()
    }

    /// The connection's last frame is this error, then it ends.
    pub async fn ends_with(&mut self, code: ErrorCode) {
        match self.next().await {
            Say::Error(error) => {
                assert_eq!(error.code(), code, "{}", error.sentence);
                assert!(error.closing);
            }
            other => panic!("expected {code:?}, got {other:?}"),
        }
        assert!(self.frame().await.is_none(), "the connection goes on");
    }

    /// The connection ends with this error, as an answer or unasked.
    pub async fn ends_with_any(&mut self, code: ErrorCode) {
        match self.next_or_answer().await {
            Say::Error(error) => {
                assert_eq!(error.code(), code, "{}", error.sentence);
                assert!(error.closing);
            }
            other => panic!("expected {code:?}, got {other:?}"),
        }
        assert!(self.frame().await.is_none(), "the connection goes on");
    }

    /// The next frame, whether or not it is an answer.
    pub async fn next_or_answer(&mut self) -> Say {
        self.frame().await.expect("the connection ended").1
    }

    /// Asks for what must be refused, and goes on.
    pub async fn refused(&mut self, body: Ask) -> ErrorCode {
        match self.ask(body).await {
            Say::Error(error) => {
                assert!(!error.sentence.is_empty());
                error.code()
            }
            other => panic!("expected an error, got {other:?}"),
        }
    }

    pub fn open_request(&self, mailbox: &Mailbox, generation: u64) -> wire::OpenMailbox {
        let keys = mailbox.keys();
        let signature = attach::sign_open(
            &mailbox.authentication,
            &self.challenge(),
            &mailbox.id,
            &keys,
            generation,
        );
        wire::OpenMailbox {
            mailbox: mailbox.id.to_bytes(),
            authentication_key: keys.authentication.as_bytes().to_vec().into(),
            grant_key: keys.grant.as_bytes().to_vec().into(),
            close_key: keys.close.as_bytes().to_vec().into(),
            generation,
            admission_code: String::new(),
            signature: signature.to_vec().into(),
        }
    }

    pub async fn open(&mut self, mailbox: &Mailbox) {
        let request = self.open_request(mailbox, 1);
        assert_eq!(
            self.ask(Ask::OpenMailbox(request)).await,
            Say::MailboxOpened(wire::MailboxOpened {})
        );
    }

    pub fn attach_request(&self, mailbox: &Mailbox, generation: u64, window: u32) -> wire::Attach {
        let signature = attach::sign_attach(
            &mailbox.authentication,
            &self.challenge(),
            &mailbox.id,
            generation,
            window,
        );
        wire::Attach {
            mailbox: mailbox.id.to_bytes(),
            generation,
            window,
            signature: signature.to_vec().into(),
        }
    }

    pub async fn attach(
        &mut self,
        mailbox: &Mailbox,
        generation: u64,
        window: u32,
    ) -> wire::Attached {
        let request = self.attach_request(mailbox, generation, window);
        match self.ask(Ask::Attach(request)).await {
            Say::Attached(attached) => attached,
            other => panic!("not attached: {other:?}"),
        }
    }

    pub fn close_request(&self, mailbox: &Mailbox, undo: bool) -> wire::CloseMailbox {
        let signature = attach::sign_close(&mailbox.close, &self.challenge(), &mailbox.id, undo);
        wire::CloseMailbox {
            mailbox: mailbox.id.to_bytes(),
            undo,
            signature: signature.to_vec().into(),
        }
    }

    /// Sends and returns the answer for each recipient.
    pub async fn send(&mut self, deliveries: Vec<wire::Delivery>) -> Vec<RecipientStatus> {
        match self.ask(send(deliveries)).await {
            Say::SendResult(result) => result
                .recipients
                .iter()
                .map(wire::RecipientAnswer::status)
                .collect(),
            other => panic!("not sent: {other:?}"),
        }
    }

    /// The next delivery: its number and the text that its envelope begins with.
    pub async fn delivered(&mut self) -> (u64, String) {
        match self.next().await {
            Say::Deliver(deliver) => {
                assert_eq!(deliver.envelope.len(), 1_024);
                let text = deliver.envelope.split(|byte| *byte == 0x5a).next().unwrap();
                (deliver.number, String::from_utf8(text.to_vec()).unwrap())
            }
            other => panic!("expected a delivery, got {other:?}"),
        }
    }

    pub async fn acknowledge(&mut self, through: u64) {
        self.tell(Ask::Acknowledge(wire::Acknowledge {
            through,
            generation: 0,
        }))
        .await;
    }
}

pub fn send(deliveries: Vec<wire::Delivery>) -> Ask {
    Ask::Send(wire::Send {
        deliveries,
        commit: None,
        generation: 0,
    })
}

/// A mailbox that is open, and a connection attached to it.
pub struct Device {
    pub mailbox: Mailbox,
    pub socket: Socket,
}

impl Device {
    pub async fn start(address: &RelayAddress) -> Self {
        let mut mailbox = Mailbox::random();
        let mut socket = Socket::connect(address).await;
        mailbox.today = socket.hello.day;
        socket.open(&mailbox).await;
        socket.attach(&mailbox, 1, 64).await;
        Self { mailbox, socket }
    }

    /// Drops the connection and attaches anew.
    pub async fn again(&mut self, address: &RelayAddress) -> wire::Attached {
        self.socket = Socket::connect(address).await;
        self.socket.attach(&self.mailbox, 1, 64).await
    }
}

/// Random bytes, for bodies.
pub fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
