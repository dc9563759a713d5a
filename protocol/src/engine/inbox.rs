//! What is delivered: opened in order, one envelope at a time. When one needs a blob or a
//! newer epoch, the rest waits until that is there.

use std::collections::VecDeque;

use bytes::Bytes;

use super::device::Engine;
use super::io::{Event, Fetch, FetchOutcome};
use super::receive::Hint;
use super::session::Request;
use super::state::{Cx, Stuck};
use crate::attachment::{Pointer, decrypt_bytes};
use crate::conversation::message_epoch;
use crate::day::Timestamp;
use crate::envelope::{self, Kind, Payload};
use crate::faults::{Fault, planted};
use crate::ids::{ConversationId, DeviceId, MessageId};
use crate::limits;
use crate::secrets::Secret;
use crate::wire::{self, client_frame::Body as ClientBody};

/// Whose sealing key opened an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lock {
    Conversation(ConversationId),
    /// An address of the leaf that this device had there before it came back.
    FormerLeaf(ConversationId),
    KeyPackage(Vec<u8>),
}

#[derive(Debug, Clone)]
struct Delivery {
    number: u64,
    message_id: Bytes,
    envelope: Bytes,
    /// Opened already, and fetched.
    opened: Option<(Lock, Kind, Vec<u8>)>,
    /// For its sake the slot after this epoch was looked at, and was empty.
    walked: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wait {
    Blob {
        pointer: Box<Pointer>,
        lock: Lock,
        kind: Kind,
    },
    /// A slot is being walked.
    Slot(ConversationId),
}

/// Deliveries of this connection that are not processed yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: VecDeque<Delivery>,
    wait: Option<Wait>,
    processed: u64,
    acknowledged: u64,
    /// A blob could not be fetched: ask again then.
    refetch_at: Option<Timestamp>,
}

impl Inbox {
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.wait.is_none()
    }

    pub(super) fn waits_for_slot(&self, id: ConversationId) -> bool {
        self.wait == Some(Wait::Slot(id))
    }

    /// The slot after this epoch was empty: the envelope that spoke of a newer one is taken as it is.
    pub(super) fn walked_in_vain(&mut self, epoch: u64) {
        if let Some(front) = self.queue.front_mut() {
            front.walked = Some(epoch);
        }
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        self.refetch_at
    }
}

enum Step {
    Done,
    /// The same envelope again, when the wait is over.
    Wait,
}

impl Engine {
    pub(super) fn delivered(&mut self, deliver: wire::Deliver, cx: &mut Cx<'_>) {
        if !self.session.is_attached() {
            return self.hang_up(cx);
        }
        let last = self
            .inbox
            .queue
            .back()
            .map_or(self.inbox.processed, |delivery| delivery.number);
        let expected = last.saturating_add(1);
        let too_many = self.inbox.queue.len() >= limits::DELIVERY_WINDOW_MAX as usize;
        let counts = deliver.number == expected || planted(Fault::DeliveryNumber);
        if !counts || too_many {
            // The relay miscounts: nothing on this connection can be acknowledged safely any more.
            return self.hang_up(cx);
        }
        self.inbox.queue.push_back(Delivery {
            number: deliver.number,
            message_id: deliver.message_id,
            envelope: deliver.envelope,
            opened: None,
            walked: None,
        });
    }

    /// Acknowledges what `finish` is about to persist. Frames leave after the changes are durable.
    pub(super) fn acknowledge(&mut self, cx: &mut Cx<'_>) {
        if self.inbox.processed > self.inbox.acknowledged && !cx.out.close {
            self.inbox.acknowledged = self.inbox.processed;
            let acknowledge = wire::Acknowledge {
                through: self.inbox.processed,
                generation: self.generation,
            };
            cx.out.frames.push(wire::ClientFrame {
                request_id: 0,
                critical: vec![],
                body: Some(ClientBody::Acknowledge(acknowledge)),
            });
        }
    }

    pub(super) fn work_inbox(&mut self, cx: &mut Cx<'_>) {
        while self.inbox.wait.is_none() {
            let Some(delivery) = self.inbox.queue.front().cloned() else {
                break;
            };
            match self.step(delivery, cx) {
                Step::Wait => break,
                Step::Done => {
                    self.pop_front(cx);
                }
            }
        }
    }

    fn pop_front(&mut self, cx: &Cx<'_>) {
        if let Some(done) = self.inbox.queue.pop_front() {
            self.inbox.processed = done.number;
            self.session.processed(cx.now);
        }
    }

