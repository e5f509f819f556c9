//! Slabs: which class owns which pages, and which chunks are free.
//!
//! ```text
//!  page pool ── free pages, and the right to take new ones under the limit
//!      │ take                                              ▲ a page that was drained
//!  class n  ── pages with something to give: [ page ]⇄[ page ]⇄[ page, all free ]
//!                 each with a list of freed chunks, and chunks that were never cut
//! ```
//!
//! Free chunks are kept page by page, so that a page can be taken out of use at once: what is free
//! in it is no longer given out, and what is freed counts until all of it is ([`Slabs::drain`]).
//! Pages that are all free stand at the end of their class's list, so that they stay so, and so
//! that a class in need finds them ([`Slabs::steal_free_page`]).
//!
//! A page is cut lazily: a class that needs one chunk touches one chunk, not the whole page.
//! Freed chunks are threaded through their own header (word [`FREE_NEXT`]).
//!
//! Lock order: a class, then the pool. Neither is held across anything but what is here.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use parking_lot::Mutex;

use super::{Arena, CLASSES_MAX, ClassId, ItemId, Ladder};
use crate::item::{STATE_FREE, STATE_TAKEN, STATE_WORD};

/// The header word that links free chunks.
const FREE_NEXT: usize = 1;

/// Free chunks and pages, by class.
#[derive(Debug)]
pub(crate) struct Slabs {
    ladder: Ladder,
    /// Chunks a page, by class number: a division less.
    per_page: Box<[u32]>,
    classes: Box<[Mutex<Class>]>,
    pool: Mutex<Pool>,
    /// Pages of the limit that count as taken elsewhere.
    n_withheld: usize,
    /// Pages of classes in which every chunk is free.
    n_pages_free: AtomicUsize,
    /// How many pages have come to be so, ever.
    n_freed: AtomicUsize,
    /// What that was when none of them could be had, so that nobody looks again until it changes.
    n_freed_in_vain: AtomicUsize,
}

/// Guarded by the class lock; so are the [`Page`](super::Page)s it owns.
#[derive(Debug, Default)]
struct Class {
    /// Pages with free or uncut chunks: the first and the last, page number plus one.
    first: u32,
    last: u32,
    /// All pages, the one held longest first; one that could not be drained is the last again.
    pages: VecDeque<u32>,
    /// Chunks free or uncut, but for those of a page being drained.
    n_free: usize,
    /// The page that gives nothing any more.
    draining: Option<u32>,
}

/// Guarded by the pool lock.
#[derive(Debug)]
struct Pool {
    /// Pages with memory that no class owns.
    free: Vec<u32>,
    /// Pages whose memory went back to the system.
    absent: Vec<u32>,
    /// Pages from this number on have never been used.
    next: u32,
    /// Pages that have memory: those of classes and the free ones.
    n_held: usize,
    /// How many may have; each class may have its first one beyond that.
    n_held_max: usize,
    /// The limit in pages: those and what is withheld.
    n_limit: usize,
    /// How many have it beyond that as the first of their class, since the limit was last set. As
    /// in memcached these stay: a class that is new does not cost another one a page.
    n_excused: usize,
    /// Whether they stay. The lean profile has twice the classes, and its limit is to hold.
    excuses: bool,
    /// How many had memory when the limit was last set, or the least since then: what a limit that
    /// was lowered has come down to.
    n_held_least: usize,
}

/// What a class holds, for statistics and decisions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClassUsage {
    pub(crate) chunk_bytes: usize,
    pub(crate) chunks_per_page: usize,
    pub(crate) n_pages: usize,
    /// Chunks on a free list or not yet cut.
    pub(crate) n_free: usize,
}

impl ClassUsage {
    pub(crate) fn n_chunks(&self) -> usize {
        self.n_pages * self.chunks_per_page
    }
}

