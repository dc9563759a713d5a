//! The relay's random misbehaviour.

use bytes::Bytes;
use kinline_protocol::limits;
use kinline_protocol::wire::{
    self, ErrorCode, RecipientStatus, client_frame::Body as C, server_frame::Body as S,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::relay::Relay;
use super::world::Name;

/// Random misbehaviour: each figure is a chance in a thousand.
#[derive(Clone)]
pub(crate) struct Chaos {
    pub(crate) rng: ChaCha20Rng,
    /// An envelope is acknowledged and thrown away.
    pub(crate) drop: u32,
    /// An envelope is stored twice.
    pub(crate) duplicate: u32,
    /// An envelope overtakes the ones before it.
    pub(crate) reorder: u32,
    /// An envelope goes into somebody else's mailbox too.
    pub(crate) misdeliver: u32,
    /// Noise, or a frame with fields of wrong lengths, goes to a device.
    pub(crate) garbage: u32,
    /// An answer is wrong: its count, its slot, its size, or it is an error, or never comes.
    pub(crate) lie: u32,
}

impl Chaos {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Self {
            rng,
            drop: 60,
            duplicate: 60,
            reorder: 80,
            misdeliver: 40,
            garbage: 60,
            lie: 60,
        }
    }

    pub(super) fn strikes(&mut self, chance: u32) -> bool {
        self.rng.random_range(0..1_000) < chance
    }
}

impl Relay {
    /// An answer that is wrong; what was asked has not been done.
    pub(super) fn lie(&mut self, name: Name, id: u64, body: C) {
        match (body, self.below(4)) {
            (C::Send(send), 0) => {
                let ok = wire::RecipientAnswer {
                    status: RecipientStatus::Ok.into(),
                    retry_after_ms: 0,
                };
                let recipients = vec![ok; send.deliveries.len() + 1];
                self.say(
                    name,
                    id,
                    S::SendResult(wire::SendResult {
                        recipients,
                        commit: None,
                    }),
                );
            }
            (C::Send(_), 1) => {
                let commit = Some(wire::CommitAnswer {
                    mine: false,
                    winner: vec![9; 500].into(),
                });
                self.say(
                    name,
                    id,
                    S::SendResult(wire::SendResult {
                        recipients: vec![],
                        commit,
                    }),
                );
            }
            (C::FetchCommit(_), 0 | 1) => {
                let all: Vec<Bytes> = self.slots.values().cloned().collect();
                let sealed = if all.is_empty() {
                    vec![1; 300].into()
                } else {
                    all[self.below(all.len())].clone()
                };
                self.say(
                    name,
                    id,
                    S::CommitSlot(wire::CommitSlot {
                        present: true,
                        sealed,
                    }),
                );
            }
            (C::CreateBlob(create), 0 | 1) => {
                let offset = create.size + 1;
                self.say(
                    name,
                    id,
                    S::BlobCreated(wire::BlobCreated {
                        offset,
                        expires_day: 0,
                    }),
                );
            }
            (_, 2) => self.error(name, id, ErrorCode::Internal),
            // Never answered.
            _ => {}
        }
    }

    /// Frames that nobody asked for, with fields of any length.
    pub(super) fn babble(&mut self, name: Name) {
        let noise: Bytes = vec![0x55; self.below(2_000)].into();
        let Some(connection) = self.connections.get(name).filter(|c| c.mailbox.is_some()) else {
            return;
        };
        let last_number = connection.next_number - 1;
        match self.below(8) {
            0 => {
                let mailbox = self.mailbox_of(name).cloned().unwrap();
                let id: Bytes = self.nonces.len().to_be_bytes().repeat(2).into();
                self.mailboxes
                    .get_mut(&mailbox)
                    .unwrap()
                    .push_back((id, vec![3; limits::ENVELOPE_BYTES].into()));
                self.deliver(name);
            }
            1 => {
                let mailbox = self.mailbox_of(name).cloned().unwrap();
                self.mailboxes
                    .get_mut(&mailbox)
                    .unwrap()
                    .push_back((noise.clone(), noise));
                self.deliver(name);
            }
            2 => self.say(
                name,
                0,
                S::Attached(wire::Attached {
                    waiting: 7,
                    window: 1,
                }),
            ),
            3 => self.say(name, 77, S::SendResult(wire::SendResult::default())),
            4 => self.say(
                name,
                0,
                S::CommitSlot(wire::CommitSlot {
                    present: true,
                    sealed: noise,
                }),
            ),
            5 => self.say(
                name,
                0,
                S::SignalDelivered(wire::SignalDelivered { body: noise }),
            ),
            6 => self.say(
                name,
                0,
                S::RendezvousGot(wire::RendezvousGot {
                    rendezvous: noise,
                    ..Default::default()
                }),
            ),
            _ => {
                // A number that was there already, or never will be.
                let deliver = wire::Deliver {
                    number: last_number,
                    message_id: noise.clone(),
                    envelope: noise,
                };
                self.say(name, 0, S::Deliver(deliver));
            }
        }
    }
}
