//! Rows and writes, as the features see them: no permutation, no seal, no SQL.

use std::io;

use bytes::Bytes;
use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, MessageId, SlotToken};
use tokio::sync::oneshot;

use super::account::{AccountRow, Decide, Entry, Places, Said};

/// Called exactly once, when a write is durable or has failed. Must not block.
pub(crate) type Done<T> = Box<dyn FnOnce(Result<T, WriteError>) + Send>;

/// A [`Done`] and the future of what it is told.
pub(crate) fn reply<T: Send + 'static>()
-> (Done<T>, impl Future<Output = Result<T, WriteError>> + Send) {
    let (sender, receiver) = oneshot::channel();
    let done = Box::new(move |result| {
        let _ = sender.send(result); // whoever asked may be gone
    });
    (done, async move {
        receiver.await.unwrap_or(Err(WriteError::Failed))
    })
}

/// A read failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The database refused.
    #[error("the database could not be read")]
    Database(#[source] sqlx::Error),
    /// The spool refused.
    #[error("the spool of waiting envelopes could not be read")]
    Io(#[source] io::Error),
    /// A column does not open or has a wrong length.
    #[error("a stored row is damaged: {0}")]
    Damaged(&'static str),
}

/// A write failed; nothing of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// The disk, or the room given to the database, is full.
    #[error("there is no room left on the relay's disk")]
    NoRoom,
    /// The database failed for good; the relay stops.
    #[error("the relay's database failed")]
    Failed,
}

/// A mailbox as stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MailboxRow {
    /// Its three public keys.
    pub(crate) keys: MailboxKeys,
    /// The highest store generation written.
    pub(crate) generation: u64,
    /// Closed with its close key.
    pub(crate) closed: bool,
    /// Nobody's: whoever touches it should not know of it.
    pub(crate) decoy: bool,
    /// The last day it is kept.
    pub(crate) expires: Day,
}

/// What changes about a mailbox, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedMailbox {
    /// Its id.
    pub(crate) id: MailboxId,
    /// The highest store generation written.
    pub(crate) generation: u64,
    /// Nobody's.
    pub(crate) decoy: bool,
    /// The last day it is kept.
    pub(crate) expires: Day,
}

/// An entry of the operator's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperatorRow {
    /// Its exact bytes.
    pub(crate) entry: Bytes,
    /// The checkpoint of the log up to here.
    pub(crate) checkpoint: Bytes,
}

/// A mailbox to be created.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewMailbox {
    /// Its id.
    pub(crate) id: MailboxId,
    /// What is stored under it.
    pub(crate) row: MailboxRow,
}

/// How opening a mailbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It is there now, or was there with the same keys.
    Open,
    /// It exists with other keys.
    OtherKeys,
    /// The admission code is unknown or used up.
    Admission,
}

/// An envelope to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewEnvelope {
    /// Whose.
    pub(crate) mailbox: MailboxId,
    /// Its place in the mailbox.
    pub(crate) order: u64,
    /// Names the sealed bytes.
    pub(crate) message: MessageId,
    /// Exactly `limits::ENVELOPE_BYTES`.
    pub(crate) body: Bytes,
}

/// An envelope as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEnvelope {
    /// Its place in the mailbox.
    pub(crate) order: u64,
    /// Names the sealed bytes.
    pub(crate) message: MessageId,
    /// The sealed bytes; `None` when they were damaged on disk.
    pub(crate) body: Option<Bytes>,
}

/// A commit offered for a slot.
#[derive(Debug, Clone)]
pub(crate) struct SlotOffer {
    /// The slot.
    pub(crate) token: SlotToken,
    /// The sealed commit.
    pub(crate) sealed: Bytes,
}

/// How a [`Write::Accept`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// Envelopes stored; the slot, if one was offered, holds exactly the offered bytes.
    Stored,
    /// Another commit holds the slot: nothing was stored.
    Lost {
        /// The commit that holds it.
        winner: Bytes,
    },
    /// The commit that holds the slot was damaged on disk: nothing was stored, and nobody is
    /// told what it is now.
    Damaged,
}

/// A blob as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlobRow {
    /// Name of its file, hexadecimal: the permuted read hash.
    pub(crate) file: String,
    /// Its size class in bytes.
    pub(crate) size: u64,
    /// Bytes that are durable.
    pub(crate) offset: u64,
    /// The last day it is kept.
    pub(crate) expires: Day,
    /// Sums of the durable bytes; `None` for one that was begun before there were any.
    pub(crate) sums: Option<Vec<u8>>,
}

/// How creating a blob ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlobCreated {
    /// There is room; `offset` bytes are there already.
    Ready {
        /// Bytes that are durable.
        offset: u64,
        /// The last day it is kept.
        expires: Day,
        /// Whether the row was made by this request.
        fresh: bool,
    },
    /// One of the hashes belongs to another blob, or the size differs.
    Taken,
}

/// What one step of the retention removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Mailboxes deleted.
    pub(crate) mailboxes: Vec<MailboxId>,
    /// For each mailbox that lost envelopes: the last order that is gone.
    pub(crate) envelopes: Vec<(MailboxId, u64)>,
    /// Files of blobs deleted.
    pub(crate) files: Vec<String>,
}

