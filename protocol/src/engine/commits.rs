//! Changes of a conversation: queued, committed one at a time, taken through commit slots.

use prost::Message;

use super::device::{CommandError, Engine};
use super::io::Event;
use super::outbox::Recipient;
use super::records;
use super::state::Cx;
use crate::conversation::{
    CheckedKeyPackage, ConversationContext, ConversationError, ConversationKind, Incoming, ProposedChange, ProposedCommit, check_key_package,
    open_commit, seal_commit,
};
use crate::envelope::Kind;
use crate::identity::{AddedDevice, AddedMember, Decision};
use crate::ids::{ConversationId, DeviceId};
use crate::wire;

/// Days before its grants end in which a device renews its keys and address: monthly.
const RENEW_BEFORE_DAYS: u32 = 90;

impl Engine {
    // ---- walking slots

    /// After everything that waited is read: asks every conversation's slot whether more happened.
    pub(super) fn check_slots(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || self.session.waiting > 0 || !self.inbox.is_idle() {
            return;
        }
        let open: Vec<ConversationId> = self
            .rooms
            .values()
            .filter(|room| !room.synced && room.conversation.is_active() && !room.conversation.has_pending_commit())
            .map(super::state::Room::id)
            .collect();
        for id in open {
            self.fetch_slot(id, cx);
        }
        let synced = self.rooms.values().all(|room| room.synced || !room.conversation.is_active());
        if synced && !self.session.caught_up {
            self.session.caught_up = true;
            self.expire_outbox(cx);
            self.renew_addresses(cx);
            cx.event(Event::CaughtUp);
        }
    }

    pub(super) fn slot_answered(&mut self, id: ConversationId, epoch: u64, slot: wire::CommitSlot, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        if room.conversation.epoch() == epoch {
            if slot.present {
                self.take_commit(id, &slot.sealed, cx);
            } else if self.inbox.waits_for_slot() {
                // The envelope that spoke of a newer epoch lied, or the relay does.
                room.walked_in_vain = Some(epoch);
            } else {
                room.synced = true;
            }
        }
        self.slot_walked(id);
    }

    /// Judges and merges what holds the slot of the current epoch.
    fn take_commit(&mut self, id: ConversationId, sealed: &[u8], cx: &mut Cx<'_>) {
        let own = self.sends.iter().find(|(_, send)| {
            send.conversation.as_ref() == id.as_bytes()
                && send.commit.as_ref().is_some_and(|commit| commit.sealed.as_ref() == sealed)
        });
        if let Some((number, send)) = own.map(|(number, send)| (*number, send.clone())) {
            self.commit_won(&send, cx);
            let rest = wire::PendingSendRecord { commit: None, statements: vec![], ..send };
            cx.put_message(records::number(records::SEND, number), &rest);
            self.sends.insert(number, rest);
            return;
        }
        let Some(log) = self.log.clone() else { return };
        let Some(room) = self.rooms.get_mut(&id) else { return };
        room.dirty = true;
        let merged = (|| -> Result<Incoming, ConversationError> {
            if room.conversation.has_pending_commit() {
                room.conversation.drop_own()?;
            }
            let token = room.conversation.slot_token()?;
            let key = room.conversation.commit_key()?;
            let leaf_key = |device| room.conversation.leaf(device).map(|leaf| leaf.signature_key);
            let (offerer, commit) = open_commit(sealed, &token, &key, leaf_key)
                .map_err(|source| ConversationError::Mls { what: "the commit slot holds no commit", source: Box::new(source) })?;
            room.conversation.merge_other(&commit, offerer, &log)
        })();
        match merged {
            Ok(incoming) => self.merged(id, incoming, cx),
            Err(error) => {
                // Stays in the old epoch; a guardian forms the conversation again.
                room.walked_in_vain = Some(room.conversation.epoch());
                room.synced = true;
                self.counters.refused += 1;
                cx.event(Event::Refused { conversation: id, sentence: sentence(&error) });
            }
        }
    }