/// What the page pool holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PoolUsage {
    /// Pages in the pool, ready for any class.
    pub(crate) n_free: usize,
    /// Pages with memory, those of classes included.
    pub(crate) n_held: usize,
    /// How many the limit allows, less what is withheld.
    pub(crate) n_held_max: usize,
    /// How many of those beyond it are the first of their class.
    pub(crate) n_excused: usize,
}

impl PoolUsage {
    /// Whether pages are to be taken from classes to come down to the limit.
    pub(crate) fn is_over(&self) -> bool {
        self.n_held > self.n_held_max + self.n_excused
    }

    /// Whether no page can be had but by taking it from a class.
    pub(crate) fn is_used_up(&self) -> bool {
        self.n_held >= self.n_held_max
    }
}

/// Which page of a class is drained.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Which {
    /// The one held longest.
    Oldest,
    /// The one with the most free chunks.
    Emptiest,
    /// This one, if the class still has it.
    This(u32),
}

/// What a chunk is used for; see [`Slabs::look`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ChunkUse {
    Free,
    /// An item, or about to become one, or on its way to being freed.
    Item,
    /// A link in the chain of the item with this id.
    Chain(ItemId),
}

impl Slabs {
    /// No chunks yet, under a limit of so many pages, of which some count as taken elsewhere; whether
    /// pages that classes take beyond it stay is `excuses`.
    pub(crate) fn new(ladder: Ladder, n_limit: usize, n_withheld: usize, excuses: bool) -> Self {
        let chunks = |class: ClassId| {
            u32::try_from(ladder.chunks_per_page(class)).expect("a page has at most 2^20 chunks")
        };
        Self {
            per_page: std::iter::once(0).chain(ladder.iter().map(chunks)).collect(),
            ladder,
            classes: (0..CLASSES_MAX).map(|_| Mutex::default()).collect(),
            pool: Mutex::new(Pool {
                free: Vec::new(),
                absent: Vec::new(),
                next: 0,
                n_held: 0,
                n_held_max: n_limit.saturating_sub(n_withheld),
                n_limit,
                n_excused: 0,
                excuses,
                n_held_least: 0,
            }),
            n_withheld,
            n_pages_free: AtomicUsize::new(0),
            n_freed: AtomicUsize::new(0),
            n_freed_in_vain: AtomicUsize::new(0),
        }
    }

    pub(crate) fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Takes a chunk of a class: a freed one, a fresh one, or the first of a new page. `None` when
    /// the class has none and the limit allows no further page.
    pub(crate) fn take(&self, arena: &Arena, class: ClassId) -> Option<ItemId> {
        let mut state = self.classes[class.idx()].lock();
        if state.first == 0 {
            let page = self.take_page(arena, state.pages.len())?;
            self.adopt(arena, class, &mut state, page);
        }
        Some(self.take_from(arena, class, &mut state))
    }

    /// Takes a chunk that a class has, without a new page.
    pub(crate) fn take_held(&self, arena: &Arena, class: ClassId) -> Option<ItemId> {
        let mut state = self.classes[class.idx()].lock();
        (state.first != 0).then(|| self.take_from(arena, class, &mut state))
    }

    /// Takes a chunk of a class that has one.
    fn take_from(&self, arena: &Arena, class: ClassId, state: &mut Class) -> ItemId {
        let number = state.first - 1;
        let page = arena.page(number);
        let per_page = self.per_page[class.idx()];
        let (n_free, n_cut) = (page.n_free.load(Relaxed), page.n_cut.load(Relaxed));
        if n_free + (per_page - n_cut) == per_page {
            self.n_pages_free.fetch_sub(1, Relaxed);
        }
        let freed = ItemId::from_word(page.free.load(Relaxed));
        let id = match freed {
            Some(id) => id,
            None => arena.id(number, n_cut as usize * self.ladder.chunk_bytes(class)),
        };
        let words = arena.head(id);
        let is_last = if freed.is_some() {
            debug_assert_eq!(words[STATE_WORD].load(Relaxed), STATE_FREE);
            page.free.store(words[FREE_NEXT].load(Relaxed), Relaxed);
            page.n_free.store(n_free - 1, Relaxed);
            n_free == 1 && n_cut == per_page
        } else {
            page.n_cut.store(n_cut + 1, Relaxed);
            n_cut + 1 == per_page
        };
        // Whatever stood there before, the chunk is somebody's now and not yet an item.
        words[STATE_WORD].store(STATE_TAKEN, Relaxed);
        state.n_free -= 1;
        if is_last {
            state.leave(arena, number);
        }
        id
    }

