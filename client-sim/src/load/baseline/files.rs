//! A file server on hyper over the same TLS: any upload writes a new file and syncs it, `GET` sends
//! the newest. New as the relay's are: where freed blocks are discarded, cutting an old one to
//! nothing costs several times what writing it does.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// The files of a folder, by their numbers.
struct Files {
    folder: PathBuf,
    newest: AtomicU64,
}

impl Files {
    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(number.to_string())
    }
}

async fn take(request: Request<Incoming>, files: &Files) -> std::io::Result<()> {
    let number = files.newest.fetch_add(1, Ordering::Relaxed) + 1;
    let mut file = File::create_new(files.path(number)).await?;
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

async fn answer(request: Request<Incoming>, files: &Files) -> std::io::Result<Response<Body>> {
    let nothing = || {
        Empty::new()
            .map_err(|never: Infallible| match never {})
            .boxed_unsync()
    };
    if request.method() == Method::GET {
        let newest = files.newest.load(Ordering::Relaxed);
        let file = File::open(files.path(newest)).await?;
        let pieces = ReaderStream::with_capacity(file, READ_BYTES).map_ok(Frame::data);
        return Ok(Response::new(StreamBody::new(pieces).boxed_unsync()));
    }
    take(request, files).await?;
    let mut response = Response::new(nothing());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// Serves files of `folder` until the process ends.
pub(super) async fn serve(folder: &Path) -> Result<(), Trouble> {
    let files = Arc::new(Files {
        folder: folder.to_owned(),
        newest: AtomicU64::new(0),
    });
    let (listener, acceptor) = tls::listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, files) = (acceptor.clone(), Arc::clone(&files));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let files = Arc::clone(&files);
                async move { answer(request, &files).await }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}
