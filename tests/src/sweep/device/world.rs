//! A family of two, of whom one device dies again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kinline_protocol::content::Body;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Event, MemberRole};
use kinline_protocol::ids::{ContentId, DeviceId};
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;
use tempfile::TempDir;

use super::death::{Death, End, Step};
use super::look::{self, Numbers};
use crate::chat::{Chat, PLANTED};
use crate::judge::Said;
use crate::people::{Person, all_is_confirmed};
use crate::sweep::oracle::Verdict;
use crate::sweep::power::{Disk, cut_after};
use crate::sweep::process::{Process, Program};
use crate::sweep::strace::recording_death;
use crate::sweep::trace;

/// Texts of each of both in one life.
const TEXTS: usize = 4;
/// Bytes of the text that is more than an envelope.
const LONG: usize = 3_000;
/// More calls than any life makes; strace counts no further.
const NEVER: u32 = 65_535;

/// What is planted in the device that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its syncs do nothing and say that all is well, as with `synchronous=OFF`.
    SyncOff,
    /// Frames leave and reports are made before what they rest on is written.
    Early,
}

/// A relay, a device that dies, and one that does not.
pub struct World {
    relay: Process,
    pub(super) home: TempDir,
    pub(super) mum: PathBuf,
    device: DeviceId,
    dad: Person,
    said: Said,
    numbers: Numbers,
    dads: BTreeMap<ContentId, String>,
    lives: usize,
    /// Photos that were begun, and those reported as kept.
    photos: (usize, usize),
}

/// How a death went.
#[derive(Debug, Default)]
pub struct Fate {
    /// Whether it died where it should.
    pub struck: bool,
    /// Its words so far that it had reported as kept.
    pub kept: usize,
    /// What it had confirmed to the other when it died.
    pub confirmed: usize,
    /// What was found.
    pub verdict: Verdict,
}

