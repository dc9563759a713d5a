//! The envelope: 1,024 bytes of noise, whatever is inside (PROTOCOL §6.1).
//!
//! ```text
//! nonce 24 ‖ XChaCha20-Poly1305( kind 1 ‖ length 2 BE ‖ payload ‖ zeros ) ‖ tag 16  = 1,024 bytes
//! ```
//! The associated data is `label ‖ mailbox 16 ‖ message id 16`, so an envelope opens in the
//! mailbox and under the message id it was sealed for, and nowhere else. The top bit of the
//! kind says that the payload is not the message but a [`BlobPointer`] to it. Nothing
//! outside the seal tells which key opens it: who receives it tries the keys it has.

use core::fmt;

use bytes::Bytes;
use prost::Message as _;

use crate::ids::{MailboxId, MessageId};
use crate::labels;
use crate::limits::{ENVELOPE_BYTES, ENVELOPE_PAYLOAD_BYTES_MAX, ENVELOPE_PLAINTEXT_BYTES};
use crate::primitives::aead;
use crate::secrets::Secret;
use crate::wire::BlobPointer;

/// Bit of the kind byte that says: the payload is an encoded [`BlobPointer`].
const POINTER_FLAG: u8 = 0x80;

/// What an envelope carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An MLS application message.
    Application = 1,
    /// "Look at the commit slot of your epoch."
    Look = 2,
    /// What an added device joins with.
    Welcome = 3,
    /// One to one, outside the ratchet.
    Direct = 4,
    /// A guardian who has lost every device asks to come back (PROTOCOL §7.10).
    Return = 5,
}

impl Kind {
    const fn code(self) -> u8 {
        self as u8
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Application),
            2 => Some(Self::Look),
            3 => Some(Self::Welcome),
            4 => Some(Self::Direct),
            5 => Some(Self::Return),
            _ => None,
        }
    }
}

/// A payload that fits, or where it is instead.
#[derive(Clone, PartialEq)]
pub enum Payload {
    /// At most [`ENVELOPE_PAYLOAD_BYTES_MAX`] bytes.
    Inline(Vec<u8>),
    /// A blob with the payload in it.
    Pointer(BlobPointer),
}

impl fmt::Debug for Payload {
    // Neither content nor the keys of a pointer belong into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Pointer(pointer) => write!(f, "Pointer({} bytes)", pointer.plaintext_size),
        }
    }
}

/// What was in an envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// What the payload is.
    pub kind: Kind,
    /// The payload, or the pointer to it (not yet checked: see
    /// [`Pointer`](crate::attachment::Pointer)).
    pub payload: Payload,
}

/// Why something can't be put into an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Longer than an envelope holds: it must become a blob.
    #[error(
        "{bytes} bytes do not fit into an envelope, which holds {ENVELOPE_PAYLOAD_BYTES_MAX}: send them as a blob"
    )]
    TooLarge {
        /// Bytes it has.
        bytes: usize,
    },
}

/// Why an envelope does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not [`ENVELOPE_BYTES`] long.
    #[error("an envelope is {ENVELOPE_BYTES} bytes long, not {bytes}")]
    Length {
        /// Bytes it has.
        bytes: usize,
    },
    /// Sealed under another key, for another mailbox or message id, or changed.
    #[error("the envelope does not open with this key")]
    Seal(#[source] aead::OpenError),
    /// Sealed by someone who holds the key, with a kind this version does not know.
    #[error("the envelope is of kind {code}, which is not known here")]
    Kind {
        /// The kind's code, without the pointer bit.
        code: u8,
    },
    /// Its length field points past its end.
    #[error(
        "the envelope claims a payload of {claimed} bytes, and holds {ENVELOPE_PAYLOAD_BYTES_MAX}"
    )]
    PayloadLength {
        /// What the length field says.
        claimed: u16,
    },
    /// What follows the payload is not all zero.
    #[error("the envelope's padding is not zero")]
    Padding,
    /// The pointer in it is no protobuf.
    #[error("the envelope's pointer to a blob can't be read")]
    Pointer,
}

/// Whether a payload of `payload_len` bytes goes into an envelope; if not, it becomes a blob.
#[must_use]
pub const fn fits(payload_len: usize) -> bool {
    payload_len <= ENVELOPE_PAYLOAD_BYTES_MAX
}

