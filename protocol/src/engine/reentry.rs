//! Coming back: a device that was restored from an old copy, or shown another past than its
//! peers, can't follow a conversation any more. It says so before it encrypts anything there,
//! and asks a peer to bring it back as a new leaf (PROTOCOL §6.12).
//!
//! Each side names the hashes of the last commits that led it to its epoch. Where the two
//! lists part, the lower hash wins: the other side is the one that comes back.

use prost::Message as _;

use super::device::Engine;
use super::io::Event;
use super::records;
use super::state::{Cx, Room};
use crate::conversation::{ConversationKind, check_key_package};
use crate::day::Timestamp;
use crate::faults::{Fault, planted};
use crate::ids::{ContentId, ConversationId, DeviceId, MailboxId};
use crate::primitives::hash;
use crate::{labels, wire};

/// Commits whose hashes are kept of each conversation.
const CHAIN_MAX: usize = 64;
/// Times a day that a device is brought back into a conversation.
const READDS_MAX: u32 = 3;
/// After this it is asked once more whether a slot is still said to be empty.
const SUSPECT_MS: u64 = 60_000;
/// Messages of one device in one epoch that don't open, with none that does, before a fork
/// is suspected.
const STRANGE_MAX: u32 = 3;
/// Whoever is asked to bring a device back has so long; meanwhile it writes nothing there.
pub(super) const ANSWER_MS: u64 = 600_000;
/// Addresses that the newer of two copies of a store will not have drawn.
const SERIALS_SKIPPED: u64 = 1_000_000;
/// Times a day that a conversation is suspected: a member who lies gets no further.
const SUSPICIONS_MAX: u32 = 3;

/// Why a conversation can't be followed, while it is not certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suspicion {
    /// When the slot is looked at again.
    look_at: Timestamp,
    /// It was looked at again.
    looked: bool,
    /// Others were asked to bring this device back.
    asked: bool,
    /// Nothing is encrypted there meanwhile.
    pub(super) silences: bool,
}

/// Who can bring a device back into a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Winner {
    Us,
    Them,
}

pub(super) fn commit_hash(sealed: &[u8]) -> [u8; 16] {
    let hash = hash::labelled(labels::HASH_CHAIN, &[sealed]);
    hash.first_chunk::<16>().copied().unwrap_or_default()
}

impl Room {
    /// Remembers the commit that led into this epoch.
    pub(super) fn chain_commit(&mut self, sealed: &[u8]) {
        self.chain.push(commit_hash(sealed));
        let old = self.chain.len().saturating_sub(CHAIN_MAX);
        self.chain.drain(..old);
        self.suspicion = None;
        self.strange.clear();
    }

    /// Where two pasts part, who is right.
    fn winner(&self, epoch: u64, chain: &[[u8; 16]]) -> Winner {
        let here = self.conversation.epoch();
        let ours = self.chain.iter().rev().zip((0..=here).rev());
        let theirs: Vec<(u64, &[u8; 16])> = chain
            .iter()
            .rev()
            .zip((0..=epoch).rev())
            .map(|(hash, epoch)| (epoch, hash))
            .collect();
        let mut winner = Winner::Us;
        // Newest first, so the first commit in which they differ is looked at last.
        for (our, at) in ours {
            if let Some((_, their)) = theirs.iter().find(|(epoch, _)| *epoch == at) {
                if our == *their {
                    break;
                }
                winner = if our <= *their {
                    Winner::Us
                } else {
                    Winner::Them
                };
            }
        }
        winner
    }
}

impl Engine {
    // ---- noticing

    /// A message speaks of an epoch that, so the relay says, nothing leads to.
    /// Any member could lie so: on a few days' occasions only it silences this device.
    pub(super) fn suspect(&mut self, id: ConversationId, cx: &Cx<'_>) {
        self.begin_suspicion(id, true, cx);
    }

    fn begin_suspicion(&mut self, id: ConversationId, silences: bool, cx: &Cx<'_>) {
        let day = self.today(cx.now).0;
        let Some(room) = self.rooms.get_mut(&id).filter(|room| room.can_talk()) else {
            return;
        };
        if room.suspicions.0 != day {
            room.suspicions = (day, 0);
        }
        if room.suspicion.is_some() || room.suspicions.1 >= SUSPICIONS_MAX {
            return;
        }
        room.suspicions.1 += 1;
        room.suspicion = Some(Suspicion {
            look_at: cx.now.plus_ms(SUSPECT_MS),
            looked: false,
            asked: false,
            silences,
        });
    }

