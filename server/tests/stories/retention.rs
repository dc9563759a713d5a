//! What goes when its time is up: days are advanced, never waited for.

use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::{CommitOffer, ErrorCode, RecipientStatus, RevokeGrant, Send};

use crate::harness::{Device, Here, Mailbox, TODAY, noise};

async fn advance(here: &Here, days: u32) {
    here.clock.advance(days);
    here.relay.as_ref().unwrap().run_retention().await;
}

#[tokio::test]
async fn undelivered_envelopes_go_after_thirty_days() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    bob.socket = here.connect().await;
    assert_eq!(
        alice.socket.send(vec![bob.mailbox.delivery("old")]).await,
        [RecipientStatus::Ok]
    );
    advance(&here, 20).await;
    assert_eq!(
        alice.socket.send(vec![bob.mailbox.delivery("new")]).await,
        [RecipientStatus::Ok]
    );
    advance(&here, 10).await;
    assert_eq!(bob.again(&here.address()).await.waiting, 2, "the last day");
    bob.socket = here.connect().await;
    advance(&here, 1).await;
    assert_eq!(bob.again(&here.address()).await.waiting, 1);
    assert_eq!(bob.socket.delivered().await, (1, "new".into()));
    assert!(bob.socket.is_quiet().await);
}

#[tokio::test]
async fn slots_and_revocations_go_with_their_day() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let commit = Some(CommitOffer {
        token: vec![1; 16].into(),
        sealed: noise(1_024).into(),
    });
    alice
        .socket
        .ask(Ask::Send(Send {
            commit,
            ..Send::default()
        }))
        .await;
    let revoke = RevokeGrant {
        mailbox: alice.mailbox.id.to_bytes(),
        secret: vec![1; 32].into(),
        last_day: TODAY + 50,
    };
    alice.socket.ask(Ask::RevokeGrant(revoke)).await;
    for (days, revoked, slots) in [(50, 1, 1), (1, 0, 1), (69, 0, 1), (1, 0, 0)] {
        advance(&here, days).await;
        here.stop().await;
        assert_eq!(
            (here.count("revoked_grant"), here.count("commit_slot")),
            (revoked, slots)
        );
        here.restart().await;
    }
}

#[tokio::test]
async fn an_idle_mailbox_goes_after_ninety_days_an_attached_one_stays() {
    let mut here = Here::start().await;
    let idle = Mailbox::random();
    let mut socket = here.connect().await;
    socket.open(&idle).await;
    let mut alice = Device::start(&here.address()).await;
    assert_eq!(
        alice.socket.send(vec![idle.delivery("x")]).await,
        [RecipientStatus::Ok]
    );
    advance(&here, 90).await;
    let request = socket.attach_request(&idle, 1, 8);
    drop(socket);
    advance(&here, 1).await;
    let mut socket = here.connect().await;
    let _ = request;
    let request = socket.attach_request(&idle, 1, 8);
    assert_eq!(
        socket.refused(Ask::Attach(request)).await,
        ErrorCode::Denied
    );
    assert!(alice.socket.is_quiet().await);
    here.stop().await;
    assert_eq!((here.count("mailbox"), here.envelopes()), (1, 0));
}

#[tokio::test]
async fn a_closed_mailbox_goes_after_three_days() {
    let here = Here::start().await;
    let alice = Device::start(&here.address()).await;
    let mut guardian = here.connect().await;
    let close = guardian.close_request(&alice.mailbox, false);
    guardian.ask(Ask::CloseMailbox(close)).await;
    advance(&here, 3).await;
    let undo = guardian.close_request(&alice.mailbox, true);
    guardian.ask(Ask::CloseMailbox(undo)).await;
    let close = guardian.close_request(&alice.mailbox, false);
    guardian.ask(Ask::CloseMailbox(close)).await;
    advance(&here, 4).await;
    let undo = guardian.close_request(&alice.mailbox, true);
    assert_eq!(
        guardian.refused(Ask::CloseMailbox(undo)).await,
        ErrorCode::Denied
    );
}
