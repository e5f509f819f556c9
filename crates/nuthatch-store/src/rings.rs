//! Rings: when which items fall due, so that they can be taken away when their time comes.
//!
//! ```text
//!  level 0   256 slots of 1 s      a deadline less than 256 s away
//!  level 1   256 slots of 4 s      …             less than 1,024 s away
//!  level 2   256 slots of 16 s     and so on, 13 levels for 136 years
//!
//!  slot ──► [ next | 15 ids ] ──► [ next | 15 ids ] ──► none       lines of 64 bytes
//! ```
//!
//! A write with a life span, and a touch that changes one, notes the item's id in the slot of its
//! deadline: 4 bytes and no allocation but once in hundreds of times. A slot is due when all its
//! deadlines have passed, which is at most a 64th of the life span after the first of them.
//!
//! Nothing is taken back: an item that is gone, or whose deadline has moved, leaves a stale id
//! behind. Whoever takes ids out of a slot looks whether there is an item and whether it is dead;
//! a stale id is harmless. Where stale ids are more than half of all, slots are gone through in
//! turn, and of the living those noted again whose deadline it is ([`Rings::take_old`]).
//!
//! The rings are cut into shards by id, with a lock each, which comes last in the lock order. This
//! module knows ids and deadlines, and no item.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::arena::ItemId;

const LEVELS: usize = 13;
const SLOTS: u32 = 256;
const N_SLOTS: usize = LEVELS * SLOTS as usize;
/// The slot whose ids are being gone through; behind all others.
const OLD: usize = N_SLOTS;
const LINE_IDS: usize = 15;
/// Lines are taken from the system by so many.
const BLOCK_LINES: usize = 64;
/// A shard for so much memory of the store, 1 to 16 of them.
const BYTES_PER_SHARD: usize = 16 << 20;
const SHARDS_MAX: usize = 16;
/// An id for so many bytes of the store at the most. Who writes more between two steps of
/// maintenance has items expire when they are looked at.
const BYTES_PER_ID: usize = 32;

/// All rings of a store.
#[derive(Debug)]
pub(crate) struct Rings {
    shards: Box<[CachePadded<Mutex<Ring>>]>,
    ids_max: usize,
    n_ids: AtomicUsize,
    n_bytes: AtomicUsize,
}

/// The rings of a shard of the ids.
#[derive(Debug)]
struct Ring {
    /// The first line of each slot, one more than its number; 0 is none.
    first: Box<[u32]>,
    /// Ids in the first line; the lines behind it are full.
    filled: Box<[u8]>,
    blocks: Vec<Box<[[u32; 1 + LINE_IDS]; BLOCK_LINES]>>,
    /// Lines of no slot, linked like those of one.
    free: u32,
    /// The slot of each level that falls due next, counted from time 0.
    due: [u32; LEVELS],
    n_ids: usize,
    /// The slot to go through next.
    old: usize,
}

/// A slot that ids were taken out of.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Slot(usize);

impl Slot {
    /// Whether ids of this deadline belong here.
    pub(crate) fn is_of(self, deadline: u32) -> bool {
        let level = self.0 / SLOTS as usize;
        place(level, deadline >> (2 * level)) == self.0
    }
}

/// Up to 15 ids out of a slot.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    words: [u32; LINE_IDS],
    n: usize,
}

impl Ids {
    pub(crate) fn iter(&self) -> impl Iterator<Item = ItemId> + '_ {
        self.words[..self.n].iter().filter_map(|&word| ItemId::from_word(word))
    }
}

impl Rings {
    pub(crate) fn new(memory_limit: usize) -> Self {
        let n_shards = (memory_limit / BYTES_PER_SHARD).clamp(1, SHARDS_MAX).next_power_of_two();
        let ring_bytes = N_SLOTS * (size_of::<u32>() + size_of::<u8>());
        Self {
            shards: (0..n_shards).map(|_| CachePadded::new(Mutex::new(Ring::new()))).collect(),
            ids_max: memory_limit / BYTES_PER_ID,
            n_ids: AtomicUsize::new(0),
            n_bytes: AtomicUsize::new(n_shards * ring_bytes),
        }
    }

    /// Notes that an item dies at a deadline.
    pub(crate) fn add(&self, id: ItemId, deadline: u32, now: u32) {
        if self.n_ids.load(Relaxed) >= self.ids_max {
            return;
        }
        self.note(id, |ring, word| ring.add(word, deadline, now));
    }

    /// Puts an id into the slot that it came from, for want of its deadline.
    pub(crate) fn put_back(&self, id: ItemId, slot: Slot) {
        self.note(id, |ring, word| ring.push(slot.0, word));
    }

    fn note(&self, id: ItemId, add: impl FnOnce(&mut Ring, u32)) {
        let word = ItemId::to_word(Some(id));
        // Neighbours in memory are often written together, by one thread.
        let number = (word.wrapping_mul(0x9e37_79b1) >> 16) as usize & (self.shards.len() - 1);
        let ring = &mut *self.shards[number].lock();
        let n_blocks = ring.blocks.len();
        add(ring, word);
        self.n_ids.fetch_add(1, Relaxed);
        let grown = ring.blocks.len() - n_blocks;
        if grown > 0 {
            self.n_bytes.fetch_add(grown * BLOCK_LINES * size_of::<[u32; 16]>(), Relaxed);
        }
    }

