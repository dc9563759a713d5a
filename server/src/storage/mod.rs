//! What the relay keeps, behind a trait: SQLite and a spool of envelopes today, other databases
//! beside it later.
//!
//! Reads are futures. Writes are handed over in order with [`Storage::submit`]; whoever
//! submits first is written first, and [`Done`] is called once the write is durable (or
//! known to have failed), never before. Nothing is acknowledged to a device from anywhere
//! else.

mod account;
mod embedded;
mod model;
mod rekey;
mod spool;
mod sqlite;
#[cfg(test)]
mod tests;

pub(crate) use account::{
    AccountRow, Change, Decide, Entry, Found, ListedVault, Places, STATE_BYTES, Said, VaultParts,
};
pub(crate) use embedded::{EmbeddedStorage, GROUP_WRITES_MAX, look};
pub(crate) use rekey::{Settled, Step, rekey, settle};
pub use spool::Spooled;

pub(crate) use model::{
    Accepted, BlobCreated, BlobRow, Done, Expired, ListedMailbox, MailboxRow, NewEnvelope,
    NewMailbox, Opened, OperatorRow, ReadError, RowWrite, SlotOffer, StoredEnvelope, Write,
    WriteError, reply,
};
pub use sqlite::OpenError;
pub(crate) use sqlite::{SqliteOptions, SqliteStorage, lock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use kinline_protocol::ids::{MailboxId, MessageId, SlotToken};
use tokio_util::sync::CancellationToken;

/// A future of a read.
pub(crate) type Read<'a, T> = BoxFuture<'a, Result<T, ReadError>>;

/// Everything durable that the relay needs.
pub(crate) trait Storage: Send + Sync + 'static {
    /// A mailbox's row.
    fn mailbox(&self, id: MailboxId) -> Read<'_, Option<MailboxRow>>;

    /// Order and message id of all envelopes stored for a mailbox, in order
    /// (at most `limits::MAILBOX_ENVELOPES_MAX`).
    fn stored(&self, id: MailboxId) -> Read<'_, Vec<(u64, MessageId)>>;

    /// At most `limit` envelopes with `after < order <= through`, in order.
    fn envelopes(
        &self,
        id: MailboxId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Read<'_, Vec<StoredEnvelope>>;

    /// The sealed commit that holds a slot.
    fn commit(&self, token: SlotToken) -> Read<'_, Option<Bytes>>;

    /// Whether a grant with this revocation hash was revoked.
    fn is_revoked(&self, hash: [u8; 32]) -> Read<'_, bool>;

    /// A blob by the hash of its read secret.
    fn blob_by_read(&self, read_hash: [u8; 32]) -> Read<'_, Option<BlobRow>>;

    /// A blob by the hash of its owner secret.
    fn blob_by_owner(&self, owner_hash: [u8; 32]) -> Read<'_, Option<BlobRow>>;

    /// Every mailbox, in no order.
    fn mailboxes(&self) -> Read<'_, Vec<ListedMailbox>>;

    /// Rows of the operator's log from place `from` on, 64 KiB of entries at most.
    fn operator_log(&self, from: u64) -> Read<'_, Vec<OperatorRow>>;

    /// Whether the row of a blob file is there (for the sweep of files that a crash left).
    fn is_blob_file(&self, file: String) -> Read<'_, bool>;

    /// What lies at an account's places; with its vault where that is wanted.
    fn account(&self, places: Places, with_vault: bool) -> Read<'_, Found>;

    /// Queues a write behind all earlier ones. Never blocks: whoever submits bounds the bytes.
    fn submit(&self, write: Write);

    /// Is cancelled when a write failed for good: nothing is acknowledged any more.
    fn failed(&self) -> &CancellationToken;

    /// Writes what was submitted, folds the log into the database, closes the files.
    fn close(&self) -> BoxFuture<'_, ()>;
}
