//! The golden vectors: made from fixed seeds, each with the stage at which it must end.
//! `"outcome": "ok"` opens; anything else names the check that refuses it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program that makes test data; its tests use parts of it"
)]

use kinline_protocol::attachment::{Pointer, encrypt, encrypt_bytes};
use kinline_protocol::day::Day;
use kinline_protocol::envelope::{self, Kind, Payload};
use kinline_protocol::grant::{Grant, revocation_hash, revocation_secret};
use kinline_protocol::ids::{MailboxId, MessageId, RendezvousId};
use kinline_protocol::labels;
use kinline_protocol::pairing::{Initiator, PairingCode, PairingRole, Responder};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::primitives::{aead, hash};
use kinline_protocol::secrets::Secret;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};

#[path = "account.rs"]
mod account;
#[path = "codes.rs"]
mod codes;
#[path = "context.rs"]
mod context;
#[path = "family.rs"]
mod family;
#[path = "operator.rs"]
mod operator;
#[path = "recovery.rs"]
mod recovery;
#[path = "story.rs"]
mod story;

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// Every file: its name without `.json`, and what stands in it.
pub(crate) fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("envelope", envelopes()),
        ("attachment", attachments()),
        ("grant", grants()),
        ("pairing_code", pairing_codes()),
        ("pairing_handshake", handshakes()),
        ("family_log", family::logs()),
        ("contact_pass", family::passes()),
        ("family_head", family::heads()),
        ("context", context::contexts()),
        ("meet_code", codes::meet_codes()),
        ("short_code", codes::short_codes()),
        ("short_handshake", codes::short_handshake()),
        ("operator_log", operator::logs()),
        ("login_name", account::ids()),
        ("login", account::logins()),
        ("vault", recovery::vaults()),
    ]
}

fn file(section: &str, vectors: Vec<Value>) -> Value {
    json!({
        "section": section,
        "bytes": "hex",
        "vectors": vectors,
    })
}

