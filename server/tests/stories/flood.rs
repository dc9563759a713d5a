//! Too much of everything: who floods is told to wait, and everybody else is served meanwhile.
//!
//! Counts and answers only: how long anything took is the load generator's to say.

use std::collections::BTreeSet;
use std::time::Duration;

use kinline_protocol::ids::SlotToken;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{
    self, CommitOffer, Delivery, ErrorCode, FetchCommit, RecipientStatus, Send, Signal,
    SignalDelivery,
};

use tokio::time::timeout;

use crate::harness::{Device, Here, Mailbox, noise, send};

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pair who have nothing to do with the flood.
struct Pair {
    carol: Device,
    dave: Device,
    said: u64,
}

impl Pair {
    async fn start(here: &Here) -> Self {
        Self {
            carol: Device::start(&here.address()).await,
            dave: Device::start(&here.address()).await,
            said: 0,
        }
    }

    /// One says something, the other has it, and the first hears so.
    async fn talk(&mut self) {
        self.said += 1;
        let text = format!("calm {}", self.said);
        let delivery = self.dave.mailbox.delivery(&text);
        let sent = self.carol.socket.tell(send(vec![delivery])).await;
        assert_eq!(self.dave.socket.delivered().await, (self.said, text));
        self.dave.socket.acknowledge(self.said).await;
        let answer = answers(self.carol.socket.answer(sent).await);
        assert_eq!(answer, [(RecipientStatus::Ok, 0)]);
    }
}

/// Status and time to try again, by recipient.
fn answers(answer: Say) -> Vec<(RecipientStatus, u32)> {
    match answer {
        Say::SendResult(result) => result
            .recipients
            .iter()
            .map(|recipient| (recipient.status(), recipient.retry_after_ms))
            .collect(),
        other => panic!("not sent: {other:?}"),
    }
}

fn batch(to: &Mailbox, first: usize, count: usize) -> Vec<Delivery> {
    let texts = (first..first + count).map(|number| format!("flood {number}"));
    texts.map(|text| to.delivery(&text)).collect()
}

#[tokio::test]
async fn one_contact_that_floods_is_told_when_to_go_on_and_nobody_else_notices() {
    const AT_ONCE: u32 = 200;
    const SENDS: usize = 40;
    const EACH: usize = 16;
    let here = Here::start_with(|config| {
        config.limits.mailbox_deliveries_burst = AT_ONCE;
        config.limits.mailbox_deliveries_per_second = 1;
        config.limits.mailbox_envelopes = 100;
    })
    .await;
    let mut mallory = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    bob.socket = here.connect().await;
    let mut pair = Pair::start(&here).await;
    // All at once, without waiting for an answer.
    let mut open = Vec::new();
    for number in 0..SENDS {
        let flood = batch(&bob.mailbox, number * EACH, EACH);
        open.push(mallory.socket.tell(send(flood)).await);
        pair.talk().await;
        // The flooder's own words to others go through, too.
        let other = pair.dave.mailbox.delivery("aside");
        let aside = mallory.socket.tell(send(vec![other])).await;
        pair.said += 1;
        assert_eq!(pair.dave.socket.delivered().await.1, "aside");
        pair.dave.socket.acknowledge(pair.said).await;
        assert_eq!(
            answers(mallory.socket.answer(aside).await),
            [(RecipientStatus::Ok, 0)]
        );
    }
    let mut counts = [0; 3];
    for request in open {
        for (status, retry_after_ms) in answers(mallory.socket.answer(request).await) {
            match status {
                RecipientStatus::Ok => counts[0] += 1,
                RecipientStatus::Full => counts[1] += 1,
                RecipientStatus::SlowDown => counts[2] += 1,
                other => panic!("{other:?}"),
            }
            let refused = status != RecipientStatus::Ok;
            assert_eq!(refused, retry_after_ms > 0, "{status:?}");
        }
    }
    let [taken, full, slow] = counts;
    assert_eq!(taken, 100, "what the mailbox holds");
    assert!(full > 0 && slow > 0, "{counts:?}");
    // Nothing more than that waits; when it is read there is room for others again.
    assert_eq!(bob.again(&here.address()).await.waiting, 100);
    for number in 0..100 {
        assert_eq!(bob.socket.delivered().await.0, number + 1);
        bob.socket.acknowledge(number + 1).await;
    }
    assert!(bob.socket.is_quiet().await);
}

