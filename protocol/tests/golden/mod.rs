//! The committed vectors: made again they are the same, and our code reads them as they say.

use std::path::PathBuf;

use kinline_protocol::attachment::{DecryptError, Pointer, PointerError, decrypt_bytes};
use kinline_protocol::day::Day;
use kinline_protocol::envelope::{self, OpenError, Payload};
use kinline_protocol::grant::{GrantError, GrantIn};
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::pairing::{CodeError, MeetCode, PairingCode, ShortCode, ShortMeetCode};
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire::BlobPointer;
use serde_json::Value;

use crate::vectors;

fn committed(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{name}: {error}; make it with `cargo run -p kinline-protocol --features client --example make_vectors`")
    });
    serde_json::from_str(&text).unwrap()
}

fn each(name: &str, check: impl Fn(&Value) -> String) {
    let file = committed(name);
    let all = file["vectors"].as_array().unwrap();
    assert!(all.iter().any(|vector| vector["outcome"] == "ok"));
    assert!(all.iter().any(|vector| vector["outcome"] != "ok"));
    for vector in all {
        assert_eq!(
            check(vector),
            vector["outcome"],
            "{name}: {}",
            vector["name"]
        );
    }
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} of {vector}"))
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(vector, field)).unwrap()
}

fn number(vector: &Value, field: &str) -> u64 {
    vector[field].as_u64().unwrap()
}

fn key(vector: &Value, field: &str) -> Secret<32> {
    Secret::from_slice(&bytes(vector, field)).unwrap()
}

#[test]
fn made_again_they_are_the_same() {
    for (name, made) in vectors::all() {
        assert_eq!(committed(name), made, "vectors/{name}.json is out of date");
    }
}

#[test]
fn envelopes() {
    each("envelope", |vector| {
        let opened = envelope::open(
            &key(vector, "key"),
            &MailboxId::try_from(&bytes(vector, "mailbox")[..]).unwrap(),
            &MessageId::try_from(&bytes(vector, "message")[..]).unwrap(),
            &bytes(vector, "envelope"),
        );
        match opened {
            Ok(opened) => {
                assert_eq!(opened.kind as u64, number(vector, "kind"));
                match opened.payload {
                    Payload::Inline(payload) => assert_eq!(payload, bytes(vector, "payload")),
                    Payload::Pointer(pointer) => assert_eq!(pointer, blob_pointer(vector)),
                }
                "ok"
            }
            Err(OpenError::Length { .. }) => "length",
            Err(OpenError::Seal(_)) => "seal",
            Err(OpenError::Kind { .. }) => "kind",
            Err(OpenError::PayloadLength { .. }) => "payload length",
            Err(OpenError::Padding) => "padding",
            Err(OpenError::Pointer) => "pointer",
        }
        .into()
    });
}

fn blob_pointer(vector: &Value) -> BlobPointer {
    BlobPointer {
        read_secret: bytes(vector, "read_secret").into(),
        key: bytes(vector, "file_key").into(),
        digest: bytes(vector, "digest").into(),
        size: number(vector, "size"),
        plaintext_size: number(vector, "plaintext_size"),
    }
}

#[test]
fn attachments() {
    each("attachment", |vector| {
        let pointer = match Pointer::try_from(&blob_pointer(vector)) {
            Ok(pointer) => pointer,
            Err(PointerError::Sizes { .. }) => return "pointer sizes".into(),
            Err(other) => panic!("{other}"),
        };
        // Large ones are in the file by digest alone, and made again from their rule.
        let stored = match vector["stored"].as_str() {
            Some(stored) => hex::decode(stored).unwrap(),
            None => vectors::large_attachment().1,
        };
        match decrypt_bytes(&pointer, &stored) {
            Ok(plaintext) => {
                match vector["plaintext"].as_str() {
                    Some(expected) => assert_eq!(plaintext, hex::decode(expected).unwrap()),
                    None => assert!(plaintext == vectors::large_plaintext()),
                }
                "ok"
            }
            Err(DecryptError::Truncated { .. }) => "truncated",
            Err(DecryptError::Extended { .. }) => "extended",
            Err(DecryptError::Digest) => "digest",
            Err(DecryptError::Chunk { .. }) => "chunk",
            Err(DecryptError::Size { .. }) => "size",
            Err(DecryptError::Padding) => "padding",
            Err(other) => panic!("{other}"),
        }
        .into()
    });
}

