//! The liar: between the honest relay and the devices, frame by frame, by a seed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use kinline_protocol::wire::{
    self, ClientFrame, ErrorCode, ServerFrame, client_frame::Body as C, server_frame::Body as S,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::forge;
use super::honest::{Honest, Line};

/// What day it is at first, as in [`super::Life::found`].
const FIRST_DAY: u32 = 20_833;
/// Envelopes that it remembers, to say them again.
const ENVELOPES_MAX: usize = 400;
/// Frames that it remembers.
const FRAMES_MAX: usize = 200;
/// Requests of a connection whose ids it remembers.
const OPEN_MAX: usize = 40;

/// What goes out to a device.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few of them at a time, in a test"
)]
pub enum Said {
    /// A frame.
    Frame(ServerFrame),
    /// Bytes that should be one.
    Bytes(Bytes),
    /// The connection is cut.
    Cut,
}

/// How bad it is: chances in a thousand, and what it does not shrink from.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// A request is answered wrongly, or not, or is not done.
    pub answer: u32,
    /// A frame to a device is changed, held back, or goes elsewhere too.
    pub frame: u32,
    /// An envelope is lost for good although it says ok.
    pub lose: u32,
    /// A recipient is said to be full, gone, or something unheard of.
    pub recipient: u32,
    /// A hello is odd or of another relay.
    pub hello: u32,
    /// A blob is lost, cut short or damaged.
    pub blob: u32,
    /// It grants one slot to several, and loses slots: pasts fork, which cannot be undone.
    pub forks: bool,
}

impl Manners {
    /// Some of everything that can be mended.
    pub const BAD: Self = Self {
        answer: 70,
        frame: 50,
        lose: 50,
        recipient: 10,
        hello: 60,
        blob: 40,
        forks: false,
    };
    /// And pasts fork.
    pub const WORST: Self = Self {
        forks: true,
        ..Self::BAD
    };
}

/// A connection as the liar sees it.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// Requests that may still be open, oldest first.
    pub(super) open: VecDeque<u64>,
    /// Deliveries that went out, counted without holes.
    pub(super) contiguous: u64,
    /// It called itself something else.
    pub(super) stranger: bool,
    /// Frames that are held back.
    pub(super) late: Vec<ServerFrame>,
}

/// The enemy.
#[derive(Debug)]
pub struct Liar {
    /// What it knows and does when it does not lie.
    pub honest: Honest,
    /// What no device may ever say, said.
    pub complaints: Vec<String>,
    /// Adversarial actions that reached a device.
    pub steps: u64,
    /// Frames of devices that it heard.
    pub heard: u64,
    /// Lies by silence: what did not reach anybody.
    pub silences: u64,
    /// Slots that were granted twice or lost.
    pub forks: u64,
    /// Tokens of slots that held a commit and were emptied.
    pub lost: Vec<Vec<u8>>,
    /// Hears no sends, healed or not: for stories.
    pub deaf: bool,
    /// So many offers are taken and answered with a winner that is none: for stories.
    pub deny: u32,
    pub(super) rng: ChaCha20Rng,
    pub(super) manners: Manners,
    pub(super) healed: bool,
    pub(super) lines: BTreeMap<Line, Wire>,
    pub(super) envelopes: VecDeque<(Vec<u8>, Bytes, Bytes)>,
    pub(super) frames: VecDeque<ServerFrame>,
    /// Slots that it keeps to itself for now.
    pub(super) withheld: BTreeSet<Vec<u8>>,
    /// Commits that came too late for their slot.
    pub(super) losers: Vec<(Vec<u8>, Bytes)>,
    pub(super) nonces: HashMap<[u8; 24], Bytes>,
    pub(super) generations: BTreeMap<Vec<u8>, u64>,
    /// The one mailbox whose device was told that its store is a copy.
    pub(super) called_copy: Option<Vec<u8>>,
    /// The next frame says so.
    pub(super) calls_copy: bool,
    next_line: Line,
    out: VecDeque<(Line, Said)>,
}