/// `base` with the fields of `changes` over it.
fn with(base: &Value, changes: Value) -> Value {
    let mut merged = base.clone();
    if let (Some(merged), Value::Object(changes)) = (merged.as_object_mut(), changes) {
        merged.extend(changes);
    }
    merged
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

fn envelopes() -> Value {
    let key = Secret::new([0x11; 32]);
    let mailbox = MailboxId::new([0x22; 16]);
    let message = MessageId::new([0x33; 16]);
    let base = json!({
        "key": hex::encode(key.expose()),
        "mailbox": hex::encode(mailbox.as_bytes()),
        "message": hex::encode(message.as_bytes()),
    });
    let sealed = |kind, payload: &Payload, seed| {
        envelope::seal(&key, &mailbox, &message, kind, payload, &mut rng(seed)).unwrap()
    };
    let inline = |name: &str, kind: Kind, payload: Vec<u8>, seed| {
        let envelope = sealed(kind, &Payload::Inline(payload.clone()), seed);
        with(
            &base,
            json!({
                "name": name, "outcome": "ok", "kind": kind as u8,
                "payload": hex::encode(payload), "envelope": hex::encode(envelope),
            }),
        )
    };
    let hello = inline("a short payload", Kind::Application, b"hello".to_vec(), 1);
    let hello_bytes = hex::decode(hello["envelope"].as_str().unwrap()).unwrap();
    let (pointer, _) = encrypt_bytes(b"a welcome", &mut rng(2)).unwrap();
    let pointing = sealed(Kind::Welcome, &Payload::Pointer(pointer.to_wire()), 3);
    // What only a holder of the key can make: the inside written byte by byte.
    let associated = [
        labels::AEAD_ENVELOPE,
        &mailbox.as_bytes()[..],
        &message.as_bytes()[..],
    ]
    .concat();
    let forged = |name: &str, outcome: &str, head: [u8; 3], last: u8, seed| {
        let mut inside = vec![0; 984];
        inside[..3].copy_from_slice(&head);
        inside[983] = last;
        let envelope = aead::seal(&key, &associated, &inside, &mut rng(seed));
        with(
            &base,
            json!({ "name": name, "outcome": outcome, "envelope": hex::encode(envelope) }),
        )
    };
    let refused = |name: &str, outcome: &str, envelope: &[u8]| {
        with(
            &base,
            json!({ "name": name, "outcome": outcome, "envelope": hex::encode(envelope) }),
        )
    };
    let vectors = vec![
        hello.clone(),
        inline("nothing but its kind", Kind::Look, vec![], 4),
        inline("as long as it can be", Kind::Direct, vec![0xab; 981], 5),
        with(
            &base,
            with(
                &pointer_fields(&pointer),
                json!({
                    "name": "a pointer to a blob", "outcome": "ok", "kind": Kind::Welcome as u8,
                    "envelope": hex::encode(pointing),
                }),
            ),
        ),
        refused("one byte short", "length", &hello_bytes[1..]),
        refused(
            "one byte too many",
            "length",
            &[&hello_bytes[..], &[0]].concat(),
        ),
        refused("a changed nonce", "seal", &flipped(&hello_bytes, 0)),
        refused("a changed tag", "seal", &flipped(&hello_bytes, 1_023)),
        with(
            &hello,
            json!({
                "name": "in another mailbox", "outcome": "seal",
                "mailbox": hex::encode([0x44; 16]),
            }),
        ),
        with(
            &hello,
            json!({
                "name": "under another message id", "outcome": "seal",
                "message": hex::encode([0x44; 16]),
            }),
        ),
        forged("an unknown kind", "kind", [6, 0, 0], 0, 6),
        forged("kind zero", "kind", [0, 0, 0], 0, 7),
        forged(
            "a length past the end",
            "payload length",
            [1, 0x03, 0xd6],
            0,
            8,
        ),
        forged("padding that is not zero", "padding", [1, 0, 5], 1, 9),
        forged(
            "a pointer that is no protobuf",
            "pointer",
            [0x81, 0x03, 0xd5],
            1,
            10,
        ),
    ];
    file("envelope", vectors)
}

fn pointer_fields(pointer: &Pointer) -> Value {
    json!({
        "read_secret": hex::encode(pointer.read_secret.expose()),
        "file_key": hex::encode(pointer.key.expose()),
        "digest": hex::encode(pointer.digest),
        "size": pointer.size,
        "plaintext_size": pointer.plaintext_size,
    })
}

/// Two chunks and padding: byte i is i modulo 251.
pub(crate) fn large_plaintext() -> Vec<u8> {
    (0..=250).cycle().take(70_000).collect()
}

/// The large file under fixed secrets.
pub(crate) fn large_attachment() -> (Pointer, Vec<u8>) {
    let key = Secret::new([0x55; 32]);
    let mut stored = Vec::new();
    let plaintext = large_plaintext();
    let sealed = encrypt(&key, 70_000, &mut plaintext.as_slice(), &mut stored).unwrap();
    (Pointer::new(Secret::new([0x66; 32]), key, &sealed), stored)
}

fn attachments() -> Value {
    let vector = |name: &str, plaintext: &[u8], seed| {
        let (pointer, stored) = encrypt_bytes(plaintext, &mut rng(seed)).unwrap();
        with(
            &pointer_fields(&pointer),
            json!({
                "name": name, "outcome": "ok",
                "plaintext": hex::encode(plaintext), "stored": hex::encode(stored),
            }),
        )
    };
    let small = vector("a small file", b"a small file", 1);
    let stored = hex::decode(small["stored"].as_str().unwrap()).unwrap();
    let refused = |name: &str, outcome: &str, changes: Value| {
        let named = with(&small, json!({ "name": name, "outcome": outcome }));
        with(&named, changes)
    };
    let (large, _) = large_attachment();
    let changed = flipped(&stored, 500);
    let vectors = vec![
        small.clone(),
        vector("an empty file", b"", 2),
        vector("the longest of the smallest class", &[0xcd; 1_000], 3),
        vector("the shortest of the next class", &[0xcd; 1_001], 4),
        with(
            &pointer_fields(&large),
            json!({
                "name": "two chunks; byte i of the plaintext is i modulo 251, the stored bytes are given by their digest",
                "outcome": "ok",
            }),
        ),
        refused(
            "cut off",
            "truncated",
            json!({ "stored": hex::encode(&stored[..1_023]) }),
        ),
        refused(
            "one byte too many",
            "extended",
            json!({ "stored": hex::encode([&stored[..], &[0]].concat()) }),
        ),
        refused(
            "changed by the relay",
            "digest",
            json!({ "stored": hex::encode(&changed) }),
        ),
        refused(
            "changed by a sender who fits the digest",
            "chunk",
            json!({
                "stored": hex::encode(&changed), "digest": hex::encode(hash::sha256(&changed)),
            }),
        ),
        refused(
            "another key",
            "chunk",
            json!({ "file_key": hex::encode([0; 32]) }),
        ),
        refused(
            "another length inside",
            "size",
            json!({ "plaintext_size": 13 }),
        ),
        refused(
            "sizes that do not agree",
            "pointer sizes",
            json!({ "size": 1_088 }),
        ),
    ];
    file("attachment", vectors)
}

fn grants() -> Value {
    let key = SecretKey::from_seed(&[0x77; 32]);
    let mailbox = MailboxId::new([0x22; 16]);
    let seed = Secret::new([0x88; 32]);
    let conversation = [0x99; 16];
    let secret = revocation_secret(&seed, &conversation, 3);
    let grant = Grant {
        mailbox,
        serial: 3,
        last_day: Day(20_600),
        revocation_hash: revocation_hash(secret.expose()),
    };
    let bytes = grant.sign(&key);
    let good = json!({
        "name": "a grant",
        "outcome": "ok",
        "grant_seed": hex::encode(key.seed()),
        "grant_key": hex::encode(key.public().as_bytes()),
        "mailbox": hex::encode(mailbox.as_bytes()),
        "serial": 3,
        "last_day": 20_600,
        "today": 20_600,
        "revocation_seed": hex::encode(seed.expose()),
        "conversation": hex::encode(conversation),
        "address_number": 3,
        "revocation_secret": hex::encode(secret.expose()),
        "revocation_hash": hex::encode(grant.revocation_hash),
        "grant": hex::encode(bytes),
    });
    let refused = |name: &str, outcome: &str, changes: Value| {
        with(
            &with(&good, json!({ "name": name, "outcome": outcome })),
            changes,
        )
    };
    let vectors = vec![
        good.clone(),
        refused("a day late", "expired", json!({ "today": 20_601 })),
        refused(
            "another mailbox",
            "mailbox",
            json!({ "mailbox": hex::encode([0x23; 16]) }),
        ),
        refused(
            "another version",
            "version",
            json!({ "grant": hex::encode(flipped(&bytes, 0)) }),
        ),
        refused(
            "another serial than was signed",
            "signature",
            json!({ "grant": hex::encode(flipped(&bytes, 24)) }),
        ),
        refused(
            "cut off",
            "length",
            json!({ "grant": hex::encode(&bytes[..124]) }),
        ),
    ];
    file("grant", vectors)
}

fn code(admission: &str, role: PairingRole, relay: &str) -> PairingCode {
    PairingCode {
        relay: relay.parse().unwrap(),
        rendezvous: RendezvousId::new([0xaa; 16]),
        secret: Secret::new([0xbb; 16]),
        admission: admission.into(),
        role,
        expires_unix_seconds: 1_800_000_000,
    }
}

const PINNED: &str = "wss://relay.example.org:8443#pin=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn pairing_codes() -> Value {
    let vector = |name: &str, code: &PairingCode| {
        json!({
            "name": name, "outcome": "ok", "text": code.to_text(),
            "relay": code.relay.to_string(),
            "rendezvous": hex::encode(code.rendezvous.as_bytes()),
            "secret": hex::encode(code.secret.expose()),
            "admission": code.admission,
            "role": format!("{:?}", code.role),
            "expires": code.expires_unix_seconds,
        })
    };
    let child = code("plum-42", PairingRole::Child, PINNED);
    let text = child.to_text();
    let refused = |name: &str, outcome: &str, text: String| json!({ "name": name, "outcome": outcome, "text": text });
    let mut typo = text.clone();
    typo.replace_range(40..41, if &text[40..41] == "A" { "B" } else { "A" });
    let vectors = vec![
        vector("a child's tablet, a pinned relay", &child),
        vector(
            "a guardian's phone, an open relay with a public certificate",
            &code("", PairingRole::Guardian, "wss://relay.example.org:443"),
        ),
        refused(
            "for meeting another family",
            "other purpose",
            text.replace("pair", "meet"),
        ),
        refused(
            "for something unknown",
            "unknown purpose",
            text.replace("pair", "vote"),
        ),
        refused(
            "of a later version",
            "version",
            text.replace("pair:1:", "pair:2:"),
        ),
        refused("one character wrong", "damaged", typo),
        refused("cut off", "damaged", text[..text.len() - 1].into()),
        refused("something else", "foreign", "https://example.org/".into()),
    ];
    file("pairing_code", vectors)
}

