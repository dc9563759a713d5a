//! An envelope's way: sent, delivered, acknowledged, gone.

use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{ErrorCode, RecipientStatus, SendResult, Signal, SignalDelivery};

use crate::harness::{Device, Here, Socket, TODAY, send};

fn statuses(answer: Say) -> Vec<RecipientStatus> {
    match answer {
        Say::SendResult(SendResult { recipients, .. }) => {
            recipients.iter().map(|r| r.status()).collect()
        }
        other => panic!("not sent: {other:?}"),
    }
}

#[tokio::test]
async fn sent_delivered_acknowledged_and_never_on_disk() {
    // Held far longer than the test lasts: only the acknowledgement can answer the sender.
    let mut here = Here::start_with(|config| config.limits.hold_ms = 3_600_000).await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    let sent = alice
        .socket
        .tell(send(vec![bob.mailbox.delivery("hello")]))
        .await;
    assert_eq!(bob.socket.delivered().await, (1, "hello".into()));
    assert!(alice.socket.is_quiet().await, "no answer before it is safe");
    bob.socket.acknowledge(1).await;
    assert_eq!(
        statuses(alice.socket.answer(sent).await),
        [RecipientStatus::Ok]
    );
    here.stop().await;
    assert_eq!(here.envelopes(), 0);
    assert_eq!(here.count("mailbox"), 2);
}

#[tokio::test]
async fn not_acknowledged_in_time_it_is_written_and_then_answered() {
    let mut here = Here::start_with(|config| config.limits.hold_ms = 1).await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    assert_eq!(
        alice.socket.send(vec![bob.mailbox.delivery("hello")]).await,
        [RecipientStatus::Ok]
    );
    assert_eq!(bob.socket.delivered().await, (1, "hello".into()));
    here.stop().await;
    assert_eq!(here.envelopes(), 1);
}

#[tokio::test]
async fn an_absent_device_gets_everything_in_order_when_it_comes_back() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    drop(std::mem::replace(&mut bob.socket, here.connect().await));
    for number in 0..100 {
        let sent = alice
            .socket
            .send(vec![bob.mailbox.delivery(&number.to_string())])
            .await;
        assert_eq!(sent, [RecipientStatus::Ok]);
    }
    here.stop().await;
    here.restart().await;
    let attached = bob.again(&here.address()).await;
    assert_eq!(attached.waiting, 100);
    for number in 0..40 {
        assert_eq!(
            bob.socket.delivered().await,
            (number + 1, number.to_string())
        );
    }
    bob.socket.acknowledge(40).await;
    assert!(bob.socket.ask(Ask::Ping(Default::default())).await == Say::Pong(Default::default()));
    let attached = bob.again(&here.address()).await;
    assert_eq!(attached.waiting, 60);
    alice.socket = Socket::connect(&here.address()).await;
    alice
        .socket
        .tell(send(vec![bob.mailbox.delivery("live")]))
        .await;
    for number in 40..100 {
        assert_eq!(
            bob.socket.delivered().await,
            (number - 39, number.to_string())
        );
    }
    bob.socket.acknowledge(60).await;
    assert_eq!(bob.socket.delivered().await, (61, "live".into()));
    bob.socket.acknowledge(61).await;
    assert!(bob.socket.is_quiet().await);
    here.stop().await;
    assert_eq!(here.envelopes(), 0);
}

#[tokio::test]
async fn the_window_is_respected() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    bob.socket = here.connect().await;
    assert_eq!(bob.socket.attach(&bob.mailbox, 1, 3).await.window, 3);
    let many = (0..10)
        .map(|number| bob.mailbox.delivery(&number.to_string()))
        .collect();
    assert_eq!(alice.socket.send(many).await, [RecipientStatus::Ok; 10]);
    for number in 0..3 {
        assert_eq!(bob.socket.delivered().await.0, number + 1);
    }
    assert!(bob.socket.is_quiet().await);
    bob.socket.acknowledge(2).await;
    assert_eq!(bob.socket.delivered().await, (4, "3".into()));
    assert_eq!(bob.socket.delivered().await, (5, "4".into()));
    assert!(bob.socket.is_quiet().await);
    // Asking for more than there is gets what there is.
    let mut greedy = here.connect().await;
    assert_eq!(greedy.attach(&alice.mailbox, 1, 100_000).await.window, 256);
}

