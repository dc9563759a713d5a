//! A second phone gets what was said before it came from the family's other devices: messages
//! from the first phone, and a photo that the relay has no more from a tablet.

use std::time::{Duration, Instant};

use kinline_tests::relay::Relay;
use kinline_tests::shell::Shell;

use crate::shell::asset;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_phone_shows_what_was_said_and_the_photo_that_a_tablet_kept() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    shell.found("Mum", &relay.address().to_string(), "Elms");
    let _ = shell.pair("Mum", "Mila", "--child");
    for n in 0..5 {
        let text = format!("words {n}");
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
}
