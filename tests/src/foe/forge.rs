//! Frames out of nothing: every kind that a relay may say, with any contents.

use bytes::Bytes;
use kinline_protocol::limits;
use kinline_protocol::wire::{self, ServerFrame, server_frame::Body as S};
use rand::{Rng, RngExt};

/// Any bytes, at most `max` of them.
pub(super) fn noise(rng: &mut impl Rng, max: usize) -> Bytes {
    let mut bytes = vec![0; rng.random_range(0..=max)];
    rng.fill_bytes(&mut bytes);
    bytes.into()
}

/// Exactly so many random bytes.
pub(super) fn random(rng: &mut impl Rng, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes.into()
}

fn number(rng: &mut impl Rng) -> u64 {
    match rng.random_range(0..4) {
        0 => 0,
        1 => u64::MAX,
        2 => rng.random_range(0..100),
        _ => rng.random(),
    }
}

/// A body of any kind but `Deliver`, which is counted; it grants no slot to anybody.
pub(super) fn body(rng: &mut impl Rng) -> S {
    match rng.random_range(0..14) {
        0 => S::MailboxOpened(wire::MailboxOpened {}),
        1 => S::Attached(wire::Attached {
            waiting: number(rng),
            window: rng.random(),
        }),
        2 | 3 => S::SendResult(send_result(rng)),
        4 | 5 => S::CommitSlot(wire::CommitSlot {
            present: rng.random(),
            sealed: noise(rng, 3_000),
        }),
        6 => S::SignalDelivered(wire::SignalDelivered {
            body: noise(rng, 2 * limits::SIGNAL_BYTES_MAX),
        }),
        7 => S::BlobCreated(wire::BlobCreated {
            offset: number(rng),
            expires_day: rng.random(),
        }),
        8 => S::GrantRevoked(wire::GrantRevoked {}),
        9 => S::MailboxClosed(wire::MailboxClosed {}),
        10 => S::RendezvousReady(wire::RendezvousReady {
            rendezvous: noise(rng, 20),
            joined: rng.random(),
        }),
        11 => S::RendezvousGot(wire::RendezvousGot {
            rendezvous: noise(rng, 20),
            body: noise(rng, 500),
            closed: rng.random(),
        }),
        12 => S::Pong(wire::Pong {}),
        _ => S::Error(error(rng)),
    }
}

/// A refusal with any code, known or not; seldom one that says it closes.
pub(super) fn error(rng: &mut impl Rng) -> wire::Error {
    wire::Error {
        code: rng.random_range(0..22),
        sentence: "the enemy says so".into(),
        retry_after_ms: if rng.random() { 0 } else { 5_000 },
        closing: rng.random_ratio(1, 20),
    }
}

fn send_result(rng: &mut impl Rng) -> wire::SendResult {
    let answer = wire::RecipientAnswer {
        status: rng.random_range(0..9),
        retry_after_ms: rng.random_range(0..10_000),
    };
    wire::SendResult {
        recipients: vec![answer; rng.random_range(0..4)],
        commit: rng.random::<bool>().then(|| wire::CommitAnswer {
            mine: false,
            winner: noise(rng, 3_000),
        }),
    }
}

/// A hello of a relay of another time, with limits that nobody could live with.
pub(super) fn odd_hello(rng: &mut impl Rng, mut hello: wire::Hello) -> wire::Hello {
    match rng.random_range(0..5) {
        0 => hello.day = hello.day.saturating_add(366),
        1 => hello.day = hello.day.saturating_sub(366),
        2 => hello.limits = Some(wire::Limits::default()),
        3 => {
            hello.limits = Some(wire::Limits {
                client_frame_bytes_max: u32::MAX,
                send_deliveries_max: 1,
                commit_bytes_max: 7,
                blob_bytes_max: u64::MAX,
                ..wire::Limits::default()
            });
        }
        _ => hello.features = vec![0, 1, u32::MAX],
    }
    hello
}

/// The same frame as a later version would say it: with fields that are not known here.
pub(super) fn from_the_future(rng: &mut impl Rng, frame: &ServerFrame) -> Bytes {
    let mut bytes = wire::encode(frame).to_vec();
    // Field 200, length-delimited (tag 200 << 3 | 2 as a varint), and its bytes.
    let more = noise(rng, 60);
    bytes.extend([0xc2, 0x0c, more.len() as u8]);
    bytes.extend(more);
    bytes.into()
}

/// A frame of a kind that is not known here, unasked or as an answer.
pub(super) fn unknown_kind(request_id: u64) -> Bytes {
    let mut bytes = wire::encode(&ServerFrame {
        request_id,
        ..ServerFrame::default()
    })
    .to_vec();
    // Field 99, empty.
    bytes.extend([0x9a, 0x06, 0]);
    bytes.into()
}

/// Some bits of it are turned over.
pub(super) fn damaged(rng: &mut impl Rng, bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    if bytes.is_empty() {
        return bytes.into();
    }
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
    }
    bytes.into()
}
