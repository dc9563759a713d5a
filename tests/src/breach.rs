//! The worst day, drilled: from a touched tripwire to the notice on every guardian's screen, and a
//! lockdown in the middle of traffic. What happens is asserted, how long it took is only told.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Instant;

use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::pairing::CodeKind;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, ErrorCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::patience::{PATIENCE, in_time};
use crate::people::{Person, all_is_confirmed, assert_nothing_was_unreadable};
use crate::scene::Scene;
use crate::stranger::Stranger;

/// Words of the notice.
const NOTICE: &str = "Somebody was in the server. Your messages can't be read there.";
/// Words of the lockdown.
const REASON: &str = "Somebody is in the server.";

/// A step of the drill.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What had happened then.
    pub name: &'static str,
    /// Since the decoy was touched.
    pub seconds: f64,
}

/// Takes the time of steps.
struct Stopwatch {
    began: Instant,
    steps: Vec<Step>,
}

impl Stopwatch {
    fn step(&mut self, name: &'static str) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.steps.push(Step { name, seconds });
    }
}

/// The operator's commands, beside the relay.
struct Operator<'a> {
    scene: &'a Scene,
    offline: PathBuf,
    notice: PathBuf,
}

impl Operator<'_> {
    /// Runs a command; whether it ended well, and what it said.
    async fn tries(&self, args: &[&str]) -> (bool, String) {
        let output = self.scene.relay.command(args).await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said)
    }

    async fn does(&self, args: &[&str]) {
        let (well, said) = self.tries(args).await;
        assert!(well, "{args:?}: {said}");
    }

    async fn signs(&self, args: &[&str]) {
        let key = self.notice.to_str().unwrap();
        self.does(&[args, &["--notice-key", key]].concat()).await;
    }

    async fn makes_keys(&self) {
        let offline = self.offline.to_str().unwrap();
        self.does(&["operator", "init", "--offline-key", offline])
            .await;
        self.signs(&["operator", "certify", "--offline-key", offline])
            .await;
    }
}

/// Waits until something happened on each of these devices.
async fn on_each(people: &[&Person], what: &str, is_it: impl Fn(&Event) -> bool) {
    for person in people {
        let what = format!("{what} at {}'s", person.name);
        let happened = person
            .device
            .wait_for(&what, PATIENCE, |event| is_it(event).then_some(()));
        happened.await.unwrap();
    }
}

/// What the relay says no with.
async fn refusal(stranger: &mut Stranger, ask: Ask) -> ErrorCode {
    match stranger.ask(ask).await {
        Say::Error(error) => error.code(),
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

/// The next alarm.
async fn alarm(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"}\n") {
        assert!(stream.read_buf(&mut heard).await.unwrap() > 0);
    }
    let answer = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    String::from_utf8(heard).unwrap()
}

/// Runs the drill: two guardians, a child, an operator and a thief. How long each step took.
///
/// # Panics
/// When anything does not happen as it must.
pub async fn drill() -> Vec<Step> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/alarm", listener.local_addr().unwrap());
    let scene = Scene::start(&[("TRIPWIRE__WEBHOOK", &webhook)]).await;
    let operator = Operator {
        scene: &scene,
        offline: scene.home().join("offline.key"),
        notice: scene.home().join("notice.key"),
    };
    operator.makes_keys().await;
    operator.does(&["decoys", "--count", "5"]).await;
    let family = [("Dad", MemberRole::Guardian), ("Mila", MemberRole::Child)];
    let people = scene.family("Mum", &family).await;
    let everybody: Vec<&Person> = people.iter().collect();
    let [mum, dad, mila] = everybody[..] else {
        panic!("a person for each name")
    };
    let decoys = scene.relay.decoys().await;
    assert_eq!(decoys.len(), 5);

    let over = Cell::new(false);
    let traffic = async {
        let mut said = Vec::new();
        while !over.get() {
            let text = format!("number {:04}", said.len());
            mum.say(&text).await;
            mila.sees(&text).await;
            said.push(text);
        }
        said
    };
    let worst = async {
        let steps = worst_day(&scene, &operator, &listener, &everybody, decoys[0]).await;
        over.set(true);
        steps
    };
    let (said, steps) = tokio::join!(traffic, worst);
    all_is_confirmed(&everybody).await;
    for person in [dad, mila] {
        let screen = person.screen().await;
        assert_eq!(screen, said, "{}'s screen", person.name);
    }
    assert_nothing_was_unreadable(&everybody).await;
    steps
}

