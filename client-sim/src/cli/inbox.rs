//! `inbox` and `fetch`: what a screen would show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::ids::{ContentId, ConversationId, MemberId};

use super::failure::Failure;
use super::session::Session;
use super::{deciding, find, message, policies, status};
use crate::device::{Book, Device, fetch_message, give_media, unseen};

/// What `inbox` was told.
pub(super) struct Show {
    pub(super) follow: bool,
    pub(super) json: bool,
    pub(super) mark_read: bool,
    pub(super) of: Option<String>,
    pub(super) offline: bool,
}

/// Names for ids, as the device knows them.
pub(super) struct Names {
    pub(super) titles: BTreeMap<ConversationId, String>,
    pub(super) members: BTreeMap<MemberId, String>,
}

impl Names {
    pub(super) async fn of(device: &Device) -> Result<Self, Failure> {
        let book = device.with(Book::of).await?;
        let members = book.people.keys();
        let members = members.map(|member| (*member, book.name(member))).collect();
        Ok(Self {
            titles: book.titles,
            members,
        })
    }
}

/// Prints each message once, and again when it changed.
struct Printer {
    json: bool,
    only: Option<ConversationId>,
    printed: BTreeMap<ContentId, String>,
}

impl Printer {
    /// Prints what is new; returns the conversations in which something is.
    async fn print(&mut self, device: &Device) -> Result<BTreeSet<ConversationId>, Failure> {
        let names = Names::of(device).await?;
        let mut new = BTreeSet::new();
        for view in find::all_messages(device).await? {
            if self.only.is_some_and(|only| only != view.conversation) {
                continue;
            }
            let line = if self.json {
                message::json(&view, &names).to_string()
            } else {
                message::line(&view, &names)
            };
            if self.printed.get(&view.content) != Some(&line) {
                println!("{line}");
                new.insert(view.conversation);
                self.printed.insert(view.content, line);
            }
        }
        self.print_news(device).await?;
        Ok(new)
    }

    /// What happened and is no message: on the screen for people, beside it for scripts, which
    /// read it with `notices --json`.
    async fn print_news(&self, device: &Device) -> Result<(), Failure> {
        if self.json || self.only.is_some() {
            return Ok(());
        }
        for notice in unseen(device).await? {
            deciding::print(&notice, false);
        }
        Ok(())
    }

    /// Who watches over which conversation, and what rests: always told to a child.
    async fn print_rules(&self, device: &Device) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        for rules in status::rules(device).await? {
            if self.only.is_none_or(|only| only == rules.conversation) {
                for line in rules.lines() {
                    println!("{}", message::harmless(&line));
                }
            }
        }
        if let Some(state) = policies::state(device).await?
            && state.matters
        {
            println!("{}", state.words);
        }
        Ok(())
    }
}

/// `inbox`
pub(super) async fn inbox(session: &Session, show: Show) -> Result<(), Failure> {
    let device = if show.offline {
        session.open_offline()?
    } else {
        session.open()?
    };
    if device
        .with(|engine| engine.family_conversation().is_none())
        .await?
    {
        device.shutdown().await;
        return Err(Failure::new("this device belongs to no family yet"));
    }
    let only = match &show.of {
        Some(title) if show.offline => Some(find::conversation(&device, Some(title)).await?),
        Some(title) => Some(session.conversation(&device, Some(title)).await?),
        None => None,
    };
    let mut printer = Printer {
        json: show.json,
        only,
        printed: BTreeMap::new(),
    };
    if show.offline {
        printer.print_rules(&device).await?;
        printer.print(&device).await?;
        device.shutdown().await;
        return Ok(());
    }
    let mut events = device.events_from_start();
    let settled = session.settle(&device).await;
    printer.print_rules(&device).await?;
    let new = printer.print(&device).await?;
    if show.mark_read {
        mark_read(&device, new).await?;
    }
    if show.follow {
        if let Err(failure) = settled {
            eprintln!("kinline-sim: {failure}; waiting");
        }
        while let Some(event) = until_interrupted(events.next()).await {
            tell(&event);
            // What happened together is shown together.
            while let Some(event) = events.try_next() {
                tell(&event);
            }
            give_media(&device).await?;
            let new = printer.print(&device).await?;
            if show.mark_read {
                mark_read(&device, new).await?;
            }
        }
        let stopped = device.status().stopped;
        device.shutdown().await;
        return stopped.map_or(Ok(()), |error| Err(error.into()));
    }
    let failure = match settled {
        Ok(()) => session.settle(&device).await.err(),
        Err(failure) => Some(failure),
    };
    tell_all(&mut events);
    device.shutdown().await;
    failure.map_or(Ok(()), Err)
}

async fn until_interrupted(next: impl Future<Output = Option<Event>>) -> Option<Event> {
    tokio::select! {
        event = next => event,
        _ = tokio::signal::ctrl_c() => None,
    }
}

async fn mark_read(
    device: &Device,
    conversations: BTreeSet<ConversationId>,
) -> Result<(), Failure> {
    for conversation in conversations {
        device.command(Command::MarkRead { conversation }).await?;
    }
    Ok(())
}

fn tell_all(events: &mut crate::shell::EventReader) {
    while let Some(event) = events.try_next() {
        tell(&event);
    }
}

/// What a person should know and no message shows.
fn tell(event: &Event) {
    match event {
        Event::Unreadable { reason, total } => {
            eprintln!("something could not be read ({total} in all): {reason}");
        }
        Event::RecipientRefused { sentence, .. } | Event::RelayError { sentence, .. } => {
            eprintln!("{sentence}");
        }
        Event::History { done, total, .. } => {
            eprintln!("{done} of {total} messages from before have come in");
        }
        _ => {}
    }
}

/// `fetch`
pub(super) async fn fetch(
    session: &Session,
    id: &str,
    out: Option<PathBuf>,
) -> Result<(), Failure> {
    let device = session.open()?;
    let view = match find::message(&device, id).await {
        Ok(view) => view,
        // It may be waiting on the relay.
        Err(_) => {
            session.settle(&device).await?;
            find::message(&device, id).await?
        }
    };
    if view.body.is_none() {
        device.shutdown().await;
        return Err(Failure::new(
            "this message was taken back or has disappeared",
        ));
    }
    let path = fetch_message(&device, &view, out, session.patience()).await;
    match path {
        Ok(path) => {
            println!("{}", path.display());
            session.finish(device).await
        }
        Err(error) => {
            device.shutdown().await;
            Err(error.into())
        }
    }
}
