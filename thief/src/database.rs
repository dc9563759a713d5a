//! Opens a copy of each SQLite database and reads every row of every table, as a thief would.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::rc::Rc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use crate::Detector;
use crate::forms::INTEGER;
use crate::keys::{KeyRing, Sealed};
use crate::links;
use crate::loot::LootFile;
use crate::randomness::{Noise, Scope};
use crate::report::{ColumnReport, ENVELOPE_BYTES, FindingKind, Report, TableReport};
use crate::search::{Place, Search};
use crate::shape::{TimeShape, time_in_blob, time_in_integer, time_in_real, time_in_text};

/// A column of envelopes holds values at least this long.
const BODY_BYTES_MIN: i64 = 64;
/// How many envelopes of a table keys are tried on: the first and the last half of this.
const ENVELOPES_SAMPLED: usize = 16;
/// Values up to this length may be a part of an envelope's associated data.
const ASSOCIATED_BYTES_MAX: usize = 64;
/// How many such values of one row are combined.
const ASSOCIATED_VALUES_MAX: usize = 3;
/// How many distinct values of an id column are tested.
const IDS_MAX: usize = 200_000;
/// The bookkeeping of sqlx: when the tables were made, nothing about a person.
const MIGRATIONS: &str = "_sqlx_migrations";

const BODIES: Scope = Scope {
    positions: true,
    blocks: true,
    skip: 0,
};
const SEALED: Scope = Scope {
    positions: false,
    blocks: true,
    skip: 1,
};
const IDS: Scope = Scope {
    positions: true,
    blocks: false,
    skip: 0,
};

/// Why a database could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("it could not be copied: {0}")]
    Copy(#[from] std::io::Error),
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Reads one database into the report; what can't be read becomes a note.
pub(crate) fn read(
    file: &LootFile,
    now: i64,
    search: &mut Search<'_>,
    keys: &mut KeyRing,
    report: &mut Report,
) {
    let result = copy_and_open(file).and_then(|(connection, _scratch)| {
        let mut reader = Reader {
            file,
            now,
            search: &mut *search,
            keys,
            report,
        };
        reader.tables(&connection)
    });
    if let Err(error) = result {
        let what = format!(
            "begins like a database but can't be read as one ({error}); its bytes were searched all the same"
        );
        search.note(&file.name, what, true);
    }
}

fn copy_and_open(file: &LootFile) -> Result<(Connection, tempfile::TempDir), DatabaseError> {
    let scratch = tempfile::tempdir()?;
    let copy = scratch.path().join("copy.db");
    std::fs::copy(&file.path, &copy)?;
    let mut wal = file.path.clone().into_os_string();
    wal.push("-wal");
    if Path::new(&wal).is_file() {
        std::fs::copy(&wal, scratch.path().join("copy.db-wal"))?;
    }
    // Writable, because reading a write-ahead log takes an index beside it; it is a copy.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&copy, flags)?;
    connection.execute_batch(
        "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA query_only=ON;",
    )?;
    Ok((connection, scratch))
}

struct Reader<'r, 's, 'o> {
    file: &'r LootFile,
    now: i64,
    search: &'s mut Search<'o>,
    keys: &'r mut KeyRing,
    report: &'r mut Report,
}