    fn step(&mut self, delivery: Delivery, cx: &mut Cx<'_>) -> Step {
        let (lock, kind, payload) = match delivery.opened {
            Some(opened) => opened,
            None => {
                let Some((lock, opened)) = self.unseal(&delivery) else {
                    self.unreadable("no key of this device opens it", cx);
                    return Step::Done;
                };
                self.prove_mailbox(cx);
                if opened.kind == Kind::Welcome && !matches!(lock, Lock::KeyPackage(_)) {
                    // Followed already: its sender had died before it knew that the relay has it.
                    self.counters.duplicates += 1;
                    return Step::Done;
                }
                match opened.payload {
                    Payload::Inline(bytes) => (lock, opened.kind, bytes),
                    Payload::Pointer(pointer) => {
                        return self.fetch(&pointer, lock, opened.kind, cx);
                    }
                }
            }
        };
        let step = match (kind, &lock) {
            (Kind::Application, Lock::Conversation(id)) => self.application(*id, &payload, cx),
            (Kind::Look, Lock::Conversation(id)) => self.look(*id, &payload, cx),
            (Kind::Direct, Lock::Conversation(id)) => {
                // Of a device that is not known here: it may have come in with a commit that
                // was not walked yet.
                let next = self.next_epoch_if_stranger(*id, &payload);
                if next.is_some_and(|epoch| self.walk_to(*id, epoch, cx)) {
                    Step::Wait
                } else {
                    self.direct(*id, &payload, cx);
                    Step::Done
                }
            }
            // What was said to the leaf before counts otherwise than what this one says.
            (_, Lock::FormerLeaf(id)) => {
                match kind {
                    Kind::Direct => self.direct_to_former(*id, &payload, cx),
                    // Who lost everything may know an older address: the keys in the log decide.
                    Kind::Return => self.someone_returns(*id, &payload, cx),
                    _ => {}
                }
                Step::Done
            }
            (Kind::Welcome, Lock::KeyPackage(key_package)) => {
                // It may rest on a decision of the family that was not walked here yet.
                let next = self.next_family_epoch(&payload);
                if next.is_some_and(|(family, epoch)| self.walk_to(family, epoch, cx)) {
                    Step::Wait
                } else {
                    self.welcomed(key_package.clone(), &payload, cx);
                    Step::Done
                }
            }
            (Kind::Return, Lock::Conversation(id)) => {
                self.someone_returns(*id, &payload, cx);
                Step::Done
            }
            _ => {
                self.unreadable("it came to an address that is not for its kind", cx);
                Step::Done
            }
        };
        if matches!(step, Step::Wait)
            && let Some(front) = self.inbox.queue.front_mut()
        {
            front.opened = Some((lock, kind, payload));
        }
        step
    }

    /// Something came that was meant for this mailbox, so the relay has it.
    fn prove_mailbox(&mut self, cx: &mut Cx<'_>) {
        if !self.record.mailbox_proven {
            self.record.mailbox_proven = true;
            self.save_device(cx);
        }
    }

    /// Tries the sealing keys of all conversations and key packages: no hint stands outside.
    fn unseal(&self, delivery: &Delivery) -> Option<(Lock, envelope::Opened)> {
        let message = MessageId::try_from(&delivery.message_id).ok()?;
        let open = |key: &Secret<32>| {
            envelope::open(key, &self.mailbox, &message, &delivery.envelope).ok()
        };
        for (id, room) in &self.rooms {
            for address in room.addresses.iter().rev() {
                if let Some(opened) = open(&address.sealing_key) {
                    let lock = if address.number < room.leaf_from {
                        Lock::FormerLeaf(*id)
                    } else {
                        Lock::Conversation(*id)
                    };
                    return Some((lock, opened));
                }
            }
        }
        self.key_packages.iter().find_map(|(id, own)| {
            let key = Secret::from_slice(&own.address.as_ref()?.sealing_key)?;
            Some((Lock::KeyPackage(id.clone()), open(&key)?))
        })
    }

    fn fetch(
        &mut self,
        pointer: &wire::BlobPointer,
        lock: Lock,
        kind: Kind,
        cx: &mut Cx<'_>,
    ) -> Step {
        match Pointer::try_from(pointer) {
            Ok(pointer) if pointer.size <= limits::OVERFLOW_BYTES_MAX => {
                cx.out.fetches.push(Fetch {
                    read_secret: pointer.read_secret.clone(),
                    size: pointer.size,
                });
                self.inbox.wait = Some(Wait::Blob {
                    pointer: Box::new(pointer),
                    lock,
                    kind,
                });
                Step::Wait
            }
            _ => {
                self.unreadable("its overflow is named badly", cx);
                Step::Done
            }
        }
    }

    /// Asks again for a blob that could not be reached, when it is time.
    pub(super) fn fetch_again(&mut self, cx: &mut Cx<'_>) {
        if self.inbox.refetch_at.is_none_or(|at| at > cx.now) {
            return;
        }
        self.inbox.refetch_at = None;
        if let Some(Wait::Blob { pointer, .. }) = &self.inbox.wait {
            cx.out.fetches.push(Fetch {
                read_secret: pointer.read_secret.clone(),
                size: pointer.size,
            });
        }
    }

