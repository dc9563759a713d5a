//! Login names: any text, which never leaves the device. What the relay sees in its place is
//! 32 bytes that cost one Argon2id to test a guess against.

use unicode_normalization::UnicodeNormalization as _;

use crate::ids::AccountId;
use crate::labels;
use crate::primitives::hash;
use crate::primitives::stretching::{Stretching, StretchingError};

/// Bytes of a login name.
pub const LOGIN_NAME_BYTES_MAX: usize = 256;

/// Why a login name can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginNameError {
    /// Nothing but spaces.
    #[error("a login name must not be empty")]
    Empty,
    /// Too long.
    #[error("a login name has at most {LOGIN_NAME_BYTES_MAX} bytes")]
    TooLong,
    /// It can't be stretched so.
    #[error(transparent)]
    Stretching(#[from] StretchingError),
}

/// A login name in the form that is stretched: compatibility-composed (NFKC), in lower case,
/// without spaces around it and with one space where there were several.
///
/// # Errors
/// [`LoginNameError`].
pub fn normalise(name: &str) -> Result<String, LoginNameError> {
    if name.len() > LOGIN_NAME_BYTES_MAX {
        return Err(LoginNameError::TooLong);
    }
    let lower: String = name.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    let words: Vec<&str> = lower.split_whitespace().collect();
    if words.is_empty() {
        return Err(LoginNameError::Empty);
    }
    Ok(words.join(" "))
}

/// The account id of a login name at a relay: Argon2id over the normalised name, salted with the
/// relay's name, so that one guess serves at one relay only.
///
/// # Errors
/// [`LoginNameError`].
pub fn account_id(
    name: &str,
    server_name: &str,
    stretching: Stretching,
) -> Result<AccountId, LoginNameError> {
    let name = normalise(name)?;
    let salt = hash::labelled(labels::HASH_LOGIN, &[server_name.as_bytes()]);
    let salt = salt.first_chunk::<16>().copied().unwrap_or_default();
    let mut id = [0; 32];
    stretching.stretch(name.as_bytes(), &salt, &mut id)?;
    Ok(AccountId::new(id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{LoginNameError, account_id, normalise};
    use crate::primitives::stretching::Stretching;

    #[test]
    fn one_name_however_it_is_typed() {
        for name in [
            "Müller  Anna",
            " müller anna ",
            "MU\u{308}LLER\tANNA",
            "müller\u{a0}anna",
        ] {
            assert_eq!(normalise(name).unwrap(), "müller anna");
        }
        assert_ne!(normalise("muller anna").unwrap(), "müller anna");
        assert_eq!(normalise("  "), Err(LoginNameError::Empty));
        assert_eq!(normalise(&"a".repeat(257)), Err(LoginNameError::TooLong));
    }

    #[test]
    fn an_id_is_of_one_name_at_one_relay() {
        let cheap = Stretching::cheap_for_tests(16, 1, 1).unwrap();
        let id = |name, relay| account_id(name, relay, cheap).unwrap();
        assert_eq!(id("anna", "pin:a"), id(" Anna", "pin:a"));
        assert_ne!(id("anna", "pin:a"), id("anna", "pin:b"));
        assert_ne!(id("anna", "pin:a"), id("hanna", "pin:a"));
    }
}
