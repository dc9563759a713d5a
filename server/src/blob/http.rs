//! The requests: `HEAD`, `PATCH`, `GET` and `DELETE` on one path, secrets in headers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use kinline_protocol::blob;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::files::Upload;
use super::sums::{self, CHUNK_BYTES, Sums};
use crate::relay::Shared;
use crate::storage::{BlobRow, RowWrite, Write, WriteError, reply};

/// Bytes after which an upload is made durable even though it goes on.
const SYNC_EVERY: u64 = 4 * 1_024 * 1_024;
/// A sender that gives nothing for this long is gone; what came is kept.
const STALL: Duration = Duration::from_secs(30);

const READ: HeaderName = HeaderName::from_static(blob::READ_HEADER);
const OWNER: HeaderName = HeaderName::from_static(blob::OWNER_HEADER);
const OFFSET: HeaderName = HeaderName::from_static(blob::OFFSET_HEADER);
const SIZE: HeaderName = HeaderName::from_static(blob::SIZE_HEADER);

/// The router's part for blobs.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    let methods = MethodRouter::new()
        .get(download)
        .head(look)
        .patch(upload)
        .delete(delete);
    Router::new().route(blob::PATH, methods)
}

/// Why a request is refused. Unknown and forbidden are the same.
enum Refused {
    BadRequest(&'static str),
    NotFound,
    Conflict { offset: u64 },
    Busy,
    TooLarge,
    Range { size: u64 },
    NoRoom,
    Internal,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::BadRequest(sentence) => (StatusCode::BAD_REQUEST, sentence).into_response(),
            Self::NotFound => {
                (StatusCode::NOT_FOUND, "no such blob, or not complete yet\n").into_response()
            }
            Self::Conflict { offset } => (
                StatusCode::CONFLICT,
                [(OFFSET, offset)],
                "the upload goes on at another offset\n",
            )
                .into_response(),
            Self::Busy => (
                StatusCode::LOCKED,
                "another upload to this blob is running\n",
            )
                .into_response(),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "more bytes than the blob has room for\n",
            )
                .into_response(),
            Self::Range { size } => {
                let all = format!("bytes */{size}");
                (
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    [(header::CONTENT_RANGE, all)],
                )
                    .into_response()
            }
            Self::NoRoom => (
                StatusCode::INSUFFICIENT_STORAGE,
                "the relay has no room left\n",
            )
                .into_response(),
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "the relay failed\n").into_response()
            }
        }
    }
}

impl From<crate::storage::ReadError> for Refused {
    fn from(error: crate::storage::ReadError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "a read failed");
        Self::Internal
    }
}

impl From<WriteError> for Refused {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NoRoom => Self::NoRoom,
            WriteError::Failed => Self::Internal,
        }
    }
}

fn secret(headers: &HeaderMap, name: &HeaderName) -> Result<Option<[u8; 32]>, Refused> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(value.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map(Some).ok_or(Refused::BadRequest(
        "a blob's secret is 32 bytes as base64url\n",
    ))
}

async fn owned(shared: &Shared, headers: &HeaderMap) -> Result<([u8; 32], BlobRow), Refused> {
    let secret = secret(headers, &OWNER)?.ok_or(Refused::NotFound)?;
    let hash = blob::owner_hash(&secret);
    let row = shared
        .storage
        .blob_by_owner(hash)
        .await?
        .ok_or(Refused::NotFound)?;
    live(shared, row).map(|row| (hash, row))
}

async fn readable(shared: &Shared, headers: &HeaderMap) -> Result<BlobRow, Refused> {
    let secret = secret(headers, &READ)?.ok_or(Refused::NotFound)?;
    let row = shared
        .storage
        .blob_by_read(blob::read_hash(&secret))
        .await?
        .ok_or(Refused::NotFound)?;
    live(shared, row)
}

fn live(shared: &Shared, row: BlobRow) -> Result<BlobRow, Refused> {
    if row.expires < shared.clock.day() {
        Err(Refused::NotFound)
    } else {
        Ok(row)
    }
}

