//! The queue against a disk that is a map and a writer that is a list, killed at any moment.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kinline_protocol::ids::MessageId;
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::test_runner::TestCaseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Acceptance, Outcome, Queue, Take};
use crate::mailbox::Inbox;
use crate::mailbox::hold::HeldPlace;
use crate::mailbox::waiter::Waiter;
use crate::storage::StoredEnvelope;

const FULL_AT: usize = 40;

fn id(number: u32) -> MessageId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    MessageId::new(bytes)
}

fn number(id: MessageId) -> u32 {
    u32::from_be_bytes(id.as_bytes()[..4].try_into().unwrap())
}

fn accept(queue: &mut Queue, message: u32) -> (Acceptance, oneshot::Receiver<Outcome>) {
    let (waiter, outcome) = oneshot::channel();
    let waiter = Waiter::Part(waiter);
    (
        queue.accept(id(message), Bytes::new(), || waiter, None),
        outcome,
    )
}

fn attach(queue: &mut Queue, connection: u64, window: u32) {
    queue.attach(connection, window, Arc::new(Inbox::default()));
}

fn deliver(queue: &mut Queue, connection: u64) -> Vec<(u64, u32)> {
    match queue.take(connection, 100) {
        Take::Deliver(page) => page.iter().map(|d| (d.number, number(d.message))).collect(),
        Take::Nothing => Vec::new(),
        Take::Read { .. } => panic!("nothing is on disk"),
    }
}

#[test]
fn an_acknowledged_envelope_is_never_written() {
    let mut queue = Queue::new(Vec::new(), FULL_AT);
    attach(&mut queue, 1, 10);
    let (accepted, mut outcome) = accept(&mut queue, 7);
    assert_eq!(accepted, Acceptance::New(1));
    assert_eq!(deliver(&mut queue, 1), [(1, 7)]);
    assert!(outcome.try_recv().is_err(), "not safe anywhere yet");
    assert_eq!(queue.acknowledge(1, 1), Ok(None), "nothing to delete");
    assert_eq!(outcome.try_recv(), Ok(Outcome::Stored));
    assert!(queue.submit_held(u64::MAX).is_empty());
}

#[test]
fn at_rest_nothing_is_kept_but_what_waits() {
    let mut queue = Queue::new(Vec::new(), FULL_AT);
    attach(&mut queue, 1, 10);
    for message in 1..=9 {
        assert_eq!(
            accept(&mut queue, message).0,
            Acceptance::New(message.into())
        );
    }
    assert_eq!(deliver(&mut queue, 1).len(), 9);
    assert_eq!(queue.acknowledge(1, 8), Ok(None));
    assert_eq!(accept(&mut queue, 8).0, Acceptance::Known);
    queue.rest();
    assert!(queue.ids.capacity() < 8 && queue.live.capacity() < 8);
    assert_eq!(accept(&mut queue, 9).0, Acceptance::Known, "it still waits");
    assert_eq!(accept(&mut queue, 8).0, Acceptance::New(10));
}

#[test]
fn what_is_new_is_not_written_for_what_was_held_before_it() {
    let mut queue = Queue::new(Vec::new(), FULL_AT);
    attach(&mut queue, 1, 8);
    let begin = Instant::now();
    let at = |ms| begin + Duration::from_millis(ms);
    let held = |queue: &mut Queue, message, ms| {
        let (Acceptance::New(order), _) = accept(queue, message) else {
            panic!("it is new");
        };
        queue.hold(order, at(ms), HeldPlace::default());
        let _ = deliver(queue, 1);
        order
    };
    assert_eq!(held(&mut queue, 1, 0), 1);
    assert_eq!(queue.acknowledge(1, 1), Ok(None));
    assert_eq!(queue.held_since(), None);
    // Empty: orders begin at one again.
    assert_eq!(held(&mut queue, 2, 200), 1);
    assert_eq!(held(&mut queue, 3, 300), 2);
    assert_eq!(queue.held_by(at(0)), 0);
    assert_eq!(queue.held_by(at(200)), 1);
    assert_eq!(queue.submit_held(1).len(), 1);
    assert_eq!(queue.held_since(), Some(at(300)));
    assert_eq!(queue.held_by(at(300)), 2);
}

#[test]
fn the_window_holds_back_and_an_acknowledgement_opens_it() {
    let mut queue = Queue::new(Vec::new(), FULL_AT);
    attach(&mut queue, 1, 2);
    for message in 0..5 {
        accept(&mut queue, message);
    }
    assert_eq!(deliver(&mut queue, 1), [(1, 0), (2, 1)]);
    assert_eq!(deliver(&mut queue, 1), []);
    queue.acknowledge(1, 1).unwrap();
    assert_eq!(deliver(&mut queue, 1), [(3, 2)]);
    assert!(queue.acknowledge(1, 4).is_err(), "4 was not delivered");
}

