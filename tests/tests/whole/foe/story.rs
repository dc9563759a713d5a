//! Three people's real devices at the enemy's relay, through TLS.
//!
//! With `KINLINE_FOE_EVENTS` set, a story that fails prints what each device told its person.

use std::time::Duration;

use kinline_client_sim::shell::{EventReader, LinkStatus};
use kinline_protocol::content::Body;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_tests::foe::{EnemyRelay, Manners, Oracle};
use kinline_tests::patience::eventually;
use kinline_tests::people::Person;
use rand::RngExt as _;

/// Adversarial actions that reach a device.
const STEPS: u64 = 600;
/// Mischief on each connection after each text.
const MISCHIEF: usize = 3;
const HOUSE: &str = "family of the tests";
/// Rounds in which what was lost comes again, each some hours after the one before.
const ROUNDS_MAX: usize = 12;
/// Attached so long, a device that was away for hours gives up what nobody says again.
const GAP: Duration = Duration::from_secs(150);
const MINUTE: Duration = Duration::from_secs(60);
/// Minutes in which a device comes to rest that has to ask again for something.
const MINUTES_MAX: u32 = 15;
/// A device that has not come to rest by then waits for its clock; on two busy cores.
const UNSETTLED: Duration = Duration::from_secs(8);

struct Watched {
    person: Person,
    reader: EventReader,
    events: Vec<Event>,
}

impl Watched {
    fn new(person: Person) -> Self {
        let reader = person.device.events_from_start();
        Self {
            person,
            reader,
            events: vec![],
        }
    }

    /// Takes down what happened since.
    fn read(&mut self) {
        while let Some(event) = self.reader.try_next() {
            self.events.push(event);
        }
        assert_eq!(self.reader.missed(), 0, "too much happened at once");
    }

    /// Tells the oracle the numbers of what it said: a new leaf counts anew.
    async fn number(&self, oracle: &mut Oracle) {
        let family = self.person.family().await;
        let device = &self.person.device;
        let numbers = device.with(move |engine| engine.sequences(family)).await;
        oracle.numbered(&numbers.unwrap());
    }

    async fn say(&self, oracle: &mut Oracle, text: String) {
        let own = self.person.id().await;
        let family = self.person.family().await;
        let all = self.person.device.with(Engine::conversations).await;
        let all = all.unwrap();
        let members = &all.iter().find(|it| it.id == family).unwrap().members;
        let devices = members.iter().flat_map(|member| member.devices.clone());
        let to = devices.filter(|device| *device != own).collect();
        let content = self.person.say(&text).await;
        let numbers = self
            .person
            .device
            .with(move |engine| engine.sequences(family))
            .await;
        let numbers = numbers.unwrap();
        let number = numbers
            .iter()
            .find(|(of, _)| *of == content)
            .map(|(_, number)| *number);
        oracle.wrote(own, family, content, Body::Text { text }, to, number);
    }
}

/// Shows the oracle what happened: first what was shown, then who heard of it.
async fn tell(oracle: &mut Oracle, people: &[Watched]) {
    for watched in people {
        let device = watched.person.id().await;
        for event in &watched.events {
            // Nobody follows a welcome for which it has not made the key package itself.
            if let Event::BackIn { conversation } = event {
                oracle.wishes_back(device, *conversation);
            }
        }
    }
    for later in [false, true] {
        for watched in people {
            let device = watched.person.id().await;
            let log = watched
                .person
                .device
                .with(|engine| engine.family_log().cloned())
                .await
                .unwrap();
            for event in &watched.events {
                let hearsay = matches!(
                    event,
                    Event::Delivered { .. } | Event::Read { .. } | Event::Fetched { .. }
                );
                if hearsay == later {
                    let logs: Vec<_> = log.iter().collect();
                    // Events tell no time: what may happen so often a day is judged in `lives`.
                    oracle.day += 1;
                    oracle.event(device, event, &logs);
                }
            }
        }
    }
}

