//! VOPRF (RFC 9497 mode 0x01, ristretto255-SHA512): the relay computes a function of an input
//! that it does not see, and proves that it used the key that everybody knows it by.

use core::fmt;

use subtle::ConstantTimeEq;
use voprf::{BlindedElement, Group as _, VoprfServer};
use zeroize::Zeroize;

use crate::primitives::bridge::Bridge;
use crate::secrets::Secret;

#[cfg(feature = "account")]
pub use device::{Blinded, finish, start};

/// Bytes of a blinded or an evaluated element.
pub const ELEMENT_BYTES: usize = 32;
/// Bytes of a proof over any number of elements.
pub const PROOF_BYTES: usize = 64;
/// Bytes of the function's output.
pub const OUTPUT_BYTES: usize = 64;

type Suite = voprf::Ristretto255;

/// An evaluation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoprfError {
    /// No element, no proof, no key, or another number of them than asked for.
    #[error("the other side's elements are none")]
    Malformed,
    /// The proof does not hold: the relay used another key than this one, perhaps to know these
    /// outputs again.
    #[error("the relay used another key than the one it is known by")]
    Proof,
}

/// The relay's key of one purpose.
#[derive(Clone)]
pub struct IssuerKey(VoprfServer<Suite>);

/// What the relay answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluated {
    /// One for each blinded element, in their order.
    pub elements: Vec<[u8; ELEMENT_BYTES]>,
    /// One for all.
    pub proof: [u8; PROOF_BYTES],
}

impl IssuerKey {
    /// `DeriveKeyPair(seed, info)` (RFC 9497 §3.2.1).
    ///
    /// # Errors
    /// [`VoprfError::Malformed`] when `info` has more than 64 KiB.
    pub fn derive(seed: &Secret<32>, info: &[u8]) -> Result<Self, VoprfError> {
        VoprfServer::new_from_seed(seed.expose(), info)
            .map(Self)
            .map_err(|_| VoprfError::Malformed)
    }

    /// The public half, by which everybody knows it.
    #[must_use]
    pub fn public(&self) -> [u8; ELEMENT_BYTES] {
        <Suite as voprf::CipherSuite>::Group::serialize_elem(self.0.get_public_key()).into()
    }

