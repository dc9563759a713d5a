//! Tests of guesses: what a login name or a password becomes that a thief could compute without
//! the relay's key file.
//!
//! A stolen hash is worth as much as the guesses that can be tested against it. So the true names
//! and passwords are taken, everything is computed that a thief could compute from a guess, and
//! if any of it lies in the loot, guesses can be tested: account ids (Argon2id under the relay's
//! name, PROTOCOL "accounts") as they are and hashed; hashes salted with, and HMACs under, each
//! stolen byte string. Hashes without a salt are spellings of every canary. What depends on
//! OPAQUE's secret (RFC 9807: the OPRF key) can't be computed without it, and it is in the key
//! file alone.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::canaries::Role;
use crate::loot::Loot;
use crate::{Canaries, Detector, Options};

/// Label of the salt that login names are stretched with (PROTOCOL).
const LOGIN_LABEL: &[u8] = b"kinline v1 hash login\0";
/// Names, and relays, that are stretched at most: each pair costs 64 MiB and a tenth of a second.
const STRETCHED_MAX: usize = 16;
/// Canaries that are taken as passwords where none is marked as one.
const UNMARKED_MAX: usize = 500;
/// A file that may say a relay's name.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Letters of a pin: base64url of 32 bytes.
const PIN_LETTERS: usize = 43;
/// Bytes of a block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// One thing that may have been hashed.
pub(crate) struct Guess {
    /// Whose it is.
    pub(crate) canary: usize,
    bytes: Vec<u8>,
}

/// An account id that was stretched.
pub(crate) struct AccountId {
    pub(crate) canary: usize,
    pub(crate) id: [u8; 32],
}

/// Names of relays: the caller's, and those that the loot's own files say.
pub(crate) fn server_names(loot: &Loot, options: &Options) -> Vec<String> {
    let mut names = options.server_names.clone();
    for file in loot.files.iter().filter(|file| file.bytes <= LOG_BYTES_MAX) {
        names.extend(names_in(&file.path));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// `pin=` and `pin:` with 43 letters: a relay with its own CA is named by its pin.
fn names_in(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let starts = bytes.windows(4).enumerate();
    let starts = starts.filter(|(_, four)| matches!(*four, b"pin=" | b"pin:"));
    let letters = |at: usize| {
        let from = at.saturating_add(4);
        let pin = bytes.get(from..from.saturating_add(PIN_LETTERS))?;
        let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        pin.iter().all(fits).then_some(pin)
    };
    let pins = starts.filter_map(|(at, _)| std::str::from_utf8(letters(at)?).ok());
    pins.take(STRETCHED_MAX)
        .map(|pin| format!("pin:{pin}"))
        .collect()
}

/// The account ids of all names that are marked as such, at all relays.
pub(crate) fn account_ids(
    canaries: &Canaries,
    names: &[String],
    options: &Options,
) -> Vec<AccountId> {
    if !options.uses(Detector::AccountIds) {
        return Vec::new();
    }
    let logins = canaries.marked(Role::Login);
    let pairs = logins.flat_map(|(canary, login)| names.iter().map(move |at| (canary, login, at)));
    pairs
        .take(STRETCHED_MAX)
        .filter_map(|(canary, login, server)| {
            let id = account_id(login, server, options.stretching)?;
            Some(AccountId { canary, id })
        })
        .collect()
}

/// As a device makes it; composed forms of letters are as they stand in the canary.
pub(crate) fn account_id(
    login: &str,
    server: &str,
    (memory, passes): (u32, u32),
) -> Option<[u8; 32]> {
    let params = Params::new(memory, passes, 1, Some(32)).ok()?;
    let salt = Sha256::new()
        .chain_update(LOGIN_LABEL)
        .chain_update((server.len() as u64).to_be_bytes())
        .chain_update(server)
        .finalize();
    let mut id = [0; 32];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let name = tidied(login);
    argon
        .hash_password_into(name.as_bytes(), salt.get(..16)?, &mut id)
        .ok()?;
    Some(id)
}

fn tidied(login: &str) -> String {
    let lower = login.to_lowercase();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What may have been hashed with a salt or under a key.
pub(crate) fn guesses(canaries: &Canaries, ids: &[AccountId]) -> Vec<Guess> {
    let mut guesses: Vec<Guess> = Vec::new();
    for (canary, text) in canaries.marked(Role::Login) {
        for bytes in [text.to_owned(), tidied(text)] {
            let bytes = bytes.into_bytes();
            guesses.push(Guess { canary, bytes });
        }
    }
    for (canary, text) in canaries.marked(Role::Password) {
        let bytes = text.as_bytes().to_vec();
        guesses.push(Guess { canary, bytes });
    }
    guesses.extend(ids.iter().map(|id| Guess {
        canary: id.canary,
        bytes: id.id.to_vec(),
    }));
    if guesses.is_empty() {
        guesses.extend(canaries.iter().take(UNMARKED_MAX).map(|(canary, text)| {
            let bytes = text.trim().as_bytes().to_vec();
            Guess { canary, bytes }
        }));
    }
    guesses.dedup_by(|one, other| one.canary == other.canary && one.bytes == other.bytes);
    guesses
}

/// The first 16 bytes of everything that is made of a stolen byte string and a guess.
pub(crate) fn salted(stolen: &[u8], guess: &Guess) -> [(&'static str, [u8; 16]); 7] {
    let guess = guess.bytes.as_slice();
    [
        (
            "salted SHA-256",
            first(&Sha256::digest([stolen, guess].concat())),
        ),
        (
            "salted SHA-256",
            first(&Sha256::digest([guess, stolen].concat())),
        ),
        ("HMAC-SHA-256", first(&hmac(stolen, guess))),
        (
            "salted SHA-1",
            first(&Sha1::digest([stolen, guess].concat())),
        ),
        (
            "salted SHA-1",
            first(&Sha1::digest([guess, stolen].concat())),
        ),
        ("salted MD5", first(&Md5::digest([stolen, guess].concat()))),
        ("salted MD5", first(&Md5::digest([guess, stolen].concat()))),
    ]
}

fn first(digest: &[u8]) -> [u8; 16] {
    digest.first_chunk().copied().unwrap_or_default()
}

/// RFC 2104 with SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK_BYTES];
    let short: [u8; 32] = Sha256::digest(key).into();
    let key = if key.len() > BLOCK_BYTES { &short } else { key };
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{account_id, hmac, names_in};

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let tag = hmac(b"Jefe", b"what do ya want for nothing?");
        let printed = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(tag), printed);
    }

    #[test]
    fn a_name_is_one_account_at_one_relay_however_it_is_typed() {
        let id = |name, relay| account_id(name, relay, (64, 1)).unwrap();
        assert_eq!(id("Anna  Brandt ", "pin:a"), id("anna brandt", "pin:a"));
        assert_ne!(id("anna brandt", "pin:a"), id("anna brandt", "pin:b"));
    }

    #[test]
    fn the_loot_says_how_the_relay_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.log");
        let pin = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        std::fs::write(
            &path,
            format!("listening wss://[::1]:8443#pin={pin}\npin=x\n"),
        )
        .unwrap();
        assert_eq!(names_in(&path), [format!("pin:{pin}")]);
    }
}
