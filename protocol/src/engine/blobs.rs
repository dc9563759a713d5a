//! What is larger than an envelope, on its way up, and what of it may be deleted.

use std::collections::BTreeMap;

use super::device::Engine;
use super::io::{BlobHandle, Event, Upload, UploadOutcome, UploadSource};
use super::records;
use super::session::Request;
use super::state::Cx;
use crate::blob::{owner_hash, read_hash};
use crate::ids::{ContentId, ConversationId, DeviceId};
use crate::secrets::Secret;
use crate::wire::{self, client_frame::Body as ClientBody};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Room was asked for, or bytes are on their way.
    UnderWay,
    /// Failed: again at the next retry.
    Later,
}

/// Uploads that were begun on this connection.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    stages: BTreeMap<BlobHandle, Stage>,
}

impl Transfers {
    pub(super) fn restart(&mut self) {
        self.stages.clear();
    }

    pub(super) fn retry(&mut self) {
        self.stages.retain(|_, stage| *stage != Stage::Later);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.stages.is_empty()
    }
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    Content(ConversationId, u64),
    Send(u64),
}

fn handle_of(upload: &wire::BlobUploadRecord) -> Option<BlobHandle> {
    upload.handle.as_ref().try_into().ok()
}

impl Engine {
    fn open_uploads(&self) -> Vec<(Owner, wire::BlobUploadRecord)> {
        let attachments = self
            .outbox
            .iter()
            .filter_map(|((id, sequence), outgoing)| Some((Owner::Content(*id, *sequence), outgoing.attachment.clone()?)));
        let overflows =
            self.sends.iter().filter_map(|(number, send)| Some((Owner::Send(*number), send.overflow.clone()?)));
        attachments.chain(overflows).filter(|(_, upload)| !upload.done).collect()
    }

    pub(super) fn flush_transfers(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() {
            return;
        }
        for (_, upload) in self.open_uploads() {
            let Some(handle) = handle_of(&upload) else { continue };
            if self.transfers.stages.contains_key(&handle) {
                continue;
            }
            self.transfers.stages.insert(handle, Stage::UnderWay);
            let create = wire::CreateBlob {
                read_hash: read_hash(&upload.read_secret).to_vec().into(),
                owner_hash: owner_hash(&upload.owner_secret).to_vec().into(),
                size: upload.size,
            };
            self.request(Request::CreateBlob(handle), ClientBody::CreateBlob(create), cx);
        }
    }

    pub(super) fn blob_created(&mut self, handle: BlobHandle, offset: u64, cx: &mut Cx<'_>) {
        let found = self.open_uploads().into_iter().find(|(_, upload)| handle_of(upload) == Some(handle));
        let Some((_, upload)) = found else { return };
        if offset >= upload.size {
            self.uploaded(handle, UploadOutcome::Done, cx);
            return;
        }
        let Some(owner_secret) = Secret::from_slice(&upload.owner_secret) else { return };
        let source =
            if upload.inline.is_empty() { UploadSource::File } else { UploadSource::Bytes(upload.inline.clone()) };
        cx.out.uploads.push(Upload { handle, owner_secret, offset, size: upload.size, source });
    }

    pub(super) fn blob_refused(&mut self, handle: BlobHandle, after_ms: u64, cx: &mut Cx<'_>) {
        self.transfers.stages.insert(handle, Stage::Later);
        self.retry_later(after_ms, cx);
    }

    pub(super) fn uploaded(&mut self, handle: BlobHandle, outcome: UploadOutcome, cx: &mut Cx<'_>) {
        let found = self.open_uploads().into_iter().find(|(_, upload)| handle_of(upload) == Some(handle));
        let Some((owner, _)) = found else {
            self.transfers.stages.remove(&handle);
            return;
        };
        match outcome {
            UploadOutcome::Unreachable => self.blob_refused(handle, 0, cx),
            UploadOutcome::Done => {
                self.transfers.stages.remove(&handle);
                self.mark_uploaded(owner, cx);
            }
            UploadOutcome::Lost => {
                self.transfers.stages.remove(&handle);
                self.lose(owner, cx);
            }
        }
    }

