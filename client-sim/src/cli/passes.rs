//! `pass`: offers, answers, and what holds.

use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::day::{Day, Timestamp};
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, PassWish};
use kinline_protocol::identity::{ContactPass, PassEntry, Role};
use kinline_protocol::ids::{ConversationId, FamilyId, PassId};
use serde_json::{Value, json};

use super::args_contacts::{PassVerb, Wish};
use super::failure::Failure;
use super::find;
use super::session::Session;
use crate::device::{Book, Device, kind_names, short};

/// Does one of these.
pub(super) async fn run(session: &Session, verb: PassVerb) -> Result<(), Failure> {
    match verb {
        PassVerb::Offer {
            child,
            other,
            wish,
            days,
        } => offer(session, &child, &other, &wish, days).await,
        PassVerb::List { json } => list(session, json).await,
        PassVerb::Accept { id, wish, days } => accept(session, &id, &wish, days).await,
        PassVerb::Refuse { id } => {
            let (device, pass) = open(session, &id).await?;
            let command = Command::AnswerPass { pass, wish: None };
            session.carry_out(device, command).await?;
            println!("The offer {} is refused.", short(pass.as_bytes()));
            Ok(())
        }
        PassVerb::Revoke { id } => {
            let (device, pass) = open(session, &id).await?;
            session
                .carry_out(device, Command::RevokePass { pass })
                .await
        }
    }
}

/// A pass, and how far it is.
pub(super) struct PassState {
    id: PassId,
    state: &'static str,
    words: String,
    children: [String; 2],
    json: Value,
}

impl PassState {
    pub(super) fn line(&self) -> String {
        format!(
            "{}  {}: {}",
            short(self.id.as_bytes()),
            self.state,
            self.words
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": hex::encode(self.id.as_bytes()),
            "state": self.state,
            "children": self.children,
            "terms": self.json,
        })
    }
}

fn told(book: &Book, id: PassId, state: &'static str, pass: &ContactPass) -> PassState {
    let terms = pass.terms();
    let sides: Vec<Value> = pass
        .sides()
        .iter()
        .map(|side| {
            let guardians: Vec<Value> = side
                .guardians
                .iter()
                .map(|it| json!({"name": book.name(&it.member), "may_write": it.may_write}))
                .collect();
            json!({
                "family": book.family(&side.family),
                "child": book.name(&side.child),
                "supervision": book.supervision(side),
                "guardians": guardians,
            })
        })
        .collect();
    PassState {
        id,
        state,
        words: book.pass(pass),
        children: pass.children().map(|(_, child)| book.name(&child)),
        json: json!({
            "first_day": terms.first_day.to_string(),
            "last_day": terms.last_day.to_string(),
            "kinds": kind_names(terms.kinds),
            "sides": sides,
        }),
    }
}

/// Every pass that this device knows of.
pub(super) fn states(engine: &Engine, now: Timestamp) -> Vec<PassState> {
    let book = Book::of(engine);
    let today = engine.day(now);
    let under_way = engine.passes_under_way();
    let mut states = Vec::new();
    let approved = engine.family_log().map(|log| log.passes());
    for (id, it) in &under_way {
        let ours = approved.is_some_and(|passes| passes.contains_key(id));
        let state = match (it.ours, it.accepted) {
            (true, false) => "offered, waits for the other family's yes",
            (false, false) => "offered by the other family, waits for your yes",
            (_, true) if ours => "allowed here, waits for the other family's devices",
            (_, true) => "agreed, waits to be signed here",
        };
        states.push(told(&book, *id, state, &it.pass));
    }
    for (id, entry) in approved.into_iter().flatten() {
        if under_way.contains_key(id) {
            continue;
        }
        let state = state(engine, *id, entry, today);
        states.push(told(&book, *id, state, &entry.pass));
    }
    states
}

/// How a pass stands that our family has approved.
fn state(engine: &Engine, id: PassId, entry: &PassEntry, today: Day) -> &'static str {
    let terms = entry.pass.terms();
    if entry.revoked.is_some() {
        return "revoked";
    }
    if terms.last_day < today {
        return "has ended";
    }
    if terms.first_day > today {
        return "has not begun";
    }
    let ours = engine.family_log();
    if ours.is_none_or(|log| log.valid_pass(&id, today).is_none()) {
        return "void, the child is not in the family any more";
    }
    let other = ours.and_then(|log| entry.pass.other_side(&log.family()));
    let theirs = other.and_then(|side| {
        let log = engine
            .family_logs()
            .find(|log| log.family() == side.family)?;
        Some((side, log))
    });
    let Some((side, log)) = theirs else {
        return "holds, as far as is known here";
    };
    match log.passes().get(&id) {
        None => "allowed here, not yet by the other family",
        Some(entry) if entry.revoked.is_some() => "revoked by the other family",
        Some(_) if !log.members().contains_key(&side.child) => {
            "void, the other child is not in its family any more"
        }
        Some(_) => "holds",
    }
}

