//! A second phone gets what was said before it came from the family's other devices: messages
//! from the first phone, and a photo that the relay has no more from a tablet.

use std::time::{Duration, Instant};

use kinline_tests::relay::Relay;
use kinline_tests::shell::Shell;
use serde_json::Value;

use crate::shell::asset;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_phone_shows_what_was_said_and_the_photo_that_a_tablet_kept() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    shell.found("Mum", &relay.address().to_string(), "Elms");
    let _ = shell.pair("Mum", "Mila", "--child");
    for n in 0..5 {
        let text = format!("words {n} <script>");
        let _ = shell.run(["Mum", "Mila"][n % 2], &["send", &text]);
    }
    let photo = shell.run("Mum", &["photo", &asset("photo.jpg"), "--caption", "lake"]);
    let _ = shell.run("Mila", &["sync"]);
    let kept = shell.run("Mila", &["fetch", &photo]);
    // Everybody has it: the relay deletes it when Mum's phone hears of that.
    let _ = shell.run("Mila", &["sync"]);
    let _ = shell.run("Mum", &["sync"]);

    let _ = shell.pair_as("Mum", "Phone", "--guardian", "Mum");
    let all = || shell.inbox("Phone").len() == 6;
    shell.rounds(&["Phone", "Mum", "Mila"], "the history comes in", all);
    let texts = |device: &str| -> Vec<String> {
        let inbox = shell.inbox(device);
        inbox.iter().map(|it| it["text"].to_string()).collect()
    };
    assert_eq!(texts("Phone"), texts("Mum"));
    let said = shell.run("Phone", &["history"]);
    assert!(said.contains("6 of 6 messages from before"), "{said}");

    // The photo: Mum's first phone does not have it either; the tablet does.
    let mut fetching = shell.command(
        "Phone",
        &["fetch", &photo, "--out", &shell.path("lake.jpg")],
    );
    let mut fetching = fetching.spawn().unwrap();
    let began = Instant::now();
    let ended = loop {
        if let Some(status) = fetching.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "it never came");
        let _ = shell.run("Mum", &["sync"]);
        let _ = shell.run("Mila", &["sync"]);
    };
    assert!(ended.success());
    let (kept, got) = (
        std::fs::read(kept).unwrap(),
        std::fs::read(shell.path("lake.jpg")).unwrap(),
    );
    assert!(kept == got, "not what the tablet has");

    // Everything as files, without a relay.
    let first = shell.inbox("Phone")[0]["id"].as_str().unwrap().to_owned();
    let _ = shell.run("Phone", &["react", &first, "💛"]);
    drop(relay);
    let out = shell.path("archive");
    let said = shell.run("Mila", &["export", "--out", &out]);
    assert_eq!(said.trim(), format!("{out}/index.html"));
    let read = |name: &str| std::fs::read_to_string(format!("{out}/{name}")).unwrap();
    let page = read("index.html");
    assert!(page.contains("words 4 &lt;script&gt;") && !page.contains("<script"));
    assert!(page.contains("founded"), "{page}");
    let messages: Value = serde_json::from_str(&read("messages.json")).unwrap();
    let all = messages["conversations"][0]["messages"].as_array().unwrap();
    assert_eq!(all.len(), 6);
    let file = all[5]["file"].as_str().expect("the photo's file");
    assert!(std::fs::read(format!("{out}/{file}")).unwrap() == got);
    assert!(page.contains(file));
    let family: Value = serde_json::from_str(&read("family.json")).unwrap();
    assert_eq!(family["family"], "Elms");
    assert_eq!(family["members"].as_array().unwrap().len(), 2);
    let signed = family["signed_statements"].as_array().unwrap();
    assert_eq!(signed.len() as u64, family["statements"].as_u64().unwrap());
    // Nothing is written over, and nothing half written is left.
    let sentence = shell.denied("Mila", &["export", "--out", &out]);
    assert!(sentence.contains("is there already"), "{sentence}");
    let beside = std::fs::read_dir(home.path()).unwrap();
    let parts = beside.filter(|it| {
        it.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains(".part-")
    });
    assert_eq!(parts.count(), 0);
}
