//! The second day: a child has found a friend in another family, and the guardians decide.

use kinline_protocol::content::{Body, kinds};
use kinline_protocol::engine::io::{MemberRole, PassWish};
use kinline_protocol::identity::Supervision;
use kinline_protocol::ids::{ConversationId, PassId};
use std::time::{Duration, Instant};

use super::acquaintance::Side;
use super::cast::{Broken, Person, broken};
use super::day::{Cast, Day};
use super::talk::DISAPPEAR_SECONDS;
use super::telling::step;
use super::{Obstacle, media};

/// The family of the first friend.
const SECOND: Names = Names {
    family: "Familie Vandenbroucke-Iyengar",
    mother: "Priyanka Iyengar",
    child: "Linnea Vandenbroucke",
    phone: "Priyankas Klapptelefon",
    tablet: "Linneas gelbes Tablet",
    folders: ["second-mother", "second-tablet"],
};
/// Days that the pass lasts.
const PASS_DAYS: u32 = 200;

/// How a family of a mother and a child is called.
pub(super) struct Names {
    pub(super) family: &'static str,
    pub(super) mother: &'static str,
    pub(super) child: &'static str,
    pub(super) phone: &'static str,
    pub(super) tablet: &'static str,
    /// Where the phone and the tablet live.
    pub(super) folders: [&'static str; 2],
}

/// A friend's family.
pub(super) struct Guests {
    /// Its name.
    pub(super) name: &'static str,
    pub(super) mother: Person,
    pub(super) child: Person,
    pub(super) family: ConversationId,
}

impl Guests {
    pub(super) const fn people(&self) -> [&Person; 2] {
        [&self.mother, &self.child]
    }

    pub(super) const fn side(&self) -> Side<'_> {
        Side {
            mother: &self.mother,
            father: None,
            child: &self.child,
            family: self.name,
        }
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
    /// What needs the one before ends with it: without a pass there is no room. Returns the
    /// other families.
    pub(super) async fn second_day(&mut self, cast: &mut Cast) -> Result<Vec<Guests>, Obstacle> {
        self.chapter("The next day Mila has friends, in other families.");
        let began = Instant::now();
        let found = self.other_family(&SECOND).await;
        let name = "Priyanka founds a second family and pairs Linnea's tablet";
        let Some(guests) = self.keep(name, began, found) else {
            return Ok(vec![]);
        };
        let Some(bond) = self.befriend(cast, &guests).await else {
            return Ok(vec![guests]);
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
        let (third, band) = self.become_three(cast, &guests).await;
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
        if let (Some(third), Some(band)) = (&third, band) {
            step!(
                self,
                "Nor are Mila and Linnea together among the three any more",
                self.parted(cast, &guests, third, band)
            );
        }
        let began = Instant::now();
        let put_by = self.put_by(cast).await;
        let name = "Katharina makes an account; its recovery code goes into a drawer";
        let drawer = self.keep(name, began, put_by);
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
        if let Some(drawer) = drawer {
            self.at_the_lake(cast, &drawer).await?;
        }
        step!(
            self,
            "Everything else is delivered and confirmed",
            self.last_evening(cast, &guests, third.as_ref())
        );
        self.rob("at the end").await?;
        Ok(core::iter::once(guests).chain(third).collect())
    }

    pub(super) async fn other_family(&mut self, names: &Names) -> Result<Guests, Broken> {
        let Names {
            family,
            mother,
            child,
            phone,
            tablet,
            folders,
        } = *names;
        for secret in [family, mother, child, phone, tablet] {
            self.secrets.add(secret);
        }
        for name in [mother, child] {
            self.secrets.add_words(name);
        }
        let mother = Person::new(&self.place(), folders[0], mother, phone)?;
        // The others have lived through an hour that these have not: before midnight it would
        // be another day here, and a pass from today on would not hold yet.
        let hour = Duration::from_secs(u64::from(DISAPPEAR_SECONDS) + 1);
        mother.device.advance_clock(hour).await?;
        mother.found(family).await?;
        let child = self
            .pair(&mother, folders[1], child, tablet, MemberRole::Child)
            .await?;
        child.device.advance_clock(hour).await?;
        Ok(Guests {
            name: family,
            family: mother.family().await?,
            mother,
            child,
        })
    }

    async fn befriend(&mut self, cast: &Cast, guests: &Guests) -> Option<Bond> {
        let sides = [cast.side(), guests.side()];
        let began = Instant::now();
        let met = self.meet(sides).await;
        let link = self.keep(
            "The mothers meet: one scans the other's code, both see the same pictures",
            began,
            met,
        )?;
        let began = Instant::now();
        let agreed = self.pass_of_the_friends(cast, sides, link).await;
        let pass = self.keep(
            "They agree on a pass: Katharina reads along, no recordings, 200 days",
            began,
            agreed,
        )?;
        let began = Instant::now();
        let outside = [&cast.father, &guests.mother];
        let room = self.room_of(sides, &[&cast.mother], &outside).await;
        let room = self.keep(
            "The children's room forms; both can see that Katharina is in it",
            began,
            room,
        )?;
        Some(Bond { link, pass, room })
    }

    async fn pass_of_the_friends(
        &self,
        cast: &Cast,
        sides: [Side<'_>; 2],
        link: ConversationId,
    ) -> Result<PassId, Broken> {
        let wishes = [
            PassWish {
                supervision: Supervision::Everything,
                guardians: vec![(cast.mother.member().await?, false)],
                kinds: kinds::ALL,
                days: 2 * PASS_DAYS,
            },
            PassWish {
                supervision: Supervision::Contacts,
                guardians: vec![],
                kinds: kinds::ALL & !kinds::VOICE,
                days: PASS_DAYS,
            },
        ];
        self.agree(sides, link, wishes).await
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
