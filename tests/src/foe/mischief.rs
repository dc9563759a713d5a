//! What the liar does of its own accord, when nobody asked.

use bytes::Bytes;
use kinline_protocol::limits;
use kinline_protocol::wire::{ServerFrame, server_frame::Body as S};
use rand::RngExt;

use super::forge;
use super::honest::Line;
use super::liar::{Liar, Said};

impl Liar {
    /// One piece of mischief on a connection.
    pub fn mischief(&mut self, line: Line) {
        if self.healed || !self.lines.contains_key(&line) {
            return;
        }
        if self.below(50) == 0 {
            self.withheld.clear();
        }
        match self.below(20) {
            0..=2 => self.replay(line, false),
            3..=5 => self.replay(line, true),
            6 => self.noise_envelope(line),
            7 => self.damaged_envelope(line),
            8..=10 => self.old_answer(line),
            11..=13 => self.forged_answer(line),
            14 => self.release(line),
            15 => {
                let answer = self.some_request(line);
                let id = if self.below(8) == 0 { answer } else { 0 };
                self.lie(line, Said::Bytes(forge::unknown_kind(id)));
            }
            16 if self.below(12) == 0 => self.lie(line, Said::Cut),
            17 if self.below(12) == 0 => {
                let bytes = forge::noise(&mut self.rng, 400);
                self.lie(line, Said::Bytes(bytes));
            }
            18 if self.below(12) == 0 => self.miscount(line),
            19 => self.rummage(),
            _ => {
                let body = forge::body(&mut self.rng);
                self.lie_with(line, 0, body);
            }
        }
        self.pass_on();
    }

    /// What is stored changes its order, or some of it is lost after all.
    fn rummage(&mut self) {
        self.silences += 1;
        let at = self.below(self.honest.mailboxes.len());
        let (turn, lose) = (self.below(5), self.below(10) == 0);
        let Some(stored) = self.honest.mailboxes.values_mut().nth(at) else {
            return;
        };
        if lose {
            stored.pop_front();
        } else if !stored.is_empty() {
            let turn = turn % stored.len();
            stored.rotate_left(turn);
        }
    }

    fn some_request(&mut self, line: Line) -> u64 {
        let open = self.lines.get(&line).map_or(0, |wire| wire.open.len());
        let at = self.below(open);
        let wire = self.lines.get(&line);
        wire.and_then(|wire| wire.open.get(at))
            .copied()
            .unwrap_or(1)
    }

    /// Puts an envelope into the mailbox that is attached there, and so into the count.
    fn plant(&mut self, line: Line, id: Bytes, envelope: Bytes) {
        let Some(mailbox) = self.honest.mailbox_of(line).cloned() else {
            let body = forge::body(&mut self.rng);
            return self.lie_with(line, 0, body);
        };
        let before = self.honest.out.len();
        self.honest.put(&mailbox, id, envelope);
        if self.honest.out.len() > before {
            self.steps += 1;
        }
    }

    /// An envelope that was there before; `astray`: in a mailbox it was not for.
    fn replay(&mut self, line: Line, astray: bool) {
        let mine = self.honest.mailbox_of(line).cloned();
        let candidates: Vec<usize> = self
            .envelopes
            .iter()
            .enumerate()
            .filter(|(_, (to, _, _))| (Some(to) == mine.as_ref()) != astray)
            .map(|(at, _)| at)
            .collect();
        let at = self.below(candidates.len());
        let found = candidates.get(at).and_then(|at| self.envelopes.get(*at));
        match found.cloned() {
            Some((_, id, envelope)) => self.plant(line, id, envelope),
            None => self.noise_envelope(line),
        }
    }

    fn noise_envelope(&mut self, line: Line) {
        let id = forge::random(&mut self.rng, 16);
        let envelope = forge::random(&mut self.rng, limits::ENVELOPE_BYTES);
        self.plant(line, id, envelope);
    }

    fn damaged_envelope(&mut self, line: Line) {
        let at = self.below(self.envelopes.len());
        let Some((_, id, envelope)) = self.envelopes.get(at).cloned() else {
            return self.noise_envelope(line);
        };
        let envelope = forge::damaged(&mut self.rng, &envelope);
        self.plant(line, id, envelope);
    }

    /// An answer that was given before, to anybody, once more; as the answer to something open.
    fn old_answer(&mut self, line: Line) {
        let at = self.below(self.frames.len());
        let Some(old) = self.frames.get(at).cloned() else {
            return self.forged_answer(line);
        };
        let request_id = if self.rng.random() {
            self.some_request(line)
        } else {
            old.request_id
        };
        self.lie(line, Said::Frame(ServerFrame { request_id, ..old }));
    }

    fn forged_answer(&mut self, line: Line) {
        let id = self.some_request(line);
        let body = forge::body(&mut self.rng);
        self.lie_with(line, id, body);
    }

    /// What was held back comes after all, in any order.
    fn release(&mut self, line: Line) {
        let late = self.lines.get(&line).map_or(0, |wire| wire.late.len());
        let at = self.below(late);
        let wire = self.lines.get_mut(&line).filter(|_| late > 0);
        match wire.map(|wire| wire.late.swap_remove(at)) {
            Some(frame) => self.lie(line, Said::Frame(frame)),
            None => self.old_answer(line),
        }
    }

    /// A delivery that is not the next one.
    pub fn miscount(&mut self, line: Line) {
        let Some(wire) = self.lines.get(&line) else {
            return;
        };
        let number = wire.contiguous + 2 + self.rng.random_range(0..3);
        let deliver = kinline_protocol::wire::Deliver {
            number,
            message_id: forge::random(&mut self.rng, 16),
            envelope: forge::random(&mut self.rng, limits::ENVELOPE_BYTES),
        };
        self.lie_with(line, 0, S::Deliver(deliver));
    }
}
