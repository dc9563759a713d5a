//! What stories are told with.

use std::collections::BTreeMap;

use kinline_protocol::content::{Body, kinds};
use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::engine::io::{Command, Event, MemberRole, PassWish, RecordClass, RecordKey};
use kinline_protocol::engine::view::{self, MessageView};
use kinline_protocol::identity::{Settings, Supervision};
use kinline_protocol::ids::{ConversationId, PassId};

use super::world::{Name, World};
use kinline_protocol::pairing::{CodeKind, PairingCode};

impl World {
    pub(crate) fn pair(&mut self, guardian: Name, new: Name, role: MemberRole, name: &str) {
        assert!(self.try_pair(guardian, new, role, name), "{new} is paired");
    }

    /// False when a process died meanwhile and people have to try again.
    pub(crate) fn try_pair(
        &mut self,
        guardian: Name,
        new: Name,
        role: MemberRole,
        name: &str,
    ) -> bool {
        if !self.device(guardian).online {
            self.connect(guardian);
        }
        let shown = self.device(guardian).events.len();
        if self
            .try_command(
                guardian,
                Command::StartPairing {
                    role,
                    name: name.into(),
                    by: CodeKind::Qr,
                },
            )
            .is_err()
        {
            return false;
        }
        let code = self.device(guardian).events[shown..]
            .iter()
            .find_map(|event| match event {
                Event::PairingCode { code } => Some(code.clone()),
                _ => None,
            });
        let Some(code) = code else { return false };
        if !self.devices.contains_key(new) {
            let scanned: PairingCode = code.parse().unwrap();
            self.add_by(new, &scanned.admission);
        }
        if !self.device(new).online {
            self.connect(new);
        }
        if self.try_command(new, Command::JoinByCode { code }).is_err() {
            return false;
        }
        let pictures = |events: &[Event]| {
            events.iter().rev().find_map(|event| match event {
                Event::PairingRequest { pictures, .. } | Event::PairingStarted { pictures } => {
                    Some(pictures.clone())
                }
                _ => None,
            })
        };
        let (mine, theirs) = (
            pictures(&self.device(guardian).events),
            pictures(&self.device(new).events),
        );
        if mine.is_none() || mine != theirs {
            return false;
        }
        if self
            .try_command(guardian, Command::AnswerPairing { accept: true })
            .is_err()
        {
            return false;
        }
        self.settle();
        self.device(new).engine.member().is_some()
    }

    /// Two guardians' phones and a child's tablet, all attached.
    pub(crate) fn family(&mut self) -> ConversationId {
        for name in ["mum", "dad", "kid"] {
            self.add(name);
        }
        self.connect("mum");
        let create = Command::CreateFamily {
            family_name: "Reed".into(),
            guardian_name: "Anna".into(),
        };
        self.command("mum", create);
        self.pair("mum", "kid", MemberRole::Child, "Mia");
        self.pair("mum", "dad", MemberRole::Guardian, "Ben");
        for name in ["mum", "dad", "kid"] {
            assert!(self.device(name).engine.is_settled(), "{name} is settled");
        }
        self.device("kid").engine.family_conversation().unwrap()
    }

    /// A room of these, formed by the first.
    pub(crate) fn room(&mut self, by: Name, with: &[Name], title: &str) -> ConversationId {
        let members = with
            .iter()
            .map(|name| self.device(name).engine.member().unwrap())
            .collect();
        self.command(
            by,
            Command::CreateConversation {
                title: title.into(),
                members,
            },
        );
        self.settle();
        self.conversation(by, title)
    }

    pub(crate) fn conversation(&mut self, name: Name, title: &str) -> ConversationId {
        let all = self.device(name).engine.conversations();
        all.iter()
            .find(|c| c.title == title)
            .unwrap_or_else(|| panic!("{name} is in {title}"))
            .id
    }

    pub(crate) fn epoch(&mut self, name: Name, conversation: ConversationId) -> u64 {
        let all = self.device(name).engine.conversations();
        all.iter().find(|c| c.id == conversation).unwrap().epoch
    }

    /// From now on so many guardians have to sign; says what is set then.
    pub(crate) fn signatures(&mut self, name: Name, signatures: u32) -> Settings {
        let settings = Settings {
            signatures,
            lease_days: 7,
        };
        self.command(name, Command::ChangeSettings { settings });
        self.settle();
        settings
    }

    pub(crate) fn say(&mut self, name: Name, conversation: ConversationId, body: Body) {
        self.command(
            name,
            Command::Send {
                conversation,
                body,
                reply_to: None,
                disappear_seconds: 0,
                blob: None,
            },
        );
    }

    pub(crate) fn text(&mut self, name: Name, conversation: ConversationId, text: &str) {
        self.say(name, conversation, Body::Text { text: text.into() });
    }

    pub(crate) fn screen(&mut self, name: Name) -> Vec<MessageView> {
        let history = self
            .device(name)
            .store
            .iter()
            .filter(|(key, _)| key.class == RecordClass::History);
        view::messages(history.map(|(key, value)| (key.name.clone(), value.clone())))
    }

    /// A device that is off is restored from a copy of its store, which the relay knows to be
    /// old: it comes back as a new leaf.
    pub(crate) fn restore(&mut self, name: Name, copy: BTreeMap<RecordKey, Vec<u8>>) {
        self.device(name).store = copy;
        self.relay.knows_copies = true;
        self.restart(name);
        self.connect(name);
        self.connect(name);
        self.settle();
    }

