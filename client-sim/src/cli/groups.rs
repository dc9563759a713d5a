//! `group`: children of several families in one conversation.

use kinline_protocol::conversation::Person;
use kinline_protocol::engine::io::Command;
use kinline_protocol::engine::{Engine, GroupUnderWay};
use kinline_protocol::identity::Role;
use kinline_protocol::ids::MemberId;
use serde_json::json;

use super::args_contacts::GroupVerb;
use super::failure::Failure;
use super::find;
use super::message::harmless;
use super::session::Session;
use crate::device::{Book, Device, short};

/// Does one of these.
pub(super) async fn run(session: &Session, verb: GroupVerb) -> Result<(), Failure> {
    match verb {
        GroupVerb::Offer {
            child,
            others,
            title,
        } => offer(session, &child, &others, title).await,
        GroupVerb::List { json } => list(session, json).await,
        GroupVerb::Accept { id } => answer(session, &id, true).await,
        GroupVerb::Refuse { id } => answer(session, &id, false).await,
    }
}

fn person(book: &Book, member: MemberId) -> Result<Person, Failure> {
    let known = book.people.get(&member);
    let family = known.map(|known| known.family);
    let family = family.ok_or_else(|| Failure::refused("that child is not known here"))?;
    Ok(Person { family, member })
}

/// Each two of the children need a pass. Those of the own child are known here, and one that
/// is missing is better named than guessed.
async fn check_passes(device: &Device, book: &Book, children: &[Person]) -> Result<(), Failure> {
    let now = device.clock().now();
    let all = children.to_vec();
    let missing = device.with(move |engine: &Engine| {
        let log = engine.family_log()?;
        let today = engine.day(now);
        let own = all.iter().find(|it| it.family == log.family())?;
        let pair = |it: &Person| (it.family, it.member);
        let other = all.iter().filter(|it| *it != own).find(|other| {
            !log.passes().keys().any(|id| {
                log.valid_pass(id, today)
                    .is_some_and(|entry| entry.pass.joins(pair(own), pair(other)))
            })
        })?;
        Some((own.member, other.member))
    });
    match missing.await? {
        None => Ok(()),
        Some((own, other)) => Err(Failure::refused(format!(
            "{} and {} have no contact pass that holds: each two children of a group need one first (pass offer)",
            book.name(&own),
            book.name(&other)
        ))),
    }
}

async fn offer(
    session: &Session,
    child: &str,
    others: &[String],
    title: String,
) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let offered = prepare(session, &device, child, others, &title).await;
    let (book, children) = match offered {
        Ok(found) => found,
        Err(failure) => {
            device.shutdown().await;
            return Err(failure);
        }
    };
    let before = device.with(Engine::groups_under_way).await?;
    let command = Command::OfferGroup {
        children: children.clone(),
        title,
    };
    if let Err(error) = device.command(command).await {
        device.shutdown().await;
        return Err(error.into());
    }
    let after = device.with(Engine::groups_under_way).await?;
    let settled = session.settle(&device).await;
    device.shutdown().await;
    for it in after.iter().filter(|it| !before.contains(it)) {
        println!("{}", hex::encode(it.group));
    }
    let asked = children.iter().filter(|it| book.own != Some(it.family));
    let asked: Vec<String> = asked.map(|it| book.family(&it.family)).collect();
    eprintln!(
        "Asked the guardians of {}: they agree with group accept.",
        harmless(&asked.join(" and "))
    );
    settled
}

async fn prepare(
    session: &Session,
    device: &Device,
    child: &str,
    others: &[String],
    title: &str,
) -> Result<(Book, Vec<Person>), Failure> {
    let all = device.with(Engine::conversations).await?;
    if all.iter().any(|known| known.title == title) {
        return Err(Failure::refused(format!(
            "there is a conversation called {title:?} already; give the group another title"
        )));
    }
    let book = session.book(device).await?;
    let own = find::relative(&book, Some(Role::Child), child)?;
    let mut children = vec![person(&book, own)?];
    for other in others {
        let other = person(&book, find::friend(&book, other)?)?;
        if children.iter().any(|it| it.family == other.family) {
            return Err(Failure::refused(format!(
                "a group is of one child of each family, and {} is named twice",
                book.family(&other.family)
            )));
        }
        children.push(other);
    }
    check_passes(device, &book, &children).await?;
    Ok((book, children))
}

fn names(book: &Book, group: &GroupUnderWay) -> Vec<String> {
    let children = group.children.iter();
    children.map(|it| book.name(&it.member)).collect()
}

/// How far a group is.
fn state(book: &Book, group: &GroupUnderWay) -> String {
    if !group.ours {
        let by = group.asked_by.as_ref().map(|it| book.family(it));
        let by = by.unwrap_or_else(|| "another family".to_owned());
        return format!("{by} asks, waits for your yes");
    }
    let families = group.children.iter().map(|it| it.family);
    let waiting: Vec<String> = families
        .filter(|it| book.own != Some(*it) && !group.accepted.contains(it))
        .map(|it| book.family(&it))
        .collect();
    if waiting.is_empty() {
        "all have agreed, waits for the passes between them to be known here".to_owned()
    } else {
        format!("asked, waits for the yes of {}", waiting.join(" and "))
    }
}

async fn list(session: &Session, as_json: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let book = session.book(&device).await?;
    let groups = device.with(Engine::groups_under_way).await?;
    device.shutdown().await;
    if groups.is_empty() && !as_json {
        println!("No group waits for an answer; those that stand are in status.");
    }
    for group in groups {
        let (names, state) = (names(&book, &group), state(&book, &group));
        if as_json {
            let accepted = group.accepted.iter().map(|it| book.family(it));
            println!(
                "{}",
                json!({
                    "id": hex::encode(group.group),
                    "title": group.title,
                    "children": names,
                    "ours": group.ours,
                    "accepted": accepted.collect::<Vec<_>>(),
                    "state": state,
                })
            );
        } else {
            let line = format!(
                "{}  {}: {state}; {}",
                short(&group.group),
                group.title,
                names.join(", ")
            );
            println!("{}", harmless(&line));
        }
    }
    Ok(())
}

async fn answer(session: &Session, id: &str, accept: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let found = to_answer(session, &device, id, accept).await;
    let group = match found {
        Ok(group) => group,
        Err(failure) => {
            device.shutdown().await;
            return Err(failure);
        }
    };
    let command = Command::AnswerGroup {
        group: group.group,
        accept,
    };
    session.carry_out(device, command).await?;
    let title = harmless(&group.title);
    if accept {
        println!("Agreed to {title}; it forms when all families have agreed.");
    } else {
        println!("The group {title} is refused.");
    }
    Ok(())
}

/// The group that waits for this device's answer, by the beginning of its id.
async fn to_answer(
    session: &Session,
    device: &Device,
    id: &str,
    accept: bool,
) -> Result<GroupUnderWay, Failure> {
    let waiting = device.with(Engine::groups_under_way).await?;
    let waiting = waiting.into_iter().filter(|it| !it.ours);
    let group = find::by_id(
        "group that waits for your answer",
        id,
        waiting.map(|it| (it.group.to_vec(), it)),
    )?;
    if accept {
        let book = session.book(device).await?;
        check_passes(device, &book, &group.children).await?;
    }
    Ok(group)
}
