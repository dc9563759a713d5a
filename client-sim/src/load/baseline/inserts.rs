//! Batched inserts into a table under the relay's settings (the one that envelopes were in before
//! the spool), the quickest way we found: rusqlite, one prepared insert, a thousand rows of one
//! transaction sorted by key.

use std::path::Path;
use std::time::Instant;

use kinline_protocol::limits::ENVELOPE_BYTES;
use rand::Rng as _;
use rusqlite::{Connection, params};

use crate::load::child::RelaySetup;
use crate::load::jobs::Bench;
use crate::load::people::noise;
use crate::load::trouble::Trouble;

/// Rows of one transaction.
const BATCH: usize = 1_000;
/// Mailboxes that the rows are for.
const MAILBOXES: usize = 200;

const TABLE: &str = "CREATE TABLE envelope (
    key         BLOB NOT NULL PRIMARY KEY CHECK (length(key) = 24),
    message     BLOB NOT NULL CHECK (length(message) = 16),
    expires_day INTEGER NOT NULL,
    body        BLOB NOT NULL CHECK (length(body) = 1024)
) STRICT, WITHOUT ROWID";

fn open(data: &Path) -> Result<Connection, Trouble> {
    let database = Connection::open(data.join("relay.sqlite"))?;
    for (name, value) in [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        ("secure_delete", "ON"),
        ("wal_autocheckpoint", "1000"),
    ] {
        database.pragma_update(None, name, value)?;
    }
    database.execute_batch(TABLE)?;
    Ok(database)
}

fn fill(database: &mut Connection, rows: u32) -> Result<f64, Trouble> {
    let mailboxes: Vec<[u8; 16]> = (0..MAILBOXES)
        .map(|_| {
            let mut id = [0; 16];
            rand::rng().fill_bytes(&mut id);
            id
        })
        .collect();
    let body = noise(ENVELOPE_BYTES);
    let mut envelopes = (1_u64..).flat_map(|order| mailboxes.iter().map(move |id| (*id, order)));
    let mut left = usize::try_from(rows).unwrap_or_default();
    let began = Instant::now();
    while left > 0 {
        let count = left.min(BATCH);
        left -= count;
        let mut keys: Vec<Vec<u8>> = envelopes
            .by_ref()
            .take(count)
            .map(|(id, order)| id.into_iter().chain(order.to_be_bytes()).collect())
            .collect();
        keys.sort_unstable();
        let transaction = database.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO envelope (key, message, expires_day, body) VALUES (?1, ?2, ?3, ?4)",
            )?;
            let mut message = [0_u8; 16];
            for key in &keys {
                rand::rng().fill_bytes(&mut message);
                insert.execute(params![key, message, 20_000, &body])?;
            }
        }
        transaction.commit()?;
    }
    Ok(f64::from(rows) / began.elapsed().as_secs_f64().max(1e-9))
}

/// Rows a second, on the relay's core.
pub(in crate::load) async fn run(bench: &Bench, rows: u32) -> Result<f64, Trouble> {
    bench.progress.begin("bare batched inserts");
    // The relay makes the database and leaves.
    let home = bench
        .launcher
        .relay(&RelaySetup::default())
        .await?
        .stop()
        .await?;
    let mut database = open(&home.path().join("data"))?;
    bench
        .launcher
        .cores
        .on_the_other(|| fill(&mut database, rows))
}
