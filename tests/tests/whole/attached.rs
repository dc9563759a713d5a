//! Deliver before disk: "ok" means that the recipient's device has it or the disk has it, also
//! when the recipient is attached, acknowledges nothing, and goes.

use kinline_protocol::engine::io::MemberRole;
use kinline_protocol::ids::MailboxId;
use kinline_tests::judge::Said;
use kinline_tests::people::{Person, all_is_confirmed};
use kinline_tests::scene::Scene;
use kinline_tests::tap::Moment;

const TEXTS: usize = 10;

/// A guardian's phone and a tablet, whose mailbox is known.
async fn mother_and_tablet(scene: &Scene) -> (Person, Person, MailboxId) {
    let mut people = scene.family("Mum", &[("Mila", MemberRole::Child)]).await;
    let folder = people.remove(1).put_away().await;
    let mailbox = Person::mailbox_of(&folder);
    let mila = Person::open(&folder, "Mila", true);
    mila.settled().await;
    (people.remove(0), mila, mailbox)
}

async fn say(mum: &Person, said: &mut Said, from: usize) -> String {
    let mut last = String::new();
    for number in from..from + TEXTS {
        last = format!("Mum {number:02}");
        said.begin("Mum", &last);
        mum.say(&last).await;
        said.kept(&last);
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_acknowledges_nothing_and_goes_gets_everything_once_in_order() {
    let scene = Scene::start(&[]).await;
    let (mum, mila, mailbox) = mother_and_tablet(&scene).await;
    let before = scene.tap.record().answered_for(mailbox);
    let mut said = Said::default();
    scene.tap.mute(mailbox);
    let last = say(&mum, &mut said, 0).await;
    // She has them, and the relay does not hear of it: after a moment it writes them down and
    // says ok all the same.
    mila.sees(&last).await;
    let answered = |count| {
        move |record: &kinline_tests::record::WireRecord| {
            record.answered_for(mailbox) >= before + count
        }
    };
    scene.tap.until("the disk's ok", answered(TEXTS)).await;
    assert_eq!(scene.relay.waiting(), TEXTS as u64);
    scene.tap.cut(mailbox);
    // New ones queue behind the old ones while she comes back.
    say(&mum, &mut said, TEXTS).await;
    all_is_confirmed(&[&mum]).await;
    mila.settled().await;

    let screen = said.judge("Mila", &mila.shown());
    assert!(screen.is_clean(), "{screen:?}");
    let record = scene.tap.record();
    assert!(record.verdict().is_clean(), "{:?}", record.verdict());
    let deliveries = record.delivered.iter().filter(|(to, _)| *to == mailbox);
    assert!(
        deliveries.count() >= 3 * TEXTS,
        "the first were delivered twice"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_only_in_memory_is_on_disk_before_the_sender_hears_ok() {
    // A relay that would hold envelopes for attached devices in memory for an hour.
    let mut scene = Scene::start(&[("LIMITS__HOLD_MS", "3600000")]).await;
    let (mum, mila, mailbox) = mother_and_tablet(&scene).await;
    let before = scene.tap.record().answered_for(mailbox);
    let mut said = Said::default();
    scene.tap.mute(mailbox);
    let last = say(&mum, &mut said, 0).await;
    mila.sees(&last).await;
    assert_eq!(
        scene.tap.record().answered_for(mailbox),
        before,
        "neither device nor disk had them, as far as the relay knew"
    );
    // The relay dies as soon as it has said ok to the last.
    let killer = scene.relay.killer();
    let struck = scene
        .tap
        .arm(Moment::Answer, TEXTS as u32, Some(mailbox), move || {
            killer.kill()
        });
    mila.device.go_offline().await.unwrap();
    scene.tap.cut(mailbox);
    kinline_tests::patience::in_time("the answers", struck)
        .await
        .unwrap();
    scene.bury_and_revive().await;
    assert_eq!(scene.relay.waiting(), TEXTS as u64);
    mila.device.go_online().await.unwrap();
    all_is_confirmed(&[&mum]).await;

    let screen = said.judge("Mila", &mila.shown());
    assert!(screen.is_clean(), "{screen:?}");
    let verdict = scene.tap.record().verdict();
    assert!(verdict.is_clean(), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_family_that_is_there_hardly_touches_the_disk() {
    let scene = Scene::start(&[("LIMITS__HOLD_MS", "3600000")]).await;
    let (mum, mila, mailbox) = mother_and_tablet(&scene).await;
    let mut said = Said::default();
    let last = say(&mum, &mut said, 0).await;
    mila.sees(&last).await;
    // Confirmed although nothing is ever written in time: the device's own acknowledgement
    // was the ok.
    all_is_confirmed(&[&mum]).await;
    assert!(scene.tap.record().answered_for(mailbox) >= TEXTS);
    assert_eq!(scene.relay.waiting(), 0);
}
