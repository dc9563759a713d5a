//! The engine against a relay without sockets: stories of devices.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod catch_up;
mod chaos;
mod control;
mod crash;
mod erasing;
mod formed_again;
mod former_leaves;
mod fuzz;
mod governing;
mod grants;
mod healing;
mod history;
mod history_crash;
mod life;
mod lost_tablets;
mod members;
mod operator;
mod past_media;
mod phones;
mod phones_crash;
mod policing;
mod races;
mod recovery;
mod relay;
mod relay_faults;
mod setting_up;
mod short_code;
mod stories;
mod three_families;
mod tickets;
mod two_families;
mod vaults;
mod vocabulary;
mod waiting;
mod world;
