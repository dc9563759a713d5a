//! One conversation: an MLS group and its leaves with their addresses.

use std::collections::HashMap;

use openmls::prelude::{
    GroupId, LeafNode, LeafNodeParameters, MlsGroup, MlsMessageBodyIn, MlsMessageIn,
    ProcessedMessageContent, ProtocolMessage, Sender, StagedWelcome,
    tls_codec::{Deserialize, Serialize},
};
use prost::Message as _;

use super::gate::Refusal;
use super::mls::{self, Crypto, DeviceSigner, Provider};
use super::storage::{StorageEntries, load_group, provider_of, values};
use super::{Address, CheckedKeyPackage, ConversationContext, Parties, Person};
use crate::day::Day;
use crate::faults::{Fault, planted};
use crate::ids::{ConversationId, DeviceId, SlotToken};
use crate::labels;
use crate::primitives::sign::PublicKey;
use crate::secrets::Secret;
use crate::wire;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why something in a conversation failed. The conversation is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// MLS refused.
    #[error("{what}")]
    Mls {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// The gate refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A message of a kind that is never accepted there.
    #[error("a message of a kind that is never accepted here: {0}")]
    Kind(&'static str),
    /// The relay says that it can't read what ended this epoch.
    #[error("the relay can't read what ended this part of the conversation")]
    Unreadable,
    /// Of another conversation.
    #[error("the message belongs to another conversation")]
    Group,
    /// Its state is missing or damaged.
    #[error("the stored state of a conversation is damaged")]
    State,
    /// A device that is not in the conversation.
    #[error("the device is not in the conversation")]
    NoLeaf,
    /// The commit names another author in its seal than in MLS.
    #[error("the commit was offered by another device than made it")]
    Offerer,
    /// The commit says that it was made on a day that has not come yet.
    #[error("the change was made on a day that has not come here yet; it waits")]
    Early(Day),
    /// The commit puts a new leaf of this device in the place of this one, which ends here.
    #[error("this device comes back into the conversation as a new leaf")]
    Renewed,
}

fn mls_error<E: std::error::Error + Send + Sync + 'static>(
    what: &'static str,
) -> impl FnOnce(E) -> ConversationError {
    move |source| ConversationError::Mls {
        what,
        source: Box::new(source),
    }
}

/// One device in the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Which.
    pub device: DeviceId,
    /// Its signature key.
    pub signature_key: PublicKey,
    /// Where it is reached.
    pub address: Address,
}

/// What this device wants to change.
#[derive(Debug, Default)]
pub struct ProposedChange {
    /// Devices to add.
    pub add: Vec<CheckedKeyPackage>,
    /// Devices to remove.
    pub remove: Vec<DeviceId>,
    /// The new context, when it changes.
    pub context: Option<ConversationContext>,
    /// The log entries that move its heads.
    pub news: Vec<wire::PartyNews>,
    /// This device's new address.
    pub address: Option<Address>,
}

/// A commit that waits for its slot.
#[derive(Debug)]
pub struct ProposedCommit {
    /// The MLS commit.
    pub commit: Vec<u8>,
    /// The MLS welcome, when somebody was added.
    pub welcome: Option<Vec<u8>>,
}

/// What a merged change did.
#[derive(Debug, PartialEq)]
pub struct Incoming {
    /// The logs after it.
    pub parties: Parties,
    /// The context after it.
    pub context: ConversationContext,
    /// Who had left before it.
    pub left_before: Vec<Person>,
    /// Devices added.
    pub added: Vec<DeviceId>,
    /// Devices removed.
    pub removed: Vec<DeviceId>,
    /// This device was removed.
    pub self_removed: bool,
}

/// An MLS group with its state in memory, over what was last persisted.
pub struct Conversation {
    id: ConversationId,
    pub(super) provider: Provider,
    pub(super) group: MlsGroup,
    pub(super) persisted: HashMap<Vec<u8>, Vec<u8>>,
    /// The families' logs as all members see them in this epoch.
    pub(super) parties: Parties,
}

