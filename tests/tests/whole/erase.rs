//! A family has a child erased, and then itself: devices, mailboxes, folders.

use std::path::Path;
use std::process::Stdio;

use kinline_tests::patience::eventually;
use kinline_tests::relay::Relay;
use kinline_tests::shell::{Shell, sim, succeeds};
use kinline_tests::sqlite::rows;
use serde_json::Value;

use crate::shell::asset;

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

/// One verb of the account of whoever owns this phone.
fn account(shell: &Shell, phone: &str, verb: &[&str]) -> String {
    let password = shell.path("password");
    std::fs::write(&password, "correct horse").unwrap();
    let state = shell.path(phone);
    let first = ["account", "--state", &state, verb[0], "--login", phone];
    let words = [&first[..], &["--password-file", &password], &verb[1..]].concat();
    succeeds(&mut sim(&words))
}

/// Rows of mailboxes, accounts (one is nobody's) and blobs, and blob files.
fn left(relay: &Relay) -> [usize; 4] {
    let rows = rows(&relay.database());
    let of = |table: &str| usize::try_from(rows[table]).unwrap();
    // A blob lies in a folder of the first two letters of its name.
    let files_in = |folder: &Path| {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|it| it.unwrap().path())
    };
    let folders = files_in(&relay.data().join("blobs"));
    let files = folders.map(|folder| files_in(&folder).count()).sum();
    [of("mailbox"), of("account"), of("blob"), files]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_has_nothing_of_an_erased_family_but_an_account_that_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    for (mum, family, keeps) in [("Mum", "Elms", true), ("Ada", "Oaks", false)] {
        let leo = format!("{family}'s tablet");
        shell.found(mum, &relay.address().to_string(), family);
        let _ = shell.pair_as(mum, &leo, "--child", "Leo");
        let _ = account(&shell, mum, &["register", "--no-code"]);
        // Two photos that nobody fetched.
        let picture = asset("photo.jpg");
        for device in [mum, leo.as_str()] {
            let _ = shell.run(device, &["photo", &picture]);
        }
        let _ = shell.run(mum, &["sync"]);
        let accounts = if keeps { 2 } else { 3 };
        let [mailboxes, there, blobs, files] = left(&relay);
        assert_eq!((mailboxes, there), (2, accounts));
        assert!(blobs >= 2 && files >= 2, "{blobs} {files}");

        let erase = ["erase", "family", "--confirm", family];
        let sentence = shell.denied(mum, &erase);
        assert!(sentence.contains("account"), "{sentence}");
        assert_eq!(left(&relay), [mailboxes, there, blobs, files]);
        let mut tablet = shell
            .command(&leo, &["inbox", "--follow"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = if keeps {
            shell.run(mum, &[&erase[..], &["--keep-account"]].concat())
        } else {
            let _ = account(&shell, mum, &["delete"]);
            shell.run(mum, &erase)
        };
        let _ = tablet.wait().unwrap();
        assert_eq!(said.contains("account stays"), keeps, "{said}");
        eventually("the relay has nothing of them", async || {
            (left(&relay) == [0, 2, 0, 0]).then_some(())
        })
        .await;
    }
}
