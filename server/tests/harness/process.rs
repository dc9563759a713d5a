//! The relay as a process, to be killed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use kinline_protocol::server_name::RelayAddress;

/// A relay process over a folder.
pub struct Process {
    child: Child,
    said: BufReader<ChildStdout>,
    log: PathBuf,
    pub address: RelayAddress,
}

/// The command, in an environment of its own.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinline-server"));
    command.env_clear();
    command
}

impl Process {
    pub fn start(folder: &Path, hold_ms: u64) -> Self {
        let hold = hold_ms.to_string();
        Self::start_with(folder, &[("KINLINE_RELAY_LIMITS__HOLD_MS", &hold)])
    }

    pub fn start_with(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let log = folder.join("log");
        let mut child = command()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line
            .strip_prefix("listening ")
            .expect("the first line names the address");
        Self {
            address: address.trim().parse().unwrap(),
            child,
            said,
            log,
        }
    }

    /// Where its metrics are, when it was started with `KINLINE_RELAY_ADMIN_LISTEN`.
    pub fn admin_address(&mut self) -> SocketAddr {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("metrics http://");
        let address = address.and_then(|line| line.strip_suffix("/metrics"));
        address.expect("the second line names it").parse().unwrap()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns the exit status.
    pub fn terminate(self) -> i32 {
        self.terminate_and_read().0
    }

    /// SIGTERM; returns the exit status and the log.
    pub fn terminate_and_read(self) -> (i32, String) {
        let log = self.log.clone();
        self.signal_terminate();
        (self.wait(), std::fs::read_to_string(log).unwrap())
    }

    /// Waits until it ends by itself; returns the exit status.
    pub fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }

    fn signal_terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Process {
    /// A test that fails leaves no relay behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs to the end; what should have ended by itself is ended after a while.
///
/// Beside a relay in this process the test needs threads of its own for that one (`multi_thread`):
/// held up in the middle of a transaction, it would hold this up.
pub fn run(args: &[&str], folder: &Path, environment: &[(&str, &str)]) -> Output {
    let data: PathBuf = folder.join("data");
    let mut command = Command::new("timeout");
    command.args(["30", env!("CARGO_BIN_EXE_kinline-server")]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path);
    command
        .args(args)
        .arg("--data")
        .arg(data)
        .envs(environment.iter().copied());
    command.output().unwrap()
}
