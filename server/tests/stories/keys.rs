//! What an operator does with the key file.

use std::os::unix::fs::PermissionsExt;

use kinline_protocol::wire::RecipientStatus;

use crate::harness::{Device, Here, Parent, cheap, fetch, run, vault};

fn said(output: &std::process::Output) -> String {
    let sentence = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sentence}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_shown_without_a_secret_and_exported_once() {
    let mut here = Here::start().await;
    let folder = here.folder.path().to_owned();
    let shown = said(&run(&["keys", "show"], &folder, &[]));
    assert!(shown.contains("exported: not as they are now"), "{shown}");
    assert_eq!(shown.matches("public key of epoch").count(), 2);
    let file = std::fs::read_to_string(here.config.key_file()).unwrap();
    for line in file.lines().skip(1) {
        let secret = line.rsplit(' ').next().unwrap();
        assert!(secret.len() > 40 && !shown.contains(secret));
    }
    let copy = folder.join("copy");
    let export = ["keys", "export", copy.to_str().unwrap()];
    said(&run(&export, &folder, &[]));
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = said(&run(&["keys", "show"], &folder, &[]));
    assert!(shown.contains("exported: yes"), "{shown}");
    let again = run(&export, &folder, &[]);
    assert_eq!(again.status.code(), Some(2));
    let inside = folder.join("data/copy");
    let inside = run(&["keys", "export", inside.to_str().unwrap()], &folder, &[]);
    assert_eq!(inside.status.code(), Some(2));
    // The copy is one that a relay starts with.
    here.stop().await;
    std::fs::rename(&copy, here.config.key_file()).unwrap();
    here.restart().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_under_another_key_and_nothing_under_the_one_before() {
    let mut here = Here::start_with(cheap).await;
    let folder = here.folder.path().to_owned();
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    bob.socket = here.connect().await;
    for text in ["first", "second"] {
        let sent = alice.socket.send(vec![bob.mailbox.delivery(text)]).await;
        assert_eq!(sent, [RecipientStatus::Ok]);
    }
    let mut parent = Parent::random("word");
    let kept = Some(vault(3, 1));
    parent
        .register(&mut here.connect().await, "", kept)
        .await
        .unwrap();
    let rotate = ["keys", "rotate", "at-rest"];
    let busy = run(&rotate, &folder, &[]);
    let sentence = String::from_utf8_lossy(&busy.stderr);
    assert!(sentence.contains("in use by another relay"), "{sentence}");
    here.stop().await;
    let ids = |here: &Here| -> Vec<Vec<u8>> {
        let database = here.database();
        let mut ids = database
            .prepare("SELECT id FROM mailbox UNION SELECT id FROM account")
            .unwrap();
        let rows = ids.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let before = ids(&here);
    let old = std::fs::read(here.config.key_file()).unwrap();
    let shown = said(&run(&rotate, &folder, &[]));
    assert!(shown.contains("at-rest 2: in use"), "{shown}");
    let after = ids(&here);
    assert_eq!(before.len(), after.len());
    assert!(before.iter().all(|id| !after.contains(id)));
    // No page, and no slot, has what was there before.
    let mut loot = std::fs::read(here.config.data.join("relay.sqlite")).unwrap();
    for file in std::fs::read_dir(here.config.data.join("spool")).unwrap() {
        loot.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    for id in &before {
        assert!(!loot.windows(id.len()).any(|window| window == id));
    }
    here.restart().await;
    bob.again(&here.address()).await;
    assert_eq!(bob.socket.delivered().await, (1, "first".into()));
    assert_eq!(bob.socket.delivered().await, (2, "second".into()));
    let mut socket = here.connect().await;
    parent.log_in(&mut socket).await.unwrap();
    assert_eq!(fetch(&mut socket).await, Some(vault(3, 1)));
    here.stop().await;
    std::fs::write(here.config.key_file(), old).unwrap();
    assert!(!here.try_restart().await, "the old key opens nothing");
}

/// An export that was at work while a key changed would write the one before back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_else_changes_the_key_file_while_it_is_changed() {
    let mut here = Here::start().await;
    let folder = here.folder.path().to_owned();
    here.stop().await;
    let before = std::fs::read(here.config.key_file()).unwrap();
    let copy = folder.join("copy");
    let export = ["keys", "export", copy.to_str().unwrap()];
    let at_work = std::fs::File::open(here.config.key_file().parent().unwrap()).unwrap();
    at_work.lock().unwrap();
    for change in [
        &export,
        &["keys", "rotate", "at-rest"],
        &["keys", "rotate", "accounts"],
        &["keys", "rotate", "tickets"],
    ] {
        let busy = run(change, &folder, &[]);
        let sentence = String::from_utf8_lossy(&busy.stderr);
        assert!(sentence.contains("by another command"), "{sentence}");
    }
    assert!(!copy.exists());
    assert_eq!(std::fs::read(here.config.key_file()).unwrap(), before);
    said(&run(&["keys", "show"], &folder, &[]));
    drop(at_work);
    // Another test's process may hold a copy of the lock between its fork and its exec.
    let free = (0..100).find_map(|_| {
        let done = run(&export, &folder, &[]);
        let busy = String::from_utf8_lossy(&done.stderr).contains("by another command");
        (!busy).then_some(done)
    });
    said(&free.expect("nobody is at work any more"));
}