    /// Gives the device a new leaf key, and with it the conversation its next epoch.
    pub(crate) fn self_update(&mut self, name: Name, conversation: ConversationId) {
        self.command(name, Command::SelfUpdate { conversation });
    }

    pub(crate) fn texts(&mut self, name: Name) -> Vec<String> {
        let texts = self
            .screen(name)
            .into_iter()
            .filter_map(|view| match view.body {
                Some(Body::Text { text }) => Some(view.edited.unwrap_or(text)),
                _ => None,
            });
        texts.collect()
    }

    pub(crate) fn count(&mut self, name: Name, which: impl Fn(&Event) -> bool) -> usize {
        self.device(name)
            .events
            .iter()
            .filter(|event| which(event))
            .count()
    }
}

impl World {
    /// Another family: a guardian's phone and a child's tablet, all attached.
    pub(crate) fn second_family(&mut self) -> ConversationId {
        for name in ["ana", "leo"] {
            self.add(name);
        }
        self.connect("ana");
        self.command(
            "ana",
            Command::CreateFamily {
                family_name: "Okafor".into(),
                guardian_name: "Ada".into(),
            },
        );
        self.pair("ana", "leo", MemberRole::Child, "Leo");
        self.device("leo").engine.family_conversation().unwrap()
    }

    /// Another family again.
    pub(crate) fn third_family(&mut self) {
        for name in ["zoe", "tim"] {
            self.add(name);
        }
        self.connect("zoe");
        self.command(
            "zoe",
            Command::CreateFamily {
                family_name: "Lund".into(),
                guardian_name: "Zoe".into(),
            },
        );
        self.pair("zoe", "tim", MemberRole::Child, "Tim");
    }

    /// Two guardians meet about two children, by a code.
    pub(crate) fn meet(&mut self, host: Name, child: Name, guest: Name, other: Name) {
        let (child, other) = (
            self.device(child).engine.member().unwrap(),
            self.device(other).engine.member().unwrap(),
        );
        let shown = self.device(host).events.len();
        self.command(
            host,
            Command::StartMeeting {
                child,
                by: CodeKind::Qr,
            },
        );
        let code = self.device(host).events[shown..]
            .iter()
            .find_map(|event| match event {
                Event::MeetingCode { code } => Some(code.clone()),
                _ => None,
            })
            .expect("a code is shown");
        self.command(guest, Command::JoinMeeting { code, child: other });
        let pictures = |events: &[Event]| {
            events.iter().rev().find_map(|event| match event {
                Event::MeetingRequest { pictures, .. } => Some(pictures.clone()),
                _ => None,
            })
        };
        let (one, two) = (
            pictures(&self.device(host).events),
            pictures(&self.device(guest).events),
        );
        assert!(one.is_some() && one == two, "both see the same pictures");
        for name in [host, guest] {
            self.command(name, Command::AnswerMeeting { accept: true });
        }
        self.settle();
    }

    /// The one link of a device.
    pub(crate) fn link(&mut self, name: Name) -> ConversationId {
        self.of_kind(name, ConversationKind::Link)
    }

    pub(crate) fn link_between(&mut self, one: Name, other: Name) -> ConversationId {
        let theirs = self.device(other).engine.conversations();
        let ours = self.device(one).engine.conversations();
        let mut common = ours.iter().filter(|c| {
            c.kind == ConversationKind::Link && theirs.iter().any(|other| other.id == c.id)
        });
        common.next().expect("a link").id
    }

    /// The one contact conversation of a device.
    pub(crate) fn contact(&mut self, name: Name) -> ConversationId {
        self.of_kind(name, ConversationKind::Contact)
    }

    fn of_kind(&mut self, name: Name, kind: ConversationKind) -> ConversationId {
        let all = self.device(name).engine.conversations();
        let mut found = all.iter().filter(|c| c.kind == kind);
        let id = found.next().unwrap_or_else(|| panic!("{name} has none")).id;
        assert!(found.next().is_none(), "{name} has several");
        id
    }

    /// A pass between two children, offered by `host` and accepted by `guest`.
    pub(crate) fn agree(
        &mut self,
        (host, child): (Name, Name),
        (guest, other): (Name, Name),
        wishes: [PassWish; 2],
    ) -> PassId {
        let link = self.link_between(host, guest);
        let (child, other_child) = (
            self.device(child).engine.member().unwrap(),
            self.device(other).engine.member().unwrap(),
        );
        let [ours, theirs] = wishes;
        self.command(
            host,
            Command::OfferPass {
                link,
                child,
                other_child,
                wish: ours,
            },
        );
        self.settle();
        let pass = self
            .device(guest)
            .events
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::PassOffered { pass, .. } => Some(pass.id()),
                _ => None,
            })
            .expect("a pass is offered");
        self.command(
            guest,
            Command::AnswerPass {
                pass,
                wish: Some(theirs),
            },
        );
        self.settle();
        pass
    }
}

/// A wish without guardians in the room.
pub(crate) fn wish() -> PassWish {
    PassWish {
        supervision: Supervision::Contacts,
        guardians: vec![],
        kinds: kinds::ALL,
        days: 100,
    }
}
