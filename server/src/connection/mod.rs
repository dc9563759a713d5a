//! One actor per connection: it alone reads and writes its socket.
//!
//! Frames are handled one after the other, in the order they came; only the answer to a
//! Send is given later, when what was sent is safe. Everything that others want from this
//! connection goes through its bounded inbox, so that a slow reader costs itself.

mod account;
mod actor;
mod frames;
mod session;
mod share;
mod socket;
mod upgrade;

pub(crate) use upgrade::upgrade;
