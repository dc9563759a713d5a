//! What ends: a contact, a guardian's part in the family, a tablet; and one that comes back.

use kinline_protocol::content::Body;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::ids::{ContentId, ConversationId};
use kinline_protocol::policy::Policy;

use super::cast::{Broken, Person, broken, known};
use super::day::{Cast, Day};
use super::friends::{Bond, Guests, all};
use super::loot;
use super::watch::MESSAGES_A_DAY;

impl Day {
    pub(super) async fn old_copy(
        &mut self,
        cast: &mut Cast,
        guests: &Guests,
        bond: &Bond,
    ) -> Result<(), Broken> {
        let copy = self.home.join("old-copy");
        let folder = cast.child.folder();
        self.rest(&all(cast, guests)).await?;
        cast.child.switch_off().await?;
        loot::copy(&folder, &copy).map_err(|error| broken(error.to_string()))?;
        cast.child.switch_on()?;
        let words = "Der Damm hält schon bis zum Knie";
        self.talk_both_ways(cast, guests, bond, words).await?;
        self.rest(&all(cast, guests)).await?;

        cast.child.switch_off().await?;
        std::fs::remove_dir_all(&folder)?;
        loot::copy(&copy, &folder).map_err(|error| broken(error.to_string()))?;
        let words = "Wo steckst du denn? Das Wasser läuft weg!";
        self.secrets.add(words);
        let missed = guests.child.text(bond.room, words).await?;
        cast.child.switch_on()?;
        // It draws a new mailbox: what waited in the old one is sent again or named as missing.
        self.abandoned += 1;
        let stale = |event: &Event| (*event == Event::StaleStore).then_some(());
        cast.child.notices("that it is a copy", stale).await?;
        let rooms = cast.child.device.with(Engine::conversations).await?;
        for room in rooms {
            let back = |event: &Event| {
                matches!(event, Event::BackIn { conversation } if *conversation == room.id)
                    .then_some(())
            };
            let what = format!("coming back into {}", room.title);
            cast.child.notices(&what, back).await?;
        }
        cast.child.sees(missed).await?;
        let words = "Ich war ein altes Ich, aber jetzt bin ich wieder da";
        self.talk_both_ways(cast, guests, bond, words).await?;
        self.rest(&all(cast, guests)).await
    }

    async fn talk_both_ways(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        bond: &Bond,
        words: &str,
    ) -> Result<(), Broken> {
        let answer = format!("Verstanden: {words}");
        let home = format!("An alle daheim: {words}");
        for secret in [words, &answer, &home] {
            self.secrets.add(secret);
        }
        let text = cast.child.text(bond.room, words).await?;
        guests.child.sees(text).await?;
        let text = guests.child.text(bond.room, &answer).await?;
        cast.child.sees(text).await?;
        let text = cast.child.text(cast.family, &home).await?;
        cast.mother.sees(text).await?;
        let text = cast.father.text(cast.family, &answer).await?;
        cast.child.sees(text).await.map(drop)
    }

    pub(super) async fn end_contact(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        bond: &Bond,
    ) -> Result<(), Broken> {
        self.rest(&all(cast, guests)).await?;
        for tablet in [&cast.child, &guests.child] {
            tablet.device.go_offline().await?;
        }
        let revoke = Command::RevokePass { pass: bond.pass };
        cast.mother.device.command(revoke).await?;
        cast.mother.settled().await?;
        // Linnea's tablet was off too: it does not know yet.
        let words = "Treffen wir uns um drei am Holzsteg?";
        self.secrets.add(words);
        let late = guests.child.text(bond.room, words).await?;
        let never = [cast.child.id().await?, cast.mother.id().await?];
        self.book.not_for(late, &never);
        guests.child.device.go_online().await?;
        self.over_for(&guests.child, bond.room).await?;
        let tablet = cast.child.id().await?;
        let told = |event: &Event| {
            matches!(event, Event::Undelivered { content, device, .. } if *content == late && *device == tablet)
                .then_some(())
        };
        guests.child.notices("that it did not arrive", told).await?;
        guests.child.settled().await?;
        cast.child.device.go_online().await?;
        self.over_for(&cast.child, bond.room).await?;
        for person in [&cast.child, &cast.mother] {
            person.settled().await?;
            never_shown(person, late).await?;
        }
        Ok(())
    }

