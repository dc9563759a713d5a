//! How a device is made, and taken up again from its records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openmls_libcrux_crypto::CryptoProvider;
use prost::Message;

use super::blobs::{Garbage, Transfers};
use super::contents::Contents;
use super::device::{Counters, Engine};
use super::errors::LoadError;
use super::inbox::Inbox;
use super::io::Output;
use super::noticing::Noticed;
use super::operating::Operating;
use super::past_giving::Giving;
use super::past_media::MediaWish;
use super::policing::Policing;
use super::receive::{Ask, Held};
use super::records;
use super::session::Session;
use super::state::{Cx, Room};
use crate::conversation::{Conversation, DeviceSigner, Parties, StorageEntries};
use crate::day::Timestamp;
use crate::identity::{FamilyLog, Lease};
use crate::ids::{ContentId, ConversationId, DeviceId, FamilyId, MailboxId, MemberId, PassId};
use crate::primitives::sign::SecretKey;
use crate::server_name::RelayAddress;
use crate::ticket::TEXT_PREFIX;
use crate::wire;

/// What a new device needs to know.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where its relay is.
    pub relay: RelayAddress,
    /// What it calls itself, for the guardians.
    pub device_name: String,
    /// For a relay that asks for one; else empty.
    pub admission_code: String,
}

impl Engine {
    /// A new device: makes its keys and its mailbox's id.
    ///
    /// # Errors
    /// [`LoadError::Randomness`].
    pub fn create(
        setup: Setup,
        now: Timestamp,
        rng: &mut dyn rand_core::CryptoRng,
    ) -> Result<(Self, Output), LoadError> {
        let mut cx = Cx {
            now,
            rng,
            out: Output::default(),
        };
        let mut seed = || -> bytes::Bytes {
            let mut seed = [0_u8; 32];
            cx.rng.fill_bytes(&mut seed);
            seed.to_vec().into()
        };
        let record = wire::DeviceRecord {
            version: records::VERSION,
            signature_seed: seed(),
            authentication_seed: seed(),
            grant_seed: seed(),
            close_seed: seed(),
            revocation_seed: seed(),
            device: DeviceId::new(cx.random16()).to_bytes(),
            mailbox: MailboxId::new(cx.random16()).to_bytes(),
            operator_key: setup
                .relay
                .operator
                .map(|key| key.as_bytes().to_vec().into())
                .unwrap_or_default(),
            operator_vouched: setup.relay.operator.is_some(),
            relay: setup.relay.to_string(),
            device_name: setup.device_name,
            invitation: setup.admission_code.clone(),
            admission_code: setup.admission_code,
            ..wire::DeviceRecord::default()
        };
        let mut engine = Self::from_record(record)?;
        engine.save_device(&mut cx);
        let out = engine.finish(cx);
        Ok((engine, out))
    }

    fn from_record(mut record: wire::DeviceRecord) -> Result<Self, LoadError> {
        if record.version > records::VERSION {
            return Err(LoadError::Newer(record.version));
        }
        if record.invitation.starts_with(TEXT_PREFIX) {
            // A ticket opens one mailbox; a code may open others' too.
            record.invitation.clear();
        }
        let damaged = LoadError::Damaged("its device record");
        let seed: [u8; 32] = record
            .signature_seed
            .as_ref()
            .try_into()
            .map_err(|_| damaged.clone())?;
        Ok(Self {
            crypto: Arc::new(CryptoProvider::new().map_err(|_| LoadError::Randomness)?),
            relay: record.relay.parse().map_err(|_| damaged.clone())?,
            signer: DeviceSigner {
                device: DeviceId::try_from(&record.device).map_err(|_| damaged.clone())?,
                key: SecretKey::from_seed(&seed),
            },
            mailbox: MailboxId::try_from(&record.mailbox).map_err(|_| damaged)?,
            operator: Operating::default(),
            record,
            generation: 0,
            log: None,
            friends: BTreeMap::new(),
            reconcile_due: true,
            rooms: BTreeMap::new(),
            key_packages: BTreeMap::new(),
            peer_key_packages: BTreeMap::new(),
            outbox: Contents::default(),
            sends: BTreeMap::new(),
            next_send: 1,
            operations: BTreeMap::new(),
            next_operation: 1,
            held: BTreeMap::new(),
            held_bytes: 0,
            index: BTreeMap::new(),
            garbage: BTreeMap::new(),
            own_contents: BTreeMap::new(),
            fetched_contents: BTreeMap::new(),
            disappearing: BTreeSet::new(),
            session: Session::default(),
            inbox: Inbox::default(),
            proposals: BTreeMap::new(),
            returns: BTreeMap::new(),
            vaults: BTreeMap::new(),
            vault_asked: None,
            returning_at: None,
            returning_refused: BTreeSet::new(),
            asked_at: None,
            links_at: None,
            link_packages: BTreeMap::new(),
            rolled_back: BTreeSet::new(),
            copies: BTreeMap::new(),
            groups: BTreeMap::new(),
            passes: BTreeMap::new(),
            told: BTreeMap::new(),
            meeting: None,
            clock: None,
            lease: Lease::default(),
            noticed: Noticed::default(),
            heads: BTreeMap::new(),
            clock_record: None,
            news_due: true,
            wards: BTreeMap::new(),
            revocations: BTreeMap::new(),
            closings: BTreeMap::new(),
            policing: Policing::default(),
            pasts: BTreeMap::new(),
            erasures: BTreeMap::new(),
            giving: Giving::default(),
            sought: BTreeMap::new(),
            transfers: Transfers::default(),
            pairing: None,
            short_tries: None,
            confirm_at: None,
            asks: BTreeMap::new(),
            counters: Counters::default(),
        })
    }

