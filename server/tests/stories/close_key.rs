//! A device replaces its mailbox's close key; a guardian closes and revokes from wherever it is.

use kinline_protocol::attach;
use kinline_protocol::primitives::sign::{PublicKey, SecretKey};
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{
    self, ClientFrame, CloseKeyRenewed, CloseMailbox, ErrorCode, GrantRevoked, MailboxClosed,
    RecipientStatus, RenewCloseKey, RevokeGrant,
};

use crate::harness::{Device, Here, Mailbox, Process, Socket, TODAY};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn request(
    socket: &Socket,
    signer: &SecretKey,
    mailbox: &Mailbox,
    close: &PublicKey,
) -> RenewCloseKey {
    let signature =
        attach::sign_renew_close_key(signer, &socket.challenge(), &mailbox.id, close).to_vec();
    RenewCloseKey {
        close_key: close.as_bytes().to_vec().into(),
        signature: signature.into(),
    }
}

/// Asks for `close` as this device's new close key.
pub async fn renew(device: &mut Device, close: &PublicKey) -> Say {
    let mailbox = &device.mailbox;
    let request = request(&device.socket, &mailbox.authentication, mailbox, close);
    device.socket.ask(Ask::RenewCloseKey(request)).await
}

fn renewed() -> Say {
    Say::CloseKeyRenewed(CloseKeyRenewed {})
}

/// A close, or its undoing, signed by `close`.
fn closing(socket: &Socket, mailbox: &Mailbox, close: &SecretKey, undo: bool) -> Ask {
    let signature = attach::sign_close(close, &socket.challenge(), &mailbox.id, undo);
    Ask::CloseMailbox(CloseMailbox {
        mailbox: mailbox.id.to_bytes(),
        undo,
        signature: signature.to_vec().into(),
    })
}

async fn close(socket: &mut Socket, mailbox: &Mailbox, close: &SecretKey, undo: bool) {
    let ask = closing(socket, mailbox, close, undo);
    let closed = Say::MailboxClosed(MailboxClosed {});
    assert_eq!(socket.ask(ask).await, closed);
}

async fn denied(socket: &mut Socket, mailbox: &Mailbox, close: &SecretKey, undo: bool) {
    let ask = closing(socket, mailbox, close, undo);
    assert_eq!(socket.refused(ask).await, ErrorCode::Denied);
}

#[tokio::test]
async fn the_old_close_key_neither_closes_nor_undoes_any_more_and_the_new_one_does() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut sender = Device::start(&here.address()).await;
    let old = alice.mailbox.close.clone();
    let new = key(71);
    assert_eq!(renew(&mut alice, &new.public()).await, renewed());
    let mut guardian = here.connect().await;
    denied(&mut guardian, &alice.mailbox, &old, false).await;
    assert!(alice.socket.is_quiet().await, "still attached");
    // The relay forgets nothing of it when it starts anew, and the mailbox is what it was.
    here.stop().await;
    here.restart().await;
    let mut guardian = here.connect().await;
    denied(&mut guardian, &alice.mailbox, &old, false).await;
    alice.again(&here.address()).await;
    sender.again(&here.address()).await;
    sender
        .socket
        .tell(crate::harness::send(vec![alice.mailbox.delivery("x")]))
        .await;
    assert_eq!(alice.socket.delivered().await, (1, "x".into()));
    close(&mut guardian, &alice.mailbox, &new, false).await;
    alice.socket.ends_with(ErrorCode::Denied).await;
    denied(&mut guardian, &alice.mailbox, &old, true).await;
    here.stop().await;
    here.restart().await;
    let mut guardian = here.connect().await;
    denied(&mut guardian, &alice.mailbox, &old, true).await;
    close(&mut guardian, &alice.mailbox, &new, true).await;
    alice.again(&here.address()).await;
}

#[tokio::test]
async fn repeating_is_harmless_and_one_may_go_back() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let old = alice.mailbox.close.clone();
    let new = key(71);
    for _ in 0..3 {
        assert_eq!(renew(&mut alice, &new.public()).await, renewed());
    }
    alice.again(&here.address()).await;
    assert_eq!(renew(&mut alice, &new.public()).await, renewed());
    assert_eq!(renew(&mut alice, &old.public()).await, renewed());
    let mut guardian = here.connect().await;
    denied(&mut guardian, &alice.mailbox, &new, false).await;
    close(&mut guardian, &alice.mailbox, &old, false).await;
}