    /// Waits until a tablet knows that it may not write to the friend any more.
    async fn over_for(&self, tablet: &Person, room: ConversationId) -> Result<(), Broken> {
        let member = tablet.member().await?;
        tablet
            .until("the end of the contact", move |engine: &Engine| {
                let members = known(engine, room)?.members;
                let own = members.iter().find(|who| who.member == member);
                let alone =
                    own.is_none_or(|own| members.iter().all(|other| other.family == own.family));
                alone.then_some(())
            })
            .await?;
        let words = Body::Text {
            text: "Hallo? Bist du noch da?".into(),
        };
        tablet.refused(room, words, None).await.map(drop)
    }

    pub(super) async fn part(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        bond: &Bond,
    ) -> Result<(), Broken> {
        self.rest(&all(cast, guests)).await?;
        let (member, device) = (cast.father.member().await?, cast.father.id().await?);
        let remove = Command::RemoveMember { member };
        cast.mother.device.command(remove).await?;
        for person in [&cast.child, &cast.father] {
            let told = |event: &Event| {
                matches!(event, Event::MemberRemoved { member: gone, frozen: true, .. } if *gone == member)
                    .then_some(())
            };
            person.notices("that he has left", told).await?;
        }
        for (person, conversation) in [
            (&cast.mother, cast.family),
            (&cast.child, cast.family),
            (&cast.mother, bond.link),
            (&guests.mother, bond.link),
        ] {
            person
                .until("his phone going out", move |engine| {
                    let members = known(engine, conversation)?.members;
                    let mut devices = members.iter().flat_map(|who| &who.devices);
                    (!devices.any(|other| *other == device)).then_some(())
                })
                .await?;
        }
        let words = "Papa wohnt jetzt in der Lindenstraße, samstags besuchst du ihn";
        self.secrets.add(words);
        let after = cast.mother.text(cast.family, words).await?;
        cast.child.sees(after).await?;
        let words = Body::Text {
            text: "Liest das noch jemand?".into(),
        };
        cast.father.refused(cast.family, words, None).await?;
        never_shown(&cast.father, after).await
    }

    pub(super) async fn frozen(&self, cast: &Cast) -> Result<(), Broken> {
        let child = cast.child.member().await?;
        let set = |policy| Command::SetPolicy { child, policy };
        let open = Policy::open("Etc/UTC");
        let why = cast.mother.refused_command(set(open.clone())).await?;
        if !why.contains("a guardian was removed") {
            return Err(broken(format!("it was refused because {why}")));
        }
        // What protects needs no waiting.
        let paused = Policy {
            paused: true,
            messages_per_day: MESSAGES_A_DAY,
            ..open
        };
        cast.mother.device.command(set(paused)).await?;
        cast.child
            .until("the pause on the tablet", move |engine| {
                engine.policy_of(&child)?.paused.then_some(())
            })
            .await
    }

    pub(super) async fn lose(&mut self, guests: &Guests) -> Result<(), Broken> {
        self.rest(&guests.people()).await?;
        let (mother, tablet) = (&guests.mother, &guests.child);
        let device = tablet.id().await?;
        tablet.device.go_offline().await?;
        self.abandoned += 1;
        let words = "Liebling, liegt dein Tablet noch in der Straßenbahn?";
        self.secrets.add(words);
        let lost = mother.text(guests.family, words).await?;
        self.book.not_for(lost, &[device]);
        mother
            .device
            .command(Command::RemoveDevice { device })
            .await?;
        let told = |event: &Event| {
            matches!(event, Event::Undelivered { content, device: to, .. } if *content == lost && *to == device)
                .then_some(())
        };
        mother.notices("what did not arrive", told).await?;
        let closed = |event: &Event| {
            matches!(event, Event::MailboxClosed { device: of, undone: false } if *of == device)
                .then_some(())
        };
        mother.notices("the mailbox being closed", closed).await?;
        mother.settled().await?;
        // Whoever finds it switches it on.
        tablet.device.go_online().await?;
        let refused = |event: &Event| matches!(event, Event::RelayError { .. }).then_some(());
        tablet.notices("the closed mailbox", refused).await?;
        tablet.device.go_offline().await?;
        never_shown(tablet, lost).await
    }

    pub(super) async fn last_evening(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        third: Option<&Guests>,
    ) -> Result<(), Broken> {
        let mut people = vec![&cast.mother, &cast.child, &guests.mother];
        people.extend(third.into_iter().flat_map(Guests::people));
        self.evening(&people).await
    }
}

async fn never_shown(person: &Person, content: ContentId) -> Result<(), Broken> {
    match person.on_screen(content).await {
        Ok(_) => Err(broken(format!("{} was shown it", person.name))),
        Err(_) => Ok(()),
    }
}
