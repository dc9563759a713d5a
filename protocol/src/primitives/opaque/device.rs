//! A device's half of OPAQUE.

use core::fmt;

use opaque_ke::errors::InternalError;
use opaque_ke::generic_array::{ArrayLength, GenericArray};
use opaque_ke::{
    ClientLogin, ClientLoginFinishParameters, ClientRegistration,
    ClientRegistrationFinishParameters, CredentialResponse, RegistrationResponse,
};
use zeroize::Zeroize;

use super::{
    EXPORT_KEY_BYTES, Exchange, Group, LOGIN_ANSWER_BYTES, Names, OpaqueError,
    REGISTRATION_ANSWER_BYTES, exactly,
};
use crate::labels;
use crate::primitives::bridge::Bridge;
use crate::primitives::stretching::Stretching;
use crate::secrets::Secret;

struct Suite;

impl opaque_ke::CipherSuite for Suite {
    type OprfCs = Group;
    type KeyExchange = Exchange;
    type Ksf = Stretch;
}

/// Argon2id with the costs of one account. The salt is zero, as RFC 9807 §7 has it: the input is
/// the output of a function that only the relay's setup and this account's id make.
struct Stretch(Stretching);

impl Default for Stretch {
    fn default() -> Self {
        Self(Stretching::DEFAULT)
    }
}

impl opaque_ke::ksf::Ksf for Stretch {
    fn hash<L: ArrayLength<u8>>(
        &self,
        input: GenericArray<u8, L>,
    ) -> Result<GenericArray<u8, L>, InternalError> {
        let mut out = GenericArray::default();
        self.0
            .stretch(&input, &[0; 16], &mut out)
            .map_err(|_| InternalError::KsfError)?;
        Ok(out)
    }
}

/// A registration that has been asked for.
pub struct Registration(ClientRegistration<Suite>);

/// What a registration ends with.
#[derive(Debug)]
pub struct Registered {
    /// For the relay: 192 bytes.
    pub record: Vec<u8>,
    /// For this device alone.
    pub export_key: Secret<EXPORT_KEY_BYTES>,
}

impl Registration {
    /// Starts one: the state, and 32 bytes for the relay.
    ///
    /// # Errors
    /// [`OpaqueError::Malformed`] when the password is empty or longer than 64 KiB.
    pub fn start(
        password: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<(Self, Vec<u8>), OpaqueError> {
        let started = ClientRegistration::start(&mut Bridge(rng), password)?;
        Ok((Self(started.state), started.message.serialize().to_vec()))
    }

    /// Makes the record of the relay's 64 bytes. Takes as long as `stretching` costs.
    ///
    /// # Errors
    /// [`OpaqueError`] for what is no answer.
    pub fn finish(
        self,
        password: &[u8],
        stretching: Stretching,
        names: Names<'_>,
        answer: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Registered, OpaqueError> {
        let answer = exactly(answer, REGISTRATION_ANSWER_BYTES)?;
        let answer = RegistrationResponse::deserialize(answer)?;
        let stretch = Stretch(stretching);
        let parameters =
            ClientRegistrationFinishParameters::new(names.identifiers(), Some(&stretch));
        let mut finished = self
            .0
            .finish(&mut Bridge(rng), password, answer, parameters)?;
        Ok(Registered {
            record: finished.message.serialize().to_vec(),
            export_key: taken(&mut finished.export_key)?,
        })
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A login that has been asked for.
#[derive(Clone)]
pub struct Login(ClientLogin<Suite>);

/// What a login ends with.
#[derive(Debug)]
pub struct LoggedIn {
    /// KE3 for the relay: 64 bytes.
    pub proof: Vec<u8>,
    /// For this device alone; the same as at the registration.
    pub export_key: Secret<EXPORT_KEY_BYTES>,
    /// The costs with which the password was stretched.
    pub stretching: Stretching,
}

impl Login {
    /// Starts one: the state, and 96 bytes for the relay.
    ///
    /// # Errors
    /// [`OpaqueError::Malformed`] when the password is empty or longer than 64 KiB.
    pub fn start(
        password: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<(Self, Vec<u8>), OpaqueError> {
        let started = ClientLogin::start(&mut Bridge(rng), password)?;
        Ok((Self(started.state), started.message.serialize().to_vec()))
    }

    /// Tries each of `stretchings` (those that the relay announced and this device accepts) on
    /// the relay's 320 bytes, in their order. Takes as long as those cost that are tried.
    ///
    /// # Errors
    /// [`OpaqueError::Denied`] when none fits; others for what is no answer.
    pub fn finish(
        &self,
        password: &[u8],
        stretchings: &[Stretching],
        names: Names<'_>,
        answer: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<LoggedIn, OpaqueError> {
        let answer = exactly(answer, LOGIN_ANSWER_BYTES)?;
        let answer = CredentialResponse::<Suite>::deserialize(answer)?;
        for stretching in stretchings {
            let stretch = Stretch(*stretching);
            let parameters = ClientLoginFinishParameters::new(
                Some(labels::OPAQUE_CONTEXT),
                names.identifiers(),
                Some(&stretch),
            );
            let finished =
                self.0
                    .clone()
                    .finish(&mut Bridge(&mut *rng), password, answer.clone(), parameters);
            match finished.map_err(OpaqueError::from) {
                Ok(mut finished) => {
                    finished.session_key.zeroize();
                    return Ok(LoggedIn {
                        proof: finished.message.serialize().to_vec(),
                        export_key: taken(&mut finished.export_key)?,
                        stretching: *stretching,
                    });
                }
                Err(OpaqueError::Denied) => {}
                Err(error) => return Err(error),
            }
        }
        Err(OpaqueError::Denied)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

fn taken(bytes: &mut [u8]) -> Result<Secret<EXPORT_KEY_BYTES>, OpaqueError> {
    let key = Secret::from_slice(bytes).ok_or(OpaqueError::Malformed);
    bytes.zeroize();
    key
}
