//! Tickets that a login drew: kept when the operator's log names the key that made them.

use kinline_protocol::engine::io::Command;
use kinline_protocol::engine::{Engine, IssuerVerdict};

use super::failure::Failure;
use crate::device::Device;

/// Keeps what a login drew under an issuer's key, and says what becomes of it. The device has
/// settled, so it has read the operator's log. False when the tickets are thrown away.
pub(super) async fn keep_drawn(
    device: &Device,
    issuer: Option<(u32, [u8; 32])>,
    tickets: Vec<String>,
) -> Result<bool, Failure> {
    let (Some((epoch, key)), false) = (issuer, tickets.is_empty()) else {
        return Ok(true);
    };
    let verdict = device
        .with(move |engine: &Engine| engine.judge_issuer(epoch, &key))
        .await?;
    match verdict {
        IssuerVerdict::Named => println!("{} tickets were drawn.", tickets.len()),
        IssuerVerdict::NoOperator => println!(
            "{} tickets were drawn. This relay names no operator: that it made everybody's under one key is its own word alone.",
            tickets.len()
        ),
        IssuerVerdict::Other => eprintln!(
            "The relay made these tickets under another key than its operator's log names, and could know them again: they are thrown away."
        ),
        IssuerVerdict::Unnamed => eprintln!(
            "The operator's log names no key for tickets of these days, so the relay could know these again: they are thrown away. Log in again when the operator has published the key."
        ),
    }
    if verdict.may_spend() {
        device.command(Command::KeepTickets { tickets }).await?;
    }
    Ok(verdict.may_spend())
}
