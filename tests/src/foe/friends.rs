//! Two families: their guardians meet and agree on passes, their children talk, and what was
//! agreed ends again.

use kinline_protocol::content::kinds;
use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::engine::io::{Command, Event, MemberRole, PassWish};
use kinline_protocol::identity::Supervision;
use kinline_protocol::ids::{ConversationId, PassId};
use kinline_protocol::pairing::CodeKind;
use kinline_protocol::policy::Policy;
use rand::RngExt;

use super::device::Name;
use super::family::Life;
use super::liar::Manners;

/// The other house: its guardian's phone and its child's tablet.
pub const FRIENDS: [(Name, &str); 2] = [("ana", "Ada"), ("leo", "Leo")];
const OTHER_HOUSE: &str = "Okafor";
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

impl Life {
    /// Two families that have met, under a relay that is honest so far; `pass` lets their
    /// children talk.
    ///
    /// # Panics
    /// When they don't come together.
    #[must_use]
    pub fn friends(seed: u64, manners: Manners) -> Self {
        let mut life = Self::of(2, seed, manners);
        life.liar.be_honest(true);
        let [(ana, ada), (leo, leonard)] = FRIENDS;
        life.add_to(OTHER_HOUSE, ana, ada);
        life.connect(ana);
        life.admit(ana);
        let create = Command::CreateFamily {
            family_name: OTHER_HOUSE.into(),
            guardian_name: ada.into(),
        };
        life.command(ana, create);
        life.settle();
        life.add_to(OTHER_HOUSE, leo, leonard);
        assert!(life.pair(ana, leo, MemberRole::Child), "no Leo");
        assert!(life.meet("mum", "mia", ana, leo), "they did not meet");
        assert!(life.agree(wish()).is_some(), "no pass");
        life.settle();
        assert!(life.contact("mia").is_some(), "no contact");
        life
    }

    fn event_of<T>(&self, name: Name, which: impl Fn(&Event) -> Option<T>) -> Option<T> {
        self.events.get(name)?.iter().rev().find_map(which)
    }

    /// Two guardians meet about two children; false when that did not work.
    pub fn meet(&mut self, host: Name, child: Name, guest: Name, other: Name) -> bool {
        self.events.clear();
        let (Some(child), Some(other)) = (
            self.devices[child].engine.member(),
            self.devices[other].engine.member(),
        ) else {
            return false;
        };
        let by = CodeKind::Qr;
        let start = Command::StartMeeting { child, by };
        if self.try_command(host, start).is_err() {
            return false;
        }
        let Some(code) = self.event_of(host, |event| match event {
            Event::MeetingCode { code } => Some(code.clone()),
            _ => None,
        }) else {
            return false;
        };
        let join = Command::JoinMeeting { code, child: other };
        if self.try_command(guest, join).is_err() {
            return false;
        }
        let pictures = |event: &Event| match event {
            Event::MeetingRequest { pictures, .. } => Some(pictures.clone()),
            _ => None,
        };
        let seen = self.event_of(host, pictures);
        if seen.is_none() || seen != self.event_of(guest, pictures) {
            return false;
        }
        let (one, two) = (self.devices[host].house, self.devices[guest].house);
        self.oracle.met(one, two);
        for name in [host, guest] {
            let yes = Command::AnswerMeeting { accept: true };
            if self.try_command(name, yes).is_err() {
                return false;
            }
        }
        self.settle();
        self.link().is_some()
    }

    fn of_kind(&self, name: Name, kind: ConversationKind) -> Option<ConversationId> {
        let all = self.devices[name].engine.conversations();
        let mut found = all.iter().rev().filter(|it| it.kind == kind);
        found.next().map(|it| it.id)
    }

    /// The link of the two families.
    #[must_use]
    pub fn link(&self) -> Option<ConversationId> {
        self.of_kind("mum", ConversationKind::Link)
    }

