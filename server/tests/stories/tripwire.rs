//! Decoys: each way of touching one is an alarm, nothing in the tables tells them apart, and they
//! live as others do.

use std::collections::BTreeSet;
use std::time::Duration;

use kinline_protocol::blob::{OFFSET_HEADER, PATH};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{ErrorCode, RecipientStatus};
use kinline_server::TripwireConfig;
use kinline_server::measure::decoys;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::blob::Secrets;
use crate::harness::{
    Device, Here, Mailbox, Parent, Process, Socket, TODAY, cheap, metrics, noise, request, run,
    vault,
};

fn make(here: &Here, count: &str) {
    let output = run(&["decoys", "--count", count], here.folder.path(), &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert_eq!(output.stdout, format!("decoys {count}\n").as_bytes());
}

/// Which they are, as somebody knows who has the key file.
async fn ids(here: &Here) -> Vec<MailboxId> {
    decoys(&here.config.data, &here.config.key_file())
        .await
        .unwrap()
}

/// The next alarm that is posted.
async fn posted(listener: &TcpListener) -> String {
    let accepted = timeout(Duration::from_secs(20), listener.accept()).await;
    let (mut stream, _) = accepted.expect("no alarm is posted").unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"}\n") {
        assert!(stream.read_buf(&mut heard).await.unwrap() > 0);
    }
    stream
        .write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    let text = String::from_utf8(heard).unwrap();
    assert!(text.starts_with("POST /alarm HTTP/1.1\r\n"), "{text}");
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    body.trim().to_owned()
}

