//! The barest programs that do a part of the relay's work: what it is measured against.
//!
//! [`echo`] is a WebSocket over the same TLS, [`inserts`] the same table filled the quickest
//! way we found, [`syncs`] the disk alone, [`files`] a file server over the same TLS.

pub(super) mod echo;
pub(super) mod files;
pub(super) mod inserts;
pub(super) mod syncs;
pub(super) mod tls;

use std::path::Path;
use std::process::ExitCode;

use super::child::Role;
use super::trouble::Trouble;

/// Is one of the servers until its parent is gone.
pub(super) fn serve(role: Role, folder: &Path) -> ExitCode {
    // As the relay's own program does.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let served = runtime.map_err(Trouble::from).and_then(|runtime| {
        runtime.block_on(async {
            match role {
                Role::Echo => echo::serve(folder).await,
                Role::Files => files::serve(folder).await,
                Role::Relay => Err(Trouble::new("no such baseline")),
            }
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("kinline-sim: {trouble}");
            ExitCode::from(2)
        }
    }
}
