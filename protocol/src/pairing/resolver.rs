//! The primitives under snow's state machine: ours, from their home files.

use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::Zeroize;

use crate::primitives::chacha::{MessageKey, TAG_BYTES};
use crate::primitives::dh::SecretKey;
use crate::primitives::hash::Running;
use crate::secrets::Secret;

/// Resolves X25519, ChaCha20-Poly1305 and SHA-256; the one ephemeral key comes from `seed`.
pub(super) struct Resolver {
    /// Private key of the handshake's ephemeral, drawn by the caller.
    pub(super) ephemeral: Secret<32>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::default())),
            DHChoice::Curve448 => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::SHA256 => Some(Box::new(Sha256::default())),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::new(ChaChaPoly(None))),
            CipherChoice::AESGCM => None,
        }
    }
}

/// Gives out one ephemeral key; an NN handshake asks once, and never gets the same twice.
struct Once(Option<Secret<32>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.take().ok_or(Error::Rng)?;
        if dest.len() != bytes.expose().len() {
            return Err(Error::Rng);
        }
        dest.copy_from_slice(bytes.expose());
        Ok(())
    }
}

#[derive(Default)]
struct X25519 {
    secret: Option<SecretKey>,
    public: [u8; 32],
}

impl X25519 {
    fn install(&mut self, private: &Secret<32>) {
        let secret = SecretKey::from_bytes(private);
        self.public = secret.public();
        self.secret = Some(secret);
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        if let Some(private) = Secret::from_slice(privkey) {
            self.install(&private);
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut bytes = [0; 32];
        rng.try_fill_bytes(&mut bytes)?;
        self.install(&Secret::new(bytes));
        bytes.zeroize();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        match &self.secret {
            Some(secret) => secret.as_bytes(),
            None => &[],
        }
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let secret = self.secret.as_ref().ok_or(Error::Dh)?;
        // snow hands over a buffer for the longest curve; the key is its beginning.
        let theirs = pubkey.first_chunk::<32>().ok_or(Error::Dh)?;
        let out = out.first_chunk_mut::<32>().ok_or(Error::Dh)?;
        let shared = secret.agree(theirs).map_err(|_| Error::Dh)?;
        *out = *shared.expose();
        Ok(())
    }
}

#[derive(Default)]
struct Sha256(Running);

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Running::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        if let Some(out) = out.first_chunk_mut::<32>() {
            *out = core::mem::take(&mut self.0).finish();
        }
    }
}

/// Noise's ChaChaPoly: the nonce is 32 zero bits and the counter, little-endian (Noise §12.3).
struct ChaChaPoly(Option<MessageKey>);

impl ChaChaPoly {
    fn nonce(counter: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        if let Some(tail) = nonce.last_chunk_mut::<8>() {
            *tail = counter.to_le_bytes();
        }
        nonce
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Some(MessageKey::new(key));
    }

    /// snow has checked that there is a key and that `out` is long enough; were it not so,
    /// nothing is written, and the other side refuses the empty message.
    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let mut buffer = Vec::with_capacity(plaintext.len() + TAG_BYTES);
        buffer.extend_from_slice(plaintext);
        let sealed = self
            .0
            .as_ref()
            .is_some_and(|key| key.seal(&Self::nonce(nonce), authtext, &mut buffer).is_ok());
        match out.get_mut(..buffer.len()) {
            Some(out) if sealed => {
                out.copy_from_slice(&buffer);
                buffer.len()
            }
            _ => 0,
        }
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        let mut buffer = ciphertext.to_vec();
        key.open(&Self::nonce(nonce), authtext, &mut buffer)
            .map_err(|_| Error::Decrypt)?;
        let out = out.get_mut(..buffer.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(&buffer);
        Ok(buffer.len())
    }
}
