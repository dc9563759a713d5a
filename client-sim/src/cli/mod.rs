//! The command line `kinline-sim`.
//!
//! Exit status 0: done. 1: refused (not allowed, not there, a code that does not hold, a no on
//! the other side), with nothing changed; or a promise did not hold. 2: something in the
//! surroundings is wrong (arguments, files, passphrase, relay, certificate). 1 and 2 come with
//! one sentence on stderr.

mod account;
mod args;
mod args_account;
mod args_contacts;
mod args_family;
mod compose;
mod contact_run;
mod correcting;
mod credentials;
mod deciding;
mod erase;
mod export;
mod export_page;
mod failure;
mod family;
mod family_log;
mod find;
mod groups;
mod history;
mod inbox;
mod meeting;
mod message;
mod operator;
mod pairing;
mod paper;
mod passes;
mod policies;
mod quiet;
mod relay;
mod returning;
mod run;
mod safety;
mod screen;
mod session;
mod status;
mod steal;
mod tickets;

pub use args::{Cli, DeviceArgs, StealArgs, Verb, Work};
pub use args_contacts::{ContactVerb, GroupVerb, MeetVerb, PassVerb};
pub use args_family::{FamilyVerb, PolicyVerb, RemoveVerb};
pub use erase::EraseVerb;
pub use run::main;
