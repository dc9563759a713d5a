//! Judges what was found after a restart by what the relay had said before a moment.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kinline_protocol::ids::SlotToken;

use super::cast::Cast;
use super::drain::Found;
use super::record::{Envelope, Fact, Record};

/// How one relay did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Envelopes it had said ok to.
    pub acknowledged: usize,
    /// Of these, those that were there again.
    pub recovered: usize,
    /// Of these, those that only their device has.
    pub delivered: usize,
    /// What it had said or taken, and had no more: a sentence each.
    pub lost: Vec<String>,
    /// What a device would show twice: a sentence each.
    pub doubled: Vec<String>,
    /// Anything else that must not be: a sentence each.
    pub wrong: Vec<String>,
}

impl Verdict {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.wrong.is_empty()
    }

    /// Adds another relay's.
    pub fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.recovered += other.recovered;
        self.delivered += other.delivered;
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
        self.wrong.extend(other.wrong);
    }
}

/// What a relay owes.
#[derive(Default)]
struct Owed {
    opened: BTreeSet<kinline_protocol::ids::MailboxId>,
    acknowledged: BTreeSet<Envelope>,
    received: BTreeSet<Envelope>,
    void: BTreeSet<Envelope>,
    slots: BTreeMap<SlotToken, Bytes>,
    blobs: BTreeMap<usize, u64>,
    deleting: BTreeSet<usize>,
    deleted: BTreeSet<usize>,
    revoked: bool,
    closed: bool,
}

impl Owed {
    fn add(&mut self, fact: &Fact, verdict: &mut Verdict) {
        match fact {
            Fact::Opened(mailbox) => drop(self.opened.insert(*mailbox)),
            Fact::Acknowledged(envelope) => drop(self.acknowledged.insert(*envelope)),
            Fact::Received(envelope) => drop(self.received.insert(*envelope)),
            Fact::Void(envelope) => drop(self.void.insert(*envelope)),
            Fact::Twice((_, message)) => {
                let sentence = format!("{message:?} came twice on one connection");
                verdict.doubled.push(sentence);
            }
            Fact::Damaged((_, message)) => {
                let sentence = format!("{message:?} came with other bytes");
                verdict.wrong.push(sentence);
            }
            Fact::Slot(token, holds) => {
                let before = self.slots.entry(*token).or_insert_with(|| holds.clone());
                if before != holds {
                    let sentence = format!("two commits were told for the slot {token:?}");
                    verdict.wrong.push(sentence);
                }
            }
            Fact::Revoked => self.revoked = true,
            Fact::Closed => self.closed = true,
            Fact::Durable(blob, offset) => drop(self.blobs.insert(*blob, *offset)),
            Fact::Deleting(blob) => drop(self.deleting.insert(*blob)),
            Fact::Deleted(blob) => drop(self.deleted.insert(*blob)),
        }
    }
}

/// Judges. `moment` is when the relay died, in nanoseconds since 1970: what it said later, it
/// never said.
#[must_use]
pub fn judge(cast: &Cast, record: &Record, moment: u64, found: &Found) -> Verdict {
    let mut verdict = Verdict::default();
    let mut owed = Owed::default();
    for fact in record.before(moment) {
        owed.add(fact, &mut verdict);
    }
    judge_mailboxes(cast, record, &owed, found, &mut verdict);
    judge_slots(cast, &owed, found, &mut verdict);
    judge_blobs(cast, &owed, found, &mut verdict);
    if owed.revoked && !found.revoked {
        verdict.lost.push("the revocation of a grant".into());
    }
    if owed.closed && !found.closed {
        verdict.lost.push("the closing of a mailbox".into());
    }
    if !owed.opened.contains(&cast.bob.id) {
        return verdict;
    }
    if !found.takes {
        verdict.wrong.push("nothing new is taken".into());
    }
    verdict
}

