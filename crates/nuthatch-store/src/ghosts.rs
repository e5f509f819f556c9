//! Ghosts: who left HOT unread not long ago, for S3-FIFO to know them again.
//!
//! A ghost is 4 bytes: 24 bits of the key's hash, and the epoch it was made in. Its place is one
//! line of 64 bytes, so that asking for one touches one line:
//!
//! ```text
//!  line   | 15        ghosts         0 |
//!  ghost  | fingerprint 24 | epoch 8 |      0: none
//! ```
//!
//! There are as many as the main queues (WARM) have items: an epoch is a 16th of that many new
//! ghosts, and a ghost counts for 16 epochs. A line that is full gives up its oldest. A wrong
//! answer (one in a million at 16 ghosts a line) lets an item skip HOT, no more.
//!
//! The table is cut into shards with a lock each, the last in the lock order. It takes memory when
//! the first item is evicted and grows with the main queues, to twice as many lines, each of which
//! is copied to both places that its ghosts may now belong to: [a few lines](LINES_PER_STEP) with
//! each ghost, since others wait for the locks meanwhile. The lines lie in pieces, so that growing
//! copies no others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::index::Hash;

const SHARDS: usize = 16;
const LINE_GHOSTS: usize = 16;
/// So many epochs a ghost counts for.
const LIFE_EPOCHS: u8 = 16;
const FINGERPRINT_SHIFT: u32 = 8;
/// By how many lines a table comes nearer to the size it should have, with each ghost.
const LINES_PER_STEP: usize = 4;
/// Lines that are allocated together: 1 KiB.
const PIECE_LINES: usize = 16;

/// All ghosts of a store.
#[derive(Debug)]
pub(crate) struct Ghosts {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    /// Items in the main queues when they were last counted.
    n_main: AtomicUsize,
    /// They should be counted again.
    count_due: AtomicBool,
}

#[derive(Debug, Default)]
struct Shard {
    /// Each of [`PIECE_LINES`].
    pieces: Vec<Box<[Line]>>,
    /// How many lines of the pieces are in use: a power of two but while there come to be more or
    /// fewer, and none at first.
    n_lines: usize,
    /// How many there are to be.
    n_wanted: usize,
    /// Ghosts made in this epoch.
    n_made: usize,
    epoch: u8,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([u32; LINE_GHOSTS]);

/// Where a key's ghost is: parts of its hash that do not overlap.
struct Place {
    shard: usize,
    line: usize,
    fingerprint: u32,
}

impl Place {
    fn of(hash: Hash) -> Self {
        // The index uses parts of the hash; the product has others.
        let mixed = hash.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        #[expect(clippy::cast_possible_truncation, reason = "parts of the bits are wanted")]
        let (line, top) = (mixed as usize & ((1 << 36) - 1), (mixed >> 40) as u32);
        // An empty place has fingerprint 0.
        Self { shard: (mixed >> 36) as usize % SHARDS, line, fingerprint: top.max(1) }
    }
}

impl Ghosts {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| CachePadded::default()).collect(),
            n_main: AtomicUsize::new(0),
            count_due: AtomicBool::new(true),
        }
    }

    /// Remembers a key.
    pub(crate) fn add(&self, hash: Hash) {
        let place = Place::of(hash);
        let share = self.n_main.load(Relaxed) / SHARDS;
        let mut shard = self.shards[place.shard].lock();
        shard.fit(share);
        shard.put(&place);
        shard.n_made += 1;
        if shard.n_made >= share.div_ceil(usize::from(LIFE_EPOCHS)).max(1) {
            shard.n_made = 0;
            shard.epoch = shard.epoch.wrapping_add(1);
            if place.shard == 0 {
                self.count_due.store(true, Relaxed);
            }
        }
    }

    /// Whether a key is remembered; it is forgotten now.
    pub(crate) fn take(&self, hash: Hash) -> bool {
        let place = Place::of(hash);
        self.shards[place.shard].lock().take(&place)
    }

    /// Whether the caller should say how many items the main queues have; says so once.
    pub(crate) fn is_count_due(&self) -> bool {
        self.count_due.load(Relaxed) && self.count_due.swap(false, Relaxed)
    }

    /// Says how many items the main queues have.
    pub(crate) fn set_main(&self, n_items: usize) {
        self.n_main.store(n_items, Relaxed);
    }

    /// Memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let n_pieces: usize = self.shards.iter().map(|shard| shard.lock().pieces.len()).sum();
        n_pieces * size_of::<[Line; PIECE_LINES]>()
    }

    /// Panics where the table is not what it should be.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn audit(&self) {
        for shard in &self.shards {
            let shard = shard.lock();
            assert!(shard.n_lines == 0 || shard.n_wanted.is_power_of_two());
            assert_eq!(shard.pieces.len(), shard.n_lines.div_ceil(PIECE_LINES));
            for line in shard.pieces.iter().flat_map(|piece| piece.iter()) {
                let ghosts = line.0.iter().filter(|&&ghost| ghost != 0);
                assert!(ghosts.clone().all(|ghost| ghost >> FINGERPRINT_SHIFT != 0));
            }
        }
    }
}