/// Seals a payload; the result is always [`ENVELOPE_BYTES`] long.
///
/// # Errors
/// [`SealError::TooLarge`] when it does not [fit](fits).
pub fn seal(
    key: &Secret<32>,
    mailbox: &MailboxId,
    message: &MessageId,
    kind: Kind,
    payload: &Payload,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<Bytes, SealError> {
    let encoded;
    let (flag, bytes) = match payload {
        Payload::Inline(bytes) => (0, bytes.as_slice()),
        Payload::Pointer(pointer) => {
            encoded = pointer.encode_to_vec();
            (POINTER_FLAG, encoded.as_slice())
        }
    };
    let too_large = SealError::TooLarge { bytes: bytes.len() };
    if !fits(bytes.len()) {
        return Err(too_large);
    }
    let length = u16::try_from(bytes.len()).map_err(|_| too_large)?;
    let mut plaintext = Vec::with_capacity(ENVELOPE_PLAINTEXT_BYTES);
    plaintext.push(kind.code() | flag);
    plaintext.extend_from_slice(&length.to_be_bytes());
    plaintext.extend_from_slice(bytes);
    plaintext.resize(ENVELOPE_PLAINTEXT_BYTES, 0);
    let sealed = aead::seal(key, &associated_data(mailbox, message), &plaintext, rng);
    Ok(sealed.into())
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`OpenError::Seal`] under any but the right key, mailbox and message id; the others mean
/// that a holder of the key sealed something that is no envelope of this version.
pub fn open(
    key: &Secret<32>,
    mailbox: &MailboxId,
    message: &MessageId,
    envelope: &[u8],
) -> Result<Opened, OpenError> {
    if envelope.len() != ENVELOPE_BYTES {
        return Err(OpenError::Length {
            bytes: envelope.len(),
        });
    }
    let plaintext =
        aead::open(key, &associated_data(mailbox, message), envelope).map_err(OpenError::Seal)?;
    let Some(([code, high, low], rest)) = plaintext.split_first_chunk::<3>() else {
        return Err(OpenError::Length {
            bytes: envelope.len(),
        });
    };
    let kind_code = code & !POINTER_FLAG;
    let kind = Kind::from_code(kind_code).ok_or(OpenError::Kind { code: kind_code })?;
    let claimed = u16::from_be_bytes([*high, *low]);
    let (bytes, padding) = rest
        .split_at_checked(usize::from(claimed))
        .ok_or(OpenError::PayloadLength { claimed })?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(OpenError::Padding);
    }
    let payload = if code & POINTER_FLAG == 0 {
        Payload::Inline(bytes.to_vec())
    } else {
        Payload::Pointer(BlobPointer::decode(bytes).map_err(|_| OpenError::Pointer)?)
    };
    Ok(Opened { kind, payload })
}