#[test]
fn what_waits_behind_a_slot_is_not_delivered_and_a_lost_slot_leaves_no_trace() {
    let mut queue = Queue::new(Vec::new(), FULL_AT);
    attach(&mut queue, 1, 10);
    let (_, mut outcome) = accept(&mut queue, 1);
    assert_eq!(queue.submit_gated(u64::MAX).len(), 1);
    accept(&mut queue, 2);
    assert_eq!(deliver(&mut queue, 1), [], "nothing overtakes it either");
    queue.settle(&[1], Outcome::Lost);
    assert_eq!(outcome.try_recv(), Ok(Outcome::Lost));
    assert_eq!(deliver(&mut queue, 1), [(1, 2)]);
    assert_eq!(
        accept(&mut queue, 1).0,
        Acceptance::New(3),
        "it may come again"
    );
}

#[test]
fn an_ended_connection_gets_nothing_more_and_is_no_longer_the_attached_one() {
    let mut queue = Queue::new(Vec::new(), FULL_AT);
    assert!(queue.end().is_none());
    attach(&mut queue, 1, 10);
    assert!(queue.is_attached_by(1) && !queue.is_attached_by(2));
    attach(&mut queue, 2, 10);
    assert!(queue.is_attached_by(2) && !queue.is_attached_by(1));
    accept(&mut queue, 7);
    assert!(queue.end().is_some());
    assert!(!queue.is_attached_by(2) && !queue.is_attached());
    assert_eq!(deliver(&mut queue, 2), []);
    assert_eq!(queue.acknowledge(2, 1), Ok(None));
    assert!(!queue.detach(2));
    // What was held is for the disk, and for the next one.
    assert_eq!(queue.submit_held(u64::MAX).len(), 1);
    queue.settle(&[1], Outcome::Stored);
    attach(&mut queue, 3, 10);
    assert!(matches!(queue.take(3, 100), Take::Read { through: 1, .. }));
}

#[test]
fn full_counts_what_is_unacknowledged() {
    let mut queue = Queue::new(Vec::new(), 2);
    attach(&mut queue, 1, 10);
    accept(&mut queue, 1);
    accept(&mut queue, 2);
    deliver(&mut queue, 1);
    assert_eq!(accept(&mut queue, 3).0, Acceptance::Full);
    queue.acknowledge(1, 1).unwrap();
    assert_eq!(accept(&mut queue, 3).0, Acceptance::New(3));
}

#[test]
fn orders_start_again_only_when_nothing_is_left_anywhere() {
    let mut queue = Queue::new(Vec::new(), FULL_AT);
    accept(&mut queue, 1);
    queue.submit_held(u64::MAX);
    queue.settle(&[1], Outcome::Stored);
    attach(&mut queue, 1, 10);
    let Take::Read {
        after,
        through,
        limit,
    } = queue.take(1, 10)
    else {
        panic!("it is on disk")
    };
    assert_eq!((after, through), (0, 1));
    queue.read(1, through, limit, vec![stored(1, 1)]);
    assert_eq!(queue.acknowledge(1, 1), Ok(Some(1)));
    queue.deletion(true);
    assert_eq!(
        accept(&mut queue, 2).0,
        Acceptance::New(2),
        "the deletion is not settled"
    );
    queue.deletion(false);
    deliver(&mut queue, 1);
    queue.acknowledge(1, 2).unwrap();
    assert_eq!(accept(&mut queue, 3).0, Acceptance::New(1));
}

fn damaged(order: u64, message: u32) -> StoredEnvelope {
    StoredEnvelope {
        body: None,
        ..stored(order, message)
    }
}

fn stored(order: u64, message: u32) -> StoredEnvelope {
    StoredEnvelope {
        order,
        message: id(message),
        body: Some(Bytes::new()),
    }
}

