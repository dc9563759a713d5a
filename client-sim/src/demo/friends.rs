//! The second day: a child has found a friend in another family, and the guardians decide.

use kinline_protocol::content::{Body, kinds};
use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event, MemberRole, PassWish};
use kinline_protocol::identity::{Role, Supervision};
use kinline_protocol::ids::{ConversationId, PassId};
use kinline_protocol::pairing::CodeKind;
use std::time::{Duration, Instant};

use super::cast::{Broken, PATIENCE, Person, broken, known};
use super::day::{Cast, Day};
use super::talk::DISAPPEAR_SECONDS;
use super::telling::step;
use super::{Obstacle, media};

const FAMILY: &str = "Familie Vandenbroucke-Iyengar";
const MOTHER: &str = "Priyanka Iyengar";
const CHILD: &str = "Linnea Vandenbroucke";
const PHONE: &str = "Priyankas Klapptelefon";
const TABLET: &str = "Linneas gelbes Tablet";
/// Days that the pass lasts.
const PASS_DAYS: u32 = 200;

/// The friend's family.
pub(super) struct Guests {
    pub(super) mother: Person,
    pub(super) child: Person,
    pub(super) family: ConversationId,
}

impl Guests {
    pub(super) const fn people(&self) -> [&Person; 2] {
        [&self.mother, &self.child]
    }
}

/// Everybody of both families.
pub(super) fn all<'a>(cast: &'a Cast, guests: &'a Guests) -> [&'a Person; 5] {
    let ([mother, father, child], [other, friend]) = (cast.people(), guests.people());
    [mother, father, child, other, friend]
}

/// What there is between the families.
pub(super) struct Bond {
    /// Where the guardians' devices speak.
    pub(super) link: ConversationId,
    pub(super) pass: PassId,
    /// The children's room.
    pub(super) room: ConversationId,
}

impl Day {
    /// What needs the one before ends with it: without a pass there is no room.
    pub(super) async fn second_day(&mut self, cast: &mut Cast) -> Result<Option<Guests>, Obstacle> {
        self.chapter("The next day Mila has a friend, in another family.");
        let began = Instant::now();
        let found = self.second_family().await;
        let name = "Priyanka founds a second family and pairs Linnea's tablet";
        let Some(guests) = self.keep(name, began, found) else {
            return Ok(None);
        };
        let Some(bond) = self.befriend(cast, &guests).await else {
            return Ok(Some(guests));
        };
        step!(
            self,
            "Mila and Linnea write to each other, with a sticker",
            self.chat(cast, &guests, &bond)
        );
        step!(
            self,
            "A photo from Linnea to Mila",
            self.friends_photo(cast, &guests, &bond)
        );
        step!(
            self,
            "A recording is refused: Priyanka did not agree to recordings",
            self.forbidden_kind(cast, &guests, &bond)
        );
        step!(
            self,
            "Katharina has read it all, and may not write there",
            self.read_along(cast, &bond)
        );
        step!(
            self,
            "At bedtime Mila reaches her parents; Linnea's words wait for morning",
            self.bedtime(cast, &guests, &bond)
        );
        step!(
            self,
            "A learning app's report reaches Mila's parents, and nobody else",
            self.learning(cast, &bond)
        );
        step!(
            self,
            "Mila's tablet is set back to an old copy, notices, and comes back",
            self.old_copy(cast, &guests, &bond)
        );
        step!(
            self,
            "Katharina ends the contact while Mila's tablet is off: it holds",
            self.end_contact(cast, &guests, &bond)
        );
        step!(
            self,
            "Babatunde leaves the family: his phone reads and writes nothing more",
            self.part(cast, &guests, &bond)
        );
        step!(
            self,
            "So soon after it nothing new is allowed, not even by Katharina",
            self.frozen(cast)
        );
        step!(
            self,
            "Linnea's tablet is lost: Priyanka takes it out and closes its mailbox",
            self.lose(&guests)
        );
        step!(
            self,
            "Everything else is delivered and confirmed",
            self.last_evening(cast, &guests)
        );
        self.rob("at the end of the second day").await?;
        Ok(Some(guests))
    }