/// Whether somebody was told that something is missing: what the enemy had a device come back
/// for as a new leaf, or what it said that a mailbox no longer takes.
fn is_named(people: &[Watched]) -> bool {
    let names = |event: &Event| {
        matches!(
            event,
            Event::BackIn { .. }
                | Event::Undelivered { .. }
                | Event::RecipientRefused { .. }
                | Event::Gap { .. }
        )
    };
    people
        .iter()
        .any(|watched| watched.events.iter().any(names))
}

/// Whether all have the same texts, each once; when a gap was named, of those alone that are
/// `last`.
async fn screens_agree(people: &[Watched], last: &str) -> Result<(), String> {
    let named = is_named(people);
    let mut screens = Vec::new();
    for watched in people {
        let mut screen = watched.person.screen().await;
        screen.retain(|text| !named || *text == last);
        screen.sort();
        if screen.is_empty() {
            return Err("nothing of the last round".into());
        }
        screens.push(screen);
    }
    for screen in &screens {
        let missing: Vec<&String> = screens[0]
            .iter()
            .filter(|text| !screen.contains(text))
            .collect();
        if *screen != screens[0] {
            return Err(format!(
                "{} of {}, {missing:?}",
                screen.len(),
                screens[0].len()
            ));
        }
    }
    Ok(())
}

/// Whether all are in the same epoch of the family's conversation, and somebody moved on.
async fn epochs_agree(people: &[Watched]) -> Result<(), String> {
    let mut epochs = Vec::new();
    for watched in people {
        let family = watched.person.family().await;
        let all = watched.person.device.with(Engine::conversations).await;
        let all = all.unwrap();
        epochs.push(all.iter().find(|it| it.id == family).unwrap().epoch);
    }
    if epochs.iter().all(|epoch| *epoch == epochs[0] && *epoch > 3) {
        Ok(())
    } else {
        Err(format!("epochs {epochs:?}"))
    }
}

/// What each device told its person, and how it counts what it said; for whoever looks into a
/// failure.
async fn print_events(people: &mut [Watched]) {
    if std::env::var("KINLINE_FOE_EVENTS").is_err() {
        return;
    }
    for watched in people {
        watched.read();
        let device = watched.person.id().await;
        let family = watched.person.family().await;
        let numbers = watched.person.device.with(move |engine| {
            let mut numbers = engine.sequences(family);
            numbers.sort_by_key(|(_, number)| *number);
            numbers
        });
        let numbers = numbers.await.unwrap();
        println!("--- {} is {device:?}", watched.person.name);
        for event in &watched.events {
            println!("{event:?}");
        }
        println!("counts: {numbers:?}");
    }
}