    /// Takes a line of ids out of a slot that has fallen due, if there is any.
    pub(crate) fn take_due(&self, now: u32) -> Option<Ids> {
        let ids = self.shards.iter().find_map(|ring| ring.lock().take_due(now))?;
        self.n_ids.fetch_sub(ids.n, Relaxed);
        Some(ids)
    }

    /// Goes on with going through all slots: takes a line of ids, of which those of living items
    /// whose deadline belongs in that slot are to be noted again. `None` where there are no ids.
    pub(crate) fn take_old(&self) -> Option<(Ids, Slot)> {
        let fullest = self.shards.iter().max_by_key(|ring| ring.lock().n_ids)?;
        let (ids, slot) = fullest.lock().take_old()?;
        self.n_ids.fetch_sub(ids.n, Relaxed);
        Some((ids, slot))
    }

    /// Whether there are so many ids that new ones may soon find no room; more than there can be
    /// living items.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.n_ids() >= self.ids_max / 8 * 7
    }

    /// How many ids there are, stale ones included.
    pub(crate) fn n_ids(&self) -> usize {
        self.n_ids.load(Relaxed)
    }

    /// Memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.n_bytes.load(Relaxed)
    }

    /// Panics where the rings are not what they should be.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn audit(&self) {
        let mut n_ids = 0;
        for ring in &self.shards {
            let ring = ring.lock();
            let (in_slots, n_lines) = ring.count();
            assert_eq!(in_slots, ring.n_ids, "a ring knows its ids");
            assert_eq!(n_lines, ring.blocks.len() * BLOCK_LINES, "no line is lost");
            n_ids += in_slots;
        }
        assert_eq!(n_ids, self.n_ids(), "the rings know their ids");
    }
}

impl Ring {
    fn new() -> Self {
        Self {
            first: vec![0; N_SLOTS + 1].into(),
            filled: vec![0; N_SLOTS + 1].into(),
            blocks: Vec::new(),
            free: 0,
            due: [0; LEVELS],
            n_ids: 0,
            old: 0,
        }
    }

    fn add(&mut self, word: u32, deadline: u32, now: u32) {
        if self.n_ids == 0 {
            // Nothing to wait for before now.
            for (level, due) in self.due.iter_mut().enumerate() {
                *due = (*due).max(now >> (2 * level));
            }
        }
        // The finest level that reaches there; what is due already comes with what is due next.
        let slot = (0..LEVELS).find_map(|level| {
            let slot = (deadline >> (2 * level)).max(self.due[level]);
            (slot - self.due[level] < SLOTS).then_some(place(level, slot))
        });
        self.push(slot.expect("the last level reaches over all times"), word);
    }

    fn push(&mut self, slot: usize, word: u32) {
        if self.first[slot] == 0 || usize::from(self.filled[slot]) == LINE_IDS {
            let line = self.new_line();
            self.line(line)[0] = self.first[slot];
            self.first[slot] = line;
            self.filled[slot] = 0;
        }
        let at = usize::from(self.filled[slot]);
        self.line(self.first[slot])[1 + at] = word;
        self.filled[slot] += 1;
        self.n_ids += 1;
    }

    /// Takes the first line of a slot.
    fn pop(&mut self, slot: usize) -> Option<Ids> {
        let line = self.first[slot];
        if line == 0 {
            return None;
        }
        let n = usize::from(self.filled[slot]);
        let free = self.free;
        let words = self.line(line);
        let mut ids = Ids { n, ..Ids::default() };
        ids.words.copy_from_slice(&words[1..]);
        let next = std::mem::replace(&mut words[0], free);
        self.free = line;
        self.first[slot] = next;
        #[expect(clippy::cast_possible_truncation, reason = "15")]
        let full = LINE_IDS as u8;
        self.filled[slot] = full;
        self.n_ids -= n;
        Some(ids)
    }

    fn take_due(&mut self, now: u32) -> Option<Ids> {
        for level in 0..LEVELS {
            // A slot is due when its last second has come.
            let end = now.saturating_add(1) >> (2 * level);
            // Beyond one round the slots are the same again.
            self.due[level] = self.due[level].max(end.saturating_sub(SLOTS));
            while self.due[level] < end {
                if let Some(ids) = self.pop(place(level, self.due[level])) {
                    return Some(ids);
                }
                self.due[level] += 1;
            }
        }
        None
    }

    fn take_old(&mut self) -> Option<(Ids, Slot)> {
        for _ in 0..=N_SLOTS {
            if let Some(ids) = self.pop(OLD) {
                return Some((ids, Slot(self.old)));
            }
            // Put aside as a whole, so that what is noted again is not met again.
            self.old = (self.old + 1) % N_SLOTS;
            self.first.swap(self.old, OLD);
            self.filled.swap(self.old, OLD);
        }
        None
    }

