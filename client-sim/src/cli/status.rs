//! `status`: how a device is doing.

use std::time::Duration;

use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::engine::{ConversationSummary, Counters, Engine};
use kinline_protocol::identity::Role;
use kinline_protocol::ids::{ConversationId, DeviceId, MemberId};
use serde_json::{Value, json};

use super::failure::Failure;
use super::message::harmless;
use super::policies;
use super::session::Session;
use crate::device::{Book, Device};
use crate::shell::LinkStatus;

/// The relay gets at most this long to answer.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

struct Facts {
    device: DeviceId,
    device_name: String,
    member: Option<MemberId>,
    was_paired: bool,
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
        was_paired: engine.family_log().is_some(),
        relay: engine.relay().to_string(),
        conversations: engine.conversations(),
        counters: engine.counters(),
        generation: engine.generation(),
    }
}

/// Who watches over a contact conversation, and why nothing goes into a conversation now.
pub(super) struct Rules {
    pub(super) conversation: ConversationId,
    title: String,
    supervision: Vec<String>,
    silence: Option<String>,
    blocked: Vec<String>,
}

impl Rules {
    /// In words for the child.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.supervision.is_empty() {
            lines.push(format!("{}: {}", self.title, self.supervision.join("; ")));
        }
        if let Some(silence) = &self.silence {
            lines.push(format!("{}: nothing is sent: {silence}", self.title));
        }
        if !self.blocked.is_empty() {
            lines.push(format!(
                "{}: nothing is shown of {}",
                self.title,
                self.blocked.join(", ")
            ));
        }
        lines
    }
}

/// The rules of every conversation that has some.
pub(super) async fn rules(device: &Device) -> Result<Vec<Rules>, Failure> {
    let now = device.clock().now();
    let rules = device.with(move |engine: &Engine| {
        let book = Book::of(engine);
        let all = engine.conversations().into_iter().map(|it| {
            let passes = engine.passes_of(it.id, now);
            let mut supervision: Vec<String> = passes
                .iter()
                .flat_map(|pass| pass.sides())
                .map(|side| book.supervision(side))
                .collect();
            supervision.sort();
            supervision.dedup();
            let silence = engine.silence_of(it.id, now);
            let blocked = engine.blocked_in(it.id);
            Rules {
                conversation: it.id,
                title: it.title,
                supervision,
                silence: silence.map(|why| why.to_string()),
                blocked: blocked.iter().map(|member| book.name(member)).collect(),
            }
        });
        all.collect()
    });
    Ok(rules.await?)
}

const fn kind(kind: ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Family => "family",
        ConversationKind::Room => "room",
        ConversationKind::Contact => "contact",
        ConversationKind::Link => "link",
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
    let rules = rules(&device).await?;
    let policy = policies::state(&device).await?;
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
                "conversations": facts.conversations.iter().zip(&rules).map(|(it, rules)| conversation(it, rules)).collect::<Vec<_>>(),
                "policy": policy.map(|policy| policy.json),
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
    let owner = own_name(&facts).unwrap_or_else(|| {
        let (who, why) = if facts.was_paired {
            ("nobody any more", "removed from the family")
        } else {
            ("nobody yet", "not paired")
        };
        format!("{who} ({why})")
    });
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
            "{:<10}  {} (epoch {}): {}",
            kind(it.kind),
            harmless(&it.title),
            it.epoch,
            harmless(&people.join(", "))
        );
    }
    for line in rules.iter().flat_map(Rules::lines) {
        println!("            {}", harmless(&line));
    }
    if let Some(policy) = policy {
        println!("policy      {}", policy.words);
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

fn conversation(it: &ConversationSummary, rules: &Rules) -> Value {
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
        "kind": kind(it.kind),
        "supervision": rules.supervision,
        "silence": rules.silence,
        "blocked": rules.blocked,
        "title": it.title,
        "epoch": it.epoch,
        "members": members,
    })
}
