//! What stands in the QR code on a guardian's phone.
//!
//! ```text
//! kinline:pair:1:<base64url of body ‖ checksum 4>
//! body     = role 1 ‖ expires 8 BE ‖ rendezvous 16 ‖ secret 16
//!          ‖ length 2 BE ‖ relay address ‖ length 2 BE ‖ admission code
//! checksum = first four bytes of SHA-256("kinline:pair:1:" ‖ length 8 BE ‖ body)
//! ```
//! The checksum tells a misread code from one of another version or purpose; it is no secret
//! and protects from nobody. Codes of other purposes have another word in place of `pair`,
//! and are another type.

use core::fmt;
use core::str::FromStr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::day::Timestamp;
use crate::ids::RendezvousId;
use crate::primitives::hash;
use crate::secrets::Secret;
use crate::server_name::{RelayAddress, RelayAddressError};

/// Longest text of a code: a QR code of version 40 would hold more, a screen does not show it.
pub const CODE_TEXT_BYTES_MAX: usize = 1_024;
/// Bytes of the admission code inside, at most.
const ADMISSION_BYTES_MAX: usize = 128;
const SCHEME: &str = "kinline:";
const VERSION: &str = "1";
const PREFIX: &str = "kinline:pair:1:";
const CHECKSUM_BYTES: usize = 4;

/// What a code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `kinline:pair:`: a new device joins its family.
    Pair,
    /// `kinline:meet:`: guardians of two families meet, so that their children may write to each other.
    Meet,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Pair, Self::Meet];

    const fn word(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Meet => "meet",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pair => "pairing a new device with its family",
            Self::Meet => "meeting another family",
        })
    }
}

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
    /// Opens a mailbox on a relay that asks for admission; empty on an open one. At most 128 bytes.
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

/// Why a text is no pairing code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Does not begin with `kinline:`.
    #[error("this is not a Kinline code: a pairing code begins with {PREFIX}")]
    Foreign,
    /// Longer than any code.
    #[error(
        "this is not a pairing code: it has {bytes} characters, a code has at most {CODE_TEXT_BYTES_MAX}"
    )]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
    },
    /// A Kinline code, for something else.
    #[error("this code is for {found}, not for {}", Purpose::Pair)]
    OtherPurpose {
        /// What it is for.
        found: Purpose,
    },
    /// A Kinline code for something that this version does not know.
    #[error(
        "this Kinline code is for something that this version does not know, not for {}",
        Purpose::Pair
    )]
    UnknownPurpose,
    /// A pairing code of another version.
    #[error(
        "this pairing code is of version {found}, this device reads version {VERSION}: update the older of the two"
    )]
    Version {
        /// Its version, shortened.
        found: String,
    },
    /// A character is missing or wrong.
    #[error("the pairing code is damaged, a character is missing or wrong: scan it again")]
    Damaged,
    /// Undamaged, but its fields are not where they should be.
    #[error("the pairing code is incomplete: its {field} is missing or has no known value")]
    Field {
        /// Which field.
        field: &'static str,
    },
    /// Undamaged, but it names no relay.
    #[error("the pairing code names no usable relay")]
    Relay(#[source] RelayAddressError),
}

impl PairingCode {
    /// The text for the QR code; it is as secret as the screen that shows it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = self.body();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*bytes))
    }

    /// Whether the code is past its time at `now`.
    #[must_use]
    pub const fn is_expired(&self, now: Timestamp) -> bool {
        now.0 / 1_000 >= self.expires_unix_seconds
    }

    /// The bytes that both sides hash into their handshake, so that they agree on all of them.
    pub(super) fn body(&self) -> Zeroizing<Vec<u8>> {
        // The whole length is reserved: growing would leave copies of the secret behind.
        let mut body = Zeroizing::new(Vec::with_capacity(CODE_TEXT_BYTES_MAX));
        body.push(match self.role {
            PairingRole::Child => 1,
            PairingRole::Guardian => 2,
        });
        body.extend_from_slice(&self.expires_unix_seconds.to_be_bytes());
        body.extend_from_slice(self.rendezvous.as_bytes());
        body.extend_from_slice(self.secret.expose());
        for text in [&self.relay.to_string(), &self.admission] {
            // Addresses and admission codes are far shorter than 64 KiB.
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        body
    }
}

