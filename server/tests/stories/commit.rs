//! Commit slots: all judge the same bytes.

use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{
    CommitOffer, Delivery, ErrorCode, FetchCommit, RecipientStatus, Send, SendResult,
};

use crate::harness::{Device, Here, Socket, noise};

fn offer(token: u8, sealed: &[u8], deliveries: Vec<Delivery>) -> Ask {
    let commit = Some(CommitOffer {
        token: vec![token; 16].into(),
        sealed: sealed.to_vec().into(),
    });
    Ask::Send(Send {
        deliveries,
        commit,
        generation: 1,
    })
}

async fn result(socket: &mut Socket, request: Ask) -> SendResult {
    match socket.ask(request).await {
        Say::SendResult(result) => result,
        other => panic!("not sent: {other:?}"),
    }
}

async fn slot(socket: &mut Socket, token: u8) -> Option<Vec<u8>> {
    match socket
        .ask(Ask::FetchCommit(FetchCommit {
            token: vec![token; 16].into(),
        }))
        .await
    {
        Say::CommitSlot(slot) => slot.present.then(|| slot.sealed.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_offer_holds_the_slot_and_the_loser_stores_nothing() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    let mut carol = Device::start(&here.address()).await;
    let (first, second) = (noise(1_024), noise(5_120));
    assert_eq!(slot(&mut alice.socket, 9).await, None);
    let won = result(
        &mut alice.socket,
        offer(9, &first, vec![carol.mailbox.delivery("look: alice")]),
    )
    .await;
    assert!(won.commit.unwrap().mine);
    assert_eq!(won.recipients[0].status(), RecipientStatus::Ok);
    let lost = result(
        &mut bob.socket,
        offer(9, &second, vec![carol.mailbox.delivery("look: bob")]),
    )
    .await;
    let answer = lost.commit.unwrap();
    assert!(!answer.mine);
    assert_eq!(answer.winner, first);
    assert!(lost.recipients.is_empty());
    assert_eq!(carol.socket.delivered().await, (1, "look: alice".into()));
    assert!(carol.socket.is_quiet().await);
    // The same offer again is still mine, from anybody, also after a restart.
    here.stop().await;
    assert_eq!(here.count("commit_slot"), 1);
    assert_eq!(here.envelopes(), 1, "carol has not acknowledged");
    here.restart().await;
    bob.again(&here.address()).await;
    let again = result(&mut bob.socket, offer(9, &first, vec![])).await;
    assert!(again.commit.unwrap().mine);
    assert_eq!(slot(&mut bob.socket, 9).await, Some(first));
}

#[tokio::test]
async fn of_many_at_once_exactly_one_wins() {
    let here = Here::start().await;
    let address = here.address();
    let mut offers = tokio::task::JoinSet::new();
    let reader = Device::start(&address).await;
    for racer in 0..8 {
        let mut device = Device::start(&address).await;
        let look = reader.mailbox.delivery(&racer.to_string());
        offers.spawn(async move {
            let sealed = noise(1_024);
            let result = result(&mut device.socket, offer(1, &sealed, vec![look])).await;
            (racer, sealed, result.commit.unwrap())
        });
    }
    let results = offers.join_all().await;
    let winners: Vec<_> = results
        .iter()
        .filter(|(_, _, answer)| answer.mine)
        .collect();
    assert_eq!(winners.len(), 1);
    let (racer, sealed, _) = winners[0];
    assert!(
        results
            .iter()
            .all(|(.., answer)| answer.mine || answer.winner == *sealed)
    );
    let mut reader = reader;
    assert_eq!(reader.socket.delivered().await, (1, racer.to_string()));
    assert!(reader.socket.is_quiet().await);
}

#[tokio::test]
async fn what_was_sent_before_a_commit_comes_before_it() {
    let here = Here::start_with(|config| config.limits.hold_ms = 3_600_000).await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    bob.socket = here.connect().await;
    bob.socket.attach(&bob.mailbox, 1, 1).await;
    for text in ["a", "b"] {
        alice
            .socket
            .tell(crate::harness::send(vec![bob.mailbox.delivery(text)]))
            .await;
    }
    let won = result(
        &mut alice.socket,
        offer(1, &noise(1_024), vec![bob.mailbox.delivery("commit")]),
    )
    .await;
    assert!(won.commit.unwrap().mine);
    alice
        .socket
        .tell(crate::harness::send(vec![bob.mailbox.delivery("c")]))
        .await;
    for (number, text) in ["a", "b", "commit", "c"].into_iter().enumerate() {
        assert_eq!(
            bob.socket.delivered().await,
            (number as u64 + 1, text.into())
        );
        bob.socket.acknowledge(number as u64 + 1).await;
    }
}

#[tokio::test]
async fn offers_need_an_attached_connection_and_stay_within_the_days_bytes() {
    let here = Here::start_with(|config| config.limits.blob_bytes_per_day = 2_048).await;
    let mut stranger = here.connect().await;
    assert_eq!(
        stranger.refused(offer(1, &noise(1_024), vec![])).await,
        ErrorCode::NotAttached
    );
    let mut alice = Device::start(&here.address()).await;
    for token in 1..=2 {
        assert!(
            result(&mut alice.socket, offer(token, &noise(1_024), vec![]))
                .await
                .commit
                .unwrap()
                .mine
        );
    }
    assert_eq!(
        alice.socket.refused(offer(3, &noise(1_024), vec![])).await,
        ErrorCode::Quota
    );
    here.clock.advance(1);
    assert!(
        result(&mut alice.socket, offer(3, &noise(1_024), vec![]))
            .await
            .commit
            .unwrap()
            .mine
    );
}

#[tokio::test]
async fn a_lost_slot_takes_nothing_along_that_others_sent() {
    let here = Here::start_with(|config| config.limits.hold_ms = 3_600_000).await;
    let mut alice = Device::start(&here.address()).await;
    let mut carol = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    assert!(
        result(&mut alice.socket, offer(1, &noise(1_024), vec![]))
            .await
            .commit
            .unwrap()
            .mine
    );
    let held = alice
        .socket
        .tell(crate::harness::send(vec![bob.mailbox.delivery("a")]))
        .await;
    assert_eq!(bob.socket.delivered().await, (1, "a".into()));
    let lost = result(
        &mut carol.socket,
        offer(1, &noise(1_024), vec![bob.mailbox.delivery("b")]),
    )
    .await;
    assert!(!lost.commit.unwrap().mine);
    match alice.socket.answer(held).await {
        Say::SendResult(result) => assert_eq!(result.recipients[0].status(), RecipientStatus::Ok),
        other => panic!("{other:?}"),
    }
    assert_eq!(bob.again(&here.address()).await.waiting, 1);
}
