//! `account`: making one, and keeping it.

use std::path::Path;

use kinline_protocol::account::{
    AccountKeys, Anew, OpenedVault, Outcome, RecoveryCode, RequestPart, Wish,
};
use kinline_protocol::day::Day;
use kinline_protocol::engine::io::Command;
use kinline_protocol::engine::{CommandError, Engine, RecoveryStatus, Setup};
use kinline_protocol::identity::Role;
use kinline_protocol::ticket::Ticket;
use serde_json::json;
use zeroize::Zeroizing;

use super::args_account::{AccountVerb, Code, Print, Who};
use super::credentials::{
    TICKETS, blinded, logged_in, password, relay_of, secret_file, talk, talk_with, tell_failed,
    typed_code,
};
use super::failure::Failure;
use super::paper::{Paper, check_print};
use super::returning::{answer, recover, requests};
use super::screen;
use super::session::Session;
use super::tickets::keep_drawn;
use crate::device::Device;
use crate::random;

/// `account …`
pub(super) async fn run(session: &Session, verb: AccountVerb) -> Result<(), Failure> {
    match verb {
        AccountVerb::Register {
            who,
            admission,
            no_code,
            print,
        } => register(session, &who, admission, no_code, &print).await,
        AccountVerb::Login { who, code } => login(session, &who, &code).await,
        AccountVerb::Status { json } => status(session, json).await,
        AccountVerb::Id { login } => id(session, &login).await,
        AccountVerb::ChangePassword {
            who,
            new_password_file,
            print,
        } => change_password(session, &who, new_password_file.as_deref(), &print).await,
        AccountVerb::NewCode { who, print } => new_code(session, &who, &print).await,
        AccountVerb::Delete { who } => delete(session, &who).await,
        AccountVerb::Recover {
            relay,
            who,
            code,
            device_name,
            admission,
            no_wait,
        } => {
            let setup = Setup {
                relay,
                device_name,
                admission_code: admission,
            };
            recover(session, setup, &who, &code, no_wait).await
        }
        AccountVerb::Requests { json } => requests(session, json).await,
        AccountVerb::Allow { id } => answer(session, &id, true).await,
        AccountVerb::Veto { id } => answer(session, &id, false).await,
    }
}

/// Keeps keys on this phone: whether the log gets fresh ones, and whether no other device knows them.
async fn keep(
    session: &Session,
    device: Device,
    keys: AccountKeys,
    vault: Option<OpenedVault>,
    (fresh, renewed): (bool, bool),
) -> Result<RecoveryStatus, Failure> {
    let command = Command::KeepAccount {
        keys: Box::new(keys),
        vault: vault.map(Box::new),
        fresh,
        renewed,
    };
    if let Err(error) = device.command(command).await {
        device.shutdown().await;
        return Err(error.into());
    }
    let settled = session.settle(&device).await;
    let now = device.clock().now();
    let status = device.with(move |engine: &Engine| engine.recovery_status(now));
    let status = status.await;
    device.shutdown().await;
    settled?;
    let status = status?;
    for gap in &status.gaps {
        println!("Still missing: {gap}.");
    }
    Ok(status)
}

/// An account that no phone could keep is not made.
async fn guardians_only(session: &Session) -> Result<(), Failure> {
    let device = session.open()?;
    let role = device.with(|engine: &Engine| {
        let certificate = engine.family_log()?.certificate(&engine.device())?;
        Some(certificate.role)
    });
    let role = role.await;
    device.shutdown().await;
    match role? {
        Some(Role::Guardian) => Ok(()),
        _ => Err(Failure::refused(CommandError::NotGuardian.to_string())),
    }
}

