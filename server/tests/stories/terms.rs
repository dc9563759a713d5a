//! The published terms are what the relay does: each class goes on the day that they name, and
//! not a day sooner.

use std::collections::BTreeMap;

use kinline_protocol::blob::{owner_hash, read_hash};
use kinline_protocol::primitives::hash::sha256;
use kinline_protocol::ticket::{EPOCH_DAYS, epoch_of};
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::{CommitOffer, CreateBlob, RecipientStatus, RevokeGrant, Send};
use serde_json::Value;

use super::ticket;
use crate::harness::{Device, Here, Mailbox, TODAY, draw, noise, request};

async fn published(here: &Here) -> (Value, String) {
    let reply = request(&here.address(), "GET", "/v1/terms", &[], vec![]).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "application/json");
    let text = String::from_utf8(reply.body).unwrap();
    (serde_json::from_str(&text).unwrap(), text)
}

/// Days by class, of those that have a number.
fn days(terms: &Value) -> BTreeMap<String, u32> {
    let classes = terms["classes"].as_array().unwrap().iter();
    let days = classes.filter_map(|class| {
        let days = u32::try_from(class["days"].as_u64()?).unwrap();
        Some((class["class"].as_str().unwrap().to_owned(), days))
    });
    days.collect()
}

#[tokio::test]
async fn anybody_can_read_the_terms_and_check_their_hash() {
    let here = Here::start_with(|config| {
        config.terms.backup_days = 14;
        config.terms.contact = "data@relay.example".into();
    })
    .await;
    let (terms, text) = published(&here).await;
    assert_eq!(terms["backup_days"], 14);
    assert_eq!(terms["contact"], "data@relay.example");
    let name = here.address();
    assert_eq!(terms["server_name"], name.server_name());
    let hash = terms["hash"].as_str().unwrap();
    let without = text.replace(hash, "");
    assert_eq!(hash, hex::encode(sha256(without.as_bytes())));
    for class in terms["classes"].as_array().unwrap() {
        for key in ["class", "holds", "from", "ends"] {
            assert!(class[key].is_string(), "{class}");
        }
    }
}

#[test]
fn the_document_about_the_law_names_the_same_days() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/COMPLIANCE.md");
    let text = std::fs::read_to_string(path).unwrap();
    for class in kinline_server::terms::classes() {
        let days = class
            .days
            .map_or("none".to_owned(), |days| days.to_string());
        let row = format!("| {} | {days} ", class.class.replace('_', " "));
        assert!(text.contains(&row), "{row}");
    }
}

/// What is there of each class.
fn there(here: &Here) -> BTreeMap<&'static str, bool> {
    BTreeMap::from([
        ("envelope", here.envelopes() > 0),
        ("commit_slot", here.count("commit_slot") > 0),
        ("revoked_grant", here.count("revoked_grant") > 0),
        ("blob", here.count("blob") > 0),
        // Three mailboxes are made; the closed one goes first.
        ("closed_mailbox", here.count("mailbox") > 2),
        ("mailbox", here.count("mailbox") > 0),
    ])
}

#[tokio::test]
async fn what_is_published_is_what_is_deleted_day_by_day() {
    let mut here = Here::start().await;
    let (terms, _) = published(&here).await;
    let published = days(&terms);
    {
        let mut alice = Device::start(&here.address()).await;
        let bob = Device::start(&here.address()).await;
        let mailbox = Mailbox::random();
        let mut other = here.connect().await;
        other.open(&mailbox).await;
        let close = other.close_request(&mailbox, false);
        other.ask(Ask::CloseMailbox(close)).await;
        let waiting = bob.mailbox.delivery("waits");
        drop(bob);
        assert_eq!(
            alice.socket.send(vec![waiting]).await,
            [RecipientStatus::Ok]
        );
        let commit = Some(CommitOffer {
            token: vec![1; 16].into(),
            sealed: noise(1_024).into(),
        });
        let offer = Send {
            commit,
            ..Send::default()
        };
        alice.socket.ask(Ask::Send(offer)).await;
        let revoke = RevokeGrant {
            mailbox: alice.mailbox.id.to_bytes(),
            secret: vec![1; 32].into(),
            // Longer than any grant may be.
            last_day: TODAY + 10_000,
        };
        alice.socket.ask(Ask::RevokeGrant(revoke)).await;
        let create = CreateBlob {
            read_hash: read_hash(&[2; 32]).to_vec().into(),
            owner_hash: owner_hash(&[3; 32]).to_vec().into(),
            size: 1_024,
            ticket: String::new(),
        };
        alice.socket.ask(Ask::CreateBlob(create)).await;
    }
    let mut gone: BTreeMap<&str, u32> = BTreeMap::new();
    let last = published.values().max().unwrap() + 2;
    for day in 0..=last {
        if day > 0 {
            here.clock.advance(1);
        }
        here.relay.as_ref().unwrap().run_retention().await;
        here.stop().await;
        for (class, there) in there(&here) {
            if !there {
                gone.entry(class).or_insert(day);
            }
            let kept = day <= published[class];
            assert_eq!(there, kept, "{class} on day {day}");
        }
        here.restart().await;
    }
    assert_eq!(gone.len(), 6);
    // Every class with a number is looked at here or below, or lives in memory.
    let rest: Vec<&String> = published
        .keys()
        .filter(|class| !gone.contains_key(class.as_str()))
        .collect();
    assert_eq!(rest, ["rendezvous", "spent_ticket"]);
}

#[tokio::test]
async fn a_spent_ticket_is_forgotten_when_it_would_not_be_good_any_more() {
    let (mut here, code) = ticket::start().await;
    let days = days(&published(&here).await.0)["spent_ticket"];
    let (_, mut socket, logged_in) = ticket::parent(&here, &code).await;
    let drawn = draw(&mut socket, &logged_in, 1).await.unwrap();
    assert!(ticket::opens(&here, &drawn[0].to_text(), &Mailbox::random()).await);
    let epoch = epoch_of(TODAY) * EPOCH_DAYS;
    for day in TODAY..=epoch + days + 2 {
        here.relay.as_ref().unwrap().run_retention().await;
        here.stop().await;
        let there = here.count("spent_ticket") > 0;
        assert_eq!(there, day - epoch <= days, "day {}", day - epoch);
        here.clock.advance(1);
        here.restart().await;
    }
}
