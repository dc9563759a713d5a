//! Tickets: what opens a mailbox or makes room for blobs, without telling whose (PROTOCOL §15.4).
//!
//! ```text
//! ticket = 1 ‖ epoch u32 BE ‖ nonce 32 ‖ output 64          101 B
//! text   = "ticket:" ‖ base64url(ticket)                    142 characters
//! output = VOPRF(key of the epoch, labels::VOPRF_TICKET ‖ epoch u32 BE ‖ nonce)
//! ```
//! A device draws them blindly on its account's connection and spends them later on others: the
//! relay knows a ticket for its own and can't tell to whom it gave it, unless it uses a key of
//! its own for somebody, which its proof would show.

use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::labels;
use crate::primitives::hash;
use crate::primitives::voprf::{ELEMENT_BYTES, IssuerKey, OUTPUT_BYTES, VoprfError};
use crate::secrets::Secret;

#[cfg(feature = "account")]
pub use draw::Draw;

/// Days for which one issuer key is good.
pub const EPOCH_DAYS: u32 = 30;
/// Most tickets in one drawing.
pub const DRAW_MAX: usize = 32;
/// Bytes of a ticket.
pub const TICKET_BYTES: usize = 101;
/// What a ticket's text begins with.
pub const TEXT_PREFIX: &str = "ticket:";
/// Characters of a ticket's text: 7 + ⌈101 · 4 / 3⌉ = 142.
pub const TEXT_BYTES: usize = TEXT_PREFIX.len() + (TICKET_BYTES * 4).div_ceil(3);

const VERSION: u8 = 1;

/// The epoch of a day.
#[must_use]
pub const fn epoch_of(day: u32) -> u32 {
    day / EPOCH_DAYS
}

/// Whether a ticket of `epoch` is good on `day`: in its epoch and in the one after.
#[must_use]
pub const fn is_good_on(epoch: u32, day: u32) -> bool {
    let now = epoch_of(day);
    epoch == now || epoch.saturating_add(1) == now
}

/// The first day on which no ticket of `epoch` is good any more.
#[must_use]
pub const fn end_of(epoch: u32) -> u32 {
    epoch.saturating_add(2).saturating_mul(EPOCH_DAYS)
}

/// The issuer key of an epoch: `DeriveKeyPair(seed, "epoch" ‖ epoch u32 BE)`.
///
/// # Errors
/// None in practice: RFC 9497 allows the derivation to fail once in 2^252 runs.
pub fn issuer_key(seed: &Secret<32>, epoch: u32) -> Result<IssuerKey, VoprfError> {
    IssuerKey::derive(seed, &[&b"epoch"[..], &epoch.to_be_bytes()].concat())
}

/// No ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no ticket")]
pub struct TicketError;

/// A ticket. Whoever has it can spend it; prints as `[ticket]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    epoch: u32,
    nonce: [u8; 32],
    output: Secret<OUTPUT_BYTES>,
}

impl Ticket {
    /// The epoch whose key made it.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Reads its bytes. Whether it is genuine only its issuer can tell.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TicketError> {
        let bytes: &[u8; TICKET_BYTES] = bytes.try_into().map_err(|_| TicketError)?;
        let ([VERSION], rest) = bytes.split_first_chunk::<1>().ok_or(TicketError)? else {
            return Err(TicketError);
        };
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or(TicketError)?;
        let (nonce, output) = rest.split_first_chunk::<32>().ok_or(TicketError)?;
        Ok(Self {
            epoch: u32::from_be_bytes(*epoch),
            nonce: *nonce,
            output: Secret::from_slice(output).ok_or(TicketError)?,
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TICKET_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(self.output.expose());
        bytes
    }

    /// Reads its text, as an admission code says it.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn from_text(text: &str) -> Result<Self, TicketError> {
        let text = text.strip_prefix(TEXT_PREFIX).ok_or(TicketError)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TicketError)?;
        Self::from_bytes(&bytes)
    }

    /// Its text.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{TEXT_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }

    /// Whether `key`, which must be that of its epoch, made it.
    #[must_use]
    pub fn is_made_by(&self, key: &IssuerKey) -> bool {
        key.verify(&input(self.epoch, &self.nonce), self.output.expose())
    }

    /// Under what a spent one is kept: `H(labels::HASH_TICKET, nonce)`.
    #[must_use]
    pub fn spent_hash(&self) -> [u8; 32] {
        hash::labelled(labels::HASH_TICKET, &[&self.nonce])
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[ticket]")
    }
}

fn input(epoch: u32, nonce: &[u8; 32]) -> Vec<u8> {
    let mut bytes = labels::VOPRF_TICKET.to_vec();
    bytes.extend_from_slice(&epoch.to_be_bytes());
    bytes.extend_from_slice(nonce);
    bytes
}

/// Reads an issuer's public key.
#[must_use]
pub fn key_from_slice(bytes: &[u8]) -> Option<[u8; ELEMENT_BYTES]> {
    bytes.try_into().ok()
}

#[cfg(feature = "account")]
mod draw {
    //! The device's side of a drawing.

    use super::{DRAW_MAX, ELEMENT_BYTES, Ticket, VoprfError, input};
    use crate::primitives::voprf::{Blinded, finish, start};

    /// Tickets that have been asked for. Lives as long as the connection does.
    #[derive(Debug)]
    pub struct Draw {
        epoch: u32,
        nonces: Vec<[u8; 32]>,
        blinded: Vec<Blinded>,
    }

