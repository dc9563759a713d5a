//! Faults that a test plants to show that somebody notices. Without the feature
//! `planted-faults`, which no program for people is built with, there are none and nothing can
//! switch one on.

/// A promise that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The database never syncs.
    SyncOff,
    /// Ok is said before the group is written.
    AcknowledgeEarly,
}

/// Whether this promise is broken here, as `KINLINE_PLANTED_FAULT` says.
#[cfg(feature = "planted-faults")]
pub(crate) fn planted(fault: Fault) -> bool {
    let name = match fault {
        Fault::SyncOff => "sync-off",
        Fault::AcknowledgeEarly => "acknowledge-early",
    };
    std::env::var("KINLINE_PLANTED_FAULT").is_ok_and(|planted| planted == name)
}

/// Whether this promise is broken here: never.
#[cfg(not(feature = "planted-faults"))]
pub(crate) const fn planted(_fault: Fault) -> bool {
    false
}
