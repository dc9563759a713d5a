//! Supervision *pictures*: a child's device sends its family copies of the photos and voice
//! messages of a contact conversation (PROTOCOL §8.8). The shell fetches and uploads the bytes
//! anew, so that nobody holds the other conversation's keys; what is still to be copied is
//! kept until it is.

use super::device::Engine;
use super::errors::CommandError;
use super::io::{Event, OutgoingBlob};
use super::records;
use super::state::Cx;
use crate::attachment::Pointer;
use crate::content::{Body, Content, Control, Copied};
use crate::conversation::ConversationKind;
use crate::day::Day;
use crate::identity::{Role, Supervision};
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
use crate::wire;
use prost::Message as _;

/// The blob that goes up with a content: its own, or that of the picture that it copies.
pub(super) fn pointer_of(body: &Body) -> Option<Pointer> {
    match body {
        Body::Control(Control::Copy(copy)) => {
            let copied = Content::decode(&copy.content).ok()?;
            copied.body.attachment().cloned()
        }
        body => body.attachment().cloned(),
    }
}

impl Engine {
    /// Remembers that a picture is to be copied, where the pass says so.
    pub(super) fn want_copy(&mut self, id: ConversationId, content: &Content, cx: &mut Cx<'_>) {
        if content.body.attachment().is_none() || !self.is_watched(id, cx) {
            return;
        }
        if self.copies.contains_key(&content.id) {
            return;
        }
        let record = wire::CopyRecord {
            conversation: id.to_bytes(),
            done: false,
        };
        self.save_copy(content.id, record, cx);
        cx.event(Event::CopyWanted {
            conversation: id,
            content: content.id,
        });
    }

    /// Whether this is a child's device and its family is to get copies of what is here.
    fn is_watched(&self, id: ConversationId, cx: &Cx<'_>) -> bool {
        let Some(room) = self
            .rooms
            .get(&id)
            .filter(|room| room.kind == ConversationKind::Contact)
        else {
            return false;
        };
        let Some(own) = self.certificate_in(id, self.device()) else {
            return false;
        };
        let newest = self.newest_parties(room);
        let people = newest.certificates_of(&room.conversation.devices());
        let passes = newest.passes_among(&people, self.today(cx.now));
        own.role == Role::Child
            && passes.iter().any(|pass| {
                pass.side_of(&own.family)
                    .is_some_and(|side| side.supervision == Supervision::Pictures)
            })
    }

    fn save_copy(&mut self, original: ContentId, record: wire::CopyRecord, cx: &mut Cx<'_>) {
        cx.put_message(
            records::state(records::COPY, &[original.as_bytes()]),
            &record,
        );
        self.copies.insert(original, record);
    }

    /// A copy came in with the history: it is not to be shown again.
    pub(super) fn copied_before(
        &mut self,
        conversation: ConversationId,
        original: ContentId,
        cx: &mut Cx<'_>,
    ) {
        let record = wire::CopyRecord {
            conversation: conversation.to_bytes(),
            done: true,
        };
        self.save_copy(original, record, cx);
    }

    /// Pictures that the shell has still to copy with [`super::io::Command::SendCopy`].
    #[must_use]
    pub fn copies_wanted(&self) -> Vec<(ConversationId, ContentId)> {
        let wanted = self.copies.iter().filter(|(_, record)| !record.done);
        wanted
            .filter_map(|(content, record)| {
                Some((
                    ConversationId::try_from(&record.conversation).ok()?,
                    *content,
                ))
            })
            .collect()
    }

    /// Sends the family a copy whose bytes the shell has fetched and encrypted anew; without
    /// a body it can't be had any more, and is not tried again.
    ///
    /// # Errors
    /// [`CommandError::NoTarget`] for what is not to be copied.
    pub(super) fn send_copy(
        &mut self,
        original: ContentId,
        copied: Option<(Body, OutgoingBlob)>,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let record = self
            .copies
            .get(&original)
            .filter(|record| !record.done)
            .cloned()
            .ok_or(CommandError::NoTarget)?;
        let id = ConversationId::try_from(&record.conversation)
            .map_err(|_| CommandError::NoConversation)?;
        let entry = self.index.get(&original).cloned().unwrap_or_default();
        if let Some((body, blob)) = copied {
            let home = self.family_conversation().ok_or(CommandError::NoFamily)?;
            let sender =
                DeviceId::try_from(&entry.sender_device).map_err(|_| CommandError::NoTarget)?;
            let member =
                MemberId::try_from(&entry.sender_member).map_err(|_| CommandError::NoTarget)?;
            let content = Content {
                id: original,
                conversation: id,
                sender,
                sequence: entry.sequence.max(1),
                sent_at: cx.now,
                keep_until: Day(0),
                disappear_seconds: 0,
                reply_to: None,
                body,
            };
            let copy = Copied {
                conversation: id,
                original,
                sender_member: member,
                sender_name: self.name_in(id, member),
                content: content.encode().into(),
            };
            let body = Body::Control(Control::Copy(copy));
            self.write(home, body, None, 0, Some(blob), cx)?;
        }
        self.save_copy(
            original,
            wire::CopyRecord {
                done: true,
                ..record
            },
            cx,
        );
        Ok(())
    }

    /// A copy arrives at home: the first of a picture goes into a guardian's history, where
    /// it is shown and fetched like any other. True for that first one.
    pub(super) fn copy_arrived(
        &mut self,
        home: ConversationId,
        copy: &Copied,
        cx: &mut Cx<'_>,
    ) -> bool {
        let known = self
            .copies
            .get(&copy.original)
            .is_some_and(|record| record.done);
        let record = wire::CopyRecord {
            conversation: copy.conversation.to_bytes(),
            done: true,
        };
        if known {
            return false;
        }
        self.save_copy(copy.original, record, cx);
        let unseen = !self.index.contains_key(&copy.original);
        if self.guardian_of(self.device()).is_some()
            && unseen
            && let Ok(content) = Content::decode(&copy.content)
            && content.id == copy.original
        {
            let said = wire::SignedContent {
                content: copy.content.clone(),
                signature: bytes::Bytes::new(),
            };
            let said = said.encode_to_vec();
            self.remember(home, &content, copy.sender_member, &said, false, cx);
        }
        true
    }
}