    fn line(&mut self, number: u32) -> &mut [u32; 1 + LINE_IDS] {
        let at = number as usize - 1;
        &mut self.blocks[at / BLOCK_LINES][at % BLOCK_LINES]
    }

    fn new_line(&mut self) -> u32 {
        if self.free == 0 {
            let base = self.blocks.len() * BLOCK_LINES;
            self.blocks.push(Box::new([[0; 1 + LINE_IDS]; BLOCK_LINES]));
            for at in base..base + BLOCK_LINES {
                let number = u32::try_from(at + 1).expect("fewer lines than ids");
                let free = std::mem::replace(&mut self.free, number);
                self.line(number)[0] = free;
            }
        }
        let line = self.free;
        self.free = self.line(line)[0];
        line
    }

    /// Ids in slots, and lines in slots and free.
    #[cfg(any(test, fuzzing))]
    fn count(&self) -> (usize, usize) {
        let next = |line: u32| {
            let at = line as usize - 1;
            self.blocks[at / BLOCK_LINES][at % BLOCK_LINES][0]
        };
        let (mut n_ids, mut n_lines) = (0, 0);
        for (slot, &first) in self.first.iter().enumerate() {
            let mut line = first;
            while line != 0 {
                n_ids += if line == first { usize::from(self.filled[slot]) } else { LINE_IDS };
                n_lines += 1;
                line = next(line);
            }
        }
        let mut line = self.free;
        while line != 0 {
            n_lines += 1;
            line = next(line);
        }
        (n_ids, n_lines)
    }
}

fn place(level: usize, slot: u32) -> usize {
    level * SLOTS as usize + (slot % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(word: u32) -> ItemId {
        ItemId::from_word(word).unwrap()
    }

    /// When each id is given back, the clock going on by seconds.
    fn given_at(rings: &Rings, from: u32, to: u32) -> Vec<(u32, u32)> {
        let mut given = Vec::new();
        for now in from..=to {
            while let Some(ids) = rings.take_due(now) {
                given.extend(ids.iter().map(|id| (ItemId::to_word(Some(id)), now)));
            }
        }
        given
    }

    #[test]
    fn ids_come_back_at_their_time_or_a_64th_of_it_later() {
        let rings = Rings::new(64 << 20);
        let ttls: Vec<u32> = (1..=70).chain([255, 256, 300, 1000, 1023, 5000, 20_000]).collect();
        ttls.iter().for_each(|&ttl| rings.add(id(ttl), 1000 + ttl, 1000));
        rings.audit();
        let given = given_at(&rings, 1000, 22_000);
        assert_eq!(given.len(), ttls.len());
        for (ttl, at) in given {
            assert!(at >= 1000 + ttl, "{ttl} at {at}");
            assert!(at <= 1000 + ttl + ttl / 64 + u32::from(ttl >= 256), "{ttl} at {at}");
        }
        assert_eq!(rings.n_ids(), 0);
        rings.audit();
    }

    #[test]
    fn a_clock_that_jumps_loses_nothing() {
        let rings = Rings::new(1 << 20);
        for n in 1..=2000 {
            rings.add(id(n), 10 + n * 1000, 10);
        }
        rings.add(id(5000), u32::MAX - (1 << 25), 10);
        let given = given_at(&rings, 3_000_000, 3_000_000);
        assert_eq!(given.len(), 2000);
        assert_eq!(rings.n_ids(), 1);
        assert!(given_at(&rings, u32::MAX, u32::MAX).len() == 1);
    }

    #[test]
    fn a_deadline_that_has_passed_is_due_next() {
        let rings = Rings::new(1 << 20);
        assert!(given_at(&rings, 100, 100).is_empty());
        rings.add(id(1), 1, 100);
        assert_eq!(given_at(&rings, 101, 101), [(1, 101)]);
    }

    #[test]
    fn going_through_all_meets_each_id_once() {
        let rings = Rings::new(1 << 20);
        for n in 1..=1000 {
            rings.add(id(n), 10 + n, 10);
        }
        let mut met = Vec::new();
        while met.len() < 1000 {
            let (ids, slot) = rings.take_old().unwrap();
            for id in ids.iter() {
                let word = ItemId::to_word(Some(id));
                met.push(word);
                assert!(slot.is_of(10 + word) && !slot.is_of(2000 + word));
                rings.add(id, 10 + word, 10);
            }
            rings.audit();
        }
        met.sort_unstable();
        met.dedup();
        assert!(met.len() >= 985, "but for a line or so at the seam");
        assert_eq!(rings.n_ids(), 1000);
    }

    #[test]
    fn memory_is_bounded() {
        let rings = Rings::new(1 << 20);
        for n in 1..=100_000 {
            rings.add(id(n), 10 + n % 200, 10);
        }
        assert_eq!(rings.n_ids(), (1 << 20) / BYTES_PER_ID);
        assert!(rings.bytes() < 300_000);
    }
}