/// Until nobody has anything to do, nor when some minutes have passed.
async fn settle(people: &mut [Watched], oracle: &mut Oracle) {
    for minutes in 0.. {
        let mut unsettled = 0;
        for watched in &*people {
            let device = &watched.person.device;
            unsettled += u32::from(device.settled(UNSETTLED).await.is_err());
        }
        for watched in &mut *people {
            watched.read();
            watched.number(oracle).await;
        }
        if unsettled == 0 {
            return;
        }
        assert!(
            minutes < MINUTES_MAX,
            "{unsettled} devices do not come to rest"
        );
        for watched in &*people {
            watched.person.device.advance_clock(MINUTE).await.unwrap();
            watched.person.device.go_online().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_devices_live_through_the_enemys_relay() {
    let seed = std::env::var("KINLINE_SEED").map_or_else(
        |_| rand::rng().random_range(0..1 << 40),
        |text| text.parse().unwrap(),
    );
    println!("the enemy's relay: KINLINE_SEED={seed}");
    let home = tempfile::tempdir().unwrap();
    let relay = EnemyRelay::start(seed, Manners::BAD).await;
    let mut oracle = Oracle::default();
    let mut people = Vec::new();
    for (name, role) in [
        ("Mum", None),
        ("Dad", Some(MemberRole::Guardian)),
        ("Mila", Some(MemberRole::Child)),
    ] {
        let person = Person::new(home.path(), name, relay.address());
        // Its key is read from its state before it says anything.
        let folder = person.put_away().await;
        let seed = Person::record(&folder).signature_seed;
        let key = SecretKey::from_seed(&seed.as_ref().try_into().unwrap()).public();
        let person = Person::open(&folder, name, true);
        oracle.admit(person.id().await, key, name, HOUSE);
        people.push(Watched::new(person));
        match role {
            None => people[0].person.found(HOUSE).await,
            Some(role) => {
                let new = &people[people.len() - 1].person;
                let _ = people[0].person.admit(new, role).await;
            }
        }
    }
    for watched in &people {
        watched.person.settled().await;
    }
    relay.with(|liar| liar.be_honest(false));
    let mut said = 0;
    while relay.with(|liar| liar.steps) < STEPS {
        let watched = &mut people[said % 3];
        let text = if said % 10 == 9 {
            format!("{said} {}", "at length ".repeat(200))
        } else {
            said.to_string()
        };
        watched.say(&mut oracle, text).await;
        if said % 7 == 3 {
            let conversation = watched.person.family().await;
            let update = Command::SelfUpdate { conversation };
            watched.person.device.command(update).await.unwrap();
        }
        if said % 11 == 5 {
            watched.person.device.go_offline().await.unwrap();
        }
        said += 1;
        relay.mischief(MISCHIEF);
        // Until the devices have had their say, as far as they get to it.
        let before = relay.with(|liar| liar.heard);
        let mut looks = 0;
        eventually("an end of looking", async || {
            for watched in &mut people {
                watched.read();
                watched.number(&mut oracle).await;
                // Whoever was cut off dials again at once: the story waits for no backoff.
                let link = watched.person.device.status().link;
                if link != LinkStatus::Up && said % 11 != 5 {
                    watched.person.device.go_online().await.unwrap();
                }
            }
            looks += 1;
            (looks > 20 || relay.with(|liar| liar.heard) > before + 5).then_some(())
        })
        .await;
    }
    relay.with(kinline_tests::foe::Liar::heal);
    let (steps, silences) = relay.with(|liar| (liar.steps, liar.silences));
    println!("{said} texts, {steps} lies, {silences} silences");
    let mut agreed = Err("nobody looked".to_owned());
    for round in 0..ROUNDS_MAX {
        for watched in &people {
            let device = &watched.person.device;
            device.go_offline().await.unwrap();
            device
                .advance_clock(Duration::from_secs(3 * 3_600))
                .await
                .unwrap();
            device.go_online().await.unwrap();
        }
        for watched in &people {
            watched.say(&mut oracle, format!("round {round}")).await;
        }
        settle(&mut people, &mut oracle).await;
        for watched in &people {
            let device = &watched.person.device;
            device.advance_clock(GAP).await.unwrap();
            device.go_online().await.unwrap();
        }
        settle(&mut people, &mut oracle).await;
        agreed = screens_agree(&people, &format!("round {round}")).await;
        if agreed.is_ok() {
            // A device may have moved on since it was last heard: that is for the next round.
            agreed = epochs_agree(&people).await;
        }
        if agreed.is_ok() {
            break;
        }
    }
    if agreed.is_err() {
        print_events(&mut people).await;
    }
    assert_eq!(agreed, Ok(()));
    for watched in &people {
        watched.person.device.go_offline().await.unwrap();
    }
    for watched in &mut people {
        watched.read();
    }
    tell(&mut oracle, &people).await;
    oracle.nothing_is_missing();
    if !oracle.faults.is_empty() {
        print_events(&mut people).await;
    }
    assert_eq!(oracle.faults, Vec::<String>::new());
    assert_eq!(
        relay.with(|liar| liar.complaints.clone()),
        Vec::<String>::new()
    );
}
