//! A third family: its child gets to know both friends, and the three get a room together.

use std::time::Instant;

use kinline_protocol::content::kinds;
use kinline_protocol::conversation::{ConversationKind, Person as Child};
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event, PassWish};
use kinline_protocol::identity::Supervision;
use kinline_protocol::ids::ConversationId;

use super::acquaintance::{Side, of_kind};
use super::cast::{Broken, PATIENCE, Person, broken, known};
use super::day::{Cast, Day};
use super::friends::{Guests, Names};

const THIRD: Names = Names {
    family: "Familie Quansah-Lindqvist",
    mother: "Theodora Quansah",
    child: "Anouk Lindqvist",
    phone: "Theodoras Nachtdiensttelefon",
    tablet: "Anouks rostrotes Tablet",
    folders: ["third-mother", "third-tablet"],
};
/// What the three call themselves.
const BAND: &str = "Die drei vom Holzsteg";
/// Days that the passes with the third child last.
const PASS_DAYS: u32 = 90;

impl Day {
    /// The third family, as far as it came, and the room of the three.
    pub(super) async fn become_three(
        &mut self,
        cast: &Cast,
        guests: &Guests,
    ) -> (Option<Guests>, Option<ConversationId>) {
        let began = Instant::now();
        let found = self.other_family(&THIRD).await;
        let name = "Theodora founds a third family and pairs Anouk's tablet";
        let Some(third) = self.keep(name, began, found) else {
            return (None, None);
        };
        let band = self.band(cast, guests, &third).await;
        (Some(third), band)
    }

    async fn band(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        third: &Guests,
    ) -> Option<ConversationId> {
        let began = Instant::now();
        let known = self.know_both(cast, guests, third).await;
        self.keep(
            "She meets both mothers; for each two of the children there is a pass",
            began,
            known,
        )?;
        let began = Instant::now();
        let formed = self.agree_on_three(cast, guests, third).await;
        let room = self.keep(
            "Katharina asks for a room of all three children, and both mothers agree",
            began,
            formed,
        )?;
        let began = Instant::now();
        let sung = self.write_as_three(cast, guests, third, room).await;
        self.note(
            "Each of the three writes there; the two others and Katharina read it",
            began,
            sung,
        );
        Some(room)
    }

    async fn know_both(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        third: &Guests,
    ) -> Result<(), Broken> {
        let contacts = PassWish {
            supervision: Supervision::Contacts,
            guardians: vec![],
            kinds: kinds::ALL,
            days: PASS_DAYS,
        };
        let reads_along = PassWish {
            supervision: Supervision::Everything,
            guardians: vec![(cast.mother.member().await?, false)],
            ..contacts.clone()
        };
        let mother: &[&Person] = &[&cast.mother];
        let pairs: [(Side<'_>, PassWish, &[&Person]); 2] = [
            (cast.side(), reads_along, mother),
            (guests.side(), contacts.clone(), &[]),
        ];
        for (side, wish, watching) in pairs {
            let sides = [side, third.side()];
            let link = self.meet(sides).await?;
            self.agree(sides, link, [wish, contacts.clone()]).await?;
            self.room_of(sides, watching, &[&third.mother]).await?;
        }
        Ok(())
    }

    async fn agree_on_three(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        third: &Guests,
    ) -> Result<ConversationId, Broken> {
        self.secrets.add(BAND);
        let everybody = [&cast.people()[..], &guests.people(), &third.people()].concat();
        self.rest(&everybody).await?;
        let mut children = Vec::new();
        for side in [cast.side(), guests.side(), third.side()] {
            children.push(Child {
                family: side.id().await?,
                member: side.child.member().await?,
            });
        }
        let offer = Command::OfferGroup {
            children,
            title: BAND.into(),
        };
        let asked = [&guests.mother, &third.mother];
        let mut readers = asked.map(|mother| mother.device.events());
        cast.mother.device.command(offer).await?;
        for (mother, events) in asked.into_iter().zip(&mut readers) {
            let offered = |event: &Event| match event {
                Event::GroupOffered { group, title, .. } if title == BAND => Some(*group),
                _ => None,
            };
            let group = events
                .wait_for("the question whether three may talk", PATIENCE, offered)
                .await?;
            let yes = Command::AnswerGroup {
                group,
                accept: true,
            };
            mother.does(yes).await?;
        }
        let band = |engine: &Engine| {
            let mut rooms = of_kind(engine, ConversationKind::Contact);
            rooms.find(|room| room.title == BAND).map(|room| room.id)
        };
        let room = third.child.until("the room of the three", band).await?;
        let children = [&cast.child, &guests.child, &third.child];
        self.all_there(room, &children, &[&cast.mother]).await?;
        self.rest(&everybody).await?;
        for person in [&cast.father, &guests.mother, &third.mother] {
            if person.conversation(room).await.is_ok() {
                return Err(broken(format!("{} is in the room", person.name)));
            }
        }
        Ok(room)
    }

    async fn write_as_three(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        third: &Guests,
        room: ConversationId,
    ) -> Result<(), Broken> {
        let lines = [
            (&cast.child, "Wer bringt die Schaufeln zum Mühlenbach?"),
            (&guests.child, "Ich! Und Anouk die Gummistiefel 🥾"),
            (&third.child, "Abgemacht, und Zimtschnecken für alle drei"),
        ];
        for (writer, words) in lines {
            self.secrets.add(words);
            let text = writer.text(room, words).await?;
            for reader in [&cast.child, &guests.child, &third.child, &cast.mother] {
                if reader.name != writer.name {
                    reader.sees(text).await?;
                }
            }
        }
        Ok(())
    }

    /// With the pass of two of them, the three are together no longer.
    pub(super) async fn parted(
        &self,
        cast: &Cast,
        guests: &Guests,
        third: &Guests,
        room: ConversationId,
    ) -> Result<(), Broken> {
        let both = [cast.child.member().await?, guests.child.member().await?];
        for person in [&cast.child, &guests.child, &third.child] {
            person
                .until("one of two who may not talk going out", move |engine| {
                    let members = known(engine, room)?.members;
                    let there = |it| members.iter().any(|who| who.member == it);
                    (!both.into_iter().all(there)).then_some(())
                })
                .await?;
        }
        Ok(())
    }
}
