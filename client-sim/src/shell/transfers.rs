//! Blob transfers that run beside the connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinline_protocol::engine::io::{
    BlobHandle, Fetch, FetchOutcome, Input, Upload, UploadOutcome, UploadSource,
};
use kinline_protocol::limits;
use kinline_protocol::secrets::Secret;
use tokio::fs::File;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::connection::{BlobClient, Source, TransferError};
use crate::store::blob_path;

/// Transfers of one device that move bytes at a time; others wait.
const AT_ONCE: usize = 3;
/// Time for deletions when a device is erased.
const LAST: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Upload(BlobHandle),
    Fetch(Secret<32>),
    Deletion(Secret<32>),
}

/// The transfers of one device.
#[derive(Debug)]
pub(super) struct Transfers {
    client: BlobClient,
    folder: PathBuf,
    room: Arc<Semaphore>,
    running: JoinSet<(Key, Option<Input>)>,
    keys: Vec<Key>,
    online: bool,
}

impl Transfers {
    pub(super) fn new(client: BlobClient, folder: PathBuf) -> Self {
        Self {
            client,
            folder,
            room: Arc::new(Semaphore::new(AT_ONCE)),
            running: JoinSet::new(),
            keys: Vec::new(),
            online: false,
        }
    }

    /// The state folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether nothing is under way that the engine waits for.
    pub(super) fn is_idle(&self) -> bool {
        !self.keys.iter().any(|key| !matches!(key, Key::Deletion(_)))
    }

    pub(super) const fn go_online(&mut self) {
        self.online = true;
    }

    /// Ends everything; returns what the engine must be told.
    pub(super) fn go_offline(&mut self) -> Vec<Input> {
        self.online = false;
        self.running.abort_all();
        self.running = JoinSet::new();
        self.keys.drain(..).filter_map(unreachable).collect()
    }

    fn start(&mut self, key: Key, work: impl Future<Output = Option<Input>> + Send + 'static) {
        // Asked for again while it runs: one is enough.
        if self.keys.contains(&key) {
            return;
        }
        self.keys.push(key.clone());
        if !self.online {
            self.running
                .spawn(async move { (key.clone(), unreachable(key)) });
            return;
        }
        let room = Arc::clone(&self.room);
        self.running.spawn(async move {
            let _permit = room.acquire_owned().await;
            let input = work.await;
            (key, input)
        });
    }

    pub(super) fn upload(&mut self, upload: Upload) {
        let client = self.client.clone();
        let path = blob_path(&self.folder, &upload.handle);
        self.start(Key::Upload(upload.handle), async move {
            let handle = upload.handle;
            let outcome = run_upload(&client, upload, path).await;
            Some(Input::Uploaded { handle, outcome })
        });
    }

    pub(super) fn fetch(&mut self, fetch: Fetch) {
        let client = self.client.clone();
        self.start(Key::Fetch(fetch.read_secret.clone()), async move {
            let outcome = run_fetch(&client, &fetch).await;
            Some(Input::Fetched {
                read_secret: fetch.read_secret,
                outcome,
            })
        });
    }

    /// Best effort: what can't be deleted now expires by itself.
    pub(super) fn delete(&mut self, owner: Secret<32>) {
        let client = self.client.clone();
        self.start(Key::Deletion(owner.clone()), async move {
            drop(client.delete(&owner).await);
            None
        });
    }

    /// Waits until what was to be deleted is, or nobody answers.
    pub(super) async fn finish(&mut self) {
        let all = async { while self.running.join_next().await.is_some() {} };
        drop(tokio::time::timeout(LAST, all).await);
    }

    /// The next transfer that ends, and what the engine must be told; waits for ever when
    /// none runs. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Input> {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(Ok((key, input))) => {
                self.keys.retain(|other| *other != key);
                input
            }
            // A transfer that panicked is found no more; the others go on.
            Some(Err(_)) => None,
        }
    }
}

fn unreachable(key: Key) -> Option<Input> {
    match key {
        Key::Upload(handle) => Some(Input::Uploaded {
            handle,
            outcome: UploadOutcome::Unreachable,
        }),
        Key::Fetch(read_secret) => Some(Input::Fetched {
            read_secret,
            outcome: FetchOutcome::Unreachable,
        }),
        Key::Deletion(_) => None,
    }
}

async fn run_upload(client: &BlobClient, upload: Upload, path: PathBuf) -> UploadOutcome {
    let source = match upload.source {
        UploadSource::Bytes(bytes) => Source::Memory(bytes),
        UploadSource::File => match File::open(&path).await {
            Ok(file) => Source::File(file),
            Err(error) => return file_failed(&error),
        },
    };
    let done = client
        .upload(&upload.owner_secret, upload.offset, upload.size, source)
        .await;
    match done {
        Ok(()) => UploadOutcome::Done,
        Err(TransferError::File { source, .. }) => file_failed(&source),
        Err(_) => UploadOutcome::Unreachable,
    }
}

/// A file that is gone, or shorter than its record says, does not come back. Whatever else
/// the system says (too many open files, a disk that stumbles) may pass.
fn file_failed(error: &io::Error) -> UploadOutcome {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => UploadOutcome::Lost,
        _ => UploadOutcome::Unreachable,
    }
}

async fn run_fetch(client: &BlobClient, fetch: &Fetch) -> FetchOutcome {
    if fetch.size > limits::OVERFLOW_BYTES_MAX {
        return FetchOutcome::NotFound;
    }
    match client.fetch(&fetch.read_secret, fetch.size).await {
        Ok(bytes) => FetchOutcome::Got(bytes),
        // Another size than announced never becomes the right one.
        Err(TransferError::NotFound | TransferError::Size) => FetchOutcome::NotFound,
        Err(_) => FetchOutcome::Unreachable,
    }
}
