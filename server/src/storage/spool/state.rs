//! What the writer, the tidying thread and readers share: index and segments.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;

use super::index::{Extent, Index, Move};
use super::segment::SegmentFile;
use super::slot::Place;

/// A segment as memory knows it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<SegmentFile>,
    /// Slots written.
    pub(super) slots: u32,
    /// Slots of envelopes that wait.
    pub(super) live: u32,
    /// First slot and count of what is gone and was not punched out yet.
    pub(super) dead: Vec<(u32, u32)>,
    /// Slots that were punched out.
    pub(super) holes: u32,
    /// Whether it is sorted and whole. If not, it is written again as soon as may be.
    pub(super) is_tidy: bool,
}

impl Segment {
    pub(super) const fn new(file: Arc<SegmentFile>, is_tidy: bool) -> Self {
        Self {
            file,
            slots: 0,
            live: 0,
            dead: Vec::new(),
            holes: 0,
            is_tidy,
        }
    }
}

/// An envelope to be read: its order, where, and in which file.
pub(super) type Found = (u64, Place, Arc<SegmentFile>);

/// Index and segments.
#[derive(Default)]
pub(super) struct State {
    pub(super) index: Index,
    /// By number; the journal is the last one.
    pub(super) segments: BTreeMap<u32, Segment>,
}

impl State {
    /// An envelope is durable at `place`.
    pub(super) fn put(&mut self, mailbox: MailboxId, order: u64, place: Place, day: Day) {
        let mut gone = Vec::new();
        let extent = Extent::one(order, place, day);
        self.index.put(mailbox, extent, &mut gone);
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live += 1;
        }
        self.bury(&gone, false);
    }

    /// A mailbox's envelopes up to and including `through` are gone, durably.
    pub(super) fn cut(&mut self, mailbox: &MailboxId, through: u64) {
        let mut gone = Vec::new();
        self.index.cut(mailbox, through, &mut gone);
        self.bury(&gone, false);
    }

    /// [`State::cut`] of what was punched out already.
    pub(super) fn cut_punched(&mut self, mailbox: &MailboxId, through: u64) {
        let mut gone = Vec::new();
        self.index.cut(mailbox, through, &mut gone);
        self.bury(&gone, true);
    }

    fn bury(&mut self, gone: &[Extent], punched: bool) {
        for extent in gone {
            if let Some(segment) = self.segments.get_mut(&extent.segment) {
                segment.live = segment.live.saturating_sub(extent.count);
                if punched {
                    segment.holes += extent.count;
                } else {
                    segment.dead.push((extent.slot, extent.count));
                }
            }
        }
    }

    /// Slots on disk that were not punched out.
    pub(super) fn slots(&self) -> u64 {
        let of = |segment: &Segment| u64::from(segment.slots - segment.holes.min(segment.slots));
        self.segments.values().map(of).sum()
    }

    /// Whether anything could be given back.
    pub(super) fn has_dead(&self) -> bool {
        let dead = |segment: &Segment| segment.slots > 0 && segment.live == 0;
        let all = self.segments.values();
        all.into_iter().any(|it| !it.dead.is_empty() || dead(it))
    }

    /// What lies in one segment can't be read any more; how many envelopes that were.
    pub(super) fn forget(&mut self, segment: u32) -> u32 {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live = 0;
        }
        self.index.forget(segment)
    }

    /// At most `limit` envelopes with `after < order <= through`, in order.
    pub(super) fn find(
        &self,
        mailbox: &MailboxId,
        after: u64,
        through: u64,
        limit: usize,
    ) -> Vec<Found> {
        let places = self.index.within(mailbox, after, through, limit);
        let found = places.into_iter().filter_map(|(order, place)| {
            let segment = self.segments.get(&place.segment)?;
            Some((order, place, Arc::clone(&segment.file)))
        });
        found.collect()
    }

    /// A mailbox's envelopes lie in segment `to` now.
    pub(super) fn relocate(&mut self, mailbox: &MailboxId, to: u32, moves: &[Move]) {
        let late = self.index.relocate(mailbox, to, moves);
        let mut moved = 0;
        for it in moves.iter().filter(|it| !late.contains(&it.to)) {
            moved += 1;
            if let Some(old) = self.segments.get_mut(&it.from.segment) {
                old.live = old.live.saturating_sub(1);
                old.dead.push((it.from.slot, 1));
            }
        }
        if let Some(segment) = self.segments.get_mut(&to) {
            segment.live += moved;
            segment.dead.extend(late.into_iter().map(|slot| (slot, 1)));
        }
    }
}