    /// A certified device's message of this epoch does not open.
    pub(super) fn strange(&mut self, id: ConversationId, device: DeviceId, cx: &Cx<'_>) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let count = room.strange.entry(device).or_default();
        *count = count.saturating_add(1);
        if *count >= STRANGE_MAX {
            self.begin_suspicion(id, false, cx);
        }
    }

    /// Looks again at the slots of conversations that may have gone on without us, and asks
    /// to come back where they have.
    pub(super) fn follow_suspicions(&mut self, cx: &mut Cx<'_>) {
        let mut look = Vec::new();
        let mut gone = Vec::new();
        for (id, room) in &mut self.rooms {
            let Some(suspicion) = room.suspicion.as_mut() else {
                continue;
            };
            if suspicion.look_at > cx.now {
                continue;
            }
            if suspicion.asked {
                // Nobody has brought us back: this is as good as it gets for now.
                room.suspicion = None;
            } else if suspicion.looked {
                suspicion.asked = true;
                suspicion.look_at = cx.now.plus_ms(ANSWER_MS);
                gone.push(*id);
            } else {
                suspicion.looked = true;
                suspicion.look_at = cx.now.plus_ms(SUSPECT_MS);
                look.push(*id);
            }
        }
        for id in look {
            if let Some(room) = self.rooms.get_mut(&id) {
                room.synced = false;
            }
        }
        for id in gone {
            cx.event(Event::Forked { conversation: id });
            self.ask_back(id, cx);
        }
    }

    pub(super) fn suspicion_deadline(&self) -> Option<Timestamp> {
        self.rooms
            .values()
            .filter_map(|room| room.suspicion)
            .map(|suspicion| suspicion.look_at)
            .min()
    }

    /// The relay has seen a newer store than this one: nothing is encrypted from this state
    /// any more. Draws a new mailbox, and comes back into each conversation as a new leaf.
    pub(super) fn start_over(&mut self, cx: &mut Cx<'_>) {
        let mut seed = || -> bytes::Bytes { [cx.random16(), cx.random16()].concat().into() };
        self.record.authentication_seed = seed();
        self.record.grant_seed = seed();
        self.record.close_seed = seed();
        self.record.revocation_seed = seed();
        self.record.former_revocation_seed.clear();
        self.record.next_close_seed.clear();
        self.mailbox = MailboxId::new(cx.random16());
        self.record.mailbox = self.mailbox.to_bytes();
        self.record.mailbox_open = false;
        self.record.mailbox_proven = false;
        self.skip_serials(cx);
        self.renew_own_admission(cx);
        self.save_device(cx);
        let ids: Vec<ConversationId> = self.rooms.keys().copied().collect();
        for id in ids {
            if self.is_forming_contact(id) {
                // Nobody is in it who could bring this device back.
                self.unform(id, cx);
                continue;
            }
            self.discard_sends(id, |_| true, cx);
            self.forget_operations(id, cx);
            if let Some(room) = self.rooms.get_mut(&id) {
                room.lost = true;
                room.dirty = true;
                room.addresses.clear();
            }
        }
        // The other copy may have used them, and its mailbox is its own.
        let own: Vec<Vec<u8>> = self.key_packages.keys().cloned().collect();
        for id in own {
            self.drop_key_package(&id, cx);
        }
        self.spend_peer_key_packages(cx);
    }

    /// A newer copy of this store may have counted on: what this one wishes has to be newer.
    pub(super) fn skip_serials(&mut self, cx: &mut Cx<'_>) {
        self.record.address_serial = self.record.address_serial.saturating_add(SERIALS_SKIPPED);
        self.save_device(cx);
    }

    /// A welcome should be on its way; if it is not, it is asked for before the hour is over.
    pub(super) fn ask_back_soon(&mut self, cx: &Cx<'_>) {
        let soon = cx.now.plus_ms(SUSPECT_MS);
        if let Some(at) = &mut self.session.upkeep_at {
            *at = soon.min(*at);
        }
    }

    /// Whether a way back is still to be found.
    pub(super) fn has_lost_rooms(&self) -> bool {
        self.rooms
            .values()
            .any(|room| room.lost && room.conversation.is_active())
    }

    /// Asks to come back into every conversation that was lost; the family's first.
    pub(super) fn ask_all_back(&mut self, cx: &mut Cx<'_>) {
        let mut lost: Vec<(bool, ConversationId)> = self
            .rooms
            .values()
            .filter(|room| room.lost && room.conversation.is_active())
            .map(|room| (room.kind != ConversationKind::Family, room.id()))
            .collect();
        lost.sort_unstable();
        for (_, id) in lost {
            self.ask_back(id, cx);
        }
    }