impl Liar {
    /// An enemy that does the same again with the same seed and the same frames.
    #[must_use]
    pub fn new(seed: u64, manners: Manners) -> Self {
        let mut honest = Honest::default();
        honest.day = FIRST_DAY;
        Self {
            honest,
            complaints: vec![],
            steps: 0,
            heard: 0,
            silences: 0,
            forks: 0,
            lost: vec![],
            deaf: false,
            deny: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            manners,
            healed: false,
            lines: BTreeMap::new(),
            envelopes: VecDeque::new(),
            frames: VecDeque::new(),
            withheld: BTreeSet::new(),
            losers: vec![],
            nonces: HashMap::new(),
            generations: BTreeMap::new(),
            called_copy: None,
            calls_copy: false,
            next_line: 1,
            out: VecDeque::new(),
        }
    }

    /// Envelopes that it remembers: mailbox, message id, bytes.
    #[must_use]
    pub fn remembered(&self) -> Vec<(Vec<u8>, Bytes, Bytes)> {
        self.envelopes.iter().cloned().collect()
    }

    /// What goes out next.
    pub fn pop(&mut self) -> Option<(Line, Said)> {
        self.out.pop_front()
    }

    /// It lies no more. What it lost stays lost; connections are cut, so that everybody asks again.
    pub fn heal(&mut self) {
        self.be_honest(true);
        for line in self.lines.keys().copied().collect::<Vec<_>>() {
            self.out.push_back((line, Said::Cut));
        }
    }

    /// It lies, or for a while it does not.
    pub fn be_honest(&mut self, honest: bool) {
        self.healed = honest;
        self.withheld.clear();
        for wire in self.lines.values_mut() {
            wire.late.clear();
        }
    }

    /// How bad it is from now on.
    pub const fn behave(&mut self, manners: Manners) {
        self.manners = manners;
    }

    /// What is offered is taken, and its author hears that something else was there before.
    fn deny_offer(&mut self, line: Line, frame: ClientFrame) {
        let id = frame.request_id;
        self.honest.serve(line, frame);
        self.honest
            .out
            .retain(|(to, said)| *to != line || said.request_id != id);
        let commit = Some(wire::CommitAnswer {
            mine: false,
            winner: vec![7; 1_024].into(),
        });
        let result = wire::SendResult {
            recipients: vec![],
            commit,
        };
        self.lie_with(line, id, S::SendResult(result));
        self.pass_on();
    }

