//! The operator's log as a running relay knows it.

use std::sync::Mutex;

use bytes::Bytes;
use kinline_protocol::operator::{Checkpoint, LogError, OperatorLog};
use kinline_protocol::primitives::sign::PublicKey;

use super::lockdown::Lockdown;
use crate::storage::OperatorRow;
use crate::sync::lock;

#[derive(Default)]
struct State {
    log: Option<OperatorLog>,
    checkpoint: Bytes,
}

/// What was verified of the log, and what it orders.
#[derive(Default)]
pub(crate) struct Operator {
    state: Mutex<State>,
    /// What the log says of a lockdown.
    pub(crate) lockdown: Lockdown,
}

impl Operator {
    /// Entries that were verified.
    pub(crate) fn size(&self) -> u64 {
        let state = lock(&self.state);
        state.log.as_ref().map_or(0, |log| log.position().size)
    }

    /// The newest checkpoint; empty when the operator keeps no log.
    pub(crate) fn checkpoint(&self) -> Bytes {
        lock(&self.state).checkpoint.clone()
    }

    /// The operator's offline key.
    pub(crate) fn offline(&self) -> Option<PublicKey> {
        lock(&self.state).log.as_ref().map(|log| *log.offline())
    }

    /// Verifies rows that continue the log, and takes them over as a whole.
    ///
    /// # Errors
    /// [`LogError`] when one of them does not belong there; nothing is taken over then.
    pub(super) fn take(&self, rows: &[OperatorRow]) -> Result<(), LogError> {
        let Some((first, last)) = rows.first().zip(rows.last()) else {
            return Ok(());
        };
        let mut state = lock(&self.state);
        let mut log = match &state.log {
            Some(log) => log.clone(),
            None => OperatorLog::new(OperatorLog::offline_of(&first.entry)?),
        };
        for row in rows {
            log.append(&row.entry)?;
        }
        let checkpoint = Checkpoint::verify(&last.checkpoint, log.offline());
        if checkpoint.map(|checkpoint| checkpoint.position) != Ok(log.position()) {
            return Err(LogError::Elsewhere);
        }
        self.lockdown.set(log.lockdown());
        state.log = Some(log);
        state.checkpoint = last.checkpoint.clone();
        Ok(())
    }
}