/// A handshake over `text` with fixed ephemerals: both messages, the device's first sealed
/// message, the handshake hash, the pictures.
pub(crate) fn handshake(text: &str) -> (Vec<u8>, Vec<u8>, Vec<u8>, [u8; 32], String) {
    let code: PairingCode = text.parse().unwrap();
    let (device, first) = Initiator::start(&code, &mut rng(1)).unwrap();
    let phone = Responder::new(&code, &mut rng(2)).unwrap();
    let (phone, answer) = phone.answer(&first).unwrap();
    let mut device = device.finish(&answer).unwrap();
    let message = device.seal(b"my keys").unwrap();
    (
        first,
        answer,
        message,
        phone.handshake_hash(),
        phone.pictures(),
    )
}

fn handshakes() -> Value {
    let text = code("plum-42", PairingRole::Child, PINNED).to_text();
    let (first, answer, message, hash, pictures) = handshake(&text);
    let ephemeral = |seed| hex::encode(Secret::<32>::random(&mut rng(seed)).expose());
    let vector = json!({
        "name": "a child's tablet", "outcome": "ok", "code": text,
        "device_ephemeral": ephemeral(1),
        "phone_ephemeral": ephemeral(2),
        "first": hex::encode(first),
        "answer": hex::encode(answer),
        "plaintext": hex::encode("my keys"),
        "message": hex::encode(message),
        "handshake_hash": hex::encode(hash),
        "pictures": pictures,
    });
    file("pairing_handshake", vec![vector])
}
