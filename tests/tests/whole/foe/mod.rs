//! Against the enemy's relay.

mod accomplice;
mod confusion;
mod contacts;
mod lives;
mod planted;
mod story;
mod times;
