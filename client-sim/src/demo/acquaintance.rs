//! Two mothers meet, agree on a contact pass, and their children's room forms.

use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event, PassWish};
use kinline_protocol::identity::Role;
use kinline_protocol::ids::{ConversationId, FamilyId, MemberId, PassId};
use kinline_protocol::pairing::CodeKind;

use super::cast::{Broken, PATIENCE, Person, broken, known};
use super::day::Day;

/// One family of two that meet.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) mother: &'a Person,
    pub(super) father: Option<&'a Person>,
    pub(super) child: &'a Person,
    /// The family's name.
    pub(super) family: &'a str,
}

impl<'a> Side<'a> {
    fn guardians(&self) -> impl Iterator<Item = &'a Person> {
        [self.mother].into_iter().chain(self.father)
    }

    pub(super) async fn id(&self) -> Result<FamilyId, Broken> {
        let log = |engine: &Engine| Some(engine.family_log()?.family());
        let family = self.mother.device.with(log).await?;
        family.ok_or_else(|| broken(format!("{} is in no family", self.mother.name)))
    }
}

/// Everybody of both.
fn all<'a>(sides: [Side<'a>; 2]) -> Vec<&'a Person> {
    let people = sides
        .iter()
        .flat_map(|side| side.guardians().chain([side.child]));
    people.collect()
}

impl Day {
    /// The first one's mother shows the code, the other's scans it.
    pub(super) async fn meet(&mut self, sides: [Side<'_>; 2]) -> Result<ConversationId, Broken> {
        self.rest(&all(sides)).await?;
        let [host, guest] = sides;
        let (mut asked, mut heard) = (host.mother.device.events(), guest.mother.device.events());
        let start = Command::StartMeeting {
            child: host.child.member().await?,
            by: CodeKind::Qr,
        };
        host.mother.device.command(start).await?;
        let code = asked
            .wait_for("the code of the meeting", PATIENCE, |event| match event {
                Event::MeetingCode { code } => Some(code.clone()),
                _ => None,
            })
            .await?;
        self.secrets.add(&code);
        let join = Command::JoinMeeting {
            code,
            child: guest.child.member().await?,
        };
        guest.mother.device.command(join).await?;
        let shown = |event: &Event| match event {
            Event::MeetingRequest {
                family_name,
                child_name,
                pictures,
                ..
            } => Some((family_name.clone(), child_name.clone(), pictures.clone())),
            _ => None,
        };
        let theirs = asked.wait_for("the other card", PATIENCE, shown).await?;
        let ours = heard.wait_for("the other card", PATIENCE, shown).await?;
        if theirs.2 != ours.2 {
            return Err(broken("the two phones show different pictures"));
        }
        for ((family, child, _), met) in [(theirs, guest), (ours, host)] {
            if (family.as_str(), child.as_str()) != (met.family, met.child.name.as_str()) {
                return Err(broken("a phone shows another family than the one it met"));
            }
        }
        for side in sides {
            let yes = Command::AnswerMeeting { accept: true };
            side.mother.device.command(yes).await?;
        }
        // A father's phone comes into the link by itself; the tablets never do.
        let family = guest.id().await?;
        let link = host
            .mother
            .until("a link to the other family", move |engine| {
                let mut links = of_kind(engine, ConversationKind::Link);
                let link = links.find(|it| it.members.iter().any(|who| who.family == family))?;
                Some(link.id)
            })
            .await?;
        let number = sides.iter().flat_map(Side::guardians).count();
        let full = move |engine: &Engine| {
            known(engine, link).filter(|known| known.members.len() == number)?;
            Some(())
        };
        for person in sides.iter().flat_map(Side::guardians) {
            person.until("all guardians in the link", full).await?;
        }
        self.rest(&all(sides)).await?;
        for side in sides {
            let links = |engine: &Engine| of_kind(engine, ConversationKind::Link).count();
            if side.child.device.with(links).await? > 0 {
                return Err(broken("a tablet is among the guardians"));
            }
        }
        Ok(link)
    }

    /// The first one's mother offers, the other's accepts.
    pub(super) async fn agree(
        &self,
        sides: [Side<'_>; 2],
        link: ConversationId,
        wishes: [PassWish; 2],
    ) -> Result<PassId, Broken> {
        let [host, guest] = sides;
        let [wish, answer] = wishes;
        let offer = Command::OfferPass {
            link,
            child: host.child.member().await?,
            other_child: guest.child.member().await?,
            wish,
        };
        let mut offered = guest.mother.device.events();
        host.mother.device.command(offer).await?;
        let pass = offered
            .wait_for("the offer of a pass", PATIENCE, |event| match event {
                Event::PassOffered { pass, .. } => Some(pass.id()),
                _ => None,
            })
            .await?;
        let answer = Command::AnswerPass {
            pass,
            wish: Some(answer),
        };
        guest.mother.does(answer).await?;
        Ok(pass)
    }

    /// The room of the two children, once they and who watches are in it, and nobody else.
    pub(super) async fn room_of(
        &mut self,
        sides: [Side<'_>; 2],
        watching: &[&Person],
        outside: &[&Person],
    ) -> Result<ConversationId, Broken> {
        let [one, other] = sides;
        let pair = [one.id().await?, other.id().await?];
        let room = one
            .child
            .until("the room of the two children", move |engine| {
                let mut rooms = of_kind(engine, ConversationKind::Contact);
                let both = rooms.find(|room| {
                    let there = |family| room.members.iter().any(|who| who.family == family);
                    let apart = room.members.iter().all(|who| pair.contains(&who.family));
                    pair.into_iter().all(there) && apart
                })?;
                Some(both.id)
            })
            .await?;
        let title = one.child.conversation(room).await?.title;
        self.secrets.add(&title);
        let children = [one.child, other.child];
        self.all_there(room, &children, watching).await?;
        self.rest(&all(sides)).await?;
        for person in outside {
            if person.conversation(room).await.is_ok() {
                return Err(broken(format!("{} is in the room", person.name)));
            }
        }
        Ok(room)
    }

    /// Waits until each of these sees all of them in a room, and no other guardian.
    pub(super) async fn all_there(
        &self,
        room: ConversationId,
        children: &[&Person],
        watching: &[&Person],
    ) -> Result<(), Broken> {
        let number = children.len() + watching.len();
        let mut watchers: Vec<MemberId> = Vec::new();
        for person in watching {
            watchers.push(person.member().await?);
        }
        for person in children.iter().chain(watching) {
            let people = person
                .until("everybody in the room", move |engine| {
                    let known = known(engine, room)?;
                    (known.members.len() == number).then_some(known.members)
                })
                .await?;
            let guardians = people.iter().filter(|who| who.role == Role::Guardian);
            if !guardians.map(|who| &who.member).eq(&watchers) {
                return Err(broken(format!(
                    "{}'s device shows others watching than there should be",
                    person.name
                )));
            }
        }
        Ok(())
    }
}

/// The conversations of a kind.
pub(super) fn of_kind(
    engine: &Engine,
    kind: ConversationKind,
) -> impl Iterator<Item = kinline_protocol::engine::ConversationSummary> {
    let all = engine.conversations().into_iter();
    all.filter(move |known| known.kind == kind)
}
