//! SPAKE2 over Edwards25519 (Abdalla and Pointcheval, RSA 2005; python-spake2's parameters):
//! two sides who share a few digits get a common key, and whoever does not know the digits
//! learns from one run whether one guess was right, and no more.
//!
//! ```text
//! pw = HKDF-SHA-256(salt "", digits, "SPAKE2 pw", 48 B), big-endian, mod q
//! X  = x·B + pw·M        first message:  'A' ‖ X
//! Y  = y·B + pw·N        second message: 'B' ‖ Y
//! K  = x·(Y − pw·N) = y·(X − pw·M)
//! key = SHA-256( SHA-256(digits) ‖ SHA-256(idA) ‖ SHA-256(idB) ‖ X ‖ Y ‖ K )
//! ```
//! The two sides do not know yet whether they have the same key: that is for the first message
//! under it to show.

use core::fmt;

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity;
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroizing;

use crate::primitives::bridge::Bridge;
use crate::secrets::Secret;

/// Bytes of either message: whose it is, and a compressed point.
pub const MESSAGE_BYTES: usize = 33;

/// The other side's message is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PakeError {
    /// Not 33 bytes.
    #[error("the other side's message has {bytes} bytes instead of {MESSAGE_BYTES}")]
    Length {
        /// Bytes it has.
        bytes: usize,
    },
    /// Not a message of the other side: one's own, sent back, for instance.
    #[error("the other side's message is not one of the other side")]
    Side,
    /// No canonical point of the large group: nothing, or something of small order, in it.
    #[error("the other side's message holds no acceptable point")]
    Point,
}

/// Names both sides to the key: the same two on both.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Who sends first.
    pub first: &'a [u8],
    /// Who answers.
    pub second: &'a [u8],
}

/// One side that has said its part and waits for the other's.
pub struct Side(Spake2<Ed25519Group>);

impl Side {
    /// The one who sends first, and its message.
    pub fn first(
        digits: &[u8],
        names: Names<'_>,
        rng: &mut impl rand_core::CryptoRng,
    ) -> (Self, Vec<u8>) {
        let (state, message) = Spake2::start_a_with_rng(
            &Password::new(digits),
            &Identity::new(names.first),
            &Identity::new(names.second),
            Bridge(rng),
        );
        (Self(state), message)
    }

    /// The one who answers, and its message.
    pub fn second(
        digits: &[u8],
        names: Names<'_>,
        rng: &mut impl rand_core::CryptoRng,
    ) -> (Self, Vec<u8>) {
        let (state, message) = Spake2::start_b_with_rng(
            &Password::new(digits),
            &Identity::new(names.first),
            &Identity::new(names.second),
            Bridge(rng),
        );
        (Self(state), message)
    }

