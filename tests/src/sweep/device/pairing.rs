//! A device dies while it is paired: the tablet that comes in, or the phone that lets it in.
//!
//! Afterwards the tablet is in its family, or it is not and the family has never heard of it,
//! and then pairing begins again. No half family.

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use futures_util::FutureExt as _;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::pairing::CodeKind;
use tempfile::TempDir;

use super::death::{Step, points, spread};
use crate::chat::Chat;
use crate::patience::{PATIENCE, eventually};
use crate::people::Person;
use crate::sweep::oracle::Verdict;
use crate::sweep::process::{Process, Program};
use crate::sweep::strace::recording_death;
use crate::sweep::trace;

/// Deaths of one family: then another is founded, so that it stays small.
const DEATHS_OF_A_NURSERY: usize = 10;
/// More calls than any pairing makes; strace counts no further.
const NEVER: u32 = 65_535;

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The device that comes in.
    Tablet,
    /// The device that lets it in.
    Phone,
}

impl Victim {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tablet, Self::Phone];
}

/// What became of a pairing in which somebody died.
#[derive(Debug, Default)]
pub struct Paired {
    /// Whether the victim died where it should.
    pub struck: bool,
    /// Whether the tablet was in its family without another word.
    pub whole: bool,
    /// What was found.
    pub verdict: Verdict,
}

/// What deaths while pairing add up to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Devices killed where they should be.
    pub deaths: usize,
    /// Of these, those after which the tablet was in its family without another word.
    pub whole: usize,
    /// Pairings that were over before their point came.
    pub missed: usize,
    /// Where something was found, and what.
    pub found: Vec<(String, Verdict)>,
}

/// A relay and a family that lets tablets in.
pub struct Nursery {
    relay: Process,
    home: TempDir,
    mum: PathBuf,
    tablets: usize,
}

/// Why a pairing has to wait a little longer, or is over.
enum Try {
    Paired,
    Again,
}

impl Nursery {
    /// Founds the family.
    ///
    /// # Panics
    /// When that fails.
    pub async fn begin() -> Self {
        let home = tempfile::Builder::new()
            .prefix("crash-sweep-pairing")
            .tempdir()
            .unwrap();
        let folder = home.path().join("relay");
        std::fs::create_dir_all(folder.join("keys")).unwrap();
        let relay = Process::start(&Program::linked_in(), &folder, &[]).await;
        let address = relay.address.clone().expect("the relay starts");
        let mum = Person::new(home.path(), "Mum", &address);
        mum.found("Family of the sweep").await;
        let mum = mum.put_away().await;
        Self {
            relay,
            home,
            mum,
            tablets: 0,
        }
    }

    /// Ends it.
    pub async fn end(self) {
        drop(self.relay.terminate().await);
        drop(self.home);
    }

    /// How often each kind of call is made by one of both while it is paired.
    ///
    /// # Panics
    /// When the pairing does not end well.
    pub async fn count(&mut self, victim: Victim) -> Vec<(Step, u32)> {
        let all = Step::ALL.map(Step::calls).join(",");
        let paired = self.pair(victim, &all, NEVER).await;
        assert!(paired.whole && paired.verdict.is_clean(), "{paired:?}");
        let text = std::fs::read_to_string(self.home.path().join("trace")).unwrap();
        Step::ALL
            .map(|step| (step, trace::count(&text, step.calls())))
            .to_vec()
    }

    /// One pairing, one death, and what comes after it.
    ///
    /// # Panics
    /// When there is half a family, or the machine refuses.
    pub async fn die(&mut self, victim: Victim, step: Step, number: u32) -> Paired {
        self.pair(victim, step.calls(), number).await
    }

