//! What a device keeps of a conversation beside its MLS state, and the context of a call.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use super::io::{Changes, Event, Output, RecordKey};
use super::records;
use crate::content::Body;
use crate::conversation::{Conversation, ConversationKind, OwnAddress};
use crate::day::Timestamp;
use crate::ids::{ConversationId, DeviceId, MemberId};
use crate::wire;

/// Own addresses that still open: in-flight envelopes may be sealed to the one before.
const OWN_ADDRESSES_MAX: usize = 3;
/// … and while somebody may know none of those: each costs every envelope a try.
const OWN_ADDRESSES_AWAITED_MAX: usize = 16;

/// Time, randomness and output of one call into the engine.
pub(super) struct Cx<'a> {
    pub(super) now: Timestamp,
    pub(super) rng: &'a mut dyn rand_core::CryptoRng,
    pub(super) out: Output,
}

impl Cx<'_> {
    pub(super) fn put(&mut self, key: RecordKey, value: Vec<u8>) {
        self.out.changes.records.insert(key, Some(value));
    }

    pub(super) fn put_message(&mut self, key: RecordKey, value: &impl Message) {
        self.put(key, value.encode_to_vec());
    }

    pub(super) fn erase(&mut self, key: RecordKey) {
        self.out.changes.records.insert(key, None);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.out.events.push(event);
    }

    pub(super) fn random16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// Why no change can be made in an epoch any more. Volatile: looked at again on every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    /// The slot is said to hold something that no member can have meant; the relay may lie.
    Void,
    /// The slot holds a member's commit that the gate refused: no other will ever hold it.
    Refused,
}

/// A conversation as a device keeps it.
pub(super) struct Room {
    pub(super) conversation: Conversation,
    pub(super) kind: ConversationKind,
    pub(super) title: String,
    /// Oldest first. One past the leaf's own is of a change that waits for its slot.
    pub(super) addresses: Vec<OwnAddress>,
    /// Those before this one are of the leaf that this device had before it came back.
    pub(super) leaf_from: u64,
    /// Volatile: the one in this device's leaf when another was last heard in this past. Should
    /// nobody else be in it, those who are in another know none that is newer.
    heard_at: u64,
    pub(super) next_sequence: u64,
    pub(super) next_order: u64,
    pub(super) peers: BTreeMap<DeviceId, wire::PeerState>,
    /// State differs from what was last persisted.
    pub(super) dirty: bool,
    /// Hashes of the last commits, oldest first.
    pub(super) chain: Vec<[u8; 16]>,
    /// This device can't follow it and has to come back as a new leaf.
    pub(super) lost: bool,
    /// Messages since this device's last commit.
    pub(super) sent_since_update: u64,
    /// Volatile: it may have gone on without us.
    pub(super) suspicion: Option<super::reentry::Suspicion>,
    /// Volatile: why nothing is sent, as was last said.
    pub(super) silence: Option<super::io::Silence>,
    /// Volatile: its leaf was seen to be replaced by a new one.
    pub(super) renewed: bool,
    /// Volatile: when, and with which key package, others were asked to bring this device back.
    pub(super) asked_back: Option<(Timestamp, Bytes)>,
    /// Volatile: the day, and how often it was suspected on it.
    pub(super) suspicions: (u32, u32),
    /// Volatile: messages of this epoch that did not open, with none that did since.
    pub(super) strange: BTreeMap<DeviceId, u32>,
    /// Members whose messages are not shown.
    pub(super) blocked: BTreeSet<MemberId>,
    /// Formed again under another id.
    pub(super) superseded: bool,
    /// Members of our family whose last device here was lost: they come in again with the next.
    pub(super) absent: BTreeSet<MemberId>,
    /// The families' logs differ from what was last persisted.
    pub(super) parties_dirty: bool,
    /// Volatile: on this connection its slot was seen empty, or as far as it can be read.
    pub(super) synced: bool,
    /// Volatile: the epoch whose slot can't be followed, and why.
    stuck: Option<(u64, Stuck)>,
    /// Volatile: how often in a row the relay failed to read this conversation's slot.
    pub(super) slot_failures: u8,
    /// Volatile: messages of this epoch that not all members were sent.
    pub(super) partial_generations: u64,
    /// Members of the own family who were in it together, 16 bytes each: what an index entry's
    /// audience counts, from 1.
    pub(super) audiences: Vec<Bytes>,
    /// Volatile: its families' newest logs, as last worked out.
    pub(super) newest: Option<super::reconcile::Newest>,
}

