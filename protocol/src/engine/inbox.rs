//! What is delivered: opened in order, one envelope at a time. When one needs a blob or a
//! newer epoch, the rest waits until that is there.

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message;

use super::device::Engine;
use super::io::{Event, Fetch, FetchOutcome};
use super::records;
use super::session::Request;
use super::state::Cx;
use crate::attachment::{Pointer, decrypt_bytes};
use crate::conversation::message_epoch;
use crate::envelope::{self, Kind, Payload};
use crate::ids::{ConversationId, DeviceId, MessageId};
use crate::limits;
use crate::secrets::Secret;
use crate::wire::{self, client_frame::Body as ClientBody};

/// Whose sealing key opened an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lock {
    Conversation(ConversationId),
    KeyPackage(Vec<u8>),
}

#[derive(Debug, Clone)]
struct Delivery {
    number: u64,
    message_id: Bytes,
    envelope: Bytes,
    /// Opened already, and fetched.
    opened: Option<(Lock, Kind, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wait {
    Blob { pointer: Box<Pointer>, lock: Lock, kind: Kind },
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
    /// A blob could not be fetched: ask again at the next retry.
    refetch: bool,
}

impl Inbox {
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.wait.is_none()
    }

    pub(super) const fn waits_for_slot(&self) -> bool {
        matches!(self.wait, Some(Wait::Slot(_)))
    }
}

enum Step {
    Done,
    /// The same envelope again, when the wait is over.
    Wait,
}

impl Engine {
    pub(super) fn delivered(&mut self, deliver: wire::Deliver, cx: &mut Cx<'_>) {
        let last = self.inbox.queue.back().map_or(self.inbox.processed, |delivery| delivery.number);
        let expected = last.saturating_add(1);
        let too_many = self.inbox.queue.len() >= limits::DELIVERY_WINDOW_MAX as usize;
        if deliver.number != expected || too_many {
            // The relay miscounts: nothing on this connection can be acknowledged safely any more.
            cx.out.close = true;
            return;
        }
        self.inbox.queue.push_back(Delivery {
            number: deliver.number,
            message_id: deliver.message_id,
            envelope: deliver.envelope,
            opened: None,
        });
    }

    /// Acknowledges what `finish` is about to persist. Frames leave after the changes are durable.
    pub(super) fn acknowledge(&mut self, cx: &mut Cx<'_>) {
        if self.inbox.processed > self.inbox.acknowledged && !cx.out.close {
            self.inbox.acknowledged = self.inbox.processed;
            let acknowledge =
                wire::Acknowledge { through: self.inbox.processed, generation: self.generation };
            cx.out.frames.push(wire::ClientFrame {
                request_id: 0,
                critical: vec![],
                body: Some(ClientBody::Acknowledge(acknowledge)),
            });
        }
    }

