//! Key packages: given to each family device for its use alone, kept until a room is formed.

use bytes::Bytes;

use super::device::Engine;
use super::errors::CommandError;
use super::records;
use super::state::{Cx, Room};
use crate::conversation::{ConversationKind, OwnAddress, check_key_package, make_key_package};
use crate::ids::{ConversationId, DeviceId};
use crate::wire;

/// Key packages kept of one device.
const PEER_KEY_PACKAGES_MAX: usize = 8;
/// Key packages given to a family device when it comes in.
const KEY_PACKAGES_GIVEN: u64 = 2;
/// Own key packages that one device may hold unused. More are asked for only by who has
/// lost the ones before, or means harm.
const OWN_KEY_PACKAGES_MAX: usize = 8;
/// A device that asks for key packages gets one at most so often.
const GIVE_AGAIN_MS: u64 = 60_000;
/// Scope of the addresses in key packages: their conversation is not known yet.
pub(super) const NO_CONVERSATION: ConversationId = ConversationId::new([0; 16]);
/// What stays of a used key package, so that it is known when it comes again: the signature
/// at its end.
const USED_BYTES: usize = 64;

fn is_usable(record: &wire::PeerKeyPackageRecord) -> bool {
    record.key_package.len() > USED_BYTES
}

impl Engine {
    /// Gives a family device key packages, unless it got them before.
    pub(super) fn offer_key_packages(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        cx: &mut Cx<'_>,
    ) {
        let given = self.rooms.get_mut(&id).map_or(KEY_PACKAGES_GIVEN, |room| {
            room.peer(device).key_packages_sent
        });
        if given < KEY_PACKAGES_GIVEN {
            self.give_key_packages(id, device, KEY_PACKAGES_GIVEN - given, cx);
        }
    }

    pub(super) fn give_key_packages(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        count: u64,
        cx: &mut Cx<'_>,
    ) {
        let mut public = Vec::new();
        for _ in 0..count.min(KEY_PACKAGES_GIVEN) {
            self.make_room_for_key_package(device, cx);
            if let Ok(bytes) = self.new_key_package(Some(device), cx) {
                public.push(bytes.into());
            }
        }
        if let Some(room) = self.rooms.get_mut(&id) {
            room.peer(device).key_packages_sent += public.len() as u64;
        }
        self.send_direct(
            id,
            device,
            wire::Direct {
                key_packages: public,
                ..wire::Direct::default()
            },
            cx,
        );
    }

    /// Somebody has none of ours: it gets one, but not again and again.
    pub(super) fn key_packages_wanted(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        cx: &mut Cx<'_>,
    ) {
        let given = self.session.packages_given.get(&(id, device));
        if given.is_none_or(|at| at.plus_ms(GIVE_AGAIN_MS) <= cx.now) {
            self.session.packages_given.insert((id, device), cx.now);
            self.give_key_packages(id, device, 1, cx);
        }
    }

    fn make_room_for_key_package(&mut self, device: DeviceId, cx: &mut Cx<'_>) {
        let of = |record: &wire::KeyPackageRecord| record.for_device.as_ref() == device.as_bytes();
        let ids: Vec<Vec<u8>> = self
            .key_packages
            .iter()
            .filter(|(_, record)| of(record))
            .map(|(id, _)| id.clone())
            .collect();
        let old = (ids.len() + 1).saturating_sub(OWN_KEY_PACKAGES_MAX);
        for id in ids.into_iter().take(old) {
            self.forget_key_package(&id, cx);
        }
    }

    /// Nobody can use it any more: neither to bring this device in, nor to write to it.
    pub(super) fn forget_key_package(&mut self, id: &Vec<u8>, cx: &mut Cx<'_>) {
        let forgotten = self.drop_key_package(id, cx);
        let address = forgotten
            .and_then(|record| record.address)
            .and_then(|address| OwnAddress::from_wire(&address));
        // With one of them this device has come in: that address is in the tree.
        let is_used = |address: &OwnAddress| {
            let rooms = self.rooms.values().flat_map(|room| &room.addresses);
            rooms.into_iter().any(|own| own.number == address.number)
        };
        if let Some(address) = address.filter(|address| !is_used(address)) {
            self.revoke_address(NO_CONVERSATION, &address, cx);
        }
    }

