//! What follows from a password, and from a recovery code with it. None of it logs in.

use super::{RecoveryCode, VaultKeys};
use crate::ids::AccountId;
use crate::labels;
use crate::primitives::kdf;
use crate::primitives::opaque::EXPORT_KEY_BYTES;
use crate::primitives::sign::SecretKey;
use crate::secrets::Secret;

/// What a phone keeps of its guardian's account.
#[derive(Clone)]
pub struct AccountKeys {
    /// Whose.
    pub account: AccountId,
    /// Seals the vault.
    pub vault: VaultKeys,
    /// Seed of the key that writes it.
    pub write_seed: Secret<32>,
}

impl AccountKeys {
    /// From OPAQUE's export key, and the recovery code when it is there:
    ///
    /// ```text
    /// request  = KDF(export key, "kinline v1 kdf vault request\0",  account)
    /// recovery = KDF(export key, "kinline v1 kdf vault recovery\0", account, code 16)
    /// write    = KDF(export key, "kinline v1 kdf vault write\0",    account)
    /// ```
    #[must_use]
    pub fn derive(
        account: AccountId,
        export_key: &Secret<EXPORT_KEY_BYTES>,
        code: Option<&RecoveryCode>,
    ) -> Self {
        let id: &[u8] = account.as_bytes();
        let secret = export_key.expose();
        let recovery = |code: &RecoveryCode| {
            kdf::derive(secret, labels::KDF_VAULT_RECOVERY, &[id, code.expose()])
        };
        Self {
            account,
            vault: VaultKeys {
                request: kdf::derive(secret, labels::KDF_VAULT_REQUEST, &[id]),
                recovery: code.map(recovery),
            },
            write_seed: kdf::derive(secret, labels::KDF_VAULT_WRITE, &[id]),
        }
    }

    /// The key that writes the vault without the password.
    #[must_use]
    pub fn write_key(&self) -> SecretKey {
        SecretKey::from_seed(self.write_seed.expose())
    }
}

impl core::fmt::Debug for AccountKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::AccountKeys;
    use crate::account::RecoveryCode;
    use crate::ids::AccountId;
    use crate::secrets::Secret;

    #[test]
    fn each_key_is_of_one_account_one_password_and_one_code() {
        let codes: Vec<RecoveryCode> = [
            "legal winner thank year wave sausage worth useful legal winner thank yellow",
            "letter advice cage absurd amount doctor acoustic avoid letter advice cage above",
        ]
        .iter()
        .map(|words| words.parse().unwrap())
        .collect();
        let keys = |account, export, code| {
            let export = Secret::new([export; 64]);
            AccountKeys::derive(AccountId::new([account; 32]), &export, codes.get(code))
        };
        let one = keys(1, 1, 0);
        for other in [keys(2, 1, 0), keys(1, 2, 0), keys(1, 1, 1)] {
            assert!(one.vault.recovery != other.vault.recovery);
        }
        for other in [keys(2, 1, 0), keys(1, 2, 0)] {
            assert!(one.vault.request != other.vault.request);
            assert!(one.write_seed != other.write_seed);
        }
        assert!(one.vault.request == keys(1, 1, 1).vault.request);
        assert!(keys(1, 1, 9).vault.recovery.is_none());
        assert_eq!(format!("{one:?}"), "[secret]");
    }
}
