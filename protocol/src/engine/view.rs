//! History records folded into what a screen shows.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::records;
use crate::attachment::Pointer;
use crate::content::{Body, Content};
use crate::day::Timestamp;
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
use crate::wire;

/// How far a content of ours got on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receipt {
    /// The device has it.
    Delivered,
    /// Its person saw it.
    Read,
    /// The device has the attachment too.
    Fetched,
}

/// One shown content with all that happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageView {
    /// Where.
    pub conversation: ConversationId,
    /// Place on this device's screen.
    pub order: u64,
    /// Which.
    pub content: ContentId,
    /// By whom.
    pub sender: MemberId,
    /// By which device; `None` once it was taken back.
    pub device: Option<DeviceId>,
    /// Written on this device.
    pub mine: bool,
    /// When, by the sender's clock; `None` once it was taken back.
    pub sent_at: Option<Timestamp>,
    /// When it came onto this screen.
    pub shown_at: Timestamp,
    /// What; `None` when it was taken back or has disappeared.
    pub body: Option<Body>,
    /// New words, when its author changed it.
    pub edited: Option<String>,
    /// What it answers.
    pub reply_to: Option<ContentId>,
    /// Emoji by member.
    pub reactions: BTreeMap<MemberId, String>,
    /// How far it got, by device; for own ones.
    pub receipts: BTreeMap<DeviceId, Receipt>,
    /// When it disappears.
    pub disappears_at: Option<Timestamp>,
    /// The device that gave it, when nothing but its word says who wrote it.
    pub told_by: Option<DeviceId>,
    /// Where another device has put its attachment up again.
    pub media: Option<Pointer>,
}

impl MessageView {
    /// Where its attachment lies: where it was put up last.
    #[must_use]
    pub fn attachment(&self) -> Option<&Pointer> {
        let original = self.body.as_ref()?.attachment()?;
        Some(self.media.as_ref().unwrap_or(original))
    }
}

/// Folds history records (name, value) into messages, by conversation and order of showing.
/// Records that can't be read are left out.
pub fn messages(history: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<MessageView> {
    let mut views: BTreeMap<ContentId, MessageView> = BTreeMap::new();
    let mut edits = BTreeMap::new();
    let mut reactions = Vec::new();
    let mut receipts = Vec::new();
    let mut veiled = Vec::new();
    let mut media = Vec::new();
    for (name, value) in history {
        if name.starts_with(records::MESSAGE) {
            if let Some(view) = wire::StoredMessageRecord::decode(value.as_slice())
                .ok()
                .and_then(|r| view(&name, &r))
            {
                views.insert(view.content, view);
            }
        } else if let Some((of, target, _)) = target_of(&name, records::EDIT) {
            edits.insert((of, target), String::from_utf8_lossy(&value).into_owned());
        } else if let Some((of, target, _)) = target_of(&name, records::VEIL) {
            veiled.push((of, target));
        } else if let Some((of, target, _)) = target_of(&name, records::MEDIA) {
            let pointer = wire::BlobPointer::decode(value.as_slice()).ok();
            if let Some(pointer) = pointer.and_then(|it| Pointer::try_from(&it).ok()) {
                media.push((of, target, pointer));
            }
        } else if let Some((of, target, rest)) = target_of(&name, records::REACTION) {
            if let Ok(member) = MemberId::try_from(rest) {
                reactions.push((
                    of,
                    target,
                    member,
                    String::from_utf8_lossy(&value).into_owned(),
                ));
            }
        } else if let Some((_, target, rest)) = target_of(&name, records::RECEIPT)
            && let Ok(device) = DeviceId::try_from(rest)
        {
            let receipt = match value.first() {
                Some(1) => Receipt::Delivered,
                Some(2) => Receipt::Read,
                _ => Receipt::Fetched,
            };
            receipts.push((target, device, receipt));
        }
    }
    for (of, target) in veiled {
        if let Some(view) = views
            .get_mut(&target)
            .filter(|view| view.conversation == of)
        {
            (view.body, view.device, view.sent_at, view.reply_to) = (None, None, None, None);
            view.disappears_at = None;
        }
    }
    for ((of, target), text) in edits {
        if let Some(view) = views
            .get_mut(&target)
            .filter(|view| view.body.is_some() && view.conversation == of)
        {
            view.edited = Some(text);
        }
    }
    for (of, target, member, emoji) in reactions {
        if let Some(view) = views
            .get_mut(&target)
            .filter(|view| view.body.is_some() && view.conversation == of)
        {
            view.reactions.insert(member, emoji);
        }
    }
    for (of, target, pointer) in media {
        if let Some(view) = views
            .get_mut(&target)
            .filter(|view| view.body.is_some() && view.conversation == of)
        {
            view.media = Some(pointer);
        }
    }
    for (target, device, receipt) in receipts {
        if let Some(view) = views.get_mut(&target) {
            view.receipts.insert(device, receipt);
        }
    }
    let mut views: Vec<MessageView> = views.into_values().collect();
    views.sort_by_key(|view| (view.conversation, view.order));
    views
}

/// The exact bytes of a message's `SignedContent`, out of history records (name, value): what
/// a [`super::io::Command::Report`] shows to guardians; also of one that its sender took back,
/// as long as this device keeps it. `None` when it is not there any more.
pub fn signed(
    history: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    content: ContentId,
) -> Option<Bytes> {
    history
        .into_iter()
        .filter(|(name, _)| name.starts_with(records::MESSAGE))
        .filter_map(|(_, value)| wire::StoredMessageRecord::decode(value.as_slice()).ok())
        .find(|record| !record.deleted && record.content_id.as_ref() == content.as_bytes())
        .map(|record| {
            let signed = wire::SignedContent {
                content: record.content,
                signature: record.signature,
            };
            signed.encode_to_vec().into()
        })
}

fn target_of<'a>(name: &'a [u8], prefix: &[u8]) -> Option<(ConversationId, ContentId, &'a [u8])> {
    let rest = name.strip_prefix(prefix)?;
    let (conversation, rest) = rest.split_at_checked(ConversationId::LEN)?;
    let (target, rest) = rest.split_at_checked(ContentId::LEN)?;
    Some((
        ConversationId::try_from(conversation).ok()?,
        ContentId::try_from(target).ok()?,
        rest,
    ))
}

