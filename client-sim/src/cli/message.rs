//! A message as a line for people and as JSON for scripts.

use kinline_protocol::content::{Body, Progress};
use kinline_protocol::engine::view::{MessageView, Receipt};
use kinline_protocol::ids::MemberId;
use serde_json::{Map, Value, json};

use super::inbox::Names;

/// Digits of an id that are shown to people.
const SHORT_DIGITS: usize = 8;

pub(super) fn name(names: &Names, member: &MemberId) -> String {
    names
        .members
        .get(member)
        .cloned()
        .unwrap_or_else(|| "someone who left".to_owned())
}

fn short(id: &[u8]) -> String {
    let mut text = hex::encode(id);
    text.truncate(SHORT_DIGITS);
    text
}

/// What the body says in words.
pub(super) fn words(view: &MessageView) -> String {
    match &view.body {
        None => "(gone)".to_owned(),
        Some(Body::Text { text }) => view.edited.clone().unwrap_or_else(|| text.clone()),
        Some(Body::Sticker { pack, name }) => format!("[sticker {pack}/{name}]"),
        Some(Body::Photo(photo)) => {
            let caption = if photo.caption.is_empty() {
                String::new()
            } else {
                format!(": {}", photo.caption)
            };
            format!("[photo {} x {}{caption}]", photo.width, photo.height)
        }
        Some(Body::Voice(voice)) => {
            format!(
                "[voice {}.{} s]",
                voice.duration_ms / 1_000,
                voice.duration_ms / 100 % 10
            )
        }
        Some(Body::Progress(progress)) => format!("[{}]", report(progress)),
        Some(
            Body::Reaction { .. } | Body::Edit { .. } | Body::Delete { .. } | Body::Control(_),
        ) => String::new(),
    }
}

/// A learning report as a parent wants to read it.
fn report(progress: &Progress) -> String {
    let mut parts = vec![format!("{}: {}", progress.app, progress.activity)];
    if let Some(level) = progress.level {
        parts.push(format!("level {level}"));
    }
    match (progress.score, progress.out_of) {
        (Some(score), Some(out_of)) => parts.push(format!("score {score} of {out_of}")),
        (Some(score), None) => parts.push(format!("score {score}")),
        (None, _) => {}
    }
    match progress.seconds {
        0 => {}
        seconds @ 1..60 => parts.push(format!("{seconds} s")),
        seconds => parts.push(format!("{} min", seconds / 60)),
    }
    if !progress.text.is_empty() {
        parts.push(progress.text.clone());
    }
    parts.join(", ")
}

/// What a terminal must not be told by a stranger: control characters become spaces.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .map(|it| {
            if it.is_control() && it != '\n' {
                ' '
            } else {
                it
            }
        })
        .collect()
}

/// One line for people: `id  title  name: words  (marks)`.
pub(super) fn line(view: &MessageView, names: &Names) -> String {
    let title = names
        .titles
        .get(&view.conversation)
        .map_or("(left)", String::as_str);
    let mut marks = Vec::new();
    if let Some(target) = view.reply_to {
        marks.push(format!("answers {}", short(target.as_bytes())));
    }
    if view.edited.is_some() && view.body.is_some() {
        marks.push("edited".to_owned());
    }
    for (member, emoji) in &view.reactions {
        marks.push(format!("{emoji} {}", name(names, member)));
    }
    if view.told_by.is_some() {
        marks.push("as another device told it".to_owned());
    }
    if view.disappears_at.is_some() && view.body.is_some() {
        marks.push("disappears".to_owned());
    }
    if !view.receipts.is_empty() {
        let seen = view.receipts.values().filter(|it| **it >= Receipt::Read);
        marks.push(format!(
            "delivered {}, seen {}",
            view.receipts.len(),
            seen.count()
        ));
    }
    let marks = if marks.is_empty() {
        String::new()
    } else {
        format!("  ({})", marks.join(", "))
    };
    harmless(&format!(
        "{}  {title}  {}: {}{marks}",
        short(view.content.as_bytes()),
        name(names, &view.sender),
        words(view),
    ))
}

