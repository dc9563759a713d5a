//! The family log: a hash chain of signed decisions, folded into who is who.
//!
//! [`FamilyLog`] is the chain, whole or with entries hidden behind their hashes. What its
//! statements imply is folded by `state`; who must sign what, and when nothing may widen, is
//! judged by `rules`; how a guardian comes back who lost every device, by `recovery`. What another family sees of it is made by `extract`.

mod chain;
mod error;
mod extract;
mod recovery;
mod rules;
mod state;
#[cfg(test)]
mod tests;
mod view;

pub use chain::FamilyLog;
pub use error::LogError;
pub use extract::Shown;
pub use recovery::Asked;
pub use rules::Freeze;
pub use state::{Certificate, Member, PassEntry, Removal, Standing};
