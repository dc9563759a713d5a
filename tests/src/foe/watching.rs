//! What the enemy notices about devices: things that none may ever say, whatever it was told.

use bytes::Bytes;
use kinline_protocol::limits;
use kinline_protocol::wire::{ClientFrame, client_frame::Body as C};

use super::honest::Line;
use super::liar::Liar;

impl Liar {
    /// Takes down what no device may say, whatever it was told.
    pub(super) fn watch(&mut self, line: Line, frame: &ClientFrame) {
        let Some(wire) = self.lines.get(&line) else {
            return;
        };
        if wire.stranger {
            let what = "a device speaks to a relay that calls itself something else";
            self.complaints.push(what.into());
        }
        match &frame.body {
            Some(C::Acknowledge(acknowledge)) if acknowledge.through > wire.contiguous => {
                self.complaints.push(format!(
                    "a device acknowledges {} of {} deliveries",
                    acknowledge.through, wire.contiguous
                ));
            }
            Some(C::Attach(attach)) => {
                let seen = self.generations.entry(attach.mailbox.to_vec()).or_default();
                if attach.generation < *seen {
                    self.complaints
                        .push("a device attaches with an older store".into());
                }
                *seen = attach.generation.max(*seen);
            }
            Some(C::Send(send)) => {
                for to in &send.deliveries {
                    self.watch_envelope(&to.envelope);
                }
            }
            _ => {}
        }
    }

    fn watch_envelope(&mut self, envelope: &Bytes) {
        if envelope.len() != limits::ENVELOPE_BYTES {
            let length = envelope.len();
            let what = format!("a device sends an envelope of {length} bytes");
            return self.complaints.push(what);
        }
        let nonce: [u8; 24] = envelope[..24].try_into().unwrap();
        // A nonce stands for one sealing: the same bytes again, or never again.
        let first = self.nonces.entry(nonce).or_insert_with(|| envelope.clone());
        if first != envelope {
            self.complaints
                .push("a sealing nonce was used twice".into());
        }
    }
}
