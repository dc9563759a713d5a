//! The relay as a process: started, killed with SIGKILL, started again.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kinline_protocol::server_name::RelayAddress;
use kinline_server::measure::{Spooled, spooled};

use super::{DemoArgs, Obstacle};
use crate::connection::{client_config, connect};

const START_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A supervisor gets this long to start a killed relay again before the demo does.
const SUPERVISOR_WITHIN: Duration = Duration::from_secs(3);

/// How a relay's process is started, so that it can be started again.
struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    /// Where its log goes.
    log: PathBuf,
    /// Where it says on which address it listens; stolen with the rest when the relay is ours.
    said: PathBuf,
}

/// A relay: ours, or one that runs already.
pub(super) struct RelayProcess {
    pub(super) address: RelayAddress,
    /// Everything that the relay wrote, where it may be robbed.
    pub(super) loot: Option<PathBuf>,
    /// Where metrics are served, when we started it.
    admin: Option<u16>,
    launch: Option<Launch>,
    pid: Option<u32>,
    child: Option<Child>,
}

impl RelayProcess {
    /// Starts a relay of our own below `home`, or takes the one that was named.
    pub(super) async fn begin(arguments: &DemoArgs, home: &Path) -> Result<Self, Obstacle> {
        match &arguments.server {
            Some(address) => Ok(Self {
                address: address.clone(),
                loot: arguments.server_data.clone(),
                admin: None,
                launch: arguments
                    .server_pid
                    .map(|pid| found(pid, home))
                    .transpose()?,
                pid: arguments.server_pid,
                child: None,
            }),
            None => Self::start(home).await,
        }
    }

    /// Says hello to it once: a wrong address, pin or relay ends the demo before it begins.
    pub(super) async fn dial(&self) -> Result<(), Obstacle> {
        let tls = crate::connection::client_config(&self.address)
            .map_err(|error| Obstacle(error.to_string()))?;
        crate::connection::connect(&self.address, &tls)
            .await
            .map(drop)
            .map_err(|error| Obstacle(error.to_string()))
    }

    async fn start(home: &Path) -> Result<Self, Obstacle> {
        let program = std::env::current_exe().map_err(|error| Obstacle(error.to_string()))?;
        let loot = home.join("relay");
        // What unlocks the data lies outside of it: a thief of the folder has no key.
        let keys = home.join("relay-keys");
        for folder in [&loot, &keys] {
            std::fs::create_dir_all(folder).map_err(|error| Obstacle::file(folder, &error))?;
        }
        let admin = free_port()?;
        let flag = |name: &str, value: &Path| [OsString::from(name), value.as_os_str().to_owned()];
        let mut arguments: Vec<OsString> = vec!["relay".into(), "serve".into()];
        arguments.extend(flag("--data", &loot.join("data")));
        arguments.extend(flag("--key-file", &keys.join("kinline.key")));
        arguments.extend(flag("--tls-folder", &keys.join("tls")));
        arguments.extend(["--admin-listen".into(), format!("127.0.0.1:{admin}").into()]);
        arguments.extend(["--listen".into(), "127.0.0.1:0".into()]);
        let launch = Launch {
            program,
            arguments,
            folder: None,
            environment: vec![],
            log: loot.join("relay.log"),
            said: loot.join("relay-started.txt"),
        };
        let (child, address) = launch.start().await?;
        let mut relay = Self {
            address,
            loot: Some(loot),
            admin: Some(admin),
            pid: Some(child.id()),
            child: Some(child),
            launch: Some(launch),
        };
        // From now on it comes back where the devices look for it.
        if let Some(last) = relay
            .launch
            .as_mut()
            .and_then(|launch| launch.arguments.last_mut())
        {
            *last = format!("127.0.0.1:{}", relay.address.port).into();
        }
        Ok(relay)
    }

    fn is_foreign(&self) -> bool {
        self.launch
            .as_ref()
            .is_none_or(|launch| launch.folder.is_some())
    }

    /// The process that now is somebody else's relay, when the demo had to start it again.
    pub(super) fn left_running(&self) -> Option<u32> {
        self.child
            .as_ref()
            .filter(|_| self.is_foreign())
            .map(Child::id)
    }

    pub(super) const fn may_be_killed(&self) -> bool {
        self.launch.is_some() && self.pid.is_some()
    }

