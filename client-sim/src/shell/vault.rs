//! Writing of the vault beside the connection: one at a time, the newest wins.

use std::future::pending;
use std::sync::Arc;

use kinline_protocol::engine::VaultWrite;
use kinline_protocol::engine::io::{Command, VaultOutcome};
use kinline_protocol::server_name::RelayAddress;
use rustls::ClientConfig;

use super::link::Task;
use crate::connection::put_vault;

/// A vault that is being written.
#[derive(Debug, Default)]
pub(super) struct VaultWriter {
    task: Option<(u64, Task<VaultOutcome>)>,
}

impl VaultWriter {
    /// Begins; one that is under way is given up.
    pub(super) fn write(&mut self, write: VaultWrite, relay: RelayAddress, tls: Arc<ClientConfig>) {
        let version = write.vault.version;
        let work = async move { put_vault(&relay, &tls, write).await };
        self.task = Some((version, Task::spawn(work)));
    }

    /// Whether nothing is being written.
    pub(super) const fn is_idle(&self) -> bool {
        self.task.is_none()
    }

    /// What the engine is to be told when it is over. Cancel-safe.
    pub(super) async fn next(&mut self) -> Command {
        let Some((version, task)) = &mut self.task else {
            return pending().await;
        };
        let version = *version;
        let outcome = task.ended().await.unwrap_or(VaultOutcome::Unreachable);
        self.task = None;
        Command::VaultWritten { version, outcome }
    }
}
