//! Random stories that can be repeated.

use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

/// The generator of a random test: seeded by `KINLINE_SEED` when it is set, and told either way.
///
/// # Panics
/// When `KINLINE_SEED` is no number.
#[must_use]
pub fn seeded(test: &str) -> ChaCha20Rng {
    let seed: u64 = match std::env::var("KINLINE_SEED") {
        Ok(text) => text.parse().expect("KINLINE_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("{test}: seed {seed}; repeat with KINLINE_SEED={seed}");
    ChaCha20Rng::seed_from_u64(seed)
}
