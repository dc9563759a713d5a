//! What makes the tables noise to a thief: the key file, and the keys derived from it.
//!
//! The key file lies outside the data folder. From its at-rest secret come a permutation for
//! each kind of id, so that the same id looks different in each table, and one sealing
//! key for the columns that hold public keys and generations. Beside it stand what logins
//! depend on, and what tickets are made with. Each has versions, so that it can be changed.

mod at_rest;
mod commands;
mod key_file;
mod place;

pub(crate) use at_rest::{AtRest, Permutation, SealedError};
pub(crate) use commands::{Rotated, export, rotate};
pub(crate) use key_file::{AccountsKey, KeyFile, TicketsKey};
pub(crate) use place::Held;
pub use place::KeyFileError;
