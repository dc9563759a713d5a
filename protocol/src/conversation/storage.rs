//! MLS state in memory over what was last persisted, and the transaction over it.

use std::collections::{BTreeMap, HashMap};

use openmls::prelude::{GroupId, MlsGroup};
use openmls_memory_storage::MemoryStorage;

use super::group::{Conversation, ConversationError};
use super::mls::{Crypto, Provider};
use crate::ids::ConversationId;

/// MLS state as records: opaque names and values.
pub type StorageEntries = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) fn values(storage: &MemoryStorage) -> HashMap<Vec<u8>, Vec<u8>> {
    match storage.values.read() {
        Ok(values) => values.clone(),
        Err(poisoned) => poisoned.into_inner().clone(),
    }
}

fn replace_values(storage: &MemoryStorage, new: HashMap<Vec<u8>, Vec<u8>>) {
    match storage.values.write() {
        Ok(mut values) => *values = new,
        Err(poisoned) => *poisoned.into_inner() = new,
    }
}

pub(crate) fn entries_of(storage: &MemoryStorage) -> StorageEntries {
    values(storage).into_iter().collect()
}

pub(super) fn provider_of(crypto: &Crypto, entries: StorageEntries) -> Provider {
    let provider = Provider {
        crypto: crypto.clone(),
        storage: MemoryStorage::default(),
    };
    replace_values(&provider.storage, entries.into_iter().collect());
    provider
}

impl Conversation {
    /// What changed since this was last asked: names to write (`Some`) and to erase (`None`).
    pub fn take_changes(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let now = values(&self.provider.storage);
        let mut changes = Vec::new();
        for (name, value) in &now {
            if self.persisted.get(name) != Some(value) {
                changes.push((name.clone(), Some(value.clone())));
            }
        }
        for name in self
            .persisted
            .keys()
            .filter(|name| !now.contains_key(*name))
        {
            changes.push((name.clone(), None));
        }
        self.persisted = now;
        changes
    }

    /// Names of the records that were last persisted.
    pub fn record_names(&self) -> Vec<Vec<u8>> {
        self.persisted.keys().cloned().collect()
    }

    /// Runs `work`; on an error storage and group are as before.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, ConversationError>,
    ) -> Result<T, ConversationError> {
        let before = values(&self.provider.storage);
        let result = work(self);
        if result.is_err() {
            replace_values(&self.provider.storage, before);
            self.group = load_group(&self.provider, self.id())?;
        }
        result
    }
}

pub(super) fn load_group(
    provider: &Provider,
    id: ConversationId,
) -> Result<MlsGroup, ConversationError> {
    match MlsGroup::load(&provider.storage, &GroupId::from_slice(id.as_bytes())) {
        Ok(Some(group)) => Ok(group),
        Ok(None) | Err(_) => Err(ConversationError::State),
    }
}
