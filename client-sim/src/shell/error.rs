//! What can go wrong with a running device.

use std::sync::Arc;
use std::time::Duration;

use crate::store::StoreError;

/// Why a running device did not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeviceError {
    /// The engine refused the command; nothing changed.
    #[error("{0}")]
    Refused(String),
    /// The device is not running any more; the sentence says why.
    #[error("the device has stopped: {0}")]
    Stopped(String),
    /// The store failed, so the device stopped before anything left.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// It did not happen in time.
    #[error("{what} did not happen within {} seconds{}", within.as_secs(), because(trouble.as_deref()))]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// What is wrong with the connection, if anything.
        trouble: Option<String>,
    },
}

fn because(trouble: Option<&str>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(": {trouble}"))
}

impl From<StoreError> for DeviceError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}
