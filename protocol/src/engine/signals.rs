//! Ephemeral signals: who is typing, for whoever is there.

use prost::Message;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::state::Cx;
use crate::ids::{ConversationId, DeviceId};
use crate::labels;
use crate::primitives::aead;
use crate::wire::{self, client_frame::Body as ClientBody};

/// A signal's padded plaintext, so that all look alike.
const SIGNAL_PLAINTEXT_BYTES: usize = 96;

impl Engine {
    pub(super) fn typing(
        &mut self,
        id: ConversationId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        if !room.conversation.is_active() {
            return Err(CommandError::Removed);
        }
        if !self.session.is_attached() || self.types_unseen(id, cx.now) {
            return Ok(());
        }
        let key = room.conversation.signal_key()?;
        let mut plain = wire::SignalContent {
            conversation: id.to_bytes(),
            sender_device: self.signer.device.to_bytes(),
            typing: true,
        }
        .encode_length_delimited_to_vec();
        plain.resize(SIGNAL_PLAINTEXT_BYTES.max(plain.len()), 0);
        let mut deliveries = Vec::new();
        for leaf in room
            .conversation
            .leaves()
            .into_iter()
            .filter(|leaf| leaf.device != self.signer.device)
        {
            let associated = [labels::AEAD_SIGNAL, leaf.address.mailbox.as_bytes()].concat();
            deliveries.push(wire::SignalDelivery {
                mailbox: leaf.address.mailbox.to_bytes(),
                grant: leaf.address.grant.as_bytes().to_vec().into(),
                body: aead::seal(&key, &associated, &plain, &mut cx.rng).into(),
            });
        }
        cx.out.frames.push(wire::ClientFrame {
            request_id: 0,
            critical: vec![],
            body: Some(ClientBody::Signal(wire::Signal { deliveries })),
        });
        Ok(())
    }

    /// A signal that opens under some conversation's key is shown; any other is nothing.
    pub(super) fn signal(&mut self, body: &[u8], cx: &mut Cx<'_>) {
        let associated = [labels::AEAD_SIGNAL, self.mailbox.as_bytes()].concat();
        for (id, room) in &self.rooms {
            let Ok(key) = room.conversation.signal_key() else {
                continue;
            };
            let Ok(plain) = aead::open(&key, &associated, body) else {
                continue;
            };
            let Ok(signal) = wire::SignalContent::decode_length_delimited(plain.as_slice()) else {
                return;
            };
            let member = DeviceId::try_from(&signal.sender_device)
                .ok()
                .filter(|device| room.conversation.leaf(*device).is_some())
                .filter(|device| !self.rests(*id, *device, cx.now))
                .and_then(|device| self.member_in(*id, device));
            if let Some(member) =
                member.filter(|_| signal.typing && signal.conversation.as_ref() == id.as_bytes())
            {
                cx.event(Event::Typing {
                    conversation: *id,
                    member,
                });
            }
            return;
        }
    }
}
