//! `policy`: what a child may do with others.

use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::Command;
use kinline_protocol::identity::Role;
use kinline_protocol::policy::Policy;
use serde_json::{Value, json};

use super::args_family::PolicyVerb;
use super::failure::Failure;
use super::find;
use super::session::Session;
use crate::device::{Device, kind_names, policy_words, quiet_words};

/// `policy show`
pub(super) async fn show(
    session: &Session,
    child: Option<String>,
    as_json: bool,
) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let book = session.book(&device).await?;
    let own = device.with(Engine::member).await?;
    let child = match child {
        Some(name) => find::relative(&book, Some(Role::Child), &name)?,
        None => own
            .filter(|own| {
                book.people
                    .get(own)
                    .is_some_and(|it| it.role == Role::Child)
            })
            .ok_or_else(|| Failure::refused("say --child NAME: this is no child's device"))?,
    };
    let policy = device
        .with(move |engine| engine.policy_of(&child).cloned())
        .await?;
    let now = if own == Some(child) {
        state(&device).await?
    } else {
        None
    };
    device.shutdown().await;
    let name = book.name(&child);
    if as_json {
        println!(
            "{}",
            json!({
                "child": name,
                "policy": policy.as_ref().map(|policy| json!({
                    "time_zone": policy.time_zone,
                    "quiet": policy.quiet.iter().map(quiet_words).collect::<Vec<_>>(),
                    "kinds": kind_names(policy.kinds),
                    "messages_per_day": policy.messages_per_day,
                    "paused": policy.paused,
                })),
                "now": now.map(|now| now.json),
            })
        );
        return Ok(());
    }
    println!(
        "{name}: {}",
        policy.map_or_else(
            || "nothing is limited".to_owned(),
            |policy| policy_words(&policy)
        )
    );
    if let Some(now) = now {
        println!("Now: {}", now.words);
    }
    Ok(())
}

/// How a policy stands on the child's own device.
pub(super) struct State {
    pub(super) words: String,
    pub(super) json: Value,
    /// Worth a line where messages are shown.
    pub(super) matters: bool,
}

/// How the policy of this device's child stands; `None` when it has none.
pub(super) async fn state(device: &Device) -> Result<Option<State>, Failure> {
    let now = device.clock().now();
    let state = device.with(move |engine| engine.policy_now(now)).await?;
    Ok(state.map(|state| {
        let mut words = match &state.stopped {
            Some(why) => why.to_string(),
            None => format!("may send {} to others", kind_names(state.kinds)),
        };
        if let (None, Some(left)) = (&state.stopped, state.left_today) {
            words = format!("{words}, {left} more today");
        }
        if state.waiting > 0 {
            words = format!("{words} ({} of others' messages wait)", state.waiting);
        }
        State {
            words,
            matters: state.stopped.is_some() || state.waiting > 0,
            json: json!({
                "stopped": state.stopped.map(|why| why.to_string()),
                "kinds": kind_names(state.kinds),
                "left_today": state.left_today,
                "waiting": state.waiting,
                "changes_at_ms": state.changes_at.map(|at| at.0),
            }),
        }
    }))
}

/// `policy set`
pub(super) async fn set(session: &Session, wanted: PolicyVerb) -> Result<(), Failure> {
    let PolicyVerb::Set {
        child,
        quiet,
        no_quiet,
        kinds,
        per_day,
        pause,
        resume,
        zone,
    } = wanted
    else {
        return Err(Failure::refused("say what is to hold"));
    };
    let device = session.open_current().await?;
    let book = session.book(&device).await?;
    let child = find::relative(&book, Some(Role::Child), &child)?;
    let before = device
        .with(move |engine| engine.policy_of(&child).cloned())
        .await?;
    let mut policy = before.unwrap_or_else(|| Policy::open("UTC"));
    if no_quiet || !quiet.is_empty() {
        policy.quiet = quiet;
    }
    policy.kinds = kinds.unwrap_or(policy.kinds);
    policy.messages_per_day = per_day.unwrap_or(policy.messages_per_day);
    policy.paused = (policy.paused || pause) && !resume;
    policy.time_zone = zone.unwrap_or(policy.time_zone);
    session
        .carry_out(device, Command::SetPolicy { child, policy })
        .await
}
