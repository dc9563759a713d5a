//! How ids, keys and states become columns.

use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::primitives::sign::PublicKey;

use crate::keys::{AtRest, SealedError};
use crate::storage::ReadError;

const KEYS: &str = "mailbox.keys";
const STATE: &str = "mailbox.state";

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

/// The sealed column of generation and closing: generation 8 big-endian ‖ closed 1.
pub(super) fn seal_state(
    keys: &AtRest,
    id: &[u8; 16],
    generation: u64,
    closed: bool,
) -> Result<Vec<u8>, SealedError> {
    let mut value = generation.to_be_bytes().to_vec();
    value.push(u8::from(closed));
    keys.seal(STATE, id, &value)
}

/// Generation and closing behind their column.
pub(super) fn open_state(
    keys: &AtRest,
    id: &[u8; 16],
    sealed: &[u8],
) -> Result<(u64, bool), ReadError> {
    let value = keys
        .open(STATE, id, sealed)
        .map_err(|_| ReadError::Damaged(STATE))?;
    match value.split_first_chunk::<8>() {
        Some((generation, [closed])) => Ok((u64::from_be_bytes(*generation), *closed != 0)),
        _ => Err(ReadError::Damaged(STATE)),
    }
}
