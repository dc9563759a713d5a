//! Closed segments are made fewer, sorted, and free of what is gone.
//!
//! The order of the steps is what makes a crash at any of them harmless:
//!
//! 1. What is gone in segments that stay is punched out and synced: the marks that say so may go.
//! 2. What still waits in the others is written into a new segment, synced, named.
//! 3. The others go: those without marks first, then journals from the oldest on, each durably
//!    before the next. A mark never stands in an older segment than what it is about.
//!
//! Until step 3 is through, an envelope may lie in two segments; the younger one counts.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use kinline_protocol::ids::MailboxId;
use tokio_util::sync::CancellationToken;

use super::index::Move;
use super::scan::{PAGE_SLOTS, read_slots};
use super::segment::{Kind, SegmentFile, is_no_room};
use super::slot::{self, Place, SLOT_BYTES, Slot};
use super::state::{Segment, State};
use crate::clock::Clock;
use crate::files::blur_folder;
use crate::keys::AtRest;
use crate::sync::lock;

/// Slots of a segment, by and large: 64 MiB.
pub(crate) const SEGMENT_SLOTS: u32 = 60_000;

/// What the spool's threads share.
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) keys: AtRest,
    pub(super) clock: Clock,
    pub(super) state: Mutex<State>,
    pub(super) failed: CancellationToken,
    /// Held while the folder is synced.
    pub(super) syncing: Mutex<()>,
}

impl Shared {
    /// Whether anything may still be made durable: after a failure no thread goes on.
    pub(super) fn may_sync(&self) -> io::Result<()> {
        if self.failed.is_cancelled() {
            return Err(io::Error::other("something failed before"));
        }
        Ok(())
    }

    /// Makes names that came and went durable. One thread at a time: one that began before another's
    /// failure was known would be told that all is well.
    pub(super) fn sync_folder(&self) -> io::Result<()> {
        let _alone = lock(&self.syncing);
        self.may_sync()?;
        let synced = File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(io::Error::other);
        if let Err(error) = &synced {
            self.fail(error);
        }
        synced
    }

    /// After a failed write or sync nobody knows what the disk has: nothing more is acknowledged.
    pub(super) fn fail(&self, error: &io::Error) {
        if !self.failed.is_cancelled() {
            tracing::error!(%error, "the spool failed: nothing more is acknowledged");
        }
        self.failed.cancel();
    }
}

/// The thread that tidies, one number after the other.
pub(super) struct Tidier {
    work: Option<Sender<u32>>,
    done: Receiver<bool>,
    is_busy: bool,
    /// Whether it found no room the last time.
    found_no_room: bool,
    thread: Option<JoinHandle<()>>,
}

impl Tidier {
    /// Starts the thread.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (work, numbers) = channel();
        let (finished, done) = channel();
        let thread = Builder::new().name("spool-tidy".into()).spawn(move || {
            let guard = Guard(&shared);
            for id in numbers {
                let tidied = tidy(&shared, id).unwrap_or_else(|error| {
                    shared.fail(&error);
                    true
                });
                if finished.send(tidied).is_err() {
                    break;
                }
            }
            std::mem::forget(guard);
        })?;
        Ok(Self {
            work: Some(work),
            done,
            is_busy: false,
            found_no_room: false,
            thread: Some(thread),
        })
    }

    /// Whether it has not come to an end yet.
    pub(super) fn is_busy(&mut self) -> bool {
        if self.is_busy {
            let done = self.done.try_recv();
            self.is_busy = done == Err(TryRecvError::Empty);
            self.found_no_room = done == Ok(false);
        }
        self.is_busy
    }

    /// Whether it found no room the last time; once.
    pub(super) fn found_no_room(&mut self) -> bool {
        !self.is_busy() && std::mem::take(&mut self.found_no_room)
    }

    /// Tidies what is below `id`, which is the number of the new segment. Not while it is busy.
    pub(super) fn begin(&mut self, id: u32) {
        let begun = self.work.as_ref().map(|work| work.send(id));
        self.is_busy = matches!(begun, Some(Ok(())));
    }

    /// Waits until it has come to an end.
    pub(super) fn wait(&mut self) {
        if std::mem::take(&mut self.is_busy) {
            // Gone: then it is at its end, too.
            self.found_no_room = self.done.recv() == Ok(false);
        }
    }

    /// Waits, and ends the thread.
    pub(super) fn end(&mut self) {
        self.wait();
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Nobody goes on as if a thread were there that has died.
pub(super) struct Guard<'a>(pub(super) &'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.fail(&io::Error::other("a thread ended early"));
    }
}

