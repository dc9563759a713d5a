#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod leaves;
mod leaving;
mod news;
mod one_family;
mod passes;
mod removals;
mod world;
