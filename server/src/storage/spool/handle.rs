//! The spool as the rest of the relay sees it: writes are queued, reads go past the writer.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::Duration;

use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, MessageId};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::scan::{PAGE_SLOTS, scan, take_over};
use super::slot::{self, Place, SLOT_BYTES, Slot};
use super::state::Found;
use super::tidy::{Guard, Shared, Tidier};
use super::writer::Writer;
use crate::clock::Clock;
use crate::files::make_folder;
use crate::keys::AtRest;
use crate::storage::{Accepted, Done, NewEnvelope, ReadError, StoredEnvelope, WriteError};
use crate::sync::lock;

/// What the database says about the commit slot that a Send depends on.
pub(super) type Decided = Receiver<Result<Accepted, WriteError>>;

/// The spool can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("the spool of waiting envelopes can't be used: {0}")]
pub(crate) struct SpoolError(#[source] pub(crate) io::Error);

/// How to open.
#[derive(Debug, Clone)]
pub(crate) struct SpoolOptions {
    /// Bytes that the spool may take; 0 for no limit but the disk's.
    pub(crate) bytes_max: u64,
    /// Idle time after which the journal is closed and tidied away.
    pub(crate) rest_after: Duration,
    /// Writes in one group at most.
    pub(crate) group_max: usize,
    /// Slots after which the journal is closed.
    pub(crate) segment_slots: u32,
}

/// One write, all of it durable before `done` is told so.
pub(crate) enum Job {
    /// Stores envelopes; if a commit slot is `decided` first, only if it was won.
    Accept {
        decided: Option<Decided>,
        envelopes: Vec<NewEnvelope>,
        done: Done<Accepted>,
    },
    /// Deletes a mailbox's envelopes up to and including `through`.
    DeleteThrough {
        mailbox: MailboxId,
        through: u64,
        done: Done<()>,
    },
    /// Deletes what expired before `today` in the mailboxes whose id begins with `part`, and all
    /// of these mailboxes.
    Expire {
        today: Day,
        part: u8,
        mailboxes: Vec<MailboxId>,
        done: Done<Vec<(MailboxId, u64)>>,
    },
}

impl Job {
    fn refuse(self, error: WriteError) {
        match self {
            Self::Accept { done, .. } => done(Err(error)),
            Self::DeleteThrough { done, .. } => done(Err(error)),
            Self::Expire { done, .. } => done(Err(error)),
        }
    }
}

/// The spool.
pub(crate) struct Spool {
    shared: Arc<Shared>,
    jobs: Mutex<Option<Sender<Job>>>,
    closed: Mutex<Option<oneshot::Receiver<()>>>,
    runtime: Handle,
}

impl Spool {
    /// Reads what lies in `folder`, and starts the writer. `failed` is cancelled when a write
    /// fails for good.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(crate) async fn open(
        folder: &Path,
        options: SpoolOptions,
        keys: AtRest,
        clock: Clock,
        failed: CancellationToken,
    ) -> Result<Self, SpoolError> {
        let folder = folder.to_owned();
        let read = spawn_blocking(move || {
            make_folder(&folder)?;
            take_over(&folder)?;
            let (state, next) = scan(&folder, &keys)?;
            let shared = Shared {
                folder,
                keys,
                clock,
                state: Mutex::new(state),
                failed,
                syncing: Mutex::new(()),
            };
            io::Result::Ok((Arc::new(shared), next))
        });
        let read = read
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        let (shared, next) = read.map_err(SpoolError)?;
        let (jobs, receiver) = channel();
        let (closed_sender, closed) = oneshot::channel();
        let untidy = lock(&shared.state).segments.values().any(|it| !it.is_tidy);
        let tidier = Tidier::start(Arc::clone(&shared)).map_err(SpoolError)?;
        let writer = Writer::new(Arc::clone(&shared), options, tidier, next, untidy);
        let guarded = Arc::clone(&shared);
        Builder::new()
            .name("spool".into())
            .spawn(move || {
                let guard = Guard(&guarded);
                writer.run(&receiver);
                std::mem::forget(guard);
                let _ = closed_sender.send(());
            })
            .map_err(SpoolError)?;
        Ok(Self {
            shared,
            jobs: Mutex::new(Some(jobs)),
            closed: Mutex::new(Some(closed)),
            runtime: Handle::current(),
        })
    }

    /// Queues a write behind all earlier ones.
    pub(crate) fn submit(&self, job: Job) {
        let refused = match lock(&self.jobs).as_ref() {
            Some(jobs) => jobs.send(job).err().map(|refused| refused.0),
            None => Some(job),
        };
        if let Some(job) = refused {
            // On a task of its own: the submitter may hold locks that the answer needs.
            self.runtime
                .spawn(async move { job.refuse(WriteError::Failed) });
        }
    }

    /// At most `limit` envelopes with `after < order <= through`, in order.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub(crate) async fn envelopes(
        &self,
        mailbox: MailboxId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Vec<StoredEnvelope>, ReadError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let found = lock(&self.shared.state).find(&mailbox, after, through, limit);
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let shared = Arc::clone(&self.shared);
        let read = spawn_blocking(move || read(&shared, mailbox, found));
        let read = read
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        read.map_err(ReadError::Io)
    }

    /// Order and message id of a mailbox's envelopes, in order, but for damaged ones.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub(crate) async fn stored(
        &self,
        mailbox: MailboxId,
    ) -> Result<Vec<(u64, MessageId)>, ReadError> {
        let mut stored = Vec::new();
        let mut after = 0;
        loop {
            // A page at a time: the bodies are not wanted.
            let page = self.envelopes(mailbox, after, u64::MAX, PAGE_SLOTS).await?;
            let Some(last) = page.last() else {
                return Ok(stored);
            };
            after = last.order;
            let whole = page.iter().filter(|it| it.body.is_some());
            stored.extend(whole.map(|it| (it.order, it.message)));
        }
    }

    /// Writes what was submitted, tidies up, ends.
    pub(crate) async fn close(&self) {
        drop(lock(&self.jobs).take());
        let closed = lock(&self.closed).take();
        if let Some(closed) = closed {
            let _ = closed.await;
        }
    }
}

