//! What stands in the QR code on a guardian's phone.
//!
//! ```text
//! kinline:pair:1:<base64url of body ‖ checksum 4>
//! body     = role 1 ‖ expires 8 BE ‖ rendezvous 16 ‖ secret 16
//!          ‖ length 2 BE ‖ relay address ‖ length 2 BE ‖ admission code
//! ```

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
use crate::ticket;

/// Bytes of the admission code inside, at most: a ticket's text, the longest that admits.
const ADMISSION_BYTES_MAX: usize = ticket::TEXT_BYTES;

/// As what the scanning device joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairingRole {
    /// A child's tablet.
    Child,
    /// A guardian's phone; it brings an identity key of its own.
    Guardian,
}

/// A pairing code. Whoever reads it within its time can ask to join; the guardian still confirms.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode {
    /// Where both meet, with the pin of a relay that has its own CA.
    pub relay: RelayAddress,
    /// The meeting point on it.
    pub rendezvous: RendezvousId,
    /// What both sides know and the relay does not.
    pub secret: Secret<16>,
    /// Opens a mailbox on a relay that asks for admission: a code or a ticket; empty on an open
    /// one. At most 142 bytes.
    pub admission: String,
    /// As what the scanning device joins.
    pub role: PairingRole,
    /// Seconds since 1970-01-01 UTC after which the code is worthless.
    pub expires_unix_seconds: u64,
}

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingCode")
            .field("rendezvous", &self.rendezvous)
            .field("secret", &self.secret)
            .field("role", &self.role)
            .field("expires_unix_seconds", &self.expires_unix_seconds)
            .finish_non_exhaustive()
    }
}

impl PairingCode {
    /// The text for the QR code; it is as secret as the screen that shows it.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::write(Purpose::Pair, self.body())
    }

    /// Whether the code is past its time at `now`.
    #[must_use]
    pub const fn is_expired(&self, now: Timestamp) -> bool {
        now.0 / 1_000 >= self.expires_unix_seconds
    }

    /// The bytes that both sides hash into their handshake, so that they agree on all of them.
    pub(super) fn body(&self) -> Zeroizing<Vec<u8>> {
        let mut body = text::body();
        body.push(match self.role {
            PairingRole::Child => 1,
            PairingRole::Guardian => 2,
        });
        body.extend_from_slice(&self.expires_unix_seconds.to_be_bytes());
        body.extend_from_slice(self.rendezvous.as_bytes());
        body.extend_from_slice(self.secret.expose());
        text::put_counted(&mut body, &self.relay.to_string());
        text::put_counted(&mut body, &self.admission);
        body
    }
}

impl FromStr for PairingCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let body = text::read(Purpose::Pair, text)?;
        let (role, rest) = text::fixed::<1>(&body, "role")?;
        let role = match role {
            [1] => PairingRole::Child,
            [2] => PairingRole::Guardian,
            _ => return Err(CodeError::Field { field: "role" }),
        };
        let (expires, rest) = text::fixed::<8>(rest, "expiry")?;
        let (rendezvous, rest) = text::fixed::<16>(rest, "meeting point")?;
        let (secret, rest) = text::fixed::<16>(rest, "secret")?;
        let (relay, rest) = text::counted(rest, "relay address")?;
        let (admission, rest) = text::counted(rest, "admission code")?;
        if admission.len() > ADMISSION_BYTES_MAX {
            return Err(CodeError::Field {
                field: "admission code",
            });
        }
        text::end(rest)?;
        Ok(Self {
            relay: relay.parse().map_err(CodeError::Relay)?,
            rendezvous: RendezvousId::new(*rendezvous),
            secret: Secret::new(*secret),
            admission: admission.to_owned(),
            role,
            expires_unix_seconds: u64::from_be_bytes(*expires),
        })
    }
}

impl HandshakeCode for PairingCode {
    /// Everything that the code says is agreed upon: role and expiry as well as the secret.
    fn prologue(&self) -> Zeroizing<Vec<u8>> {
        self.body()
    }