    /// Takes up a device from all its state records.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is ever written to a store that can't be read.
    pub fn load(stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, LoadError> {
        let mut by_name: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        let device = by_name.remove(records::DEVICE).ok_or(LoadError::Empty)?;
        let mut engine = Self::from_record(read(&device)?)?;
        let mut entries: Vec<wire::LogEntry> = Vec::new();
        let mut parties: BTreeMap<Vec<u8>, Vec<wire::PartyNews>> = BTreeMap::new();
        let mut rooms: Vec<wire::ConversationRecord> = Vec::new();
        let mut mls: BTreeMap<Vec<u8>, StorageEntries> = BTreeMap::new();
        // Names are ordered, so the log's statements come in their order.
        for (name, value) in by_name {
            if let Some(rest) = name.strip_prefix(records::MLS) {
                let (id, key) = rest
                    .split_at_checked(ConversationId::LEN)
                    .ok_or(LoadError::Damaged("a record's name"))?;
                mls.entry(id.to_vec())
                    .or_default()
                    .insert(key.to_vec(), value);
            } else if name.starts_with(records::LOG) {
                entries.push(read(&value)?);
            } else if let Some(rest) = name.strip_prefix(records::PARTY) {
                let (id, _) = rest
                    .split_at_checked(ConversationId::LEN)
                    .ok_or(LoadError::Damaged("a record's name"))?;
                parties.entry(id.to_vec()).or_default().push(read(&value)?);
            } else if name.starts_with(records::CONVERSATION) {
                rooms.push(read(&value)?);
            } else {
                engine.load_record(&name, &value)?;
            }
        }
        if !entries.is_empty() {
            let log = FamilyLog::from_entries(&entries)
                .map_err(|_| LoadError::Damaged("the family log"))?;
            engine.log = Some(log);
        }
        for record in rooms {
            let damaged = LoadError::Damaged("a conversation");
            let id = ConversationId::try_from(&record.conversation).map_err(|_| damaged.clone())?;
            let entries = mls.remove(id.as_bytes().as_slice()).unwrap_or_default();
            let parties = match (record.kind(), engine.log.clone()) {
                (wire::ConversationKind::Family, Some(log)) => Parties::from(log),
                _ => parties
                    .remove(id.as_bytes().as_slice())
                    .and_then(|news| Parties::from_wire(&news).ok())
                    .ok_or(damaged.clone())?,
            };
            let conversation = Conversation::load(&engine.crypto, id, entries, parties)
                .map_err(|_| damaged.clone())?;
            engine
                .rooms
                .insert(id, Room::restore(conversation, &record).ok_or(damaged)?);
        }
        engine.load_clock();
        engine.reconcile();
        Ok(engine)
    }

    /// What follows from the records and is not in them.
    fn reconcile(&mut self) {
        for (id, room) in &mut self.rooms {
            let offered = |send: &wire::PendingSendRecord| {
                send.commit.is_some() && send.conversation.as_ref() == id.as_bytes()
            };
            if !room.conversation.has_pending_commit() {
                // What was pruned here has been before: nothing is left of it at the relay.
                room.prune_addresses(self.signer.device);
            } else if !self.sends.values().any(offered) {
                // Can't be: a commit and its offer are written together. It was never offered then.
                room.dirty |= room.conversation.drop_own().is_ok();
            }
            let gaps = room.peers.iter().filter(|(_, peer)| peer.gap_since_ms > 0);
            self.asks
                .extend(gaps.map(|(device, _)| ((*id, *device), Ask::new())));
        }
    }

    fn load_record(&mut self, name: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let damaged = LoadError::Damaged("a record's name");
        let split = |prefix: &[u8]| name.strip_prefix(prefix).map(<[u8]>::to_vec);
        if name == records::GENERATION {
            self.generation = u64::from_be_bytes(
                value
                    .try_into()
                    .map_err(|_| LoadError::Damaged("its generation"))?,
            );
        } else if let Some(id) = split(records::KEY_PACKAGE) {
            self.key_packages.insert(id, read(value)?);
        } else if let Some(id) = split(records::PEER_KEY_PACKAGE) {
            self.peer_key_packages.insert(id, read(value)?);
        } else if name.starts_with(records::FRIEND) {
            let news: wire::PartyNews = read(value)?;
            let log = FamilyLog::from_entries(&news.entries)
                .map_err(|_| LoadError::Damaged("another family's log"))?;
            self.friends.insert(log.family(), log);
        } else if name == records::OPERATOR {
            self.operator
                .load(&read(value)?, &self.record.operator_key)?;
        } else if let Some(index) = split(records::OPERATOR_NOTICE) {
            let index = be64(&index).ok_or(damaged)?;
            self.operator.load_notice(index, read(value)?);
        } else if name == records::CLOCK {
            self.clock_record = Some(read(value)?);
        } else if let Some(family) = split(records::HEAD) {
            let family = FamilyId::try_from(family.as_slice()).map_err(|_| damaged)?;
            self.heads.insert(family, value.to_vec().into());
        } else if let Some(group) = split(records::GROUP) {
            let group = group.as_slice().try_into().map_err(|_| damaged)?;
            self.groups.insert(group, read(value)?);
        } else if let Some(content) = split(records::COPY) {
            let content = ContentId::try_from(content.as_slice()).map_err(|_| damaged)?;
            self.copies.insert(content, read(value)?);
        } else if let Some(device) = split(records::RETURN) {
            let device = DeviceId::try_from(device.as_slice()).map_err(|_| damaged)?;
            self.returns.insert(device, read(value)?);
        } else if let Some(member) = split(records::VAULT) {
            let member = MemberId::try_from(member.as_slice()).map_err(|_| damaged.clone())?;
            self.vaults.insert(member, be64(value).ok_or(damaged)?);
        } else if let Some(salt) = split(records::PROPOSAL) {
            let salt = salt.as_slice().try_into().map_err(|_| damaged)?;
            self.proposals.insert(salt, read(value)?);
        } else if let Some(pass) = split(records::PASS) {
            let pass = PassId::try_from(pass.as_slice()).map_err(|_| damaged)?;
            self.passes.insert(pass, read(value)?);
        } else if let Some(rest) = split(records::TOLD) {
            let (conversation, family) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let conversation =
                ConversationId::try_from(conversation).map_err(|_| damaged.clone())?;
            let family = FamilyId::try_from(family).map_err(|_| damaged.clone())?;
            let digest = value.try_into().map_err(|_| damaged)?;
            self.told.insert((conversation, family), digest);
        } else if let Some(device) = split(records::WARD) {
            let device = DeviceId::try_from(device.as_slice()).map_err(|_| damaged)?;
            self.wards.insert(device, read(value)?);
        } else if let Some(id) = split(records::REVOCATION) {
            self.revocations.insert(id, read(value)?);
        } else if let Some(mailbox) = split(records::CLOSING) {
            self.closings.insert(mailbox.into(), read(value)?);
        } else if let Some(id) = split(records::GARBAGE) {
            self.garbage.insert(
                id,
                Garbage {
                    record: read(value)?,
                    since: Timestamp(0),
                },
            );
        } else if let Some(rest) = split(records::OUTGOING) {
            let (conversation, sequence) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let conversation =
                ConversationId::try_from(conversation).map_err(|_| damaged.clone())?;
            let key = (conversation, be64(sequence).ok_or(damaged)?);
            let record = read(value)?;
            self.transfers.open_content(key, &record);
            self.outbox.insert(key, record);
        } else if let Some(number) = split(records::SEND) {
            let number = be64(&number).ok_or(damaged)?;
            let record = read(value)?;
            self.transfers.open_send(number, &record);
            self.next_send = self.next_send.max(number.saturating_add(1));
            self.sends.insert(number, record);
        } else if name == records::DAY_COUNT {
            self.policing.load_count(&read(value)?);
        } else if let Some(number) = split(records::RESTING) {
            let number = be64(&number).ok_or(damaged)?;
            let signed = read::<wire::HeldContentRecord>(value)?.signed_content;
            let loaded = self.policing.load_resting(number, signed);
            loaded.ok_or(LoadError::Damaged("a content"))?;
        } else if let Some(number) = split(records::OPERATION) {
            let number = be64(&number).ok_or(damaged)?;
            self.next_operation = self.next_operation.max(number.saturating_add(1));
            self.operations.insert(number, read(value)?);
        } else if let Some(rest) = split(records::HELD) {
            let (conversation, rest) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let (device, sequence) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let conversation =
                ConversationId::try_from(conversation).map_err(|_| damaged.clone())?;
            let device = DeviceId::try_from(device).map_err(|_| damaged.clone())?;
            let signed = read::<wire::HeldContentRecord>(value)?.signed_content;
            self.held_bytes += signed.len();
            let key = (conversation, device, be64(sequence).ok_or(damaged)?);
            self.held.insert(
                key,
                Held {
                    since: Timestamp(0),
                    signed,
                },
            );
        } else if let Some(rest) = split(records::FETCHED) {
            let (conversation, rest) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let (device, content) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let conversation =
                ConversationId::try_from(conversation).map_err(|_| damaged.clone())?;
            let device = DeviceId::try_from(device).map_err(|_| damaged.clone())?;
            let content = ContentId::try_from(content).map_err(|_| damaged)?;
            self.fetched_contents
                .entry((conversation, device))
                .or_default()
                .push(content);
        } else if let Some(id) = split(records::PAST) {
            let id = ConversationId::try_from(id.as_slice()).map_err(|_| damaged)?;
            self.pasts.entry(id).or_default().record = read(value)?;
        } else if let Some(rest) = split(records::LATE) {
            let (id, rest) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let (target, content) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let id = ConversationId::try_from(id).map_err(|_| damaged.clone())?;
            let target = ContentId::try_from(target).map_err(|_| damaged.clone())?;
            let content = ContentId::try_from(content).map_err(|_| damaged)?;
            let past = self.pasts.entry(id).or_default();
            past.late.insert((target, content), read(value)?);
        } else if let Some(rest) = split(records::GIVING) {
            let (id, device) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let id = ConversationId::try_from(id).map_err(|_| damaged.clone())?;
            let device = DeviceId::try_from(device).map_err(|_| damaged)?;
            self.giving.asked.insert((id, device), read(value)?);
        } else if let Some(member) = split(records::ERASE) {
            let member = match member.as_slice() {
                [] => None,
                member => Some(MemberId::try_from(member).map_err(|_| damaged)?),
            };
            self.erasures.insert(member, read(value)?);
        } else if let Some(rest) = split(records::MEDIA_WANTED) {
            let (id, rest) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let (device, content) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            self.giving.media.insert(MediaWish {
                conversation: ConversationId::try_from(id).map_err(|_| damaged.clone())?,
                device: DeviceId::try_from(device).map_err(|_| damaged.clone())?,
                content: ContentId::try_from(content).map_err(|_| damaged)?,
            });
        } else if let Some(rest) = split(records::MEDIA_SOUGHT) {
            let (id, content) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let id = ConversationId::try_from(id).map_err(|_| damaged.clone())?;
            let content = ContentId::try_from(content).map_err(|_| damaged)?;
            self.sought.insert((id, content), read(value)?);
        } else if let Some(id) = split(records::INDEX) {
            let content = ContentId::try_from(id.as_slice()).map_err(|_| damaged)?;
            let record: wire::IndexRecord = read(value)?;
            if record.disappears_at_ms > 0 {
                self.disappearing
                    .insert((Timestamp(record.disappears_at_ms), content));
            }
            // What was taken back or has disappeared is of no conversation any more.
            if record.mine && record.sequence > 0 && !record.conversation.is_empty() {
                let conversation = ConversationId::try_from(&record.conversation)
                    .map_err(|_| LoadError::Damaged("an index"))?;
                self.own_contents
                    .insert((conversation, record.sequence), content);
            }
            self.index.insert(content, record);
        } else {
            return Err(LoadError::Damaged(
                "a record that this version does not know",
            ));
        }
        Ok(())
    }
}

fn read<M: Message + Default>(bytes: &[u8]) -> Result<M, LoadError> {
    M::decode(bytes).map_err(|_| LoadError::Damaged("a record"))
}

fn be64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}
