//! The files of blobs: `blobs/<2 hex>/<64 hex>`, named by the permuted hash of the read secret.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kinline_protocol::day::Day;
use tokio::task::spawn_blocking;

use super::sums::CHUNK_BYTES;
use crate::files::{blur_folder, blur_times, make_folder, sync_parent};
use crate::sync::lock;

/// Where blobs lie.
#[derive(Clone)]
pub(crate) struct BlobFiles {
    folder: PathBuf,
    busy: Arc<Mutex<HashSet<String>>>,
}

/// A file that is being uploaded to, by one at a time: until everything that has it has ended.
pub(crate) struct Upload {
    file: File,
    _turn: Turn,
}

/// Keeps a second upload to the same file away.
pub(crate) struct Turn {
    name: String,
    busy: Arc<Mutex<HashSet<String>>>,
}

impl Drop for Turn {
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
        make_folder(&folder)?;
        Ok(Self {
            folder,
            busy: Arc::default(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name.get(..2).unwrap_or("00")).join(name)
    }

    /// Takes a blob's file for one upload. `None` while another upload to it runs.
    pub(crate) fn take(&self, name: &str) -> Option<Turn> {
        lock(&self.busy).insert(name.to_owned()).then(|| Turn {
            name: name.to_owned(),
            busy: Arc::clone(&self.busy),
        })
    }

    /// Opens a blob's file to go on at `offset`, which must have been looked up after `turn`
    /// was taken: what lies beyond was never acknowledged and is cut off. Also returns what the
    /// last chunk before `offset` holds.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the file lacks bytes that were acknowledged; else what
    /// the system says.
    pub(super) async fn upload(
        &self,
        turn: Turn,
        offset: u64,
        today: Day,
    ) -> io::Result<(Arc<Upload>, Vec<u8>)> {
        let files = self.clone();
        blocking(move || {
            let path = files.path(&turn.name);
            // Until something is acknowledged, an earlier try may have left the file without
            // making its name durable.
            let first = offset == 0;
            if first && let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new()
                .create(first)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)?;
            if file.metadata()?.len() < offset {
                return Err(io::ErrorKind::NotFound.into());
            }
            file.set_len(offset)?;
            let begun_at = offset - offset % CHUNK_BYTES as u64;
            let mut begun = Vec::new();
            file.seek(SeekFrom::Start(begun_at))?;
            file.read_to_end(&mut begun)?;
            file.seek(SeekFrom::Start(offset))?;
            if first {
                files.settle_folders(&path, today)?;
            }
            Ok((Arc::new(Upload { file, _turn: turn }), begun))
        })
        .await
    }

    /// Opens a blob's file to read from `offset`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn read(&self, name: &str, offset: u64) -> io::Result<File> {
        let path = self.path(name);
        blocking(move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        })
        .await
    }

    /// Removes a blob's file, if it is there. Its row is gone already.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn remove(&self, name: &str, today: Day) -> io::Result<()> {
        let (files, path) = (self.clone(), self.path(name));
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => files.settle_folders(&path, today),
        })
        .await
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
            for shelf in fs::read_dir(folder)? {
                let shelf = shelf?;
                if shelf.file_type()?.is_dir() {
                    for file in fs::read_dir(shelf.path())? {
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
    /// Appends a chunk; not durable before [`Upload::sync`]. Blocks the thread.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, chunk: &Bytes) -> io::Result<()> {
        (&self.file).write_all(chunk)
    }

    /// Makes everything durable that was written before, and its time no finer than a day. Blocks
    /// the thread; others may write meanwhile.
    ///
    /// # Errors
    /// What the system says. A failed sync is never tried again.
    pub(super) fn sync(&self, today: Day) -> io::Result<()> {
        blur_times(&self.file, today)?;
        self.file.sync_all()
    }
}

/// Does `work` on a thread where it may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io;
    use std::sync::Arc;

    use bytes::Bytes;
    use kinline_protocol::day::Day;

    use super::BlobFiles;

    #[tokio::test]
    async fn one_upload_at_a_time_and_nothing_acknowledged_is_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let (files, name, today) = (
            BlobFiles::open(folder.path()).unwrap(),
            "ab".repeat(32),
            Day(20_000),
        );
        let turn = files.take(&name).unwrap();
        assert!(files.take(&name).is_none());
        let (upload, _) = files.upload(turn, 0, today).await.unwrap();
        upload
            .write(&Bytes::from_static(b"acknowledged, and more"))
            .unwrap();
        upload.sync(today).unwrap();
        // As long as anything is done with it.
        let other = Arc::clone(&upload);
        drop(upload);
        assert!(files.take(&name).is_none());
        drop(other);
        let path = files.path(&name);
        // What was never acknowledged goes when the upload goes on, not before.
        let turn = files.take(&name).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 22);
        drop(files.upload(turn, 12, today).await.unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"acknowledged");
        // Acknowledged bytes that are missing are never replaced by zeros.
        let turn = files.take(&name).unwrap();
        let error = files.upload(turn, 13, today).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        std::fs::remove_file(&path).unwrap();
        let turn = files.take(&name).unwrap();
        assert!(files.upload(turn, 12, today).await.is_err());
        assert!(!path.exists());
    }
}