    fn mark_uploaded(&mut self, owner: Owner, cx: &mut Cx<'_>) {
        match owner {
            Owner::Content(id, sequence) => {
                if let Some(mut outgoing) = self.outbox.remove(&(id, sequence)) {
                    if let Some(upload) = outgoing.attachment.as_mut() {
                        upload.done = true;
                    }
                    self.put_back(id, outgoing, cx);
                }
            }
            Owner::Send(number) => {
                if let Some(send) = self.sends.get_mut(&number) {
                    if let Some(upload) = send.overflow.as_mut() {
                        upload.done = true;
                        upload.inline = bytes::Bytes::new();
                    }
                    cx.put_message(records::number(records::SEND, number), &*send);
                }
            }
        }
    }

    /// The shell no longer has an attachment's bytes: its content can't be sent.
    fn lose(&mut self, owner: Owner, cx: &mut Cx<'_>) {
        let Owner::Content(id, sequence) = owner else { return };
        let Some(mut outgoing) = self.outbox.remove(&(id, sequence)) else { return };
        for peer in &mut outgoing.peers {
            peer.set_state(wire::OutgoingState::Failed);
            let ids = ContentId::try_from(&outgoing.content_id).ok().zip(DeviceId::try_from(&peer.device).ok());
            if let Some((content, device)) = ids {
                let sentence = "its attachment is gone from this device".to_owned();
                cx.event(Event::Undelivered { content, device, sentence });
            }
        }
        self.put_back(id, outgoing, cx);
    }

    // ---- deleting what everyone has

    pub(super) fn delete_blob(&mut self, upload: &wire::BlobUploadRecord, cx: &mut Cx<'_>) {
        if let Some(secret) = Secret::from_slice(&upload.owner_secret) {
            cx.out.blob_deletions.push(secret);
        }
    }

    pub(super) fn discard_overflow(&mut self, send: &wire::PendingSendRecord, cx: &mut Cx<'_>) {
        if let Some(upload) = &send.overflow {
            self.delete_blob(upload, cx);
        }
    }

    /// The relay has the pointers: the blob goes when the recipients have it.
    pub(super) fn retire_overflow(&mut self, send: &wire::PendingSendRecord, cx: &mut Cx<'_>) {
        let Some(upload) = &send.overflow else { return };
        let devices: &[bytes::Bytes] = if send.content_id.is_empty() { &send.devices } else { &[] };
        let garbage = wire::GarbageRecord {
            owner_secret: upload.owner_secret.clone(),
            content_id: send.content_id.clone(),
            // A welcome comes last in its send: its joiner is the last recipient.
            device: devices.last().cloned().unwrap_or_default(),
            fetched: false,
        };
        let id = cx.random16().to_vec();
        cx.put_message(records::state(records::GARBAGE, &[&id]), &garbage);
        self.garbage.insert(id, garbage);
    }

    pub(super) fn collect_content(&mut self, content: &bytes::Bytes, cx: &mut Cx<'_>) {
        self.collect(|garbage| !content.is_empty() && garbage.content_id == *content, cx);
    }

    pub(super) fn collect_device(&mut self, device: DeviceId, cx: &mut Cx<'_>) {
        self.collect(|garbage| garbage.device.as_ref() == device.as_bytes(), cx);
    }

    fn collect(&mut self, done: impl Fn(&wire::GarbageRecord) -> bool, cx: &mut Cx<'_>) {
        let ready: Vec<Vec<u8>> =
            self.garbage.iter().filter(|(_, garbage)| done(garbage)).map(|(id, _)| id.clone()).collect();
        for id in ready {
            if let Some(garbage) = self.garbage.remove(&id) {
                cx.erase(records::state(records::GARBAGE, &[&id]));
                if let Some(secret) = Secret::from_slice(&garbage.owner_secret) {
                    cx.out.blob_deletions.push(secret);
                }
            }
        }
    }
}
