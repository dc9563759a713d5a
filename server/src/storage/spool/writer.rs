//! The one thread that writes: takes what has gathered while it was busy, appends it to the
//! journal with one sync, and then says so.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits;

use super::handle::{Job, SpoolOptions};
use super::segment::{Kind, SegmentFile, is_no_room};
use super::slot::{self, MARKS_MAX, Place, SLOT_BYTES, Waiting};
use super::state::Segment;
use super::tidy::{Shared, Tidier, punch_below};
use crate::faults::{Fault, planted};
use crate::storage::{Accepted, Done, NewEnvelope, WriteError};
use crate::sync::lock;

/// How long tidying is left alone when there was no room for it.
const PAUSE: Duration = Duration::from_secs(10);

/// A deletion, kept when there is no room even for saying that something is gone.
struct Delete {
    mailbox: MailboxId,
    through: u64,
    done: Done<()>,
}

/// What is written with one sync.
#[derive(Default)]
struct Group {
    envelopes: Vec<Option<NewEnvelope>>,
    /// Where in `envelopes` those of a mailbox are.
    places: HashMap<MailboxId, Vec<usize>>,
    accepted: Vec<Done<Accepted>>,
    deletes: Vec<Delete>,
}

impl Group {
    /// An envelope that is acknowledged in the group in which it would have been written is never
    /// written.
    fn delete(&mut self, delete: Delete) {
        for place in self.places.get(&delete.mailbox).into_iter().flatten() {
            if let Some(envelope) = self.envelopes.get_mut(*place) {
                envelope.take_if(|it| it.order <= delete.through);
            }
        }
        self.deletes.push(delete);
    }

