//! The day itself, step by step.

use std::path::PathBuf;
use std::time::Instant;

use kinline_protocol::engine::io::{Event, MemberRole};
use kinline_protocol::ids::ConversationId;

use super::acquaintance::Side;
use super::cast::{Broken, Person, Place};
use super::friends::Guests;
use super::ledger::{Book, Witness};
use super::loot::Theft;
use super::media::Files;
use super::relay::RelayProcess;
use super::report::DemoReport;
use super::secrets::Secrets;
use super::telling::step;
use super::{DemoArgs, Obstacle};

const FAMILY: &str = "Familie Sommerfeld-Akinwale";
pub(super) const MOTHER: &str = "Katharina Sommerfeld";
pub(super) const FATHER: &str = "Babatunde Akinwale";
pub(super) const CHILD: &str = "Mila Sommerfeld-Akinwale";
const MOTHERS_PHONE: &str = "Katharinas Telefon";
const FATHERS_PHONE: &str = "Babatundes Telefon";
const TABLET: &str = "Milas lila Tablet";
pub(super) const ROOM: &str = "Überraschung für Babatunde";

/// The state of the day.
pub(super) struct Day {
    pub(super) home: PathBuf,
    pub(super) relay: RelayProcess,
    pub(super) secrets: Secrets,
    pub(super) report: DemoReport,
    pub(super) files: Files,
    pub(super) thefts: Vec<Theft>,
    pub(super) book: Book,
    /// Mailboxes that nobody opens any more: what lies in them stays.
    pub(super) abandoned: u64,
    /// What devices saw that are gone.
    pub(super) departed: Vec<Witness>,
}

/// The family, once it is whole.
pub(super) struct Cast {
    pub(super) mother: Person,
    pub(super) father: Person,
    pub(super) child: Person,
    pub(super) family: ConversationId,
}

impl Cast {
    pub(super) const fn people(&self) -> [&Person; 3] {
        [&self.mother, &self.father, &self.child]
    }

    pub(super) const fn side(&self) -> Side<'_> {
        Side {
            mother: &self.mother,
            father: Some(&self.father),
            child: &self.child,
            family: FAMILY,
        }
    }
}

/// Lives the day; `Ok(false)` when a promise did not hold.
pub(super) async fn live(arguments: &DemoArgs) -> Result<bool, Obstacle> {
    let temporary;
    let home = match &arguments.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|error| Obstacle::file(folder, &error))?;
            let used = std::fs::read_dir(folder)
                .map_err(|error| Obstacle::file(folder, &error))?
                .next()
                .is_some();
            if used {
                return Err(Obstacle(format!(
                    "{} is not empty; name a new folder for --keep",
                    folder.display()
                )));
            }
            std::path::absolute(folder).map_err(|error| Obstacle::file(folder, &error))?
        }
        None => {
            temporary = tempfile::tempdir().map_err(|error| Obstacle(error.to_string()))?;
            temporary.path().to_owned()
        }
    };
    let files = Files::choose(
        arguments.photo.as_deref(),
        arguments.audio.as_deref(),
        &home,
    )?;
    println!(
        "Three days with a family: two guardians' phones, a child's tablet, friends, and a relay that will be killed and robbed.\n"
    );
    if let Some(path) = &arguments.report {
        // Tried before the day is lived for it.
        std::fs::write(path, b"{}\n").map_err(|error| {
            Obstacle(format!(
                "the report can't be written to {}: {error}",
                path.display()
            ))
        })?;
    }
    let began = Instant::now();
    let relay = RelayProcess::begin(arguments, &home).await?;
    relay.dial().await?;
    let mut day = Day {
        report: DemoReport {
            relay: relay.address.to_string(),
            ..DemoReport::default()
        },
        home,
        relay,
        secrets: Secrets::default(),
        files,
        thefts: vec![],
        book: Book::default(),
        abandoned: 0,
        departed: vec![],
    };
    let sentence = format!("The relay listens on {}", day.relay.address.authority());
    day.note(&sentence, began, Ok(()));
    for secret in [
        FAMILY,
        MOTHER,
        FATHER,
        CHILD,
        MOTHERS_PHONE,
        FATHERS_PHONE,
        TABLET,
        ROOM,
    ] {
        day.secrets.add(secret);
    }
    for name in [MOTHER, FATHER, CHILD] {
        day.secrets.add_words(name);
    }
    day.files.secrets(&mut day.secrets)?;

    // What follows needs what came before: the first broken step ends the story.
    if let Some(mut cast) = day.found_a_family().await {
        day.spend(&cast).await?;
        let guests = day.second_day(&mut cast).await?;
        let mut people = cast.people().to_vec();
        people.extend(guests.iter().flat_map(Guests::people));
        day.count(&people).await;
        for person in people {
            person.device.clone().shutdown().await;
        }
    }
    day.search().await?;
    day.finish(arguments)
}

