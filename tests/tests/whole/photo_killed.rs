//! A photo on its way survives the death of its sender and of the relay.

use std::collections::BTreeSet;
use std::path::Path;

use kinline_client_sim::device::fetch_attachment;
use kinline_media::photo::{PhotoLimits, clean_file};
use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Event, MemberRole};
use kinline_protocol::ids::ContentId;
use kinline_tests::chat::Chat;
use kinline_tests::patience::{PATIENCE, in_time};
use kinline_tests::people::Person;
use kinline_tests::scene::Scene;
use kinline_tests::tap::Moment;

use crate::shell::asset;

/// Who dies when.
const DEATHS: [(&str, Moment, u32); 6] = [
    ("the sender", Moment::Room, 1),
    ("the sender", Moment::Upload, 1),
    ("the sender", Moment::Upload, 4),
    ("the relay", Moment::Room, 1),
    ("the relay", Moment::Upload, 3),
    ("the relay", Moment::Download, 3),
];

/// Photos on a screen, by content.
fn photos(person: &Person) -> Vec<ContentId> {
    person.happened(|event| match event {
        Event::Message {
            content,
            body: Body::Photo(_),
            ..
        } => Some(*content),
        _ => None,
    })
}

/// Waits for a photo that is not among `known`, and fetches it.
async fn receive(person: &Person, known: &BTreeSet<ContentId>) -> (ContentId, Vec<u8>) {
    let new = |event: &Event| match event {
        Event::Message {
            content,
            body: Body::Photo(photo),
            ..
        } if !known.contains(content) => Some((*content, photo.blob.clone())),
        _ => None,
    };
    let (content, pointer) = person
        .device
        .wait_for("the photo", PATIENCE, new)
        .await
        .unwrap();
    let path = fetch_attachment(&person.device, content, &pointer, "jpg", None)
        .await
        .unwrap();
    (content, std::fs::read(path).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_survives_the_death_of_its_sender_and_of_the_relay() {
    let mut scene = Scene::start(&[]).await;
    let mut people = scene.family("Mum", &[("Mila", MemberRole::Child)]).await;
    let folder = people.remove(0).put_away().await;
    let mila = &people[0];
    let file = asset("photo.jpg");
    let cleaned = clean_file(Path::new(&file), &PhotoLimits::default()).unwrap();
    let mut known = BTreeSet::new();
    for (who, moment, count) in DEATHS {
        println!("{who} dies at {moment:?} {count}");
        let mut chat = Chat::start(&folder, true);
        let struck = if who == "the sender" {
            scene.tap.arm(moment, count, None, chat.killer())
        } else {
            let killer = scene.relay.killer();
            scene.tap.arm(moment, count, None, move || killer.kill())
        };
        chat.tell(&format!("photo {file}")).await;
        let receiving = async { receive(mila, &known).await };
        let dying = async {
            in_time("the death", struck).await.unwrap();
            let said = if who == "the sender" {
                let said = chat.last_words().await;
                Chat::start(&folder, true).stop().await;
                said
            } else {
                scene.bury_and_revive().await;
                chat.stop().await
            };
            // She may have died before she could report it; what the tap saw was durable by then.
            assert!(said.is_empty() || said == ["kept photo"], "{said:?}");
        };
        let ((content, received), ()) = tokio::join!(receiving, dying);
        assert!(received == cleaned.jpeg, "it came, but not as it was sent");
        known.insert(content);
    }
    mila.settled().await;
    let shown = photos(mila);
    assert_eq!(shown.len(), DEATHS.len(), "one photo came twice");
}
