//! `family`: who is who, what holds, and who decided what.

use kinline_protocol::day::{Day, Timestamp};
use kinline_protocol::engine::Engine;
use kinline_protocol::identity::{FamilyLog, Member, Removal, Role, Standing};
use serde_json::{Value, json};

use super::deciding::{OpenProposal, open_proposals};
use super::failure::Failure;
use super::passes::{self, PassState};
use super::session::Session;
use crate::device::{Book, policy_words, short};

/// Everything at once, as values that leave the device's task.
struct Facts {
    json: Value,
    lines: Vec<String>,
}

/// `family`
pub(super) async fn show(session: &Session, as_json: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let now = device.clock().now();
    let facts = device.with(move |engine| facts(engine, now)).await?;
    device.shutdown().await;
    let facts = facts.ok_or_else(|| Failure::refused("this device belongs to no family yet"))?;
    if as_json {
        println!("{}", facts.json);
    } else {
        for line in &facts.lines {
            println!("{}", super::message::harmless(line));
        }
    }
    Ok(())
}

/// All of it for a program; `None` for a device without a family.
pub(super) fn json_of(engine: &Engine, now: Timestamp) -> Option<Value> {
    Some(facts(engine, now)?.json)
}

fn role(member: &Member) -> &'static str {
    match member.role {
        Role::Guardian => "guardian",
        Role::Child => "child",
    }
}

fn facts(engine: &Engine, now: Timestamp) -> Option<Facts> {
    let log = engine.family_log()?;
    let book = Book::of(engine);
    let today = engine.day(now);
    let mut lines = vec![
        format!("The family {}, on {today}", log.family_name()),
        String::new(),
    ];
    let members = people(engine, log, &book, &mut lines);
    let (removed, frozen) = removals(log, today, &mut lines);
    let settings = log.settings();
    lines.push(format!(
        "What allows more needs {} of its guardians; without a guardian's phone for {} days, children reach their own family only.",
        settings.signatures, settings.lease_days
    ));
    lines.push(frozen.unwrap_or_else(|| "Nothing is frozen.".to_owned()));
    let families = leases(engine, today, &book, &mut lines);

    let states = passes::states(engine, now);
    lines.push(String::new());
    lines.push("Contact passes:".to_owned());
    lines.extend(states.iter().map(|state| format!("  {}", state.line())));
    if states.is_empty() {
        lines.push("  none".to_owned());
    }

    let proposals = open_proposals(engine, now);
    if !proposals.is_empty() {
        lines.push(String::new());
        lines.push("Waiting for a guardian's yes:".to_owned());
    }
    lines.extend(proposals.iter().map(|it| format!("  {}", it.line())));
    let proposals: Vec<Value> = proposals.iter().map(OpenProposal::json).collect();

    lines.push(String::new());
    lines.push("What was decided:".to_owned());
    let decisions = decisions(log, &book, &mut lines);
    let json = json!({
        "family": log.family_name(),
        "id": hex::encode(log.family().as_bytes()),
        "today": today.to_string(),
        "statements": log.len(),
        "head": hex::encode(log.head()),
        "settings": {"signatures": settings.signatures, "lease_days": settings.lease_days},
        "frozen": log.is_frozen(today).map(|freeze| json!({
            "removal": freeze.removal,
            "until": freeze.until.map(|day| day.to_string()),
        })),
        "members": members,
        "removed": removed,
        "families": families,
        "passes": states.iter().map(PassState::json).collect::<Vec<_>>(),
        "proposals": proposals,
        "decisions": decisions,
    });
    Some(Facts { json, lines })
}

/// Members and their devices.
fn people(engine: &Engine, log: &FamilyLog, book: &Book, lines: &mut Vec<String>) -> Vec<Value> {
    let entrusted = engine.entrusted();
    let certificates: Vec<_> = log.certificates().collect();
    let told = log.members().iter().map(|(id, member)| {
        lines.push(format!("  {} ({})", member.name, role(member)));
        let policy = log.policy(id).map(policy_words);
        if let Some(policy) = &policy {
            lines.push(format!("    what holds: {policy}"));
        }
        let theirs = certificates.iter().filter(|it| it.member == *id);
        let devices: Vec<Value> = theirs
            .map(|certificate| {
                let device = certificate.device;
                let name = book.devices.get(&device).map(|(name, _)| name.as_str());
                let name = name.unwrap_or("device");
                let closable = entrusted.contains(&device);
                let mut notes = String::new();
                if device == engine.device() {
                    notes.push_str(", this one");
                }
                if closable {
                    notes.push_str(", mailbox can be closed from here");
                }
                lines.push(format!("    {}  {name}{notes}", short(device.as_bytes())));
                json!({
                    "id": hex::encode(device.as_bytes()),
                    "name": name,
                    "this": device == engine.device(),
                    "mailbox_entrusted": closable,
                })
            })
            .collect();
        json!({
            "id": hex::encode(id.as_bytes()),
            "name": member.name,
            "role": role(member),
            "policy": policy,
            "devices": devices,
        })
    });
    let told = told.collect();
    lines.push(String::new());
    told
}

