//! `kinline-sim load`: how fast and how small the relay is, beside the barest program that
//! does the same on this machine in the same run.
//!
//! ```text
//!  core 0                                    core 1
//!  ┌─────────────────────────────┐           ┌──────────────────────────────────┐
//!  │ relay, or a baseline        │  TLS 1.3  │ this program                     │
//!  │ (a process of its own,      │◄─────────►│ wire · people · course · jobs    │
//!  │  as its own program runs it)│           │ one thread, one task a device    │
//!  └─────────────────────────────┘           └──────────────────────────────────┘
//! ```
//!
//! [`jobs`] holds what is measured, [`baseline`] what it is measured against. [`pairs`] and
//! the echo run a [`course`]: warm up, measure, stop, and count what is missing, for each
//! envelope says when it was to be sent and which one it is. [`report`] is what comes out.
//! Nothing outside is touched: each relay lives in a folder of its own that goes with it,
//! and ends with this program.

mod args;
mod baseline;
mod child;
mod cores;
mod course;
mod families;
mod jobs;
mod others;
mod pairs;
mod people;
mod plan;
mod process;
mod progress;
mod report;
mod run;
mod tally;
mod trouble;
mod wire;

pub use args::{ChildArgs, Job, LoadArgs};
pub use child::Role;
pub use run::{be_child, run};
