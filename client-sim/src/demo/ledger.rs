//! What was sent and what came: counted from the devices' own events, content by content.

use std::collections::{BTreeMap, BTreeSet};

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::Event;
use kinline_protocol::ids::{ContentId, ConversationId, MemberId};
use serde::Serialize;

/// Counted over all devices: each content counts once for every device that was to get it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(super) struct MessageCount {
    /// Contents written.
    pub(super) contents: u64,
    /// Contents times the devices they were for.
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    /// Arrived with another body than was sent.
    pub(super) altered: u64,
    /// Arrived where they did not belong.
    pub(super) stray: u64,
}

impl MessageCount {
    pub(super) const fn is_clean(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.out_of_order == 0
            && self.altered == 0
            && self.stray == 0
    }
}

/// One device's events and the conversations it was in, from its own member's view.
pub(super) struct Witness {
    pub(super) member: MemberId,
    pub(super) conversations: BTreeSet<ConversationId>,
    pub(super) events: Vec<Event>,
}

struct Sent {
    conversation: ConversationId,
    sender: MemberId,
    place: u64,
    body: Body,
}

/// Compares what each device wrote with what every other device showed.
pub(super) fn count(witnesses: &[Witness]) -> MessageCount {
    let mut sent: BTreeMap<ContentId, Sent> = BTreeMap::new();
    for witness in witnesses {
        let mut place = 0;
        for event in &witness.events {
            if let Event::Message {
                conversation,
                content,
                sender,
                mine: true,
                body,
            } = event
            {
                place += 1;
                let written = Sent {
                    conversation: *conversation,
                    sender: *sender,
                    place,
                    body: body.clone(),
                };
                sent.insert(*content, written);
            }
        }
    }
    let mut count = MessageCount {
        contents: sent.len() as u64,
        ..MessageCount::default()
    };
    for witness in witnesses {
        let expected: BTreeSet<ContentId> = sent
            .iter()
            .filter(|(_, written)| {
                written.sender != witness.member
                    && witness.conversations.contains(&written.conversation)
            })
            .map(|(content, _)| *content)
            .collect();
        count.sent += expected.len() as u64;
        let mut seen = BTreeSet::new();
        let mut last_place: BTreeMap<(ConversationId, MemberId), u64> = BTreeMap::new();
        for event in &witness.events {
            let Event::Message {
                conversation,
                content,
                sender,
                mine: false,
                body,
            } = event
            else {
                continue;
            };
            let Some(written) = sent.get(content).filter(|_| expected.contains(content)) else {
                count.stray += 1;
                continue;
            };
            if !seen.insert(*content) {
                count.duplicated += 1;
                continue;
            }
            count.received += 1;
            if written.body != *body || written.sender != *sender {
                count.altered += 1;
            }
            let last = last_place.entry((*conversation, *sender)).or_default();
            if written.place < *last {
                count.out_of_order += 1;
            }
            *last = written.place.max(*last);
        }
        count.lost += expected.difference(&seen).count() as u64;
    }
    count
}

/// What the relay refused, by its own sentence.
pub(super) fn relay_refusals(witnesses: &[Witness]) -> BTreeMap<String, u64> {
    let mut refusals = BTreeMap::new();
    for event in witnesses.iter().flat_map(|witness| &witness.events) {
        let sentence = match event {
            Event::RelayError { code, sentence } => format!("{code:?}: {sentence}"),
            Event::RecipientRefused { sentence, .. } => format!("recipient: {sentence}"),
            _ => continue,
        };
        *refusals.entry(sentence).or_default() += 1;
    }
    refusals
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{MessageCount, Witness, count};
    use kinline_protocol::content::Body;
    use kinline_protocol::engine::io::Event;
    use kinline_protocol::ids::{ContentId, ConversationId, MemberId};

    const HERE: ConversationId = ConversationId::new([9; 16]);

    fn message(n: u8, mine: bool, text: &str) -> Event {
        Event::Message {
            conversation: HERE,
            content: ContentId::new([n; 16]),
            sender: MemberId::new([1; 16]),
            mine,
            body: Body::Text { text: text.into() },
        }
    }

    fn counted(received: Vec<Event>) -> MessageCount {
        let witness = |member, events| Witness {
            member: MemberId::new([member; 16]),
            conversations: BTreeSet::from([HERE]),
            events,
        };
        let written = vec![message(1, true, "a"), message(2, true, "b")];
        count(&[witness(1, written), witness(2, received)])
    }

    #[test]
    fn every_kind_of_harm_is_counted() {
        let (a, b) = (message(1, false, "a"), message(2, false, "b"));
        let clean = counted(vec![a.clone(), b.clone()]);
        assert!(clean.is_clean());
        assert_eq!((clean.contents, clean.sent, clean.received), (2, 2, 2));
        assert_eq!(counted(vec![a.clone()]).lost, 1);
        assert_eq!(counted(vec![a.clone(), b.clone(), b.clone()]).duplicated, 1);
        assert_eq!(counted(vec![b.clone(), a.clone()]).out_of_order, 1);
        assert_eq!(counted(vec![a.clone(), message(2, false, "x")]).altered, 1);
        assert_eq!(counted(vec![a, b, message(7, false, "z")]).stray, 1);
    }
}
