//! Power over mailboxes: a child's device entrusts its close key and revocation seed to its
//! guardians, who can so cut it off, or cut a contact off from it, while it is off itself
//! (PROTOCOL §9.6). After a guardian was removed, each device draws new ones.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::packages::NO_CONVERSATION;
use super::records;
use super::session::Request;
use super::state::Cx;
use crate::attach::{self, Challenge};
use crate::conversation::{ConversationKind, OwnAddress};
use crate::grant::revocation_secret;
use crate::identity::Role;
use crate::ids::{ConversationId, DeviceId, MailboxId, PassId};
use crate::labels;
use crate::primitives::hash;
use crate::secrets::Secret;
use crate::wire::{self, client_frame::Body as ClientBody};

/// Addresses that a device may have drawn since it last told its guardians.
const NUMBERS_AHEAD: u64 = 4;
/// Revocations and closings on their way at a time.
const REQUESTS_MAX: usize = 16;

impl Engine {
    // ---- the child's device

    /// Entrusts to each of its guardians' devices what they need, whenever that has changed.
    pub(super) fn hand_over(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        let Some((family, guardians)) = self.guardians_to_tell() else {
            return;
        };
        let handover = self.handover();
        let digest = hash::labelled(labels::HASH_HANDOVER, &[&handover.encode_to_vec()]);
        for device in guardians {
            let Some(room) = self.rooms.get_mut(&family) else {
                return;
            };
            if room.peer(device).handover_hash.as_ref() == digest {
                continue;
            }
            room.peer(device).handover_hash = digest.to_vec().into();
            let direct = wire::Direct {
                handover: Some(handover.clone()),
                ..wire::Direct::default()
            };
            self.send_direct(family, device, direct, cx);
        }
    }

    /// The family conversation and the guardians' devices in it, when this device is a child's.
    fn guardians_to_tell(&self) -> Option<(ConversationId, Vec<DeviceId>)> {
        let log = self.log.as_ref()?;
        if log.certificate(&self.device())?.role != Role::Child {
            return None;
        }
        let family = self.family_conversation()?;
        let room = self.rooms.get(&family).filter(|room| room.can_talk())?;
        let mut devices = room.conversation.devices();
        devices.retain(|device| {
            log.certificate(device)
                .is_some_and(|certificate| certificate.role == Role::Guardian)
        });
        Some((family, devices))
    }

    fn handover(&self) -> wire::MailboxHandover {
        let mut addresses = Vec::new();
        for (id, room) in &self.rooms {
            if room.kind != ConversationKind::Contact || !room.conversation.is_active() {
                continue;
            }
            // Not the one of a change that waits for its slot, and may never come into it.
            let current = room.conversation.leaf(self.device());
            let current = current.map(|leaf| leaf.address.number);
            let mut own = room.addresses.iter();
            if let Some(address) = own.find(|address| Some(address.number) == current) {
                addresses.push(wire::AddressNote {
                    conversation: id.to_bytes(),
                    number: address.number,
                    last_day: address.last_day.0,
                    passes: room
                        .conversation
                        .parties()
                        .logs()
                        .flat_map(|log| log.passes().keys())
                        .map(|pass| pass.to_bytes())
                        .collect(),
                    joined: if room.can_talk() {
                        let joined = self.joined_by(room).into_iter();
                        joined.map(PassId::to_bytes).collect()
                    } else {
                        vec![]
                    },
                });
            }
        }
        wire::MailboxHandover {
            mailbox: self.mailbox.to_bytes(),
            close_seed: self.record.close_seed.clone(),
            revocation_seed: self.record.revocation_seed.clone(),
            addresses,
        }
    }

    /// A guardian was removed who knew this device's secrets: draws new ones, replaces every
    /// address, and revokes those before.
    pub(super) fn renew_secrets(&mut self, cx: &mut Cx<'_>) {
        self.record.former_revocation_seed = core::mem::replace(
            &mut self.record.revocation_seed,
            [cx.random16(), cx.random16()].concat().into(),
        );
        self.record.revocation_seed_from = self.record.address_serial.saturating_add(1);
        self.record.next_close_seed = [cx.random16(), cx.random16()].concat().into();
        self.save_device(cx);
        self.renew_close_key(cx);
        self.replace_addresses(cx);
    }

    /// Has the relay take the new close key; asked again at each attach until it has.
    pub(super) fn renew_close_key(&mut self, cx: &mut Cx<'_>) {
        if self.record.next_close_seed.is_empty() || !self.session.is_attached() {
            return;
        }
        let new = Self::secret_key(&self.record.next_close_seed).public();
        let name = self.relay.server_name();
        let challenge = Challenge {
            server_name: &name,
            nonce: self.session.nonce(),
        };
        let key = Self::secret_key(&self.record.authentication_seed);
        let signature = attach::sign_renew_close_key(&key, &challenge, &self.mailbox, &new);
        let renew = wire::RenewCloseKey {
            close_key: new.as_bytes().to_vec().into(),
            signature: signature.to_vec().into(),
        };
        self.request(Request::RenewCloseKey, ClientBody::RenewCloseKey(renew), cx);
    }