fn view(name: &[u8], record: &wire::StoredMessageRecord) -> Option<MessageView> {
    let rest = name.strip_prefix(records::MESSAGE)?;
    let (conversation, _) = rest.split_at_checked(ConversationId::LEN)?;
    let content = if record.deleted {
        None
    } else {
        Some(Content::decode(&record.content).ok()?)
    };
    Some(MessageView {
        conversation: ConversationId::try_from(conversation).ok()?,
        order: record.order,
        content: ContentId::try_from(&record.content_id).ok()?,
        sender: MemberId::try_from(&record.sender_member).ok()?,
        device: content.as_ref().map(|content| content.sender),
        mine: record.mine,
        sent_at: content.as_ref().map(|content| content.sent_at),
        shown_at: Timestamp(record.shown_at_ms),
        reply_to: content.as_ref().and_then(|content| content.reply_to),
        body: content.map(|content| content.body),
        edited: None,
        reactions: BTreeMap::new(),
        receipts: BTreeMap::new(),
        disappears_at: (record.disappears_at_ms > 0).then_some(Timestamp(record.disappears_at_ms)),
        told_by: DeviceId::try_from(&record.told_by).ok(),
        media: None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use prost::Message as _;

    use super::{messages, records};
    use crate::content::{Body, Content};
    use crate::day::{Day, Timestamp};
    use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
    use crate::wire;

    #[test]
    fn what_is_said_elsewhere_does_not_touch_a_message() {
        let (here, elsewhere) = (ConversationId::new([1; 16]), ConversationId::new([2; 16]));
        let (target, member) = (ContentId::new([3; 16]), MemberId::new([4; 16]));
        let content = Content {
            id: target,
            conversation: here,
            sender: DeviceId::new([5; 16]),
            sequence: 1,
            sent_at: Timestamp(6),
            keep_until: Day(7),
            disappear_seconds: 0,
            reply_to: None,
            body: Body::Text { text: "hi".into() },
        };
        let stored = wire::StoredMessageRecord {
            content: content.encode().into(),
            sender_member: member.to_bytes(),
            order: 1,
            content_id: target.to_bytes(),
            ..wire::StoredMessageRecord::default()
        };
        let shown = |of: ConversationId| {
            let history = [
                (records::message(here, 1).name, stored.encode_to_vec()),
                (records::edit(of, target).name, b"ha".to_vec()),
                (records::reaction(of, target, member).name, b"+".to_vec()),
            ];
            let mut views = messages(history);
            let view = views.remove(0);
            (view.edited, view.reactions.len())
        };
        assert_eq!(shown(here), (Some("ha".into()), 1));
        assert_eq!(shown(elsewhere), (None, 0));
    }
}