#[test]
fn what_was_damaged_on_disk_is_passed_over_and_what_lies_behind_it_is_not() {
    let live = (1..=5).map(|order| (order, id(u32::try_from(order).unwrap())));
    let mut queue = Queue::new(live.collect(), 100);
    queue.attach(1, 16, Arc::default());
    // A whole page that is damaged, one that is in part, and one that is short.
    let pages = [
        (vec![damaged(1, 1), damaged(2, 2)], 0, (2, 2)),
        (vec![damaged(3, 3), stored(4, 4)], 1, (4, 2)),
        (vec![stored(5, 5)], 1, (5, 2)),
    ];
    for (page, count, (last, limit)) in pages {
        assert!(matches!(queue.take(1, limit), Take::Read { .. }));
        let delivered = queue.read(1, 5, limit, page);
        assert_eq!(delivered.len(), count, "up to {last}");
    }
    assert_eq!(queue.take(1, 2), Take::Nothing);
    // They go from the disk with the others.
    assert_eq!(queue.acknowledge(1, 2), Ok(Some(5)));
    assert_eq!(queue.waiting(), 0);
}

/// What may happen to a mailbox.
#[derive(Debug, Clone)]
enum Step {
    Accept,
    AcceptGated { lost: bool },
    Repeat(u32),
    Hold,
    Write,
    Fail,
    Attach { window: u32 },
    Detach,
    Take { page: u32 },
    Acknowledge { back: u32 },
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Accept),
        1 => any::<bool>().prop_map(|lost| Step::AcceptGated { lost }),
        1 => any::<u32>().prop_map(Step::Repeat),
        2 => Just(Step::Hold),
        4 => Just(Step::Write),
        1 => Just(Step::Fail),
        2 => (1_u32..5).prop_map(|window| Step::Attach { window }),
        1 => Just(Step::Detach),
        5 => (1_u32..4).prop_map(|page| Step::Take { page }),
        4 => (0_u32..3).prop_map(|back| Step::Acknowledge { back }),
        1 => Just(Step::Kill),
    ]
}

enum Job {
    Insert {
        rows: Vec<(u64, u32)>,
        outcome: Outcome,
    },
    Delete {
        through: u64,
    },
}

/// A mailbox, its disk, its writer, one sender and one device.
struct World {
    queue: Queue,
    disk: BTreeMap<u64, u32>,
    jobs: VecDeque<Job>,
    connection: u64,
    attached: bool,
    next_message: u32,
    waiting: Vec<(u32, oneshot::Receiver<Outcome>)>,
    /// Messages whose sender was told "ok".
    safe: Vec<u32>,
    /// Messages the device acknowledged.
    acknowledged: Vec<u32>,
    /// The same, since the relay was last started: these never come again.
    done: Vec<u32>,
    /// Numbers and messages delivered on this connection.
    delivered: Vec<(u64, u32)>,
}

impl World {
    fn new() -> Self {
        Self {
            queue: Queue::new(Vec::new(), FULL_AT),
            disk: BTreeMap::new(),
            jobs: VecDeque::new(),
            connection: 0,
            attached: false,
            next_message: 0,
            waiting: Vec::new(),
            safe: Vec::new(),
            acknowledged: Vec::new(),
            done: Vec::new(),
            delivered: Vec::new(),
        }
    }

    fn accept(&mut self) -> bool {
        self.next_message += 1;
        let (accepted, outcome) = accept(&mut self.queue, self.next_message);
        self.waiting.push((self.next_message, outcome));
        matches!(accepted, Acceptance::New(_))
    }

    fn submit(&mut self, gated: bool, outcome: Outcome) {
        let rows = if gated {
            self.queue.submit_gated(u64::MAX)
        } else {
            self.queue.submit_held(u64::MAX)
        };
        let rows: Vec<_> = rows
            .iter()
            .map(|(order, message, _)| (*order, number(*message)))
            .collect();
        if !rows.is_empty() {
            self.jobs.push_back(Job::Insert { rows, outcome });
        }
    }

    fn write(&mut self, fail: bool) {
        match self.jobs.pop_front() {
            None => {}
            Some(Job::Insert { rows, outcome }) => {
                let outcome = if fail { Outcome::NoRoom } else { outcome };
                if outcome == Outcome::Stored {
                    for (order, message) in &rows {
                        assert!(
                            self.disk.insert(*order, *message).is_none(),
                            "order {order} given twice"
                        );
                    }
                }
                let orders: Vec<_> = rows.iter().map(|(order, _)| *order).collect();
                self.queue.settle(&orders, outcome);
            }
            Some(Job::Delete { through }) => {
                self.disk.retain(|order, _| *order > through);
                self.queue.deletion(false);
            }
        }
    }

    fn hear_outcomes(&mut self) {
        let safe = &mut self.safe;
        self.waiting
            .retain_mut(|(message, outcome)| match outcome.try_recv() {
                Ok(Outcome::Stored) => {
                    safe.push(*message);
                    false
                }
                Ok(_) | Err(oneshot::error::TryRecvError::Closed) => false,
                Err(oneshot::error::TryRecvError::Empty) => true,
            });
    }

