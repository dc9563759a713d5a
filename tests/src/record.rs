//! The relay, judged by what went over the wire.
//!
//! "Acknowledged by the relay" means here: an answer that says ok passed the tap. Every such
//! envelope must have been delivered to its mailbox and acknowledged by its device when all is
//! quiet. Devices send again what is not confirmed, so that their screens would hide such a loss.

use std::collections::{BTreeMap, BTreeSet};

use kinline_protocol::ids::{MailboxId, MessageId};

/// One envelope on its way into one mailbox.
pub type Envelope = (MailboxId, MessageId);

/// Everything that the tap saw, in the order in which it saw it.
#[derive(Debug, Clone, Default)]
pub struct WireRecord {
    /// First time each envelope was sent, with the sender's mailbox.
    pub sent: Vec<(Option<MailboxId>, Envelope)>,
    /// Envelopes that the relay has said ok to.
    pub answered: BTreeSet<Envelope>,
    /// Every delivery, repeated ones too.
    pub delivered: Vec<Envelope>,
    /// Envelopes that a device has acknowledged.
    pub acknowledged: BTreeSet<Envelope>,
    /// Attaches so far, by mailbox.
    pub attached: BTreeMap<MailboxId, u32>,
    known: BTreeSet<Envelope>,
}

/// How the relay did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayVerdict {
    /// Envelopes it said ok to.
    pub answered: usize,
    /// Of these, those that no device has.
    pub lost: Vec<Envelope>,
    /// Envelopes delivered before one that the same sender sent earlier into the same mailbox.
    pub out_of_order: Vec<Envelope>,
    /// Delivered, though nobody sent them there.
    pub stray: Vec<Envelope>,
}

impl RelayVerdict {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.out_of_order.is_empty() && self.stray.is_empty()
    }
}

impl WireRecord {
    /// A device sends.
    pub fn send(&mut self, sender: Option<MailboxId>, envelope: Envelope) {
        if self.known.insert(envelope) {
            self.sent.push((sender, envelope));
        }
    }

    /// Envelopes that this mailbox was sent and the relay said ok to.
    #[must_use]
    pub fn answered_for(&self, mailbox: MailboxId) -> usize {
        self.answered
            .iter()
            .filter(|(to, _)| *to == mailbox)
            .count()
    }

    /// Judges; call it when everything is delivered as far as the devices know.
    #[must_use]
    pub fn verdict(&self) -> RelayVerdict {
        let mut first_delivery: BTreeMap<Envelope, usize> = BTreeMap::new();
        for (place, envelope) in self.delivered.iter().enumerate() {
            first_delivery.entry(*envelope).or_insert(place);
        }
        let mut last: BTreeMap<(Option<MailboxId>, MailboxId), usize> = BTreeMap::new();
        let mut out_of_order = Vec::new();
        for (sender, envelope) in &self.sent {
            let Some(place) = first_delivery.get(envelope) else {
                continue;
            };
            let last = last.entry((*sender, envelope.0)).or_insert(*place);
            if place < last {
                out_of_order.push(*envelope);
            }
            *last = *place.max(last);
        }
        RelayVerdict {
            answered: self.answered.len(),
            lost: self
                .answered
                .difference(&self.acknowledged)
                .copied()
                .collect(),
            out_of_order,
            stray: first_delivery
                .into_keys()
                .filter(|envelope| !self.known.contains(envelope))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Envelope, MailboxId, MessageId, WireRecord};

    const ALICE: Option<MailboxId> = Some(MailboxId::new([1; 16]));

    fn envelope(n: u8) -> Envelope {
        (MailboxId::new([9; 16]), MessageId::new([n; 16]))
    }

    /// Two envelopes that the relay acknowledged, delivered as told.
    fn record(delivered: &[u8]) -> WireRecord {
        let mut record = WireRecord::default();
        for n in [1, 2] {
            record.send(ALICE, envelope(n));
            record.answered.insert(envelope(n));
        }
        for n in delivered {
            record.delivered.push(envelope(*n));
            record.acknowledged.insert(envelope(*n));
        }
        record
    }

    #[test]
    fn every_kind_of_harm_is_seen() {
        assert!(record(&[1, 2]).verdict().is_clean());
        assert!(record(&[1, 2, 1]).verdict().is_clean(), "repeats are fine");
        assert_eq!(record(&[1]).verdict().lost, [envelope(2)]);
        assert_eq!(record(&[2, 1]).verdict().out_of_order, [envelope(2)]);
        assert_eq!(record(&[1, 2, 3]).verdict().stray, [envelope(3)]);
        let mut unread = record(&[1, 2]);
        unread.acknowledged.remove(&envelope(1));
        assert_eq!(unread.verdict().lost, [envelope(1)]);
    }

    #[test]
    fn what_was_never_answered_may_be_lost() {
        let mut record = record(&[1, 2]);
        record.send(ALICE, envelope(3));
        assert!(record.verdict().is_clean());
    }
}
