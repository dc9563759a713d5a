//! The enemy's relay: honest at heart, with a liar in front of it that may answer anything to
//! anything, and an oracle that watches the devices from outside.
//!
//! ```text
//!  frames of devices ──▶ liar ──▶ honest ──▶ liar ──▶ frames to devices
//!                         │  complaints: what no device may ever say
//!  events of devices ──▶ oracle: who wrote what, who was let in, who was taken out
//! ```
//!
//! [`Liar`] is pure: frames and a seed in, frames out. [`EnemyRelay`] puts it behind a real
//! socket; [`Life`] drives a family of engines against it without one.

mod blobs;
mod days;
mod device;
mod family;
mod forge;
mod friends;
mod honest;
mod liar;
mod mischief;
mod oracle;
mod outlaw;
mod socket;
mod tampering;
mod watching;

pub use device::{Device, Look, Name, crypto};
pub use family::{FAMILY, Life, WAITING_MS};
pub use friends::{FRIENDS, wish};
pub use honest::{Blob, Honest, Line};
pub use liar::{Liar, Manners, Said};
pub use oracle::Oracle;
pub use outlaw::{Outlaw, plant};
pub use socket::EnemyRelay;
