//! Drawing tickets.

use kinline_protocol::ticket::{DRAW_MAX, epoch_of};
use kinline_protocol::wire;

use crate::account::{Talk, change_logged_in};
use crate::errors::Refusal;
use crate::random;
use crate::relay::Shared;
use crate::storage::{AccountRow, Change, Said};

/// Evaluates blinded elements for the account that was logged in to, as many as it has left in
/// this epoch. They are counted before the answer goes out.
///
/// # Errors
/// [`Refusal::OutOfOrder`], [`Refusal::Malformed`], [`Refusal::NotFound`] (another epoch),
/// [`Refusal::Quota`], [`Refusal::Denied`], or what the write says.
pub(crate) async fn draw(
    shared: &Shared,
    talk: &Talk,
    request: wire::DrawTickets,
) -> Result<wire::TicketsDrawn, Refusal> {
    if request.blinded.len() > DRAW_MAX {
        return Err(Refusal::Malformed("at most 32 tickets are drawn at a time"));
    }
    let epoch = epoch_of(shared.clock.day().0);
    if request.epoch != epoch {
        return Err(Refusal::NotFound);
    }
    let key = shared.issuer.key(epoch).ok_or(Refusal::Internal)?;
    let count = u32::try_from(request.blinded.len()).unwrap_or(u32::MAX);
    let max = shared.accounts.tickets_max;
    change_logged_in(shared, talk, move |found| {
        let before = &found.row;
        let drawn = match before.ticket_epoch == epoch {
            true => before.tickets_drawn,
            false => 0,
        };
        let drawn = drawn.saturating_add(count);
        if drawn > max {
            return (Change::Nothing, Said::Quota);
        }
        let row = AccountRow {
            ticket_epoch: epoch,
            tickets_drawn: drawn,
            ..before.clone()
        };
        (Change::Count(row), Said::Done(Box::new(before.clone())))
    })
    .await?;
    let evaluated = key
        .evaluate(&request.blinded, &mut random::generator()?)
        .map_err(|_| Refusal::Malformed("a blinded ticket is an element of the group"))?;
    let element = |element: [u8; 32]| element.to_vec().into();
    Ok(wire::TicketsDrawn {
        evaluated: evaluated.elements.into_iter().map(element).collect(),
        proof: evaluated.proof.to_vec().into(),
    })
}
