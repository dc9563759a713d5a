//! A mailbox that is full or gone is named to its sender; the other recipients get theirs.

use std::time::Duration;

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Event, MemberRole};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_tests::judge::Said;
use kinline_tests::patience::{PATIENCE, eventually};
use kinline_tests::people::{Person, all_is_confirmed};
use kinline_tests::scene::Scene;
use kinline_tests::stranger::Stranger;

const ROOM: usize = 6;
/// More than fit.
const TEXTS: usize = 10;
/// After this long a full mailbox is tried again.
const AGAIN: Duration = Duration::from_secs(61);

/// Soon: well before a sender may try a full mailbox again.
const SOON: Duration = Duration::from_secs(20);

/// Says something and waits until Dad has all of it, which must be soon.
async fn talk(mum: &Person, dad: &Person, said: &mut Said, when: &str) {
    let mut last = String::new();
    for number in 0..TEXTS {
        last = format!("Mum {when} {number:02}");
        said.begin("Mum", &last);
        mum.say(&last).await;
        said.kept(&last);
    }
    let shown = dad
        .device
        .wait_for("the last text on Dad's screen", SOON, |event| {
            matches!(event, Event::Message { body: Body::Text { text }, .. } if *text == last)
                .then_some(())
        });
    shown.await.unwrap();
    let screen = said.judge("Dad", &dad.shown());
    assert!(screen.is_clean(), "{screen:?}");
}

/// Waits until the sender hears of it, and that only one device is named.
async fn hears_of(mum: &Person, tablet: &Person, word: &str) {
    let device = tablet.id().await;
    mum.device
        .wait_for(word, PATIENCE, |event| match event {
            Event::RecipientRefused {
                device: named,
                sentence,
            } if *named == device => {
                assert!(sentence.contains(word), "{sentence}");
                Some(())
            }
            _ => None,
        })
        .await
        .unwrap();
    let named = mum.happened(|event| match event {
        Event::RecipientRefused { device, .. } => Some(*device),
        _ => None,
    });
    assert!(named.iter().all(|named| *named == device), "{named:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_is_named_and_the_others_get_theirs() {
    let room = ROOM.to_string();
    let scene = Scene::start(&[("LIMITS__MAILBOX_ENVELOPES", &room)]).await;
    let family = [("Dad", MemberRole::Guardian), ("Mila", MemberRole::Child)];
    let people = scene.family("Mum", &family).await;
    let [mum, dad, mila] = &people[..] else {
        panic!("a person for each name")
    };
    mila.device.go_offline().await.unwrap();
    let mut said = Said::default();
    talk(mum, dad, &mut said, "until it is full").await;
    hears_of(mum, mila, "full").await;
    talk(mum, dad, &mut said, "while it is full").await;
    // When she is back, the rest comes too, in order, as soon as it is tried again.
    mila.device.go_online().await.unwrap();
    mila.settled().await;
    eventually("Mila's mail", async || {
        mum.device.advance_clock(AGAIN).await.unwrap();
        mum.settled().await;
        let unconfirmed = mum.device.with(|engine| engine.counters().unconfirmed);
        (unconfirmed.await.unwrap() == 0).then_some(())
    })
    .await;
    let screen = said.judge("Mila", &mila.shown());
    assert!(screen.is_clean(), "{screen:?}");
    let verdict = scene.tap.record().verdict();
    assert!(
        verdict.lost.is_empty() && verdict.stray.is_empty(),
        "{verdict:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_mailbox_is_named_and_the_others_get_theirs() {
    let scene = Scene::start(&[]).await;
    let family = [("Dad", MemberRole::Guardian), ("Mila", MemberRole::Child)];
    let mut people = scene.family("Mum", &family).await;
    // The tablet is lost; who has its close key closes its mailbox.
    let folder = people.remove(2).put_away().await;
    let record = Person::record(&folder);
    let mailbox = MailboxId::try_from(&record.mailbox).unwrap();
    let close_key = SecretKey::from_seed(record.close_seed.as_ref().try_into().unwrap());
    let mut closer = Stranger::connect(scene.relay.address()).await;
    closer.close_mailbox(mailbox, &close_key).await;
    let mila = Person::open(&folder, "Mila", false);
    let [mum, dad] = &people[..] else {
        panic!("a person for each name")
    };
    let mut said = Said::default();
    talk(mum, dad, &mut said, "at first").await;
    hears_of(mum, &mila, "gone").await;
    talk(mum, dad, &mut said, "later").await;
    // Nothing waits for ever on a mailbox that is gone.
    mum.settled().await;
    all_is_confirmed(&[mum]).await;
    assert_eq!(mila.shown(), Vec::<String>::new());
}
