//! A family has a child erased, and then itself: devices, mailboxes, folders.

use std::path::Path;
use std::process::Stdio;

use kinline_tests::relay::Relay;
use kinline_tests::shell::Shell;
use serde_json::Value;

fn json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_is_erased_everywhere_and_then_the_family() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    shell.found("Mum", &relay.address().to_string(), "Elms");
    let _ = shell.pair("Mum", "Mila", "--child");
    let _ = shell.pair("Mum", "Leo", "--child");
    let _ = shell.run("Mila", &["send", "words of a child"]);
    let _ = shell.run("Mum", &["sync"]);
    let _ = shell.run("Leo", &["sync"]);

    let sentence = shell.denied("Mum", &["erase", "child", "Mila"]);
    assert!(sentence.contains("--confirm"), "{sentence}");
    let receipt = shell.path("receipt.json");
    let erase = [
        "erase",
        "child",
        "Mila",
        "--messages",
        "--confirm",
        "Mila",
        "--receipt",
        &receipt,
    ];
    let said = shell.run("Mum", &erase);
    assert!(said.contains("Not yet heard of by"), "{said}");
    assert!(said.contains("The last backup"), "{said}");
    let document = json(&receipt);
    assert_eq!(document["what"], "child");
    assert!(document["backups_end_by"].as_str() > document["relay_empty_by"].as_str());
    let left = document["left"].to_string();
    for days in ["120 days", "127 days", "90 days", "30 days"] {
        assert!(left.contains(days), "{days}: {left}");
    }
    // The tablet hears of it, and nothing of it is left on its disk.
    let mut tablet = shell.command("Mila", &["sync"]);
    let tablet = tablet.stderr(Stdio::piped()).output().unwrap();
    let sentence = String::from_utf8_lossy(&tablet.stderr).into_owned();
    assert!(sentence.contains("erased"), "{sentence}");
    assert!(!Path::new(&shell.path("Mila")).exists());
    let gone = || {
        let family = shell.json("Mum", &["family"]);
        family["members"].as_array().unwrap().len() == 2
    };
    shell.rounds(&["Mum", "Leo"], "the child has left the family", gone);
    for device in ["Mum", "Leo"] {
        let _ = shell.run(device, &["sync"]);
        let inbox = shell.inbox(device);
        assert!(
            inbox.iter().all(|it| it["kind"] == "gone"),
            "{device}: {inbox:?}"
        );
    }

    // The family: Leo's tablet is there to hear of it.
    let mut leo = shell
        .command("Leo", &["inbox", "--follow"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let receipt = shell.path("family.json");
    let said = shell.run(
        "Mum",
        &[
            "erase",
            "family",
            "--confirm",
            "Elms",
            "--receipt",
            &receipt,
        ],
    );
    let _ = leo.wait().unwrap();
    assert!(!said.contains("Not yet heard of"), "{said}");
    let document = json(&receipt);
    assert_eq!(document["name"], "Elms");
    // Not today: changes of conversations stay for their days, and backups for theirs after them.
    assert!(document["relay_empty_by"].as_str() > document["asked_on"].as_str());
    assert!(document["backups_end_by"].as_str() > document["relay_empty_by"].as_str());
    for device in ["Mum", "Leo"] {
        assert!(!Path::new(&shell.path(device)).exists(), "{device}");
    }
}
