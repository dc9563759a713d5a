//! Files beside the database: encrypted attachments on their way out, decrypted ones that
//! somebody asked for.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kinline_protocol::engine::io::BlobHandle;
use kinline_protocol::ids::ContentId;
use kinline_protocol::limits;

use super::{StoreError, folder};

/// Where the encrypted bytes of an outgoing attachment lie.
#[must_use]
pub fn blob_path(folder: &Path, handle: &BlobHandle) -> PathBuf {
    folder.join("blobs").join(hex::encode(handle))
}

/// Where a decrypted attachment is put: `DIR/media/<name>`.
///
/// # Errors
/// [`StoreError`] when the folder can't be made.
pub fn media_path(folder: &Path, name: &str) -> Result<PathBuf, StoreError> {
    let media = folder.join("media");
    folder::make_private(&media)?;
    Ok(media.join(name))
}

/// Writes an outgoing attachment's encrypted bytes. When this returns they are durable under
/// their handle, and a record may refer to them; after a crash before, there is nothing.
///
/// # Errors
/// [`StoreError`], or whatever `write` ends with.
pub fn put_blob<E: From<StoreError>>(
    folder: &Path,
    handle: &BlobHandle,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let blobs = folder.join("blobs");
    folder::make_private(&blobs)?;
    folder::sync(folder)?;
    folder::write_whole(&blob_path(folder, handle), write)
}

/// Makes the names in a folder durable, after a rename.
///
/// # Errors
/// [`StoreError`] when the folder can't be synced.
pub fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    folder::sync(folder)
}

/// Forgets an outgoing attachment that the relay has. One that is not there is fine.
pub fn remove_blob(folder: &Path, handle: &BlobHandle) {
    drop(fs::remove_file(blob_path(folder, handle)));
}

/// Removes every file of a content in `media/`; what a person put elsewhere stays theirs.
pub fn remove_media(folder: &Path, content: ContentId) {
    let Ok(entries) = fs::read_dir(folder.join("media")) else {
        return;
    };
    let name = hex::encode(content.as_bytes());
    for entry in entries.flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(name.as_bytes())
        {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// The whole file of a content in `media/`, if there is one.
#[must_use]
pub fn find_media(folder: &Path, content: ContentId) -> Option<PathBuf> {
    let name = hex::encode(content.as_bytes());
    let entries = fs::read_dir(folder.join("media")).ok()?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found = paths.filter(|path| {
        let whole = path
            .extension()
            .is_some_and(|end| end != "part" && end != "tmp");
        whole && path.file_stem().is_some_and(|stem| stem == name.as_str())
    });
    found.next()
}

/// Deletes what a crash left in `blobs/`: temporary files, and files older than a content is
/// kept (nothing can refer to them any more). Returns how many went.
pub fn sweep_blobs(folder: &Path, now: SystemTime) -> usize {
    let keep = Duration::from_secs(u64::from(limits::CONTENT_KEEP_DAYS + 1) * 86_400);
    let Ok(entries) = fs::read_dir(folder.join("blobs")) else {
        return 0;
    };
    let mut gone = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > keep));
        let temporary = path.extension().is_some_and(|extension| extension == "tmp");
        if (old || temporary) && fs::remove_file(&path).is_ok() {
            gone += 1;
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use std::time::{Duration, SystemTime};

    use kinline_protocol::ids::ContentId;

    use super::{blob_path, media_path, put_blob, remove_blob, remove_media, sweep_blobs};
    use crate::store::StoreError;

    #[test]
    fn a_blob_stands_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let handle = [7; 16];
        let path = blob_path(folder.path(), &handle);
        let failed: Result<(), StoreError> = put_blob(folder.path(), &handle, |file| {
            file.write_all(b"half").unwrap();
            Err(StoreError::DiskFull)
        });
        assert!(matches!(failed, Err(StoreError::DiskFull)));
        assert!(!path.exists());
        put_blob::<StoreError>(folder.path(), &handle, |file| {
            file.write_all(b"whole").unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
        remove_blob(folder.path(), &handle);
        assert!(!path.exists());
    }

    #[test]
    fn a_contents_media_goes_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (gone, kept) = (ContentId::new([1; 16]), ContentId::new([2; 16]));
        for (id, end) in [(gone, "jpg"), (gone, "part"), (kept, "ogg")] {
            let name = format!("{}.{end}", hex::encode(id.as_bytes()));
            std::fs::write(media_path(folder.path(), &name).unwrap(), b"x").unwrap();
        }
        remove_media(folder.path(), gone);
        let left = std::fs::read_dir(folder.path().join("media")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 1);
        assert!(left[0].to_str().unwrap().starts_with("0202"));
    }

    #[test]
    fn left_overs_are_swept_and_fresh_blobs_are_not() {
        let folder = tempfile::tempdir().unwrap();
        put_blob::<StoreError>(folder.path(), &[1; 16], |_| Ok(())).unwrap();
        std::fs::write(folder.path().join("blobs/0202.tmp"), b"x").unwrap();
        let now = SystemTime::now();
        assert_eq!(sweep_blobs(folder.path(), now), 1);
        assert!(blob_path(folder.path(), &[1; 16]).exists());
        let later = now + Duration::from_secs(32 * 86_400);
        assert_eq!(sweep_blobs(folder.path(), later), 1);
        assert!(!blob_path(folder.path(), &[1; 16]).exists());
    }
}