#[tokio::test]
async fn opening_again_names_the_keys_that_hold_now() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let new = key(71);
    assert_eq!(renew(&mut alice, &new.public()).await, renewed());
    let mut socket = here.connect().await;
    let with_old = socket.open_request(&alice.mailbox, 1);
    assert_eq!(
        socket.refused(Ask::OpenMailbox(with_old)).await,
        ErrorCode::Denied
    );
    alice.mailbox.close = new;
    socket.open(&alice.mailbox).await;
}

#[tokio::test]
async fn what_another_signed_for_another_connection_mailbox_or_key_is_refused() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let bob = Device::start(&here.address()).await;
    let (mine, socket) = (&alice.mailbox, &alice.socket);
    let new = key(71).public();
    let good = request(socket, &mine.authentication, mine, &new);
    let short = |len: usize| {
        let mut signature = good.signature.to_vec();
        signature.resize(len, 0);
        RenewCloseKey {
            signature: signature.into(),
            ..good.clone()
        }
    };
    let as_close = attach::sign_close(&mine.authentication, &socket.challenge(), &mine.id, false);
    let bad = [
        request(socket, &mine.close, mine, &new),
        request(socket, &mine.grant, mine, &new),
        request(socket, &key(71), mine, &new),
        request(socket, &bob.mailbox.authentication, mine, &new),
        request(socket, &mine.authentication, &bob.mailbox, &new),
        request(&bob.socket, &mine.authentication, mine, &new),
        RenewCloseKey {
            close_key: key(72).public().as_bytes().to_vec().into(),
            ..good.clone()
        },
        RenewCloseKey {
            signature: as_close.to_vec().into(),
            ..good.clone()
        },
        short(0),
        short(63),
        short(65),
        short(4_096),
    ];
    for request in bad {
        let code = alice.socket.refused(Ask::RenewCloseKey(request)).await;
        assert_eq!(code, ErrorCode::Denied);
    }
    // The connection goes on, and the key is the old one.
    let mut guardian = here.connect().await;
    denied(&mut guardian, &alice.mailbox, &key(71), false).await;
    denied(&mut guardian, &alice.mailbox, &key(72), false).await;
    let answer = alice.socket.ask(Ask::RenewCloseKey(good)).await;
    assert_eq!(answer, renewed());
    close(&mut guardian, &alice.mailbox, &key(71), false).await;
}

#[tokio::test]
async fn only_an_attached_connection_renews_and_only_its_own_mailbox() {
    let here = Here::start().await;
    let alice = Device::start(&here.address()).await;
    let mut guardian = here.connect().await;
    let new = key(71);
    let mine = &alice.mailbox;
    let proved = request(&guardian, &mine.authentication, mine, &new.public());
    let ask = Ask::RenewCloseKey(proved.clone());
    assert_eq!(guardian.refused(ask).await, ErrorCode::NotAttached);
    // Attached to another mailbox, the proof is held against that one's key.
    let other = Mailbox::random();
    guardian.open(&other).await;
    guardian.attach(&other, 1, 8).await;
    let ask = Ask::RenewCloseKey(proved);
    assert_eq!(guardian.refused(ask).await, ErrorCode::Denied);
    denied(&mut guardian, mine, &new, false).await;
    denied(&mut guardian, &other, &new, false).await;
    close(&mut guardian, mine, &mine.close, false).await;
}

#[tokio::test]
async fn a_key_of_a_wrong_size_ends_the_connection_and_changes_nothing() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    for len in [0, 31, 33, 64, 100_000] {
        let ask = Ask::RenewCloseKey(RenewCloseKey {
            close_key: vec![7; len].into(),
            signature: vec![7; 64].into(),
        });
        alice.socket.tell(ask).await;
        alice.socket.ends_with(ErrorCode::Malformed).await;
        alice.again(&here.address()).await;
    }
    let mut guardian = here.connect().await;
    let mine = &alice.mailbox;
    close(&mut guardian, mine, &mine.close, false).await;
}

#[tokio::test]
async fn a_key_that_is_no_key_lets_nobody_close_and_can_be_replaced() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut guardian = here.connect().await;
    // The neutral point: without strict verification, R = neutral and s = 0 would be good for
    // every message. And bytes that are no point at all.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut forged = [0; 64];
    forged[0] = 1;
    for garbage in [neutral, [0; 32], [0xff; 32]] {
        let close_key = PublicKey::new(garbage);
        assert_eq!(renew(&mut alice, &close_key).await, renewed());
        denied(
            &mut guardian,
            &alice.mailbox,
            &alice.mailbox.close.clone(),
            false,
        )
        .await;
        for signature in [forged, [0; 64], [0xff; 64]] {
            let ask = Ask::CloseMailbox(CloseMailbox {
                mailbox: alice.mailbox.id.to_bytes(),
                undo: false,
                signature: signature.to_vec().into(),
            });
            assert_eq!(guardian.refused(ask).await, ErrorCode::Denied);
        }
    }
    assert_eq!(renew(&mut alice, &key(71).public()).await, renewed());
    close(&mut guardian, &alice.mailbox, &key(71), false).await;
}

