//! What a person should hear even when no screen is open as it happens: a child's request, a
//! report, a removal, a fork. Each is kept beside the messages, in the same transaction that
//! makes it true, until somebody has read it.

use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Changes, Event, OperatorNotice};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Device;
use super::notice_words::notice;
use crate::shell::{DeviceError, notes};

/// Notices that are kept once they were read; older ones go.
const READ_MAX: usize = 1_000;

/// What happened, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind of thing, for a program: `friend-request`, `report`, `decided`, …
    pub kind: String,
    /// When, in milliseconds since 1970, by this device's clock.
    pub at_ms: u64,
    /// For a human.
    pub sentence: String,
    /// Was shown.
    pub seen: bool,
    /// More, by kind.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl Notice {
    pub(super) fn new(kind: &str, sentence: String, details: Value) -> Self {
        Self {
            kind: kind.to_owned(),
            at_ms: 0,
            sentence,
            seen: false,
            details: match details {
                Value::Object(details) => details,
                _ => Map::new(),
            },
        }
    }

    /// What the operator says.
    #[must_use]
    pub fn of_operator(notice: &OperatorNotice) -> Self {
        Self::new(
            "operator-notice",
            format!(
                "The relay's operator says on {}: {}",
                notice.day, notice.text
            ),
            json!({
                "index": notice.index,
                "severity": notice.severity.as_str(),
                "language": notice.language,
            }),
        )
    }
}

/// The notice of an event, as it is kept; `None` for what other screens show.
#[must_use]
pub fn note(engine: &Engine, event: &Event, now: Timestamp) -> Option<Vec<u8>> {
    let mut notice = notice(engine, event)?;
    notice.at_ms = now.0;
    serde_json::to_vec(&notice).ok()
}

/// What an event says to a human; `None` when it is not one of these.
#[must_use]
pub fn sentence(engine: &Engine, event: &Event) -> Option<String> {
    Some(notice(engine, event)?.sentence)
}

/// Every notice that is kept, oldest first.
///
/// # Errors
/// [`DeviceError::Stopped`], [`DeviceError::Store`].
pub async fn notices(device: &Device) -> Result<Vec<Notice>, DeviceError> {
    let all = notes::of(device.history().await?);
    Ok(all
        .into_iter()
        .filter_map(|(_, value)| read(&value))
        .collect())
}

/// What nobody has seen yet, oldest first; from now on it counts as seen.
///
/// # Errors
/// As [`notices`].
pub async fn unseen(device: &Device) -> Result<Vec<Notice>, DeviceError> {
    let kept = notes::of(device.history().await?);
    let mut changes = Changes::default();
    let mut fresh = Vec::new();
    let old = kept.len().saturating_sub(READ_MAX);
    for (at, (key, value)) in kept.into_iter().enumerate() {
        let Some(mut notice) = read(&value) else {
            continue;
        };
        if !notice.seen {
            notice.seen = true;
            changes
                .records
                .insert(key, serde_json::to_vec(&notice).ok());
            fresh.push(notice);
        } else if at < old {
            changes.records.insert(key, None);
        }
    }
    device.keep(changes).await?;
    Ok(fresh)
}

fn read(value: &[u8]) -> Option<Notice> {
    serde_json::from_slice(value).ok()
}