/// Those who were removed, and the freeze that may follow from it.
fn removals(log: &FamilyLog, today: Day, lines: &mut Vec<String>) -> (Vec<Value>, Option<String>) {
    let standing = |removal: &Removal| match removal.standing {
        Standing::Final => "nothing to object to",
        Standing::Open if removal.freezes(today) => "may object until the freeze ends",
        Standing::Open => "did not object in time",
        Standing::Objected => "objects",
        Standing::Accepted => "gave in",
        Standing::Undone => "was taken back, and their phone is not in the family again yet",
        Standing::Returned => "was taken back",
    };
    let removed = log.removals().values().map(|removal| {
        lines.push(format!(
            "  {} ({}) was removed on {} by decision {}: {}",
            removal.person.name,
            role(&removal.person),
            removal.day,
            removal.index,
            standing(removal)
        ));
        json!({
            "index": removal.index,
            "id": hex::encode(removal.member.as_bytes()),
            "name": removal.person.name,
            "role": role(&removal.person),
            "day": removal.day.to_string(),
            "standing": standing(removal),
            "frozen": removal.freezes(today),
        })
    });
    let removed: Vec<Value> = removed.collect();
    if !removed.is_empty() {
        lines.push(String::new());
    }
    let frozen = log.is_frozen(today).map(|freeze| match freeze.until {
        Some(until) => format!(
            "Nothing more can be allowed before {until}: a guardian was removed by decision {}, and may object.",
            freeze.removal
        ),
        None if is_awaited(log, freeze.removal) => format!(
            "Nothing more can be allowed until {}'s phone is there again: the removal by decision {} was taken back. If they don't come, remove them.",
            log.name_ever(&freeze.member).unwrap_or("the guardian"),
            freeze.removal
        ),
        None => format!(
            "Nothing more can be allowed: the guardian removed by decision {} objects (withdraw {} ends it).",
            freeze.removal, freeze.removal
        ),
    });
    (removed, frozen)
}

/// Whether a guardian is awaited whose removal was taken back.
fn is_awaited(log: &FamilyLog, removal: u64) -> bool {
    let removal = log.removals().get(&removal);
    removal.is_some_and(|removal| removal.standing == Standing::Undone)
}

/// How long ago each family's guardians were heard.
fn leases(engine: &Engine, today: Day, book: &Book, lines: &mut Vec<String>) -> Vec<Value> {
    let told = engine.family_logs().map(|log| {
        let family = log.family();
        let heard = engine.heard_on(&family);
        let until = heard.map(|day| day.plus(log.settings().lease_days));
        let fresh = until.is_some_and(|until| today <= until);
        let name = book.family(&family);
        lines.push(match (heard, until) {
            (Some(heard), Some(until)) if fresh => {
                format!("A guardian of {name} was heard on {heard}; that is enough until {until}.")
            }
            (Some(heard), _) => {
                format!("No guardian of {name} was heard since {heard}: that is too long ago.")
            }
            (None, _) => format!("No guardian of {name} was heard yet."),
        });
        json!({
            "id": hex::encode(family.as_bytes()),
            "name": name,
            "own": book.own == Some(family),
            "statements": log.len(),
            "head": hex::encode(log.head()),
            "heard": heard.map(|day| day.to_string()),
            "until": until.map(|day| day.to_string()),
            "fresh": fresh,
        })
    });
    told.collect()
}

/// Who decided what, in order.
fn decisions(log: &FamilyLog, book: &Book, lines: &mut Vec<String>) -> Vec<Value> {
    let all = log.decisions_from(0).into_iter();
    let told = all.map(|(index, decision, by)| {
        let by: Vec<String> = by.iter().map(|member| book.name(member)).collect();
        let what = book.decision(&decision);
        let who = if by.is_empty() {
            String::new()
        } else {
            format!("  ({})", by.join(" and "))
        };
        lines.push(format!("  {index:>3}  {what}{who}"));
        json!({"index": index, "what": what, "by": by})
    });
    told.collect()
}
