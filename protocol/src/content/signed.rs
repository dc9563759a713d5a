//! Content under its sender's signature: the exact signed bytes travel, and are decoded
//! only after the check.

use prost::Message;

use super::{Body, BodyError};
use crate::day::{Day, Timestamp};
use crate::faults::{Fault, planted};
use crate::ids::{ContentId, ConversationId, DeviceId, IdLengthError};
use crate::labels;
use crate::limits;
use crate::primitives::sign::{PublicKey, SecretKey, SignatureError};
use crate::wire;

/// Nobody says so much: 2^63 contents. Numbers after it can be counted without overflow.
const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// One content with all that is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Decides duplicates.
    pub id: ContentId,
    /// Where it was said.
    pub conversation: ConversationId,
    /// The device that said it.
    pub sender: DeviceId,
    /// Counts this sender's contents in this conversation, from 1.
    pub sequence: u64,
    /// By the sender's clock.
    pub sent_at: Timestamp,
    /// The sender gives up resending after this day.
    pub keep_until: Day,
    /// Seconds after showing when it disappears; 0: stays.
    pub disappear_seconds: u32,
    /// What it answers.
    pub reply_to: Option<ContentId>,
    /// What was said.
    pub body: Body,
}

/// Why bytes are no content of that device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// More than [`limits::CONTENT_BYTES_MAX`].
    #[error("the message is too large")]
    TooLarge,
    /// Not protobuf of this schema.
    #[error("the message is damaged")]
    Malformed(#[from] prost::DecodeError),
    /// Not signed by that device.
    #[error("the message is not signed by the device that sent it")]
    Signature(#[from] SignatureError),
    /// An id of a wrong length.
    #[error("the message carries a damaged id")]
    Id(#[from] IdLengthError),
    /// A kind or size that is refused.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Sequence numbers start at 1 and never come near the end of theirs.
    #[error("the message has no number, or one that can't be")]
    Sequence,
}

/// Content as it was decrypted: nothing in it is trusted yet.
#[derive(Debug, Clone)]
pub struct ContentIn(wire::SignedContent);

impl ContentIn {
    /// Takes bounded bytes.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`], [`ContentError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ContentError> {
        if bytes.len() > limits::CONTENT_BYTES_MAX {
            return Err(ContentError::TooLarge);
        }
        Ok(Self(wire::SignedContent::decode(bytes)?))
    }

    /// Checks the signature, then reads.
    ///
    /// # Errors
    /// Every [`ContentError`].
    pub fn verify(&self, key: &PublicKey) -> Result<Content, ContentError> {
        if !planted(Fault::ContentSignature) {
            key.verify(labels::SIGN_CONTENT, &self.0.content, &self.0.signature)?;
        }
        Content::decode(&self.0.content)
    }

    /// The exact signed bytes and the signature, for a report.
    #[must_use]
    pub fn into_parts(self) -> (bytes::Bytes, bytes::Bytes) {
        (self.0.content, self.0.signature)
    }
}

impl Content {
    /// Signs with the sender device's key; returns an encoded `SignedContent`.
    #[must_use]
    pub fn sign(&self, key: &SecretKey) -> Vec<u8> {
        let content = self.encode();
        let signature = key.sign(labels::SIGN_CONTENT, &content);
        wire::SignedContent {
            content: content.into(),
            signature: signature.to_vec().into(),
        }
        .encode_to_vec()
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::Content {
            content_id: self.id.to_bytes(),
            conversation: self.conversation.to_bytes(),
            sender_device: self.sender.to_bytes(),
            sequence: self.sequence,
            sent_at_ms: self.sent_at.0,
            keep_until_day: self.keep_until.0,
            disappear_seconds: self.disappear_seconds,
            reply_to: self.reply_to.map(ContentId::to_bytes).unwrap_or_default(),
            body: Some(self.body.to_wire()),
        }
        .encode_to_vec()
    }

    /// Reads bytes whose signature was checked, or that this device stored itself.
    ///
    /// # Errors
    /// [`ContentError`] but for the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let content = wire::Content::decode(bytes)?;
        if content.sequence == 0 || content.sequence > SEQUENCE_MAX {
            return Err(ContentError::Sequence);
        }
        Ok(Self {
            id: ContentId::try_from(&content.content_id)?,
            conversation: ConversationId::try_from(&content.conversation)?,
            sender: DeviceId::try_from(&content.sender_device)?,
            sequence: content.sequence,
            sent_at: Timestamp(content.sent_at_ms),
            keep_until: Day(content.keep_until_day),
            disappear_seconds: content.disappear_seconds,
            reply_to: if content.reply_to.is_empty() {
                None
            } else {
                Some(ContentId::try_from(&content.reply_to)?)
            },
            body: Body::from_wire(content.body)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{Content, ContentError, ContentIn};
    use crate::content::{Body, BodyError};
    use crate::day::{Day, Timestamp};
    use crate::ids::{ContentId, ConversationId, DeviceId};
    use crate::limits;
    use crate::primitives::sign::SecretKey;
    use proptest::prelude::{any, prop, proptest};

    fn content(text: &str) -> Content {
        Content {
            id: ContentId::new([1; 16]),
            conversation: ConversationId::new([2; 16]),
            sender: DeviceId::new([3; 16]),
            sequence: 1,
            sent_at: Timestamp(4),
            keep_until: Day(5),
            disappear_seconds: 0,
            reply_to: Some(ContentId::new([6; 16])),
            body: Body::Text { text: text.into() },
        }
    }

    #[test]
    fn round_trip_and_every_changed_byte_is_refused() {
        let key = SecretKey::from_seed(&[7; 32]);
        let signed = content("hi 👋 שלום").sign(&key);
        assert_eq!(
            ContentIn::parse(&signed).unwrap().verify(&key.public()),
            Ok(content("hi 👋 שלום"))
        );
        for at in 0..signed.len() {
            let mut bad = signed.clone();
            bad[at] ^= 1;
            let read = ContentIn::parse(&bad).and_then(|c| c.verify(&key.public()));
            assert!(read.is_err(), "byte {at}");
        }
    }

    #[test]
    fn texts_are_bounded_in_characters() {
        let long = "é".repeat(limits::TEXT_CHARACTERS_MAX);
        assert!(content(&long).body.check().is_ok());
        assert!(matches!(
            content(&(long + "é")).body.check(),
            Err(BodyError::TooLong { .. })
        ));
        assert_eq!(content("").body.check(), Err(BodyError::Empty));
    }

    #[test]
    fn a_content_without_a_possible_number_is_refused() {
        for sequence in [0, u64::MAX / 2 + 1, u64::MAX] {
            let bytes = Content {
                sequence,
                ..content("x")
            }
            .encode();
            assert_eq!(Content::decode(&bytes), Err(ContentError::Sequence));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Content::decode(&bytes);
            let _ = ContentIn::parse(&bytes);
        }
    }
}