impl Room {
    pub(super) fn new(
        conversation: Conversation,
        kind: ConversationKind,
        title: String,
        address: OwnAddress,
    ) -> Self {
        Self {
            conversation,
            kind,
            title,
            heard_at: address.number,
            addresses: vec![address],
            leaf_from: 0,
            next_sequence: 1,
            next_order: 1,
            peers: BTreeMap::new(),
            chain: vec![],
            lost: false,
            sent_since_update: 0,
            suspicion: None,
            renewed: false,
            asked_back: None,
            suspicions: (0, 0),
            silence: None,
            strange: BTreeMap::new(),
            blocked: BTreeSet::new(),
            absent: BTreeSet::new(),
            superseded: false,
            dirty: true,
            parties_dirty: true,
            synced: false,
            slot_failures: 0,
            stuck: None,
            partial_generations: 0,
            audiences: vec![],
            newest: None,
        }
    }

    /// Whether this device is in it and can follow it.
    pub(super) fn can_talk(&self) -> bool {
        !self.lost && !self.superseded && self.conversation.is_active()
    }

    /// Whether its slots can be followed. A device that has to come back only looks at them: so
    /// it learns where the others are reached by now, and asks them there.
    pub(super) fn can_walk(&self) -> bool {
        !self.superseded && self.conversation.is_active()
    }

    /// Whether it may have gone on without us, so that nothing is encrypted in it for now.
    pub(super) fn is_silenced(&self) -> bool {
        self.suspicion.is_some_and(|suspicion| suspicion.silences)
    }

    pub(super) const fn id(&self) -> ConversationId {
        self.conversation.id()
    }

    /// Learning reports are the family's own: they stay in its conversation.
    pub(super) fn may_hold(&self, body: &Body) -> bool {
        self.kind == ConversationKind::Family || !matches!(body, Body::Progress(_))
    }

    /// The state kept about another device, made when it is first asked for.
    pub(super) fn peer(&mut self, device: DeviceId) -> &mut wire::PeerState {
        self.dirty = true;
        let first = self.next_sequence;
        self.peers.entry(device).or_insert_with(|| wire::PeerState {
            device: device.to_bytes(),
            first_sequence_sent: first,
            ..wire::PeerState::default()
        })
    }

    pub(super) fn stuck(&self) -> Option<Stuck> {
        self.stuck
            .filter(|(epoch, _)| *epoch == self.conversation.epoch())
            .map(|(_, why)| why)
    }

    pub(super) fn set_stuck(&mut self, why: Stuck) {
        self.stuck = Some((self.conversation.epoch(), why));
    }

    /// What lasts as long as a connection.
    pub(super) const fn disconnected(&mut self) {
        self.synced = false;
        self.stuck = None;
    }

    /// While no change of ours waits: forgets addresses that never came into the tree, and
    /// those that are too old to be written to. The one in the tree always stays. Returned are
    /// those forgotten, whose grants somebody may have.
    pub(super) fn prune_addresses(&mut self, own: DeviceId) -> Vec<OwnAddress> {
        let Some(current) = self.conversation.leaf(own).map(|leaf| leaf.address.number) else {
            return vec![];
        };
        let (known, mut forgotten): (Vec<_>, Vec<_>) = core::mem::take(&mut self.addresses)
            .into_iter()
            .partition(|address| address.number <= current);
        self.addresses = known;
        // Who came back and is not heard yet may have to ask once more, where it last did.
        let awaited = self.peers.values().any(|peer| peer.unheard);
        let kept = if awaited {
            OWN_ADDRESSES_AWAITED_MAX
        } else {
            OWN_ADDRESSES_MAX
        };
        let old = self.addresses.len().saturating_sub(kept);
        let heard_at = self.heard_at;
        let mut place = 0..self.addresses.len();
        let is_old = |address: &mut OwnAddress| {
            place.next().is_some_and(|place| place < old) && address.number != heard_at
        };
        forgotten.extend(self.addresses.extract_if(.., is_old));
        self.dirty |= !forgotten.is_empty();
        forgotten
    }

