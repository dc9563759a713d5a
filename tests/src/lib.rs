//! What only the whole can show: devices and a relay as processes of their own, joined by a real
//! TLS socket, with faults put between them and oracles that watch from outside.
//!
//! ```text
//!  person ─┐                          ┌─ relay (process, killed)
//!  person ─┼── TLS ── tap ─── TLS ────┤
//!  chat   ─┘   (killed) │             └─ data folder ── sqlite · theft
//!                       └─ record: what the relay acknowledged, and who had it
//! ```
//!
//! - Processes: [`relay`], [`chat`] (a device that is fed line by line), [`shell`] (one call of
//!   `kinline-sim` each), [`people`] (devices in this process).
//! - Faults: [`tap`] sits between devices and relay and kills, cuts or mutes at a chosen frame;
//!   [`sqlite`] takes the newest writes away; [`stranger`] says what no device would say;
//!   [`foe`] is a relay that lies.
//! - Oracles: [`record`] judges the relay by what went over the wire, [`judge`] judges screens by
//!   what was said. Neither asks the code under test. Each has planted faults that it must catch.
//!
//! [`drill`] loses a family's phones and brings them back, with a watch in its hand. [`links`] asks
//! a stolen database which mailboxes belong to which account.
//!
//! The stories are in `tests/whole`. `KINLINE_SEED=n` repeats the random ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a harness: what goes wrong here ends the test that uses it, with the place and the reason"
)]

pub mod breach;
pub mod chat;
pub mod drill;
pub mod foe;
pub mod judge;
pub mod links;
pub mod patience;
pub mod people;
pub mod program;
pub mod record;
pub mod relay;
pub mod scene;
pub mod seed;
pub mod shell;
pub mod sqlite;
pub mod stranger;
pub mod sweep;
pub mod tap;
pub mod theft;
pub mod websocket;
