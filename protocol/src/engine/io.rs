//! What goes into the engine and what comes out (ARCHITECTURE "sans-IO").
//!
//! One rule makes crashes harmless: a shell makes [`Output::changes`] durable in ONE
//! transaction before it sends any of [`Output::frames`], starts any of the transfers, or
//! shows any of the events of the same output.

use std::collections::BTreeMap;

use bytes::Bytes;

pub use super::command::{Command, MemberRole, OutgoingBlob, PassWish, Silence, VaultOutcome};
pub use super::event::{Event, OperatorNotice};
use crate::day::Timestamp;
use crate::secrets::Secret;
use crate::wire::{ClientFrame, Hello, ServerFrame};

/// Which records a shell loads at start and which it only reads back when asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordClass {
    /// Needed to go on: all of it goes into [`super::Engine::load`].
    State,
    /// Messages as shown: written by the engine, read by [`super::view`].
    History,
}

/// Name of a record. Names hold ids and must be stored encrypted or hashed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// State or history.
    pub class: RecordClass,
    /// The name within its class; ordered bytewise.
    pub name: Vec<u8>,
}

/// Records to write (`Some`) and to erase (`None`), all or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// By name.
    pub records: BTreeMap<RecordKey, Option<Vec<u8>>>,
}

impl Changes {
    /// Whether there is nothing to persist.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Names a blob on its way up; 16 random bytes.
pub type BlobHandle = [u8; 16];

/// Where a shell finds the (already encrypted and padded) bytes of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadSource {
    /// Here.
    Bytes(Bytes),
    /// In the file that the shell made under the upload's handle.
    File,
}

/// A blob to upload over HTTPS; the relay has made room for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// To be named in [`Input::Uploaded`].
    pub handle: BlobHandle,
    /// Goes into the owner header.
    pub owner_secret: Secret<32>,
    /// Bytes that the relay has already.
    pub offset: u64,
    /// Full size.
    pub size: u64,
    /// The bytes.
    pub source: UploadSource,
}

/// A blob to fetch over HTTPS into memory, because the engine needs it to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Goes into the read header, and names the answer.
    pub read_secret: Secret<32>,
    /// Its size; at most [`crate::limits::OVERFLOW_BYTES_MAX`]. More must not be read.
    pub size: u64,
}

/// History records to read back, because another device of the family is to be given them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// To be named in [`Input::Read`].
    pub number: u64,
    /// Names of records of the class [`RecordClass::History`].
    pub names: Vec<Vec<u8>>,
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The bytes.
    Got(Bytes),
    /// The relay does not have it (any more).
    NotFound,
    /// The connection failed: the engine asks again later.
    Unreachable,
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The relay has all bytes.
    Done,
    /// The connection failed: the engine asks again later.
    Unreachable,
    /// The shell no longer has the bytes.
    Lost,
}

/// What a shell tells the engine.
#[derive(Debug, Clone)]
pub enum Input {
    /// A connection stands and the relay has said hello.
    Connected(Hello),
    /// The connection is gone.
    Disconnected,
    /// Frames of the relay, in order; give several at once when several are there, they
    /// are then persisted and acknowledged together.
    Frames(Vec<ServerFrame>),
    /// An upload ended.
    Uploaded {
        /// Its handle.
        handle: BlobHandle,
        /// How.
        outcome: UploadOutcome,
    },
    /// A fetch ended.
    Fetched {
        /// Which.
        read_secret: Secret<32>,
        /// How.
        outcome: FetchOutcome,
    },
    /// What an [`Output::reads`] asked for; of what is not there, nothing.
    Read {
        /// Its number.
        number: u64,
        /// Name and value.
        records: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// Time passed: call at [`super::Engine::deadline`].
    Tick,
}

/// What the shell must do, in this order: persist, then everything else.
#[derive(Debug, Default)]
pub struct Output {
    /// Persist first, in one transaction, synced.
    pub changes: Changes,
    /// Send in order.
    pub frames: Vec<ClientFrame>,
    /// Start.
    pub uploads: Vec<Upload>,
    /// Start.
    pub fetches: Vec<Fetch>,
    /// Read back, after the changes are durable.
    pub reads: Vec<Read>,
    /// Blobs of ours that everyone has: delete over HTTPS with the owner secret, best effort.
    pub blob_deletions: Vec<Secret<32>>,
    /// Show.
    pub events: Vec<Event>,
    /// The connection can't be used any more: close it.
    pub close: bool,
}

/// When something must happen even if nothing comes in.
pub type Deadline = Option<Timestamp>;