    /// Another was heard in the epoch that this device is in: it knows the address in our leaf.
    pub(super) fn heard_another(&mut self, own: DeviceId) {
        if let Some(leaf) = self.conversation.leaf(own) {
            self.heard_at = leaf.address.number;
        }
    }

    /// Writes what changed.
    pub(super) fn save(&mut self, changes: &mut Changes) {
        let id = self.id();
        for (name, value) in self.conversation.take_changes() {
            changes
                .records
                .insert(records::state(records::MLS, &[id.as_bytes(), &name]), value);
        }
        let record = wire::ConversationRecord {
            conversation: id.to_bytes(),
            kind: self.kind.to_wire(),
            title: self.title.clone(),
            addresses: self.addresses.iter().map(OwnAddress::to_wire).collect(),
            next_sequence: self.next_sequence,
            ended: !self.conversation.is_active(),
            peers: self.peers.values().cloned().collect(),
            next_order: self.next_order,
            chain: self.chain.iter().map(|hash| hash.to_vec().into()).collect(),
            lost: self.lost,
            sent_since_update: self.sent_since_update,
            blocked: self
                .blocked
                .iter()
                .map(|member| member.to_bytes())
                .collect(),
            superseded: self.superseded,
            leaf_from: self.leaf_from,
            absent: self.absent.iter().map(|member| member.to_bytes()).collect(),
            audiences: self.audiences.clone(),
        };
        changes.records.insert(
            records::state(records::CONVERSATION, &[id.as_bytes()]),
            Some(record.encode_to_vec()),
        );
        self.dirty = false;
        self.save_parties(changes);
    }

    /// The family conversation's log is the family's own, kept apart.
    fn save_parties(&mut self, changes: &mut Changes) {
        if self.parties_dirty && self.kind != ConversationKind::Family {
            for party in self.conversation.parties().to_wire() {
                let key = records::state(records::PARTY, &[self.id().as_bytes(), &party.family]);
                changes.records.insert(key, Some(party.encode_to_vec()));
            }
        }
        self.parties_dirty = false;
    }

    pub(super) fn restore(
        conversation: Conversation,
        record: &wire::ConversationRecord,
    ) -> Option<Self> {
        let mut peers = BTreeMap::new();
        for peer in &record.peers {
            peers.insert(DeviceId::try_from(&peer.device).ok()?, peer.clone());
        }
        let addresses: Vec<OwnAddress> = record
            .addresses
            .iter()
            .map(OwnAddress::from_wire)
            .collect::<Option<_>>()?;
        let of_leaf = addresses.iter().map(|address| address.number);
        let heard_at = of_leaf.filter(|it| *it >= record.leaf_from).min();
        Some(Self {
            conversation,
            kind: ConversationKind::from_wire(record.kind())?,
            title: record.title.clone(),
            heard_at: heard_at.unwrap_or_default(),
            addresses,
            leaf_from: record.leaf_from,
            next_sequence: record.next_sequence,
            next_order: record.next_order,
            peers,
            chain: record
                .chain
                .iter()
                .map(|hash| hash.as_ref().try_into().ok())
                .collect::<Option<_>>()?,
            lost: record.lost,
            sent_since_update: record.sent_since_update,
            suspicion: None,
            renewed: false,
            asked_back: None,
            suspicions: (0, 0),
            silence: None,
            strange: BTreeMap::new(),
            blocked: record
                .blocked
                .iter()
                .filter_map(|member| MemberId::try_from(member).ok())
                .collect(),
            superseded: record.superseded,
            absent: record
                .absent
                .iter()
                .filter_map(|member| MemberId::try_from(member).ok())
                .collect(),
            dirty: false,
            parties_dirty: false,
            synced: false,
            slot_failures: 0,
            stuck: None,
            partial_generations: 0,
            audiences: record.audiences.clone(),
            newest: None,
        })
    }
}