    async fn second_family(&mut self) -> Result<Guests, Broken> {
        for secret in [FAMILY, MOTHER, CHILD, PHONE, TABLET] {
            self.secrets.add(secret);
        }
        for name in [MOTHER, CHILD] {
            self.secrets.add_words(name);
        }
        let mother = Person::new(&self.place(), "second-mother", MOTHER, PHONE)?;
        // The others have lived through an hour that these have not: before midnight it would
        // be another day here, and a pass from today on would not hold yet.
        let hour = Duration::from_secs(u64::from(DISAPPEAR_SECONDS) + 1);
        mother.device.advance_clock(hour).await?;
        mother.found(FAMILY).await?;
        let child = self
            .pair(&mother, "second-tablet", CHILD, TABLET, MemberRole::Child)
            .await?;
        child.device.advance_clock(hour).await?;
        Ok(Guests {
            family: mother.family().await?,
            mother,
            child,
        })
    }

    async fn befriend(&mut self, cast: &Cast, guests: &Guests) -> Option<Bond> {
        let began = Instant::now();
        let met = self.meet(cast, guests).await;
        let link = self.keep(
            "The mothers meet: one scans the other's code, both see the same pictures",
            began,
            met,
        )?;
        let began = Instant::now();
        let agreed = self.agree(cast, guests, link).await;
        let pass = self.keep(
            "They agree on a pass: Katharina reads along, no recordings, 200 days",
            began,
            agreed,
        )?;
        let began = Instant::now();
        let room = self.room_forms(cast, guests).await;
        let room = self.keep(
            "The children's room forms; both can see that Katharina is in it",
            began,
            room,
        )?;
        Some(Bond { link, pass, room })
    }

    async fn meet(&mut self, cast: &Cast, guests: &Guests) -> Result<ConversationId, Broken> {
        self.rest(&all(cast, guests)).await?;
        let (host, guest) = (&cast.mother, &guests.mother);
        let (mut asked, mut heard) = (host.device.events(), guest.device.events());
        let start = Command::StartMeeting {
            child: cast.child.member().await?,
            by: CodeKind::Qr,
        };
        host.device.command(start).await?;
        let code = asked
            .wait_for("the code of the meeting", PATIENCE, |event| match event {
                Event::MeetingCode { code } => Some(code.clone()),
                _ => None,
            })
            .await?;
        self.secrets.add(&code);
        let join = Command::JoinMeeting {
            code,
            child: guests.child.member().await?,
        };
        guest.device.command(join).await?;
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
        if (theirs.0.as_str(), theirs.1.as_str()) != (FAMILY, CHILD) || ours.1 != cast.child.name {
            return Err(broken("a phone shows another family than the one it met"));
        }
        for person in [host, guest] {
            let yes = Command::AnswerMeeting { accept: true };
            person.device.command(yes).await?;
        }
        // Babatunde's phone comes into the link by itself; the tablets never do.
        let link = host.until("a link to the other family", link_of).await?;
        let full = move |engine: &Engine| {
            known(engine, link).filter(|known| known.members.len() == 3)?;
            Some(())
        };
        for person in [host, guest, &cast.father] {
            person
                .until("all three guardians in the link", full)
                .await?;
        }
        self.rest(&all(cast, guests)).await?;
        for tablet in [&cast.child, &guests.child] {
            if tablet.device.with(link_of).await?.is_some() {
                return Err(broken("a tablet is among the guardians"));
            }
        }
        Ok(link)
    }

    async fn agree(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        link: ConversationId,
    ) -> Result<PassId, Broken> {
        let offer = Command::OfferPass {
            link,
            child: cast.child.member().await?,
            other_child: guests.child.member().await?,
            wish: PassWish {
                supervision: Supervision::Everything,
                guardians: vec![(cast.mother.member().await?, false)],
                kinds: kinds::ALL,
                days: 2 * PASS_DAYS,
            },
        };
        let mut offered = guests.mother.device.events();
        cast.mother.device.command(offer).await?;
        let pass = offered
            .wait_for("the offer of a pass", PATIENCE, |event| match event {
                Event::PassOffered { pass, .. } => Some(pass.id()),
                _ => None,
            })
            .await?;
        let answer = Command::AnswerPass {
            pass,
            wish: Some(PassWish {
                supervision: Supervision::Contacts,
                guardians: vec![],
                kinds: kinds::ALL & !kinds::VOICE,
                days: PASS_DAYS,
            }),
        };
        guests.mother.device.command(answer).await?;
        Ok(pass)
    }

