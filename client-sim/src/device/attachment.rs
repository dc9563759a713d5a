//! Attachments between files and the engine: sealed on the way out, checked on the way in.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use kinline_protocol::attachment::{
    CHUNK_BYTES, DecryptError, DecryptWriter, EncryptError, Pointer, encrypt,
};
use kinline_protocol::engine::io::{Command, OutgoingBlob};
use kinline_protocol::ids::ContentId;
use kinline_protocol::secrets::Secret;
use rand::Rng as _;

use crate::connection::TransferError;
use crate::random;
use crate::shell::{Core, DeviceError, DeviceHandle};
use crate::store::{StoreError, media_path, put_blob, write_checked};

/// Why an attachment can't be sent or shown.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentError {
    /// Files of the state folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It can't be sealed.
    #[error("the attachment can't be encrypted: {0}")]
    Seal(#[from] EncryptError),
    /// It is not what its sender described.
    #[error("the attachment is not what its sender sent: {0}")]
    Open(#[from] DecryptError),
    /// The message has none.
    #[error("this message has neither photo nor recording")]
    Nothing,
    /// Another device put something else up.
    #[error("another device gave something else than what the sender sent")]
    Another,
    /// The relay.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The work was broken off.
    #[error("the work on the attachment was broken off: {0}")]
    BrokenOff(#[from] tokio::task::JoinError),
}

/// Encrypts `plaintext` into `DIR/blobs/`, durable when this returns. The pointer goes into the
/// message's body, the blob into [`Command::Send`]. Blocks.
///
/// # Errors
/// [`AttachmentError::Seal`] when it is too large, [`AttachmentError::Store`] for the file.
pub fn seal_attachment(
    folder: &Path,
    plaintext: &[u8],
) -> Result<(Pointer, OutgoingBlob), AttachmentError> {
    let mut rng = random::os();
    let mut handle = [0; 16];
    rng.fill_bytes(&mut handle);
    let key = Secret::random(&mut rng);
    let read_secret = Secret::random(&mut rng);
    let owner_secret = Secret::random(&mut rng);
    let mut sealed = None;
    put_blob(folder, &handle, |mut file| {
        let length = plaintext.len() as u64;
        sealed = Some(encrypt(&key, length, &mut { plaintext }, &mut file)?);
        Ok::<_, AttachmentError>(())
    })?;
    let sealed = sealed.ok_or(StoreError::Damaged {
        what: "an attachment was not written".into(),
    })?;
    let pointer = Pointer::new(read_secret.clone(), key, &sealed);
    let blob = OutgoingBlob {
        handle,
        read_secret,
        owner_secret,
        size: sealed.size,
    };
    Ok((pointer, blob))
}

/// Fetches an attachment into `out` (or `DIR/media/<content>.<extension>`), decrypted and
/// checked against its digest, and tells the sender. A broken fetch goes on where it stopped.
/// Memory use is constant.
///
/// # Errors
/// [`AttachmentError`]; nothing stands under the file's name then.
pub async fn fetch_attachment<C: Core>(
    device: &DeviceHandle<C>,
    content: ContentId,
    pointer: &Pointer,
    extension: &str,
    out: Option<PathBuf>,
) -> Result<PathBuf, AttachmentError> {
    fetch_given(device, content, pointer, pointer, extension, out).await
}

/// As [`fetch_attachment`], from where `pointer` says, which may be another device's word: it has
/// to be what the sender's `original` names. The same bytes once more under the sender's key have
/// the digest that the sender signed. Until that is known it has no name, and nobody is told that
/// it was fetched.
///
/// # Errors
/// [`AttachmentError`]; nothing stands under the file's name then.
pub(super) async fn fetch_given<C: Core>(
    device: &DeviceHandle<C>,
    content: ContentId,
    original: &Pointer,
    pointer: &Pointer,
    extension: &str,
    out: Option<PathBuf>,
) -> Result<PathBuf, AttachmentError> {
    if pointer.plaintext_size != original.plaintext_size {
        return Err(AttachmentError::Another);
    }
    let name = hex::encode(content.as_bytes());
    let part = media_path(device.folder(), &format!("{name}.part"))?;
    let out = match out {
        Some(out) => out,
        None => media_path(device.folder(), &format!("{name}.{extension}"))?,
    };
    let fetched = device
        .blobs()
        .fetch_to_file(&pointer.read_secret, pointer.size, &part)
        .await;
    if let Err(error) = fetched {
        if is_lost(&error) {
            // What came of it is no beginning of another.
            drop(fs::remove_file(&part));
        }
        return Err(error.into());
    }
    let (original, pointer, target) = (original.clone(), pointer.clone(), out.clone());
    tokio::task::spawn_blocking(move || {
        let opened = open_attachment(&original, &pointer, &part, &target);
        // Whole and ours now, or not the sender's: what was fetched is of no more use.
        drop(fs::remove_file(&part));
        opened
    })
    .await??;
    device
        .command(Command::AttachmentFetched { content })
        .await?;
    Ok(out)
}

/// Whether what the pointer names is not there, or not as it says: it is of no use to try again.
pub(super) const fn is_lost(error: &TransferError) -> bool {
    matches!(error, TransferError::NotFound | TransferError::Size)
}

fn open_attachment(
    original: &Pointer,
    pointer: &Pointer,
    stored: &Path,
    out: &Path,
) -> Result<(), AttachmentError> {
    let failed = |source| StoreError::file(stored, source);
    let mut stored = File::open(stored).map_err(failed)?;
    let check = |plain: &Path| {
        if pointer == original || is_same(original, plain)? {
            return Ok(());
        }
        Err(AttachmentError::Another)
    };
    let write = |file: &mut dyn io::Write| {
        let mut plain = DecryptWriter::new(pointer, file);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let length = stored.read(&mut buffer).map_err(failed)?;
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            plain.write_all(bytes).map_err(|error| opened(error, out))?;
        }
        plain.finish()?;
        Ok(())
    };
    write_checked(out, write, check)
}

fn is_same(original: &Pointer, file: &Path) -> Result<bool, AttachmentError> {
    let failed = |source| StoreError::file(file, source);
    let mut plain = File::open(file).map_err(failed)?;
    let sealed = encrypt(
        &original.key,
        original.plaintext_size,
        &mut plain,
        &mut io::sink(),
    )?;
    Ok(sealed.digest == original.digest)
}

/// What a failed write to a [`DecryptWriter`] means.
fn opened(error: io::Error, out: &Path) -> AttachmentError {
    match error.downcast::<DecryptError>() {
        Ok(DecryptError::Sink(source)) => StoreError::file(out, source).into(),
        Ok(error) => error.into(),
        Err(source) => StoreError::file(out, source).into(),
    }
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

    use super::{AttachmentError, open_attachment, seal_attachment};
    use crate::store::blob_path;

    #[test]
    fn what_is_sealed_opens_again_and_a_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let photo: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let (pointer, blob) = seal_attachment(folder.path(), &photo).unwrap();
        let stored = blob_path(folder.path(), &blob.handle);
        let mut bytes = std::fs::read(&stored).unwrap();
        assert_eq!(bytes.len() as u64, blob.size);
        assert!(!bytes.windows(16).any(|window| photo.starts_with(window)));
        let out = folder.path().join("photo.jpg");
        open_attachment(&pointer, &pointer, &stored, &out).unwrap();
        assert!(std::fs::read(&out).unwrap() == photo);

        std::fs::remove_file(&out).unwrap();
        bytes[150_000] ^= 1;
        std::fs::write(&stored, &bytes).unwrap();
        assert!(matches!(
            open_attachment(&pointer, &pointer, &stored, &out),
            Err(AttachmentError::Open(_))
        ));
        bytes[150_000] ^= 1;
        bytes.truncate(100_000);
        std::fs::write(&stored, &bytes).unwrap();
        assert!(open_attachment(&pointer, &pointer, &stored, &out).is_err());
        assert!(!out.exists());
    }

    #[test]
    fn another_picture_than_the_senders_never_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, theirs) = (vec![1; 70_000], vec![2; 70_000]);
        let (original, _) = seal_attachment(folder.path(), &mine).unwrap();
        let out = folder.path().join("photo.jpg");
        // What the sender sent, put up again under another key.
        let (again, blob) = seal_attachment(folder.path(), &mine).unwrap();
        let stored = blob_path(folder.path(), &blob.handle);
        open_attachment(&original, &again, &stored, &out).unwrap();
        assert!(std::fs::read(&out).unwrap() == mine);
        std::fs::remove_file(&out).unwrap();

        let (lie, blob) = seal_attachment(folder.path(), &theirs).unwrap();
        let stored = blob_path(folder.path(), &blob.handle);
        assert!(matches!(
            open_attachment(&original, &lie, &stored, &out),
            Err(AttachmentError::Another)
        ));
        let left = std::fs::read_dir(folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["blobs"], "nor a part of it");
    }
}