    /// SIGKILL: no warning, no last word.
    pub(super) async fn kill(&mut self) -> Result<(), Obstacle> {
        let Some(pid) = self.pid.take() else {
            return Err(Obstacle("this relay may not be killed".into()));
        };
        match self.child.take() {
            Some(mut child) => {
                child
                    .kill()
                    .and_then(|()| child.wait())
                    .map_err(|error| Obstacle(error.to_string()))?;
            }
            None => {
                let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
                if !status.is_ok_and(|status| status.success()) {
                    return Err(Obstacle(format!(
                        "the relay's process {pid} could not be killed"
                    )));
                }
                while Path::new(&format!("/proc/{pid}/exe")).exists() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
        Ok(())
    }

    /// Starts it again as it was, unless a supervisor does.
    pub(super) async fn restart(&mut self) -> Result<(), Obstacle> {
        let launch = self
            .launch
            .as_ref()
            .ok_or_else(|| Obstacle("this relay can't be started from here".into()))?;
        if launch.folder.is_some() && answers(&self.address, SUPERVISOR_WITHIN).await {
            return Ok(());
        }
        let (child, address) = launch.start().await?;
        if address != self.address {
            return Err(Obstacle(
                "the relay came back under another address: start it with a fixed port".into(),
            ));
        }
        self.pid = Some(child.id());
        self.child = Some(child);
        Ok(())
    }

    /// Writes what the relay's metrics say beside its data, so that a thief finds them too.
    pub(super) async fn dump_metrics(&self) {
        let (Some(port), Some(loot)) = (self.admin, &self.loot) else {
            return;
        };
        if let Ok(text) = scrape(port).await {
            // Metrics that could not be written are metrics that can't be stolen.
            drop(std::fs::write(loot.join("metrics.txt"), text));
        }
    }

    /// What waits in the relay's spool; `None` when that, or the key file, is not to be had.
    pub(super) fn spooled(&self) -> Result<Option<Spooled>, Obstacle> {
        let Some(loot) = &self.loot else {
            return Ok(None);
        };
        let data = [loot.join("data"), loot.clone()];
        let Some(data) = data.iter().find(|data| data.join("spool").exists()) else {
            return Ok(None);
        };
        let Some(key_file) = self.launch.as_ref().and_then(Launch::key_file) else {
            return Ok(None);
        };
        spooled(data, &key_file)
            .map(Some)
            .map_err(|error| Obstacle(format!("the relay's spool: {error}")))
    }

    /// Addresses that the relay may name in its log: its own.
    pub(super) fn own_addresses(&self) -> Vec<String> {
        let mut addresses = vec![self.address.authority()];
        addresses.extend(self.admin.map(|port| format!("127.0.0.1:{port}")));
        addresses
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        if self.is_foreign() {
            // Somebody else's relay goes on, as it did before the demo killed it.
            return;
        }
        if let Some(child) = self.child.as_mut() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Launch {
    /// The key file, if it was started with one and we may read it.
    fn key_file(&self) -> Option<PathBuf> {
        let mut arguments = self.arguments.iter();
        arguments.find(|argument| *argument == "--key-file")?;
        let path = PathBuf::from(arguments.next()?);
        let path = self
            .folder
            .as_ref()
            .map_or(path.clone(), |it| it.join(&path));
        path.exists().then_some(path)
    }

    async fn start(&self) -> Result<(Child, RelayAddress), Obstacle> {
        let append = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.map_err(|error| Obstacle::file(path, &error))
        };
        let (log, said) = (append(&self.log)?, append(&self.said)?);
        let before = said
            .metadata()
            .map_err(|error| Obstacle::file(&self.said, &error))?
            .len();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(log);
        if let Some(folder) = &self.folder {
            command
                .current_dir(folder)
                .env_clear()
                .envs(self.environment.iter().cloned());
        }
        let mut child = command
            .spawn()
            .map_err(|error| Obstacle(format!("the relay could not be started: {error}")))?;
        let began = Instant::now();
        while began.elapsed() < START_WITHIN {
            if let Some(address) = self.announced(before) {
                return Ok((child, address));
            }
            if let Ok(Some(status)) = child.try_wait() {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last = said.lines().last().unwrap_or_default().to_owned();
                return Err(Obstacle(format!(
                    "the relay ended at its start ({status}): {last}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        drop(child.kill());
        drop(child.wait());
        Err(Obstacle("the relay did not say that it listens".into()))
    }

    fn announced(&self, after: u64) -> Option<RelayAddress> {
        let said = std::fs::read(&self.said).ok()?;
        let new = said.get(usize::try_from(after).ok()?..)?;
        let text = String::from_utf8_lossy(new);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("listening "))?;
        // A line is whole when its newline is there; a pin cut short does not parse.
        line.trim().parse().ok()
    }
}

/// A process that runs already, as the system describes it.
fn found(pid: u32, home: &Path) -> Result<Launch, Obstacle> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let unreadable =
        |error: std::io::Error| Obstacle(format!("there is no process {pid} to be seen: {error}"));
    let parts = |name: &str| -> Result<Vec<OsString>, Obstacle> {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = std::fs::read(process.join(name)).map_err(unreadable)?;
        Ok(bytes
            .split(|byte| *byte == 0)
            .filter(|part| !part.is_empty())
            .map(|part| OsString::from_vec(part.to_vec()))
            .collect())
    };
    let environment = parts("environ")?
        .into_iter()
        .filter_map(|entry| {
            let text = entry.into_string().ok()?;
            let (name, value) = text.split_once('=')?;
            Some((OsString::from(name), OsString::from(value)))
        })
        .collect();
    Ok(Launch {
        program: std::fs::read_link(process.join("exe")).map_err(unreadable)?,
        arguments: parts("cmdline")?.into_iter().skip(1).collect(),
        folder: Some(std::fs::read_link(process.join("cwd")).map_err(unreadable)?),
        environment,
        log: home.join("relay-restarted.log"),
        said: home.join("relay-restarted.txt"),
    })
}

/// Whether a relay speaks there. That somebody accepts a connection is not enough: for a moment
/// after SIGKILL the dead one's socket still does.
async fn answers(address: &RelayAddress, within: Duration) -> bool {
    let Ok(tls) = client_config(address) else {
        return false;
    };
    let began = Instant::now();
    while began.elapsed() < within {
        if connect(address, &tls).await.is_ok() {
            return true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    false
}

fn free_port() -> Result<u16, Obstacle> {
    let listener =
        std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| Obstacle(error.to_string()))?;
    Ok(listener
        .local_addr()
        .map_err(|error| Obstacle(error.to_string()))?
        .port())
}

async fn scrape(port: u16) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await?;
    let mut text = String::new();
    stream.take(1 << 20).read_to_string(&mut text).await?;
    Ok(text)
}
