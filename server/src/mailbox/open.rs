//! Opening a mailbox: its keys are stored under an id that the device chose.

use kinline_protocol::attach::{Challenge, MailboxKeys, verify_open};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::labels::HASH_ADMISSION;
use kinline_protocol::limits;
use kinline_protocol::primitives::hash;
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::wire::OpenMailbox;

use crate::errors::Refusal;
use crate::relay::Shared;
use crate::storage::{MailboxRow, NewMailbox, Opened, RowWrite, Write, reply};
use crate::ticket;
use crate::tripwire::Alarm;

/// An admission code as the tables know it.
pub(crate) fn admission_hash(code: &str) -> [u8; 32] {
    hash::labelled(HASH_ADMISSION, &[code.trim().as_bytes()])
}

/// Creates the mailbox, or finds it with the same keys.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::Denied`] (bad proof, or the id is another's),
/// [`Refusal::Admission`], or what the write says.
pub(crate) async fn open(
    shared: &Shared,
    challenge: &Challenge<'_>,
    request: &OpenMailbox,
) -> Result<(), Refusal> {
    let id = MailboxId::try_from(&request.mailbox)
        .map_err(|_| Refusal::Malformed("a mailbox id has 16 bytes"))?;
    let key = |bytes: &[u8]| {
        PublicKey::from_slice(bytes).ok_or(Refusal::Malformed("a public key has 32 bytes"))
    };
    let keys = MailboxKeys {
        authentication: key(&request.authentication_key)?,
        grant: key(&request.grant_key)?,
        close: key(&request.close_key)?,
    };
    verify_open(
        challenge,
        &id,
        &keys,
        request.generation,
        &request.signature,
    )
    .map_err(|_| Refusal::Denied)?;
    let entry = ticket::entry(shared, &request.admission_code);
    let row = MailboxRow {
        keys,
        generation: request.generation,
        closed: false,
        decoy: false,
        expires: shared.clock.day().plus(limits::MAILBOX_IDLE_DAYS),
    };
    let (done, opened) = reply();
    shared.storage.submit(Write::Row(RowWrite::OpenMailbox {
        mailbox: NewMailbox { id, row },
        entry,
        done,
    }));
    match opened.await? {
        Opened::Open => Ok(()),
        Opened::OtherKeys => {
            let row = shared.storage.mailbox(id).await?;
            if row.is_some_and(|row| row.decoy) {
                shared.tripwire.touched(Alarm::Open);
            }
            Err(Refusal::Denied)
        }
        Opened::Admission => Err(Refusal::Admission),
    }
}
