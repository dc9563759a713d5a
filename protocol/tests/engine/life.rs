//! A life that has some of everything in it, and what must hold at its end.

use std::collections::BTreeMap;

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::ids::{ContentId, ConversationId};

use super::world::{Name, World};

pub(crate) const NAMES: [Name; 3] = ["mum", "dad", "kid"];

/// A text that was accepted, and who must see it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) by: Name,
    pub(crate) text: String,
    pub(crate) to: Vec<Name>,
}

#[derive(Default)]
pub(crate) struct Life {
    pub(crate) said: Vec<Said>,
}

impl Life {
    pub(crate) fn text(
        &mut self,
        world: &mut World,
        by: Name,
        conversation: ConversationId,
        to: &[Name],
        text: &str,
    ) {
        world.text(by, conversation, text);
        self.said.push(Said {
            by,
            text: text.into(),
            to: to.to_vec(),
        });
    }

    /// A family, talk both ways, self-updates, a stretch offline, a room, long texts.
    /// Whoever is told that something failed tries again, as people do.
    pub(crate) fn live(&mut self, world: &mut World) {
        for name in NAMES {
            world.add(name);
        }
        world.connect("mum");
        let create = Command::CreateFamily {
            family_name: "Reed".into(),
            guardian_name: "Anna".into(),
        };
        world.command("mum", create);
        for (new, role, name) in [
            ("kid", MemberRole::Child, "Mia"),
            ("dad", MemberRole::Guardian, "Ben"),
        ] {
            let paired = (0..6).any(|_| world.try_pair("mum", new, role, name));
            assert!(paired, "{new} could not be paired in six attempts");
        }
        let family = world.device("mum").engine.family_conversation().unwrap();
        for n in 0..10 {
            self.text(world, NAMES[n % 3], family, &NAMES, &format!("f{n}"));
        }
        world.self_update("mum", family);
        world.self_update("kid", family);
        self.text(
            world,
            "dad",
            family,
            &NAMES,
            &format!("long {}", "word ".repeat(400)),
        );
        world.settle();
        world.disconnect("dad");
        for n in 10..14 {
            self.text(world, NAMES[n % 3], family, &NAMES, &format!("f{n}"));
        }
        world.connect("dad");
        world.settle();
        let room = self.room(world);
        let two: [Name; 2] = ["mum", "kid"];
        for n in 0..4 {
            self.text(world, two[n % 2], room, &two, &format!("r{n}"));
        }
        let target = world
            .screen("kid")
            .into_iter()
            .find(|view| !view.mine && view.conversation == family)
            .unwrap()
            .content;
        world.say(
            "kid",
            family,
            Body::Reaction {
                target,
                emoji: "👍".into(),
            },
        );
        self.text(
            world,
            "kid",
            room,
            &two,
            &format!("long too {}", "letter ".repeat(300)),
        );
        self.text(world, "kid", family, &NAMES, "f14");
        world.self_update("dad", family);
        world.command(
            "kid",
            Command::MarkRead {
                conversation: family,
            },
        );
        world.settle();
    }

    fn room(&mut self, world: &mut World) -> ConversationId {
        let kid = world.device("kid").engine.member().unwrap();
        let create = Command::CreateConversation {
            title: "Two".into(),
            members: vec![kid],
        };
        let made = (0..4).any(|_| {
            let made = world.try_command("mum", create.clone()).is_ok();
            world.settle();
            made
        });
        assert!(made, "the room could not be formed");
        world.conversation("kid", "Two")
    }

    /// Nothing lost, nothing twice, everyone's order kept, all agree, nothing left to do.
    pub(crate) fn check(&self, world: &mut World) {
        for name in NAMES {
            self.check_screen(world, name);
            let counters = world.device(name).engine.counters();
            assert!(
                world.device(name).engine.is_settled(),
                "{name} has nothing left to do"
            );
            assert_eq!(counters.unconfirmed, 0, "{name}'s outbox is empty");
            check_shown_once(world, name);
        }
        check_agreement(world);
    }

