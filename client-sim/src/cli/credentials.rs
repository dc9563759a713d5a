//! What proves that a guardian is who the account is of: typed, read from files, and shown to the
//! relay on a connection of its own.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use kinline_protocol::account::{
    CodeError, Costs, Credentials, LoggedIn, LoginError, Outcome, RecoveryCode, Wish, account_id,
};
use kinline_protocol::day::Day;
use kinline_protocol::engine::Engine;
use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::stretching::Stretching;
use kinline_protocol::server_name::RelayAddress;
use zeroize::Zeroizing;

use super::args_account::{Code, Who};
use super::failure::Failure;
use super::paper::Paper;
use super::screen;
use crate::connection::{AccountError, account, client_config};
use crate::device::Device;

/// The password, when no file holds it.
const ENV_PASSWORD: &str = "KINLINE_PASSWORD";
/// A password or code file is not read beyond this.
const FILE_BYTES_MAX: usize = 4_096;
/// Tickets drawn at a login.
pub(super) const TICKETS: usize = 16;

pub(super) async fn password(
    file: Option<&Path>,
    question: &str,
) -> Result<Zeroizing<String>, Failure> {
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

pub(super) fn secret_file(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let unreadable = |what: String| Failure::new(format!("{}: {what}", file.display()));
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(file)
        .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(error.to_string()))?;
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

pub(super) fn typed_code(code: &Code) -> Result<Option<RecoveryCode>, Failure> {
    let text = match (&code.code, &code.code_file) {
        (Some(text), _) => Zeroizing::new(text.clone()),
        (None, Some(file)) => secret_file(file)?,
        (None, None) => return Ok(None),
    };
    text.parse()
        .map(Some)
        .map_err(|error: CodeError| Failure::refused(error.to_string()))
}

/// The id of a login name: a second of stretching.
pub(super) async fn blinded(relay: &RelayAddress, login: &str) -> Result<AccountId, Failure> {
    let (name, server_name) = (Zeroizing::new(login.to_owned()), relay.server_name());
    let work = move || account_id(&name, &server_name, Stretching::DEFAULT);
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(error.to_string()))?
        .map_err(|error| Failure::refused(error.to_string()))
}

pub(super) async fn talk(
    relay: &RelayAddress,
    who: &Who,
    password: Zeroizing<String>,
    code: Option<RecoveryCode>,
    wish: Wish,
) -> Result<Outcome, Failure> {
    let spoken = speak(relay, who, password, code, wish).await?;
    spoken.map_err(|error| Failure::refused(error.to_string()))
}

/// As [`talk`], about what a new code goes with. When it is not known whether the relay did it,
/// the code is shown and its files stay.
pub(super) async fn talk_with(
    paper: Option<&mut Paper>,
    relay: &RelayAddress,
    who: &Who,
    password: Zeroizing<String>,
    code: Option<RecoveryCode>,
    wish: Wish,
) -> Result<Outcome, Failure> {
    let spoken = speak(relay, who, password, code, wish).await?;
    let unknown = |error: &AccountError| {
        matches!(
            error,
            AccountError::Lost(_)
                | AccountError::Login(LoginError::Refused(_) | LoginError::Unexpected)
        )
    };
    if let (Err(error), Some(paper)) = (&spoken, paper)
        && unknown(error)
    {
        paper.show();
        return Err(Failure::new(format!(
            "{error}: whether the relay has done it is not known; keep this code, and the one of before"
        )));
    }
    spoken.map_err(|error| Failure::refused(error.to_string()))
}

async fn speak(
    relay: &RelayAddress,
    who: &Who,
    password: Zeroizing<String>,
    code: Option<RecoveryCode>,
    wish: Wish,
) -> Result<Result<Outcome, AccountError>, Failure> {
    let tls = client_config(relay).map_err(|error| Failure::new(error.to_string()))?;
    let credentials = Credentials {
        account: blinded(relay, &who.login).await?,
        password,
        code,
    };
    Ok(account(relay, &tls, credentials, wish, Costs::Bounded).await)
}

pub(super) async fn logged_in(
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

pub(super) fn tell_failed(done: &LoggedIn) {
    if done.failed_logins > 0 {
        println!(
            "{} with a wrong password since you were last here, the last on {}. If that was not you, choose a longer password.",
            match done.failed_logins {
                1 => "Somebody tried once".to_owned(),
                times => format!("Somebody tried {times} times"),
            },
            Day(done.failed_day)
        );
    }
}

pub(super) async fn relay_of(device: &Device) -> Result<RelayAddress, Failure> {
    Ok(device
        .with(|engine: &Engine| engine.relay().clone())
        .await?)
}
