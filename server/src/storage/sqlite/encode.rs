//! How ids, keys and states become columns.

use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::primitives::sign::PublicKey;

use crate::keys::{AtRest, SealedError};
use crate::storage::ReadError;

pub(super) const KEYS: &str = "mailbox.keys";
pub(super) const STATE: &str = "mailbox.state";

/// The table of slots, for its tags.
pub(super) const SLOT: &str = "commit_slot";

/// Says that a row is not as it was written. Which one is nobody's business.
pub(super) fn report_damage(table: &'static str) {
    tracing::error!(table, "a stored row is damaged: it is not handed out");
    metrics::counter!("kinline_damaged_total", "table" => table).increment(1);
}

/// The sealed column of the three public keys.
pub(super) fn seal_keys(
    keys: &AtRest,
    id: &[u8; 16],
    row: &MailboxKeys,
) -> Result<Vec<u8>, SealedError> {
    let mut value = Vec::with_capacity(96);
    for key in [&row.authentication, &row.grant, &row.close] {
        value.extend_from_slice(key.as_bytes());
    }
    keys.seal(KEYS, id, &value)
}

/// The three public keys behind their column.
pub(super) fn open_keys(
    keys: &AtRest,
    id: &[u8; 16],
    sealed: &[u8],
) -> Result<MailboxKeys, ReadError> {
    let value = keys
        .open(KEYS, id, sealed)
        .map_err(|_| ReadError::Damaged(KEYS))?;
    let mut parts = value.chunks_exact(32).filter_map(PublicKey::from_slice);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(authentication), Some(grant), Some(close)) => Ok(MailboxKeys {
            authentication,
            grant,
            close,
        }),
        _ => Err(ReadError::Damaged(KEYS)),
    }
}

/// What is so of a mailbox, or is not: bits of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    /// Bit 0.
    pub(super) closed: bool,
    /// Bit 1.
    pub(super) decoy: bool,
}

/// The sealed column of generation and flags: generation 8 big-endian ‖ flags 1.
pub(super) fn seal_state(
    keys: &AtRest,
    id: &[u8; 16],
    generation: u64,
    flags: Flags,
) -> Result<Vec<u8>, SealedError> {
    let mut value = generation.to_be_bytes().to_vec();
    value.push(u8::from(flags.closed) | u8::from(flags.decoy) << 1);
    keys.seal(STATE, id, &value)
}

/// Generation and flags behind their column.
pub(super) fn open_state(
    keys: &AtRest,
    id: &[u8; 16],
    sealed: &[u8],
) -> Result<(u64, Flags), ReadError> {
    let value = keys
        .open(STATE, id, sealed)
        .map_err(|_| ReadError::Damaged(STATE))?;
    match value.split_first_chunk::<8>() {
        Some((generation, [bits])) => {
            let flags = Flags {
                closed: bits & 1 != 0,
                decoy: bits & 2 != 0,
            };
            Ok((u64::from_be_bytes(*generation), flags))
        }
        _ => Err(ReadError::Damaged(STATE)),
    }
}
