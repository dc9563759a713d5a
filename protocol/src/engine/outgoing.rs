//! What is known of each content's way: to whom it is repeated, for whom it is given up.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::contents::ContentKey;
use super::device::{Engine, keep_until};
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::content::{Body, Content};
use crate::ids::{ContentId, ConversationId, DeviceId};
use crate::wire::{self, OutgoingState};

/// The last content that the relay took but a device has not confirmed is sent again after
/// this: if it arrives, it shows what else is missing.
const REPEAT_MS: u64 = 6 * 3_600_000;
/// A device that speaks so long after something was sent to it should have confirmed it.
pub(super) const ANSWER_MS: u64 = 60_000;

/// Whether every device has it, or never will.
pub(super) fn is_confirmed(outgoing: &wire::OutgoingRecord) -> bool {
    outgoing.peers.iter().all(|peer| {
        matches!(
            peer.state(),
            OutgoingState::Confirmed | OutgoingState::Fetched | OutgoingState::Failed
        )
    })
}

fn is_done(outgoing: &wire::OutgoingRecord) -> bool {
    is_confirmed(outgoing)
        && (outgoing.attachment.is_none()
            || outgoing
                .peers
                .iter()
                .all(|peer| matches!(peer.state(), OutgoingState::Fetched | OutgoingState::Failed)))
}

pub(super) const fn is_open(state: OutgoingState) -> bool {
    matches!(
        state,
        OutgoingState::Waiting | OutgoingState::Sent | OutgoingState::Stored
    )
}

impl Engine {
    /// Contents of this device in a conversation and their sequences there, for whom its log of
    /// what was sent is to be held against others'. A new leaf counts anew (PROTOCOL §6.12).
    #[must_use]
    pub fn sequences(&self, conversation: ConversationId) -> Vec<(ContentId, u64)> {
        self.own_contents
            .range((conversation, 0)..=(conversation, u64::MAX))
            .map(|((_, sequence), content)| (*content, *sequence))
            .collect()
    }

    /// Keeps a content that still has to reach somebody, or lets it go.
    pub(super) fn put_back(
        &mut self,
        key: ContentKey,
        outgoing: wire::OutgoingRecord,
        cx: &mut Cx<'_>,
    ) {
        let record = records::outgoing(key.0, key.1);
        if is_done(&outgoing) {
            cx.erase(record);
            if let Some(upload) = &outgoing.attachment {
                self.delete_blob(upload, cx);
            }
            self.collect_content(&outgoing.content_id, cx);
        } else {
            cx.put_message(record, &outgoing);
            self.outbox.insert(key, outgoing);
        }
    }

    /// Changes what is known of a content's recipients; `change` says whether it did.
    pub(super) fn change_peers(
        &mut self,
        key: ContentKey,
        cx: &mut Cx<'_>,
        mut change: impl FnMut(&mut wire::OutgoingPeer) -> bool,
    ) {
        let Some(mut outgoing) = self.outbox.remove(&key) else {
            return;
        };
        let mut changed = false;
        for peer in &mut outgoing.peers {
            changed |= change(peer);
        }
        if changed {
            self.put_back(key, outgoing, cx);
        } else {
            self.outbox.insert(key, outgoing);
        }
    }

