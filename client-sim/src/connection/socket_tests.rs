#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use kinline_protocol::limits;
use kinline_protocol::wire::{ClientFrame, Ping, Pong, ServerFrame, client_frame, server_frame};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::{SocketError, connect};
use crate::connection::test_relay::{TestCa, TestRelay, TestSocket};
use crate::connection::{ConnectError, client_config};

fn ping(request_id: u64) -> ClientFrame {
    ClientFrame {
        request_id,
        critical: Vec::new(),
        body: Some(client_frame::Body::Ping(Ping {})),
    }
}

fn pong(request_id: u64) -> ServerFrame {
    ServerFrame {
        request_id,
        critical: Vec::new(),
        body: Some(server_frame::Body::Pong(Pong {})),
    }
}

struct Pair {
    relay: TestSocket,
    outgoing: mpsc::Sender<ClientFrame>,
    incoming: mpsc::Receiver<ServerFrame>,
    running: tokio::task::JoinHandle<SocketError>,
    _relay: TestRelay,
}

async fn pair() -> Pair {
    let mut relay = TestRelay::start().await;
    let address = relay.address.clone();
    let tls = client_config(&address).unwrap();
    let device = tokio::spawn(async move { connect(&address, &tls).await.unwrap() });
    let mut socket = relay.socket().await;
    socket.hello().await;
    let (hello, device) = device.await.unwrap();
    assert_eq!(hello.nonce.as_ref(), [7; 32]);
    let (outgoing, to_send) = mpsc::channel(8);
    let (received, incoming) = mpsc::channel(8);
    let running = tokio::spawn(device.run(to_send, received));
    Pair {
        relay: socket,
        outgoing,
        incoming,
        running,
        _relay: relay,
    }
}

#[tokio::test]
async fn frames_go_both_ways_in_order() {
    let mut pair = pair().await;
    for number in 0..100 {
        pair.outgoing.send(ping(number)).await.unwrap();
        assert_eq!(pair.relay.frame().await, Some(ping(number)));
        pair.relay.send(pong(number)).await;
        assert_eq!(pair.incoming.recv().await, Some(pong(number)));
    }
    drop(pair.outgoing);
    assert!(matches!(pair.running.await, Ok(SocketError::Closed)));
    assert_eq!(pair.relay.frame().await, None);
}

#[tokio::test]
async fn strange_bytes_end_the_connection() {
    let large = Message::Binary(vec![0; limits::SERVER_FRAME_BYTES_MAX + 1].into());
    for message in [
        Message::Binary(vec![0xFF; 40].into()),
        Message::text("hello"),
        large,
    ] {
        let mut pair = pair().await;
        pair.relay.send_raw(message).await;
        let lost = pair.running.await.unwrap();
        assert!(
            matches!(
                lost,
                SocketError::Frame(_) | SocketError::Kind | SocketError::Broken(_)
            ),
            "{lost:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_kind_that_nobody_asked_for_is_passed_over() {
    let mut pair = pair().await;
    pair.relay
        .send_raw(Message::Binary(Vec::new().into()))
        .await;
    pair.relay.send(pong(5)).await;
    assert_eq!(pair.incoming.recv().await, Some(pong(5)));
}

#[tokio::test]
async fn a_wrong_certificate_is_told_by_a_sentence() {
    let (pinned, other) = (TestCa::new(), TestCa::new());
    let relay = TestRelay::start_with(&pinned, &other, "127.0.0.1:0".parse().unwrap()).await;
    let tls = client_config(&relay.address).unwrap();
    let error = connect(&relay.address, &tls).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::WrongCertificate { .. }),
        "{error:?}"
    );
    assert!(error.is_final());
    assert!(
        error
            .to_string()
            .contains("not the one in the pairing code")
    );
}

#[tokio::test]
async fn an_absent_relay_is_told_by_a_sentence() {
    let relay = TestRelay::start().await;
    let address = relay.address.clone();
    drop(relay);
    tokio::task::yield_now().await;
    let tls = client_config(&address).unwrap();
    let error = connect(&address, &tls).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(!error.is_final());
}
