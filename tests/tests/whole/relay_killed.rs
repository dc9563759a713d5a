//! SIGKILL at any moment of the relay loses nothing that it acknowledged.

use std::time::Duration;

use kinline_protocol::engine::io::{Command, MemberRole};
use kinline_tests::judge::Said;
use kinline_tests::patience::in_time;
use kinline_tests::people::{Person, all_is_confirmed, assert_nothing_was_unreadable};
use kinline_tests::scene::Scene;
use kinline_tests::seed::seeded;
use kinline_tests::tap::Moment;
use rand::RngExt as _;
use rand_chacha::ChaCha20Rng;

const KILLS: usize = 40;
/// Texts of each phone between two kills.
const TEXTS: usize = 4;

/// When the relay dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// As soon as this frame passes the tap.
    At(Moment, u32),
    /// So long after the phones began to write.
    After(Duration),
}

fn death(random: &mut ChaCha20Rng, round: usize) -> Death {
    let answers = (2 * TEXTS) as u32;
    match round % 6 {
        0 => Death::At(Moment::Answer, random.random_range(1..=2 * answers)),
        1 => Death::At(Moment::Send, random.random_range(1..=answers)),
        2 => Death::At(Moment::Deliver, random.random_range(1..=answers)),
        3 => Death::At(Moment::Acknowledge, random.random_range(1..=3)),
        4 => Death::At(Moment::Attach, random.random_range(1..=2)),
        // A moment that no frame marks: inside a commit, between answer and acknowledgement.
        _ => Death::After(Duration::from_micros(random.random_range(0..60_000))),
    }
}

/// Says the texts of one round and remembers them.
async fn say(person: &Person, said: &std::sync::Mutex<Said>, round: usize) {
    for number in 0..TEXTS {
        let text = format!("{} {round:02}.{number}", person.name);
        said.lock().unwrap().begin(&person.name, &text);
        person.say(&text).await;
        said.lock().unwrap().kept(&text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_killed_at_many_moments_loses_nothing_it_acknowledged() {
    let mut random = seeded("relay killed");
    let mut scene = Scene::start(&[("LIMITS__HOLD_MS", "40")]).await;
    let people = scene
        .family(
            "Mum",
            &[
                ("Dad", MemberRole::Guardian),
                ("Mila", MemberRole::Child),
                ("Ole", MemberRole::Child),
            ],
        )
        .await;
    let [mum, dad, mila, ole] = &people[..] else {
        unreachable!()
    };
    let said = std::sync::Mutex::new(Said::default());
    ole.device.go_offline().await.unwrap();
    let mut ole_is_there = false;
    for round in 0..KILLS {
        // Mila's tablet is there all the time; Ole's comes back for a short visit now and then.
        let visit = random.random_ratio(1, 4);
        if visit != ole_is_there {
            if visit {
                ole.device.go_online().await.unwrap();
            } else {
                ole.device.go_offline().await.unwrap();
            }
            ole_is_there = visit;
        }
        // The conversation moves on now and then. Twice each: devices open what was sealed to
        // their last three addresses, and everything of the night may still be on its way.
        if round % (KILLS / 4) == 3 {
            let person = if round < KILLS / 2 { mum } else { dad };
            let conversation = person.family().await;
            let update = Command::SelfUpdate { conversation };
            person.device.command(update).await.unwrap();
        }
        let death = death(&mut random, round);
        let killer = scene.relay.killer();
        let writing = async { tokio::join!(say(mum, &said, round), say(dad, &said, round)) };
        match death {
            Death::At(moment, count) => {
                let struck = scene.tap.arm(moment, count, None, move || killer.kill());
                // A moment that does not come (nobody attaches in this round) is replaced by
                // the one at which all is quiet.
                let quiet = async {
                    writing.await;
                    tokio::join!(mum.settled(), dad.settled());
                };
                tokio::pin!(quiet);
                let struck = tokio::select! {
                    struck = struck => struck.is_ok(),
                    () = &mut quiet => false,
                };
                scene.tap.disarm();
                println!("round {round:2}: {death:?}, struck {struck}");
                scene.relay.kill().await;
                scene.tap.relay_is_gone();
                if struck {
                    // They go on writing while it is dead.
                    scene.revive().await;
                    in_time("writing on", quiet).await;
                    continue;
                }
            }
            Death::After(moment) => {
                println!("round {round:2}: {death:?}");
                // Not a wait for anything: the moment of death itself.
                tokio::join!(writing, async {
                    tokio::time::sleep(moment).await;
                    killer.kill();
                });
                scene.relay.kill().await;
                scene.tap.relay_is_gone();
            }
        }
        scene.revive().await;
    }
    ole.device.go_online().await.unwrap();
    let all = [mum, dad, mila, ole];
    all_is_confirmed(&all).await;
    assert_nothing_was_unreadable(&all).await;

    let verdict = scene.tap.record().verdict();
    assert!(verdict.answered > 2 * KILLS * TEXTS, "{verdict:?}");
    assert!(verdict.is_clean(), "{verdict:?}");
    let said = said.into_inner().unwrap();
    assert_eq!(said.kept_count(), 2 * KILLS * TEXTS);
    for person in all {
        let screen = said.judge(&person.name, &person.shown());
        assert!(screen.is_clean(), "{}'s screen: {screen:?}", person.name);
    }
}

/// The planted fault: a relay that says ok before it writes, so that SIGKILL takes the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_forgets_what_it_acknowledged_is_caught() {
    let settings = [("LIMITS__CHECKPOINT_AFTER_MS", "3600000")];
    let mut scene = Scene::start(&settings).await;
    let people = scene.family("Mum", &[("Ole", MemberRole::Child)]).await;
    let [mum, ole] = &people[..] else {
        unreachable!()
    };
    ole.device.go_offline().await.unwrap();
    // What the family said so far is tidied up; what comes now stands in a journal alone.
    assert_eq!(scene.relay.terminate().await, Some(0));
    scene.revive().await;
    let before = scene.tap.record().answered.len();
    for number in 1..=5 {
        mum.say(&format!("Mum {number}")).await;
    }
    let answered = |count: usize| {
        move |record: &kinline_tests::record::WireRecord| record.answered.len() >= before + count
    };
    scene.tap.until("five answers", answered(5)).await;
    scene.relay.kill().await;
    scene.tap.relay_is_gone();
    scene.relay.forget_newest();
    scene.revive().await;
    ole.device.go_online().await.unwrap();
    ole.settled().await;

    let verdict = scene.tap.record().verdict();
    assert_eq!(verdict.lost.len(), 5, "{verdict:?}");
}
