//! The device's side: `whole-device chat FOLDER online|offline`.

use std::error::Error;
use std::ffi::OsString;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kinline_client_sim::device::photo;
use kinline_client_sim::shell::{self, DeviceHandle, ShellOptions};
use kinline_client_sim::store::{Store, StoreError, StoreOptions};
use kinline_protocol::content::Body;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event, MemberRole, OutgoingBlob};
use kinline_protocol::pairing::CodeKind;
use tokio::sync::mpsc;

use super::early::{Early, Holds, VARIABLE};
use crate::patience::{PATIENCE, once_unlocked};

/// Runs the device until it is told to stop, or killed.
///
/// # Panics
/// When it is not used as it must be: the test that feeds it hears of it on standard error.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let folder = PathBuf::from(arguments.next().expect("FOLDER"));
    let online = arguments.next().expect("online or offline") == "online";
    match live(&folder, online) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("failed {error}"));
            ExitCode::FAILURE
        }
    }
}

fn live(folder: &Path, online: bool) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let store = once_unlocked(
        || Store::open(folder, &StoreOptions::default()),
        |error| matches!(error, StoreError::Locked { .. }),
    );
    let store = store?;
    let engine = Engine::load(store.load_state()?)?;
    let ended = if std::env::var_os(VARIABLE).is_some() {
        runtime.block_on(converse(Early::new(engine), store, online))
    } else {
        runtime.block_on(converse(engine, store, online))
    };
    // A line that is still waited for must not hold the end up.
    runtime.shutdown_background();
    ended
}

/// One line, whole, at once.
fn report(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

async fn converse<C: Holds>(core: C, store: Store, online: bool) -> Result<(), Box<dyn Error>> {
    let (heard, mut lines) = mpsc::channel(1_024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if heard.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let options = ShellOptions {
        online,
        ..ShellOptions::default()
    };
    let device = shell::start(core, store, options)?;
    let mut events = device.events_from_start();
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else {
                    // It has stopped by itself, and says why to whoever asks something.
                    device.with(|_| ()).await?;
                    return Err("the device has stopped".into());
                };
                tell(&device, event).await?;
            }
            line = lines.recv() => {
                let Some(line) = line else { return Ok(()) };
                if act(&device, &line).await? {
                    break;
                }
            }
        }
    }
    device.shutdown().await;
    report("stopped");
    Ok(())
}

/// What has happened, as far as a test wants to know.
async fn tell<C: Holds>(device: &DeviceHandle<C>, event: Event) -> Result<(), Box<dyn Error>> {
    match event {
        Event::Message {
            mine: false,
            body: Body::Text { text },
            ..
        } => report(&format!("shown {text}")),
        Event::PairingCode { code } => report(&format!("code {code}")),
        Event::PairingRequest { .. } => {
            device
                .command(Command::AnswerPairing { accept: true })
                .await?;
        }
        Event::DeviceAdded { .. } => report("added"),
        Event::Joined { .. } => report("joined"),
        _ => {}
    }
    Ok(())
}

async fn send<C: Holds>(
    device: &DeviceHandle<C>,
    body: Body,
    blob: Option<OutgoingBlob>,
) -> Result<(), Box<dyn Error>> {
    let family = device
        .with(|core| core.engine().family_conversation())
        .await?;
    let send = Command::Send {
        conversation: family.ok_or("no family")?,
        body,
        reply_to: None,
        disappear_seconds: 0,
        blob,
    };
    device.command(send).await?;
    Ok(())
}

/// Does what a line says; true when it was the last.
async fn act<C: Holds>(device: &DeviceHandle<C>, line: &str) -> Result<bool, Box<dyn Error>> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("say", text) => {
            let text = text.to_owned();
            send(device, Body::Text { text: text.clone() }, None).await?;
            report(&format!("kept {text}"));
        }
        ("photo", file) => {
            let prepared = photo(device.folder(), Path::new(file), "")?;
            send(device, prepared.body, Some(prepared.blob)).await?;
            report("kept photo");
        }
        ("offer", name) => {
            device.settled(PATIENCE).await?;
            let start = Command::StartPairing {
                role: MemberRole::Child,
                name: name.to_owned(),
                by: CodeKind::Qr,
            };
            device.command(start).await?;
        }
        ("join", code) => {
            let code = code.to_owned();
            device.command(Command::JoinByCode { code }).await?;
        }
        ("online", _) => device.go_online().await?,
        ("settle", _) => {
            device.settled(PATIENCE).await?;
            report("settled");
        }
        ("stop", _) => return Ok(true),
        (other, _) => panic!("{other:?} is not known"),
    }
    Ok(false)
}