    pub(super) fn commit_won(&mut self, send: &wire::PendingSendRecord, cx: &mut Cx<'_>) {
        cx.erase(records::number(records::OPERATION, send.operation));
        self.operations.remove(&send.operation);
        let Ok(id) = ConversationId::try_from(&send.conversation) else { return };
        let Some(log) = self.log.clone() else { return };
        let own = self.signer.device;
        let Some(room) = self.rooms.get_mut(&id) else { return };
        room.dirty = true;
        room.synced = true;
        match room.conversation.merge_own(own, &send.statements, &log) {
            Ok(incoming) => self.merged(id, incoming, cx),
            Err(error) => cx.event(Event::Refused { conversation: id, sentence: sentence(&error) }),
        }
    }

    /// Another commit holds the slot: take that one; the operation stays queued.
    pub(super) fn commit_lost(&mut self, send: &wire::PendingSendRecord, winner: &[u8], cx: &mut Cx<'_>) {
        let Ok(id) = ConversationId::try_from(&send.conversation) else { return };
        let Some(room) = self.rooms.get_mut(&id) else { return };
        room.synced = false;
        self.take_commit(id, winner, cx);
    }

    fn merged(&mut self, id: ConversationId, incoming: Incoming, cx: &mut Cx<'_>) {
        let own = self.signer.device;
        let Some(room) = self.rooms.get_mut(&id) else { return };
        room.dirty = true;
        room.walked_in_vain = None;
        let kind = room.kind;
        let epoch = room.conversation.epoch();
        // A commit of ours that was made for the epoch before can never win any more.
        for device in &incoming.removed {
            room.peers.remove(device);
        }
        for device in incoming.added.iter().filter(|device| **device != own) {
            room.peers.remove(device);
            room.peer(*device);
        }
        if kind == ConversationKind::Family {
            self.replace_log(incoming.log, cx);
        }
        cx.event(Event::Epoch { conversation: id, epoch });
        for device in incoming.removed {
            self.forget_recipient(id, device, cx);
            cx.event(Event::DeviceRemoved { conversation: id, device });
        }
        for device in incoming.added.into_iter().filter(|device| *device != own) {
            if let Some(member) = self.certificate_member(device) {
                cx.event(Event::DeviceAdded { conversation: id, member, device, name: self.member_name(member) });
            }
            if kind == ConversationKind::Family {
                self.offer_key_packages(id, device, cx);
            }
        }
    }

    // ---- own changes

    pub(super) fn queue_operation(&mut self, operation: wire::OperationRecord, cx: &mut Cx<'_>) {
        let number = self.operations.last_key_value().map_or(1, |(number, _)| number.saturating_add(1));
        cx.put_message(records::number(records::OPERATION, number), &operation);
        self.operations.insert(number, operation);
    }

    pub(super) fn self_update(&mut self, id: ConversationId, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        if !room.conversation.is_active() {
            return Err(CommandError::Removed);
        }
        let operation =
            wire::OperationRecord { conversation: id.to_bytes(), self_update: true, ..wire::OperationRecord::default() };
        self.queue_operation(operation, cx);
        Ok(())
    }

    /// Grants end; a device renews its keys and address a month after the last time.
    fn renew_addresses(&mut self, cx: &mut Cx<'_>) {
        let soon = cx.now.day().plus(RENEW_BEFORE_DAYS);
        let due: Vec<ConversationId> = self
            .rooms
            .values()
            .filter(|room| room.conversation.is_active() && room.conversation.leaves().len() > 1)
            .filter(|room| room.addresses.last().is_some_and(|address| address.last_day <= soon))
            .map(super::state::Room::id)
            .filter(|id| {
                !self.operations.values().any(|op| op.self_update && op.conversation.as_ref() == id.as_bytes())
            })
            .collect();
        for id in due {
            // Only fails for a conversation that is not there.
            let _ = self.self_update(id, cx);
        }
    }

    pub(super) fn start_operations(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.caught_up || !self.inbox.is_idle() {
            return;
        }
        let mut busy = std::collections::BTreeSet::new();
        let numbers: Vec<u64> = self.operations.keys().copied().collect();
        for number in numbers {
            let Some(operation) = self.operations.get(&number).cloned() else { continue };
            let Ok(id) = ConversationId::try_from(&operation.conversation) else { continue };
            if !busy.insert(id) {
                continue;
            }
            let free = self
                .rooms
                .get(&id)
                .is_some_and(|room| room.synced && room.conversation.is_active() && !room.conversation.has_pending_commit());
            if free && let Err(error) = self.commit(number, id, &operation, cx) {
                cx.erase(records::number(records::OPERATION, number));
                self.operations.remove(&number);
                self.counters.refused += 1;
                cx.event(Event::Refused { conversation: id, sentence: error.to_string() });
            }
        }
    }

