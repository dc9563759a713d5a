//! What was sent and what came: counted from the devices' own events, content by content.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::Event;
use kinline_protocol::ids::{ContentId, ConversationId, DeviceId, MemberId};
use serde::Serialize;

/// Which devices each content is for.
pub(super) type Audiences = BTreeMap<ContentId, BTreeSet<DeviceId>>;

/// Written when something is sent: who is to get it. Clones are the same book.
#[derive(Debug, Clone, Default)]
pub(super) struct Book(Arc<Mutex<Audiences>>);

impl Book {
    /// A content is for these devices.
    pub(super) fn note(&self, content: ContentId, devices: BTreeSet<DeviceId>) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.insert(content, devices);
    }

    /// A content must never come to these devices: it is stray where it does.
    pub(super) fn not_for(&self, content: ContentId, devices: &[DeviceId]) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(audience) = book.get_mut(&content) {
            audience.retain(|device| !devices.contains(device));
        }
    }

    pub(super) fn audiences(&self) -> Audiences {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.clone()
    }
}

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

/// Everything that happened on one device.
pub(super) struct Witness {
    pub(super) device: DeviceId,
    pub(super) events: Vec<Event>,
}

struct Sent {
    /// A member's devices write each in an order of its own.
    device: DeviceId,
    sender: MemberId,
    place: u64,
    body: Body,
}

/// Compares what each device wrote with what those showed that it was for.
pub(super) fn count(witnesses: &[Witness], audiences: &Audiences) -> MessageCount {
    let mut sent: BTreeMap<ContentId, Sent> = BTreeMap::new();
    for witness in witnesses {
        let mut place = 0;
        for event in &witness.events {
            if let Event::Message {
                content,
                sender,
                mine: true,
                body,
                ..
            } = event
            {
                place += 1;
                let written = Sent {
                    device: witness.device,
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
            .keys()
            .filter(|content| {
                audiences
                    .get(content)
                    .is_some_and(|devices| devices.contains(&witness.device))
            })
            .copied()
            .collect();
        count.sent += expected.len() as u64;
        let mut seen = BTreeSet::new();
        let mut last_place: BTreeMap<(ConversationId, DeviceId), u64> = BTreeMap::new();
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
            let last = last_place
                .entry((*conversation, written.device))
                .or_default();
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

    use super::{Book, MessageCount, Witness, count};
    use kinline_protocol::content::Body;
    use kinline_protocol::engine::io::Event;
    use kinline_protocol::ids::{ContentId, ConversationId, DeviceId, MemberId};

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
        let witness = |device, events| Witness {
            device: DeviceId::new([device; 16]),
            events,
        };
        let written = vec![message(1, true, "a"), message(2, true, "b")];
        let book = Book::default();
        for n in [1, 2] {
            let both = BTreeSet::from([DeviceId::new([2; 16]), DeviceId::new([3; 16])]);
            book.note(ContentId::new([n; 16]), both);
            book.not_for(ContentId::new([n; 16]), &[DeviceId::new([3; 16])]);
        }
        let off = witness(3, vec![]);
        count(
            &[witness(1, written), witness(2, received), off],
            &book.audiences(),
        )
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
