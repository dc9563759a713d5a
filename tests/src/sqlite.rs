//! A database file from outside: rows counted, the newest writes taken away.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// WAL header (SQLite file format §4.1): its size, and where the page size stands in it.
const WAL_HEADER: u64 = 32;
const WAL_PAGE_SIZE_AT: u64 = 8;
/// Header of one frame: page number 4 ‖ database size after commit 4, zero without a commit ‖ …
const FRAME_HEADER: u64 = 24;

/// Rows of every table, by a reader that changes nothing.
///
/// # Panics
/// When the database can't be read.
#[must_use]
pub fn rows(database: &Path) -> BTreeMap<String, i64> {
    let reader = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the relay's database");
    reader.busy_timeout(Duration::from_secs(5)).unwrap();
    let mut names = reader
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let count = |name: &String| {
        reader
            .query_row(&format!("SELECT count(*) FROM \"{name}\""), [], |row| {
                row.get(0)
            })
            .unwrap()
    };
    names
        .iter()
        .map(|name| (name.clone(), count(name)))
        .collect()
}

/// Drops the last committed transaction of a database whose process was killed, by cutting its
/// WAL behind the one before.
///
/// # Panics
/// When the WAL holds fewer than two transactions.
pub fn drop_last_transaction(database: &Path) {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    let mut wal = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name)
        .expect("a killed process leaves its WAL");
    let commits = commit_ends(&mut wal);
    let before_last = commits.iter().rev().nth(1).expect("two transactions");
    wal.set_len(*before_last).unwrap();
    wal.sync_all().unwrap();
}

/// Where each committed transaction of a WAL ends.
fn commit_ends(wal: &mut File) -> Vec<u64> {
    let number = |wal: &mut File, at: u64| {
        let mut bytes = [0; 4];
        wal.seek(SeekFrom::Start(at)).unwrap();
        wal.read_exact(&mut bytes).unwrap();
        u32::from_be_bytes(bytes)
    };
    let length = wal.metadata().unwrap().len();
    let page = u64::from(number(wal, WAL_PAGE_SIZE_AT));
    let salt = number(wal, 16);
    let mut ends = Vec::new();
    let mut at = WAL_HEADER;
    while at + FRAME_HEADER + page <= length && number(wal, at + 8) == salt {
        let is_commit = number(wal, at + 4) != 0;
        at += FRAME_HEADER + page;
        if is_commit {
            ends.push(at);
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::{drop_last_transaction, rows};
    use rusqlite::Connection;

    #[test]
    fn exactly_the_last_transaction_goes() {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("live");
        let database = Connection::open(&live).unwrap();
        database.pragma_update(None, "journal_mode", "WAL").unwrap();
        database.execute_batch("CREATE TABLE t (x)").unwrap();
        for x in 0..3 {
            database.execute("INSERT INTO t VALUES (?1)", [x]).unwrap();
        }
        // A copy is what a killed process would leave.
        let dead = folder.path().join("dead");
        std::fs::copy(&live, &dead).unwrap();
        std::fs::copy(
            folder.path().join("live-wal"),
            folder.path().join("dead-wal"),
        )
        .unwrap();
        drop_last_transaction(&dead);
        let left = Connection::open(&dead).unwrap();
        let last: i64 = left
            .query_row("SELECT max(x) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(last, 1);
        assert_eq!(rows(&live)["t"], 3);
    }
}