impl core::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Conversation")
            .field("id", &self.id)
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

impl Conversation {
    /// Forms a conversation with this device as its only leaf.
    ///
    /// # Errors
    /// [`ConversationError::Mls`].
    pub fn create(
        crypto: &Crypto,
        signer: &DeviceSigner,
        id: ConversationId,
        context: &ConversationContext,
        parties: Parties,
        address: &Address,
    ) -> Result<Self, ConversationError> {
        let provider = provider_of(crypto, StorageEntries::new());
        let config = mls::create_config(context, address)
            .map_err(mls_error("the conversation could not be formed"))?;
        let group = MlsGroup::new_with_group_id(
            &provider,
            signer,
            &config,
            GroupId::from_slice(id.as_bytes()),
            signer.credential(),
        )
        .map_err(mls_error("the conversation could not be formed"))?;
        Ok(Self {
            id,
            provider,
            group,
            persisted: HashMap::new(),
            parties,
        })
    }

    /// Takes up a conversation from its persisted state.
    ///
    /// # Errors
    /// [`ConversationError::State`].
    pub fn load(
        crypto: &Crypto,
        id: ConversationId,
        entries: StorageEntries,
        parties: Parties,
    ) -> Result<Self, ConversationError> {
        let provider = provider_of(crypto, entries);
        let group = load_group(&provider, id)?;
        let persisted = values(&provider.storage);
        let conversation = Self {
            id,
            provider,
            group,
            persisted,
            parties,
        };
        if conversation.context()?.parties != conversation.parties.heads() {
            return Err(ConversationError::State);
        }
        Ok(conversation)
    }

