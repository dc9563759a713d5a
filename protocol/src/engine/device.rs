//! The engine itself: its state, how it is made and loaded, and the calls into it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openmls_libcrux_crypto::CryptoProvider;
use prost::Message;

use super::blobs::Transfers;
use super::inbox::Inbox;
use super::io::{Command, Event, Input, Output};
use super::pairing::PairingState;
use super::records;
use super::session::Session;
use super::state::{Cx, Room};
use crate::content::BodyError;
use crate::conversation::{
    Conversation, ConversationContext, ConversationKind, ConversationError, Crypto, DeviceSigner, KeyPackageError, OwnAddress, StorageEntries,
};
use crate::day::{Day, Timestamp};
use crate::identity::{AddedDevice, AddedMember, FamilyLog, LogError, Role};
use crate::ids::{ContentId, ConversationId, DeviceId, MailboxId, MemberId};
use crate::limits;
use crate::pairing::CodeError;
use crate::primitives::sign::SecretKey;
use crate::secrets::Secret;
use crate::server_name::RelayAddress;
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

/// Why a store can't be taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Nothing of a device in it.
    #[error("there is no device in this store")]
    Empty,
    /// Written by a newer version.
    #[error("this store was written by a newer version of Kinline (store version {0}); update first")]
    Newer(u32),
    /// A record can't be read.
    #[error("this store is damaged: {0}")]
    Damaged(&'static str),
    /// The machine gives no randomness.
    #[error("this machine gives no random numbers")]
    Randomness,
}

/// Why a command can't be carried out; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// This device belongs to a family already.
    #[error("this device belongs to a family already")]
    InFamily,
    /// This device belongs to no family yet.
    #[error("this device belongs to no family yet")]
    NoFamily,
    /// Only guardians may.
    #[error("only a guardian's device may do that")]
    NotGuardian,
    /// No such conversation.
    #[error("there is no such conversation on this device")]
    NoConversation,
    /// This device was removed from it.
    #[error("this device is not in that conversation any more")]
    Removed,
    /// Needs a connection.
    #[error("the relay can't be reached right now; this needs it")]
    Offline,
    /// Nothing to answer.
    #[error("there is no pairing to answer")]
    NoPairing,
    /// A pairing is under way.
    #[error("a pairing is under way; finish or cancel it first")]
    PairingUnderWay,
    /// The code can't be used.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The code has expired.
    #[error("this pairing code has expired; ask for a new one")]
    CodeExpired,
    /// The code is for another relay than this device uses.
    #[error("this pairing code is for another relay than the one this device uses")]
    OtherRelay,
    /// A name out of bounds.
    #[error("a name must have between 1 and {} bytes", limits::NAME_BYTES_MAX)]
    Name,
    /// The content is out of bounds.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Photo and voice come with their encrypted bytes, others without.
    #[error("photos and voice messages come with their encrypted file, other messages without one")]
    Blob,
    /// The target of a reaction, an edit, a deletion or a reply is not known here.
    #[error("the message that this is about is not on this device")]
    NoTarget,
    /// Only its author may.
    #[error("only the one who wrote a message may change it or take it back")]
    NotAuthor,
    /// No such member.
    #[error("there is no such member in the family")]
    NoMember,
    /// No key package of a device is here.
    #[error("the device of {0} has not given this one a key package yet; try again in a moment")]
    NoKeyPackage(String),
    /// Too much waits to be sent.
    #[error("{0} messages wait to be sent already; connect to the relay first")]
    OutboxFull(usize),
    /// The family log refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// MLS or the gate refused.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// A key package could not be made.
    #[error(transparent)]
    KeyPackage(#[from] KeyPackageError),
}

/// A conversation, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationSummary {
    /// Id.
    pub id: ConversationId,
    /// Family conversation or room.
    pub kind: ConversationKind,
    /// Title.
    pub title: String,
    /// MLS epoch.
    pub epoch: u64,
    /// Who is in it.
    pub members: Vec<MemberSummary>,
}

