//! What is larger than an envelope, on its way up, and what of it may be deleted.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::contents::ContentKey;
use super::device::Engine;
use super::io::{BlobHandle, Upload, UploadOutcome, UploadSource};
use super::outgoing::ANSWER_MS;
use super::records;
use super::session::Request;
use super::state::Cx;
use crate::blob::{owner_hash, read_hash};
use crate::day::{Day, Timestamp};
use crate::ids::{ConversationId, DeviceId};
use crate::secrets::Secret;
use crate::wire::{self, ErrorCode, client_frame::Body as ClientBody};

/// Blobs remembered for deletion; the relay deletes what is forgotten after a month anyway.
const GARBAGE_MAX: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was done on this connection.
    Open,
    /// Room was asked for, or bytes are on their way.
    UnderWay,
    /// Failed: again then.
    Later(Timestamp),
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    Content(ContentKey),
    Send(u64),
}

/// What has to be uploaded, and how far each has come on this connection.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    uploads: BTreeMap<BlobHandle, (Owner, Stage)>,
    /// The one that shows a ticket: what it makes room for is for the others too.
    spending: Option<BlobHandle>,
    /// The day on which a ticket made no room: no other is spent on it.
    in_vain: Option<Day>,
}

impl Transfers {
    fn open(&mut self, upload: Option<&wire::BlobUploadRecord>, owner: Owner) {
        if let Some(handle) = upload.filter(|upload| !upload.done).and_then(handle_of) {
            self.uploads.insert(handle, (owner, Stage::Open));
        }
    }

    pub(super) fn open_content(&mut self, key: ContentKey, outgoing: &wire::OutgoingRecord) {
        self.open(outgoing.attachment.as_ref(), Owner::Content(key));
    }

    pub(super) fn open_send(&mut self, number: u64, send: &wire::PendingSendRecord) {
        self.open(send.overflow.as_ref(), Owner::Send(number));
    }

    /// The relay has answered; whether it was shown a ticket with this one.
    fn answered(&mut self, handle: BlobHandle) -> bool {
        let spent = self.spending == Some(handle);
        self.spending = self.spending.filter(|_| !spent);
        spent
    }

    pub(super) fn disconnected(&mut self) {
        self.spending = None;
        for (_, stage) in self.uploads.values_mut() {
            *stage = Stage::Open;
        }
    }

