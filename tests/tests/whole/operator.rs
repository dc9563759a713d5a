//! The worst day, drilled; and what an operator says to a phone that is in no family yet.

use kinline_tests::breach::drill;
use kinline_tests::relay::Relay;
use kinline_tests::shell::Shell;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_touched_decoy_to_the_notice_and_through_a_lockdown_nothing_is_lost() {
    for step in drill().await {
        println!("{:6.2} s  {}", step.seconds, step.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_before_a_phone_had_a_family_is_shown_before_it_is_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    let (offline, notice) = (shell.path("offline.key"), shell.path("notice.key"));
    let text = "The relay moves on Sunday.";
    for words in [
        &["operator", "init", "--offline-key", &offline][..],
        &[
            "operator",
            "certify",
            "--offline-key",
            &offline,
            "--notice-key",
            &notice,
        ],
        &["notice", "--text", text, "--notice-key", &notice],
    ] {
        let output = relay.command(words).await;
        assert!(output.status.success(), "{words:?}");
    }
    // It looks for the operator's word when it starts, and then from time to time.
    relay.kill().await;
    relay.restart_anywhere().await;
    shell.found("Mum", &relay.address().to_string(), "Elms");
    let _ = shell.pair("Mum", "Dad", "--guardian");
    let _ = shell.pair_as("Dad", "Dad's other phone", "--guardian", "Dad");
    let says = |said: &str| said.matches(text).count();
    assert_eq!(says(&shell.run("Dad", &["notices", "--all"])), 1);
    assert_eq!(says(&shell.run("Dad's other phone", &["notices"])), 1);
    for phone in ["Dad", "Dad's other phone"] {
        assert_eq!(says(&shell.run(phone, &["notices"])), 0, "{phone}");
    }
}
