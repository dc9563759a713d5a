//! Bad input through the socket: one typed error, that connection closed where its stream can't
//! be trusted, nothing stored, and a family that talks meanwhile notices nothing.

use kinline_protocol::engine::io::{Event, MemberRole};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, ClientFrame, ErrorCode};
use kinline_tests::patience::eventually;
use kinline_tests::people::{Person, all_is_confirmed, assert_nothing_was_unreadable};
use kinline_tests::scene::Scene;
use kinline_tests::sqlite;
use kinline_tests::stranger::{Stranger, dial};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

/// What the relay's process may grow by while it is told lies about sizes.
const GROWTH_KIB_MAX: u64 = 32 * 1_024;

fn binary(bytes: impl Into<bytes::Bytes>) -> Message {
    Message::Binary(bytes.into())
}

fn frame(critical: Vec<u32>, body: Option<Ask>) -> Message {
    let frame = ClientFrame {
        request_id: 7,
        critical,
        body,
    };
    Message::Binary(wire::encode(&frame))
}

/// A send to nobody in particular, well-formed but for what a case changes.
fn send() -> wire::Send {
    wire::Send {
        deliveries: vec![wire::Delivery {
            mailbox: vec![1; 16].into(),
            grant: vec![1; kinline_protocol::grant::GRANT_BYTES].into(),
            message_id: vec![2; 16].into(),
            envelope: vec![3; limits::ENVELOPE_BYTES].into(),
        }],
        commit: None,
        generation: 0,
    }
}