async fn register(
    session: &Session,
    who: &Who,
    admission: String,
    no_code: bool,
    print: &Print,
) -> Result<(), Failure> {
    check_print(print)?;
    guardians_only(session).await?;
    let password = password(who.password_file.as_deref(), "Password:").await?;
    let code = (!no_code).then(|| RecoveryCode::random(&mut random::os()));
    // Nobody can print it again, so it is on paper before anything depends on it.
    let paper = code.as_ref().map(|code| Paper::write(code, print));
    let mut paper = paper.transpose()?;
    let device = session.open_current().await?;
    let relay = relay_of(&device).await?;
    let wish = Wish::Register { admission };
    let talked = talk_with(paper.as_mut(), &relay, who, password, code, wish).await;
    let outcome = match talked {
        Ok(Outcome::Registered { keys }) => Ok(keys),
        Ok(_) => Err(Failure::new("the relay answered what makes no sense here")),
        Err(failure) => Err(failure),
    };
    let keys = match outcome {
        Ok(keys) => keys,
        Err(failure) => {
            device.shutdown().await;
            return Err(failure);
        }
    };
    if let Some(paper) = &mut paper {
        paper.show();
    }
    keep(session, device, keys, None, (true, true)).await?;
    println!("The account stands; this phone puts by what you need to come back.");
    Ok(())
}

/// What was put out knows the keys of before: the relay is given another record then.
async fn anew(device: &Device) -> Result<Anew, Failure> {
    Ok(match device.with(Engine::needs_new_account_keys).await? {
        true => Anew::Always,
        false => Anew::Asked,
    })
}

async fn login(session: &Session, who: &Who, code: &Code) -> Result<(), Failure> {
    let code = typed_code(code)?;
    let password = password(who.password_file.as_deref(), "Password:").await?;
    let device = session.open_current().await?;
    let relay = relay_of(&device).await?;
    let wish = Wish::LogIn {
        tickets: TICKETS,
        anew: anew(&device).await?,
    };
    let done = match logged_in(&relay, who, password, code, wish).await {
        Ok(done) => done,
        Err(failure) => {
            device.shutdown().await;
            return Err(failure);
        }
    };
    tell_failed(&done);
    let tickets = done.tickets.iter().map(Ticket::to_text).collect();
    keep_drawn(&device, done.issuer, tickets).await?;
    keep(
        session,
        device,
        done.keys,
        done.vault.ok(),
        (false, done.renewed),
    )
    .await?;
    println!("Logged in.");
    Ok(())
}

async fn id(session: &Session, login: &str) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let relay = relay_of(&device).await;
    device.shutdown().await;
    let id = blinded(&relay?, login).await?;
    println!("{}", hex::encode(id.as_bytes()));
    Ok(())
}

async fn status(session: &Session, as_json: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let now = device.clock().now();
    let status = device.with(move |engine: &Engine| engine.recovery_status(now));
    let status = status.await;
    device.shutdown().await;
    let status = status?;
    if as_json {
        let gaps: Vec<String> = status.gaps.iter().map(ToString::to_string).collect();
        let line = json!({
            "by_code": status.by_code,
            "by_guardian": status.by_guardian,
            "by_waiting": status.by_waiting,
            "written": status.written.map(|day| day.to_string()),
            "missing": gaps,
        });
        println!("{line}");
        return Ok(());
    }
    let says = |yes: bool| if yes { "yes" } else { "no" };
    println!("If every phone of yours were lost today, you would come back");
    println!(
        "  by password and recovery code, at once             {}",
        says(status.by_code)
    );
    println!(
        "  by password and another guardian's yes             {}",
        says(status.by_guardian)
    );
    println!(
        "  by the password alone, after a day without a veto  {}",
        says(status.by_waiting)
    );
    if let Some(day) = status.written {
        println!("Last put by on {day}.");
    }
    for gap in &status.gaps {
        println!("Missing: {gap}.");
    }
    println!(
        "What never comes back: messages that no device of the family has any more, and anything at all when every device of the family is lost."
    );
    Ok(())
}

