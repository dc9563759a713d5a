//! The sans-IO engine of a device: commands, frames and time go in; changes to persist,
//! frames to send and events to show come out (see [`io`]).
//!
//! The [`Engine`] owns all state of a device. Each of its jobs has a file: `session`
//! attaches, `inbox` opens what is delivered, `outbox` encrypts and repeats until
//! confirmed, `commits` takes changes through their slots, `direct` speaks one to one,
//! `blobs` moves what is larger than an envelope, `pairing` lets devices in.

pub mod io;
pub mod view;

mod blobs;
mod commits;
mod device;
mod direct;
mod inbox;
mod join;
mod outbox;
mod pairing;
mod receive;
mod records;
mod session;
mod state;

pub use device::{CommandError, ConversationSummary, Counters, Engine, LoadError, MemberSummary, Setup};
