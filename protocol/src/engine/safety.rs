//! What a child can do by itself: leave, block, report, and ask for a friend; and what a
//! guardian does when a conversation can't go on (PROTOCOL §8.8).

use bytes::Bytes;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::state::Cx;
use crate::content::{Control, FriendRequest, Report};
use crate::conversation::{ConversationKind, Parties};
use crate::identity::Role;
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
use crate::pairing::MeetingCode;
use crate::wire;

impl Engine {
    /// Does not show a member's messages in a conversation any more, or again.
    pub(super) fn block(
        &mut self,
        id: ConversationId,
        member: MemberId,
        blocked: bool,
    ) -> Result<(), CommandError> {
        let guardian = self.people_in(id).iter().any(|person| {
            person.member == member && person.role == Role::Guardian && self.is_own(&person.family)
        });
        if guardian {
            return Err(CommandError::OwnFamily);
        }
        let room = self
            .rooms
            .get_mut(&id)
            .ok_or(CommandError::NoConversation)?;
        if blocked {
            room.blocked.insert(member);
        } else {
            room.blocked.remove(&member);
        }
        room.dirty = true;
        Ok(())
    }

    /// Shows a message with its signature to the guardians of this device's family.
    /// `signed` are the exact bytes of the `SignedContent`, from the history.
    ///
    /// # Errors
    /// [`CommandError::NoTarget`] when it is not on this device, or not what was said.
    pub(super) fn report(
        &mut self,
        content: ContentId,
        signed: &Bytes,
        words: &str,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let home = self.family_conversation().ok_or(CommandError::NoFamily)?;
        let entry = self.index.get(&content).ok_or(CommandError::NoTarget)?;
        let id =
            ConversationId::try_from(&entry.conversation).map_err(|_| CommandError::NoTarget)?;
        let device =
            DeviceId::try_from(&entry.sender_device).map_err(|_| CommandError::NoTarget)?;
        let member =
            MemberId::try_from(&entry.sender_member).map_err(|_| CommandError::NoTarget)?;
        let parties = self
            .rooms
            .get(&id)
            .ok_or(CommandError::NoConversation)?
            .conversation
            .parties();
        // Its device may have been removed since: what it said before stays said.
        let (key, said) = parties
            .logs()
            .filter_map(|log| log.signature_key_ever(&device))
            .find_map(|key| {
                let said = crate::content::ContentIn::parse(signed);
                Some((key, said.and_then(|said| said.verify(&key)).ok()?))
            })
            .ok_or(CommandError::NoTarget)?;
        if said.id != content {
            return Err(CommandError::NoTarget);
        }
        let report = Report {
            signed_content: signed.clone(),
            conversation: id,
            sender_key: *key.as_bytes(),
            sender_name: self.name_in(id, member),
            words: words.to_owned(),
        };
        self.write(
            home,
            crate::content::Body::Control(Control::Report(report)),
            None,
            0,
            None,
            cx,
        )
    }

    /// A child asks its guardians for a friend: nothing more than that.
    ///
    /// # Errors
    /// [`CommandError::Code`] for a code of another purpose.
    pub(super) fn request_friend(
        &mut self,
        code: &str,
        words: &str,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let home = self.family_conversation().ok_or(CommandError::NoFamily)?;
        let code: MeetingCode = code.parse()?;
        let request = FriendRequest {
            code: code.to_text(),
            words: words.to_owned(),
        };
        self.write(
            home,
            crate::content::Body::Control(Control::FriendRequest(request)),
            None,
            0,
            None,
            cx,
        )
    }

    /// A guardian forms a conversation again whose slot is filled with something that leads
    /// nowhere: the same people under a new id; family devices first, others as their key
    /// packages come.
    ///
    /// # Errors
    /// [`CommandError::NotStuck`] while it can still be changed.
    pub(super) fn reform(
        &mut self,
        id: ConversationId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.guardian_of(self.device())
            .ok_or(CommandError::NotGuardian)?;
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        if !matches!(room.kind, ConversationKind::Family | ConversationKind::Room) {
            // A pass has its conversation formed by the child's device.
            return Err(CommandError::NotStuck);
        }
        if room.stuck().is_none() || room.superseded {
            return Err(CommandError::NotStuck);
        }
        let (kind, title) = (room.kind, room.title.clone());
        let devices = room.conversation.devices();
        let log = self.log.clone().ok_or(CommandError::NoFamily)?;
        let new = ConversationId::new(cx.random16());
        let mut used = Vec::new();
        let mut key_packages = Vec::new();
        for device in devices
            .into_iter()
            .filter(|device| *device != self.device())
        {
            let wanted = log.certificate(&device).is_some();
            if let Some((key, package)) = self.peer_key_package(device).filter(|_| wanted) {
                used.push(key);
                key_packages.push(package);
            }
        }
        if key_packages.is_empty() {
            self.session.packages_asked = false;
            return Err(CommandError::NoKeyPackage(title));
        }
        self.form(new, kind, &title, Parties::from(log), cx)?;
        for key in used {
            self.use_peer_key_package(key, cx);
        }
        self.supersede(id, new, cx);
        let operation = wire::OperationRecord {
            conversation: new.to_bytes(),
            key_packages,
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
        Ok(())
    }

    /// Another conversation takes the place of one that can't go on.
    pub(super) fn supersede(&mut self, old: ConversationId, new: ConversationId, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&old) else {
            return;
        };
        room.superseded = true;
        room.dirty = true;
        let family = room.kind == ConversationKind::Family;
        self.discard_sends(old, |_| true, cx);
        self.forget_operations(old, cx);
        self.fail_all(old, "the conversation was formed again", |_| true, cx);
        self.asks.retain(|(of, _), _| *of != old);
        if family {
            self.record.family_conversation = new.to_bytes();
            self.save_device(cx);
        }
        cx.event(Event::Reformed { old, new });
    }
}
