//! Conversations: MLS groups (RFC 9420) whose commits go through commit slots, whose tree
//! is the address book, and whose changes pass the gate (PROTOCOL §6).
//!
//! A [`Conversation`] owns its MLS state, kept in memory over the last persisted state.
//! Whatever may be refused runs in a transaction: process, judge and merge happen
//! together or not at all, because a commit that was processed once can't be processed
//! again.

mod address;
mod context;
mod gate;
mod group;
mod key_package;
mod mls;
mod parties;
mod rights;
mod slot;
mod staged;
mod storage;

pub use address::{Address, AddressError, OwnAddress};
pub use context::{ConversationContext, ConversationKind, Party};
pub use gate::{Change, NewLeaf, Refusal, judge};
pub use group::{
    Conversation, ConversationError, Incoming, Leaf, ProposedChange, ProposedCommit, message_epoch,
};
pub use key_package::{
    CheckedKeyPackage, KeyPackageError, OwnKeyPackage, check_key_package, make_key_package,
};
pub use mls::{Crypto, DeviceSigner};
pub use parties::Parties;
pub use rights::Person;
pub use slot::{SlotError, open_commit, seal_commit};
pub use storage::StorageEntries;
