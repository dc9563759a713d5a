//! What a device signs to open, attach to, close or erase a mailbox, or to replace its close key
//! (PROTOCOL §4).
//!
//! All of them are bound to the connection's nonce and to the relay's name as the device
//! dialled it, so that a relay can't pass a signature on to another one.

use crate::ids::MailboxId;
use crate::labels;
use crate::primitives::sign::{PublicKey, SecretKey, SignatureError};

/// Bytes of a connection's nonce.
pub const NONCE_BYTES: usize = 32;

/// What binds a proof to one connection.
#[derive(Debug, Clone, Copy)]
pub struct Challenge<'a> {
    /// The relay's name as the device dialled it.
    pub server_name: &'a str,
    /// The nonce of this connection's hello.
    pub nonce: &'a [u8],
}

impl Challenge<'_> {
    pub(crate) fn start(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        push(&mut bytes, self.server_name.as_bytes());
        push(&mut bytes, self.nonce);
        bytes
    }
}

pub(crate) fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

/// The three public keys of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxKeys {
    /// Attaches.
    pub authentication: PublicKey,
    /// Signs grants.
    pub grant: PublicKey,
    /// Closes.
    pub close: PublicKey,
}

fn open_bytes(
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    keys: &MailboxKeys,
    generation: u64,
) -> Vec<u8> {
    let mut bytes = challenge.start();
    push(&mut bytes, mailbox.as_bytes());
    push(&mut bytes, keys.authentication.as_bytes());
    push(&mut bytes, keys.grant.as_bytes());
    push(&mut bytes, keys.close.as_bytes());
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes
}

fn attach_bytes(
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    generation: u64,
    window: u32,
) -> Vec<u8> {
    let mut bytes = challenge.start();
    push(&mut bytes, mailbox.as_bytes());
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&window.to_be_bytes());
    bytes
}

fn close_bytes(challenge: &Challenge<'_>, mailbox: &MailboxId, undo: bool) -> Vec<u8> {
    let mut bytes = challenge.start();
    push(&mut bytes, mailbox.as_bytes());
    bytes.push(u8::from(undo));
    bytes
}

fn renew_close_key_bytes(
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    close: &PublicKey,
) -> Vec<u8> {
    let mut bytes = challenge.start();
    push(&mut bytes, mailbox.as_bytes());
    push(&mut bytes, close.as_bytes());
    bytes
}

fn erase_mailbox_bytes(challenge: &Challenge<'_>, mailbox: &MailboxId) -> Vec<u8> {
    let mut bytes = challenge.start();
    push(&mut bytes, mailbox.as_bytes());
    bytes
}

/// Signs `OpenMailbox` with the mailbox's authentication key.
#[must_use]
pub fn sign_open(
    key: &SecretKey,
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    keys: &MailboxKeys,
    generation: u64,
) -> [u8; 64] {
    key.sign(
        labels::SIGN_OPEN_MAILBOX,
        &open_bytes(challenge, mailbox, keys, generation),
    )
}

/// Checks `OpenMailbox`.
///
/// # Errors
/// [`SignatureError`] when it was not signed by `keys.authentication` for this connection.
pub fn verify_open(
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    keys: &MailboxKeys,
    generation: u64,
    signature: &[u8],
) -> Result<(), SignatureError> {
    keys.authentication.verify(
        labels::SIGN_OPEN_MAILBOX,
        &open_bytes(challenge, mailbox, keys, generation),
        signature,
    )
}

/// Signs `Attach` with the mailbox's authentication key.
#[must_use]
pub fn sign_attach(
    key: &SecretKey,
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    generation: u64,
    window: u32,
) -> [u8; 64] {
    key.sign(
        labels::SIGN_ATTACH,
        &attach_bytes(challenge, mailbox, generation, window),
    )
}

/// Checks `Attach`.
///
/// # Errors
/// [`SignatureError`] when it was not signed by `key` for this connection.
pub fn verify_attach(
    key: &PublicKey,
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    generation: u64,
    window: u32,
    signature: &[u8],
) -> Result<(), SignatureError> {
    key.verify(
        labels::SIGN_ATTACH,
        &attach_bytes(challenge, mailbox, generation, window),
        signature,
    )
}

/// Signs `CloseMailbox` with the mailbox's close key.
#[must_use]
pub fn sign_close(
    key: &SecretKey,
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    undo: bool,
) -> [u8; 64] {
    key.sign(
        labels::SIGN_CLOSE_MAILBOX,
        &close_bytes(challenge, mailbox, undo),
    )
}

