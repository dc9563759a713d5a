//! How we use OpenMLS: suite, limits, extensions, and the device's signer.

use std::sync::Arc;

use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, CredentialType, CredentialWithKey, Extension,
    ExtensionType, Extensions, GroupContext, LeafNode, Lifetime, MlsGroupCreateConfig,
    MlsGroupJoinConfig, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, ProtocolVersion,
    RequiredCapabilitiesExtension, SenderRatchetConfiguration, SignatureScheme, UnknownExtension,
};
use openmls_libcrux_crypto::CryptoProvider;
use openmls_memory_storage::MemoryStorage;
use openmls_traits::OpenMlsProvider;
use openmls_traits::signatures::{Signer, SignerError};
use prost::Message as _;

use super::{Address, AddressError, ConversationContext};
use crate::ids::DeviceId;
use crate::primitives::sign::SecretKey;

/// X25519 + ML-KEM-768 (X-Wing): what is recorded today stays closed to a quantum computer.
pub(crate) const CIPHERSUITE: Ciphersuite =
    Ciphersuite::MLS_256_XWING_CHACHA20POLY1305_SHA256_Ed25519;
/// Leaf extension: [`Address`].
pub(crate) const ADDRESS_EXTENSION: u16 = 0xF0A1;
/// Group context extension: [`ConversationContext`].
pub(crate) const CONTEXT_EXTENSION: u16 = 0xF0A2;

/// Past epochs whose messages still open. Few: every message rewrites them all.
const PAST_EPOCHS_MAX: usize = 3;
/// Messages of one sender that may arrive out of order within an epoch.
const OUT_OF_ORDER_MAX: u32 = 64;
/// Messages of one sender that may be missing within an epoch.
const FORWARD_MAX: u32 = 2_000;

/// The cryptographic provider of all conversations of a device.
pub type Crypto = Arc<CryptoProvider>;

/// Crypto shared, storage of one conversation.
pub(crate) struct Provider {
    pub(crate) crypto: Crypto,
    pub(crate) storage: MemoryStorage,
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = CryptoProvider;
    type RandProvider = CryptoProvider;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        &self.storage
    }

    fn crypto(&self) -> &CryptoProvider {
        &self.crypto
    }

    fn rand(&self) -> &CryptoProvider {
        &self.crypto
    }
}

/// A device's signature key as OpenMLS wants it.
#[derive(Debug, Clone)]
pub struct DeviceSigner {
    /// Id of the device: its credential.
    pub device: DeviceId,
    /// Its signature key.
    pub key: SecretKey,
}

impl Signer for DeviceSigner {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.key.sign_raw(payload).to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl DeviceSigner {
    pub(crate) fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.device.as_bytes().to_vec()).into(),
            signature_key: self.key.public().as_bytes().to_vec().into(),
        }
    }
}

/// MLS checks lifetimes against the system's clock; ours are checked against guardians'
/// heads, so MLS gets the whole of time.
pub(crate) fn lifetime() -> Lifetime {
    Lifetime::init(0, u64::MAX)
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities::builder()
        .versions(vec![ProtocolVersion::Mls10])
        .ciphersuites(vec![CIPHERSUITE])
        .extensions(vec![
            ExtensionType::Unknown(ADDRESS_EXTENSION),
            ExtensionType::Unknown(CONTEXT_EXTENSION),
        ])
        .proposals(vec![])
        .credentials(vec![CredentialType::Basic])
        .build()
}

fn ratchet() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER_MAX, FORWARD_MAX)
}

pub(crate) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .padding_size(0)
        .max_past_epochs(PAST_EPOCHS_MAX)
        .sender_ratchet_configuration(ratchet())
        .use_ratchet_tree_extension(true)
        .build()
}

pub(crate) fn create_config(
    context: &ConversationContext,
    address: &Address,
) -> Result<MlsGroupCreateConfig, openmls::prelude::InvalidExtensionError> {
    Ok(MlsGroupCreateConfig::builder()
        .ciphersuite(CIPHERSUITE)
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .padding_size(0)
        .max_past_epochs(PAST_EPOCHS_MAX)
        .sender_ratchet_configuration(ratchet())
        .use_ratchet_tree_extension(true)
        .lifetime(lifetime())
        .capabilities(capabilities())
        .with_group_context_extensions(context_extensions(context)?)
        .with_leaf_node_extensions(address_extensions(address)?)
        .map_err(|_| openmls::prelude::InvalidExtensionError::NotFound)?
        .build())
}

/// The whole list of group context extensions: a proposal replaces all of it.
pub(crate) fn context_extensions(
    context: &ConversationContext,
) -> Result<Extensions<GroupContext>, openmls::prelude::InvalidExtensionError> {
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(
            &[
                ExtensionType::Unknown(ADDRESS_EXTENSION),
                ExtensionType::Unknown(CONTEXT_EXTENSION),
            ],
            &[],
            &[CredentialType::Basic],
        )),
        Extension::Unknown(
            CONTEXT_EXTENSION,
            UnknownExtension(context.to_wire().encode_to_vec()),
        ),
    ])
}

pub(crate) fn address_extensions(
    address: &Address,
) -> Result<Extensions<LeafNode>, openmls::prelude::InvalidExtensionError> {
    Extensions::from_vec(vec![Extension::Unknown(
        ADDRESS_EXTENSION,
        UnknownExtension(address.to_wire().encode_to_vec()),
    )])
}

pub(crate) fn leaf_address(leaf: &LeafNode) -> Result<Address, AddressError> {
    let extension = leaf
        .extensions()
        .unknown(ADDRESS_EXTENSION)
        .ok_or(AddressError::Missing)?;
    Address::decode(&extension.0)
}

pub(crate) fn leaf_device(leaf: &LeafNode) -> Option<DeviceId> {
    credential_device(leaf.credential())
}

pub(crate) fn credential_device(credential: &openmls::prelude::Credential) -> Option<DeviceId> {
    if credential.credential_type() != CredentialType::Basic {
        return None;
    }
    DeviceId::try_from(credential.serialized_content()).ok()
}
