#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use kinline_protocol::limits;
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::unconstrained;
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Error, Message};

use super::{READ_BYTES, Socket, TOO_LARGE_SLACK};

type Ours = Socket<DuplexStream>;

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

async fn next(ours: &mut Ours) -> Option<Result<Message, Error>> {
    poll_fn(|cx| ours.poll_next(cx)).await
}

/// Asks without waiting; nor is it a sign of anything that this task has asked often.
async fn now(ours: &mut Ours) -> Option<Message> {
    unconstrained(poll_fn(|cx| match ours.poll_next(cx) {
        Poll::Ready(message) => Poll::Ready(Some(message.unwrap().unwrap())),
        Poll::Pending => Poll::Ready(None),
    }))
    .await
}

fn put(ours: &mut Ours, message: Message) {
    assert!(!ours.is_blocked());
    ours.put(message).unwrap();
}

async fn flush(ours: &mut Ours) {
    poll_fn(|cx| ours.poll_flush(cx)).await.unwrap();
}

async fn pair(bytes: usize) -> (Ours, WebSocketStream<DuplexStream>) {
    let (ours, theirs) = duplex(bytes);
    let theirs = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    (Socket::new(ours, &[]), theirs)
}

/// What a device sends, byte by byte.
fn sent(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let mut masked = frame;
        masked.header_mut().mask = Some([7, 1, 200, 3]);
        let mut one = Vec::new();
        masked.format(&mut one).unwrap();
        bytes.extend(one);
    }
    bytes
}

fn whole(bytes: &[u8]) -> Frame {
    Frame::message(bytes.to_vec(), OpCode::Data(Data::Binary), true)
}

#[tokio::test]
async fn at_rest_there_is_nothing_but_the_stream() {
    let (mut ours, mut theirs) = pair(1 << 20).await;
    for length in [0, 1, 125, 126, 1_200, 65_535, 65_536] {
        let message = binary(&vec![9; length]);
        theirs.send(message.clone()).await.unwrap();
        assert_eq!(next(&mut ours).await.unwrap().unwrap(), message);
        assert_eq!(now(&mut ours).await, None);
        assert!(ours.work.is_none(), "after {length} bytes came");
        put(&mut ours, message.clone());
        assert!(ours.work.is_some(), "it was not flushed");
        assert_eq!(now(&mut ours).await, None);
        assert!(ours.work.is_some(), "it was not flushed yet");
        flush(&mut ours).await;
        assert!(ours.work.is_none(), "after {length} bytes went");
        assert_eq!(theirs.next().await.unwrap().unwrap(), message);
    }
    drop(theirs);
    assert!(next(&mut ours).await.is_none());
}

#[tokio::test]
async fn part_of_a_frame_is_kept() {
    let bytes = sent([
        whole(&[1; 300]),
        whole(&[2; 3_000]),
        Frame::ping(vec![3; 9]),
    ]);
    for cut in 1..bytes.len() {
        let (stream, mut theirs) = duplex(1 << 16);
        let mut ours = Socket::new(stream, &[]);
        let mut messages = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            theirs.write_all(part).await.unwrap();
            while let Some(message) = now(&mut ours).await {
                messages.push(message);
            }
            flush(&mut ours).await;
        }
        let ping = Message::Ping(vec![3; 9].into());
        assert_eq!(
            messages,
            [binary(&[1; 300]), binary(&[2; 3_000]), ping],
            "cut at {cut}"
        );
        assert!(ours.work.is_none(), "cut at {cut}");
        let mut pong = [0; 11];
        theirs.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 9, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
    }
}

#[tokio::test]
async fn what_came_before_the_upgrade_is_not_lost() {
    let bytes = sent([whole(&[1; 300]), whole(&[2; 300])]);
    for cut in [1, 100, 306, 400, bytes.len()] {
        let (stream, mut theirs) = duplex(1 << 16);
        let mut ours = Socket::new(stream, &bytes[..cut]);
        theirs.write_all(&bytes[cut..]).await.unwrap();
        assert_eq!(next(&mut ours).await.unwrap().unwrap(), binary(&[1; 300]));
        assert_eq!(next(&mut ours).await.unwrap().unwrap(), binary(&[2; 300]));
        assert_eq!(now(&mut ours).await, None);
        assert!(ours.work.is_none());
    }
}

#[tokio::test]
async fn whoever_does_not_read_is_waited_for() {
    let (mut ours, mut theirs) = pair(64).await;
    put(&mut ours, binary(&[5; 20_000]));
    assert!(ours.is_blocked() && ours.work.is_some());
    let (read, ()) = tokio::join!(theirs.next(), flush(&mut ours));
    assert_eq!(read.unwrap().unwrap(), binary(&[5; 20_000]));
    assert!(ours.work.is_none());
}

