//! Coming into conversations: by a welcome, or by forming a room.

use prost::Message;

use super::device::Engine;
use super::errors::{CommandError, check_name};
use super::io::Event;
use super::records;
use super::state::{Cx, Room};
use crate::conversation::{
    Conversation, ConversationContext, ConversationError, ConversationKind, Leaf, OwnAddress,
    Parties, Person, Refusal, StorageEntries,
};
use crate::day::Day;
use crate::faults::{Fault, planted};
use crate::identity::{Certificate, FamilyLog, Role};
use crate::ids::{ConversationId, DeviceId, MemberId};
use crate::limits;
use crate::wire;

/// Conversations of one device: nobody means more, and each costs every envelope a try.
pub(super) const ROOMS_MAX: usize = 256;

/// Why a welcome was not followed.
#[derive(Debug, thiserror::Error)]
enum WelcomeError {
    #[error("the welcome is damaged")]
    Malformed(#[from] prost::DecodeError),
    #[error("the welcome brings no family log that holds")]
    Log(#[from] crate::identity::LogError),
    #[error("the welcome is into another family than the one this device was paired with")]
    Family,
    #[error("the welcome's family log does not continue the one this device knows")]
    Fork,
    #[error("the welcome's family log is another past than the one this device knows")]
    Past(ConversationId),
    #[error("the welcome leads back into other company than this device was in")]
    Company,
    #[error("the welcome's family log removes a guardian on a day that hides the freeze after it")]
    Backdated,
    #[error("the welcome is into a conversation with people whom this family does not know")]
    Strangers,
    #[error("the key package it was made for is damaged")]
    KeyPackage,
    #[error("this device is in that conversation already")]
    Again,
    #[error("this device is in {ROOMS_MAX} conversations already")]
    Rooms,
    #[error(transparent)]
    Conversation(#[from] crate::conversation::ConversationError),
}

impl Engine {
    pub(super) fn welcomed(&mut self, key_package: Vec<u8>, payload: &[u8], cx: &mut Cx<'_>) {
        match self.follow_welcome(&key_package, payload, cx) {
            Ok(id) => {
                if let Some(used) = self.key_packages.remove(&key_package) {
                    cx.erase(records::state(records::KEY_PACKAGE, &[&key_package]));
                    self.replace_key_package(&used, cx);
                }
                if self.family_conversation() == Some(id) {
                    self.forget_pairing_key_packages(cx);
                }
                self.greet(id, cx);
            }
            Err(error) => {
                self.counters.refused += 1;
                if let WelcomeError::Past(conversation) = error {
                    cx.event(Event::LogForked { conversation });
                }
                self.unreadable(&super::slots::sentence(&error), cx);
            }
        }
    }

    fn follow_welcome(
        &mut self,
        key_package: &[u8],
        payload: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<ConversationId, WelcomeError> {
        let own = self
            .key_packages
            .get(key_package)
            .ok_or(WelcomeError::KeyPackage)?;
        let address = own
            .address
            .as_ref()
            .and_then(OwnAddress::from_wire)
            .ok_or(WelcomeError::KeyPackage)?;
        let own_conversation = own.for_conversation.clone();
        let storage: StorageEntries = own
            .storage
            .iter()
            .map(|entry| (entry.key.to_vec(), entry.value.to_vec()))
            .collect();
        let package = wire::WelcomePackage::decode(payload)?;
        let parties = Parties::from_wire(&package.logs)?;
        let device = self.signer.device;
        let key = self.signer.key.public();
        let mut context = None;
        let mut inviter = None;
        let mut superseded = None;
        let conversation = Conversation::join(
            &self.crypto,
            storage,
            &package.welcome,
            parties.clone(),
            |found, leaves, sender| {
                context = Some(found.clone());
                inviter = parties.certificate(&sender);
                admit(found, leaves, sender, &parties)?;
                let mine = parties.certificate(&device).ok_or(Refusal::Stranger)?;
                if mine.signature_key == key {
                    Ok(())
                } else {
                    Err(Refusal::Key)
                }
            },
        )?;
        let id = conversation.id();
        // Who was taken out may be let in again.
        let was_out = |room: &&Room| !room.conversation.is_active() && !room.superseded;
        let out = self.rooms.get(&id).filter(was_out);
        let asked = own_conversation.as_ref() == id.as_bytes();
        let back = asked || out.is_some();
        if self.rooms.contains_key(&id) != back {
            return Err(WelcomeError::Again);
        }
        if let Some(before) = out.filter(|_| !asked) {
            let own = parties.certificate(&device).map(|it| Person::from(&it));
            let context = before.conversation.context()?;
            let kept_out = own.is_none_or(|own| stays_out(&context, own, inviter.as_ref()));
            // A past in which it was not out yet is not the way back.
            if kept_out || conversation.epoch() <= before.conversation.epoch() {
                return Err(WelcomeError::Company);
            }
        }
        if !back && self.rooms.len() >= ROOMS_MAX {
            return Err(WelcomeError::Rooms);
        }
        let Some(ConversationContext {
            kind,
            title,
            day: formed,
            ..
        }) = context
        else {
            return Err(WelcomeError::KeyPackage);
        };
        if kind == ConversationKind::Family {
            let log = parties.logs().next().ok_or(WelcomeError::Family)?;
            if back {
                let own = self.log.as_ref().ok_or(WelcomeError::Family)?;
                if !log.contains_head(own.head()) {
                    let older = own.contains_head(log.head());
                    return Err(if older {
                        WelcomeError::Fork
                    } else {
                        WelcomeError::Past(id)
                    });
                }
                self.check_way_back(&conversation, &parties)?;
            } else {
                match self.family_conversation() {
                    None => self.check_family(log)?,
                    // A guardian formed it again.
                    Some(old) => {
                        let own = self.log.as_ref().ok_or(WelcomeError::Family)?;
                        let guardian = inviter.is_some_and(|it| it.role == Role::Guardian);
                        if !guardian || !log.contains_head(own.head()) {
                            return Err(WelcomeError::Again);
                        }
                        self.check_removals(old, log, formed, cx)?;
                        superseded = Some(old);
                    }
                }
                self.record.family_conversation = id.to_bytes();
            }
            self.replace_log(log.clone(), cx);
        } else {
            // The family conversation comes first: it carries the log.
            let own = self.log.as_ref().ok_or(WelcomeError::Family)?;
            let seen = parties.log(&own.family()).ok_or(WelcomeError::Family)?;
            if !own.contains_head(seen.head()) && !seen.contains_head(own.head()) {
                return Err(WelcomeError::Past(id));
            }
            self.check_friends(&parties)?;
            if kind.crosses_families() {
                self.check_strangers(kind, &conversation, &parties, cx)?;
            }
        }
        if let Some(member) = self.member() {
            self.record.member = member.to_bytes();
        }
        self.record.pairing_head.clear();
        self.save_device(cx);
        let number = address.number;
        let room = Room::new(conversation, kind, title.clone(), address);
        if back {
            self.take_over(room, cx);
            self.forget_return_key_packages(id, number, cx);
            self.learn(id, cx);
            return Ok(id);
        }
        self.rooms.insert(id, room);
        if let Some(old) = superseded {
            self.supersede(old, id, cx);
        }
        self.learn(id, cx);
        self.begin_past(id, cx);
        // Others of our family may have to come in too.
        self.reconcile_due = true;
        cx.event(Event::Joined {
            conversation: id,
            title,
        });
        Ok(id)
    }

    /// The log of the family conversation, if it is the one that the pairing named.
    fn check_family(&self, log: &FamilyLog) -> Result<(), WelcomeError> {
        if self.log.is_some() {
            return Err(WelcomeError::Again);
        }
        let paired = self.record.family.as_ref() == log.family().as_bytes();
        let head = <[u8; 32]>::try_from(self.record.pairing_head.as_ref())
            .map_err(|_| WelcomeError::Family)?;
        if (paired && log.contains_head(&head)) || planted(Fault::WelcomeFamily) {
            Ok(())
        } else {
            Err(WelcomeError::Family)
        }
    }

    /// Forming the family's conversation again is no way around its gate: who is removed is so
    /// after the last change that this device knows, and no freeze is over before its day.
    fn check_removals(
        &self,
        old: ConversationId,
        log: &FamilyLog,
        formed: Day,
        cx: &Cx<'_>,
    ) -> Result<(), WelcomeError> {
        let known = self.log.as_ref().map_or(0, FamilyLog::len);
        let context = self.rooms.get(&old).map(|room| room.conversation.context());
        let Some(Ok(context)) = context else {
            return Ok(());
        };
        let own = cx.now.day();
        let hasty = own >= limits::BUILD_DAY
            && log
                .thawing(context.day)
                .any(|removal| removal.thaws() <= formed && own < removal.thaws());
        if hasty || log.is_backdated(known, context.day) {
            return Err(WelcomeError::Backdated);
        }
        Ok(())
    }

    /// The way back leads to those who were there, or have gone since by the family's log:
    /// whoever was asked could form another conversation under the same id.
    fn check_way_back(
        &self,
        conversation: &Conversation,
        parties: &Parties,
    ) -> Result<(), WelcomeError> {
        let Some(before) = self.rooms.get(&conversation.id()) else {
            return Ok(());
        };
        let there = conversation.devices();
        let missing = before
            .conversation
            .devices()
            .into_iter()
            .any(|device| parties.certificate(&device).is_some() && !there.contains(&device));
        if missing || conversation.epoch() <= before.conversation.epoch() {
            return Err(WelcomeError::Company);
        }
        Ok(())
    }

    /// Nobody comes into a conversation with people whom its family does not know, or knows
    /// no more: a welcome may speak of a past in which a pass was not revoked yet.
    fn check_strangers(
        &self,
        kind: ConversationKind,
        conversation: &Conversation,
        parties: &Parties,
        cx: &Cx<'_>,
    ) -> Result<(), WelcomeError> {
        let mut newest = Vec::new();
        for log in parties.logs() {
            match self.latest(&log.family()) {
                Some(latest) => newest.push(latest.merged(&log.entries())?),
                // Guardians meet first, or this one did before it lost everything; of a contact, the
                // pass in our own log speaks.
                None if kind == ConversationKind::Link
                    && !self.was_linked(conversation.id(), &log.family()) =>
                {
                    return Err(WelcomeError::Strangers);
                }
                None => newest.push(log.clone()),
            }
        }
        let newest = Parties::from_iter(newest);
        let today = self.today(cx.now);
        let devices = conversation.devices();
        let people = newest.certificates_of(&devices);
        for device in &devices {
            let holder = newest.certificate(device).ok_or(WelcomeError::Strangers)?;
            newest
                .may_be_in(kind, &holder, &people, today)
                .map_err(ConversationError::from)?;
        }
        Ok(())
    }

    /// What is known of other families and what a welcome says of them is one past.
    fn check_friends(&self, parties: &Parties) -> Result<(), WelcomeError> {
        for log in parties.logs() {
            if let Some(known) = self.friends.get(&log.family()) {
                known.merged(&log.entries())?;
            }
        }
        Ok(())
    }

    /// A new member of a conversation says that it is there, and gives key packages to its family.
    fn greet(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let family = room.kind == ConversationKind::Family;
        let others: Vec<DeviceId> = room
            .conversation
            .leaves()
            .into_iter()
            .map(|leaf| leaf.device)
            .filter(|device| *device != self.signer.device)
            .collect();
        for device in others {
            if family {
                self.offer_key_packages(id, device, cx);
            }
            self.confirm(id, device, cx);
        }
    }

    /// A peer used up a key package of ours: it gets another.
    fn replace_key_package(&mut self, used: &wire::KeyPackageRecord, cx: &mut Cx<'_>) {
        let (Ok(device), Some(family)) = (
            DeviceId::try_from(&used.for_device),
            self.family_conversation(),
        ) else {
            return;
        };
        if self
            .rooms
            .get(&family)
            .is_some_and(|room| room.conversation.leaf(device).is_some())
        {
            self.give_key_packages(family, device, 1, cx);
        }
    }

    pub(super) fn create_room(
        &mut self,
        title: &str,
        members: &[MemberId],
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        check_name(title)?;
        let log = self.log.clone().ok_or(CommandError::NoFamily)?;
        let own_member = self.member().ok_or(CommandError::NoFamily)?;
        if members
            .iter()
            .any(|member| !log.members().contains_key(member))
        {
            return Err(CommandError::NoMember);
        }
        let mut used = Vec::new();
        let mut key_packages = Vec::new();
        for certificate in log.certificates() {
            let wanted = members.contains(&certificate.member) || certificate.member == own_member;
            if !wanted || certificate.device == self.signer.device {
                continue;
            }
            let Some((key, key_package)) = self.peer_key_package(certificate.device) else {
                // It is asked for one when there is next something to do.
                self.session.packages_asked = false;
                return Err(CommandError::NoKeyPackage(
                    self.member_name(certificate.member),
                ));
            };
            used.push(key);
            key_packages.push(key_package);
        }
        if key_packages.len() >= limits::CONVERSATION_LEAVES_MAX {
            return Err(ConversationError::from(Refusal::Size).into());
        }
        let id = ConversationId::new(cx.random16());
        self.form(id, ConversationKind::Room, title, Parties::from(log), cx)?;
        for key in used {
            self.use_peer_key_package(key, cx);
        }
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            key_packages,
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
        Ok(())
    }
}

/// Whether who has left a conversation by itself is not to be let in by this device: it is by a
/// guardian of its family (PROTOCOL §6.9).
fn stays_out(before: &ConversationContext, own: Person, inviter: Option<&Certificate>) -> bool {
    let guarded = inviter.is_some_and(|by| by.role == Role::Guardian && by.family == own.family);
    before.left.contains(&own) && !guarded
}

/// What a joiner checks: the logs the ones named, every leaf certified and in its place, the
/// inviter among them.
fn admit(
    context: &ConversationContext,
    leaves: &[Leaf],
    sender: DeviceId,
    parties: &Parties,
) -> Result<(), Refusal> {
    if context.parties != parties.heads() {
        return Err(Refusal::Head);
    }
    if !context.kind.crosses_families() && parties.logs().any(|log| !log.is_whole()) {
        return Err(Refusal::Hidden);
    }
    if leaves.len() > limits::CONVERSATION_LEAVES_MAX {
        return Err(Refusal::Size);
    }
    let devices: Vec<DeviceId> = leaves.iter().map(|leaf| leaf.device).collect();
    let people = parties.certificates_of(&devices);
    for leaf in leaves.iter().filter(|_| !planted(Fault::WelcomeLeaf)) {
        let certificate = parties.certificate(&leaf.device).ok_or(Refusal::Stranger)?;
        if certificate.signature_key != leaf.signature_key {
            return Err(Refusal::Key);
        }
        parties.may_be_in(context.kind, &certificate, &people, context.day)?;
    }
    parties
        .certificate(&sender)
        .map(|_| ())
        .ok_or(Refusal::Committer)
}

#[cfg(test)]
mod tests {
    use super::stays_out;
    use crate::conversation::{ConversationContext, ConversationKind, Person};
    use crate::day::Day;
    use crate::identity::{Certificate, Role};
    use crate::ids::{DeviceId, FamilyId, MemberId};
    use crate::primitives::sign::SecretKey;

    fn person(n: u8, family: u8, role: Role) -> Certificate {
        Certificate {
            family: FamilyId::new([family; 16]),
            member: MemberId::new([n; 16]),
            role,
            device: DeviceId::new([n; 16]),
            signature_key: SecretKey::from_seed(&[n; 32]).public(),
        }
    }

    #[test]
    fn who_left_by_itself_is_let_in_by_its_own_guardians_alone() {
        let own = Person::from(&person(1, 1, Role::Child));
        let context = |left| ConversationContext {
            kind: ConversationKind::Room,
            title: "Room".into(),
            parties: vec![],
            day: Day(1),
            left,
        };
        let gone = context(vec![own]);
        let mum = person(2, 1, Role::Guardian);
        let sister = person(3, 1, Role::Child);
        let other = person(4, 2, Role::Guardian);
        assert!(!stays_out(&gone, own, Some(&mum)));
        for by in [Some(&sister), Some(&other), None] {
            assert!(stays_out(&gone, own, by));
            assert!(!stays_out(&context(vec![]), own, by), "it was put out");
        }
    }
}