    /// The contact conversation of a device.
    #[must_use]
    pub fn contact(&self, name: Name) -> Option<ConversationId> {
        self.of_kind(name, ConversationKind::Contact)
    }

    /// The first family offers a pass and the other agrees, with the same wish.
    pub fn agree(&mut self, wish: PassWish) -> Option<PassId> {
        let offered = PassWish {
            guardians: vec![],
            ..wish.clone()
        };
        self.agree_on(offered, wish)
    }

    /// The first family offers a pass and the other agrees, each with its own wish.
    pub fn agree_on(&mut self, offered: PassWish, wish: PassWish) -> Option<PassId> {
        let link = self.link()?;
        let child = self.devices["mia"].engine.member()?;
        let other_child = self.devices["leo"].engine.member()?;
        self.events.clear();
        let offer = Command::OfferPass {
            link,
            child,
            other_child,
            wish: offered,
        };
        self.try_command("mum", offer).ok()?;
        self.settle();
        let pass = self.event_of("ana", |event| match event {
            Event::PassOffered { pass, .. } => Some(pass.id()),
            _ => None,
        })?;
        let answer = Command::AnswerPass {
            pass,
            wish: Some(wish),
        };
        self.try_command("ana", answer).ok()?;
        self.passes.push(pass);
        self.settle();
        Some(pass)
    }

    /// What two families do beside talking: passes end and begin, days pass without guardians,
    /// policies change, a tablet is taken out.
    pub fn befriend(&mut self) {
        for name in ["mia", "leo"] {
            if let Some(id) = self.contact(name) {
                let number = self.oracle.contents();
                self.text(name, id, &format!("{name} says {number} to a friend"));
            }
        }
        match self.rng.random_range(0..24) {
            0 => {
                self.end_pass();
            }
            1 | 2 => {
                self.agree(wish());
            }
            3 => {
                let guardian = ["mum", "ana"][self.rng.random_range(0..2)];
                let days = self.rng.random_range(1..20);
                self.without(&[guardian], days);
            }
            4 => {
                let paused = self.rng.random();
                self.police("leo", paused);
            }
            5 => self.pass(DAY_MS),
            _ => {}
        }
    }

    /// One of the two families revokes the newest pass.
    pub fn end_pass(&mut self) -> bool {
        let Some(pass) = self.passes.pop() else {
            return false;
        };
        let by = ["mum", "ana"][self.rng.random_range(0..2)];
        self.unsettle_contacts();
        self.try_command(by, Command::RevokePass { pass }).is_ok()
    }

    /// Days pass while these guardians' phones are off; children go on talking.
    pub fn without(&mut self, guardians: &[Name], days: u32) {
        self.unsettle_contacts();
        for name in guardians {
            self.disconnect(name);
        }
        for _ in 0..days {
            self.pass(DAY_MS);
            for name in ["mia", "leo"] {
                if let Some(id) = self.contact(name) {
                    let number = self.oracle.contents();
                    self.text(name, id, &format!("{name} says {number} alone"));
                }
            }
        }
    }

    /// The other family's guardian changes what her child may do.
    pub fn police(&mut self, child: Name, paused: bool) {
        let Some(child) = self.devices[child].engine.member() else {
            return;
        };
        self.unsettle_contacts();
        let policy = Policy {
            paused,
            ..Policy::open("UTC")
        };
        drop(self.try_command("ana", Command::SetPolicy { child, policy }));
    }

    /// What was said to contacts need not arrive any more.
    fn unsettle_contacts(&mut self) {
        for device in self.devices.values() {
            for it in device.engine.conversations() {
                if it.kind == ConversationKind::Contact {
                    self.oracle.unsettle(it.id);
                }
            }
        }
    }
}

/// A wish without guardians in the room.
#[must_use]
pub fn wish() -> PassWish {
    PassWish {
        supervision: Supervision::Contacts,
        guardians: vec![],
        kinds: kinds::ALL,
        days: 100,
    }
}
