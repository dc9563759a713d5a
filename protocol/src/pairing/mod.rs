//! Pairing: how a new tablet or phone meets a guardian's phone, and one family another (PROTOCOL §9).
//!
//! The guardian's phone shows a QR code with a [`PairingCode`] in it. The new device scans it,
//! and both meet at the relay's rendezvous, where they run Noise
//! `NNpsk0_25519_ChaChaPoly_SHA256` with a key from the code's secret: whoever has not seen
//! the screen can neither listen nor take part, the relay included. What follows inside the
//! channel (keys of the new device, its name, and the family in return) is a
//! [`PairRequest`](crate::wire::PairRequest) and a [`PairAnswer`](crate::wire::PairAnswer).
//! Both screens show the same [four pictures](Transport::pictures).
//!
//! A device without a camera gets a [`ShortCode`] to type instead. Its few digits would not stand
//! an attack at leisure, so SPAKE2 ([`ShortJoiner`], [`answer_short`]) makes a key of them
//! first, and the same Noise handshake begins with that key; three wrong tries burn the code.
//! Guardians of two families meet with a [`MeetCode`] or a [`ShortMeetCode`], codes of their own
//! types, through the same handshake, and exchange [`FamilyCard`](crate::wire::FamilyCard)s.
//!
//! ```text
//! guardian's phone                  relay                       new device
//!   shows the code  ~~~~~~~~~~~~~~~~~ camera ~~~~~~~~~~~~~~~~~>  scans it
//!   Responder::new                                              Initiator::start
//!        <──────────────────── psk, e ─────────────────────────
//!        ───────────────────── e, ee ──────────────────────────>
//!   Transport  <────────────── PairRequest ────────────────────  Transport
//!              ─────────────── PairAnswer ─────────────────────>
//! ```
//!
//! ```
//! use kinline_protocol::ids::RendezvousId;
//! use kinline_protocol::pairing::{Initiator, PairingCode, PairingRole, Responder};
//! use kinline_protocol::secrets::Secret;
//! # use rand_core::SeedableRng;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
//! let shown = PairingCode {
//!     relay: "wss://relay.example.org".parse()?,
//!     rendezvous: RendezvousId::random(&mut rng),
//!     secret: Secret::random(&mut rng),
//!     admission: String::new(),
//!     role: PairingRole::Child,
//!     expires_unix_seconds: 1_800_000_000,
//! };
//! let scanned: PairingCode = shown.to_text().parse()?;
//!
//! let (tablet, first) = Initiator::start(&scanned, &mut rng)?;
//! let (mut phone, answer) = Responder::new(&shown, &mut rng)?.answer(&first)?;
//! let mut tablet = tablet.finish(&answer)?;
//!
//! let message = tablet.seal(b"these are my keys")?;
//! assert_eq!(phone.open(&message)?, b"these are my keys");
//! assert_eq!(phone.pictures(), tablet.pictures());
//! # Ok(())
//! # }
//! ```

mod card;
mod code;
mod entered;
mod handshake;
mod meet;
mod pictures;
pub(crate) use pictures::of as pictures_of;
mod proof;
mod resolver;
mod short;
mod text;
mod typed;

pub use crate::primitives::pake::PakeError;
pub use card::{CARD_KEY_PACKAGES_MAX, CardClaims, CardError, check_card, sign_card, verify_card};
pub use code::{PairingCode, PairingRole};
pub use entered::{CodeKind, JoinCode, MeetingCode};
pub use handshake::{
    HandshakeError, HandshakeStart, Initiator, Responder, Transport, TransportError,
};
pub use meet::MeetCode;
pub use proof::{PAIR_KEY_PACKAGES_MAX, ProofError, VerifiedRequest, sign_request, verify_request};
pub use short::{SHORT_CODE_DIGITS, ShortCode, ShortMeetCode};
pub use text::{CODE_TEXT_BYTES_MAX, CodeError, Purpose};
pub use typed::{
    SHORT_CODE_TRIES_MAX, ShortJoiner, ShortKey, TypedCode, answer_short, read_wrong_try, wrong_try,
};