#[tokio::test]
async fn closing_ends_the_connection_and_nothing_is_renewed_after_it() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut guardian = here.connect().await;
    let new = key(71);
    let mine = &alice.mailbox;
    let ask = request(&alice.socket, &mine.authentication, mine, &new.public());
    let frame = ClientFrame {
        request_id: 99,
        critical: vec![],
        body: Some(Ask::RenewCloseKey(ask)),
    };
    let old = mine.close.clone();
    close(&mut guardian, mine, &old, false).await;
    // The relay may read it before the connection hears of its end, or not at all.
    let bytes = wire::encode(&frame).to_vec();
    alice.socket.try_raw(bytes).await;
    assert!(alice.socket.is_over().await, "nothing but refusals");
    let mut again = here.connect().await;
    let attach = again.attach_request(&alice.mailbox, 1, 8);
    assert_eq!(again.refused(Ask::Attach(attach)).await, ErrorCode::Denied);
    denied(&mut guardian, &alice.mailbox, &new, true).await;
    close(&mut guardian, &alice.mailbox, &old, true).await;
    again.attach(&alice.mailbox, 1, 8).await;
}

#[tokio::test]
async fn what_was_renewed_survives_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Process::start(folder.path(), 20);
    let mut alice = Device::start(&relay.address).await;
    let mut last = alice.mailbox.close.clone();
    for round in 0..5 {
        let new = key(100 + round);
        assert_eq!(renew(&mut alice, &new.public()).await, renewed());
        relay.kill();
        relay = Process::start(folder.path(), 20);
        let mut guardian = Socket::connect(&relay.address).await;
        denied(&mut guardian, &alice.mailbox, &last, false).await;
        close(&mut guardian, &alice.mailbox, &new, false).await;
        close(&mut guardian, &alice.mailbox, &new, true).await;
        alice.again(&relay.address).await;
        last = new;
    }
}

#[tokio::test]
async fn a_guardian_closes_and_revokes_from_wherever_it_is() {
    let here = Here::start().await;
    let mut sender = Device::start(&here.address()).await;
    // Unattached, attached to its own mailbox; the tablet there, or off.
    for (attached, there) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut tablet = Device::start(&here.address()).await;
        if !there {
            tablet.socket = here.connect().await;
        }
        let mut guardian = Device::start(&here.address()).await;
        if !attached {
            guardian.socket = here.connect().await;
        }
        let phone = &mut guardian.socket;
        // It need not know when the grant would have ended.
        for last_day in [TODAY + 100, u32::MAX] {
            let ask = Ask::RevokeGrant(RevokeGrant {
                mailbox: tablet.mailbox.id.to_bytes(),
                secret: vec![1; 32].into(),
                last_day,
            });
            let revoked = Say::GrantRevoked(GrantRevoked {});
            assert_eq!(phone.ask(ask).await, revoked);
        }
        let mut delivery = tablet.mailbox.delivery("x");
        assert_eq!(
            sender.socket.send(vec![delivery.clone()]).await,
            [RecipientStatus::Revoked]
        );
        // Closing with the guardian's own key for the tablet's mailbox gets it nowhere.
        denied(phone, &tablet.mailbox, &guardian.mailbox.close, false).await;
        let mine = &tablet.mailbox;
        close(phone, mine, &mine.close, false).await;
        if there {
            tablet.socket.ends_with(ErrorCode::Denied).await;
        }
        delivery.grant = tablet.mailbox.grant(TODAY + 100, 2).into();
        assert_eq!(
            sender.socket.send(vec![delivery]).await,
            [RecipientStatus::Gone]
        );
        let mine = &tablet.mailbox;
        close(phone, mine, &mine.close, true).await;
        assert!(phone.is_quiet().await, "the phone's connection goes on");
    }
    // And its own: it is answered, or ended first.
    let mut guardian = Device::start(&here.address()).await;
    let mine = &guardian.mailbox;
    let ask = closing(&guardian.socket, mine, &mine.close, false);
    guardian.socket.tell(ask).await;
    while !matches!(guardian.socket.next().await, Say::Error(error) if error.closing) {}
}