fn alarm(kind: &str) -> String {
    format!("{{\"alarm\":\"{kind}\",\"day\":\"2024-10-04\"}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_of_touching_a_decoy_is_an_alarm_and_answers_as_another_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/alarm", listener.local_addr().unwrap());
    let here = Here::start_with(|config| {
        config.tripwire = TripwireConfig {
            webhook: Some(webhook),
            ..TripwireConfig::default()
        };
    })
    .await;
    make(&here, "3");
    let all = ids(&here).await;
    assert_eq!(all.len(), 3);
    let mut thief = here.connect().await;
    let decoy = Mailbox {
        id: all[0],
        ..Mailbox::random()
    };
    let nobody = Mailbox::random();

    for mailbox in [&nobody, &decoy] {
        let attach = thief.attach_request(mailbox, 1, 64);
        assert_eq!(thief.refused(Ask::Attach(attach)).await, ErrorCode::Denied);
        let close = thief.close_request(mailbox, false);
        assert_eq!(
            thief.refused(Ask::CloseMailbox(close)).await,
            ErrorCode::Denied
        );
    }
    assert_eq!(posted(&listener).await, alarm("decoy_attach"));
    assert_eq!(posted(&listener).await, alarm("decoy_close"));
    assert_eq!(
        thief.send(vec![decoy.delivery("hello")]).await,
        [RecipientStatus::Revoked]
    );
    assert_eq!(posted(&listener).await, alarm("decoy_send"));
    let open = thief.open_request(&decoy, 1);
    assert_eq!(
        thief.refused(Ask::OpenMailbox(open)).await,
        ErrorCode::Denied
    );
    assert_eq!(posted(&listener).await, alarm("decoy_open"));

    // What is no decoy raises none: the next alarm is the one that is meant.
    let device = Device::start(&here.address()).await;
    let mut other = Socket::connect(&here.address()).await;
    other.send(vec![device.mailbox.delivery("hello")]).await;
    let attach = other.attach_request(&decoy, 1, 64);
    other.refused(Ask::Attach(attach)).await;
    assert_eq!(posted(&listener).await, alarm("decoy_attach"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_tries_a_decoy_account_raises_an_alarm_and_a_real_one_raises_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/alarm", listener.local_addr().unwrap());
    let here = Here::start_with(|config| {
        cheap(config);
        config.tripwire.webhook = Some(webhook);
    })
    .await;
    let (mut bait, mut real) = (Parent::random("bait"), Parent::random("real"));
    for parent in [&mut bait, &mut real] {
        let mut socket = here.connect().await;
        parent.register(&mut socket, "", None).await.unwrap();
    }
    let mark = |id: &[u8; 32]| {
        let id = hex::encode(id);
        run(&["decoys", "--account", &id], here.folder.path(), &[])
    };
    assert!(!mark(&[7; 32]).status.success(), "nobody has registered it");
    let marked = mark(bait.id.as_bytes());
    let error = String::from_utf8_lossy(&marked.stderr);
    assert!(marked.status.success(), "{error}");
    real.log_in(&mut here.connect().await).await.unwrap();
    // Guessed wrong, as any other account answers.
    for parent in [&mut bait, &mut real] {
        parent.password = b"guess".to_vec();
        let guessed = parent.log_in(&mut here.connect().await).await;
        assert_eq!(guessed.map(|_| ()), Err(ErrorCode::Denied));
    }
    assert_eq!(posted(&listener).await, alarm("decoy_account"));
    // Guessed right: the password was "bait". And its vault.
    bait.password = b"bait".to_vec();
    bait.log_in(&mut here.connect().await).await.unwrap();
    assert_eq!(posted(&listener).await, alarm("decoy_account"));
    let written = bait.put(&mut here.connect().await, vault(3, 1)).await;
    written.unwrap();
    assert_eq!(posted(&listener).await, alarm("decoy_account"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_that_nobody_takes_is_told_again_and_holds_up_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/alarm", listener.local_addr().unwrap());
    let here = Here::start_with(|config| config.tripwire.webhook = Some(webhook)).await;
    make(&here, "1");
    let decoy = Mailbox {
        id: ids(&here).await[0],
        ..Mailbox::random()
    };
    let mut thief = here.connect().await;
    let attach = thief.attach_request(&decoy, 1, 64);
    thief.refused(Ask::Attach(attach)).await;
    let (stream, _) = listener.accept().await.unwrap();
    // It is not answered; everybody else is served meanwhile.
    let mut device = Device::start(&here.address()).await;
    assert!(device.socket.is_quiet().await);
    drop(stream);
    assert_eq!(posted(&listener).await, alarm("decoy_attach"));
}

#[tokio::test]
async fn what_leaves_unexplained_is_posted_counted_and_logged_and_what_is_acknowledged_is_not() {
    const MIB: usize = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/alarm", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("KINLINE_RELAY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("KINLINE_RELAY_TRIPWIRE__WEBHOOK", &*webhook),
        ("KINLINE_RELAY_TRIPWIRE__ENVELOPES_UNEXPLAINED", "10"),
        ("KINLINE_RELAY_TRIPWIRE__BLOB_BYTES_UNEXPLAINED", "10"),
    ];
    let mut relay = Process::start_with(folder.path(), &environment);
    let admin = relay.admin_address();
    let mut alice = Device::start(&relay.address).await;
    let mut bob = Device::start(&relay.address).await;
    // Twelve in all, never more than six of them on their way: they explain themselves, and a MiB
    // of blobs each.
    for _ in 0..2 {
        let deliveries = (0..6).map(|_| bob.mailbox.delivery("hello")).collect();
        alice.socket.send(deliveries).await;
        let mut last = 0;
        for _ in 0..6 {
            (last, _) = bob.socket.delivered().await;
        }
        bob.socket.acknowledge(last).await;
        assert!(bob.socket.is_quiet().await);
    }
    let secrets = Secrets::random();
    let created = alice.socket.ask(secrets.create(MIB)).await;
    assert!(matches!(created, Say::BlobCreated(_)), "{created:?}");
    let headers = [secrets.owner(), (OFFSET_HEADER, "0".to_owned())];
    let put = request(&relay.address, "PATCH", PATH, &headers, noise(MIB)).await;
    assert_eq!(put.status, 204);
    for _ in 0..13 {
        let got = request(&relay.address, "GET", PATH, &[secrets.read()], vec![]).await;
        assert!(got.status == 200 && got.is_whole);
    }
    // Were the envelopes of before not explained, their alarm would come first.
    let kind = async || {
        let body = posted(&listener).await;
        body.split('"').nth(3).unwrap().to_owned()
    };
    assert_eq!(kind().await, "blobs_unexplained");
    // 35 with those of before; twice twelve and ten are explained.
    let deliveries = (0..23).map(|_| bob.mailbox.delivery("hello")).collect();
    alice.socket.send(deliveries).await;
    assert_eq!(kind().await, "envelopes_unexplained");
    let text = metrics(admin).await;
    drop((alice, bob));
    let (_, log) = relay.terminate_and_read();
    for kind in ["blobs_unexplained", "envelopes_unexplained"] {
        let counted = format!("kinline_tripwire_total{{kind=\"{kind}\"}} 1\n");
        assert!(text.contains(&counted), "{text}");
        let told = |line: &&str| line.contains("ALARM") && line.contains(kind);
        assert_eq!(log.lines().filter(told).count(), 1, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("KINLINE_RELAY_TRIPWIRE__WEBHOOK", "http://192.0.2.1:80/")];
    let output = run(&["serve"], folder.path(), &environment);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decoys_live_as_others_do_and_are_replaced_when_they_end() {
    let mut here = Here::start().await;
    for _ in 0..40 {
        Device::start(&here.address()).await;
    }
    here.relay.as_ref().unwrap().make_decoys(60).await;
    let first: BTreeSet<_> = ids(&here).await.into_iter().collect();
    for _ in 0..30 {
        here.clock.advance(1);
        here.relay.as_ref().unwrap().run_retention().await;
    }
    assert_eq!(ids(&here).await.len(), 60);
    // The relay was off for longer than a mailbox is kept: the real ones are gone, the decoys are new.
    here.clock.advance(100);
    here.relay.as_ref().unwrap().run_retention().await;
    let last: BTreeSet<_> = ids(&here).await.into_iter().collect();
    assert_eq!(last.len(), 60);
    assert!(last.is_disjoint(&first));
    here.stop().await;
    assert_eq!(here.count("mailbox"), 60);
}

/// What a thief sees of each row: its id, which is the first column, and every column as numbers.
pub(super) fn features(connection: &Connection, query: &str) -> Vec<(Vec<u8>, Vec<f64>)> {
    let mut statement = connection.prepare(query).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let mut features = Vec::new();
        for column in 0..columns {
            let blob = match row.get_ref(column)? {
                ValueRef::Blob(blob) => blob,
                number => {
                    features.push(number.as_i64().unwrap() as f64);
                    continue;
                }
            };
            let ones: u32 = blob.iter().map(|byte| byte.count_ones()).sum();
            features.extend([
                blob.len() as f64,
                f64::from(ones),
                f64::from(blob[0]),
                f64::from(blob[blob.len() - 1]),
            ]);
        }
        Ok((row.get(0)?, features))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// The best that any one column tells decoys from others, by how often a decoy's value is above
/// another's: 0.5 is chance.
pub(super) fn told_apart(real: &[Vec<f64>], decoys: &[Vec<f64>]) -> f64 {
    let area = |column: usize| {
        let mut above = 0.0;
        for decoy in decoys {
            for other in real {
                above += match decoy[column].total_cmp(&other[column]) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                };
            }
        }
        let area: f64 = above / (real.len() * decoys.len()) as f64;
        area.max(1.0 - area)
    };
    (0..real[0].len()).map(area).fold(0.5, f64::max)
}

const MAILBOXES: &str = "SELECT id, keys, state, expires_day FROM mailbox";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_column_of_a_dump_tells_decoys_apart_and_a_planted_tell_is_caught() {
    let mut here = Here::start_with(|config| {
        config.limits.unattached_frames_burst = 100_000;
        config.limits.unattached_frames_per_second = 100_000;
    })
    .await;
    // Real ones of many ages: opened on one of thirty days, and not attached since.
    for _ in 0..30 {
        let mut socket = here.connect().await;
        for _ in 0..10 {
            socket.open(&Mailbox::random()).await;
        }
        here.clock.advance(1);
    }
    // `make` goes by the system's day; these are made by the relay's own.
    let relay = here.relay.as_ref().unwrap();
    relay.make_decoys(300).await;
    let hidden: BTreeSet<_> = ids(&here).await.into_iter().collect();
    here.stop().await;
    let keys = kinline_server::measure::permuted(&here.config.key_file(), hidden.iter().copied());
    let keys: BTreeSet<Vec<u8>> = keys.unwrap().into_iter().collect();
    let database = here.database();
    let split = |rows: Vec<(Vec<u8>, Vec<f64>)>| {
        let (decoys, real): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(id, _)| keys.contains(id));
        let columns = |rows: Vec<(Vec<u8>, Vec<f64>)>| -> Vec<Vec<f64>> {
            rows.into_iter().map(|(_, columns)| columns).collect()
        };
        (columns(real), columns(decoys))
    };
    let (real, decoys) = split(features(&database, MAILBOXES));
    assert_eq!((real.len(), decoys.len()), (300, 300));
    // Thirteen columns of noise over 300 and 300: the best is below 0.58 but once in thousands.
    let ours = told_apart(&real, &decoys);
    println!("told apart: {ours:.3}");
    assert!(ours < 0.6, "{ours}");
    // A relay that forgets to keep them alive.
    database
        .execute(
            "UPDATE mailbox SET expires_day = ?1 WHERE expires_day > 0 AND id IN (SELECT id FROM mailbox)",
            [TODAY + 30 + 90],
        )
        .unwrap();
    let (_, planted) = split(features(&database, MAILBOXES));
    let planted = told_apart(&real, &planted);
    assert!(planted > 0.8, "{planted}");
}
