//! Against the enemy's relay.

mod accomplice;
mod contacts;
mod lives;
mod planted;
mod story;
