//! Own changes of a conversation: made into a commit one at a time, offered to
//! their slot together with what hangs on them.

use bytes::Bytes;
use prost::Message;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::reconcile::Plan;
use super::records;
use super::sends::Recipient;
use super::state::{Cx, Room};
use crate::conversation::{
    CheckedKeyPackage, ConversationContext, ConversationError, ConversationKind, Parties,
    ProposedChange, ProposedCommit, Refusal, check_key_package, seal_commit,
};
use crate::day::{Day, Timestamp};
use crate::envelope::Kind;
use crate::identity::{Certificate, FamilyLog, Role};
use crate::ids::{ConversationId, DeviceId};
use crate::limits;
use crate::wire;

/// Days before its grants end in which a device renews its keys and address: monthly.
const RENEW_BEFORE_DAYS: u32 = 90;

/// Days after which a guardian's device makes a change that does nothing but say the day.
const DAY_KEPT_BY_GUARDIANS: u32 = 1;
/// And a child's device, when no guardian's does.
const DAY_KEPT_BY_CHILDREN: u32 = 2;

impl Engine {
    pub(super) fn self_update(
        &mut self,
        id: ConversationId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        if !room.conversation.is_active() {
            return Err(CommandError::Removed);
        }
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            self_update: true,
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
        Ok(())
    }