    async fn room_forms(&mut self, cast: &Cast, guests: &Guests) -> Result<ConversationId, Broken> {
        let room = cast
            .child
            .until("the room of the two children", |engine| {
                of_kind(engine, ConversationKind::Contact)
            })
            .await?;
        let title = cast.child.conversation(room).await?.title;
        self.secrets.add(&title);
        let watching = cast.mother.member().await?;
        for person in [&cast.child, &guests.child, &cast.mother] {
            let names = person
                .until("both children and Katharina in the room", move |engine| {
                    let known = known(engine, room).filter(|known| known.members.len() == 3)?;
                    Some(known.members)
                })
                .await?;
            let guardians = names.iter().filter(|who| who.role == Role::Guardian);
            if !guardians.map(|who| who.member).eq([watching]) {
                return Err(broken(format!(
                    "{}'s device shows others than Katharina watching",
                    person.name
                )));
            }
        }
        self.rest(&all(cast, guests)).await?;
        for person in [&cast.father, &guests.mother] {
            if person.conversation(room).await.is_ok() {
                return Err(broken(format!("{} is in the room", person.name)));
            }
        }
        Ok(room)
    }

    async fn chat(&mut self, cast: &Cast, guests: &Guests, bond: &Bond) -> Result<(), Broken> {
        let lines = [
            (
                &cast.child,
                "Linnea, baust du am Staudamm am Mühlenbach mit?",
            ),
            (
                &guests.child,
                "Jaaa 🦫 aber nur mit Gummistiefeln und Kakao!",
            ),
        ];
        for (person, words) in lines {
            self.secrets.add(words);
            let text = person.text(bond.room, words).await?;
            for reader in [&cast.child, &guests.child, &cast.mother] {
                if reader.name != person.name {
                    reader.sees(text).await?;
                }
            }
        }
        let sticker = Body::Sticker {
            pack: "Flusstierchen".into(),
            name: "Biber-mit-Bauhelm".into(),
        };
        self.secrets.add("Flusstierchen");
        self.secrets.add("Biber-mit-Bauhelm");
        let sent = guests.child.say(bond.room, sticker.clone()).await?;
        if cast.child.sees(sent).await? != sticker {
            return Err(broken("the sticker became another one"));
        }
        Ok(())
    }

    async fn friends_photo(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        bond: &Bond,
    ) -> Result<(), Broken> {
        let file = self.files.photo.clone();
        let readers = [&cast.child, &cast.mother];
        self.report.photo_friend = media::photo(&guests.child, &readers, bond.room, &file).await?;
        Ok(())
    }

    async fn forbidden_kind(
        &self,
        cast: &Cast,
        guests: &Guests,
        bond: &Bond,
    ) -> Result<(), Broken> {
        for person in [&cast.child, &guests.child] {
            let (folder, path) = (person.folder(), self.files.audio.clone());
            let voice =
                tokio::task::spawn_blocking(move || crate::device::voice(&folder, &path)).await??;
            let why = person
                .refused(bond.room, voice.body, Some(voice.blob))
                .await?;
            if !why.contains("pass") {
                return Err(broken(format!("it was refused because {why}")));
            }
        }
        Ok(())
    }
}

/// The first conversation of a kind.
fn of_kind(engine: &Engine, kind: ConversationKind) -> Option<ConversationId> {
    let mut all = engine.conversations().into_iter();
    all.find(|known| known.kind == kind).map(|known| known.id)
}

fn link_of(engine: &Engine) -> Option<ConversationId> {
    of_kind(engine, ConversationKind::Link)
}
