//! What an operator sees: sentences, exit statuses, admission codes, metrics.

use std::os::unix::fs::PermissionsExt;

use kinline_protocol::wire::ErrorCode;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_server::config::Admission;

use crate::harness::{Here, Mailbox, Process, metrics, run};

fn refused(args: &[&str], folder: &std::path::Path, environment: &[(&str, &str)], says: &str) {
    let output = run(args, folder, environment);
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{sentence}");
    assert!(sentence.contains(says), "{sentence}");
    assert!(output.stdout.is_empty());
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kinline.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:0\"\nlisten_to = 3\n").unwrap();
    let path = file.to_str().unwrap();
    refused(
        &["serve", "--config", path],
        folder.path(),
        &[],
        "listen_to",
    );
    std::fs::write(&file, "[limits]\nhold = 3\n").unwrap();
    refused(&["serve", "--config", path], folder.path(), &[], "hold");
    refused(
        &["serve"],
        folder.path(),
        &[("KINLINE_RELAY_LISTEN_TO", "3")],
        "listen_to",
    );
    refused(
        &["serve"],
        folder.path(),
        &[("KINLINE_RELAY_LIMITS__HOLD", "3")],
        "hold",
    );
    refused(
        &["serve", "--listen-to", "3"],
        folder.path(),
        &[],
        "--listen-to",
    );
    std::fs::write(&file, "listen = \"everywhere\"\n").unwrap();
    refused(&["serve", "--config", path], folder.path(), &[], "listen");
    refused(
        &["serve", "--config", "/nowhere.toml"],
        folder.path(),
        &[],
        "nowhere.toml",
    );
    refused(
        &["serve"],
        folder.path(),
        &[("KINLINE_RELAY_LIMITS__IDLE_SECONDS", "0")],
        "idle_seconds",
    );
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kinline.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:1001\"\n").unwrap();
    let path = file.to_str().unwrap();
    let port = |args: &[&str], environment: &[(&str, &str)]| {
        let output = run(args, folder.path(), environment);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let line = String::from_utf8(output.stdout).unwrap();
        line.trim()
            .parse::<kinline_protocol::server_name::RelayAddress>()
            .unwrap()
            .port
    };
    let environment = [
        ("KINLINE_RELAY_CONFIG", path),
        ("KINLINE_RELAY_LISTEN", "127.0.0.1:1002"),
    ];
    assert_eq!(port(&["pin", "--config", path], &[]), 1001);
    assert_eq!(port(&["pin"], &environment), 1002);
    assert_eq!(
        port(&["pin", "--listen", "127.0.0.1:1003"], &environment),
        1003
    );
    let public = [("KINLINE_RELAY_PUBLIC_ADDRESS", "relay.example.org:444")];
    assert_eq!(port(&["pin"], &public), 444);
}

#[test]
fn keys_that_others_can_read_or_that_lie_in_the_data_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("kinline.key");
    Process::start(folder.path(), 250).kill();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(
        &["serve", "--listen", "127.0.0.1:0"],
        folder.path(),
        &[],
        "can be read by others",
    );
    let inside = folder.path().join("data/kinline.key");
    refused(
        &["serve", "--key-file", inside.to_str().unwrap()],
        folder.path(),
        &[],
        "inside the data folder",
    );
    std::fs::remove_file(&key).unwrap();
    refused(&["serve"], folder.path(), &[], "bring the key file back");
    assert!(!key.exists());
    let other = tempfile::tempdir().unwrap();
    Process::start(other.path(), 250).kill();
    let other_key = other.path().join("kinline.key");
    let args = ["serve", "--key-file", other_key.to_str().unwrap()];
    refused(&args, folder.path(), &[], "does not belong to the database");
    let tls = folder.path().join("data/tls");
    let args = ["serve", "--tls-folder", tls.to_str().unwrap()];
    refused(&args, folder.path(), &[], "keys of TLS");
}

