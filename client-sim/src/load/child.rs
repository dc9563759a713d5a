//! The relay and the baselines run in a process each, started and ended here.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child as StdChild, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use kinline_protocol::server_name::RelayAddress;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::cores::Cores;
use super::process::Process;
use super::trouble::Trouble;
use super::wire::Dial;

const START_WITHIN: Duration = Duration::from_secs(180);
const STOP_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The hidden verb under which this program is a relay or a baseline.
pub(super) const VERB: &str = "load-child";

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// The relay.
    Relay,
    /// The bare WebSocket echo.
    Echo,
    /// The bare file server.
    Files,
}

/// A process that ends with its value.
pub(super) struct Child {
    process: StdChild,
    /// One of ours ends when this closes, however we end.
    stdin: Option<ChildStdin>,
    pub(super) address: RelayAddress,
}

impl Child {
    /// Starts `command` on the other core and waits for its line `listening ADDRESS`.
    async fn start(mut command: Command, log: &Path, cores: Cores) -> Result<Self, Trouble> {
        let said = log.with_extension("said");
        let file = |path: &Path| File::create(path).map_err(|error| Trouble::file(path, &error));
        command
            .stdin(Stdio::piped())
            .stdout(file(&said)?)
            .stderr(file(log)?);
        let process = cores.on_the_other(|| command.spawn());
        let mut process = process.map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            Trouble::new(format!("{program} can't be started: {error}"))
        })?;
        let stdin = process.stdin.take();
        // From here on it is ended with us.
        let mut child = Self {
            process,
            stdin,
            address: RelayAddress {
                host: String::new(),
                port: 0,
                pin: None,
                operator: None,
            },
        };
        let began = Instant::now();
        while began.elapsed() < START_WITHIN {
            if let Some(address) = announced(&said) {
                child.address = address;
                return Ok(child);
            }
            if let Ok(Some(status)) = child.process.try_wait() {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let last = text.lines().last().unwrap_or_default();
                return Err(Trouble::new(format!(
                    "a process of the measurement ended at its start ({status}): {last}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(Trouble::new(
            "a process of the measurement did not start to listen",
        ))
    }

    /// A baseline.
    pub(super) async fn bare(role: Role, folder: &Path, cores: Cores) -> Result<Self, Trouble> {
        let name = match role {
            Role::Relay => "relay",
            Role::Echo => "echo",
            Role::Files => "files",
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args([VERB, name]).arg(folder);
        Self::start(command, &folder.join(format!("{name}.log")), cores).await
    }

    pub(super) fn process(&self) -> Process {
        Process(self.process.id())
    }

    pub(super) fn dial(&self) -> Result<Dial, Trouble> {
        Dial::new(self.address.clone())
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub(super) async fn stop(mut self) -> Result<(), Trouble> {
        if let Some(pid) = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let began = Instant::now();
        while began.elapsed() < STOP_WITHIN {
            if self.process.try_wait()?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(Trouble::new(
            "a process of the measurement did not end when it was asked to",
        ))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn announced(said: &Path) -> Option<RelayAddress> {
    let text = std::fs::read_to_string(said).ok()?;
    let (line, _) = text.split_once('\n')?;
    line.strip_prefix("listening ")?.trim().parse().ok()
}

/// How a relay is set up; what is not said here is as the program's defaults have it.
#[derive(Debug, Clone)]
pub(super) struct RelaySetup {
    /// The limits that a measurement has to lift: rates and numbers of connections, which
    /// are checked all the same. Lines of the configuration's section `[limits]`.
    pub(super) limits: Vec<(&'static str, u64)>,
    /// Whether metrics are served.
    pub(super) metrics: bool,
}

impl Default for RelaySetup {
    fn default() -> Self {
        let many = 100_000_000;
        Self {
            limits: vec![
                ("connections", 200_000),
                ("connections_per_network", 200_000),
                ("frames_per_second", many),
                ("frames_burst", many),
                ("unattached_frames_per_second", many),
                ("unattached_frames_burst", many),
                ("mailbox_deliveries_per_second", many),
                ("mailbox_deliveries_burst", many),
                ("blob_bytes_per_day", 1 << 40),
            ],
            metrics: false,
        }
    }
}

/// The key file's name in a relay's folder.
const KEY_FILE: &str = "kinline.key";

impl RelaySetup {
    /// With another limit.
    pub(super) fn with(mut self, name: &'static str, value: u64) -> Self {
        self.limits.retain(|(known, _)| *known != name);
        self.limits.push((name, value));
        self
    }

    fn toml(&self, home: &Path, admin: Option<u16>) -> String {
        let path = |name: &str| format!("{:?}", home.join(name).to_string_lossy());
        let mut text = format!(
            "listen = \"127.0.0.1:0\"\ndata = {}\nkey_file = {}\nlog_level = \"warn\"\n",
            path("data"),
            path(KEY_FILE)
        );
        if let Some(port) = admin {
            text += &format!("admin_listen = \"127.0.0.1:{port}\"\n");
        }
        text += &format!("[tls]\nfolder = {}\n[limits]\n", path("tls"));
        for (name, value) in &self.limits {
            text += &format!("{name} = {value}\n");
        }
        text
    }
}

/// A relay with a folder of its own, which goes with it.
pub(super) struct RelayChild {
    pub(super) child: Child,
    pub(super) home: TempDir,
    pub(super) metrics_port: Option<u16>,
}

impl RelayChild {
    /// Its key file.
    pub(super) fn key_file(&self) -> PathBuf {
        self.home.path().join(KEY_FILE)
    }
}

/// How relays are started in this run.
#[derive(Debug, Clone)]
pub(super) struct Launcher {
    /// Another program than this one.
    pub(super) program: Option<PathBuf>,
    /// Where folders go.
    pub(super) scratch: PathBuf,
    pub(super) cores: Cores,
}

impl Launcher {
    /// A folder that goes with its value.
    pub(super) fn folder(&self) -> Result<TempDir, Trouble> {
        tempfile::Builder::new()
            .prefix("kinline-load-")
            .tempdir_in(&self.scratch)
            .map_err(|error| Trouble::file(&self.scratch, &error))
    }

    /// A relay over an empty folder.
    pub(super) async fn relay(&self, setup: &RelaySetup) -> Result<RelayChild, Trouble> {
        self.relay_in(self.folder()?, setup).await
    }

    /// A relay over the folder of an earlier one.
    pub(super) async fn relay_in(
        &self,
        home: TempDir,
        setup: &RelaySetup,
    ) -> Result<RelayChild, Trouble> {
        let metrics_port = setup.metrics.then(free_port).transpose()?;
        let config = home.path().join("relay.toml");
        std::fs::write(&config, setup.toml(home.path(), metrics_port))
            .map_err(|error| Trouble::file(&config, &error))?;
        let mut command = match &self.program {
            Some(program) => Command::new(program),
            None => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args([VERB, "relay"]);
                command
            }
        };
        command.args([OsString::from("serve"), "--config".into(), config.into()]);
        let child = Child::start(command, &home.path().join("relay.log"), self.cores).await?;
        Ok(RelayChild {
            child,
            home,
            metrics_port,
        })
    }
}

impl RelayChild {
    /// The database and its log.
    pub(super) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Stops the relay; its folder stays.
    ///
    /// # Errors
    /// As [`Child::stop`].
    pub(super) async fn stop(self) -> Result<TempDir, Trouble> {
        self.child.stop().await?;
        Ok(self.home)
    }
}

fn free_port() -> Result<u16, Trouble> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}

/// Ends this process when its parent is gone: the other end of standard input closes then.
pub(super) fn end_with_parent() {
    std::thread::spawn(|| {
        drop(std::io::copy(
            &mut std::io::stdin().lock(),
            &mut std::io::sink(),
        ));
        std::process::exit(0);
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::RelaySetup;
    use kinline_server::Config;
    use std::path::Path;

    #[test]
    fn the_relay_takes_its_configuration_and_nothing_but_limits_differs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.toml");
        let setup = RelaySetup::default().with("hold_ms", 0);
        std::fs::write(&file, setup.toml(Path::new("/home/of"), Some(9_900))).unwrap();
        let none: [(&str, &str); 0] = [];
        let flags: std::collections::BTreeMap<_, _> = none.into();
        let config = Config::load(Some(&file), flags).unwrap();
        assert_eq!(config.limits.hold_ms, 0);
        assert_eq!(config.data, Path::new("/home/of/data"));
        let standard = kinline_server::config::Limits::default();
        assert_eq!(config.limits.hold_bytes, standard.hold_bytes);
        assert_eq!(config.limits.mailbox_envelopes, standard.mailbox_envelopes);
        assert_eq!(
            config.limits.checkpoint_after_ms,
            standard.checkpoint_after_ms
        );
    }
}
