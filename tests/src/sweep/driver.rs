//! The life that the cast leads: everything at once, until it is over or the relay is dead.

use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::{self, RecipientStatus};
use std::collections::BTreeSet;
use tokio::sync::watch;

use super::cast::{BLOB_BYTES, Cast, Mailbox, SENDERS, body};
use super::client::{Client, Gone};
use super::record::{Envelope, Fact, Notebook, Origin};

/// Deliveries that Anna's relay may have out at a time.
const WINDOW: u32 = 16;

/// Lives once over a relay. Whoever finds the relay gone stops; what was heard until then is noted.
pub async fn live(relay: &RelayAddress, cast: &Cast, notes: &Notebook) {
    let Some(today) = open_all(relay, cast, notes).await else {
        return;
    };
    let (over, ended) = watch::channel(false);
    let sending = async {
        let senders = (0..SENDERS).map(|sender| send_all(relay, cast, notes, sender, today));
        futures_util::future::join_all(senders).await;
        let _ = over.send(true);
    };
    // What each of them missed shows in the notes.
    let (_, _, _, _, ()) = tokio::join!(
        anna(relay, cast, notes, ended.clone()),
        cleo(relay, cast, notes, ended),
        blobs(relay, cast, notes),
        guardian(relay, cast, notes, today),
        sending,
    );
}

async fn open_all(relay: &RelayAddress, cast: &Cast, notes: &Notebook) -> Option<u32> {
    let mut client = Client::connect(relay).await.ok()?;
    for mailbox in cast.mailboxes() {
        if client.open(mailbox).await.ok()?.is_ok() {
            notes.note(Fact::Opened(mailbox.id));
        }
    }
    Some(client.day)
}

/// One sender's Send of a round, the same however often it is made.
#[must_use]
pub fn send_of(cast: &Cast, sender: usize, round: usize, today: u32) -> wire::Send {
    let deliveries = cast
        .recipients(sender, round)
        .into_iter()
        .enumerate()
        .map(|(place, to)| {
            let message = cast.message(sender, round, place);
            wire::Delivery {
                mailbox: to.id.to_bytes(),
                grant: to.grant(today, cast.secret(sender, to)),
                message_id: message.to_bytes(),
                envelope: body(&message),
            }
        })
        .collect();
    let commit = cast.slot(round).map(|token| wire::CommitOffer {
        token: token.to_bytes(),
        sealed: cast.commit(sender, round),
    });
    wire::Send {
        deliveries,
        commit,
        generation: 1,
    }
}

/// What one Send carries.
#[must_use]
pub fn envelopes_of(cast: &Cast, sender: usize, round: usize) -> Vec<Envelope> {
    let recipients = cast.recipients(sender, round);
    let named = recipients.iter().enumerate();
    named
        .map(|(place, to)| (to.id, cast.message(sender, round, place)))
        .collect()
}

/// Makes one Send and notes what came of it; whether the relay took it or refused it for good.
///
/// # Errors
/// [`Gone`].
pub async fn send(
    client: &mut Client,
    cast: &Cast,
    notes: &Notebook,
    (sender, round): (usize, usize),
    today: u32,
) -> Result<Result<(), wire::Error>, Gone> {
    let envelopes = envelopes_of(cast, sender, round);
    for envelope in &envelopes {
        notes.send(*envelope, Origin { sender, round });
    }
    let result = match client.send(send_of(cast, sender, round, today)).await? {
        Ok(result) => result,
        Err(error) => return Ok(Err(error)),
    };
    let mut won = true;
    if let (Some(token), Some(answer)) = (cast.slot(round), &result.commit) {
        won = answer.mine;
        let holds = if won {
            cast.commit(sender, round)
        } else {
            answer.winner.clone()
        };
        notes.note(Fact::Slot(token, holds));
    }
    if !won {
        for envelope in envelopes {
            notes.note(Fact::Void(envelope));
        }
        return Ok(Ok(()));
    }
    for (envelope, answer) in envelopes.into_iter().zip(&result.recipients) {
        if answer.status() == RecipientStatus::Ok {
            notes.note(Fact::Acknowledged(envelope));
        }
    }
    Ok(Ok(()))
}

async fn send_all(
    relay: &RelayAddress,
    cast: &Cast,
    notes: &Notebook,
    sender: usize,
    today: u32,
) -> Result<(), Gone> {
    let mut client = Client::connect(relay).await?;
    if client.attach(&cast.senders[sender], WINDOW).await?.is_err() {
        return Err(Gone);
    }
    for round in 0..cast.rounds {
        // A relay that refuses goes on; what it refused was not acknowledged.
        let _ = send(&mut client, cast, notes, (sender, round), today).await?;
    }
    Ok(())
}