#[tokio::test]
async fn a_repeated_send_is_harmless() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    let once = bob.mailbox.delivery("once");
    // Twice at the same moment, while held.
    let first = alice.socket.tell(send(vec![once.clone()])).await;
    let second = alice
        .socket
        .tell(send(vec![once.clone(), once.clone()]))
        .await;
    assert_eq!(bob.socket.delivered().await, (1, "once".into()));
    bob.socket.acknowledge(1).await;
    assert_eq!(
        statuses(alice.socket.answer(first).await),
        [RecipientStatus::Ok]
    );
    assert_eq!(
        statuses(alice.socket.answer(second).await),
        [RecipientStatus::Ok; 2]
    );
    // After it was acknowledged.
    assert_eq!(alice.socket.send(vec![once]).await, [RecipientStatus::Ok]);
    assert!(bob.socket.is_quiet().await);
    // While it is stored, over a restart.
    bob.socket = here.connect().await;
    let stored = bob.mailbox.delivery("stored");
    assert_eq!(
        alice.socket.send(vec![stored.clone()]).await,
        [RecipientStatus::Ok]
    );
    here.stop().await;
    here.restart().await;
    alice.again(&here.address()).await;
    assert_eq!(alice.socket.send(vec![stored]).await, [RecipientStatus::Ok]);
    assert_eq!(bob.again(&here.address()).await.waiting, 1);
}

#[tokio::test]
async fn each_recipient_has_its_own_answer() {
    let here = Here::start_with(|config| config.limits.mailbox_envelopes = 2).await;
    let mut alice = Device::start(&here.address()).await;
    let good = Device::start(&here.address()).await;
    let full = Device::start(&here.address()).await;
    let closed = Device::start(&here.address()).await;
    let mut helper = here.connect().await;
    let close = helper.close_request(&closed.mailbox, false);
    assert_eq!(
        helper.ask(Ask::CloseMailbox(close)).await,
        Say::MailboxClosed(Default::default())
    );
    for _ in 0..2 {
        alice.socket.send(vec![full.mailbox.delivery("x")]).await;
    }
    let mut expired = good.mailbox.delivery("expired");
    expired.grant = good.mailbox.grant(TODAY - 1, 2).into();
    let mut forged = good.mailbox.delivery("forged");
    forged.grant = alice.mailbox.grant(TODAY + 10, 2).into();
    let mut endless = good.mailbox.delivery("endless");
    endless.grant = good.mailbox.grant(u32::MAX, 2).into();
    let answers = alice
        .socket
        .send(vec![
            full.mailbox.delivery("full"),
            good.mailbox.delivery("good"),
            closed.mailbox.delivery("closed"),
            crate::harness::Mailbox::random().delivery("nobody"),
            expired,
            forged,
            endless,
        ])
        .await;
    use RecipientStatus::{Full, Gone, Ok, Revoked};
    assert_eq!(answers, [Full, Ok, Gone, Gone, Revoked, Revoked, Revoked]);
    let mut good = good;
    assert_eq!(good.socket.delivered().await, (1, "good".into()));
    assert!(good.socket.is_quiet().await);
}

