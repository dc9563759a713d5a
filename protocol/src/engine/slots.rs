//! Walking commit slots: learning what ended an epoch, judging it, and entering the next.

use super::device::Engine;
use super::io::Event;
use super::records;
use super::state::{Cx, Stuck};
use crate::conversation::{ConversationError, ConversationKind, Incoming, Person, open_commit};
use crate::faults::{Fault, planted};
use crate::ids::{ConversationId, DeviceId};
use crate::wire;

/// A change made so many days ahead of this device is followed; a later one waits.
const DAYS_AHEAD_MAX: u32 = 2;
/// Failures of the relay to read one slot, in a row, after which it is taken for lost.
const SLOT_FAILURES_MAX: u8 = 3;

/// What a slot's bytes led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// Into the next epoch.
    Merged,
    /// A member's commit, which the gate refused.
    Refused,
    /// Nothing that opens: nothing was changed, a pending commit of ours least of all.
    Void,
}

impl Engine {
    /// After everything that waited is read: asks every conversation's slot whether more happened.
    pub(super) fn check_slots(&mut self, cx: &mut Cx<'_>) {
        self.ask_slots(cx);
        if !self.session.is_attached() || !self.session.is_drained() || !self.inbox.is_idle() {
            return;
        }
        let open = |room: &&super::state::Room| !room.synced && room.can_walk();
        let behind: Vec<ConversationId> = self
            .rooms
            .values()
            .filter(open)
            .map(super::state::Room::id)
            .collect();
        for id in &behind {
            self.fetch_slot(*id, cx);
        }
        if behind.is_empty() && !self.session.is_caught_up() {
            self.session.caught_up_at = Some(cx.now);
            self.upkeep(cx);
            self.resume_confirmations();
            cx.event(Event::CaughtUp);
            // Their time may have come before.
            self.follow_suspicions(cx);
        }
    }

    pub(super) fn slot_answered(
        &mut self,
        id: ConversationId,
        epoch: u64,
        slot: &wire::CommitSlot,
        cx: &mut Cx<'_>,
    ) {
        self.session.succeeded();
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.slot_failures = 0;
        if room.conversation.epoch() == epoch && room.conversation.is_active() {
            if slot.present {
                if self.take_commit(id, &slot.sealed, cx) == Taken::Void
                    && self.inbox.waits_for_slot(id)
                {
                    self.inbox.walked_in_vain(epoch);
                }
            } else {
                room.synced = true;
                if self.inbox.waits_for_slot(id) {
                    self.inbox.walked_in_vain(epoch);
                    self.suspect(id, cx);
                }
            }
        }
        self.slot_walked(id);
    }

    /// The relay failed to read a slot: once may be bad luck, but what was damaged on its disk is
    /// never read again. Then this conversation must not keep all others waiting: it can't be
    /// changed, and where members went on without this device, it comes back as a new leaf.
    pub(super) fn slot_failed(&mut self, id: ConversationId, epoch: u64, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if room.conversation.epoch() != epoch {
            return;
        }
        room.slot_failures = room.slot_failures.saturating_add(1);
        if room.slot_failures < SLOT_FAILURES_MAX {
            return;
        }
        self.stick(id, Stuck::Void, &ConversationError::Unreadable, cx);
        if self.inbox.waits_for_slot(id) {
            self.inbox.walked_in_vain(epoch);
            self.suspect(id, cx);
        }
        self.slot_walked(id);
    }

    /// A slot that could not be read is looked at again.
    pub(super) fn retry_void_slots(&mut self) {
        for room in self
            .rooms
            .values_mut()
            .filter(|room| room.stuck() == Some(Stuck::Void))
        {
            room.disconnected();
        }
    }

    /// Whether a send's commit was made for the epoch that its conversation is in.
    fn is_current(&self, send: &wire::PendingSendRecord) -> bool {
        let room = ConversationId::try_from(&send.conversation)
            .ok()
            .and_then(|id| self.rooms.get(&id));
        let token = room.and_then(|room| room.conversation.slot_token().ok());
        send.commit
            .as_ref()
            .zip(token)
            .is_some_and(|(commit, token)| commit.token.as_ref() == token.as_bytes())
    }

