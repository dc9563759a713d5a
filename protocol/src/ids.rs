//! A newtype for every id: 16 random bytes each, so that none can be guessed or confused.

use core::fmt;

/// Error of an id whose byte length is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be {expected} bytes long, not {actual}")]
pub struct IdLengthError {
    /// Which id.
    pub kind: &'static str,
    /// Bytes it must have.
    pub expected: usize,
    /// Bytes it had.
    pub actual: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps the bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Draws a fresh id.
            pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
                let mut bytes = [0; $len];
                rng.fill_bytes(&mut bytes);
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The bytes, as protobuf wants them.
            #[must_use]
            pub fn to_bytes(self) -> bytes::Bytes {
                bytes::Bytes::copy_from_slice(&self.0)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdLengthError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdLengthError> {
                match bytes.try_into() {
                    Ok(bytes) => Ok(Self(bytes)),
                    Err(_) => Err(IdLengthError { kind: $kind, expected: $len, actual: bytes.len() }),
                }
            }
        }

        impl TryFrom<&bytes::Bytes> for $name {
            type Error = IdLengthError;

            fn try_from(bytes: &bytes::Bytes) -> Result<Self, IdLengthError> {
                Self::try_from(bytes.as_ref())
            }
        }

        impl fmt::Debug for $name {
            // Ids link people: only four hex digits are shown, enough to tell two apart in a test.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let [a, b, ..] = self.0;
                write!(f, concat!(stringify!($name), "({:02x}{:02x}…)"), a, b)
            }
        }
    };
}

id!(
    /// A device's queue on the relay.
    MailboxId, "mailbox id", 16
);
id!(
    /// Names one sealing of an envelope; makes a repeated send harmless.
    MessageId, "message id", 16
);
id!(
    /// The place of the commit that ends an epoch.
    SlotToken, "slot token", 16
);
id!(
    /// A short-lived meeting point for pairing.
    RendezvousId, "rendezvous id", 16
);
id!(
    /// A family: derived from the root key that signed its first statement.
    FamilyId, "family id", 16
);
id!(
    /// A person of a family.
    MemberId, "member id", 16
);
id!(
    /// One tablet or phone; its MLS credential.
    DeviceId, "device id", 16
);
id!(
    /// A contact pass: permission for two children of different families to talk.
    PassId, "pass id", 16
);
id!(
    /// A conversation (an MLS group).
    ConversationId, "conversation id", 16
);
id!(
    /// One content: decides duplicates.
    ContentId, "content id", 16
);
id!(
    /// An account as the relay knows it: a login name, stretched on the device.
    AccountId, "account id", 32
);
