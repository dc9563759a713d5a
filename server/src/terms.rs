//! How long this relay keeps what, for everybody to read: `GET /v1/terms` (PROTOCOL §17.6). Made
//! of the numbers that [`crate::retention`] goes by.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use bytes::Bytes;
use kinline_protocol::limits;
use kinline_protocol::primitives::hash::sha256;
use kinline_protocol::ticket::EPOCH_DAYS;
use serde::Serialize;

use crate::config::Config;
use crate::relay::Shared;

/// Where it is read.
pub const PATH: &str = "/v1/terms";

/// A ticket is good in its epoch and the next one.
const SPENT_DAYS: u32 = 2 * EPOCH_DAYS - 1;

/// What stands in place of the hash while it is computed.
const NO_HASH: &str = "";

/// A class of what a relay stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Its name, for a program.
    pub class: &'static str,
    /// What it holds.
    pub holds: &'static str,
    /// Days that it is kept at most, counted from `from`; `None`: no number of days ends it.
    pub days: Option<u32>,
    /// From when they count.
    pub from: &'static str,
    /// What ends it sooner, or at all.
    pub ends: &'static str,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// Version of this format.
    pub version: u32,
    /// What devices sign.
    pub server_name: String,
    /// Whom to write to; may be empty.
    pub contact: String,
    /// Days that the operator keeps a backup at most: so long after its deletion here a thing
    /// may still lie in one. 0: there are none.
    pub backup_days: u32,
    /// Whether addresses of the network are written anywhere.
    pub addresses_kept: bool,
    /// Each class.
    pub classes: Vec<Class>,
    /// SHA-256, hex, of these very bytes with nothing between the quotation marks here.
    pub hash: String,
}

/// Every class, with the constants that delete it.
#[must_use]
pub fn classes() -> Vec<Class> {
    let class = |class, holds, days, from, ends| Class {
        class,
        holds,
        days,
        from,
        ends,
    };
    vec![
        class(
            "mailbox",
            "a random id, public keys, a counter and a day",
            Some(limits::MAILBOX_IDLE_DAYS),
            "its device was last connected",
            "deletion by its device",
        ),
        class(
            "closed_mailbox",
            "as a mailbox; nothing goes in or out",
            Some(limits::MAILBOX_CLOSED_DAYS),
            "it was closed",
            "opened again by a guardian before",
        ),
        class(
            "envelope",
            "1,024 bytes of noise for one mailbox",
            Some(limits::ENVELOPE_RETENTION_DAYS),
            "it was stored",
            "the device acknowledges it, or its mailbox goes",
        ),
        class(
            "commit_slot",
            "a random token and a sealed change of a conversation",
            Some(limits::COMMIT_RETENTION_DAYS),
            "it was stored",
            "",
        ),
        class(
            "revoked_grant",
            "a hash",
            Some(limits::REVOKED_DAYS_MAX),
            "it was revoked, at most",
            "the day on which the grant would have ended",
        ),
        class(
            "blob",
            "an encrypted file of a size class, and hashes of two secrets",
            Some(limits::BLOB_RETENTION_DAYS),
            "room was made for it",
            "deletion by its owner",
        ),
        class(
            "admission_code",
            "a hash, and how often it may be used",
            None,
            "",
            "it is used up",
        ),
        class(
            "account",
            "a blinded id, a sealed OPAQUE record and counters, and a vault of a size class",
            None,
            "",
            "deletion by its owner",
        ),
        class(
            "spent_ticket",
            "a hash",
            Some(SPENT_DAYS),
            "the first day of the epoch that it was drawn in",
            "",
        ),
        class(
            "operator_log",
            "signed statements about the service, public, never about a person",
            None,
            "",
            "it is kept",
        ),
        class(
            "rendezvous",
            "messages of a pairing, in memory only",
            Some(0),
            "it was opened",
            "ten minutes, or both sides have left",
        ),
    ]
}

/// The terms as they are served.
pub(crate) fn document(config: &Config, server_name: &str) -> Bytes {
    let terms = Terms {
        version: 1,
        server_name: server_name.to_owned(),
        contact: config.terms.contact.clone(),
        backup_days: config.terms.backup_days,
        addresses_kept: false,
        classes: classes(),
        hash: NO_HASH.to_owned(),
    };
    // Nothing in it can fail to be written.
    let without = serde_json::to_string_pretty(&terms).unwrap_or_default();
    let hash = hex::encode(sha256(without.as_bytes()));
    let with = Terms { hash, ..terms };
    serde_json::to_vec_pretty(&with).unwrap_or_default().into()
}

pub(crate) async fn show(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, shared.terms.clone())
}
