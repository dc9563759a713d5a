//! A relay for this package's tests: real TLS, real WebSocket, blobs in memory, and faults.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kinline_protocol::server_name::{Pin, RelayAddress};
use kinline_protocol::wire::{self, ClientFrame, Hello, ServerFrame, server_frame};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A small CA.
pub(crate) struct TestCa {
    params: CertificateParams,
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            params,
            key,
            certificate,
        }
    }

    pub(crate) fn pin(&self) -> Pin {
        super::certificate_pin(&self.certificate).unwrap()
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(crate) fn leaf(&self, names: &[&str]) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        (certificate.der().clone(), key)
    }
}

/// A blob as this relay keeps it.
#[derive(Debug, Default, Clone)]
pub(crate) struct TestBlob {
    pub(crate) bytes: Vec<u8>,
}

/// Blobs by header value (the same secret reads and owns), and what goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    pub(crate) blobs: HashMap<String, TestBlob>,
    /// Bytes after which each of the next transfers breaks.
    pub(crate) break_after: VecDeque<usize>,
    pub(crate) requests: Vec<String>,
}

/// The relay; ends with its value.
pub(crate) struct TestRelay {
    pub(crate) address: RelayAddress,
    pub(crate) blobs: Arc<Mutex<Blobs>>,
    sockets: mpsc::Receiver<TestSocket>,
    accepting: JoinHandle<()>,
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The relay's end of one device's socket.
pub(crate) struct TestSocket(WebSocketStream<TokioIo<Upgraded>>);

impl TestSocket {
    pub(crate) async fn send(&mut self, frame: ServerFrame) {
        self.0
            .send(Message::Binary(wire::encode(&frame)))
            .await
            .unwrap();
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    pub(crate) async fn hello(&mut self) {
        self.send(ServerFrame {
            request_id: 0,
            critical: Vec::new(),
            body: Some(server_frame::Body::Hello(Hello {
                nonce: vec![7; 32].into(),
                ..Hello::default()
            })),
        })
        .await;
    }

    /// The next frame of the device; `None` when it left.
    pub(crate) async fn frame(&mut self) -> Option<ClientFrame> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    return Some(wire::decode_client(bytes).unwrap());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    }
}

impl TestRelay {
    pub(crate) async fn start() -> Self {
        let ca = TestCa::new();
        Self::start_with(&ca, &ca, "127.0.0.1:0".parse().unwrap()).await
    }

    /// A relay that claims the CA `pinned` and shows leaves of `signer`.
    pub(crate) async fn start_with(pinned: &TestCa, signer: &TestCa, at: SocketAddr) -> Self {
        let (leaf, key) = signer.leaf(&["kinline-relay"]);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf, signer.certificate()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(at).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let blobs = Arc::new(Mutex::new(Blobs::default()));
        let (sender, sockets) = mpsc::channel(16);
        let shared = Arc::clone(&blobs);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, shared, sender) =
                    (acceptor.clone(), Arc::clone(&shared), sender.clone());
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        answer(request, Arc::clone(&shared), sender.clone())
                    });
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(tls), service)
                            .with_upgrades()
                            .await,
                    );
                });
            }
        });
        Self {
            address: RelayAddress {
                host: "127.0.0.1".into(),
                port,
                pin: Some(pinned.pin()),
                operator: None,
            },
            blobs,
            sockets,
            accepting,
        }
    }

    /// The next socket that a device opens (no hello was said yet).
    pub(crate) async fn socket(&mut self) -> TestSocket {
        self.sockets.recv().await.unwrap()
    }
}

type Body = BoxBody<Bytes, std::io::Error>;

fn full(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response
}

async fn answer(
    mut request: Request<Incoming>,
    blobs: Arc<Mutex<Blobs>>,
    sockets: mpsc::Sender<TestSocket>,
) -> Result<Response<Body>, std::io::Error> {
    let header = |name: &str| -> Option<String> {
        Some(request.headers().get(name)?.to_str().unwrap().to_owned())
    };
    if request.uri().path() == wire::PATH {
        let accept = derive_accept_key(header("sec-websocket-key").unwrap().as_bytes());
        assert_eq!(
            header("sec-websocket-protocol").as_deref(),
            Some(wire::SUBPROTOCOL)
        );
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgraded.await.unwrap());
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            drop(sockets.send(TestSocket(socket)).await);
        });
        let mut response = full(StatusCode::SWITCHING_PROTOCOLS, Vec::new());
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", &accept),
            ("sec-websocket-protocol", wire::SUBPROTOCOL),
        ] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        return Ok(response);
    }
    let name = header("kinline-owner")
        .or_else(|| header("kinline-read"))
        .unwrap();
    let offset: Option<usize> = header("kinline-offset").map(|text| text.parse().unwrap());
    let range: usize = header("range").map_or(0, |range| {
        let from = range.strip_prefix("bytes=").unwrap();
        from.strip_suffix('-').unwrap().parse().unwrap()
    });
    let method = request.method().clone();
    let sent = request.into_body().collect().await.unwrap().to_bytes();
    let mut state = blobs.lock().unwrap();
    state.requests.push(format!("{method} {offset:?} {range}"));
    let break_after = if method == Method::HEAD {
        None
    } else {
        state.break_after.pop_front()
    };
    let Some(blob) = state.blobs.get_mut(&name) else {
        return Ok(full(StatusCode::NOT_FOUND, Vec::new()));
    };
    match method {
        Method::HEAD => Ok(full(StatusCode::OK, blob.bytes.clone())),
        Method::PATCH => {
            if offset != Some(blob.bytes.len()) {
                return Ok(full(StatusCode::CONFLICT, Vec::new()));
            }
            let kept = break_after.unwrap_or(sent.len()).min(sent.len());
            blob.bytes.extend_from_slice(&sent[..kept]);
            if break_after.is_some() {
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            let mut response = full(StatusCode::NO_CONTENT, Vec::new());
            let offset = blob.bytes.len().to_string().parse().unwrap();
            response.headers_mut().insert("kinline-offset", offset);
            Ok(response)
        }
        Method::GET => {
            let rest = blob.bytes[range..].to_vec();
            let status = if range > 0 {
                StatusCode::PARTIAL_CONTENT
            } else {
                StatusCode::OK
            };
            let Some(kept) = break_after else {
                return Ok(full(status, rest));
            };
            let part = Bytes::copy_from_slice(&rest[..kept.min(rest.len())]);
            // A part that is everything is sent without a length and ends well. Otherwise the
            // broken end comes after the part was flushed.
            let end = (kept < rest.len()).then(|| {
                stream::once(async {
                    tokio::task::yield_now().await;
                    Err(std::io::ErrorKind::ConnectionReset.into())
                })
            });
            let parts = stream::iter([Ok(Frame::data(part))]).chain(stream::iter(end).flatten());
            let mut response =
                Response::new(http_body_util::BodyExt::boxed(StreamBody::new(parts)));
            *response.status_mut() = status;
            Ok(response)
        }
        Method::DELETE => {
            state.blobs.remove(&name);
            Ok(full(StatusCode::NO_CONTENT, Vec::new()))
        }
        other => panic!("{other}"),
    }
}
