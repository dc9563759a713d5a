//! `operator`, and what `notices` does with the operator's words: whoever has read them has
//! acknowledged them.

use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, OperatorNotice};
use kinline_protocol::server_name::operator_text;
use serde_json::json;

use super::failure::Failure;
use super::session::Session;
use crate::device::{Device, Notice};

/// `operator`
pub(super) async fn show(session: &Session, as_json: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let known = device.with(Engine::operator).await?;
    device.shutdown().await;
    let Some(known) = known else {
        println!(
            "{}",
            if as_json {
                "null"
            } else {
                "This relay's operator keeps no log."
            }
        );
        return Ok(());
    };
    let key = operator_text(&known.key);
    if as_json {
        let status = json!({
            "key": key, "vouched": known.vouched,
            "entries": known.entries, "locked_down": known.locked_down,
        });
        println!("{status}");
        return Ok(());
    }
    let by = if known.vouched {
        "the relay's address or your family"
    } else {
        "the relay alone: compare it with what the operator publishes"
    };
    println!("operator {key}, named by {by}");
    println!("{} entries of its log were read", known.entries);
    if known.locked_down {
        println!("The relay is locked down: messages go on, nobody can be paired or log in.");
    }
    Ok(())
}

/// Adds what the operator said and was no event on this device (it was none of a guardian's then).
pub(super) fn add_unkept(told: &[OperatorNotice], shown: &mut Vec<Notice>) {
    for notice in told {
        let index = json!(notice.index);
        let is_it = |shown: &Notice| {
            shown.kind == "operator-notice" && shown.details.get("index") == Some(&index)
        };
        if !shown.iter().any(is_it) {
            shown.push(Notice::of_operator(notice));
        }
    }
}

/// Acknowledges what was shown.
pub(super) async fn acknowledge(device: &Device, told: &[OperatorNotice]) -> Result<(), Failure> {
    for notice in told {
        let index = notice.index;
        device.command(Command::AcknowledgeNotice { index }).await?;
    }
    Ok(())
}