    impl Draw {
        /// Draws nonces for at most [`DRAW_MAX`] tickets: the state, and an element for each.
        ///
        /// # Errors
        /// None in practice.
        pub fn start(
            epoch: u32,
            count: usize,
            rng: &mut impl rand_core::CryptoRng,
        ) -> Result<(Self, Vec<[u8; ELEMENT_BYTES]>), VoprfError> {
            let count = count.min(DRAW_MAX);
            let (mut nonces, mut blinded) = (Vec::new(), Vec::new());
            let mut elements = Vec::with_capacity(count);
            for _ in 0..count {
                let mut nonce = [0; 32];
                rng.fill_bytes(&mut nonce);
                let (state, element) = start(&input(epoch, &nonce), rng)?;
                nonces.push(nonce);
                blinded.push(state);
                elements.push(element);
            }
            let draw = Self {
                epoch,
                nonces,
                blinded,
            };
            Ok((draw, elements))
        }

        /// The tickets, if the relay used `key`: the one that everybody knows it by in this epoch.
        ///
        /// # Errors
        /// [`VoprfError::Proof`] when it used another; then none of them may be spent.
        pub fn finish(
            self,
            evaluated: &[impl AsRef<[u8]>],
            proof: &[u8],
            key: &[u8],
        ) -> Result<Vec<Ticket>, VoprfError> {
            let inputs: Vec<_> = self
                .nonces
                .iter()
                .map(|nonce| input(self.epoch, nonce))
                .collect();
            let outputs = finish(&inputs, &self.blinded, evaluated, proof, key)?;
            let tickets = self.nonces.into_iter().zip(outputs);
            Ok(tickets
                .map(|(nonce, output)| Ticket {
                    epoch: self.epoch,
                    nonce,
                    output,
                })
                .collect())
        }
    }
}

#[cfg(all(test, feature = "account"))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use proptest::prelude::{any, prop, proptest};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::{Draw, TICKET_BYTES, Ticket, epoch_of, is_good_on, issuer_key};
    use crate::secrets::Secret;

    fn tickets(epoch: u32) -> Vec<Ticket> {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let key = issuer_key(&Secret::new([1; 32]), epoch).unwrap();
        let (draw, elements) = Draw::start(epoch, 3, &mut rng).unwrap();
        let done = key.evaluate(&elements, &mut rng).unwrap();
        draw.finish(&done.elements, &done.proof, &key.public())
            .unwrap()
    }

    #[test]
    fn a_ticket_is_known_to_the_key_of_its_epoch_and_to_no_other() {
        let seed = Secret::new([1; 32]);
        let ticket = tickets(9)[0].clone();
        assert!(ticket.is_made_by(&issuer_key(&seed, 9).unwrap()));
        assert!(!ticket.is_made_by(&issuer_key(&seed, 10).unwrap()));
        let other = issuer_key(&Secret::new([2; 32]), 9).unwrap();
        assert!(!ticket.is_made_by(&other));
        // Every byte counts.
        let key = issuer_key(&seed, 9).unwrap();
        for at in 0..TICKET_BYTES {
            let mut bytes = ticket.to_bytes();
            bytes[at] ^= 1;
            assert!(
                Ticket::from_bytes(&bytes).is_err() || {
                    let forged = Ticket::from_bytes(&bytes).unwrap();
                    !forged.is_made_by(&key)
                }
            );
        }
    }

    /// The vector of PROTOCOL §15.4.
    #[test]
    fn the_printed_vector_holds() {
        let key = issuer_key(&Secret::new([9; 32]), 667).unwrap();
        assert_eq!(
            hex::encode(key.public()),
            "f69fff9725bbc0942e151c1655a4dcb2b852c71f821ec3dec7067da29d43dd76"
        );
        let text = "ticket:AQAAAps4VVOqI6JLFNi7wt_2Bid_RE4El5eufgQE46m6Ds7y-9CGsSlZSBnwmqirAaybo30PIYAYL57F7_TfhYrmUNswZUFUlbAa0bu7nMf86iiruSLK5KW_GvpkSg1INuWc86I";
        let ticket = Ticket::from_text(text).unwrap();
        assert_eq!(ticket.epoch(), 667);
        assert!(ticket.is_made_by(&key));
        assert_eq!(
            hex::encode(ticket.spent_hash()),
            "9fdf67a8b915dae9858d6300f1791ef9488f7174378130d3fd550470275104af"
        );
    }

    #[test]
    fn bytes_and_text_read_back_and_print_nothing() {
        for ticket in tickets(70_000) {
            let text = ticket.to_text();
            assert_eq!(text.len(), 142);
            assert!(Ticket::from_text(&text).unwrap() == ticket);
            assert!(Ticket::from_bytes(&ticket.to_bytes()).unwrap() == ticket);
            assert_eq!(format!("{ticket:?}"), "[ticket]");
            assert!(Ticket::from_text(&text[1..]).is_err());
            assert!(Ticket::from_text(&text[..141]).is_err());
        }
    }

    #[test]
    fn a_ticket_is_good_in_its_epoch_and_the_next() {
        assert_eq!(epoch_of(299), 9);
        assert!(!is_good_on(9, 269));
        assert!(is_good_on(9, 270) && is_good_on(9, 329));
        assert!(!is_good_on(9, super::end_of(9)) && is_good_on(9, super::end_of(9) - 1));
        assert!(!is_good_on(u32::MAX, 0));
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(noise in prop::collection::vec(any::<u8>(), 0..110), text in ".{0,40}") {
            let _ = Ticket::from_bytes(&noise);
            let _ = Ticket::from_text(&text);
            let _ = Ticket::from_text(&format!("ticket:{text}"));
        }
    }
}
