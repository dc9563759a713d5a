//! Every key-derivation and signature label in one place (PROTOCOL §10).
//!
//! A label names one use: no two uses share one, and a test keeps the list free of prefixes.

/// Signature that attaches a connection to a mailbox.
pub const SIGN_ATTACH: &[u8] = b"kinline v1 sign attach\0";
/// Signature that opens a mailbox.
pub const SIGN_OPEN_MAILBOX: &[u8] = b"kinline v1 sign open mailbox\0";
/// Signature that closes a mailbox, or undoes that.
pub const SIGN_CLOSE_MAILBOX: &[u8] = b"kinline v1 sign close mailbox\0";
/// Signature that replaces a mailbox's close key.
pub const SIGN_RENEW_CLOSE_KEY: &[u8] = b"kinline v1 sign renew close key\0";
/// Signature that erases a mailbox with everything in it.
pub const SIGN_ERASE_MAILBOX: &[u8] = b"kinline v1 sign erase mailbox\0";
/// Signature that writes an account's vault without the password.
pub const SIGN_PUT_VAULT: &[u8] = b"kinline v1 sign put vault\0";
/// Signature of a grant.
pub const SIGN_GRANT: &[u8] = b"kinline v1 sign grant\0";
/// Signature of a family log statement.
pub const SIGN_STATEMENT: &[u8] = b"kinline v1 sign statement\0";
/// Signature of a guardian's consent to another one's statement.
pub const SIGN_CONSENT: &[u8] = b"kinline v1 sign consent\0";
/// Signature of a family log's head on a day.
pub const SIGN_HEAD: &[u8] = b"kinline v1 sign head\0";
/// Signature of content, so that it can be reported.
pub const SIGN_CONTENT: &[u8] = b"kinline v1 sign content\0";
/// Signature of a one-to-one message between devices.
pub const SIGN_DIRECT: &[u8] = b"kinline v1 sign direct\0";
/// Signature inside a sealed commit.
pub const SIGN_COMMIT: &[u8] = b"kinline v1 sign commit\0";
/// Signature with which a device proves its key while it is paired.
pub const SIGN_PAIRING: &[u8] = b"kinline v1 sign pairing\0";
/// Signature with which a guardian's device and its guardian prove their keys to another family.
pub const SIGN_MEETING: &[u8] = b"kinline v1 sign meeting\0";
/// Signature of the operator's offline key over a certificate of a notice key.
pub const SIGN_OPERATOR_CERTIFICATE: &[u8] = b"kinline v1 sign operator certificate\0";
/// Signature of an entry of the operator's log.
pub const SIGN_OPERATOR_ENTRY: &[u8] = b"kinline v1 sign operator entry\0";
/// Signature of a checkpoint of the operator's log.
pub const SIGN_OPERATOR_CHECKPOINT: &[u8] = b"kinline v1 sign operator checkpoint\0";

