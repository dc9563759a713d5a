//! The command line `kinline-sim`.
//!
//! Exit status 0: done. 1: a promise did not hold. 2: something in the surroundings is wrong
//! (arguments, files, passphrase, relay, certificate), told by one sentence on stderr.

mod args;
mod compose;
mod failure;
mod family;
mod find;
mod inbox;
mod message;
mod pairing;
mod relay;
mod run;
mod screen;
mod session;
mod status;
mod steal;

pub use args::{Cli, DeviceArgs, StealArgs, Verb, Work};
pub use run::main;