#[tokio::test]
async fn what_is_too_large_unmasked_or_no_frame_is_refused() {
    let large = limits::CLIENT_FRAME_BYTES_MAX + TOO_LARGE_SLACK + 1;
    let mut unmasked = Vec::new();
    whole(&[1; 5]).format(&mut unmasked).unwrap();
    let mut reserved = sent([whole(&[1; 5])]);
    reserved[0] |= 0x40;
    for (bytes, is_too_large) in [
        (sent([whole(&vec![1; large])])[..100].to_vec(), true),
        (unmasked, false),
        (reserved, false),
        (
            sent([Frame::message(vec![1], OpCode::Data(Data::Continue), true)]),
            false,
        ),
    ] {
        let (stream, mut theirs) = duplex(1 << 16);
        let mut ours = Socket::new(stream, &[]);
        theirs.write_all(&bytes).await.unwrap();
        let error = next(&mut ours).await.unwrap().unwrap_err();
        assert_eq!(matches!(error, Error::Capacity(_)), is_too_large, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However messages are cut into frames, and the frames' bytes into what comes at a time.
    #[test]
    fn messages_come_as_they_were_sent(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2 * READ_BYTES), 1..8),
        fragments in prop::collection::vec(1..3 * READ_BYTES, 1..8),
        steps in prop::collection::vec(1..3 * READ_BYTES, 1..8),
        rests in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut fragments = fragments.iter().cycle();
            let mut bytes = Vec::new();
            for message in &messages {
                let mut rest = &message[..];
                let mut code = Data::Binary;
                loop {
                    let (now, later) = rest.split_at(rest.len().min(*fragments.next().unwrap()));
                    let last = later.is_empty();
                    bytes.extend(sent([Frame::message(now.to_vec(), OpCode::Data(code), last)]));
                    (rest, code) = (later, Data::Continue);
                    if last {
                        break;
                    }
                }
            }
            let (stream, mut theirs) = duplex(1 << 20);
            let mut ours = Socket::new(stream, &[]);
            let (mut rest, mut steps) = (&bytes[..], steps.iter().cycle());
            let mut came = Vec::new();
            while !rest.is_empty() {
                let (now_sent, later) = rest.split_at(rest.len().min(*steps.next().unwrap()));
                theirs.write_all(now_sent).await.unwrap();
                rest = later;
                while let Some(message) = now(&mut ours).await {
                    came.push(message);
                }
                if rests {
                    put(&mut ours, Message::Ping(Bytes::new()));
                    flush(&mut ours).await;
                }
            }
            let expected: Vec<_> = messages.iter().map(|message| binary(message)).collect();
            assert_eq!(came, expected);
        });
    }

    /// Nothing that comes makes it panic.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..4_000), cut in 0..4_000_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (stream, mut theirs) = duplex(1 << 16);
            let mut ours = Socket::new(stream, &bytes[..cut.min(bytes.len())]);
            theirs.write_all(&bytes[cut.min(bytes.len())..]).await.unwrap();
            drop(theirs);
            while let Some(Ok(_)) = next(&mut ours).await {}
        });
    }
}

#[tokio::test]
async fn pings_of_one_who_reads_nothing_are_not_all_kept_an_answer_to() {
    const PINGS: usize = 5_000;
    let bytes = sent((0..PINGS).map(|_| Frame::ping(vec![3; 100])));
    let (fed, mut theirs) = duplex(1 << 20);
    theirs.write_all(&bytes).await.unwrap();
    // What goes out has room for some of the answers only, and nobody reads.
    let (out, _never_read) = duplex(4_096);
    let mut both = Socket::new(tokio::io::join(fed, out), &[]);
    let mut pings = 0;
    while pings < PINGS {
        let Some(Ok(message)) = poll_fn(|cx| both.poll_next(cx)).await else {
            panic!("it goes on");
        };
        assert!(message.is_ping());
        pings += 1;
    }
    let full = both.put(binary(&vec![1; limits::SERVER_FRAME_BYTES_MAX * 3]));
    assert!(full.is_err(), "there is an end to what is kept");
}

#[tokio::test]
async fn frames_of_nothing_let_others_come_first() {
    let mut frames = vec![Frame::message(vec![], OpCode::Data(Data::Binary), false)];
    let nothing = || Frame::message(vec![], OpCode::Data(Data::Continue), false);
    frames.extend((0..100_000).map(|_| nothing()));
    let bytes = sent(frames);
    let (stream, mut theirs) = duplex(1 << 20);
    let mut ours = Socket::new(stream, &[]);
    theirs.write_all(&bytes).await.unwrap();
    assert_eq!(now(&mut ours).await, None);
    let given = ours.work.as_ref().unwrap().given;
    assert!(given < bytes.len() as u64 / 4, "{given} bytes at once");
}
