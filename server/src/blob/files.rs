//! The files of blobs: `blobs/<2 hex>/<64 hex>`, named by the permuted hash of the read secret.

use std::collections::HashSet;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kinline_protocol::day::Day;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::task::spawn_blocking;

use crate::files::{blur_folder, blur_times, sync_parent};
use crate::sync::lock;

/// Where blobs lie.
#[derive(Clone)]
pub(crate) struct BlobFiles {
    folder: PathBuf,
    busy: Arc<Mutex<HashSet<String>>>,
}

/// A file that is being uploaded to; one at a time.
pub(crate) struct Upload {
    file: File,
    _busy: Busy,
}

/// Keeps a second upload to the same file away.
struct Busy {
    name: String,
    busy: Arc<Mutex<HashSet<String>>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.busy).remove(&self.name);
    }
}

impl BlobFiles {
    /// Blobs within the data folder.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join("blobs");
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            busy: Arc::default(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name.get(..2).unwrap_or("00")).join(name)
    }

    /// Opens a blob's file to go on at `offset`; what lies beyond was never acknowledged and
    /// is cut off. `None` while another upload to it runs.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn upload(
        &self,
        name: &str,
        offset: u64,
        today: Day,
    ) -> io::Result<Option<Upload>> {
        if !lock(&self.busy).insert(name.to_owned()) {
            return Ok(None);
        }
        let busy = Busy {
            name: name.to_owned(),
            busy: Arc::clone(&self.busy),
        };
        let path = self.path(name);
        let fresh = !fs::try_exists(&path).await?;
        if fresh && let Some(folder) = path.parent() {
            fs::create_dir_all(folder).await?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .await?;
        file.set_len(offset).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        if fresh {
            let files = self.clone();
            blocking(move || files.settle_folders(&path, today)).await?;
        }
        Ok(Some(Upload { file, _busy: busy }))
    }

    /// Opens a blob's file to read from `offset`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn read(&self, name: &str, offset: u64) -> io::Result<File> {
        let mut file = File::open(self.path(name)).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        Ok(file)
    }

    /// Removes a blob's file, if it is there. Its row is gone already.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn remove(&self, name: &str, today: Day) -> io::Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                let files = self.clone();
                blocking(move || files.settle_folders(&path, today)).await
            }
        }
    }

    /// Makes a file's coming or going durable, and its time no finer than a day.
    fn settle_folders(&self, path: &Path, today: Day) -> io::Result<()> {
        if let Some(shelf) = path.parent() {
            blur_folder(shelf, today)?;
            blur_folder(&self.folder, today)?;
            sync_parent(path)?;
            sync_parent(shelf)?;
        }
        Ok(())
    }

    /// The names of all files that are there.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn names(&self) -> io::Result<Vec<String>> {
        let folder = self.folder.clone();
        blocking(move || {
            let mut names = Vec::new();
            for shelf in std::fs::read_dir(folder)? {
                let shelf = shelf?;
                if shelf.file_type()?.is_dir() {
                    for file in std::fs::read_dir(shelf.path())? {
                        names.extend(file?.file_name().into_string());
                    }
                }
            }
            Ok(names)
        })
        .await
    }
}

impl Upload {
    /// Appends bytes; not durable before [`Upload::sync`].
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await
    }

    /// Makes everything written durable, and its time no finer than a day.
    ///
    /// # Errors
    /// What the system says. A failed sync is never tried again.
    pub(crate) async fn sync(&mut self, today: Day) -> io::Result<()> {
        self.file.flush().await?;
        let file = self.file.try_clone().await?.into_std().await;
        blocking(move || {
            blur_times(&file, today)?;
            file.sync_all()
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
