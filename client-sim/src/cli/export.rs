//! `export`: everything that this device knows, as files that anybody can read: a page, JSON
//! and media. Works without a network. The archive appears under its name when it is whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kinline_protocol::content::Body;
use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::view::MessageView;
use kinline_protocol::ids::ConversationId;
use serde_json::{Value, json};

use super::export_page::{Page, Part};
use super::failure::Failure;
use super::inbox::Names;
use super::session::Session;
use super::{family_log, find, message};
use crate::device::{Device, notices};
use crate::store::{StoreError, find_media, write_whole};

/// What goes into the archive.
struct Facts {
    family: Value,
    conversations: BTreeMap<ConversationId, (String, &'static str)>,
    device_name: String,
    now: Timestamp,
}

/// `export`
pub(super) async fn export(session: &Session, out: PathBuf) -> Result<(), Failure> {
    if out.exists() {
        return Err(Failure::refused(format!(
            "{} is there already, and nothing is written over; name a folder that is not there yet",
            out.display()
        )));
    }
    let device = session.open_offline()?;
    let gathered = gather(&device).await;
    let folder = device.folder().to_owned();
    device.shutdown().await;
    let (facts, names, views, news) = gathered?;
    let written = tokio::task::spawn_blocking(move || {
        write_archive(&folder, &out, &facts, &names, &views, &news)
    });
    match written.await {
        Ok(result) => result,
        Err(error) => Err(Failure::new(format!("the export broke off: {error}"))),
    }
}

async fn gather(device: &Device) -> Result<(Facts, Names, Vec<MessageView>, Vec<Value>), Failure> {
    let names = Names::of(device).await?;
    let views = find::all_messages(device).await?;
    let news = notices(device).await?;
    let news = news.iter().filter_map(|it| serde_json::to_value(it).ok());
    let news = news.collect();
    let now = device.clock().now();
    let facts = device.with(move |engine| facts(engine, now)).await?;
    let facts = facts.ok_or_else(|| Failure::refused("this device belongs to no family yet"))?;
    Ok((facts, names, views, news))
}

fn facts(engine: &Engine, now: Timestamp) -> Option<Facts> {
    let log = engine.family_log()?;
    let mut family = family_log::json_of(engine, now)?;
    let statements: Vec<Value> = log
        .entries()
        .iter()
        .filter_map(|entry| entry.statement.as_ref())
        .map(|signed| {
            let signatures = signed.signatures.iter().map(
                |it| json!({"key": hex::encode(&it.key), "signature": hex::encode(&it.signature)}),
            );
            json!({
                "bytes": hex::encode(&signed.statement),
                "signatures": signatures.collect::<Vec<_>>(),
            })
        })
        .collect();
    if let Some(object) = family.as_object_mut() {
        object.insert("signed_statements".to_owned(), statements.into());
    }
    let conversations = engine.conversations().into_iter().map(|it| {
        let kind = match it.kind {
            ConversationKind::Family => "family",
            ConversationKind::Room => "room",
            ConversationKind::Contact => "contact",
            ConversationKind::Link => "link",
        };
        (it.id, (it.title, kind))
    });
    Some(Facts {
        conversations: conversations.collect(),
        family,
        device_name: engine.device_name().to_owned(),
        now,
    })
}

/// A message as the archive tells it, with the file of its attachment.
fn told(view: &MessageView, names: &Names, file: Option<&str>) -> Value {
    let mut value = message::json(view, names);
    if let Some(object) = value.as_object_mut() {
        // What the first words were, when others stand in their place.
        if let (Some(Body::Text { text }), Some(_)) = (&view.body, &view.edited) {
            object.insert("first_text".to_owned(), text.clone().into());
        }
        if view.attachment().is_some() {
            object.insert("file".to_owned(), file.into());
        }
    }
    value
}

fn write_archive(
    folder: &Path,
    out: &Path,
    facts: &Facts,
    names: &Names,
    views: &[MessageView],
    news: &[Value],
) -> Result<(), Failure> {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let part = out.with_file_name(format!("{name}.part-{}", std::process::id()));
    let result = fill(folder, &part, facts, names, views, news).and_then(|counts| {
        fs::rename(&part, out).map_err(|error| Failure::file(out, &error))?;
        Ok(counts)
    });
    match result {
        Ok((files, missing)) => {
            println!("{}", out.join("index.html").display());
            eprintln!(
                "{} messages and {files} files are in {}",
                views.len(),
                out.display()
            );
            if missing > 0 {
                eprintln!(
                    "{missing} photos and recordings are not on this device: fetch them first if they matter"
                );
            }
            Ok(())
        }
        Err(failure) => {
            drop(fs::remove_dir_all(&part));
            Err(failure)
        }
    }
}

fn fill(
    folder: &Path,
    part: &Path,
    facts: &Facts,
    names: &Names,
    views: &[MessageView],
    news: &[Value],
) -> Result<(usize, usize), Failure> {
    make_folder(part)?;
    let media = part.join("media");
    make_folder(&media)?;
    let with_file = views
        .iter()
        .filter(|view| view.attachment().is_some())
        .count();
    let (mut files, mut missing) = (0, 0);
    let mut conversations: BTreeMap<ConversationId, (Vec<Value>, Vec<Part>)> = BTreeMap::new();
    for view in views {
        let mut file = None;
        if view.attachment().is_some() {
            file = copy_media(folder, &media, view)?;
            match file {
                Some(_) => files += 1,
                None => missing += 1,
            }
            if (files + missing) % 25 == 0 {
                eprintln!("{} of {with_file} photos and recordings", files + missing);
            }
        }
        let value = told(view, names, file.as_deref());
        let (all, parts) = conversations.entry(view.conversation).or_default();
        parts.push(Part::new(view, names, file));
        all.push(value);
    }
    for id in facts.conversations.keys() {
        conversations.entry(*id).or_default();
    }
    let mut page = Page::new(facts.now, &facts.device_name, &facts.family);
    let mut archive = Vec::new();
    for (id, (messages, parts)) in conversations {
        let known = facts.conversations.get(&id).cloned();
        let title = known.as_ref().map(|(title, _)| title.clone());
        let title = title.or_else(|| names.titles.get(&id).cloned());
        if !parts.is_empty() {
            page.conversation(title.as_deref().unwrap_or("(left)"), &parts);
        }
        archive.push(json!({
            "id": hex::encode(id.as_bytes()),
            "title": title,
            "kind": known.map(|(_, kind)| kind),
            "messages": messages,
        }));
    }
    page.notices(news);
    let document = json!({
        "format": "kinline-export-1",
        "exported_at_ms": facts.now.0,
        "device": facts.device_name,
        "conversations": archive,
        "notices": news,
    });
    write_json(&part.join("messages.json"), &document)?;
    write_json(&part.join("family.json"), &facts.family)?;
    write_bytes(&part.join("index.html"), page.finish().as_bytes())?;
    Ok((files, missing))
}

/// A folder that only its owner may enter.
fn make_folder(path: &Path) -> Result<(), Failure> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder
        .create(path)
        .map_err(|error| Failure::file(path, &error))
}

fn copy_media(folder: &Path, media: &Path, view: &MessageView) -> Result<Option<String>, Failure> {
    let Some(path) = find_media(folder, view.content) else {
        return Ok(None);
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    let target = media.join(name);
    fs::copy(&path, &target).map_err(|error| Failure::file(&target, &error))?;
    Ok(Some(format!("media/{name}")))
}

fn write_json(path: &Path, value: &Value) -> Result<(), Failure> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Failure::new(format!("the archive can't be written: {error}")))?;
    write_bytes(path, &bytes)
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_whole(path, |file| {
        file.write_all(bytes)
            .map_err(|error| StoreError::file(path, error))
    })?;
    Ok(())
}
