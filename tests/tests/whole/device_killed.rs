//! SIGKILL at any moment of a device loses nothing that it had reported as kept, and nothing
//! that it had confirmed to others.

use std::collections::BTreeSet;
use std::time::Duration;

use kinline_protocol::engine::io::{Event, MemberRole};
use kinline_tests::chat::Chat;
use kinline_tests::judge::Said;
use kinline_tests::people::{Person, all_is_confirmed, assert_nothing_was_unreadable};
use kinline_tests::scene::Scene;
use kinline_tests::seed::seeded;
use kinline_tests::sqlite;
use kinline_tests::tap::Moment;
use rand::RngExt as _;

const KILLS: usize = 24;
/// Texts of each phone between two kills.
const TEXTS: usize = 4;

/// When the device dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// When it has said so many lines.
    Line(usize),
    /// As soon as this frame of its connection passes the tap.
    At(Moment, u32),
    /// So long after it was fed.
    After(Duration),
}

/// Takes down what a device said.
fn note(lines: &[String], said: &mut Said, shown: &mut Vec<String>) {
    for line in lines {
        match line.split_once(' ') {
            Some(("kept", text)) => said.kept(text),
            Some(("shown", text)) => shown.push(text.to_owned()),
            _ => panic!("{line:?} is no report"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_killed_at_many_moments_loses_nothing_it_kept_or_confirmed() {
    let mut random = seeded("device killed");
    let scene = Scene::start(&[]).await;
    let family = [("Dad", MemberRole::Guardian), ("Mila", MemberRole::Child)];
    let mut people = scene.family("Mum", &family).await;
    let mum = people.remove(0);
    let mums_device = mum.id().await;
    let folder = mum.put_away().await;
    let mailbox = Person::mailbox_of(&folder);
    let [dad, mila] = &people[..] else {
        unreachable!()
    };
    let mut said = Said::default();
    // What Mum's screen showed over all her lives.
    let mut shown = Vec::new();
    for round in 0..KILLS {
        let death = match round % 4 {
            0 => Death::Line(random.random_range(1..=TEXTS)),
            1 => Death::At(Moment::Send, random.random_range(1..=TEXTS as u32)),
            2 => Death::At(Moment::Deliver, random.random_range(1..=TEXTS as u32)),
            _ => Death::After(Duration::from_micros(random.random_range(0..120_000))),
        };
        println!("round {round:2}: {death:?}");
        let mut chat = Chat::start(&folder, true);
        let kill = chat.killer();
        let struck = match death {
            Death::At(moment, count) => Some(scene.tap.arm(moment, count, Some(mailbox), kill)),
            Death::Line(_) | Death::After(_) => None,
        };
        for number in 0..TEXTS {
            let text = format!("Mum {round:02}.{number}");
            said.begin("Mum", &text);
            chat.tell(&format!("say {text}")).await;
            let text = format!("Dad {round:02}.{number}");
            said.begin("Dad", &text);
            dad.say(&text).await;
            said.kept(&text);
        }
        match death {
            Death::Line(count) => {
                let mut lines = Vec::new();
                while lines.len() < count {
                    lines.extend(chat.next().await);
                }
                (chat.killer())();
                note(&lines, &mut said, &mut shown);
            }
            Death::At(..) => {
                let struck = struck.expect("armed");
                kinline_tests::patience::in_time("the device's death", struck)
                    .await
                    .unwrap();
            }
            Death::After(moment) => {
                // Not a wait for anything: the moment of death itself.
                tokio::time::sleep(moment).await;
                (chat.killer())();
            }
        }
        note(&chat.last_words().await, &mut said, &mut shown);
    }
    // Her last life ends politely.
    let chat = Chat::start(&folder, true);
    note(&chat.stop().await, &mut said, &mut shown);
    all_is_confirmed(&[dad, mila]).await;
    assert_nothing_was_unreadable(&[dad, mila]).await;

    assert!(
        said.kept_count() >= KILLS * TEXTS,
        "hardly anything was kept"
    );
    for person in [dad, mila] {
        let screen = said.judge(&person.name, &person.shown());
        assert!(screen.is_clean(), "{}'s screen: {screen:?}", person.name);
    }
    let mum = Person::open(&folder, "Mum", false);
    let screen = mum.screen().await;
    mum.put_away().await;
    let of = |name: &str| -> Vec<String> {
        let begins = format!("{name} ");
        let texts = screen.iter().filter(|text| text.starts_with(&begins));
        texts.cloned().collect()
    };
    let own = said.judge_of("Mum", &of("Mum"));
    assert!(own.is_clean(), "Mum's own words: {own:?}");
    let received = said.judge_of("Dad", &of("Dad"));
    assert!(received.is_clean(), "what Mum received: {received:?}");
    // What she had confirmed before she died is there, says the device it was confirmed to.
    let confirmed = dad.happened(|event| match event {
        Event::Delivered { content, device } if *device == mums_device => Some(*content),
        _ => None,
    });
    assert_eq!(confirmed.len(), KILLS * TEXTS);
    // She died between a write and its report at times, but nothing came to her screen twice.
    let twice: BTreeSet<_> = shown.iter().collect();
    assert_eq!(twice.len(), shown.len(), "shown twice: {shown:?}");
    assert!(shown.iter().all(|text| screen.contains(text)));
}

/// The planted fault: a store whose last transaction did not reach the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_forgets_what_it_reported_is_caught() {
    let scene = Scene::start(&[]).await;
    let mut people = scene.family("Mum", &[("Mila", MemberRole::Child)]).await;
    let folder = people.remove(0).put_away().await;
    let mila = &people[0];
    let mut said = Said::default();
    let mut chat = Chat::start(&folder, false);
    for number in 1..=3 {
        let text = format!("Mum {number}");
        said.begin("Mum", &text);
        chat.tell(&format!("say {text}")).await;
    }
    let mut shown = Vec::new();
    let before = chat.read_until("kept Mum 3").await;
    note(&before, &mut said, &mut shown);
    said.kept("Mum 3");
    (chat.killer())();
    assert_eq!(chat.last_words().await, Vec::<String>::new());
    sqlite::drop_last_transaction(&folder.join("device.db"));

    Chat::start(&folder, true).stop().await;
    mila.settled().await;
    let screen = said.judge("Mila", &mila.shown());
    assert_eq!(screen.lost, ["Mum 3"], "{screen:?}");
}
