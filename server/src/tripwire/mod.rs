//! Tripwires: what nobody who means well ever touches, and a look at how much leaves.
//!
//! **Decoys** are mailboxes that no device uses. In the database nothing tells them apart without
//! the key file: the mark lies inside a sealed column of one size, and their last days move as
//! those of real ones do ([`habits`]). Whoever has mailbox ids that it should not have finds out which
//! of them are real by touching them, and that is an alarm. An account can be one, too ([`accounts`]).
//!
//! **The watch** compares what leaves with what devices acknowledge ([`watch`]): whoever empties the
//! relay through its own door takes more than they confirm.
//!
//! An alarm is a line in the log, a count in the metrics, and a request to whatever the operator
//! has configured ([`webhook`]). It says what was touched and when, by day, and never whose.

mod accounts;
mod alarm;
mod config;
mod decoys;
mod habits;
mod watch;
mod webhook;

pub(crate) use accounts::{DECOY_ACCOUNT, MarkError, mark_account};
pub(crate) use alarm::{Alarm, Tripwire};
pub use config::{TripwireConfig, WebhookError};
pub(crate) use decoys::{make, tend, tick};
