//! What lies on the disk is noise to who lacks the key file, even to who knows an id.

use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{CloseKeyRenewed, CommitOffer, CreateBlob, RevokeGrant, Send};

use crate::harness::{Device, Here, TODAY, noise};

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

fn everything(folder: &std::path::Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        into.extend_from_slice(path.to_str().unwrap().as_bytes());
        if path.is_dir() {
            everything(&path, into);
        } else {
            into.extend(std::fs::read(path).unwrap());
        }
    }
}

#[tokio::test]
async fn no_id_key_hash_or_acknowledged_body_is_on_disk() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    bob.socket = here.connect().await;
    let mut secrets: Vec<(&str, Vec<u8>)> = Vec::new();
    for mailbox in [&alice.mailbox, &bob.mailbox] {
        secrets.push(("mailbox id", mailbox.id.as_bytes().to_vec()));
        secrets.push((
            "authentication key",
            mailbox.keys().authentication.as_bytes().to_vec(),
        ));
        secrets.push(("grant key", mailbox.keys().grant.as_bytes().to_vec()));
        secrets.push(("close key", mailbox.keys().close.as_bytes().to_vec()));
    }
    let renewed = kinline_protocol::primitives::sign::SecretKey::random(&mut rand::rng()).public();
    let answer = super::close_key::renew(&mut alice, &renewed).await;
    assert_eq!(answer, Say::CloseKeyRenewed(CloseKeyRenewed {}));
    secrets.push(("renewed close key", renewed.as_bytes().to_vec()));
    let waiting = bob.mailbox.delivery("waiting");
    secrets.push(("message id", waiting.message_id.to_vec()));
    secrets.push(("grant", waiting.grant.to_vec()));
    alice.socket.send(vec![waiting]).await;
    let (token, revocation, read, owner) = (noise(16), noise(32), noise(32), noise(32));
    let sealed = noise(1_024);
    let commit = Some(CommitOffer {
        token: token.clone().into(),
        sealed: sealed.clone().into(),
    });
    alice
        .socket
        .ask(Ask::Send(Send {
            commit,
            ..Send::default()
        }))
        .await;
    secrets.push(("slot token", token));
    let revoke = RevokeGrant {
        mailbox: bob.mailbox.id.to_bytes(),
        secret: revocation.clone().into(),
        last_day: TODAY + 1,
    };
    alice.socket.ask(Ask::RevokeGrant(revoke)).await;
    secrets.push((
        "revocation hash",
        kinline_protocol::grant::revocation_hash(&revocation).to_vec(),
    ));
    secrets.push(("revocation secret", revocation));
    let create = CreateBlob {
        read_hash: read.clone().into(),
        owner_hash: owner.clone().into(),
        size: 1_024,
        ticket: String::new(),
    };
    alice.socket.ask(Ask::CreateBlob(create)).await;
    secrets.push(("read hash", read));
    secrets.push(("owner hash", owner));
    here.stop().await;
    let mut loot = Vec::new();
    everything(&here.config.data, &mut loot);
    for (what, secret) in &secrets {
        assert!(!contains(&loot, secret), "{what}");
        assert!(
            !contains(&loot, hex::encode(secret).as_bytes()),
            "{what} as hex"
        );
    }
    assert!(
        contains(&loot, &sealed),
        "the search itself works: a commit is stored as it came"
    );
    assert!(!contains(&loot, b"waiting"));
    assert_eq!(here.envelopes(), 1);
    for (table, rows) in [
        ("mailbox", 2),
        ("commit_slot", 1),
        ("revoked_grant", 1),
        ("blob", 1),
    ] {
        assert_eq!(here.count(table), rows, "{table}");
    }
    // Once acknowledged, nothing of the envelope is left anywhere.
    here.restart().await;
    bob.again(&here.address()).await;
    bob.socket.delivered().await;
    bob.socket.acknowledge(1).await;
    bob.socket.is_quiet().await;
    here.stop().await;
    let mut left = std::fs::read_dir(here.config.data.join("spool")).unwrap();
    assert!(left.next().is_none());
}

#[tokio::test]
async fn no_time_finer_than_a_day_is_in_the_tables() {
    let mut here = Here::start().await;
    Device::start(&here.address()).await;
    here.stop().await;
    let database = here.database();
    let (installed, took): (String, i64) = database
        .query_row(
            "SELECT installed_on, execution_time FROM _sqlx_migrations",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!((installed.len(), took), (10, 0), "{installed}");
    let settings: Vec<i64> = ["page_size", "user_version"]
        .iter()
        .map(|name| {
            database
                .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
                .unwrap()
        })
        .collect();
    assert_eq!(settings[0], 8_192);
    let tables: Vec<String> = database
        .prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(tables.len(), 9);
    assert!(
        tables.iter().all(|sql| sql.contains("WITHOUT ROWID")),
        "a rowid is a global order"
    );
}
