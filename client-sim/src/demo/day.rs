//! The day itself, step by step.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::engine::view::Receipt;
use kinline_protocol::ids::ConversationId;

use super::cast::{Broken, PATIENCE, Person, broken};
use super::ledger;
use super::loot::{self, Theft};
use super::media::{self, Files};
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
const ROOM: &str = "Überraschung für Babatunde";

const MISSED: usize = 50;
const EPOCHS: u64 = 4;
const DISAPPEAR_SECONDS: u32 = 3_600;

/// The state of the day.
struct Day {
    home: PathBuf,
    relay: RelayProcess,
    secrets: Secrets,
    report: DemoReport,
    files: Files,
    thefts: Vec<Theft>,
}

/// The family, once it is whole.
struct Cast {
    mother: Person,
    father: Person,
    child: Person,
    family: ConversationId,
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

    async fn say_all(&mut self, cast: &Cast, from: &Person, text: &str) -> Result<(), Broken> {
        self.secrets.add(text);
        let content = from.text(cast.family, text).await?;
        for person in [&cast.mother, &cast.father, &cast.child] {
            if person.name != from.name
                && person.sees(content).await?
                    != (Body::Text {
                        text: text.to_owned(),
                    })
            {
                return Err(broken(format!("{} reads something else", person.name)));
            }
        }
        Ok(())
    }

    async fn texts(&mut self, cast: &Cast) -> Result<(), Broken> {
        self.say_all(
            cast,
            &cast.mother,
            "Guten Morgen Mila, hast du dein Pausenbrot eingepackt?",
        )
        .await?;
        self.say_all(cast, &cast.child, "Jaaa Mama 🥪🦖 und meine Flöte auch")
            .await?;
        self.say_all(cast, &cast.father, "صباح الخير يا ميلا، أراك بعد المدرسة")
            .await?;
        self.say_all(cast, &cast.child, "שלום אבא, אל תשכח את הכדור")
            .await?;
        self.say_all(
            cast,
            &cast.mother,
            "Frau Oyelaran erreichst du unter hort.oyelaran@example.org, Türcode 847193",
        )
        .await?;
        self.secrets.add("hort.oyelaran@example.org");
        self.secrets.add("847193");
        Ok(())
    }

    async fn long_text(&mut self, cast: &Cast) -> Result<(), Broken> {
        let mut text = String::from(
            "Das Märchen vom Drachen Funkelzahn, der lieber Suppe als Ritter mochte. ",
        );
        while text.chars().count() < 5_000 {
            text.push_str(
                "Und am nächsten Abend kochte Funkelzahn wieder eine Suppe für das ganze Dorf. ",
            );
        }
        let text: String = text.chars().take(5_000).collect();
        self.say_all(cast, &cast.father, &text).await
    }

    async fn small_things(&mut self, cast: &Cast) -> Result<(), Broken> {
        let sticker = Body::Sticker {
            pack: "Wuschelpfoten".into(),
            name: "Igel-im-Regenmantel".into(),
        };
        self.secrets.add("Wuschelpfoten");
        self.secrets.add("Igel-im-Regenmantel");
        let sent = cast.child.say(cast.family, sticker.clone()).await?;
        if cast.mother.sees(sent).await? != sticker {
            return Err(broken("the sticker became another one"));
        }
        let reaction = cast
            .mother
            .say(
                cast.family,
                Body::Reaction {
                    target: sent,
                    emoji: "😍".into(),
                },
            )
            .await?;
        let words = "Den nehmen wir für die Geburtstagskarte!";
        self.secrets.add(words);
        let reply = cast
            .father
            .send(
                cast.family,
                Body::Text { text: words.into() },
                Some(sent),
                0,
                None,
            )
            .await?;
        cast.child.sees(reaction).await?;
        cast.child.sees(reply).await?;
        let member = cast.mother.member().await?;
        if cast
            .child
            .on_screen(sent)
            .await?
            .reactions
            .get(&member)
            .map(String::as_str)
            != Some("😍")
        {
            return Err(broken("the reaction is not under the sticker"));
        }
        if cast.child.on_screen(reply).await?.reply_to != Some(sent) {
            return Err(broken("the reply does not say what it answers"));
        }
        Ok(())
    }

    async fn edit_and_delete(&mut self, cast: &Cast) -> Result<(), Broken> {
        let (first, second, slip) = (
            "Ich hole dich um vier am Hort ab",
            "Ich hole dich um halb fünf am Hort ab",
            "Papa bekommt die rote Modelleisenbahn",
        );
        for secret in [first, second, slip] {
            self.secrets.add(secret);
        }
        let text = cast.mother.text(cast.family, first).await?;
        cast.child.sees(text).await?;
        let edit = cast
            .mother
            .say(
                cast.family,
                Body::Edit {
                    target: text,
                    text: second.into(),
                },
            )
            .await?;
        cast.child.sees(edit).await?;
        if cast.child.on_screen(text).await?.edited.as_deref() != Some(second) {
            return Err(broken("the tablet still shows the old words"));
        }
        let text = cast.mother.text(cast.family, slip).await?;
        cast.father.sees(text).await?;
        let delete = cast
            .mother
            .say(cast.family, Body::Delete { target: text })
            .await?;
        for person in [&cast.father, &cast.child] {
            person.sees(delete).await?;
            if person.on_screen(text).await?.body.is_some() {
                return Err(broken(format!(
                    "{} can still read what was taken back",
                    person.name
                )));
            }
        }
        Ok(())
    }

