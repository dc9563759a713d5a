//! The recovery code that a guardian prints: 128 bits as twelve words (BIP 39, English), or as
//! the text of a QR code.
//!
//! Twelve words carry 4 bits of check, so fifteen of sixteen slips are seen before anything is
//! tried; what slips through opens nothing ([`super::VaultError::Code`]).

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bip39::{Language, Mnemonic};

use crate::secrets::Secret;

/// Before the text of a QR code.
const PREFIX: &str = "kinline:recover:1:";
/// Words of a code.
const WORDS: usize = 12;
/// Characters of anything that can be a code: twelve words of eight letters, spaced generously.
const CHARACTERS_MAX: usize = 1_024;

/// A recovery code, erased when dropped and never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryCode(Secret<16>);

/// Why something is no recovery code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Another number of words.
    #[error("a recovery code has {WORDS} words; these are {found}")]
    Words {
        /// How many there are.
        found: usize,
    },
    /// A word that is in no code.
    #[error("word {at} is in no recovery code: look at its spelling")]
    Word {
        /// Its place, from 1.
        at: usize,
    },
    /// The words don't belong together.
    #[error("these words don't belong together: one is wrong, or two have changed places")]
    Check,
    /// A code of another purpose.
    #[error("that is a code to pair a device or to meet a family, no recovery code")]
    OtherPurpose,
    /// The text of a QR code, damaged.
    #[error("that is no recovery code, or a part of it is missing")]
    Damaged,
}

impl RecoveryCode {
    /// Draws a new one.
    pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 16] {
        self.0.expose()
    }

    /// Twelve words in lower case, one space between two: to be printed, not to be stored.
    #[must_use]
    pub fn words(&self) -> String {
        let mnemonic = Mnemonic::from_entropy_in(Language::English, self.0.expose());
        // 16 bytes are a length that BIP 39 knows.
        mnemonic.map_or_else(|_| String::new(), |mnemonic| mnemonic.to_string())
    }

    /// The text of its QR code.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0.expose()))
    }
}

impl FromStr for RecoveryCode {
    type Err = CodeError;

    /// Reads words in any case and spacing, numbered or not, or the text of a QR code.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let text = text.trim();
        if text.len() > CHARACTERS_MAX {
            return Err(CodeError::Damaged);
        }
        if let Some(text) = text.strip_prefix(PREFIX) {
            return URL_SAFE_NO_PAD
                .decode(text)
                .ok()
                .and_then(|bytes| Secret::from_slice(&bytes))
                .map(Self)
                .ok_or(CodeError::Damaged);
        }
        if text.starts_with("kinline:") || text.starts_with("wss:") {
            return Err(CodeError::OtherPurpose);
        }
        // As printed: "1. word 2. word …".
        let words: Vec<String> = text
            .split(|it: char| !it.is_alphabetic())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        if words.is_empty() && text.chars().any(|it| it.is_ascii_digit()) {
            return Err(CodeError::OtherPurpose);
        }
        if words.len() != WORDS {
            return Err(CodeError::Words { found: words.len() });
        }
        let unknown = |word: &String| Language::English.find_word(word).is_none();
        if let Some(at) = words.iter().position(unknown) {
            return Err(CodeError::Word { at: at + 1 });
        }
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &words.join(" "))
            .map_err(|_| CodeError::Check)?;
        let (bytes, len) = mnemonic.to_entropy_array();
        bytes
            .get(..len)
            .and_then(Secret::from_slice)
            .map(Self)
            .ok_or(CodeError::Check)
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{CodeError, RecoveryCode};
    use crate::secrets::Secret;

    /// From BIP 39's own test vectors.
    const ENTROPY: [u8; 16] = [0x7f; 16];
    const WORDS: &str =
        "legal winner thank year wave sausage worth useful legal winner thank yellow";

    #[test]
    fn words_are_those_of_bip_39() {
        let code = RecoveryCode(Secret::new(ENTROPY));
        assert_eq!(code.words(), WORDS);
        assert_eq!(WORDS.parse::<RecoveryCode>().unwrap(), code);
        assert_eq!(code.text().parse::<RecoveryCode>().unwrap(), code);
        assert_eq!(format!("{code:?}"), "[secret]");
    }

    #[test]
    fn it_is_read_as_people_write_it() {
        let code = RecoveryCode(Secret::new(ENTROPY));
        let numbered: Vec<String> = WORDS
            .split(' ')
            .enumerate()
            .map(|(at, word)| format!("{}. {}", at + 1, word.to_uppercase()))
            .collect();
        for text in [
            numbered.join("\n"),
            format!("  {}  ", WORDS.replace(' ', "   ")),
        ] {
            assert_eq!(text.parse::<RecoveryCode>().unwrap(), code);
        }
    }

    #[test]
    fn what_is_typed_wrong_is_said() {
        let wrong = |text: &str| text.parse::<RecoveryCode>().unwrap_err();
        assert_eq!(
            wrong(&WORDS.replace(" yellow", "")),
            CodeError::Words { found: 11 }
        );
        assert_eq!(
            wrong(&WORDS.replace("sausage", "sausagge")),
            CodeError::Word { at: 6 }
        );
        assert_eq!(wrong(&WORDS.replace("yellow", "year")), CodeError::Check);
        assert_eq!(wrong("kinline:recover:1:abc"), CodeError::Damaged);
        assert_eq!(wrong(&"a ".repeat(600)), CodeError::Damaged);
    }

    #[test]
    fn codes_of_other_purposes_are_refused_by_name() {
        for text in [
            "kinline:pair:1:AAAA",
            "kinline:meet:1:AAAA",
            "123 4567 890 1234",
            "wss://relay.example#pin=AAAA",
        ] {
            let error = text.parse::<RecoveryCode>().unwrap_err();
            assert_eq!(error, CodeError::OtherPurpose, "{text}");
        }
    }
}
