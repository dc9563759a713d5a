//! Coming into conversations: by a welcome, or by forming a room.

use prost::Message;

use super::device::Engine;
use super::errors::{CommandError, check_name};
use super::io::Event;
use super::records;
use super::state::{Cx, Room};
use crate::conversation::{
    Conversation, ConversationContext, ConversationError, ConversationKind, Leaf, OwnAddress,
    Refusal, StorageEntries,
};
use crate::faults::{Fault, planted};
use crate::identity::FamilyLog;
use crate::ids::{ConversationId, DeviceId, MemberId};
use crate::limits;
use crate::wire;

/// Conversations of one device: nobody means more, and each costs every envelope a try.
const ROOMS_MAX: usize = 256;

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
                self.forget_pairing_key_packages(cx);
                self.greet(id, cx);
            }
            Err(error) => {
                self.counters.refused += 1;
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
        let storage: StorageEntries = own
            .storage
            .iter()
            .map(|entry| (entry.key.to_vec(), entry.value.to_vec()))
            .collect();
        let package = wire::WelcomePackage::decode(payload)?;
        let log = self.admissible_log(&package.log)?;
        let device = self.signer.device;
        let key = self.signer.key.public();
        let mut context = None;
        let conversation = Conversation::join(
            &self.crypto,
            storage,
            &package.welcome,
            |found, leaves, sender| {
                context = Some(found.clone());
                admit(found, leaves, sender, &log)?;
                let mine = log.certificate(&device).ok_or(Refusal::Stranger)?;
                if mine.signature_key == key {
                    Ok(())
                } else {
                    Err(Refusal::Key)
                }
            },
        )?;
        let id = conversation.id();
        if self.rooms.contains_key(&id) {
            return Err(WelcomeError::Again);
        }
        if self.rooms.len() >= ROOMS_MAX {
            return Err(WelcomeError::Rooms);
        }
        let Some(ConversationContext { kind, title, .. }) = context else {
            return Err(WelcomeError::KeyPackage);
        };
        if kind == ConversationKind::Family {
            if self.record.family_conversation.is_empty() {
                self.record.family_conversation = id.to_bytes();
            } else {
                return Err(WelcomeError::Again);
            }
        } else if self.record.family_conversation.is_empty() {
            // The family conversation comes first: it carries the log.
            return Err(WelcomeError::Family);
        }
        let news = self
            .log
            .as_ref()
            .is_some_and(|known| known.head() != log.head());
        self.replace_log(log, cx);
        if let Some(room) = self
            .family_conversation()
            .filter(|_| news)
            .and_then(|id| self.rooms.get_mut(&id))
        {
            // Its commits brought those statements, and have not been walked here.
            room.synced = false;
        }
        if let Some(member) = self.member() {
            self.record.member = member.to_bytes();
        }
        self.record.pairing_head.clear();
        self.save_device(cx);
        self.rooms
            .insert(id, Room::new(conversation, kind, title.clone(), address));
        cx.event(Event::Joined {
            conversation: id,
            title,
        });
        Ok(id)
    }

    /// The log of a welcome, if it is the one we know, or continues it; on the first
    /// welcome, if it is the one the pairing named.
    fn admissible_log(
        &self,
        statements: &[wire::SignedStatement],
    ) -> Result<FamilyLog, WelcomeError> {
        let log = FamilyLog::from_statements(statements)?;
        match &self.log {
            Some(known) if known.family() != log.family() => Err(WelcomeError::Family),
            Some(known) if log.contains_head(known.head()) => Ok(log),
            // An older log of the same past: ours says more.
            Some(known) if known.contains_head(log.head()) => Ok(known.clone()),
            Some(_) => Err(WelcomeError::Fork),
            None => {
                let paired = self.record.family.as_ref() == log.family().as_bytes();
                let head = <[u8; 32]>::try_from(self.record.pairing_head.as_ref())
                    .map_err(|_| WelcomeError::Family)?;
                if (paired && log.contains_head(&head)) || planted(Fault::WelcomeFamily) {
                    Ok(log)
                } else {
                    Err(WelcomeError::Family)
                }
            }
        }
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
        let context = ConversationContext {
            family: log.family(),
            head: *log.head(),
            kind: ConversationKind::Room,
            title: title.to_owned(),
        };
        let id = ConversationId::new(cx.random16());
        self.form(id, &context, cx)?;
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

/// What a joiner checks: every leaf certified, the inviter among them, the log the one named.
fn admit(
    context: &ConversationContext,
    leaves: &[Leaf],
    sender: DeviceId,
    log: &FamilyLog,
) -> Result<(), Refusal> {
    if context.family != log.family() {
        return Err(Refusal::Context);
    }
    let head_known = match context.kind {
        ConversationKind::Family => context.head == *log.head(),
        ConversationKind::Room => log.contains_head(&context.head),
    };
    if !head_known {
        return Err(Refusal::Head);
    }
    if leaves.len() > limits::CONVERSATION_LEAVES_MAX {
        return Err(Refusal::Size);
    }
    for leaf in leaves.iter().filter(|_| !planted(Fault::WelcomeLeaf)) {
        let certificate = log.certificate(&leaf.device).ok_or(Refusal::Stranger)?;
        if certificate.signature_key != leaf.signature_key {
            return Err(Refusal::Key);
        }
    }
    log.certificate(&sender)
        .map(|_| ())
        .ok_or(Refusal::Committer)
}
