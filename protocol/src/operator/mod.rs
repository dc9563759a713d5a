//! The operator's log: signed statements about the service, never about a person (PROTOCOL §16).
//!
//! ```text
//! offline key ──certifies──► notice key ──signs──► entries 0, 1, 2 … and checkpoints
//! ```
//! The *offline key* lies in a drawer; devices pin it when they are paired. It certifies a *notice
//! key* for a span of days, and with that key the operator signs entries: notices, lockdowns, keys of
//! tickets. Entries are a hash chain that begins with the certificate. A *checkpoint* says how long
//! the chain is and where it ends; whoever has pinned the offline key verifies it alone, and two
//! that have the same relay compare theirs: a log that was cut or forked shows.

mod certificate;
mod chain;
mod checkpoint;
mod entry;
mod read;
#[cfg(test)]
mod tests;

pub use certificate::{CERTIFICATE_BYTES, CertificateError, NoticeCertificate};
pub use chain::{Continuation, Issuer, LogError, OperatorLog, Position, continue_log};
pub use checkpoint::{CHECKPOINT_BYTES, Checkpoint, CheckpointError};
pub use entry::head as head_of;
pub use entry::{Entry, EntryError, Language, LanguageError, Severity, Statement};
