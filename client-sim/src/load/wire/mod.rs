//! The wire as a load generator speaks it: real TLS, real WebSocket, real frames, with as
//! little work as possible on this side, so that the relay is what is measured.
//!
//! [`Connection`] owns one socket and moves bytes both ways in one poll. [`websocket`] cuts
//! messages out of what came, in place. [`frames`] reads the two frames that come by the
//! ten thousand without building them. [`Template`] is a whole `Send` made beforehand, of
//! which only ids and the stamp change.

mod connection;
pub(super) mod frames;
mod template;
pub(super) mod websocket;

pub(super) use connection::{Connection, Dial};
pub(super) use frames::Seen;
pub(super) use template::{FIRST_REQUEST, Stamp, Template};