    /// The kept contents are encrypted again, for the one who lacks them.
    pub(super) fn send_again(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        range: core::ops::RangeInclusive<u64>,
        sent_before_ms: u64,
        cx: &mut Cx<'_>,
    ) {
        let lacks = |peer: &wire::OutgoingPeer| {
            peer.device.as_ref() == device.as_bytes()
                && peer.state() == OutgoingState::Stored
                && peer.sent_at_ms <= sent_before_ms
        };
        let (first, last) = (*range.start(), *range.end());
        let found = self
            .outbox
            .from(id, first)
            .take_while(|((_, sequence), _)| *sequence <= last);
        let keys: Vec<ContentKey> = found
            .filter(|(_, outgoing)| outgoing.peers.iter().any(lacks))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.change_peers(key, cx, |peer| {
                let again = lacks(peer);
                if again {
                    peer.set_state(OutgoingState::Waiting);
                }
                again
            });
        }
    }

    /// What is too old visibly expires; the last that a device has not confirmed for long is
    /// sent again.
    pub(super) fn expire_outbox(&mut self, cx: &mut Cx<'_>) {
        let today = cx.now.day().0;
        let mut last = BTreeSet::new();
        let mut due = Vec::new();
        for (key, outgoing) in self.outbox.iter().rev() {
            if outgoing.keep_until_day < today {
                due.push((*key, None));
                continue;
            }
            for peer in outgoing.peers.iter().filter(|peer| is_open(peer.state())) {
                let is_last = last.insert((key.0, peer.device.clone()));
                let old = peer.sent_at_ms.saturating_add(REPEAT_MS) <= cx.now.0;
                if is_last && old && peer.state() == OutgoingState::Stored {
                    due.push((*key, Some(peer.device.clone())));
                }
            }
        }
        for (key, device) in due {
            match device {
                Some(device) => self.change_peers(key, cx, |peer| {
                    let again = peer.device == device && peer.state() == OutgoingState::Stored;
                    if again {
                        peer.set_state(OutgoingState::Waiting);
                    }
                    again
                }),
                None => self.fail(key, "it was not fetched in time", |_| true, cx),
            }
        }
    }

    /// A content does not go to some devices any more; who had not got it is named.
    pub(super) fn fail(
        &mut self,
        key: ContentKey,
        sentence: &str,
        whom: impl Fn(&wire::OutgoingPeer) -> bool,
        cx: &mut Cx<'_>,
    ) {
        let content = self
            .outbox
            .get(&key)
            .filter(|outgoing| !outgoing.control)
            .and_then(|outgoing| ContentId::try_from(&outgoing.content_id).ok());
        let mut named = Vec::new();
        self.change_peers(key, cx, |peer| {
            let gone = !matches!(peer.state(), OutgoingState::Fetched | OutgoingState::Failed)
                && whom(peer);
            if gone {
                if is_open(peer.state()) {
                    named.push(peer.device.clone());
                }
                peer.set_state(OutgoingState::Failed);
            }
            gone
        });
        for device in named {
            if let Some((content, device)) = content.zip(DeviceId::try_from(&device).ok()) {
                cx.event(Event::Undelivered {
                    content,
                    device,
                    sentence: sentence.to_owned(),
                });
            }
        }
    }

    /// Contents of a conversation do not go to these devices any more.
    pub(super) fn fail_all(
        &mut self,
        id: ConversationId,
        sentence: &str,
        whom: impl Fn(&wire::OutgoingPeer) -> bool,
        cx: &mut Cx<'_>,
    ) {
        let keys: Vec<ContentKey> = self.outbox.from(id, 0).map(|(key, _)| *key).collect();
        for key in keys {
            self.fail(key, sentence, &whom, cx);
        }
    }

    /// The bytes of an attachment are gone: in the content's place, which its readers wait
    /// for, goes that it was taken back.
    pub(super) fn take_back(&mut self, key: ContentKey, cx: &mut Cx<'_>) {
        let Some(outgoing) = self.outbox.get(&key) else {
            return;
        };
        let Ok(target) = ContentId::try_from(&outgoing.content_id) else {
            return;
        };
        let devices: Vec<Bytes> = outgoing
            .peers
            .iter()
            .map(|peer| peer.device.clone())
            .collect();
        let content = Content {
            id: ContentId::new(cx.random16()),
            conversation: key.0,
            sender: self.signer.device,
            sequence: key.1,
            sent_at: cx.now,
            keep_until: keep_until(cx.now),
            disappear_seconds: 0,
            reply_to: None,
            body: Body::Delete { target },
        };
        let Some(mut outgoing) = self.outbox.remove(&key) else {
            return;
        };
        outgoing.signed_content = content.sign(&self.signer.key).into();
        outgoing.content_id = content.id.to_bytes();
        if let Some(upload) = outgoing.attachment.take() {
            self.delete_blob(&upload, cx);
        }
        self.put_back(key, outgoing, cx);
        self.strip(key.0, target, cx);
        for device in devices
            .iter()
            .filter_map(|device| DeviceId::try_from(device).ok())
        {
            let sentence = "its attachment is gone from this device".to_owned();
            cx.event(Event::Undelivered {
                content: target,
                device,
                sentence,
            });
        }
    }
}
