//! The one shape of everything in the spool.
//!
//! `nonce 24 ‖ sealed( kind 1 ‖ content 1,068 ) ‖ tag 16`, with the numbers of segment and slot as
//! associated data: a slot that ended up in another's place does not open. A slot of zeros was
//! punched out.

use bytes::Bytes;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::limits::ENVELOPE_BYTES;
use kinline_protocol::primitives::aead;

use crate::keys::AtRest;
use crate::random::{self, RandomError};

/// Bytes of a slot.
pub(super) const SLOT_BYTES: usize = aead::OVERHEAD_BYTES + PLAIN_BYTES;
/// Kind, mailbox id, order, message id, last day, body.
const PLAIN_BYTES: usize = 1 + 16 + 8 + 16 + 4 + ENVELOPE_BYTES;
const MARK_BYTES: usize = 24;
/// Marks in one slot.
pub(super) const MARKS_MAX: usize = (PLAIN_BYTES - 2) / MARK_BYTES;

const ENVELOPE: u8 = 1;
const MARKS: u8 = 2;

/// Which slot of which segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) slot: u32,
}

/// An envelope as a slot holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) mailbox: MailboxId,
    /// Its place in the mailbox.
    pub(super) order: u64,
    pub(super) message: MessageId,
    /// The last day it is kept.
    pub(super) expires: Day,
    /// Exactly [`ENVELOPE_BYTES`].
    pub(super) body: Bytes,
}

/// What a slot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    /// An envelope waits.
    Waiting(Waiting),
    /// Of each of these mailboxes everything up to and including an order is gone.
    Marks(Vec<(MailboxId, u64)>),
    /// Punched out.
    Hole,
}

/// A slot does not open: damaged, torn, in another's place, or of another key file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

fn associated(place: Place) -> [u8; 8] {
    let [a, b, c, d] = place.segment.to_be_bytes();
    let [e, f, g, h] = place.slot.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Appends the slot of an envelope that will lie at `place`.
///
/// # Errors
/// [`RandomError`].
pub(super) fn push_waiting(
    to: &mut Vec<u8>,
    keys: &AtRest,
    place: Place,
    waiting: &Waiting,
) -> Result<(), RandomError> {
    let mut plain = Vec::with_capacity(PLAIN_BYTES);
    plain.push(ENVELOPE);
    plain.extend_from_slice(waiting.mailbox.as_bytes());
    plain.extend_from_slice(&waiting.order.to_be_bytes());
    plain.extend_from_slice(waiting.message.as_bytes());
    plain.extend_from_slice(&waiting.expires.0.to_be_bytes());
    plain.extend_from_slice(&waiting.body);
    push(to, keys, place, plain)
}

/// Appends a slot of at most [`MARKS_MAX`] marks that will lie at `place`.
///
/// # Errors
/// [`RandomError`].
pub(super) fn push_marks(
    to: &mut Vec<u8>,
    keys: &AtRest,
    place: Place,
    marks: &[(MailboxId, u64)],
) -> Result<(), RandomError> {
    debug_assert!(marks.len() <= MARKS_MAX);
    let mut plain = Vec::with_capacity(PLAIN_BYTES);
    plain.push(MARKS);
    plain.push(u8::try_from(marks.len()).unwrap_or(u8::MAX));
    for (mailbox, through) in marks {
        plain.extend_from_slice(mailbox.as_bytes());
        plain.extend_from_slice(&through.to_be_bytes());
    }
    push(to, keys, place, plain)
}

fn push(
    to: &mut Vec<u8>,
    keys: &AtRest,
    place: Place,
    mut plain: Vec<u8>,
) -> Result<(), RandomError> {
    plain.resize(PLAIN_BYTES, 0);
    let nonce = random::bytes()?;
    let sealed = aead::seal_with_nonce(keys.spool(), &nonce, &associated(place), &plain);
    to.extend_from_slice(&sealed);
    Ok(())
}

/// What the slot at `place` says.
///
/// # Errors
/// [`Unreadable`].
pub(super) fn open(keys: &AtRest, place: Place, bytes: &[u8]) -> Result<Slot, Unreadable> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Slot::Hole);
    }
    let plain = aead::open(keys.spool(), &associated(place), bytes).map_err(|_| Unreadable)?;
    let (kind, content) = plain.split_first().ok_or(Unreadable)?;
    match *kind {
        ENVELOPE => waiting(&Bytes::from(plain)).ok_or(Unreadable),
        MARKS => marks(content).ok_or(Unreadable),
        _ => Err(Unreadable),
    }
}

