//! The operator's log and lockdown: signed by commands beside a running relay, handed out and obeyed
//! by it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kinline_protocol::blob::{owner_hash, read_hash};
use kinline_protocol::operator::{
    Checkpoint, Continuation, OperatorLog, Severity, Statement, continue_log,
};
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{
    self, CreateBlob, ErrorCode, FetchOperatorLog, OperatorLogPart, RecipientStatus,
    RendezvousJoin, RendezvousOpen,
};

use crate::harness::{self, Device, Here, Parent, Socket, cheap, draw, noise, request, run, vault};

/// The operator of a relay: its commands, beside it.
struct Operator {
    folder: PathBuf,
    offline: PublicKey,
}

fn text(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

impl Operator {
    /// Makes both keys over the relay's folder.
    fn new(folder: &Path) -> Self {
        let offline_file = folder.join("offline.key");
        let offline = offline_file.to_str().unwrap();
        let said = text(run(
            &["operator", "init", "--offline-key", offline],
            folder,
            &[],
        ));
        let key = said.trim().strip_prefix("operator ").unwrap();
        let key: [u8; 32] = URL_SAFE_NO_PAD.decode(key).unwrap().try_into().unwrap();
        text(run(
            &["operator", "certify", "--offline-key", offline],
            folder,
            &[],
        ));
        Self {
            folder: folder.to_owned(),
            offline: PublicKey::new(key),
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        run(args, &self.folder, &[])
    }

    fn does(&self, args: &[&str]) {
        text(self.run(args));
    }
}

async fn fetch(socket: &mut Socket, from: u64) -> OperatorLogPart {
    match socket
        .ask(Ask::FetchOperatorLog(FetchOperatorLog { from }))
        .await
    {
        Say::OperatorLogPart(part) => part,
        other => panic!("no log: {other:?}"),
    }
}

/// The whole log as a device reads it: what it adds up to, and what it says.
async fn whole(socket: &mut Socket, offline: PublicKey) -> (OperatorLog, Vec<Statement>) {
    let mut log = OperatorLog::new(offline);
    let mut said = Vec::new();
    loop {
        let part = fetch(socket, log.position().size).await;
        let checkpoint = Checkpoint::verify(&part.checkpoint, &offline).unwrap();
        let (next, entries, done) = match continue_log(&log, &part.entries, &checkpoint).unwrap() {
            Continuation::Continued { log, entries } => (log, entries, true),
            Continuation::Partial { log, entries } => (log, entries, false),
            Continuation::Forked => panic!("forked"),
        };
        log = next;
        said.extend(entries.into_iter().map(|entry| entry.statement));
        if done {
            return (log, said);
        }
    }
}

async fn news(socket: &mut Socket) -> Vec<u8> {
    match socket.next().await {
        Say::OperatorNews(news) => news.checkpoint.to_vec(),
        other => panic!("expected news, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_operator_a_relay_is_as_it_was() {
    let here = Here::start().await;
    let mut socket = here.connect().await;
    assert!(socket.hello.operator_checkpoint.is_empty());
    assert_eq!(fetch(&mut socket, 0).await, OperatorLogPart::default());
    assert_eq!(here.address().operator, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_reaches_who_is_there_and_who_comes_and_survives_a_restart() {
    let mut here = Here::start().await;
    let mut device = Device::start(&here.address()).await;
    let operator = Operator::new(here.folder.path());
    let mode = |file: &str| {
        let path = here.folder.path().join(file);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("offline.key"), 0o600);
    assert_eq!(mode("kinline-notice.key"), 0o600);

    // Told by the relay itself, which looks once a second.
    let first = Checkpoint::verify(&news(&mut device.socket).await, &operator.offline).unwrap();
    assert_eq!(first.position.size, 1);
    operator.does(&[
        "notice",
        "--text",
        "The relay moves on Sunday.",
        "--severity",
        "warning",
        "--language",
        "en-GB",
    ]);
    let second = Checkpoint::verify(&news(&mut device.socket).await, &operator.offline).unwrap();
    assert_eq!(second.position.size, 2);

    let (log, said) = whole(&mut device.socket, operator.offline).await;
    assert_eq!(log.position(), second.position);
    match &said[1] {
        Statement::Notice {
            severity,
            language,
            text,
        } => {
            assert_eq!(*severity, Severity::Warning);
            assert_eq!(language.as_str(), "en-GB");
            assert_eq!(text, "The relay moves on Sunday.");
        }
        other => panic!("no notice: {other:?}"),
    }

    here.stop().await;
    here.restart().await;
    assert_eq!(here.address().operator, Some(operator.offline));
    let mut socket = here.connect().await;
    assert_eq!(socket.hello.operator_checkpoint, second.as_bytes().to_vec());
    assert_eq!(whole(&mut socket, operator.offline).await.0, log);
    assert!(fetch(&mut socket, 2).await.entries.is_empty());
    assert!(fetch(&mut socket, u64::MAX).await.entries.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_between_hello_and_attach_is_told_after_it() {
    let here = Here::start().await;
    let mut device = Device::start(&here.address()).await;
    device.socket = here.connect().await;
    let operator = Operator::new(here.folder.path());
    here.relay.as_ref().unwrap().look_at_operator_log().await;
    device.socket.attach(&device.mailbox, 1, 64).await;
    let told = news(&mut device.socket).await;
    Checkpoint::verify(&told, &operator.offline).unwrap();
    assert!(device.socket.is_quiet().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_comes_in_parts() {
    let here = Here::start().await;
    let operator = Operator::new(here.folder.path());
    let long = "\u{1f98a}".repeat(4_000);
    for _ in 0..6 {
        operator.does(&["notice", "--text", &long]);
    }
    here.relay.as_ref().unwrap().look_at_operator_log().await;
    let mut socket = here.connect().await;
    assert!(fetch(&mut socket, 0).await.entries.len() < 7);
    assert_eq!(whole(&mut socket, operator.offline).await.1.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_tickets_are_published_from_the_key_file_once() {
    let here = Here::start().await;
    let operator = Operator::new(here.folder.path());
    for _ in 0..2 {
        operator.does(&["operator", "issuer"]);
    }
    here.relay.as_ref().unwrap().look_at_operator_log().await;
    let mut socket = here.connect().await;
    let (log, said) = whole(&mut socket, operator.offline).await;
    assert_eq!(said.len(), 3, "{said:?}");
    let [now, next] = log.issuers() else {
        panic!("of this epoch and the next: {:?}", log.issuers())
    };
    assert_eq!(now.epoch + 1, next.epoch);
    assert_ne!(now.key, next.key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_are_commands_without_a_good_key_or_with_a_bad_text() {
    let here = Here::start().await;
    let folder = here.folder.path();
    let refused = |args: &[&str], says: &str| {
        let output = run(args, folder, &[]);
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(sentence.contains(says), "{sentence}");
    };
    refused(&["notice", "--text", "hello"], "kinline-notice.key");
    let operator = Operator::new(folder);
    refused(&["notice", "--text", ""], "bad text");
    refused(
        &["notice", "--text", "x", "--severity", "huge"],
        "info, warning",
    );
    refused(
        &["notice", "--text", "x", "--language", "e n"],
        "letters, digits",
    );
    refused(&["lockdown"], "--reason");
    let inside = folder.join("data/offline.key");
    let inside = inside.to_str().unwrap();
    refused(
        &["operator", "init", "--offline-key", inside],
        "inside the data",
    );

    // Somebody else's keys, over the same log.
    let other = tempfile::tempdir().unwrap();
    let stranger = Operator::new(other.path());
    let foreign = other.path().join("kinline-notice.key");
    let foreign = foreign.to_str().unwrap();
    refused(
        &["notice", "--text", "x", "--notice-key", foreign],
        "another offline key",
    );
    assert_ne!(stranger.offline, operator.offline);

    // A further certificate ends the key before it.
    let old = folder.join("old.key");
    std::fs::copy(folder.join("kinline-notice.key"), &old).unwrap();
    let offline = folder.join("offline.key");
    operator.does(&[
        "operator",
        "certify",
        "--offline-key",
        offline.to_str().unwrap(),
    ]);
    let old = old.to_str().unwrap();
    refused(
        &["notice", "--text", "x", "--notice-key", old],
        "older than",
    );
    operator.does(&["notice", "--text", "ours"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_nobody_signed_are_not_handed_out() {
    let mut here = Here::start().await;
    let operator = Operator::new(here.folder.path());
    operator.does(&["notice", "--text", "true"]);
    here.stop().await;
    let database = here.database();
    database
        .execute(
            "INSERT INTO operator_log SELECT 2, entry, checkpoint FROM operator_log WHERE place = 1",
            [],
        )
        .unwrap();
    drop(database);
    here.restart().await;
    let mut socket = here.connect().await;
    // They are refused together, so that nothing half-read is said; what was good before is told
    // when it is looked at again without them.
    assert!(socket.hello.operator_checkpoint.is_empty());
    assert!(fetch(&mut socket, 0).await.entries.is_empty());
}

fn meeting() -> (Ask, Ask) {
    let rendezvous = vec![8; 16];
    (
        Ask::RendezvousOpen(RendezvousOpen {
            rendezvous: rendezvous.clone().into(),
            seconds: 60,
        }),
        Ask::RendezvousJoin(RendezvousJoin {
            rendezvous: rendezvous.into(),
        }),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_logged_in_before_a_lockdown_comes_no_further_and_phones_write_on() {
    let here = Here::start_with(cheap).await;
    let operator = Operator::new(here.folder.path());
    let mut alice = Parent::random("word");
    let kept = Some(vault(1, 1));
    let mut socket = here.connect().await;
    alice.register(&mut socket, "", kept.clone()).await.unwrap();
    // One has logged in, one has changed its password but for the last word, one is logging in.
    let mut inside = here.connect().await;
    let logged_in = alice.log_in(&mut inside).await.unwrap();
    assert_eq!(harness::fetch(&mut inside).await, kept);
    let mut changing = here.connect().await;
    alice.log_in(&mut changing).await.unwrap();
    let mut changed = Parent {
        password: b"another".to_vec(),
        export_key: None,
        write_key: alice.write_key.clone(),
        ..alice
    };
    let change = changed.registration(&mut changing, "", None).await.unwrap();
    let mut coming = here.connect().await;
    let (state, answer) = alice.begin(&mut coming).await.unwrap();
    let proof = alice.login_proof(&coming, &state, &answer).unwrap();

    operator.does(&["lockdown", "--reason", "Somebody was in the server room."]);
    here.relay.as_ref().unwrap().look_at_operator_log().await;
    let stopped = ErrorCode::LockedDown;
    let fetching = Ask::FetchVault(wire::FetchVault {});
    assert_eq!(inside.refused(fetching).await, stopped);
    let drawn = draw(&mut inside, &logged_in, 1).await;
    assert_eq!(drawn.map(|_| ()), Err(stopped));
    let begun = changed.registration(&mut inside, "", None).await;
    assert_eq!(begun.map(|_| ()), Err(stopped));
    let deleting = Ask::DeleteAccount(wire::DeleteAccount {});
    assert_eq!(inside.refused(deleting).await, stopped);
    assert_eq!(changing.refused(Ask::RegisterFinish(change)).await, stopped);
    assert_eq!(Parent::finish(&mut coming, proof).await, Err(stopped));
    // A phone goes on, also on a connection that was refused.
    alice.put(&mut inside, vault(2, 2)).await.unwrap();

    operator.does(&["lockdown", "--lift"]);
    here.relay.as_ref().unwrap().look_at_operator_log().await;
    let mut socket = here.connect().await;
    alice.log_in(&mut socket).await.unwrap();
    assert_eq!(harness::fetch(&mut socket).await, Some(vault(2, 2)));
    assert_eq!(harness::fetch(&mut inside).await, Some(vault(2, 2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lockdown_stops_pairing_and_reading_in_bulk_and_loses_nothing() {
    let mut here = Here::start_with(|config| config.limits.hold_ms = 1).await;
    let operator = Operator::new(here.folder.path());
    here.relay.as_ref().unwrap().look_at_operator_log().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    drop(std::mem::replace(&mut bob.socket, here.connect().await));

    // 2,500 wait for Bob, all acknowledged to Alice.
    let mut sent = 0;
    while sent < 2_500 {
        let batch = (sent..sent + 50).map(|number| bob.mailbox.delivery(&number.to_string()));
        let answers = alice.socket.send(batch.collect()).await;
        assert!(answers.iter().all(|status| *status == RecipientStatus::Ok));
        sent += 50;
    }
    // A blob that is large, and one that is small.
    let (large, small) = (
        blob(&mut alice, &here, 2_097_152).await,
        blob(&mut alice, &here, 1_024).await,
    );

    operator.does(&["lockdown", "--reason", "Somebody was in the server room."]);
    news(&mut alice.socket).await;
    let (open, join) = meeting();
    assert_eq!(
        alice.socket.refused(open.clone()).await,
        ErrorCode::LockedDown
    );
    let mut tablet = here.connect().await;
    assert_eq!(tablet.refused(join.clone()).await, ErrorCode::LockedDown);
    let mut parent = here.connect().await;
    let guess = Parent::random("word").login_start().1;
    let login = parent.refused(Ask::LoginStart(guess)).await;
    assert_eq!(login, ErrorCode::LockedDown);
    assert_eq!(get(&here, &large).await, 503);
    assert_eq!(get(&here, &small).await, 200);

    // So many and no more, whatever is acknowledged and however often it comes back.
    assert_eq!(bob.again(&here.address()).await.waiting, 2_500);
    for number in 0..1_500_u64 {
        assert_eq!(
            bob.socket.delivered().await,
            (number + 1, number.to_string())
        );
        bob.socket.acknowledge(number + 1).await;
    }
    // 64 more were on their way.
    assert!(!bob.socket.is_quiet().await);
    bob.again(&here.address()).await;
    for number in 1..=436_u64 {
        let (_, text) = bob.socket.delivered().await;
        assert_eq!(text, (number + 1_499).to_string());
        bob.socket.acknowledge(number).await;
    }
    assert!(bob.socket.is_quiet().await, "the rest waits");
    // What is sent meanwhile is taken, and to others it goes.
    let more = bob.mailbox.delivery("2500");
    assert_eq!(alice.socket.send(vec![more]).await, [RecipientStatus::Ok]);
    let back = alice.mailbox.delivery("hello");
    assert_eq!(bob.socket.send(vec![back]).await, [RecipientStatus::Ok]);
    assert_eq!(alice.socket.delivered().await, (1, "hello".into()));
    // Else it may come again after the restart, before the news.
    alice.socket.acknowledge(1).await;
    assert!(alice.socket.is_quiet().await);

    // It holds over a restart (what each mailbox had of it does not), and ends when it is lifted: the rest comes without anybody asking.
    here.stop().await;
    here.restart().await;
    alice.again(&here.address()).await;
    assert_eq!(
        alice.socket.refused(open.clone()).await,
        ErrorCode::LockedDown
    );
    bob.again(&here.address()).await;
    operator.does(&["lockdown", "--lift"]);
    let mut through = 0;
    let mut expected = 1_936;
    while expected <= 2_500 {
        match bob.socket.next().await {
            Say::Deliver(deliver) => {
                let text = deliver.envelope.split(|byte| *byte == 0x5a).next().unwrap();
                assert_eq!(text, expected.to_string().as_bytes());
                through = deliver.number;
                expected += 1;
                bob.socket.acknowledge(through).await;
            }
            Say::OperatorNews(_) => {}
            other => panic!("expected a delivery, got {other:?}"),
        }
    }
    assert!(through > 0);
    news(&mut alice.socket).await;
    let opened = alice.socket.ask(open).await;
    assert!(matches!(opened, Say::RendezvousReady(_)), "{opened:?}");
    assert_eq!(get(&here, &large).await, 200);
}

/// Uploads a blob of a size class; its read secret.
async fn blob(device: &mut Device, here: &Here, size: usize) -> [u8; 32] {
    let (read, owner): ([u8; 32], [u8; 32]) =
        (noise(32).try_into().unwrap(), noise(32).try_into().unwrap());
    let create = CreateBlob {
        read_hash: read_hash(&read).to_vec().into(),
        owner_hash: owner_hash(&owner).to_vec().into(),
        size: size as u64,
        ticket: String::new(),
    };
    let created = device.socket.ask(Ask::CreateBlob(create)).await;
    assert!(matches!(created, Say::BlobCreated(_)), "{created:?}");
    let headers = [
        (
            kinline_protocol::blob::OWNER_HEADER,
            URL_SAFE_NO_PAD.encode(owner),
        ),
        (kinline_protocol::blob::OFFSET_HEADER, "0".to_owned()),
    ];
    let path = kinline_protocol::blob::PATH;
    let reply = request(&here.address(), "PATCH", path, &headers, noise(size)).await;
    assert!((200..300).contains(&reply.status), "{}", reply.status);
    read
}

async fn get(here: &Here, read: &[u8; 32]) -> u16 {
    let headers = [(
        kinline_protocol::blob::READ_HEADER,
        URL_SAFE_NO_PAD.encode(read),
    )];
    let path = kinline_protocol::blob::PATH;
    request(&here.address(), "GET", path, &headers, vec![])
        .await
        .status
}
