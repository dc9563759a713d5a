//! `show-code` on a guardian's phone and `pair` on the new device.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::engine::{Engine, Setup};
use kinline_protocol::pairing::PairingCode;

use super::failure::Failure;
use super::screen;
use super::session::{Session, unless_hopeless};
use crate::device::Device;
use crate::shell::{DeviceError, EventReader};

/// A code lives this long on the relay; a person needs as long to find the other device.
const SHOWN_FOR: Duration = Duration::from_secs(600);

/// What `show-code` was told.
pub(super) struct Show {
    pub(super) child: Option<String>,
    pub(super) guardian: Option<String>,
    pub(super) code_file: Option<PathBuf>,
    pub(super) yes: bool,
    pub(super) no_qr: bool,
}

/// Reads on to the next event that matters; a failed pairing ends it.
async fn next<T>(
    device: &Device,
    events: &mut EventReader,
    what: &str,
    within: Duration,
    mut wanted: impl FnMut(&Event) -> Option<T>,
) -> Result<T, Failure> {
    let search = events.wait_for(what, within, |event| match event {
        Event::PairingFailed { sentence, .. } => Some(Err(Failure::new(sentence.clone()))),
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
    let mut events = device.events();
    let start = Command::StartPairing {
        role,
        name: name.clone(),
    };
    device.command(start).await?;
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
    if let Some(path) = &show.code_file {
        write_code(path, &code)?;
    }
    let let_in = let_in(session, device, events, &show, &name, &code).await;
    if let Some(path) = &show.code_file {
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
    if !show.no_qr {
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
        return Err(Failure::new("the device was turned away"));
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

/// Whoever waits for the file sees it whole or not at all.
fn write_code(path: &Path, code: &str) -> Result<(), Failure> {
    crate::store::write_whole(path, |file| {
        file.write_all(format!("{code}\n").as_bytes())
            .map_err(|error| crate::store::StoreError::file(path, error))
    })?;
    Ok(())
}

/// Waits until the file with the code is there.
async fn read_code(path: &Path, within: Duration) -> Result<String, Failure> {
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

/// `pair`
pub(super) async fn pair(
    session: &Session,
    code: Option<String>,
    code_file: Option<PathBuf>,
    device_name: String,
) -> Result<(), Failure> {
    let code = match (code, code_file) {
        (Some(code), _) => code,
        (None, Some(path)) => read_code(&path, session.patience()).await?,
        (None, None) => return Err(Failure::new("say the code or --code-file FILE")),
    };
    let parsed: PairingCode = code
        .parse()
        .map_err(|error: kinline_protocol::pairing::CodeError| Failure::new(error.to_string()))?;
    let device = if session.has_device()? {
        again(session, &parsed).await?
    } else {
        let setup = Setup {
            relay: parsed.relay.clone(),
            device_name,
            admission_code: parsed.admission.clone(),
        };
        session.create(setup).await?
    };
    session.settle(&device).await?;
    let mut events = device.events();
    device.command(Command::JoinByCode { code }).await?;
    let pictures = next(
        &device,
        &mut events,
        "the other device's answer",
        session.patience(),
        |event| match event {
            Event::PairingStarted { pictures } => Some(pictures.clone()),
            _ => None,
        },
    )
    .await?;
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

/// A device whose first try to pair failed may try again, on the same relay.
async fn again(session: &Session, code: &PairingCode) -> Result<Device, Failure> {
    let device = session.open()?;
    let (relay, paired) = device
        .with(|engine: &Engine| (engine.relay().clone(), engine.member().is_some()))
        .await
        .map_err(|error: DeviceError| Failure::from(error))?;
    if paired {
        return Err(Failure::new("this device belongs to a family already"));
    }
    if relay != code.relay {
        return Err(Failure::new(
            "this device was made for another relay: pair with a new state folder",
        ));
    }
    Ok(device)
}
