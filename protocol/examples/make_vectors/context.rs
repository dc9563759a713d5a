//! Vectors of the group context extension.

use kinline_protocol::wire;
use prost::Message;
use serde_json::{Value, json};

use super::file;

fn party(n: u8) -> wire::Party {
    wire::Party {
        family: vec![n; 16].into(),
        head: vec![0x10 + n; 32].into(),
    }
}

fn context(kind: wire::ConversationKind, parties: &[u8]) -> wire::ConversationContext {
    wire::ConversationContext {
        version: 1,
        kind: kind.into(),
        title: "Treehouse".into(),
        parties: parties.iter().map(|n| party(*n)).collect(),
        day: 20_600,
        left: vec![],
    }
}

pub(super) fn contexts() -> Value {
    let good = |name: &str, kind: wire::ConversationKind, parties: &[u8]| {
        let context = context(kind, parties);
        let parties = context.parties.iter();
        let parties: Vec<Value> = parties
            .map(|party| json!([hex::encode(&party.family), hex::encode(&party.head)]))
            .collect();
        json!({
            "name": name, "outcome": "ok", "context": hex::encode(context.encode_to_vec()),
            "kind": i32::from(kind), "title": context.title, "day": context.day,
            "parties": parties,
        })
    };
    let refused = |name: &str, change: &dyn Fn(&mut wire::ConversationContext)| {
        let mut context = context(wire::ConversationKind::Contact, &[1, 2, 3]);
        change(&mut context);
        json!({
            "name": name, "outcome": "refused", "context": hex::encode(context.encode_to_vec()),
        })
    };
    let vectors = vec![
        good("a family", wire::ConversationKind::Family, &[1]),
        good("a room", wire::ConversationKind::Room, &[1]),
        good(
            "children of three families",
            wire::ConversationKind::Contact,
            &[1, 2, 3],
        ),
        good(
            "guardians of two families",
            wire::ConversationKind::Link,
            &[1, 2],
        ),
        json!({ "name": "no protobuf", "outcome": "refused", "context": "0a05" }),
        refused("another version", &|c| c.version = 2),
        refused("no kind", &|c| c.kind = 0),
        refused("an unknown kind", &|c| c.kind = 5),
        refused("a title too long", &|c| c.title = "t".repeat(129)),
        refused("nobody", &|c| c.parties.clear()),
        refused("four families", &|c| c.parties.push(party(4))),
        refused("three in a link", &|c| c.kind = 4),
        refused("two in a room", &|c| {
            c.kind = 2;
            c.parties.truncate(2);
        }),
        refused("two in a family's", &|c| {
            c.kind = 1;
            c.parties.truncate(2);
        }),
        refused("out of order", &|c| c.parties.swap(0, 1)),
        refused("one twice", &|c| c.parties[1] = party(1)),
        refused("a short family", &|c| c.parties[0].family.truncate(15)),
        refused("a long head", &|c| c.parties[2].head = vec![0; 33].into()),
    ];
    file("conversation context", vectors)
}