async fn look(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Refused> {
    let row = if headers.contains_key(&OWNER) {
        owned(&shared, &headers).await?.1
    } else {
        readable(&shared, &headers).await?
    };
    let lengths = [(header::CONTENT_LENGTH, row.offset), (SIZE, row.size)];
    Ok((StatusCode::OK, lengths, Body::empty()).into_response())
}

async fn download(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let mut row = readable(&shared, &headers).await?;
    if row.offset < row.size {
        return Err(Refused::NotFound);
    }
    let range = headers
        .get(header::RANGE)
        .map(|value| parse_range(value, row.size))
        .transpose()?
        .flatten();
    let (first, length) = range.unwrap_or((0, row.size));
    let chunk = first / CHUNK_BYTES as u64;
    let file = shared
        .blobs
        .read(&row.file, chunk * CHUNK_BYTES as u64)
        .await
        .map_err(|error| shared.blob_failed(&error))?;
    let outgoing = Outgoing {
        file,
        chunk: usize::try_from(chunk).unwrap_or(usize::MAX),
        skip: usize::try_from(first % CHUNK_BYTES as u64).unwrap_or(0),
        left: length,
        sums: row.sums.take(),
    };
    let body = Body::from_stream(stream::try_unfold(outgoing, Outgoing::next));
    let mut response = Response::new(body);
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, length.into());
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(SIZE, row.size.into());
    if range.is_some() {
        let last = (first + length).saturating_sub(1);
        if let Ok(value) = format!("bytes {first}-{last}/{}", row.size).parse() {
            fields.insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// A blob's file on its way out, a chunk at a time.
struct Outgoing {
    file: File,
    chunk: usize,
    /// Bytes of the next chunk that were not asked for.
    skip: usize,
    left: u64,
    sums: Option<Vec<u8>>,
}

impl Outgoing {
    /// The next page. A chunk that is not as it was written ends the answer before its length is
    /// reached, which no device takes for the whole.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut page = Vec::with_capacity(CHUNK_BYTES);
        let mut chunk = (&mut self.file).take(CHUNK_BYTES as u64);
        chunk.read_to_end(&mut page).await?;
        if let Some(sums) = &self.sums
            && sums::of(sums, self.chunk) != Some(sums::sum(&page))
        {
            report_damage();
            return Err(io::ErrorKind::InvalidData.into());
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let end = page.len().min(self.skip.saturating_add(left));
        if end <= self.skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = Bytes::from(page).slice(self.skip..end);
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.skip = 0;
        self.chunk = self.chunk.saturating_add(1);
        Ok(Some((bytes, self)))
    }
}

fn report_damage() {
    tracing::error!("a blob's file is damaged: it is not handed out");
    metrics::counter!("kinline_damaged_total", "table" => "blob").increment(1);
}

/// First byte and length of one `bytes=` range; `None` for a form that may be ignored
/// (RFC 9110 §14.2: several ranges, another unit).
fn parse_range(value: &HeaderValue, size: u64) -> Result<Option<(u64, u64)>, Refused> {
    let Some((first, last)) = value
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (number(first), number(last)) {
        (Some(first), _) if first >= size => Err(Refused::Range { size }),
        (Some(first), Some(last)) if last >= first => {
            Ok(Some((first, last.min(size - 1) - first + 1)))
        }
        (Some(first), None) if last.trim().is_empty() => Ok(Some((first, size - first))),
        (None, Some(0)) if first.is_empty() => Err(Refused::Range { size }),
        (None, Some(tail)) if first.is_empty() => Ok(Some((size - tail.min(size), tail.min(size)))),
        _ => Ok(None),
    }
}

async fn upload(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let (owner_hash, row) = owned(&shared, &headers).await?;
    let offset: u64 = headers
        .get(&OFFSET)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .ok_or(Refused::BadRequest(
            "an upload says at which offset it goes on\n",
        ))?;
    if offset != row.offset {
        return Err(Refused::Conflict { offset: row.offset });
    }
    let turn = shared.blobs.take(&row.file).ok_or(Refused::Busy)?;
    // Another upload may have ended between our look and our turn: its bytes are acknowledged,
    // and cutting the file at the older offset would lose them.
    let now = shared
        .storage
        .blob_by_owner(owner_hash)
        .await?
        .ok_or(Refused::NotFound)?;
    if now.offset != offset {
        return Err(Refused::Conflict { offset: now.offset });
    }
    // On a task of its own: what came is made durable even when the sender goes away, and the
    // turn lasts until the last operation on the file has ended.
    let task = {
        let shared = Arc::clone(&shared);
        async move {
            let file = shared
                .blobs
                .upload(turn, offset, shared.clock.day())
                .await
                .map_err(|error| shared.blob_failed(&error))?;
            // One that was begun before there were sums goes on without.
            let sums = match &now.sums {
                None if offset > 0 => None,
                stored => {
                    let stored = stored.as_deref().unwrap_or_default();
                    let sums = Sums::resume(stored, offset, &file.begun);
                    Some(sums.ok_or_else(|| {
                        report_damage();
                        Refused::Internal
                    })?)
                }
            };
            let uploading = Uploading {
                shared,
                file,
                sums,
                owner_hash,
                at: offset,
                durable: offset,
                size: row.size,
                broken: false,
            };
            uploading.run(body).await
        }
    };
    let offset = shared
        .tracker
        .spawn(task)
        .await
        .map_err(|_| Refused::Internal)??;
    Ok((StatusCode::NO_CONTENT, [(OFFSET, offset)]).into_response())
}

struct Uploading {
    shared: Arc<Shared>,
    file: Upload,
    sums: Option<Sums>,
    owner_hash: [u8; 32],
    at: u64,
    durable: u64,
    size: u64,
    /// The file failed: what it holds beyond `durable` is unknown, and its sync is not tried again.
    broken: bool,
}

impl Uploading {
    /// Takes bytes as they come. Whatever ends the upload, what came before is made durable.
    async fn run(mut self, body: Body) -> Result<u64, Refused> {
        let result = self.take_all(body).await;
        self.make_durable().await?;
        result.map(|()| self.durable)
    }

    async fn take_all(&mut self, body: Body) -> Result<(), Refused> {
        let mut chunks = body.into_data_stream();
        while let Ok(Some(Ok(chunk))) = timeout(STALL, chunks.next()).await {
            self.take(&chunk).await?;
        }
        Ok(())
    }

    async fn take(&mut self, chunk: &Bytes) -> Result<(), Refused> {
        let after = self.at + chunk.len() as u64;
        if after > self.size {
            return Err(Refused::TooLarge);
        }
        self.file.write(chunk).await.map_err(|error| {
            self.broken = true;
            self.shared.blob_failed(&error)
        })?;
        if let Some(sums) = &mut self.sums {
            sums.take(chunk);
        }
        self.at = after;
        if self.at - self.durable >= SYNC_EVERY {
            self.make_durable().await?;
        }
        Ok(())
    }

    /// First the file, then the row, then the answer.
    async fn make_durable(&mut self) -> Result<(), Refused> {
        if self.at == self.durable || self.broken {
            return Ok(());
        }
        let shared = &self.shared;
        self.file.sync(shared.clock.day()).await.map_err(|error| {
            self.broken = true;
            shared.blob_failed(&error)
        })?;
        let (done, advanced) = reply();
        shared.storage.submit(Write::Row(RowWrite::AdvanceBlob {
            owner_hash: self.owner_hash,
            offset: self.at,
            sums: self.sums.as_ref().map(Sums::stored),
            done,
        }));
        advanced.await?;
        metrics::counter!("kinline_blob_bytes_total").increment(self.at - self.durable);
        self.durable = self.at;
        Ok(())
    }
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<StatusCode, Refused> {
    let (owner_hash, row) = owned(&shared, &headers).await?;
    let (done, deleted) = reply();
    shared
        .storage
        .submit(Write::Row(RowWrite::DeleteBlob { owner_hash, done }));
    deleted.await?;
    shared
        .blobs
        .remove(&row.file, shared.clock.day())
        .await
        .map_err(|error| shared.blob_failed(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

impl Shared {
    /// A full disk is said; any other failure of the disk ends the relay, since a sync that
    /// failed is never tried again.
    fn blob_failed(&self, error: &io::Error) -> Refused {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refused::NoRoom,
            io::ErrorKind::NotFound => Refused::NotFound,
            _ => {
                tracing::error!(%error, "a blob's file failed: nothing more is acknowledged");
                self.storage.failed().cancel();
                Refused::Internal
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::parse_range;
    use axum::http::HeaderValue;

    #[test]
    fn ranges() {
        let parse = |text: &'static str| parse_range(&HeaderValue::from_static(text), 100).ok();
        assert_eq!(parse("bytes=0-9"), Some(Some((0, 10))));
        assert_eq!(parse("bytes=90-"), Some(Some((90, 10))));
        assert_eq!(parse("bytes=90-500"), Some(Some((90, 10))));
        assert_eq!(parse("bytes=-10"), Some(Some((90, 10))));
        assert_eq!(parse("bytes=-1000"), Some(Some((0, 100))));
        assert_eq!(parse("bytes=100-"), None);
        assert_eq!(parse("bytes=-0"), None);
        for ignored in [
            "bytes=5-2",
            "lines=1-2",
            "bytes=1-2,4-5",
            "bytes=a-b",
            "bytes=-",
        ] {
            assert_eq!(parse(ignored), Some(None), "{ignored}");
        }
    }
}