/// A member, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSummary {
    /// Id.
    pub member: MemberId,
    /// Guardian or child.
    pub role: Role,
    /// Name in the family log.
    pub name: String,
    /// Their devices in the conversation.
    pub devices: Vec<DeviceId>,
}

/// What was counted since the engine was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Envelopes that could not be opened.
    pub unreadable: u64,
    /// Contents that came again and were not shown again.
    pub duplicates: u64,
    /// Changes that the gate or MLS refused.
    pub refused: u64,
    /// Gaps that were shown.
    pub gaps: u64,
    /// Contents that wait for some device's confirmation.
    pub unconfirmed: u64,
}

/// A device.
pub struct Engine {
    pub(super) crypto: Crypto,
    pub(super) record: wire::DeviceRecord,
    pub(super) relay: RelayAddress,
    pub(super) signer: DeviceSigner,
    pub(super) mailbox: MailboxId,
    pub(super) generation: u64,
    pub(super) log: Option<FamilyLog>,
    pub(super) rooms: BTreeMap<ConversationId, Room>,
    pub(super) key_packages: BTreeMap<Vec<u8>, wire::KeyPackageRecord>,
    pub(super) peer_key_packages: BTreeMap<Vec<u8>, wire::PeerKeyPackageRecord>,
    pub(super) outbox: BTreeMap<(ConversationId, u64), wire::OutgoingRecord>,
    pub(super) sends: BTreeMap<u64, wire::PendingSendRecord>,
    pub(super) operations: BTreeMap<u64, wire::OperationRecord>,
    pub(super) held: BTreeMap<(ConversationId, DeviceId, u64), Vec<u8>>,
    pub(super) index: BTreeMap<ContentId, wire::IndexRecord>,
    pub(super) garbage: BTreeMap<Vec<u8>, wire::GarbageRecord>,
    // Volatile from here on: gone with the connection or the process.
    pub(super) fetched_contents: BTreeMap<(ConversationId, DeviceId), Vec<ContentId>>,
    pub(super) own_contents: BTreeMap<(ConversationId, u64), ContentId>,
    pub(super) disappearing: BTreeSet<(Timestamp, ContentId)>,
    pub(super) session: Session,
    pub(super) inbox: Inbox,
    pub(super) transfers: Transfers,
    pub(super) pairing: Option<PairingState>,
    pub(super) confirm_at: Option<Timestamp>,
    /// Whose missing contents were asked for, and when it is time to ask again.
    pub(super) resend_wanted: BTreeMap<(ConversationId, DeviceId), Timestamp>,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) counters: Counters,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").field("device", &self.signer.device).field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Engine {
    /// A new device: makes its keys and its mailbox's id.
    ///
    /// # Errors
    /// [`LoadError::Randomness`].
    pub fn create(setup: Setup, now: Timestamp, rng: &mut dyn rand_core::CryptoRng) -> Result<(Self, Output), LoadError> {
        let mut cx = Cx { now, rng, out: Output::default() };
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

    fn from_record(record: wire::DeviceRecord) -> Result<Self, LoadError> {
        if record.version > records::VERSION {
            return Err(LoadError::Newer(record.version));
        }
        let damaged = LoadError::Damaged("its device record");
        let seed: [u8; 32] = record.signature_seed.as_ref().try_into().map_err(|_| damaged.clone())?;
        Ok(Self {
            crypto: Arc::new(CryptoProvider::new().map_err(|_| LoadError::Randomness)?),
            relay: record.relay.parse().map_err(|_| damaged.clone())?,
            signer: DeviceSigner {
                device: DeviceId::try_from(&record.device).map_err(|_| damaged.clone())?,
                key: SecretKey::from_seed(&seed),
            },
            mailbox: MailboxId::try_from(&record.mailbox).map_err(|_| damaged)?,
            record,
            generation: 0,
            log: None,
            rooms: BTreeMap::new(),
            key_packages: BTreeMap::new(),
            peer_key_packages: BTreeMap::new(),
            outbox: BTreeMap::new(),
            sends: BTreeMap::new(),
            operations: BTreeMap::new(),
            held: BTreeMap::new(),
            index: BTreeMap::new(),
            garbage: BTreeMap::new(),
            own_contents: BTreeMap::new(),
            fetched_contents: BTreeMap::new(),
            disappearing: BTreeSet::new(),
            session: Session::default(),
            inbox: Inbox::default(),
            transfers: Transfers::default(),
            pairing: None,
            confirm_at: None,
            resend_wanted: BTreeMap::new(),
            retry_at: None,
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
        let mut statements = Vec::new();
        let mut rooms: Vec<wire::ConversationRecord> = Vec::new();
        let mut mls: BTreeMap<Vec<u8>, StorageEntries> = BTreeMap::new();
        // Names are ordered, so the log's statements come in their order.
        for (name, value) in by_name {
            if let Some(rest) = name.strip_prefix(records::MLS) {
                let (id, key) = rest.split_at_checked(ConversationId::LEN).ok_or(LoadError::Damaged("a record's name"))?;
                mls.entry(id.to_vec()).or_default().insert(key.to_vec(), value);
            } else if name.starts_with(records::LOG) {
                statements.push(read(&value)?);
            } else if name.starts_with(records::CONVERSATION) {
                rooms.push(read(&value)?);
            } else {
                engine.load_record(&name, &value)?;
            }
        }
        if !statements.is_empty() {
            let log = FamilyLog::from_statements(&statements).map_err(|_| LoadError::Damaged("the family log"))?;
            engine.log = Some(log);
        }
        for record in rooms {
            let damaged = LoadError::Damaged("a conversation");
            let id = ConversationId::try_from(&record.conversation).map_err(|_| damaged.clone())?;
            let entries = mls.remove(id.as_bytes().as_slice()).unwrap_or_default();
            let conversation = Conversation::load(&engine.crypto, id, entries).map_err(|_| damaged.clone())?;
            engine.rooms.insert(id, Room::restore(conversation, &record).ok_or(damaged)?);
        }
        engine.resume_confirmations();
        Ok(engine)
    }

    fn load_record(&mut self, name: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let damaged = LoadError::Damaged("a record's name");
        let split = |prefix: &[u8]| name.strip_prefix(prefix).map(<[u8]>::to_vec);
        if name == records::GENERATION {
            self.generation = u64::from_be_bytes(value.try_into().map_err(|_| LoadError::Damaged("its generation"))?);
        } else if let Some(id) = split(records::KEY_PACKAGE) {
            self.key_packages.insert(id, read(value)?);
        } else if let Some(id) = split(records::PEER_KEY_PACKAGE) {
            self.peer_key_packages.insert(id, read(value)?);
        } else if let Some(id) = split(records::GARBAGE) {
            self.garbage.insert(id, read(value)?);
        } else if let Some(rest) = split(records::OUTGOING) {
            let (conversation, sequence) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let conversation = ConversationId::try_from(conversation).map_err(|_| damaged.clone())?;
            self.outbox.insert((conversation, be64(sequence).ok_or(damaged)?), read(value)?);
        } else if let Some(number) = split(records::SEND) {
            self.sends.insert(be64(&number).ok_or(damaged)?, read(value)?);
        } else if let Some(number) = split(records::OPERATION) {
            self.operations.insert(be64(&number).ok_or(damaged)?, read(value)?);
        } else if let Some(rest) = split(records::HELD) {
            let (conversation, rest) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let (device, sequence) = rest.split_at_checked(16).ok_or(damaged.clone())?;
            let conversation = ConversationId::try_from(conversation).map_err(|_| damaged.clone())?;
            let device = DeviceId::try_from(device).map_err(|_| damaged.clone())?;
            self.held.insert((conversation, device, be64(sequence).ok_or(damaged)?), value.to_vec());
        } else if let Some(id) = split(records::INDEX) {
            let content = ContentId::try_from(id.as_slice()).map_err(|_| damaged)?;
            let record: wire::IndexRecord = read(value)?;
            if record.disappears_at_ms > 0 {
                self.disappearing.insert((Timestamp(record.disappears_at_ms), content));
            }
            if record.mine {
                let conversation = ConversationId::try_from(&record.conversation).map_err(|_| LoadError::Damaged("an index"))?;
                self.own_contents.insert((conversation, record.sequence), content);
            }
            self.index.insert(content, record);
        } else {
            return Err(LoadError::Damaged("a record that this version does not know"));
        }
        Ok(())
    }

    /// Takes in what happened.
    pub fn input(&mut self, input: Input, now: Timestamp, rng: &mut dyn rand_core::CryptoRng) -> Output {
        let mut cx = Cx { now, rng, out: Output::default() };
        match input {
            Input::Connected(hello) => self.connected(hello, &mut cx),
            Input::Disconnected => self.disconnected(&mut cx),
            Input::Frames(frames) => {
                for frame in frames {
                    self.frame(frame, &mut cx);
                }
            }
            Input::Uploaded { handle, outcome } => self.uploaded(handle, outcome, &mut cx),
            Input::Fetched { read_secret, outcome } => self.fetched(&read_secret, outcome, &mut cx),
            Input::Tick => self.tick(&mut cx),
        }
        self.settle(&mut cx);
        self.finish(cx)
    }

    /// Does what a person wants.
    ///
    /// # Errors
    /// [`CommandError`]: a sentence for that person; nothing was changed.
    pub fn command(
        &mut self,
        command: Command,
        now: Timestamp,
        rng: &mut dyn rand_core::CryptoRng,
    ) -> Result<Output, CommandError> {
        let mut cx = Cx { now, rng, out: Output::default() };
        match command {
            Command::CreateFamily { family_name, guardian_name } => {
                self.create_family(&family_name, &guardian_name, &mut cx)?;
            }
            Command::StartPairing { role, name } => self.start_pairing(role, &name, &mut cx)?,
            Command::AnswerPairing { accept } => self.answer_pairing(accept, &mut cx)?,
            Command::JoinByCode { code } => self.join_by_code(&code, &mut cx)?,
            Command::CreateConversation { title, members } => self.create_room(&title, &members, &mut cx)?,
            Command::Send { conversation, body, reply_to, disappear_seconds, blob } => {
                self.write(conversation, body, reply_to, disappear_seconds, blob, &mut cx)?;
            }
            Command::MarkRead { conversation } => self.mark_read(conversation, &mut cx)?,
            Command::Typing { conversation } => self.typing(conversation, &mut cx)?,
            Command::AttachmentFetched { content } => self.attachment_fetched(content, &mut cx)?,
            Command::SelfUpdate { conversation } => self.self_update(conversation, &mut cx)?,
        }
        self.settle(&mut cx);
        Ok(self.finish(cx))
    }

    /// Does everything that has become possible.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        self.work_inbox(cx);
        self.check_slots(cx);
        self.start_operations(cx);
        self.flush_outbox(cx);
        self.flush_confirmations(cx);
        self.flush_sends(cx);
        self.flush_transfers(cx);
    }

    /// Collects what is to be persisted, advances the generation, and acknowledges what is
    /// persisted with it.
    fn finish(&mut self, mut cx: Cx<'_>) -> Output {
        for room in self.rooms.values_mut().filter(|room| room.dirty) {
            room.save(&mut cx.out.changes);
        }
        if !cx.out.changes.is_empty() {
            self.generation = self.generation.saturating_add(1);
            cx.put(records::state(records::GENERATION, &[]), self.generation.to_be_bytes().to_vec());
        }
        self.acknowledge(&mut cx);
        cx.out
    }

    /// When [`Input::Tick`] is wanted next.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let disappearing = self.disappearing.first().map(|(at, _)| *at);
        let attached = self.session.is_attached();
        let confirm = self.confirm_at.filter(|_| attached);
        let retry = self.retry_at.filter(|_| attached);
        let pairing = self.pairing.as_ref().map(PairingState::expires);
        [disappearing, confirm, retry, pairing, self.gap_deadline().filter(|_| attached)].into_iter().flatten().min()
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        if self.retry_at.is_some_and(|at| at <= cx.now) {
            self.retry_at = None;
            self.transfers.retry();
            self.session.retry();
        }
        self.disappear(cx);
        self.give_up_gaps(cx);
        self.expire_outbox(cx);
        self.expire_pairing(cx);
    }

    /// Attached, everything that waited is read, everything written is acknowledged by the
    /// relay, no change, transfer or confirmation is under way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.session.is_attached()
            && self.session.caught_up
            && self.inbox.is_idle()
            && self.sends.is_empty()
            && self.operations.is_empty()
            && self.transfers.is_idle()
            && self.confirm_at.is_none()
            && !self.outbox.values().any(|outgoing| {
                outgoing.peers.iter().any(|peer| {
                    matches!(peer.state(), wire::OutgoingState::Waiting | wire::OutgoingState::Sent)
                })
            })
    }

    /// Where to connect.
    #[must_use]
    pub const fn relay(&self) -> &RelayAddress {
        &self.relay
    }

    /// This device.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.signer.device
    }

    /// What this device calls itself.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.record.device_name
    }

    /// Whose device this is, once a family has it.
    #[must_use]
    pub fn member(&self) -> Option<MemberId> {
        self.certificate_member(self.device())
    }

    /// The log of the family this device belongs to.
    #[must_use]
    pub const fn family_log(&self) -> Option<&FamilyLog> {
        self.log.as_ref()
    }

    /// The family's conversation.
    #[must_use]
    pub fn family_conversation(&self) -> Option<ConversationId> {
        ConversationId::try_from(&self.record.family_conversation).ok()
    }

    /// Number of the last persist transaction.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a connection is attached.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.session.is_attached()
    }

    /// All conversations of this device.
    #[must_use]
    pub fn conversations(&self) -> Vec<ConversationSummary> {
        self.rooms.values().map(|room| self.summary(room)).collect()
    }

    fn summary(&self, room: &Room) -> ConversationSummary {
        let mut members: BTreeMap<MemberId, MemberSummary> = BTreeMap::new();
        for leaf in room.conversation.leaves() {
            let Some((log, member)) = self.log.as_ref().zip(self.certificate_member(leaf.device)) else { continue };
            let Some(entry) = log.members().get(&member) else { continue };
            members
                .entry(member)
                .or_insert_with(|| MemberSummary { member, role: entry.role, name: entry.name.clone(), devices: vec![] })
                .devices
                .push(leaf.device);
        }
        ConversationSummary {
            id: room.id(),
            kind: room.kind,
            title: room.title.clone(),
            epoch: room.conversation.epoch(),
            members: members.into_values().collect(),
        }
    }

    /// What was counted since the engine was loaded.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let unconfirmed = self.outbox.values().filter(|outgoing| !super::outbox::is_confirmed(outgoing)).count();
        Counters { unconfirmed: unconfirmed as u64, ..self.counters }
    }

    // ---- small things that several jobs need

    pub(super) fn certificate_member(&self, device: DeviceId) -> Option<MemberId> {
        self.log.as_ref()?.certificate(&device).map(|certificate| certificate.member)
    }

    pub(super) fn member_name(&self, member: MemberId) -> String {
        let entry = self.log.as_ref().and_then(|log| log.members().get(&member));
        entry.map_or_else(String::new, |entry| entry.name.clone())
    }

    pub(super) fn identity_key(&self) -> Option<SecretKey> {
        let seed: [u8; 32] = self.record.identity_seed.as_ref().try_into().ok()?;
        Some(SecretKey::from_seed(&seed))
    }

    pub(super) fn secret_key(seed: &[u8]) -> SecretKey {
        // Seeds were drawn by `create` with 32 bytes and are read back authenticated.
        SecretKey::from_seed(&seed.try_into().unwrap_or([0; 32]))
    }

    pub(super) fn save_device(&self, cx: &mut Cx<'_>) {
        cx.put_message(records::state(records::DEVICE, &[]), &self.record);
    }

    /// Draws an address whose grant is new: its serial is never used twice.
    pub(super) fn draw_address(&mut self, scope: ConversationId, cx: &mut Cx<'_>) -> (OwnAddress, crate::conversation::Address) {
        self.record.address_serial = self.record.address_serial.saturating_add(1);
        self.save_device(cx);
        let seed = Secret::from_slice(&self.record.revocation_seed).unwrap_or_else(|| Secret::new([0; 32]));
        OwnAddress::draw(
            self.mailbox,
            &Self::secret_key(&self.record.grant_seed),
            &seed,
            &scope,
            self.record.address_serial,
            cx.now.day(),
            &mut cx.rng,
        )
    }

    fn create_family(&mut self, family_name: &str, guardian_name: &str, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        if self.log.is_some() || !self.record.family.is_empty() {
            return Err(CommandError::InFamily);
        }
        check_name(family_name)?;
        check_name(guardian_name)?;
        let identity = SecretKey::random(&mut cx.rng);
        let member = MemberId::new(cx.random16());
        let log = FamilyLog::found(
            family_name,
            AddedMember {
                member,
                role: Role::Guardian,
                name: guardian_name.to_owned(),
                identity_key: Some(identity.public()),
            },
            AddedDevice {
                member,
                device: self.signer.device,
                signature_key: self.signer.key.public(),
                name: named(&self.record.device_name),
            },
            cx.now.day(),
            &mut cx.rng,
        )?;
        let context = ConversationContext {
            family: log.family(),
            head: *log.head(),
            kind: ConversationKind::Family,
            title: family_name.to_owned(),
        };
        let id = ConversationId::new(cx.random16());
        self.record.identity_seed = identity.seed().to_vec().into();
        self.record.family = log.family().to_bytes();
        self.record.member = member.to_bytes();
        self.record.family_conversation = id.to_bytes();
        self.form(id, &context, cx)?;
        self.replace_log(log, cx);
        Ok(())
    }

    /// Forms a conversation with this device alone in it.
    pub(super) fn form(&mut self, id: ConversationId, context: &ConversationContext, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let (own, address) = self.draw_address(id, cx);
        let conversation = Conversation::create(&self.crypto, &self.signer, id, context, &address)?;
        let mut room = Room::new(conversation, context.kind, context.title.clone(), own);
        // Nobody else can have offered a commit for an epoch that only we have.
        room.synced = true;
        self.rooms.insert(id, room);
        cx.event(Event::Joined { conversation: id, title: context.title.clone() });
        Ok(())
    }

    /// Takes over a log that extends ours, and persists the new statements.
    pub(super) fn replace_log(&mut self, log: FamilyLog, cx: &mut Cx<'_>) {
        let known = self.log.as_ref().map_or(0, |log| log.statements().len());
        for (index, statement) in log.statements().iter().enumerate().skip(known) {
            cx.put_message(records::number(records::LOG, index as u64), statement);
        }
        self.log = Some(log);
    }
}

/// A device without a name is called so.
pub(super) fn named(name: &str) -> String {
    let name: String = name.chars().take(limits::NAME_BYTES_MAX / 4).collect();
    if name.is_empty() { "device".to_owned() } else { name }
}

pub(super) fn check_name(name: &str) -> Result<(), CommandError> {
    if name.trim().is_empty() || name.len() > limits::NAME_BYTES_MAX {
        return Err(CommandError::Name);
    }
    Ok(())
}

fn read<M: Message + Default>(bytes: &[u8]) -> Result<M, LoadError> {
    M::decode(bytes).map_err(|_| LoadError::Damaged("a record"))
}

fn be64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// The last day a content written today is kept by its sender.
pub(super) fn keep_until(now: Timestamp) -> Day {
    now.day().plus(limits::CONTENT_KEEP_DAYS)
}