    /// Bound to the meeting point and the relay: a code copied onto another relay opens nothing.
    fn pre_shared_key(&self) -> Secret<32> {
        kdf::derive(
            self.secret.expose(),
            labels::KDF_PAIRING,
            &[
                self.rendezvous.as_bytes(),
                self.relay.server_name().as_bytes(),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use proptest::prelude::{any, prop, proptest};
    use zeroize::Zeroizing;

    use super::{CodeError, PairingCode, PairingRole, Purpose, text, ticket};
    use crate::day::Timestamp;
    use crate::ids::RendezvousId;
    use crate::secrets::Secret;
    use crate::server_name::{Pin, RelayAddress};

    const PREFIX: &str = "kinline:pair:1:";

    fn code() -> PairingCode {
        PairingCode {
            relay: RelayAddress {
                host: "relay.example.org".into(),
                port: 8_443,
                pin: Some(Pin([7; 32])),
                operator: None,
            },
            rendezvous: RendezvousId::new([1; 16]),
            secret: Secret::new([2; 16]),
            admission: "plum-42".into(),
            role: PairingRole::Child,
            expires_unix_seconds: 1_800_000_000,
        }
    }

    fn parse(text: &str) -> Result<PairingCode, CodeError> {
        text.parse()
    }

    fn text_of(body: &[u8]) -> String {
        text::write(Purpose::Pair, Zeroizing::new(body.to_vec()))
    }

    #[test]
    fn round_trip() {
        for role in [PairingRole::Child, PairingRole::Guardian] {
            for pin in [None, Some(Pin([7; 32]))] {
                for admission in ["", "plum-42"] {
                    let mut code = code();
                    (code.role, code.relay.pin) = (role, pin);
                    code.admission = admission.into();
                    assert_eq!(parse(&format!(" {}\n", code.to_text())), Ok(code));
                }
            }
        }
    }

    #[test]
    fn it_fits_a_qr_code_that_a_cheap_camera_reads() {
        // Version 10 with medium correction holds 213 bytes.
        assert!(code().to_text().len() <= 230, "{}", code().to_text().len());
    }

    #[test]
    fn a_ticket_fits_and_the_qr_code_stays_readable() {
        let mut code = code();
        code.admission = format!("{}{}", ticket::TEXT_PREFIX, "A".repeat(135));
        assert_eq!(code.admission.len(), 142);
        let text = code.to_text();
        assert_eq!(parse(&text), Ok(code));
        // Version 16 with medium correction holds 450 bytes.
        assert!(text.len() <= 450, "{}", text.len());
    }

    #[test]
    fn a_code_for_another_purpose_names_both() {
        let meet = code().to_text().replace("pair", "meet");
        let error = parse(&meet).unwrap_err();
        let (found, wanted) = (Purpose::Meet, Purpose::Pair);
        assert_eq!(error, CodeError::OtherPurpose { found, wanted });
        assert_eq!(
            error.to_string(),
            "this code is for meeting another family, not for pairing a new device with its family"
        );
        let other = code().to_text().replace("pair", "vote");
        assert_eq!(parse(&other), Err(CodeError::UnknownPurpose { wanted }));
    }

    #[test]
    fn damage_is_told_from_another_version_and_from_something_else() {
        let text = code().to_text();
        assert_eq!(parse("https://example.org"), Err(CodeError::Foreign));
        assert_eq!(parse(""), Err(CodeError::Foreign));
        assert_eq!(parse("kinline:"), Err(CodeError::Damaged));
        assert_eq!(parse("kinline:pair:1:"), Err(CodeError::Damaged));
        let newer = text.replace("pair:1:", "pair:2:");
        assert_eq!(parse(&newer), Err(CodeError::Version { found: "2".into() }));
        let bytes = 1_025;
        assert_eq!(parse(&"k".repeat(bytes)), Err(CodeError::TooLong { bytes }));
        for at in PREFIX.len()..text.len() {
            let mut typo = text.clone().into_bytes();
            typo[at] = if typo[at] == b'A' { b'B' } else { b'A' };
            let typo = String::from_utf8(typo).unwrap();
            assert_eq!(parse(&typo), Err(CodeError::Damaged), "{at}");
            assert_eq!(parse(&text[..at]), Err(CodeError::Damaged), "{at}");
        }
    }

    #[test]
    fn undamaged_nonsense_is_refused_field_by_field() {
        let body = code().body().to_vec();
        assert_eq!(parse(&text_of(&body)), Ok(code()));
        for len in 0..body.len() {
            let result = parse(&text_of(&body[..len]));
            assert!(matches!(result, Err(CodeError::Field { .. })), "{len}");
        }
        let longer = [&body[..], &[0]].concat();
        assert_eq!(
            parse(&text_of(&longer)),
            Err(CodeError::Field { field: "end" })
        );
        let mut other = body.clone();
        other[0] = 3;
        assert_eq!(
            parse(&text_of(&other)),
            Err(CodeError::Field { field: "role" })
        );
        let mut other = body;
        other[43] = b'x'; // the address's first letter
        assert!(matches!(parse(&text_of(&other)), Err(CodeError::Relay(_))));
        let mut wordy = code();
        wordy.admission = "x".repeat(143);
        assert_eq!(
            parse(&wordy.to_text()),
            Err(CodeError::Field {
                field: "admission code"
            })
        );
    }

    #[test]
    fn it_expires_with_its_last_second() {
        let last = code().expires_unix_seconds * 1_000;
        assert!(!code().is_expired(Timestamp(last - 1)));
        assert!(code().is_expired(Timestamp(last)));
    }

    #[test]
    fn debug_prints_no_secret() {
        let shown = format!("{:?}", code());
        assert!(shown.contains("secret: [secret]"), "{shown}");
        assert!(!shown.contains("plum-42"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", [2_u8; 16])), "{shown}");
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(text in ".{0,200}", body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
            let _ = parse(&format!("{PREFIX}{text}"));
            let _ = parse(&text_of(&body));
        }

        #[test]
        fn changed_bodies_do_not_panic(at in 0..100_usize, change in any::<u8>()) {
            let mut body = code().body().to_vec();
            let at = at % body.len();
            body[at] ^= change;
            if let Ok(read) = parse(&text_of(&body)) {
                assert_eq!(parse(&read.to_text()), Ok(read));
            }
        }
    }
}
