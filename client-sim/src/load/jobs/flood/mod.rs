//! More than there should be: memory stays bounded, others hardly notice, and whoever sends too
//! much is told so, and when to try again.
//!
//! - [`contact`] is one sender who floods one mailbox, under the limits that a relay has by default.
//! - [`reader`] is a device that attaches and never reads, while others send to it.
//! - [`overload`] is twice what the relay can carry, from senders whose rates are not limited.
//! - [`heard`] counts what a flooder is answered; [`rows`] is what all three tell.

mod contact;
mod heard;
mod overload;
mod reader;
mod rows;

use super::Bench;
use crate::load::report::JobReport;
use crate::load::trouble::Trouble;

/// Runs all three.
pub(in crate::load) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let mut rows = contact::run(bench).await?;
    rows.extend(reader::run(bench).await?);
    rows.extend(overload::run(bench).await?);
    Ok(rows)
}
