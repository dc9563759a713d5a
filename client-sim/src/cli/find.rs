//! From what a person says (a title, a name, the beginning of an id) to what is meant.

use kinline_protocol::engine::view::MessageView;
use kinline_protocol::engine::{ConversationSummary, Engine};
use kinline_protocol::ids::{ConversationId, MemberId};

use super::failure::Failure;
use crate::device::{Device, messages};

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
        (Some(_), false) => Err(Failure::new(format!("more than one {what} is {wanted:?}"))),
        (None, _) if names.is_empty() => Err(Failure::new(format!("there is no {what} here yet"))),
        (None, _) => {
            names.truncate(20);
            Err(Failure::new(format!(
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
            one(
                "conversation",
                title,
                all.into_iter().map(|it| (it.title, it.id)),
            )
        }
    }
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
    if id.len() < 4 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::new(format!(
            "{id:?} is no id: say at least four of its hexadecimal digits"
        )));
    }
    let wanted = id.to_lowercase();
    let mut found = all_messages(device)
        .await?
        .into_iter()
        .filter(|view| hex::encode(view.content.as_bytes()).starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(view), None) => Ok(view),
        (Some(_), Some(_)) => Err(Failure::new(format!(
            "more than one message's id begins with {id}: say more of it"
        ))),
        (None, _) => Err(Failure::new(format!("no message's id begins with {id}"))),
    }
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