    /// Puts a chunk back; nobody refers to it any more.
    pub(crate) fn give(&self, arena: &Arena, id: ItemId) {
        let number = arena.page_of(id);
        let class = arena.class(id);
        let mut state = self.classes[class.idx()].lock();
        let page = arena.page(number);
        let words = arena.head(id);
        words[FREE_NEXT].store(page.free.load(Relaxed), Relaxed);
        // Release: who reads the state without a lock sees a free chunk's words behind it.
        words[STATE_WORD].store(STATE_FREE, Release);
        page.free.store(ItemId::to_word(Some(id)), Relaxed);
        let n_free = page.n_free.load(Relaxed) + 1;
        page.n_free.store(n_free, Relaxed);
        if state.draining == Some(number) {
            return;
        }
        state.n_free += 1;
        let (per_page, n_cut) = (self.per_page[class.idx()], page.n_cut.load(Relaxed));
        let n_all = n_free + (per_page - n_cut);
        debug_assert!(n_all <= per_page, "a chunk is freed once");
        if n_all == per_page {
            self.count_free_page();
            if n_all > 1 {
                state.leave(arena, number);
            }
            state.join_last(arena, number);
        } else if n_all == 1 {
            state.join_first(arena, number);
        }
    }

    /// A page for a class that has `n_pages`: from the pool, or a new one under the limit.
    fn take_page(&self, arena: &Arena, n_pages: usize) -> Option<u32> {
        let pool = &mut *self.pool.lock();
        // memcached's rule: the limit holds, but no class goes without its first page.
        let is_first = n_pages == 0;
        if (pool.n_held <= pool.n_held_max || is_first)
            && let Some(page) = pool.free.pop()
        {
            return Some(page);
        }
        if pool.n_held >= pool.n_held_max && !is_first {
            return None;
        }
        let page = match pool.absent.pop() {
            Some(page) => page,
            None if arena.commit(pool.next) => {
                pool.next += 1;
                pool.next - 1
            }
            None => return None,
        };
        pool.n_excused += usize::from(pool.excuses && pool.n_held >= pool.n_held_max);
        pool.n_held += 1;
        Some(page)
    }

    /// Makes a page that nobody owns a class's, all of it uncut.
    fn adopt(&self, arena: &Arena, class: ClassId, state: &mut Class, number: u32) {
        let page = arena.page(number);
        page.free.store(0, Relaxed);
        page.n_free.store(0, Relaxed);
        page.n_cut.store(0, Relaxed);
        arena.set_class(number, Some(class));
        state.pages.push_back(number);
        state.n_free += self.ladder.chunks_per_page(class);
        state.join_last(arena, number);
        self.count_free_page();
    }

    /// Counts a page in which every chunk is free. The caller holds its class's lock.
    fn count_free_page(&self) {
        self.n_pages_free.fetch_add(1, Relaxed);
        self.n_freed.fetch_add(1, Relaxed);
    }