#[test]
fn a_folder_in_use_a_newer_database_and_a_taken_port_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Process::start(folder.path(), 250);
    refused(
        &["serve", "--listen", "127.0.0.1:0"],
        folder.path(),
        &[],
        "in use by another relay",
    );
    let other = tempfile::tempdir().unwrap();
    let taken = format!("127.0.0.1:{}", relay.address.port);
    refused(
        &["serve", "--listen", &taken],
        other.path(),
        &[],
        "can't listen",
    );
    relay.kill();
    let database = rusqlite::Connection::open(folder.path().join("data/relay.sqlite")).unwrap();
    database
        .execute(
            "INSERT INTO _sqlx_migrations VALUES (9999, 'newer', '2000-01-01', TRUE, x'00', 0)",
            [],
        )
        .unwrap();
    drop(database);
    refused(
        &["serve", "--listen", "127.0.0.1:0"],
        folder.path(),
        &[],
        "newer version",
    );
}

#[test]
fn help_is_help() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["--help"][..], &["serve", "--help"], &["admit", "--help"]] {
        let mut command = crate::harness::command();
        let output = command
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("Usage: kinline-server")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_code_opens_as_many_mailboxes_as_it_says() {
    let mut here = Here::start_with(|config| config.admission = Admission::Codes).await;
    let output = run(&["admit", "--uses", "2"], here.folder.path(), &[]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let code = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let mut socket = here.connect().await;
    let first = Mailbox::random();
    for (code, mailbox, opens) in [
        ("", &Mailbox::random(), false),
        (
            "00000000000000000000000000000000",
            &Mailbox::random(),
            false,
        ),
        (code.as_str(), &first, true),
        (code.as_str(), &first, true), // again: uses nothing up
        (code.as_str(), &Mailbox::random(), true),
        (code.as_str(), &Mailbox::random(), false),
    ] {
        let request = kinline_protocol::wire::OpenMailbox {
            admission_code: code.into(),
            ..socket.open_request(mailbox, 1)
        };
        match socket.ask(Ask::OpenMailbox(request)).await {
            Say::MailboxOpened(_) => assert!(opens),
            Say::Error(error) => assert!(!opens && error.code() == ErrorCode::Admission),
            other => panic!("{other:?}"),
        }
    }
    here.stop().await;
    assert_eq!(
        (here.count("mailbox"), here.count("admission_code")),
        (2, 0)
    );
}

#[tokio::test]
async fn a_full_disk_is_said_and_reads_and_acknowledgements_go_on() {
    // Room for the tables and some hundred rows.
    let here = Here::start_with(|config| config.limits.database_bytes = 600 * 1_024).await;
    let mut alice = crate::harness::Device::start(&here.address()).await;
    let mut bob = crate::harness::Device::start(&here.address()).await;
    bob.socket = here.connect().await;
    let mut stored = 0_u64;
    let refusal = loop {
        assert!(stored < 2_000, "it never fills");
        match alice
            .socket
            .ask(crate::harness::send(vec![
                bob.mailbox.delivery(&stored.to_string()),
            ]))
            .await
        {
            Say::SendResult(_) => stored += 1,
            Say::Error(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal.code(), ErrorCode::NoRoom);
    assert!(!refusal.closing && refusal.retry_after_ms > 0);
    assert!(stored > 50);
    assert_eq!(bob.again(&here.address()).await.waiting, stored);
    for number in 0..stored {
        assert_eq!(
            bob.socket.delivered().await,
            (number + 1, number.to_string())
        );
        bob.socket.acknowledge(number + 1).await;
    }
    bob.socket.is_quiet().await;
    bob.socket = here.connect().await;
    // What was acknowledged makes room again as soon as the relay has tidied up; whoever asks
    // meanwhile without a pause may be told to slow down, too.
    loop {
        match alice
            .socket
            .ask(crate::harness::send(vec![bob.mailbox.delivery("again")]))
            .await
        {
            Say::SendResult(_) => break,
            Say::Error(error) => {
                let code = error.code();
                assert!(matches!(code, ErrorCode::NoRoom | ErrorCode::SlowDown));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn metrics_name_nobody() {
    let here =
        Here::start_with(|config| config.admin_listen = Some(([127, 0, 0, 1], 0).into())).await;
    let mut alice = crate::harness::Device::start(&here.address()).await;
    let bob = crate::harness::Device::start(&here.address()).await;
    alice.socket.send(vec![bob.mailbox.delivery("x")]).await;
    let text = metrics(here.relay.as_ref().unwrap().admin_address().unwrap()).await;
    assert!(text.contains("kinline_sends_total"), "{text}");
    for id in [alice.mailbox.id, bob.mailbox.id] {
        assert!(!text.contains(&hex::encode(id.as_bytes())));
    }
    assert!(!text.contains("127.0.0.1"));
}

#[tokio::test]
async fn the_log_names_nobody_at_any_level() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("KINLINE_RELAY_LOG", "json"),
        ("KINLINE_RELAY_LOG_LEVEL", "debug"),
    ];
    let relay = Process::start_with(folder.path(), &environment);
    let mut alice = crate::harness::Device::start(&relay.address).await;
    let bob = crate::harness::Device::start(&relay.address).await;
    alice
        .socket
        .send(vec![bob.mailbox.delivery("content")])
        .await;
    let mut broken = crate::harness::Socket::connect(&relay.address).await;
    broken
        .raw(tokio_tungstenite::tungstenite::Message::Text(
            "no frame".into(),
        ))
        .await;
    broken.ends_with(ErrorCode::Malformed).await;
    drop((alice.socket, bob.socket));
    let (status, log) = relay.terminate_and_read();
    assert_eq!(status, 0);
    assert!(log.contains("stopping"), "{log}");
    for mailbox in [&alice.mailbox, &bob.mailbox] {
        assert!(!log.contains(&hex::encode(mailbox.id.as_bytes())));
    }
    for word in [
        "content",
        "no frame",
        "127.0.0.1",
        "::1",
        "pin=",
        "kinline-state",
    ] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[tokio::test]
async fn after_a_failed_write_nothing_more_is_acknowledged_and_the_process_ends() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Process::start(folder.path(), 3_600_000);
    let mut alice = crate::harness::Device::start(&relay.address).await;
    let mut bob = crate::harness::Device::start(&relay.address).await;
    let request = crate::harness::send(vec![bob.mailbox.delivery("x")]);
    let asked = alice.socket.tell(request).await;
    let (number, _) = bob.socket.delivered().await;
    bob.socket.acknowledge(number).await;
    let Say::SendResult(result) = alice.socket.answer(asked).await else {
        panic!("it is answered");
    };
    assert_eq!(
        result.recipients[0].status(),
        kinline_protocol::wire::RecipientStatus::Ok
    );
    // Nobody is there for the next one, nothing was written yet, and nothing can be.
    let mut carol = crate::harness::Device::start(&relay.address).await;
    carol.socket = crate::harness::Socket::connect(&relay.address).await;
    let spool = folder.path().join("data/spool");
    std::fs::remove_dir_all(&spool).unwrap();
    std::fs::write(&spool, "").unwrap();
    let request = crate::harness::send(vec![carol.mailbox.delivery("y")]);
    assert_eq!(alice.socket.refused(request).await, ErrorCode::Internal);
    drop((alice, bob, carol));
    assert_eq!(relay.wait(), 1);
}

#[tokio::test]
async fn tls_is_1_3_with_the_hybrid_key_exchange_and_nothing_older() {
    let here = Here::start().await;
    let address = here.address();
    assert!(
        crate::harness::tls_of(&address, &[&rustls::version::TLS12])
            .await
            .is_err()
    );
    let stream = crate::harness::tls_of(&address, rustls::ALL_VERSIONS)
        .await
        .unwrap();
    let (_, connection) = stream.get_ref();
    assert_eq!(
        connection.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let group = connection.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn the_example_configuration_names_every_key_and_is_accepted() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kinline.toml");
    let none = std::collections::BTreeMap::<String, String>::new();
    let example = kinline_server::Config::load(Some(&path), none).unwrap();
    assert_eq!(example.limits, kinline_server::Config::default().limits);
    assert_eq!(example.tripwire, kinline_server::TripwireConfig::default());
    let text = std::fs::read_to_string(&path).unwrap();
    let defaults = figment::value::Value::serialize(kinline_server::Config::default()).unwrap();
    let mut keys: Vec<String> = defaults.as_dict().unwrap().keys().cloned().collect();
    for section in ["limits", "terms", "tls", "accounts", "tripwire"] {
        let section = defaults.find_ref(section).unwrap();
        keys.extend(section.as_dict().unwrap().keys().cloned());
    }
    assert!(keys.len() > 30);
    for key in keys {
        assert!(
            text.contains(&key),
            "{key} is missing in deploy/kinline.toml"
        );
    }
}
