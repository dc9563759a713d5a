//! Phone and laptop fall into the lake; the parent comes back on a new phone.

use std::collections::BTreeSet;

use kinline_client_sim::device;
use kinline_protocol::account::{Anew, Outcome, RecoveryCode, Wish};
use kinline_protocol::content::Body;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::ids::{ContentId, DeviceId, MemberId};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::cast::{ANNA, Cast, FAMILY, ROOM, conversation, member, photo, say_in};
use super::report::Report;
use crate::patience::{PATIENCE, eventually};
use crate::people::{Person, all_is_confirmed};
use crate::theft::Loot;

/// What was there before the lake.
struct Before {
    anna: MemberId,
    lost: Vec<DeviceId>,
    texts: BTreeSet<String>,
    photo: ContentId,
    /// A copy of the phone's state, as whoever finds it would have.
    found: std::path::PathBuf,
}

/// `None` when a step went wrong.
pub(super) async fn drill(cast: &mut Cast, messages: usize, report: &mut Report) -> Option<()> {
    report
        .step(
            "a family of two guardians and two children stands",
            found(cast),
        )
        .await?;
    report
        .step(
            "Anna makes an account and prints her recovery code",
            put_by(cast),
        )
        .await?;
    let before = report
        .step(
            "they write, and send a photo of the lake",
            talk(cast, messages),
        )
        .await?;
    let before = report
        .step("phone and laptop are destroyed", destroy(cast, before))
        .await?;
    report
        .step(
            "back on a new phone, by login name, password and code",
            come_back(cast, &before),
        )
        .await?;
    report
        .step(
            "conversations go on, both ways, in the family and in a room",
            go_on(cast),
        )
        .await?;
    report
        .step("all that was said before is there", history(cast, &before))
        .await?;
    report
        .step(
            "the photo of last week is there, from a tablet",
            picture(cast, &before),
        )
        .await?;
    report
        .step(
            "what was lost is out: it reads and writes nothing more",
            out(cast, &before),
        )
        .await?;
    report
        .step("everything is put by for the next time", ready(cast))
        .await?;
    report
        .step(
            "a thief of the relay finds no name, no password, no code",
            theft(cast),
        )
        .await
}

async fn found(cast: &mut Cast) -> ((), String) {
    let phone = cast.phone.take().expect("Anna has a phone");
    phone.found(FAMILY).await;
    let laptop = cast.device_of_anna("laptop");
    for (new, role) in [
        (&laptop, MemberRole::Guardian),
        (&cast.ben, MemberRole::Guardian),
        (&cast.mia, MemberRole::Child),
        (&cast.leo, MemberRole::Child),
    ] {
        let code = phone.admit(new, role).await;
        cast.secrets.push(code);
    }
    let create = Command::CreateConversation {
        title: ROOM.into(),
        members: vec![member(&cast.mia).await],
    };
    // Key packages of the last ones may still be on their way.
    eventually("a room", async || {
        phone.device.command(create.clone()).await.ok()
    })
    .await;
    for person in [&phone, &laptop, &cast.mia] {
        let _ = conversation(person, ROOM).await;
    }
    cast.phone = Some(phone);
    cast.laptop = Some(laptop);
    ((), String::new())
}

async fn put_by(cast: &mut Cast) -> ((), String) {
    let code = RecoveryCode::random(&mut StdRng::from_rng(&mut rand::rng()));
    let words = code.words();
    cast.secrets.push(words.clone());
    cast.secrets.push(code.text());
    let register = Wish::Register {
        admission: String::new(),
    };
    let Outcome::Registered { keys } = cast.account(Some(code.clone()), register).await else {
        panic!("the account was not made");
    };
    cast.code = Some(code);
    let keep = Command::KeepAccount {
        keys: Box::new(keys),
        vault: None,
        fresh: true,
        renewed: true,
    };
    let phone = cast.phone();
    phone.device.command(keep).await.unwrap();
    recoverable(phone).await;
    ((), String::new())
}

