//! The one place where what went wrong becomes a wire code and a sentence (PROTOCOL §3.4).

use kinline_protocol::wire::{self, ErrorCode};

use crate::random::RandomError;
use crate::storage::{ReadError, WriteError};

/// Why a frame is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not a frame, or a field of a wrong size.
    #[error("this is no frame of kinline.v1: {0}")]
    Malformed(&'static str),
    /// Larger than any frame may be.
    #[error("the frame is larger than {max} bytes")]
    TooLarge {
        /// Bytes it may have.
        max: usize,
    },
    /// No body known here.
    #[error("the frame is of a kind that is not known here")]
    UnknownKind,
    /// A critical feature not known here.
    #[error("the frame needs feature {0}, which is not known here")]
    Unsupported(u32),
    /// Something that can't come at this point.
    #[error("out of order: {0}")]
    OutOfOrder(&'static str),
    /// Needs an attached connection.
    #[error("this needs a connection that is attached to a mailbox")]
    NotAttached,
    /// Unknown mailbox or bad proof.
    #[error("no such mailbox or account, or the proof is not good")]
    Denied,
    /// A store older than one seen.
    #[error(
        "this device's store is older than one that was here before: it was restored from a copy"
    )]
    StaleGeneration,
    /// A vault older than the one that is there.
    #[error("this vault is not newer than the one that is here")]
    StaleVault,
    /// An admission code or a ticket is needed.
    #[error("this relay asks for an admission code, or a ticket, that is good and not used up")]
    Admission,
    /// Too fast.
    #[error("too fast")]
    SlowDown {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// A mailbox's bytes of the day, or an account's tickets of the epoch, are used up.
    #[error(
        "what there is for now is used up: a mailbox's bytes of today, or an account's tickets of this epoch"
    )]
    Quota,
    /// Disk or memory full.
    #[error("the relay has no room left; nothing was stored")]
    NoRoom,
    /// Not there.
    #[error("not found")]
    NotFound,
    /// In use by another.
    #[error("already in use by another")]
    Taken,
    /// Another connection attached.
    #[error("a newer connection attached to this mailbox")]
    Replaced,
    /// The relay stops.
    #[error("the relay is shutting down")]
    ShuttingDown,
    /// The operator has locked the relay down.
    #[error("the operator has locked this relay down: this is not possible now")]
    LockedDown,
    /// The relay's fault.
    #[error("the relay failed; nothing was acknowledged")]
    Internal,
}

impl Refusal {
    /// The wire code.
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed(_) => ErrorCode::Malformed,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::UnknownKind => ErrorCode::UnknownKind,
            Self::Unsupported(_) => ErrorCode::Unsupported,
            Self::OutOfOrder(_) => ErrorCode::OutOfOrder,
            Self::NotAttached => ErrorCode::NotAttached,
            Self::Denied => ErrorCode::Denied,
            Self::StaleGeneration | Self::StaleVault => ErrorCode::StaleGeneration,
            Self::Admission => ErrorCode::Admission,
            Self::SlowDown { .. } => ErrorCode::SlowDown,
            Self::Quota => ErrorCode::Quota,
            Self::NoRoom => ErrorCode::NoRoom,
            Self::NotFound => ErrorCode::NotFound,
            Self::Taken => ErrorCode::Taken,
            Self::Replaced => ErrorCode::Replaced,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
            Self::LockedDown => ErrorCode::LockedDown,
            Self::Internal => ErrorCode::Internal,
        }
    }

    /// Whether the connection ends with it: the stream can't be trusted any more, or is not wanted.
    pub(crate) const fn closes(&self) -> bool {
        matches!(
            self,
            Self::Malformed(_)
                | Self::TooLarge { .. }
                | Self::OutOfOrder(_)
                | Self::Replaced
                | Self::ShuttingDown
        )
    }

    /// The label under which the metrics count it.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownKind => "unknown_kind",
            Self::Unsupported(_) => "unsupported",
            Self::OutOfOrder(_) => "out_of_order",
            Self::NotAttached => "not_attached",
            Self::Denied => "denied",
            Self::StaleGeneration => "stale_generation",
            Self::StaleVault => "stale_vault",
            Self::Admission => "admission",
            Self::SlowDown { .. } => "slow_down",
            Self::Quota => "quota",
            Self::NoRoom => "no_room",
            Self::NotFound => "not_found",
            Self::Taken => "taken",
            Self::Replaced => "replaced",
            Self::ShuttingDown => "shutting_down",
            Self::LockedDown => "locked_down",
            Self::Internal => "internal",
        }
    }

    /// The frame's body.
    pub(crate) fn to_wire(&self) -> wire::Error {
        let retry_after_ms = match self {
            Self::SlowDown { retry_after_ms } => *retry_after_ms,
            Self::NoRoom => 30_000,
            Self::LockedDown => 600_000,
            _ => 0,
        };
        wire::Error {
            code: self.code().into(),
            sentence: self.to_string(),
            retry_after_ms,
            closing: self.closes(),
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "a read failed");
        Self::Internal
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NoRoom => Self::NoRoom,
            WriteError::Failed => Self::Internal,
        }
    }
}

impl From<RandomError> for Refusal {
    fn from(error: RandomError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "no random bytes");
        Self::Internal
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn what_breaks_the_stream_closes_it_and_nothing_else_does() {
        assert!(Refusal::Malformed("x").to_wire().closing);
        assert!(Refusal::OutOfOrder("x").to_wire().closing);
        assert!(!Refusal::UnknownKind.to_wire().closing);
        assert!(!Refusal::Denied.to_wire().closing);
        assert_eq!(
            Refusal::SlowDown { retry_after_ms: 7 }
                .to_wire()
                .retry_after_ms,
            7
        );
    }
}
