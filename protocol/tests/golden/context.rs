use kinline_protocol::conversation::{ConversationContext, ConversationKind};

use super::{bytes, each, number, text};

#[test]
fn conversation_contexts() {
    each("context", |vector| {
        let Some(context) = ConversationContext::decode(&bytes(vector, "context")) else {
            return "refused".into();
        };
        let kind = match context.kind {
            ConversationKind::Family => 1,
            ConversationKind::Room => 2,
            ConversationKind::Contact => 3,
            ConversationKind::Link => 4,
        };
        assert_eq!(kind, number(vector, "kind"));
        assert_eq!(context.title, text(vector, "title"));
        assert_eq!(u64::from(context.day.0), number(vector, "day"));
        let parties = context.parties.iter();
        let parties: Vec<[String; 2]> = parties
            .map(|party| {
                [
                    hex::encode(party.family.as_bytes()),
                    hex::encode(party.head),
                ]
            })
            .collect();
        assert_eq!(serde_json::json!(parties), vector["parties"]);
        "ok".into()
    });
}
