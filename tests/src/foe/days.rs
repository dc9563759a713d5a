//! What a family does all day, and the reckoning when the lying has stopped.

use std::collections::BTreeMap;

use kinline_protocol::content::Body;
use kinline_protocol::conversation::{ConversationKind, ProposedChange};
use kinline_protocol::engine::ConversationSummary;
use kinline_protocol::engine::io::{Command, Event, MemberRole, Silence};
use kinline_protocol::ids::ConversationId;
use kinline_protocol::limits;
use kinline_protocol::pairing::CodeKind;
use rand::RngExt;

use super::device::Name;
use super::family::{Life, WAITING_MS};
use super::outlaw::Outlaw;

/// Days in which devices that were left behind come back after the lying.
const HEALING_DAYS: usize = 3;
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

impl Life {
    fn pictures(&self, name: Name) -> Option<String> {
        let mut events = self.events.get(name)?.iter().rev();
        events.find_map(|event| match event {
            Event::PairingRequest { pictures, .. } | Event::PairingStarted { pictures } => {
                Some(pictures.clone())
            }
            _ => None,
        })
    }

    /// Lets a device in; false when that did not work and people have to try again.
    pub fn pair(&mut self, guardian: Name, new: Name, role: MemberRole) -> bool {
        self.events.clear();
        let name = self.devices[new].person.to_owned();
        for name in [guardian, new] {
            if self.devices[name].line.is_none() {
                self.connect(name);
            }
        }
        if self
            .try_command(
                guardian,
                Command::StartPairing {
                    role,
                    name,
                    by: CodeKind::Qr,
                },
            )
            .is_err()
        {
            return false;
        }
        let events = self.events.get(guardian).into_iter().flatten();
        let code = events.rev().find_map(|event| match event {
            Event::PairingCode { code } => Some(code.clone()),
            _ => None,
        });
        let Some(code) = code else { return false };
        if self.try_command(new, Command::JoinByCode { code }).is_err() {
            return false;
        }
        let (ours, theirs) = (self.pictures(guardian), self.pictures(new));
        if ours.is_none() || ours != theirs {
            return false;
        }
        // From here on her device may let it in, whatever the guardian hears of it.
        self.admit(new);
        let yes = Command::AnswerPairing { accept: true };
        if self.try_command(guardian, yes).is_err() {
            return false;
        }
        self.settle();
        self.devices[new].engine.member().is_some()
    }

    fn anybody(&mut self) -> Name {
        let names: Vec<Name> = self
            .devices
            .iter()
            .filter(|(_, device)| !device.retired && device.engine.member().is_some())
            .map(|(name, _)| *name)
            .collect();
        names[self.rng.random_range(0..names.len())]
    }

    fn somewhere(&mut self, name: Name) -> Option<ConversationId> {
        let all = self.devices[name].engine.conversations();
        let at = self.rng.random_range(0..all.len().max(1));
        all.get(at).map(|conversation| conversation.id)
    }

    /// Somebody does something, and the enemy too: about `mischief` pieces on each connection.
    pub fn turn(&mut self, mischief: usize) {
        self.events.clear();
        let name = self.anybody();
        self.act(name);
        for name in self.devices.keys().copied().collect::<Vec<_>>() {
            for _ in 0..mischief {
                let Some(line) = self.devices[name].line else {
                    break;
                };
                self.liar.mischief(line);
            }
            self.pump();
            let device = &self.devices[name];
            if device.line.is_none() && !device.retired && self.rng.random_ratio(1, 2) {
                self.connect(name);
            }
        }
        let ms = match self.rng.random_range(0..20) {
            0 => WAITING_MS,
            1..=4 => 60_000,
            _ => 2_500,
        };
        self.pass(ms);
    }