fn judge_mailboxes(
    cast: &Cast,
    record: &Record,
    owed: &Owed,
    found: &Found,
    verdict: &mut Verdict,
) {
    for mailbox in cast.mailboxes() {
        let (name, id) = (mailbox.name, mailbox.id);
        let Some(first) = found.mailboxes.get(&id) else {
            if owed.opened.contains(&id) {
                verdict.lost.push(format!("{name}'s mailbox"));
            }
            continue;
        };
        let mut seen = BTreeSet::new();
        let mut last = BTreeMap::new();
        for (message, is_whole) in first {
            let envelope = (id, *message);
            if !seen.insert(*message) {
                verdict.doubled.push(format!("{message:?} of {name}"));
            }
            if !is_whole {
                let sentence = format!("{message:?} of {name} has other bytes");
                verdict.wrong.push(sentence);
            }
            if owed.void.contains(&envelope) {
                let sentence = format!("{message:?} of {name}, whose slot was lost");
                verdict.wrong.push(sentence);
            }
            let Some(origin) = record.sent.get(&envelope) else {
                verdict
                    .wrong
                    .push(format!("{message:?} of {name}, which nobody sent"));
                continue;
            };
            let last = last.entry(origin.sender).or_insert(origin.round);
            if origin.round < *last {
                let sentence = format!("{message:?} of {name} comes too late");
                verdict.wrong.push(sentence);
            }
            *last = origin.round.max(*last);
        }
        // What came again after it was acknowledged here, without a crash in between.
        let mut later = BTreeSet::new();
        for (message, is_whole) in found.later.get(&id).into_iter().flatten() {
            if seen.contains(message) || !later.insert(*message) {
                let sentence = format!("{message:?} of {name}, after it was acknowledged");
                verdict.doubled.push(sentence);
            }
            if !is_whole {
                verdict
                    .wrong
                    .push(format!("{message:?} of {name} has other bytes"));
            }
        }
        let acknowledged = owed.acknowledged.iter().filter(|(to, _)| *to == id);
        for envelope in acknowledged {
            verdict.acknowledged += 1;
            if seen.contains(&envelope.1) {
                verdict.recovered += 1;
            } else if owed.received.contains(envelope) {
                verdict.delivered += 1;
            } else {
                verdict.lost.push(format!("{:?} of {name}", envelope.1));
            }
        }
    }
}

fn judge_slots(cast: &Cast, owed: &Owed, found: &Found, verdict: &mut Verdict) {
    for (token, holds) in &owed.slots {
        if found.slots.get(token) != Some(&Some(holds.clone())) {
            verdict.lost.push(format!("who holds the slot {token:?}"));
        }
    }
    for (round, token) in cast.slots.iter().enumerate() {
        if let Some(Some(holds)) = found.slots.get(token)
            && (0..super::cast::SENDERS).all(|sender| cast.commit(sender, round) != *holds)
        {
            let sentence = format!("the slot {token:?} holds what nobody offered");
            verdict.wrong.push(sentence);
        }
    }
}