impl Shard {
    /// Has room for a number of ghosts, filled to four fifths so that few lines overflow.
    fn fit(&mut self, n_ghosts: usize) {
        let least = (n_ghosts * 5 / 4).div_ceil(LINE_GHOSTS).next_power_of_two();
        if self.n_wanted < least {
            self.n_wanted = least;
        } else if self.n_wanted > least * 4 {
            self.n_wanted = least * 2;
        }
        for _ in 0..LINES_PER_STEP {
            if self.n_lines < self.n_wanted {
                self.grow();
            } else if self.n_lines > self.n_wanted {
                self.n_lines -= 1;
                self.pieces.truncate(self.n_lines.div_ceil(PIECE_LINES));
            }
        }
    }

    /// Adds a line: a copy of the one in which its ghosts are so far.
    fn grow(&mut self) {
        let number = self.n_lines;
        let before = if number == 0 { Line::default() } else { *self.line(number) };
        if number.is_multiple_of(PIECE_LINES) {
            self.pieces.push(vec![Line::default(); PIECE_LINES].into());
        }
        self.n_lines += 1;
        self.pieces[number / PIECE_LINES][number % PIECE_LINES] = before;
    }

    /// The line of a place, of those that there are: by as many bits as name the last of them, or
    /// one less where that would be a line that is still to come.
    fn line(&mut self, place: usize) -> &mut Line {
        let all = self.n_lines.next_power_of_two();
        let number = place & (all - 1);
        let number = if number < self.n_lines { number } else { number - all / 2 };
        &mut self.pieces[number / PIECE_LINES][number % PIECE_LINES]
    }

    fn put(&mut self, place: &Place) {
        let epoch = self.epoch;
        let age = |ghost: u32| epoch.wrapping_sub(ghost.to_le_bytes()[0]);
        let line = &mut self.line(place.line).0;
        let fitness = |ghost: u32| match ghost >> FINGERPRINT_SHIFT {
            print if print == place.fingerprint => u32::MAX,
            0 => u32::MAX - 1,
            _ => u32::from(age(ghost)),
        };
        let slot = line.iter_mut().max_by_key(|ghost| fitness(**ghost));
        *slot.expect("a line has places") =
            place.fingerprint << FINGERPRINT_SHIFT | u32::from(epoch);
    }

    fn take(&mut self, place: &Place) -> bool {
        if self.n_lines == 0 {
            return false;
        }
        let epoch = self.epoch;
        let ghosts = &mut self.line(place.line).0;
        let found =
            ghosts.iter_mut().find(|ghost| **ghost >> FINGERPRINT_SHIFT == place.fingerprint);
        let Some(ghost) = found else { return false };
        let age = epoch.wrapping_sub(ghost.to_le_bytes()[0]);
        *ghost = 0;
        age <= LIFE_EPOCHS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;

    fn hashes(n: u32) -> Vec<Hash> {
        let index = Index::new(1 << 20, 0, 7);
        (0..n).map(|n| index.hash(&n.to_le_bytes())).collect()
    }

    fn n_known(ghosts: &Ghosts, of: &[Hash]) -> usize {
        of.iter().filter(|&&hash| ghosts.take(hash)).count()
    }

    #[test]
    fn a_ghost_is_known_once() {
        let (ghosts, hashes) = (Ghosts::new(), hashes(2));
        ghosts.add(hashes[0]);
        assert!(!ghosts.take(hashes[1]));
        assert!(ghosts.take(hashes[0]));
        assert!(!ghosts.take(hashes[0]));
    }

    #[test]
    fn as_many_are_known_as_main_has_items() {
        let (ghosts, hashes) = (Ghosts::new(), hashes(100_000));
        ghosts.set_main(10_000);
        hashes.iter().for_each(|&hash| ghosts.add(hash));
        let (old, new) = hashes.split_at(90_000);
        assert!(n_known(&ghosts, new) > 9_500, "the latest are known");
        assert!(n_known(&ghosts, old) < 1_500, "those before are not");
        ghosts.audit();
    }

    #[test]
    fn a_table_grows_and_shrinks_by_little_at_a_time() {
        let (ghosts, hashes) = (Ghosts::new(), hashes(100_000));
        let mut before = 0;
        for n_main in [100_000, 0, 50_000] {
            ghosts.set_main(n_main);
            for &hash in &hashes {
                ghosts.add(hash);
                let bytes = ghosts.bytes();
                assert!(bytes.abs_diff(before) <= size_of::<[Line; PIECE_LINES]>());
                before = bytes;
            }
            ghosts.audit();
        }
        let n_lines = |shard: &CachePadded<Mutex<Shard>>| shard.lock().n_lines;
        assert_eq!(ghosts.shards.iter().map(n_lines).sum::<usize>(), 256 * SHARDS);
        assert!(n_known(&ghosts, &hashes[60_000..]) > 38_000, "they count for some 50,000");
    }

    #[test]
    fn a_table_that_grows_keeps_its_ghosts() {
        let (ghosts, hashes) = (Ghosts::new(), hashes(3_000));
        ghosts.set_main(1_000);
        hashes[..1_000].iter().for_each(|&hash| ghosts.add(hash));
        let before = ghosts.bytes();
        ghosts.set_main(20_000);
        hashes[1_000..].iter().for_each(|&hash| ghosts.add(hash));
        assert!(ghosts.bytes() > 4 * before);
        assert!(n_known(&ghosts, &hashes) > 2_900);
        ghosts.set_main(100);
        hashes.iter().for_each(|&hash| ghosts.add(hash));
        assert!(ghosts.bytes() <= before);
        ghosts.audit();
    }
}