/// Hash of an entry of the operator's log, which is the log's head.
pub const HASH_OPERATOR_HEAD: &[u8] = b"kinline v1 hash operator head\0";
/// Hash of a grant's revocation secret.
pub const HASH_REVOCATION: &[u8] = b"kinline v1 hash revocation\0";
/// Hash of a blob's read secret.
pub const HASH_BLOB_READ: &[u8] = b"kinline v1 hash blob read\0";
/// Hash of a blob's owner secret.
pub const HASH_BLOB_OWNER: &[u8] = b"kinline v1 hash blob owner\0";
/// Hash that makes a family id of a root key.
pub const HASH_FAMILY: &[u8] = b"kinline v1 hash family\0";
/// Salted hash of a statement.
pub const HASH_STATEMENT: &[u8] = b"kinline v1 hash statement\0";
/// Hash that chains a statement's hash to the head before it.
pub const HASH_HEAD: &[u8] = b"kinline v1 hash head\0";
/// Hash of a sealed commit as the relay compares offers.
pub const HASH_COMMIT: &[u8] = b"kinline v1 hash commit\0";
/// Hash of a sealed commit as devices compare their pasts.
pub const HASH_CHAIN: &[u8] = b"kinline v1 hash chain\0";
/// Hash of what was last told about a family's log.
pub const HASH_TOLD: &[u8] = b"kinline v1 hash told\0";
/// Hash that tells whether what is entrusted to guardians has changed.
pub const HASH_HANDOVER: &[u8] = b"kinline v1 hash handover\0";
/// Hash of an admission code.
pub const HASH_ADMISSION: &[u8] = b"kinline v1 hash admission\0";
/// Hash under which a spent ticket is kept.
pub const HASH_TICKET: &[u8] = b"kinline v1 hash ticket\0";
/// Hash of a vault as its writer signs it.
pub const HASH_VAULT: &[u8] = b"kinline v1 hash vault\0";
/// Hash of the relay's name that salts the account id.
pub const HASH_LOGIN: &[u8] = b"kinline v1 hash login\0";
/// Hash that makes a meeting point of a short code's public part.
pub const HASH_RENDEZVOUS: &[u8] = b"kinline v1 hash rendezvous\0";
/// Hash that makes four pictures of a device that asks to come back.
pub const HASH_RETURN: &[u8] = b"kinline v1 hash return\0";
/// Hash of what a vault holds: tells a device whether it has changed, and binds its parts.
pub const HASH_KEPT: &[u8] = b"kinline v1 hash kept\0";

/// SPAKE2's name for the one who typed a short code.
pub const PAKE_JOIN: &[u8] = b"kinline v1 pake join\0";
/// SPAKE2's name for the one who shows it.
pub const PAKE_OPEN: &[u8] = b"kinline v1 pake open\0";
/// OPAQUE's context.
pub const OPAQUE_CONTEXT: &[u8] = b"kinline v1 opaque\0";
/// Input of the function that makes a ticket, before its epoch and nonce.
pub const VOPRF_TICKET: &[u8] = b"kinline v1 voprf ticket\0";

/// MLS exporter label of the commit slot's token.
pub const EXPORT_SLOT_TOKEN: &str = "kinline commit slot";
/// MLS exporter label of the commit's sealing key.
pub const EXPORT_COMMIT_KEY: &str = "kinline commit key";
/// MLS exporter label of the key of ephemeral signals.
pub const EXPORT_SIGNAL_KEY: &str = "kinline signal key";

/// Associated data of an envelope, before mailbox and message id.
pub const AEAD_ENVELOPE: &[u8] = b"kinline v1 aead envelope\0";
/// Associated data of a sealed commit, before the slot's token.
pub const AEAD_COMMIT: &[u8] = b"kinline v1 aead commit\0";
/// Associated data of an ephemeral signal, before the mailbox.
pub const AEAD_SIGNAL: &[u8] = b"kinline v1 aead signal\0";
/// Associated data of a vault's parts, before account, version and part.
pub const AEAD_VAULT: &[u8] = b"kinline v1 aead vault\0";