    /// Begins to drain a page of a class. Nothing of it is given out from here on. `None` if the
    /// class has no such page, or one that is being drained.
    pub(crate) fn drain(&self, arena: &Arena, class: ClassId, which: Which) -> Option<u32> {
        let state = &mut *self.classes[class.idx()].lock();
        if state.draining.is_some() {
            return None;
        }
        let n_free = |page: &u32| self.n_free_in(arena, class, *page);
        let number = match which {
            Which::Oldest => *state.pages.front()?,
            // The first of equals is the oldest.
            Which::Emptiest => state.pages.iter().copied().rev().max_by_key(n_free)?,
            Which::This(page) => state.pages.iter().copied().find(|&other| other == page)?,
        };
        let n_free = self.n_free_in(arena, class, number);
        if n_free > 0 {
            state.leave(arena, number);
        }
        if n_free == self.ladder.chunks_per_page(class) {
            self.n_pages_free.fetch_sub(1, Relaxed);
        }
        state.n_free -= n_free;
        state.draining = Some(number);
        Some(number)
    }

    /// The pages of a class, the one held longest first, at most so many.
    pub(crate) fn pages(&self, class: ClassId, max: usize) -> Vec<u32> {
        self.classes[class.idx()].lock().pages.iter().copied().take(max).collect()
    }

    /// Whether everything in the page being drained is free.
    pub(crate) fn is_drained(&self, arena: &Arena, class: ClassId) -> bool {
        let state = self.classes[class.idx()].lock();
        let per_page = self.ladder.chunks_per_page(class);
        state.draining.is_some_and(|page| self.n_free_in(arena, class, page) == per_page)
    }

    /// Hands a drained page on: to a class, or to the pool.
    pub(crate) fn finish_drain(&self, arena: &Arena, class: ClassId, to: Option<ClassId>) {
        debug_assert!(self.is_drained(arena, class));
        let page = {
            let state = &mut *self.classes[class.idx()].lock();
            let page = state.draining.take().expect("a page is being drained");
            state.disown(page);
            arena.set_class(page, None);
            page
        };
        match to {
            Some(to) => {
                let state = &mut *self.classes[to.idx()].lock();
                self.adopt(arena, to, state, page);
            }
            None => self.pool.lock().free.push(page),
        }
    }

    /// Gives a page that could not be drained its part in its class again. If it `is_stuck`, all
    /// others have their turn before it.
    pub(crate) fn abort_drain(&self, arena: &Arena, class: ClassId, is_stuck: bool) {
        let state = &mut *self.classes[class.idx()].lock();
        let Some(number) = state.draining.take() else { return };
        let n_free = self.n_free_in(arena, class, number);
        state.n_free += n_free;
        if n_free == self.ladder.chunks_per_page(class) {
            state.join_last(arena, number);
            self.count_free_page();
        } else if n_free > 0 {
            state.join_first(arena, number);
        }
        if is_stuck && state.pages.front() == Some(&number) {
            state.pages.rotate_left(1);
        }
    }

    /// Takes a page in which every chunk is free from a class that can spare it, for a class that
    /// needs one; false when there is none. The caller holds no class lock.
    pub(crate) fn steal_free_page(&self, arena: &Arena, to: ClassId) -> bool {
        // Those that their classes keep would have every store in need look at all classes.
        let n_freed = self.n_freed.load(Relaxed);
        if self.n_pages_free.load(Relaxed) == 0 || n_freed == self.n_freed_in_vain.load(Relaxed) {
            return false;
        }
        let mut is_in_vain = true;
        for from in self.ladder.iter() {
            let page = {
                let state = &mut *self.classes[from.idx()].lock();
                // Its last page is left to it: it could ask for another beyond the limit.
                if state.last == 0 || state.pages.len() < 2 {
                    continue;
                }
                let page = state.last - 1;
                let per_page = self.ladder.chunks_per_page(from);
                if self.n_free_in(arena, from, page) < per_page {
                    continue;
                }
                if from == to {
                    // Freed since; not for this one to take, but for others.
                    is_in_vain = false;
                    continue;
                }
                state.leave(arena, page);
                state.n_free -= per_page;
                state.disown(page);
                arena.set_class(page, None);
                page
            };
            // `adopt` counts it again.
            self.n_pages_free.fetch_sub(1, Relaxed);
            self.adopt(arena, to, &mut self.classes[to.idx()].lock(), page);
            return true;
        }
        if is_in_vain {
            self.n_freed_in_vain.store(n_freed, Relaxed);
        }
        false
    }

