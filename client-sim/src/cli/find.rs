//! From what a person says (a title, a name, the beginning of an id) to what is meant.

use std::collections::BTreeSet;

use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::engine::view::MessageView;
use kinline_protocol::engine::{ConversationSummary, Engine};
use kinline_protocol::identity::Role;
use kinline_protocol::ids::{ConversationId, DeviceId, MemberId};

use super::failure::Failure;
use crate::device::{Book, Device, Known, messages};

/// The one thing whose name is `wanted`, or begins with it, in upper or lower case.
fn one<T>(
    what: &str,
    wanted: &str,
    all: impl IntoIterator<Item = (String, T)>,
) -> Result<T, Failure> {
    let wanted_lower = wanted.to_lowercase();
    let mut exact = Vec::new();
    let mut beginning = Vec::new();
    let mut names = Vec::new();
    for (name, thing) in all {
        let lower = name.to_lowercase();
        names.push(name);
        if lower == wanted_lower {
            exact.push(thing);
        } else if lower.starts_with(&wanted_lower) {
            beginning.push(thing);
        }
    }
    let mut found = if exact.is_empty() { beginning } else { exact };
    match (found.pop(), found.is_empty()) {
        (Some(thing), true) => Ok(thing),
        (Some(_), false) => Err(Failure::refused(format!(
            "more than one {what} is {wanted:?}"
        ))),
        (None, _) if names.is_empty() => {
            Err(Failure::refused(format!("there is no {what} here yet")))
        }
        (None, _) => {
            names.truncate(20);
            Err(Failure::refused(format!(
                "no {what} is {wanted:?}; there is {}",
                names.join(", ")
            )))
        }
    }
}

/// A conversation by its title; the family's without one.
pub(super) async fn conversation(
    device: &Device,
    title: Option<&str>,
) -> Result<ConversationId, Failure> {
    match title {
        None => device
            .with(Engine::family_conversation)
            .await?
            .ok_or_else(|| Failure::new("this device belongs to no family yet")),
        Some(title) => {
            let all = device.with(Engine::conversations).await?;
            if let Some(found) = the_one_that_goes_on(&all, title) {
                return Ok(found);
            }
            one(
                "conversation",
                title,
                all.into_iter().map(|it| (it.title, it.id)),
            )
        }
    }
}

/// Of several conversations of one title, all but one of which are over: a contact that was
/// ended and allowed again.
fn the_one_that_goes_on(all: &[ConversationSummary], title: &str) -> Option<ConversationId> {
    let mut going = all
        .iter()
        .filter(|it| it.title == title && it.kind == ConversationKind::Contact)
        .filter(|it| {
            let mut families = it.members.iter().map(|member| member.family);
            let first = families.next();
            families.any(|family| Some(family) != first)
        });
    let found = going.next()?.id;
    going.next().is_none().then_some(found)
}

/// A member of the family by name.
pub(super) fn member(
    conversations: &[ConversationSummary],
    name: &str,
) -> Result<MemberId, Failure> {
    let mut members: Vec<_> = conversations
        .iter()
        .flat_map(|conversation| &conversation.members)
        .map(|member| (member.member, member.name.clone()))
        .collect();
    members.sort();
    members.dedup();
    one(
        "member",
        name,
        members.into_iter().map(|(member, name)| (name, member)),
    )
}

/// All messages of the device.
pub(super) async fn all_messages(device: &Device) -> Result<Vec<MessageView>, Failure> {
    Ok(messages(device).await?)
}

/// A message by the beginning of its id.
pub(super) async fn message(device: &Device, id: &str) -> Result<MessageView, Failure> {
    let all = all_messages(device).await?;
    let ids = all
        .into_iter()
        .map(|view| (view.content.as_bytes().to_vec(), view));
    by_id("message", id, ids)
}