#[tokio::test]
async fn more_frames_than_anyone_may_send_are_refused_each_and_the_connection_goes_on() {
    let here = Here::start_with(|config| {
        config.limits.frames_burst = 50;
        config.limits.frames_per_second = 1;
    })
    .await;
    let mut mallory = Device::start(&here.address()).await;
    let mut pair = Pair::start(&here).await;
    let mut open = Vec::new();
    for _ in 0..500 {
        open.push(mallory.socket.tell(Ask::Ping(wire::Ping {})).await);
    }
    for _ in 0..10 {
        pair.talk().await;
    }
    let mut refused = 0;
    for request in open {
        match mallory.socket.answer(request).await {
            Say::Pong(_) => {}
            Say::Error(error) => {
                assert_eq!(error.code(), ErrorCode::SlowDown);
                assert!(error.retry_after_ms > 0 && !error.closing);
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 400, "{refused}");
}

#[tokio::test]
async fn who_is_attached_and_never_reads_costs_its_sender_and_others_nothing() {
    const SENDS: usize = 100;
    const EACH: usize = 16;
    let here = Here::start_with(|config| {
        // Fewer than a hundredth of what is sent fits into memory at a time.
        config.limits.envelopes_in_memory_bytes = 16 * 1_024;
        config.limits.hold_bytes = 8 * 1_024;
        config.limits.hold_ms = 1;
    })
    .await;
    let mut alice = Device::start(&here.address()).await;
    let mut pair = Pair::start(&here).await;
    let mut deaf = Device::start(&here.address()).await;
    deaf.socket = here.connect().await;
    deaf.socket.attach(&deaf.mailbox, 1, 256).await;
    let signal = |number: usize| {
        Ask::Signal(Signal {
            deliveries: vec![SignalDelivery {
                mailbox: deaf.mailbox.id.to_bytes(),
                grant: deaf.mailbox.grant(deaf.mailbox.today + 1, 1).into(),
                body: vec![number as u8; 256].into(),
            }],
        })
    };
    for number in 0..SENDS {
        // Signals are dropped, envelopes written: neither waits for it.
        alice.socket.tell(signal(number)).await;
        let sent = send(batch(&deaf.mailbox, number * EACH, EACH));
        let answer = answers(alice.socket.ask(sent).await);
        assert_eq!(answer, [(RecipientStatus::Ok, 0); EACH]);
        pair.talk().await;
    }
    // All of it is there for a connection that reads, in order.
    let waiting = deaf.again(&here.address()).await.waiting;
    assert_eq!(waiting, (SENDS * EACH) as u64);
    for number in 0..SENDS * EACH {
        let (at, text) = deaf.socket.delivered().await;
        assert_eq!((at, text), (number as u64 + 1, format!("flood {number}")));
        deaf.socket.acknowledge(at).await;
    }
}

#[tokio::test]
async fn who_asks_for_much_and_never_reads_is_not_listened_to_and_others_are_served() {
    // Twenty megabytes in answers: twice what the system's buffers take.
    const ASKED: usize = 300;
    let here = Here::start_with(|config| {
        config.limits.frames_burst = 10_000;
    })
    .await;
    let mut pair = Pair::start(&here).await;
    let token = SlotToken::random(&mut rand::rng());
    let mut deaf = Device::start(&here.address()).await;
    let offer = Ask::Send(Send {
        commit: Some(CommitOffer {
            token: token.to_bytes(),
            sealed: noise(65_536).into(),
        }),
        ..Send::default()
    });
    assert!(matches!(deaf.socket.ask(offer).await, Say::SendResult(_)));
    let mut asked = Vec::new();
    for _ in 0..ASKED {
        let look = FetchCommit {
            token: token.to_bytes(),
        };
        asked.push(deaf.socket.tell(Ask::FetchCommit(look)).await);
    }
    let last = pair.dave.mailbox.delivery("at last");
    let sent = deaf.socket.tell(send(vec![last])).await;
    for _ in 0..400 {
        pair.talk().await;
    }
    assert!(pair.dave.socket.is_quiet().await, "it was listened to");
    // As soon as it reads it is.
    for request in asked {
        assert!(matches!(deaf.socket.answer(request).await, Say::CommitSlot(slot) if slot.present));
    }
    pair.said += 1;
    let delivered = pair.dave.socket.delivered().await;
    assert_eq!(delivered, (pair.said, "at last".into()));
    pair.dave.socket.acknowledge(pair.said).await;
    let answer = answers(deaf.socket.answer(sent).await);
    assert_eq!(answer, [(RecipientStatus::Ok, 0)]);
}

#[tokio::test]
async fn many_that_send_half_a_frame_keep_nobody_out_and_lose_their_places() {
    const HALVES: usize = 60;
    let here = Here::start_with(|config| {
        config.limits.connections_per_network = HALVES as u32 + 3;
        config.limits.idle_seconds = 3;
    })
    .await;
    let mut pair = Pair::start(&here).await;
    let mut halves = Vec::new();
    for _ in 0..HALVES {
        let mut socket = here.connect().await;
        // It says that 64 KiB follow, and sends a thousand bytes of them.
        socket.half_a_frame(65_536, 1_000).await;
        halves.push(socket);
        pair.talk().await;
    }
    drop(pair); // who says nothing is ended like them
    for mut half in halves {
        // Pings come all the time: its end alone counts.
        let over = timeout(PATIENCE, half.is_over()).await;
        assert!(
            over.expect("it keeps its place"),
            "half a frame was answered"
        );
    }
    // Their places are free again: more come than there were left.
    let mut after = Vec::new();
    for _ in 0..HALVES / 2 {
        after.push(here.connect().await);
    }
    Pair::start(&here).await.talk().await;
}

#[tokio::test]
async fn more_than_fits_is_refused_early_with_a_time_and_what_was_acknowledged_is_there() {
    const SENDERS: usize = 4;
    const SENDS: usize = 20;
    const EACH: usize = 32;
    let mut here = Here::start_with(|config| {
        // Two Sends of all that come at once.
        config.limits.envelopes_in_memory_bytes = 2 * EACH as u64 * 1_024;
        config.limits.hold_ms = 3_600_000;
        config.limits.frames_burst = 1_000_000;
    })
    .await;
    let mut senders = Vec::new();
    let mut absent = Vec::new();
    for _ in 0..SENDERS {
        senders.push(Device::start(&here.address()).await);
        let mut to = Device::start(&here.address()).await;
        to.socket = here.connect().await;
        absent.push(to);
    }
    // One who is there and does not acknowledge: all room is taken.
    let mut slow = Device::start(&here.address()).await;
    let mut held = Vec::new();
    for number in 0..2 {
        let deliveries = batch(&slow.mailbox, number * EACH, EACH);
        held.push(senders[0].socket.tell(send(deliveries)).await);
    }
    for number in 0..2 * EACH {
        assert_eq!(slow.socket.delivered().await.0, number as u64 + 1);
    }
    let mut open = Vec::new();
    for number in 0..SENDS {
        for place in 0..SENDERS {
            let deliveries = batch(&absent[place].mailbox, number * EACH, EACH);
            let socket = &mut senders[place].socket;
            open.push((
                place,
                socket.tell(send(deliveries.clone())).await,
                deliveries,
            ));
        }
    }
    let mut refused = Vec::new();
    for (place, request, deliveries) in open {
        assert_no_room(&senders[place].socket.answer(request).await);
        refused.push((place, deliveries));
    }
    // There is room again, for some of what comes at once; the rest is said until it fits.
    slow.socket.acknowledge(2 * EACH as u64).await;
    for request in held {
        let answer = answers(senders[0].socket.answer(request).await);
        assert_eq!(answer, [(RecipientStatus::Ok, 0); EACH]);
    }
    for _ in 0..SENDS * SENDERS {
        // At least one fits each time.
        let mut open = Vec::new();
        for (place, deliveries) in std::mem::take(&mut refused) {
            let socket = &mut senders[place].socket;
            open.push((
                place,
                socket.tell(send(deliveries.clone())).await,
                deliveries,
            ));
        }
        for (place, request, deliveries) in open {
            match senders[place].socket.answer(request).await {
                error @ Say::Error(_) => {
                    assert_no_room(&error);
                    refused.push((place, deliveries));
                }
                answer => assert_eq!(answers(answer), [(RecipientStatus::Ok, 0); EACH]),
            }
        }
    }
    assert!(refused.is_empty(), "it did not fit in the end");
    here.stop().await;
    here.restart().await;
    for to in &mut absent {
        let waiting = to.again(&here.address()).await.waiting;
        assert_eq!(waiting, (SENDS * EACH) as u64);
        let mut seen = BTreeSet::new();
        for _ in 0..waiting {
            let (number, text) = to.socket.delivered().await;
            assert!(seen.insert(text.clone()), "{text} came twice");
            to.socket.acknowledge(number).await;
        }
    }
}

fn assert_no_room(answer: &Say) {
    match answer {
        Say::Error(error) => {
            assert_eq!(error.code(), ErrorCode::NoRoom);
            assert!(error.retry_after_ms > 0 && !error.closing);
        }
        other => panic!("it was taken: {other:?}"),
    }
}
