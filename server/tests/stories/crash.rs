//! SIGKILL at any moment: nothing acknowledged is lost, nothing comes out of order.

use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{CommitOffer, FetchCommit, RecipientStatus, Send};
use rand::{Rng, RngExt, SeedableRng};

use crate::harness::{Device, Process, Socket, noise, send};

#[tokio::test]
async fn what_was_acknowledged_survives_sigkill_in_order() {
    let seed = std::env::var("KINLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().next_u64());
    println!("seed {seed}: repeat with KINLINE_SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Process::start(folder.path(), 20);
    let mut alice = Device::start(&relay.address).await;
    let mut bob = Device::start(&relay.address).await;
    let mut next = 0_u32;
    let mut safe: Vec<u32> = Vec::new();
    let mut received: Vec<u32> = Vec::new();
    for round in 0..12 {
        // Bob is there in some rounds, and acknowledges some of what comes.
        let here = round % 3 != 0;
        bob.socket = Socket::connect(&relay.address).await;
        if here {
            bob.socket.attach(&bob.mailbox, 1, 64).await;
        }
        let count = random.random_range(1..40);
        let mut asked = Vec::new();
        for _ in 0..count {
            next += 1;
            asked.push((
                next,
                alice
                    .socket
                    .tell(send(vec![bob.mailbox.delivery(&next.to_string())]))
                    .await,
            ));
        }
        if here {
            for _ in 0..random.random_range(0..count) {
                let (number, text) = bob.socket.delivered().await;
                received.push(text.parse().unwrap());
                bob.socket.acknowledge(number).await;
            }
        }
        for (message, request) in asked.iter().take(random.random_range(0..=asked.len())) {
            if let Say::SendResult(result) = alice.socket.answer(*request).await {
                assert_eq!(result.recipients[0].status(), RecipientStatus::Ok);
                safe.push(*message);
            }
        }
        relay.kill();
        relay = Process::start(folder.path(), 20);
        alice.again(&relay.address).await;
    }
    let waiting = bob.again(&relay.address).await.waiting;
    let mut drained = Vec::new();
    for _ in 0..waiting {
        let (number, text) = bob.socket.delivered().await;
        drained.push(text.parse::<u32>().unwrap());
        bob.socket.acknowledge(number).await;
    }
    assert!(drained.is_sorted(), "out of order: {drained:?}");
    for message in &safe {
        assert!(
            received.contains(message) || drained.contains(message),
            "{message} was acknowledged and is lost"
        );
    }
    assert_eq!(relay.terminate(), 0);
}

#[tokio::test]
async fn a_won_slot_and_what_came_with_it_survive_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Process::start(folder.path(), 3_600_000);
    let mut alice = Device::start(&relay.address).await;
    let mut bob = Device::start(&relay.address).await;
    let sealed = noise(1_024);
    let commit = Some(CommitOffer {
        token: vec![3; 16].into(),
        sealed: sealed.clone().into(),
    });
    let deliveries = vec![bob.mailbox.delivery("look")];
    match alice
        .socket
        .ask(Ask::Send(Send {
            deliveries,
            commit,
            generation: 1,
        }))
        .await
    {
        Say::SendResult(result) => assert!(result.commit.unwrap().mine),
        other => panic!("{other:?}"),
    }
    relay.kill();
    let relay = Process::start(folder.path(), 3_600_000);
    alice.again(&relay.address).await;
    match alice
        .socket
        .ask(Ask::FetchCommit(FetchCommit {
            token: vec![3; 16].into(),
        }))
        .await
    {
        Say::CommitSlot(slot) => assert_eq!(slot.sealed, sealed),
        other => panic!("{other:?}"),
    }
    assert_eq!(bob.again(&relay.address).await.waiting, 1);
    assert_eq!(bob.socket.delivered().await, (1, "look".into()));
    assert_eq!(relay.terminate(), 0);
}

#[tokio::test]
async fn sigterm_finishes_what_was_begun() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Process::start(folder.path(), 3_600_000);
    let mut alice = Device::start(&relay.address).await;
    let mut bob = Device::start(&relay.address).await;
    // Held in memory, not acknowledged: stopping writes and answers them all.
    let mut requests = Vec::new();
    for number in 0..60 {
        let delivery = bob.mailbox.delivery(&number.to_string());
        requests.push(alice.socket.tell(send(vec![delivery])).await);
    }
    for number in 0..60 {
        assert_eq!(
            bob.socket.delivered().await,
            (number + 1, number.to_string())
        );
    }
    let status = tokio::task::spawn_blocking(move || relay.terminate());
    for request in requests {
        match alice.socket.answer(request).await {
            Say::SendResult(result) => {
                assert_eq!(result.recipients[0].status(), RecipientStatus::Ok);
            }
            other => panic!("{other:?}"),
        }
    }
    alice
        .socket
        .ends_with(kinline_protocol::wire::ErrorCode::ShuttingDown)
        .await;
    drop((alice, bob.socket));
    assert_eq!(status.await.unwrap(), 0);
    assert!(
        !folder.path().join("data/relay.sqlite-wal").exists(),
        "the log was folded in"
    );
    let relay = Process::start(folder.path(), 250);
    let mut socket = Socket::connect(&relay.address).await;
    assert_eq!(socket.attach(&bob.mailbox, 1, 8).await.waiting, 60);
    relay.kill();
}
