//! Kinline's relay: it keeps envelopes of 1,024 bytes of noise until the other side has
//! them, and forgets them then.
//!
//! ```text
//! TCP · TLS 1.3 ── listener ──┬─ connection (one actor each) ── mailbox · rendezvous
//!                             └─ blob (HTTPS)                        │
//!                                                       storage: one writer, group commits
//! ```
//!
//! [`Relay::start`] runs one in this process, [`cli::main_with`] is the command line.
//! Everything here works on ciphertext: the part of the protocol that can decrypt is not
//! linked in.

mod account;
mod admin;
mod blob;
pub mod cli;
mod cli_keys;
mod clock;
pub mod config;
mod connection;
mod errors;
mod faults;
mod files;
mod keys;
mod listener;
mod mailbox;
#[doc(hidden)]
pub mod measure;
mod operator;
mod random;
mod relay;
mod rendezvous;
mod retention;
mod storage;
mod sync;
pub mod terms;
mod ticket;
mod tls;
mod tripwire;

pub use clock::Clock;
pub use config::Config;
pub use keys::KeyFileError;
pub use operator::OperatorKeyError;
pub use relay::{Relay, RunningRelay, StartError};
pub use storage::OpenError;
pub use tls::TlsError;
pub use tripwire::{TripwireConfig, WebhookError};