/// Checks `CloseMailbox`.
///
/// # Errors
/// [`SignatureError`] when it was not signed by `key` for this connection.
pub fn verify_close(
    key: &PublicKey,
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    undo: bool,
    signature: &[u8],
) -> Result<(), SignatureError> {
    key.verify(
        labels::SIGN_CLOSE_MAILBOX,
        &close_bytes(challenge, mailbox, undo),
        signature,
    )
}

/// Signs `RenewCloseKey` with the mailbox's authentication key; `close` is the new close key.
#[must_use]
pub fn sign_renew_close_key(
    key: &SecretKey,
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    close: &PublicKey,
) -> [u8; 64] {
    key.sign(
        labels::SIGN_RENEW_CLOSE_KEY,
        &renew_close_key_bytes(challenge, mailbox, close),
    )
}

/// Checks `RenewCloseKey`.
///
/// # Errors
/// [`SignatureError`] when it was not signed by `key` for this connection and this close key.
pub fn verify_renew_close_key(
    key: &PublicKey,
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    close: &PublicKey,
    signature: &[u8],
) -> Result<(), SignatureError> {
    key.verify(
        labels::SIGN_RENEW_CLOSE_KEY,
        &renew_close_key_bytes(challenge, mailbox, close),
        signature,
    )
}

/// Signs `EraseMailbox` with the mailbox's authentication key.
#[must_use]
pub fn sign_erase(key: &SecretKey, challenge: &Challenge<'_>, mailbox: &MailboxId) -> [u8; 64] {
    key.sign(
        labels::SIGN_ERASE_MAILBOX,
        &erase_mailbox_bytes(challenge, mailbox),
    )
}

/// Checks `EraseMailbox`.
///
/// # Errors
/// [`SignatureError`] when it was not signed by `key` for this connection.
pub fn verify_erase(
    key: &PublicKey,
    challenge: &Challenge<'_>,
    mailbox: &MailboxId,
    signature: &[u8],
) -> Result<(), SignatureError> {
    key.verify(
        labels::SIGN_ERASE_MAILBOX,
        &erase_mailbox_bytes(challenge, mailbox),
        signature,
    )
}

#[cfg(test)]
mod tests {
    use super::{
        Challenge, MailboxKeys, sign_attach, sign_close, sign_erase, sign_open,
        sign_renew_close_key, verify_attach, verify_close, verify_erase, verify_renew_close_key,
    };
    use crate::ids::MailboxId;
    use crate::primitives::sign::SecretKey;

    /// Here, on another relay, and on a later connection.
    const CHALLENGES: [Challenge<'static>; 3] = [
        Challenge {
            server_name: "x",
            nonce: &[2; 32],
        },
        Challenge {
            server_name: "y",
            nonce: &[2; 32],
        },
        Challenge {
            server_name: "x",
            nonce: &[9; 32],
        },
    ];