    pub(super) fn strikes(&mut self, chance: u32) -> bool {
        !self.healed && self.rng.random_range(0..1_000) < chance
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound.max(1))
    }

    /// A device connects; it hears hello, or what is said in its place.
    pub fn connected(&mut self, server_name: &str) -> Line {
        let line = self.next_line;
        self.next_line += 1;
        let mut hello = wire::Hello {
            nonce: forge::random(&mut self.rng, 32),
            server_name: server_name.to_owned(),
            day: self.honest.day,
            ..wire::Hello::default()
        };
        let mut stranger = false;
        if self.strikes(self.manners.hello) {
            self.steps += 1;
            match self.below(6) {
                0 => {
                    stranger = true;
                    hello.server_name.push('x');
                }
                1 => {
                    stranger = true;
                    hello.nonce = forge::noise(&mut self.rng, 31);
                }
                _ => hello = forge::odd_hello(&mut self.rng, hello),
            }
        }
        self.honest
            .connected(line, &hello.server_name, &hello.nonce);
        let wire = Wire {
            stranger,
            ..Wire::default()
        };
        self.lines.insert(line, wire);
        let frame = ServerFrame {
            request_id: 0,
            critical: vec![],
            body: Some(S::Hello(hello)),
        };
        self.out.push_back((line, Said::Frame(frame)));
        line
    }

    /// A connection is gone.
    pub fn gone(&mut self, line: Line) {
        self.lines.remove(&line);
        self.honest.gone(line);
        self.out.retain(|(to, _)| *to != line);
        self.pass_on();
    }

    /// A device says something.
    pub fn hear(&mut self, line: Line, frame: ClientFrame) {
        self.heard += 1;
        self.watch(line, &frame);
        let Some(wire) = self.lines.get_mut(&line) else {
            return;
        };
        if frame.request_id > 0 {
            wire.open.push_back(frame.request_id);
            if wire.open.len() > OPEN_MAX {
                wire.open.pop_front();
            }
        }
        if let Some(C::Send(send)) = &frame.body {
            for to in &send.deliveries {
                let seen = (
                    to.mailbox.to_vec(),
                    to.message_id.clone(),
                    to.envelope.clone(),
                );
                self.envelopes.push_back(seen);
            }
            while self.envelopes.len() > ENVELOPES_MAX {
                self.envelopes.pop_front();
            }
        }
        let chance = match &frame.body {
            Some(C::Acknowledge(_)) => self.manners.answer / 4,
            _ => self.manners.answer,
        };
        if matches!(&frame.body, Some(C::Send(_))) && self.deaf {
            return;
        }
        if matches!(&frame.body, Some(C::Send(send)) if send.commit.is_some()) && self.deny > 0 {
            self.deny -= 1;
            return self.deny_offer(line, frame);
        }
        let withheld = matches!(&frame.body, Some(C::FetchCommit(fetch)) if self.withheld.contains(fetch.token.as_ref()));
        if withheld || self.strikes(chance) {
            self.answer_wrongly(line, frame);
        } else {
            let frame = self.shorten(frame);
            self.honest.serve(line, frame);
        }
        self.pass_on();
    }

    /// Envelopes that it says it took, and throws away.
    fn shorten(&mut self, mut frame: ClientFrame) -> ClientFrame {
        let lose = self.manners.lose;
        if let Some(C::Send(send)) = &mut frame.body {
            for to in &mut send.deliveries {
                if !self.strikes(lose) {
                    continue;
                }
                self.silences += 1;
                // Into a mailbox that nobody has, but the answer says ok.
                self.honest.mailboxes.entry(vec![0; 16]).or_default();
                to.mailbox = vec![0; 16].into();
            }
        }
        frame
    }

    /// What the honest relay says goes out, or something like it.
    pub(super) fn pass_on(&mut self) {
        while let Some((line, frame)) = self.honest.out.pop_front() {
            if self.strikes(self.manners.frame) {
                self.tamper(line, frame);
            } else {
                self.emit(line, Said::Frame(frame));
            }
        }
    }

    /// Whether saying this where it does not belong would grant a slot.
    pub(super) fn grants(frame: &ServerFrame) -> bool {
        matches!(&frame.body, Some(S::SendResult(result)) if result.commit.as_ref().is_some_and(|commit| commit.mine))
    }

    pub(super) fn emit(&mut self, line: Line, said: Said) {
        let decoded = match &said {
            Said::Frame(frame) => Some(frame.clone()),
            Said::Bytes(bytes) => wire::decode_server(bytes.clone()).ok(),
            Said::Cut => None,
        };
        let Some(wire) = self.lines.get_mut(&line) else {
            return;
        };
        if let Some(frame) = decoded {
            match &frame.body {
                Some(S::Deliver(deliver)) => {
                    let next = deliver.number == wire.contiguous + 1;
                    wire.contiguous += u64::from(next);
                }
                _ if !Self::grants(&frame) => {
                    self.frames.push_back(frame);
                    if self.frames.len() > FRAMES_MAX {
                        self.frames.pop_front();
                    }
                }
                _ => {}
            }
        }
        self.out.push_back((line, said));
    }

    /// An adversarial action reaches a device.
    pub(super) fn lie(&mut self, line: Line, mut said: Said) {
        let decoded = match &said {
            Said::Frame(frame) => Some(frame.clone()),
            Said::Bytes(bytes) => wire::decode_server(bytes.clone()).ok(),
            Said::Cut => None,
        };
        // Not by chance: see `lie_about_attach`.
        if let Some(mut frame) = decoded
            && let Some(S::Error(error)) = &mut frame.body
            && error.code() == ErrorCode::StaleGeneration
            && !std::mem::take(&mut self.calls_copy)
        {
            error.code = ErrorCode::Internal.into();
            said = Said::Frame(frame);
        }
        if self.lines.contains_key(&line) {
            self.steps += 1;
        }
        self.emit(line, said);
    }

    pub(super) fn lie_with(&mut self, line: Line, request_id: u64, body: S) {
        let frame = ServerFrame {
            request_id,
            critical: vec![],
            body: Some(body),
        };
        self.lie(line, Said::Frame(frame));
    }
}
