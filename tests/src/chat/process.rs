//! The test's side.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::patience::in_time;
use crate::program;

/// A device that runs as a process.
#[derive(Debug)]
pub struct Chat {
    child: Arc<Mutex<Child>>,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Chat {
    /// Starts a device over its state folder.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(folder: &Path, online: bool) -> Self {
        let line = [program::path(program::DEVICE).into(), "chat".into()];
        Self::start_as(&line, &[], folder, online)
    }

    /// [`Self::start`] with another command line before the folder, and more in the environment.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start_as(
        line: &[OsString],
        environment: &[(&str, &str)],
        folder: &Path,
        online: bool,
    ) -> Self {
        let mut line = line.iter();
        let mut child = Command::new(line.next().expect("a program"))
            .args(line)
            .arg(folder)
            .arg(if online { "online" } else { "offline" })
            .env_clear()
            .envs(program::environment())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            child: Arc::new(Mutex::new(child)),
        }
    }

    /// Tells it a line; one that is dead does not hear it.
    pub async fn tell(&mut self, line: &str) {
        let line = format!("{line}\n");
        drop(self.input.write_all(line.as_bytes()).await);
    }

    /// Its next line; `None` when it is dead and everything it said was read.
    ///
    /// # Panics
    /// When it says nothing for too long.
    pub async fn next(&mut self) -> Option<String> {
        in_time("a line of the device", self.output.next_line())
            .await
            .unwrap()
    }

    /// Reads up to and including a line; returns what came before.
    ///
    /// # Panics
    /// When it ends without that line.
    pub async fn read_until(&mut self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                Some(line) if line == wanted => return before,
                Some(line) => before.push(line),
                None => panic!("the device ended before it said {wanted:?}"),
            }
        }
    }

    /// What kills it (SIGKILL) from elsewhere, at once.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn killer(&self) -> impl FnOnce() + Send + 'static {
        let child = Arc::clone(&self.child);
        move || child.lock().unwrap().start_kill().unwrap()
    }

    /// Waits until it is dead; returns the lines that it had said by then.
    ///
    /// # Panics
    /// When it lives on.
    pub async fn last_words(mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(line) = self.next().await {
            words.push(line);
        }
        // Its end of the pipe is closed, so it is gone or going.
        crate::patience::eventually("the device's end", async || {
            self.child.lock().unwrap().try_wait().unwrap()
        })
        .await;
        words
    }

    /// Ends it politely; returns what it said until then.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(mut self) -> Vec<String> {
        self.tell("settle").await;
        let mut words = self.read_until("settled").await;
        self.tell("stop").await;
        words.extend(self.read_until("stopped").await);
        words.extend(self.last_words().await);
        words
    }
}
