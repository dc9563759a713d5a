//! Two strangers meet.

use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{
    ErrorCode, RendezvousGot, RendezvousJoin, RendezvousLeave, RendezvousOpen, RendezvousPut,
    RendezvousReady,
};

use crate::harness::{Device, Here, noise};

const ID: [u8; 16] = [8; 16];

fn open(seconds: u32) -> Ask {
    Ask::RendezvousOpen(RendezvousOpen {
        rendezvous: ID.to_vec().into(),
        seconds,
    })
}

fn join() -> Ask {
    Ask::RendezvousJoin(RendezvousJoin {
        rendezvous: ID.to_vec().into(),
    })
}

fn put(body: &[u8]) -> Ask {
    Ask::RendezvousPut(RendezvousPut {
        rendezvous: ID.to_vec().into(),
        body: body.to_vec().into(),
    })
}

fn ready(joined: bool) -> Say {
    Say::RendezvousReady(RendezvousReady {
        rendezvous: ID.to_vec().into(),
        joined,
    })
}

fn got(body: &[u8], closed: bool) -> Say {
    Say::RendezvousGot(RendezvousGot {
        rendezvous: ID.to_vec().into(),
        body: body.to_vec().into(),
        closed,
    })
}

#[tokio::test]
async fn a_tablet_without_a_mailbox_meets_a_phone() {
    let here = Here::start().await;
    let mut phone = Device::start(&here.address()).await;
    let mut tablet = here.connect().await;
    assert_eq!(tablet.refused(open(60)).await, ErrorCode::NotAttached);
    assert_eq!(tablet.refused(join()).await, ErrorCode::NotFound);
    assert_eq!(phone.socket.ask(open(60)).await, ready(false));
    phone.socket.tell(put(b"early")).await;
    assert!(phone.socket.is_quiet().await);
    assert_eq!(tablet.ask(join()).await, ready(true));
    assert_eq!(phone.socket.next().await, ready(true));
    assert_eq!(tablet.next().await, got(b"early", false));
    let large = noise(65_535);
    tablet.tell(put(&large)).await;
    assert_eq!(phone.socket.next().await, got(&large, false));
    let mut third = here.connect().await;
    assert_eq!(third.refused(join()).await, ErrorCode::Taken);
    assert_eq!(third.refused(put(b"x")).await, ErrorCode::NotFound);
    drop(phone);
    assert_eq!(tablet.next().await, got(b"", true));
    assert_eq!(third.refused(join()).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn it_ends_by_itself() {
    let here = Here::start().await;
    let mut phone = Device::start(&here.address()).await;
    assert_eq!(phone.socket.ask(open(1)).await, ready(false));
    assert_eq!(phone.socket.next().await, got(b"", true));
    let mut other = here.connect().await;
    assert_eq!(other.refused(join()).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn who_leaves_ends_it_and_may_open_another() {
    let leave = || {
        Ask::RendezvousLeave(RendezvousLeave {
            rendezvous: ID.to_vec().into(),
        })
    };
    let here = Here::start().await;
    let mut phone = Device::start(&here.address()).await;
    phone.socket.tell(leave()).await; // nothing there: fine
    // More in turn than one connection may have at a time.
    for _ in 0..6 {
        let mut tablet = here.connect().await;
        assert_eq!(phone.socket.ask(open(60)).await, ready(false));
        assert_eq!(tablet.ask(join()).await, ready(true));
        assert_eq!(phone.socket.next().await, ready(true));
        phone.socket.tell(put(b"no")).await;
        phone.socket.tell(leave()).await;
        assert_eq!(tablet.next().await, got(b"no", false));
        assert_eq!(tablet.next().await, got(b"", true));
        assert_eq!(tablet.refused(join()).await, ErrorCode::NotFound);
    }
}

#[tokio::test]
async fn who_is_no_side_of_it_ends_nothing() {
    let here = Here::start().await;
    let mut phone = Device::start(&here.address()).await;
    assert_eq!(phone.socket.ask(open(60)).await, ready(false));
    let mut stranger = here.connect().await;
    let leave = Ask::RendezvousLeave(RendezvousLeave {
        rendezvous: ID.to_vec().into(),
    });
    stranger.tell(leave).await;
    assert_eq!(stranger.ask(join()).await, ready(true));
    assert_eq!(phone.socket.next().await, ready(true));
}
