//! Against the enemy's relay.

mod accomplice;
mod lives;
mod planted;
mod story;