fn associated_data(mailbox: &MailboxId, message: &MessageId) -> Vec<u8> {
    let mut data = labels::AEAD_ENVELOPE.to_vec();
    data.extend_from_slice(mailbox.as_bytes());
    data.extend_from_slice(message.as_bytes());
    data
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use proptest::prelude::{Just, any, prop, prop_oneof, proptest};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::{Kind, OpenError, Opened, Payload, SealError, associated_data, fits, open, seal};
    use crate::ids::{MailboxId, MessageId};
    use crate::limits::{ENVELOPE_BYTES, ENVELOPE_PAYLOAD_BYTES_MAX};
    use crate::primitives::aead;
    use crate::secrets::Secret;
    use crate::wire::BlobPointer;

    const KEY: Secret<32> = Secret::new([1; 32]);
    const MAILBOX: MailboxId = MailboxId::new([2; 16]);
    const MESSAGE: MessageId = MessageId::new([3; 16]);

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([9; 32])
    }

    fn sealed(kind: Kind, payload: &Payload) -> bytes::Bytes {
        seal(&KEY, &MAILBOX, &MESSAGE, kind, payload, &mut rng()).unwrap()
    }

    /// An envelope whose inside is not what `seal` would write.
    fn forged(plaintext: &[u8]) -> Vec<u8> {
        aead::seal(
            &KEY,
            &associated_data(&MAILBOX, &MESSAGE),
            plaintext,
            &mut rng(),
        )
    }

    fn pointer() -> BlobPointer {
        BlobPointer {
            read_secret: vec![1; 32].into(),
            key: vec![2; 32].into(),
            digest: vec![3; 32].into(),
            size: u64::MAX,
            plaintext_size: u64::MAX,
        }
    }

    #[test]
    fn every_kind_and_length_is_1024_bytes_and_comes_back() {
        for kind in [
            Kind::Application,
            Kind::Look,
            Kind::Welcome,
            Kind::Direct,
            Kind::Return,
        ] {
            for len in [0, 1, 500, ENVELOPE_PAYLOAD_BYTES_MAX] {
                let payload = Payload::Inline(vec![7; len]);
                let envelope = sealed(kind, &payload);
                assert_eq!(envelope.len(), ENVELOPE_BYTES);
                let opened = open(&KEY, &MAILBOX, &MESSAGE, &envelope);
                assert_eq!(opened, Ok(Opened { kind, payload }));
            }
        }
    }

    #[test]
    fn a_pointer_comes_back_as_a_pointer() {
        let payload = Payload::Pointer(pointer());
        let envelope = sealed(Kind::Welcome, &payload);
        assert_eq!(envelope.len(), ENVELOPE_BYTES);
        let opened = open(&KEY, &MAILBOX, &MESSAGE, &envelope);
        assert_eq!(
            opened,
            Ok(Opened {
                kind: Kind::Welcome,
                payload
            })
        );
    }

    #[test]
    fn one_byte_too_many_is_refused() {
        let bytes = ENVELOPE_PAYLOAD_BYTES_MAX + 1;
        assert!(fits(bytes - 1) && !fits(bytes));
        let result = seal(
            &KEY,
            &MAILBOX,
            &MESSAGE,
            Kind::Application,
            &Payload::Inline(vec![0; bytes]),
            &mut rng(),
        );
        assert_eq!(result, Err(SealError::TooLarge { bytes }));
    }

    #[test]
    fn another_key_mailbox_or_message_id_opens_nothing() {
        let envelope = sealed(Kind::Look, &Payload::Inline(vec![]));
        let other = [
            (Secret::new([9; 32]), MAILBOX, MESSAGE),
            (KEY, MailboxId::new([9; 16]), MESSAGE),
            (KEY, MAILBOX, MessageId::new([9; 16])),
        ];
        for (key, mailbox, message) in other {
            let result = open(&key, &mailbox, &message, &envelope);
            assert_eq!(result, Err(OpenError::Seal(aead::OpenError)));
        }
    }

    #[test]
    fn what_a_member_forges_inside_the_seal_is_refused() {
        let forge = |head: [u8; 3], tail: u8| {
            let mut plaintext = vec![0_u8; 984];
            plaintext[..3].copy_from_slice(&head);
            plaintext[983] = tail;
            open(&KEY, &MAILBOX, &MESSAGE, &forged(&plaintext))
        };
        assert!(forge([1, 0, 0], 0).is_ok());
        assert_eq!(forge([0, 0, 0], 0), Err(OpenError::Kind { code: 0 }));
        assert_eq!(forge([6, 0, 0], 0), Err(OpenError::Kind { code: 6 }));
        assert_eq!(forge([0xff, 0, 0], 0), Err(OpenError::Kind { code: 0x7f }));
        assert_eq!(
            forge([1, 0x03, 0xd6], 0),
            Err(OpenError::PayloadLength { claimed: 982 })
        );
        assert_eq!(
            forge([1, 0xff, 0xff], 0),
            Err(OpenError::PayloadLength { claimed: 65_535 })
        );
        assert_eq!(forge([1, 0, 0], 1), Err(OpenError::Padding));
        assert!(forge([1, 0x03, 0xd5], 1).is_ok());
        assert_eq!(forge([0x81, 0x03, 0xd5], 1), Err(OpenError::Pointer));
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let envelope = sealed(Kind::Application, &Payload::Inline(b"hello".to_vec()));
        for bytes in 0..envelope.len() {
            let result = open(&KEY, &MAILBOX, &MESSAGE, &envelope[..bytes]);
            assert_eq!(result, Err(OpenError::Length { bytes }));
        }
        let longer = [&envelope[..], &[0]].concat();
        assert_eq!(
            open(&KEY, &MAILBOX, &MESSAGE, &longer),
            Err(OpenError::Length { bytes: 1_025 })
        );
    }

    #[test]
    fn debug_prints_no_content_and_no_key() {
        let shown = format!(
            "{:?} {:?}",
            Payload::Inline(b"secret".to_vec()),
            Payload::Pointer(pointer())
        );
        assert_eq!(shown, "Inline(6 bytes) Pointer(18446744073709551615 bytes)");
    }

    proptest! {
        #[test]
        fn any_payload_comes_back(
            kind in prop_oneof![
                Just(Kind::Application), Just(Kind::Look), Just(Kind::Welcome), Just(Kind::Direct), Just(Kind::Return)
            ],
            bytes in prop::collection::vec(any::<u8>(), 0..=ENVELOPE_PAYLOAD_BYTES_MAX),
        ) {
            let payload = Payload::Inline(bytes);
            let opened = open(&KEY, &MAILBOX, &MESSAGE, &sealed(kind, &payload));
            assert_eq!(opened, Ok(Opened { kind, payload }));
        }

        #[test]
        fn every_changed_bit_is_noticed(at in 0..ENVELOPE_BYTES, bit in 0..8_u8) {
            let mut envelope = sealed(Kind::Direct, &Payload::Inline(vec![5; 40])).to_vec();
            envelope[at] ^= 1 << bit;
            let result = open(&KEY, &MAILBOX, &MESSAGE, &envelope);
            assert_eq!(result, Err(OpenError::Seal(aead::OpenError)));
        }

        #[test]
        fn whatever_a_key_holder_seals_does_not_panic(
            plaintext in prop::collection::vec(any::<u8>(), 984),
        ) {
            let _ = open(&KEY, &MAILBOX, &MESSAGE, &forged(&plaintext));
        }

        #[test]
        fn whatever_stands_in_a_pointer_does_not_panic(
            length in 0..=981_u16, noise in prop::collection::vec(any::<u8>(), 981),
        ) {
            let mut plaintext = vec![0x81];
            plaintext.extend_from_slice(&length.to_be_bytes());
            plaintext.extend_from_slice(&noise[..usize::from(length)]);
            plaintext.resize(984, 0);
            let _ = open(&KEY, &MAILBOX, &MESSAGE, &forged(&plaintext));
        }
    }
}
