//! HKDF-SHA-256 (RFC 5869) to 32 bytes.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::secrets::Secret;

/// Derives a 32-byte key from `secret` for the use that `label` names, bound to `context`.
///
/// `HKDF(salt = none, ikm = secret, info = label ‖ (len(part) as u64 big-endian ‖ part)…)`.
#[must_use]
pub fn derive(secret: &[u8], label: &[u8], context: &[&[u8]]) -> Secret<32> {
    let mut info = label.to_vec();
    for part in context {
        info.extend_from_slice(&(part.len() as u64).to_be_bytes());
        info.extend_from_slice(part);
    }
    let mut out = [0_u8; 32];
    // 32 bytes are within HKDF's 255 blocks: this can't fail.
    let expanded = Hkdf::<Sha256>::new(None, secret).expand(&info, &mut out);
    debug_assert!(expanded.is_ok());
    Secret::new(out)
}