    fn accept(&mut self, envelopes: Vec<NewEnvelope>, done: Done<Accepted>) {
        for envelope in envelopes {
            let places = self.places.entry(envelope.mailbox).or_default();
            places.push(self.envelopes.len());
            self.envelopes.push(Some(envelope));
        }
        self.accepted.push(done);
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    options: SpoolOptions,
    /// The number of the segment that grows; it has at least one slot.
    journal: Option<u32>,
    /// The next segment's number.
    next: u32,
    tidier: Tidier,
    /// Whether tidying would give something back, though there is no journal.
    is_untidy: bool,
    /// When to tidy again after there was no room for it.
    not_before: Option<Instant>,
    /// Whether the last that was tried found no room.
    is_full: bool,
    /// Deletions that found no room; tried again, because they make room.
    deferred: Vec<Delete>,
}

impl Writer {
    pub(super) const fn new(
        shared: Arc<Shared>,
        options: SpoolOptions,
        tidier: Tidier,
        next: u32,
        is_untidy: bool,
    ) -> Self {
        Self {
            shared,
            options,
            journal: None,
            next,
            tidier,
            is_untidy,
            not_before: None,
            is_full: false,
            deferred: Vec::new(),
        }
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let rests = self.journal.is_none() && !self.is_untidy && self.deferred.is_empty();
            let first = if rests {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                jobs.recv_timeout(self.options.rest_after)
            };
            match first {
                Ok(first) => self.take(first, jobs),
                Err(RecvTimeoutError::Timeout) => self.rest(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.tidier.wait();
        self.not_before = None;
        self.rest();
        self.tidier.end();
        let deletes = std::mem::take(&mut self.deferred);
        refuse_deletes(deletes, WriteError::NoRoom);
    }

    /// Writes the first and whatever else is there by now.
    fn take(&mut self, first: Job, jobs: &Receiver<Job>) {
        let mut group = Group::default();
        let mut next = Some(first);
        let mut count = 0_u32;
        while let Some(job) = next {
            count += 1;
            match job {
                Job::Accept {
                    decided,
                    envelopes,
                    done,
                } => {
                    if let Some(decided) = decided {
                        let outcome = decided.try_recv().or_else(|_| {
                            // What was submitted before is not kept waiting for the database.
                            self.commit(std::mem::take(&mut group));
                            decided.recv()
                        });
                        match outcome.unwrap_or(Err(WriteError::Failed)) {
                            Ok(Accepted::Stored) => {}
                            lost => {
                                done(lost);
                                next = jobs.try_recv().ok();
                                continue;
                            }
                        }
                    }
                    group.accept(envelopes, done);
                }
                Job::DeleteThrough {
                    mailbox,
                    through,
                    done,
                } => group.delete(Delete {
                    mailbox,
                    through,
                    done,
                }),
                Job::Expire {
                    today,
                    part,
                    mailboxes,
                    done,
                } => {
                    self.commit(std::mem::take(&mut group));
                    self.expire(today, part, &mailboxes, done);
                }
            }
            next = if group.accepted.len() + group.deletes.len() < self.options.group_max {
                jobs.try_recv().ok()
            } else {
                None
            };
        }
        metrics::histogram!("kinline_group_writes").record(count);
        self.commit(group);
    }

    fn commit(&mut self, mut group: Group) {
        if group.accepted.is_empty() && group.deletes.is_empty() && self.deferred.is_empty() {
            return;
        }
        if self.shared.failed.is_cancelled() {
            return refuse(group, WriteError::Failed);
        }
        group.deletes.append(&mut self.deferred);
        if planted(Fault::AcknowledgeEarly) {
            for done in group.accepted.drain(..) {
                done(Ok(Accepted::Stored));
            }
        }
        let marks = self.marks(&group.deletes);
        let envelopes: Vec<_> = group.envelopes.drain(..).flatten().collect();
        let mut stored = self.append(&envelopes, &marks);
        if matches!(stored, Err(WriteError::NoRoom)) {
            self.no_room(true);
            for done in group.accepted.drain(..) {
                done(Err(WriteError::NoRoom));
            }
            stored = self.append(&[], &marks);
            if matches!(stored, Err(WriteError::NoRoom)) {
                stored = self.delete_in_place(&marks);
                if matches!(stored, Err(WriteError::NoRoom)) {
                    self.deferred = std::mem::take(&mut group.deletes);
                    stored = Ok(());
                }
            }
            self.make_room();
        } else if stored.is_ok() && !envelopes.is_empty() {
            self.no_room(false);
        }
        match stored {
            Ok(()) => {
                for done in group.accepted {
                    done(Ok(Accepted::Stored));
                }
                for delete in group.deletes {
                    (delete.done)(Ok(()));
                }
            }
            Err(error) => refuse(group, error),
        }
        let slots = |id| {
            lock(&self.shared.state)
                .segments
                .get(&id)
                .map(|it| it.slots)
        };
        if self.journal.and_then(slots) >= Some(self.options.segment_slots) {
            self.tidy();
        }
    }

    /// What has to be said of deletions: only what is on disk needs a mark.
    fn marks(&self, deletes: &[Delete]) -> Vec<(MailboxId, u64)> {
        let state = lock(&self.shared.state);
        let of_stored = |it: &&Delete| state.index.has(&it.mailbox, it.through);
        let marks = deletes.iter().filter(of_stored);
        marks.map(|it| (it.mailbox, it.through)).collect()
    }

    /// Appends to the journal, syncs, and then changes the index.
    fn append(
        &mut self,
        envelopes: &[NewEnvelope],
        marks: &[(MailboxId, u64)],
    ) -> Result<(), WriteError> {
        if envelopes.is_empty() && marks.is_empty() {
            return Ok(());
        }
        if !envelopes.is_empty() && !self.has_budget(envelopes.len()) {
            return Err(WriteError::NoRoom);
        }
        let written = self.write(envelopes, marks);
        written.map_err(|error| {
            if is_no_room(&error) {
                return WriteError::NoRoom;
            }
            self.shared.fail(&error);
            WriteError::Failed
        })
    }

    fn has_budget(&self, envelopes: usize) -> bool {
        if self.options.bytes_max == 0 {
            return true;
        }
        let used = lock(&self.shared.state).slots() + envelopes as u64;
        used * SLOT_BYTES as u64 <= self.options.bytes_max
    }

    fn write(&mut self, envelopes: &[NewEnvelope], marks: &[(MailboxId, u64)]) -> io::Result<()> {
        let (id, file, first) = self.journal()?;
        let keys = &self.shared.keys;
        let expires = self
            .shared
            .clock
            .day()
            .plus(limits::ENVELOPE_RETENTION_DAYS);
        let mut bytes = Vec::with_capacity((envelopes.len() + 1) * SLOT_BYTES);
        let mut slot = first;
        // What was deleted first: an envelope of this group that a deletion is about is not in it.
        for marks in marks.chunks(MARKS_MAX) {
            let place = Place { segment: id, slot };
            slot::push_marks(&mut bytes, keys, place, marks).map_err(io::Error::other)?;
            slot += 1;
        }
        let behind = slot;
        for envelope in envelopes {
            if envelope.body.len() != limits::ENVELOPE_BYTES {
                return Err(io::Error::other("an envelope of a wrong size"));
            }
            let waiting = Waiting {
                mailbox: envelope.mailbox,
                order: envelope.order,
                message: envelope.message,
                expires,
                body: envelope.body.clone(),
            };
            let place = Place { segment: id, slot };
            slot::push_waiting(&mut bytes, keys, place, &waiting).map_err(io::Error::other)?;
            slot += 1;
        }
        if let Err(error) = file.write(first, &bytes) {
            // Of what was refused nothing may come back after a crash.
            file.truncate(first)?;
            return Err(error);
        }
        file.sync()?;
        metrics::counter!("kinline_envelopes_written_total").increment(envelopes.len() as u64);
        let mut state = lock(&self.shared.state);
        if let Some(journal) = state.segments.get_mut(&id) {
            journal.slots = slot;
        }
        for (mailbox, through) in marks {
            state.cut(mailbox, *through);
        }
        for (slot, envelope) in (behind..).zip(envelopes) {
            let place = Place { segment: id, slot };
            state.put(envelope.mailbox, envelope.order, place, expires);
        }
        Ok(())
    }

    /// The journal and where it ends; a new one if there is none.
    fn journal(&mut self) -> io::Result<(u32, Arc<SegmentFile>, u32)> {
        if let Some(id) = self.journal
            && let Some(segment) = lock(&self.shared.state).segments.get(&id)
        {
            return Ok((id, Arc::clone(&segment.file), segment.slots));
        }
        let id = self.next;
        let file = Arc::new(SegmentFile::create(&self.shared.folder, id, Kind::Journal)?);
        self.shared.sync_folder()?;
        let segment = Segment::new(Arc::clone(&file), false);
        lock(&self.shared.state).segments.insert(id, segment);
        self.next += 1;
        self.journal = Some(id);
        Ok((id, file, 0))
    }

    /// Where there is no room for a mark, what is gone is punched out where it lies; and all else
    /// that is gone before it, of which there may be older copies.
    fn delete_in_place(&mut self, marks: &[(MailboxId, u64)]) -> Result<(), WriteError> {
        // What is being written again meanwhile would be there again. And it may have had the room.
        self.tidier.wait();
        match self.append(&[], marks) {
            Err(WriteError::NoRoom) => {}
            said => return said,
        }
        match self.punch(marks) {
            Ok(()) => {
                let mut state = lock(&self.shared.state);
                for (mailbox, through) in marks {
                    state.cut_punched(mailbox, *through);
                }
                Ok(())
            }
            Err(error) if is_no_room(&error) => Err(WriteError::NoRoom),
            Err(error) => {
                self.shared.fail(&error);
                Err(WriteError::Failed)
            }
        }
    }

    fn punch(&self, marks: &[(MailboxId, u64)]) -> io::Result<()> {
        punch_below(&self.shared, u32::MAX)?;
        let mut files = BTreeMap::new();
        let mut work = Vec::new();
        {
            let state = lock(&self.shared.state);
            for (mailbox, through) in marks {
                for extent in state.index.below(mailbox, *through) {
                    if let Some(segment) = state.segments.get(&extent.segment) {
                        files.insert(extent.segment, Arc::clone(&segment.file));
                        work.push(extent);
                    }
                }
            }
        }
        for extent in &work {
            if let Some(file) = files.get(&extent.segment) {
                file.punch(extent.slot, extent.count)?;
            }
        }
        files.values().try_for_each(|file| file.sync())
    }

    fn expire(
        &mut self,
        today: Day,
        part: u8,
        mailboxes: &[MailboxId],
        done: Done<Vec<(MailboxId, u64)>>,
    ) {
        if self.shared.failed.is_cancelled() {
            return done(Err(WriteError::Failed));
        }
        let (gone, marks) = {
            let state = lock(&self.shared.state);
            let gone = state.index.expired(part, today);
            let whole = mailboxes.iter().map(|id| (*id, u64::MAX));
            let all = whole.chain(gone.iter().copied());
            let marks: Vec<_> = all
                .filter(|(id, through)| state.index.has(id, *through))
                .collect();
            (gone, marks)
        };
        let mut said = self.append(&[], &marks);
        if matches!(said, Err(WriteError::NoRoom)) {
            said = self.delete_in_place(&marks);
            self.make_room();
        }
        done(said.map(|()| gone));
    }

    /// Nothing to write for a moment: the journal is closed and tidied away.
    fn rest(&mut self) {
        self.commit(Group::default()); // what is deferred
        if self.shared.failed.is_cancelled() {
            self.journal = None;
            self.is_untidy = false;
            refuse_deletes(std::mem::take(&mut self.deferred), WriteError::Failed);
            return;
        }
        if self.journal.is_some() || self.is_untidy {
            self.tidy();
        }
    }

    /// No room: is there anything to give back?
    fn make_room(&mut self) {
        if lock(&self.shared.state).has_dead() {
            self.tidy();
        }
    }

    /// Closes the journal and lets the other thread tidy, unless it does already, or found no room
    /// a moment ago.
    fn tidy(&mut self) {
        if self.tidier.found_no_room() {
            tracing::warn!("no room to tidy the spool up; it goes on as it is");
            self.is_untidy = true;
            self.not_before = Some(Instant::now() + PAUSE);
        }
        let pauses = self.not_before.is_some_and(|then| Instant::now() < then);
        if self.tidier.is_busy() || pauses || self.shared.failed.is_cancelled() {
            return;
        }
        self.journal = None;
        self.is_untidy = false;
        self.tidier.begin(self.next);
        self.next += 1;
    }

    /// Says once that there is no room, and once that there is again.
    fn no_room(&mut self, full: bool) {
        if full {
            metrics::counter!("kinline_no_room_total").increment(1);
        }
        if full && !self.is_full {
            tracing::warn!("no room left on the disk: new envelopes are refused until there is");
        } else if !full && self.is_full {
            tracing::info!("there is room on the disk again");
        }
        self.is_full = full;
    }
}

fn refuse(group: Group, error: WriteError) {
    for done in group.accepted {
        done(Err(error));
    }
    refuse_deletes(group.deletes, error);
}

fn refuse_deletes(deletes: Vec<Delete>, error: WriteError) {
    for delete in deletes {
        (delete.done)(Err(error));
    }
}