    async fn pair(&mut self, victim: Victim, calls: &str, number: u32) -> Paired {
        self.tablets += 1;
        let name = format!("Mia {}", self.tablets);
        let address = self.relay.address.clone().expect("the relay runs");
        let tablet = Person::new(self.home.path(), &name, &address);
        tablet.settled().await;
        let folder = tablet.put_away().await;
        let trace = self.home.path().join("trace");
        let witness = recording_death(calls, "signal=KILL", number, false, &trace);
        let (victims, others) = match victim {
            Victim::Tablet => (folder.clone(), self.mum.clone()),
            Victim::Phone => (self.mum.clone(), folder.clone()),
        };
        let this = std::env::current_exe().expect("this program has a path");
        let line: Vec<OsString> = witness
            .into_iter()
            .chain([this.into(), "device".into()])
            .collect();
        let other = Person::open(&others, "the other", true);
        let mut chat = Chat::start_as(&line, &[], &victims, true);
        let ended = match victim {
            Victim::Tablet => letting_in(&other, &name, &mut chat).await,
            Victim::Phone => coming_in(&other, &name, &mut chat).await,
        };
        drop(chat.last_words().await);
        let back = Person::open(&victims, "the victim", true);
        let (mum, mia) = match victim {
            Victim::Tablet => (other, back),
            Victim::Phone => (back, other),
        };
        let mut paired = Paired {
            struck: !ended,
            ..Paired::default()
        };
        paired.whole = come_together(&mum, &mia, &name).await;
        self.judge(&mum, &mia, &name, &mut paired.verdict).await;
        drop(mum.put_away().await);
        drop(mia.put_away().await);
        paired
    }

    /// The phone has the tablet once, and then both hear each other: what is said before the
    /// phone knows of it is not for the tablet.
    async fn judge(&self, mum: &Person, mia: &Person, name: &str, verdict: &mut Verdict) {
        let times = eventually("the phone knows its tablet", async || {
            let times = times_in(mum, name).await;
            (times > 0).then_some(times)
        })
        .await;
        if times != 1 {
            let sentence = format!("the family has {times} of {name}");
            verdict.wrong.push(sentence);
        }
        for person in [mum, mia] {
            person.settled().await;
        }
        for (from, to) in [(mum, mia), (mia, mum)] {
            let text = format!("{name}: from {}", from.name);
            from.say(&text).await;
            to.sees(&text).await;
        }
    }
}

/// How often a name stands in the family's log.
async fn times_in(mum: &Person, name: &str) -> usize {
    let wanted = name.to_owned();
    let count = mum.device.with(move |engine| {
        let members = engine.family_log().map(|log| log.members().values());
        members.map_or(0, |members| members.filter(|it| it.name == wanted).count())
    });
    count.await.unwrap()
}

/// Kills one of both at `count` points of a pairing, in turns.
///
/// # Panics
/// When not even a pairing without a death goes well.
pub async fn sweep(count: usize) -> Tally {
    let mut tally = Tally::default();
    if count == 0 {
        return tally;
    }
    let mut nursery = Nursery::begin().await;
    let mut deaths = Vec::new();
    for (place, victim) in Victim::ALL.into_iter().enumerate() {
        let points = points(&nursery.count(victim).await);
        let count = (count + place) / Victim::ALL.len();
        println!(
            "{count} deaths of the {victim:?} at {} points of a pairing",
            points.len()
        );
        let spread = spread(&points, count, false, 0).into_iter();
        deaths.extend(spread.map(|death| (victim, death.step, death.number)));
    }
    for (number, (victim, step, at)) in deaths.into_iter().enumerate() {
        if number % DEATHS_OF_A_NURSERY == DEATHS_OF_A_NURSERY - 1 {
            nursery.end().await;
            nursery = Nursery::begin().await;
        }
        let dying = async move {
            let paired = nursery.die(victim, step, at).await;
            (nursery, paired)
        };
        let place = format!("pairing, {victim:?} killed at {step:?} {at}");
        match AssertUnwindSafe(dying).catch_unwind().await {
            Ok((back, paired)) => {
                nursery = back;
                if paired.struck {
                    tally.deaths += 1;
                    tally.whole += usize::from(paired.whole);
                } else {
                    tally.missed += 1;
                }
                tally.found.push((place, paired.verdict));
            }
            // Standard error says what was waited for in vain.
            Err(_) => {
                let mut verdict = Verdict::default();
                verdict.wrong.push("half a family".into());
                tally.found.push((place, verdict));
                nursery = Nursery::begin().await;
            }
        }
    }
    nursery.end().await;
    tally
}

