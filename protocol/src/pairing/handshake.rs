//! Noise `NNpsk0_25519_ChaChaPoly_SHA256` over what both sides know already; each state is a type.

use core::fmt;

use snow::{Builder, HandshakeState, TransportState};

use zeroize::Zeroizing;

use super::pictures;
use super::resolver::Resolver;
use crate::limits::RENDEZVOUS_MESSAGE_BYTES_MAX;
use crate::primitives::chacha::TAG_BYTES;
use crate::secrets::Secret;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";
/// Each handshake message is an ephemeral key 32 and the tag 16 of an empty payload.
const HANDSHAKE_MESSAGE_BYTES: usize = 32 + TAG_BYTES;
/// Longest plaintext of one message.
const PLAINTEXT_BYTES_MAX: usize = RENDEZVOUS_MESSAGE_BYTES_MAX - TAG_BYTES;

/// What a handshake begins with: a scanned code, or what SPAKE2 made of a short one. Only types
/// of this module are.
#[expect(
    private_bounds,
    reason = "sealed: keys for the handshake come from codes alone"
)]
pub trait HandshakeStart: HandshakeCode {}

impl<C: HandshakeCode> HandshakeStart for C {}

/// Both sides have the same of both, or don't get to talk.
pub(super) trait HandshakeCode {
    /// What is agreed upon in the clear of the handshake's hash.
    fn prologue(&self) -> Zeroizing<Vec<u8>>;
    /// What nobody else has.
    fn pre_shared_key(&self) -> Secret<32>;
}

/// Why two devices don't get to talk.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Not the length of a handshake message.
    #[error(
        "the other side does not speak the pairing protocol: its message has {bytes} bytes instead of {HANDSHAKE_MESSAGE_BYTES}"
    )]
    Malformed {
        /// Bytes it has.
        bytes: usize,
    },
    /// The other side has another code, or the message was changed.
    #[error("the code does not match: the other side read another one, or somebody interferes")]
    WrongCode,
    /// The other side's key agrees on nothing secret; an honest one never sends it.
    #[error("the other side's key is not acceptable")]
    WeakKey,
    /// The state machine refused its own inputs; no code leads here.
    #[error("the pairing channel failed inside")]
    Internal(#[source] snow::Error),
}

impl From<snow::Error> for HandshakeError {
    fn from(error: snow::Error) -> Self {
        match error {
            snow::Error::Decrypt => Self::WrongCode,
            snow::Error::Dh => Self::WeakKey,
            other => Self::Internal(other),
        }
    }
}

/// Why a message can't be sent or read. The channel stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Longer than a rendezvous takes.
    #[error("a pairing message of {bytes} bytes is too long; {max} is the most")]
    TooLong {
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        max: usize,
    },
    /// Not the next message of this channel.
    #[error(
        "the pairing message is not the next one of this channel: changed, repeated, or out of order"
    )]
    Unreadable,
    /// No message can be sent any more.
    #[error("the pairing channel is used up")]
    UsedUp,
}

/// The scanning device, after its first message.
pub struct Initiator(HandshakeState);

impl Initiator {
    /// Makes the first message from a scanned code, or from the key of a typed one.
    ///
    /// # Errors
    /// [`HandshakeError::Internal`] only.
    pub fn start(
        code: &impl HandshakeStart,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let mut state = build(code, rng, Side::Initiator)?;
        let first = write(&mut state)?;
        Ok((Self(state), first))
    }

    /// Takes the guardian's answer.
    ///
    /// # Errors
    /// [`HandshakeError::Malformed`], [`HandshakeError::WrongCode`],
    /// [`HandshakeError::WeakKey`]. The handshake is over then; it starts again with a new key.
    pub fn finish(mut self, answer: &[u8]) -> Result<Transport, HandshakeError> {
        read(&mut self.0, answer)?;
        Transport::new(self.0)
    }
}

/// The guardian's phone, which shows the code and waits.
pub struct Responder(HandshakeState);