/// One object for scripts.
pub(super) fn json(view: &MessageView, names: &Names) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| {
        object.insert(key.to_owned(), value);
    };
    put("id", hex::encode(view.content.as_bytes()).into());
    put(
        "conversation",
        hex::encode(view.conversation.as_bytes()).into(),
    );
    put(
        "title",
        names.titles.get(&view.conversation).cloned().into(),
    );
    put("order", view.order.into());
    put("sender", name(names, &view.sender).into());
    put("sender_id", hex::encode(view.sender.as_bytes()).into());
    put("mine", view.mine.into());
    put("sent_at_ms", view.sent_at.map(|at| at.0).into());
    put("shown_at_ms", view.shown_at.0.into());
    put(
        "reply_to",
        view.reply_to.map(|id| hex::encode(id.as_bytes())).into(),
    );
    put("edited", view.edited.is_some().into());
    put(
        "told_by",
        view.told_by.map(|id| hex::encode(id.as_bytes())).into(),
    );
    put("disappears_at_ms", view.disappears_at.map(|at| at.0).into());
    let reactions: Vec<Value> = view
        .reactions
        .iter()
        .map(|(member, emoji)| json!({"member": name(names, member), "emoji": emoji}))
        .collect();
    put("reactions", reactions.into());
    let receipts: Vec<Value> = view
        .receipts
        .iter()
        .map(|(device, receipt)| {
            let state = match receipt {
                Receipt::Delivered => "delivered",
                Receipt::Read => "read",
                Receipt::Fetched => "fetched",
            };
            json!({"device": hex::encode(device.as_bytes()), "state": state})
        })
        .collect();
    put("receipts", receipts.into());
    match &view.body {
        None => put("kind", "gone".into()),
        Some(Body::Text { text }) => {
            put("kind", "text".into());
            put("text", view.edited.as_ref().unwrap_or(text).clone().into());
        }
        Some(Body::Sticker { pack, name }) => {
            put("kind", "sticker".into());
            put("sticker", json!({"pack": pack, "name": name}));
        }
        Some(Body::Photo(photo)) => {
            put("kind", "photo".into());
            put(
                "photo",
                json!({
                    "width": photo.width,
                    "height": photo.height,
                    "blurhash": photo.blurhash,
                    "caption": photo.caption,
                    "bytes": photo.blob.plaintext_size,
                }),
            );
        }
        Some(Body::Voice(voice)) => {
            put("kind", "voice".into());
            put(
                "voice",
                json!({
                    "duration_ms": voice.duration_ms,
                    "waveform": voice.waveform,
                    "bytes": voice.blob.plaintext_size,
                }),
            );
        }
        Some(Body::Progress(progress)) => {
            put("kind", "progress".into());
            put(
                "progress",
                json!({
                    "app": progress.app,
                    "activity": progress.activity,
                    "level": progress.level,
                    "score": progress.score,
                    "out_of": progress.out_of,
                    "seconds": progress.seconds,
                    "text": progress.text,
                }),
            );
        }
        Some(
            Body::Reaction { .. } | Body::Edit { .. } | Body::Delete { .. } | Body::Control(_),
        ) => {
            put("kind", "other".into());
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use std::collections::BTreeMap;

    use kinline_protocol::content::{Body, Progress};
    use kinline_protocol::day::Timestamp;
    use kinline_protocol::engine::view::{MessageView, Receipt};
    use kinline_protocol::ids::{ContentId, ConversationId, DeviceId, MemberId};

    use super::{json, line};
    use crate::cli::inbox::Names;

    fn view(body: Option<Body>) -> MessageView {
        MessageView {
            conversation: ConversationId::new([1; 16]),
            order: 3,
            content: ContentId::new([0xAB; 16]),
            sender: MemberId::new([2; 16]),
            device: Some(DeviceId::new([3; 16])),
            mine: true,
            sent_at: Some(Timestamp(5)),
            shown_at: Timestamp(6),
            body,
            edited: None,
            reply_to: None,
            reactions: BTreeMap::new(),
            receipts: BTreeMap::new(),
            disappears_at: None,
            told_by: None,
            media: None,
        }
    }

    fn names() -> Names {
        Names {
            titles: [(ConversationId::new([1; 16]), "Home".into())].into(),
            members: [(MemberId::new([2; 16]), "Mia".into())].into(),
        }
    }

    fn text(text: &str) -> Option<Body> {
        Some(Body::Text { text: text.into() })
    }

    #[test]
    fn a_line_tells_who_said_what() {
        let mut view = view(text("hello"));
        assert_eq!(line(&view, &names()), "abababab  Home  Mia: hello");
        view.edited = Some("hi".into());
        view.reactions.insert(MemberId::new([9; 16]), "x".into());
        view.receipts.insert(DeviceId::new([4; 16]), Receipt::Read);
        view.receipts
            .insert(DeviceId::new([5; 16]), Receipt::Delivered);
        assert_eq!(
            line(&view, &names()),
            "abababab  Home  Mia: hi  (edited, x someone who left, delivered 2, seen 1)"
        );
        view.body = None;
        assert!(line(&view, &names()).contains("Mia: (gone)"));
    }

    #[test]
    fn a_learning_report_is_told_in_words_and_numbers() {
        let mut progress = Progress {
            app: "Number Garden".into(),
            activity: "Adding".into(),
            level: Some(3),
            score: Some(17),
            out_of: Some(20),
            seconds: 720,
            text: "carries the one".into(),
        };
        let told = |progress: &Progress| {
            let view = view(Some(Body::Progress(progress.clone())));
            (line(&view, &names()), json(&view, &names()))
        };
        let (words, value) = told(&progress);
        assert_eq!(
            words,
            "abababab  Home  Mia: [Number Garden: Adding, level 3, score 17 of 20, 12 min, carries the one]"
        );
        assert_eq!(value["kind"], "progress");
        assert_eq!(value["progress"]["out_of"], 20);
        progress.level = None;
        progress.out_of = None;
        progress.seconds = 40;
        progress.text = String::new();
        let (words, value) = told(&progress);
        assert!(words.ends_with("[Number Garden: Adding, score 17, 40 s]"));
        assert!(value["progress"]["level"].is_null());
    }

    #[test]
    fn words_can_not_command_the_terminal() {
        let line = line(&view(text("a\u{1b}[2Jb\rc")), &names());
        assert!(!line.contains('\u{1b}') && !line.contains('\r'));
    }

    #[test]
    fn json_keeps_everything() {
        let mut view = view(text("hel\"lo\n\u{1b}"));
        view.receipts
            .insert(DeviceId::new([4; 16]), Receipt::Fetched);
        let value = json(&view, &names());
        assert_eq!(value["kind"], "text");
        assert_eq!(value["text"], "hel\"lo\n\u{1b}");
        assert_eq!(value["id"], "ab".repeat(16));
        assert_eq!(value["receipts"][0]["state"], "fetched");
        assert!(!value.to_string().contains('\n'));
        view.body = None;
        assert_eq!(json(&view, &names())["kind"], "gone");
    }
}
