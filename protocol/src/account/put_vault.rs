//! Writing a vault: bounds of its parts, and the signature that stands for the password.

use crate::attach::Challenge;
use crate::ids::AccountId;
use crate::labels;
use crate::padme;
use crate::primitives::hash;
use crate::primitives::sign::{PublicKey, SecretKey, SignatureError};
use crate::wire as proto;

/// Least bytes of a part of a vault: a small family's fits, so most have one size.
pub const VAULT_PART_BYTES_MIN: usize = 1024;
/// Most bytes of a part of a vault.
pub const VAULT_PART_BYTES_MAX: usize = 65_536;

/// Whether `bytes` is the length of a part: a Padmé size class within the bounds.
#[must_use]
pub fn is_part_size(bytes: usize) -> bool {
    (VAULT_PART_BYTES_MIN..=VAULT_PART_BYTES_MAX).contains(&bytes) && padme::is_class(bytes as u64)
}

/// `part(server name) ‖ part(nonce) ‖ part(account) ‖ version u64 BE ‖ part(H(both parts))`.
fn put_vault_bytes(
    challenge: &Challenge<'_>,
    account: &AccountId,
    vault: &proto::Vault,
) -> Vec<u8> {
    let mut bytes = challenge.start();
    crate::attach::push(&mut bytes, account.as_bytes());
    bytes.extend_from_slice(&vault.version.to_be_bytes());
    let parts = [&vault.request_part[..], &vault.recovery_part[..]];
    crate::attach::push(&mut bytes, &hash::labelled(labels::HASH_VAULT, &parts));
    bytes
}

/// Signs `PutVault` with the account's write key.
#[must_use]
pub fn sign_put_vault(
    key: &SecretKey,
    challenge: &Challenge<'_>,
    account: &AccountId,
    vault: &proto::Vault,
) -> [u8; 64] {
    key.sign(
        labels::SIGN_PUT_VAULT,
        &put_vault_bytes(challenge, account, vault),
    )
}

/// Checks `PutVault`.
///
/// # Errors
/// [`SignatureError`] when it was not signed by `key` for this connection.
pub fn verify_put_vault(
    key: &PublicKey,
    challenge: &Challenge<'_>,
    account: &AccountId,
    vault: &proto::Vault,
    signature: &[u8],
) -> Result<(), SignatureError> {
    key.verify(
        labels::SIGN_PUT_VAULT,
        &put_vault_bytes(challenge, account, vault),
        signature,
    )
}

#[cfg(test)]
mod tests {
    use super::{is_part_size, sign_put_vault, verify_put_vault};
    use crate::attach::Challenge;
    use crate::ids::AccountId;
    use crate::primitives::sign::SecretKey;
    use crate::wire as proto;

    #[test]
    fn everything_that_is_written_is_signed() {
        let key = SecretKey::from_seed(&[1; 32]);
        let challenge = |name, nonce| Challenge {
            server_name: name,
            nonce,
        };
        let here = challenge("relay.example", &[2; 32]);
        let account = AccountId::new([3; 32]);
        let vault = proto::Vault {
            version: 4,
            request_part: vec![5; 1024].into(),
            recovery_part: vec![6; 1024].into(),
        };
        let signature = sign_put_vault(&key, &here, &account, &vault);
        let holds = |challenge: &Challenge<'_>, account: &AccountId, vault: &proto::Vault| {
            verify_put_vault(&key.public(), challenge, account, vault, &signature).is_ok()
        };
        assert!(holds(&here, &account, &vault));
        assert!(!holds(&challenge("b.example", &[2; 32]), &account, &vault));
        assert!(!holds(
            &challenge("relay.example", &[9; 32]),
            &account,
            &vault
        ));
        assert!(!holds(&here, &AccountId::new([9; 32]), &vault));
        let change = |change: fn(&mut proto::Vault)| {
            let mut vault = vault.clone();
            change(&mut vault);
            vault
        };
        assert!(!holds(&here, &account, &change(|vault| vault.version = 5)));
        let swapped = change(|vault| {
            core::mem::swap(&mut vault.request_part, &mut vault.recovery_part);
        });
        assert!(!holds(&here, &account, &swapped));
        let moved = change(|vault| {
            vault.request_part = vec![5; 1023].into();
            vault.recovery_part = [&[5_u8][..], &[6; 1024]].concat().into();
        });
        assert!(!holds(&here, &account, &moved));
    }

    /// The vector of PROTOCOL §15.3.
    #[test]
    fn the_printed_vector_holds() {
        let challenge = Challenge {
            server_name: "pin:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            nonce: &[4; 32],
        };
        let vault = proto::Vault {
            version: 9,
            request_part: vec![5; 1024].into(),
            recovery_part: vec![6; 2048].into(),
        };
        let account = AccountId::new([8; 32]);
        let key = SecretKey::from_seed(&[7; 32]);
        assert_eq!(
            hex::encode(sign_put_vault(&key, &challenge, &account, &vault)),
            "e689cb3742a3eb6105891b1ed65f94ee07e875a71937a1309f832b99452b248a\
             88711847697ae530b3da246e2db76f07cf7c64960b80c03b4b74fb2de1badd02"
        );
    }

    #[test]
    fn parts_come_in_size_classes() {
        assert!(is_part_size(1024) && is_part_size(65_536));
        assert!(!is_part_size(1023) && !is_part_size(1025) && !is_part_size(65_537));
        assert!(!is_part_size(0));
    }
}
