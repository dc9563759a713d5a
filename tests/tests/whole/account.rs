//! `kinline-sim account`: an account is made, kept, used to come back, and deleted. Every act is
//! one process.

use std::path::Path;
use std::process::Command;

use kinline_protocol::pairing::PairingCode;
use kinline_tests::relay::Relay;
use kinline_tests::shell::{Shell, is_denied, is_refused, sim, succeeds};
use serde_json::Value;

use crate::shell::asset;
use crate::shell_families::people;

const LOGIN: &str = "anna at the lake";
const FAMILY: &str = "Elms";

/// One verb on the account of a device.
fn account(shell: &Shell, device: &str, words: &[&str]) -> Command {
    let state = shell.path(device);
    let first = ["account", "--timeout", "60", "--state", &state];
    sim(&[&first[..], words].concat())
}

/// A file with a password in it.
fn password(shell: &Shell, name: &str) -> String {
    let path = shell.path(&format!("{name}.password"));
    std::fs::write(&path, format!("{name} horse battery\n")).unwrap();
    path
}

/// What says who logs in.
fn who(password_file: &str) -> [&str; 4] {
    ["--login", LOGIN, "--password-file", password_file]
}

fn status(shell: &Shell, device: &str) -> Value {
    let said = succeeds(&mut account(shell, device, &["status", "--json"]));
    serde_json::from_str(&said).unwrap()
}

/// By code, by another guardian, by waiting.
fn ways(shell: &Shell, device: &str) -> [bool; 3] {
    let status = status(shell, device);
    ["by_code", "by_guardian", "by_waiting"].map(|way| status[way].as_bool().unwrap())
}

/// The words of a code as the screen numbers them.
fn printed(said: &str) -> Vec<&str> {
    let lines = said.lines().filter(|line| line.starts_with("   "));
    let words = lines.flat_map(str::split_whitespace);
    words.filter(|word| !word.ends_with('.')).collect()
}

fn words_in(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.strip_suffix('\n').unwrap().to_owned()
}