/// Until a screen says that recovery would work.
async fn recoverable(phone: &Person) {
    eventually("that everything is put by", async || {
        let now = phone.device.clock().now();
        let status = phone
            .device
            .with(move |engine: &Engine| engine.recovery_status(now));
        let status = status.await.unwrap();
        (status.by_code && status.gaps.is_empty()).then_some(())
    })
    .await;
}

async fn talk(cast: &mut Cast, messages: usize) -> (Before, String) {
    let phone = cast.phone();
    let laptop = cast.laptop.as_ref().expect("Anna has a laptop");
    let room = conversation(phone, ROOM).await;
    let family = phone.family().await;
    let file = photo(cast.home());
    let folder = phone.device.folder().to_owned();
    let prepared =
        tokio::task::spawn_blocking(move || device::photo(&folder, &file, "am See").unwrap());
    let prepared = prepared.await.unwrap();
    let mut events = phone.device.events();
    let send = Command::Send {
        conversation: family,
        body: prepared.body,
        reply_to: None,
        disappear_seconds: 0,
        blob: Some(prepared.blob),
    };
    phone.device.command(send).await.unwrap();
    let own = events.wait_for(
        "the photo on her own screen",
        PATIENCE,
        |event| match event {
            Event::Message {
                content,
                body: Body::Photo(_),
                ..
            } => Some(*content),
            _ => None,
        },
    );
    let photo = own.await.unwrap();
    let people = [phone, &cast.ben, &cast.mia, &cast.leo, laptop];
    let mut texts = BTreeSet::new();
    for number in 0..messages {
        let text = format!("Nachricht {number} vom Frühstückstisch");
        // Every seventh in the room of two.
        if number % 7 == 6 {
            let speaker = if number % 2 == 0 { phone } else { &cast.mia };
            say_in(speaker, room, &text).await;
        } else {
            say_in(people[number % people.len()], family, &text).await;
        }
        texts.insert(text);
    }
    all_is_confirmed(&people).await;
    // The children look at the photo, so they have it.
    for child in [&cast.mia, &cast.leo] {
        fetch(child, photo).await;
    }
    all_is_confirmed(&people).await;
    let mut lost = Vec::new();
    for person in [phone, laptop] {
        lost.push(person.id().await);
    }
    let before = Before {
        anna: member(phone).await,
        lost,
        texts,
        photo,
        found: std::path::PathBuf::new(),
    };
    let said = format!("{} texts, 1 photo", before.texts.len());
    cast.secrets.push("Nachricht 0 vom Frühstückstisch".into());
    (before, said)
}

async fn fetch(person: &Person, content: ContentId) -> usize {
    let views = device::messages(&person.device).await.unwrap();
    let view = views.into_iter().find(|view| view.content == content);
    let view = view.expect("it is on the screen");
    let path = device::fetch_message(&person.device, &view, None, PATIENCE).await;
    std::fs::read(path.unwrap()).unwrap().len()
}

async fn destroy(cast: &mut Cast, before: Before) -> (Before, String) {
    let phone = cast.phone.take().expect("Anna has a phone");
    let laptop = cast.laptop.take().expect("Anna has a laptop");
    // What a finder has is a copy that she no longer has.
    let folder = phone.put_away().await;
    let found = cast.home().join("found in the lake");
    std::fs::rename(&folder, &found).unwrap();
    let folder = laptop.put_away().await;
    std::fs::remove_dir_all(&folder).unwrap();
    (Before { found, ..before }, String::new())
}

async fn come_back(cast: &mut Cast, before: &Before) -> ((), String) {
    let wish = Wish::LogIn {
        tickets: 0,
        anew: Anew::Whole,
    };
    let Outcome::LoggedIn(done) = cast.account(cast.code.clone(), wish).await else {
        panic!("she is not logged in");
    };
    let new = cast.device_of_anna("new phone");
    let come = Command::ComeBack {
        vault: Box::new(done.vault.unwrap()),
        renewed: done.renewed,
        keys: Box::new(done.keys),
    };
    new.device.command(come).await.unwrap();
    let joined = new.device.wait_for("the family", PATIENCE, |event| {
        matches!(event, Event::Joined { .. }).then_some(())
    });
    joined.await.unwrap();
    assert_eq!(member(&new).await, before.anna, "she is who she was");
    cast.phone = Some(new);
    ((), String::new())
}

