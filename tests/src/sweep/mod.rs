//! The crash sweep: a relay dies at every moment that matters, and nothing that it acknowledged
//! is lost.
//!
//! ```text
//!  cast ── driver ──TLS──► relay (a process, under strace) ──► data folder
//!            │                        │ SIGKILL, EIO, or only watched
//!            ▼                        ▼
//!          record                strace ──► power: the folder after a cut
//!            │                                  │
//!            └──► oracle ◄── drain ◄──TLS── relay (started again, without strace)
//! ```
//!
//! - [`cast`] is who takes part, from a seed; [`client`] one connection that may break at any
//!   moment; [`driver`] the life that they lead; [`drain`] looks at everything afterwards.
//! - [`record`] is what the relay said and when, [`oracle`] judges what is found by it. Neither
//!   asks the code under test.
//! - [`strace`] starts a relay under observation and reads what was observed; [`power`] rebuilds
//!   a folder as a power cut would leave it.
//! - [`kills`], [`cuts`], [`errors`], [`damage`], [`full`] and [`planted`] are the sweeps, on one
//!   [`stage`]; [`device`] does the same to a device; [`run`] is the command, [`report`] adds up.
//!
//! SIGKILL leaves the page cache whole, so that a kill shows only what the relay had not handed
//! to the system yet; what it had not synced is shown by the cuts.

pub mod cast;
pub mod client;
pub mod cuts;
pub mod damage;
pub mod device;
pub mod drain;
pub mod driver;
pub mod errors;
pub mod full;
pub mod kills;
pub mod oracle;
pub mod planted;
pub mod power;
pub mod process;
pub mod record;
pub mod report;
pub mod run;
pub mod stage;
pub mod strace;
pub mod trace;
