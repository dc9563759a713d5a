//! What makes the tables noise to a thief: the key file, and the keys derived from it.
//!
//! The key file lies outside the data folder. From its one secret come a permutation for
//! each kind of id, so that the same id looks different in each table, and one sealing
//! key for the columns that hold public keys and generations.

mod at_rest;
mod key_file;

pub(crate) use at_rest::{AtRest, SealedError};
pub(crate) use key_file::KeyFile;
pub use key_file::KeyFileError;
