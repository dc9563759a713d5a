//! Key packages: made for one peer each, handed over where people meet, never stored by the relay.

use openmls::prelude::{
    KeyPackage, KeyPackageIn, ProtocolVersion,
    tls_codec::{Deserialize, Serialize},
};
use openmls_memory_storage::MemoryStorage;

use super::mls::{self, Crypto, DeviceSigner, Provider};
use super::{Address, OwnAddress, StorageEntries};
use crate::ids::DeviceId;
use crate::primitives::sign::PublicKey;

/// Largest key package that is read: X-Wing ones have about 3 KiB.
const KEY_PACKAGE_BYTES_MAX: usize = 16 * 1_024;

/// Why bytes are no usable key package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyPackageError {
    /// Larger than any.
    #[error("the key package is too large")]
    TooLarge,
    /// Not decodable, of another suite, or its signatures do not hold.
    #[error("the key package is damaged: {0}")]
    Damaged(String),
    /// Its credential names no device.
    #[error("the key package names no device")]
    Credential,
    /// Its address is missing or damaged.
    #[error("the key package has no usable address")]
    Address(#[from] super::AddressError),
}

/// A key package of ours, with the private parts that open its welcome.
#[derive(Debug, Clone)]
pub struct OwnKeyPackage {
    /// As others get it.
    pub public: Vec<u8>,
    /// Its address: a welcome arrives sealed under it.
    pub address: OwnAddress,
    /// Private parts, as MLS stores them.
    pub storage: StorageEntries,
}

/// Makes a key package with this address.
///
/// # Errors
/// [`KeyPackageError::Damaged`] when MLS can't build it.
pub fn make_key_package(
    crypto: &Crypto,
    signer: &DeviceSigner,
    own: OwnAddress,
    address: &Address,
) -> Result<OwnKeyPackage, KeyPackageError> {
    let provider = Provider {
        crypto: crypto.clone(),
        storage: MemoryStorage::default(),
    };
    let damaged = |error: &dyn core::fmt::Display| KeyPackageError::Damaged(error.to_string());
    let bundle = KeyPackage::builder()
        .key_package_lifetime(mls::lifetime())
        .leaf_node_capabilities(mls::capabilities())
        .leaf_node_extensions(mls::address_extensions(address).map_err(|e| damaged(&e))?)
        .build(mls::CIPHERSUITE, &provider, signer, signer.credential())
        .map_err(|e| damaged(&e))?;
    let public = bundle
        .key_package()
        .tls_serialize_detached()
        .map_err(|e| damaged(&e))?;
    let storage = super::storage::entries_of(&provider.storage);
    Ok(OwnKeyPackage {
        public,
        address: own,
        storage,
    })
}

/// A key package whose signatures, suite and address hold. Whose device it is, is the gate's to judge.
#[derive(Debug, Clone)]
pub struct CheckedKeyPackage {
    pub(crate) key_package: KeyPackage,
    /// The device its credential names.
    pub device: DeviceId,
    /// Its signature key.
    pub signature_key: PublicKey,
    /// Where it is reached.
    pub address: Address,
}

/// Reads and checks a key package.
///
/// # Errors
/// [`KeyPackageError`].
pub fn check_key_package(
    crypto: &Crypto,
    bytes: &[u8],
) -> Result<CheckedKeyPackage, KeyPackageError> {
    if bytes.len() > KEY_PACKAGE_BYTES_MAX {
        return Err(KeyPackageError::TooLarge);
    }
    let damaged = |error: &dyn core::fmt::Display| KeyPackageError::Damaged(error.to_string());
    let key_package = KeyPackageIn::tls_deserialize_exact(bytes)
        .map_err(|e| damaged(&e))?
        .validate(crypto.as_ref(), ProtocolVersion::Mls10)
        .map_err(|e| damaged(&e))?;
    if key_package.ciphersuite() != mls::CIPHERSUITE {
        return Err(KeyPackageError::Damaged("another cipher suite".into()));
    }
    let leaf = key_package.leaf_node();
    let device = mls::leaf_device(leaf).ok_or(KeyPackageError::Credential)?;
    let signature_key = PublicKey::from_slice(leaf.signature_key().as_slice())
        .ok_or(KeyPackageError::Credential)?;
    let address = mls::leaf_address(leaf)?;
    Ok(CheckedKeyPackage {
        key_package,
        device,
        signature_key,
        address,
    })
}
