//! The device's side: `whole-device chat FOLDER online|offline`.

use std::ffi::OsString;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kinline_client_sim::device::photo;
use kinline_client_sim::shell::{self, DeviceHandle, ShellOptions};
use kinline_client_sim::store::{Store, StoreError, StoreOptions};
use kinline_protocol::content::Body;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event, OutgoingBlob};
use tokio::sync::mpsc;

use super::early::{Early, Holds, VARIABLE};
use crate::patience::{PATIENCE, once_unlocked};

/// Runs the device until it is told to stop, or killed.
///
/// # Panics
/// When anything goes wrong: the test that feeds it hears of it on standard error.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let folder = PathBuf::from(arguments.next().expect("FOLDER"));
    let online = arguments.next().expect("online or offline") == "online";
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let store = once_unlocked(
        || Store::open(&folder, &StoreOptions::default()),
        |error| matches!(error, StoreError::Locked { .. }),
    );
    let store = store.unwrap();
    let engine = Engine::load(store.load_state().unwrap()).unwrap();
    if std::env::var_os(VARIABLE).is_some() {
        runtime.block_on(converse(Early::new(engine), store, online));
    } else {
        runtime.block_on(converse(engine, store, online));
    }
    // A line that is still waited for must not hold the end up.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

/// One line, whole, at once.
fn report(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

async fn converse<C: Holds>(core: C, store: Store, online: bool) {
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
    let device = shell::start(core, store, options).unwrap();
    let mut events = device.events_from_start();
    loop {
        tokio::select! {
            event = events.next() => {
                let event = event.expect("the device lives");
                if let Event::Message { mine: false, body: Body::Text { text }, .. } = event {
                    report(&format!("shown {text}"));
                }
            }
            line = lines.recv() => {
                let Some(line) = line else { return };
                if act(&device, &line).await {
                    break;
                }
            }
        }
    }
    device.shutdown().await;
    report("stopped");
}

async fn send<C: Holds>(device: &DeviceHandle<C>, body: Body, blob: Option<OutgoingBlob>) {
    let family = device
        .with(|core| core.engine().family_conversation())
        .await
        .unwrap();
    let send = Command::Send {
        conversation: family.expect("a family"),
        body,
        reply_to: None,
        disappear_seconds: 0,
        blob,
    };
    device.command(send).await.unwrap();
}

/// Does what a line says; true when it was the last.
async fn act<C: Holds>(device: &DeviceHandle<C>, line: &str) -> bool {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("say", text) => {
            let text = text.to_owned();
            send(device, Body::Text { text: text.clone() }, None).await;
            report(&format!("kept {text}"));
        }
        ("photo", file) => {
            let prepared = photo(device.folder(), Path::new(file), "").unwrap();
            send(device, prepared.body, Some(prepared.blob)).await;
            report("kept photo");
        }
        ("online", _) => device.go_online().await.unwrap(),
        ("settle", _) => {
            device.settled(PATIENCE).await.unwrap();
            report("settled");
        }
        ("stop", _) => return true,
        (other, _) => panic!("{other:?} is not known"),
    }
    false
}
