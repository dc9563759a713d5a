//! Lies about what was asked, and about what the honest relay says.

use bytes::Bytes;
use kinline_protocol::wire::{
    self, ClientFrame, ErrorCode, ServerFrame, client_frame::Body as C, server_frame::Body as S,
};
use rand::RngExt;

use super::forge;
use super::honest::Line;
use super::liar::{Liar, Said};

impl Liar {
    /// A request gets a wrong answer, or none, whether it is done or not.
    pub(super) fn answer_wrongly(&mut self, line: Line, frame: ClientFrame) {
        let id = frame.request_id;
        let Some(body) = frame.body.clone() else {
            return;
        };
        match (body, self.below(5)) {
            // It forgets what was acknowledged never to have been delivered.
            (C::Acknowledge(_), _) => self.silences += 1,
            (_, 0) => self.silences += 1,
            (_, 1) => {
                // Done, but not answered.
                let before = self.honest.out.len();
                self.honest.serve(line, frame);
                self.silences += 1;
                let said: Vec<_> = self.honest.out.drain(before..).collect();
                let others = said
                    .into_iter()
                    .filter(|(to, said)| *to != line || said.request_id != id);
                self.honest.out.extend(others);
            }
            (C::Attach(attach), _) => self.lie_about_attach(line, attach.mailbox, frame),
            (_, 2) => {
                let error = forge::error(&mut self.rng);
                self.lie_with(line, id, S::Error(error));
            }
            (C::Send(send), _) => self.lie_about_send(line, id, &send, frame),
            (C::FetchCommit(fetch), _) => self.lie_about_slot(line, id, &fetch.token),
            _ => {
                let body = forge::body(&mut self.rng);
                self.lie_with(line, id, body);
            }
        }
    }

    fn lie_about_attach(&mut self, line: Line, mailbox: Bytes, frame: ClientFrame) {
        let id = frame.request_id;
        // Devices that start over come back by others that did not: a relay that says it to all
        // of them has ended their conversations, and a guardian has to form them again.
        let may = self.called_copy.as_ref().is_none_or(|it| *it == mailbox);
        match self.below(4) {
            0 if may => {
                self.called_copy = Some(mailbox.to_vec());
                self.calls_copy = true;
                let error = wire::Error {
                    code: ErrorCode::StaleGeneration.into(),
                    ..wire::Error::default()
                };
                self.lie_with(line, id, S::Error(error));
            }
            0 | 1 => {
                // So much waits that it never ends.
                self.honest.serve(line, frame);
                for (to, said) in &mut self.honest.out {
                    if let Some(S::Attached(attached)) = &mut said.body
                        && *to == line
                    {
                        attached.waiting = u64::MAX;
                        self.steps += 1;
                    }
                }
            }
            2 => {
                let error = forge::error(&mut self.rng);
                self.lie_with(line, id, S::Error(error));
            }
            _ => {
                let attached = wire::Attached {
                    waiting: 0,
                    window: u32::MAX,
                };
                self.lie_with(line, id, S::Attached(attached));
                self.honest.serve(line, frame);
            }
        }
    }

    fn lie_about_send(&mut self, line: Line, id: u64, send: &wire::Send, frame: ClientFrame) {
        let offer = send.commit.clone();
        if self.manners.forks
            && let Some(offer) = &offer
            && self.below(3) == 0
        {
            return self.fork(line, id, offer, frame);
        }
        let winner: Bytes = match self.below(3) {
            0 => forge::noise(&mut self.rng, 2_000),
            1 => self.some_commit(),
            _ => Bytes::new(),
        };
        let mut commit = None;
        let mut status = 1;
        match (offer, self.below(3)) {
            (Some(offer), 0) => {
                // It holds what was offered, and calls it somebody else's.
                self.honest.serve(line, frame);
                self.honest
                    .out
                    .retain(|(to, said)| *to != line || said.request_id != id);
                let held = self.honest.slots.get(offer.token.as_ref()).cloned();
                commit = held.map(|winner| wire::CommitAnswer {
                    mine: false,
                    winner,
                });
            }
            (Some(_), _) => {
                commit = Some(wire::CommitAnswer {
                    mine: false,
                    winner,
                });
            }
            (None, _) if self.strikes(20 * self.manners.recipient) => {
                status = self.rng.random_range(0..8);
            }
            (None, _) => {}
        }
        let more = usize::from(status == 1);
        let answer = wire::RecipientAnswer {
            status,
            retry_after_ms: 3_000,
        };
        let recipients = if commit.is_some() {
            vec![]
        } else {
            vec![answer; send.deliveries.len() + more]
        };
        let result = wire::SendResult { recipients, commit };
        self.lie_with(line, id, S::SendResult(result));
    }

    /// Some device's commit, of any conversation and epoch.
    fn some_commit(&mut self) -> Bytes {
        let at = self.below(self.honest.slots.len());
        let commit = self.honest.slots.values().nth(at);
        commit.cloned().unwrap_or_default()
    }