    /// How many pages all classes but one could give up: all they have, but for the last of each.
    pub(crate) fn n_pages_spare(&self, but_for: ClassId) -> usize {
        let others = self.ladder.iter().filter(|&class| class != but_for);
        others.map(|class| self.classes[class.idx()].lock().pages.len().saturating_sub(1)).sum()
    }

    /// How many pages of classes have nothing in them.
    pub(crate) fn n_pages_free(&self) -> usize {
        self.n_pages_free.load(Relaxed)
    }

    /// Hands a page of the pool to a class; false when the pool has none.
    pub(crate) fn grant(&self, arena: &Arena, to: ClassId) -> bool {
        let state = &mut *self.classes[to.idx()].lock();
        let Some(page) = self.pool.lock().free.pop() else { return false };
        self.adopt(arena, to, state, page);
        true
    }

    /// Changes the limit, in pages.
    pub(crate) fn set_limit(&self, n_limit: usize) {
        let pool = &mut *self.pool.lock();
        pool.n_held_max = n_limit.saturating_sub(self.n_withheld);
        pool.n_limit = n_limit;
        pool.n_excused = 0;
        pool.n_held_least = pool.n_held;
    }

    /// The limit in pages, withheld ones included.
    pub(crate) fn limit(&self) -> usize {
        self.pool.lock().n_limit
    }

    /// Gives pages of the pool back to the system, at most so many, while there are more with
    /// memory than there may be; says how many.
    pub(crate) fn release_excess(&self, arena: &Arena, max: usize) -> usize {
        for n in 0..max {
            let pool = &mut *self.pool.lock();
            if pool.n_held <= pool.n_held_max {
                return n;
            }
            let Some(page) = pool.free.pop() else { return n };
            arena.give_back(page);
            pool.absent.push(page);
            pool.n_held -= 1;
            pool.n_held_least = pool.n_held_least.min(pool.n_held);
            pool.n_excused = pool.n_excused.min(pool.n_held.saturating_sub(pool.n_held_max));
        }
        max
    }

    /// What the pool holds now.
    pub(crate) fn pool(&self) -> PoolUsage {
        let pool = self.pool.lock();
        let Pool { n_held, n_held_max, n_excused, .. } = *pool;
        PoolUsage { n_free: pool.free.len(), n_held, n_held_max, n_excused }
    }

    /// The least pages that had memory since the limit was last set.
    #[cfg(any(all(test, not(loom)), fuzzing))]
    pub(crate) fn n_held_least(&self) -> usize {
        self.pool.lock().n_held_least
    }

    /// What a class holds now.
    pub(crate) fn usage(&self, class: ClassId) -> ClassUsage {
        let state = self.classes[class.idx()].lock();
        ClassUsage {
            chunk_bytes: self.ladder.chunk_bytes(class),
            chunks_per_page: self.ladder.chunks_per_page(class),
            n_pages: state.pages.len(),
            n_free: state.n_free,
        }
    }

    /// How many chunks of a page have ever been used, and the bytes from one to the next.
    pub(crate) fn cut(&self, arena: &Arena, class: ClassId, page: u32) -> (usize, usize) {
        let _state = self.classes[class.idx()].lock();
        (arena.page(page).n_cut.load(Relaxed) as usize, self.ladder.chunk_bytes(class))
    }

    /// What a chunk of a class's page is used for at this moment.
    pub(crate) fn look(&self, arena: &Arena, class: ClassId, id: ItemId) -> ChunkUse {
        // Chunks are taken and given under this lock: one that is a link of a chain stays so, and
        // its owner in use, as long as it is held.
        let _state = self.classes[class.idx()].lock();
        let state = arena.word(id, STATE_WORD).load(Acquire);
        if state == STATE_FREE {
            return ChunkUse::Free;
        }
        crate::item::chain_owner(arena, id, state).map_or(ChunkUse::Item, ChunkUse::Chain)
    }