    pub(super) fn close_key_renewed(&mut self, cx: &mut Cx<'_>) {
        let next = core::mem::take(&mut self.record.next_close_seed);
        if !next.is_empty() {
            self.record.close_seed = next;
            self.save_device(cx);
        }
    }

    /// Somebody left a conversation, or a family: new addresses everywhere they knew one.
    fn replace_addresses(&mut self, cx: &mut Cx<'_>) {
        let rooms: Vec<ConversationId> = self
            .rooms
            .iter()
            .filter(|(_, room)| room.can_talk())
            .map(|(id, _)| *id)
            .collect();
        for id in rooms {
            self.replace_address(id, cx);
        }
    }

    /// A new address in one conversation, and the ones before revoked.
    pub(super) fn replace_address(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let of = |op: &wire::OperationRecord| {
            op.self_update && op.revoke_old && op.conversation.as_ref() == id.as_bytes()
        };
        if self.operations.values().any(of) {
            return;
        }
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            self_update: true,
            revoke_old: true,
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
    }

    /// Our new address is in the tree: what was sealed for the ones before is on its way
    /// again under it, and nobody who has left may use them.
    pub(super) fn retire_addresses(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let own = self.device();
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let Some(current) = room.conversation.leaf(own).map(|leaf| leaf.address.number) else {
            return;
        };
        let old: Vec<OwnAddress> = room
            .addresses
            .iter()
            .filter(|address| address.number < current)
            .cloned()
            .collect();
        for address in old {
            self.revoke_address(id, &address, cx);
        }
    }

    /// Nothing comes to an address of this device any more.
    pub(super) fn revoke_address(
        &mut self,
        id: ConversationId,
        address: &OwnAddress,
        cx: &mut Cx<'_>,
    ) {
        // The first address of a conversation came in a key package, before the conversation
        // had a name.
        let scopes: BTreeSet<ConversationId> = [id, NO_CONVERSATION].into_iter().collect();
        let seed = self.seed_of(address.number);
        for scope in scopes {
            let secret = revocation_secret(&seed, scope.as_bytes(), address.number);
            self.revoke(self.mailbox, &secret, address.last_day.0, cx);
        }
    }

    fn seed_of(&self, number: u64) -> Secret<32> {
        let former = number < self.record.revocation_seed_from
            && !self.record.former_revocation_seed.is_empty();
        let seed = if former {
            &self.record.former_revocation_seed
        } else {
            &self.record.revocation_seed
        };
        Secret::from_slice(seed).unwrap_or_else(|| Secret::new([0; 32]))
    }

    /// Queues the revocation of one grant.
    pub(super) fn revoke(
        &mut self,
        mailbox: MailboxId,
        secret: &Secret<32>,
        last_day: u32,
        cx: &mut Cx<'_>,
    ) {
        let record = wire::RevocationRecord {
            mailbox: mailbox.to_bytes(),
            secret: secret.expose().to_vec().into(),
            last_day,
        };
        let id = cx.random16().to_vec();
        cx.put_message(records::state(records::REVOCATION, &[&id]), &record);
        self.revocations.insert(id, record);
    }

    // ---- the guardian's device

    /// A child's device entrusts its secrets to this one.
    pub(super) fn take_handover(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        handover: &wire::MailboxHandover,
        cx: &mut Cx<'_>,
    ) {
        let of_child = self
            .log
            .as_ref()
            .and_then(|log| log.certificate(&device))
            .is_some_and(|certificate| certificate.role == Role::Child);
        let sound = MailboxId::try_from(&handover.mailbox).is_ok()
            && handover.close_seed.len() == 32
            && handover.revocation_seed.len() == 32
            && handover.addresses.len() <= super::join::ROOMS_MAX;
        if !of_child || !sound || self.family_conversation() != Some(id) {
            return self.unreadable("what it entrusts to this device is not for it", cx);
        }
        cx.put_message(
            records::state(records::WARD, &[device.as_bytes()]),
            handover,
        );
        self.wards.insert(device, handover.clone());
    }

    /// Closes the mailbox of a child's device, or opens it again within 72 hours.
    ///
    /// # Errors
    /// [`CommandError::NotEntrusted`].
    pub(super) fn close_mailbox(
        &mut self,
        device: DeviceId,
        undo: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let ward = self.wards.get(&device).ok_or(CommandError::NotEntrusted)?;
        let closing = wire::ClosingRecord {
            mailbox: ward.mailbox.clone(),
            close_seed: ward.close_seed.clone(),
            undo,
        };
        cx.put_message(
            records::state(records::CLOSING, &[&closing.mailbox]),
            &closing,
        );
        self.closings.insert(closing.mailbox.clone(), closing);
        Ok(())
    }

