//! The demo: two whole days, and what its report says.

use std::path::Path;
use std::process::Output;

use kinline_tests::relay::Relay;
use kinline_tests::shell::sim;
use serde_json::Value;

/// Lives a day; returns how it ended, what it printed, and its report.
async fn live(home: &Path, more: &[&str]) -> (Output, Value) {
    let report = home.join("report.json");
    let mut words = vec!["demo", "--report", report.to_str().unwrap()];
    words.extend(more);
    let mut command = sim(&words);
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = ended.await.unwrap();
    let bytes = std::fs::read(&report)
        .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    (output, serde_json::from_slice(&bytes).unwrap())
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Steps that were skipped.
fn skipped(report: &Value) -> Vec<&str> {
    let steps = report["steps"].as_array().unwrap();
    let skipped = steps.iter().filter(|step| step["ok"].is_null());
    skipped.map(|step| step["name"].as_str().unwrap()).collect()
}

/// The demo leaves somebody else's relay running, as it found it, and says under which number.
fn end_the_relay_that_goes_on(output: &Output) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = printed
        .lines()
        .find_map(|line| line.strip_prefix("The relay was started again as process "));
    let pid = said.and_then(|rest| rest.split(' ').next());
    let pid = pid.unwrap_or_else(|| panic!("which process goes on? {printed}"));
    let ended = std::process::Command::new("kill").arg(pid).status();
    assert!(
        ended.is_ok_and(|status| status.success()),
        "process {pid} did not go on"
    );
}

/// Everything that every day promises, robbed or not.
fn assert_a_good_day(output: &Output, report: &Value) {
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("Every promise "), "{printed}");
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() >= 40, "{} steps", steps.len());
    for step in steps {
        assert_ne!(step["ok"], false, "{step}");
        assert!(step["name"].as_str().is_some_and(|name| !name.is_empty()));
        assert!(step["ms"].is_u64(), "{step}");
    }
    let messages = &report["messages"];
    assert!(number(&messages["sent"]) > 170.0, "{messages}");
    assert_eq!(messages["sent"], messages["received"]);
    for harm in ["lost", "duplicated", "out_of_order", "altered", "stray"] {
        assert_eq!(messages[harm], 0, "{harm}");
    }
    // Each promise of the second day has its line.
    for promise in [
        "a second family",
        "The mothers meet",
        "agree on a pass",
        "room forms",
        "write to each other",
        "A photo from Linnea",
        "A recording is refused",
        "Katharina has read it all",
        "At bedtime",
        "learning app",
        "a third family",
        "each two of the children",
        "room of all three",
        "Each of the three writes",
        "among the three any more",
        "old copy",
        "ends the contact",
        "Babatunde leaves",
        "nothing new is allowed",
        "tablet is lost",
    ] {
        let told = |step: &&Value| step["name"].as_str().unwrap().contains(promise);
        assert_eq!(steps.iter().filter(told).count(), 1, "{promise}");
    }
    for photo in [
        &report["photo"],
        &report["photo_back"],
        &report["photo_friend"],
    ] {
        assert!(number(&photo["bytes_in"]) > 10_000.0, "{photo}");
        assert!(number(&photo["bytes_received"]) > 10_000.0);
        assert!(number(&photo["metadata_fields_in"]) > 10.0);
        assert_eq!(photo["metadata_fields_received"], 0);
        assert_eq!(photo["sha256_sent"].as_str().unwrap().len(), 64);
        assert_eq!(photo["sha256_sent"], photo["sha256_received"]);
    }
    for audio in [&report["audio"], &report["audio_back"]] {
        assert!(number(&audio["seconds_in"]) > 1.0, "{audio}");
        let off = number(&audio["seconds_in"]) - number(&audio["seconds_received"]);
        assert!(off.abs() < 0.02, "{audio}");
        assert_eq!(audio["metadata_fields_received"], 0);
        assert_eq!(audio["sha256_sent"], audio["sha256_received"]);
    }
}

