//! `show-code` on a guardian's phone and `pair` on the new device.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::engine::{Engine, Setup};
use kinline_protocol::identity::LogError;
use kinline_protocol::pairing::{CodeError, CodeKind, JoinCode, ShortCode};
use kinline_protocol::server_name::RelayAddress;

use super::failure::Failure;
use super::screen;
use super::session::{Session, unless_hopeless};
use crate::device::Device;
use crate::shell::{DeviceError, EventReader};

/// A code lives this long on the relay; a person needs as long to find the other device.
pub(super) const SHOWN_FOR: Duration = Duration::from_secs(600);

/// What `show-code` was told.
pub(super) struct Show {
    pub(super) child: Option<String>,
    pub(super) guardian: Option<String>,
    pub(super) code_file: Option<PathBuf>,
    pub(super) yes: bool,
    pub(super) no_qr: bool,
    pub(super) png: Option<PathBuf>,
    pub(super) short: bool,
}

/// What `pair` was told.
pub(super) struct Join {
    pub(super) code: Vec<String>,
    pub(super) code_file: Option<PathBuf>,
    pub(super) short: bool,
    pub(super) relay: Option<RelayAddress>,
    pub(super) admission: String,
    pub(super) device_name: String,
}

/// Reads on to the next event that matters; a failed pairing ends it.
pub(super) async fn next<T>(
    device: &Device,
    events: &mut EventReader,
    what: &str,
    within: Duration,
    mut wanted: impl FnMut(&Event) -> Option<T>,
) -> Result<T, Failure> {
    let search = events.wait_for(what, within, |event| match event {
        Event::PairingFailed { sentence, .. } => Some(Err(Failure::refused(sentence.clone()))),
        other => wanted(other).map(Ok),
    });
    unless_hopeless(device, search).await?
}

/// `show-code`
pub(super) async fn show_code(session: &Session, show: Show) -> Result<(), Failure> {
    let (role, name) = match (&show.child, &show.guardian) {
        (Some(name), _) => (MemberRole::Child, name.clone()),
        (None, Some(name)) => (MemberRole::Guardian, name.clone()),
        (None, None) => return Err(Failure::new("say --child NAME or --guardian NAME")),
    };
    let device = session.open()?;
    session.settle(&device).await?;
    let now = device.clock().now();
    let frozen = device.with(move |engine: &Engine| {
        let freeze = engine.family_log()?.is_frozen(engine.day(now))?;
        Some(LogError::Frozen {
            until: freeze.until,
        })
    });
    if let Some(frozen) = frozen.await? {
        device.shutdown().await;
        return Err(Failure::refused(frozen.to_string()));
    }
    let mut events = device.events();
    let start = Command::StartPairing {
        role,
        name: name.clone(),
        by: if show.short {
            CodeKind::Short
        } else {
            CodeKind::Qr
        },
    };
    if let Err(error) = device.command(start).await {
        device.shutdown().await;
        return Err(error.into());
    }
    let code = next(
        &device,
        &mut events,
        "the relay's meeting point",
        session.patience(),
        |event| match event {
            Event::PairingCode { code } => Some(code.clone()),
            _ => None,
        },
    )
    .await?;
    let written = write_files(&show, &code);
    let let_in = match written {
        Ok(()) => let_in(session, device, events, &show, &name, &code).await,
        Err(failure) => Err(failure),
    };
    for path in [&show.code_file, &show.png].into_iter().flatten() {
        // Spent, turned away or run out: nobody may find it and try it.
        drop(std::fs::remove_file(path));
    }
    let_in
}

async fn let_in(
    session: &Session,
    device: Device,
    mut events: EventReader,
    show: &Show,
    name: &str,
    code: &str,
) -> Result<(), Failure> {
    if !show.no_qr && !show.short {
        println!("{}", screen::qr(code)?);
    }
    println!("{code}");
    println!("Waiting for the other device…");

    let (device_name, pictures) = next(
        &device,
        &mut events,
        "the other device's call",
        SHOWN_FOR,
        |event| match event {
            Event::PairingRequest {
                device_name,
                pictures,
            } => Some((device_name.clone(), pictures.clone())),
            Event::PairingWrongCode { sentence, .. } => {
                println!("On the other device: {sentence}.");
                None
            }
            _ => None,
        },
    )
    .await?;
    println!("\"{device_name}\" wants to join as {name}.");
    println!("Both screens must show the same pictures:  {pictures}");
    let accept = show.yes || screen::ask("Do they?").await;
    device.command(Command::AnswerPairing { accept }).await?;
    if !accept {
        device.shutdown().await;
        return Err(Failure::refused("the device was turned away"));
    }
    next(
        &device,
        &mut events,
        "the device's joining",
        session.patience(),
        |event| matches!(event, Event::DeviceAdded { .. }).then_some(()),
    )
    .await?;
    session.finish(device).await?;
    println!("{name}'s device is in.");
    Ok(())
}