    pub(super) fn work_inbox(&mut self, cx: &mut Cx<'_>) {
        if self.inbox.refetch && self.retry_at.is_none() {
            self.inbox.refetch = false;
            self.fetch_again(cx);
        }
        while self.inbox.wait.is_none() {
            let Some(delivery) = self.inbox.queue.front().cloned() else { break };
            match self.step(delivery, cx) {
                Step::Wait => break,
                Step::Done => {
                    if let Some(done) = self.inbox.queue.pop_front() {
                        self.inbox.processed = done.number;
                        self.session.waiting = self.session.waiting.saturating_sub(1);
                    }
                }
            }
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
                match opened.payload {
                    Payload::Inline(bytes) => (lock, opened.kind, bytes),
                    Payload::Pointer(pointer) => return self.fetch(&pointer, lock, opened.kind, cx),
                }
            }
        };
        let step = match (kind, &lock) {
            (Kind::Application, Lock::Conversation(id)) => self.application(*id, &payload, cx),
            (Kind::Look, Lock::Conversation(id)) => self.look(*id, &payload, cx),
            (Kind::Direct, Lock::Conversation(id)) => {
                self.direct(*id, &payload, cx);
                Step::Done
            }
            (Kind::Welcome, Lock::KeyPackage(key_package)) => {
                self.welcomed(key_package.clone(), &payload, cx);
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

    /// Tries the sealing keys of all conversations and key packages: no hint stands outside.
    fn unseal(&self, delivery: &Delivery) -> Option<(Lock, envelope::Opened)> {
        let message = MessageId::try_from(&delivery.message_id).ok()?;
        let open = |key: &Secret<32>| envelope::open(key, &self.mailbox, &message, &delivery.envelope).ok();
        for (id, room) in &self.rooms {
            for address in room.addresses.iter().rev() {
                if let Some(opened) = open(&address.sealing_key) {
                    return Some((Lock::Conversation(*id), opened));
                }
            }
        }
        self.key_packages.iter().find_map(|(id, own)| {
            let key = Secret::from_slice(&own.address.as_ref()?.sealing_key)?;
            Some((Lock::KeyPackage(id.clone()), open(&key)?))
        })
    }

    fn fetch(&mut self, pointer: &wire::BlobPointer, lock: Lock, kind: Kind, cx: &mut Cx<'_>) -> Step {
        match Pointer::try_from(pointer) {
            Ok(pointer) if pointer.size <= limits::OVERFLOW_BYTES_MAX => {
                cx.out.fetches.push(Fetch { read_secret: pointer.read_secret.clone(), size: pointer.size });
                self.inbox.wait = Some(Wait::Blob { pointer: Box::new(pointer), lock, kind });
                Step::Wait
            }
            _ => {
                self.unreadable("its overflow is named badly", cx);
                Step::Done
            }
        }
    }

    fn fetch_again(&mut self, cx: &mut Cx<'_>) {
        if let Some(Wait::Blob { pointer, .. }) = &self.inbox.wait {
            cx.out.fetches.push(Fetch { read_secret: pointer.read_secret.clone(), size: pointer.size });
        }
    }

    pub(super) fn fetched(&mut self, read_secret: &Secret<32>, outcome: FetchOutcome, cx: &mut Cx<'_>) {
        let Some(Wait::Blob { pointer, lock, kind }) = &self.inbox.wait else { return };
        if pointer.read_secret != *read_secret {
            return;
        }
        let opened = match outcome {
            FetchOutcome::Unreachable => {
                self.inbox.refetch = true;
                self.retry_later(0, cx);
                return;
            }
            FetchOutcome::NotFound => None,
            FetchOutcome::Got(bytes) => decrypt_bytes(pointer, &bytes).ok().map(|plain| (lock.clone(), *kind, plain)),
        };
        self.inbox.wait = None;
        match (opened, self.inbox.queue.front_mut()) {
            (Some(opened), Some(front)) => front.opened = Some(opened),
            (None, Some(_)) => {
                self.unreadable("its overflow is gone or damaged", cx);
                if let Some(done) = self.inbox.queue.pop_front() {
                    self.inbox.processed = done.number;
                    self.session.waiting = self.session.waiting.saturating_sub(1);
                }
            }
            (_, None) => {}
        }
    }

    fn application(&mut self, id: ConversationId, payload: &[u8], cx: &mut Cx<'_>) -> Step {
        let Some((sender, sequence, message)) = application_parts(payload) else {
            self.unreadable("it is damaged", cx);
            return Step::Done;
        };
        let Some(epoch) = message_epoch(message) else {
            self.unreadable("it is damaged", cx);
            return Step::Done;
        };
        let Some(room) = self.rooms.get_mut(&id) else { return Step::Done };
        if epoch > room.conversation.epoch() && room.conversation.is_active() && self.walk(id, cx) {
            return Step::Wait;
        }
        self.open_content(id, sender, sequence, message, cx);
        Step::Done
    }

    fn look(&mut self, id: ConversationId, payload: &[u8], cx: &mut Cx<'_>) -> Step {
        let Ok(epoch) = <[u8; 8]>::try_from(payload).map(u64::from_be_bytes) else {
            self.unreadable("it is damaged", cx);
            return Step::Done;
        };
        let Some(room) = self.rooms.get_mut(&id) else { return Step::Done };
        if epoch > room.conversation.epoch() && room.conversation.is_active() && self.walk(id, cx) {
            return Step::Wait;
        }
        Step::Done
    }

    /// Asks for the slot that ends the conversation's epoch; false when it was just seen empty.
    fn walk(&mut self, id: ConversationId, cx: &mut Cx<'_>) -> bool {
        let Some(room) = self.rooms.get_mut(&id) else { return false };
        if room.walked_in_vain == Some(room.conversation.epoch()) {
            return false;
        }
        self.fetch_slot(id, cx);
        self.inbox.wait = Some(Wait::Slot(id));
        true
    }

    pub(super) fn fetch_slot(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get(&id) else { return };
        let epoch = room.conversation.epoch();
        let request = Request::FetchCommit(id, epoch);
        if self.session.is_asking(&request) {
            return;
        }
        if let Ok(token) = room.conversation.slot_token() {
            self.request(request, ClientBody::FetchCommit(wire::FetchCommit { token: token.to_bytes() }), cx);
        }
    }

    /// A slot was walked or seen empty: go on with the envelope that needed it.
    pub(super) fn slot_walked(&mut self, id: ConversationId) {
        if self.inbox.wait == Some(Wait::Slot(id)) {
            self.inbox.wait = None;
        }
    }

    pub(super) fn unreadable(&mut self, reason: &str, cx: &mut Cx<'_>) {
        self.counters.unreadable += 1;
        let total = self.counters.unreadable;
        cx.event(Event::Unreadable { reason: reason.to_owned(), total });
    }

    /// Room for the records of a content that is held back by a gap.
    pub(super) fn hold(&mut self, id: ConversationId, sender: DeviceId, sequence: u64, signed: Vec<u8>, cx: &mut Cx<'_>) {
        let record = wire::HeldContentRecord { signed_content: signed.clone().into() };
        cx.put(records::held(id, sender, sequence), record.encode_to_vec());
        self.held.insert((id, sender, sequence), record.encode_to_vec());
    }
}

/// `sender device 16 ‖ sequence 8 BE ‖ MLS message`: the hint names what to ask for again
/// when the message does not open.
pub(super) fn application_payload(sender: DeviceId, sequence: u64, message: &[u8]) -> Vec<u8> {
    [sender.as_bytes().as_slice(), &sequence.to_be_bytes(), message].concat()
}

fn application_parts(payload: &[u8]) -> Option<(DeviceId, u64, &[u8])> {
    let (sender, rest) = payload.split_first_chunk::<16>()?;
    let (sequence, message) = rest.split_first_chunk::<8>()?;
    Some((DeviceId::new(*sender), u64::from_be_bytes(*sequence), message))
}
