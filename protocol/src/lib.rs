//! Kinline's protocol: what a device and a relay must agree on, and, behind the
//! `client` feature, everything that a device knows.
//!
//! No sockets, no files, no SQL, no clock and no randomness of its own: time and a
//! random generator come in as arguments. The relay is built without `client`, so
//! nothing that could decrypt is linked into it.
//!
//! Imports point one way: [`limits`], [`ids`], [`secrets`] → [`primitives`] →
//! [`wire`], [`attach`], [`grant`], [`blob`], [`ticket`], [`account`], [`operator`] → attachment →
//! content → policy → identity →
//! conversation, envelope, pairing → engine.

pub mod account;
pub mod attach;
pub mod blob;
pub mod day;
pub mod grant;
pub mod ids;
pub mod labels;
pub mod limits;
pub mod operator;
pub mod padme;
pub mod primitives;
pub mod secrets;
pub mod server_name;
pub mod ticket;
pub mod wire;

#[cfg(feature = "client")]
pub mod attachment;
#[cfg(feature = "client")]
pub mod content;
#[cfg(feature = "client")]
pub mod conversation;
#[cfg(feature = "client")]
pub mod engine;
#[cfg(feature = "client")]
pub mod envelope;
#[cfg(feature = "client")]
#[doc(hidden)]
pub mod faults;
#[cfg(feature = "client")]
pub mod identity;
#[cfg(feature = "client")]
pub mod pairing;
#[cfg(feature = "client")]
pub mod policy;