impl Reader<'_, '_, '_> {
    fn tables(&mut self, connection: &Connection) -> Result<(), DatabaseError> {
        let mut schema =
            connection.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY rowid")?;
        let entries: Vec<(String, String, Option<String>)> = schema
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let mut tables = Vec::new();
        for (kind, name, sql) in entries {
            let place = Place::value(format!("{}#schema", self.file.name).into(), true);
            self.search
                .look(sql.as_deref().unwrap_or(&name).as_bytes(), place);
            let ours =
                kind == "table" && name != "sqlite_sequence" && !name.starts_with("sqlite_stat");
            if ours && name != MIGRATIONS {
                tables.push(name.clone());
            }
            if ours && let Err(error) = self.table(connection, &name) {
                let what = format!("its table {name} can't be read to its end ({error})");
                self.search.note(&self.file.name.clone(), what, true);
            }
        }
        if self.search.options.uses(Detector::Links) {
            self.links(connection, &tables);
        }
        Ok(())
    }

    fn links(&mut self, connection: &Connection, tables: &[String]) {
        match links::seek(connection, tables) {
            Ok(links) => {
                self.report.links_tried = self.report.links_tried.saturating_add(links.ids);
                for ((column, other), count) in links.found {
                    let label = format!("{}#{column}", self.file.name);
                    let detail = format!("{count} times an id of {other}");
                    let place = Place::value(label.into(), false);
                    self.search.found(FindingKind::Link, &place, 0, &detail);
                }
                if links.cut {
                    let what = "too large to seek every id in every other table";
                    self.search.note(&self.file.name, what, false);
                }
            }
            // The table that can't be read has its own note.
            Err(error) => {
                let what = format!("not all tables could be compared ({error})");
                self.search.note(&self.file.name, what, true);
            }
        }
    }

    fn table(&mut self, connection: &Connection, name: &str) -> Result<(), DatabaseError> {
        let mut info = connection.prepare("SELECT name, type FROM pragma_table_info(?1)")?;
        let columns: Vec<ColumnReport> = info
            .query_map([name], |row| {
                Ok(ColumnReport {
                    name: row.get(0)?,
                    kind: row.get(1)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        let mut table = Table::new(&self.file.name, name, &columns);
        table.body = body_column(connection, name, &columns)?;
        let mut statement = connection.prepare(&format!("SELECT * FROM {}", quoted(name)))?;
        let mut rows = statement.query([])?;
        let mut failed = None;
        loop {
            match rows.next() {
                Ok(Some(row)) => self.row(row, &mut table)?,
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        self.report.tables.push(TableReport {
            database: self.file.name.clone(),
            name: name.to_owned(),
            rows: table.rows,
            columns,
        });
        self.judge(table);
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn row(&mut self, row: &Row<'_>, table: &mut Table) -> Result<(), DatabaseError> {
        table.rows = table.rows.saturating_add(1);
        let mut body: Option<Vec<u8>> = None;
        let mut beside: Vec<Vec<u8>> = Vec::new();
        for (index, column) in table.columns.iter_mut().enumerate() {
            let value = row.get_ref(index)?;
            let is_body = table.body == Some(index);
            match value {
                ValueRef::Blob(bytes) => {
                    column.blob(bytes, self.now);
                    if table.sealed && !is_body {
                        column.sealed(bytes);
                    }
                    if is_body {
                        body = Some(bytes.to_vec());
                    } else if bytes.len() <= ASSOCIATED_BYTES_MAX
                        && beside.len() < ASSOCIATED_VALUES_MAX
                    {
                        beside.push(bytes.to_vec());
                        // A mailbox id may lead a longer key.
                        if bytes.len() > 16 && beside.len() < ASSOCIATED_VALUES_MAX {
                            beside.extend(bytes.first_chunk::<16>().map(|id| id.to_vec()));
                        }
                    }
                    self.keys.add(bytes, &column.label);
                    self.value(bytes, &column.label, false);
                }
                ValueRef::Text(bytes) => {
                    column.times(time_in_text(bytes));
                    self.keys.add(bytes, &column.label);
                    self.value(bytes, &column.label, true);
                }
                ValueRef::Integer(number) => {
                    column.times(time_in_integer(number, self.now));
                    if let Some(canary) = self.search.integers.get(&number).copied() {
                        self.search.found_value(canary, INTEGER, &column.label);
                    }
                }
                ValueRef::Real(number) => column.times(time_in_real(number, self.now)),
                ValueRef::Null => {}
            }
        }
        if let Some(body) = body {
            self.body(body, &beside, table);
        }
        Ok(())
    }

    fn value(&mut self, bytes: &[u8], label: &Rc<str>, text: bool) {
        if self.search.options.uses(Detector::Columns) && bytes.len() >= 3 {
            let place = Place::value(Rc::clone(label), text);
            self.search.look(bytes, place.clone());
            if !text {
                self.search.open_bare(bytes, &place);
            }
        }
    }

    /// Takes the body of an envelope or of a commit.
    fn body(&mut self, body: Vec<u8>, beside: &[Vec<u8>], table: &mut Table) {
        table.bodies.push(&body);
        if !table.envelopes {
            return;
        }
        let count = table.sizes.entry(body.len() as u64).or_insert(0);
        *count = count.saturating_add(1);
        if self.report.first_envelope_bytes_hex.is_empty() {
            self.report.first_envelope_bytes_hex = hex::encode(body.get(..16).unwrap_or(&body));
        }
        let mut associated: Vec<Vec<u8>> = vec![Vec::new()];
        associated.extend_from_slice(beside);
        for (first, one) in beside.iter().enumerate() {
            for (second, other) in beside.iter().enumerate() {
                if first != second {
                    associated.push([one.as_slice(), other.as_slice()].concat());
                }
            }
        }
        let sealed = Sealed {
            body,
            associated,
            from: Rc::clone(&table.label),
        };
        if table.first.len() < ENVELOPES_SAMPLED / 2 {
            table.first.push(sealed);
        } else {
            if table.last.len() >= ENVELOPES_SAMPLED / 2 {
                table.last.pop_front();
            }
            table.last.push_back(sealed);
        }
    }

    /// Draws conclusions from a table that was read.
    fn judge(&mut self, mut table: Table) {
        for (size, count) in &table.sizes {
            let all = self.report.envelope_sizes.entry(*size).or_insert(0);
            *all = all.saturating_add(*count);
            if *size != ENVELOPE_BYTES && self.search.options.uses(Detector::EnvelopeSizes) {
                let place = Place::value(Rc::clone(&table.label), false);
                let detail = format!("{count} of {size} bytes instead of {ENVELOPE_BYTES}");
                self.search
                    .found(FindingKind::EnvelopeSize, &place, 0, &detail);
            }
        }
        self.keys
            .add_envelopes(table.first.into_iter().chain(table.last));
        if self.search.options.uses(Detector::Randomness) {
            let columns = table
                .columns
                .iter()
                .map(|c| (c.label.to_string(), c.ids.as_ref()));
            let mut tested: Vec<Noise> = Vec::new();
            for (label, ids) in columns {
                let Some(ids) = ids else { continue };
                let mut noise = Noise::new(label, IDS);
                ids.iter().for_each(|id| noise.push(id));
                tested.push(noise);
            }
            tested.push(table.bodies);
            let columns = table.columns.iter_mut();
            tested.extend(columns.filter_map(|column| column.noise.take()));
            for noise in tested.into_iter().filter(|noise| !noise.is_empty()) {
                judge_noise(noise, self.search, self.report);
            }
        }
        if self.search.options.uses(Detector::FineTimes) && table.name != MIGRATIONS {
            for column in &table.columns {
                if let Some(what) = column.fine_time() {
                    let place = Place::value(Rc::clone(&column.label), false);
                    self.search.found(FindingKind::FineTime, &place, 0, what);
                }
            }
        }
    }
}

/// Puts the verdict on some noise into the report.
pub(crate) fn judge_noise(noise: Noise, search: &mut Search<'_>, report: &mut Report) {
    let verdict = noise.judge();
    for test in verdict.tests.iter().filter(|test| !test.pass) {
        let place = Place::value(verdict.subject.as_str().into(), false);
        search.found(FindingKind::NotRandom, &place, 0, &test.name);
    }
    report.randomness.push(verdict);
}

/// A table while it is read.
struct Table {
    name: String,
    label: Rc<str>,
    rows: u64,
    columns: Vec<Column>,
    body: Option<usize>,
    envelopes: bool,
    /// Whether long values are ciphertext: a relay's own tables about people. What the operator
    /// says of the service is public and signed, so it is no noise.
    sealed: bool,
    bodies: Noise,
    sizes: BTreeMap<u64, u64>,
    first: Vec<Sealed>,
    last: VecDeque<Sealed>,
}

impl Table {
    fn new(file: &str, name: &str, columns: &[ColumnReport]) -> Self {
        let lower = name.to_ascii_lowercase();
        let envelopes = lower.contains("envelope");
        let about = ["account", "vault", "mailbox", "ticket", "key_check"];
        let label = format!("{file}#{name}");
        let columns = columns
            .iter()
            .map(|column| Column::new(&format!("{label}.{}", column.name)));
        Self {
            name: name.to_owned(),
            bodies: Noise::new(
                format!("{label} bodies"),
                if envelopes { BODIES } else { SEALED },
            ),
            columns: columns.collect(),
            label: label.into(),
            rows: 0,
            body: None,
            envelopes,
            sealed: about.iter().any(|word| lower.contains(word)),
            sizes: BTreeMap::new(),
            first: Vec::new(),
            last: VecDeque::new(),
        }
    }
}

/// A column while it is read.
struct Column {
    label: Rc<str>,
    /// Its distinct values, as long as all are 16 or all are 32 bytes long.
    ids: Option<HashSet<Vec<u8>>>,
    id_bytes: Option<usize>,
    blobs: u64,
    time_blobs: u64,
    time: Option<TimeShape>,
    /// Values that are too long for ids.
    noise: Option<Noise>,
}

impl Column {
    fn new(label: &str) -> Self {
        Self {
            label: label.into(),
            ids: None,
            id_bytes: None,
            blobs: 0,
            time_blobs: 0,
            time: None,
            noise: None,
        }
    }

    fn blob(&mut self, bytes: &[u8], now: i64) {
        self.blobs = self.blobs.saturating_add(1);
        if time_in_blob(bytes, now) {
            self.time_blobs = self.time_blobs.saturating_add(1);
        }
        let fits = matches!(bytes.len(), 16 | 32);
        if *self.id_bytes.get_or_insert(bytes.len()) != bytes.len() || !fits {
            // Mixed lengths: not an id.
            self.id_bytes = Some(usize::MAX);
            self.ids = None;
        } else {
            let ids = self.ids.get_or_insert_default();
            if ids.len() < IDS_MAX {
                ids.insert(bytes.to_vec());
            }
        }
    }

    /// A value that should be ciphertext, if it is longer than an id.
    fn sealed(&mut self, bytes: &[u8]) {
        if bytes.len() > 32 {
            self.noise
                .get_or_insert_with(|| Noise::new(self.label.to_string(), SEALED))
                .push(bytes);
        }
    }

    fn times(&mut self, shape: Option<TimeShape>) {
        self.time = self.time.or(shape);
    }

    /// Random 8- and 16-byte values look like a time once in a few thousand, so blobs count only
    /// when all of four and more do.
    fn fine_time(&self) -> Option<&'static str> {
        if self.blobs >= 4 && self.blobs == self.time_blobs {
            return Some("every value begins with a time in milliseconds or is one");
        }
        self.time.map(TimeShape::sentence)
    }
}

/// The column that holds bodies: in a table named after envelopes or commits, the one called so,
/// or the one with the longest values.
fn body_column(
    connection: &Connection,
    table: &str,
    columns: &[ColumnReport],
) -> Result<Option<usize>, DatabaseError> {
    let lower = table.to_ascii_lowercase();
    if !["envelope", "commit", "slot"]
        .iter()
        .any(|word| lower.contains(word))
    {
        return Ok(None);
    }
    let mut best: Option<(bool, i64, usize)> = None;
    for (index, column) in columns.iter().enumerate() {
        let name = quoted(&column.name);
        let sql = format!(
            "SELECT max(length({name})) FROM {} WHERE typeof({name}) = 'blob'",
            quoted(table)
        );
        let longest: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
        let called =
            ["body", "envelope", "sealed"].contains(&column.name.to_ascii_lowercase().as_str());
        let this = (called, longest.unwrap_or(0), index);
        if this.1 >= BODY_BYTES_MIN && best.is_none_or(|best| (best.0, best.1) < (this.0, this.1)) {
            best = Some(this);
        }
    }
    Ok(best.map(|(_, _, index)| index))
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
