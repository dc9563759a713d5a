//! Which envelopes of which mailbox lie where. No I/O.

use std::collections::HashMap;

use kinline_protocol::day::Day;
use kinline_protocol::ids::MailboxId;
use smallvec::SmallVec;

use super::slot::Place;

/// Neighbours: orders that follow each other in slots that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first order.
    pub(super) order: u64,
    /// How many, at least one.
    pub(super) count: u32,
    /// Which segment.
    pub(super) segment: u32,
    /// The first slot.
    pub(super) slot: u32,
    /// The last day they are kept.
    pub(super) day: Day,
}

impl Extent {
    /// One envelope.
    pub(super) const fn one(order: u64, place: Place, day: Day) -> Self {
        Self {
            order,
            count: 1,
            segment: place.segment,
            slot: place.slot,
            day,
        }
    }

    fn end(&self) -> u64 {
        self.order.saturating_add(u64::from(self.count))
    }

    /// The part before order `at`, and the part from there on.
    fn split(self, at: u64) -> (Option<Self>, Option<Self>) {
        if at <= self.order {
            return (None, Some(self));
        }
        if at >= self.end() {
            return (Some(self), None);
        }
        let below = u32::try_from(at - self.order).unwrap_or(u32::MAX);
        let first = Self {
            count: below,
            ..self
        };
        let second = Self {
            order: at,
            count: self.count - below,
            slot: self.slot + below,
            ..self
        };
        (Some(first), Some(second))
    }

    /// Where each of its envelopes lies.
    fn places(self) -> impl Iterator<Item = (u64, Place)> {
        (0..self.count).map(move |at| {
            let place = Place {
                segment: self.segment,
                slot: self.slot + at,
            };
            (self.order + u64::from(at), place)
        })
    }
}

/// One mailbox's extents, in order, none over another.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extents(SmallVec<[Extent; 1]>);

impl Extents {
    /// Adds at the end, joining what are neighbours.
    fn push(&mut self, new: Extent) {
        if let Some(last) = self.0.last_mut()
            && last.end() == new.order
            && last.segment == new.segment
            && last.day == new.day
            && last.slot + last.count == new.slot
        {
            last.count += new.count;
            return;
        }
        self.0.push(new);
    }

    /// Puts an extent in; what had its orders goes to `gone`.
    fn put(&mut self, new: Extent, gone: &mut Vec<Extent>) {
        if self.0.last().is_none_or(|last| last.end() <= new.order) {
            return self.push(new);
        }
        let old = std::mem::take(&mut self.0);
        let mut rest = Vec::new();
        for extent in old {
            let (below, from) = extent.split(new.order);
            if let Some(below) = below {
                self.push(below);
            }
            let Some(from) = from else { continue };
            let (over, above) = from.split(new.end());
            gone.extend(over);
            rest.extend(above);
        }
        self.push(new);
        for extent in rest {
            self.push(extent);
        }
    }

    /// Takes out everything up to and including `through`.
    fn cut(&mut self, through: u64, gone: &mut Vec<Extent>) {
        let at = through.saturating_add(1);
        let whole = self.0.partition_point(|extent| extent.end() <= at);
        gone.extend(self.0.drain(..whole));
        if let Some(first) = self.0.first_mut()
            && let (Some(below), Some(from)) = first.split(at)
        {
            gone.push(below);
            *first = from;
        }
    }
}

/// An envelope that lies elsewhere now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) order: u64,
    pub(super) from: Place,
    /// The slot in the new segment.
    pub(super) to: u32,
}

/// Where all envelopes lie.
pub(super) struct Index {
    /// By the first byte of the id: the retention looks at one after the other.
    shards: Vec<HashMap<MailboxId, Extents>>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            shards: (0..=u8::MAX).map(|_| HashMap::new()).collect(),
        }
    }
}

impl Index {
    fn shard(&self, mailbox: &MailboxId) -> Option<&HashMap<MailboxId, Extents>> {
        self.shards.get(usize::from(mailbox.as_bytes()[0]))
    }

    fn shard_mut(&mut self, mailbox: &MailboxId) -> Option<&mut HashMap<MailboxId, Extents>> {
        self.shards.get_mut(usize::from(mailbox.as_bytes()[0]))
    }

    /// Puts an envelope in; one of the same order before it goes to `gone`.
    pub(super) fn put(&mut self, mailbox: MailboxId, extent: Extent, gone: &mut Vec<Extent>) {
        if let Some(shard) = self.shard_mut(&mailbox) {
            shard.entry(mailbox).or_default().put(extent, gone);
        }
    }