    /// Judges and merges what holds the slot of the current epoch.
    fn take_commit(&mut self, id: ConversationId, sealed: &[u8], cx: &mut Cx<'_>) -> Taken {
        let own = self.sends.iter().find(|(_, send)| {
            send.conversation.as_ref() == id.as_bytes()
                && send
                    .commit
                    .as_ref()
                    .is_some_and(|commit| commit.sealed.as_ref() == sealed)
        });
        if let Some((number, send)) = own.map(|(number, send)| (*number, send.clone())) {
            let rest = wire::PendingSendRecord {
                commit: None,
                news: vec![],
                ..send.clone()
            };
            if rest.deliveries.is_empty() {
                // Nobody else is there to be told.
                self.discard_send(number, &rest, cx);
            } else {
                cx.put_message(records::number(records::SEND, number), &rest);
                self.sends.insert(number, rest);
            }
            return if self.commit_won(&send, cx) {
                Taken::Merged
            } else {
                Taken::Refused
            };
        }
        let latest = self.today(cx.now).plus(DAYS_AHEAD_MAX);
        let Some(room) = self.rooms.get_mut(&id) else {
            return Taken::Void;
        };
        let own = self.signer.device;
        if planted(Fault::EarlyDrop) && room.conversation.has_pending_commit() {
            drop(room.conversation.drop_own());
        }
        let opened = (|| {
            let token = room.conversation.slot_token()?;
            let key = room.conversation.commit_key()?;
            let leaf_key = |device| {
                room.conversation
                    .leaf(device)
                    .map(|leaf| leaf.signature_key)
            };
            let opened = open_commit(sealed, &token, &key, leaf_key);
            let (offerer, commit) = opened.map_err(|source| ConversationError::Mls {
                what: "the commit slot holds no commit",
                source: Box::new(source),
            })?;
            Ok((offerer, commit))
        })();
        let (offerer, commit) = match opened {
            // What we offered and did not drop was found above.
            Ok((offerer, _)) if offerer == own => {
                self.lost_own_offer(id, cx);
                return Taken::Refused;
            }
            Ok(opened) => opened,
            // The relay may lie, so this decides nothing; members' words alone do.
            Err(error) => {
                self.stick(id, Stuck::Void, &error, cx);
                return Taken::Void;
            }
        };
        room.dirty = true;
        // Only now is it known that ours did not come into the slot.
        let dropped = if room.conversation.has_pending_commit() {
            room.conversation.drop_own()
        } else {
            Ok(())
        };
        match dropped.and_then(|()| room.conversation.merge_other(&commit, offerer, latest)) {
            Ok(incoming) => {
                room.chain_commit(sealed);
                room.heard_another(own);
                self.merged(id, incoming, cx);
                Taken::Merged
            }
            Err(ConversationError::Renewed) => {
                // What this device has to say is said by its new leaf. Should the welcome be
                // lost, it is asked for again: nobody else counts this device as gone.
                room.lost = true;
                room.synced = true;
                if !std::mem::replace(&mut room.renewed, true) {
                    // What it asked with last may be used now: next time it is another.
                    room.asked_back = None;
                }
                self.forget_offers(id, cx);
                self.ask_back_soon(cx);
                Taken::Refused
            }
            Err(error @ ConversationError::Early(_)) => {
                // Its day comes, or a guardian says what day it is.
                self.stick(id, Stuck::Void, &error, cx);
                self.forget_offers(id, cx);
                Taken::Void
            }
            Err(error) => {
                self.stick(id, Stuck::Refused, &error, cx);
                self.forget_offers(id, cx);
                Taken::Refused
            }
        }
    }

    /// The slot holds what this device has offered, and does not have any more: it dropped it, or
    /// its store is a copy from before. Others follow it, this device can't: it comes back.
    fn lost_own_offer(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.synced = true;
        room.dirty = true;
        if !std::mem::replace(&mut room.lost, true) {
            self.skip_serials(cx);
            cx.event(Event::Forked { conversation: id });
        }
        self.forget_offers(id, cx);
        self.ask_back_soon(cx);
    }

