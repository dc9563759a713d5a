//! Each primitive in its one home file, called nowhere else.

pub mod aead;
mod bridge;
#[cfg(feature = "client")]
pub mod chacha;
#[cfg(feature = "client")]
pub mod dh;
pub mod hash;
pub mod kdf;
pub mod opaque;
#[cfg(feature = "client")]
pub mod pake;
pub mod sign;
pub mod stretching;
pub mod voprf;
