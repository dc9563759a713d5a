//! The requests: `HEAD`, `PATCH`, `GET` and `DELETE` on one path, secrets in headers.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kinline_protocol::blob;
use rustix::io::Errno;

use super::download::download;
use super::upload::upload;
use crate::relay::Shared;
use crate::storage::{BlobRow, RowWrite, Write, WriteError, reply};

const READ: HeaderName = HeaderName::from_static(blob::READ_HEADER);
const OWNER: HeaderName = HeaderName::from_static(blob::OWNER_HEADER);
pub(super) const OFFSET: HeaderName = HeaderName::from_static(blob::OFFSET_HEADER);
pub(super) const SIZE: HeaderName = HeaderName::from_static(blob::SIZE_HEADER);

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
pub(super) enum Refused {
    BadRequest(&'static str),
    NotFound,
    Conflict { offset: u64 },
    Busy,
    TooLarge,
    Range { size: u64 },
    NoRoom,
    LockedDown,
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
            Self::LockedDown => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(header::RETRY_AFTER, 600)],
                "the operator has locked this relay down: only small blobs are handed out\n",
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

pub(super) async fn owned(
    shared: &Shared,
    headers: &HeaderMap,
) -> Result<([u8; 32], BlobRow), Refused> {
    let secret = secret(headers, &OWNER)?.ok_or(Refused::NotFound)?;
    let hash = blob::owner_hash(&secret);
    let row = shared
        .storage
        .blob_by_owner(hash)
        .await?
        .ok_or(Refused::NotFound)?;
    live(shared, row).map(|row| (hash, row))
}

pub(super) async fn readable(shared: &Shared, headers: &HeaderMap) -> Result<BlobRow, Refused> {
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

pub(super) fn report_damage() {
    tracing::error!("a blob's file is damaged: it is not handed out");
    metrics::counter!("kinline_damaged_total", "table" => "blob").increment(1);
}

impl Shared {
    /// A full disk is said; any other failure of the disk ends the relay, since a sync that
    /// failed is never tried again.
    pub(super) fn blob_failed(&self, error: &io::Error) -> Refused {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refused::NoRoom,
            io::ErrorKind::NotFound => Refused::NotFound,
            // Too many files are open: nothing was written.
            _ if matches!(
                Errno::from_io_error(error),
                Some(Errno::MFILE | Errno::NFILE)
            ) =>
            {
                Refused::Internal
            }
            _ => {
                tracing::error!(%error, "a blob's file failed: nothing more is acknowledged");
                self.storage.failed().cancel();
                Refused::Internal
            }
        }
    }
}
