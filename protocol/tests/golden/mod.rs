//! The committed vectors: made again they are the same, and our code reads them as they say.

mod account;
mod context;
mod operator;

use std::path::PathBuf;

use kinline_protocol::account::{AccountKeys, RecoveryCode, VaultError, open_vault};
use kinline_protocol::attachment::{DecryptError, Pointer, PointerError, decrypt_bytes};
use kinline_protocol::day::Day;
use kinline_protocol::envelope::{self, OpenError, Payload};
use kinline_protocol::grant::{GrantError, GrantIn};
use kinline_protocol::identity::{
    ContactPass, FamilyLog, HeadError, LogError, PassError, SignedHead,
};
use kinline_protocol::ids::{AccountId, FamilyId, MailboxId, MessageId};
use kinline_protocol::pairing::{CodeError, MeetCode, PairingCode, ShortCode, ShortMeetCode};
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire::{self, BlobPointer};
use prost::Message;
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

/// The entries of a vector; `repeat` says how often the last one stands there.
fn entries(vector: &Value) -> Vec<wire::LogEntry> {
    let mut entries: Vec<wire::LogEntry> = vector["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| hex::decode(entry.as_str().unwrap()).unwrap())
        .map(|entry| wire::LogEntry::decode(entry.as_slice()).unwrap())
        .collect();
    if let Some(times) = vector["repeat"].as_u64() {
        let last = entries.pop().unwrap();
        entries.extend((0..times).map(|_| last.clone()));
    }
    entries
}

#[test]
fn family_logs() {
    each("family_log", |vector| {
        match FamilyLog::from_entries(&entries(vector)) {
            Ok(log) => {
                assert_eq!(log.family().as_bytes()[..], bytes(vector, "family"));
                assert_eq!(log.head()[..], bytes(vector, "head"));
                assert_eq!(log.is_whole(), vector["whole"].as_bool().unwrap());
                let guardians: Vec<String> = log
                    .guardians()
                    .map(|member| hex::encode(member.as_bytes()))
                    .collect();
                assert_eq!(serde_json::json!(guardians), vector["guardians"]);
                let devices: Vec<String> = log
                    .certificates()
                    .map(|certificate| hex::encode(certificate.device.as_bytes()))
                    .collect();
                assert_eq!(serde_json::json!(devices), vector["devices"]);
                "ok"
            }
            Err(LogError::Malformed(_)) => "malformed",
            Err(LogError::Version(_)) => "version",
            Err(LogError::UnknownDecision) => "unknown decision",
            Err(LogError::Field(_)) => "field",
            Err(LogError::Id(_)) => "id",
            Err(LogError::Entry) => "entry",
            Err(LogError::Pass(_)) => "pass",
            Err(LogError::Policy(_)) => "policy",
            Err(LogError::Empty) => "empty",
            Err(LogError::Full) => "full",
            Err(LogError::Unchanged) => "unchanged",
            Err(LogError::Often(_)) => "often",
            Err(LogError::Family) => "family",
            Err(LogError::Hole { .. }) => "hole",
            Err(LogError::Fork) => "fork",
            Err(LogError::Day { .. }) => "day",
            Err(LogError::Salt) => "salt",
            Err(LogError::Signature) => "signature",
            Err(LogError::Signatures { .. }) => "signatures",
            Err(LogError::Frozen { .. }) => "frozen",
            Err(LogError::ObjectionLate { .. }) => "objection late",
            Err(LogError::LastGuardian) => "last guardian",
            Err(LogError::LastDevice) => "last device",
            Err(LogError::OwnDevice) => "own device",
            Err(LogError::NoRecovery) => "no recovery",
            Err(LogError::Wish) => "wish",
            Err(LogError::NotShown) => "not shown",
            Err(LogError::ReturnEarly { .. }) => "return early",
            Err(LogError::Vetoed) => "vetoed",
            Err(LogError::Contradiction(_)) => "contradiction",
        }
        .into()
    });
}

#[test]
fn vaults() {
    each("vault", |vector| {
        let account = AccountId::try_from(bytes(vector, "account").as_slice()).unwrap();
        let export_key = Secret::from_slice(&bytes(vector, "export_key")).unwrap();
        let code: RecoveryCode = text(vector, "words").parse().unwrap();
        let keys = AccountKeys::derive(account, &export_key, Some(&code));
        let vault = wire::Vault {
            version: number(vector, "version"),
            request_part: bytes(vector, "request_part").into(),
            recovery_part: bytes(vector, "recovery_part").into(),
        };
        match open_vault(&account, &keys.vault, &vault) {
            Ok(opened) => {
                assert_eq!(code.expose()[..], bytes(vector, "code"));
                assert_eq!(code.text(), text(vector, "text"));
                let recovery = opened.recovery.unwrap();
                for (made, field) in [
                    (&keys.vault.request.expose()[..], "request_key"),
                    (
                        &keys.vault.recovery.as_ref().unwrap().expose()[..],
                        "recovery_key",
                    ),
                    (&keys.write_seed.expose()[..], "write_seed"),
                    (&opened.request.request_seed[..], "request_seed"),
                    (&recovery.recovery_seed[..], "recovery_seed"),
                ] {
                    assert_eq!(made, bytes(vector, field), "{field}");
                }
                "ok"
            }
            Err(VaultError::None) => "none",
            Err(VaultError::Password) => "password",
            Err(VaultError::Code) => "code",
            Err(VaultError::NoCode) => "no code",
            Err(VaultError::Damaged) => "damaged",
            Err(VaultError::TooLarge) => "too large",
        }
        .into()
    });
}

#[test]
fn contact_passes() {
    each("contact_pass", |vector| {
        match ContactPass::decode(&bytes(vector, "pass")) {
            Ok(pass) => {
                assert_eq!(pass.id().as_bytes()[..], bytes(vector, "id"));
                for (side, number) in pass.sides().iter().zip(["0", "1"]) {
                    let side_json = &vector["sides"][number];
                    assert_eq!(side.family.as_bytes()[..], bytes(side_json, "family"));
                    assert_eq!(side.child.as_bytes()[..], bytes(side_json, "child"));
                    assert_eq!(
                        format!("{:?}", side.supervision),
                        text(side_json, "supervision")
                    );
                    let guardians: Vec<Value> = side
                        .guardians
                        .iter()
                        .map(|guardian| {
                            let member = hex::encode(guardian.member.as_bytes());
                            serde_json::json!([member, guardian.may_write])
                        })
                        .collect();
                    assert_eq!(serde_json::json!(guardians), side_json["guardians"]);
                }
                assert_eq!(u64::from(pass.kinds()), number(vector, "kinds"));
                let days = (pass.terms().first_day, pass.terms().last_day);
                assert_eq!(u64::from(days.0.0), number(vector, "first_day"));
                assert_eq!(u64::from(days.1.0), number(vector, "last_day"));
                "ok"
            }
            Err(PassError::Malformed(_)) => "malformed",
            Err(PassError::Version(_)) => "version",
            Err(PassError::Id(_)) => "id",
            Err(PassError::Length) => "length",
            Err(PassError::Sides) => "sides",
            Err(PassError::Supervision) => "supervision",
            Err(PassError::Guardians) => "guardians",
            Err(PassError::Kinds) => "kinds",
            Err(PassError::Days) => "days",
        }
        .into()
    });
}

#[test]
fn family_heads() {
    each("family_head", |vector| {
        let log = FamilyLog::from_entries(&entries(vector)).unwrap();
        let signed = wire::SignedHead::decode(bytes(vector, "signed_head").as_slice()).unwrap();
        match SignedHead::from_wire(&signed).and_then(|head| head.vouch(&log)) {
            Ok(head) => {
                let family = FamilyId::try_from(&bytes(vector, "family")[..]).unwrap();
                assert_eq!(head.family(), family);
                assert_eq!(head.signer().as_bytes()[..], bytes(vector, "signer"));
                assert_eq!(head.statements(), number(vector, "statements"));
                assert_eq!(u64::from(head.day().0), number(vector, "day"));
                assert_eq!(
                    head.is_correction(),
                    vector["correction"].as_bool().unwrap()
                );
                "ok"
            }
            Err(HeadError::Malformed(_)) => "malformed",
            Err(HeadError::Version(_)) => "version",
            Err(HeadError::Field(_)) => "field",
            Err(HeadError::Id(_)) => "id",
            Err(HeadError::Family) => "family",
            Err(HeadError::Signature) => "signature",
            Err(HeadError::Unknown { .. }) => "unknown",
            Err(HeadError::Fork) => "fork",
            Err(HeadError::Signer) => "signer",
            Err(HeadError::Unvouched) => "unvouched",
        }
        .into()
    });
}
