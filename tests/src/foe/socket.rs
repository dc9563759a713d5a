//! The enemy behind a real socket: TLS with a CA of its own that its address pins, a WebSocket
//! of subprotocol `kinline.v1`, and blobs over HTTPS.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kinline_client_sim::connection::certificate_pin;
use kinline_protocol::blob;
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::honest::Line;
use super::liar::{Liar, Manners, Said};

/// The liar, and who is connected to it.
struct Shared {
    liar: Liar,
    lines: HashMap<Line, mpsc::UnboundedSender<Said>>,
    name: String,
}

impl Shared {
    /// What the liar has to say goes to the sockets.
    fn pump(&mut self) {
        while let Some((line, said)) = self.liar.pop() {
            if let Some(socket) = self.lines.get(&line) {
                // A socket that is gone says so itself.
                let _ = socket.send(said);
            }
        }
    }
}

/// The enemy's relay; it ends with its owner.
pub struct EnemyRelay {
    address: RelayAddress,
    shared: Arc<Mutex<Shared>>,
    accepting: JoinHandle<()>,
}

impl Drop for EnemyRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap()
}

impl EnemyRelay {
    /// Listens on a loopback port of its own; it is honest until it is told to lie.
    ///
    /// # Panics
    /// When it can't.
    pub async fn start(seed: u64, manners: Manners) -> Self {
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_key = KeyPair::generate().unwrap();
        let ca_certificate = ca.self_signed(&ca_key).unwrap().der().clone();
        let key = KeyPair::generate().unwrap();
        let names = vec!["kinline-relay".to_owned()];
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &Issuer::from_params(&ca, &ca_key))
            .unwrap();
        let chain = vec![leaf.der().clone(), ca_certificate.clone()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = RelayAddress {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            pin: certificate_pin(&ca_certificate),
            operator: None,
        };
        let mut liar = Liar::new(seed, manners);
        liar.be_honest(true);
        let shared = Arc::new(Mutex::new(Shared {
            liar,
            lines: HashMap::new(),
            name: address.server_name(),
        }));
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&serving));
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(tls), service)
                        .with_upgrades();
                    drop(connection.await);
                });
            }
        });
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Where devices dial.
    #[must_use]
    pub const fn address(&self) -> &RelayAddress {
        &self.address
    }

    /// Does something with the liar; what it then has to say goes out.
    pub fn with<T>(&self, work: impl FnOnce(&mut Liar) -> T) -> T {
        let mut shared = lock(&self.shared);
        let result = work(&mut shared.liar);
        shared.pump();
        result
    }

    /// So many pieces of mischief on each connection.
    pub fn mischief(&self, count: usize) {
        let lines: Vec<Line> = lock(&self.shared).lines.keys().copied().collect();
        self.with(|liar| {
            for line in lines.iter().cycle().take(count * lines.len()) {
                liar.mischief(*line);
            }
        });
    }
}

fn respond(status: StatusCode, bytes: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(bytes));
    *response.status_mut() = status;
    response
}

async fn answer(
    mut request: Request<Incoming>,
    shared: Arc<Mutex<Shared>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != wire::PATH {
        return Ok(answer_blob(request, &shared).await);
    }
    let key = request.headers().get("sec-websocket-key");
    let accept = derive_accept_key(key.map_or(b"".as_slice(), |key| key.as_bytes()));
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            carry(socket, &shared).await;
        }
    });
    let mut response = respond(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", &accept),
        ("sec-websocket-protocol", wire::SUBPROTOCOL),
    ] {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    Ok(response)
}

/// One device's connection, until either side ends it.
async fn carry(mut socket: WebSocketStream<TokioIo<Upgraded>>, shared: &Mutex<Shared>) {
    let (sender, mut outgoing) = mpsc::unbounded_channel();
    let line = {
        let mut shared = lock(shared);
        let name = shared.name.clone();
        let line = shared.liar.connected(&name);
        shared.lines.insert(line, sender);
        shared.pump();
        line
    };
    loop {
        tokio::select! {
            said = outgoing.recv() => {
                let bytes = match said {
                    Some(Said::Frame(frame)) => wire::encode(&frame),
                    Some(Said::Bytes(bytes)) => bytes,
                    Some(Said::Cut) | None => break,
                };
                if socket.send(Message::Binary(bytes)).await.is_err() {
                    break;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let mut shared = lock(shared);
                    match wire::decode_client(bytes) {
                        Ok(frame) => shared.liar.hear(line, frame),
                        Err(error) => {
                            let what = format!("a device sends what is no frame: {error}");
                            shared.liar.complaints.push(what);
                        }
                    }
                    shared.pump();
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => break,
            },
        }
    }
    let mut shared = lock(shared);
    shared.lines.remove(&line);
    shared.liar.gone(line);
    shared.pump();
}

async fn answer_blob(request: Request<Incoming>, shared: &Mutex<Shared>) -> Response<Full<Bytes>> {
    let header = |name: &str| {
        request
            .headers()
            .get(name)?
            .to_str()
            .ok()
            .map(str::to_owned)
    };
    let secret = |name: &str| URL_SAFE_NO_PAD.decode(header(name)?).ok();
    let owner = secret(blob::OWNER_HEADER).map(|secret| blob::owner_hash(&secret));
    let read = secret(blob::READ_HEADER).map(|secret| blob::read_hash(&secret));
    let offset = header(blob::OFFSET_HEADER).and_then(|text| text.parse::<usize>().ok());
    let method = request.method().clone();
    let Ok(body) = request.into_body().collect().await else {
        return respond(StatusCode::BAD_REQUEST, Bytes::new());
    };
    let mut shared = lock(shared);
    let liar = &mut shared.liar;
    let found = match (method, owner, read) {
        (Method::PATCH, Some(owner), _) => {
            let there = liar.upload(&owner, offset.unwrap_or(0), &body.to_bytes());
            there.map(|there| (StatusCode::NO_CONTENT, Bytes::new(), there))
        }
        (Method::HEAD, Some(owner), _) => liar
            .uploaded(&owner)
            .map(|(there, _)| (StatusCode::OK, vec![0; there].into(), there)),
        (Method::GET, _, Some(read)) => {
            liar.download(&read).map(|bytes| (StatusCode::OK, bytes, 0))
        }
        (Method::DELETE, Some(owner), _) => {
            liar.delete(&owner);
            Some((StatusCode::NO_CONTENT, Bytes::new(), 0))
        }
        _ => None,
    };
    let Some((status, bytes, there)) = found else {
        return respond(StatusCode::NOT_FOUND, Bytes::new());
    };
    let mut response = respond(status, bytes);
    let there = there.to_string().parse().unwrap();
    response.headers_mut().insert(blob::OFFSET_HEADER, there);
    response
}
