//! Codes to type, and codes to meet with.

use kinline_protocol::ids::RendezvousId;
use kinline_protocol::labels;
use kinline_protocol::pairing::{
    CodeError, Initiator, MeetCode, PairingRole, Responder, ShortCode, ShortJoiner, ShortMeetCode,
    answer_short,
};
use kinline_protocol::primitives::kdf;
use kinline_protocol::primitives::pake::{Names, Side};
use kinline_protocol::secrets::Secret;
use serde_json::{Value, json};

use super::{PINNED, file, rng};

pub(super) fn meet_codes() -> Value {
    let code = MeetCode {
        relay: PINNED.parse().unwrap(),
        rendezvous: RendezvousId::new([0xaa; 16]),
        secret: Secret::new([0xbb; 16]),
        expires_unix_seconds: 1_800_000_000,
    };
    let text = code.to_text();
    let refused = |name: &str, outcome: &str, text: String| json!({ "name": name, "outcome": outcome, "text": text });
    let vectors = vec![
        json!({
            "name": "a pinned relay", "outcome": "ok", "text": text,
            "relay": code.relay.to_string(),
            "rendezvous": hex::encode(code.rendezvous.as_bytes()),
            "secret": hex::encode(code.secret.expose()),
            "expires": code.expires_unix_seconds,
        }),
        refused(
            "for pairing a device",
            "other purpose",
            super::code("", PairingRole::Child, PINNED).to_text(),
        ),
        refused(
            "a pairing code's body behind the other word",
            "damaged",
            super::code("", PairingRole::Child, PINNED)
                .to_text()
                .replace("pair", "meet"),
        ),
        refused(
            "of a later version",
            "version",
            text.replace("meet:1:", "meet:2:"),
        ),
        refused("cut off", "damaged", text[..text.len() - 1].into()),
    ];
    file("meet_code", vectors)
}

pub(super) fn short_codes() -> Value {
    let pair = |name: &str, role: &str, text: &str| {
        let code: ShortCode = text.parse().unwrap();
        json!({
            "name": name, "outcome": "ok", "text": text, "shown": code.to_text(),
            "purpose": role, "rendezvous": hex::encode(code.rendezvous().as_bytes()),
        })
    };
    let refused = |name: &str, outcome: &str, text: &str| json!({ "name": name, "outcome": outcome, "text": text });
    let vectors = vec![
        pair("a guardian's device", "Guardian", &checked("1821369047716")),
        pair("a child's device", "Child", &checked("2821369047716")),
        pair("zeros", "Child", &checked("2000000000000")),
        pair(
            "as people type",
            "Child",
            &format!(" {} ", checked("2821369047716").replace(['-', ' '], " - ")),
        ),
        {
            let text = checked("3821369047716");
            let code: ShortMeetCode = text.parse().unwrap();
            json!({
                "name": "meeting a family", "outcome": "ok", "text": text, "shown": code.to_text(),
                "purpose": "Meet", "rendezvous": hex::encode(code.rendezvous().as_bytes()),
            })
        },
        refused("one digit wrong", "mistyped", &wrong_digit()),
        refused("two neighbours swapped", "mistyped", &swapped()),
        refused("a digit too few", "digits", "2 82136-9047-716"),
        refused("a letter", "not a digit", "2 82136-9O47-7163"),
        refused(
            "for something unknown",
            "unknown purpose",
            &checked("7821369047716"),
        ),
        refused("no code", "foreign", "hello"),
    ];
    file("short_code", vectors)
}

/// Thirteen digits, and the one check digit that fits, as shown.
fn checked(digits: &str) -> String {
    let text = (0..10)
        .map(|check| format!("{digits}{check}"))
        .find(|text| text.parse::<ShortCode>() != Err(CodeError::Mistyped))
        .unwrap();
    format!(
        "{} {}-{}-{}",
        &text[..1],
        &text[1..6],
        &text[6..10],
        &text[10..]
    )
}

fn wrong_digit() -> String {
    checked("2821369047716").replacen("9047", "9048", 1)
}

fn swapped() -> String {
    checked("2821369047716").replacen("9047", "9407", 1)
}

/// From typed digits to the handshake hash, every random number fixed.
pub(crate) fn short_handshake() -> Value {
    let text = checked("2821369047716");
    let code: ShortCode = text.parse().unwrap();
    let server_name = "relay.example.org";
    let (joiner, first) = ShortJoiner::start(&code, server_name, &mut rng(3));
    let (opener_key, answer) = answer_short(&code, server_name, &first, &mut rng(4)).unwrap();
    let joiner_key = joiner.finish(&answer).unwrap();
    let (device, noise_first) = Initiator::start(&joiner_key, &mut rng(1)).unwrap();
    let phone = Responder::new(&opener_key, &mut rng(2)).unwrap();
    let (phone, noise_answer) = phone.answer(&noise_first).unwrap();
    device.finish(&noise_answer).unwrap();

    // Once more from the parts.
    let rendezvous = code.rendezvous();
    let name = |label: &[u8]| {
        [
            label,
            &b"2"[..],
            rendezvous.as_bytes(),
            server_name.as_bytes(),
        ]
        .concat()
    };
    let (id_a, id_b) = (name(labels::PAKE_JOIN), name(labels::PAKE_OPEN));
    let names = Names {
        first: &id_a,
        second: &id_b,
    };
    let (side, again) = Side::first(b"9047716", names, &mut rng(3));
    assert_eq!(again, first);
    let key = side.finish(&answer).unwrap();
    let context = [&b"2"[..], rendezvous.as_bytes(), server_name.as_bytes()];
    let psk = kdf::derive(key.expose(), labels::KDF_SHORT_CODE, &context);
    let drawn = |seed| hex::encode(Secret::<64>::random(&mut rng(seed)).expose());
    let ephemeral = |seed| hex::encode(Secret::<32>::random(&mut rng(seed)).expose());
    let vector = json!({
        "name": "a child's tablet", "outcome": "ok", "text": text,
        "server_name": server_name,
        "rendezvous": hex::encode(rendezvous.as_bytes()),
        "id_a": hex::encode(&id_a),
        "id_b": hex::encode(&id_b),
        "joiner_scalar": drawn(3),
        "opener_scalar": drawn(4),
        "first": hex::encode(&first),
        "answer": hex::encode(&answer),
        "key": hex::encode(key.expose()),
        "psk": hex::encode(psk.expose()),
        "joiner_ephemeral": ephemeral(1),
        "opener_ephemeral": ephemeral(2),
        "noise_first": hex::encode(noise_first),
        "noise_answer": hex::encode(noise_answer),
        "handshake_hash": hex::encode(phone.handshake_hash()),
        "pictures": phone.pictures(),
    });
    file("short_handshake", vec![vector])
}
