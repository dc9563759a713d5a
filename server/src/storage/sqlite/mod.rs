//! The embedded database: one SQLite file, one writer that commits in groups, a few readers.
//! Everything but envelopes, which are in the [spool](super::spool).
//!
//! `synchronous=FULL` in WAL mode: a commit is durable when it returns. `secure_delete`
//! overwrites what is deleted, and the write-ahead log is folded in and cut to nothing
//! whenever the relay has been idle for a moment, and when it ends. Now and then the file is
//! written anew ([`tidy`]), so that it does not tell in which order rows came.

mod account;
mod apply;
mod encode;
mod expire;
mod group;
mod legacy;
mod open;
mod operator;
mod reader;
mod rekey;
mod tidy;
mod writer;

pub use open::OpenError;
pub(crate) use open::{SqliteOptions, SqliteStorage, lock};
pub(crate) use rekey::Resting;
#[cfg(test)]
pub(crate) use rekey::tables as rekey_tables;
