//! A small device that speaks the wire format by hand, and relays to speak it to.

mod account;
mod device;
mod http;
mod process;

pub use account::{Parent, cheap, draw, fetch, vault};
pub use device::{Device, Mailbox, Socket, noise, send, tls, tls_of};
pub use http::{Reply, metrics, request};
pub use process::{Process, command, run};

use kinline_protocol::day::Day;
use kinline_protocol::server_name::RelayAddress;
use kinline_server::measure::spooled;
use kinline_server::{Clock, Config, Relay, RunningRelay};
use tempfile::TempDir;

/// The day on which every test begins.
pub const TODAY: u32 = 20_000;

/// A relay in this process, whose clock the test holds.
pub struct Here {
    pub relay: Option<RunningRelay>,
    pub clock: Clock,
    pub config: Config,
    pub folder: TempDir,
}

impl Here {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::embedded(folder.path());
        change(&mut config);
        let clock = Clock::manual(Day(TODAY));
        let relay = Relay::start_with_clock(config.clone(), clock.clone())
            .await
            .unwrap();
        Self {
            relay: Some(relay),
            clock,
            config,
            folder,
        }
    }

    pub fn address(&self) -> RelayAddress {
        self.relay.as_ref().unwrap().relay_address().clone()
    }

    pub async fn connect(&self) -> Socket {
        Socket::connect(&self.address()).await
    }

    /// Stops the relay; its folder stays.
    pub async fn stop(&mut self) {
        self.relay.take().unwrap().shutdown().await;
    }

    /// Starts it again over the same folder.
    pub async fn restart(&mut self) {
        self.relay = Some(
            Relay::start_with_clock(self.config.clone(), self.clock.clone())
                .await
                .unwrap(),
        );
    }

    /// Starts it again over a folder that somebody changed; whether it starts.
    pub async fn try_restart(&mut self) -> bool {
        let relay = Relay::start_with_clock(self.config.clone(), self.clock.clone()).await;
        self.relay = relay.ok();
        self.relay.is_some()
    }

    /// The database, when the relay is stopped.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.config.data.join("relay.sqlite")).unwrap()
    }

    /// Envelopes in the spool; nothing but them, when the relay is stopped.
    pub fn envelopes(&self) -> u64 {
        let look = spooled(&self.config.data, &self.config.key_file()).unwrap();
        assert_eq!(look.slots, look.envelopes, "it is tidy");
        look.envelopes
    }

    /// Rows of a table.
    pub fn count(&self, table: &str) -> i64 {
        self.database()
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap()
    }
}