    /// Evaluates blinded elements and proves that all were evaluated under this key.
    ///
    /// # Errors
    /// [`VoprfError::Malformed`] when one is none, or there is none.
    pub fn evaluate(
        &self,
        blinded: &[impl AsRef<[u8]>],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Evaluated, VoprfError> {
        let blinded = blinded
            .iter()
            .map(|element| {
                let element = exactly::<ELEMENT_BYTES>(element.as_ref())?;
                BlindedElement::<Suite>::deserialize(element).map_err(|_| VoprfError::Malformed)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if blinded.is_empty() {
            return Err(VoprfError::Malformed);
        }
        let done = self
            .0
            .batch_blind_evaluate(&mut Bridge(rng), &blinded)
            .map_err(|_| VoprfError::Malformed)?;
        Ok(Evaluated {
            elements: done
                .messages
                .iter()
                .map(|element| element.serialize().into())
                .collect(),
            proof: done.proof.serialize().into(),
        })
    }

    /// Whether `output` is this key's function of `input`; compared in constant time.
    #[must_use]
    pub fn verify(&self, input: &[u8], output: &[u8; OUTPUT_BYTES]) -> bool {
        let Ok(mut expected) = self.0.evaluate(input) else {
            return false;
        };
        let equal = expected.as_slice().ct_eq(output).into();
        expected.zeroize();
        equal
    }
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], VoprfError> {
    bytes.try_into().map_err(|_| VoprfError::Malformed)
}

#[cfg(feature = "account")]
mod device {
    //! The half that blinds.

    use core::fmt;

    use voprf::{EvaluationElement, Group as _, Proof, VoprfClient};
    use zeroize::Zeroize;

    use super::{
        Bridge, ELEMENT_BYTES, OUTPUT_BYTES, PROOF_BYTES, Secret, Suite, VoprfError, exactly,
    };

    /// An input that has been blinded.
    pub struct Blinded(VoprfClient<Suite>);

    impl fmt::Debug for Blinded {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("[secret]")
        }
    }

    /// Blinds an input: the state, and 32 bytes that tell nothing about it.
    ///
    /// # Errors
    /// [`VoprfError::Malformed`] when the input has more than 64 KiB.
    pub fn start(
        input: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<(Blinded, [u8; ELEMENT_BYTES]), VoprfError> {
        let started = VoprfClient::<Suite>::blind(input, &mut Bridge(rng))
            .map_err(|_| VoprfError::Malformed)?;
        Ok((Blinded(started.state), started.message.serialize().into()))
    }

    /// Checks the proof against the relay's key and takes the blinds off: one output for each
    /// input, in their order.
    ///
    /// # Errors
    /// [`VoprfError`]; nothing is given out unless all of it holds.
    pub fn finish(
        inputs: &[impl AsRef<[u8]>],
        blinded: &[Blinded],
        evaluated: &[impl AsRef<[u8]>],
        proof: &[u8],
        key: &[u8],
    ) -> Result<Vec<Secret<OUTPUT_BYTES>>, VoprfError> {
        let malformed = |_| VoprfError::Malformed;
        if inputs.is_empty() || inputs.len() != blinded.len() || blinded.len() != evaluated.len() {
            return Err(VoprfError::Malformed);
        }
        let key =
            <Suite as voprf::CipherSuite>::Group::deserialize_elem(exactly::<ELEMENT_BYTES>(key)?)
                .map_err(malformed)?;
        let proof =
            Proof::<Suite>::deserialize(exactly::<PROOF_BYTES>(proof)?).map_err(malformed)?;
        let evaluated = evaluated
            .iter()
            .map(|element| {
                let element = exactly::<ELEMENT_BYTES>(element.as_ref())?;
                EvaluationElement::<Suite>::deserialize(element).map_err(malformed)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let clients: Vec<_> = blinded.iter().map(|blinded| blinded.0.clone()).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(AsRef::as_ref).collect();
        VoprfClient::batch_finalize(&inputs, &clients, &evaluated, &proof, key)
            .map_err(|_| VoprfError::Proof)?
            .map(|output| {
                let mut output = output.map_err(malformed)?;
                let secret = Secret::from_slice(&output).ok_or(VoprfError::Malformed);
                output.zeroize();
                secret
            })
            .collect()
    }
}

#[cfg(all(test, feature = "account"))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use proptest::prelude::{any, prop, proptest};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::{Blinded, Evaluated, IssuerKey, VoprfError, finish, start};
    use crate::secrets::Secret;

    fn rng(seed: u8) -> ChaCha20Rng {
        ChaCha20Rng::from_seed([seed; 32])
    }

    fn key(info: &[u8]) -> IssuerKey {
        IssuerKey::derive(&Secret::new([7; 32]), info).unwrap()
    }

    const INPUTS: [&[u8]; 3] = [b"one", b"two", b"three"];

    fn run(key: &IssuerKey) -> (Vec<Blinded>, Evaluated) {
        let mut rng = rng(1);
        let (states, blinded): (Vec<_>, Vec<_>) = INPUTS
            .iter()
            .map(|input| start(input, &mut rng).unwrap())
            .unzip();
        (states, key.evaluate(&blinded, &mut rng).unwrap())
    }

    #[test]
    fn outputs_are_the_keys_function_of_the_inputs() {
        let (a, b) = (key(b"a"), key(b"b"));
        let (states, done) = run(&a);
        let outputs = finish(&INPUTS, &states, &done.elements, &done.proof, &a.public()).unwrap();
        for (input, output) in INPUTS.iter().zip(&outputs) {
            assert!(a.verify(input, output.expose()));
            assert!(!b.verify(input, output.expose()));
            assert!(!a.verify(b"four", output.expose()));
        }
        assert!(!a.verify(INPUTS[0], outputs[1].expose()));
        assert_eq!(format!("{a:?}{:?}", states[0]), "[secret][secret]");
    }

    #[test]
    fn another_key_for_all_or_for_one_is_noticed() {
        let (a, b) = (key(b"a"), key(b"b"));
        let (states, done) = run(&a);
        let (_, other) = run(&b);
        let proof = Err(VoprfError::Proof);
        let tried = |elements: &[[u8; 32]], proof: &[u8], key: &IssuerKey| {
            finish(&INPUTS, &states, elements, proof, &key.public()).map(|_| ())
        };
        assert_eq!(tried(&done.elements, &done.proof, &b), proof);
        assert_eq!(tried(&other.elements, &other.proof, &a), proof);
        let mut mixed = done.elements.clone();
        mixed[1] = other.elements[1];
        assert_eq!(tried(&mixed, &done.proof, &a), proof);
        mixed.swap(0, 2);
        assert_eq!(tried(&mixed, &done.proof, &a), proof);
        assert_eq!(tried(&done.elements, &done.proof, &a), Ok(()));
        assert_eq!(
            tried(&done.elements[..2], &done.proof, &a),
            Err(VoprfError::Malformed)
        );
    }

    /// RFC 9497, A.1.2.1: the key, and one input's evaluation.
    #[test]
    fn a_key_is_derived_as_the_standard_says() {
        let seed = Secret::new([0xa3; 32]);
        let key = IssuerKey::derive(&seed, b"test key").unwrap();
        assert_eq!(
            hex::encode(key.public()),
            "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e"
        );
        let output = "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7d\
                      a4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c";
        let output: [u8; 64] = hex::decode(output).unwrap().try_into().unwrap();
        assert!(key.verify(&[0], &output));
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(noise in prop::collection::vec(any::<u8>(), 0..70), at in 0_usize..64, bit in 0_u8..8) {
            let a = key(b"a");
            let (states, done) = run(&a);
            let _ = a.evaluate(&[&noise], &mut rng(1));
            let mut proof = done.proof;
            proof[at] ^= 1 << bit;
            assert!(finish(&INPUTS, &states, &done.elements, &proof, &a.public()).is_err());
            assert!(finish(&INPUTS, &states, &done.elements, &noise, &a.public()).is_err());
            assert!(finish(&INPUTS, &states, &done.elements, &done.proof, &noise).is_err());
        }
    }
}
