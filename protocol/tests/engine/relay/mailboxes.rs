//! Envelopes: taken, kept in mailboxes, delivered, acknowledged.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use kinline_protocol::grant::GrantIn;
use kinline_protocol::limits;
use kinline_protocol::wire::{self, RecipientStatus, server_frame::Body as S};

use super::{Relay, WINDOW};
use crate::world::Name;

impl Relay {
    pub(super) fn acknowledge(&mut self, name: Name, through: u64) {
        let Some(connection) = self.connections.get_mut(name) else {
            return;
        };
        let Some(mailbox) = connection
            .mailbox
            .as_ref()
            .and_then(|mailbox| self.mailboxes.get_mut(mailbox))
        else {
            return;
        };
        let given = connection.next_number - 1;
        assert!(
            through <= given,
            "{name} acknowledges {through} of {given} deliveries"
        );
        let mut done = HashSet::new();
        while connection
            .in_flight
            .front()
            .is_some_and(|(number, _)| *number <= through)
        {
            let (_, message) = connection.in_flight.pop_front().unwrap();
            done.insert(message);
        }
        mailbox.retain(|(id, _)| !done.contains(id));
        self.deliver(name);
    }

    /// The sends that were held back, in order.
    pub(crate) fn serve_held(&mut self) {
        self.hold_sends_of = None;
        for (name, id, send) in std::mem::take(&mut self.held) {
            self.send(name, id, send);
        }
    }

