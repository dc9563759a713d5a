//! Attachments of messages that came in with the history: the relay may have them no more, and
//! another device of the family puts them up again (PROTOCOL §17).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kinline_protocol::attachment::{Pointer, encrypt};
use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::engine::view::MessageView;

use super::attachment::{AttachmentError, fetch_attachment, seal_attachment};
use super::engine::{Device, messages};
use crate::connection::TransferError;
use crate::store::{StoreError, find_media};

/// Puts up what other devices of the family asked for and this one has on its disk; returns
/// how many went up.
///
/// # Errors
/// [`AttachmentError`]; what is still to be put up is tried again next time.
pub async fn give_media(device: &Device) -> Result<usize, AttachmentError> {
    let wanted = device
        .with(kinline_protocol::engine::Engine::media_wanted)
        .await?;
    let mut given = 0;
    for wish in wanted {
        let folder = device.folder().to_owned();
        let sealed = tokio::task::spawn_blocking(move || {
            let Some(path) = find_media(&folder, wish.content) else {
                return Ok(None);
            };
            let plain = fs::read(&path).map_err(|source| StoreError::file(&path, source))?;
            seal_attachment(&folder, &plain).map(Some)
        })
        .await??;
        given += usize::from(sealed.is_some());
        let command = Command::GiveMedia {
            wish,
            media: sealed,
        };
        device.command(command).await?;
    }
    Ok(given)
}

/// Fetches the attachment of a message, as [`fetch_attachment`]; of one that came with the
/// history and that the relay has no more, the family's other devices are asked, and waited for
/// as long as `patience`.
///
/// # Errors
/// [`AttachmentError::Nothing`] when the message has none; [`AttachmentError`] otherwise.
/// Nothing stands under the file's name then.
pub async fn fetch_message(
    device: &Device,
    view: &MessageView,
    out: Option<PathBuf>,
    patience: Duration,
) -> Result<PathBuf, AttachmentError> {
    let (original, extension) = match &view.body {
        Some(Body::Photo(photo)) => (photo.blob.clone(), "jpg"),
        Some(Body::Voice(voice)) => (voice.blob.clone(), "ogg"),
        _ => return Err(AttachmentError::Nothing),
    };
    let pointer = view.media.clone().unwrap_or_else(|| original.clone());
    match fetch_whole(device, view, &original, &pointer, extension, out.clone()).await {
        Err(AttachmentError::Transfer(TransferError::NotFound)) => {}
        other => return other,
    }
    let content = view.content;
    let mut events = device.events();
    // Refused for what did not come with the history: then it is gone.
    if device.command(Command::AskMedia { content }).await.is_err() {
        return Err(TransferError::NotFound.into());
    }
    let found = |event: &Event| {
        matches!(event, Event::MediaFound { content: found, .. } if *found == content).then_some(())
    };
    events
        .wait_for(
            "another device of the family putting it up again",
            patience,
            found,
        )
        .await?;
    let views = messages(device).await?;
    let again = views.iter().find(|it| it.content == content);
    let again = again.and_then(|view| view.media.clone());
    let pointer = again.ok_or(TransferError::NotFound)?;
    fetch_whole(device, view, &original, &pointer, extension, out).await
}

/// What was put up again has to be what its sender sent: the same bytes once more under the
/// sender's key have the digest that the sender signed.
async fn fetch_whole(
    device: &Device,
    view: &MessageView,
    original: &Pointer,
    pointer: &Pointer,
    extension: &str,
    out: Option<PathBuf>,
) -> Result<PathBuf, AttachmentError> {
    if pointer.plaintext_size != original.plaintext_size {
        return Err(AttachmentError::Another);
    }
    let path = fetch_attachment(device, view.content, pointer, extension, out).await?;
    if pointer == original {
        return Ok(path);
    }
    let (original, file) = (original.clone(), path.clone());
    let same = tokio::task::spawn_blocking(move || is_same(&original, &file)).await??;
    if same {
        Ok(path)
    } else {
        drop(fs::remove_file(&path));
        Err(AttachmentError::Another)
    }
}

fn is_same(original: &Pointer, file: &Path) -> Result<bool, AttachmentError> {
    let failed = |source| StoreError::file(file, source);
    let mut plain = fs::File::open(file).map_err(failed)?;
    let sealed = encrypt(
        &original.key,
        original.plaintext_size,
        &mut plain,
        &mut std::io::sink(),
    )?;
    Ok(sealed.digest == original.digest)
}
