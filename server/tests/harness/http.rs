//! One HTTPS request on a connection of its own.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;
use kinline_protocol::server_name::RelayAddress;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::device::tls;

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whether the answer came to its end.
    pub is_whole: bool,
}

pub async fn request(
    address: &RelayAddress,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: Vec<u8>,
) -> Reply {
    let io = TokioIo::new(tls(address).await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
    let Ok(response) = sender.send_request(request).await else {
        return Reply {
            status: 0,
            headers: HeaderMap::new(),
            body: vec![],
            is_whole: false,
        };
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await;
    let is_whole = body.is_ok();
    let body = body.map_or_else(|_| vec![], |body| body.to_bytes().to_vec());
    drop(sender);
    let _ = driver.await;
    Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        is_whole,
    }
}

/// What the admin listener says of the relay, head and all.
pub async fn metrics(admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
