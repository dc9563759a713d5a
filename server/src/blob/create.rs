//! Room for a blob.

use std::sync::Arc;

use kinline_protocol::{limits, padme, wire};

use crate::config::Admission;
use crate::errors::Refusal;
use crate::mailbox::Mailbox;
use crate::relay::Shared;
use crate::storage::{BlobCreated, RowWrite, Write, reply};
use crate::ticket;

/// Makes room, or finds what was uploaded under the same hashes before.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::Quota`], [`Refusal::Admission`] (a ticket that is not good),
/// [`Refusal::Taken`], or what the write says.
pub(crate) async fn create(
    shared: &Shared,
    mailbox: &Arc<Mailbox>,
    request: &wire::CreateBlob,
) -> Result<wire::BlobCreated, Refusal> {
    let hash = |bytes: &[u8]| {
        bytes
            .try_into()
            .map_err(|_| Refusal::Malformed("a blob's hash has 32 bytes"))
    };
    let (read_hash, owner_hash) = (hash(&request.read_hash)?, hash(&request.owner_hash)?);
    if !padme::is_class(request.size) || request.size > shared.limits.blob_bytes {
        return Err(Refusal::Malformed(
            "a blob's size is a size class within the announced limit",
        ));
    }
    let today = shared.clock.day();
    let expires = today.plus(limits::BLOB_RETENTION_DAYS);
    let max = shared.limits.blob_bytes_per_day;
    if !mailbox.lock().use_bytes(today, request.size, max) {
        // Spent only where it is needed: what is not is as good tomorrow.
        if request.ticket.is_empty() || shared.admission != Admission::Tickets {
            return Err(Refusal::Quota);
        }
        ticket::spend(shared, &request.ticket).await?;
        let mut inner = mailbox.lock();
        inner.add_bytes(today, limits::TICKET_BLOB_BYTES);
        if !inner.use_bytes(today, request.size, max) {
            return Err(Refusal::Quota);
        }
    }
    let (done, created) = reply();
    shared.storage.submit(Write::Row(RowWrite::CreateBlob {
        read_hash,
        owner_hash,
        size: request.size,
        expires,
        done,
    }));
    let created = created.await;
    if !matches!(created, Ok(BlobCreated::Ready { fresh: true, .. })) {
        mailbox.lock().give_back_bytes(today, request.size);
    }
    match created? {
        BlobCreated::Ready {
            offset, expires, ..
        } => Ok(wire::BlobCreated {
            offset,
            expires_day: expires.0,
        }),
        BlobCreated::Taken => Err(Refusal::Taken),
    }
}
