//! A family whose every act is one call of `kinline-sim`, as from a shell.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

use crate::program;

/// Rounds in which everything between two families is through: an offer takes about five.
const ROUNDS_MAX: usize = 12;

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

/// Runs to the end; what was asked for must be turned down: one sentence, status 1. Returns the
/// sentence.
///
/// # Panics
/// When it ends otherwise.
pub fn is_denied(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let sentence = stderr(&output);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{command:?}: {:?} {sentence}",
        output.status
    );
    let last = sentence.trim().lines().last().unwrap_or_default();
    assert!(last.starts_with("kinline-sim: "), "{sentence}");
    last.to_owned()
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

    /// Runs a verb whose wish must be turned down; returns the sentence.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn denied(&self, device: &str, words: &[&str]) -> String {
        is_denied(&mut self.command(device, words))
    }

    /// Runs a verb with `--json` that prints one object.
    ///
    /// # Panics
    /// When it fails, or prints something else.
    #[must_use]
    pub fn json(&self, device: &str, words: &[&str]) -> Value {
        let said = self.run(device, &[words, &["--json"]].concat());
        serde_json::from_str(&said).unwrap()
    }

    /// Everything that happened on a device and is no message.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn notices(&self, device: &str) -> Vec<Value> {
        self.run(device, &["notices", "--all", "--json"])
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Each device wakes, fetches, sends and sleeps, one after the other, until it is so.
    ///
    /// # Panics
    /// When it never is.
    pub fn rounds(&self, devices: &[&str], what: &str, so: impl Fn() -> bool) {
        for _ in 0..ROUNDS_MAX {
            if so() {
                return;
            }
            for device in devices {
                succeeds(&mut self.command(device, &["sync"]));
            }
        }
        assert!(so(), "never: {what}");
    }

    /// Pairs `new` by fourteen digits.
    ///
    /// # Panics
    /// When either side fails, or the screens show different pictures.
    pub fn pair_by_digits(&self, guardian: &str, new: &str, role: &str, relay: &str) {
        let showing = ["show-code", role, new, "--short", "--yes"];
        let (child, digits, said) = self.show(guardian, &showing);
        let joined = self.run(new, &["pair", &digits, "--relay", relay]);
        let shown = rest(child, said);
        assert_eq!(pictures(&joined), pictures(&shown));
    }

    /// Starts a verb that shows a code; returns it, the code, and its output from then on.
    ///
    /// # Panics
    /// When it ends without one.
    #[must_use]
    #[expect(clippy::zombie_processes, reason = "the caller waits for it")]
    pub fn show(&self, device: &str, words: &[&str]) -> (Child, String, BufReader<ChildStdout>) {
        let mut child = self
            .command(device, words)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it showed no code");
            let digits = line.bytes().filter(u8::is_ascii_digit).count();
            if line.starts_with("kinline:") || digits == 14 {
                return (child, line.trim().to_owned(), said);
            }
        }
    }

    /// Two guardians meet about a child of each; returns the code, spent.
    ///
    /// # Panics
    /// When either side fails, or the screens show different pictures.
    #[must_use]
    pub fn meet(&self, host: &str, child: &str, guest: &str, other: &str, how: &[&str]) -> String {
        let words = ["meet", "show", "--child", child, "--yes"];
        let (showing, code, said) = self.show(host, &[&words[..], how].concat());
        let joined = self.run(guest, &["meet", "join", &code, "--child", other, "--yes"]);
        let shown = rest(showing, said);
        assert_eq!(pictures(&joined), pictures(&shown));
        code
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
        self.pair_as(guardian, new, role, new)
    }

    /// As [`Self::pair`], for a device of somebody of another name.
    ///
    /// # Panics
    /// When either side fails, or the screens show different pictures.
    #[must_use]
    pub fn pair_as(&self, guardian: &str, new: &str, role: &str, name: &str) -> String {
        let code_file = self.path(&format!("{new}.code"));
        let words = ["--yes", "--no-qr", "--code-file", &code_file];
        let showing = self
            .command(guardian, &[&["show-code", role, name], &words[..]].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let joined = self.run(new, &["pair", "--code-file", &code_file]);
        let shown = showing.wait_with_output().unwrap();
        assert!(shown.status.success());
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(pictures(&joined), pictures(&shown));
        assert!(shown.contains(&format!("{name}'s device is in")), "{shown}");
        let code = shown.lines().find(|line| line.starts_with("kinline:"));
        code.expect("the code's text").trim().to_owned()
    }
}

/// What a verb that showed a code said after it; it must have ended well.
///
/// # Panics
/// When it did not.
#[must_use]
pub fn rest(mut child: Child, mut said: BufReader<ChildStdout>) -> String {
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    rest
}

/// The four pictures that both screens show.
fn pictures(said: &str) -> &str {
    let line = said
        .lines()
        .find(|line| line.contains("the same pictures"))
        .expect("pictures");
    line.split_once(':').expect("pictures after a colon").1
}