    /// A self-update, unless one is queued already.
    pub(super) fn renew(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let queued = self
            .operations
            .values()
            .any(|op| op.self_update && op.conversation.as_ref() == id.as_bytes());
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            self_update: true,
            ..wire::OperationRecord::default()
        };
        if !queued {
            self.queue_operation(operation, cx);
        }
    }

    /// Grants end; a device renews its keys and address a month after the last time.
    pub(super) fn renew_addresses(&mut self, cx: &mut Cx<'_>) {
        let soon = cx.now.day().plus(RENEW_BEFORE_DAYS);
        let due: Vec<ConversationId> = self
            .rooms
            .values()
            .filter(|room| room.can_talk() && room.stuck().is_none())
            .filter(|room| room.conversation.devices().len() > 1)
            .filter(|room| {
                room.addresses
                    .last()
                    .is_some_and(|address| address.last_day <= soon)
            })
            .map(Room::id)
            .collect();
        for id in due {
            self.renew(id, cx);
        }
    }

    /// The day to sign into a change: not before the last one, and not past the freeze after a
    /// guardian's removal where that is for others to say, or has not come by the own clock.
    pub(super) fn day_for(&self, room: &Room, before: Day, now: Timestamp) -> Day {
        let day = self.signed_day(now).max(before);
        let (Some(log), Some(own)) = (&self.log, self.own_certificate()) else {
            return day;
        };
        if room.kind != ConversationKind::Family {
            return day;
        }
        let parties = room.conversation.parties();
        let people = parties.certificates_of(&room.conversation.devices());
        // What a guardian's head says moves the day; it may be the one who removed another.
        let clock = now.day();
        let unset = clock < limits::BUILD_DAY;
        log.thawing(before)
            .filter(|removal| removal.is_held(&own, &people) || (!unset && clock < removal.thaws()))
            .map(|removal| Day(removal.thaws().0.saturating_sub(1)))
            .fold(day, Day::min)
    }

    /// The day on which this device would sign a decision now.
    pub(super) fn deciding_day(&self, now: Timestamp) -> Day {
        let home = self
            .family_conversation()
            .and_then(|id| self.rooms.get(&id));
        let context = home.and_then(|room| room.conversation.context().ok());
        home.zip(context).map_or_else(
            || self.signed_day(now),
            |(room, context)| self.day_for(room, context.day, now),
        )
    }

    fn own_certificate(&self) -> Option<Certificate> {
        self.log.as_ref()?.certificate(&self.device())
    }

    /// A guardian can date the removal of another back to the last change of the family's
    /// conversation, and no further. So where there are more guardians than one, devices keep
    /// that day young, guardians' first. And whoever may says when a freeze is over.
    pub(super) fn keep_day(&mut self, cx: &mut Cx<'_>) {
        let (Some(log), Some(own)) = (&self.log, self.own_certificate()) else {
            return;
        };
        let room = self
            .family_conversation()
            .and_then(|id| self.rooms.get(&id));
        let Some(room) = room.filter(|room| room.can_talk() && room.stuck().is_none()) else {
            return;
        };
        let Ok(context) = room.conversation.context() else {
            return;
        };
        let (id, last) = (room.id(), context.day);
        let today = self.day_for(room, last, cx.now);
        let kept = match own.role {
            Role::Guardian => DAY_KEPT_BY_GUARDIANS,
            Role::Child => DAY_KEPT_BY_CHILDREN,
        };
        let old = log.guardians().count() > 1 && last.plus(kept) <= today;
        let thaws = log.thawing(last).any(|removal| removal.thaws() <= today);
        let waits = self
            .operations
            .values()
            .any(|op| op.conversation.as_ref() == id.as_bytes());
        if !(old || thaws) || waits {
            return;
        }
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            day: true,
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
    }

    /// Whether a room has this device alone in it because its first change is still to come.
    pub(super) fn is_forming(&self, id: ConversationId) -> bool {
        let Some(room) = self.rooms.get(&id) else {
            return false;
        };
        // Whom a founder lets in is no joiner of before; whom the family is formed again with is.
        let lets_in = |op: &wire::OperationRecord| {
            room.kind == ConversationKind::Family
                && !(op.decisions.is_empty() && op.statements.is_empty())
        };
        self.forming(id).is_some_and(|op| !lets_in(op))
    }

    /// Whether it is one of children of several families, and this device has still to form it.
    pub(super) fn is_forming_contact(&self, id: ConversationId) -> bool {
        self.forming(id).is_some_and(|op| !op.children.is_empty())
    }

    fn forming(&self, id: ConversationId) -> Option<&wire::OperationRecord> {
        let alone = self.rooms.get(&id)?.conversation.devices().len() == 1;
        self.operations
            .values()
            .find(|op| op.conversation.as_ref() == id.as_bytes() && !op.key_packages.is_empty())
            .filter(|_| alone)
    }

    /// Devices that come into a room with its first change: what is written into it before
    /// is for them too.
    pub(super) fn joining(&self, id: ConversationId) -> Vec<DeviceId> {
        if !self.is_forming(id) {
            return vec![];
        }
        let key_packages = self.forming(id).map(|op| op.key_packages.as_slice());
        key_packages
            .unwrap_or_default()
            .iter()
            .filter_map(|bytes| check_key_package(&self.crypto, bytes).ok())
            .map(|checked| checked.device)
            .collect()
    }

    /// Offers the next change of each conversation that is free for one.
    pub(super) fn start_operations(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() || !self.inbox.is_idle() {
            return;
        }
        let mut busy = std::collections::BTreeSet::new();
        let numbers: Vec<u64> = self.operations.keys().copied().collect();
        for number in numbers {
            let Some(operation) = self.operations.get(&number).cloned() else {
                continue;
            };
            let Ok(id) = ConversationId::try_from(&operation.conversation) else {
                continue;
            };
            if !busy.insert(id) || !self.is_free(id) {
                continue;
            }
            match self.commit(number, id, &operation, cx) {
                Ok(()) => {}
                // What it was for has come about without it, or can't.
                Err(CommandError::Nothing) if !operation.children.is_empty() => {
                    self.unform(id, cx);
                }
                Err(CommandError::Nothing) => self.forget_operation(number, cx),
                Err(_) if operation.reconcile => self.forget_operation(number, cx),
                Err(error) => self.drop_operation(number, id, &error.to_string(), cx),
            }
        }
    }

    /// Whether a change of this conversation could come into its slot.
    fn is_free(&self, id: ConversationId) -> bool {
        let Some(room) = self.rooms.get(&id) else {
            return false;
        };
        room.synced
            && room.stuck().is_none()
            && room.can_talk()
            && !room.is_silenced()
            && !room.conversation.has_pending_commit()
    }

    /// Makes the commit of an operation and puts it, with what hangs on it, into one send.
    /// On an error nothing is pending.
    fn commit(
        &mut self,
        number: u64,
        id: ConversationId,
        operation: &wire::OperationRecord,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let mut plan = self.plan(id, operation, cx)?;
        let joiners = self.joiners(number, id, operation, &mut plan, cx)?;
        let own = operation.self_update.then(|| self.draw_address(id, cx));
        let (own, address) = own.map_or((None, None), |(own, address)| (Some(own), Some(address)));
        let room = self
            .rooms
            .get_mut(&id)
            .ok_or(CommandError::NoConversation)?;
        let news = room.conversation.parties().news(&plan.parties);
        let before = room.conversation.context()?;
        let nothing = news.is_empty()
            && joiners.is_empty()
            && plan.remove.is_empty()
            && plan.left == before.left;
        let new_day = operation.day && plan.day > before.day;
        if nothing && address.is_none() && !new_day {
            return Err(CommandError::Nothing);
        }
        room.dirty = true;
        // Opens from now on: others may use it before the relay has answered us.
        room.addresses.extend(own);
        let context = ConversationContext {
            parties: plan.parties.heads(),
            day: plan
                .parties
                .logs()
                .map(FamilyLog::day)
                .fold(before.day.max(plan.day), Day::max),
            left: plan.left,
            ..before.clone()
        };
        let change = ProposedChange {
            add: joiners.clone(),
            remove: plan.remove,
            context: (context != before).then_some(context),
            news,
            address,
        };
        let offer = self.offer(number, id, change, joiners, &plan.parties, cx);
        let device = self.signer.device;
        match (offer, self.rooms.get_mut(&id)) {
            (Ok(send), _) => {
                for key in plan.used {
                    self.use_peer_key_package(key, cx);
                }
                self.queue_send(send, cx);
                Ok(())
            }
            (Err(error), Some(room)) => {
                // Nobody has seen it.
                if room.conversation.has_pending_commit() {
                    room.conversation.drop_own()?;
                }
                for address in room.prune_addresses(device) {
                    self.revoke_address(id, &address, cx);
                }
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Who comes in with a change. What does not let anybody in is left out of it and told,
    /// and the rest goes on; but nobody is taken out to be brought back with it, and no
    /// conversation with another family is formed with ours alone.
    fn joiners(
        &mut self,
        number: u64,
        id: ConversationId,
        operation: &wire::OperationRecord,
        plan: &mut Plan,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<CheckedKeyPackage>, CommandError> {
        let mut joiners: Vec<CheckedKeyPackage> = Vec::new();
        let mut bad = Vec::new();
        for bytes in operation.key_packages.iter().chain(&plan.key_packages) {
            match self.joiner(id, bytes, plan, &joiners) {
                Ok(joiner) => joiners.push(joiner),
                Err(error) if operation.remove.is_empty() => bad.push((bytes.clone(), error)),
                Err(error) => return Err(error),
            }
        }
        let others = |joiner: &CheckedKeyPackage| {
            let holder = plan.parties.certificate(&joiner.device);
            holder.is_some_and(|holder| !self.is_own(&holder.family))
        };
        if !operation.children.is_empty() && !joiners.iter().any(others) {
            let first = bad.into_iter().next();
            return Err(first.map_or(CommandError::Nothing, |(_, error)| error));
        }
        let is_bad = |bytes: &Bytes| bad.iter().any(|(it, _)| it == bytes);
        for key in plan.used.clone() {
            let known = self.peer_key_packages.get(&key);
            if known.is_some_and(|record| is_bad(&record.key_package)) {
                // Its device is asked for another.
                self.session.packages_asked = false;
                self.use_peer_key_package(key, cx);
            }
        }
        plan.key_packages.retain(|bytes| !is_bad(bytes));
        if operation.key_packages.iter().any(is_bad) {
            // Told once, though the change may have to be made again.
            let mut left = operation.clone();
            left.key_packages.retain(|bytes| !is_bad(bytes));
            cx.put_message(records::number(records::OPERATION, number), &left);
            self.operations.insert(number, left);
        }
        for (_, error) in bad {
            if matches!(
                error,
                CommandError::Conversation(ConversationError::Refused(Refusal::Again))
            ) {
                // It is in it, which is all that was wanted.
                continue;
            }
            let sentence = format!("a device could not be let in: {error}");
            self.counters.refused += 1;
            self.tell_refusal(id, &sentence, cx);
            cx.event(Event::Refused {
                conversation: id,
                sentence,
            });
        }
        Ok(joiners)
    }

    /// Reads a key package, if its device belongs to a family that is in the conversation
    /// after the change, and is not in it already.
    fn joiner(
        &self,
        id: ConversationId,
        bytes: &Bytes,
        plan: &Plan,
        joiners: &[CheckedKeyPackage],
    ) -> Result<CheckedKeyPackage, CommandError> {
        let joiner = check_key_package(&self.crypto, bytes)?;
        let refused = |refusal: Refusal| Err(ConversationError::from(refusal).into());
        let stays = self.rooms.get(&id).is_some_and(|room| {
            let there = room.conversation.leaf(joiner.device).is_some();
            there && !plan.remove.contains(&joiner.device)
        });
        if stays || joiners.iter().any(|other| other.device == joiner.device) {
            return refused(Refusal::Again);
        }
        match plan.parties.certificate(&joiner.device) {
            None => refused(Refusal::Stranger),
            Some(it) if it.signature_key != joiner.signature_key => refused(Refusal::Key),
            Some(_) => Ok(joiner),
        }
    }

    fn offer(
        &mut self,
        number: u64,
        id: ConversationId,
        change: ProposedChange,
        joiners: Vec<CheckedKeyPackage>,
        parties: &Parties,
        cx: &mut Cx<'_>,
    ) -> Result<wire::PendingSendRecord, CommandError> {
        fn too_large<E: std::error::Error + Send + Sync + 'static>(source: E) -> ConversationError {
            ConversationError::Mls {
                what: "the change is too large",
                source: Box::new(source),
            }
        }
        let room = self
            .rooms
            .get_mut(&id)
            .ok_or(CommandError::NoConversation)?;
        let token = room.conversation.slot_token()?;
        let key = room.conversation.commit_key()?;
        let next_epoch = room.conversation.epoch().saturating_add(1);
        let others = recipients(&room.conversation.leaves(), self.signer.device);
        let news = change.news.clone();
        let ProposedCommit { commit, welcome } = room.conversation.propose(&self.signer, change)?;
        let sealed = seal_commit(
            &commit,
            &token,
            &key,
            self.signer.device,
            &self.signer.key,
            &mut cx.rng,
        )
        .map_err(too_large)?;
        let mut send = wire::PendingSendRecord {
            commit: Some(wire::CommitOffer {
                token: token.to_bytes(),
                sealed: sealed.into(),
            }),
            conversation: id.to_bytes(),
            news,
            operation: number,
            ..wire::PendingSendRecord::default()
        };
        self.seal_for(
            &others,
            Kind::Look,
            next_epoch.to_be_bytes().to_vec(),
            &mut send,
            cx,
        )
        .map_err(too_large)?;
        if let Some(welcome) = welcome {
            let package = wire::WelcomePackage {
                welcome: welcome.into(),
                logs: parties.to_wire(),
            }
            .encode_to_vec();
            let joiners: Vec<Recipient> = joiners
                .into_iter()
                .map(|joiner| Recipient {
                    device: joiner.device,
                    address: joiner.address,
                })
                .collect();
            self.seal_for(&joiners, Kind::Welcome, package, &mut send, cx)
                .map_err(too_large)?;
        }
        Ok(send)
    }
}

fn recipients(leaves: &[crate::conversation::Leaf], own: DeviceId) -> Vec<Recipient> {
    let others = leaves.iter().filter(|leaf| leaf.device != own);
    others
        .map(|leaf| Recipient {
            device: leaf.device,
            address: leaf.address.clone(),
        })
        .collect()
}
