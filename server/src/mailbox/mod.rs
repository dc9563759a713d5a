//! Mailboxes: who is attached, what waits, and who may put something in.
//!
//! `Queue` is the heart, without any I/O: the order of one mailbox's envelopes, which of
//! them are only in memory, what was delivered and acknowledged on the present connection.
//! An envelope for an attached device goes out at once and is *held* for a moment before it
//! is written; if the device's acknowledgement is back first, it never is. The sender's
//! answer means: the recipient's device has it, or the disk has it.
//!
//! Order is kept by three rules. Orders are given under the mailbox's lock. Whatever is
//! handed to the writer takes everything before it along. And writes are submitted under
//! the same lock, to a writer that keeps their order. So at every moment memory holds the
//! end of the mailbox, the disk the rest, and a device that attaches reads the disk first.
//!
//! **How far a repeated Send is harmless.** The relay knows the message ids of everything
//! that waits or is unacknowledged, however long, and over restarts what it has on disk; and
//! the last 256 acknowledged ones of a mailbox while that is in use (ten minutes after it was
//! last touched, less when memory is short, never over a restart). A Send repeated after that
//! is delivered again, and so is, after a crash, what was acknowledged in its last moment.
//! Devices therefore keep their own memory of message ids. The first bytes under an id win.

mod attach;
mod close;
mod erase;
mod grants;
mod hold;
mod inbox;
mod open;
mod queue;
mod registry;
mod renew;
mod send;
mod state;
mod waiter;

pub(crate) use attach::attach;
pub(crate) use close::close;
pub(crate) use erase::erase;
pub(crate) use grants::{Grants, last_day_max};
pub(crate) use hold::{Holds, hold};
pub(crate) use inbox::{Arrival, Inbox};
pub(crate) use open::{admission_hash, open};
pub(crate) use queue::Queue;
pub(crate) use registry::{MailboxLimits, Mailboxes};
pub(crate) use renew::renew_close_key;
pub(crate) use send::{Sent, accept, permit, whole};
pub(crate) use state::{Limiter, Mailbox, limiter, take};
pub(crate) use waiter::Outcome;
