//! Envelopes that an earlier version of the relay kept elsewhere.

use std::io;
use std::path::Path;

use bytes::Bytes;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, MessageId};

use super::segment::{Kind, SegmentFile, parse_name};
use super::slot::{self, Place, Waiting};
use crate::files::{make_folder, sync_parent};
use crate::keys::AtRest;

/// Mailbox, order, message id, last day, body.
pub(crate) type Import = (MailboxId, u64, MessageId, Day, Bytes);

/// Writes `envelopes` into a segment of their own,
/// durably, before the spool is opened. Twice is harmless.
pub(crate) fn import(folder: &Path, keys: &AtRest, envelopes: Vec<Import>) -> io::Result<()> {
    make_folder(folder)?;
    let mut id = 1;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match parse_name(&path) {
            Some((_, Kind::Unfinished)) => std::fs::remove_file(path)?,
            Some((number, _)) => id = id.max(number.saturating_add(1)),
            None => {}
        }
    }
    let mut file = SegmentFile::create(folder, id, Kind::Unfinished)?;
    let mut page = Vec::new();
    for (slot, (mailbox, order, message, expires, body)) in (0..).zip(envelopes) {
        let place = Place { segment: id, slot };
        let waiting = Waiting {
            mailbox,
            order,
            message,
            expires,
            body,
        };
        slot::push_waiting(&mut page, keys, place, &waiting).map_err(io::Error::other)?;
    }
    file.write(0, &page)?;
    file.sync()?;
    file.finish()?;
    sync_parent(&folder.join("segment"))
}