    /// Forgets one whose grant is not this device's to revoke.
    pub(super) fn drop_key_package(
        &mut self,
        id: &Vec<u8>,
        cx: &mut Cx<'_>,
    ) -> Option<wire::KeyPackageRecord> {
        cx.erase(records::state(records::KEY_PACKAGE, &[id]));
        self.key_packages.remove(id)
    }

    /// Key packages that were made for pairing serve nobody once this device is in a family.
    pub(super) fn forget_pairing_key_packages(&mut self, cx: &mut Cx<'_>) {
        let pairing = self.key_packages.iter().filter(|(_, record)| {
            record.for_device.is_empty() && record.for_conversation.is_empty()
        });
        let ids: Vec<Vec<u8>> = pairing.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.forget_key_package(&id, cx);
        }
    }

    pub(super) fn new_key_package(
        &mut self,
        for_device: Option<DeviceId>,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<u8>, CommandError> {
        let record = wire::KeyPackageRecord {
            for_device: for_device.map(DeviceId::to_bytes).unwrap_or_default(),
            ..wire::KeyPackageRecord::default()
        };
        self.make_key_package(record, cx)
    }

    /// One with which this device comes back into a conversation. Those before it still open
    /// a welcome that is late.
    pub(super) fn return_key_package(
        &mut self,
        id: ConversationId,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<u8>, CommandError> {
        let before = self.return_key_packages(id);
        let old = (before.len() + 1).saturating_sub(OWN_KEY_PACKAGES_MAX);
        for (_, id) in before.into_iter().take(old) {
            self.forget_key_package(&id, cx);
        }
        let record = wire::KeyPackageRecord {
            for_conversation: id.to_bytes(),
            ..wire::KeyPackageRecord::default()
        };
        self.make_key_package(record, cx)
    }

    /// With which this device would come back into a conversation, by their addresses' numbers.
    fn return_key_packages(&self, id: ConversationId) -> Vec<(u64, Vec<u8>)> {
        let of = |record: &wire::KeyPackageRecord| {
            let number = record.address.as_ref().map_or(0, |address| address.number);
            (record.for_conversation.as_ref() == id.as_bytes()).then_some(number)
        };
        let all = self.key_packages.iter();
        let mut found: Vec<_> = all
            .filter_map(|(id, record)| Some((of(record)?, id.clone())))
            .collect();
        found.sort_unstable();
        found
    }

    /// It is back with the address of this number. Who was asked with a newer one may still
    /// bring it back with that: then there has to be a key for the welcome.
    pub(super) fn forget_return_key_packages(
        &mut self,
        id: ConversationId,
        through: u64,
        cx: &mut Cx<'_>,
    ) {
        for (number, key_package) in self.return_key_packages(id) {
            if number <= through {
                self.forget_key_package(&key_package, cx);
            }
        }
    }

    fn make_key_package(
        &mut self,
        record: wire::KeyPackageRecord,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<u8>, CommandError> {
        let (own, mut address) = self.draw_address(NO_CONVERSATION, cx);
        // Nobody brings this device back but by its own wish.
        address.back_into = ConversationId::try_from(&record.for_conversation).ok();
        let made = make_key_package(&self.crypto, &self.signer, own, &address)?;
        let record = wire::KeyPackageRecord {
            address: Some(made.address.to_wire()),
            storage: made
                .storage
                .into_iter()
                .map(|(key, value)| wire::StorageEntry {
                    key: key.into(),
                    value: value.into(),
                })
                .collect(),
            ..record
        };
        let id = cx.random16().to_vec();
        cx.put_message(records::state(records::KEY_PACKAGE, &[&id]), &record);
        self.key_packages.insert(id, record);
        Ok(made.public)
    }

    pub(super) fn take_key_packages(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        packages: &[Bytes],
        cx: &mut Cx<'_>,
    ) {
        let leaf = self
            .rooms
            .get(&id)
            .and_then(|room| room.conversation.leaf(device));
        let Some(leaf) = leaf else { return };
        for package in packages.iter().take(PEER_KEY_PACKAGES_MAX) {
            let of_device = || {
                self.peer_key_packages
                    .values()
                    .filter(|kept| kept.device.as_ref() == device.as_bytes())
            };
            if of_device().filter(|kept| is_usable(kept)).count() >= PEER_KEY_PACKAGES_MAX {
                return;
            }
            // Whole, or only its end when it was used: it came again.
            if of_device()
                .any(|kept| !kept.key_package.is_empty() && package.ends_with(&kept.key_package))
            {
                continue;
            }
            match check_key_package(&self.crypto, package) {
                Ok(checked)
                    if checked.device == device && checked.signature_key == leaf.signature_key =>
                {
                    let record = wire::PeerKeyPackageRecord {
                        device: device.to_bytes(),
                        key_package: package.clone(),
                    };
                    // With the first of them it can be brought where it belongs.
                    let first = self.peer_key_package(device).is_none();
                    self.save_peer_key_package(cx.random16().to_vec(), record, cx);
                    self.reconcile_due |= first || self.is_left_out(device);
                }
                _ => self.unreadable("a key package is damaged or of another device", cx),
            }
        }
    }

    fn save_peer_key_package(
        &mut self,
        id: Vec<u8>,
        record: wire::PeerKeyPackageRecord,
        cx: &mut Cx<'_>,
    ) {
        cx.put_message(records::state(records::PEER_KEY_PACKAGE, &[&id]), &record);
        self.peer_key_packages.insert(id, record);
    }

    /// A key package of a device that was not used yet.
    pub(super) fn peer_key_package(&self, device: DeviceId) -> Option<(Vec<u8>, Bytes)> {
        let usable = |record: &wire::PeerKeyPackageRecord| {
            record.device.as_ref() == device.as_bytes() && is_usable(record)
        };
        let found = self
            .peer_key_packages
            .iter()
            .find(|(_, record)| usable(record));
        found.map(|(id, record)| (id.clone(), record.key_package.clone()))
    }

    /// Those of others open nothing any more.
    pub(super) fn spend_peer_key_packages(&mut self, cx: &mut Cx<'_>) {
        let peers: Vec<Vec<u8>> = self.peer_key_packages.keys().cloned().collect();
        for id in peers {
            self.use_peer_key_package(id, cx);
        }
    }

    /// A key package serves once.
    pub(super) fn use_peer_key_package(&mut self, id: Vec<u8>, cx: &mut Cx<'_>) {
        if let Some(mut record) = self.peer_key_packages.remove(&id) {
            let end = record.key_package.len().saturating_sub(USED_BYTES);
            record.key_package =
                Bytes::copy_from_slice(record.key_package.get(end..).unwrap_or_default());
            self.save_peer_key_package(id, record, cx);
        }
    }

    /// Asks the family's devices for key packages where none is here.
    pub(super) fn ask_key_packages(&mut self, cx: &mut Cx<'_>) {
        if self.session.packages_asked || !self.session.is_caught_up() {
            return;
        }
        self.session.packages_asked = true;
        let Some(family) = self.family_conversation() else {
            return;
        };
        let Some(room) = self
            .rooms
            .get(&family)
            .filter(|room| room.conversation.is_active())
        else {
            return;
        };
        let there = room.conversation.devices();
        let lacks = |device: &DeviceId| {
            *device != self.signer.device && self.peer_key_package(*device).is_none()
        };
        let mut wanted: Vec<(ConversationId, DeviceId)> = there
            .iter()
            .filter(|device| lacks(device))
            .map(|device| (family, *device))
            .collect();
        // Who was left out when it was formed again is where it was before.
        if self.guardian_of(self.device()).is_some() {
            let over = |room: &&Room| room.superseded && room.kind == ConversationKind::Family;
            for old in self.rooms.values().filter(over) {
                let left = old.conversation.devices().into_iter();
                let left = left.filter(|device| self.is_left_out(*device) && lacks(device));
                wanted.extend(left.map(|device| (old.id(), device)));
            }
        }
        for (id, device) in wanted {
            let direct = wire::Direct {
                wants_key_packages: true,
                ..wire::Direct::default()
            };
            self.send_direct(id, device, direct, cx);
        }
    }

    /// Whether a device of the family is not in the family's conversation.
    fn is_left_out(&self, device: DeviceId) -> bool {
        let family = self.family_conversation();
        let room = family.and_then(|family| self.rooms.get(&family));
        let certified = self
            .log
            .as_ref()
            .is_some_and(|log| log.certificate(&device).is_some());
        certified && room.is_some_and(|room| !room.conversation.devices().contains(&device))
    }
}