/// Frames after which the stream can't be trusted.
fn untrusted() -> Vec<(&'static str, Message, ErrorCode)> {
    let whole = wire::encode(&ClientFrame {
        request_id: 1,
        critical: vec![],
        body: Some(Ask::Send(send())),
    });
    let acknowledge = Ask::Acknowledge(wire::Acknowledge {
        through: u64::MAX,
        generation: u64::MAX,
    });
    let mut short = send();
    short.deliveries[0].envelope = vec![3; 1_023].into();
    let mut long = send();
    long.deliveries[0].envelope = vec![3; 1_025].into();
    let mut many = send();
    many.deliveries = vec![many.deliveries[0].clone(); limits::SEND_DELIVERIES_MAX + 1];
    vec![
        (
            "one byte too large",
            binary(vec![0; limits::CLIENT_FRAME_BYTES_MAX + 1]),
            ErrorCode::TooLarge,
        ),
        (
            "cut in the middle",
            binary(whole.slice(..whole.len() / 2)),
            ErrorCode::Malformed,
        ),
        (
            "cut by one byte",
            binary(whole.slice(..whole.len() - 1)),
            ErrorCode::Malformed,
        ),
        ("no protobuf", binary(vec![0xff; 64]), ErrorCode::Malformed),
        (
            "a body that claims 4 GiB",
            binary(vec![0x6a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            ErrorCode::Malformed,
        ),
        (
            "text",
            Message::Text("{\"send\": \"everything\"}".into()),
            ErrorCode::Malformed,
        ),
        (
            "an envelope too short",
            frame(vec![], Some(Ask::Send(short))),
            ErrorCode::Malformed,
        ),
        (
            "an envelope too long",
            frame(vec![], Some(Ask::Send(long))),
            ErrorCode::Malformed,
        ),
        (
            "too many deliveries",
            frame(vec![], Some(Ask::Send(many))),
            ErrorCode::Malformed,
        ),
        (
            "a mailbox without keys",
            frame(vec![], Some(Ask::OpenMailbox(wire::OpenMailbox::default()))),
            ErrorCode::Malformed,
        ),
        (
            "an acknowledgement of what was never delivered",
            frame(vec![], Some(acknowledge)),
            ErrorCode::NotAttached,
        ),
    ]
}

/// Frames that are refused while the connection goes on.
fn refused() -> Vec<(&'static str, Message, ErrorCode)> {
    // Field 99 of the frame: a body of a time to come.
    let mut unknown = wire::encode(&ClientFrame {
        request_id: 7,
        critical: vec![],
        body: None,
    })
    .to_vec();
    unknown.extend([0x9a, 0x06, 0x02, b'h', b'i']);
    let ping = Some(Ask::Ping(wire::Ping {}));
    let commit = Ask::Send(wire::Send {
        commit: Some(wire::CommitOffer {
            token: vec![1; 16].into(),
            sealed: vec![1; 1_024].into(),
        }),
        ..wire::Send::default()
    });
    let blob = Ask::CreateBlob(wire::CreateBlob {
        read_hash: vec![1; 32].into(),
        owner_hash: vec![2; 32].into(),
        size: 1_024,
        ticket: String::new(),
    });
    vec![
        ("an unknown kind", binary(unknown), ErrorCode::UnknownKind),
        (
            "an unknown feature",
            frame(vec![4_711], ping),
            ErrorCode::Unsupported,
        ),
        (
            "a commit by nobody",
            frame(vec![], Some(commit)),
            ErrorCode::NotAttached,
        ),
        (
            "a blob by nobody",
            frame(vec![], Some(blob)),
            ErrorCode::NotAttached,
        ),
        (
            "nobody's mailbox, attached to by a stranger",
            frame(
                vec![],
                Some(Ask::Attach(wire::Attach {
                    mailbox: vec![1; 16].into(),
                    generation: 1,
                    window: 1,
                    signature: vec![1; 64].into(),
                })),
            ),
            ErrorCode::Denied,
        ),
    ]
}

/// The largest memory that a process ever had, in KiB.
fn memory_peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

async fn lies_about_sizes(scene: &Scene) {
    for claim in [1_u64 << 32, 1 << 40, u64::MAX >> 1] {
        let mut stranger = Stranger::connect(scene.relay.address()).await;
        let mut header = vec![0x82, 0x80 | 127];
        header.extend(claim.to_be_bytes());
        header.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        stranger.bytes(&header).await;
        stranger.is_turned_away(ErrorCode::TooLarge).await;
    }
    // So much that the relay stops reading: its error may be lost with the connection.
    let mut stranger = Stranger::connect(scene.relay.address()).await;
    let much = vec![0; 4 * limits::CLIENT_FRAME_BYTES_MAX];
    stranger.message(binary(much)).await;
    stranger
        .is_turned_away_or_dropped(ErrorCode::TooLarge)
        .await;
    // A message that never ends, in small pieces.
    let mut stranger = Stranger::connect(scene.relay.address()).await;
    let piece = [
        &[0x02, 0x80 | 126, 0xff, 0xff, 0, 0, 0, 0][..],
        &[0; 0xffff],
    ]
    .concat();
    stranger.bytes(&piece).await;
    let next = [&[0x00], &piece[1..]].concat();
    for _ in 0..64 {
        stranger.bytes(&next).await;
    }
    stranger
        .is_turned_away_or_dropped(ErrorCode::TooLarge)
        .await;
}

/// What is no WebSocket, no HTTP, or no TLS.
async fn noise_below(scene: &Scene) {
    // A frame that uses bits nobody has defined, and one that is not masked.
    for bytes in [[0xf2, 0x81, 0, 0, 0, 0, 0], [0x82, 0x05, 1, 2, 3, 4, 5]] {
        let mut stranger = Stranger::connect(scene.relay.address()).await;
        stranger.bytes(&bytes).await;
        stranger.is_dropped().await;
    }
    // Half a frame, then gone.
    let mut stranger = Stranger::connect(scene.relay.address()).await;
    stranger.bytes(&[0x82, 0xfe, 0x04, 0x00, 1, 2]).await;
    drop(stranger);
    let mut stream = dial(scene.relay.address()).await;
    stream.write_all(b"HELO kinline\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    let address = (
        scene.relay.address().host.as_str(),
        scene.relay.address().port,
    );
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain.write_all(&[0; 4_096]).await.unwrap();
    // An alert and the end, or just the end.
    drop(plain.read_to_end(&mut answer).await);
}

/// A device that turns bad: it has a mailbox's key, and uses it out of order.
async fn out_of_order(scene: &Scene) {
    let bad = scene.person("Bad");
    bad.settled().await;
    let folder = bad.put_away().await;
    let record = Person::record(&folder);
    let mailbox = MailboxId::try_from(&record.mailbox).unwrap();
    let key = SecretKey::from_seed(record.authentication_seed.as_ref().try_into().unwrap());
    let attach =
        |stranger: &Stranger| Ask::Attach(stranger.attach_request(mailbox, &key, u64::MAX >> 8));
    for turn in 0..3 {
        let mut stranger = Stranger::connect(scene.relay.address()).await;
        let request = attach(&stranger);
        let answer = stranger.ask(request).await;
        assert!(matches!(answer, Say::Attached(_)), "{answer:?}");
        let next = match turn {
            // Acknowledges what was not delivered.
            0 => Ask::Acknowledge(wire::Acknowledge {
                through: 1,
                generation: u64::MAX >> 8,
            }),
            // Attaches twice.
            1 => attach(&stranger),
            // Takes an acknowledgement back.
            _ => Ask::Acknowledge(wire::Acknowledge {
                through: u64::MAX,
                generation: u64::MAX >> 8,
            }),
        };
        stranger.tell(next).await;
        stranger.is_turned_away(ErrorCode::OutOfOrder).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_and_a_family_that_talks_notices_nothing() {
    let scene = Scene::start(&[]).await;
    let people = scene.family("Mum", &[("Mila", MemberRole::Child)]).await;
    let [mum, mila] = &people[..] else {
        panic!("a person for each name")
    };
    out_of_order(&scene).await;
    all_is_confirmed(&[mum, mila]).await;
    let stored = async || {
        let rows = sqlite::rows(&scene.relay.database());
        scene.relay.has_nothing_waiting().then_some(rows)
    };
    let before = eventually("an empty relay", stored).await;
    let memory = memory_peak(scene.relay.pid());

    for (what, message, code) in untrusted() {
        println!("{what}");
        mum.say(&format!("Mum during {what}")).await;
        let mut stranger = Stranger::connect(scene.relay.address()).await;
        stranger.message(message).await;
        if code == ErrorCode::NotAttached {
            match stranger.next().await {
                Some((7, Say::Error(error))) => assert_eq!(error.code(), code, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
        } else {
            stranger.is_turned_away(code).await;
        }
        mila.sees(&format!("Mum during {what}")).await;
    }
    let mut stranger = Stranger::connect(scene.relay.address()).await;
    for (what, message, code) in refused() {
        println!("{what}");
        mila.say(&format!("Mila during {what}")).await;
        stranger.message(message).await;
        match stranger.next().await {
            Some((7, Say::Error(error))) => {
                assert_eq!(error.code(), code, "{what}: {}", error.sentence);
                assert!(!error.closing && !error.sentence.is_empty());
            }
            other => panic!("{what}: {other:?}"),
        }
        stranger.is_still_served().await;
        mum.sees(&format!("Mila during {what}")).await;
    }
    lies_about_sizes(&scene).await;
    noise_below(&scene).await;

    let growth = memory_peak(scene.relay.pid()) - memory;
    assert!(growth < GROWTH_KIB_MAX, "the relay grew by {growth} KiB");
    assert!(scene.relay.is_running());
    mum.say("Good night").await;
    mila.sees("Good night").await;
    all_is_confirmed(&[mum, mila]).await;
    assert_nothing_was_unreadable(&[mum, mila]).await;
    assert_eq!(
        eventually("an empty relay", stored).await,
        before,
        "something was stored"
    );
    for person in [mum, mila] {
        let attached =
            person.happened(|event| matches!(event, Event::Attached { .. }).then_some(()));
        assert_eq!(attached.len(), 1, "{} was cut off", person.name);
        let errors = person.happened(|event| match event {
            Event::RelayError { sentence, .. } => Some(sentence.clone()),
            _ => None,
        });
        assert_eq!(errors, Vec::<String>::new());
    }
}
