//! The contents of this device that some device has not confirmed, with what has to be
//! found in them quickly.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::ids::ConversationId;
use crate::wire::{OutgoingRecord, OutgoingState};

/// A conversation, and this device's number of the content in it.
pub(super) type ContentKey = (ConversationId, u64);

/// In the order they were written, for each conversation.
#[derive(Default)]
pub(super) struct Contents {
    records: BTreeMap<ContentKey, OutgoingRecord>,
    by_id: BTreeMap<Bytes, ContentKey>,
    /// Those that are to be encrypted for somebody.
    waiting: BTreeSet<ContentKey>,
    /// Those that the relay has not acknowledged for somebody; all that wait are among them.
    unsent: BTreeSet<ContentKey>,
}

impl Contents {
    pub(super) fn insert(&mut self, key: ContentKey, record: OutgoingRecord) {
        let any = |state: OutgoingState| record.peers.iter().any(|peer| peer.state() == state);
        let waits = any(OutgoingState::Waiting);
        if waits {
            self.waiting.insert(key);
        }
        if waits || any(OutgoingState::Sent) {
            self.unsent.insert(key);
        }
        self.by_id.insert(record.content_id.clone(), key);
        self.records.insert(key, record);
    }

    pub(super) fn remove(&mut self, key: &ContentKey) -> Option<OutgoingRecord> {
        let record = self.records.remove(key)?;
        self.waiting.remove(key);
        self.unsent.remove(key);
        self.by_id.remove(&record.content_id);
        Some(record)
    }

    pub(super) fn get(&self, key: &ContentKey) -> Option<&OutgoingRecord> {
        self.records.get(key)
    }

    pub(super) fn find(&self, content_id: &Bytes) -> Option<ContentKey> {
        self.by_id.get(content_id).copied()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&ContentKey, &OutgoingRecord)> {
        self.records.iter()
    }

    /// Of one conversation, from this number on.
    pub(super) fn from(
        &self,
        id: ConversationId,
        sequence: u64,
    ) -> impl Iterator<Item = (&ContentKey, &OutgoingRecord)> {
        self.records.range((id, sequence)..=(id, u64::MAX))
    }

    pub(super) fn waiting(&self) -> Vec<ContentKey> {
        self.waiting.iter().copied().collect()
    }

    pub(super) fn all_acknowledged(&self) -> bool {
        self.unsent.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}
