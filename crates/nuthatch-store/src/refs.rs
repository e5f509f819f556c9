//! The state word of an item: a reference count and flags in one atomic.
//!
//! ```text
//!  bit 31                16 15                    0
//!     | flags               | references           |
//! ```
//!
//! The index holds one reference to a linked item, each pin one more. References are only added
//! under the shard lock (to a linked item, whose count is therefore at least 1), but dropped
//! anywhere. Whoever drops the last one owns the chunk and gives it back.
//!
//! Flags change under the shard lock, by `fetch_or`/`fetch_and`, so that a pin dropped at the same
//! moment is never lost.
//!
//! The functions are generic over the atomic, so that `cargo xtask loom` checks these very lines.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed};

use crate::item::PLACE_MASK;

/// The bits that count references.
pub(crate) const REFS_MASK: u32 = 0xffff;

/// At so many references an item counts as too much in use to be read again: 60,000, as in
/// memcached, which leaves room for those that no limit is asked for (eviction, the maintainer).
pub(crate) const REFS_MAX: u32 = 60_000;

/// An atomic 32-bit word.
pub(crate) trait Word {
    fn load(&self, order: Ordering) -> u32;
    fn fetch_add(&self, n: u32, order: Ordering) -> u32;
    fn fetch_sub(&self, n: u32, order: Ordering) -> u32;
}

macro_rules! word {
    ($type:ty) => {
        impl Word for $type {
            fn load(&self, order: Ordering) -> u32 {
                <$type>::load(self, order)
            }
            fn fetch_add(&self, n: u32, order: Ordering) -> u32 {
                <$type>::fetch_add(self, n, order)
            }
            fn fetch_sub(&self, n: u32, order: Ordering) -> u32 {
                <$type>::fetch_sub(self, n, order)
            }
        }
    };
}

word!(AtomicU32);
#[cfg(all(test, loom))]
word!(loom::sync::atomic::AtomicU32);

/// Adds a reference to a linked item; the caller holds its shard lock. Fails at [`REFS_MAX`].
pub(crate) fn retain(state: &impl Word) -> bool {
    let refs = state.load(Relaxed) & REFS_MASK;
    debug_assert!(refs > 0, "a linked item has the index's reference");
    if refs >= REFS_MAX {
        return false;
    }
    // Nobody else adds at the same time (the shard lock), so the count cannot pass the limit.
    state.fetch_add(1, Relaxed);
    true
}

/// Drops a reference; says whether it was the last one, in which case the caller owns the chunk.
#[must_use = "the last one to leave frees the chunk"]
pub(crate) fn release(state: &impl Word) -> bool {
    // Release: what this holder did with the bytes happens before the chunk is used again.
    // Acquire (for the last one): what every other holder did has happened.
    let before = state.fetch_sub(1, AcqRel);
    debug_assert!(before & REFS_MASK > 0, "a reference is dropped once");
    before & REFS_MASK == 1
}

/// Whether the index holds the only reference; the caller holds the shard lock, so that this
/// stays true until it lets go.
pub(crate) fn is_unshared(state: &impl Word) -> bool {
    // Acquire: pairs with `release`, so that the reads of a pin just dropped are over.
    state.load(Acquire) & REFS_MASK == 1
}

/// Whether two looks at an item's state name the same place in the LRU; see
/// [`IN_LIST`](crate::item::IN_LIST).
///
/// Each look is one load. An item on its way from one queue to another is in no list when its queue
/// changes: flag and queue of two loads could name a list that it is not in.
pub(crate) fn is_same_place(seen: u32, now: u32) -> bool {
    (seen ^ now) & PLACE_MASK == 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_to_leave_is_told() {
        let state = AtomicU32::new(1 << 20 | 1);
        assert!(is_unshared(&state));
        assert!(retain(&state));
        assert!(!is_unshared(&state));
        assert!(!release(&state));
        assert!(release(&state));
        assert_eq!(state.into_inner(), 1 << 20, "flags are not touched");
    }

    #[test]
    fn the_count_stops_at_its_limit() {
        let state = AtomicU32::new(REFS_MAX);
        assert!(!retain(&state));
        assert_eq!(state.into_inner(), REFS_MAX);
    }
}