    /// Asks every device that may do it to bring this one back: whoever comes first does.
    fn ask_back(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let (epoch, chain) = (room.conversation.epoch(), room.chain.clone());
        let own = self.device();
        let mut devices = room.conversation.devices();
        devices.retain(|device| *device != own);
        let asked_before = room.asked_back.clone();
        // Whoever has brought it back with that one does not do so again.
        let asked_before = asked_before.filter(|(at, _)| at.plus_ms(ANSWER_MS) > cx.now);
        let key_package = match asked_before {
            Some((_, key_package)) => key_package,
            None => {
                let Ok(key_package) = self.return_key_package(id, cx) else {
                    return;
                };
                let key_package = bytes::Bytes::from(key_package);
                if let Some(room) = self.rooms.get_mut(&id) {
                    room.asked_back = Some((cx.now, key_package.clone()));
                }
                key_package
            }
        };
        let asked = wire::ReentryRoom {
            conversation: id.to_bytes(),
            key_package,
            epoch,
            chain: chain.iter().map(|hash| hash.to_vec().into()).collect(),
        };
        for device in devices {
            let direct = wire::Direct {
                reentry: Some(wire::Reentry {
                    rooms: vec![asked.clone()],
                }),
                ..wire::Direct::default()
            };
            self.send_direct(id, device, direct, cx);
        }
    }

    // ---- bringing back

    /// A device asks to come back into a conversation.
    pub(super) fn reentry_asked(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        reentry: &wire::Reentry,
        cx: &mut Cx<'_>,
    ) {
        for asked in reentry.rooms.iter().take(1) {
            if asked.conversation.as_ref() == id.as_bytes() {
                self.bring_back(id, device, asked, cx);
            }
        }
    }

    fn bring_back(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        asked: &wire::ReentryRoom,
        cx: &mut Cx<'_>,
    ) {
        let chain: Option<Vec<[u8; 16]>> = asked
            .chain
            .iter()
            .take(CHAIN_MAX)
            .map(|hash| hash.as_ref().try_into().ok())
            .collect();
        let certificate = self.certificate_in(id, device);
        let package = check_key_package(&self.crypto, &asked.key_package).ok();
        let (Some(chain), Some(certificate), Some(package)) = (chain, certificate, package) else {
            return self.unreadable("it asks to come back without saying how", cx);
        };
        if package.device != device || package.signature_key != certificate.signature_key {
            return self.unreadable("it asks to come back as another device", cx);
        }
        let day = self.today(cx.now);
        let Some(room) = self.rooms.get_mut(&id).filter(|room| room.can_talk()) else {
            return;
        };
        if room.winner(asked.epoch, &chain) == Winner::Them {
            // It is we who were shown the wrong past.
            if room.suspicion.is_none() {
                self.suspect(id, cx);
                let began = self
                    .rooms
                    .get(&id)
                    .is_some_and(|room| room.suspicion.is_some());
                if began {
                    cx.event(Event::Forked { conversation: id });
                    self.ask_back(id, cx);
                }
            }
            return;
        }
        let leaf = room.conversation.leaf(device);
        if leaf.is_some_and(|leaf| package.address.number <= leaf.address.number) {
            // Another was faster, or this wish is older than its leaf.
            return;
        }
        let peer = room.peer(device);
        if peer.readd_day != day.0 {
            (peer.readd_day, peer.readds) = (day.0, 0);
        }
        if peer.readds >= READDS_MAX && !planted(Fault::Readmission) {
            self.counters.refused += 1;
            cx.event(Event::Refused {
                conversation: id,
                sentence: "a device asks too often to come back; it may ask again tomorrow".into(),
            });
            return;
        }
        let waits = |op: &wire::OperationRecord| {
            op.conversation.as_ref() == id.as_bytes()
                && op
                    .remove
                    .iter()
                    .any(|removed| removed.as_ref() == device.as_bytes())
        };
        let queued = self.operations.iter().find(|(_, op)| waits(op));
        if let Some(number) = queued.map(|(number, _)| *number) {
            // Its newest word counts: what it asked with before may be gone.
            self.forget_operation(number, cx);
        }
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            key_packages: vec![asked.key_package.clone()],
            remove: vec![device.to_bytes()],
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
    }