/// The one thing whose id begins so.
pub(super) fn by_id<T>(
    what: &str,
    id: &str,
    all: impl IntoIterator<Item = (Vec<u8>, T)>,
) -> Result<T, Failure> {
    if id.len() < 4 || !is_hexadecimal(id) {
        return Err(Failure::refused(format!(
            "{id:?} is no id: say at least four of its hexadecimal digits"
        )));
    }
    let wanted = id.to_lowercase();
    let mut found = all
        .into_iter()
        .filter(|(bytes, _)| hex::encode(bytes).starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some((_, thing)), None) => Ok(thing),
        (Some(_), Some(_)) => Err(Failure::refused(format!(
            "more than one {what}'s id begins with {id}: say more of it"
        ))),
        (None, _) => Err(Failure::refused(format!("no {what}'s id begins with {id}"))),
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Somebody who is in this device's family now.
pub(super) fn relative(book: &Book, role: Option<Role>, name: &str) -> Result<MemberId, Failure> {
    let what = match role {
        Some(Role::Child) => "child of this family",
        Some(Role::Guardian) => "guardian of this family",
        None => "member of this family",
    };
    let wanted = |known: &Known| {
        Some(known.family) == book.own
            && known.present
            && role.is_none_or(|role| known.role == role)
    };
    let people = book.people.iter().filter(|(_, known)| wanted(known));
    one(
        what,
        name,
        people.map(|(member, known)| (known.name.clone(), *member)),
    )
}

/// A child of another family, said as NAME or NAME/FAMILY.
pub(super) fn friend(book: &Book, name: &str) -> Result<MemberId, Failure> {
    let children = book.people.iter().filter(|(_, known)| {
        Some(known.family) != book.own && known.present && known.role == Role::Child
    });
    let children: Vec<_> = children
        .map(|(member, _)| (book.name(member), *member))
        .collect();
    let whole = format!("{name}/");
    let all = children.iter().cloned();
    match one("child of a family that was met", &whole, all) {
        Ok(found) => Ok(found),
        Err(_) => one("child of a family that was met", name, children),
    }
}

/// A device of the family, by its name or the beginning of its id.
pub(super) fn device(book: &Book, wanted: &str) -> Result<DeviceId, Failure> {
    if wanted.len() >= 4 && is_hexadecimal(wanted) {
        let ids = book.certified.iter();
        let ids = ids.map(|id| (id.as_bytes().to_vec(), *id));
        if let Ok(found) = by_id("device", wanted, ids) {
            return Ok(found);
        }
    }
    let ours = book.devices.iter().filter(|(id, (_, member))| {
        let known = book.people.get(member);
        book.certified.contains(id) && known.is_some_and(|known| Some(known.family) == book.own)
    });
    one(
        "device",
        wanted,
        ours.map(|(id, (name, member))| (format!("{name} of {}", book.name(member)), *id)),
    )
}

/// A device that was in the family and is not any more, as [`device`] finds one that is.
pub(super) fn removed_device(book: &Book, wanted: &str) -> Option<DeviceId> {
    let mut then = book.clone();
    let out: BTreeSet<DeviceId> = then.devices.keys().copied().collect();
    then.certified = out.difference(&book.certified).copied().collect();
    device(&then, wanted).ok()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use super::one;

    fn find(wanted: &str, names: &[&str]) -> Result<usize, String> {
        let all = names
            .iter()
            .enumerate()
            .map(|(at, name)| ((*name).into(), at));
        one("thing", wanted, all).map_err(|failure| failure.to_string())
    }

    #[test]
    fn names_may_be_shortened_as_long_as_they_are_clear() {
        let names = ["Mia", "Milan", "Mi"];
        assert_eq!(find("mia", &names), Ok(0));
        assert_eq!(find("mil", &names), Ok(1));
        assert_eq!(find("MI", &names), Ok(2));
        assert!(find("m", &names).unwrap_err().contains("more than one"));
        assert!(find("x", &names).unwrap_err().contains("Mia, Milan, Mi"));
        assert!(find("x", &[]).unwrap_err().contains("no thing here yet"));
        assert!(
            find("a", &["A", "a"])
                .unwrap_err()
                .contains("more than one")
        );
    }
}