    /// The class and state word of the chunk that an id, kept without lock or reference, names; a
    /// moment later they may be others. `None` if no chunk begins there any more.
    pub(crate) fn state_at(&self, arena: &Arena, id: ItemId) -> Option<(ClassId, u32)> {
        let number = arena.page_of(id);
        let class = arena.class_of(number)?;
        let _state = self.classes[class.idx()].lock();
        // A page that is this class's under its lock has this class's chunks.
        if arena.class_of(number) != Some(class) {
            return None;
        }
        let (offset, chunk_bytes) = (arena.offset_in_page(id), self.ladder.chunk_bytes(class));
        let n_cut = arena.page(number).n_cut.load(Relaxed) as usize;
        let is_chunk = offset.is_multiple_of(chunk_bytes) && offset / chunk_bytes < n_cut;
        is_chunk.then(|| (class, arena.word(id, STATE_WORD).load(Acquire)))
    }

    /// Free and uncut chunks of a page. The caller holds the class lock.
    fn n_free_in(&self, arena: &Arena, class: ClassId, page: u32) -> usize {
        let page = arena.page(page);
        let uncut = self.per_page[class.idx()] - page.n_cut.load(Relaxed);
        (page.n_free.load(Relaxed) + uncut) as usize
    }

    /// Calls `f` with every chunk on a class's free lists, and checks its books.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn for_each_free(&self, arena: &Arena, class: ClassId, mut f: impl FnMut(ItemId)) {
        let state = self.classes[class.idx()].lock();
        let mut n_free = 0;
        for &number in &state.pages {
            assert_eq!(arena.class_of(number), Some(class), "a page knows its class");
            let page = arena.page(number);
            let mut next = ItemId::from_word(page.free.load(Relaxed));
            let mut n = 0;
            while let Some(id) = next {
                assert_eq!(arena.page_of(id), number, "a page lists its own chunks");
                f(id);
                n += 1;
                next = ItemId::from_word(arena.word(id, FREE_NEXT).load(Relaxed));
            }
            assert_eq!(n, page.n_free.load(Relaxed), "a free list is as long as it says");
            if state.draining != Some(number) {
                n_free += self.n_free_in(arena, class, number);
            }
        }
        assert_eq!(n_free, state.n_free, "class {} knows what is free", class.number());
        let mut n_listed = 0;
        let mut next = state.first;
        while next != 0 {
            n_listed += self.n_free_in(arena, class, next - 1);
            next = arena.page(next - 1).next.load(Relaxed);
        }
        assert_eq!(n_listed, n_free, "class {} can give what is free", class.number());
    }

    /// Chunks that are free, but in a page being drained.
    #[cfg(any(all(test, not(loom)), fuzzing))]
    pub(crate) fn count_drained(&self, arena: &Arena, class: ClassId) -> usize {
        let state = self.classes[class.idx()].lock();
        state.draining.map_or(0, |page| self.n_free_in(arena, class, page))
    }

    /// Pages in which all is free, as counted and as they are.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn count_free_pages(&self, arena: &Arena) -> (usize, usize) {
        let count = |class: ClassId| {
            let state = self.classes[class.idx()].lock();
            let all = self.ladder.chunks_per_page(class);
            let is_free = |page: &&u32| {
                state.draining != Some(**page) && self.n_free_in(arena, class, **page) == all
            };
            state.pages.iter().filter(is_free).count()
        };
        (self.n_pages_free.load(Relaxed), self.ladder.iter().map(count).sum())
    }
}

impl Class {
    /// Makes a page the first to be asked for chunks.
    fn join_first(&mut self, arena: &Arena, number: u32) {
        let (word, second) = (number + 1, self.first);
        let page = arena.page(number);
        page.prev.store(0, Relaxed);
        page.next.store(second, Relaxed);
        self.first = word;
        self.set_prev(arena, second, word);
    }

