//! A family whose every act is one call of `kinline-sim`, as from a shell.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::program;

/// A folder of devices.
#[derive(Debug)]
pub struct Shell {
    home: PathBuf,
}

/// `kinline-sim` with these words, in a clean environment.
#[must_use]
pub fn sim(words: &[&str]) -> Command {
    let mut command = Command::new(program::path(program::DEVICE));
    command
        .args(words)
        .env_clear()
        .envs(program::environment())
        .stdin(Stdio::null());
    command
}

/// `kinline-sim` with these words, from a shell that said `setup` before: a limit, a signal.
#[must_use]
pub fn sim_after(setup: &str, words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")])
        .arg(program::path(program::DEVICE))
        .args(words)
        .env_clear()
        .envs(program::environment())
        .stdin(Stdio::null());
    command
}

/// Runs to the end; it must end well. Returns what it printed.
///
/// # Panics
/// When it fails.
pub fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {:?} {}",
        output.status,
        stderr(&output)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs to the end; it must say one sentence and end with status 2. Returns the sentence.
///
/// # Panics
/// When it ends otherwise.
pub fn is_refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let sentence = stderr(&output);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{command:?}: {:?} {sentence}",
        output.status
    );
    assert_eq!(sentence.trim().lines().count(), 1, "{sentence}");
    assert!(sentence.starts_with("kinline-sim: "), "{sentence}");
    sentence
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Shell {
    /// Devices below `home`.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
        }
    }

    /// A path below the home, as text.
    ///
    /// # Panics
    /// When it is no text.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.home.join(name).to_str().unwrap().to_owned()
    }

    /// The words of one verb on one device.
    fn words<'a>(state: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["device", "--timeout", "60", "--state", state];
        all.extend(words);
        all
    }

    /// One verb on one device, not yet run.
    #[must_use]
    pub fn command(&self, device: &str, words: &[&str]) -> Command {
        sim(&Self::words(&self.path(device), words))
    }

    /// One verb on one device, from a shell that said `setup` before.
    #[must_use]
    pub fn command_after(&self, setup: &str, device: &str, words: &[&str]) -> Command {
        sim_after(setup, &Self::words(&self.path(device), words))
    }

    /// Runs a verb that must end well; returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn run(&self, device: &str, words: &[&str]) -> String {
        succeeds(&mut self.command(device, words))
    }

    /// Runs a verb that must be refused; returns the sentence.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn refused(&self, device: &str, words: &[&str]) -> String {
        is_refused(&mut self.command(device, words))
    }

    /// The messages on a device's screen.
    ///
    /// # Panics
    /// When they are no JSON lines.
    #[must_use]
    pub fn inbox(&self, device: &str) -> Vec<Value> {
        self.run(device, &["inbox", "--json"])
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Founds a family on `device`, whose guardian has the same name.
    ///
    /// # Panics
    /// When that fails.
    pub fn found(&self, device: &str, relay: &str, family: &str) {
        let words = ["--relay", relay, "--family", family, "--name", device];
        let said = self.run(device, &[&["create-family"], &words[..]].concat());
        assert!(said.contains("is founded"), "{said}");
    }

    /// Pairs `new`, while `guardian`'s phone shows the code. Returns the code.
    ///
    /// # Panics
    /// When either side fails, or the screens show different pictures.
    #[must_use]
    pub fn pair(&self, guardian: &str, new: &str, role: &str) -> String {
        let code_file = self.path(&format!("{new}.code"));
        let words = ["--yes", "--no-qr", "--code-file", &code_file];
        let showing = self
            .command(guardian, &[&["show-code", role, new], &words[..]].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let joined = self.run(new, &["pair", "--code-file", &code_file]);
        let shown = showing.wait_with_output().unwrap();
        assert!(shown.status.success());
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(pictures(&joined), pictures(&shown));
        assert!(shown.contains(&format!("{new}'s device is in")), "{shown}");
        let code = shown.lines().find(|line| line.starts_with("kinline:"));
        code.expect("the code's text").trim().to_owned()
    }
}

/// The four pictures that both screens show.
fn pictures(said: &str) -> &str {
    let line = said
        .lines()
        .find(|line| line.contains("the same pictures"))
        .expect("pictures");
    line.split_once(':').expect("pictures after a colon").1
}