/// What a device does with a delivery: it notes that it has it, or that it had it before.
pub fn receive(
    notes: &Notebook,
    mailbox: &Mailbox,
    deliver: &wire::Deliver,
    seen: &mut BTreeSet<Envelope>,
) {
    let Ok(message) = (&deliver.message_id).try_into() else {
        panic!("a message id of {} bytes", deliver.message_id.len());
    };
    let envelope = (mailbox.id, message);
    if deliver.envelope != body(&message) {
        notes.note(Fact::Damaged(envelope));
    }
    notes.note(if seen.insert(envelope) {
        Fact::Received(envelope)
    } else {
        Fact::Twice(envelope)
    });
}

/// Attached all the time. Acknowledges every third delivery with those before it, so that
/// some are acknowledged in time and others are written first.
async fn anna(
    relay: &RelayAddress,
    cast: &Cast,
    notes: &Notebook,
    mut ended: watch::Receiver<bool>,
) -> Result<(), Gone> {
    let mut client = Client::connect(relay).await?;
    if client.attach(&cast.anna, WINDOW).await?.is_err() {
        return Err(Gone);
    }
    let mut seen = BTreeSet::new();
    loop {
        let deliver = tokio::select! {
            deliver = client.delivery() => deliver?,
            _ = ended.changed() => return Ok(()),
        };
        receive(notes, &cast.anna, &deliver, &mut seen);
        if deliver.number % 3 == 0 {
            client.acknowledge(deliver.number).await?;
        }
    }
}

/// Comes again and again, takes a few, acknowledges all but the last, goes.
async fn cleo(
    relay: &RelayAddress,
    cast: &Cast,
    notes: &Notebook,
    ended: watch::Receiver<bool>,
) -> Result<(), Gone> {
    while !*ended.borrow() {
        let mut client = Client::connect(relay).await?;
        let Ok(_) = client.attach(&cast.cleo, 4).await? else {
            return Err(Gone);
        };
        let mut seen = BTreeSet::new();
        let here = client.delivered().await?;
        for deliver in &here {
            receive(notes, &cast.cleo, deliver, &mut seen);
        }
        if let Some(last) = here.len().checked_sub(2).and_then(|place| here.get(place)) {
            client.acknowledge(last.number).await?;
        }
        // The ping's answer comes after the acknowledgement was taken.
        for deliver in client.delivered().await? {
            receive(notes, &cast.cleo, &deliver, &mut seen);
        }
    }
    Ok(())
}

/// One blob in two parts, one deleted, one begun.
async fn blobs(relay: &RelayAddress, cast: &Cast, notes: &Notebook) -> Result<(), Gone> {
    let mut client = Client::connect(relay).await?;
    if client.attach(&cast.uploader, 1).await?.is_err() {
        return Err(Gone);
    }
    for (place, blob) in cast.blobs.iter().enumerate() {
        let (read_hash, owner_hash) = blob.hashes();
        let create = Ask::CreateBlob(wire::CreateBlob {
            read_hash: read_hash.to_vec().into(),
            owner_hash: owner_hash.to_vec().into(),
            size: BLOB_BYTES as u64,
            ticket: String::new(),
        });
        if client.ask(create).await?.is_err() {
            continue;
        }
        let parts: &[(usize, usize)] = match place {
            0 => &[(0, 5_000), (5_000, BLOB_BYTES)],
            1 => &[(0, BLOB_BYTES)],
            _ => &[(0, 9_000)],
        };
        for (from, to) in parts {
            let reply = blob.put(relay, *from, blob.bytes.slice(*from..*to)).await?;
            if let (204, Some(offset)) = (reply.status, reply.offset) {
                notes.note(Fact::Durable(place, offset));
            }
        }
        if place == 1 {
            notes.note(Fact::Deleting(place));
            if blob.delete(relay).await?.status == 204 {
                notes.note(Fact::Deleted(place));
            }
        }
    }
    Ok(())
}

/// Revokes the doomed grant, closes Dora's mailbox.
async fn guardian(
    relay: &RelayAddress,
    cast: &Cast,
    notes: &Notebook,
    today: u32,
) -> Result<(), Gone> {
    let mut client = Client::connect(relay).await?;
    // A few round trips, so that the others have begun.
    for _ in 0..4 * cast.rounds {
        client.delivered().await?;
    }
    let revoke = Ask::RevokeGrant(wire::RevokeGrant {
        mailbox: cast.bob.id.to_bytes(),
        secret: cast.doomed.to_vec().into(),
        last_day: Mailbox::grant_ends(today),
    });
    if client.ask(revoke).await?.is_ok() {
        notes.note(Fact::Revoked);
    }
    if client.close(&cast.dora, false).await?.is_ok() {
        notes.note(Fact::Closed);
    }
    Ok(())
}