    /// The key that both sides have if, and only if, both know the same digits.
    ///
    /// # Errors
    /// [`PakeError`].
    pub fn finish(self, message: &[u8]) -> Result<Secret<32>, PakeError> {
        check(message)?;
        let key = self.0.finish(message).map_err(|error| match error {
            spake2::Error::BadSide => PakeError::Side,
            spake2::Error::CorruptMessage => PakeError::Point,
            spake2::Error::WrongLength => PakeError::Length {
                bytes: message.len(),
            },
        })?;
        // SHA-256 has 32 bytes.
        Secret::from_slice(&Zeroizing::new(key)).ok_or(PakeError::Point)
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// spake2 takes every point of the curve. Only those of the large group in their one encoding
/// are sent by an honest side; the others would tell the relay a few bits of a scalar, or leave
/// a key that depends on less than both sides.
fn check(message: &[u8]) -> Result<(), PakeError> {
    let bytes = message.len();
    let message: &[u8; MESSAGE_BYTES] = message
        .try_into()
        .map_err(|_| PakeError::Length { bytes })?;
    let point = message.last_chunk::<32>().ok_or(PakeError::Point)?;
    let encoded = CompressedEdwardsY(*point);
    let point = encoded.decompress().ok_or(PakeError::Point)?;
    if point.is_identity() || !point.is_torsion_free() || point.compress() != encoded {
        return Err(PakeError::Point);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use proptest::prelude::{any, prop, proptest};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::{Names, PakeError, Side};
    use crate::secrets::Secret;

    const NAMES: Names<'_> = Names {
        first: b"tablet",
        second: b"phone",
    };

    fn rng(seed: u8) -> ChaCha20Rng {
        ChaCha20Rng::from_seed([seed; 32])
    }

    fn run(digits: [&[u8]; 2], names: [Names<'_>; 2]) -> (Secret<32>, Secret<32>) {
        let (a, first) = Side::first(digits[0], names[0], &mut rng(1));
        let (b, second) = Side::second(digits[1], names[1], &mut rng(2));
        (a.finish(&second).unwrap(), b.finish(&first).unwrap())
    }

    #[test]
    fn the_same_digits_and_names_make_the_same_key_and_others_do_not() {
        let (a, b) = run([b"9047716", b"9047716"], [NAMES, NAMES]);
        assert!(a == b);
        let (a, b) = run([b"9047716", b"9047717"], [NAMES, NAMES]);
        assert!(a != b);
        let other = Names {
            first: b"tablet",
            second: b"another",
        };
        let (a, b) = run([b"9047716", b"9047716"], [NAMES, other]);
        assert!(a != b);
    }

    #[test]
    fn every_run_has_a_key_of_its_own() {
        let key = |seed| {
            let (a, _) = Side::first(b"1", NAMES, &mut rng(seed));
            let (_, second) = Side::second(b"1", NAMES, &mut rng(9));
            a.finish(&second).unwrap()
        };
        assert!(key(1) == key(1));
        assert!(key(1) != key(2));
    }

    #[test]
    fn our_own_message_sent_back_is_refused() {
        let (a, first) = Side::first(b"1", NAMES, &mut rng(1));
        assert_eq!(a.finish(&first).unwrap_err(), PakeError::Side);
        let (b, second) = Side::second(b"1", NAMES, &mut rng(1));
        assert_eq!(b.finish(&second).unwrap_err(), PakeError::Side);
    }

    /// The eight points of small order, and the other spellings of some of them.
    const SMALL_ORDER: [&str; 14] = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];

    #[test]
    fn points_of_small_order_and_what_hides_one_are_refused() {
        use curve25519_dalek::edwards::CompressedEdwardsY;
        let finish = |side: u8, point: &[u8]| {
            let (b, _) = Side::second(b"1", NAMES, &mut rng(2));
            b.finish(&[&[side], point].concat())
        };
        let (_, honest) = Side::first(b"1", NAMES, &mut rng(1));
        assert!(finish(b'A', &honest[1..]).is_ok());
        let honest = CompressedEdwardsY(honest[1..].try_into().unwrap());
        let honest = honest.decompress().unwrap();
        for small in SMALL_ORDER {
            let bytes: [u8; 32] = hex::decode(small).unwrap().try_into().unwrap();
            assert_eq!(finish(b'A', &bytes), Err(PakeError::Point), "{small}");
            let Some(point) = CompressedEdwardsY(bytes).decompress() else {
                continue;
            };
            let mixed = (honest + point).compress();
            let is_zero = mixed == honest.compress();
            assert_eq!(finish(b'A', mixed.as_bytes()).is_ok(), is_zero, "{small}");
        }
    }

    #[test]
    fn every_length_but_one_is_refused() {
        let (_, first) = Side::first(b"1", NAMES, &mut rng(1));
        let longer = [&first[..], &[0]].concat();
        for message in (0..33).map(|len| &first[..len]).chain([&longer[..]]) {
            let (b, _) = Side::second(b"1", NAMES, &mut rng(2));
            let bytes = message.len();
            assert_eq!(b.finish(message), Err(PakeError::Length { bytes }));
        }
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(message in prop::collection::vec(any::<u8>(), 0..70), point: [u8; 32]) {
            for message in [&message[..], &[b"A", &point[..]].concat()] {
                let (b, _) = Side::second(b"1", NAMES, &mut rng(2));
                let _ = b.finish(message);
            }
        }
    }
}