    pub(super) fn fetched(
        &mut self,
        read_secret: &Secret<32>,
        outcome: FetchOutcome,
        cx: &mut Cx<'_>,
    ) {
        let Some(Wait::Blob {
            pointer,
            lock,
            kind,
        }) = &self.inbox.wait
        else {
            return;
        };
        if pointer.read_secret != *read_secret {
            return;
        }
        let opened = match outcome {
            FetchOutcome::Unreachable => {
                self.inbox.refetch_at = Some(self.session.retry_at(cx.now, 0));
                return;
            }
            FetchOutcome::NotFound => None,
            FetchOutcome::Got(bytes) => decrypt_bytes(pointer, &bytes)
                .ok()
                .map(|plain| (lock.clone(), *kind, plain)),
        };
        self.inbox.wait = None;
        match (opened, self.inbox.queue.front_mut()) {
            (Some(opened), Some(front)) => front.opened = Some(opened),
            (None, Some(_)) => {
                self.unreadable("its overflow is gone or damaged", cx);
                self.pop_front(cx);
            }
            (_, None) => {}
        }
    }

    fn application(&mut self, id: ConversationId, payload: &[u8], cx: &mut Cx<'_>) -> Step {
        let parts = application_parts(payload)
            .and_then(|(hint, message)| Some((hint, message, message_epoch(message)?)));
        let Some((hint, message, epoch)) = parts else {
            self.unreadable("it is damaged", cx);
            return Step::Done;
        };
        if self.walk_to(id, epoch, cx) {
            return Step::Wait;
        }
        self.open_content(id, hint, message, cx);
        Step::Done
    }

    fn look(&mut self, id: ConversationId, payload: &[u8], cx: &mut Cx<'_>) -> Step {
        let Ok(epoch) = <[u8; 8]>::try_from(payload).map(u64::from_be_bytes) else {
            self.unreadable("it is damaged", cx);
            return Step::Done;
        };
        if self.walk_to(id, epoch, cx) {
            Step::Wait
        } else {
            Step::Done
        }
    }

    /// Asks for the slot that ends the conversation's epoch, when a newer one is needed and
    /// the slot may say something new.
    fn walk_to(&mut self, id: ConversationId, epoch: u64, cx: &mut Cx<'_>) -> bool {
        let Some(room) = self.rooms.get(&id) else {
            return false;
        };
        let here = room.conversation.epoch();
        if epoch <= here || !room.can_talk() || room.stuck() == Some(Stuck::Refused) {
            return false;
        }
        if self
            .inbox
            .queue
            .front()
            .is_some_and(|front| front.walked == Some(here))
        {
            return false;
        }
        self.inbox.wait = Some(Wait::Slot(id));
        self.ask_slots(cx);
        true
    }

    /// Asks for the slot that the inbox waits for, unless the relay wants to be left alone.
    pub(super) fn ask_slots(&mut self, cx: &mut Cx<'_>) {
        if let Some(Wait::Slot(id)) = self.inbox.wait {
            self.fetch_slot(id, cx);
        }
    }

    pub(super) fn fetch_slot(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let request = Request::FetchCommit(id, room.conversation.epoch());
        if self.session.slots_after.is_some() || self.session.is_asking(&request) {
            return;
        }
        if let Ok(token) = room.conversation.slot_token() {
            self.request(
                request,
                ClientBody::FetchCommit(wire::FetchCommit {
                    token: token.to_bytes(),
                }),
                cx,
            );
        }
    }

    /// A slot was walked or seen empty: go on with the envelope that needed it.
    pub(super) fn slot_walked(&mut self, id: ConversationId) {
        if self.inbox.waits_for_slot(id) {
            self.inbox.wait = None;
        }
    }

    pub(super) fn unreadable(&mut self, reason: &str, cx: &mut Cx<'_>) {
        self.counters.unreadable += 1;
        let total = self.counters.unreadable;
        cx.event(Event::Unreadable {
            reason: reason.to_owned(),
            total,
        });
    }
}

/// `sender device 16 ‖ sequence 8 BE ‖ start 8 BE ‖ MLS message`. Sender and sequence name
/// what to ask for again when the message does not open; `start` is the first sequence that
/// the recipient has still to get of this sender.
pub(super) fn application_payload(
    sender: DeviceId,
    sequence: u64,
    start: u64,
    message: &[u8],
) -> Vec<u8> {
    [
        sender.as_bytes().as_slice(),
        &sequence.to_be_bytes(),
        &start.to_be_bytes(),
        message,
    ]
    .concat()
}

fn application_parts(payload: &[u8]) -> Option<(Hint, &[u8])> {
    let (sender, rest) = payload.split_first_chunk::<16>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (start, message) = rest.split_first_chunk::<8>()?;
    let hint = Hint {
        sender: DeviceId::new(*sender),
        sequence: u64::from_be_bytes(*sequence),
        start: u64::from_be_bytes(*start),
    };
    Some((hint, message))
}