    #[test]
    fn a_proof_is_good_for_one_nonce_one_relay_one_mailbox_one_generation() {
        let key = SecretKey::from_seed(&[1; 32]);
        let here = Challenge {
            server_name: "pin:a",
            nonce: &[2; 32],
        };
        let mailbox = MailboxId::new([3; 16]);
        let signature = sign_attach(&key, &here, &mailbox, 7, 64);
        let verify = |challenge: &Challenge<'_>, mailbox: &MailboxId, generation, window| {
            verify_attach(
                &key.public(),
                challenge,
                mailbox,
                generation,
                window,
                &signature,
            )
        };
        assert!(verify(&here, &mailbox, 7, 64).is_ok());
        assert!(
            verify(
                &Challenge {
                    nonce: &[9; 32],
                    ..here
                },
                &mailbox,
                7,
                64
            )
            .is_err()
        );
        assert!(
            verify(
                &Challenge {
                    server_name: "pin:b",
                    ..here
                },
                &mailbox,
                7,
                64
            )
            .is_err()
        );
        assert!(verify(&here, &MailboxId::new([4; 16]), 7, 64).is_err());
        assert!(verify(&here, &mailbox, 8, 64).is_err());
        assert!(verify(&here, &mailbox, 7, 65).is_err());
    }

    #[test]
    fn closing_is_not_undoing() {
        let key = SecretKey::from_seed(&[1; 32]);
        let [here, ..] = CHALLENGES;
        let mailbox = MailboxId::new([3; 16]);
        let signature = sign_close(&key, &here, &mailbox, false);
        assert!(verify_close(&key.public(), &here, &mailbox, false, &signature).is_ok());
        assert!(verify_close(&key.public(), &here, &mailbox, true, &signature).is_err());
    }

    #[test]
    fn erasing_is_for_one_relay_one_nonce_one_mailbox() {
        let key = SecretKey::from_seed(&[1; 32]);
        let [here, elsewhere, later] = CHALLENGES;
        let mailbox = MailboxId::new([3; 16]);
        let signature = sign_erase(&key, &here, &mailbox);
        let verify = |challenge, mailbox| {
            verify_erase(&key.public(), challenge, mailbox, &signature).is_ok()
        };
        assert!(verify(&here, &mailbox));
        assert!(!verify(&elsewhere, &mailbox));
        assert!(!verify(&later, &mailbox));
        assert!(!verify(&here, &MailboxId::new([4; 16])));
    }

    #[test]
    fn renewing_is_for_one_relay_one_nonce_one_mailbox_one_key() {
        let key = SecretKey::from_seed(&[1; 32]);
        let [here, elsewhere, later] = CHALLENGES;
        let mailbox = MailboxId::new([3; 16]);
        let other = MailboxId::new([4; 16]);
        let close = SecretKey::from_seed(&[5; 32]).public();
        let signature = sign_renew_close_key(&key, &here, &mailbox, &close);
        let verify = |key, challenge, mailbox, close| {
            verify_renew_close_key(key, challenge, mailbox, close, &signature).is_ok()
        };
        let public = key.public();
        assert!(verify(&public, &here, &mailbox, &close));
        assert!(!verify(&public, &elsewhere, &mailbox, &close));
        assert!(!verify(&public, &later, &mailbox, &close));
        assert!(!verify(&public, &here, &other, &close));
        assert!(!verify(&public, &here, &mailbox, &public));
        assert!(!verify(&close, &here, &mailbox, &close));
    }

    /// The vector of PROTOCOL §4.
    #[test]
    fn the_printed_vector_holds() {
        let [authentication, grant, close, renewed] =
            [1, 2, 3, 6].map(|byte| SecretKey::from_seed(&[byte; 32]));
        let challenge = Challenge {
            server_name: "pin:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            nonce: &[4; 32],
        };
        let mailbox = MailboxId::new([5; 16]);
        let keys = MailboxKeys {
            authentication: authentication.public(),
            grant: grant.public(),
            close: close.public(),
        };
        let made = [
            hex::encode(sign_open(&authentication, &challenge, &mailbox, &keys, 7)),
            hex::encode(sign_attach(&authentication, &challenge, &mailbox, 7, 64)),
            hex::encode(sign_close(&close, &challenge, &mailbox, false)),
            hex::encode(renewed.public().as_bytes()),
            hex::encode(sign_renew_close_key(
                &authentication,
                &challenge,
                &mailbox,
                &renewed.public(),
            )),
            hex::encode(sign_erase(&authentication, &challenge, &mailbox)),
        ];
        let printed = [
            "ea21aa302c1a6b8273301558f61d3bc4592c14d083edb875063829bd1fc9b86a\
             f092c2f9bc19ecc5b97a0e09108e4ac6b55eafcc9a173f977082c552008c2c01",
            "dc75d72c65bcd95797cdf81c79cf646c25ef50958574217a90318f67ef9dba90\
             245822a18f51be859f4af79e027fd09ef378db585d2dc149b916be6d6c2e3a09",
            "58f1f6b33d7374fe0509ab26e499b5a4f18a053cde09b456dbf926fb5a4f9605\
             403d40febf2eeea45e302515818715358a3f03cce5bf73622d2b0c72f3dcc706",
            "8a875fff1eb38451577acd5afee405456568dd7c89e090863a0557bc7af49f17",
            "83fd823443dc6be6cd6ae9f5f701bffb814db435854b2512e7ed4601da389339\
             818a2b266ffb647d4a68ed70dd55e6ed76d47d5162d53ef289d7a7f16b0ede0d",
            "59c2c037ef2574fa5176687641ae9745cb444ef26b00584e9d25633fb1c5f872\
             c20f5eaa38b386aa0a25136490ce676a017e4a638064f0262671ae8ba3eb2604",
        ];
        assert_eq!(made, printed);
    }
}
