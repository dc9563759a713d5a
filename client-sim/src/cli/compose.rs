//! Everything that is written or sent.

use std::io::Read as _;
use std::path::PathBuf;

use kinline_protocol::content::{Body, Progress};
use kinline_protocol::engine::io::{Command, Event, OutgoingBlob};
use kinline_protocol::ids::{ContentId, ConversationId};
use kinline_protocol::limits;

use super::args::{Delivery, Sending};
use super::failure::Failure;
use super::find;
use super::session::Session;
use crate::device::{self, Device};
use crate::store::remove_blob;

/// Bytes read from the terminal: four for each character of the longest text.
const INPUT_BYTES_MAX: u64 = 4 * limits::TEXT_CHARACTERS_MAX as u64 + 1;

/// `send`
pub(super) async fn send(
    session: &Session,
    text: String,
    sending: &Sending,
) -> Result<(), Failure> {
    let text = if text == "-" { read_input()? } else { text };
    new_message(session, Body::Text { text }, sending).await
}

fn read_input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(format!("the words can't be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::new("the words are not UTF-8"))?;
    Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
}

/// `photo`
pub(super) async fn photo(
    session: &Session,
    file: PathBuf,
    caption: String,
    sending: &Sending,
) -> Result<(), Failure> {
    let device = session.open()?;
    let folder = device.folder().to_owned();
    let prepared = blocking(move || device::photo(&folder, &file, &caption)).await?;
    finish(session, device, prepared.body, Some(prepared.blob), sending).await
}

/// `voice`
pub(super) async fn voice(
    session: &Session,
    file: PathBuf,
    sending: &Sending,
) -> Result<(), Failure> {
    let device = session.open()?;
    let folder = device.folder().to_owned();
    let prepared = blocking(move || device::voice(&folder, &file)).await?;
    finish(session, device, prepared.body, Some(prepared.blob), sending).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, device::MediaError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Failure::new(format!("the file can't be prepared: {error}"))),
    }
}

/// `sticker`
pub(super) async fn sticker(
    session: &Session,
    name: String,
    pack: String,
    sending: &Sending,
) -> Result<(), Failure> {
    new_message(session, Body::Sticker { pack, name }, sending).await
}

/// `progress`
pub(super) async fn progress(
    session: &Session,
    progress: Progress,
    delivery: Delivery,
) -> Result<(), Failure> {
    let sending = Sending {
        delivery,
        ..Sending::default()
    };
    new_message(session, Body::Progress(progress), &sending).await
}

async fn new_message(session: &Session, body: Body, sending: &Sending) -> Result<(), Failure> {
    let device = session.open()?;
    finish(session, device, body, None, sending).await
}

async fn finish(
    session: &Session,
    device: Device,
    body: Body,
    blob: Option<OutgoingBlob>,
    sending: &Sending,
) -> Result<(), Failure> {
    let conversation = session.conversation(&device, sending.to.as_deref()).await?;
    let reply_to = match &sending.reply_to {
        Some(id) => Some(find::message(&device, id).await?.content),
        None => None,
    };
    let content = write(
        &device,
        conversation,
        body,
        reply_to,
        sending.disappear,
        blob,
    )
    .await?;
    println!("{}", hex::encode(content.as_bytes()));
    session.deliver(device, &sending.delivery).await
}

/// Gives the command and returns the content's id, which its own event names.
async fn write(
    device: &Device,
    conversation: ConversationId,
    body: Body,
    reply_to: Option<ContentId>,
    disappear_seconds: u32,
    blob: Option<OutgoingBlob>,
) -> Result<ContentId, Failure> {
    let mut events = device.events();
    let handle = blob.as_ref().map(|blob| blob.handle);
    let sent = device
        .command(Command::Send {
            conversation,
            body,
            reply_to,
            disappear_seconds,
            blob,
        })
        .await;
    if let Err(error) = sent {
        // Refused: nothing refers to the file.
        if let Some(handle) = handle {
            remove_blob(device.folder(), &handle);
        }
        return Err(error.into());
    }
    let patience = std::time::Duration::from_secs(10);
    let own = |event: &Event| match event {
        Event::Message {
            content,
            mine: true,
            ..
        } => Some(*content),
        _ => None,
    };
    Ok(events
        .wait_for("the message's keeping", patience, own)
        .await?)
}

/// `react`
pub(super) async fn react(
    session: &Session,
    id: &str,
    emoji: String,
    delivery: &Delivery,
) -> Result<(), Failure> {
    about(session, id, delivery, |target| Body::Reaction {
        target,
        emoji,
    })
    .await
}

/// `edit`
pub(super) async fn edit(
    session: &Session,
    id: &str,
    text: String,
    delivery: &Delivery,
) -> Result<(), Failure> {
    about(session, id, delivery, |target| Body::Edit { target, text }).await
}

/// `delete`
pub(super) async fn delete(
    session: &Session,
    id: &str,
    delivery: &Delivery,
) -> Result<(), Failure> {
    about(session, id, delivery, |target| Body::Delete { target }).await
}

/// Sends what is about an earlier message, into that message's conversation.
async fn about(
    session: &Session,
    id: &str,
    delivery: &Delivery,
    body: impl FnOnce(ContentId) -> Body,
) -> Result<(), Failure> {
    let device = session.open()?;
    let message = find::message(&device, id).await?;
    let body = body(message.content);
    write(&device, message.conversation, body, None, 0, None).await?;
    session.deliver(device, delivery).await
}
