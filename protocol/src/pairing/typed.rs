//! From a short code to a key for the handshake, and how often one may try.
//!
//! SPAKE2 with the secret digits as password. Who typed the code sends first.
//!
//! ```text
//! idA = "kinline v1 pake join\0" ‖ purpose 1 ‖ rendezvous 16 ‖ server name
//! idB = "kinline v1 pake open\0" ‖ purpose 1 ‖ rendezvous 16 ‖ server name
//! joiner  'A' ‖ X (33 bytes)  ─────>  opener
//!         <─────  'B' ‖ Y (33 bytes)
//! psk      = KDF(SPAKE2 key, "kinline v1 kdf short code\0", purpose, rendezvous, server name)
//! prologue = purpose 1 ‖ rendezvous 16 ‖ 'A' ‖ X ‖ 'B' ‖ Y
//! ```
//! Then Noise as with a scanned code: its first message can be read only under the same key, so
//! it says whether the digits were right. When they were not, the opener answers with
//! `'W' ‖ tries left 1`, and the joiner may begin again at the same meeting point.

use core::fmt;

use zeroize::Zeroizing;

use super::handshake::HandshakeCode;
use super::short::{Digits, HasDigits};
use crate::labels;
use crate::primitives::kdf;
use crate::primitives::pake::{Names, PakeError, Side};
use crate::secrets::Secret;

/// Wrong tries after which a short code is burnt: whoever guesses finds one in
/// 10,000,000 / 3 = 3.3 million codes.
pub const SHORT_CODE_TRIES_MAX: u8 = 3;
const WRONG: u8 = b'W';

/// A short code of either purpose. Only [`ShortCode`](super::ShortCode) and
/// [`ShortMeetCode`](super::ShortMeetCode) are.
#[expect(private_bounds, reason = "sealed: there are two types of short code")]
pub trait TypedCode: HasDigits {}

impl<C: HasDigits> TypedCode for C {}

/// The device that typed a short code, after its first message.
pub struct ShortJoiner {
    side: Side,
    binding: Binding,
}

impl ShortJoiner {
    /// Makes the first message. `server_name` is that of the relay where both meet.
    pub fn start(
        code: &impl TypedCode,
        server_name: &str,
        rng: &mut impl rand_core::CryptoRng,
    ) -> (Self, Vec<u8>) {
        let digits = code.digits();
        let mut binding = Binding::new(digits, server_name);
        let (join, open) = binding.names();
        let names = Names {
            first: &join,
            second: &open,
        };
        let (side, first) = Side::first(digits.secret.expose(), names, rng);
        binding.transcript.extend_from_slice(&first);
        (Self { side, binding }, first)
    }

    /// Takes the opener's answer. The key goes into [`Initiator::start`](super::Initiator::start);
    /// whether it is the same as the opener's is not known yet.
    ///
    /// # Errors
    /// [`PakeError`]: the other side is no honest one.
    pub fn finish(mut self, answer: &[u8]) -> Result<ShortKey, PakeError> {
        let key = self.side.finish(answer)?;
        self.binding.transcript.extend_from_slice(answer);
        Ok(self.binding.key(&key))
    }
}

/// Takes the first message of a device that typed the code, and makes the answer. The key goes
/// into [`Responder::new`](super::Responder::new). Each answer is one try, whatever follows it.
///
/// # Errors
/// [`PakeError`]: the other side is no honest one; a try, too.
pub fn answer_short(
    code: &impl TypedCode,
    server_name: &str,
    first: &[u8],
    rng: &mut impl rand_core::CryptoRng,
) -> Result<(ShortKey, Vec<u8>), PakeError> {
    let digits = code.digits();
    let mut binding = Binding::new(digits, server_name);
    let (join, open) = binding.names();
    let names = Names {
        first: &join,
        second: &open,
    };
    let (side, answer) = Side::second(digits.secret.expose(), names, rng);
    let key = side.finish(first)?;
    binding.transcript.extend_from_slice(first);
    binding.transcript.extend_from_slice(&answer);
    Ok((binding.key(&key), answer))
}

/// What SPAKE2 made of a short code: a handshake begins with it.
pub struct ShortKey {
    psk: Secret<32>,
    prologue: Vec<u8>,
}

impl HandshakeCode for ShortKey {
    fn prologue(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.prologue.clone())
    }

    fn pre_shared_key(&self) -> Secret<32> {
        self.psk.clone()
    }
}

/// What a key is for.
struct Binding {
    purpose: u8,
    rendezvous: [u8; 16],
    server_name: String,
    /// Both messages.
    transcript: Vec<u8>,
}

impl Binding {
    fn new(digits: &Digits, server_name: &str) -> Self {
        Self {
            purpose: digits.purpose,
            rendezvous: *digits.rendezvous().as_bytes(),
            server_name: server_name.to_owned(),
            transcript: Vec::new(),
        }
    }

    fn names(&self) -> (Vec<u8>, Vec<u8>) {
        let name = |label: &[u8]| {
            [
                label,
                &[self.purpose],
                &self.rendezvous,
                self.server_name.as_bytes(),
            ]
            .concat()
        };
        (name(labels::PAKE_JOIN), name(labels::PAKE_OPEN))
    }

    fn key(self, key: &Secret<32>) -> ShortKey {
        let purpose = [self.purpose];
        let context = [&purpose[..], &self.rendezvous, self.server_name.as_bytes()];
        ShortKey {
            psk: kdf::derive(key.expose(), labels::KDF_SHORT_CODE, &context),
            prologue: [&purpose[..], &self.rendezvous, &self.transcript].concat(),
        }
    }
}

/// The opener's answer to a wrong try.
#[must_use]
pub fn wrong_try(tries_left: u8) -> Vec<u8> {
    vec![WRONG, tries_left]
}

