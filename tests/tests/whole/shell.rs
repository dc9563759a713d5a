//! A family from the shell: each act one process, as a script would do it.

use std::path::Path;

use kinline_media::{audio, photo};
use kinline_tests::relay::Relay;
use kinline_tests::shell::{Shell, succeeds};
use serde_json::Value;

/// A file that ships with the simulator.
pub(crate) fn asset(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client-sim/assets");
    folder.join(name).to_str().unwrap().to_owned()
}

fn message<'a>(inbox: &'a [Value], id: &str) -> &'a Value {
    let found = inbox.iter().find(|message| message["id"] == id);
    found.unwrap_or_else(|| panic!("{id} is not among {inbox:#?}"))
}

/// States that a message of ours reached on the others' devices.
fn receipts(message: &Value) -> Vec<&str> {
    let receipts = message["receipts"].as_array().unwrap();
    let states = receipts
        .iter()
        .map(|receipt| receipt["state"].as_str().unwrap());
    states.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_family_talks_from_the_shell() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    shell.found("Mum", &relay.address().to_string(), "Elms");
    let code = shell.pair("Mum", "Mila", "--child");
    assert!(code.contains("pair"), "{code}");
    let _ = shell.pair("Mum", "Dad", "--guardian");
    // A code is good once.
    let sentence = shell.denied("Else", &["pair", &code]);
    assert!(!sentence.is_empty());

    // What a device writes goes to those it knows of: Mila's must hear of Dad first.
    shell_ok(&shell, "Mila", &["sync"]);

    let hello = shell.run("Mum", &["send", "hello 🦖 مرحبا"]);
    let plain = shell.run("Dad", &["send", "how was schol?"]);
    let oops = shell.run("Dad", &["send", "nothing to see here"]);
    let long = "Es war einmal ein Drache. ".repeat(200);
    let long = shell.run("Mila", &["send", long.trim()]);
    let answer = shell.run("Mila", &["send", "hi", "--reply-to", &hello[..10]]);
    shell_ok(&shell, "Dad", &["edit", &plain, "how was school?"]);
    shell_ok(&shell, "Dad", &["delete", &oops]);
    shell_ok(&shell, "Mila", &["react", &hello, "💛"]);
    let sticker = shell.run("Mila", &["sticker", "hedgehog", "--pack", "woods"]);
    let picture = asset("photo.jpg");
    let picture = shell.run("Mum", &["photo", &picture, "--caption", "at the lake"]);
    let spoken = shell.run("Mila", &["voice", &asset("voice.flac")]);

    for device in ["Mum", "Dad", "Mila"] {
        shell_ok(&shell, device, &["inbox", "--mark-read"]);
    }
    for device in ["Mum", "Dad", "Mila"] {
        println!("{device}'s screen");
        let inbox = shell.inbox(device);
        let it = |id: &str| message(&inbox, id);
        assert_eq!(it(&hello)["text"], "hello 🦖 مرحبا", "{device}");
        assert_eq!(it(&hello)["sender"], "Mum");
        assert_eq!(it(&hello)["reactions"][0]["emoji"], "💛");
        assert_eq!(it(&hello)["reactions"][0]["member"], "Mila");
        assert_eq!(it(&plain)["text"], "how was school?");
        assert_eq!(it(&plain)["edited"], true);
        assert_eq!(it(&oops)["kind"], "gone");
        assert_eq!(it(&long)["text"].as_str().unwrap().chars().count(), 5_199);
        assert_eq!(it(&answer)["reply_to"], hello);
        assert_eq!(it(&sticker)["sticker"]["name"], "hedgehog");
        assert_eq!(it(&picture)["photo"]["caption"], "at the lake");
        assert_eq!(it(&spoken)["kind"], "voice");
        assert_eq!(it(&hello)["mine"], device == "Mum");
        let ids: std::collections::BTreeSet<_> =
            inbox.iter().map(|it| it["id"].to_string()).collect();
        assert_eq!(ids.len(), inbox.len(), "shown twice on {device}");
        assert!(it(&long)["order"].as_u64() < it(&answer)["order"].as_u64());
    }

    carried_over(
        &shell,
        &picture,
        ("Mum", ["Dad", "Mila"]),
        "jpg",
        |received| {
            let original = std::fs::read(asset("photo.jpg")).unwrap();
            assert!(!photo::metadata_fields(&original).is_empty());
            assert!(photo::metadata_fields(received).is_empty());
            assert!(photo::looks_same(&original, received).unwrap() > 0.9);
            let limits = photo::PhotoLimits::default();
            let cleaned = photo::clean_file(Path::new(&asset("photo.jpg")), &limits).unwrap();
            assert_eq!(cleaned.jpeg, received, "not what was sent after cleaning");
        },
    );
    carried_over(
        &shell,
        &spoken,
        ("Mila", ["Mum", "Dad"]),
        "ogg",
        |received| {
            let original = std::fs::read(asset("voice.flac")).unwrap();
            assert!(audio::metadata_fields(received).is_empty());
            assert!(audio::similarity(&original, received).unwrap() > 0.9);
        },
    );

    let status: Value = serde_json::from_str(&shell.run("Mila", &["status", "--json"])).unwrap();
    assert_eq!(status["name"], "Mila");
    assert_eq!(status["settled"], true);
    assert_eq!(status["counters"]["unconfirmed"], 0);
    assert_eq!(
        status["conversations"][0]["members"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let status = shell.run("Mum", &["status"]);
    assert!(
        status.contains("connected; everything is delivered and read"),
        "{status}"
    );
}

pub(crate) fn shell_ok(shell: &Shell, device: &str, words: &[&str]) {
    succeeds(&mut shell.command(device, words));
}

/// Both receivers fetch a file: they get the same bytes, and its sender hears of it.
fn carried_over(
    shell: &Shell,
    id: &str,
    (sender, receivers): (&str, [&str; 2]),
    extension: &str,
    check: impl Fn(&[u8]),
) {
    let received = receivers.map(|device| {
        let out = shell.path(&format!("{device}.{extension}"));
        shell_ok(shell, device, &["fetch", id, "--out", &out]);
        std::fs::read(out).unwrap()
    });
    assert_eq!(
        received[0], received[1],
        "two receivers got different files"
    );
    check(&received[0]);
    let inbox = shell.inbox(sender);
    assert_eq!(receipts(message(&inbox, id)), ["fetched"; 2]);
}
