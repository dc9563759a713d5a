//! Reads a database file as bytes: where each row lies, without SQLite and without its keys.
//!
//! Source: "Database File Format", <https://sqlite.org/fileformat2.html> §1.5 to §2.1.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

const INTERIOR: u8 = 2;
const LEAF: u8 = 10;

/// One row, by what shows.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Its first column.
    pub(super) key: Vec<u8>,
    /// All numbers that show: key, page, place in the page by key, place by age, first and last
    /// page of what is too long for it, two sizes, last day. Pages as a share of all.
    pub(super) shows: [f64; 9],
}

/// A database file.
pub(super) struct Pages {
    bytes: Vec<u8>,
    size: usize,
}

impl Pages {
    /// Of a file whose log is folded in.
    pub(super) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("a stolen database");
        let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        assert_eq!(bytes[20], 0, "bytes are reserved in each page");
        Self { bytes, size }
    }

    fn page(&self, number: usize) -> &[u8] {
        &self.bytes[(number - 1) * self.size..number * self.size]
    }

    /// All rows of the table (without rowid) whose root is page `root`, in the order of keys.
    pub(super) fn rows(&self, root: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        self.walk(root, &mut rows);
        rows
    }

    fn walk(&self, number: usize, rows: &mut Vec<Row>) {
        let page = self.page(number);
        let header = match page[0] {
            INTERIOR => 12,
            LEAF => 8,
            other => panic!("page {number} of kind {other}"),
        };
        let count = usize::from(u16::from_be_bytes([page[3], page[4]]));
        let offsets: Vec<usize> = page[header..]
            .chunks(2)
            .take(count)
            .map(|at| usize::from(u16::from_be_bytes([at[0], at[1]])))
            .collect();
        for (place, offset) in offsets.iter().enumerate() {
            let mut cell = &page[*offset..];
            if page[0] == INTERIOR {
                self.walk(number_at(cell), rows);
                cell = &cell[4..];
            }
            // Newer cells lie before older ones.
            let younger = offsets.iter().filter(|other| *other < offset).count();
            rows.push(self.row(
                cell,
                [
                    number as f64 / (self.bytes.len() / self.size) as f64,
                    place as f64 / count as f64,
                    younger as f64 / count as f64,
                ],
            ));
        }
        if page[0] == INTERIOR {
            self.walk(number_at(&page[8..]), rows);
        }
    }

    fn row(&self, cell: &[u8], places: [f64; 3]) -> Row {
        let (payload, length) = varint(cell);
        let body = &cell[length..];
        let usable = self.size;
        let most = (usable - 12) * 64 / 255 - 23;
        let least = (usable - 12) * 32 / 255 - 23;
        let local = if payload <= most {
            payload
        } else {
            let some = least + (payload - least) % (usable - 4);
            if some <= most { some } else { least }
        };
        let mut long = Vec::new();
        if local < payload {
            let mut next = number_at(&body[local..]);
            while next != 0 {
                long.push(next);
                next = number_at(self.page(next));
            }
        }
        let columns = columns(&body[..local]);
        let key = columns[0].bytes.to_vec();
        let pages = (self.bytes.len() / self.size) as f64;
        let at = |page: Option<&usize>| page.map_or(0.0, |page| *page as f64 / pages);
        // Sizes of the longest columns; the only numbers are days.
        let mut sizes: Vec<f64> = columns[1..].iter().map(|it| it.length as f64).collect();
        sizes.reverse();
        sizes.resize(2, 0.0);
        let day = columns.iter().find_map(|it| it.number).unwrap_or(0);
        let head = key
            .iter()
            .take(7)
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        Row {
            key,
            shows: [
                head as f64 / 2_f64.powi(56),
                places[0],
                places[1],
                places[2],
                at(long.first()),
                at(long.last()),
                sizes[0],
                sizes[1],
                day as f64,
            ],
        }
    }
}

struct Column<'a> {
    /// As much of it as lies in the cell.
    bytes: &'a [u8],
    length: usize,
    number: Option<i64>,
}

fn columns(record: &[u8]) -> Vec<Column<'_>> {
    let (header, mut at) = varint(record);
    let mut body = header;
    let mut columns = Vec::new();
    while at < header {
        let (kind, length) = varint(&record[at..]);
        at += length;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            _ => (kind - 12) / 2,
        };
        let bytes = record.get(body..).unwrap_or_default();
        let bytes = &bytes[..length.min(bytes.len())];
        let number = (1..=6).contains(&kind).then(|| {
            bytes
                .iter()
                .fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte))
        });
        columns.push(Column {
            bytes,
            length,
            number,
        });
        body += length;
    }
    columns
}

fn number_at(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize
}

/// A number of one to nine bytes, and how many they are. None that stands here has nine.
fn varint(bytes: &[u8]) -> (usize, usize) {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate() {
        number = number << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return (number, index + 1);
        }
    }
    panic!("a number without an end");
}

/// The page on which a table begins.
pub(super) fn root(database: &Path, table: &str) -> usize {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(database, flags).unwrap();
    let root: i64 = connection
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            [table],
            |row| row.get(0),
        )
        .unwrap();
    usize::try_from(root).unwrap()
}

#[cfg(test)]
mod tests {
    use super::{Pages, root};
    use rusqlite::{Connection, params};

    #[test]
    fn every_row_is_found_with_its_sizes_and_day() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch(
                "PRAGMA page_size=8192;
                 CREATE TABLE t (id BLOB PRIMARY KEY, day INTEGER, one BLOB, two BLOB) STRICT, WITHOUT ROWID;",
            )
            .unwrap();
        let mut all: Vec<(Vec<u8>, usize)> = Vec::new();
        for index in 0..300_usize {
            let id = ((index * 7_919 % 65_536) as u16).to_be_bytes();
            let id = [&id[..], &[7; 14]].concat();
            let long = if index % 10 == 0 { 9_000 } else { 100 };
            let row = params![id, 20_000 + index as i64, vec![1_u8; 30], vec![2_u8; long]];
            database
                .execute("INSERT INTO t VALUES (?1, ?2, ?3, ?4)", row)
                .unwrap();
            all.push((id, index));
        }
        drop(database);
        all.sort();
        let rows = Pages::read(&path).rows(root(&path, "t"));
        assert_eq!(rows.len(), all.len());
        for (row, (id, index)) in rows.iter().zip(&all) {
            assert_eq!(&row.key, id);
            let long = if index % 10 == 0 { 9_000.0 } else { 100.0 };
            assert_eq!(row.shows[6..], [long, 30.0, 20_000.0 + *index as f64]);
            assert_eq!(row.shows[4] > 0.0, index % 10 == 0);
        }
    }

    #[test]
    fn in_a_page_that_only_grew_the_order_of_insertion_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch(
                "CREATE TABLE t (id BLOB PRIMARY KEY, day INTEGER, one BLOB, two BLOB) STRICT, WITHOUT ROWID;",
            )
            .unwrap();
        let came = [50_u8, 10, 40, 20, 30];
        for id in came {
            let row = params![vec![id; 16], 20_000, vec![1_u8; 30], vec![2_u8; 100]];
            database
                .execute("INSERT INTO t VALUES (?1, ?2, ?3, ?4)", row)
                .unwrap();
        }
        drop(database);
        for row in Pages::read(&path).rows(root(&path, "t")) {
            let place = came.iter().position(|id| *id == row.key[0]).unwrap();
            assert_eq!(row.shows[3], (4 - place) as f64 / 5.0);
        }
    }
}