/// Reads the opener's answer to a wrong try: the tries that are left, which nobody has
/// authenticated. `None` for every other message.
#[must_use]
pub const fn read_wrong_try(message: &[u8]) -> Option<u8> {
    match message {
        [WRONG, tries_left] => Some(*tries_left),
        _ => None,
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
prints_nothing!(ShortJoiner, ShortKey);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use proptest::prelude::{any, prop, proptest};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::{PakeError, ShortJoiner, ShortKey, answer_short, read_wrong_try, wrong_try};
    use crate::pairing::{
        HandshakeError, Initiator, PairingRole, Responder, ShortCode, ShortMeetCode, Transport,
    };

    const RELAY: &str = "relay.example.org";

    fn rng(seed: u8) -> ChaCha20Rng {
        ChaCha20Rng::from_seed([seed; 32])
    }

    fn code() -> ShortCode {
        ShortCode::random(PairingRole::Child, &mut rng(3))
    }

    /// With the same public part and another secret.
    fn guess() -> ShortCode {
        let mut digits: Vec<char> = code().to_text().chars().collect();
        digits[13] = if digits[13] == '1' { '2' } else { '1' };
        digits.pop();
        let begin: String = digits.into_iter().collect();
        ('0'..='9')
            .find_map(|check| format!("{begin}{check}").parse().ok())
            .unwrap()
    }

    fn keys(typed: (&ShortCode, &str), shown: (&ShortCode, &str)) -> (ShortKey, ShortKey) {
        let (joiner, first) = ShortJoiner::start(typed.0, typed.1, &mut rng(1));
        let (opener, answer) = answer_short(shown.0, shown.1, &first, &mut rng(2)).unwrap();
        (joiner.finish(&answer).unwrap(), opener)
    }

    fn channel(keys: (ShortKey, ShortKey)) -> Result<(Transport, Transport), HandshakeError> {
        let (tablet, first) = Initiator::start(&keys.0, &mut rng(1))?;
        let (phone, answer) = Responder::new(&keys.1, &mut rng(2))?.answer(&first)?;
        Ok((tablet.finish(&answer)?, phone))
    }

    #[test]
    fn the_right_digits_lead_to_a_channel_with_the_same_pictures() {
        let (mut tablet, mut phone) = channel(keys((&code(), RELAY), (&code(), RELAY))).unwrap();
        assert_eq!(tablet.pictures(), phone.pictures());
        let message = tablet.seal(b"keys").unwrap();
        assert_eq!(phone.open(&message).unwrap(), b"keys");
    }

    #[test]
    fn wrong_digits_fail_at_the_first_message_under_the_key() {
        let guess = guess();
        assert_eq!(guess.rendezvous(), code().rendezvous());
        assert_ne!(guess, code());
        let result = channel(keys((&guess, RELAY), (&code(), RELAY)));
        assert!(matches!(result, Err(HandshakeError::WrongCode)));
    }

    #[test]
    fn another_relay_or_another_purpose_makes_another_key() {
        let result = channel(keys((&code(), RELAY), (&code(), "elsewhere.example.org")));
        assert!(matches!(result, Err(HandshakeError::WrongCode)));
        let meet = ShortMeetCode::random(&mut rng(3));
        let (joiner, first) = ShortJoiner::start(&meet, RELAY, &mut rng(1));
        let (opener, answer) = answer_short(&code(), RELAY, &first, &mut rng(2)).unwrap();
        let result = channel((joiner.finish(&answer).unwrap(), opener));
        assert!(matches!(result, Err(HandshakeError::WrongCode)));
    }

    #[test]
    fn who_stands_between_and_changes_a_message_is_found_out() {
        // Two honest keys of two runs: each side has a key, but not the other's.
        let mine = keys((&code(), RELAY), (&code(), RELAY)).0;
        let (_, first) = ShortJoiner::start(&code(), RELAY, &mut rng(8));
        let (theirs, _) = answer_short(&code(), RELAY, &first, &mut rng(9)).unwrap();
        let result = channel((mine, theirs));
        assert!(matches!(result, Err(HandshakeError::WrongCode)));
    }

    #[test]
    fn messages_from_nobody_honest_are_refused() {
        let (joiner, first) = ShortJoiner::start(&code(), RELAY, &mut rng(1));
        assert_eq!(joiner.finish(&first).unwrap_err(), PakeError::Side);
        let neutral = [&b"A\x01"[..], &[0; 31]].concat();
        let result = answer_short(&code(), RELAY, &neutral, &mut rng(2));
        assert_eq!(result.unwrap_err(), PakeError::Point);
        let (joiner, _) = ShortJoiner::start(&code(), RELAY, &mut rng(1));
        let neutral = [&b"B\x01"[..], &[0; 31]].concat();
        assert_eq!(joiner.finish(&neutral).unwrap_err(), PakeError::Point);
        let result = answer_short(&code(), RELAY, &[0; 48], &mut rng(2));
        assert_eq!(result.unwrap_err(), PakeError::Length { bytes: 48 });
    }

    #[test]
    fn a_wrong_try_is_told_from_every_other_message() {
        for left in 0..3 {
            assert_eq!(read_wrong_try(&wrong_try(left)), Some(left));
        }
        for other in [&b""[..], b"W", b"W\x01\x00", b"A\x01"] {
            assert_eq!(read_wrong_try(other), None);
        }
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(message in prop::collection::vec(any::<u8>(), 0..70)) {
            assert!(answer_short(&code(), RELAY, &message, &mut rng(2)).is_err() || message.len() == 33);
            let (joiner, _) = ShortJoiner::start(&code(), RELAY, &mut rng(1));
            let _ = joiner.finish(&message);
        }
    }
}
