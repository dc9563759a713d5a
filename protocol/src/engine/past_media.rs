//! Attachments that came with the history (PROTOCOL §17): the relay deletes a blob when
//! everyone it was for has it, so a device of the family that still has the file puts it up
//! again, under a key of its own. The shell encrypts and fetches, as with copies.

use bytes::Bytes;

use super::device::Engine;
use super::errors::CommandError;
use super::io::{Event, OutgoingBlob};
use super::records;
use super::sends::Recipient;
use super::state::Cx;
use crate::attachment::Pointer;
use crate::envelope::Kind;
use crate::ids::{ContentId, ConversationId, DeviceId};
use crate::wire;

/// An attachment that another device of the family lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MediaWish {
    /// Where it was said.
    pub conversation: ConversationId,
    /// Which device.
    pub device: DeviceId,
    /// Which content's.
    pub content: ContentId,
}

impl MediaWish {
    fn key(&self) -> super::io::RecordKey {
        records::state(
            records::MEDIA_WANTED,
            &[
                self.conversation.as_bytes(),
                self.device.as_bytes(),
                self.content.as_bytes(),
            ],
        )
    }

    /// Names the blob that is put up.
    fn mark(&self) -> Bytes {
        [*self.content.as_bytes(), *self.device.as_bytes()]
            .concat()
            .into()
    }
}

/// Wishes that are kept: a device with more has a person who asks again.
const WISHES_MAX: usize = 1_000;

impl Engine {
    /// Attachments that the shell has still to put up with
    /// [`super::io::Command::GiveMedia`].
    #[must_use]
    pub fn media_wanted(&self) -> Vec<MediaWish> {
        self.giving.media.iter().copied().collect()
    }

    // ---- asking

    pub(super) fn ask_media(
        &mut self,
        content: ContentId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let entry = self.index.get(&content).ok_or(CommandError::NoTarget)?;
        let id = ConversationId::try_from(&entry.conversation)
            .map_err(|_| CommandError::NoConversation)?;
        if !entry.past || !self.may_have_history(self.device()) {
            return Err(CommandError::NoTarget);
        }
        let mut sought = self.sought.remove(&(id, content)).unwrap_or_default();
        sought.giver.clear();
        self.seek(id, content, sought, cx);
        Ok(())
    }

    /// What was found is not what its sender sent, or is no file at all: another's answer counts. Who
    /// put up another's is not asked again; what is damaged or gone may be the relay's doing.
    ///
    /// # Errors
    /// [`CommandError::NoTarget`] when nothing was found.
    pub(super) fn refuse_media(
        &mut self,
        content: ContentId,
        forged: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let entry = self.index.get(&content).ok_or(CommandError::NoTarget)?;
        let id = ConversationId::try_from(&entry.conversation)
            .map_err(|_| CommandError::NoConversation)?;
        let sought = self.sought.get(&(id, content)).cloned();
        let mut sought = sought.ok_or(CommandError::NoTarget)?;
        let giver = std::mem::take(&mut sought.giver);
        let device = DeviceId::try_from(&giver).map_err(|_| CommandError::NoTarget)?;
        if forged {
            sought.refused.push(giver);
        }
        self.say_media(id, device, content, true, cx);
        self.seek(id, content, sought, cx);
        Ok(())
    }

    /// Asks all who may have it, and did not put up something else: the first answer counts.
    fn seek(
        &mut self,
        id: ConversationId,
        content: ContentId,
        sought: wire::MediaSoughtRecord,
        cx: &mut Cx<'_>,
    ) {
        cx.erase(records::media(id, content));
        cx.put_message(sought_key(id, content), &sought);
        let mut open = self.past_givers(id);
        open.retain(|device| !has_failed(&sought, *device));
        self.sought.insert((id, content), sought);
        for device in open {
            self.say_media(id, device, content, false, cx);
        }
    }

    fn say_media(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        content: ContentId,
        done: bool,
        cx: &mut Cx<'_>,
    ) {
        let direct = wire::Direct {
            media_request: Some(wire::MediaRequest {
                content: content.to_bytes(),
                done,
            }),
            ..wire::Direct::default()
        };
        self.send_direct(id, device, direct, cx);
    }

    pub(super) fn media_answered(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        answer: &wire::MediaAnswer,
        cx: &mut Cx<'_>,
    ) {
        let known = ContentId::try_from(&answer.content).ok().filter(|content| {
            let entry = self.index.get(content);
            entry.is_some_and(|entry| entry.past && entry.conversation.as_ref() == id.as_bytes())
        });
        let pointer = answer
            .blob
            .as_ref()
            .filter(|blob| Pointer::try_from(*blob).is_ok());
        let (Some(content), Some(pointer)) = (known, pointer) else {
            return;
        };
        if !self.past_givers(id).contains(&device) {
            return;
        }
        let Some(sought) = self.sought.get_mut(&(id, content)) else {
            return;
        };
        let is_first = sought.giver.is_empty() || sought.giver.as_ref() == device.as_bytes();
        if !is_first || has_failed(sought, device) {
            return;
        }
        sought.giver = device.to_bytes();
        cx.put_message(sought_key(id, content), sought);
        cx.put_message(records::media(id, content), pointer);
        cx.event(Event::MediaFound {
            conversation: id,
            content,
        });
    }