    /// A leaf was replaced by a new one of the same device: what it has not confirmed goes to
    /// it again.
    pub(super) fn came_back(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        let day = self.today(cx.now);
        // It counts anew, and says again what nobody has confirmed.
        self.drop_held(|(of, sender, _)| *of == id && *sender == device, cx);
        self.asks.remove(&(id, device));
        if let Some(room) = self.rooms.get_mut(&id) {
            let epoch = room.conversation.epoch();
            let before = room.peers.remove(&device).unwrap_or_default();
            let peer = room.peer(device);
            peer.leaf_epoch = epoch;
            peer.unheard = true;
            peer.readd_day = day.0;
            peer.readds = if before.readd_day == day.0 {
                before.readds.saturating_add(1)
            } else {
                1
            };
        }
        let keys: Vec<_> = self.outbox.from(id, 0).map(|(key, _)| *key).collect();
        for key in keys {
            self.change_peers(key, cx, |peer| {
                let again = peer.device.as_ref() == device.as_bytes()
                    && super::outgoing::is_open(peer.state());
                if again {
                    peer.set_state(wire::OutgoingState::Waiting);
                }
                again
            });
        }
        cx.event(Event::CameBack {
            conversation: id,
            device,
        });
    }

    /// Forgets contents that gaps hold back.
    pub(super) fn drop_held(
        &mut self,
        which: impl Fn(&(ConversationId, DeviceId, u64)) -> bool,
        cx: &mut Cx<'_>,
    ) {
        let held: Vec<_> = self.held.keys().filter(|key| which(key)).copied().collect();
        for (id, sender, sequence) in held {
            self.take_held(id, sender, sequence, cx);
        }
    }

    // ---- being back

    /// This device has a new leaf in a conversation: takes over what belongs to the old one,
    /// and counts its contents anew.
    pub(super) fn take_over(&mut self, mut room: Room, cx: &mut Cx<'_>) {
        let id = room.id();
        let mut forgotten = Vec::new();
        if let Some(old) = self.rooms.remove(&id) {
            room.next_order = old.next_order;
            room.audiences = old.audiences;
            room.blocked = old.blocked;
            room.absent = old.absent;
            // Who has not followed yet, and has to come back too, asks at the ones before.
            room.leaf_from = room.addresses.first().map_or(0, |own| own.number);
            room.addresses.splice(0..0, old.addresses);
            for address in room.prune_addresses(self.signer.device) {
                forgotten.push(address);
            }
            // Names of MLS records that the new state does not have.
            for name in old.conversation.record_names() {
                cx.erase(records::state(records::MLS, &[id.as_bytes(), &name]));
            }
        }
        self.drop_held(|(of, _, _)| *of == id, cx);
        self.asks.retain(|(of, _), _| *of != id);
        self.rooms.insert(id, room);
        for address in forgotten {
            self.revoke_address(id, &address, cx);
        }
        self.recount(id, cx);
        cx.event(Event::BackIn { conversation: id });
    }

    /// Contents that somebody has not confirmed are said again by the new leaf, from 1 on.
    fn recount(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        self.own_contents.retain(|(of, _), _| *of != id);
        // What was said before has no number any more, or receipts for the new ones would be
        // taken for it after a restart.
        let mine: Vec<ContentId> = self
            .index
            .iter()
            .filter(|(_, entry)| entry.mine && entry.conversation.as_ref() == id.as_bytes())
            .map(|(content, _)| *content)
            .collect();
        for content in mine {
            self.number_again(content, 0, cx);
        }
        let keys: Vec<_> = self.outbox.from(id, 0).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(mut outgoing) = self.outbox.remove(&key) else {
                continue;
            };
            cx.erase(records::outgoing(key.0, key.1));
            let content = wire::SignedContent::decode(outgoing.signed_content.clone())
                .ok()
                .and_then(|signed| crate::content::Content::decode(&signed.content).ok());
            let (Some(mut content), Some(room)) = (content, self.rooms.get_mut(&id)) else {
                continue;
            };
            content.sequence = room.next_sequence;
            room.next_sequence += 1;
            outgoing.sequence = content.sequence;
            outgoing.signed_content = content.sign(&self.signer.key).into();
            for peer in &mut outgoing.peers {
                if super::outgoing::is_open(peer.state()) {
                    peer.set_state(wire::OutgoingState::Waiting);
                }
            }
            // Nobody hears what becomes of what devices say to each other.
            if !outgoing.control {
                self.own_contents.insert((id, content.sequence), content.id);
                self.number_again(content.id, content.sequence, cx);
            }
            self.put_back((id, content.sequence), outgoing, cx);
        }
    }

    /// An own content has another number now; 0: none.
    fn number_again(&mut self, content: ContentId, sequence: u64, cx: &mut Cx<'_>) {
        let entry = self.index.get(&content).cloned();
        if let Some(entry) = entry.filter(|entry| entry.mine && entry.sequence != sequence) {
            let entry = wire::IndexRecord { sequence, ..entry };
            self.save_entry(content, entry, cx);
        }
    }
}