impl World {
    /// Founds the family; its devices have settled.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn begin() -> Self {
        let home = tempfile::Builder::new()
            .prefix("crash-sweep-device")
            .tempdir()
            .unwrap();
        let folder = home.path().join("relay");
        std::fs::create_dir_all(folder.join("keys")).unwrap();
        let program = Program::linked_in().with("LIMITS__HOLD_MS", "20");
        let relay = Process::start(&program, &folder, &[]).await;
        let address = relay.address.clone().expect("the relay starts");
        let mum = Person::new(home.path(), "Mum", &address);
        mum.found("Family of the sweep").await;
        let dad = Person::new(home.path(), "Dad", &address);
        mum.admit(&dad, MemberRole::Guardian).await;
        all_is_confirmed(&[&mum, &dad]).await;
        let device = mum.id().await;
        let mum = mum.put_away().await;
        Self {
            relay,
            home,
            mum,
            device,
            dad,
            said: Said::default(),
            numbers: Numbers::default(),
            dads: BTreeMap::new(),
            lives: 0,
            photos: (0, 0),
        }
    }

    /// Ends it.
    pub async fn end(self) {
        drop(self.dad.put_away().await);
        drop(self.relay.terminate().await);
        drop(self.home);
    }

    async fn dad_says(&mut self, text: String) {
        self.said.begin("Dad", &text);
        let content = self.dad.say(&text).await;
        self.said.kept(&text);
        self.dads.insert(content, text);
    }

    /// Leads one life under strace, which writes into `trace`; returns what the device reported.
    pub(super) async fn live(&mut self, witness: &[OsString], fault: Option<Fault>) -> Vec<String> {
        let life = self.lives;
        self.lives += 1;
        let this = std::env::current_exe().expect("this program has a path");
        let line: Vec<OsString> = witness
            .iter()
            .cloned()
            .chain([this.into(), "device".into()])
            .collect();
        let planted = [(PLANTED, "1")];
        let environment = match fault {
            Some(Fault::Early) => &planted[..],
            Some(Fault::SyncOff) | None => &[],
        };
        let mut chat = Chat::start_as(&line, environment, &self.mum, true);
        for number in 0..TEXTS {
            let mut text = format!("Mum {life:04}.{number}");
            if number == 1 {
                text.push(' ');
                text.push_str(&"long ".repeat(LONG / 5));
                text.push('.');
            }
            self.said.begin("Mum", &text);
            chat.tell(&format!("say {text}")).await;
            if number == 2 {
                self.photos.0 += 1;
                chat.tell(&format!("photo {}", photo())).await;
            }
            self.dad_says(format!("Dad {life:04}.{number}")).await;
        }
        chat.tell("settle").await;
        chat.tell("stop").await;
        chat.last_words().await
    }

    /// How often each kind of call is made in a life.
    ///
    /// # Panics
    /// When the life does not end well.
    pub async fn count(&mut self) -> Vec<(Step, u32)> {
        let trace = self.home.path().join("trace");
        let all = Step::ALL.map(Step::calls).join(",");
        let witness = recording_death(&all, "signal=KILL", NEVER, false, &trace);
        let words = self.live(&witness, None).await;
        self.note(&words);
        assert_eq!(words.last().map(String::as_str), Some("stopped"));
        let text = std::fs::read_to_string(&trace).unwrap();
        Step::ALL
            .map(|step| (step, trace::count(&text, step.calls())))
            .to_vec()
    }

    pub(super) fn note(&mut self, words: &[String]) {
        for word in words {
            match word.split_once(' ') {
                Some(("kept", "photo")) => self.photos.1 += 1,
                Some(("kept", text)) => self.said.kept(text),
                _ => {}
            }
        }
    }

    /// One life, one death, and what comes after it.
    ///
    /// # Panics
    /// When the family does not come to rest afterwards, or the machine refuses.
    pub async fn die(&mut self, death: Death, fault: Option<Fault>) -> Fate {
        let trace = self.home.path().join("trace");
        let before = Disk::read(&self.mum);
        let witness = recording_death(
            death.step.calls(),
            "signal=KILL",
            death.number,
            fault == Some(Fault::SyncOff),
            &trace,
        );
        let words = self.live(&witness, fault).await;
        self.note(&words);
        if let End::Cut { rest, seed } = death.end {
            let text = std::fs::read_to_string(&trace).unwrap();
            let calls = trace::read(&text, &self.mum).unwrap();
            let mut random = ChaCha20Rng::seed_from_u64(seed);
            cut_after(&before, &calls, u64::MAX, rest, &mut random).put_back(&self.mum);
        }
        let struck = words.last().map(String::as_str) != Some("stopped");
        self.look(struck).await
    }

    /// What is found when a life is over, and what comes after it.
    pub(super) async fn look(&mut self, struck: bool) -> Fate {
        let confirmed = self.confirmed();
        let mut fate = Fate {
            struck,
            kept: self.said.kept_count() - self.dads.len() + self.photos.1,
            confirmed: confirmed.len(),
            verdict: Verdict::default(),
        };
        match look::offline(&self.mum).await {
            Err(error) => {
                let sentence = format!("everything: the device does not open again: {error}");
                fate.verdict.lost.push(sentence);
                return fate;
            }
            Ok(found) => {
                look::judge_alone(&found, &self.said, &confirmed, &mut fate.verdict);
                self.numbers.add(&found, "Mum", &mut fate.verdict);
            }
        }
        if fate.verdict.is_clean() {
            self.go_on(&mut fate.verdict).await;
        }
        fate
    }

    /// What Dad's device was told that Mum's has, among his words.
    fn confirmed(&self) -> BTreeMap<ContentId, String> {
        let told = self.dad.happened(|event| match event {
            Event::Delivered { content, device } if *device == self.device => Some(*content),
            _ => None,
        });
        told.into_iter()
            .filter_map(|content| Some((content, self.dads.get(&content)?.clone())))
            .collect()
    }

    /// The device comes back, both say something, and everything is through.
    async fn go_on(&mut self, verdict: &mut Verdict) {
        let mum = Person::open(&self.mum, "Mum", true);
        let text = format!("Mum {:04} again", self.lives);
        self.said.begin("Mum", &text);
        mum.say(&text).await;
        self.said.kept(&text);
        self.dad_says(format!("Dad {:04} again", self.lives)).await;
        all_is_confirmed(&[&mum, &self.dad]).await;
        for person in [&mum, &self.dad] {
            let counters = person.device.with(Engine::counters).await.unwrap();
            if counters.unreadable + counters.refused + counters.gaps != 0 {
                let sentence = format!("{}'s device could not read all: {counters:?}", person.name);
                verdict.wrong.push(sentence);
            }
            let stale = person.happened(|event| matches!(event, Event::StaleStore).then_some(()));
            if !stale.is_empty() {
                let sentence = format!("{}'s store is older than what it sent", person.name);
                verdict.wrong.push(sentence);
            }
            let found = look::read(&person.device).await.unwrap();
            for of in ["Mum", "Dad"] {
                look::judge_settled(&person.name, of, &found, &self.said, verdict);
            }
            self.numbers.add(&found, &person.name, verdict);
        }
        self.judge_photos(verdict);
        drop(mum.put_away().await);
    }

    fn judge_photos(&self, verdict: &mut Verdict) {
        let shown = self.dad.happened(|event| match event {
            Event::Message {
                content,
                body: Body::Photo(_),
                mine: false,
                ..
            } => Some(*content),
            _ => None,
        });
        let once: BTreeSet<_> = shown.iter().collect();
        if once.len() < shown.len() {
            verdict.doubled.push("a photo".into());
        }
        let (begun, kept) = self.photos;
        if once.len() < kept {
            verdict.lost.push("a photo".into());
        }
        if once.len() > begun {
            verdict.wrong.push("a photo that nobody sent".into());
        }
    }
}

fn photo() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client-sim/assets/photo.jpg");
    path.to_str().expect("a path that is text").to_owned()
}