fn write_files(show: &Show, code: &str) -> Result<(), Failure> {
    if let Some(path) = &show.png {
        write_file(path, &screen::qr_png(code)?)?;
    }
    if let Some(path) = &show.code_file {
        write_file(path, format!("{code}\n").as_bytes())?;
    }
    Ok(())
}

/// Whoever waits for the file sees it whole or not at all.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    crate::store::write_whole(path, |file| {
        file.write_all(bytes)
            .map_err(|error| crate::store::StoreError::file(path, error))
    })?;
    Ok(())
}

/// Waits until the file with the code is there.
pub(super) async fn read_code(path: &Path, within: Duration) -> Result<String, Failure> {
    let waiting = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(code) => return Ok(code.trim().to_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(Failure::file(path, &error)),
            }
        }
    };
    match tokio::time::timeout(within, waiting).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(format!("{} is not there", path.display()))),
    }
}

/// The code as it was said, in a file, or at the terminal.
async fn said(session: &Session, join: &Join) -> Result<String, Failure> {
    if let Some(path) = &join.code_file {
        return read_code(path, session.patience()).await;
    }
    if !join.short {
        return Ok(join.code.join(" "));
    }
    match ask_digits::<ShortCode>("The digits on the other screen:").await {
        Some(digits) => Ok(digits),
        None => Err(Failure::new("nobody typed the digits")),
    }
}

/// Asks until the digits may be right: what is mistyped costs no try.
pub(super) async fn ask_digits<C: FromStr<Err = CodeError>>(question: &str) -> Option<String> {
    loop {
        let typed = screen::line(question).await?;
        match typed.parse::<C>() {
            Ok(_) => return Some(typed),
            Err(error) => println!("{error}"),
        }
    }
}

/// `pair`
pub(super) async fn pair(session: &Session, join: Join) -> Result<(), Failure> {
    let code = said(session, &join).await?;
    let parsed: JoinCode = code
        .parse()
        .map_err(|error: CodeError| Failure::refused(error.to_string()))?;
    let device = if session.has_device()? {
        again(session, &parsed, join.relay.as_ref()).await?
    } else {
        session.create(setup(&parsed, join)?).await?
    };
    session.settle(&device).await?;
    let mut events = device.events();
    device.command(Command::JoinByCode { code }).await?;
    let pictures = loop {
        let answer = next(
            &device,
            &mut events,
            "the other device's answer",
            session.patience(),
            |event| match event {
                Event::PairingStarted { pictures } => Some(Ok(pictures.clone())),
                Event::PairingWrongCode { sentence, .. } => Some(Err(sentence.clone())),
                _ => None,
            },
        )
        .await?;
        match answer {
            Ok(pictures) => break pictures,
            Err(sentence) => {
                println!("{sentence}");
                let Some(code) = ask_digits::<ShortCode>("Once more:").await else {
                    device.shutdown().await;
                    return Err(Failure::refused(sentence));
                };
                device.command(Command::JoinByCode { code }).await?;
            }
        }
    };
    println!("Both screens must show the same pictures:  {pictures}");
    println!("Waiting for the guardian's yes…");
    let title = next(
        &device,
        &mut events,
        "the guardian's yes",
        SHOWN_FOR,
        |event| match event {
            Event::Joined { title, .. } => Some(title.clone()),
            _ => None,
        },
    )
    .await?;
    session.finish(device).await?;
    println!("This device is in the family {title}.");
    Ok(())
}

/// A new device: a scanned code says where, with digits a person does.
fn setup(code: &JoinCode, join: Join) -> Result<Setup, Failure> {
    let (relay, admission_code) = match code {
        JoinCode::Qr(code) => {
            if join.relay.is_some_and(|relay| relay != code.relay) {
                return Err(Failure::new("the code is for another relay than --relay"));
            }
            (code.relay.clone(), code.admission.clone())
        }
        JoinCode::Short(_) => match join.relay {
            Some(relay) => (relay, join.admission),
            None => {
                return Err(Failure::new(
                    "fourteen digits name no relay: say --relay, as the phone's family uses it",
                ));
            }
        },
    };
    Ok(Setup {
        relay,
        device_name: join.device_name,
        admission_code,
    })
}

/// A device whose first try to pair failed may try again, on the same relay.
async fn again(
    session: &Session,
    code: &JoinCode,
    said: Option<&RelayAddress>,
) -> Result<Device, Failure> {
    let device = session.open()?;
    let (relay, paired) = device
        .with(|engine: &Engine| (engine.relay().clone(), engine.member().is_some()))
        .await
        .map_err(|error: DeviceError| Failure::from(error))?;
    if paired {
        return Err(Failure::refused("this device belongs to a family already"));
    }
    let scanned = match code {
        JoinCode::Qr(code) => Some(&code.relay),
        JoinCode::Short(_) => None,
    };
    if [scanned, said]
        .into_iter()
        .flatten()
        .any(|other| *other != relay)
    {
        return Err(Failure::new(
            "this device was made for another relay: pair with a new state folder",
        ));
    }
    Ok(device)
}