fn judge_blobs(cast: &Cast, owed: &Owed, found: &Found, verdict: &mut Verdict) {
    for (place, blob) in cast.blobs.iter().enumerate() {
        let found = found.blobs.get(place).cloned().flatten();
        if let Some((_, Some(bytes))) = &found
            && *bytes != blob.bytes
        {
            verdict.wrong.push(format!("blob {place} has other bytes"));
        }
        if owed.deleted.contains(&place) && found.is_some() {
            verdict
                .wrong
                .push(format!("blob {place} is there after its deletion"));
        }
        if owed.deleting.contains(&place) {
            continue;
        }
        let Some(durable) = owed.blobs.get(&place) else {
            continue;
        };
        let is_whole = *durable == blob.bytes.len() as u64;
        match found {
            Some((offset, bytes)) if offset >= *durable && (bytes.is_some() || !is_whole) => {}
            _ => verdict
                .lost
                .push(format!("{durable} bytes of blob {place}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cast, Envelope, Fact, Found, Record, Verdict, judge};
    use crate::sweep::record::Origin;

    const AT: u64 = 10;

    /// A relay that said ok to two of a sender's envelopes for bob, and everything is there.
    fn good() -> (Cast, Record, Found, [Envelope; 2]) {
        let cast = Cast::new(1, 4);
        let mut record = Record::default();
        let mut found = Found {
            takes: true,
            revoked: true,
            closed: true,
            ..Found::default()
        };
        for mailbox in cast.mailboxes() {
            record.add(AT, Fact::Opened(mailbox.id));
            found.mailboxes.insert(mailbox.id, vec![]);
        }
        let envelopes = [0, 1].map(|round| (cast.bob.id, cast.message(0, round, 0)));
        for (round, envelope) in envelopes.into_iter().enumerate() {
            record.sent.insert(envelope, Origin { sender: 0, round });
            record.add(AT, Fact::Acknowledged(envelope));
        }
        let stored = envelopes.iter().map(|(_, message)| (*message, true));
        found.mailboxes.insert(cast.bob.id, stored.collect());
        record.add(AT, Fact::Slot(cast.slots[3], cast.commit(0, 3)));
        found.slots.insert(cast.slots[3], Some(cast.commit(0, 3)));
        record.add(AT, Fact::Durable(0, 5_000));
        found.blobs = vec![Some((5_000, None)), None, None];
        record.add(AT, Fact::Revoked);
        record.add(AT, Fact::Closed);
        (cast, record, found, envelopes)
    }

    fn verdict(change: impl FnOnce(&Cast, &mut Record, &mut Found, [Envelope; 2])) -> Verdict {
        let (cast, mut record, mut found, envelopes) = good();
        change(&cast, &mut record, &mut found, envelopes);
        judge(&cast, &record, AT + 1, &found)
    }

    #[test]
    fn a_good_relay_is_clean() {
        let verdict = verdict(|_, _, _, _| {});
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.acknowledged, verdict.recovered), (2, 2));
    }

    #[test]
    fn every_kind_of_loss_is_seen() {
        let lost = |change: fn(&Cast, &mut Found)| {
            verdict(|cast, _, found, _| change(cast, found)).lost.len()
        };
        let mailboxes = |cast: &Cast, found: &mut Found| {
            found.mailboxes.get_mut(&cast.bob.id).unwrap().truncate(1);
        };
        assert_eq!(lost(mailboxes), 1, "an envelope");
        let gone = |cast: &Cast, found: &mut Found| drop(found.mailboxes.remove(&cast.dora.id));
        assert_eq!(lost(gone), 1, "a mailbox");
        let empty = |cast: &Cast, found: &mut Found| {
            found.slots.insert(cast.slots[3], None);
        };
        assert_eq!(lost(empty), 1, "a slot");
        let other = |cast: &Cast, found: &mut Found| {
            found.slots.insert(cast.slots[3], Some(cast.commit(1, 3)));
        };
        assert_eq!(lost(other), 1, "a slot that another holds now");
        assert_eq!(lost(|_, found| found.revoked = false), 1, "a revocation");
        assert_eq!(lost(|_, found| found.closed = false), 1, "a closing");
        let short = |_: &Cast, found: &mut Found| found.blobs[0] = Some((4_999, None));
        assert_eq!(lost(short), 1, "a byte of a blob");
        assert_eq!(lost(|_, found| found.blobs[0] = None), 1, "a blob");
    }

    #[test]
    fn every_other_harm_is_seen() {
        let wrong = |change: fn(&Cast, &mut Record, &mut Found, [Envelope; 2])| {
            let verdict = verdict(change);
            (verdict.doubled.len(), verdict.wrong.len())
        };
        assert_eq!(
            wrong(|cast, _, found, [one, _]| {
                found
                    .mailboxes
                    .get_mut(&cast.bob.id)
                    .unwrap()
                    .insert(0, (one.1, true));
            }),
            (1, 0)
        );
        assert_eq!(
            wrong(|cast, _, found, [one, _]| {
                found.later.insert(cast.bob.id, vec![(one.1, true)]);
            }),
            (1, 0)
        );
        assert_eq!(
            wrong(|cast, _, found, _| found.mailboxes.get_mut(&cast.bob.id).unwrap()[0].1 = false),
            (0, 1),
            "damage"
        );
        assert_eq!(
            wrong(|cast, _, found, _| found.mailboxes.get_mut(&cast.bob.id).unwrap().reverse()),
            (0, 1),
            "order"
        );
        assert_eq!(
            wrong(|_, record, _, [one, _]| record.sent.retain(|name, _| *name != one)),
            (0, 1),
            "sent by nobody"
        );
        assert_eq!(
            wrong(|_, record, _, [one, _]| record.add(AT, Fact::Void(one))),
            (0, 1)
        );
        assert_eq!(
            wrong(|_, record, _, [one, _]| record.add(AT, Fact::Twice(one))),
            (1, 0)
        );
        assert_eq!(
            wrong(|_, record, _, [one, _]| record.add(AT, Fact::Damaged(one))),
            (0, 1)
        );
        assert_eq!(
            wrong(|cast, record, _, _| {
                record.add(AT, Fact::Slot(cast.slots[3], cast.commit(1, 3)));
            }),
            (0, 1)
        );
        assert_eq!(wrong(|_, _, found, _| found.takes = false), (0, 1));
        assert_eq!(
            wrong(|cast, record, found, _| {
                record.add(AT, Fact::Deleting(1));
                record.add(AT, Fact::Deleted(1));
                found.blobs[1] = Some((16_384, Some(cast.blobs[1].bytes.clone())));
            }),
            (0, 1)
        );
    }

    #[test]
    fn what_its_device_has_may_be_gone_and_what_was_said_later_was_never_said() {
        let received = verdict(|cast, record, found, [one, _]| {
            record.add(AT, Fact::Received(one));
            found.mailboxes.get_mut(&cast.bob.id).unwrap().remove(0);
        });
        assert!(received.is_clean(), "{received:?}");
        assert_eq!((received.recovered, received.delivered), (1, 1));
        let later = verdict(|cast, record, _, _| {
            let envelope = (cast.bob.id, cast.message(0, 2, 0));
            record.add(AT + 1, Fact::Acknowledged(envelope));
        });
        assert!(later.is_clean(), "{later:?}");
    }
}
