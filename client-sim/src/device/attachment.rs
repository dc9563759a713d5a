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
use crate::store::{StoreError, media_path, put_blob, write_whole};

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
    let name = hex::encode(content.as_bytes());
    let part = media_path(device.folder(), &format!("{name}.part"))?;
    let out = match out {
        Some(out) => out,
        None => media_path(device.folder(), &format!("{name}.{extension}"))?,
    };
    device
        .blobs()
        .fetch_to_file(&pointer.read_secret, pointer.size, &part)
        .await?;
    let (pointer, target) = (pointer.clone(), out.clone());
    tokio::task::spawn_blocking(move || {
        let opened = open_attachment(&pointer, &part, &target);
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

fn open_attachment(pointer: &Pointer, stored: &Path, out: &Path) -> Result<(), AttachmentError> {
    let failed = |source| StoreError::file(stored, source);
    let mut stored = File::open(stored).map_err(failed)?;
    write_whole(out, |file| {
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
    })
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
        open_attachment(&pointer, &stored, &out).unwrap();
        assert!(std::fs::read(&out).unwrap() == photo);

        std::fs::remove_file(&out).unwrap();
        bytes[150_000] ^= 1;
        std::fs::write(&stored, &bytes).unwrap();
        assert!(matches!(
            open_attachment(&pointer, &stored, &out),
            Err(AttachmentError::Open(_))
        ));
        bytes[150_000] ^= 1;
        bytes.truncate(100_000);
        std::fs::write(&stored, &bytes).unwrap();
        assert!(open_attachment(&pointer, &stored, &out).is_err());
        assert!(!out.exists());
    }
}