    /// Makes the commit of an operation and puts it, with what hangs on it, into one send.
    fn commit(&mut self, number: u64, id: ConversationId, operation: &wire::OperationRecord, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let log = self.log.clone().ok_or(CommandError::NoFamily)?;
        let mut joiners = Vec::new();
        for bytes in &operation.key_packages {
            joiners.push(check_key_package(&self.crypto, bytes)?);
        }
        let (statements, context) = self.statements_of(id, operation, cx)?;
        let address = if operation.self_update {
            let (own, address) = self.draw_address(id, cx);
            if let Some(room) = self.rooms.get_mut(&id) {
                // Opens from now on: others may use it before the relay has answered us.
                room.add_address(own);
            }
            Some(address)
        } else {
            None
        };
        let room = self.rooms.get_mut(&id).ok_or(CommandError::NoConversation)?;
        room.dirty = true;
        let token = room.conversation.slot_token()?;
        let key = room.conversation.commit_key()?;
        let next_epoch = room.conversation.epoch().saturating_add(1);
        let others = recipients(&room.conversation.leaves(), self.signer.device);
        let change = ProposedChange { add: joiners.clone(), remove: vec![], context, statements: statements.clone(), address };
        let ProposedCommit { commit, welcome } = room.conversation.propose(&self.signer, change, &log)?;
        let sealed = seal_commit(&commit, &token, &key, self.signer.device, &self.signer.key, &mut cx.rng)
            .map_err(|source| ConversationError::Mls { what: "the change is too large", source: Box::new(source) })?;
        let mut send = wire::PendingSendRecord {
            commit: Some(wire::CommitOffer { token: token.to_bytes(), sealed: sealed.into() }),
            conversation: id.to_bytes(),
            statements: statements.clone(),
            operation: number,
            ..wire::PendingSendRecord::default()
        };
        self.seal_for(&others, Kind::Look, next_epoch.to_be_bytes().to_vec(), &mut send, cx);
        if let Some(welcome) = welcome {
            let statements = log.statements().iter().cloned().chain(statements).collect();
            let package = wire::WelcomePackage { welcome: welcome.into(), log: statements }.encode_to_vec();
            let joiners: Vec<Recipient> = joiners
                .into_iter()
                .map(|joiner: CheckedKeyPackage| Recipient { device: joiner.device, address: joiner.address })
                .collect();
            self.seal_for(&joiners, Kind::Welcome, package, &mut send, cx);
        }
        self.queue_send(send, cx);
        Ok(())
    }

    /// The statements of an operation, signed for the log as it is now, and the context they lead to.
    fn statements_of(
        &mut self,
        id: ConversationId,
        operation: &wire::OperationRecord,
        cx: &mut Cx<'_>,
    ) -> Result<(Vec<wire::SignedStatement>, Option<ConversationContext>), CommandError> {
        let mut decisions = Vec::new();
        for member in &operation.add_members {
            decisions.push(Decision::AddMember(AddedMember::from_wire(member.clone())?));
        }
        for device in &operation.add_devices {
            decisions.push(Decision::AddDevice(AddedDevice::from_wire(device.clone())?));
        }
        if decisions.is_empty() {
            return Ok((vec![], None));
        }
        let key = self.identity_key().ok_or(CommandError::NotGuardian)?;
        let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        let statements = log.propose(decisions, &key, cx.now.day(), &mut cx.rng);
        let mut next = log.clone();
        for statement in &statements {
            next.append(statement)?;
        }
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        let context = ConversationContext { head: *next.head(), ..room.conversation.context()? };
        Ok((statements, Some(context)))
    }
}

fn recipients(leaves: &[crate::conversation::Leaf], own: DeviceId) -> Vec<Recipient> {
    let others = leaves.iter().filter(|leaf| leaf.device != own);
    others.map(|leaf| Recipient { device: leaf.device, address: leaf.address.clone() }).collect()
}

/// An error with its cause, for a person.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}