#[tokio::test]
async fn who_has_the_secret_revokes_and_a_restart_does_not_forget() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    let with = |secret| {
        let mut delivery = bob.mailbox.delivery("x");
        delivery.grant = bob.mailbox.grant(TODAY + 100, secret).into();
        delivery
    };
    assert_eq!(
        alice.socket.send(vec![with(1), with(2)]).await,
        [RecipientStatus::Ok; 2]
    );
    let mut guardian = here.connect().await;
    let revoke = kinline_protocol::wire::RevokeGrant {
        mailbox: bob.mailbox.id.to_bytes(),
        secret: vec![1; 32].into(),
        last_day: TODAY + 100,
    };
    assert_eq!(
        guardian.ask(Ask::RevokeGrant(revoke)).await,
        Say::GrantRevoked(Default::default())
    );
    let expected = [RecipientStatus::Revoked, RecipientStatus::Ok];
    assert_eq!(alice.socket.send(vec![with(1), with(2)]).await, expected);
    here.stop().await;
    here.restart().await;
    alice.again(&here.address()).await;
    bob.again(&here.address()).await;
    let with = |secret| {
        let mut delivery = bob.mailbox.delivery("x");
        delivery.grant = bob.mailbox.grant(TODAY + 100, secret).into();
        delivery
    };
    assert_eq!(alice.socket.send(vec![with(1), with(2)]).await, expected);
}

#[tokio::test]
async fn a_signal_reaches_who_is_attached_and_is_never_stored() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    let signal = |grant: Vec<u8>| {
        Ask::Signal(Signal {
            deliveries: vec![SignalDelivery {
                mailbox: bob.mailbox.id.to_bytes(),
                grant: grant.into(),
                body: vec![7; 256].into(),
            }],
        })
    };
    alice.socket.tell(signal(bob.mailbox.grant(TODAY, 1))).await;
    match bob.socket.next().await {
        Say::SignalDelivered(signal) => assert_eq!(signal.body, vec![7; 256]),
        other => panic!("{other:?}"),
    }
    alice
        .socket
        .tell(signal(alice.mailbox.grant(TODAY, 1)))
        .await;
    assert!(alice.socket.is_quiet().await);
    assert!(bob.socket.is_quiet().await, "the grant is not bob's");
    let mut stranger = here.connect().await;
    assert_eq!(
        stranger.refused(signal(bob.mailbox.grant(TODAY, 1))).await,
        ErrorCode::NotAttached
    );
    here.stop().await;
    assert_eq!(here.envelopes(), 0);
}

#[tokio::test]
async fn too_fast_is_said_for_the_one_who_is() {
    let here = Here::start_with(|config| {
        config.limits.mailbox_deliveries_per_second = 1;
        config.limits.mailbox_deliveries_burst = 3;
        config.limits.unattached_frames_burst = 5;
        config.limits.unattached_frames_per_second = 1;
    })
    .await;
    let mut alice = Device::start(&here.address()).await;
    let bob = Device::start(&here.address()).await;
    let carol = Device::start(&here.address()).await;
    let mut many: Vec<_> = (0..30).map(|_| bob.mailbox.delivery("x")).collect();
    many.push(carol.mailbox.delivery("y"));
    let answers = alice.socket.send(many).await;
    assert_eq!(answers[..3], [RecipientStatus::Ok; 3]);
    assert!(answers.contains(&RecipientStatus::SlowDown));
    assert_eq!(answers[30], RecipientStatus::Ok, "carol is not meant");
    let mut stranger = here.connect().await;
    let refused = loop {
        if let Say::Error(error) = stranger.ask(Ask::Ping(Default::default())).await {
            break error;
        }
    };
    assert_eq!(refused.code(), ErrorCode::SlowDown);
    assert!(refused.retry_after_ms > 0 && !refused.closing);
}

#[tokio::test]
async fn a_grant_that_was_good_ends_with_its_last_day() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let bob = Device::start(&here.address()).await;
    let until = |last_day| {
        let mut delivery = bob.mailbox.delivery("x");
        delivery.grant = bob.mailbox.grant(last_day, 1).into();
        delivery
    };
    assert_eq!(
        alice.socket.send(vec![until(TODAY)]).await,
        [RecipientStatus::Ok]
    );
    here.clock.advance(1);
    let answers = alice
        .socket
        .send(vec![until(TODAY), until(TODAY + 1)])
        .await;
    assert_eq!(answers, [RecipientStatus::Revoked, RecipientStatus::Ok]);
}
