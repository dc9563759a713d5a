//! The relay as a process that may be watched by strace, and may end before it says a word.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use kinline_protocol::server_name::RelayAddress;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::program::environment;

/// No start and no end takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a relay is started: `program arguments… serve …`.
#[derive(Debug, Clone)]
pub struct Program {
    /// The relay's own command line, up to its verb.
    pub command: Vec<OsString>,
    /// Variables it is given.
    pub environment: Vec<(String, String)>,
}

impl Program {
    /// The relay that is linked into this program.
    ///
    /// # Panics
    /// When this program has no path.
    #[must_use]
    pub fn linked_in() -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        Self {
            command: vec![this.into(), "relay".into()],
            environment: vec![],
        }
    }

    /// With one more setting, named as in the environment without its prefix.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let name = format!("KINLINE_RELAY_{name}");
        self.environment.push((name, value.to_owned()));
        self
    }
}

/// A relay process over a folder: `data/`, `keys/`, `relay.log`.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// Where it listens; `None` when it ended before it did.
    pub address: Option<RelayAddress>,
    folder: PathBuf,
}

/// How a relay ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status: strace is only its witness.
    pub status: ExitStatus,
    /// Everything it logged in all its lives.
    pub log: String,
}

impl Process {
    /// Starts a relay; `witness` is what comes before it on the command line (strace).
    ///
    /// # Panics
    /// When the system can't start it, or it says nothing.
    pub async fn start(program: &Program, folder: &Path, witness: &[OsString]) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("relay.log"))
            .unwrap();
        let mut line = witness.iter().chain(&program.command);
        let mut child = Command::new(line.next().expect("a program"))
            .args(line)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .arg("--key-file")
            .arg(folder.join("keys/kinline.key"))
            .arg("--tls-folder")
            .arg(folder.join("keys/tls"))
            .current_dir(folder)
            .env_clear()
            .envs(environment())
            .envs(program.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, output.next_line())
            .await
            .expect("the relay says nothing at its start");
        let address = line.unwrap().map(|line| {
            let address = line.strip_prefix("listening ").expect("its address first");
            address.parse().unwrap()
        });
        Self {
            child,
            output,
            address,
            folder: folder.to_owned(),
        }
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Panics
    /// As [`Self::ended`].
    pub async fn kill(mut self) -> Ended {
        drop(self.child.start_kill()); // it may be dead already
        self.ended().await
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// As [`Self::ended`].
    pub async fn terminate(self) -> Ended {
        if let Some(id) = self.child.id() {
            let mut kill = Command::new("kill");
            kill.args(["-TERM", &id.to_string()]).stderr(Stdio::null());
            drop(kill.status().await); // it may be dead already
        }
        self.ended().await
    }

    /// Waits for its end, and for that of strace, which writes until then.
    ///
    /// # Panics
    /// When it lives on.
    pub async fn ended(mut self) -> Ended {
        let end = async {
            let status = self.child.wait().await.unwrap();
            while let Ok(Some(_)) = self.output.next_line().await {}
            status
        };
        let status = timeout(PATIENCE, end).await.expect("the relay lives on");
        let log = std::fs::read(self.folder.join("relay.log")).unwrap();
        Ended {
            status,
            log: String::from_utf8_lossy(&log).into_owned(),
        }
    }
}