    /// Makes a page the last to be asked for chunks.
    fn join_last(&mut self, arena: &Arena, number: u32) {
        let (word, before) = (number + 1, self.last);
        let page = arena.page(number);
        page.next.store(0, Relaxed);
        page.prev.store(before, Relaxed);
        self.last = word;
        self.set_next(arena, before, word);
    }

    /// Takes a page out of the list of those with something to give.
    fn leave(&mut self, arena: &Arena, number: u32) {
        let page = arena.page(number);
        let (prev, next) = (page.prev.load(Relaxed), page.next.load(Relaxed));
        self.set_next(arena, prev, next);
        self.set_prev(arena, next, prev);
    }

    /// Sets what comes behind a page; behind none comes the first.
    fn set_next(&mut self, arena: &Arena, word: u32, next: u32) {
        match word.checked_sub(1) {
            Some(number) => arena.page(number).next.store(next, Relaxed),
            None => self.first = next,
        }
    }

    /// Sets what comes before a page; before none comes the last.
    fn set_prev(&mut self, arena: &Arena, word: u32, prev: u32) {
        match word.checked_sub(1) {
            Some(number) => arena.page(number).prev.store(prev, Relaxed),
            None => self.last = prev,
        }
    }

    fn disown(&mut self, number: u32) {
        let at = self.pages.iter().position(|&page| page == number);
        self.pages.remove(at.expect("a class lists its pages"));
    }
}

#[cfg(test)]
mod tests {
    use nuthatch_types::limits::PAGE_BYTES;

    use super::super::tests::arena;
    use super::*;

    fn slabs(pages: usize) -> (Arena, Slabs) {
        let ladder = Ladder::new(48, 1.25, 512 << 10, 8, PAGE_BYTES);
        (arena(pages * PAGE_BYTES), Slabs::new(ladder, pages, 0, true))
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
        assert_eq!(slabs.pool().n_held, 2);
    }

    #[test]
    fn a_drained_page_serves_another_class() {
        let (arena, slabs) = slabs(2);
        let (small, large) = (ClassId::new(1), slabs.ladder().last());
        let per_page = slabs.ladder().chunks_per_page(small);
        let ids: Vec<_> = (0..2 * per_page).map(|_| slabs.take(&arena, small).unwrap()).collect();
        assert_eq!(slabs.drain(&arena, small, Which::Oldest), Some(0));
        slabs.give(&arena, ids[0]);
        assert_eq!(slabs.take(&arena, small), None, "a draining page gives nothing");
        ids[1..per_page].iter().for_each(|&id| slabs.give(&arena, id));
        assert!(slabs.is_drained(&arena, small));
        slabs.finish_drain(&arena, small, Some(large));
        assert_eq!(slabs.usage(small).n_pages, 1);
        assert_eq!(slabs.usage(large).n_free, 2);
        assert!(slabs.take(&arena, large).is_some());
        slabs.for_each_free(&arena, small, |_| ());
        slabs.for_each_free(&arena, large, |_| ());
    }

    #[test]
    fn the_emptiest_page_is_drained_and_its_memory_returned() {
        let (arena, slabs) = slabs(3);
        let class = slabs.ladder().last();
        let ids: Vec<_> = (0..6).map(|_| slabs.take(&arena, class).unwrap()).collect();
        slabs.give(&arena, ids[2]);
        slabs.give(&arena, ids[3]);
        assert_eq!(slabs.count_free_pages(&arena), (1, 1));
        assert_eq!(slabs.drain(&arena, class, Which::Emptiest), Some(1));
        assert!(slabs.is_drained(&arena, class));
        slabs.finish_drain(&arena, class, None);
        assert_eq!(slabs.pool(), PoolUsage { n_free: 1, n_held: 3, n_held_max: 3, n_excused: 0 });
        slabs.set_limit(2);
        assert_eq!(slabs.release_excess(&arena, 10), 1);
        assert_eq!(slabs.pool(), PoolUsage { n_free: 0, n_held: 2, n_held_max: 2, n_excused: 0 });
        assert_eq!(slabs.take(&arena, class), None);
        slabs.set_limit(3);
        assert!(slabs.take(&arena, class).is_some());
    }