/// The phone of this process lets a tablet in that may die; true when that ended by itself.
async fn letting_in(mum: &Person, name: &str, chat: &mut Chat) -> bool {
    mum.settled().await;
    let mut ours = mum.device.events();
    offer(mum, name).await.unwrap();
    loop {
        tokio::select! {
            word = chat.next() => match word.as_deref() {
                None => return false,
                Some("joined") => end(chat).await,
                Some("stopped") => return true,
                Some(_) => {}
            },
            event = ours.next() => match event.expect("the phone lives") {
                Event::PairingCode { code } => chat.tell(&format!("join {code}")).await,
                // The tablet may be gone: then there is nothing to answer.
                Event::PairingRequest { .. } => {
                    drop(mum.device.command(Command::AnswerPairing { accept: true }).await);
                }
                _ => {}
            },
        }
    }
}

/// The tablet of this process comes in by a phone that may die; true when that ended by itself.
async fn coming_in(mia: &Person, name: &str, chat: &mut Chat) -> bool {
    chat.tell(&format!("offer {name}")).await;
    loop {
        let Some(word) = chat.next().await else {
            return false;
        };
        match word.split_once(' ').unwrap_or((&word, "")) {
            ("code", code) => {
                let code = code.to_owned();
                mia.device
                    .command(Command::JoinByCode { code })
                    .await
                    .unwrap();
            }
            ("added", _) => end(chat).await,
            ("stopped", _) => return true,
            _ => {}
        }
    }
}

async fn end(chat: &mut Chat) {
    chat.tell("settle").await;
    chat.tell("stop").await;
}

async fn offer(mum: &Person, name: &str) -> Result<(), String> {
    let start = Command::StartPairing {
        role: MemberRole::Child,
        name: name.to_owned(),
        by: CodeKind::Qr,
    };
    let started = mum.device.command(start).await;
    started.map_err(|error| error.to_string())
}

async fn is_in(mia: &Person) -> bool {
    let family = mia.device.with(Engine::family_conversation).await;
    family.unwrap().is_some()
}

/// Waits until the tablet is in its family, and pairs them again where nothing has happened;
/// true when nobody had to.
async fn come_together(mum: &Person, mia: &Person, name: &str) -> bool {
    let mut whole = true;
    eventually("one whole family", async || {
        if is_in(mia).await {
            return Some(());
        }
        match again(mum, mia, name).await {
            Try::Paired => {
                whole = false;
                Some(())
            }
            Try::Again => None,
        }
    })
    .await;
    whole
}

/// One more pairing. Whoever is told that it can't begin is told why: what stands in its way
/// passes, or the first pairing was whole after all.
async fn again(mum: &Person, mia: &Person, name: &str) -> Try {
    // A code that is still shown, or was scanned, is forgotten with the connection.
    for person in [mum, mia] {
        person.device.go_offline().await.unwrap();
        person.device.go_online().await.unwrap();
        person.settled().await;
    }
    if is_in(mia).await {
        return Try::Again;
    }
    let mut ours = mum.device.events();
    if let Err(sentence) = offer(mum, name).await {
        // The family has it: then it has to come in.
        assert!(!sentence.is_empty(), "it is refused without a word");
        return Try::Again;
    }
    let code = ours.wait_for("the code", PATIENCE, |event| match event {
        Event::PairingCode { code } => Some(code.clone()),
        _ => None,
    });
    let code = code.await.unwrap();
    let mut theirs = mia.device.events();
    if mia
        .device
        .command(Command::JoinByCode { code })
        .await
        .is_err()
    {
        return Try::Again;
    }
    let asked = ours.wait_for("the request", PATIENCE, |event| match event {
        Event::PairingRequest { .. } => Some(Ok(())),
        Event::PairingFailed { sentence, .. } => Some(Err(sentence.clone())),
        _ => None,
    });
    if asked.await.unwrap().is_err() {
        return Try::Again;
    }
    let yes = Command::AnswerPairing { accept: true };
    mum.device.command(yes).await.unwrap();
    theirs
        .wait_for("the family", PATIENCE, |event| {
            matches!(event, Event::Joined { .. }).then_some(())
        })
        .await
        .unwrap();
    Try::Paired
}