/// Derives the revocation secrets of a device's grants from its seed.
pub const KDF_REVOCATION: &[u8] = b"kinline v1 kdf revocation\0";
/// Derives the Noise pre-shared key from a pairing code's secret.
pub const KDF_PAIRING: &[u8] = b"kinline v1 kdf pairing\0";
/// Derives the Noise pre-shared key from a meeting code's secret.
pub const KDF_MEETING: &[u8] = b"kinline v1 kdf meeting\0";
/// Derives the Noise pre-shared key from what SPAKE2 made of a short code.
pub const KDF_SHORT_CODE: &[u8] = b"kinline v1 kdf short code\0";
/// Derives an attachment's chunk key from its file key.
pub const KDF_ATTACHMENT: &[u8] = b"kinline v1 kdf attachment\0";
/// Derives the key of a device's store values.
pub const KDF_STORE_VALUE: &[u8] = b"kinline v1 kdf store value\0";
/// Derives the key under which a device's store hashes its keys.
pub const KDF_STORE_KEY: &[u8] = b"kinline v1 kdf store key\0";
/// Derives the key that wraps a store's key from a passphrase.
pub const KDF_STORE_WRAP: &[u8] = b"kinline v1 kdf store wrap\0";
/// Derives from OPAQUE's export key what seals the first part of a vault.
pub const KDF_VAULT_REQUEST: &[u8] = b"kinline v1 kdf vault request\0";
/// Derives from OPAQUE's export key and the recovery code what seals the second part.
pub const KDF_VAULT_RECOVERY: &[u8] = b"kinline v1 kdf vault recovery\0";
/// Derives from OPAQUE's export key the key that writes a vault.
pub const KDF_VAULT_WRITE: &[u8] = b"kinline v1 kdf vault write\0";
/// Derives from a relay's pepper under what an account lies.
pub const KDF_ACCOUNT: &[u8] = b"kinline v1 kdf account\0";
/// Derives the relay's at-rest keys.
pub const KDF_AT_REST: &[u8] = b"kinline v1 kdf at rest\0";

#[cfg(test)]
mod tests {
    #[test]
    fn no_label_is_a_prefix_of_another() {
        let all = [
            super::SIGN_ATTACH,
            super::SIGN_OPEN_MAILBOX,
            super::SIGN_CLOSE_MAILBOX,
            super::SIGN_RENEW_CLOSE_KEY,
            super::SIGN_ERASE_MAILBOX,
            super::SIGN_PUT_VAULT,
            super::SIGN_GRANT,
            super::SIGN_STATEMENT,
            super::SIGN_CONSENT,
            super::SIGN_HEAD,
            super::SIGN_CONTENT,
            super::SIGN_DIRECT,
            super::SIGN_COMMIT,
            super::SIGN_PAIRING,
            super::SIGN_MEETING,
            super::SIGN_OPERATOR_CERTIFICATE,
            super::SIGN_OPERATOR_ENTRY,
            super::SIGN_OPERATOR_CHECKPOINT,
            super::HASH_OPERATOR_HEAD,
            super::HASH_REVOCATION,
            super::HASH_BLOB_READ,
            super::HASH_BLOB_OWNER,
            super::HASH_FAMILY,
            super::HASH_STATEMENT,
            super::HASH_HEAD,
            super::HASH_COMMIT,
            super::HASH_CHAIN,
            super::HASH_TOLD,
            super::HASH_HANDOVER,
            super::HASH_ADMISSION,
            super::HASH_TICKET,
            super::HASH_VAULT,
            super::HASH_LOGIN,
            super::HASH_RENDEZVOUS,
            super::HASH_KEPT,
            super::HASH_RETURN,
            super::AEAD_VAULT,
            super::KDF_VAULT_REQUEST,
            super::KDF_VAULT_RECOVERY,
            super::KDF_VAULT_WRITE,
            super::PAKE_JOIN,
            super::PAKE_OPEN,
            super::OPAQUE_CONTEXT,
            super::VOPRF_TICKET,
            super::AEAD_ENVELOPE,
            super::AEAD_COMMIT,
            super::AEAD_SIGNAL,
            super::KDF_REVOCATION,
            super::KDF_PAIRING,
            super::KDF_MEETING,
            super::KDF_SHORT_CODE,
            super::KDF_ATTACHMENT,
            super::KDF_STORE_VALUE,
            super::KDF_STORE_KEY,
            super::KDF_STORE_WRAP,
            super::KDF_ACCOUNT,
            super::KDF_AT_REST,
        ];
        for (i, a) in all.iter().enumerate() {
            for b in all.iter().skip(i + 1) {
                assert!(!a.starts_with(b) && !b.starts_with(a));
            }
        }
    }
}