    /// Joins by a welcome for a key package of ours, with the logs that came with it;
    /// `admit` looks at context and leaves and may refuse.
    ///
    /// # Errors
    /// [`ConversationError::Mls`], or what `admit` says. The key package is not used up then.
    pub fn join(
        crypto: &Crypto,
        key_package: StorageEntries,
        welcome: &[u8],
        parties: Parties,
        admit: impl FnOnce(&ConversationContext, &[Leaf], DeviceId) -> Result<(), Refusal>,
    ) -> Result<Self, ConversationError> {
        const WHAT: &str = "the welcome does not open";
        let provider = provider_of(crypto, key_package);
        let message = MlsMessageIn::tls_deserialize_exact(welcome).map_err(mls_error(WHAT))?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
            return Err(ConversationError::Kind("not a welcome"));
        };
        let staged = StagedWelcome::build_from_welcome(&provider, &mls::join_config(), welcome)
            .map_err(mls_error(WHAT))?
            .skip_lifetime_validation()
            .build()
            .map_err(mls_error(WHAT))?;
        let sender = mls::leaf_device(staged.welcome_sender().map_err(mls_error(WHAT))?)
            .ok_or(Refusal::Stranger)?;
        let group = staged.into_group(&provider).map_err(mls_error(WHAT))?;
        let id = ConversationId::try_from(group.group_id().as_slice())
            .map_err(|_| ConversationError::Group)?;
        if group.ciphersuite() != mls::CIPHERSUITE {
            return Err(ConversationError::Kind("another cipher suite"));
        }
        let conversation = Self {
            id,
            provider,
            group,
            persisted: HashMap::new(),
            parties,
        };
        let leaves = conversation.leaves();
        if leaves.len() != conversation.group.members().count() {
            return Err(Refusal::Address.into());
        }
        admit(&conversation.context()?, &leaves, sender)?;
        Ok(conversation)
    }

    /// Id.
    #[must_use]
    pub const fn id(&self) -> ConversationId {
        self.id
    }

    /// Number of the epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.group.epoch().as_u64()
    }

    /// What all members agree on.
    ///
    /// # Errors
    /// [`ConversationError::State`] when the extension is missing or of another version.
    pub fn context(&self) -> Result<ConversationContext, ConversationError> {
        context_of(self.group.extensions()).ok_or(ConversationError::State)
    }

    /// The families' logs as all members see them in this epoch.
    #[must_use]
    pub const fn parties(&self) -> &Parties {
        &self.parties
    }

    /// All leaves with a usable address.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        self.group
            .treesync()
            .full_leaves()
            .filter_map(|(_, leaf)| leaf_of(leaf))
            .collect()
    }

    /// The leaf of a device; reads no other.
    #[must_use]
    pub fn leaf(&self, device: DeviceId) -> Option<Leaf> {
        let mut leaves = self.group.treesync().full_leaves();
        leaves
            .find(|(_, leaf)| mls::leaf_device(leaf) == Some(device))
            .and_then(|(_, leaf)| leaf_of(leaf))
    }

    /// The devices in it, without reading more of their leaves.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceId> {
        self.group
            .treesync()
            .full_leaves()
            .filter_map(|(_, leaf)| mls::leaf_device(leaf))
            .collect()
    }

    /// Token of the slot of the commit that ends this epoch.
    ///
    /// # Errors
    /// [`ConversationError::Mls`] when this device was removed.
    pub fn slot_token(&self) -> Result<SlotToken, ConversationError> {
        let bytes = self.export(labels::EXPORT_SLOT_TOKEN, SlotToken::LEN)?;
        SlotToken::try_from(bytes.as_slice()).map_err(|_| ConversationError::State)
    }

    /// Key that seals the commit that ends this epoch.
    ///
    /// # Errors
    /// As [`Self::slot_token`].
    pub fn commit_key(&self) -> Result<Secret<32>, ConversationError> {
        Secret::from_slice(&self.export(labels::EXPORT_COMMIT_KEY, 32)?)
            .ok_or(ConversationError::State)
    }

    /// Key of ephemeral signals of this epoch.
    ///
    /// # Errors
    /// As [`Self::slot_token`].
    pub fn signal_key(&self) -> Result<Secret<32>, ConversationError> {
        Secret::from_slice(&self.export(labels::EXPORT_SIGNAL_KEY, 32)?)
            .ok_or(ConversationError::State)
    }

    fn export(&self, label: &str, length: usize) -> Result<Vec<u8>, ConversationError> {
        self.group
            .export_secret(self.provider.crypto.as_ref(), label, &[], length)
            .map_err(mls_error("this device is not in the conversation any more"))
    }

    /// Whether this device is (still) in it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.group.is_active()
    }

    /// Whether a commit of ours waits for its slot.
    #[must_use]
    pub fn has_pending_commit(&self) -> bool {
        self.group.pending_commit().is_some()
    }

    /// Encrypts `bytes` for everyone in it.
    ///
    /// # Errors
    /// [`ConversationError::Mls`].
    pub fn encrypt(
        &mut self,
        signer: &DeviceSigner,
        bytes: &[u8],
    ) -> Result<Vec<u8>, ConversationError> {
        const WHAT: &str = "the message could not be encrypted";
        self.transaction(|conversation| {
            conversation
                .group
                .create_message(&conversation.provider, signer, bytes)
                .map_err(mls_error(WHAT))?
                .to_bytes()
                .map_err(mls_error(WHAT))
        })
    }

    /// Decrypts an application message; returns the device that MLS says sent it.
    ///
    /// # Errors
    /// [`ConversationError`]; a message of any other kind is refused: commits come through
    /// slots, and nobody from outside has a say.
    pub fn decrypt(
        &mut self,
        bytes: &[u8],
    ) -> Result<(DeviceId, PublicKey, Vec<u8>), ConversationError> {
        let message = self.private_message(bytes)?;
        self.transaction(|conversation| {
            let processed = conversation
                .group
                .process_message(&conversation.provider, message)
                .map_err(mls_error("the message does not open"))?;
            let Sender::Member(index) = *processed.sender() else {
                return Err(ConversationError::Kind("from outside"));
            };
            match processed.into_content() {
                ProcessedMessageContent::ApplicationMessage(message) => {
                    let leaf = conversation
                        .group
                        .public_group()
                        .leaf(index)
                        .and_then(leaf_of);
                    let leaf = leaf.ok_or(ConversationError::NoLeaf)?;
                    Ok((leaf.device, leaf.signature_key, message.into_bytes()))
                }
                _ => Err(ConversationError::Kind("not content")),
            }
        })
    }

    /// Makes a commit and keeps it pending until its slot's answer was read. Our own gate
    /// judges it first.
    ///
    /// # Errors
    /// [`ConversationError`]; nothing is pending then.
    pub fn propose(
        &mut self,
        signer: &DeviceSigner,
        change: ProposedChange,
    ) -> Result<ProposedCommit, ConversationError> {
        const WHAT: &str = "the change could not be made";
        self.transaction(|conversation| {
            let mut removals = Vec::with_capacity(change.remove.len());
            for device in &change.remove {
                let found = conversation
                    .group
                    .treesync()
                    .full_leaves()
                    .find(|(_, leaf)| mls::leaf_device(leaf) == Some(*device))
                    .map(|(index, _)| index);
                removals.push(found.ok_or(ConversationError::NoLeaf)?);
            }
            let data = wire::CommitData {
                news: change.news.clone(),
            }
            .encode_to_vec();
            conversation.group.set_aad(data);
            let mut parameters = LeafNodeParameters::builder();
            if let Some(address) = &change.address {
                parameters = parameters
                    .with_extensions(mls::address_extensions(address).map_err(mls_error(WHAT))?)
                    .with_capabilities(mls::capabilities());
            }
            let mut builder = conversation
                .group
                .commit_builder()
                .force_self_update(true)
                .leaf_node_parameters(parameters.build())
                .propose_adds(change.add.into_iter().map(|add| add.key_package))
                .propose_removals(removals);
            if let Some(context) = &change.context {
                let extensions = mls::context_extensions(context).map_err(mls_error(WHAT))?;
                builder = builder
                    .propose_group_context_extensions(extensions)
                    .map_err(mls_error(WHAT))?;
            }
            let bundle = builder
                .load_psks(&conversation.provider.storage)
                .map_err(mls_error(WHAT))?
                .build(
                    conversation.provider.crypto.as_ref(),
                    conversation.provider.crypto.as_ref(),
                    signer,
                    |_| true,
                )
                .map_err(mls_error(WHAT))?
                .stage_commit(&conversation.provider)
                .map_err(mls_error(WHAT))?;
            let (commit, welcome, _) = bundle.into_messages();
            let pending = conversation
                .group
                .pending_commit()
                .ok_or(ConversationError::State)?;
            conversation.judge_staged(pending, signer.device, &change.news)?;
            Ok(ProposedCommit {
                commit: commit.to_bytes().map_err(mls_error(WHAT))?,
                welcome: match welcome {
                    Some(welcome) => {
                        Some(welcome.tls_serialize_detached().map_err(mls_error(WHAT))?)
                    }
                    None => None,
                },
            })
        })
    }

    /// The slot holds our commit: enter the new epoch.
    ///
    /// # Errors
    /// [`ConversationError`].
    pub fn merge_own(
        &mut self,
        own: DeviceId,
        news: &[wire::PartyNews],
    ) -> Result<Incoming, ConversationError> {
        self.transaction(|conversation| {
            let pending = conversation
                .group
                .pending_commit()
                .ok_or(ConversationError::State)?;
            let incoming = conversation.judge_staged(pending, own, news)?;
            conversation
                .group
                .merge_pending_commit(&conversation.provider)
                .map_err(mls_error("the change could not be merged"))?;
            conversation.parties = incoming.parties.clone();
            Ok(incoming)
        })
    }

    /// The slot holds another commit: forget ours. Call only after the slot's answer was read.
    ///
    /// # Errors
    /// [`ConversationError::Mls`].
    pub fn drop_own(&mut self) -> Result<(), ConversationError> {
        self.group
            .clear_pending_commit(&self.provider.storage)
            .map_err(|_| ConversationError::State)
    }

    /// Processes, judges and merges the commit of another device, all or nothing. One that was
    /// made after the day `latest` waits.
    ///
    /// # Errors
    /// [`ConversationError`]: the state is byte for byte as it was, and the commit can be
    /// offered again. [`ConversationError::Renewed`] when a welcome leads on in its place.
    pub fn merge_other(
        &mut self,
        commit: &[u8],
        offerer: DeviceId,
        latest: Day,
    ) -> Result<Incoming, ConversationError> {
        let message = self.private_message(commit)?;
        self.transaction(|conversation| {
            let processed = conversation
                .group
                .process_message(&conversation.provider, message)
                .map_err(mls_error("the commit does not open"))?;
            let Sender::Member(index) = *processed.sender() else {
                return Err(ConversationError::Kind("from outside"));
            };
            let committer = conversation
                .group
                .public_group()
                .leaf(index)
                .and_then(mls::leaf_device);
            if committer != Some(offerer) {
                return Err(ConversationError::Offerer);
            }
            let data = wire::CommitData::decode(processed.aad())
                .map_err(mls_error("the commit's data is damaged"))?;
            let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content()
            else {
                return Err(ConversationError::Kind("not a commit"));
            };
            let incoming = conversation.judge_staged(&staged, offerer, &data.news)?;
            if incoming.context.day > latest && !planted(Fault::Early) {
                return Err(ConversationError::Early(incoming.context.day));
            }
            if incoming.self_removed {
                let own = conversation.group.own_leaf_node();
                let own = own.and_then(mls::leaf_device);
                if own.is_some_and(|own| incoming.added.contains(&own)) {
                    return Err(ConversationError::Renewed);
                }
            }
            conversation
                .group
                .merge_staged_commit(&conversation.provider, *staged)
                .map_err(mls_error("the change could not be merged"))?;
            conversation.parties = incoming.parties.clone();
            Ok(incoming)
        })
    }

    fn private_message(&self, bytes: &[u8]) -> Result<ProtocolMessage, ConversationError> {
        const WHAT: &str = "the message is damaged";
        let message = MlsMessageIn::tls_deserialize_exact(bytes).map_err(mls_error(WHAT))?;
        // Public messages are accepted by the library from joiners even under a ciphertext policy.
        let MlsMessageBodyIn::PrivateMessage(message) = message.extract() else {
            return Err(ConversationError::Kind("not encrypted"));
        };
        if message.group_id().as_slice() != self.id.as_bytes() {
            return Err(ConversationError::Group);
        }
        Ok(ProtocolMessage::PrivateMessage(message))
    }
}

pub(super) fn context_of(
    extensions: &openmls::prelude::Extensions<openmls::prelude::GroupContext>,
) -> Option<ConversationContext> {
    ConversationContext::decode(&extensions.unknown(mls::CONTEXT_EXTENSION)?.0)
}

fn leaf_of(leaf: &LeafNode) -> Option<Leaf> {
    Some(Leaf {
        device: mls::leaf_device(leaf)?,
        signature_key: PublicKey::from_slice(leaf.signature_key().as_slice())?,
        address: mls::leaf_address(leaf).ok()?,
    })
}

/// The epoch an MLS message was encrypted in, read without opening it; `None` when it is none.
#[must_use]
pub fn message_epoch(bytes: &[u8]) -> Option<u64> {
    match MlsMessageIn::tls_deserialize_exact(bytes).ok()?.extract() {
        MlsMessageBodyIn::PrivateMessage(message) => Some(message.epoch().as_u64()),
        _ => None,
    }
}