impl Responder {
    /// Waits with the code on the screen.
    ///
    /// # Errors
    /// [`HandshakeError::Internal`] only.
    pub fn new(
        code: &impl HandshakeStart,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Self, HandshakeError> {
        Ok(Self(build(code, rng, Side::Responder)?))
    }

    /// Takes the first message and makes the answer to it.
    ///
    /// # Errors
    /// [`HandshakeError::Malformed`], [`HandshakeError::WrongCode`],
    /// [`HandshakeError::WeakKey`]. Waiting again takes a new [`Responder`] of the same code.
    pub fn answer(mut self, first: &[u8]) -> Result<(Transport, Vec<u8>), HandshakeError> {
        read(&mut self.0, first)?;
        let answer = write(&mut self.0)?;
        Ok((Transport::new(self.0)?, answer))
    }
}

/// The finished channel: messages in order, each once, both ways.
pub struct Transport {
    state: TransportState,
    handshake_hash: [u8; 32],
}

impl Transport {
    fn new(state: HandshakeState) -> Result<Self, HandshakeError> {
        let handshake_hash = state
            .get_handshake_hash()
            .try_into()
            .map_err(|_| HandshakeError::Internal(snow::Error::Input))?;
        Ok(Self {
            state: state.into_transport_mode()?,
            handshake_hash,
        })
    }

    /// Seals the next message to the other side.
    ///
    /// # Errors
    /// [`TransportError::TooLong`] past 65,519 bytes.
    pub fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, TransportError> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(TransportError::TooLong {
                bytes: plaintext.len(),
                max: PLAINTEXT_BYTES_MAX,
            });
        }
        let mut message = vec![0; plaintext.len() + TAG_BYTES];
        let written = self
            .state
            .write_message(plaintext, &mut message)
            .map_err(|_| TransportError::UsedUp)?;
        message.truncate(written);
        Ok(message)
    }

    /// Opens the next message of the other side.
    ///
    /// # Errors
    /// [`TransportError::TooLong`], [`TransportError::Unreadable`]; the right message is
    /// still accepted after that.
    pub fn open(&mut self, message: &[u8]) -> Result<Vec<u8>, TransportError> {
        if message.len() > RENDEZVOUS_MESSAGE_BYTES_MAX {
            return Err(TransportError::TooLong {
                bytes: message.len(),
                max: RENDEZVOUS_MESSAGE_BYTES_MAX,
            });
        }
        let mut plaintext = vec![0; message.len()];
        let read = self
            .state
            .read_message(message, &mut plaintext)
            .map_err(|_| TransportError::Unreadable)?;
        plaintext.truncate(read);
        Ok(plaintext)
    }

    /// What both sides have if and only if nobody stands between them: a hash of the code and
    /// of both handshake messages (Noise §11.2). Not secret.
    #[must_use]
    pub const fn handshake_hash(&self) -> [u8; 32] {
        self.handshake_hash
    }

    /// Four pictures out of 64 (24 bits) for people to compare on both screens.
    #[must_use]
    pub fn pictures(&self) -> String {
        pictures::of(&self.handshake_hash)
    }
}

macro_rules! prints_nothing {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
prints_nothing!(Initiator, Responder, Transport);

enum Side {
    Initiator,
    Responder,
}

fn build(
    code: &impl HandshakeStart,
    rng: &mut impl rand_core::CryptoRng,
    side: Side,
) -> Result<HandshakeState, HandshakeError> {
    let resolver = Resolver {
        ephemeral: Secret::random(rng),
    };
    let psk = code.pre_shared_key();
    let prologue = code.prologue();
    let params = PATTERN.parse().map_err(HandshakeError::Internal)?;
    let builder = Builder::with_resolver(params, Box::new(resolver))
        .psk(0, psk.expose())?
        .prologue(&prologue)?;
    Ok(match side {
        Side::Initiator => builder.build_initiator()?,
        Side::Responder => builder.build_responder()?,
    })
}

fn write(state: &mut HandshakeState) -> Result<Vec<u8>, HandshakeError> {
    let mut message = vec![0; HANDSHAKE_MESSAGE_BYTES];
    let written = state.write_message(&[], &mut message)?;
    message.truncate(written);
    Ok(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<(), HandshakeError> {
    if message.len() != HANDSHAKE_MESSAGE_BYTES {
        return Err(HandshakeError::Malformed {
            bytes: message.len(),
        });
    }
    state.read_message(message, &mut [])?;
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
