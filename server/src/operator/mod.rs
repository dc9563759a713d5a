//! The operator's word: its log of signed statements, and the lockdown that one of them may be.
//!
//! Two keys, and neither is the relay's. The *offline key* certifies a *notice key*; commands of the
//! operator sign with that one, beside a running relay, and add rows to the log. The relay itself
//! signs nothing: it verifies the rows, hands them out, and obeys a lockdown (PROTOCOL §16).

mod commands;
mod keys;
mod lockdown;
mod log;
mod publish;
mod watch;

pub(crate) use commands::{DecoysArgs, LockdownArgs, NoticeArgs, OperatorCommand};
pub(crate) use keys::NoticeKey;
pub use keys::OperatorKeyError;
pub(crate) use lockdown::{BULK_BLOB_BYTES_MAX, Bulk};
pub(crate) use log::Operator;
pub(crate) use watch::{look, run};
