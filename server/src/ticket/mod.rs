//! Tickets: an account draws them blindly, a mailbox spends them, and nothing links the two
//! (PROTOCOL §15.4).

mod draw;
mod entry;
mod issuer;

pub(crate) use draw::draw;
pub(crate) use entry::{entry, spend};
pub(crate) use issuer::Issuer;
