//! What stands in the QR code with which two families meet.
//!
//! ```text
//! kinline:meet:1:<base64url of body ‖ checksum 4>
//! body     = expires 8 BE ‖ rendezvous 16 ‖ secret 16 ‖ length 2 BE ‖ relay address
//! ```
//! Another type than a [`PairingCode`](super::PairingCode): neither is taken for the other.

use core::fmt;
use core::str::FromStr;

use zeroize::Zeroizing;

use super::handshake::HandshakeCode;
use super::text::{self, CodeError, Purpose};
use crate::day::Timestamp;
use crate::ids::RendezvousId;
use crate::labels;
use crate::primitives::kdf;
use crate::secrets::Secret;
use crate::server_name::RelayAddress;

/// A meeting code. Whoever reads it within its time can show its family's card; both sides
/// still confirm.
#[derive(Clone, PartialEq, Eq)]
pub struct MeetCode {
    /// Where both meet, with the pin of a relay that has its own CA.
    pub relay: RelayAddress,
    /// The meeting point on it.
    pub rendezvous: RendezvousId,
    /// What both sides know and the relay does not.
    pub secret: Secret<16>,
    /// Seconds since 1970-01-01 UTC after which the code is worthless.
    pub expires_unix_seconds: u64,
}

impl fmt::Debug for MeetCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeetCode")
            .field("rendezvous", &self.rendezvous)
            .field("secret", &self.secret)
            .field("expires_unix_seconds", &self.expires_unix_seconds)
            .finish_non_exhaustive()
    }
}

impl MeetCode {
    /// The text for the QR code or a link; it is as secret as the screen that shows it.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::write(Purpose::Meet, self.body())
    }

    /// Whether the code is past its time at `now`.
    #[must_use]
    pub const fn is_expired(&self, now: Timestamp) -> bool {
        now.0 / 1_000 >= self.expires_unix_seconds
    }

    fn body(&self) -> Zeroizing<Vec<u8>> {
        let mut body = text::body();
        body.extend_from_slice(&self.expires_unix_seconds.to_be_bytes());
        body.extend_from_slice(self.rendezvous.as_bytes());
        body.extend_from_slice(self.secret.expose());
        text::put_counted(&mut body, &self.relay.to_string());
        body
    }
}

impl FromStr for MeetCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let body = text::read(Purpose::Meet, text)?;
        let (expires, rest) = text::fixed::<8>(&body, "expiry")?;
        let (rendezvous, rest) = text::fixed::<16>(rest, "meeting point")?;
        let (secret, rest) = text::fixed::<16>(rest, "secret")?;
        let (relay, rest) = text::counted(rest, "relay address")?;
        text::end(rest)?;
        Ok(Self {
            relay: relay.parse().map_err(CodeError::Relay)?,
            rendezvous: RendezvousId::new(*rendezvous),
            secret: Secret::new(*secret),
            expires_unix_seconds: u64::from_be_bytes(*expires),
        })
    }
}

impl HandshakeCode for MeetCode {
    fn prologue(&self) -> Zeroizing<Vec<u8>> {
        self.body()
    }