async fn list(session: &Session, as_json: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let now = device.clock().now();
    let states = device.with(move |engine| states(engine, now)).await?;
    device.shutdown().await;
    if states.is_empty() && !as_json {
        println!("There is no contact pass yet.");
    }
    for state in states {
        if as_json {
            println!("{}", state.json());
        } else {
            println!("{}", super::message::harmless(&state.line()));
        }
    }
    Ok(())
}

/// The device, and a pass that it knows by the beginning of its id.
async fn open(session: &Session, id: &str) -> Result<(Device, PassId), Failure> {
    let device = session.open_current().await?;
    let book = session.book(&device).await?;
    let ids = book
        .passes
        .keys()
        .map(|pass| (pass.as_bytes().to_vec(), *pass));
    let pass = find::by_id("contact pass", id, ids)?;
    Ok((device, pass))
}

fn wished(book: &Book, wish: &Wish, days: u32) -> Result<PassWish, Failure> {
    let guardians = wish
        .guardians
        .iter()
        .map(|it| {
            let member = find::relative(book, Some(Role::Guardian), &it.name)?;
            Ok((member, it.may_write))
        })
        .collect::<Result<_, Failure>>()?;
    Ok(PassWish {
        supervision: wish.supervision.into(),
        guardians,
        kinds: wish.kinds,
        days,
    })
}

async fn offer(
    session: &Session,
    child: &str,
    other: &str,
    wish: &Wish,
    days: u32,
) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let book = session.book(&device).await?;
    let child = find::relative(&book, Some(Role::Child), child)?;
    let other_child = find::friend(&book, other)?;
    let wish = wished(&book, wish, days)?;
    let family = book
        .people
        .get(&other_child)
        .map(|known| known.family)
        .ok_or_else(|| Failure::refused("that child's family is not known here"))?;
    let link = link(&device, family).await?;
    let before = device.with(Engine::passes_under_way).await?;
    let mut events = device.events();
    let offered = Command::OfferPass {
        link,
        child,
        other_child,
        wish,
    };
    device.command(offered).await?;
    let after = device.with(Engine::passes_under_way).await?;
    let settled = session.settle(&device).await;
    while let Some(event) = events.try_next() {
        if let kinline_protocol::engine::io::Event::Refused { sentence, .. } = event {
            device.shutdown().await;
            return Err(Failure::refused(sentence));
        }
    }
    device.shutdown().await;
    for id in after.keys().filter(|id| !before.contains_key(id)) {
        println!("{}", hex::encode(id.as_bytes()));
    }
    eprintln!(
        "Offered to the guardians of {}: they accept it with pass accept.",
        book.family(&family)
    );
    settled
}

/// The conversation with the guardians of a family that was met.
async fn link(device: &Device, family: FamilyId) -> Result<ConversationId, Failure> {
    let all = device.with(Engine::conversations).await?;
    all.into_iter()
        .find(|it| {
            let there = it.members.iter().any(|member| member.family == family);
            it.kind == ConversationKind::Link && there
        })
        .map(|it| it.id)
        .ok_or_else(|| {
            Failure::refused("no guardian of that family is linked with this phone yet; meet first")
        })
}

async fn accept(
    session: &Session,
    id: &str,
    wish: &Wish,
    days: Option<u32>,
) -> Result<(), Failure> {
    let (device, pass) = open(session, id).await?;
    let book = session.book(&device).await?;
    let now = device.clock().now();
    let today = device.with(move |engine| engine.day(now)).await?;
    let offered = book.passes.get(&pass).map(|pass| pass.terms().last_day);
    let rest = offered.map_or(1, |last| last.0.saturating_sub(today.0));
    let wish = wished(&book, wish, days.unwrap_or(rest))?;
    let command = Command::AnswerPass {
        pass,
        wish: Some(wish),
    };
    session.carry_out(device, command).await
}
