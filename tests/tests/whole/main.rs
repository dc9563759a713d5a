//! Stories of the whole: devices and a relay, through a real socket, killed, cut, robbed.
//!
//! `KINLINE_SEED=n cargo test -p kinline-tests` repeats the random ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod account;
mod attached;
mod bad_input;
mod day;
mod device_killed;
mod erase;
mod foe;
mod history;
mod links;
mod mailbox;
mod operator;
mod photo_killed;
mod relay_killed;
mod shell;
mod shell_families;
mod shell_groups;
mod surroundings;
mod theft;