    pub(super) fn tick(&mut self, now: Timestamp) {
        for (_, stage) in self.uploads.values_mut() {
            if matches!(stage, Stage::Later(at) if *at <= now) {
                *stage = Stage::Open;
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let later = self.uploads.values().filter_map(|(_, stage)| match stage {
            Stage::Later(at) => Some(*at),
            Stage::Open | Stage::UnderWay => None,
        });
        later.min()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.uploads.is_empty()
    }
}

fn handle_of(upload: &wire::BlobUploadRecord) -> Option<BlobHandle> {
    upload.handle.as_ref().try_into().ok()
}

/// A blob to be deleted, and since when its recipients may have it.
#[derive(Debug, Clone)]
pub(super) struct Garbage {
    pub(super) record: wire::GarbageRecord,
    /// Zero after a restart: then since this connection has caught up.
    pub(super) since: Timestamp,
}

impl Engine {
    /// The record of an upload, while its owner still wants it.
    fn upload(&self, handle: &BlobHandle) -> Option<(Owner, &wire::BlobUploadRecord)> {
        let (owner, _) = *self.transfers.uploads.get(handle)?;
        let record = match owner {
            Owner::Content(key) => self.outbox.get(&key)?.attachment.as_ref(),
            Owner::Send(number) => self.sends.get(&number)?.overflow.as_ref(),
        };
        let record = record.filter(|upload| !upload.done && upload.handle.as_ref() == handle)?;
        Some((owner, record))
    }

    pub(super) fn flush_transfers(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() {
            return;
        }
        let open = self
            .transfers
            .uploads
            .iter()
            .filter(|(_, (_, stage))| *stage == Stage::Open);
        let handles: Vec<BlobHandle> = open.map(|(handle, _)| *handle).collect();
        for handle in handles {
            self.create_blob(handle, String::new(), cx);
        }
    }

    fn create_blob(&mut self, handle: BlobHandle, ticket: String, cx: &mut Cx<'_>) {
        let Some((owner, upload)) = self.upload(&handle) else {
            self.transfers.uploads.remove(&handle);
            return;
        };
        let create = wire::CreateBlob {
            read_hash: read_hash(&upload.read_secret).to_vec().into(),
            owner_hash: owner_hash(&upload.owner_secret).to_vec().into(),
            size: upload.size,
            ticket,
        };
        self.transfers
            .uploads
            .insert(handle, (owner, Stage::UnderWay));
        self.request(
            Request::CreateBlob(handle),
            ClientBody::CreateBlob(create),
            cx,
        );
    }

    /// The relay makes no room. True when it is asked once more, with a ticket.
    pub(super) fn create_refused(
        &mut self,
        handle: BlobHandle,
        code: ErrorCode,
        after_ms: u64,
        cx: &mut Cx<'_>,
    ) -> bool {
        let spent = self.transfers.answered(handle);
        if code == ErrorCode::TooLarge {
            self.upload_lost(handle, cx);
            return false;
        }
        if code == ErrorCode::Quota {
            let today = self.today(cx.now);
            if spent {
                self.transfers.in_vain = Some(today);
            } else if self.transfers.in_vain != Some(today)
                && self.transfers.spending.is_none()
                && self.upload(&handle).is_some()
                && let Some(ticket) = self.take_ticket(cx)
            {
                self.transfers.spending = Some(handle);
                self.create_blob(handle, ticket, cx);
                return true;
            }
        }
        self.blob_refused(handle, after_ms, cx);
        false
    }

    pub(super) fn blob_created(&mut self, handle: BlobHandle, offset: u64, cx: &mut Cx<'_>) {
        self.transfers.answered(handle);
        let Some((_, upload)) = self.upload(&handle) else {
            return;
        };
        let size = upload.size;
        if offset > size {
            return self.blob_refused(handle, 0, cx);
        }
        if offset == size {
            return self.uploaded(handle, UploadOutcome::Done, cx);
        }
        let Some(owner_secret) = Secret::from_slice(&upload.owner_secret) else {
            return;
        };
        let source = if upload.inline.is_empty() {
            UploadSource::File
        } else {
            UploadSource::Bytes(upload.inline.clone())
        };
        cx.out.uploads.push(Upload {
            handle,
            owner_secret,
            offset,
            size,
            source,
        });
    }

    pub(super) fn blob_refused(&mut self, handle: BlobHandle, after_ms: u64, cx: &Cx<'_>) {
        if let Some((_, stage)) = self.transfers.uploads.get_mut(&handle) {
            *stage = Stage::Later(self.session.retry_at(cx.now, after_ms));
        }
    }

    pub(super) fn uploaded(&mut self, handle: BlobHandle, outcome: UploadOutcome, cx: &mut Cx<'_>) {
        match outcome {
            UploadOutcome::Unreachable => self.blob_refused(handle, 0, cx),
            UploadOutcome::Lost => self.upload_lost(handle, cx),
            UploadOutcome::Done => {
                self.session.succeeded();
                let owner = self.upload(&handle).map(|(owner, _)| owner);
                self.transfers.uploads.remove(&handle);
                match owner {
                    Some(Owner::Content(key)) => {
                        if let Some(mut outgoing) = self.outbox.remove(&key) {
                            if let Some(upload) = outgoing.attachment.as_mut() {
                                upload.done = true;
                            }
                            self.put_back(key, outgoing, cx);
                        }
                    }
                    Some(Owner::Send(number)) => {
                        if let Some(send) = self.sends.get_mut(&number) {
                            if let Some(upload) = send.overflow.as_mut() {
                                upload.done = true;
                                upload.inline = Bytes::new();
                            }
                            cx.put_message(records::number(records::SEND, number), &*send);
                        }
                    }
                    None => {}
                }
            }
        }
    }

    /// The bytes of an attachment are gone, or the relay will never take them. Overflows are
    /// kept with their send and can't be lost.
    pub(super) fn upload_lost(&mut self, handle: BlobHandle, cx: &mut Cx<'_>) {
        match self.upload(&handle).map(|(owner, _)| owner) {
            Some(Owner::Content(key)) => {
                self.transfers.uploads.remove(&handle);
                self.take_back(key, cx);
            }
            Some(Owner::Send(number)) => {
                let file = self.sends.get(&number);
                match file.filter(|send| !send.media.is_empty()).cloned() {
                    Some(send) => self.media_lost(number, &send, cx),
                    None => self.blob_refused(handle, 0, cx),
                }
            }
            None => {
                self.transfers.uploads.remove(&handle);
            }
        }
    }

    // ---- deleting what everyone has

    pub(super) fn delete_blob(&mut self, upload: &wire::BlobUploadRecord, cx: &mut Cx<'_>) {
        if let Some(handle) = handle_of(upload) {
            self.transfers.uploads.remove(&handle);
        }
        if let Some(secret) = Secret::from_slice(&upload.owner_secret) {
            cx.out.blob_deletions.push(secret);
        }
    }

    /// The relay has the pointers: the blob goes when the recipients have it.
    pub(super) fn retire_overflow(&mut self, send: &wire::PendingSendRecord, cx: &mut Cx<'_>) {
        let Some(upload) = &send.overflow else { return };
        let content = !send.content_id.is_empty();
        if content && self.outbox.find(&send.content_id).is_none() {
            // Confirmed by all before the relay had said that it took it.
            return self.delete_blob(upload, cx);
        }
        if self.garbage.len() >= GARBAGE_MAX {
            return;
        }
        let record = wire::GarbageRecord {
            owner_secret: upload.owner_secret.clone(),
            content_id: send.content_id.clone(),
            // One welcome is for all who come in together.
            devices: if content {
                vec![]
            } else {
                send.readers.clone()
            },
            fetched: false,
            history: send.history,
            media: send.media.clone(),
        };
        let id = [send.conversation.as_ref(), &cx.random16()].concat();
        cx.put_message(records::state(records::GARBAGE, &[&id]), &record);
        self.garbage.insert(
            id,
            Garbage {
                record,
                since: cx.now,
            },
        );
    }

    pub(super) fn collect_content(&mut self, content: &Bytes, cx: &mut Cx<'_>) {
        self.collect(
            |_, garbage| !content.is_empty() && garbage.record.content_id == *content,
            cx,
        );
    }

    /// A device speaks in a conversation: what was put into its mailbox long enough before, it has.
    pub(super) fn collect_device(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        let Some(caught_up_at) = self.session.caught_up_at else {
            return;
        };
        let before = cx.now;
        self.collect_of(
            id,
            device,
            |since| since.max(caught_up_at).plus_ms(ANSWER_MS) <= before,
            cx,
        );
    }

    /// A device has read the pieces of history that lie there for it.
    pub(super) fn collect_history(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        cx: &mut Cx<'_>,
    ) {
        let is_it = |of: &Bytes| of.as_ref() == device.as_bytes();
        self.collect(
            |name, garbage| {
                garbage.record.history
                    && name.starts_with(id.as_bytes())
                    && garbage.record.devices.iter().all(is_it)
            },
            cx,
        );
    }

    /// A device has an attachment that was put up for it again, by the garbage's mark.
    pub(super) fn collect_media(&mut self, mark: &[u8], cx: &mut Cx<'_>) {
        self.collect(|_, garbage| garbage.record.media.as_ref() == mark, cx);
    }

    /// A device left a conversation: it fetches nothing of it any more.
    pub(super) fn collect_left(&mut self, id: ConversationId, device: DeviceId, cx: &mut Cx<'_>) {
        self.collect_of(id, device, |_| true, cx);
    }

    /// One of those for whom something lies there does not need it any more.
    fn collect_of(
        &mut self,
        id: ConversationId,
        device: DeviceId,
        when: impl Fn(Timestamp) -> bool,
        cx: &mut Cx<'_>,
    ) {
        let is_it = |of: &Bytes| of.as_ref() == device.as_bytes();
        let mut done = Vec::new();
        for (name, garbage) in &mut self.garbage {
            let devices = &mut garbage.record.devices;
            if !name.starts_with(id.as_bytes())
                || !devices.iter().any(is_it)
                || !when(garbage.since)
            {
                continue;
            }
            devices.retain(|of| !is_it(of));
            if devices.is_empty() {
                done.push(name.clone());
            } else {
                cx.put_message(records::state(records::GARBAGE, &[name]), &garbage.record);
            }
        }
        self.collect(|name, _| done.iter().any(|it| it == name), cx);
    }

    fn collect(&mut self, done: impl Fn(&[u8], &Garbage) -> bool, cx: &mut Cx<'_>) {
        let found = self
            .garbage
            .iter()
            .filter(|(name, garbage)| done(name, garbage));
        let ready: Vec<Vec<u8>> = found.map(|(name, _)| name.clone()).collect();
        for name in ready {
            if let Some(garbage) = self.garbage.remove(&name) {
                cx.erase(records::state(records::GARBAGE, &[&name]));
                if let Some(secret) = Secret::from_slice(&garbage.record.owner_secret) {
                    cx.out.blob_deletions.push(secret);
                }
            }
        }
    }
}
