//! Attachments of messages that came in with the history: the relay may have them no more, and
//! another device of the family puts them up again (PROTOCOL §17).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::engine::view::MessageView;

use super::attachment::{AttachmentError, fetch_given, is_lost, seal_attachment};
use super::engine::{Device, messages};
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
/// as long as `patience`. Who puts up something else is passed over.
///
/// # Errors
/// [`AttachmentError::Nothing`] when the message has none; [`AttachmentError`] otherwise.
/// Nothing stands under the file's name then.
///
/// [`fetch_attachment`]: super::fetch_attachment
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
    let content = view.content;
    let mut given = view.media.clone();
    let (mut is_fresh, mut was_spoilt) = (false, false);
    // It ends: each round but one passes a device over.
    loop {
        let pointer = given.as_ref().unwrap_or(&original);
        let fetched = fetch_given(device, content, &original, pointer, extension, out.clone());
        let error = match fetched.await {
            Ok(path) => return Ok(path),
            Err(error) => error,
        };
        let is_gone = matches!(&error, AttachmentError::Transfer(error) if is_lost(error));
        let is_forged = matches!(error, AttachmentError::Another);
        let is_wrong = matches!(error, AttachmentError::Another | AttachmentError::Open(_));
        let mut events = device.events();
        let command = match given {
            Some(_) if is_forged => Command::RefuseMedia {
                content,
                forged: true,
            },
            // Damaged or gone by whomever: put up again once, and then when it is asked for again.
            Some(_) if is_wrong || (is_gone && is_fresh) => {
                if std::mem::replace(&mut was_spoilt, true) {
                    return Err(error);
                }
                Command::RefuseMedia {
                    content,
                    forged: false,
                }
            }
            _ if is_gone => Command::AskMedia { content },
            _ => return Err(error),
        };
        // Refused for what did not come with the history: then it is gone.
        if device.command(command).await.is_err() {
            return Err(error);
        }
        let found = |event: &Event| {
            matches!(event, Event::MediaFound { content: found, .. } if *found == content)
                .then_some(())
        };
        let waited = events
            .wait_for(
                "another device of the family putting it up again",
                patience,
                found,
            )
            .await;
        match waited {
            Err(_) if is_wrong => return Err(error),
            waited => waited?,
        }
        let views = messages(device).await?;
        let again = views.iter().find(|it| it.content == content);
        given = again.and_then(|view| view.media.clone());
        if given.is_none() {
            return Err(error);
        }
        is_fresh = true;
    }
}