    /// Revokes the grants that our child's devices gave to the conversations of a pass, the
    /// next few included.
    pub(super) fn cut_off(&mut self, pass: PassId, cx: &mut Cx<'_>) {
        let mut cuts = Vec::new();
        for ward in self.wards.values() {
            let Some(seed) = Secret::from_slice(&ward.revocation_seed) else {
                continue;
            };
            let Ok(mailbox) = MailboxId::try_from(&ward.mailbox) else {
                continue;
            };
            let rests_on = |note: &&wire::AddressNote| {
                note.passes.iter().any(|id| id.as_ref() == pass.as_bytes())
            };
            for note in ward.addresses.iter().filter(rests_on) {
                let Ok(id) = ConversationId::try_from(&note.conversation) else {
                    continue;
                };
                for number in note.number..=note.number.saturating_add(NUMBERS_AHEAD) {
                    // The first address of a conversation came in a key package. The numbers
                    // after it may be of key packages for others, which must stay good.
                    let package = (number == note.number).then_some(NO_CONVERSATION);
                    for scope in [Some(id), package].into_iter().flatten() {
                        let secret = revocation_secret(&seed, scope.as_bytes(), number);
                        cuts.push((mailbox, secret, note.last_day));
                    }
                }
            }
        }
        for (mailbox, secret, last_day) in cuts {
            self.revoke(mailbox, &secret, last_day, cx);
        }
    }

    // ---- the relay

    /// Tells the relay what it has not confirmed yet.
    pub(super) fn flush_mailboxes(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() {
            return;
        }
        let revocations: Vec<Vec<u8>> = self
            .revocations
            .keys()
            .filter(|id| !self.session.is_asking(&Request::Revoke((*id).clone())))
            .take(REQUESTS_MAX)
            .cloned()
            .collect();
        for id in revocations {
            if self.session.requests_of_mailboxes() >= REQUESTS_MAX {
                break;
            }
            let Some(record) = self.revocations.get(&id) else {
                continue;
            };
            let frame = wire::RevokeGrant {
                mailbox: record.mailbox.clone(),
                secret: record.secret.clone(),
                last_day: record.last_day,
            };
            self.request(Request::Revoke(id), ClientBody::RevokeGrant(frame), cx);
        }
        let closings: Vec<Bytes> = self
            .closings
            .keys()
            .filter(|mailbox| !self.session.is_asking(&Request::Close((*mailbox).clone())))
            .cloned()
            .collect();
        for mailbox in closings {
            self.ask_to_close(mailbox, cx);
        }
    }

    fn ask_to_close(&mut self, mailbox: Bytes, cx: &mut Cx<'_>) {
        let Some(record) = self.closings.get(&mailbox) else {
            return;
        };
        let Ok(id) = MailboxId::try_from(&mailbox) else {
            return;
        };
        let name = self.relay.server_name();
        let challenge = Challenge {
            server_name: &name,
            nonce: self.session.nonce(),
        };
        let key = Self::secret_key(&record.close_seed);
        let frame = wire::CloseMailbox {
            mailbox: mailbox.clone(),
            undo: record.undo,
            signature: attach::sign_close(&key, &challenge, &id, record.undo)
                .to_vec()
                .into(),
        };
        self.request(Request::Close(mailbox), ClientBody::CloseMailbox(frame), cx);
    }

    pub(super) fn grant_revoked(&mut self, id: &Vec<u8>, cx: &mut Cx<'_>) {
        self.revocations.remove(id);
        cx.erase(records::state(records::REVOCATION, &[id]));
    }

    pub(super) fn mailbox_closed(&mut self, mailbox: &Bytes, cx: &mut Cx<'_>) {
        let Some(closing) = self.closings.remove(mailbox) else {
            return;
        };
        cx.erase(records::state(records::CLOSING, &[mailbox]));
        let device = self
            .wards
            .iter()
            .find(|(_, ward)| ward.mailbox == *mailbox)
            .map(|(device, _)| *device);
        if let Some(device) = device {
            cx.event(Event::MailboxClosed {
                device,
                undone: closing.undo,
            });
        }
    }

    /// The relay does not do it: it is not said again.
    pub(super) fn mailbox_refused(&mut self, request: &Request, cx: &mut Cx<'_>) {
        match request {
            Request::Revoke(id) => self.grant_revoked(&id.clone(), cx),
            Request::Close(mailbox) => {
                self.closings.remove(mailbox);
                cx.erase(records::state(records::CLOSING, &[mailbox]));
            }
            _ => {}
        }
    }
}
