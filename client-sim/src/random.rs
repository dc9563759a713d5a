//! The one place where randomness enters: a generator seeded by the operating system.

use rand::rngs::{StdRng, SysRng};
use rand::{SeedableRng as _, TryRng as _};

/// A cryptographic generator, seeded with 32 bytes of the operating system.
///
/// Without a source of randomness nothing here is safe, so the process ends then.
#[must_use]
pub fn os() -> StdRng {
    let mut seed = zeroize::Zeroizing::new([0_u8; 32]);
    if SysRng.try_fill_bytes(seed.as_mut_slice()).is_err() {
        std::process::abort();
    }
    StdRng::from_seed(*seed)
}
