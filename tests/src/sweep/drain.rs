//! Looks at everything that a relay has, after it was started again.

use std::collections::BTreeMap;

use bytes::Bytes;
use kinline_protocol::ids::{MailboxId, MessageId, SlotToken};
use kinline_protocol::limits;
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, RecipientStatus};

use super::cast::{Cast, Mailbox, SENDERS, body};
use super::client::{Client, Gone};
use super::driver;
use super::record::Notebook;

/// An envelope as it was handed out: what it is called, and whether its bytes are those.
pub type HandedOut = (MessageId, bool);

/// Everything that a relay has.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Envelopes of each mailbox that is open, in order, before anything was sent again.
    pub mailboxes: BTreeMap<MailboxId, Vec<HandedOut>>,
    /// What came after everything was acknowledged and unanswered Sends were repeated.
    pub later: BTreeMap<MailboxId, Vec<HandedOut>>,
    /// Who holds each slot.
    pub slots: BTreeMap<SlotToken, Option<Bytes>>,
    /// Whether the doomed grant is refused.
    pub revoked: bool,
    /// Whether Dora's mailbox is closed.
    pub closed: bool,
    /// Of each blob: bytes that are durable, and the bytes themselves when it is whole.
    pub blobs: Vec<Option<(u64, Option<Bytes>)>>,
    /// Whether it takes a fresh envelope, and what was sent again.
    pub takes: bool,
}

/// Drains every mailbox and asks for everything else. `again` are Sends that nobody answered:
/// they are repeated, as devices do.
///
/// # Errors
/// [`Gone`]: a relay that was started again must not end.
pub async fn drain(
    relay: &RelayAddress,
    cast: &Cast,
    again: &[(usize, usize)],
) -> Result<Found, Gone> {
    let mut found = Found {
        closed: is_closed(relay, cast).await?,
        ..Found::default()
    };
    if found.closed {
        // Another guardian's key may undo it; what waits there must not be lost either.
        let _ = Client::connect(relay)
            .await?
            .close(&cast.dora, true)
            .await?;
    }
    let mut client = Client::connect(relay).await?;
    let today = client.day;
    for mailbox in cast.mailboxes() {
        if let Some(envelopes) = take_all(relay, mailbox).await? {
            found.mailboxes.insert(mailbox.id, envelopes);
        }
    }
    for token in &cast.slots {
        let fetch = Ask::FetchCommit(wire::FetchCommit {
            token: token.to_bytes(),
        });
        if let Ok(Say::CommitSlot(slot)) = client.ask(fetch).await? {
            let holds = slot.present.then_some(slot.sealed);
            found.slots.insert(*token, holds);
        }
    }
    for blob in &cast.blobs {
        let look = blob.look(relay).await?;
        let offset = (look.status == 200).then_some(look.offset).flatten();
        // One that is damaged ends before its length is reached.
        let fetched = blob.fetch(relay).await.ok();
        let fetched = fetched.filter(|fetched| fetched.status == 200);
        let bytes = fetched.map(|fetched| fetched.body);
        found.blobs.push(offset.map(|offset| (offset, bytes)));
    }
    let taken = repeat(relay, cast, again).await?;
    found.revoked = is_revoked(&mut client, cast, today).await?;
    found.takes = takes(&mut client, cast, today).await? && taken;
    for mailbox in cast.mailboxes() {
        if let Some(envelopes) = take_all(relay, mailbox).await? {
            found.later.insert(mailbox.id, envelopes);
        }
    }
    Ok(found)
}

async fn is_closed(relay: &RelayAddress, cast: &Cast) -> Result<bool, Gone> {
    // Closed and unknown are refused alike: only a closed one lets its closing be undone.
    let mut client = Client::connect(relay).await?;
    let attached = client.attach(&cast.dora, 1).await?;
    if attached.is_ok() {
        return Ok(false);
    }
    let mut client = Client::connect(relay).await?;
    let closed_again = client.close(&cast.dora, false).await?;
    Ok(closed_again.is_ok())
}

/// Attaches, takes and acknowledges everything. `None` when there is no such mailbox.
async fn take_all(relay: &RelayAddress, mailbox: &Mailbox) -> Result<Option<Vec<HandedOut>>, Gone> {
    let mut client = Client::connect(relay).await?;
    // Unknown, closed, or damaged: then the relay has none to hand out.
    if client
        .attach(mailbox, limits::DELIVERY_WINDOW_MAX)
        .await?
        .is_err()
    {
        return Ok(None);
    }
    let mut all = Vec::new();
    // A first ping may be answered before the first delivery, a second one comes after it.
    let mut quiet = 0;
    while quiet < 2 {
        let page = client.delivered().await?;
        quiet = if page.is_empty() { quiet + 1 } else { 0 };
        if let Some(last) = page.last() {
            client.acknowledge(last.number).await?;
        }
        all.extend(page.iter().map(handed_out));
    }
    Ok(Some(all))
}

fn handed_out(deliver: &wire::Deliver) -> HandedOut {
    let message = MessageId::try_from(&deliver.message_id).expect("16 bytes");
    (message, deliver.envelope == body(&message))
}

/// Repeats Sends; whether all were taken.
async fn repeat(relay: &RelayAddress, cast: &Cast, again: &[(usize, usize)]) -> Result<bool, Gone> {
    let nobody_listens = Notebook::default();
    let mut taken = true;
    for sender in 0..SENDERS {
        let mut client = Client::connect(relay).await?;
        let today = client.day;
        if client.attach(&cast.senders[sender], 1).await?.is_err() {
            continue; // it was never opened
        }
        for send in again.iter().filter(|(who, _)| *who == sender) {
            let sent = driver::send(&mut client, cast, &nobody_listens, *send, today).await?;
            taken &= sent.is_ok();
        }
    }
    Ok(taken)
}

async fn status(
    client: &mut Client,
    to: &Mailbox,
    secret: &[u8; 32],
    message: MessageId,
    today: u32,
) -> Result<Option<RecipientStatus>, Gone> {
    let delivery = wire::Delivery {
        mailbox: to.id.to_bytes(),
        grant: to.grant(today, secret),
        message_id: message.to_bytes(),
        envelope: body(&message),
    };
    let send = wire::Send {
        deliveries: vec![delivery],
        commit: None,
        generation: 1,
    };
    let answer = client.send(send).await?;
    Ok(answer
        .ok()
        .and_then(|result| result.recipients.first().map(wire::RecipientAnswer::status)))
}

async fn is_revoked(client: &mut Client, cast: &Cast, today: u32) -> Result<bool, Gone> {
    let message = cast.message(SENDERS, 0, 0);
    let status = status(client, &cast.bob, &cast.doomed, message, today).await?;
    Ok(status == Some(RecipientStatus::Revoked))
}

async fn takes(client: &mut Client, cast: &Cast, today: u32) -> Result<bool, Gone> {
    let message = cast.message(SENDERS, 1, 0);
    let status = status(client, &cast.bob, &cast.lasting, message, today).await?;
    Ok(status == Some(RecipientStatus::Ok))
}
