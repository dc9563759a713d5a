//! Notes that the shell keeps of events, among the history records: encrypted like them, and
//! durable together with what they tell of.

use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::io::{RecordClass, RecordKey};

use crate::store::Records;

/// Before the names of notes; no record of the engine's begins so.
const PREFIX: &[u8] = b"shell/note/";

/// The name of the `number`th note that a running device takes, at this time.
pub(super) fn key(now: Timestamp, number: u64) -> RecordKey {
    let mut name = PREFIX.to_vec();
    name.extend_from_slice(&now.0.to_be_bytes());
    name.extend_from_slice(&number.to_be_bytes());
    RecordKey {
        class: RecordClass::History,
        name,
    }
}

/// The notes among history records, oldest first.
pub(crate) fn of(history: Records) -> Vec<(RecordKey, Vec<u8>)> {
    let mut notes: Vec<_> = history
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(name, value)| {
            let class = RecordClass::History;
            (RecordKey { class, name }, value)
        })
        .collect();
    notes.sort();
    notes
}