impl FromStr for PairingCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let text = text.trim();
        if text.len() > CODE_TEXT_BYTES_MAX {
            return Err(CodeError::TooLong { bytes: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(CodeError::Foreign)?;
        let (word, rest) = rest.split_once(':').ok_or(CodeError::Damaged)?;
        match Purpose::ALL.into_iter().find(|known| known.word() == word) {
            Some(Purpose::Pair) => {}
            Some(found) => return Err(CodeError::OtherPurpose { found }),
            None => return Err(CodeError::UnknownPurpose),
        }
        let (version, encoded) = rest.split_once(':').ok_or(CodeError::Damaged)?;
        if version != VERSION {
            return Err(CodeError::Version {
                found: version.chars().take(8).collect(),
            });
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map(Zeroizing::new)
            .map_err(|_| CodeError::Damaged)?;
        let (body, sum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(CodeError::Damaged)?;
        if *sum != checksum(body) {
            return Err(CodeError::Damaged);
        }
        read_body(body)
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = hash::labelled(PREFIX.as_bytes(), &[body]);
    [a, b, c, d]
}

fn read_body(body: &[u8]) -> Result<PairingCode, CodeError> {
    let (role, rest) = fixed::<1>(body, "role")?;
    let role = match role {
        [1] => PairingRole::Child,
        [2] => PairingRole::Guardian,
        _ => return Err(CodeError::Field { field: "role" }),
    };
    let (expires, rest) = fixed::<8>(rest, "expiry")?;
    let (rendezvous, rest) = fixed::<16>(rest, "meeting point")?;
    let (secret, rest) = fixed::<16>(rest, "secret")?;
    let (relay, rest) = counted(rest, "relay address")?;
    let (admission, rest) = counted(rest, "admission code")?;
    if admission.len() > ADMISSION_BYTES_MAX {
        return Err(CodeError::Field {
            field: "admission code",
        });
    }
    if !rest.is_empty() {
        return Err(CodeError::Field { field: "end" });
    }
    Ok(PairingCode {
        relay: relay.parse().map_err(CodeError::Relay)?,
        rendezvous: RendezvousId::new(*rendezvous),
        secret: Secret::new(*secret),
        admission: admission.to_owned(),
        role,
        expires_unix_seconds: u64::from_be_bytes(*expires),
    })
}

fn fixed<'a, const N: usize>(
    bytes: &'a [u8],
    field: &'static str,
) -> Result<(&'a [u8; N], &'a [u8]), CodeError> {
    bytes
        .split_first_chunk::<N>()
        .ok_or(CodeError::Field { field })
}

fn counted<'a>(bytes: &'a [u8], field: &'static str) -> Result<(&'a str, &'a [u8]), CodeError> {
    let missing = CodeError::Field { field };
    let (length, rest) = fixed::<2>(bytes, field)?;
    let (text, rest) = rest
        .split_at_checked(usize::from(u16::from_be_bytes(*length)))
        .ok_or(missing.clone())?;
    Ok((core::str::from_utf8(text).map_err(|_| missing)?, rest))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::{any, prop, proptest};

    use super::{CodeError, PREFIX, PairingCode, PairingRole, Purpose, checksum};
    use crate::day::Timestamp;
    use crate::ids::RendezvousId;
    use crate::secrets::Secret;
    use crate::server_name::{Pin, RelayAddress};

    fn code() -> PairingCode {
        PairingCode {
            relay: RelayAddress {
                host: "relay.example.org".into(),
                port: 8_443,
                pin: Some(Pin([7; 32])),
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
        let bytes = [body, &checksum(body)].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
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
    fn a_code_for_another_purpose_names_both() {
        let meet = code().to_text().replace("pair", "meet");
        let error = parse(&meet).unwrap_err();
        let found = Purpose::Meet;
        assert_eq!(error, CodeError::OtherPurpose { found });
        assert_eq!(
            error.to_string(),
            "this code is for meeting another family, not for pairing a new device with its family"
        );
        let other = code().to_text().replace("pair", "vote");
        assert_eq!(parse(&other), Err(CodeError::UnknownPurpose));
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
        wordy.admission = "x".repeat(129);
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
