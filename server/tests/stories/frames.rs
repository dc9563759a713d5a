//! Bad input gets one typed error; everyone else is unaffected.

use kinline_protocol::limits;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{
    self, Acknowledge, Attach, ClientFrame, CommitOffer, CreateBlob, Delivery, ErrorCode,
    FetchCommit, OpenMailbox, Ping, RendezvousJoin, RevokeGrant, Send,
};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Device, Here, noise, send};

#[tokio::test]
async fn what_is_no_frame_ends_that_connection_only() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let cases: Vec<(Message, ErrorCode)> = vec![
        (Message::Binary(vec![0xff; 40].into()), ErrorCode::Malformed),
        // A body that claims 4 GiB and has none.
        (
            Message::Binary(vec![0x62, 0xff, 0xff, 0xff, 0xff, 0x0f].into()),
            ErrorCode::Malformed,
        ),
        (Message::Text("{}".into()), ErrorCode::Malformed),
        (
            Message::Binary(vec![0; limits::CLIENT_FRAME_BYTES_MAX + 1].into()),
            ErrorCode::TooLarge,
        ),
    ];
    for (message, code) in cases {
        let mut socket = here.connect().await;
        socket.raw(message).await;
        socket.ends_with(code).await;
    }
    // Far too large is not even read: the connection ends, with or without its last word.
    let mut socket = here.connect().await;
    socket
        .try_raw(vec![0; 8 * limits::CLIENT_FRAME_BYTES_MAX])
        .await;
    assert!(socket.is_over().await);
    assert!(alice.socket.is_quiet().await);
    here.stop().await;
    assert_eq!(here.envelopes(), 0);
}

#[tokio::test]
async fn fields_of_a_wrong_size_end_the_connection_and_store_nothing() {
    let mut here = Here::start().await;
    let alice = Device::start(&here.address()).await;
    let good = alice.mailbox.delivery("x");
    let commit = |token: usize, sealed: usize| {
        Ask::Send(Send {
            commit: Some(CommitOffer {
                token: vec![1; token].into(),
                sealed: vec![1; sealed].into(),
            }),
            ..Send::default()
        })
    };
    let cases = [
        send(vec![]),
        send(vec![good.clone(); limits::SEND_DELIVERIES_MAX + 1]),
        send(vec![
            good.clone(),
            Delivery {
                envelope: vec![0; 1_023].into(),
                ..good.clone()
            },
        ]),
        send(vec![
            good.clone(),
            Delivery {
                envelope: vec![0; 1_025].into(),
                ..good.clone()
            },
        ]),
        send(vec![
            good.clone(),
            Delivery {
                grant: vec![0; 124].into(),
                ..good.clone()
            },
        ]),
        send(vec![
            good.clone(),
            Delivery {
                mailbox: vec![0; 15].into(),
                ..good.clone()
            },
        ]),
        send(vec![
            good.clone(),
            Delivery {
                message_id: vec![0; 17].into(),
                ..good.clone()
            },
        ]),
        commit(15, 1_024),
        commit(16, 1_025),
        commit(16, 65_536 + 2_048),
        Ask::OpenMailbox(OpenMailbox::default()),
        Ask::Attach(Attach {
            mailbox: vec![1; 16].into(),
            ..Attach::default()
        }),
        Ask::FetchCommit(FetchCommit::default()),
        Ask::RevokeGrant(RevokeGrant {
            mailbox: vec![1; 16].into(),
            ..RevokeGrant::default()
        }),
        Ask::RendezvousJoin(RendezvousJoin {
            rendezvous: vec![1; 17].into(),
        }),
    ];
    for case in cases {
        let mut socket = here.connect().await;
        socket.tell(case).await;
        socket.ends_with(ErrorCode::Malformed).await;
    }
    let mut attached = Device::start(&here.address()).await;
    let not_padded = CreateBlob {
        read_hash: noise(32).into(),
        owner_hash: noise(32).into(),
        size: 1_025,
        ticket: String::new(),
    };
    attached.socket.tell(Ask::CreateBlob(not_padded)).await;
    attached.socket.ends_with(ErrorCode::Malformed).await;
    here.stop().await;
    assert_eq!(here.envelopes(), 0);
    for table in ["commit_slot", "revoked_grant", "blob"] {
        assert_eq!(here.count(table), 0, "{table}");
    }
}

#[tokio::test]
async fn unknown_kinds_and_features_are_refused_and_the_connection_goes_on() {
    let here = Here::start().await;
    let mut socket = here.connect().await;
    let unknown = ClientFrame {
        request_id: 70,
        critical: vec![],
        body: None,
    };
    socket.raw(Message::Binary(wire::encode(&unknown))).await;
    assert!(
        matches!(socket.answer(70).await, Say::Error(error) if error.code() == ErrorCode::UnknownKind && !error.closing)
    );
    let critical = ClientFrame {
        request_id: 71,
        critical: vec![5],
        body: Some(Ask::Ping(Ping {})),
    };
    socket.raw(Message::Binary(wire::encode(&critical))).await;
    assert!(
        matches!(socket.answer(71).await, Say::Error(error) if error.code() == ErrorCode::Unsupported)
    );
    assert!(socket.is_quiet().await);
}

#[tokio::test]
async fn out_of_order_ends_the_connection() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    alice
        .socket
        .tell(Ask::Acknowledge(Acknowledge {
            through: 1,
            generation: 1,
        }))
        .await;
    alice.socket.ends_with(ErrorCode::OutOfOrder).await;
    alice.again(&here.address()).await;
    let twice = alice.socket.attach_request(&alice.mailbox, 1, 8);
    alice.socket.tell(Ask::Attach(twice)).await;
    alice.socket.ends_with(ErrorCode::OutOfOrder).await;
    let mut stranger = here.connect().await;
    let early = Ask::Acknowledge(Acknowledge {
        through: 1,
        generation: 1,
    });
    assert_eq!(stranger.refused(early).await, ErrorCode::NotAttached);
}

#[tokio::test]
async fn a_frame_without_a_request_id_wants_no_answer() {
    let here = Here::start().await;
    let mut socket = here.connect().await;
    let silent = ClientFrame {
        request_id: 0,
        critical: vec![],
        body: Some(Ask::Ping(Ping {})),
    };
    socket.raw(Message::Binary(wire::encode(&silent))).await;
    assert!(socket.is_quiet().await);
}

#[tokio::test]
async fn another_subprotocol_and_plain_http_are_refused() {
    let here = Here::start().await;
    let reply = crate::harness::request(&here.address(), "GET", wire::PATH, &[], vec![]).await;
    assert_eq!(reply.status, 400);
    let upgrade = [
        ("connection", "upgrade".to_owned()),
        ("upgrade", "websocket".to_owned()),
        ("sec-websocket-version", "13".to_owned()),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
        ("sec-websocket-protocol", "kinline.v9".to_owned()),
    ];
    let reply = crate::harness::request(&here.address(), "GET", wire::PATH, &upgrade, vec![]).await;
    assert_eq!(reply.status, 400);
    assert_eq!(
        crate::harness::request(&here.address(), "GET", "/healthz", &[], vec![])
            .await
            .status,
        200
    );
    assert_eq!(
        crate::harness::request(&here.address(), "GET", "/readyz", &[], vec![])
            .await
            .status,
        200
    );
    assert_eq!(
        crate::harness::request(&here.address(), "GET", "/", &[], vec![])
            .await
            .status,
        404
    );
}