    async fn receipts(&mut self, cast: &Cast) -> Result<(), Broken> {
        let words = "Vergiss die Turnschuhe nicht";
        self.secrets.add(words);
        let text = cast.mother.text(cast.family, words).await?;
        let tablet = cast.child.id().await?;
        let arrived = |event: &Event| {
            matches!(event, Event::Delivered { content, device } if *content == text && *device == tablet).then_some(())
        };
        cast.mother.notices("the tablet's receipt", arrived).await?;
        cast.child
            .device
            .command(Command::MarkRead {
                conversation: cast.family,
            })
            .await?;
        let read = |event: &Event| {
            matches!(event, Event::Read { content, device } if *content == text && *device == tablet).then_some(())
        };
        cast.mother
            .notices("the tablet's read receipt", read)
            .await?;
        if cast.mother.on_screen(text).await?.receipts.get(&tablet) != Some(&Receipt::Read) {
            return Err(broken("the phone does not show that it was read"));
        }
        Ok(())
    }

    async fn typing(&mut self, cast: &Cast) -> Result<(), Broken> {
        let father = cast.father.member().await?;
        let mut events = cast.child.device.events();
        cast.father
            .device
            .command(Command::Typing {
                conversation: cast.family,
            })
            .await?;
        let seen = |event: &Event| {
            matches!(event, Event::Typing { member, .. } if *member == father).then_some(())
        };
        Ok(events
            .wait_for("the dots of somebody typing", PATIENCE, seen)
            .await?)
    }

    async fn disappearing(&mut self, cast: &Cast) -> Result<(), Broken> {
        let words = "Das Versteck ist hinter der blauen Gießkanne";
        self.secrets.add(words);
        let body = Body::Text { text: words.into() };
        let text = cast
            .child
            .send(cast.family, body, None, DISAPPEAR_SECONDS, None)
            .await?;
        for person in [&cast.mother, &cast.father] {
            person.sees(text).await?;
        }
        for person in [&cast.mother, &cast.father, &cast.child] {
            // An hour passes.
            person
                .device
                .advance_clock(Duration::from_secs(u64::from(DISAPPEAR_SECONDS) + 1))
                .await?;
            let gone = |event: &Event| {
                matches!(event, Event::Disappeared { content, .. } if *content == text)
                    .then_some(())
            };
            person.notices("the message disappearing", gone).await?;
            if person.on_screen(text).await?.body.is_some() {
                return Err(broken(format!("{} can still read it", person.name)));
            }
        }
        Ok(())
    }

    async fn surprise(&mut self, cast: &Cast) -> Result<(), Broken> {
        let members = vec![cast.child.member().await?];
        cast.mother.settled().await?;
        let mut events = cast.child.device.events();
        cast.mother
            .device
            .command(Command::CreateConversation {
                title: ROOM.into(),
                members,
            })
            .await?;
        let room = events
            .wait_for("the room on the tablet", PATIENCE, |event| match event {
                Event::Joined {
                    conversation,
                    title,
                } if title == ROOM => Some(*conversation),
                _ => None,
            })
            .await?;
        let words = "Wir backen Papa eine Torte mit Mangocreme";
        self.secrets.add(words);
        let text = cast.child.text(room, words).await?;
        cast.mother.sees(text).await?;
        let known = cast
            .father
            .device
            .with(|engine| engine.conversations().len())
            .await?;
        if known != 1
            || cast
                .father
                .screen()
                .await?
                .iter()
                .any(|view| view.content == text)
        {
            return Err(broken("Babatunde knows of the surprise"));
        }
        Ok(())
    }

    async fn photos(&mut self, cast: &Cast) -> Result<(), Broken> {
        let file = self.files.photo.clone();
        self.report.photo = media::photo(
            &cast.mother,
            &[&cast.father, &cast.child],
            cast.family,
            &file,
        )
        .await?;
        self.report.photo_back = media::photo(
            &cast.child,
            &[&cast.father, &cast.mother],
            cast.family,
            &file,
        )
        .await?;
        Ok(())
    }

    async fn voices(&mut self, cast: &Cast) -> Result<(), Broken> {
        let file = self.files.audio.clone();
        self.report.audio = media::voice(
            &cast.father,
            &[&cast.mother, &cast.child],
            cast.family,
            &file,
        )
        .await?;
        self.report.audio_back = media::voice(
            &cast.child,
            &[&cast.mother, &cast.father],
            cast.family,
            &file,
        )
        .await?;
        Ok(())
    }

