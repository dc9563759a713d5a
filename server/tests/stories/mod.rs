//! One file per promise.

mod delivery;
