//! The relay's half of OPAQUE.

use core::fmt;
use core::hint::black_box;

use opaque_ke::{
    CredentialFinalization, CredentialRequest, RegistrationRequest, RegistrationUpload,
    ServerLogin, ServerLoginParameters, ServerRegistration, ServerSetup,
};
use zeroize::Zeroize;

use super::{
    Exchange, Group, LOGIN_PROOF_BYTES, LOGIN_REQUEST_BYTES, Names, OpaqueError, RECORD_BYTES,
    REGISTRATION_REQUEST_BYTES, SETUP_BYTES, exactly,
};
use crate::ids::AccountId;
use crate::labels;
use crate::primitives::bridge::Bridge;
use crate::secrets::Secret;

/// The relay stretches nothing: the messages are the same.
struct Suite;

impl opaque_ke::CipherSuite for Suite {
    type OprfCs = Group;
    type KeyExchange = Exchange;
    type Ksf = opaque_ke::ksf::Identity;
}

/// What all logins of a relay depend on: seed of the oblivious function, key pair, and the public
/// key of accounts that are not there. Without it a record tells nothing about a password.
#[derive(Clone)]
pub struct Setup {
    setup: ServerSetup<Suite>,
    // Read in place of a record for an account that is not there: the same work.
    placeholder: [u8; RECORD_BYTES],
}

impl Setup {
    /// Draws a fresh one.
    pub fn generate(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self::of(ServerSetup::new(&mut Bridge(rng)))
    }

    /// Reads one: seed 64 ‖ private key 32 ‖ public key of nobody 32.
    ///
    /// # Errors
    /// [`OpaqueError::Malformed`] when the keys are none.
    pub fn from_bytes(bytes: &Secret<SETUP_BYTES>) -> Result<Self, OpaqueError> {
        Ok(Self::of(ServerSetup::deserialize(bytes.expose())?))
    }

    fn of(setup: ServerSetup<Suite>) -> Self {
        let mut placeholder = [0; RECORD_BYTES];
        for (to, from) in placeholder
            .iter_mut()
            .zip(setup.keypair().public().serialize())
        {
            *to = from;
        }
        Self { setup, placeholder }
    }

    /// Its bytes, for the key file.
    #[must_use]
    pub fn to_bytes(&self) -> Secret<SETUP_BYTES> {
        let mut bytes = self.setup.serialize();
        let mut array = [0; SETUP_BYTES];
        array.copy_from_slice(&bytes);
        bytes.zeroize();
        Secret::new(array)
    }

    /// A record that looks like any other, of nobody: no password opens it.
    pub fn record_of_nobody(&self, rng: &mut impl rand_core::CryptoRng) -> Record {
        let mut record = self.placeholder;
        // Behind the public key: masking key and envelope.
        if let Some((_, rest)) = record.split_at_mut_checked(32) {
            rng.fill_bytes(rest);
        }
        Record(record)
    }

    /// Answers a registration's first message.
    ///
    /// # Errors
    /// [`OpaqueError`] for what is no message.
    pub fn register(&self, account: &AccountId, message: &[u8]) -> Result<Vec<u8>, OpaqueError> {
        let message = exactly(message, REGISTRATION_REQUEST_BYTES)?;
        let request = RegistrationRequest::<Suite>::deserialize(message)?;
        let started = ServerRegistration::start(&self.setup, request, account.as_bytes())?;
        Ok(started.message.serialize().to_vec())
    }

    /// Answers a login's first message, over the record of the account, or over none when there
    /// is no such account: the answers have one length and cost the same work.
    ///
    /// # Errors
    /// [`OpaqueError`] for what is no message, whether or not there is a record.
    pub fn login(
        &self,
        record: Option<&Record>,
        names: Names<'_>,
        message: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<(Login, Vec<u8>), OpaqueError> {
        let message = exactly(message, LOGIN_REQUEST_BYTES)?;
        let request = CredentialRequest::<Suite>::deserialize(message)?;
        let bytes = record.map_or(&self.placeholder, |record| &record.0);
        let read = black_box(ServerRegistration::<Suite>::deserialize(bytes)?);
        let started = ServerLogin::start(
            &mut Bridge(rng),
            &self.setup,
            record.is_some().then_some(read),
            request,
            names.account.as_bytes(),
            parameters(names),
        )?;
        Ok((Login(started.state), started.message.serialize().to_vec()))
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What the relay keeps of an account: a public key, a masking key and an envelope that only the
/// password opens.
#[derive(Clone, PartialEq, Eq)]
pub struct Record([u8; RECORD_BYTES]);

impl Record {
    /// Reads one.
    ///
    /// # Errors
    /// [`OpaqueError`] when it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpaqueError> {
        let expected = RECORD_BYTES;
        let array = bytes.try_into().map_err(|_| OpaqueError::Length {
            bytes: bytes.len(),
            expected,
        })?;
        RegistrationUpload::<Suite>::deserialize(bytes)?;
        Ok(Self(array))
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; RECORD_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A login that has been answered and waits for its proof.
pub struct Login(ServerLogin<Suite>);

impl Login {
    /// Checks the proof that the device knows the password.
    ///
    /// # Errors
    /// [`OpaqueError::Denied`] when it does not, or there is no such account.
    pub fn finish(self, names: Names<'_>, message: &[u8]) -> Result<(), OpaqueError> {
        let message = exactly(message, LOGIN_PROOF_BYTES)?;
        let proof = CredentialFinalization::<Suite>::deserialize(message)?;
        // The session key is not kept: the connection has one.
        self.0.finish(proof, parameters(names))?;
        Ok(())
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

fn parameters<'a>(names: Names<'a>) -> ServerLoginParameters<'a, 'a> {
    ServerLoginParameters {
        context: Some(labels::OPAQUE_CONTEXT),
        identifiers: names.identifiers(),
    }
}
