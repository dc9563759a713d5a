//! `meet show` and `meet join`: guardians of two families meet.

use std::path::PathBuf;

use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::identity::Role;
use kinline_protocol::ids::MemberId;
use kinline_protocol::pairing::{CodeError, CodeKind, MeetingCode, ShortMeetCode};

use super::args_contacts::MeetVerb;
use super::failure::Failure;
use super::message::harmless;
use super::pairing::{SHOWN_FOR, ask_digits, next, read_code, write_file};
use super::session::Session;
use super::{find, screen};
use crate::device::Device;
use crate::shell::EventReader;

/// Does one of these.
pub(super) async fn run(session: &Session, verb: MeetVerb) -> Result<(), Failure> {
    match verb {
        MeetVerb::Show {
            child,
            short,
            png,
            code_file,
            no_qr,
            yes,
        } => {
            let show = Show {
                short,
                png,
                code_file,
                no_qr,
                yes,
            };
            show_code(session, &child, &show).await
        }
        MeetVerb::Join {
            code,
            code_file,
            child,
            yes,
        } => {
            let code = match code_file {
                Some(path) => read_code(&path, session.patience()).await?,
                None => code.join(" "),
            };
            join(session, code, &child, yes).await
        }
    }
}

struct Show {
    short: bool,
    png: Option<PathBuf>,
    code_file: Option<PathBuf>,
    no_qr: bool,
    yes: bool,
}

async fn show_code(session: &Session, child: &str, show: &Show) -> Result<(), Failure> {
    let device = session.open()?;
    session.settle(&device).await?;
    let book = session.book(&device).await?;
    let child = find::relative(&book, Some(Role::Child), child)?;
    let by = if show.short {
        CodeKind::Short
    } else {
        CodeKind::Qr
    };
    let mut events = device.events();
    device.command(Command::StartMeeting { child, by }).await?;
    let code = next(
        &device,
        &mut events,
        "the relay's meeting point",
        session.patience(),
        |event| match event {
            Event::MeetingCode { code } => Some(code.clone()),
            _ => None,
        },
    )
    .await?;
    let met = match written(show, &code) {
        Ok(()) => agree(session, device, events, None, show.yes).await,
        Err(failure) => Err(failure),
    };
    for path in [&show.code_file, &show.png].into_iter().flatten() {
        // Spent, turned away or run out: nobody may find it and try it.
        drop(std::fs::remove_file(path));
    }
    met
}

fn written(show: &Show, code: &str) -> Result<(), Failure> {
    if !show.no_qr && !show.short {
        println!("{}", screen::qr(code)?);
    }
    println!("{code}");
    println!("Waiting for the other guardian…");
    if let Some(path) = &show.png {
        write_file(path, &screen::qr_png(code)?)?;
    }
    if let Some(path) = &show.code_file {
        write_file(path, format!("{code}\n").as_bytes())?;
    }
    Ok(())
}

async fn join(session: &Session, code: String, child: &str, yes: bool) -> Result<(), Failure> {
    let _: MeetingCode = code
        .parse()
        .map_err(|error: CodeError| Failure::refused(error.to_string()))?;
    let device = session.open()?;
    session.settle(&device).await?;
    let book = session.book(&device).await?;
    let child = find::relative(&book, Some(Role::Child), child)?;
    let events = device.events();
    device.command(Command::JoinMeeting { code, child }).await?;
    agree(session, device, events, Some(child), yes).await
}

/// Compares the pictures, says yes, and waits for the other side's. `own_child` is whom a guest
/// comes about: a guest may type wrong digits again.
async fn agree(
    session: &Session,
    device: Device,
    mut events: EventReader,
    own_child: Option<MemberId>,
    yes: bool,
) -> Result<(), Failure> {
    let (family, child, pictures) = loop {
        let asked = next(
            &device,
            &mut events,
            "the other guardian's call",
            SHOWN_FOR,
            |event| match event {
                Event::MeetingRequest {
                    family_name,
                    child_name,
                    pictures,
                    ..
                } => Some(Ok((
                    family_name.clone(),
                    child_name.clone(),
                    pictures.clone(),
                ))),
                Event::PairingWrongCode { sentence, .. } => Some(Err(sentence.clone())),
                _ => None,
            },
        )
        .await?;
        match (asked, own_child) {
            (Ok(asked), _) => break asked,
            // The one who shows the code waits for better digits.
            (Err(sentence), None) => println!("On the other device: {sentence}."),
            (Err(sentence), Some(child)) => {
                println!("{sentence}");
                let Some(code) = ask_digits::<ShortMeetCode>("Once more:").await else {
                    device.shutdown().await;
                    return Err(Failure::refused(sentence));
                };
                device.command(Command::JoinMeeting { code, child }).await?;
            }
        }
    };
    // Names that strangers chose.
    let (family, child) = (harmless(&family), harmless(&child));
    println!("The family {family} wants to meet you, about {child}.");
    println!("Both screens must show the same pictures:  {pictures}");
    let accept = yes || screen::ask("Do they, and do you know this family?").await;
    device.command(Command::AnswerMeeting { accept }).await?;
    if !accept {
        // The other side hears of it before this one goes.
        drop(session.settle(&device).await);
        device.shutdown().await;
        return Err(Failure::refused("the other family was turned away"));
    }
    println!("Waiting for the other guardian's yes…");
    next(
        &device,
        &mut events,
        "the other guardian's yes",
        SHOWN_FOR,
        |event| matches!(event, Event::Met { .. }).then_some(()),
    )
    .await?;
    session.finish(device).await?;
    println!(
        "You know the family {family} now. Next: pass offer --child NAME --with {child} --days N"
    );
    Ok(())
}