/// Reads what was found, all of it: what was acknowledged meanwhile has no body.
fn read(shared: &Shared, mailbox: MailboxId, found: Vec<Found>) -> io::Result<Vec<StoredEnvelope>> {
    let mut envelopes = Vec::with_capacity(found.len());
    let neighbours = |(_, one, _): &Found, (_, other, _): &Found| {
        one.segment == other.segment && one.slot + 1 == other.slot
    };
    for run in found.chunk_by(neighbours) {
        let Some((_, first, file)) = run.first() else {
            continue;
        };
        let bytes = file.read(first.slot, u32::try_from(run.len()).unwrap_or(0))?;
        for ((order, place, _), bytes) in run.iter().zip(bytes.chunks_exact(SLOT_BYTES)) {
            envelopes.push(look(shared, mailbox, *order, *place, bytes)?);
        }
    }
    Ok(envelopes)
}

/// One envelope. A slot that does not hold it was punched out since it was found, or is damaged.
fn look(
    shared: &Shared,
    mailbox: MailboxId,
    order: u64,
    place: Place,
    bytes: &[u8],
) -> io::Result<StoredEnvelope> {
    if let Ok(Slot::Waiting(it)) = slot::open(&shared.keys, place, bytes)
        && it.mailbox == mailbox
        && it.order == order
    {
        return Ok(StoredEnvelope {
            order,
            message: it.message,
            body: Some(it.body),
        });
    }
    let now = lock(&shared.state).find(&mailbox, order.saturating_sub(1), order, 1);
    match now.first() {
        Some((_, there, file)) if *there != place => {
            let bytes = file.read(there.slot, 1)?;
            return look(shared, mailbox, order, *there, &bytes);
        }
        Some(_) => {
            tracing::error!("a stored envelope is damaged: it is not handed out");
            metrics::counter!("kinline_damaged_total", "table" => "spool").increment(1);
        }
        None => {}
    }
    Ok(StoredEnvelope {
        order,
        message: MessageId::new([0; 16]),
        body: None,
    })
}