    #[test]
    fn a_page_all_free_can_be_had_by_another_class() {
        let (arena, slabs) = slabs(2);
        let (small, large) = (ClassId::new(1), slabs.ladder().last());
        let ids: Vec<_> = (0..4).map(|_| slabs.take(&arena, large).unwrap()).collect();
        slabs.take(&arena, small).unwrap();
        assert!(!slabs.steal_free_page(&arena, small));
        slabs.give(&arena, ids[1]);
        slabs.give(&arena, ids[0]);
        assert!(slabs.steal_free_page(&arena, small));
        assert_eq!((slabs.usage(small).n_pages, slabs.usage(large).n_pages), (2, 1));
        assert_eq!(slabs.count_free_pages(&arena), (1, 1));
    }

    #[test]
    fn a_drain_that_is_given_up_leaves_all_as_it_was() {
        let (arena, slabs) = slabs(1);
        let class = slabs.ladder().last();
        let ids: Vec<_> = (0..2).map(|_| slabs.take(&arena, class).unwrap()).collect();
        slabs.drain(&arena, class, Which::Oldest).unwrap();
        slabs.give(&arena, ids[0]);
        slabs.abort_drain(&arena, class, false);
        assert_eq!(slabs.take(&arena, class), Some(ids[0]));
        slabs.for_each_free(&arena, class, |_| ());
    }

    #[test]
    fn a_page_that_is_stuck_lets_the_others_go_first() {
        let (arena, slabs) = slabs(2);
        let class = slabs.ladder().last();
        for _ in 0..4 {
            slabs.take(&arena, class).unwrap();
        }
        assert_eq!(slabs.drain(&arena, class, Which::Oldest), Some(0));
        slabs.abort_drain(&arena, class, false);
        assert_eq!(slabs.drain(&arena, class, Which::Oldest), Some(0));
        slabs.abort_drain(&arena, class, true);
        assert_eq!(slabs.drain(&arena, class, Which::Oldest), Some(1));
        slabs.abort_drain(&arena, class, true);
    }

    #[test]
    fn a_page_freed_while_it_was_drained_can_be_had_when_the_drain_is_given_up() {
        let (arena, slabs) = slabs(3);
        let (small, large) = (ClassId::new(1), slabs.ladder().last());
        let ids: Vec<_> = (0..4).map(|_| slabs.take(&arena, large).unwrap()).collect();
        slabs.take(&arena, small).unwrap();
        slabs.drain(&arena, large, Which::Oldest).unwrap();
        ids[..3].iter().for_each(|&id| slabs.give(&arena, id));
        slabs.abort_drain(&arena, large, false);
        // The other one, of which a chunk is in use, stands before it.
        assert!(slabs.steal_free_page(&arena, small));
    }

    #[test]
    fn a_page_that_its_class_keeps_is_looked_for_once() {
        let (arena, slabs) = slabs(3);
        let (small, large) = (ClassId::new(1), slabs.ladder().last());
        let only = slabs.take(&arena, large).unwrap();
        slabs.give(&arena, only);
        assert!(!slabs.steal_free_page(&arena, small), "the only one of its class");
        assert_eq!(slabs.n_freed_in_vain.load(Relaxed), slabs.n_freed.load(Relaxed));
        let ids: Vec<_> = (0..3).map(|_| slabs.take(&arena, large).unwrap()).collect();
        assert!(!slabs.steal_free_page(&arena, small), "nothing is all free");
        ids.iter().for_each(|&id| slabs.give(&arena, id));
        assert!(slabs.steal_free_page(&arena, small), "one of two");
        assert!(!slabs.steal_free_page(&arena, small));
    }
}
