//! Decoys: made, kept alive, replaced when they end.

use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits::MAILBOX_IDLE_DAYS;
use kinline_protocol::primitives::sign::{PublicKey, SecretKey};

use super::habits::Ages;
use crate::random::{self, RandomError};
use crate::relay::Shared;
use crate::storage::{Entry, ListedMailbox, MailboxRow, NewMailbox, RowWrite, Write, reply};
use crate::sync::lock;

/// Ticks of half a minute in a day, over which what is due today is spread.
const TICKS: f64 = 2_880.0;
/// How often on a day the sealed state of a decoy in use is written anew, as a real one's is with each
/// few connections.
const WRITES_A_DAY: f64 = 8.0;

/// The decoys of a relay, as its last sweep found them.
#[derive(Default)]
pub(crate) struct Decoys {
    /// Used today, or due to be: what their state is.
    awake: Vec<ListedMailbox>,
    /// Due today, and after how many further ticks.
    due: Vec<(u32, ListedMailbox)>,
}

/// In 0..1.
pub(super) fn chance() -> Result<f64, RandomError> {
    let [a, b, c, d] = random::bytes::<4>()?;
    Ok(f64::from(u32::from_be_bytes([a, b, c, d])) / 4_294_967_296.0)
}

fn age(expires: Day, today: Day) -> u32 {
    today.plus(MAILBOX_IDLE_DAYS).0.saturating_sub(expires.0)
}

/// A mailbox whose secrets nobody has.
fn fresh(expires: Day) -> Result<NewMailbox, RandomError> {
    let key = || -> Result<PublicKey, RandomError> {
        Ok(SecretKey::from_seed(&random::bytes()?).public())
    };
    let [low, high] = random::bytes::<2>()?;
    Ok(NewMailbox {
        id: MailboxId::new(random::bytes()?),
        row: MailboxRow {
            keys: MailboxKeys {
                authentication: key()?,
                grant: key()?,
                close: key()?,
            },
            generation: u64::from(u16::from_be_bytes([high, low])),
            closed: false,
            decoy: true,
            expires,
        },
    })
}

fn add(decoy: NewMailbox) -> (RowWrite, impl Future<Output = bool>) {
    let (done, opened) = reply();
    let write = RowWrite::OpenMailbox {
        mailbox: decoy,
        entry: Entry::Open,
        done,
    };
    (write, async move { opened.await.is_ok() })
}

/// Brings the number of decoys among `all` up to `count`: how many there are then. Works beside a
/// relay that is running, whose writes `submit` need not be.
pub(crate) async fn make(
    all: &[ListedMailbox],
    today: Day,
    count: usize,
    submit: impl Fn(RowWrite),
) -> usize {
    let mut there = all.iter().filter(|mailbox| mailbox.decoy).count();
    let real = ages(all, today, false);
    while there < count {
        let Ok(decoy) = chance().and_then(|chance| {
            let age = real.draw(chance);
            fresh(Day(today.plus(MAILBOX_IDLE_DAYS).0.saturating_sub(age)))
        }) else {
            break;
        };
        let (write, added) = add(decoy);
        submit(write);
        if !added.await {
            break;
        }
        there += 1;
    }
    there
}

fn ages(all: &[ListedMailbox], today: Day, decoys: bool) -> Ages {
    let these = all.iter().filter(|mailbox| mailbox.decoy == decoys);
    Ages::of(these.map(|mailbox| age(mailbox.expires, today)))
}

/// Decides which decoys are used today; before the retention, which takes those that ended. With
/// `at_once` they are used now, else over the day.
pub(crate) async fn tend(shared: &Shared, at_once: bool) {
    let today = shared.clock.day();
    let all = match shared.storage.mailboxes().await {
        Ok(all) => all,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a read failed");
            return;
        }
    };
    let (real, decoys) = (ages(&all, today, false), ages(&all, today, true));
    let mut next = Decoys::default();
    for decoy in all.into_iter().filter(|mailbox| mailbox.decoy) {
        let (Ok(stays), Ok(when)) = (chance(), chance()) else {
            return;
        };
        if decoy.expires < today {
            // It ends as others do, and somebody new comes.
            if let Ok(decoy) = fresh(today.plus(MAILBOX_IDLE_DAYS)) {
                let (write, added) = add(decoy);
                shared.storage.submit(Write::Row(write));
                added.await;
            }
        } else if age(decoy.expires, today) == 0 {
            next.awake.push(decoy);
        } else if stays >= real.stays(age(decoy.expires, today), &decoys) {
            let tick = if at_once { 0 } else { ticks(when) };
            next.due.push((tick, decoy));
        }
    }
    *lock(&shared.tripwire.decoys) = next;
    if at_once {
        tick(shared);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 2,880"
)]
fn ticks(when: f64) -> u32 {
    (when * TICKS) as u32
}

/// Uses what is due by now. To be called every half minute.
pub(crate) fn tick(shared: &Shared) {
    let today = shared.clock.day();
    let mut decoys = lock(&shared.tripwire.decoys);
    let mut writes = Vec::new();
    for decoy in &mut decoys.awake {
        if chance().is_ok_and(|chance| chance < WRITES_A_DAY / TICKS) {
            decoy.generation = decoy.generation.saturating_add(1);
            writes.push(*decoy);
        }
    }
    for (left, _) in &mut decoys.due {
        *left = left.saturating_sub(1);
    }
    let (now, later) = std::mem::take(&mut decoys.due)
        .into_iter()
        .partition(|(left, _)| *left == 0);
    decoys.due = later;
    let now: Vec<(u32, ListedMailbox)> = now;
    for (_, mut decoy) in now {
        decoy.expires = today.plus(MAILBOX_IDLE_DAYS);
        decoy.generation = decoy.generation.saturating_add(1);
        decoys.awake.push(decoy);
        writes.push(decoy);
    }
    for decoy in writes {
        shared.storage.submit(Write::Row(RowWrite::PutMailbox {
            id: decoy.id,
            generation: decoy.generation,
            closed: false,
            decoy: true,
            expires: decoy.expires,
            done: Box::new(|_| {}),
        }));
    }
}