/// One write.
pub(crate) enum Write {
    /// Stores envelopes, behind a commit slot if one is offered. The slot is decided and durable
    /// before any of them is stored.
    Accept {
        /// Must be won, or nothing is stored.
        slot: Option<SlotOffer>,
        /// In the order of each mailbox.
        envelopes: Vec<NewEnvelope>,
        /// Told the outcome, when all of it is durable.
        done: Done<Accepted>,
    },
    /// Deletes a mailbox's envelopes up to and including `through`.
    DeleteThrough {
        /// Whose.
        mailbox: MailboxId,
        /// The last order to delete.
        through: u64,
        /// Told when that is durable: they never come back.
        done: Done<()>,
    },
    /// Removes a mailbox with everything in it.
    Erase {
        /// Which.
        mailbox: MailboxId,
        /// Told when that is durable.
        done: Done<()>,
    },
    /// One step of the retention: removes what expired before `today`.
    Expire {
        /// Today.
        today: Day,
        /// Which 256th of the envelopes; the last step also removes everything else.
        part: u8,
        /// Told what went.
        done: Done<Expired>,
    },
    /// Everything but envelopes.
    Row(RowWrite),
}

/// One write to the database; what it holds becomes durable as a whole or not at all.
pub(crate) enum RowWrite {
    /// Offers a commit for a slot.
    Offer {
        /// Slot and commit.
        slot: SlotOffer,
        /// Told the outcome.
        done: Done<Accepted>,
    },
    /// Creates a mailbox, using up an admission code or a ticket if one is needed.
    OpenMailbox {
        /// What to create.
        mailbox: NewMailbox,
        /// What lets it in.
        entry: Entry,
        /// Told the outcome.
        done: Done<Opened>,
    },
    /// Writes a mailbox's generation, whether it is closed, and its last day.
    PutMailbox {
        /// Which.
        id: MailboxId,
        /// Highest generation seen.
        generation: u64,
        /// Closed with its close key.
        closed: bool,
        /// Nobody's.
        decoy: bool,
        /// The last day it is kept.
        expires: Day,
        /// Told when durable.
        done: Done<()>,
    },
    /// Writes a mailbox's public keys anew.
    PutKeys {
        /// Which.
        id: MailboxId,
        /// All three.
        keys: MailboxKeys,
        /// Told when durable: whether there is such a mailbox.
        done: Done<bool>,
    },
    /// Remembers a revoked grant.
    RevokeGrant {
        /// Its revocation hash.
        hash: [u8; 32],
        /// When it would have ended.
        expires: Day,
        /// Told when durable.
        done: Done<()>,
    },
    /// Makes room for a blob.
    CreateBlob {
        /// Hash of its read secret.
        read_hash: [u8; 32],
        /// Hash of its owner secret.
        owner_hash: [u8; 32],
        /// Size class in bytes.
        size: u64,
        /// The last day it is kept.
        expires: Day,
        /// Told the outcome.
        done: Done<BlobCreated>,
    },
    /// Moves a blob's durable offset, after its file was synced.
    AdvanceBlob {
        /// Hash of its owner secret.
        owner_hash: [u8; 32],
        /// Bytes that are durable.
        offset: u64,
        /// Their sums.
        sums: Option<Vec<u8>>,
        /// Told when durable.
        done: Done<()>,
    },
    /// Forgets a blob; its file is removed afterwards.
    DeleteBlob {
        /// Hash of its owner secret.
        owner_hash: [u8; 32],
        /// Told when durable.
        done: Done<()>,
    },
    /// Removes mailboxes, slots, revoked grants and blobs that expired before `today`.
    Expire {
        /// Today.
        today: Day,
        /// Told what went; of envelopes nothing.
        done: Done<Expired>,
    },
    /// Removes a mailbox's row.
    EraseMailbox {
        /// Which.
        mailbox: MailboxId,
        /// Told when durable.
        done: Done<()>,
    },
    /// Changes an account, or makes or removes it.
    Account {
        /// Where it may lie.
        places: Places,
        /// What lets a new one in.
        entry: Entry,
        /// Decides.
        decide: Decide,
        /// Told how it ended.
        done: Done<Said>,
    },
    /// Makes the row that stands for accounts that are not there.
    MakeNobody {
        /// Where.
        id: [u8; 32],
        /// What is in it.
        row: Box<AccountRow>,
        /// Told when durable.
        done: Done<()>,
    },
    /// Spends a ticket or a code, for nothing that is written.
    Spend {
        /// Which.
        entry: Entry,
        /// Told when durable: whether it was good.
        done: Done<bool>,
    },
    /// Adds an entry to the operator's log.
    AddOperatorEntry {
        /// Its place.
        index: u64,
        /// The entry and its checkpoint.
        row: OperatorRow,
        /// Told when durable: whether the place was free.
        done: Done<bool>,
    },
    /// Adds an admission code.
    AddAdmission {
        /// Its hash.
        hash: [u8; 32],
        /// How many mailboxes it opens.
        uses: u32,
        /// Told when durable.
        done: Done<()>,
    },
}