async fn go_on(cast: &mut Cast) -> ((), String) {
    let phone = cast.phone();
    phone.say("ich bin wieder da").await;
    for person in [&cast.ben, &cast.mia, &cast.leo] {
        person.sees("ich bin wieder da").await;
    }
    cast.leo.say("endlich").await;
    phone.sees("endlich").await;
    let room = conversation(phone, ROOM).await;
    say_in(&cast.mia, room, "Seite 12 ist fertig").await;
    phone.sees("Seite 12 ist fertig").await;
    say_in(phone, room, "und Seite 13?").await;
    cast.mia.sees("und Seite 13?").await;
    ((), String::new())
}

async fn history(cast: &mut Cast, before: &Before) -> ((), String) {
    let phone = cast.phone();
    eventually("the history", async || {
        let screen: BTreeSet<String> = phone.screen().await.into_iter().collect();
        before.texts.is_subset(&screen).then_some(())
    })
    .await;
    let screen = phone.screen().await;
    let once: BTreeSet<&String> = screen.iter().collect();
    assert_eq!(screen.len(), once.len(), "nothing twice");
    ((), format!("{} texts of before", before.texts.len()))
}

async fn picture(cast: &mut Cast, before: &Before) -> ((), String) {
    let phone = cast.phone();
    // Somebody has to put it up again: the relay deleted it when all had it.
    let fetched = fetch(phone, before.photo);
    let give = eventually("that it was fetched", async || {
        for child in [&cast.mia, &cast.leo, &cast.ben] {
            let _ = device::give_media(&child.device).await;
        }
        None::<()>
    });
    tokio::select! {
        bytes = fetched => ((), format!("{bytes} bytes")),
        () = give => unreachable!("it gives until it is fetched"),
    }
}

async fn out(cast: &mut Cast, before: &Before) -> ((), String) {
    for person in [cast.phone(), &cast.ben, &cast.mia, &cast.leo] {
        let lost = before.lost.clone();
        let gone = person.device.with(move |engine: &Engine| {
            let log = engine.family_log().expect("a family");
            lost.iter().all(|device| log.certificate(device).is_none())
        });
        assert!(gone.await.unwrap(), "{} still knows it", person.name);
    }
    cast.mia.say("ist das wirklich Mama?").await;
    let finder = Person::open(&before.found, ANNA, true);
    finder.settled().await;
    let outside = finder
        .device
        .with(|engine: &Engine| engine.member().is_none());
    assert!(outside.await.unwrap(), "it knows that it is out");
    assert!(
        !finder
            .screen()
            .await
            .contains(&"ist das wirklich Mama?".to_owned()),
        "it reads what is said now"
    );
    let said = Command::Send {
        conversation: finder.family().await,
        body: Body::Text {
            text: "aus dem See".into(),
        },
        reply_to: None,
        disappear_seconds: 0,
        blob: None,
    };
    assert!(finder.device.command(said).await.is_err(), "it writes");
    drop(finder.put_away().await);
    for person in [cast.phone(), &cast.ben, &cast.mia, &cast.leo] {
        person.settled().await;
        assert!(!person.screen().await.contains(&"aus dem See".to_owned()));
    }
    ((), String::new())
}

async fn ready(cast: &mut Cast) -> ((), String) {
    recoverable(cast.phone()).await;
    ((), String::new())
}

async fn theft(cast: &mut Cast) -> ((), String) {
    let people = [cast.phone(), &cast.ben, &cast.mia, &cast.leo];
    all_is_confirmed(&people).await;
    let loot = Loot::take(&cast.relay);
    let secrets = cast.secrets.clone();
    let searched = tokio::task::spawn_blocking(move || loot.search(&secrets, true));
    let found = searched.await.unwrap();
    assert!(found.ok(), "{found}");
    let said = format!(
        "{} secrets searched, {} hits, {} of {} planted leaks caught",
        cast.secrets.len(),
        found.hits,
        found.controls_caught,
        found.controls_planted
    );
    ((), said)
}
