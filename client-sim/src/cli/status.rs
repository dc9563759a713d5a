//! `status`: how a device is doing.

use std::time::Duration;

use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::engine::{ConversationSummary, Counters, Engine};
use kinline_protocol::identity::Role;
use kinline_protocol::ids::{DeviceId, MemberId};
use serde_json::{Value, json};

use super::failure::Failure;
use super::session::Session;
use crate::shell::LinkStatus;

/// The relay gets at most this long to answer.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

struct Facts {
    device: DeviceId,
    device_name: String,
    member: Option<MemberId>,
    relay: String,
    conversations: Vec<ConversationSummary>,
    counters: Counters,
    generation: u64,
}

fn facts(engine: &Engine) -> Facts {
    Facts {
        device: engine.device(),
        device_name: engine.device_name().to_owned(),
        member: engine.member(),
        relay: engine.relay().to_string(),
        conversations: engine.conversations(),
        counters: engine.counters(),
        generation: engine.generation(),
    }
}

/// `status`
pub(super) async fn status(session: &Session, as_json: bool) -> Result<(), Failure> {
    let device = session.open()?;
    let patience = session.patience().min(PATIENCE_MAX);
    // A relay that is not there is part of the answer, not a failure.
    drop(
        device
            .status_until("the relay's answer", patience, |status| {
                (status.settled || status.trouble.is_some()).then_some(())
            })
            .await,
    );
    let facts = device.with(facts).await?;
    let now = device.status();
    let protection = device.protection().to_string();
    device.shutdown().await;
    let connected = now.link == LinkStatus::Up;
    let trouble = now.trouble.map(|trouble| trouble.sentence);
    if as_json {
        println!(
            "{}",
            json!({
                "device": hex::encode(facts.device.as_bytes()),
                "device_name": facts.device_name,
                "member": facts.member.map(|member| hex::encode(member.as_bytes())),
                "name": own_name(&facts),
                "relay": facts.relay,
                "connected": connected,
                "settled": now.settled,
                "trouble": trouble,
                "protection": protection,
                "generation": facts.generation,
                "conversations": facts.conversations.iter().map(conversation).collect::<Vec<_>>(),
                "counters": {
                    "unreadable": facts.counters.unreadable,
                    "duplicates": facts.counters.duplicates,
                    "refused": facts.counters.refused,
                    "gaps": facts.counters.gaps,
                    "unconfirmed": facts.counters.unconfirmed,
                },
            })
        );
        return Ok(());
    }
    let owner = own_name(&facts).unwrap_or_else(|| "nobody yet (not paired)".to_owned());
    println!("device      {} of {owner}", facts.device_name);
    println!("relay       {}", facts.relay);
    let connection = match (connected, now.settled, trouble) {
        (true, true, _) => "connected; everything is delivered and read".to_owned(),
        (true, false, _) => "connected".to_owned(),
        (false, _, Some(trouble)) => trouble,
        (false, _, None) => "no answer yet".to_owned(),
    };
    println!("connection  {connection}");
    println!("protected   by {protection}");
    for it in &facts.conversations {
        let people: Vec<String> = it
            .members
            .iter()
            .map(|member| format!("{} ({})", member.name, member.devices.len()))
            .collect();
        println!(
            "{}  {} (epoch {}): {}",
            if it.kind == ConversationKind::Family {
                "family    "
            } else {
                "room      "
            },
            it.title,
            it.epoch,
            people.join(", ")
        );
    }
    println!(
        "waiting     {} messages until every device has confirmed them",
        facts.counters.unconfirmed
    );
    Ok(())
}

fn own_name(facts: &Facts) -> Option<String> {
    let own = facts.member?;
    facts
        .conversations
        .iter()
        .flat_map(|conversation| &conversation.members)
        .find(|member| member.member == own)
        .map(|member| member.name.clone())
}

fn conversation(it: &ConversationSummary) -> Value {
    let members: Vec<Value> = it
        .members
        .iter()
        .map(|member| {
            json!({
                "member": hex::encode(member.member.as_bytes()),
                "name": member.name,
                "role": if member.role == Role::Guardian { "guardian" } else { "child" },
                "devices": member.devices.iter().map(|id| hex::encode(id.as_bytes())).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "id": hex::encode(it.id.as_bytes()),
        "kind": if it.kind == ConversationKind::Family { "family" } else { "room" },
        "title": it.title,
        "epoch": it.epoch,
        "members": members,
    })
}