    // ---- the relay's bad night

    async fn miss(&mut self, cast: &Cast) -> Result<(), Broken> {
        cast.child.settled().await?;
        cast.child.device.go_offline().await?;
        for number in 1..=MISSED {
            let (person, words) = if number % 2 == 0 {
                (
                    &cast.father,
                    format!("Nachricht {number:02} von Papa aus dem Wartezimmer"),
                )
            } else {
                (
                    &cast.mother,
                    format!("Nachricht {number:02} von Mama aus der Straßenbahn"),
                )
            };
            self.secrets.add(&words);
            person.text(cast.family, &words).await?;
        }
        for person in [&cast.mother, &cast.father] {
            person.settled().await?;
        }
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), Broken> {
        self.relay.kill().await?;
        Ok(self.relay.restart().await?)
    }

    async fn catch_up(&self, cast: &Cast) -> Result<(), Broken> {
        cast.child.device.go_online().await?;
        let last = format!("Nachricht {MISSED:02} von Papa aus dem Wartezimmer");
        let arrived = |event: &Event| {
            matches!(event, Event::Message { body: Body::Text { text }, mine: false, .. } if *text == last).then_some(())
        };
        cast.child
            .notices("the last of the missed messages", arrived)
            .await?;
        cast.child.settled().await?;
        let screen = cast.child.screen().await?;
        for who in ["Mama", "Papa"] {
            let numbers: Vec<usize> = screen
                .iter()
                .filter_map(|view| match &view.body {
                    Some(Body::Text { text }) => text
                        .strip_prefix("Nachricht ")?
                        .split_once(" von ")
                        .filter(|(_, rest)| rest.starts_with(who)),
                    _ => None,
                })
                .filter_map(|(number, _)| number.parse().ok())
                .collect();
            let first = if who == "Mama" { 1 } else { 2 };
            if numbers != (first..=MISSED).step_by(2).collect::<Vec<_>>() {
                return Err(broken(format!(
                    "the tablet shows {who}'s messages as {numbers:?}"
                )));
            }
        }
        Ok(())
    }

    async fn write_offline(&mut self, cast: &Cast) -> Result<(), Broken> {
        cast.father.settled().await?;
        cast.father.device.go_offline().await?;
        let before = cast.father.epoch(cast.family).await?;
        let words = "Sitze noch im Zug hinter Eisenhüttenstadt, kein Netz";
        self.secrets.add(words);
        let text = cast.father.text(cast.family, words).await?;
        for round in 0..EPOCHS {
            let person = if round % 2 == 0 {
                &cast.mother
            } else {
                &cast.child
            };
            let wanted = before + round + 1;
            let mut readers = [
                cast.mother.device.events_from_start(),
                cast.child.device.events_from_start(),
            ];
            person
                .device
                .command(Command::SelfUpdate {
                    conversation: cast.family,
                })
                .await?;
            for reader in &mut readers {
                let moved = |event: &Event| {
                    matches!(event, Event::Epoch { conversation, epoch } if *conversation == cast.family && *epoch >= wanted).then_some(())
                };
                reader
                    .wait_for("the conversation moving on", PATIENCE, moved)
                    .await?;
            }
        }
        cast.father.device.go_online().await?;
        for person in [&cast.mother, &cast.child] {
            person.sees(text).await?;
        }
        let after = cast.father.epoch(cast.family).await?;
        if after < before + EPOCHS {
            return Err(broken(format!(
                "the conversation moved from epoch {before} to {after} only"
            )));
        }
        Ok(())
    }

    async fn evening(&mut self, cast: &Cast) -> Result<(), Broken> {
        for person in [&cast.mother, &cast.father, &cast.child] {
            person.settled().await?;
        }
        let began = Instant::now();
        loop {
            let mut unconfirmed = 0;
            for person in [&cast.mother, &cast.father, &cast.child] {
                unconfirmed += person
                    .device
                    .with(|engine| engine.counters().unconfirmed)
                    .await?;
            }
            if unconfirmed == 0 {
                break;
            }
            if began.elapsed() > PATIENCE {
                return Err(broken(format!("{unconfirmed} messages were not confirmed")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for person in [&cast.mother, &cast.father, &cast.child] {
            let counters = person
                .device
                .with(kinline_protocol::engine::Engine::counters)
                .await?;
            if counters.unreadable + counters.refused + counters.gaps > 0 {
                return Err(broken(format!(
                    "{} could not read everything: {counters:?}",
                    person.name
                )));
            }
        }
        match self.relay.stored_envelopes(PATIENCE).await? {
            Some(0) | None => Ok(()),
            Some(left) => Err(broken(format!("the relay still holds {left} envelopes"))),
        }
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
