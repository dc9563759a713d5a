//! How every code of ours is written as text, and why a text is none.
//!
//! ```text
//! kinline:<word>:1:<base64url of body ‖ checksum 4>
//! checksum = first four bytes of SHA-256("kinline:<word>:1:" ‖ length 8 BE ‖ body)
//! ```
//! The checksum tells a misread code from one of another version or purpose; it is no secret
//! and protects from nobody. Each purpose has a word and a type of its own.

use core::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::short::SHORT_CODE_DIGITS;
use crate::primitives::hash;
use crate::server_name::RelayAddressError;

/// Longest text of a code: a QR code of version 40 would hold more, a screen does not show it.
pub const CODE_TEXT_BYTES_MAX: usize = 1_024;
pub(super) const SCHEME: &str = "kinline:";
const VERSION: &str = "1";
const CHECKSUM_BYTES: usize = 4;

/// What a code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `kinline:pair:`, or a short code that begins with 1 or 2: a new device joins its family.
    Pair,
    /// `kinline:meet:`, or a short code that begins with 3: guardians of two families meet, so
    /// that their children may write to each other.
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

    fn prefix(self) -> String {
        format!("{SCHEME}{}:{VERSION}:", self.word())
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

/// Why a text is not the code that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Neither begins with `kinline:` nor is made of digits.
    #[error(
        "this is not a Kinline code: one begins with {SCHEME}, or has {SHORT_CODE_DIGITS} digits"
    )]
    Foreign,
    /// Longer than any code.
    #[error(
        "this is not a Kinline code: it has {bytes} characters, a code has at most {CODE_TEXT_BYTES_MAX}"
    )]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
    },
    /// A Kinline code, for something else.
    #[error("this code is for {found}, not for {wanted}")]
    OtherPurpose {
        /// What it is for.
        found: Purpose,
        /// What was asked for.
        wanted: Purpose,
    },
    /// A Kinline code for something that this version does not know.
    #[error("this Kinline code is for something that this version does not know, not for {wanted}")]
    UnknownPurpose {
        /// What was asked for.
        wanted: Purpose,
    },
    /// A code of another version.
    #[error(
        "this code is of version {found}, this device reads version {VERSION}: update the older of the two"
    )]
    Version {
        /// Its version, shortened.
        found: String,
    },
    /// A character is missing or wrong.
    #[error("the code is damaged, a character is missing or wrong: scan it again")]
    Damaged,
    /// Undamaged, but its fields are not where they should be.
    #[error("the code is incomplete: its {field} is missing or has no known value")]
    Field {
        /// Which field.
        field: &'static str,
    },
    /// Undamaged, but it names no relay.
    #[error("the code names no usable relay")]
    Relay(#[source] RelayAddressError),
    /// A short code with a digit too few or too many.
    #[error("a short code has {SHORT_CODE_DIGITS} digits, this one has {digits}")]
    Digits {
        /// Digits it has.
        digits: usize,
    },
    /// A short code with something in it that is neither digit, space nor dash.
    #[error("a short code has digits only, with spaces and dashes between them")]
    NotADigit,
    /// The check digit of a short code does not fit the others; costs no try.
    #[error("a digit of this code is mistyped: compare it with the other screen and type it again")]
    Mistyped,
}

/// The text of a code.
pub(super) fn write(purpose: Purpose, mut body: Zeroizing<Vec<u8>>) -> String {
    let prefix = purpose.prefix();
    let sum = checksum(&prefix, &body);
    body.extend_from_slice(&sum);
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(&*body))
}

/// The body of a code for `wanted`.
pub(super) fn read(wanted: Purpose, text: &str) -> Result<Zeroizing<Vec<u8>>, CodeError> {
    let text = text.trim();
    if text.len() > CODE_TEXT_BYTES_MAX {
        return Err(CodeError::TooLong { bytes: text.len() });
    }
    let rest = text.strip_prefix(SCHEME).ok_or(CodeError::Foreign)?;
    let (word, rest) = rest.split_once(':').ok_or(CodeError::Damaged)?;
    match Purpose::ALL.into_iter().find(|known| known.word() == word) {
        Some(found) if found == wanted => {}
        Some(found) => return Err(CodeError::OtherPurpose { found, wanted }),
        None => return Err(CodeError::UnknownPurpose { wanted }),
    }
    let (version, encoded) = rest.split_once(':').ok_or(CodeError::Damaged)?;
    if version != VERSION {
        return Err(CodeError::Version {
            found: version.chars().take(8).collect(),
        });
    }
    let mut bytes = URL_SAFE_NO_PAD
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| CodeError::Damaged)?;
    let (body, sum) = bytes
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(CodeError::Damaged)?;
    if *sum != checksum(&wanted.prefix(), body) {
        return Err(CodeError::Damaged);
    }
    let length = body.len();
    bytes.truncate(length);
    Ok(bytes)
}

fn checksum(prefix: &str, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = hash::labelled(prefix.as_bytes(), &[body]);
    [a, b, c, d]
}

// ---- fields of a body

/// An empty body. The whole length is reserved: growing would leave copies of the secret behind.
pub(super) fn body() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(CODE_TEXT_BYTES_MAX))
}

pub(super) fn put_counted(body: &mut Vec<u8>, text: &str) {
    // Addresses and admission codes are far shorter than 64 KiB.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

pub(super) fn fixed<'a, const N: usize>(
    bytes: &'a [u8],
    field: &'static str,
) -> Result<(&'a [u8; N], &'a [u8]), CodeError> {
    bytes
        .split_first_chunk::<N>()
        .ok_or(CodeError::Field { field })
}

pub(super) fn counted<'a>(
    bytes: &'a [u8],
    field: &'static str,
) -> Result<(&'a str, &'a [u8]), CodeError> {
    let missing = CodeError::Field { field };
    let (length, rest) = fixed::<2>(bytes, field)?;
    let (text, rest) = rest
        .split_at_checked(usize::from(u16::from_be_bytes(*length)))
        .ok_or(missing.clone())?;
    Ok((core::str::from_utf8(text).map_err(|_| missing)?, rest))
}

pub(super) fn end(rest: &[u8]) -> Result<(), CodeError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(CodeError::Field { field: "end" })
    }
}