    fn act(&mut self, name: Name) {
        let Some(id) = self.somewhere(name) else {
            return;
        };
        match self.rng.random_range(0..40) {
            0 => {
                let long = "long words ".repeat(self.rng.random_range(60..300));
                self.text(name, id, &long);
            }
            1..=3 => self.react(name, id),
            4..=6 => {
                let read = Command::MarkRead { conversation: id };
                drop(self.try_command(name, read));
            }
            7 | 8 => {
                let typing = Command::Typing { conversation: id };
                drop(self.try_command(name, typing));
            }
            9 | 10 => {
                let update = Command::SelfUpdate { conversation: id };
                drop(self.try_command(name, update));
            }
            11 => {
                self.restart(name);
                self.connect(name);
            }
            12 | 13 => self.disconnect(name),
            14 if self.devices[name].engine.conversations().len() < 4 => self.form(name),
            _ => {
                let number = self.oracle.contents();
                self.text(name, id, &format!("{name} says {number}"));
            }
        }
    }

    fn react(&mut self, name: Name, id: ConversationId) {
        let screen = self.devices[name].screen();
        let target = screen
            .iter()
            .rev()
            .find(|view| view.conversation == id && view.body.is_some())
            .map(|view| view.content);
        if let Some(target) = target {
            let emoji = "💛".into();
            self.say(name, id, Body::Reaction { target, emoji });
        }
    }

    /// Forms a room with one or two others.
    fn form(&mut self, name: Name) {
        let own = self.devices[name].engine.member();
        let log = self.devices[name].engine.family_log();
        let mut members: Vec<_> = log
            .into_iter()
            .flat_map(|log| log.members().keys().copied())
            .filter(|member| Some(*member) != own)
            .collect();
        members.truncate(self.rng.random_range(1..3));
        let title = format!("room {}", self.rng.random_range(0..1_000));
        let create = Command::CreateConversation { title, members };
        drop(self.try_command(name, create));
    }

    /// A guardian who is about to put her phone away takes a device out of the family.
    /// False when somebody was faster.
    pub fn take_out(&mut self, by: Name, whom: Name) -> bool {
        let family = self.family();
        let mut outlaw = Outlaw::of(&self.devices[by], family);
        let device = self.id(whom);
        if outlaw.log.certificate(&device).is_none() {
            return false;
        }
        let decision = kinline_protocol::identity::Decision::RemoveDevice(device);
        let (today, identity) = (self.now.day(), &outlaw.identity);
        let statements = outlaw
            .log
            .propose(vec![decision], identity, today, &mut self.rng);
        let change = ProposedChange {
            remove: vec![device],
            ..outlaw.change(&statements, today)
        };
        if outlaw.conversation.has_pending_commit()
            || !outlaw.offer(&mut self.liar.honest, change, &mut self.rng)
        {
            return false;
        }
        self.oracle.allow_removal(family, device);
        self.oracle.expel(device);
        let own = self.id(by);
        self.oracle.retire(own);
        self.disconnect(by);
        self.device(by).retired = true;
        true
    }

    // ---- the reckoning

    /// Connects whoever is not connected.
    pub fn reconnect(&mut self) {
        for name in self.devices.keys().copied().collect::<Vec<_>>() {
            let device = &self.devices[name];
            if device.line.is_none() && !device.retired {
                self.connect(name);
            }
        }
    }

    /// The lying stops. Everyone comes to rest, agrees, and goes on; then what is still on its
    /// way is given up.
    pub fn reckon(&mut self) {
        self.liar.heal();
        for token in self.liar.lost.clone() {
            self.oracle.lost(&token);
        }
        self.pump();
        self.reconnect();
        self.settle();
        // What was confirmed falsely, or not at all, shows with time.
        for _ in 0..9 {
            self.pass(WAITING_MS);
            self.reconnect();
            self.settle();
        }
        // A device is brought back, and suspects that it was left behind, a few times a day.
        for _ in 0..HEALING_DAYS {
            for name in self.devices.keys().copied().collect::<Vec<_>>() {
                self.disconnect(name);
            }
            self.pass(DAY_MS);
            self.reconnect();
            self.settle();
            for _ in 0..4 {
                self.pass(60_000);
                self.reconnect();
                self.settle();
            }
        }
        self.go_on();
        let mut looks = Vec::new();
        for device in self.devices.values().filter(|device| !device.retired) {
            for conversation in device.engine.conversations() {
                let look = device.look(conversation.id);
                looks.extend(look.map(|look| (device.engine.device(), conversation.id, look)));
            }
        }
        self.oracle.agree(&looks);
        self.pass(DAY_MS * u64::from(limits::CONTENT_KEEP_DAYS + 2));
        self.reconnect();
        self.settle();
        self.pass(2 * WAITING_MS);
        self.settle();
        self.oracle.nothing_is_missing();
    }