/// Every interleaving of those who share an item, with the payload as a cell that loom watches:
/// two accesses that are not ordered, one of them a write, fail the model.
#[cfg(all(test, loom))]
mod interleavings {
    use loom::cell::UnsafeCell;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::*;
    use crate::item::{CHAINED, IN_LIST, KEY_BINARY, queue_of};

    /// One item of a shard: its state word, its payload, and the index's knowledge of it.
    struct Shard {
        state: AtomicU32,
        payload: UnsafeCell<u8>,
        is_linked: Mutex<bool>,
        n_freed: AtomicU32,
    }

    impl Shard {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                state: AtomicU32::new(1),
                payload: UnsafeCell::new(7),
                is_linked: Mutex::new(true),
                n_freed: AtomicU32::new(0),
            })
        }

        /// Finds the item and pins it.
        fn pin(&self) -> bool {
            let is_linked = self.is_linked.lock().unwrap();
            *is_linked && retain(&self.state)
        }

        /// Loom checks that no write is concurrent with it.
        fn read(&self) {
            self.payload.with(|_| ());
        }

        fn unpin(&self) {
            if release(&self.state) {
                self.free();
            }
        }

        fn unlink(&self) {
            let mut is_linked = self.is_linked.lock().unwrap();
            if std::mem::replace(&mut *is_linked, false) && release(&self.state) {
                self.free();
            }
        }

        /// Changes the value where it stands, if nobody can be reading it.
        fn change_in_place(&self) -> bool {
            let is_linked = self.is_linked.lock().unwrap();
            let alone = *is_linked && is_unshared(&self.state);
            if alone {
                self.payload.with_mut(|_| ());
            }
            alone
        }

        /// Writes another item over this one, its state word included, if nobody has it.
        fn overwrite(&self) {
            let is_linked = self.is_linked.lock().unwrap();
            if *is_linked && is_unshared(&self.state) {
                let kept = self.state.load(Relaxed) & REFS_MASK;
                self.state.store(kept | KEY_BINARY, Relaxed);
                self.payload.with_mut(|_| ());
            }
        }

        /// The chunk is used for something else: a write.
        fn free(&self) {
            self.payload.with_mut(|_| ());
            self.n_freed.fetch_add(1, Relaxed);
        }
    }

    fn reader(shard: &Shard) {
        if shard.pin() {
            shard.read();
            shard.unpin();
        }
    }

    /// Every interleaving of what `f` does with a new item.
    fn model(f: impl Fn(&Arc<Shard>) + Send + Sync + 'static) {
        loom::model(move || f(&Shard::new()));
    }

    /// Does `here` while another thread does `there`.
    fn beside<T: 'static>(shared: &Arc<T>, there: fn(&T), here: impl FnOnce(&T)) {
        let other = Arc::clone(shared);
        let thread = thread::spawn(move || there(&other));
        here(shared);
        thread.join().unwrap();
    }

    /// Does `here` while two other threads do `there`.
    fn beside_two<T: 'static>(shared: &Arc<T>, there: fn(&T), here: fn(&T)) {
        beside(shared, there, |_| beside(shared, there, here));
    }

    #[test]
    fn an_item_is_freed_once_and_never_under_a_reader() {
        model(|shard| {
            beside_two(shard, reader, Shard::unlink);
            assert_eq!(shard.n_freed.load(Relaxed), 1);
        });
    }

    #[test]
    fn a_value_is_changed_in_place_only_when_nobody_reads_it() {
        model(|shard| {
            beside(shard, reader, |shard| _ = shard.change_in_place());
            assert!(shard.change_in_place(), "with the pin gone it can be changed");
            shard.unlink();
            assert_eq!(shard.n_freed.load(Relaxed), 1);
        });
    }

    #[test]
    fn overwriting_loses_no_reference() {
        model(|shard| {
            beside_two(shard, reader, Shard::overwrite);
            assert_eq!(shard.state.load(Relaxed) & REFS_MASK, 1);
            shard.unlink();
            assert_eq!(shard.n_freed.load(Relaxed), 1);
        });
    }

    #[test]
    fn two_who_unlink_free_once() {
        model(|shard| {
            beside_two(shard, Shard::unlink, reader);
            assert_eq!(shard.n_freed.load(Relaxed), 1);
        });
    }

    /// A chunk that an item is in, the lists of two queues, and the lock of the item's shard.
    struct Lists {
        state: AtomicU32,
        key: UnsafeCell<u8>,
        /// Whether the item is in it.
        lists: [Mutex<bool>; 2],
        /// Whether the shard is locked. A flag, and all only try: loom lets who tries a mutex wait.
        shard: AtomicU32,
    }

    const QUEUE: u32 = PLACE_MASK & !(IN_LIST | CHAINED);
    const SECOND_QUEUE: u32 = QUEUE & QUEUE.wrapping_neg();

    impl Lists {
        /// An item in the first queue.
        fn new() -> Arc<Self> {
            Arc::new(Self {
                state: AtomicU32::new(IN_LIST | 1),
                key: UnsafeCell::new(7),
                lists: [Mutex::new(true), Mutex::new(false)],
                shard: AtomicU32::new(0),
            })
        }

        /// Does something with the shard locked, if it can be had.
        fn with_shard(&self, f: impl FnOnce()) {
            if self.shard.swap(1, Acquire) == 0 {
                f();
                self.shard.store(0, Ordering::Release);
            }
        }

        fn list(&self, state: u32) -> &Mutex<bool> {
            &self.lists[queue_of(state) as usize]
        }

        fn push(&self) {
            let mut list = self.list(self.state.load(Relaxed)).lock().unwrap();
            *list = true;
            self.state.fetch_or(IN_LIST, Relaxed);
        }

        fn take_out(&self, list: &mut bool) {
            assert!(std::mem::replace(list, false), "the item is in the list");
            self.state.fetch_and(!IN_LIST, Relaxed);
        }

        fn unlink(&self) {
            self.take_out(&mut self.list(self.state.load(Relaxed)).lock().unwrap());
        }

        /// To the other queue and back, as a reader and maintenance do it.
        fn requeue(&self) {
            self.with_shard(|| {
                for queue in [SECOND_QUEUE, 0] {
                    // The mover may have been faster.
                    if self.state.load(Relaxed) & IN_LIST != 0 {
                        self.unlink();
                        self.state.fetch_and(!QUEUE, Relaxed);
                        self.state.fetch_or(queue, Relaxed);
                        self.push();
                    }
                }
            });
        }

        /// Deletes the item; another one takes its chunk.
        fn use_anew(&self, queue: u32) {
            self.with_shard(|| {
                if self.state.load(Relaxed) & IN_LIST != 0 {
                    self.unlink();
                    assert!(release(&self.state));
                    self.key.with_mut(|_| ());
                    self.state.store(queue | 1, Relaxed);
                    self.push();
                }
            });
        }

        /// Finds the list of an item that it holds no lock of, as the page mover does, reads the
        /// item's key, and takes it out if its shard can be had.
        fn clear(&self) {
            let seen = self.state.load(Acquire);
            if seen & IN_LIST == 0 {
                return;
            }
            let mut list = self.list(seen).lock().unwrap();
            if !is_same_place(seen, self.state.load(Acquire)) {
                return;
            }
            assert!(*list, "the item is in the list that is locked");
            self.key.with(|_| ());
            self.with_shard(|| {
                self.take_out(&mut list);
                assert!(release(&self.state));
                self.key.with_mut(|_| ());
            });
        }
    }

    #[test]
    fn an_item_found_without_a_lock_is_in_the_list_it_names() {
        loom::model(|| beside(&Lists::new(), Lists::requeue, Lists::clear));
    }

    #[test]
    fn a_key_is_not_read_while_another_item_takes_the_chunk() {
        let kinds: [fn(&Lists); 2] =
            [|lists| lists.use_anew(0), |lists| lists.use_anew(SECOND_QUEUE)];
        for anew in kinds {
            loom::model(move || beside(&Lists::new(), anew, Lists::clear));
        }
    }
}