async fn worst_day(
    scene: &Scene,
    operator: &Operator<'_>,
    listener: &TcpListener,
    everybody: &[&Person],
    decoy: MailboxId,
) -> Vec<Step> {
    let (mum, guardians) = (everybody[0], &everybody[..2]);
    let mut thief = Stranger::connect(scene.relay.address()).await;
    let mut watch = Stopwatch {
        began: Instant::now(),
        steps: Vec::new(),
    };
    let key = SecretKey::from_seed(&[9; 32]);
    let attach = Ask::Attach(thief.attach_request(decoy, &key, 1));
    assert_eq!(refusal(&mut thief, attach).await, ErrorCode::Denied);
    let told = in_time("the alarm", alarm(listener)).await;
    assert!(told.contains("decoy_attach"), "{told}");
    watch.step("alarm");

    operator
        .signs(&["notice", "--severity", "alarm", "--text", NOTICE])
        .await;
    on_each(
        guardians,
        "the notice",
        |event| matches!(event, Event::OperatorNotice(notice) if notice.text == NOTICE),
    )
    .await;
    watch.step("notice on every guardian's screen");

    // Nobody else's word is taken, whatever keys they have made for themselves.
    let forger = Operator {
        scene,
        offline: scene.home().join("forged-offline.key"),
        notice: scene.home().join("forged-notice.key"),
    };
    let (offline, forged) = (
        forger.offline.to_str().unwrap(),
        forger.notice.to_str().unwrap(),
    );
    forger
        .does(&["operator", "init", "--offline-key", offline])
        .await;
    let certify = ["operator", "certify", "--offline-key", offline];
    let certify = [&certify[..], &["--notice-key", forged]].concat();
    assert!(!forger.tries(&certify).await.0, "of another operator");
    for words in [
        ["notice", "--text", "Send us your passwords."],
        ["lockdown", "--reason", "Because."],
    ] {
        let args = [&words[..], &["--notice-key", forged]].concat();
        let (well, said) = forger.tries(&args).await;
        assert!(!well && said.contains("another offline key"), "{said}");
    }

    operator.signs(&["lockdown", "--reason", REASON]).await;
    on_each(everybody, "the lockdown", |event| {
        matches!(event, Event::LockedDown { renew: true, .. })
    })
    .await;
    watch.step("every device has heard of the lockdown");
    let start = Command::StartPairing {
        role: MemberRole::Child,
        name: "Nobody".to_owned(),
        by: CodeKind::Qr,
    };
    mum.device.command(start).await.unwrap();
    on_each(&[mum], "the refusal", |event| {
        matches!(
            event,
            Event::RelayError {
                code: ErrorCode::LockedDown,
                ..
            }
        )
    })
    .await;
    let join = Ask::RendezvousJoin(wire::RendezvousJoin {
        rendezvous: vec![7; 16].into(),
    });
    assert_eq!(refusal(&mut thief, join).await, ErrorCode::LockedDown);
    for person in everybody {
        in_time("the renewal", async {
            while person
                .device
                .with(|engine| engine.is_renewing())
                .await
                .unwrap()
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    watch.step("every device has renewed its keys");

    operator.signs(&["lockdown", "--lift"]).await;
    on_each(everybody, "the end", |event| {
        *event == Event::LockdownLifted
    })
    .await;
    watch.step("the lockdown is lifted everywhere");
    let forged = |event: &Event| matches!(event, Event::OperatorForged).then_some(());
    for person in everybody {
        assert!(person.happened(forged).is_empty(), "{}", person.name);
        let notices = |event: &Event| match event {
            Event::OperatorNotice(notice) => Some(notice.text.clone()),
            _ => None,
        };
        let seen = person.happened(notices);
        let is_guardian = guardians
            .iter()
            .any(|guardian| guardian.name == person.name);
        let expected: &[&str] = if is_guardian { &[NOTICE, REASON] } else { &[] };
        assert_eq!(seen, expected, "{}", person.name);
    }
    watch.steps
}