    /// Whether a device is alone in a conversation, or has to come back into it and nobody else
    /// ever came in, because the welcome was lost: there is nobody who could bring it back.
    fn is_left_alone(&self, name: Name, conversation: &ConversationSummary) -> bool {
        let engine = &self.devices[name].engine;
        let members = conversation.members.iter();
        let mut others = members
            .flat_map(|member| member.devices.iter().copied())
            .filter(|other| *other != engine.device())
            .peekable();
        let lost = engine.silence_of(conversation.id, self.now) == Some(Silence::Lost);
        others.peek().is_none()
            || (lost && !others.any(|other| self.oracle.is_reader(conversation.id, other)))
    }

    /// Life goes on: in every conversation everybody moves on, and says one more thing that all
    /// others see.
    fn go_on(&mut self) {
        let names: Vec<Name> = self.devices.keys().copied().collect();
        let mut epochs: BTreeMap<ConversationId, u64> = BTreeMap::new();
        let mut last = Vec::new();
        for name in names {
            let device = self.id(name);
            for conversation in self.devices[name].engine.conversations() {
                let id = conversation.id;
                // Nobody writes among guardians of two families.
                if !self.oracle.is_reader(id, device)
                    || conversation.kind == ConversationKind::Link
                    || self.is_left_alone(name, &conversation)
                {
                    continue;
                }
                *epochs.entry(id).or_insert(conversation.epoch) += 1;
                let update = Command::SelfUpdate { conversation: id };
                drop(self.try_command(name, update));
                self.settle();
                let text = format!("{name}'s last words");
                let Some(content) = self.text(name, id, &text) else {
                    self.oracle
                        .faults
                        .push(format!("{name} can't speak any more"));
                    continue;
                };
                let members = conversation.members.iter();
                let others = members.flat_map(|member| member.devices.iter().copied());
                last.extend(
                    others
                        .filter(|to| *to != device)
                        .map(|to| (id, content, to)),
                );
            }
        }
        self.settle();
        // A retry may have been put off while the lying went on.
        for _ in 0..8 {
            self.pass(WAITING_MS);
            self.settle();
        }
        for (name, device) in &self.devices {
            for conversation in device.engine.conversations() {
                let (id, epoch) = (conversation.id, conversation.epoch);
                let wanted = epochs.get(&id).copied().unwrap_or(0);
                if self.oracle.is_reader(id, device.engine.device()) && epoch < wanted {
                    let title = conversation.title;
                    let what = format!("{name} can't move on in {title:?}: {epoch} of {wanted}");
                    self.oracle.faults.push(what);
                }
            }
        }
        for (id, content, to) in last {
            if self.oracle.is_reader(id, to) && !self.oracle.is_shown(to, content) {
                let what = "after the lying has stopped, last words are not heard";
                self.oracle.faults.push(what.into());
            }
        }
        for (name, device) in self.devices.iter().filter(|(_, device)| !device.retired) {
            // Where the past was destroyed a change may wait for ever.
            let conversations = device.engine.conversations();
            let sound = conversations
                .iter()
                .all(|it| !self.is_left_alone(name, it) && !self.oracle.forked.contains(&it.id));
            if sound && device.engine.member().is_some() && !device.engine.is_settled() {
                self.oracle.faults.push(format!("{name} never settles"));
            }
        }
    }
}