    fn check_screen(&self, world: &mut World, name: Name) {
        let texts = world.texts(name);
        let wanted = self
            .said
            .iter()
            .filter(|said| said.to.contains(&name))
            .count();
        assert_eq!(texts.len(), wanted, "{name} sees {texts:?}");
        for by in NAMES {
            let of = |text: &&String| {
                self.said
                    .iter()
                    .any(|said| said.by == by && said.text == **text)
            };
            for conversation in world.device(name).engine.conversations() {
                let seen: Vec<String> = world
                    .screen(name)
                    .into_iter()
                    .filter(|view| view.conversation == conversation.id)
                    .filter_map(|view| match view.body {
                        Some(Body::Text { text }) => Some(text),
                        _ => None,
                    })
                    .filter(|text| of(&text))
                    .collect();
                let said: Vec<String> = self
                    .said
                    .iter()
                    .filter(|said| said.by == by && seen.contains(&said.text))
                    .map(|said| said.text.clone())
                    .collect();
                assert_eq!(seen, said, "{name} sees what {by} said, once, in order");
            }
        }
        self.check_senders(world, name);
    }

    fn check_senders(&self, world: &mut World, name: Name) {
        let member_of: BTreeMap<_, _> = NAMES
            .iter()
            .map(|name| (*name, world.devices[name].engine.member().unwrap()))
            .collect();
        for view in world.screen(name) {
            if let Some(Body::Text { text }) = view.body {
                let said = self.said.iter().find(|said| said.text == text).unwrap();
                assert_eq!(
                    view.sender, member_of[said.by],
                    "{name} sees {text} under its writer's name"
                );
            }
        }
    }
}

pub(crate) fn check_shown_once(world: &mut World, name: Name) {
    let mut shown: BTreeMap<ContentId, usize> = BTreeMap::new();
    for event in &world.device(name).events {
        if let Event::Message { content, .. } = event {
            *shown.entry(*content).or_default() += 1;
        }
    }
    assert!(
        shown.values().all(|times| *times == 1),
        "{name} was shown something twice"
    );
}

pub(crate) fn check_agreement(world: &mut World) {
    let mut epochs: BTreeMap<ConversationId, BTreeMap<Name, u64>> = BTreeMap::new();
    for name in NAMES {
        for conversation in world.device(name).engine.conversations() {
            epochs
                .entry(conversation.id)
                .or_default()
                .insert(name, conversation.epoch);
        }
    }
    for epochs in epochs.values() {
        let first = epochs.values().next().unwrap();
        assert!(epochs.values().all(|epoch| epoch == first), "{epochs:?}");
    }
}

#[test]
fn the_oracle_sees_what_is_lost_doubled_out_of_order_or_under_another_name() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let mut world = World::new();
    let mut life = Life::default();
    life.live(&mut world);
    life.check(&mut world);
    let mut caught =
        |life: &Life| catch_unwind(AssertUnwindSafe(|| life.check(&mut world))).is_err();
    let said = &life.said;
    let lost = Said {
        by: "mum",
        text: "never sent".into(),
        to: NAMES.to_vec(),
    };
    assert!(caught(&Life {
        said: said.iter().cloned().chain([lost]).collect(),
    }));
    assert!(caught(&Life {
        said: said.iter().skip(1).cloned().collect(),
    }));
    let mut swapped = said.clone();
    swapped.swap(0, 3);
    assert_eq!(swapped[0].by, swapped[3].by);
    assert!(caught(&Life { said: swapped }));
    let mut renamed = said.clone();
    renamed[0].by = "dad";
    assert!(caught(&Life { said: renamed }));
    assert!(!caught(&life));
    let again = world
        .device("kid")
        .events
        .iter()
        .find(|event| matches!(event, Event::Message { .. }))
        .cloned();
    world.device("kid").events.extend(again);
    assert!(catch_unwind(AssertUnwindSafe(|| life.check(&mut world))).is_err());
}
