//! What lets somebody in: nothing, a code, or a ticket.

use kinline_protocol::day::Day;
use kinline_protocol::ticket::{TEXT_PREFIX, Ticket, end_of, is_good_on};

use crate::config::Admission;
use crate::errors::Refusal;
use crate::mailbox::admission_hash;
use crate::relay::Shared;
use crate::storage::{Entry, RowWrite, Write, reply};

/// Reads what a device shows. What is no good ticket is a code that nobody made, so that whoever
/// is in already may say it again.
pub(crate) fn entry(shared: &Shared, text: &str) -> Entry {
    match shared.admission {
        Admission::Open => Entry::Open,
        Admission::Tickets if text.starts_with(TEXT_PREFIX) => {
            genuine(shared, text).unwrap_or_else(|| Entry::Code(admission_hash(text)))
        }
        Admission::Tickets | Admission::Codes => Entry::Code(admission_hash(text)),
    }
}

/// A ticket that we made and that is good today; whether it was spent the tables know.
fn genuine(shared: &Shared, text: &str) -> Option<Entry> {
    let today = shared.clock.day();
    let ticket = Ticket::from_text(text).ok()?;
    if !is_good_on(ticket.epoch(), today.0) {
        return None;
    }
    let key = shared.issuer.key(ticket.epoch())?;
    ticket.is_made_by(&key).then(|| Entry::Ticket {
        hash: ticket.spent_hash(),
        expires: Day(end_of(ticket.epoch()).saturating_sub(1)),
    })
}

/// Spends a ticket for room. Durable before this returns.
///
/// # Errors
/// [`Refusal::Admission`] when it is none, too old, or spent; or what the write says.
pub(crate) async fn spend(shared: &Shared, text: &str) -> Result<(), Refusal> {
    let entry = genuine(shared, text).ok_or(Refusal::Admission)?;
    let (done, spent) = reply();
    shared
        .storage
        .submit(Write::Row(RowWrite::Spend { entry, done }));
    if spent.await? {
        Ok(())
    } else {
        Err(Refusal::Admission)
    }
}