fn waiting(plain: &Bytes) -> Option<Slot> {
    let (_, rest) = plain.split_first()?;
    let (mailbox, rest) = rest.split_first_chunk::<16>()?;
    let (order, rest) = rest.split_first_chunk::<8>()?;
    let (message, rest) = rest.split_first_chunk::<16>()?;
    let (day, body) = rest.split_first_chunk::<4>()?;
    (body.len() == ENVELOPE_BYTES).then(|| {
        Slot::Waiting(Waiting {
            mailbox: MailboxId::new(*mailbox),
            order: u64::from_be_bytes(*order),
            message: MessageId::new(*message),
            expires: Day(u32::from_be_bytes(*day)),
            body: plain.slice_ref(body),
        })
    })
}

fn marks(content: &[u8]) -> Option<Slot> {
    let (count, rest) = content.split_first()?;
    let count = usize::from(*count);
    if count > MARKS_MAX {
        return None;
    }
    let marks = rest.chunks_exact(MARK_BYTES).take(count).map(|mark| {
        let (mailbox, through) = mark.split_first_chunk::<16>()?;
        let through = u64::from_be_bytes(through.try_into().ok()?);
        Some((MailboxId::new(*mailbox), through))
    });
    Some(Slot::Marks(marks.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use super::{
        MARKS_MAX, Place, SLOT_BYTES, Slot, Unreadable, Waiting, open, push_marks, push_waiting,
    };
    use crate::keys::AtRest;
    use bytes::Bytes;
    use kinline_protocol::day::Day;
    use kinline_protocol::ids::{MailboxId, MessageId};
    use kinline_protocol::secrets::Secret;

    const HERE: Place = Place {
        segment: 3,
        slot: 9,
    };

    fn keys(byte: u8) -> AtRest {
        AtRest::new(&Secret::new([byte; 32]))
    }

    #[test]
    fn what_was_put_in_comes_out_and_all_slots_are_of_one_size() {
        let waiting = Waiting {
            mailbox: MailboxId::new([1; 16]),
            order: u64::MAX - 1,
            message: MessageId::new([2; 16]),
            expires: Day(77),
            body: Bytes::from(vec![5; 1_024]),
        };
        let marks: Vec<_> = (0..MARKS_MAX)
            .map(|at| (MailboxId::new([at as u8; 16]), at as u64))
            .collect();
        let mut both = Vec::new();
        push_waiting(&mut both, &keys(1), HERE, &waiting).unwrap();
        push_marks(&mut both, &keys(1), HERE, &marks).unwrap();
        assert_eq!(both.len(), 2 * SLOT_BYTES);
        let (first, second) = both.split_at(SLOT_BYTES);
        assert_eq!(open(&keys(1), HERE, first), Ok(Slot::Waiting(waiting)));
        assert_eq!(open(&keys(1), HERE, second), Ok(Slot::Marks(marks)));
        assert_eq!(open(&keys(1), HERE, &[0; SLOT_BYTES]), Ok(Slot::Hole));
    }

    #[test]
    fn a_changed_bit_another_place_or_another_key_opens_nothing() {
        let mut slot = Vec::new();
        push_marks(&mut slot, &keys(1), HERE, &[(MailboxId::new([1; 16]), 4)]).unwrap();
        for bit in 0..slot.len() * 8 {
            slot[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&keys(1), HERE, &slot), Err(Unreadable));
            slot[bit / 8] ^= 1 << (bit % 8);
        }
        for place in [Place { segment: 4, ..HERE }, Place { slot: 8, ..HERE }] {
            assert_eq!(open(&keys(1), place, &slot), Err(Unreadable));
        }
        assert_eq!(open(&keys(2), HERE, &slot), Err(Unreadable));
        assert!(open(&keys(1), HERE, &slot).is_ok());
    }
}
