//! The thief: reads everything a relay has on disk and looks for anything a thief could use.
//!
//! Kinline promises that the theft of a relay's data folder yields nothing. This crate is the
//! oracle behind that promise. [`steal`] takes a data folder (database, write-ahead log,
//! temporary files, blobs, logs, a metrics dump) and a list of *canaries* (names, texts, file
//! names, coordinates, e-mails: every secret of the story that was lived through the relay) and
//! reports
//!
//! - every canary it can find, in some forty spellings (raw, UTF-16, hex, base64, escapes, byte
//!   lists, reversed, hashes …), in file names, in file contents, in columns put together again
//!   from their pages, and inside gzip, zlib, deflate, zstd, base64 and hex found anywhere;
//! - pictures, sound, private keys, network addresses, e-mail addresses and times finer than a day;
//! - envelopes that are not 1,024 bytes, bodies and ids that are no noise;
//! - stored bytes that open an envelope, are the seed of a stored public key, are the preimage of
//!   a stored hash, or are accepted by a live relay;
//! - whatever a guess at a login name or a password can be tested against without the key file;
//! - values that two tables share, by which an account could be put beside its mailboxes.
//!
//! An oracle that has never failed is not trusted: each run also plants [`CONTROLS`] leaks of
//! different kinds into a scratch copy of the loot, under canaries of its own, and counts how many
//! of them it catches in the right place and for the right reason.
//!
//! ```
//! use kinline_thief::{Canaries, Options, steal};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let loot = tempfile::tempdir()?;
//! std::fs::write(loot.path().join("relay.log"), "stored one envelope for Ottilie Brandt\n")?;
//! let canaries = Canaries::from_lines(["Ottilie Brandt"])?;
//! let report = steal(loot.path(), &canaries, &Options::default())?;
//! assert_eq!((report.hits, report.controls_caught), (1, kinline_thief::CONTROLS));
//! assert!(!report.ok());
//! # Ok(())
//! # }
//! ```
//!
//! Code map: `canaries`, `forms` and `encodings` make needles, `search` matches them, `chance` weighs,
//! `survey` reads what is readable, `unpack` opens containers, `database` walks `SQLite` copies,
//! `randomness` tests noise, `keys` tries what was stolen, `guesses` makes what a guess could be
//! tested against, `links` compares tables, `controls` plants, `report` tells.

mod canaries;
mod chance;
mod controls;
mod database;
mod encodings;
mod error;
mod examine;
mod forms;
mod guesses;
mod keys;
mod links;
mod loot;
mod marks;
mod options;
mod randomness;
mod report;
mod search;
mod shape;
mod spool;
mod survey;
mod unpack;

pub use canaries::Canaries;
pub use controls::CONTROLS;
pub use error::ThiefError;
pub use examine::steal;
pub use options::{Detector, LiveCheck, Options};
pub use report::{
    ColumnReport, ControlReport, Finding, FindingKind, Note, RandomnessReport, Report, TableReport,
    TestReport,
};
