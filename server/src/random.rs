//! Random bytes from the operating system.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub(crate) struct RandomError(#[source] getrandom::Error);

/// Draws `N` fresh bytes.
///
/// # Errors
/// [`RandomError`] when the operating system has none to give.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

/// A generator for one operation, seeded by the operating system.
///
/// # Errors
/// [`RandomError`] when the operating system has no seed to give.
pub(crate) fn generator() -> Result<ChaCha20Rng, RandomError> {
    Ok(ChaCha20Rng::from_seed(bytes()?))
}
