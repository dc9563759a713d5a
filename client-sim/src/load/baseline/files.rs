//! A file server on hyper over the same TLS: `PUT` writes a file and syncs it, `GET` sends it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use super::tls;
use crate::load::trouble::Trouble;

/// Bytes read at a time: what the relay reads.
const READ_BYTES: usize = 64 * 1_024;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

async fn take(request: Request<Incoming>, path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path).await?;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(std::io::Error::other)?;
        if let Ok(data) = frame.into_data() {
            file.write_all(&data).await?;
        }
    }
    file.flush().await?;
    file.sync_data().await
}

async fn answer(request: Request<Incoming>, path: &Path) -> std::io::Result<Response<Body>> {
    let nothing = || {
        Empty::new()
            .map_err(|never: Infallible| match never {})
            .boxed_unsync()
    };
    if request.method() == Method::GET {
        let file = File::open(path).await?;
        let pieces = ReaderStream::with_capacity(file, READ_BYTES).map_ok(Frame::data);
        return Ok(Response::new(StreamBody::new(pieces).boxed_unsync()));
    }
    take(request, path).await?;
    let mut response = Response::new(nothing());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// Serves one file of `folder` until the process ends.
pub(super) async fn serve(folder: &Path) -> Result<(), Trouble> {
    let path: Arc<PathBuf> = Arc::new(folder.join("file"));
    let (listener, acceptor) = tls::listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, path) = (acceptor.clone(), Arc::clone(&path));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let path = Arc::clone(&path);
                async move { answer(request, &path).await }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}