    /// The slot is granted although somebody else has it, or is lost as soon as it is granted.
    fn fork(&mut self, line: Line, id: u64, offer: &wire::CommitOffer, frame: ClientFrame) {
        self.forks += 1;
        let token = offer.token.to_vec();
        let held = self.honest.slots.remove(&token);
        self.losers.push((token.clone(), offer.sealed.clone()));
        self.honest.serve(line, frame);
        match held {
            Some(held) => self.honest.slots.insert(token, held),
            None => {
                self.lost.push(token.clone());
                self.honest.slots.remove(&token)
            }
        };
        for (to, said) in &self.honest.out {
            self.steps += u64::from(*to == line && said.request_id == id);
        }
    }

    fn lie_about_slot(&mut self, line: Line, id: u64, token: &Bytes) {
        let token = token.to_vec();
        if self.manners.forks && self.below(3) == 0 {
            let other = self
                .losers
                .iter()
                .find(|(of, _)| *of == token)
                .map(|(_, sealed)| sealed.clone());
            self.forks += 1;
            self.lost.push(token.clone());
            self.honest.slots.remove(&token);
            let slot = wire::CommitSlot {
                present: other.is_some(),
                sealed: other.unwrap_or_default(),
            };
            return self.lie_with(line, id, S::CommitSlot(slot));
        }
        let held_back = self.withheld.contains(&token);
        let lie = if held_back { 3 } else { self.below(4) };
        let sealed = match lie {
            0 => Some(forge::noise(&mut self.rng, 3_000)),
            1 => Some(self.some_commit()),
            2 => None,
            _ => {
                // Kept back until it feels like it; the others are served.
                self.withheld.insert(token);
                let error = wire::Error {
                    code: ErrorCode::SlowDown.into(),
                    retry_after_ms: 1_000,
                    ..wire::Error::default()
                };
                return self.lie_with(line, id, S::Error(error));
            }
        };
        let slot = wire::CommitSlot {
            present: sealed.is_some(),
            sealed: sealed.unwrap_or_default(),
        };
        self.lie_with(line, id, S::CommitSlot(slot));
    }

    /// What the honest relay says is changed, held back, repeated, or goes elsewhere.
    pub(super) fn tamper(&mut self, line: Line, mut frame: ServerFrame) {
        if let Some(S::Deliver(_)) = &frame.body {
            return self.tamper_with_delivery(line, frame);
        }
        match self.below(9) {
            0 => {
                self.emit(line, Said::Frame(frame.clone()));
                self.lie(line, Said::Frame(frame));
            }
            1 => {
                self.silences += 1;
                if let Some(wire) = self.lines.get_mut(&line) {
                    wire.late.push(frame);
                }
            }
            2 => {
                let later = forge::from_the_future(&mut self.rng, &frame);
                self.lie(line, Said::Bytes(later));
            }
            3 if !Self::grants(&frame) => {
                let damaged = forge::damaged(&mut self.rng, &wire::encode(&frame));
                let grants =
                    wire::decode_server(damaged.clone()).is_ok_and(|frame| Self::grants(&frame));
                if !grants {
                    self.lie(line, Said::Bytes(damaged));
                }
            }
            4 if self.below(4) == 0 => {
                frame.critical = vec![7];
                self.lie(line, Said::Bytes(wire::encode(&frame)));
            }
            5 if !Self::grants(&frame) => {
                // To whom it is not meant, as the answer to something else.
                let lines: Vec<Line> = self.lines.keys().copied().collect();
                let other = lines[self.below(lines.len())];
                let open = self.lines.get(&other).map_or(0, |wire| wire.open.len());
                let at = self.below(open);
                let id = self.lines.get(&other).and_then(|wire| wire.open.get(at));
                let stray = ServerFrame {
                    request_id: id.copied().unwrap_or(0),
                    ..frame.clone()
                };
                self.lie(other, Said::Frame(stray));
                self.emit(line, Said::Frame(frame));
            }
            6 => {
                frame.request_id = frame.request_id.wrapping_add(1);
                if Self::grants(&frame) {
                    self.silences += 1;
                } else {
                    self.lie(line, Said::Frame(frame));
                }
            }
            7 if self.below(4) == 0 => self.lie(line, Said::Cut),
            _ => {
                self.emit(line, Said::Frame(frame));
                let body = forge::body(&mut self.rng);
                self.lie_with(line, 0, body);
            }
        }
    }

    /// The count stays right, mostly: the device would hang up.
    fn tamper_with_delivery(&mut self, line: Line, mut frame: ServerFrame) {
        let Some(S::Deliver(deliver)) = &mut frame.body else {
            return;
        };
        let old = self.rng.random_range(0..self.envelopes.len().max(1));
        match self.rng.random_range(0..12) {
            0 => {
                deliver.number = match self.rng.random_range(0..3) {
                    0 => 0,
                    1 => deliver.number + 1,
                    _ => u64::MAX,
                };
            }
            1 | 2 => deliver.envelope = forge::damaged(&mut self.rng, &deliver.envelope),
            3 => deliver.envelope = forge::noise(&mut self.rng, 2_000),
            4 => deliver.message_id = forge::noise(&mut self.rng, 20),
            5..=8 => {
                // Something else in its place: an old one, or one that is meant for others.
                if let Some((_, id, envelope)) = self.envelopes.get(old) {
                    deliver.message_id = id.clone();
                    deliver.envelope = envelope.clone();
                }
            }
            _ => {
                let later = forge::from_the_future(&mut self.rng, &frame);
                return self.lie(line, Said::Bytes(later));
            }
        }
        self.lie(line, Said::Frame(frame));
    }
}