    /// Takes a mailbox's envelopes up to and including `through` out, into `gone`.
    pub(super) fn cut(&mut self, mailbox: &MailboxId, through: u64, gone: &mut Vec<Extent>) {
        let Some(shard) = self.shard_mut(mailbox) else {
            return;
        };
        if let Some(extents) = shard.get_mut(mailbox) {
            extents.cut(through, gone);
            if extents.0.is_empty() {
                shard.remove(mailbox);
            }
        }
    }

    /// Whether anything of the mailbox up to and including `through` is there.
    pub(super) fn has(&self, mailbox: &MailboxId, through: u64) -> bool {
        self.extents(mailbox)
            .first()
            .is_some_and(|extent| extent.order <= through)
    }

    /// A mailbox's extents up to and including `through`.
    pub(super) fn below(&self, mailbox: &MailboxId, through: u64) -> Vec<Extent> {
        let at = through.saturating_add(1);
        let extents = self.extents(mailbox).iter();
        extents.map_while(|extent| extent.split(at).0).collect()
    }

    /// How many mailboxes have anything.
    pub(super) fn mailboxes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len() as u64).sum()
    }

    fn extents(&self, mailbox: &MailboxId) -> &[Extent] {
        self.shard(mailbox)
            .and_then(|shard| shard.get(mailbox))
            .map_or(&[], |extents| &extents.0)
    }

    /// Whether the envelope of this order lies there.
    pub(super) fn is_at(&self, mailbox: &MailboxId, order: u64, place: Place) -> bool {
        let extents = self.extents(mailbox);
        let at = extents.partition_point(|extent| extent.end() <= order);
        extents.get(at).is_some_and(|extent| {
            extent.segment == place.segment
                && extent.order <= order
                && u64::from(extent.slot) + (order - extent.order) == u64::from(place.slot)
        })
    }

    /// At most `limit` envelopes with `after < order <= through`, in order, with their places.
    pub(super) fn within(
        &self,
        mailbox: &MailboxId,
        after: u64,
        through: u64,
        limit: usize,
    ) -> Vec<(u64, Place)> {
        let extents = self.extents(mailbox);
        let first = extents.partition_point(|extent| extent.end() <= after.saturating_add(1));
        extents
            .iter()
            .skip(first)
            .flat_map(|extent| extent.split(after.saturating_add(1)).1)
            .flat_map(Extent::places)
            .take_while(|(order, _)| *order <= through)
            .take(limit)
            .collect()
    }

    /// A mailbox's envelopes were written again into segment `to`, in order. Returns the slots
    /// there of those that are gone by now, or lie elsewhere.
    pub(super) fn relocate(&mut self, mailbox: &MailboxId, to: u32, moves: &[Move]) -> Vec<u32> {
        let mut late = Vec::new();
        let Some(extents) = self
            .shard_mut(mailbox)
            .and_then(|shard| shard.get_mut(mailbox))
        else {
            return moves.iter().map(|it| it.to).collect();
        };
        let old = std::mem::take(&mut extents.0);
        let mut moves = moves.iter().peekable();
        for extent in old {
            for (order, place) in extent.places() {
                while let Some(gone) = moves.next_if(|it| it.order < order) {
                    late.push(gone.to);
                }
                let mut here = place;
                if let Some(it) = moves.next_if(|it| it.order == order) {
                    if it.from == place {
                        here = Place {
                            segment: to,
                            slot: it.to,
                        };
                    } else {
                        late.push(it.to);
                    }
                }
                extents.push(Extent::one(order, here, extent.day));
            }
        }
        extents.0.shrink_to_fit();
        late.extend(moves.map(|it| it.to));
        late
    }

    /// Takes everything out that lies in one segment; how many that were.
    pub(super) fn forget(&mut self, segment: u32) -> u32 {
        let mut count = 0;
        for shard in &mut self.shards {
            shard.retain(|_, extents| {
                extents.0.retain(|extent| {
                    let stays = extent.segment != segment;
                    count += if stays { 0 } else { extent.count };
                    stays
                });
                !extents.0.is_empty()
            });
        }
        count
    }

    /// Of each mailbox whose id begins with `part`: the last order that was kept until before
    /// `today`.
    pub(super) fn expired(&self, part: u8, today: Day) -> Vec<(MailboxId, u64)> {
        let shard = self.shards.get(usize::from(part)).into_iter().flatten();
        shard
            .filter_map(|(mailbox, extents)| {
                // A clock that was wrong for a moment may have given a later one an earlier day.
                let gone = extents.0.iter().take_while(|extent| extent.day < today);
                let last = gone.last()?;
                Some((*mailbox, last.end() - 1))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use std::collections::BTreeMap;

    use super::{Extent, Index, Move, Place};
    use kinline_protocol::day::Day;
    use kinline_protocol::ids::MailboxId;
    use rand::{RngExt as _, SeedableRng as _};

    const BOB: MailboxId = MailboxId::new([1; 16]);
    const DAY: Day = Day(9);

    fn at(segment: u32, slot: u32) -> Place {
        Place { segment, slot }
    }

    fn index(envelopes: &[(u64, Place)]) -> Index {
        let mut index = Index::default();
        for (order, place) in envelopes {
            index.put(BOB, Extent::one(*order, *place, DAY), &mut Vec::new());
        }
        index
    }

    #[test]
    fn neighbours_are_one_extent_and_pages_stay_within_their_bounds() {
        let index = index(&[
            (1, at(1, 0)),
            (2, at(1, 1)),
            (3, at(1, 5)),
            (7, at(1, 6)),
            (8, at(2, 0)),
        ]);
        assert_eq!(index.extents(&BOB).len(), 4);
        let orders = |after, through, limit| {
            let page = index.within(&BOB, after, through, limit);
            page.into_iter().map(|(order, _)| order).collect::<Vec<_>>()
        };
        assert_eq!(orders(0, u64::MAX, 99), [1, 2, 3, 7, 8]);
        assert_eq!(orders(1, 7, 99), [2, 3, 7]);
        assert_eq!(orders(1, 7, 2), [2, 3]);
        assert!(orders(8, u64::MAX, 9).is_empty());
        assert!(index.is_at(&BOB, 2, at(1, 1)) && !index.is_at(&BOB, 2, at(1, 2)));
        assert!(!index.is_at(&BOB, 4, at(1, 6)) && !index.is_at(&BOB, 9, at(2, 1)));
    }

    #[test]
    fn what_moved_is_found_there_and_what_went_meanwhile_is_named() {
        let mut index = index(&[(1, at(1, 4)), (2, at(1, 9)), (3, at(1, 5)), (4, at(3, 0))]);
        let step = |order, slot, to| Move {
            order,
            from: at(1, slot),
            to,
        };
        let mut gone = Vec::new();
        index.cut(&BOB, 1, &mut gone);
        assert_eq!(gone, [Extent::one(1, at(1, 4), DAY)]);
        index.put(BOB, Extent::one(3, at(3, 9), DAY), &mut gone);
        let moves = [step(1, 4, 0), step(2, 9, 1), step(3, 5, 2), step(9, 6, 3)];
        assert_eq!(index.relocate(&BOB, 2, &moves), [0, 2, 3]);
        let places = [(2, at(2, 1)), (3, at(3, 9)), (4, at(3, 0))];
        assert_eq!(index.within(&BOB, 0, u64::MAX, 9), places);
        assert_eq!(index.expired(1, Day(10)), [(BOB, 4)]);
        assert!(index.expired(1, DAY).is_empty());
        // One that came later and is kept shorter takes none of those before it along.
        index.put(BOB, Extent::one(7, at(3, 10), Day(2)), &mut gone);
        assert!(index.expired(1, DAY).is_empty());
        assert_eq!((index.forget(3), index.forget(3)), (3, 0));
        assert_eq!(index.within(&BOB, 0, u64::MAX, 9), places[..1]);
        index.cut(&BOB, u64::MAX, &mut gone);
        assert_eq!(index.relocate(&BOB, 2, &moves[..1]), [0]);
        assert!(!index.has(&BOB, u64::MAX));
    }

    /// Against a map, over random histories.
    #[test]
    fn it_says_what_a_plain_map_says() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = rand_chacha::ChaCha20Rng::seed_from_u64(seed);
        for _ in 0..300 {
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            let mut lost = 0;
            let mut gone = Vec::new();
            for slot in 0..60_u32 {
                if random.random_bool(0.2) {
                    let through = random.random_range(0..30);
                    index.cut(&BOB, through, &mut gone);
                    let left = model.split_off(&(through + 1));
                    lost += model.len();
                    model = left;
                } else {
                    let order = random.random_range(1..30_u64);
                    let place = at(slot % 3, slot / 3);
                    index.put(BOB, Extent::one(order, place, DAY), &mut gone);
                    lost += usize::from(model.insert(order, place).is_some());
                }
                let all: Vec<_> = model
                    .iter()
                    .map(|(order, place)| (*order, *place))
                    .collect();
                assert_eq!(index.within(&BOB, 0, u64::MAX, 99), all);
                for (order, place) in all {
                    assert!(index.is_at(&BOB, order, place));
                }
                let count: u32 = gone.iter().map(|extent| extent.count).sum();
                assert_eq!(count as usize, lost);
            }
        }
    }
}
