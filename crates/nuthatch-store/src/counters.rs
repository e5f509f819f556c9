//! Counters that many threads add to and a few read.
//!
//! Each thread has a slot of its own, on cache lines of its own: adding is a load and a store
//! there, 0.4 ns where one shared counter costs 16 ns. Reading sums the slots up. Threads beyond
//! [`SLOTS`] share the last slot and add to it atomically.
//!
//! Resetting moves a baseline: the slots themselves are only ever written by their threads.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::arena::CLASSES_MAX;

/// Threads with a slot of their own, plus one that the others share.
const SLOTS: usize = 65;
const SHARED_SLOT: usize = SLOTS - 1;

macro_rules! counters {
    ($(#[$meta:meta])* $group:ident $snapshot:ident { $($(#[$doc:meta])* $variant:ident $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum $group { $($variant,)* }

        impl $group {
            const COUNT: usize = [$(Self::$variant,)*].len();
        }

        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct $snapshot { $($(#[$doc])* pub $field: u64,)* }

        impl $snapshot {
            fn read(of: impl Fn($group) -> u64) -> Self {
                Self { $($field: of($group::$variant),)* }
            }
        }
    };
}

counters! {
    /// Counters of the whole store, since it was built or last reset.
    Counter StoreCounters {
        /// Keys asked for by reading commands that do not touch.
        Gets cmd_get,
        /// Reads that found nothing.
        GetMisses get_misses,
        /// Reads that found an item past its deadline.
        GetExpired get_expired,
        /// Reads that found an item that a flush had ended.
        GetFlushed get_flushed,
        /// Keys asked for by touching commands.
        Touches cmd_touch,
        /// Touches that found nothing.
        TouchMisses touch_misses,
        /// Deletes that found nothing, or something else than the CAS number asked for.
        DeleteMisses delete_misses,
        /// Increments that found nothing.
        IncrMisses incr_misses,
        /// Decrements that found nothing.
        DecrMisses decr_misses,
        /// Compare-and-swaps that found nothing.
        CasMisses cas_misses,
        /// Stores refused for their size.
        TooLarge store_too_large,
        /// Stores refused for want of memory.
        NoMemory store_no_memory,
        /// Items ever linked.
        TotalItems total_items,
        /// Hits in COLD whose move to WARM was dropped because the bump queue was full.
        BumpsDropped lru_bumps_dropped,
        /// Times that the LRU crawler was sent out.
        CrawlerStarts lru_crawler_starts,
        /// Rounds of the LRU maintainer over the classes.
        Juggles lru_maintainer_juggles,
    }
}

counters! {
    /// Counters of one slab class, since the store was built or last reset.
    ClassCounter ClassCounters {
        /// Hits on items in HOT.
        HitsToHot hits_to_hot,
        /// Hits on items in WARM.
        HitsToWarm hits_to_warm,
        /// Hits on items in COLD.
        HitsToCold hits_to_cold,
        /// Hits on items in TEMP.
        HitsToTemp hits_to_temp,
        /// Values for which a chunk was taken.
        Sets cmd_set,
        /// Touches that found their item.
        TouchHits touch_hits,
        /// Deletes that found their item.
        DeleteHits delete_hits,
        /// Increments that found their item.
        IncrHits incr_hits,
        /// Decrements that found their item.
        DecrHits decr_hits,
        /// Compare-and-swaps that matched.
        CasHits cas_hits,
        /// Compare-and-swaps that did not match.
        CasBadval cas_badval,
    }
}

const CELLS: usize = Counter::COUNT + CLASSES_MAX * ClassCounter::COUNT;

/// The counters of a store.
#[derive(Debug)]
pub(crate) struct Counters {
    slots: Box<[OnceLock<Box<Slot>>]>,
    /// What the sums were at the last reset.
    baseline: Mutex<Box<[u64]>>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Slot([AtomicU64; CELLS]);

impl Slot {
    fn new() -> Box<Self> {
        Box::new(Self([const { AtomicU64::new(0) }; CELLS]))
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| OnceLock::new()).collect(),
            baseline: Mutex::new(vec![0; CELLS].into()),
        }
    }

    #[inline]
    pub(crate) fn add(&self, counter: Counter) {
        self.add_cells([counter as usize]);
    }

    #[inline]
    pub(crate) fn add_class(&self, class: usize, counter: ClassCounter) {
        self.add_cells([Self::class_cell(class, counter)]);
    }

    /// Adds to two counters for little more than what one costs.
    #[inline]
    pub(crate) fn add_both(&self, first: Counter, second: Counter) {
        self.add_cells([first as usize, second as usize]);
    }

    /// As [`add_both`](Self::add_both), the second one being a class's.
    #[inline]
    pub(crate) fn add_with_class(&self, first: Counter, class: usize, second: ClassCounter) {
        self.add_cells([first as usize, Self::class_cell(class, second)]);
    }

    #[inline]
    fn class_cell(class: usize, counter: ClassCounter) -> usize {
        Counter::COUNT + class * ClassCounter::COUNT + counter as usize
    }

    #[inline]
    fn add_cells<const N: usize>(&self, cells: [usize; N]) {
        let own = self.slots.get(OWN_SLOT.get()).and_then(OnceLock::get);
        let Some(slot) = own else { return self.add_cells_slowly(&cells) };
        for cell in cells {
            // This thread is the only writer of its slot; a thread that ended before handed the
            // slot on through the mutex of `FREE_SLOTS`.
            let cell = &slot.0[cell];
            cell.store(cell.load(Relaxed) + 1, Relaxed);
        }
    }

    /// For a thread that adds to this store for the first time, or has no slot of its own.
    #[cold]
    #[inline(never)]
    fn add_cells_slowly(&self, cells: &[usize]) {
        let number = SLOT.try_with(|slot| slot.0.get()).unwrap_or(SHARED_SLOT);
        let slot = self.slots[number].get_or_init(Slot::new);
        for &cell in cells {
            slot.0[cell].fetch_add(1, Relaxed);
        }
    }

    fn sum(&self, cell: usize) -> u64 {
        self.slots.iter().filter_map(OnceLock::get).map(|slot| slot.0[cell].load(Relaxed)).sum()
    }

    pub(crate) fn store_counters(&self) -> StoreCounters {
        let baseline = self.baseline.lock();
        StoreCounters::read(|counter| {
            let cell = counter as usize;
            self.sum(cell).saturating_sub(baseline[cell])
        })
    }

    pub(crate) fn class_counters(&self, class: usize) -> ClassCounters {
        let baseline = self.baseline.lock();
        ClassCounters::read(|counter| {
            let cell = Self::class_cell(class, counter);
            self.sum(cell).saturating_sub(baseline[cell])
        })
    }

    /// Makes all counters read 0.
    pub(crate) fn reset(&self) {
        let mut baseline = self.baseline.lock();
        for (cell, base) in baseline.iter_mut().enumerate() {
            *base = self.sum(cell);
        }
    }
}

/// This thread's slot number, given back when the thread ends.
struct SlotNumber(Cell<usize>);

static FREE_SLOTS: Mutex<(usize, Vec<usize>)> = Mutex::new((0, Vec::new()));

thread_local! {
    static SLOT: SlotNumber = SlotNumber(Cell::new(take_slot()));
    /// The same number where it is this thread's alone, else [`NONE`]: without a destructor, and so
    /// without a question whether it has run, it costs one load.
    static OWN_SLOT: Cell<usize> = const { Cell::new(NONE) };
}

/// A number that no slot has.
const NONE: usize = usize::MAX;

fn take_slot() -> usize {
    let mut free = FREE_SLOTS.lock();
    let number = free.1.pop().unwrap_or_else(|| {
        let number = free.0.min(SHARED_SLOT);
        free.0 = number + 1;
        number
    });
    if number != SHARED_SLOT {
        OWN_SLOT.set(number);
    }
    number
}

impl Drop for SlotNumber {
    fn drop(&mut self) {
        OWN_SLOT.set(NONE);
        let number = self.0.replace(SHARED_SLOT);
        if number != SHARED_SLOT {
            FREE_SLOTS.lock().1.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn no_addition_is_lost_with_more_threads_than_slots() {
        let counters = Arc::new(Counters::new());
        let threads: Vec<_> = (0..SLOTS + 20)
            .map(|_| {
                let counters = Arc::clone(&counters);
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        counters.add(Counter::Gets);
                        counters.add_class(7, ClassCounter::Sets);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let expected = 1000 * (SLOTS as u64 + 20);
        assert_eq!(counters.store_counters().cmd_get, expected);
        assert_eq!(counters.class_counters(7).cmd_set, expected);
        assert_eq!(counters.class_counters(8).cmd_set, 0);
        counters.reset();
        assert_eq!(counters.store_counters(), StoreCounters::default());
    }
}
