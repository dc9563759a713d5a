//! How often a transfer is tried.

use super::{Backoff, TransferError};
use crate::random;

/// Connections that one transfer may use up without getting any further.
const TRIES_MAX: u32 = 4;

/// Counts the tries of one transfer that got no further.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    furthest: u64,
    backoff: Backoff,
}

impl Tries {
    /// After a try that reached `reached`: waits and lets the caller try again, unless the
    /// error is final or [`TRIES_MAX`] tries in a row got no further.
    pub(super) async fn again(
        &mut self,
        error: TransferError,
        reached: u64,
    ) -> Result<(), TransferError> {
        let worth_it = match &error {
            TransferError::Connect(error) => !error.is_final(),
            TransferError::Broken { .. } => true,
            _ => false,
        };
        if reached > self.furthest {
            self.furthest = reached;
            self.failed = 0;
        }
        self.failed += 1;
        if !worth_it || self.failed >= TRIES_MAX {
            return Err(error);
        }
        tokio::time::sleep(self.backoff.next(&mut random::os())).await;
        Ok(())
    }
}
