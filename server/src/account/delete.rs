//! Deleting an account.

use kinline_protocol::wire;

use super::talk::{Talk, change_logged_in};
use crate::errors::Refusal;
use crate::relay::Shared;
use crate::storage::{Change, Said};

/// Removes the account that was logged in to, with its vault, at once.
///
/// # Errors
/// [`Refusal::OutOfOrder`], [`Refusal::Denied`] (the password was changed meanwhile, or it is
/// gone), or what the write says.
pub(crate) async fn delete(
    shared: &Shared,
    talk: &mut Talk,
) -> Result<wire::AccountDeleted, Refusal> {
    change_logged_in(shared, talk, |found| {
        (Change::Remove, Said::Done(Box::new(found.row.clone())))
    })
    .await?;
    talk.logged_in = None;
    Ok(wire::AccountDeleted {
        backups_end_day: shared.backups_end_day(),
    })
}