/// A segment that is to go.
struct Victim {
    file: Arc<SegmentFile>,
    slots: u32,
    is_tidy: bool,
}

/// An envelope that is to be written again.
struct Waits {
    /// The permuted mailbox id: what it is sorted by.
    key: [u8; 16],
    order: u64,
    from: Place,
}

/// Tidies the segments below `id`, which is the number of the new one. `false` when there was no
/// room for that; what could be given back without room was.
pub(super) fn tidy(shared: &Shared, id: u32) -> io::Result<bool> {
    let victims = choose(&lock(&shared.state), id);
    match attempt(shared, id, &victims) {
        Err(error) if is_no_room(&error) => {}
        done => return done.map(|()| true),
    }
    match punch(shared, id, &[]) {
        // Nothing that is gone lies anywhere below: whatever has nothing else may go.
        Ok(()) => remove(shared, &victims)?,
        Err(error) if is_no_room(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(false)
}

fn attempt(shared: &Shared, id: u32, victims: &[Victim]) -> io::Result<()> {
    punch(shared, id, victims)?;
    let waiting = collect(shared, victims);
    if !waiting.is_empty() {
        let moves = write(shared, id, victims, &waiting)?;
        install(shared, id, &moves);
    }
    forget_damaged(shared, victims);
    remove(shared, victims)?;
    match blur_folder(&shared.folder, shared.clock.day()) {
        Err(error) if is_no_room(&error) => Ok(()),
        blurred => blurred,
    }
}

/// What waited in a victim and was not written again does not open any more.
fn forget_damaged(shared: &Shared, victims: &[Victim]) {
    for victim in victims {
        let mut state = lock(&shared.state);
        let segment = state.segments.get(&victim.file.id);
        if segment.is_some_and(|segment| segment.live > 0) {
            let damaged = state.forget(victim.file.id);
            drop(state);
            tracing::error!(damaged, "stored envelopes are damaged: they are forgotten");
            metrics::counter!("kinline_damaged_total", "table" => "spool")
                .increment(u64::from(damaged));
        }
    }
}

/// Journals; what is mostly gone; and small ones, as long as they are not more than what is
/// written anyway, so that an envelope is written again a few times at most.
fn choose(state: &State, id: u32) -> Vec<Victim> {
    let closed: Vec<_> = state.segments.range(..id).collect();
    let must = |segment: &Segment| {
        !segment.is_tidy || u64::from(segment.live) * 2 < u64::from(segment.slots)
    };
    let mut total = 0;
    let mut chosen: Vec<u32> = Vec::new();
    for (number, segment) in &closed {
        if must(segment) {
            total += segment.live;
            chosen.push(**number);
        }
    }
    let mut small: Vec<_> = closed.iter().filter(|(_, it)| !must(it)).collect();
    small.sort_unstable_by_key(|(_, segment)| segment.live);
    for (number, segment) in small {
        if segment.live > total || total + segment.live > SEGMENT_SLOTS {
            break;
        }
        total += segment.live;
        chosen.push(**number);
    }
    let victim = |(_, segment): &(&u32, &Segment)| Victim {
        file: Arc::clone(&segment.file),
        slots: segment.slots,
        is_tidy: segment.is_tidy,
    };
    closed
        .iter()
        .filter(|(number, _)| chosen.contains(number))
        .map(victim)
        .collect()
}

/// Punches out whatever is gone in segments below `id`, and syncs.
pub(super) fn punch_below(shared: &Shared, id: u32) -> io::Result<()> {
    punch(shared, id, &[])
}

/// Step 1, for segments below `id` that are not `victims`.
fn punch(shared: &Shared, id: u32, victims: &[Victim]) -> io::Result<()> {
    let mut work = Vec::new();
    for (number, segment) in lock(&shared.state).segments.range_mut(..id) {
        let stays = victims.iter().all(|victim| victim.file.id != *number);
        if stays && !segment.dead.is_empty() {
            let mut dead = std::mem::take(&mut segment.dead);
            dead.sort_unstable();
            work.push((Arc::clone(&segment.file), dead));
        }
    }
    let mut result = Ok(());
    for (file, dead) in work {
        if result.is_ok() {
            result = punch_file(shared, &file, &dead);
        }
        let mut state = lock(&shared.state);
        let Some(segment) = state.segments.get_mut(&file.id) else {
            continue;
        };
        if result.is_ok() {
            segment.holes += dead.iter().map(|(_, count)| count).sum::<u32>();
        } else {
            segment.dead.extend(dead);
        }
    }
    result
}

fn punch_file(shared: &Shared, file: &SegmentFile, dead: &[(u32, u32)]) -> io::Result<()> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (slot, count) in dead {
        match runs.last_mut() {
            Some((first, length)) if *first + *length == *slot => *length += count,
            _ => runs.push((*slot, *count)),
        }
    }
    for (slot, count) in runs {
        file.punch(slot, count)?;
    }
    shared.may_sync()?;
    file.sync()?;
    file.blur(shared.clock.day())
}

/// Everything in the victims that still waits, sorted.
fn collect(shared: &Shared, victims: &[Victim]) -> Vec<Waits> {
    let mut waiting = Vec::new();
    for victim in victims {
        read_slots(&shared.keys, &victim.file, victim.slots, |slot, content| {
            let Ok(Slot::Waiting(it)) = content else {
                return;
            };
            let from = Place {
                segment: victim.file.id,
                slot,
            };
            if lock(&shared.state).index.is_at(&it.mailbox, it.order, from) {
                waiting.push(Waits {
                    key: shared.keys.envelope.permute(it.mailbox.as_bytes()),
                    order: it.order,
                    from,
                });
            }
        });
    }
    waiting.sort_unstable_by_key(|it| (it.key, it.order));
    waiting
}

/// Step 2. Returns where each mailbox's envelopes lie now.
fn write(
    shared: &Shared,
    id: u32,
    victims: &[Victim],
    waiting: &[Waits],
) -> io::Result<Vec<(MailboxId, Vec<Move>)>> {
    let mut file = SegmentFile::create(&shared.folder, id, Kind::Unfinished)?;
    let written = write_slots(shared, &file, victims, waiting);
    let (moves, slots) = match written {
        Ok(written) => written,
        Err(error) => {
            file.remove()?;
            return Err(error);
        }
    };
    shared.may_sync()?;
    file.sync()?;
    file.blur(shared.clock.day())?;
    file.finish()?;
    shared.sync_folder()?;
    let mut segment = Segment::new(Arc::new(file), true);
    segment.slots = slots;
    lock(&shared.state).segments.insert(id, segment);
    Ok(moves)
}

type Written = (Vec<(MailboxId, Vec<Move>)>, u32);

fn write_slots(
    shared: &Shared,
    file: &SegmentFile,
    victims: &[Victim],
    waiting: &[Waits],
) -> io::Result<Written> {
    let mut moves: Vec<(MailboxId, Vec<Move>)> = Vec::new();
    let mut page = Vec::with_capacity(SLOT_BYTES * PAGE_SLOTS as usize);
    let (mut first, mut next) = (0, 0);
    for waits in waiting {
        let from = victims.iter().find(|it| it.file.id == waits.from.segment);
        let Some(from) = from else { continue };
        let Ok(bytes) = from.file.read(waits.from.slot, 1) else {
            continue; // as if it did not open
        };
        let Ok(Slot::Waiting(it)) = slot::open(&shared.keys, waits.from, &bytes) else {
            continue; // damaged since it was looked at
        };
        let place = Place {
            segment: file.id,
            slot: next,
        };
        slot::push_waiting(&mut page, &shared.keys, place, &it).map_err(io::Error::other)?;
        let step = Move {
            order: it.order,
            from: waits.from,
            to: next,
        };
        match moves.last_mut() {
            Some((mailbox, steps)) if *mailbox == it.mailbox => steps.push(step),
            _ => moves.push((it.mailbox, vec![step])),
        }
        next += 1;
        if next - first == PAGE_SLOTS {
            file.write(first, &page)?;
            page.clear();
            first = next;
        }
    }
    file.write(first, &page)?;
    Ok((moves, next))
}

fn install(shared: &Shared, id: u32, moves: &[(MailboxId, Vec<Move>)]) {
    for (mailbox, steps) in moves {
        lock(&shared.state).relocate(mailbox, id, steps);
    }
}

/// Step 3, for those in which nothing waits. A journal stays as long as an older one does.
fn remove(shared: &Shared, victims: &[Victim]) -> io::Result<()> {
    let take = |victim: &Victim| -> io::Result<bool> {
        let mut state = lock(&shared.state);
        let number = victim.file.id;
        if shared.failed.is_cancelled() || state.segments.get(&number).is_some_and(|it| it.live > 0)
        {
            return Ok(false);
        }
        state.segments.remove(&number);
        drop(state);
        victim.file.remove()?;
        Ok(true)
    };
    for victim in victims.iter().filter(|victim| victim.is_tidy) {
        take(victim)?;
    }
    shared.sync_folder()?;
    for victim in victims.iter().filter(|victim| !victim.is_tidy) {
        if !take(victim)? {
            return Ok(());
        }
        shared.sync_folder()?;
    }
    Ok(())
}
