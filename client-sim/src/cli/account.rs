//! `account`: making one, keeping it, and coming back.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use kinline_protocol::account::{
    AccountKeys, Costs, Credentials, LoggedIn, Outcome, RecoveryCode, Wish, account_id,
};
use kinline_protocol::engine::io::Command;
use kinline_protocol::engine::{Engine, ReturnWish, Setup};
use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::stretching::Stretching;
use kinline_protocol::server_name::RelayAddress;
use serde_json::json;
use zeroize::Zeroizing;

use super::args_account::{AccountVerb, Code, Print, Who};
use super::failure::Failure;
use super::message::harmless;
use super::screen;
use super::session::{Session, unless_hopeless};
use crate::connection::{account, client_config};
use crate::device::Device;
use crate::random;

/// The password, when no file holds it.
const ENV_PASSWORD: &str = "KINLINE_PASSWORD";
/// A password or code file is not read beyond this.
const FILE_BYTES_MAX: usize = 4_096;
/// Tickets drawn at a login.
const TICKETS: usize = 16;
const LOG_IN: Wish = Wish::LogIn {
    tickets: TICKETS,
    anew: false,
};

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

// ---- what is typed and printed

async fn password(file: Option<&Path>, question: &str) -> Result<Zeroizing<String>, Failure> {
    let typed = match (file, std::env::var(ENV_PASSWORD)) {
        (Some(file), _) => secret_file(file)?,
        (None, Ok(password)) => Zeroizing::new(password),
        (None, Err(_)) => match screen::line(question).await {
            Some(line) => Zeroizing::new(line),
            None => return Err(Failure::new("no password: give --password-file")),
        },
    };
    if typed.trim().is_empty() {
        return Err(Failure::new("the password is empty"));
    }
    Ok(typed)
}

fn secret_file(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let unreadable = |what: String| Failure::new(format!("{}: {what}", file.display()));
    let bytes = Zeroizing::new(fs::read(file).map_err(|error| unreadable(error.to_string()))?);
    if bytes.len() > FILE_BYTES_MAX {
        return Err(unreadable(
            "is too long to hold a password or a code".into(),
        ));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| unreadable(error.to_string()))?;
    Ok(Zeroizing::new(
        text.strip_suffix('\n').unwrap_or(text).to_owned(),
    ))
}

fn typed_code(code: &Code) -> Result<Option<RecoveryCode>, Failure> {
    let text = match (&code.code, &code.code_file) {
        (Some(text), _) => Zeroizing::new(text.clone()),
        (None, Some(file)) => secret_file(file)?,
        (None, None) => return Ok(None),
    };
    text.parse()
        .map(Some)
        .map_err(|error: kinline_protocol::account::CodeError| Failure::refused(error.to_string()))
}

/// Whether tickets were made under another key than the operator's log has for their epoch. Where
/// it has none, nothing is known.
async fn is_marked(device: &Device, done: &LoggedIn) -> Result<bool, Failure> {
    let Some((epoch, key)) = done.issuer else {
        return Ok(false);
    };
    let named = device.with(move |engine| engine.issuer_key(epoch)).await?;
    Ok(named.is_some_and(|named| named != key))
}

/// Refuses before anything has happened.
fn check_print(print: &Print) -> Result<(), Failure> {
    for path in [&print.code_out, &print.png].into_iter().flatten() {
        if path.exists() {
            return Err(Failure::new(format!(
                "{} is there already: a recovery code overwrites nothing",
                path.display()
            )));
        }
    }
    Ok(())
}