    fn take(&mut self, page: u32) -> Result<(), TestCaseError> {
        let page = match self.queue.take(self.connection, page) {
            Take::Nothing => return Ok(()),
            Take::Deliver(page) => page,
            Take::Read {
                after,
                through,
                limit,
            } => {
                let rows = self.disk.range(after + 1..=through).take(limit as usize);
                let rows = rows
                    .map(|(order, message)| stored(*order, *message))
                    .collect();
                self.queue.read(self.connection, through, limit, rows)
            }
        };
        for delivered in page {
            let (last_number, last_message) = self.delivered.last().copied().unwrap_or((0, 0));
            prop_assert_eq!(delivered.number, last_number + 1);
            let message = number(delivered.message);
            // Messages are numbered as they were accepted, and none is accepted again here.
            prop_assert!(message > last_message, "{message} after {last_message}");
            prop_assert!(!self.done.contains(&message), "{message} comes again");
            self.delivered.push((delivered.number, message));
        }
        Ok(())
    }

    fn acknowledge(&mut self, back: u32) {
        let Some((last, _)) = self.delivered.last() else {
            return;
        };
        let through = last.saturating_sub(u64::from(back));
        if !self.attached || through == 0 {
            return;
        }
        let through_here = self
            .delivered
            .iter()
            .filter(|(number, _)| *number <= through);
        let messages: Vec<_> = through_here.map(|(_, message)| *message).collect();
        self.acknowledged.extend(&messages);
        self.done.extend(messages);
        if let Some(through) = self.queue.acknowledge(self.connection, through).unwrap() {
            self.queue.deletion(true);
            self.jobs.push_back(Job::Delete { through });
        }
    }

    fn kill(&mut self) {
        self.jobs.clear();
        self.waiting.clear();
        self.done.clear();
        self.delivered.clear();
        self.attached = false;
        let stored = self
            .disk
            .iter()
            .map(|(order, message)| (*order, id(*message)))
            .collect();
        self.queue = Queue::new(stored, FULL_AT);
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Accept => {
                if self.accept() && !self.attached {
                    self.submit(false, Outcome::Stored);
                }
            }
            Step::AcceptGated { lost } => {
                self.submit(false, Outcome::Stored);
                if self.accept() {
                    self.submit(true, if lost { Outcome::Lost } else { Outcome::Stored });
                }
            }
            Step::Repeat(which) if self.next_message > 0 => {
                let message = which % self.next_message + 1;
                if self.disk.values().any(|stored| *stored == message)
                    && !self.acknowledged.contains(&message)
                {
                    prop_assert_eq!(accept(&mut self.queue, message).0, Acceptance::Known);
                }
            }
            Step::Repeat(_) => {}
            Step::Hold => self.submit(false, Outcome::Stored),
            Step::Write => self.write(false),
            Step::Fail => self.write(true),
            Step::Attach { window } => {
                self.connection += 1;
                self.attached = true;
                self.delivered.clear();
                attach(&mut self.queue, self.connection, window);
            }
            Step::Detach => {
                if self.attached && self.queue.detach(self.connection) {
                    self.attached = false;
                    self.submit(false, Outcome::Stored);
                }
            }
            Step::Take { page } => self.take(page)?,
            Step::Acknowledge { back } => self.acknowledge(back),
            Step::Kill => self.kill(),
        }
        self.hear_outcomes();
        Ok(())
    }

    /// What was told to be safe is on the disk or with the device.
    fn check(&self) -> Result<(), TestCaseError> {
        for message in &self.safe {
            let kept = self.acknowledged.contains(message)
                || self.disk.values().any(|stored| stored == message);
            prop_assert!(
                kept,
                "message {message} was acknowledged to its sender and is lost"
            );
        }
        let stored: Vec<_> = self.disk.values().copied().collect();
        prop_assert!(stored.is_sorted(), "the disk is out of order: {stored:?}");
        Ok(())
    }
}

proptest! {
    #[test]
    fn nothing_acknowledged_is_lost_and_order_is_kept(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step)?;
            world.check()?;
        }
        // At the end the device comes and drains everything.
        while !world.jobs.is_empty() {
            world.write(false);
        }
        world.step(&Step::Kill)?;
        world.step(&Step::Attach { window: 3 })?;
        for _ in 0..200 {
            world.step(&Step::Take { page: 2 })?;
            world.step(&Step::Acknowledge { back: 0 })?;
            world.step(&Step::Write)?;
            world.check()?;
        }
        prop_assert!(world.disk.is_empty(), "left behind: {:?}", world.disk);
    }
}
