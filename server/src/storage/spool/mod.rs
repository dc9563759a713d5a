//! The spool: where envelopes wait for devices that are not there.
//!
//! ```text
//!  submit ─► channel ─► writer thread ─► journal: append, one sync for a group
//!                          │                │ full, or nothing to do for a moment
//!                          ▼                ▼
//!                        index ◄──────── tidying thread ─► sorted segment, old ones removed
//!                          ▲
//!  read ───────────────────┘ where an envelope lies, then one read of the file
//! ```
//!
//! A segment is a file of slots of one size ([`slot`]), each sealed as a whole under the at-rest
//! key: to who lacks it, all that hold something are noise alike. The youngest segment is the
//! journal: it grows at its end, in the order in which things happened, by envelopes and by
//! *marks* that say up to where a mailbox was acknowledged. As soon as the writer has nothing to
//! do for a moment, or the journal is full, it is closed, and what is still waiting in it is
//! written again, sorted by permuted mailbox id, so that within a segment not even the key file
//! tells in which order it came ([`tidy`]). Slots of acknowledged envelopes in segments that stay
//! are punched out of the file: there the length of a hole may tell how many one mailbox had.
//!
//! The index ([`index`]) lives in memory and is read from the files at the start; a mailbox whose
//! envelopes lie side by side takes some 80 bytes of it. The writer's thread alone adds to it and
//! removes from it; the tidying thread moves entries to where they lie now.
//!
//! What must never be here: an answer before its sync, a sync that is tried again, a file that is
//! removed before everything in it lies durably elsewhere, a slot that is handed out without
//! having opened.

mod handle;
mod import;
mod index;
mod rekey;
mod scan;
mod segment;
mod slot;
mod state;
#[cfg(test)]
mod tests;
mod tidy;
mod writer;

pub(crate) use handle::{Job, Spool, SpoolError, SpoolOptions};
pub(crate) use import::{Import, import};
pub(crate) use rekey::rekey;
pub use scan::Spooled;
pub(crate) use scan::look;
pub(crate) use tidy::SEGMENT_SLOTS;
