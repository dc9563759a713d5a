//! Who may open, attach and close.

use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{Acknowledge, ErrorCode, RecipientStatus};

use crate::harness::{Device, Here, Mailbox, TODAY};

#[tokio::test]
async fn the_hello_announces_nonce_name_limits_and_day() {
    let here = Here::start().await;
    let one = here.connect().await.hello;
    let other = here.connect().await.hello;
    assert_eq!(one.nonce.len(), 32);
    assert_ne!(one.nonce, other.nonce);
    assert!(one.server_name.starts_with("pin:"));
    assert_eq!(one.day, TODAY);
    assert_eq!(one.limits.unwrap().delivery_window_max, 256);
}

#[tokio::test]
async fn unknown_mailbox_and_bad_proof_answer_alike() {
    let here = Here::start().await;
    let alice = Device::start(&here.address()).await;
    let mut socket = here.connect().await;
    let unknown = socket.attach_request(&Mailbox::random(), 1, 8);
    let mut forged = socket.attach_request(&alice.mailbox, 1, 8);
    forged.signature = socket.attach_request(&Mailbox::random(), 1, 8).signature;
    let mut other_window = socket.attach_request(&alice.mailbox, 1, 8);
    other_window.window = 9;
    let replayed = here.connect().await.attach_request(&alice.mailbox, 1, 8);
    let mut answers = Vec::new();
    for request in [unknown, forged, other_window, replayed] {
        answers.push(socket.ask(Ask::Attach(request)).await);
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert!(
        matches!(&answers[0], Say::Error(error) if error.code() == ErrorCode::Denied && !error.closing)
    );
    // And the connection may still prove itself.
    socket.attach(&alice.mailbox, 1, 8).await;
}

#[tokio::test]
async fn opening_twice_is_harmless_and_another_may_not_take_the_id() {
    let here = Here::start().await;
    let alice = Mailbox::random();
    let mut socket = here.connect().await;
    socket.open(&alice).await;
    socket.open(&alice).await;
    let thief = Mailbox {
        id: alice.id,
        ..Mailbox::random()
    };
    let request = socket.open_request(&thief, 1);
    assert_eq!(
        socket.refused(Ask::OpenMailbox(request)).await,
        ErrorCode::Denied
    );
    let mut unproved = socket.open_request(&Mailbox::random(), 1);
    unproved.generation = 2;
    assert_eq!(
        socket.refused(Ask::OpenMailbox(unproved)).await,
        ErrorCode::Denied
    );
    socket.attach(&alice, 1, 8).await;
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut sender = Device::start(&here.address()).await;
    let mut newer = here.connect().await;
    newer.attach(&alice.mailbox, 1, 8).await;
    alice.socket.ends_with(ErrorCode::Replaced).await;
    sender
        .socket
        .tell(crate::harness::send(vec![alice.mailbox.delivery("x")]))
        .await;
    assert_eq!(newer.delivered().await, (1, "x".into()));
}

#[tokio::test]
async fn a_store_restored_from_a_copy_is_told_so_even_after_a_restart() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    // The generation travels with acknowledgements too, and is written at detach.
    alice
        .socket
        .tell(Ask::Acknowledge(Acknowledge {
            through: 0,
            generation: 41,
        }))
        .await;
    alice.socket.is_quiet().await;
    let mut copy = here.connect().await;
    let request = copy.attach_request(&alice.mailbox, 40, 8);
    assert_eq!(
        copy.refused(Ask::Attach(request)).await,
        ErrorCode::StaleGeneration
    );
    here.stop().await;
    here.restart().await;
    let mut copy = here.connect().await;
    let request = copy.attach_request(&alice.mailbox, 40, 8);
    assert_eq!(
        copy.refused(Ask::Attach(request)).await,
        ErrorCode::StaleGeneration
    );
    copy.attach(&alice.mailbox, 41, 8).await;
}

#[tokio::test]
async fn a_closed_mailbox_lets_nothing_in_or_out_until_that_is_undone() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut sender = Device::start(&here.address()).await;
    let mut guardian = here.connect().await;
    let forged = guardian.close_request(
        &Mailbox {
            id: alice.mailbox.id,
            ..Mailbox::random()
        },
        false,
    );
    assert_eq!(
        guardian.refused(Ask::CloseMailbox(forged)).await,
        ErrorCode::Denied
    );
    let close = guardian.close_request(&alice.mailbox, false);
    assert_eq!(
        guardian.ask(Ask::CloseMailbox(close)).await,
        Say::MailboxClosed(Default::default())
    );
    alice.socket.ends_with(ErrorCode::Denied).await;
    let mut again = here.connect().await;
    let request = again.attach_request(&alice.mailbox, 1, 8);
    assert_eq!(again.refused(Ask::Attach(request)).await, ErrorCode::Denied);
    assert_eq!(
        sender.socket.send(vec![alice.mailbox.delivery("x")]).await,
        [RecipientStatus::Gone]
    );
    here.stop().await;
    here.restart().await;
    let mut again = here.connect().await;
    let request = again.attach_request(&alice.mailbox, 1, 8);
    assert_eq!(again.refused(Ask::Attach(request)).await, ErrorCode::Denied);
    let undo = again.close_request(&alice.mailbox, true);
    assert_eq!(
        again.ask(Ask::CloseMailbox(undo)).await,
        Say::MailboxClosed(Default::default())
    );
    again.attach(&alice.mailbox, 1, 8).await;
    sender.again(&here.address()).await;
    sender
        .socket
        .tell(crate::harness::send(vec![alice.mailbox.delivery("y")]))
        .await;
    assert_eq!(again.delivered().await, (1, "y".into()));
}