/// All thefts happened and showed nothing.
fn assert_robbed_in_vain(report: &Value) {
    let dump = report["dump"].as_array().unwrap();
    assert_eq!(dump.len(), 3);
    for theft in dump {
        assert!(theft["when"].as_str().is_some_and(|when| !when.is_empty()));
        assert!(number(&theft["files"]) >= 2.0);
        assert!(number(&theft["bytes"]) > 10_000.0);
        assert!(number(&theft["canaries"]) > 130.0);
        assert!(number(&theft["encodings"]) > 20.0);
        assert_eq!(theft["hits"], 0);
        assert_eq!(theft["controls_planted"], 25);
        assert_eq!(theft["controls_caught"], 25);
        assert_eq!(theft["envelope_sizes"], serde_json::json!({}));
    }
    // A receipt may wait with them that a phone found time for only then.
    let waited = dump[0]["spool_slots"].as_u64().unwrap();
    assert!((50..55).contains(&waited), "50 messages waited: {waited}");
    assert_eq!(dump[1]["spool_slots"], 0);
    // What was sent to two mailboxes that nobody opens any more: of the tablet that was set
    // back, and of the one that was lost.
    let left = number(&dump[2]["spool_slots"]);
    assert!((1.0..50.0).contains(&left), "{left} envelopes are left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_a_relay_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let keep = home.path().join("kept");
    let (output, report) = live(home.path(), &["--keep", keep.to_str().unwrap()]).await;
    assert_a_good_day(&output, &report);
    assert_robbed_in_vain(&report);
    assert_eq!(skipped(&report), Vec::<&str>::new());

    assert!(keep.join("relay/data/relay.sqlite").exists());
    for folder in ["loot", "devices"] {
        let entries = std::fs::read_dir(keep.join(folder)).unwrap().count();
        assert_eq!(entries, if folder == "loot" { 3 } else { 7 }, "{folder}");
    }
    let canaries = std::fs::read_to_string(keep.join("canaries.txt")).unwrap();
    assert!(canaries.lines().count() >= 130);
    for secret in [
        "Mila Sommerfeld-Akinwale",
        "hort.oyelaran@example.org",
        "Linnea Vandenbroucke",
        "Familie Vandenbroucke-Iyengar",
        "Brüche am Mühlrad",
        "Treffen wir uns um drei am Holzsteg?",
        "Anouk Lindqvist",
        "Die drei vom Holzsteg",
        "Abgemacht, und Zimtschnecken für alle drei",
    ] {
        assert!(canaries.lines().any(|line| line == secret), "{secret}");
    }
    for code in ["kinline:pair:1:", "kinline:meet:1:"] {
        assert!(
            canaries.lines().any(|line| line.starts_with(code)),
            "{code}"
        );
    }
    // Anybody may look again.
    let data = keep.join("relay").to_str().unwrap().to_owned();
    let lines = "Mila Sommerfeld-Akinwale\nhort.oyelaran@example.org\n847193\n";
    let few = home.path().join("few.txt");
    std::fs::write(&few, lines).unwrap();
    let mut again = sim(&[
        "steal",
        "--data",
        &data,
        "--canaries",
        few.to_str().unwrap(),
    ]);
    let again = again.output().unwrap();
    assert_eq!(
        again.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&again.stdout)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_a_relay_that_runs_already_and_may_be_killed_and_robbed() {
    let home = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(&home.path().join("relay")).await;
    // The demo starts it again with its own command line, which names the port.
    relay.terminate().await;
    relay.restart().await;
    let server = relay.address().to_string();
    let (pid, data) = (relay.pid().to_string(), relay.data());
    let data = data.to_str().unwrap();
    let words = [
        "--server",
        &server,
        "--server-pid",
        &pid,
        "--server-data",
        data,
    ];
    let (output, report) = live(home.path(), &words).await;
    end_the_relay_that_goes_on(&output);
    assert_a_good_day(&output, &report);
    assert_robbed_in_vain(&report);
    assert_eq!(skipped(&report), Vec::<&str>::new());
    assert_eq!(report["relay"], server);
    assert!(!relay.is_running(), "it was never killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_a_relay_that_may_be_neither_killed_nor_robbed() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let server = relay.address().to_string();
    let (output, report) = live(home.path(), &["--server", &server]).await;
    assert_a_good_day(&output, &report);
    assert_eq!(report["dump"], serde_json::json!([]));
    let skipped = skipped(&report);
    let about = |word: &str| skipped.iter().filter(|name| name.contains(word)).count();
    assert_eq!((about("killed"), about("stolen")), (1, 3), "{skipped:?}");
    assert!(relay.is_running());
}

/// The planted fault: a relay's folder in which somebody wrote a name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_on_which_a_promise_breaks_ends_with_status_1() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let leak = relay.data().join("debug.log");
    std::fs::write(
        leak,
        "delivered to the tablet of Mila Sommerfeld-Akinwale\n",
    )
    .unwrap();
    let server = relay.address().to_string();
    let data = relay.data();
    let words = ["--server", &server, "--server-data", data.to_str().unwrap()];
    let (output, report) = live(home.path(), &words).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("A PROMISE DID NOT HOLD"));
    assert_eq!(report["ok"], false);
    for theft in report["dump"].as_array().unwrap() {
        assert!(number(&theft["hits"]) >= 1.0, "{theft}");
    }
    assert_eq!(report["messages"]["lost"], 0);
}