fn requests(shell: &Shell, device: &str) -> Vec<Value> {
    let said = succeeds(&mut account(shell, device, &["requests", "--json"]));
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Mum, Dad and Mila, who know each other.
fn family(shell: &Shell, relay: &Relay) {
    shell.found("Mum", &relay.address().to_string(), FAMILY);
    let _ = shell.pair("Mum", "Mila", "--child");
    let _ = shell.pair("Mum", "Dad", "--guardian");
    shell.rounds(&["Mum", "Dad", "Mila"], "the family is whole", || {
        let whole = |device| people(shell, device, FAMILY).len() == 3;
        whole("Mum") && whole("Dad") && whole("Mila")
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_made_kept_and_deleted() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    family(&shell, &relay);
    an_account_is_made(&shell);
    a_name_has_an_id(&shell);
    a_password_is_changed(&shell);
    a_code_is_replaced(&shell);
    let new = shell.path("new.password");
    let said = succeeds(&mut account(
        &shell,
        "Mum",
        &[&["delete"], &who(&new)[..]].concat(),
    ));
    assert!(said.contains("The account is deleted"), "{said}");
    let login = [&["login"], &who(&new)[..]].concat();
    let _ = is_denied(&mut account(&shell, "Mum", &login));
    assert_eq!(ways(&shell, "Mum"), [false; 3]);
}

fn an_account_is_made(shell: &Shell) {
    assert_eq!(ways(shell, "Mum"), [false; 3]);
    let secret = password(shell, "old");
    let nowhere = shell.path("no such folder/code");
    let code = shell.path("code");
    let register = |out: &str, png: &str| {
        let words = ["--code-out", out, "--png", png, "--no-qr"];
        account(
            shell,
            "Mum",
            &[&["register"], &who(&secret)[..], &words].concat(),
        )
    };
    // What can't be written shows before the relay is asked: the name is free afterwards.
    let picture = shell.path("code.png");
    let sentence = is_refused(&mut register(&nowhere, &picture));
    assert!(sentence.contains(&nowhere), "{sentence}");
    let sentence = is_refused(&mut register(&code, &nowhere));
    assert!(sentence.contains(&nowhere), "{sentence}");
    assert!(!Path::new(&code).exists(), "nothing is left of a try");

    // A child's tablet could not keep it.
    let child = [&["register"], &who(&secret)[..]].concat();
    let sentence = is_denied(&mut account(shell, "Mila", &child));
    assert!(sentence.contains("guardian"), "{sentence}");

    let said = succeeds(&mut register(&code, &picture));
    assert!(said.contains("The account stands"), "{said}");
    let words = words_in(&code);
    assert_eq!(words.split(' ').count(), 12);
    assert_eq!(printed(&said).join(" "), words);
    assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
    let sentence = is_refused(&mut register(&code, &shell.path("other.png")));
    assert!(sentence.contains("is there already"), "{sentence}");
    assert_eq!(words_in(&code), words);
    // The name is taken now, and a code that leads nowhere is not left lying about.
    let other = shell.path("other");
    let _ = is_denied(&mut register(&other, &shell.path("other.png")));
    assert!(!Path::new(&other).exists());

    shell.rounds(&["Mum", "Dad"], "everything is put by", || {
        ways(shell, "Mum") == [true; 3]
    });
    let said = succeeds(&mut account(shell, "Mum", &["status"]));
    assert_eq!(
        said.lines().filter(|line| line.ends_with(" yes")).count(),
        3
    );
    assert!(said.contains("Last put by on"), "{said}");
    assert!(!said.contains("Missing"), "{said}");
}

fn a_name_has_an_id(shell: &Shell) {
    let id = |login| succeeds(&mut account(shell, "Mum", &["id", "--login", login]));
    assert_eq!(id(LOGIN).len(), 64);
    assert_eq!(id(LOGIN), id("Anna at the lake"), "however it is typed");
    assert_ne!(id(LOGIN), id("anna at the sea"));
}

fn a_password_is_changed(shell: &Shell) {
    let (old, new) = (shell.path("old.password"), password(shell, "new"));
    let login = |secret: &str| account(shell, "Mum", &[&["login"], &who(secret)[..]].concat());
    let change = |from: &str, to: &str, out: &str| {
        let words = ["--new-password-file", to, "--code-out", out, "--no-qr"];
        account(
            shell,
            "Mum",
            &[&["change-password"], &who(from)[..], &words].concat(),
        )
    };
    let code = shell.path("second code");
    let _ = is_refused(&mut change(&old, &new, &shell.path("nowhere/code")));
    let _ = is_denied(&mut change(&new, &old, &code));
    assert!(!Path::new(&code).exists(), "the old password was another");
    let said = succeeds(&mut login(&old));
    assert!(said.contains("Logged in"), "nothing has happened: {said}");

    let said = succeeds(&mut change(&old, &new, &code));
    assert!(said.contains("The password is changed"), "{said}");
    assert_ne!(words_in(&code), words_in(&shell.path("code")));
    let _ = is_denied(&mut login(&old));
    let said = succeeds(&mut login(&new));
    assert!(said.contains("Somebody tried once"), "{said}");
    // Typed at the prompt it is the same password, line break and all.
    let typed = std::fs::File::open(&new).unwrap();
    let mut prompt = account(shell, "Mum", &["login", "--login", LOGIN]);
    let said = succeeds(prompt.stdin(typed));
    assert!(said.contains("Logged in"), "{said}");
}

fn a_code_is_replaced(shell: &Shell) {
    let new = shell.path("new.password");
    let code = shell.path("third code");
    let replace = |out: &str| {
        let words = ["--code-out", out, "--no-qr"];
        account(
            shell,
            "Mum",
            &[&["new-code"], &who(&new)[..], &words].concat(),
        )
    };
    let _ = is_refused(&mut replace(&shell.path("nowhere/code")));
    let said = succeeds(&mut replace(&code));
    assert_eq!(printed(&said).join(" "), words_in(&code));
    assert_ne!(words_in(&code), words_in(&shell.path("second code")));
    shell.rounds(&["Mum", "Dad"], "everything is put by again", || {
        ways(shell, "Mum") == [true; 3]
    });
}

/// The phone is at the bottom of the lake.
fn lose(shell: &Shell, device: &str) {
    std::fs::remove_dir_all(shell.path(device)).unwrap();
}

fn recovery(shell: &Shell, relay: &Relay, device: &str, more: &[&str]) -> Command {
    let (address, secret) = (relay.address().to_string(), shell.path("old.password"));
    let words = ["recover", "--no-wait", "--relay", &address];
    account(shell, device, &[&words[..], &who(&secret), more].concat())
}

fn recover(shell: &Shell, relay: &Relay, device: &str, more: &[&str]) -> String {
    succeeds(&mut recovery(shell, relay, device, more))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_by_code_pairs_others_with_tickets() {
    let home = tempfile::tempdir().unwrap();
    // Room for a photo or two a day, and 512 MiB more for a ticket.
    let settings = [
        ("ADMISSION", "tickets"),
        ("LIMITS__FREE_BLOB_BYTES", "131072"),
    ];
    let relay = Relay::start_with(&home.path().join("relay"), &settings).await;
    let shell = Shell::new(home.path());
    // For the phone, the tablet and the account, and for nobody else.
    let admit = relay.command(&["admit", "--uses", "3"]).await;
    let admission = String::from_utf8(admit.stdout).unwrap().trim().to_owned();
    let address = relay.address().to_string();
    let found = ["create-family", "--relay", &address, "--family", FAMILY];
    let admitted = ["--name", "Mum", "--admission", &admission];
    let _ = shell.run("Mum", &[&found[..], &admitted].concat());
    let _ = shell.pair("Mum", "Mila", "--child");
    let (secret, code) = (password(&shell, "old"), shell.path("code"));
    let words = ["--admission", &admission, "--code-out", &code, "--no-qr"];
    let register = [&["register"], &who(&secret)[..], &words].concat();
    let _ = succeeds(&mut account(&shell, "Mum", &register));
    shell.rounds(&["Mum", "Mila"], "everything is put by", || {
        ways(&shell, "Mum") == [true, false, false]
    });
    lose(&shell, "Mum");

    // As many tries with an old code as would draw all tickets of the epoch.
    let old = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    for _ in 0..6 {
        let _ = is_denied(&mut recovery(&shell, &relay, "New", &["--code", old]));
    }
    let said = recover(&shell, &relay, "New", &["--code-file", &code]);
    assert!(said.contains("15 tickets were drawn"), "{said}");
    assert!(said.contains("are asked to let this phone in"), "{said}");
    shell.rounds(&["Mila", "New"], "the tablet lets the phone in", || {
        people(&shell, "New", FAMILY).len() == 2
    });
    let shown = shell.pair("New", "Leo", "--child");
    let shown: PairingCode = shown.parse().unwrap();
    assert!(shown.admission.starts_with("ticket:"));
    let _ = shell.run("Leo", &["send", "let in by a ticket"]);
    let _ = shell.run("Mila", &["sync"]);
    let inbox = shell.inbox("Mila");
    assert!(inbox.iter().any(|it| it["text"] == "let in by a ticket"));
    let photo = ["photo", &asset("photo.jpg"), "--require-delivery"];
    for _ in 0..4 {
        let _ = shell.run("New", &photo);
    }
    let _ = shell.run("Leo", &["sync"]);
    let inbox = shell.inbox("Leo");
    let photos = inbox.iter().filter(|it| it["kind"] == "photo").count();
    assert_eq!(photos, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_code_another_guardian_lets_one_back_and_a_veto_keeps_one_out() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    family(&shell, &relay);
    let secret = password(&shell, "old");
    let register = [&["register", "--no-code"], &who(&secret)[..]].concat();
    let said = succeeds(&mut account(&shell, "Mum", &register));
    assert!(!said.contains("Your recovery code"), "{said}");
    shell.rounds(&["Mum", "Dad"], "everything is put by", || {
        ways(&shell, "Mum") == [false, true, true]
    });
    lose(&shell, "Mum");

    let said = recover(&shell, &relay, "New", &[]);
    let (_, pictures) = said.split_once("what they see:").unwrap();
    let asked = |device| {
        let all = requests(&shell, device);
        all.into_iter().next()
    };
    shell.rounds(&["New", "Dad"], "Dad hears of it", || {
        asked("Dad").is_some()
    });
    let ask = asked("Dad").unwrap();
    assert_eq!((&ask["name"], &ask["own"]), (&"Mum".into(), &false.into()));
    assert_eq!(ask["pictures"], pictures.trim());
    let said = succeeds(&mut account(&shell, "Dad", &["requests"]));
    assert!(said.contains("account allow"), "{said}");
    let sentence = is_denied(&mut account(&shell, "Dad", &["allow", "0123456789"]));
    assert!(sentence.contains("account requests"), "{sentence}");
    let id = ask["id"].as_str().unwrap();
    let _ = succeeds(&mut account(&shell, "Dad", &["allow", id]));
    shell.rounds(&["Mila", "New", "Dad"], "Mum is back", || {
        people(&shell, "New", FAMILY).len() == 3
    });
    shell.rounds(&["Dad", "New"], "everything is put by again", || {
        ways(&shell, "New") == [false, true, true]
    });

    // Somebody has guessed the password: the phone that is not lost says no.
    let _ = recover(&shell, &relay, "Thief", &[]);
    shell.rounds(&["Thief", "New"], "Mum hears of it", || {
        asked("New").is_some()
    });
    let ask = asked("New").unwrap();
    assert_eq!(ask["own"], true);
    let said = succeeds(&mut account(&shell, "New", &["requests"]));
    assert!(said.contains("YOUR password"), "{said}");
    let id = ask["id"].as_str().unwrap();
    let _ = succeeds(&mut account(&shell, "New", &["veto", id]));
    shell.rounds(&["Mila", "Dad"], "nobody asks any more", || {
        asked("New").is_none() && asked("Dad").is_none()
    });
    let said = succeeds(&mut account(&shell, "Dad", &["requests"]));
    assert!(said.contains("Nobody asks"), "{said}");
    assert!(people(&shell, "Thief", FAMILY).is_empty());
    // What a device writes goes to those it knows of: Mila's must hear of the new phone first.
    let _ = shell.run("Mila", &["sync"]);
    let _ = shell.run("Mila", &["send", "still ours"]);
    shell.rounds(&["New"], "Mum reads on", || {
        let inbox = shell.inbox("New");
        inbox.iter().any(|it| it["text"] == "still ours")
    });
    let sentence = shell.refused("Thief", &["inbox"]);
    assert!(sentence.contains("no family"), "{sentence}");
}
