//! Where a leaf is reached: mailbox, grant and sealing key, different for each conversation.

use prost::Message;

use crate::day::Day;
use crate::grant::{Grant, GrantError, GrantIn, revocation_hash, revocation_secret};
use crate::ids::{ConversationId, IdLengthError, MailboxId};
use crate::limits;
use crate::primitives::sign::SecretKey;
use crate::secrets::Secret;
use crate::wire;

/// Why bytes are no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The leaf has none.
    #[error("the leaf has no address")]
    Missing,
    /// Not protobuf of this schema.
    #[error("the address is damaged")]
    Malformed(#[from] prost::DecodeError),
    /// A mailbox id of a wrong length.
    #[error("the address names no mailbox")]
    Mailbox(#[from] IdLengthError),
    /// The grant is damaged or for another mailbox.
    #[error("the address carries a bad grant")]
    Grant(#[from] GrantError),
    /// A sealing key of a wrong length.
    #[error("the address carries a bad sealing key")]
    SealingKey,
}

/// How other members reach a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Mailbox.
    pub mailbox: MailboxId,
    /// Encoded grant; whether its signature holds is the relay's to check.
    pub grant: GrantIn,
    /// Seals envelopes to this leaf.
    pub sealing_key: Secret<32>,
    /// Counts this device's addresses.
    pub number: u64,
    /// Of a key package with which its device wants to come back: into which conversation.
    pub back_into: Option<ConversationId>,
}

impl Address {
    pub(crate) fn to_wire(&self) -> wire::Address {
        wire::Address {
            mailbox: self.mailbox.to_bytes(),
            grant: self.grant.as_bytes().to_vec().into(),
            sealing_key: self.sealing_key.expose().to_vec().into(),
            number: self.number,
            back_into: self
                .back_into
                .map(ConversationId::to_bytes)
                .unwrap_or_default(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, AddressError> {
        let address = wire::Address::decode(bytes)?;
        let mailbox = MailboxId::try_from(&address.mailbox)?;
        let grant = GrantIn::parse(&address.grant)?;
        if grant.mailbox() != mailbox {
            return Err(GrantError::Mailbox.into());
        }
        Ok(Self {
            mailbox,
            grant,
            sealing_key: Secret::from_slice(&address.sealing_key)
                .ok_or(AddressError::SealingKey)?,
            number: address.number,
            back_into: if address.back_into.is_empty() {
                None
            } else {
                Some(ConversationId::try_from(&address.back_into)?)
            },
        })
    }
}

/// What a device keeps of an address of its own: enough to open what is sealed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAddress {
    /// Which.
    pub number: u64,
    /// Opens envelopes.
    pub sealing_key: Secret<32>,
    /// Last day of its grant.
    pub last_day: Day,
}

impl OwnAddress {
    /// Draws a new address of `mailbox`; `scope` separates the revocation secrets of conversations.
    pub fn draw(
        mailbox: MailboxId,
        grant_key: &SecretKey,
        revocation_seed: &Secret<32>,
        scope: &ConversationId,
        number: u64,
        today: Day,
        rng: &mut impl rand_core::CryptoRng,
    ) -> (Self, Address) {
        let secret = revocation_secret(revocation_seed, scope.as_bytes(), number);
        let grant = Grant {
            mailbox,
            serial: number,
            last_day: today.plus(limits::GRANT_DAYS),
            revocation_hash: revocation_hash(secret.expose()),
        };
        let own = Self {
            number,
            sealing_key: Secret::random(rng),
            last_day: grant.last_day,
        };
        let sealing_key = own.sealing_key.clone();
        // A grant that was just signed has the right length and version.
        let grant = GrantIn::from_signed(grant.sign(grant_key));
        (
            own,
            Address {
                mailbox,
                grant,
                sealing_key,
                number,
                back_into: None,
            },
        )
    }

    pub(crate) fn to_wire(&self) -> wire::OwnAddress {
        wire::OwnAddress {
            number: self.number,
            sealing_key: self.sealing_key.expose().to_vec().into(),
            last_day: self.last_day.0,
        }
    }

    pub(crate) fn from_wire(address: &wire::OwnAddress) -> Option<Self> {
        Some(Self {
            number: address.number,
            sealing_key: Secret::from_slice(&address.sealing_key)?,
            last_day: Day(address.last_day),
        })
    }
}
