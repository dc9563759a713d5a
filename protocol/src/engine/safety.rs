//! What a child can do by itself: leave, block, report, and ask for a friend (PROTOCOL §8.8).

use bytes::Bytes;

use super::device::Engine;
use super::errors::CommandError;
use super::state::Cx;
use crate::content::{Control, FriendRequest, Report};
use crate::identity::Role;
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
use crate::pairing::MeetingCode;

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
}
