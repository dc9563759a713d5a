//! The thief against a whole relay: nothing is found while messages wait and after they were
//! delivered, and a real leak is.

use std::io::Write as _;

use kinline_protocol::account::account_id;
use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::primitives::stretching::Stretching;
use kinline_tests::patience::{PATIENCE, eventually};
use kinline_tests::people::all_is_confirmed;
use kinline_tests::scene::Scene;
use kinline_tests::theft::Loot;
use kinline_thief::{CONTROLS, Report};

const MUM: &str = "Friederike Lindenblatt";
const CHILD: &str = "Oluwaseun Lindenblatt";
const WORDS: [&str; 4] = [
    "Der Hausschlüssel liegt unter dem dritten Blumentopf",
    "ruf Oma an: 0171-5550147",
    "mein Passwort ist Regenbogenforelle42",
    "schreib an kita.sonnenkaefer@example.org",
];

fn story() -> Vec<String> {
    let mut secrets: Vec<String> = [MUM, CHILD, "Family of the tests", "0171-5550147"]
        .map(str::to_owned)
        .to_vec();
    secrets.extend(WORDS.map(str::to_owned));
    secrets.push(format!("{MUM}'s device"));
    secrets.push(format!("{CHILD}'s device"));
    secrets
}

fn assert_nothing(report: &Report) {
    assert!(report.ok(), "{report}");
    assert_eq!(report.hits, 0);
    assert_eq!(report.keys_that_open, 0);
    assert_eq!(report.controls_planted, CONTROLS);
    assert_eq!(report.controls_caught, CONTROLS);
    assert!(report.envelope_sizes.is_empty());
}

/// Searches in the background, for it takes seconds.
async fn search(loot: &std::sync::Arc<Loot>, secrets: &[String], controls: bool) -> Report {
    let (loot, secrets) = (std::sync::Arc::clone(loot), secrets.to_vec());
    tokio::task::spawn_blocking(move || loot.search(&secrets, controls))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_while_messages_wait_nor_after_and_a_leak_is() {
    // The most talkative log that an operator can ask for.
    let scene = Scene::start(&[("LOG_LEVEL", "debug")]).await;
    let mut secrets = story();
    let (mum, child) = (scene.person(MUM), scene.person(CHILD));
    mum.found("Family of the tests").await;
    secrets.push(mum.admit(&child, MemberRole::Child).await);
    child.settled().await;
    child.device.go_offline().await.unwrap();
    for text in WORDS {
        mum.say(text).await;
    }
    // One that travels as a blob.
    let long = format!(
        "{} Ende der Geschichte von Knurps",
        "Es war einmal. ".repeat(200)
    );
    mum.say(&long).await;
    secrets.push("Ende der Geschichte von Knurps".to_owned());
    mum.settled().await;
    let waiting = std::sync::Arc::new(Loot::take(&scene.relay));

    child.device.go_online().await.unwrap();
    child.sees(&long).await;
    let family = child.family().await;
    let sticker = Command::Send {
        conversation: family,
        body: Body::Sticker {
            pack: "Wackelpudding".to_owned(),
            name: "Nashorn-mit-Hut".to_owned(),
        },
        reply_to: None,
        disappear_seconds: 0,
        blob: None,
    };
    secrets.extend(["Wackelpudding".to_owned(), "Nashorn-mit-Hut".to_owned()]);
    child.device.command(sticker).await.unwrap();
    let seen = |event: &Event| {
        matches!(
            event,
            Event::Message {
                body: Body::Sticker { .. },
                ..
            }
        )
        .then_some(())
    };
    mum.device
        .wait_for("the sticker", PATIENCE, seen)
        .await
        .unwrap();
    all_is_confirmed(&[&mum, &child]).await;
    eventually("an empty relay", async || {
        scene.relay.has_nothing_waiting().then_some(())
    })
    .await;
    let after = std::sync::Arc::new(Loot::take(&scene.relay));

    let report = search(&waiting, &secrets, true).await;
    assert_nothing(&report);
    assert!(report.spool_slots >= WORDS.len() as u64, "{report}");
    let report = search(&after, &secrets, true).await;
    assert_nothing(&report);
    assert_eq!(report.spool_slots, 0, "{report}");

    // Planted: one careless line in the log of the real loot.
    let mut log = std::fs::File::options()
        .append(true)
        .open(after.path("relay.log"))
        .unwrap();
    writeln!(log, "DEBUG stored one envelope for {CHILD}").unwrap();
    let report = search(&after, &secrets, false).await;
    assert!(!report.ok());
    assert!(
        report
            .findings
            .iter()
            .any(|it| it.file == "relay.log" && it.canary_text.as_deref() == Some(CHILD)),
        "{report}"
    );
    // Planted: a text inside what is otherwise noise, in a folder of blobs.
    let mut blob: Vec<u8> = (0..4_096_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    blob.splice(1_000..1_000, WORDS[2].bytes());
    std::fs::create_dir_all(waiting.path("data/blobs")).unwrap();
    std::fs::write(waiting.path("data/blobs/x"), blob).unwrap();
    let report = search(&waiting, &secrets, false).await;
    assert!(!report.ok());
    assert!(
        report
            .findings
            .iter()
            .any(|it| it.file == "data/blobs/x" && it.canary_text.as_deref() == Some(WORDS[2])),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_beside_the_data_is_caught() {
    let scene = Scene::start(&[]).await;
    scene.family(MUM, &[]).await;
    let loot = Loot::take(&scene.relay);
    let clean = loot.search(&story(), false);
    assert_eq!(clean.findings, []);
    std::fs::copy(
        scene.home().join("relay/keys/kinline.key"),
        loot.path("data/kinline.key.bak"),
    )
    .unwrap();
    let report = loot.search(&story(), false);
    assert!(!report.ok());
    assert!(
        report
            .findings
            .iter()
            .any(|it| it.file == "data/kinline.key.bak"),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_id_in_the_clear_is_a_test_of_guesses() {
    const LOGIN: &str = "Großtante Walburga 1931";
    let scene = Scene::start(&[]).await;
    let server_name = scene.relay.address().server_name();
    let loot = std::sync::Arc::new(Loot::take(&scene.relay));
    let secrets = [
        format!("login:{LOGIN}"),
        "password:unbekannt verzogen".into(),
    ];
    let report = search(&loot, &secrets, false).await;
    assert!(report.clean(), "{report}");
    // What a device makes of the name: the thief has its own reading of it.
    let id = account_id(LOGIN, &server_name, Stretching::DEFAULT).unwrap();
    std::fs::write(loot.path("data/notes"), id.as_bytes()).unwrap();
    let report = search(&loot, &secrets, false).await;
    let found = &report.findings[0];
    assert_eq!((report.hits, found.canary), (1, Some(0)), "{report}");
    assert_eq!(found.encoding.as_deref(), Some("account-id"));
}
