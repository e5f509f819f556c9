//! Slabs: which class owns which pages, and which chunks are free.
//!
//! ```text
//!  page pool ── the right to commit new pages under the limit
//!      │ take
//!  class n  ── free list of chunks  +  the page being cut, from which fresh chunks come
//! ```
//!
//! A page is cut lazily: a class that needs one chunk touches one chunk, not the whole page.
//! Freed chunks are threaded through their own header (word [`FREE_NEXT`]).
//!
//! Lock order: a class, then the pool. Neither is held across anything but what is here.

use parking_lot::Mutex;

use std::sync::atomic::Ordering::Relaxed;

use nuthatch_types::limits::PAGE_BYTES;

use super::{Arena, CLASSES_MAX, ClassId, ItemId, Ladder};
use crate::item::{STATE_FREE, STATE_WORD};

/// The header word that links free chunks.
const FREE_NEXT: usize = 1;

/// Free chunks and pages, by class.
#[derive(Debug)]
pub(crate) struct Slabs {
    ladder: Ladder,
    classes: Box<[Mutex<Class>]>,
    pool: Mutex<Pool>,
}

/// Guarded by the class lock.
#[derive(Debug, Default)]
struct Class {
    free: Option<ItemId>,
    n_free: usize,
    /// The page being cut and the chunk of it that comes next.
    cutting: Option<(u32, usize)>,
    n_pages: usize,
}

/// Guarded by the pool lock.
#[derive(Debug)]
struct Pool {
    /// Pages that classes own.
    n_owned: usize,
    /// How many pages classes may own together; each may have its first one beyond that.
    n_owned_max: usize,
}

/// What a class holds, for statistics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClassUsage {
    pub(crate) chunk_bytes: usize,
    pub(crate) chunks_per_page: usize,
    pub(crate) n_pages: usize,
    /// Chunks on the free list and not yet cut.
    pub(crate) n_free: usize,
}

impl ClassUsage {
    pub(crate) fn n_chunks(&self) -> usize {
        self.n_pages * self.chunks_per_page
    }
}

impl Slabs {
    pub(crate) fn new(ladder: Ladder, memory_limit: usize) -> Self {
        Self {
            ladder,
            classes: (0..CLASSES_MAX).map(|_| Mutex::default()).collect(),
            pool: Mutex::new(Pool { n_owned: 0, n_owned_max: memory_limit / PAGE_BYTES }),
        }
    }

    pub(crate) fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Takes a chunk of a class: a freed one, a fresh one, or the first of a new page. `None` when
    /// the class has none and the limit allows no further page.
    pub(crate) fn take(&self, arena: &Arena, class: ClassId) -> Option<ItemId> {
        let mut state = self.classes[class.idx()].lock();
        let id = match state.free {
            Some(id) => {
                state.free = ItemId::from_word(arena.word(id, FREE_NEXT).load(Relaxed));
                state.n_free -= 1;
                id
            }
            None => {
                let (page, chunk) = match state.cutting {
                    Some(place) => place,
                    None => (self.take_page(arena, class, &mut state)?, 0),
                };
                let next = chunk + 1;
                let more = next < self.ladder.chunks_per_page(class);
                state.cutting = more.then_some((page, next));
                arena.id(page, chunk * self.ladder.chunk_bytes(class))
            }
        };
        debug_assert!(matches!(arena.word(id, STATE_WORD).load(Relaxed), 0 | STATE_FREE));
        Some(id)
    }

    /// Puts a chunk back; nobody refers to it any more.
    pub(crate) fn give(&self, arena: &Arena, id: ItemId) {
        let class = arena.class(id);
        let mut state = self.classes[class.idx()].lock();
        arena.word(id, STATE_WORD).store(STATE_FREE, Relaxed);
        arena.word(id, FREE_NEXT).store(ItemId::to_word(state.free), Relaxed);
        state.free = Some(id);
        state.n_free += 1;
        debug_assert!(state.n_free <= state.n_pages * self.ladder.chunks_per_page(class));
    }

    fn take_page(&self, arena: &Arena, class: ClassId, state: &mut Class) -> Option<u32> {
        let mut pool = self.pool.lock();
        // memcached's rule: the limit holds, but no class goes without its first page.
        if pool.n_owned >= pool.n_owned_max && state.n_pages > 0 {
            return None;
        }
        let page = arena.commit_next()?;
        pool.n_owned += 1;
        arena.set_class(page, class);
        state.n_pages += 1;
        Some(page)
    }

    /// What a class holds now.
    pub(crate) fn usage(&self, class: ClassId) -> ClassUsage {
        let state = self.classes[class.idx()].lock();
        let chunks_per_page = self.ladder.chunks_per_page(class);
        let uncut = state.cutting.map_or(0, |(_, next)| chunks_per_page - next);
        ClassUsage {
            chunk_bytes: self.ladder.chunk_bytes(class),
            chunks_per_page,
            n_pages: state.n_pages,
            n_free: state.n_free + uncut,
        }
    }

    /// Pages that classes own.
    pub(crate) fn n_owned_pages(&self) -> usize {
        self.pool.lock().n_owned
    }

    /// Calls `f` with every chunk on a class's free list.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn for_each_free(&self, arena: &Arena, class: ClassId, mut f: impl FnMut(ItemId)) {
        let state = self.classes[class.idx()].lock();
        let mut next = state.free;
        let mut n = 0;
        while let Some(id) = next {
            f(id);
            n += 1;
            next = ItemId::from_word(arena.word(id, FREE_NEXT).load(Relaxed));
        }
        assert_eq!(n, state.n_free, "free list of class {} is as long as it says", class.number());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slabs(pages: usize) -> (Arena, Slabs) {
        let ladder = Ladder::new(48, 1.25, 512 << 10, 8);
        (Arena::reserve(pages * PAGE_BYTES).unwrap(), Slabs::new(ladder, pages * PAGE_BYTES))
    }

    #[test]
    fn chunks_come_back_before_fresh_ones_are_cut() {
        let (arena, slabs) = slabs(1);
        let class = ClassId::new(1);
        let first = slabs.take(&arena, class).unwrap();
        let second = slabs.take(&arena, class).unwrap();
        assert_ne!(first, second);
        slabs.give(&arena, first);
        assert_eq!(slabs.take(&arena, class), Some(first));
    }

    #[test]
    fn a_class_has_its_first_page_beyond_the_limit_and_no_second() {
        let (arena, slabs) = slabs(1);
        let (small, large) = (ClassId::new(1), slabs.ladder().last());
        let per_page = slabs.ladder().chunks_per_page(small);
        for _ in 0..per_page {
            assert!(slabs.take(&arena, small).is_some());
        }
        assert_eq!(slabs.take(&arena, small), None);
        assert!(slabs.take(&arena, large).is_some());
        assert!(slabs.take(&arena, large).is_some());
        assert_eq!(slabs.take(&arena, large), None);
        assert_eq!(slabs.usage(small).n_free, 0);
        assert_eq!(slabs.n_owned_pages(), 2);
    }
}
