//! From the command line to what does the work.

use std::process::ExitCode;

use clap::Parser as _;
use kinline_protocol::content::Progress;

use super::args::{Cli, DeviceArgs, Verb, Work};
use super::args_account::AccountArgs;
use super::failure::Failure;
use super::session::Session;
use super::{
    account, compose, contact_run, deciding, erase, export, family, history, inbox, pairing, relay,
    status, steal,
};

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().work {
        Work::Demo(arguments) => crate::demo::run(arguments),
        Work::Relay { arguments } => relay::run(arguments),
        Work::Steal(arguments) => finish(steal::run(&arguments)),
        Work::Load(arguments) => crate::load::run(&arguments),
        Work::LoadChild(arguments) => crate::load::be_child(arguments),
        Work::Device(arguments) => finish(in_tasks(act(arguments))),
        Work::Account(arguments) => finish(in_tasks(act_on_account(arguments))),
    }
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn in_tasks(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no tasks can be started: {error}")))?;
    let result = runtime.block_on(work);
    // A terminal that is still being read must not hold the end up.
    runtime.shutdown_background();
    result
}

async fn act_on_account(arguments: AccountArgs) -> Result<(), Failure> {
    let AccountArgs {
        state,
        passphrase_file,
        timeout,
        verb,
    } = arguments;
    let session = Session::new(state, passphrase_file.as_deref(), timeout)?;
    account::run(&session, verb).await
}

async fn act(arguments: DeviceArgs) -> Result<(), Failure> {
    let DeviceArgs {
        state,
        passphrase_file,
        timeout,
        verb,
    } = arguments;
    let session = Session::new(state, passphrase_file.as_deref(), timeout)?;
    match verb {
        Verb::CreateFamily {
            relay,
            family,
            name,
            device_name,
            admission,
        } => family::create(&session, relay, family, name, device_name, admission).await,
        Verb::ShowCode {
            child,
            guardian,
            code_file,
            yes,
            no_qr,
            png,
            short,
        } => {
            let show = pairing::Show {
                child,
                guardian,
                code_file,
                yes,
                no_qr,
                png,
                short,
            };
            pairing::show_code(&session, show).await
        }
        Verb::Pair {
            code,
            code_file,
            short,
            relay,
            admission,
            device_name,
        } => {
            let join = pairing::Join {
                code,
                code_file,
                short,
                relay,
                admission,
                device_name,
            };
            pairing::pair(&session, join).await
        }
        Verb::Send { text, sending } => compose::send(&session, text, &sending).await,
        Verb::Photo {
            file,
            caption,
            sending,
        } => compose::photo(&session, file, caption, &sending).await,
        Verb::Voice { file, sending } => compose::voice(&session, file, &sending).await,
        Verb::Sticker {
            name,
            pack,
            sending,
        } => compose::sticker(&session, name, pack, &sending).await,
        Verb::Progress {
            app,
            activity,
            level,
            minutes,
            score,
            out_of,
            text,
            delivery,
        } => {
            let progress = Progress {
                app,
                activity,
                level,
                score,
                out_of,
                seconds: minutes.saturating_mul(60),
                text,
            };
            compose::progress(&session, progress, delivery).await
        }
        Verb::React {
            id,
            emoji,
            delivery,
        } => compose::react(&session, &id, emoji, &delivery).await,
        Verb::Edit { id, text, delivery } => compose::edit(&session, &id, text, &delivery).await,
        Verb::Delete { id, delivery } => compose::delete(&session, &id, &delivery).await,
        Verb::Inbox {
            follow,
            json,
            mark_read,
            of,
            offline,
        } => {
            let show = inbox::Show {
                follow,
                json,
                mark_read,
                of,
                offline,
            };
            inbox::inbox(&session, show).await
        }
        Verb::Fetch { id, out } => inbox::fetch(&session, &id, out).await,
        Verb::Erase(verb) => erase::run(&session, verb).await,
        Verb::Export { out } => export::export(&session, out).await,
        Verb::History { json, wait } => history::history(&session, json, wait).await,
        Verb::Status { json } => status::status(&session, json).await,
        Verb::Room { title, members } => family::room(&session, title, &members).await,
        Verb::Update { to } => family::update(&session, to.as_deref()).await,
        Verb::Sync => family::sync(&session).await,
        Verb::Family(verb) => deciding::run(&session, verb).await,
        Verb::Contact(verb) => contact_run::run(&session, verb).await,
    }
}