fn print_code(code: &RecoveryCode, print: &Print) -> Result<(), Failure> {
    let words = Zeroizing::new(code.words());
    println!("Your recovery code. Write it down and keep it where you would keep a passport:");
    println!();
    for (at, four) in words.split(' ').collect::<Vec<_>>().chunks(4).enumerate() {
        let numbered: Vec<String> = four
            .iter()
            .enumerate()
            .map(|(place, word)| format!("{:>2}. {word:<10}", at * 4 + place + 1))
            .collect();
        println!("   {}", numbered.join(" ").trim_end());
    }
    println!();
    if !print.no_qr {
        println!("{}", screen::qr(&code.text())?);
    }
    println!(
        "With it and your password a new phone is your phone at once. Nobody can give it to you again."
    );
    if let Some(path) = &print.code_out {
        write_new(path, format!("{}\n", *words).as_bytes())?;
    }
    if let Some(path) = &print.png {
        write_new(path, &screen::qr_png(&code.text())?)?;
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// The id of a login name: a second of stretching.
async fn blinded(relay: &RelayAddress, login: &str) -> Result<AccountId, Failure> {
    let (name, server_name) = (Zeroizing::new(login.to_owned()), relay.server_name());
    let work = move || account_id(&name, &server_name, Stretching::DEFAULT);
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(error.to_string()))?
        .map_err(|error| Failure::refused(error.to_string()))
}

// ---- one connection

async fn talk(
    relay: &RelayAddress,
    who: &Who,
    password: Zeroizing<String>,
    code: Option<RecoveryCode>,
    wish: Wish,
) -> Result<Outcome, Failure> {
    let tls = client_config(relay).map_err(|error| Failure::new(error.to_string()))?;
    let credentials = Credentials {
        account: blinded(relay, &who.login).await?,
        password,
        code,
    };
    account(relay, &tls, credentials, wish, Costs::Bounded)
        .await
        .map_err(|error| Failure::refused(error.to_string()))
}

async fn logged_in(
    relay: &RelayAddress,
    who: &Who,
    password: Zeroizing<String>,
    code: Option<RecoveryCode>,
    wish: Wish,
) -> Result<LoggedIn, Failure> {
    match talk(relay, who, password, code, wish).await? {
        Outcome::LoggedIn(done) => Ok(*done),
        _ => Err(Failure::new("the relay answered what makes no sense here")),
    }
}

fn tell_failed(done: &LoggedIn) {
    if done.failed_logins > 0 {
        println!(
            "{} with a wrong password since you were last here, the last on {}. If that was not you, choose a longer password.",
            match done.failed_logins {
                1 => "Somebody tried once".to_owned(),
                times => format!("Somebody tried {times} times"),
            },
            kinline_protocol::day::Day(done.failed_day)
        );
    }
}

async fn relay_of(device: &Device) -> Result<RelayAddress, Failure> {
    Ok(device
        .with(|engine: &Engine| engine.relay().clone())
        .await?)
}

async fn keep(
    session: &Session,
    device: Device,
    keys: AccountKeys,
    vault: Option<kinline_protocol::account::OpenedVault>,
    fresh: bool,
) -> Result<(), Failure> {
    let command = Command::KeepAccount {
        keys: Box::new(keys),
        vault: vault.map(Box::new),
        fresh,
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
    for gap in &status?.gaps {
        println!("Still missing: {gap}.");
    }
    Ok(())
}

// ---- verbs

async fn register(
    session: &Session,
    who: &Who,
    admission: String,
    no_code: bool,
    print: &Print,
) -> Result<(), Failure> {
    check_print(print)?;
    let password = password(who.password_file.as_deref(), "Password:").await?;
    let device = session.open_current().await?;
    let relay = relay_of(&device).await?;
    let code = (!no_code).then(|| RecoveryCode::random(&mut random::os()));
    let wish = Wish::Register { admission };
    let outcome = match talk(&relay, who, password, code.clone(), wish).await {
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
    // Nobody can print it again, so it is on paper before anything depends on it.
    if let Some(code) = &code {
        print_code(code, print)?;
    }
    keep(session, device, keys, None, true).await?;
    println!("The account stands; this phone puts by what you need to come back.");
    Ok(())
}

async fn login(session: &Session, who: &Who, code: &Code) -> Result<(), Failure> {
    let code = typed_code(code)?;
    let password = password(who.password_file.as_deref(), "Password:").await?;
    let device = session.open_current().await?;
    let relay = relay_of(&device).await?;
    let done = match logged_in(&relay, who, password, code, LOG_IN).await {
        Ok(done) => done,
        Err(failure) => {
            device.shutdown().await;
            return Err(failure);
        }
    };
    tell_failed(&done);
    if !done.tickets.is_empty() && is_marked(&device, &done).await? {
        eprintln!(
            "The relay made these tickets under another key than its operator's log names, and could know them again: they are thrown away."
        );
    } else if !done.tickets.is_empty() {
        println!("{} tickets were drawn.", done.tickets.len());
        let tickets = done.tickets.iter().map(|ticket| ticket.to_text()).collect();
        device.command(Command::KeepTickets { tickets }).await?;
    }
    keep(session, device, done.keys, done.vault.ok(), false).await?;
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
    let code = RecoveryCode::random(&mut random::os());
    let request = kinline_protocol::account::RequestPart {
        code: true,
        ..request
    };
    let wish = Wish::ChangePassword {
        password: new,
        code: Some(code.clone()),
        vault: Box::new((request.clone(), recovery.clone())),
    };
    let changed = match talk(&relay, who, old, None, wish).await {
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
    print_code(&code, print)?;
    let vault = kinline_protocol::account::OpenedVault {
        version,
        request,
        recovery: Some(recovery),
    };
    // Who knew the old one may have what it led to: other keys go into the log.
    keep(session, device, keys, Some(vault), true).await?;
    println!("The password is changed. Your other phones have to log in again.");
    Ok(())
}

async fn new_code(session: &Session, who: &Who, print: &Print) -> Result<(), Failure> {
    check_print(print)?;
    let password = password(who.password_file.as_deref(), "Password:").await?;
    let device = session.open_current().await?;
    let relay = relay_of(&device).await?;
    let code = RecoveryCode::random(&mut random::os());
    let only_keys = Wish::LogIn {
        tickets: 0,
        anew: false,
    };
    let done = match logged_in(&relay, who, password, Some(code.clone()), only_keys).await {
        Ok(done) => done,
        Err(failure) => {
            device.shutdown().await;
            return Err(failure);
        }
    };
    tell_failed(&done);
    print_code(&code, print)?;
    keep(session, device, done.keys, None, true).await?;
    println!("The recovery code of before leads back no more.");
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
        device.command(Command::ForgetAccount).await?;
    }
    device.shutdown().await;
    println!(
        "The account is deleted. The operator's last backup that may hold it is gone after {}.",
        kinline_protocol::day::Day(deleted?)
    );
    Ok(())
}

async fn recover(
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
        anew: true,
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
    let mut tickets: Vec<String> = done.tickets.iter().map(|ticket| ticket.to_text()).collect();
    if setup.admission_code.is_empty()
        && let Some(ticket) = tickets.pop()
    {
        setup.admission_code = ticket;
    }
    let device = session.create(setup).await?;
    if !tickets.is_empty() {
        device.command(Command::KeepTickets { tickets }).await?;
    }
    let command = Command::ComeBack {
        vault: Box::new(vault),
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
        |event| matches!(event, kinline_protocol::engine::io::Event::Joined { .. }).then_some(()),
    );
    let within = session.patience().max(Duration::from_secs(1));
    match tokio::time::timeout(within, unless_hopeless(device, joined)).await {
        Ok(Ok(())) => Ok(()),
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
    crate::device::short(wish.device.as_bytes())
}

async fn requests(session: &Session, as_json: bool) -> Result<(), Failure> {
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

async fn answer(session: &Session, id: &str, accept: bool) -> Result<(), Failure> {
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
