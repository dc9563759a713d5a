//! The issuer keys: one for each epoch.

use std::collections::HashMap;
use std::sync::Mutex;

use kinline_protocol::primitives::voprf::IssuerKey;
use kinline_protocol::ticket;

use crate::keys::TicketsKey;
use crate::sync::lock;

/// Keys kept in memory: of this epoch, the one before, and the next.
const KEPT_MAX: usize = 4;

/// Makes and checks tickets.
pub(crate) struct Issuer {
    seeds: Vec<TicketsKey>,
    keys: Mutex<HashMap<u32, IssuerKey>>,
}

impl Issuer {
    /// Over the seeds of the key file, the newest first.
    pub(crate) fn new(seeds: Vec<TicketsKey>) -> Self {
        Self {
            seeds,
            keys: Mutex::default(),
        }
    }

    /// The key of an epoch; `None` of one from before the first seed.
    pub(crate) fn key(&self, epoch: u32) -> Option<IssuerKey> {
        let mut keys = lock(&self.keys);
        if let Some(key) = keys.get(&epoch) {
            return Some(key.clone());
        }
        let seed = self.seeds.iter().find(|seed| seed.first_epoch <= epoch)?;
        let key = ticket::issuer_key(&seed.seed, epoch).ok()?;
        if keys.len() >= KEPT_MAX {
            keys.clear();
        }
        keys.insert(epoch, key.clone());
        Some(key)
    }
}