    /// This epoch can't be left: a guardian forms the conversation again.
    fn stick(
        &mut self,
        id: ConversationId,
        why: Stuck,
        error: &ConversationError,
        cx: &mut Cx<'_>,
    ) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let known = room.stuck() == Some(why);
        room.set_stuck(why);
        room.synced = true;
        if !known {
            self.counters.refused += 1;
            cx.event(Event::Refused {
                conversation: id,
                sentence: sentence(error),
            });
        }
        if why == Stuck::Refused && !known {
            self.tell_refusal(id, &sentence(error), cx);
        }
        if why == Stuck::Refused {
            // The slot is taken for good: nothing that waits to change this conversation ever can.
            self.stop_operations(id, cx);
        }
    }

    /// Our commit holds the slot; false when it does not lead anywhere.
    pub(super) fn commit_won(&mut self, send: &wire::PendingSendRecord, cx: &mut Cx<'_>) -> bool {
        let Ok(id) = ConversationId::try_from(&send.conversation) else {
            return false;
        };
        if !self.is_current(send) {
            return false;
        }
        let own = self.signer.device;
        let Some(room) = self.rooms.get_mut(&id) else {
            return false;
        };
        room.dirty = true;
        // Nobody can have offered a commit for an epoch that only we have entered.
        room.synced = true;
        let revoke_old = self
            .operations
            .get(&send.operation)
            .is_some_and(|operation| operation.revoke_old);
        match room.conversation.merge_own(own, &send.news) {
            Ok(incoming) => {
                cx.erase(records::number(records::OPERATION, send.operation));
                self.operations.remove(&send.operation);
                if let Some(commit) = &send.commit {
                    room.chain_commit(&commit.sealed);
                }
                room.sent_since_update = 0;
                let brought = !incoming.added.is_empty();
                self.merged(id, incoming, cx);
                if brought && self.family_conversation() == Some(id) {
                    self.brief_newcomers(id, cx);
                }
                if revoke_old {
                    self.retire_addresses(id, cx);
                }
                true
            }
            Err(error) => {
                // Without it the state is as it was before the offer.
                let error = room.conversation.drop_own().err().unwrap_or(error);
                self.stick(id, Stuck::Refused, &error, cx);
                false
            }
        }
    }

    /// Another commit is said to hold the slot: take that one; the operation stays queued.
    pub(super) fn commit_lost(
        &mut self,
        number: u64,
        send: wire::PendingSendRecord,
        winner: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let id = ConversationId::try_from(&send.conversation)
            .ok()
            .filter(|_| self.is_current(&send));
        let Some(id) = id else {
            return self.discard_send(number, &send, cx);
        };
        match self.take_commit(id, winner, cx) {
            Taken::Merged | Taken::Refused => {
                self.discard_send(number, &send, cx);
                if let Some(room) = self.rooms.get_mut(&id) {
                    // More may have happened since.
                    room.synced = room.stuck().is_some();
                }
            }
            Taken::Void => self.delay_send(number, send, cx),
        }
    }

    /// Offers for an epoch that has ended otherwise are never made again: in another epoch's
    /// slot they would be void, and what hangs on them was never stored.
    fn forget_offers(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        self.discard_sends(id, |send| send.commit.is_some(), cx);
        let own = self.signer.device;
        let forgotten = self.rooms.get_mut(&id);
        let forgotten = forgotten.map_or_else(Vec::new, |room| room.prune_addresses(own));
        for address in forgotten {
            self.revoke_address(id, &address, cx);
        }
    }

    fn merged(&mut self, id: ConversationId, incoming: Incoming, cx: &mut Cx<'_>) {
        let own = self.signer.device;
        self.forget_offers(id, cx);
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.dirty = true;
        room.parties_dirty = true;
        room.partial_generations = 0;
        let kind = room.kind;
        let epoch = room.conversation.epoch();
        self.learn(id, cx);
        self.tell_left(id, &incoming.left_before, cx);
        self.reconcile_due |= incoming.left_before != incoming.context.left;
        self.reconcile_due |= !incoming.added.is_empty() || !incoming.removed.is_empty();
        cx.event(Event::Epoch {
            conversation: id,
            epoch,
        });
        let (back, gone): (Vec<DeviceId>, Vec<DeviceId>) = incoming
            .removed
            .into_iter()
            .partition(|device| incoming.added.contains(device));
        for device in &gone {
            self.device_left(id, *device, cx);
        }
        self.note_absent(id, &gone, &incoming.context.left);
        let returned = incoming.added.iter().copied().find(|device| {
            let log = self
                .log
                .as_ref()
                .filter(|_| kind == ConversationKind::Family);
            log.is_some_and(|log| log.came_back(device).is_some())
        });
        if !gone.is_empty() && !incoming.self_removed && returned.is_none() {
            // Who has left knew our address.
            self.replace_address(id, cx);
        }
        for device in back.iter().filter(|device| **device != own) {
            self.came_back(id, *device, cx);
            if kind == ConversationKind::Family {
                self.offer_key_packages(id, *device, cx);
            }
        }
        let new = incoming.added.into_iter();
        for device in new.filter(|device| *device != own && !back.contains(device)) {
            if let Some(room) = self.rooms.get_mut(&id) {
                room.peers.remove(&device);
                let peer = room.peer(device);
                // It has said nothing here yet: its first content is its first for us.
                peer.first_sequence_seen = 1;
                // Its guardian may have to try again, and knows only what the vault knew: that goes
                // as soon as this one was heard.
                peer.unheard = returned == Some(device);
            }
            if let Some(member) = self.member_in(id, device) {
                cx.event(Event::DeviceAdded {
                    conversation: id,
                    member,
                    device,
                    name: self.name_in(id, member),
                });
            }
            if kind == ConversationKind::Family {
                self.offer_key_packages(id, device, cx);
            }
        }
        if incoming.self_removed {
            self.left(id, cx);
        }
    }

    fn device_left(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        self.give_up_device(id, device, cx);
        self.fail_all(
            id,
            "it left the conversation",
            |peer| peer.device.as_ref() == device.as_bytes(),
            cx,
        );
        self.collect_left(id, device, cx);
        self.forget_recipient(id, device, cx);
        if let Some(room) = self.rooms.get_mut(&id) {
            room.peers.remove(&device);
        }
        cx.event(Event::DeviceRemoved {
            conversation: id,
            device,
        });
    }

    /// Whose last device here is lost has not left: the next one comes in again (PROTOCOL §6.11).
    fn note_absent(&mut self, id: ConversationId, gone: &[DeviceId], left: &[Person]) {
        let (Some(log), Some(room)) = (&self.log, self.rooms.get_mut(&id)) else {
            return;
        };
        let lost = gone
            .iter()
            .filter(|device| log.certificate(device).is_none());
        let owners = lost.filter_map(|device| log.owner_ever(device));
        room.absent.extend(owners.filter(|owner| {
            log.members().contains_key(owner) && !left.iter().any(|it| it.member == *owner)
        }));
        for device in room.conversation.devices() {
            if let Some(owner) = log.certificate(&device) {
                room.absent.remove(&owner.member);
            }
        }
        room.absent
            .retain(|member| log.members().contains_key(member));
    }

    /// This device was removed: nothing goes there any more.
    fn left(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        self.discard_sends(id, |_| true, cx);
        self.drop_held(|(of, _, _)| *of == id, cx);
        if let Some(room) = self.rooms.get_mut(&id) {
            for peer in room.peers.values_mut() {
                peer.gap_since_ms = 0;
            }
        }
        self.fail_all(
            id,
            "this device is not in that conversation any more",
            |_| true,
            cx,
        );
        self.drop_operations(id, "this device is not in that conversation any more", cx);
        self.asks.retain(|(of, _), _| *of != id);
        if self.family_conversation() == Some(id) {
            // The family revokes them.
            self.spend_peer_key_packages(cx);
        }
    }
}

/// An error with its cause, for a person.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}
