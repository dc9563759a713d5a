//! The command line from outside: every device and the relay a process of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod load;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kinline-sim");

/// A folder with devices, and perhaps a relay that runs.
struct World {
    folder: tempfile::TempDir,
    relay: Option<Child>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_relay();
    }
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            relay: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the relay on the port (0: any) and returns its address.
    fn start_relay(&mut self, port: u16, admission: &str) -> String {
        let mut child = Command::new(PROGRAM)
            .args(["relay", "serve", "--admission", admission])
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .arg("--data")
            .arg(self.path("relay/data"))
            .env_remove("KINLINE_PASSPHRASE")
            .stdout(Stdio::piped())
            .stderr(File::create(self.path("relay.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        self.relay = Some(child);
        line.trim().strip_prefix("listening ").unwrap().to_owned()
    }

    fn kill_relay(&mut self) {
        if let Some(mut relay) = self.relay.take() {
            relay.kill().unwrap();
            relay.wait().unwrap();
        }
    }

    fn command(&self, device: &str, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["device", "--timeout", "60", "--state"])
            .arg(self.path(device))
            .args(words)
            .env_remove("KINLINE_PASSPHRASE");
        command
    }

    /// Runs a verb that must end well; returns what it printed.
    fn say(&self, device: &str, words: &[&str]) -> String {
        let output = self.command(device, words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs a verb that must end with status 2; returns its one sentence.
    fn refuse(&self, device: &str, words: &[&str]) -> String {
        refused(&mut self.command(device, words))
    }

    /// The surroundings are fine: what was asked for is turned down.
    fn turn_down(&self, device: &str, words: &[&str]) -> String {
        ends_with(1, &mut self.command(device, words))
    }

    fn found(&self, relay: &str) {
        let words = [
            "create-family",
            "--relay",
            relay,
            "--family",
            "Elms",
            "--name",
            "Mum",
        ];
        self.say("mum", &words);
    }

    /// Pairs `device` as `name`, guardian and newcomer at the same time.
    fn pair(&self, device: &str, kind: &str, name: &str) {
        let code = self.path("code");
        drop(std::fs::remove_file(&code));
        let code = code.to_str().unwrap();
        let png = self.path("code.png");
        let mut showing = self
            .command(
                "mum",
                &[
                    "show-code",
                    kind,
                    name,
                    "--yes",
                    "--no-qr",
                    "--code-file",
                    code,
                    "--png",
                    png.to_str().unwrap(),
                ],
            )
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Held, so that what follows the code is still printed to somebody.
        let _rest = shown_code(&mut showing);
        assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));
        let said = self.say(device, &["pair", "--code-file", code]);
        assert!(said.contains("in the family Elms"), "{said}");
        assert!(showing.wait().unwrap().success());
        assert!(!png.exists(), "a spent code is not left lying about");
    }

    fn inbox(&self, device: &str) -> Vec<serde_json::Value> {
        self.say(device, &["inbox", "--json", "--mark-read"])
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Reads what a process prints up to the code, which it shows when its files are written.
fn shown_code(child: &mut Child) -> (BufReader<std::process::ChildStdout>, String) {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it ended early");
        let line = line.trim();
        let digits = line.bytes().filter(u8::is_ascii_digit).count();
        if line.starts_with("kinline:") || digits == 14 {
            return (reader, line.to_owned());
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(command: &mut Command) -> String {
    ends_with(2, command)
}

fn ends_with(status: i32, command: &mut Command) -> String {
    let output = command.output().unwrap();
    let sentence = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{sentence}");
    assert_eq!(sentence.trim().lines().count(), 1, "{sentence}");
    assert!(sentence.starts_with("kinline-sim: "), "{sentence}");
    sentence
}

fn asset(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    folder.join(name).to_str().unwrap().to_owned()
}

/// An address where nobody listens, with the pin of nobody.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    format!("wss://127.0.0.1:{port}#pin={}", "A".repeat(43))
}

/// Fourteen digits with another secret and a check digit that fits.
fn wrong_digits(code: &str) -> String {
    use kinline_protocol::pairing::ShortCode;
    let mut digits: Vec<u8> = code.bytes().filter(u8::is_ascii_digit).collect();
    digits.pop();
    digits[9] = b'0' + (digits[9] - b'0' + 1) % 10;
    let digits = String::from_utf8(digits).unwrap();
    (0..10)
        .map(|check| format!("{digits}{check}"))
        .find(|text| text.parse::<ShortCode>().is_ok())
        .unwrap()
}

#[test]
fn a_tablet_without_a_camera_is_paired_by_typing() {
    use std::io::{Read as _, Write as _};
    let mut world = World::new();
    let relay = world.start_relay(0, "open");
    world.found(&relay);
    let path = world.path("digits");
    let words = [
        "show-code",
        "--child",
        "Mia",
        "--short",
        "--yes",
        "--code-file",
        path.to_str().unwrap(),
    ];
    let mut command = world.command("mum", &words);
    let mut showing = command.stdout(Stdio::piped()).spawn().unwrap();
    let (mut rest, code) = shown_code(&mut showing);
    let code = code.as_str();
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), code);
    assert_eq!(code.len(), "2 82136-9047-7163".len(), "{code}");
    // Digits name no relay, and none that are mistyped reach one.
    let sentence = world.refuse("mia", &["pair", code]);
    assert!(sentence.contains("say --relay"), "{sentence}");
    let last = code.len() - 1;
    let check = code[last..].parse::<u8>().unwrap();
    let mistyped = format!("{}{}", &code[..last], (check + 1) % 10);
    let sentence = world.turn_down("mia", &["pair", &mistyped, "--relay", &relay]);
    assert!(sentence.contains("mistyped"), "{sentence}");
    assert!(!world.path("mia").exists());

    let mut typing = world
        .command("mia", &["pair", "--short", "--relay", &relay])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let typed = format!(
        "{mistyped}\n{}\n{}\n",
        wrong_digits(code),
        code.replace('-', "   ")
    );
    let mut keyboard = typing.stdin.take().unwrap();
    keyboard.write_all(typed.as_bytes()).unwrap();
    drop(keyboard);
    let typing = typing.wait_with_output().unwrap();
    let said = String::from_utf8(typing.stdout).unwrap();
    assert!(said.contains("is mistyped"), "{said}");
    assert!(said.contains("two tries are left"), "{said}");
    assert!(said.contains("in the family Elms"), "{said}");
    let mut shown = String::new();
    rest.read_to_string(&mut shown).unwrap();
    assert!(showing.wait().unwrap().success());
    assert!(shown.contains("two tries are left"), "{shown}");
    assert!(!path.exists(), "a spent code is not left lying about");
}

#[test]
fn a_family_talks_from_the_shell() {
    let mut world = World::new();
    let relay = world.start_relay(0, "open");
    world.found(&relay);
    world.pair("mia", "--child", "Mia");
    world.pair("dad", "--guardian", "Dad");

    let hello = world.say("mum", &["send", "hello"]);
    world.say("mia", &["sync"]);
    let answer = world.say("mia", &["send", "hi", "--reply-to", &hello[..8]]);
    world.say("mia", &["react", &hello, "💛"]);
    world.say("mum", &["edit", &hello, "hello Mia"]);
    world.say("dad", &["sticker", "cat"]);
    let gone = world.say("dad", &["send", "oops"]);
    world.say("dad", &["delete", &gone]);
    let photo = world.say("mum", &["photo", &asset("photo.jpg"), "--caption", "lake"]);
    let voice = world.say("dad", &["voice", &asset("voice.flac")]);

    let seen = world.inbox("mia");
    let by_id = |id: &str| seen.iter().find(|message| message["id"] == id).unwrap();
    assert_eq!(by_id(&hello)["text"], "hello Mia");
    assert_eq!(by_id(&hello)["reactions"][0]["emoji"], "💛");
    assert_eq!(by_id(&answer)["reply_to"], hello);
    assert_eq!(by_id(&gone)["kind"], "gone");
    assert_eq!(by_id(&photo)["photo"]["caption"], "lake");
    assert_eq!(by_id(&voice)["kind"], "voice");

    let words = "progress --app Garden --activity Adding --level 3 --minutes 12 --score 17";
    let words: Vec<&str> = words.split(' ').collect();
    let played = world.say("mia", &words);
    let told = world.inbox("dad");
    let told = told.iter().find(|message| message["id"] == played).unwrap();
    assert_eq!(told["progress"]["app"], "Garden");
    assert_eq!(told["progress"]["seconds"], 720);

    let out = world.path("out.jpg");
    world.say("mia", &["fetch", &photo, "--out", out.to_str().unwrap()]);
    assert!(std::fs::read(&out).unwrap().starts_with(&[0xFF, 0xD8]));
    let path = world.say("mia", &["fetch", &voice[..10]]);
    assert!(std::fs::read(path).unwrap().starts_with(b"OggS"));
    let told = world.inbox("mum");
    let told = told.iter().find(|message| message["id"] == photo).unwrap();
    let states: Vec<_> = told["receipts"].as_array().unwrap().iter().collect();
    assert!(states.iter().any(|it| it["state"] == "fetched"), "{told}");

    world.say("mum", &["room", "Parents", "--member", "Dad"]);
    world.say("dad", &["sync"]);
    let secret = world.say("dad", &["send", "a surprise", "--to", "parents"]);
    assert!(
        world
            .inbox("mum")
            .iter()
            .any(|message| message["id"] == secret)
    );
    assert!(
        world
            .inbox("mia")
            .iter()
            .all(|message| message["id"] != secret)
    );

    let status: serde_json::Value =
        serde_json::from_str(&world.say("mia", &["status", "--json"])).unwrap();
    assert_eq!(status["name"], "Mia");
    assert_eq!(status["settled"], true);
    assert!(
        status["protection"]
            .as_str()
            .unwrap()
            .contains("file permissions only")
    );
    assert!(
        world
            .turn_down("mia", &["room", "X", "--member", "Zoe"])
            .contains("Zoe")
    );
    let text = world.refuse("mum", &["photo", &asset("README.md")]);
    assert!(text.contains("JPEG"), "{text}");
}

#[test]
fn what_is_written_without_a_relay_is_kept_and_sent_later() {
    let mut world = World::new();
    let relay = world.start_relay(0, "open");
    world.found(&relay);
    world.pair("mia", "--child", "Mia");
    world.kill_relay();

    let output = world.command("mum", &["send", "later"]).output().unwrap();
    assert!(output.status.success());
    assert!(
        stderr(&output).contains("kept, will be sent"),
        "{}",
        stderr(&output)
    );
    let kept = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let sentence = world.refuse("mum", &["send", "now", "--require-delivery"]);
    assert!(sentence.contains("kept"), "{sentence}");
    assert!(world.refuse("mia", &["sync"]).contains("is not there"));

    let port = relay
        .rsplit_once('#')
        .unwrap()
        .0
        .rsplit_once(':')
        .unwrap()
        .1;
    assert_eq!(world.start_relay(port.parse().unwrap(), "open"), relay);
    world.say("mum", &["sync"]);
    let seen = world.inbox("mia");
    let texts: Vec<_> = seen.iter().map(|it| it["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["later", "now"]);
    assert_eq!(seen[0]["id"], kept);
}

#[test]
fn surroundings_that_are_wrong_get_a_sentence_and_status_2() {
    let mut world = World::new();
    let absent = nobody();
    let found = |relay: &str| {
        vec![
            "create-family",
            "--relay",
            relay,
            "--family",
            "F",
            "--name",
            "N",
        ]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>()
    };
    let refuse = |world: &World, words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        world.refuse("new", &words)
    };
    assert!(refuse(&world, &found(&absent)).contains("is not there"));
    assert!(!world.path("new").exists());
    assert!(
        world
            .refuse("new", &["sync"])
            .contains("no device in this state folder")
    );
    assert!(
        world
            .turn_down("new", &["pair", "hello"])
            .contains("not a Kinline code")
    );

    // An admission code is asked for: nothing is left of the try, and the next one works.
    let relay = world.start_relay(0, "codes");
    let sentence = refuse(&world, &found(&relay));
    assert!(sentence.contains("admission"), "{sentence}");
    world.kill_relay();
    let relay = world.start_relay(0, "open");
    world.say(
        "new",
        &found(&relay).iter().map(String::as_str).collect::<Vec<_>>(),
    );

    // Somebody else's certificate where ours should be.
    let (address, pin) = relay.split_once("#pin=").unwrap();
    let wrong = format!("{address}#pin={}{}", "AAAA", &pin[4..]);
    let words = [
        "create-family",
        "--relay",
        &wrong,
        "--family",
        "F",
        "--name",
        "N",
    ];
    let sentence = world.refuse("other", &words);
    assert!(
        sentence.contains("not the one in the pairing code"),
        "{sentence}"
    );
    assert!(!world.path("other").exists());

    let held = File::options()
        .write(true)
        .open(world.path("new/lock"))
        .unwrap();
    held.lock().unwrap();
    let sentence = world.refuse("new", &["sync"]);
    assert!(sentence.contains("another process uses this state folder"));
    drop(held);

    let key = world.path("new/store.key");
    let good = std::fs::read(&key).unwrap();
    let mut newer = good.clone();
    newer[4] = 9;
    std::fs::write(&key, &newer).unwrap();
    assert!(world.refuse("new", &["sync"]).contains("newer version"));
    std::fs::write(&key, &good).unwrap();
    world.say("new", &["sync"]);
}

#[test]
fn a_passphrase_protects_the_folder() {
    let mut world = World::new();
    let relay = world.start_relay(0, "open");
    let file = world.path("passphrase");
    std::fs::write(&file, "correct horse\n").unwrap();
    let with = |passphrase: &str, words: &[&str]| {
        let mut command = world.command("mum", words);
        command.env("KINLINE_PASSPHRASE", passphrase);
        command
    };
    let mut create = Command::new(PROGRAM);
    create.args(["device", "--passphrase-file"]).arg(&file);
    create.arg("--state").arg(world.path("mum"));
    create.args([
        "create-family",
        "--relay",
        &relay,
        "--family",
        "F",
        "--name",
        "Mum",
    ]);
    assert!(create.output().unwrap().status.success());
    assert!(refused(&mut with("wrong horse", &["status"])).contains("passphrase is wrong"));
    assert!(
        world
            .refuse("mum", &["status"])
            .contains("protected by a passphrase")
    );
    let status = with("correct horse", &["status"]).output().unwrap();
    assert!(status.status.success());
    assert!(String::from_utf8_lossy(&status.stdout).contains("Argon2id, 64 MiB"));
}

#[test]
fn help_is_there_for_every_verb() {
    let help = |words: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(words)
            .arg("--help")
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&["device"]);
    for verb in [
        "create-family",
        "show-code",
        "pair",
        "send",
        "photo",
        "voice",
        "sticker",
        "progress",
        "react",
        "edit",
        "delete",
        "inbox",
        "fetch",
        "status",
        "room",
        "update",
        "sync",
    ] {
        assert!(all.contains(verb), "{verb}");
        assert!(help(&["device", verb]).contains("Usage"), "{verb}");
    }
    assert!(help(&["steal"]).contains("--canaries"));
    assert!(help(&["demo"]).contains("--photo"));
}
