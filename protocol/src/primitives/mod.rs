//! Each primitive in its one home file, called nowhere else.

pub mod aead;
#[cfg(feature = "client")]
pub mod chacha;
#[cfg(feature = "client")]
pub mod dh;
pub mod hash;
pub mod kdf;
#[cfg(feature = "client")]
pub mod pake;
pub mod sign;