    pub(super) fn send(&mut self, name: Name, id: u64, send: wire::Send) {
        let offered = send
            .commit
            .as_ref()
            .map(|offer| offer.sealed.clone())
            .unwrap_or_default();
        let mut commit = None;
        if let Some(offer) = send.commit {
            if self.forks_slots {
                self.slots
                    .insert(offer.token.to_vec(), offer.sealed.clone());
            }
            let held = self
                .slots
                .entry(offer.token.to_vec())
                .or_insert_with(|| offer.sealed.clone())
                .clone();
            let mine = held == offer.sealed;
            commit = Some(wire::CommitAnswer {
                mine,
                winner: if mine { Bytes::new() } else { held },
            });
            if !mine {
                let late = send.deliveries.into_iter();
                let late = late.map(|it| (it.mailbox.to_vec(), it.message_id, it.envelope));
                self.late.extend(late);
                let result = wire::SendResult {
                    recipients: vec![],
                    commit,
                };
                return self.say(name, id, S::SendResult(result));
            }
        }
        let mut recipients = Vec::new();
        let mut touched = HashSet::new();
        for delivery in send.deliveries {
            let status = self.put(&delivery);
            touched.insert(delivery.mailbox.to_vec());
            recipients.push(wire::RecipientAnswer {
                status: status.into(),
                retry_after_ms: 0,
            });
        }
        let attached: Vec<Name> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                connection
                    .mailbox
                    .as_ref()
                    .is_some_and(|mailbox| touched.contains(mailbox))
            })
            .map(|(name, _)| *name)
            .collect();
        for device in attached {
            self.deliver(device);
        }
        if self.deny_wins > 0 && commit.is_some() {
            self.deny_wins -= 1;
            let void: Bytes = vec![7; 1_024].into();
            let winner = if self.deny_by_name { offered } else { void };
            let commit = Some(wire::CommitAnswer {
                mine: false,
                winner,
            });
            return self.say(
                name,
                id,
                S::SendResult(wire::SendResult {
                    recipients: vec![],
                    commit,
                }),
            );
        }
        if self.answer_sends {
            self.say(
                name,
                id,
                S::SendResult(wire::SendResult { recipients, commit }),
            );
        }
    }

    fn put(&mut self, delivery: &wire::Delivery) -> RecipientStatus {
        assert_eq!(delivery.envelope.len(), limits::ENVELOPE_BYTES);
        self.seen.push((
            delivery.mailbox.to_vec(),
            delivery.message_id.clone(),
            delivery.envelope.clone(),
        ));
        // A nonce stands for one sealing: the same bytes again, or never again.
        let nonce = delivery.envelope[..24].to_vec();
        let first = self
            .nonces
            .entry(nonce)
            .or_insert_with(|| delivery.envelope.clone());
        assert_eq!(*first, delivery.envelope, "a sealing nonce was used twice");
        let to = delivery.mailbox.to_vec();
        if self.full.as_ref() == Some(&to) {
            return RecipientStatus::Full;
        }
        if self.shut.as_ref() == Some(&to) {
            return RecipientStatus::Revoked;
        }
        if let Some((mailbox, times)) = &mut self.shut_times
            && *mailbox == to
            && *times > 0
        {
            *times -= 1;
            return RecipientStatus::Revoked;
        }
        if self.slow_once.as_ref() == Some(&to) {
            self.slow_once = None;
            return RecipientStatus::SlowDown;
        }
        if !self.mailboxes.contains_key(&to) || self.closed.contains(&to) {
            return RecipientStatus::Gone;
        }
        let grant = GrantIn::parse(&delivery.grant).unwrap();
        if self.revoked.contains(&grant.revocation_hash()) {
            return RecipientStatus::Revoked;
        }
        if self.drop_next > 0 {
            self.drop_next -= 1;
            return RecipientStatus::Ok;
        }
        if self.drop_for.as_ref() == Some(&to) || self.strikes(|chaos| chaos.drop) {
            return RecipientStatus::Ok;
        }
        let twice = self.strikes(|chaos| chaos.duplicate);
        let first = self.strikes(|chaos| chaos.reorder);
        let astray = self.strikes(|chaos| chaos.misdeliver);
        let item = (delivery.message_id.clone(), delivery.envelope.clone());
        if astray {
            let all: Vec<Vec<u8>> = self.mailboxes.keys().cloned().collect();
            let wrong = all[self.below(all.len())].clone();
            self.mailboxes
                .get_mut(&wrong)
                .unwrap()
                .push_back(item.clone());
        }
        let mailbox = self.mailboxes.get_mut(&to).unwrap();
        if mailbox.iter().any(|(id, _)| *id == delivery.message_id) {
            return RecipientStatus::Ok;
        }
        if first {
            mailbox.push_front(item.clone());
        } else {
            mailbox.push_back(item.clone());
        }
        if twice {
            mailbox.push_back(item);
        }
        RecipientStatus::Ok
    }

    /// Puts bytes into a mailbox as if someone had sent them.
    pub(crate) fn plant(&mut self, mailbox: &[u8], message_id: Bytes, envelope: Bytes) {
        self.mailboxes
            .get_mut(mailbox)
            .unwrap()
            .push_back((message_id, envelope));
        let names: Vec<Name> = self.connections.keys().copied().collect();
        for name in names {
            self.deliver(name);
        }
    }

    pub(crate) fn unpause(&mut self) {
        self.paused = None;
        let names: Vec<Name> = self.connections.keys().copied().collect();
        for name in names {
            self.deliver(name);
        }
    }

    pub(crate) fn deliver(&mut self, name: Name) {
        let Some(connection) = self.connections.get_mut(name) else {
            return;
        };
        let Some(of) = connection.mailbox.clone() else {
            return;
        };
        if self.paused.as_ref() == Some(&of) {
            return;
        }
        // The same message may lie there twice when the relay misbehaves.
        let mut flying: HashMap<Bytes, usize> = HashMap::new();
        for (_, message) in &connection.in_flight {
            *flying.entry(message.clone()).or_default() += 1;
        }
        let mut frames = Vec::new();
        for (message, envelope) in &self.mailboxes[&of] {
            if connection.in_flight.len() >= WINDOW {
                break;
            }
            if let Some(count) = flying.get_mut(message).filter(|count| **count > 0) {
                *count -= 1;
                continue;
            }
            let number = connection.next_number;
            connection.next_number += 1;
            connection.in_flight.push_back((number, message.clone()));
            frames.push(wire::Deliver {
                number,
                message_id: message.clone(),
                envelope: envelope.clone(),
            });
        }
        for deliver in frames {
            self.say(name, 0, S::Deliver(deliver));
        }
    }
}