#[test]
fn grants() {
    each("grant", |vector| {
        let result = GrantIn::parse(&bytes(vector, "grant")).and_then(|grant| {
            grant.verify(
                &PublicKey::from_slice(&bytes(vector, "grant_key")).unwrap(),
                &MailboxId::try_from(&bytes(vector, "mailbox")[..]).unwrap(),
                Day(u32::try_from(number(vector, "today")).unwrap()),
            )
        });
        match result {
            Ok(grant) => {
                assert_eq!(grant.serial, number(vector, "serial"));
                assert_eq!(u64::from(grant.last_day.0), number(vector, "last_day"));
                assert_eq!(grant.revocation_hash[..], bytes(vector, "revocation_hash"));
                "ok"
            }
            Err(GrantError::Length) => "length",
            Err(GrantError::Version(_)) => "version",
            Err(GrantError::Mailbox) => "mailbox",
            Err(GrantError::Expired) => "expired",
            Err(GrantError::Signature) => "signature",
        }
        .into()
    });
}

#[test]
fn pairing_codes() {
    each("pairing_code", |vector| {
        match text(vector, "text").parse::<PairingCode>() {
            Ok(code) => {
                assert_eq!(code.relay.to_string(), text(vector, "relay"));
                assert_eq!(code.rendezvous.as_bytes()[..], bytes(vector, "rendezvous"));
                assert_eq!(code.secret.expose()[..], bytes(vector, "secret"));
                assert_eq!(code.admission, text(vector, "admission"));
                assert_eq!(format!("{:?}", code.role), text(vector, "role"));
                assert_eq!(code.expires_unix_seconds, number(vector, "expires"));
                "ok"
            }
            Err(error) => refusal(&error),
        }
        .into()
    });
}

fn refusal(error: &CodeError) -> &'static str {
    match error {
        CodeError::Foreign => "foreign",
        CodeError::TooLong { .. } => "too long",
        CodeError::OtherPurpose { .. } => "other purpose",
        CodeError::UnknownPurpose { .. } => "unknown purpose",
        CodeError::Version { .. } => "version",
        CodeError::Damaged => "damaged",
        CodeError::Field { .. } => "field",
        CodeError::Relay(_) => "relay",
        CodeError::Digits { .. } => "digits",
        CodeError::NotADigit => "not a digit",
        CodeError::Mistyped => "mistyped",
    }
}

#[test]
fn meet_codes() {
    each("meet_code", |vector| {
        match text(vector, "text").parse::<MeetCode>() {
            Ok(code) => {
                assert_eq!(code.relay.to_string(), text(vector, "relay"));
                assert_eq!(code.rendezvous.as_bytes()[..], bytes(vector, "rendezvous"));
                assert_eq!(code.secret.expose()[..], bytes(vector, "secret"));
                assert_eq!(code.expires_unix_seconds, number(vector, "expires"));
                "ok"
            }
            Err(error) => refusal(&error),
        }
        .into()
    });
}

#[test]
fn short_codes() {
    each("short_code", |vector| {
        let typed = text(vector, "text");
        let read = match typed.parse::<ShortCode>() {
            Err(CodeError::OtherPurpose { .. }) => typed
                .parse()
                .map(|code: ShortMeetCode| (code.to_text(), code.rendezvous(), "Meet".to_owned())),
            other => other.map(|code| {
                let purpose = format!("{:?}", code.role());
                (code.to_text(), code.rendezvous(), purpose)
            }),
        };
        match read {
            Ok((shown, rendezvous, purpose)) => {
                assert_eq!(shown, text(vector, "shown"));
                assert_eq!(rendezvous.as_bytes()[..], bytes(vector, "rendezvous"));
                assert_eq!(purpose, text(vector, "purpose"));
                "ok"
            }
            Err(error) => refusal(&error),
        }
        .into()
    });
}

#[test]
fn handshakes() {
    let file = committed("pairing_handshake");
    for vector in file["vectors"].as_array().unwrap() {
        let (first, answer, message, hash, pictures) = vectors::handshake(text(vector, "code"));
        assert_eq!(first, bytes(vector, "first"));
        assert_eq!(answer, bytes(vector, "answer"));
        assert_eq!(message, bytes(vector, "message"));
        assert_eq!(hash[..], bytes(vector, "handshake_hash"));
        assert_eq!(pictures, text(vector, "pictures"));
    }
}