    /// Bound to the meeting point and the relay, under a label of its own: the same secret in a
    /// pairing code would make another key.
    fn pre_shared_key(&self) -> Secret<32> {
        kdf::derive(
            self.secret.expose(),
            labels::KDF_MEETING,
            &[
                self.rendezvous.as_bytes(),
                self.relay.server_name().as_bytes(),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use proptest::prelude::{any, prop, proptest};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use zeroize::Zeroizing;

    use super::{CodeError, MeetCode, Purpose, text};
    use crate::day::Timestamp;
    use crate::ids::RendezvousId;
    use crate::pairing::{HandshakeError, Initiator, PairingCode, PairingRole, Responder};
    use crate::secrets::Secret;

    fn code() -> MeetCode {
        MeetCode {
            relay: "wss://relay.example.org:8443".parse().unwrap(),
            rendezvous: RendezvousId::new([1; 16]),
            secret: Secret::new([2; 16]),
            expires_unix_seconds: 1_800_000_000,
        }
    }

    fn pairing() -> PairingCode {
        PairingCode {
            relay: code().relay,
            rendezvous: code().rendezvous,
            secret: code().secret,
            admission: String::new(),
            role: PairingRole::Guardian,
            expires_unix_seconds: code().expires_unix_seconds,
        }
    }

    fn rng(seed: u8) -> ChaCha20Rng {
        ChaCha20Rng::from_seed([seed; 32])
    }

    #[test]
    fn round_trip_and_expiry() {
        assert_eq!(format!(" {}\n", code().to_text()).parse(), Ok(code()));
        let last = code().expires_unix_seconds * 1_000;
        assert!(!code().is_expired(Timestamp(last - 1)));
        assert!(code().is_expired(Timestamp(last)));
        let shown = format!("{:?}", code());
        assert!(shown.contains("secret: [secret]"), "{shown}");
    }

    #[test]
    fn a_pairing_code_is_refused_in_its_place_and_it_in_a_pairing_codes() {
        let error = pairing().to_text().parse::<MeetCode>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "this code is for pairing a new device with its family, not for meeting another family"
        );
        let error = code().to_text().parse::<PairingCode>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "this code is for meeting another family, not for pairing a new device with its family"
        );
        // Nor does another word before the same bytes make one of the other.
        let disguised = pairing().to_text().replace("pair", "meet");
        assert_eq!(disguised.parse::<MeetCode>(), Err(CodeError::Damaged));
        let disguised = code().to_text().replace("meet", "pair");
        assert_eq!(disguised.parse::<PairingCode>(), Err(CodeError::Damaged));
    }

    #[test]
    fn undamaged_nonsense_is_refused_field_by_field() {
        let body = code().body().to_vec();
        let text_of = |body: &[u8]| text::write(Purpose::Meet, Zeroizing::new(body.to_vec()));
        assert_eq!(text_of(&body).parse(), Ok(code()));
        for len in 0..body.len() {
            let result = text_of(&body[..len]).parse::<MeetCode>();
            assert!(matches!(result, Err(CodeError::Field { .. })), "{len}");
        }
        let longer = text_of(&[&body[..], &[0]].concat()).parse::<MeetCode>();
        assert_eq!(longer, Err(CodeError::Field { field: "end" }));
    }

    #[test]
    fn two_who_have_it_meet_and_see_the_same_pictures() {
        let (scanned, first) = Initiator::start(&code(), &mut rng(1)).unwrap();
        let shown = Responder::new(&code(), &mut rng(2)).unwrap();
        let (mut shown, answer) = shown.answer(&first).unwrap();
        let mut scanned = scanned.finish(&answer).unwrap();
        assert_eq!(scanned.pictures(), shown.pictures());
        let card = scanned.seal(b"card").unwrap();
        assert_eq!(shown.open(&card).unwrap(), b"card");
    }

    #[test]
    fn the_same_secret_in_a_pairing_code_opens_nothing() {
        let (_, first) = Initiator::start(&pairing(), &mut rng(1)).unwrap();
        let shown = Responder::new(&code(), &mut rng(2)).unwrap();
        assert!(matches!(
            shown.answer(&first),
            Err(HandshakeError::WrongCode)
        ));
        let mut elsewhere = code();
        elsewhere.relay.host = "elsewhere.example.org".into();
        let (_, first) = Initiator::start(&elsewhere, &mut rng(1)).unwrap();
        let shown = Responder::new(&code(), &mut rng(2)).unwrap();
        assert!(shown.answer(&first).is_err());
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(text in ".{0,200}", body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = text.parse::<MeetCode>();
            let _ = text::write(Purpose::Meet, Zeroizing::new(body)).parse::<MeetCode>();
        }
    }
}
