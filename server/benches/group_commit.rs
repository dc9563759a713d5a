//! Envelopes per second of the group-commit path beside bare batched inserts into a table of SQLite.
//!
//! Both run in turns on the same disk, so that the ratio means something where the absolute
//! figures drift. The bare side is rusqlite: one prepared single-row insert, run `BATCH`
//! times in a transaction, `synchronous=FULL`. The path is everything between a connection
//! and the disk: a queue, a group, a sealed slot and an answer for each envelope, one sync.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kinline_server::measure::GroupCommit;
use rand::Rng;

const ROWS: usize = 30_000;
const ROUNDS: usize = 5;
/// The target of the issue, in percent.
const TARGET: f64 = 80.0;

fn id() -> [u8; 16] {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    id
}

/// Twice `batch` senders, each with one row on its way: while one group is written, the next
/// gathers, as with a relay's connections. No group is larger than `batch`.
fn grouped(runtime: &tokio::runtime::Runtime, folder: &Path, batch: usize, body: &Bytes) -> f64 {
    runtime.block_on(async {
        let storage = Arc::new(GroupCommit::open(folder, batch).await.unwrap());
        let start = Instant::now();
        let senders: Vec<_> = (0..2 * batch)
            .map(|_| {
                let (storage, body) = (Arc::clone(&storage), body.clone());
                tokio::spawn(async move {
                    for _ in 0..ROWS / (2 * batch) {
                        assert!(storage.store(id(), &body).await);
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        let rate = rows(batch) / start.elapsed().as_secs_f64();
        Arc::into_inner(storage).unwrap().close().await;
        rate
    })
}

fn bare(runtime: &tokio::runtime::Runtime, folder: &Path, batch: usize, body: &Bytes) -> f64 {
    // The relay makes the database.
    runtime.block_on(async {
        GroupCommit::open(folder, batch)
            .await
            .unwrap()
            .close()
            .await
    });
    let mut database = rusqlite::Connection::open(folder.join("relay.sqlite")).unwrap();
    for (name, value) in [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        ("secure_delete", "ON"),
    ] {
        database.pragma_update(None, name, value).unwrap();
    }
    database
        .execute_batch(
            "CREATE TABLE envelope (key BLOB NOT NULL PRIMARY KEY, message BLOB NOT NULL, \
             expires_day INTEGER NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID",
        )
        .unwrap();
    let start = Instant::now();
    for _ in 0..ROWS / batch {
        let transaction = database.transaction().unwrap();
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO envelope (key, message, expires_day, body) VALUES (?1, ?2, ?3, ?4)")
                .unwrap();
            for _ in 0..batch {
                let id = id();
                let key: Vec<u8> = id.iter().copied().chain(1_u64.to_be_bytes()).collect();
                insert
                    .execute(rusqlite::params![key, id, 20_000, &body[..]])
                    .unwrap();
            }
        }
        transaction.commit().unwrap();
    }
    rows(batch) / start.elapsed().as_secs_f64()
}

fn rows(batch: usize) -> f64 {
    f64::from(u32::try_from(ROWS / batch * batch).unwrap())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut noise = vec![0; 1_024];
    rand::rng().fill_bytes(&mut noise);
    let body = Bytes::from(noise);
    println!(
        "rows of 1,024 B under random keys, synchronous=FULL; medians of {ROUNDS} rounds in turns"
    );
    println!(
        "{:>8} {:>16} {:>16} {:>8}",
        "batch", "grouped rows/s", "bare rows/s", "ratio"
    );
    for batch in [10, 100, 1_000] {
        let (mut with_groups, mut without) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let folder = tempfile::tempdir().unwrap();
            without.push(bare(&runtime, &folder.path().join("bare"), batch, &body));
            with_groups.push(grouped(
                &runtime,
                &folder.path().join("grouped"),
                batch,
                &body,
            ));
        }
        let (with_groups, without) = (median(with_groups), median(without));
        let ratio = with_groups / without * 100.0;
        let verdict = if ratio >= TARGET {
            ""
        } else {
            "  below the target"
        };
        println!("{batch:>8} {with_groups:>16.0} {without:>16.0} {ratio:>7.0}%{verdict}");
    }
}
