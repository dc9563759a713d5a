//! The relay as a process: started, killed with SIGKILL, started again over the same folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use kinline_protocol::ids::MailboxId;
use kinline_protocol::server_name::RelayAddress;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::patience::in_time;
use crate::program;

/// A relay process over a folder: `data/`, `keys/`, `relay.log`.
#[derive(Debug)]
pub struct Relay {
    folder: PathBuf,
    settings: Vec<(String, String)>,
    listen: String,
    running: Arc<Mutex<Option<Child>>>,
    output: Option<Lines<BufReader<ChildStdout>>>,
    address: RelayAddress,
}

/// Kills the relay from anywhere, at once.
#[derive(Debug, Clone)]
pub struct Killer(Arc<Mutex<Option<Child>>>);

impl Killer {
    /// SIGKILL; a relay that is gone already is fine.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn kill(&self) {
        if let Some(child) = self.0.lock().unwrap().as_mut() {
            child.start_kill().unwrap();
        }
    }
}

impl Relay {
    /// Starts a relay on a free loopback port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// Starts a relay with settings, named as in the environment without their prefix:
    /// `("LIMITS__HOLD_MS", "0")`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(folder: &Path, settings: &[(&str, &str)]) -> Self {
        std::fs::create_dir_all(folder.join("keys")).unwrap();
        let settings = settings
            .iter()
            .map(|(name, value)| (format!("KINLINE_RELAY_{name}"), (*value).to_owned()))
            .collect();
        let mut relay = Self {
            folder: folder.to_owned(),
            settings,
            listen: "127.0.0.1:0".to_owned(),
            running: Arc::default(),
            output: None,
            address: "wss://127.0.0.1:1".parse().unwrap(),
        };
        relay.launch().await;
        relay.listen = format!("127.0.0.1:{}", relay.address.port);
        relay
    }

    async fn launch(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("relay.log"))
            .unwrap();
        let (program, first) = program::relay();
        let mut child = Command::new(program)
            .args(first)
            .args(["serve", "--listen", &self.listen, "--data"])
            .arg(self.data())
            .arg("--key-file")
            .arg(self.folder.join("keys/kinline.key"))
            .arg("--tls-folder")
            .arg(self.tls_folder())
            .env_clear()
            .envs(program::environment())
            .envs(self.settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = in_time("the relay's start", lines.next_line()).await;
        let Some(line) = line.unwrap() else {
            panic!(
                "the relay ended at its start: {}",
                std::fs::read_to_string(self.folder.join("relay.log")).unwrap()
            )
        };
        let address = line.strip_prefix("listening ").expect("its address first");
        self.address = address.parse().unwrap();
        self.output = Some(lines);
        *self.running.lock().unwrap() = Some(child);
    }

    /// Runs one of its commands beside it, over its folder.
    ///
    /// # Panics
    /// When it can't be run, or does not end.
    pub async fn command(&self, args: &[&str]) -> std::process::Output {
        let (program, first) = program::relay();
        let command = Command::new(program)
            .args(first)
            .args(args)
            .arg("--data")
            .arg(self.data())
            .arg("--key-file")
            .arg(self.folder.join("keys/kinline.key"))
            .env_clear()
            .envs(program::environment())
            .envs(self.settings.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        in_time("the operator's command", command).await.unwrap()
    }

    /// Its decoys, for whoever has its key file.
    ///
    /// # Panics
    /// When its folder can't be read.
    pub async fn decoys(&self) -> Vec<MailboxId> {
        let key_file = self.folder.join("keys/kinline.key");
        let decoys = kinline_server::measure::decoys(&self.data(), &key_file).await;
        decoys.unwrap()
    }

    /// Where it listens, with its pin; the same after every restart.
    #[must_use]
    pub const fn address(&self) -> &RelayAddress {
        &self.address
    }

    /// Database and blobs.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data().join("relay.sqlite")
    }

    /// Envelopes in its spool.
    ///
    /// # Panics
    /// When the spool can't be read.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let look =
            kinline_server::measure::spooled(&self.data(), &self.folder.join("keys/kinline.key"));
        look.unwrap().envelopes
    }

    /// Forgets what it wrote into its spool since it last tidied up: what a relay would have on
    /// disk that says ok before it writes.
    ///
    /// # Panics
    /// When there is no such thing.
    pub fn forget_newest(&self) {
        let spool = std::fs::read_dir(self.data().join("spool")).unwrap();
        let all = spool.map(|entry| entry.unwrap().path());
        let journals: Vec<_> = all
            .filter(|path| path.extension().is_some_and(|name| name == "journal"))
            .collect();
        assert!(!journals.is_empty(), "nothing was written since then");
        for journal in journals {
            std::fs::remove_file(journal).unwrap();
        }
    }

    /// Whether nothing waits in its spool and it has tidied up.
    ///
    /// # Panics
    /// When there is no spool.
    #[must_use]
    pub fn has_nothing_waiting(&self) -> bool {
        let spool = std::fs::read_dir(self.data().join("spool")).unwrap();
        spool.count() == 0
    }

    /// The relay's own CA.
    #[must_use]
    pub fn tls_folder(&self) -> PathBuf {
        self.folder.join("keys/tls")
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("relay.log")
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let running = self.running.lock().unwrap();
        running.as_ref().and_then(Child::id).expect("it runs")
    }

    /// Whether the process that was started last still runs.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let mut running = self.running.lock().unwrap();
        running
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// What kills it from elsewhere.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer(Arc::clone(&self.running))
    }

    /// SIGKILL: no warning, no last word.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        self.killer().kill();
        self.end().await;
    }

    /// SIGTERM; returns its exit status.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn terminate(&mut self) -> Option<i32> {
        let pid = self.pid().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(told.unwrap().success());
        self.end().await
    }

    /// Waits for its end.
    async fn end(&mut self) -> Option<i32> {
        let child = self.running.lock().unwrap().take();
        let mut child = child.expect("it runs");
        let status = in_time("the relay's end", child.wait()).await.unwrap();
        self.output = None;
        status.code()
    }

    /// Starts it again as it was, under the same address.
    ///
    /// # Panics
    /// When it does not start, or under another address.
    pub async fn restart(&mut self) {
        let before = self.address.clone();
        self.launch().await;
        assert_eq!(self.address, before);
    }

    /// Starts it again on any free port, for devices that reach it through a tap: while it was
    /// dead, another process may have taken its port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart_anywhere(&mut self) {
        "127.0.0.1:0".clone_into(&mut self.listen);
        self.launch().await;
        self.listen = format!("127.0.0.1:{}", self.address.port);
    }
}