impl Day {
    // ---- morning: a family comes together

    async fn found_a_family(&mut self) -> Option<Cast> {
        let began = Instant::now();
        let founded = self.found().await;
        let mother = self.keep("Katharina founds the family on her phone", began, founded)?;

        let began = Instant::now();
        let paired = self
            .pair(&mother, "tablet", CHILD, TABLET, MemberRole::Child)
            .await;
        let child = self.keep(
            "Mila's tablet is paired from the QR code on that phone",
            began,
            paired,
        )?;

        let began = Instant::now();
        let paired = self
            .pair(
                &mother,
                "father",
                FATHER,
                FATHERS_PHONE,
                MemberRole::Guardian,
            )
            .await;
        let father = self.keep(
            "Babatunde's phone becomes the second guardian's; everyone is told",
            began,
            paired,
        )?;

        let began = Instant::now();
        let told = child
            .notices("news of the second guardian", |event| {
                matches!(event, Event::DeviceAdded { name, .. } if name == FATHER).then_some(())
            })
            .await;
        let family = mother.family().await;
        let (family, ok) = match family {
            Ok(family) => (family, told),
            Err(error) => (ConversationId::new([0; 16]), Err(error)),
        };
        self.note("The tablet shows who is in the family", began, ok)
            .then_some(Cast {
                mother,
                father,
                child,
                family,
            })
    }

    async fn found(&self) -> Result<Person, Broken> {
        let mother = Person::new(&self.place(), "mother", MOTHER, MOTHERS_PHONE)?;
        mother.found(FAMILY).await?;
        Ok(mother)
    }

    pub(super) fn place(&self) -> Place {
        Place {
            home: self.home.clone(),
            relay: self.relay.address.clone(),
            book: self.book.clone(),
        }
    }

    pub(super) async fn pair(
        &mut self,
        guardian: &Person,
        folder: &str,
        name: &str,
        device: &str,
        role: MemberRole,
    ) -> Result<Person, Broken> {
        let new = Person::new(&self.place(), folder, name, device)?;
        let code = guardian.admit(&new, role).await?;
        self.secrets.add(&code);
        Ok(new)
    }

    // ---- the day

    async fn spend(&mut self, cast: &Cast) -> Result<(), Obstacle> {
        step!(
            self,
            "Texts both ways, with emoji and right-to-left script",
            self.texts(cast)
        );
        step!(self, "A text of 5,000 characters", self.long_text(cast));
        step!(
            self,
            "A sticker, a reaction and a reply",
            self.small_things(cast)
        );
        step!(
            self,
            "A text is changed, another is taken back for everyone",
            self.edit_and_delete(cast)
        );
        step!(self, "Receipts: delivered, then read", self.receipts(cast));
        step!(self, "Mila sees that somebody is typing", self.typing(cast));
        step!(
            self,
            "A message disappears from every screen after its hour",
            self.disappearing(cast)
        );
        step!(
            self,
            "A room without Babatunde: a surprise stays one",
            self.surprise(cast)
        );
        step!(
            self,
            "A photo from Katharina's phone to the tablet, and one back",
            self.photos(cast)
        );
        step!(self, "A voice message each way", self.voices(cast));

        let began = Instant::now();
        let absent = self.miss(cast).await;
        let waiting = self.note(
            "The tablet is switched off and misses 50 messages",
            began,
            absent,
        );
        self.rob("while messages wait").await?;
        if self.relay.may_be_killed() {
            step!(
                self,
                "The relay is killed (SIGKILL) while they wait, and started again",
                self.kill()
            );
        } else {
            self.skip(
                "The relay is killed (SIGKILL) while they wait, and started again",
                "needs --server-pid",
            );
        }
        if waiting {
            step!(
                self,
                "The tablet comes back and gets all 50 once, in order",
                self.catch_up(cast)
            );
        }
        step!(
            self,
            "A text written on the train arrives after the conversation moved on",
            self.write_offline(cast)
        );
        step!(
            self,
            "Everything is delivered and confirmed; the relay holds nothing any more",
            self.evening(&cast.people())
        );
        self.rob("after all are delivered").await
    }
}
