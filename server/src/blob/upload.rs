//! A blob on its way in.
//!
//! Three things go on at once: what comes is gathered, what was gathered is written, and what was
//! written is synced. Each is at most one step ahead of the next, so that an upload has the same
//! few pieces in memory whatever its size.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::files::{Turn, Upload, blocking};
use super::http::{OFFSET, Refused, owned, report_damage};
use super::sums::Sums;
use crate::relay::Shared;
use crate::storage::{BlobRow, RowWrite, Write, reply};

/// Bytes written at a time: each time costs a way to another thread and back. An upload has three
/// times as many in memory: what comes, what waits, what is written.
const BATCH_BYTES: usize = 128 * 1_024;
/// Chunks of a batch, so that a crowd of tiny ones is not much larger than its bytes.
const BATCH_CHUNKS: usize = 64;
/// Bytes after which an upload is made durable even though it goes on.
const SYNC_EVERY: u64 = 8 * 1_024 * 1_024;
/// Bytes written during a sync that is slower than the sender, before it is waited for. With the
/// relay at most twice as many are lost, none of them acknowledged.
const AHEAD_MAX: u64 = 16 * 1_024 * 1_024;
/// A sender that gives nothing for this long is gone; what came is kept.
const STALL: Duration = Duration::from_secs(30);

pub(super) async fn upload(
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
    // On a task of its own: what came is made durable even when the sender goes away.
    let uploading = take_in(Arc::clone(&shared), turn, owner_hash, now, body);
    let offset = shared
        .tracker
        .spawn(uploading)
        .await
        .map_err(|_| Refused::Internal)??;
    Ok((StatusCode::NO_CONTENT, [(OFFSET, offset)]).into_response())
}

/// Takes what comes behind the row's offset; returns up to where it is durable. Whatever ends the
/// upload, what came before is made durable.
async fn take_in(
    shared: Arc<Shared>,
    turn: Turn,
    owner_hash: [u8; 32],
    row: BlobRow,
    body: Body,
) -> Result<u64, Refused> {
    let (offset, size) = (row.offset, row.size);
    let (file, begun) = shared
        .blobs
        .upload(turn, offset, shared.clock.day())
        .await
        .map_err(|error| shared.blob_failed(&error))?;
    // One that was begun before there were sums goes on without.
    let sums = match row.sums {
        None if offset > 0 => None,
        stored => {
            let sums = Sums::resume(stored.as_deref().unwrap_or_default(), offset, &begun);
            Some(sums.ok_or_else(|| {
                report_damage();
                Refused::Internal
            })?)
        }
    };
    let keeping = Keeping {
        shared,
        file,
        sums,
        owner_hash,
        at: offset,
        durable: offset,
        settling: None,
    };
    let (batches, coming) = mpsc::channel(1);
    let receiving = receive(body, size.saturating_sub(offset), batches);
    let (mut receiving, mut keeping) = (pin!(receiving), pin!(keeping.run(coming)));
    let came = tokio::select! {
        came = &mut receiving => came,
        // Before everything came: it failed.
        kept = &mut keeping => return kept,
    };
    let durable = keeping.await?;
    came.map(|()| durable)
}

/// What came together.
#[derive(Default)]
struct Batch {
    chunks: Vec<Bytes>,
    bytes: usize,
}

/// Gathers what comes, until the sender ends it or stalls, or there is nobody to keep it.
async fn receive(body: Body, mut room: u64, batches: mpsc::Sender<Batch>) -> Result<(), Refused> {
    let mut chunks = body.into_data_stream();
    let mut batch = Batch::default();
    let mut result = Ok(());
    while let Ok(Some(Ok(chunk))) = timeout(STALL, chunks.next()).await {
        let Some(left) = room.checked_sub(chunk.len() as u64) else {
            result = Err(Refused::TooLarge);
            break;
        };
        room = left;
        batch.bytes += chunk.len();
        batch.chunks.push(chunk);
        if (batch.bytes >= BATCH_BYTES || batch.chunks.len() >= BATCH_CHUNKS)
            && batches.send(std::mem::take(&mut batch)).await.is_err()
        {
            return result;
        }
    }
    if !batch.chunks.is_empty() {
        // Nobody to keep it: it is told there why.
        let _ = batches.send(batch).await;
    }
    result
}

/// Writes what came, and makes it durable on the way.
struct Keeping {
    shared: Arc<Shared>,
    file: Arc<Upload>,
    sums: Option<Sums>,
    owner_hash: [u8; 32],
    /// Up to where it is written.
    at: u64,
    /// Up to where it is durable, or will be when `settling` ends.
    durable: u64,
    settling: Option<JoinHandle<Result<(), Refused>>>,
}

impl Keeping {
    async fn run(mut self, coming: mpsc::Receiver<Batch>) -> Result<u64, Refused> {
        let kept = self.keep_all(coming).await;
        // Nobody hears of the end before it is one, or the next upload would find the file taken.
        let settled = self.settled().await;
        kept.and(settled).map(|()| self.durable)
    }

    /// After an error nothing more is synced: what the file holds beyond `durable` is unknown.
    async fn keep_all(&mut self, mut coming: mpsc::Receiver<Batch>) -> Result<(), Refused> {
        while let Some(batch) = coming.recv().await {
            self.write(batch).await?;
            let ahead = self.at - self.durable;
            let is_settled = self.settling.as_ref().is_none_or(JoinHandle::is_finished);
            if ahead >= AHEAD_MAX || (ahead >= SYNC_EVERY && is_settled) {
                self.settle().await?;
            }
        }
        if self.at > self.durable {
            self.settle().await?;
        }
        Ok(())
    }

    async fn write(&mut self, batch: Batch) -> Result<(), Refused> {
        let (file, mut sums) = (Arc::clone(&self.file), self.sums.take());
        let bytes = batch.bytes as u64;
        let written = blocking(move || {
            for chunk in &batch.chunks {
                file.write(chunk)?;
                if let Some(sums) = &mut sums {
                    sums.take(chunk);
                }
            }
            Ok(sums)
        });
        self.sums = written
            .await
            .map_err(|error| self.shared.blob_failed(&error))?;
        self.at += bytes;
        Ok(())
    }

    /// Makes durable what is written, while what comes next is written: first the file, then the
    /// row. On a task of its own, which has the file until the row is there: who goes on with the
    /// upload looks at the row.
    async fn settle(&mut self) -> Result<(), Refused> {
        self.settled().await?;
        let (shared, file) = (Arc::clone(&self.shared), Arc::clone(&self.file));
        let (owner_hash, offset) = (self.owner_hash, self.at);
        let (bytes, sums) = (self.at - self.durable, self.sums.as_ref().map(Sums::stored));
        self.durable = self.at;
        self.settling = Some(self.shared.tracker.spawn(async move {
            let (synced, today) = (Arc::clone(&file), shared.clock.day());
            blocking(move || synced.sync(today))
                .await
                .map_err(|error| shared.blob_failed(&error))?;
            let (done, advanced) = reply();
            shared.storage.submit(Write::Row(RowWrite::AdvanceBlob {
                owner_hash,
                offset,
                sums,
                done,
            }));
            advanced.await?;
            metrics::counter!("kinline_blob_bytes_total").increment(bytes);
            drop(file);
            Ok(())
        }));
        Ok(())
    }

    /// Waits for what is made durable.
    async fn settled(&mut self) -> Result<(), Refused> {
        match self.settling.take() {
            None => Ok(()),
            Some(settling) => settling.await.map_err(|_| Refused::Internal)?,
        }
    }
}