    /// The file is here: what was put up for it may go.
    pub(super) fn media_fetched(
        &mut self,
        id: ConversationId,
        content: ContentId,
        cx: &mut Cx<'_>,
    ) {
        for device in self.past_givers(id) {
            self.say_media(id, device, content, true, cx);
        }
        self.seek_no_more(id, content, cx);
    }

    pub(super) fn seek_no_more(&mut self, id: ConversationId, content: ContentId, cx: &mut Cx<'_>) {
        if self.sought.remove(&(id, content)).is_some() {
            cx.erase(sought_key(id, content));
        }
    }

    // ---- giving

    pub(super) fn media_asked(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        request: &wire::MediaRequest,
        cx: &mut Cx<'_>,
    ) {
        let Ok(content) = ContentId::try_from(&request.content) else {
            return;
        };
        let wish = MediaWish {
            conversation: id,
            device,
            content,
        };
        if request.done {
            if self.giving.media.remove(&wish) {
                cx.erase(wish.key());
            }
            return self.collect_media(&wish.mark(), cx);
        }
        let member = self.log.as_ref().and_then(|log| log.certificate(&device));
        let entry = self.index.get(&content).filter(|entry| {
            entry.conversation.as_ref() == id.as_bytes() && entry.veiled_until_day == 0
        });
        let saw = member.zip(entry).is_some_and(|(certificate, entry)| {
            self.may_be_given(device) && self.was_there(id, entry, certificate.member)
        });
        if !saw || self.giving.media.len() >= WISHES_MAX {
            return;
        }
        cx.put(wish.key(), vec![]);
        self.giving.media.insert(wish);
        cx.event(Event::MediaWanted {
            conversation: id,
            content,
            device,
        });
    }

    /// The shell has encrypted the file anew, or does not have it.
    pub(super) fn give_media(
        &mut self,
        wish: MediaWish,
        media: Option<(Pointer, OutgoingBlob)>,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        if !self.giving.media.contains(&wish) {
            return Err(CommandError::NoTarget);
        }
        let named = media.as_ref().is_none_or(|(pointer, blob)| {
            (&pointer.read_secret, pointer.size) == (&blob.read_secret, blob.size)
        });
        if !named {
            return Err(CommandError::Blob);
        }
        self.giving.media.remove(&wish);
        cx.erase(wish.key());
        if let Some((pointer, blob)) = media {
            self.send_media(&wish, &pointer, &blob, cx);
        }
        Ok(())
    }

    fn send_media(
        &mut self,
        wish: &MediaWish,
        pointer: &Pointer,
        blob: &OutgoingBlob,
        cx: &mut Cx<'_>,
    ) {
        let MediaWish {
            conversation: id,
            device,
            content,
        } = *wish;
        let leaf = self
            .rooms
            .get(&id)
            .and_then(|room| room.conversation.leaf(device));
        let Some(leaf) = leaf else { return };
        let direct = wire::Direct {
            media_answer: Some(wire::MediaAnswer {
                content: content.to_bytes(),
                blob: Some(pointer.to_wire()),
            }),
            ..wire::Direct::default()
        };
        let payload = self.signed_direct(id, device, direct);
        // The answer leaves when the file is up.
        let mut send = wire::PendingSendRecord {
            conversation: id.to_bytes(),
            media: wish.mark(),
            ..wire::PendingSendRecord::default()
        };
        let recipient = Recipient {
            device,
            address: leaf.address,
        };
        let sealed = self.seal_for(&[recipient], Kind::Direct, payload, &mut send, cx);
        if sealed.is_err() || send.overflow.is_some() {
            return;
        }
        send.overflow = Some(wire::BlobUploadRecord {
            handle: blob.handle.to_vec().into(),
            read_secret: blob.read_secret.expose().to_vec().into(),
            owner_secret: blob.owner_secret.expose().to_vec().into(),
            size: blob.size,
            done: false,
            inline: Bytes::new(),
        });
        self.queue_send(send, cx);
    }

    /// The file that was to be put up is gone: who asked asks again, or another.
    pub(super) fn media_lost(
        &mut self,
        number: u64,
        send: &wire::PendingSendRecord,
        cx: &mut Cx<'_>,
    ) {
        self.discard_send(number, send, cx);
    }
}

fn sought_key(id: ConversationId, content: ContentId) -> super::io::RecordKey {
    let rest: [&[u8]; 2] = [id.as_bytes(), content.as_bytes()];
    records::state(records::MEDIA_SOUGHT, &rest)
}

/// Whether a device put up something else before.
fn has_failed(sought: &wire::MediaSoughtRecord, device: DeviceId) -> bool {
    let mut refused = sought.refused.iter();
    refused.any(|it| it.as_ref() == device.as_bytes())
}
