//! Blobs over HTTPS: resumable upload, fetch to memory or file, delete (PROTOCOL §3.6).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use kinline_protocol::blob;
use kinline_protocol::secrets::Secret;
use kinline_protocol::server_name::RelayAddress;
use rustls::ClientConfig;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, SeekFrom};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::dial::dial;
use super::{ConnectError, TransferError};
use crate::random;

/// Bytes of one upload request: what is lost at most when the connection breaks.
const PIECE_BYTES: usize = 2 * 1_024 * 1_024;
/// One request, or one part of an answer's body, must not take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that one transfer may use up without getting any further.
const TRIES_MAX: u32 = 4;

/// Moves blobs to and from one relay; cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobClient {
    relay: RelayAddress,
    tls: Arc<ClientConfig>,
}

/// Where an upload's bytes come from.
#[derive(Debug)]
pub(crate) enum Source {
    Memory(Bytes),
    File(File),
}

impl Source {
    async fn piece(&mut self, offset: u64, size: u64) -> std::io::Result<Bytes> {
        let left = size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(length);
                if end > bytes.len() {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                Ok(bytes.slice(start..end))
            }
            Self::File(file) => {
                file.seek(SeekFrom::Start(offset)).await?;
                let mut piece = vec![0; length];
                file.read_exact(&mut piece).await?;
                Ok(piece.into())
            }
        }
    }
}

/// One HTTPS connection; its driver ends with it.
struct Session {
    requests: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn broken(what: impl ToString) -> TransferError {
    TransferError::Broken {
        what: what.to_string(),
    }
}

fn number(response: &Response<Incoming>, name: &str) -> Option<u64> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}

fn refusal(status: StatusCode) -> TransferError {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAUTHORIZED => {
            TransferError::NotFound
        }
        StatusCode::INSUFFICIENT_STORAGE => TransferError::NoRoom,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::LOCKED => {
            broken("the relay asked to come back later")
        }
        other if other.is_server_error() => broken(format!("the relay answered {other}")),
        other => TransferError::Answer {
            status: other.as_u16(),
        },
    }
}

impl BlobClient {
    /// A client for `relay`, with the configuration of [`super::client_config`].
    #[must_use]
    pub const fn new(relay: RelayAddress, tls: Arc<ClientConfig>) -> Self {
        Self { relay, tls }
    }