async fn change_password(
    session: &Session,
    who: &Who,
    new_file: Option<&Path>,
    print: &Print,
) -> Result<(), Failure> {
    check_print(print)?;
    let old = password(who.password_file.as_deref(), "Old password:").await?;
    let new = match new_file {
        Some(file) => secret_file(file)?,
        None => screen::line("New password:")
            .await
            .map(Zeroizing::new)
            .ok_or_else(|| Failure::new("no new password: give --new-password-file"))?,
    };
    if new.trim().is_empty() {
        return Err(Failure::new("the new password is empty"));
    }
    let code = RecoveryCode::random(&mut random::os());
    let mut paper = Paper::write(&code, print)?;
    let device = session.open_current().await?;
    let relay = relay_of(&device).await?;
    let now = device.clock().now();
    let parts = device
        .with(move |engine: &Engine| engine.vault_parts(now))
        .await?;
    let Some((request, recovery)) = parts else {
        device.shutdown().await;
        return Err(Failure::refused(
            "this phone keeps no account: log in on it first",
        ));
    };
    let request = RequestPart {
        code: true,
        ..request
    };
    let wish = Wish::ChangePassword {
        password: new,
        code: Some(code),
        vault: Box::new((request.clone(), recovery.clone())),
    };
    let talked = talk_with(Some(&mut paper), &relay, who, old, None, wish).await;
    let changed = match talked {
        Ok(Outcome::Changed { keys, version }) => Ok((keys, version)),
        Ok(_) => Err(Failure::new("the relay answered what makes no sense here")),
        Err(failure) => Err(failure),
    };
    let (keys, version) = match changed {
        Ok(changed) => changed,
        Err(failure) => {
            device.shutdown().await;
            return Err(failure);
        }
    };
    paper.show();
    let vault = OpenedVault {
        version,
        request,
        recovery: Some(recovery),
    };
    // Who knew the old one may have what it led to: other keys go into the log.
    keep(session, device, keys, Some(vault), (true, true)).await?;
    println!("The password is changed. Your other phones have to log in again.");
    Ok(())
}

async fn new_code(session: &Session, who: &Who, print: &Print) -> Result<(), Failure> {
    check_print(print)?;
    let password = password(who.password_file.as_deref(), "Password:").await?;
    let code = RecoveryCode::random(&mut random::os());
    let mut paper = Paper::write(&code, print)?;
    let device = session.open_current().await?;
    let relay = relay_of(&device).await?;
    let only_keys = Wish::LogIn {
        tickets: 0,
        anew: anew(&device).await?,
    };
    let done = match logged_in(&relay, who, password, Some(code), only_keys).await {
        Ok(done) => done,
        Err(failure) => {
            device.shutdown().await;
            return Err(failure);
        }
    };
    tell_failed(&done);
    paper.show();
    let status = keep(session, device, done.keys, None, (true, done.renewed)).await?;
    if status.gaps.is_empty() {
        println!("The recovery code of before leads back no more.");
    } else {
        println!("Until nothing is missing, keep the code of before, too.");
    }
    Ok(())
}

async fn delete(session: &Session, who: &Who) -> Result<(), Failure> {
    let password = password(who.password_file.as_deref(), "Password:").await?;
    let device = session.open()?;
    let relay = relay_of(&device).await?;
    let outcome = talk(&relay, who, password, None, Wish::Delete).await;
    let deleted = match outcome {
        Ok(Outcome::Deleted { backups_end_day }) => Ok(backups_end_day),
        Ok(_) => Err(Failure::new("the relay answered what makes no sense here")),
        Err(failure) => Err(failure),
    };
    if deleted.is_ok() {
        // Of another account than this phone's, it keeps on.
        let account = blinded(&relay, &who.login).await?;
        device.command(Command::ForgetAccount { account }).await?;
    }
    device.shutdown().await;
    println!(
        "The account is deleted. The operator's last backup that may hold it is gone after {}.",
        Day(deleted?)
    );
    Ok(())
}
