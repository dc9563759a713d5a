//! Accounts: who comes back without a device, known by no name and no password (PROTOCOL §15).
//!
//! An account is a row under a hash of what the device made of a login name. A login is two
//! round trips of OPAQUE on a connection of its own, which no mailbox is ever attached to: an
//! honest relay can't link the two, and a dishonest one has to compare addresses and times.
//!
//! **Is there such an account?** Nobody learns it from an answer. An id that is not there is
//! looked up, opened, answered over and counted like one that is, on a row that stands for all
//! of them; the answers have one length. Costs of stretching are announced in Hello, the same
//! for everybody. After the key of logins was changed, ids that are not there seem to move to
//! the new one one after the other, as accounts do when their owners log in.
//!
//! **Guessing.** Whoever has KE2 can test one password on it, and whoever has the answer to
//! RegisterStart another, without ever finishing. So both count when they begin, in the row and
//! against the [budget]; a login that ends well takes it back.

mod accounts;
mod budget;
mod delete;
mod login;
mod register;
mod talk;
mod vault;

pub(crate) use accounts::Accounts;
pub(crate) use delete::delete;
pub(crate) use login::{finish as login_finish, start as login_start};
pub(crate) use register::{finish as register_finish, start as register_start};
pub(crate) use talk::{Talk, change_logged_in, count_attempt};
pub(crate) use vault::{fetch as fetch_vault, put as put_vault};
