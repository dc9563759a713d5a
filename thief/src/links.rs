//! Values that two tables share: whoever has both tables can put their rows together.
//!
//! A mailbox's waiting envelopes may be stored under its id, so tables of envelopes are left out.
//! Everything else has ids of its own (ARCHITECTURE: "no value that two tables share").

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::database::quoted;

/// Bytes that are compared.
const WINDOW: usize = 16;
/// Values of this length may be ids.
const ID_BYTES: std::ops::RangeInclusive<usize> = WINDOW..=64;
/// Fewer different bytes than this are zeros or text, no id.
const DISTINCT_MIN: usize = 6;
/// Ids that are remembered at most: 16 MB.
const IDS_MAX: usize = 400_000;
/// Bytes of each database that they are sought in at most.
const BYTES_MAX: usize = 256 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Column (`table.column`) and the other table, with how often.
    pub(crate) found: BTreeMap<(String, String), u64>,
    /// How many ids were sought in other tables.
    pub(crate) ids: u64,
    /// Whether not everything was looked at.
    pub(crate) cut: bool,
}

/// Seeks each table's ids in every other one.
pub(crate) fn seek(connection: &Connection, tables: &[String]) -> Result<Links, rusqlite::Error> {
    let tables: Vec<&String> = tables
        .iter()
        .filter(|table| !table.to_ascii_lowercase().contains("envelope"))
        .collect();
    let mut links = Links::default();
    // Of each id the first two tables that have it.
    let mut ids: HashMap<[u8; WINDOW], (usize, Option<usize>)> = HashMap::new();
    for (index, table) in tables.iter().enumerate() {
        values(connection, table, |_, value| {
            if !ID_BYTES.contains(&value.len()) {
                return true;
            }
            for id in value.chunks_exact(WINDOW) {
                let Some(id) = id.first_chunk::<WINDOW>() else {
                    continue;
                };
                if ids.len() >= IDS_MAX {
                    links.cut = true;
                } else if is_noisy(id) {
                    let known = ids.entry(*id).or_insert((index, None));
                    if known.0 != index {
                        known.1.get_or_insert(index);
                    }
                }
            }
            !links.cut
        })?;
    }
    links.ids = ids.len() as u64;
    let mut read = 0_usize;
    for (index, table) in tables.iter().enumerate() {
        values(connection, table, |column, value| {
            for window in value.windows(WINDOW) {
                let of = window.first_chunk::<WINDOW>().and_then(|id| ids.get(id));
                let other = of.and_then(
                    |(one, other)| {
                        if *one == index { *other } else { Some(*one) }
                    },
                );
                if let Some(other) = other {
                    let name = tables.get(other).map(|name| (*name).clone());
                    let key = (format!("{table}.{column}"), name.unwrap_or_default());
                    let count = links.found.entry(key).or_insert(0);
                    *count = count.saturating_add(1);
                }
            }
            read = read.saturating_add(value.len());
            links.cut |= read > BYTES_MAX;
            read <= BYTES_MAX
        })?;
    }
    Ok(links)
}

fn is_noisy(id: &[u8; WINDOW]) -> bool {
    let mut sorted = *id;
    sorted.sort_unstable();
    sorted.chunk_by(|one, other| one == other).count() >= DISTINCT_MIN
}

/// Every binary value of a table, and what hex in a text stands for; until `each` says no.
fn values(
    connection: &Connection,
    table: &str,
    mut each: impl FnMut(&str, &[u8]) -> bool,
) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare(&format!("SELECT * FROM {}", quoted(table)))?;
    let columns: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for (index, column) in columns.iter().enumerate() {
            let goes_on = match row.get_ref(index)? {
                ValueRef::Blob(bytes) => each(column, bytes),
                ValueRef::Text(text) => match hex::decode(text) {
                    Ok(bytes) if bytes.len() >= WINDOW => each(column, &bytes),
                    _ => true,
                },
                _ => true,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::seek;
    use rusqlite::{Connection, params};

    fn found(second: &[u8]) -> Vec<(String, String)> {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE one (id BLOB); CREATE TABLE two (id BLOB, note)")
            .unwrap();
        let id: Vec<u8> = (7..39).collect();
        db.execute("INSERT INTO one VALUES (?1)", params![id])
            .unwrap();
        db.execute("INSERT INTO two VALUES (x'00', ?1)", params![second])
            .unwrap();
        let links = seek(&db, &["one".into(), "two".into()]).unwrap();
        links.found.into_keys().collect()
    }

    #[test]
    fn an_id_inside_another_tables_value_is_found_and_zeros_are_not() {
        let link = [("two.note".to_owned(), "one".to_owned())];
        let id: Vec<u8> = (7..39).collect();
        assert_eq!(found(&[b"before ", &id[..16], b" after"].concat()), link);
        assert_eq!(found(&[&[0; 100], &id[16..]].concat()), link);
        assert!(found(&[0; 64]).is_empty());
        assert!(found(&id[..15]).is_empty());
    }
}
