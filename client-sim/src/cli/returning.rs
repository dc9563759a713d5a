//! `account recover`, `requests`, `allow` and `veto`: coming back, and who lets others come back.

use std::time::Duration;

use kinline_protocol::account::{Anew, Wish};
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::engine::{Engine, ReturnWish, Setup};
use kinline_protocol::ticket::Ticket;
use serde_json::json;

use super::args_account::{Code, Who};
use super::credentials::{TICKETS, logged_in, password, tell_failed, typed_code};
use super::failure::Failure;
use super::message::harmless;
use super::session::{Session, unless_hopeless};
use super::tickets::keep_drawn;
use crate::device::{Device, short};

pub(super) async fn recover(
    session: &Session,
    setup: Setup,
    who: &Who,
    code: &Code,
    no_wait: bool,
) -> Result<(), Failure> {
    let code = typed_code(code)?;
    if session.has_device()? {
        return Err(Failure::refused(
            "a device lives in this folder already; a lost one comes back in a new folder",
        ));
    }
    let by_code = code.is_some();
    let password = password(who.password_file.as_deref(), "Password:").await?;
    // What the lost phone kept of the account is worth nothing from now on.
    let come = Wish::LogIn {
        tickets: TICKETS,
        anew: Anew::Whole,
    };
    let done = logged_in(&setup.relay, who, password, code, come).await?;
    tell_failed(&done);
    let vault = done
        .vault
        .map_err(|error| Failure::refused(error.to_string()))?;
    if !by_code && vault.request.alone {
        return Err(Failure::refused(
            "your family has one guardian: without the recovery code the password alone never brings you back",
        ));
    }
    let mut setup = setup;
    let mut tickets: Vec<String> = done.tickets.iter().map(Ticket::to_text).collect();
    let mut shown = false;
    if setup.admission_code.is_empty()
        && let Some(ticket) = tickets.pop()
    {
        setup.admission_code = ticket;
        shown = true;
    }
    let device = session.create(setup).await?;
    // There was no device before to read the operator's log; it has read it now.
    let kept = keep_drawn(&device, done.issuer, tickets).await?;
    if shown && !kept {
        eprintln!("One of them opened this phone's mailbox before that was known.");
    }
    let command = Command::ComeBack {
        vault: Box::new(vault),
        renewed: done.renewed,
        keys: Box::new(done.keys),
    };
    device.command(command).await?;
    if by_code {
        println!("The family's devices are asked to let this phone in.");
    } else {
        println!(
            "The family's guardians are asked. One of them says yes; or, once one has seen it, a day passes without a veto."
        );
        let pictures = device.with(|engine: &Engine| engine.return_pictures());
        if let Some(pictures) = pictures.await? {
            println!("Call them, and compare these pictures with what they see:  {pictures}");
        }
    }
    if !done.renewed {
        println!(
            "Once it is in, log in on this phone (account login): what the lost one knew of your account leads back no more, and nothing is put by until then."
        );
    }
    if no_wait {
        let settled = session.settle(&device).await;
        device.shutdown().await;
        return settled;
    }
    wait_until_in(session, &device).await?;
    let name = device.with(|engine: &Engine| {
        let own = engine.member()?;
        let log = engine.family_log()?;
        let name = log.members().get(&own).map(|member| member.name.clone())?;
        Some((name, log.family_name().to_owned()))
    });
    if let Some((name, family)) = name.await? {
        println!(
            "Welcome back, {}: this is your phone in the family {} now, and the lost ones are out.",
            harmless(&name),
            harmless(&family)
        );
    }
    session.finish(device).await
}

async fn wait_until_in(session: &Session, device: &Device) -> Result<(), Failure> {
    let joined = device.wait_for(
        "the family letting this phone in",
        session.patience(),
        |event| match event {
            Event::Joined { .. } => Some(true),
            Event::ReturnUnheard => Some(false),
            _ => None,
        },
    );
    let within = session.patience().max(Duration::from_secs(1));
    match tokio::time::timeout(within, unless_hopeless(device, joined)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Failure::refused(
            "the family's devices can't be reached where they were when this was put by: if there is another guardian, ask them to pair this phone",
        )),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(
            "nobody has let this phone in yet; it goes on asking: `kinline-sim device --state … sync`",
        )),
    }
}

/// A wish with the name of whoever it is said to be of.
struct Asks {
    wish: ReturnWish,
    name: String,
    own: bool,
}

async fn who_asks(device: &Device) -> Result<Vec<Asks>, Failure> {
    let asks = device.with(|engine: &Engine| {
        let log = engine.family_log();
        let own = engine.member();
        let each = engine.returns().map(|wish| Asks {
            name: log
                .and_then(|log| log.name_ever(&wish.member))
                .unwrap_or_default()
                .to_owned(),
            own: own == Some(wish.member),
            wish,
        });
        each.collect()
    });
    Ok(asks.await?)
}

/// The beginning of a device's id, as it is typed.
fn short_id(wish: &ReturnWish) -> String {
    short(wish.device.as_bytes())
}

pub(super) async fn requests(session: &Session, as_json: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let asks = who_asks(&device).await?;
    for ask in &asks {
        let id = short_id(&ask.wish);
        if as_json {
            // A program has seen it, and nobody else: no day begins.
            let line = json!({
                "id": id, "name": ask.name, "device": ask.wish.device_name,
                "pictures": ask.wish.pictures, "own": ask.own,
                "shown": ask.wish.shown.map(|day| day.to_string()),
            });
            println!("{line}");
            continue;
        }
        let device_name = harmless(&ask.wish.device_name);
        if ask.own {
            println!(
                "{id}  Somebody who knows YOUR password asks to come back as you, with a device called \"{device_name}\" ({}). If that is not you: account veto {id}, and then account change-password.",
                ask.wish.pictures
            );
        } else {
            println!(
                "{id}  {} says that every phone is lost and asks to come back with \"{device_name}\" ({}). Call them and compare the pictures. Then: account allow {id}, or account veto {id}. If nobody vetoes they are in after a day.",
                harmless(&ask.name),
                ask.wish.pictures
            );
        }
        let device_id = ask.wish.device;
        device
            .command(Command::ReturnShown { device: device_id })
            .await?;
    }
    if asks.is_empty() && !as_json {
        println!("Nobody asks to come back.");
    }
    session.finish(device).await
}

pub(super) async fn answer(session: &Session, id: &str, accept: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let asks = who_asks(&device).await?;
    let mut wanted = asks.iter().filter(|ask| {
        let whole = hex::encode(ask.wish.device.as_bytes());
        !id.is_empty() && whole.starts_with(&id.to_lowercase())
    });
    let (Some(ask), None) = (wanted.next(), wanted.next()) else {
        device.shutdown().await;
        return Err(Failure::refused(format!(
            "no wish to come back, or several, begin with \"{}\": look at account requests",
            harmless(id)
        )));
    };
    let asked = ask.wish.device;
    let answer = Command::AnswerReturn {
        device: asked,
        accept,
    };
    session.carry_out(device, answer).await
}
