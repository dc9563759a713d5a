//! The day itself, step by step.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::ids::ConversationId;

use super::cast::{Broken, Person, broken};
use super::ledger;
use super::loot::{self, Theft};
use super::media::Files;
use super::relay::RelayProcess;
use super::report::{DemoReport, Step};
use super::secrets::Secrets;
use super::{DemoArgs, Obstacle};

const FAMILY: &str = "Familie Sommerfeld-Akinwale";
const MOTHER: &str = "Katharina Sommerfeld";
const FATHER: &str = "Babatunde Akinwale";
const CHILD: &str = "Mila Sommerfeld-Akinwale";
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
}

/// The family, once it is whole.
pub(super) struct Cast {
    pub(super) mother: Person,
    pub(super) father: Person,
    pub(super) child: Person,
    pub(super) family: ConversationId,
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
        "A day with a family: two guardians' phones, a child's tablet, and a relay that will be killed and robbed.\n"
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
        for word in name.split([' ', '-']) {
            day.secrets.add(word);
        }
    }
    day.files.secrets(&mut day.secrets)?;

    // What follows needs what came before: the first broken step ends the story.
    if let Some(cast) = day.found_a_family().await {
        day.spend(&cast).await?;
        day.count(&cast).await;
        for person in [cast.mother, cast.father, cast.child] {
            person.device.shutdown().await;
        }
    }
    day.search().await?;
    day.finish(arguments)
}

impl Day {
    // ---- telling

    fn note(&mut self, name: &str, began: Instant, result: Result<(), Broken>) -> bool {
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (mark, error) = match &result {
            Ok(()) => ("✓", None),
            Err(error) => ("✗", Some(error.to_string())),
        };
        println!("  {mark} {name:<74} {ms:>6} ms");
        if let Some(error) = &error {
            println!("      {error}");
        }
        drop(std::io::stdout().flush());
        self.report.steps.push(Step {
            name: name.to_owned(),
            ok: Some(result.is_ok()),
            ms,
            skipped: None,
            error,
        });
        result.is_ok()
    }

    fn skip(&mut self, name: &str, why: &str) {
        println!("  – {name:<74} skipped");
        println!("      {why}");
        let skipped = Some(why.to_owned());
        self.report.steps.push(Step {
            name: name.to_owned(),
            ok: None,
            ms: 0,
            skipped,
            error: None,
        });
    }

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

    fn keep<T>(&mut self, name: &str, began: Instant, result: Result<T, Broken>) -> Option<T> {
        match result {
            Ok(value) => {
                self.note(name, began, Ok(()));
                Some(value)
            }
            Err(error) => {
                self.note(name, began, Err(error));
                None
            }
        }
    }

    async fn found(&self) -> Result<Person, Broken> {
        let mother = Person::new(
            &self.home,
            "mother",
            MOTHER,
            MOTHERS_PHONE,
            &self.relay.address,
        )?;
        let create = Command::CreateFamily {
            family_name: FAMILY.into(),
            guardian_name: MOTHER.into(),
        };
        mother.device.command(create).await?;
        mother.settled().await?;
        Ok(mother)
    }

    async fn pair(
        &mut self,
        guardian: &Person,
        folder: &str,
        name: &str,
        device: &str,
        role: MemberRole,
    ) -> Result<Person, Broken> {
        let new = Person::new(&self.home, folder, name, device, &self.relay.address)?;
        let code = guardian.admit(&new, role).await?;
        self.secrets.add(&code);
        Ok(new)
    }

    // ---- the day

    async fn spend(&mut self, cast: &Cast) -> Result<(), Obstacle> {
        macro_rules! step {
            ($name:expr, $story:expr) => {{
                let began = Instant::now();
                let result = $story.await;
                self.note($name, began, result);
            }};
        }
        step!(
            "Texts both ways, with emoji and right-to-left script",
            self.texts(cast)
        );
        step!("A text of 5,000 characters", self.long_text(cast));
        step!("A sticker, a reaction and a reply", self.small_things(cast));
        step!(
            "A text is changed, another is taken back for everyone",
            self.edit_and_delete(cast)
        );
        step!("Receipts: delivered, then read", self.receipts(cast));
        step!("Mila sees that somebody is typing", self.typing(cast));
        step!(
            "A message disappears from every screen after its hour",
            self.disappearing(cast)
        );
        step!(
            "A room without Babatunde: a surprise stays one",
            self.surprise(cast)
        );
        step!(
            "A photo from Katharina's phone to the tablet, and one back",
            self.photos(cast)
        );
        step!("A voice message each way", self.voices(cast));

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
                "The tablet comes back and gets all 50 once, in order",
                self.catch_up(cast)
            );
        }
        step!(
            "A text written on the train arrives after the conversation moved on",
            self.write_offline(cast)
        );
        step!(
            "Everything is delivered and confirmed; the relay holds nothing any more",
            self.evening(cast)
        );
        self.rob("after all are delivered").await
    }

    // ---- the theft

    async fn rob(&mut self, when: &'static str) -> Result<(), Obstacle> {
        let name = format!("Everything the relay has on disk is stolen {when}");
        let began = Instant::now();
        match loot::rob(&self.relay, when, &self.home).await? {
            Some(theft) => {
                self.thefts.push(theft);
                self.note(&name, began, Ok(()));
            }
            None => self.skip(&name, "needs --server-data"),
        }
        Ok(())
    }

    /// Searched at the end, when every secret of the story is known.
    async fn search(&mut self) -> Result<(), Obstacle> {
        self.secrets.write(&self.home.join("canaries.txt"))?;
        for theft in std::mem::take(&mut self.thefts) {
            let began = Instant::now();
            let report = loot::search(&theft, self.secrets.lines(), &self.relay).await?;
            let result = if report.ok() {
                Ok(())
            } else {
                Err(broken(
                    "the thief finds something, or misses a planted leak",
                ))
            };
            self.note(
                &format!("The thief searches what was stolen {}", theft.when),
                began,
                result,
            );
            print_indented(&report.to_string());
            self.report.dump.push(report);
        }
        Ok(())
    }

    async fn count(&mut self, cast: &Cast) {
        let began = Instant::now();
        let mut witnesses = Vec::new();
        for person in [&cast.mother, &cast.father, &cast.child] {
            match person.witness().await {
                Ok(witness) => witnesses.push(witness),
                Err(error) => {
                    self.note("Every message is accounted for", began, Err(error));
                    return;
                }
            }
        }
        self.report.relay_refusals = ledger::relay_refusals(&witnesses);
        let count = ledger::count(&witnesses);
        let result = if count.is_clean() {
            Ok(())
        } else {
            Err(broken(format!("{count:?}")))
        };
        self.report.messages = count;
        self.note("Every message is accounted for", began, result);
    }

    fn finish(mut self, arguments: &DemoArgs) -> Result<bool, Obstacle> {
        self.report.ok = self.report.holds();
        self.report.print_summary();
        if let Some(path) = &arguments.report {
            write_json(path, &self.report)?;
            println!("The report is in {}.", path.display());
        }
        if let Some(pid) = self.relay.left_running() {
            println!("The relay was started again as process {pid} and goes on.");
        }
        if arguments.keep.is_some() {
            println!("Everything is kept in {}.", self.home.display());
        }
        Ok(self.report.ok)
    }
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("      {line}");
    }
}

fn write_json(path: &Path, report: &DemoReport) -> Result<(), Obstacle> {
    let json = serde_json::to_vec_pretty(report).map_err(|error| Obstacle(error.to_string()))?;
    std::fs::write(path, json).map_err(|error| Obstacle::file(path, &error))
}
