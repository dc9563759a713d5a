//! How ids, keys and states become columns.

use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::limits;
use kinline_protocol::primitives::sign::PublicKey;

use crate::keys::{AtRest, SealedError, TAG_BYTES};
use crate::storage::{NewEnvelope, ReadError};

/// Bytes of an envelope's key: permuted mailbox id 16 ‖ order 8 big-endian.
pub(super) const KEY_BYTES: usize = 24;

const KEYS: &str = "mailbox.keys";
const STATE: &str = "mailbox.state";

/// The key of one envelope.
pub(super) fn envelope_key(keys: &AtRest, mailbox: &MailboxId, order: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let (id, place) = key.split_at_mut(16);
    id.copy_from_slice(&keys.envelope.permute(mailbox.as_bytes()));
    place.copy_from_slice(&order.to_be_bytes());
    key
}

/// Mailbox and order of an envelope's key.
pub(super) fn split_key(keys: &AtRest, key: &[u8]) -> Result<(MailboxId, u64), ReadError> {
    let (id, order) = key
        .split_first_chunk::<16>()
        .ok_or(ReadError::Damaged("envelope.key"))?;
    let order = order
        .try_into()
        .map_err(|_| ReadError::Damaged("envelope.key"))?;
    Ok((
        MailboxId::new(keys.envelope.restore(id)),
        u64::from_be_bytes(order),
    ))
}

/// The message id behind its column.
pub(super) fn message_id(keys: &AtRest, stored: &[u8]) -> Result<MessageId, ReadError> {
    let stored = stored
        .try_into()
        .map_err(|_| ReadError::Damaged("envelope.message"))?;
    Ok(MessageId::new(keys.message.restore(stored)))
}

/// Bytes of one row of the batched insert.
pub(super) const ROW_BYTES: usize = KEY_BYTES + 16 + TAG_BYTES + limits::ENVELOPE_BYTES;

/// The table of envelopes, and that of slots, for their tags.
pub(super) const ENVELOPE: &str = "envelope";
pub(super) const SLOT: &str = "commit_slot";

/// Appends one row of the batched insert: key 24 ‖ message 16 ‖ tag 8 ‖ body 1,024.
pub(super) fn push_row(
    keys: &AtRest,
    to: &mut Vec<u8>,
    key: &[u8; KEY_BYTES],
    envelope: &NewEnvelope,
) {
    let message = keys.message.permute(envelope.message.as_bytes());
    to.extend_from_slice(key);
    to.extend_from_slice(&message);
    to.extend_from_slice(&keys.tag(ENVELOPE, [key, &message, &envelope.body]));
    to.extend_from_slice(&envelope.body);
}

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
