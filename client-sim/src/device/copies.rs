//! Supervision *pictures*: the photos and voice messages of a contact conversation, fetched,
//! encrypted anew, and sent to the child's own family.

use std::fs;

use kinline_protocol::attachment::Pointer;
use kinline_protocol::content::Body;
use kinline_protocol::engine::io::Command;
use kinline_protocol::ids::ContentId;

use super::attachment::{AttachmentError, fetch_attachment, seal_attachment};
use super::engine::{Device, messages};
use crate::connection::TransferError;
use crate::store::StoreError;

/// Sends the family what its guardians are to see of it; returns how many copies went out.
///
/// # Errors
/// [`AttachmentError`]; what is still to be copied is tried again next time.
pub async fn copy_pictures(device: &Device) -> Result<usize, AttachmentError> {
    let wanted = device
        .with(kinline_protocol::engine::Engine::copies_wanted)
        .await?;
    let mut copied = 0;
    if wanted.is_empty() {
        return Ok(copied);
    }
    let shown = messages(device).await?;
    for (_, original) in wanted {
        let view = shown.iter().find(|view| view.content == original);
        let body = view.and_then(|view| view.body.clone());
        let copy = match body {
            Some(body) => copy(device, original, body).await?,
            None => None,
        };
        copied += usize::from(copy.is_some());
        let command = Command::SendCopy {
            original,
            copied: copy,
        };
        device.command(command).await?;
    }
    Ok(copied)
}

/// A picture under new keys; `None` when it can't be had any more.
async fn copy(
    device: &Device,
    original: ContentId,
    body: Body,
) -> Result<Option<(Body, kinline_protocol::engine::io::OutgoingBlob)>, AttachmentError> {
    let (pointer, extension) = match &body {
        Body::Photo(photo) => (photo.blob.clone(), "jpg"),
        Body::Voice(voice) => (voice.blob.clone(), "ogg"),
        _ => return Ok(None),
    };
    let path = match fetch_attachment(device, original, &pointer, extension, None).await {
        Ok(path) => path,
        Err(AttachmentError::Transfer(TransferError::NotFound)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let folder = device.folder().to_owned();
    let (pointer, blob) = tokio::task::spawn_blocking(move || {
        let plain = fs::read(&path).map_err(|source| StoreError::file(&path, source))?;
        seal_attachment(&folder, &plain)
    })
    .await??;
    Ok(Some((with_pointer(body, pointer), blob)))
}

fn with_pointer(body: Body, pointer: Pointer) -> Body {
    match body {
        Body::Photo(mut photo) => {
            photo.blob = pointer;
            Body::Photo(photo)
        }
        Body::Voice(mut voice) => {
            voice.blob = pointer;
            Body::Voice(voice)
        }
        other => other,
    }
}