    async fn session(&self) -> Result<Session, ConnectError> {
        let stream = dial(&self.relay, &self.tls).await?;
        let (requests, connection) =
            http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| ConnectError::NotARelay {
                    authority: self.relay.authority(),
                    what: error.to_string(),
                })?;
        // The end of the connection shows in the requests; its own result says nothing more.
        let driver = tokio::spawn(async { drop(connection.await) }).abort_handle();
        Ok(Session { requests, driver })
    }

    async fn ask(
        &self,
        session: &mut Session,
        method: Method,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Response<Incoming>, TransferError> {
        let mut request = Request::builder()
            .method(method)
            .uri(blob::PATH)
            .header(header::HOST, self.relay.authority());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).map_err(broken)?;
        let work = async {
            session.requests.ready().await.map_err(broken)?;
            session.requests.send_request(request).await.map_err(broken)
        };
        timeout(PATIENCE, work)
            .await
            .map_err(|_| broken("no answer within a minute"))?
    }

    /// Uploads `size` bytes, the first `offset` of which the relay has.
    pub(crate) async fn upload(
        &self,
        owner: &Secret<32>,
        offset: u64,
        size: u64,
        mut source: Source,
    ) -> Result<(), TransferError> {
        let owner = URL_SAFE_NO_PAD.encode(owner.expose());
        // After a failure the relay knows best how far it got.
        let mut known = Some(offset);
        let mut tries = Tries::default();
        loop {
            let mut reached = 0;
            let result = self
                .upload_once(&owner, known.take(), size, &mut source, &mut reached)
                .await;
            match result {
                Ok(()) => return Ok(()),
                Err(error) => tries.again(error, reached).await?,
            }
        }
    }

    async fn upload_once(
        &self,
        owner: &str,
        offset: Option<u64>,
        size: u64,
        source: &mut Source,
        reached: &mut u64,
    ) -> Result<(), TransferError> {
        let mut session = self.session().await?;
        let mut here = match offset {
            Some(offset) => offset,
            None => self.uploaded(&mut session, owner).await?,
        };
        while here < size {
            *reached = here;
            let piece = source
                .piece(here, size)
                .await
                .map_err(|source| TransferError::File {
                    path: "attachment".into(),
                    source,
                })?;
            let headers = [
                (blob::OWNER_HEADER, owner.to_owned()),
                (blob::OFFSET_HEADER, here.to_string()),
                ("content-type", "application/octet-stream".to_owned()),
            ];
            let response = self
                .ask(&mut session, Method::PATCH, &headers, piece)
                .await?;
            let status = response.status();
            let told = number(&response, blob::OFFSET_HEADER);
            drain(response).await?;
            here = match (status, told) {
                (StatusCode::NO_CONTENT | StatusCode::OK, Some(told))
                    if told > here && told <= size =>
                {
                    told
                }
                // Somebody, likely an earlier try of ours, got to another place.
                (StatusCode::CONFLICT, _) => {
                    let there = self.uploaded(&mut session, owner).await?;
                    if there == here || there > size {
                        return Err(TransferError::Answer { status: 409 });
                    }
                    there
                }
                (StatusCode::NO_CONTENT | StatusCode::OK, _) => {
                    return Err(TransferError::Answer {
                        status: status.as_u16(),
                    });
                }
                (other, _) => return Err(refusal(other)),
            };
        }
        Ok(())
    }

    async fn uploaded(&self, session: &mut Session, owner: &str) -> Result<u64, TransferError> {
        let headers = [(blob::OWNER_HEADER, owner.to_owned())];
        let response = self
            .ask(session, Method::HEAD, &headers, Bytes::new())
            .await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response.status()));
        }
        number(&response, "content-length").ok_or(TransferError::Answer { status: 200 })
    }

    /// Fetches a blob of exactly `size` bytes into memory; not one byte more is read.
    ///
    /// # Errors
    /// [`TransferError::NotFound`], [`TransferError::Size`], or no connection.
    pub async fn fetch(&self, read: &Secret<32>, size: u64) -> Result<Bytes, TransferError> {
        let read = URL_SAFE_NO_PAD.encode(read.expose());
        let mut tries = Tries::default();
        loop {
            match self.fetch_once(&read, size).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => tries.again(error, 0).await?,
            }
        }
    }

    async fn fetch_once(&self, read: &str, size: u64) -> Result<Bytes, TransferError> {
        let mut session = self.session().await?;
        let mut body = self.get(&mut session, read, 0, size).await?.into_body();
        // Grows with what comes in, so that an announced size alone takes no memory.
        let mut bytes = Vec::new();
        while let Some(part) = next_part(&mut body).await? {
            if (bytes.len() + part.len()) as u64 > size {
                return Err(TransferError::Size);
            }
            bytes.extend_from_slice(&part);
        }
        whole(bytes.len() as u64, size)?;
        Ok(bytes.into())
    }

    /// Fetches a blob of exactly `size` bytes into a file, going on where an earlier try
    /// stopped. The bytes are as the relay had them: still encrypted, not yet checked.
    ///
    /// # Errors
    /// [`TransferError`]; the file keeps what was fetched so far.
    pub async fn fetch_to_file(
        &self,
        read: &Secret<32>,
        size: u64,
        path: &Path,
    ) -> Result<(), TransferError> {
        let failed = |source| TransferError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .await
            .map_err(failed)?;
        let read = URL_SAFE_NO_PAD.encode(read.expose());
        let mut tries = Tries::default();
        loop {
            let mut reached = 0;
            let result = self
                .fetch_to_file_once(&read, size, &mut file, &mut reached)
                .await;
            match result {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(source)) => return Err(failed(source)),
                Err(error) => tries.again(error, reached).await?,
            }
        }
    }

    /// The inner error is one of the file.
    async fn fetch_to_file_once(
        &self,
        read: &str,
        size: u64,
        file: &mut File,
        reached: &mut u64,
    ) -> Result<std::io::Result<()>, TransferError> {
        let mut here = match resume_at(file, size).await {
            Ok(here) => here,
            Err(error) => return Ok(Err(error)),
        };
        if here == size {
            return Ok(Ok(()));
        }
        let mut session = self.session().await?;
        let mut body = self.get(&mut session, read, here, size).await?.into_body();
        while let Some(part) = next_part(&mut body).await? {
            here += part.len() as u64;
            if here > size {
                return Err(TransferError::Size);
            }
            if let Err(error) = file.write_all(&part).await {
                return Ok(Err(error));
            }
            *reached = here;
        }
        if let Err(error) = file.flush().await {
            return Ok(Err(error));
        }
        whole(here, size)?;
        Ok(Ok(()))
    }

    async fn get(
        &self,
        session: &mut Session,
        read: &str,
        from: u64,
        size: u64,
    ) -> Result<Response<Incoming>, TransferError> {
        let mut headers = vec![(blob::READ_HEADER, read.to_owned())];
        if from > 0 {
            headers.push(("range", format!("bytes={from}-")));
        }
        let response = self
            .ask(session, Method::GET, &headers, Bytes::new())
            .await?;
        let wanted = if from > 0 {
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        };
        if response.status() != wanted {
            return Err(match response.status() {
                StatusCode::RANGE_NOT_SATISFIABLE => TransferError::Size,
                other => refusal(other),
            });
        }
        match number(&response, "content-length") {
            Some(length) if length != size.saturating_sub(from) => Err(TransferError::Size),
            _ => Ok(response),
        }
    }

    /// Whether some 32 bytes let anyone read or own a blob on this relay: what a thief tries.
    ///
    /// # Errors
    /// [`TransferError`] when the relay can't be asked.
    pub async fn accepts(&self, secret: &[u8; 32]) -> Result<bool, TransferError> {
        let mut session = self.session().await?;
        for name in [blob::READ_HEADER, blob::OWNER_HEADER] {
            let headers = [(name, URL_SAFE_NO_PAD.encode(secret))];
            let response = self
                .ask(&mut session, Method::HEAD, &headers, Bytes::new())
                .await?;
            if response.status().is_success() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes a blob of ours; one that is gone already is fine.
    ///
    /// # Errors
    /// [`TransferError`] when the relay can't be asked.
    pub async fn delete(&self, owner: &Secret<32>) -> Result<(), TransferError> {
        let headers = [(blob::OWNER_HEADER, URL_SAFE_NO_PAD.encode(owner.expose()))];
        let mut tries = Tries::default();
        loop {
            match self.delete_once(&headers).await {
                Ok(()) => return Ok(()),
                Err(error) => tries.again(error, 0).await?,
            }
        }
    }

    async fn delete_once(&self, headers: &[(&str, String)]) -> Result<(), TransferError> {
        let mut session = self.session().await?;
        let response = self
            .ask(&mut session, Method::DELETE, headers, Bytes::new())
            .await?;
        match response.status() {
            StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::NOT_FOUND => Ok(()),
            other => Err(refusal(other)),
        }
    }
}

/// Where in its file a fetch goes on; a file that is too long starts over.
async fn resume_at(file: &mut File, size: u64) -> std::io::Result<u64> {
    file.flush().await?;
    let mut here = file.metadata().await?.len();
    if here > size {
        file.set_len(0).await?;
        here = 0;
    }
    file.seek(SeekFrom::Start(here)).await
}

/// Counts the tries of one transfer that got no further.
#[derive(Debug, Default)]
struct Tries {
    failed: u32,
    furthest: u64,
    backoff: super::Backoff,
}

impl Tries {
    /// After a try that reached `reached`: waits and lets the caller try again, unless the
    /// error is final or [`TRIES_MAX`] tries in a row got no further.
    async fn again(&mut self, error: TransferError, reached: u64) -> Result<(), TransferError> {
        let worth_it = match &error {
            TransferError::Connect(error) => !error.is_final(),
            TransferError::Broken { .. } => true,
            _ => false,
        };
        if reached > self.furthest {
            self.furthest = reached;
            self.failed = 0;
        }
        self.failed += 1;
        if !worth_it || self.failed >= TRIES_MAX {
            return Err(error);
        }
        tokio::time::sleep(self.backoff.next(&mut random::os())).await;
        Ok(())
    }
}

fn whole(got: u64, size: u64) -> Result<(), TransferError> {
    if got == size {
        Ok(())
    } else {
        Err(broken("it ended early"))
    }
}

async fn next_part(body: &mut Incoming) -> Result<Option<Bytes>, TransferError> {
    loop {
        let frame = timeout(PATIENCE, body.frame())
            .await
            .map_err(|_| broken("nothing came for a minute"))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(broken(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads a small answer to its end, so that the connection can be used again.
async fn drain(response: Response<Incoming>) -> Result<(), TransferError> {
    let mut body = response.into_body();
    let mut seen = 0;
    while let Some(part) = next_part(&mut body).await? {
        seen += part.len();
        if seen > 64 * 1_024 {
            return Err(broken("the answer is too long"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
