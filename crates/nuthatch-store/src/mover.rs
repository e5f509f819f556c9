//! The page mover: empties a page of one class and hands it to another, or to the page pool.
//!
//! ```text
//!  drain: nothing of the page is given out any more
//!    │
//!    ▼   for each of its chunks, again and again until all are free
//!  free? ───────────────────────────────► nothing to do
//!  an item in a list, or a link of one ─► copied into another chunk of the class, which takes its
//!                                         place in index, list and chain; dead ones just leave
//!  being written, pinned, locked ───────► busy: come again
//!    │
//!    ▼
//!  the page is the other class's, all of it uncut
//! ```
//!
//! A chunk is looked at without the lock of the item in it, since that lock follows from the key.
//! What makes this sound: chunks are taken and given under their class's lock, so what `look` says
//! under it is true; an item that is [`IN_LIST`](crate::item::IN_LIST) while its list is locked
//! stays there and keeps its key; and a page that is being drained keeps its grid and gives nothing
//! out, so that an id in it names one chunk throughout. The owner of a link is an id in any page,
//! and looked at like one from the rings (`store/expire.rs`). The mover's lock comes first of all;
//! shards it only tries.
//!
//! Copies need a free chunk outside the page. Without one, and with no page to be had, the class
//! evicts, as memcached's mover does.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use nuthatch_types::limits::PAGE_BYTES;
use parking_lot::Mutex;

use crate::Store;
use crate::arena::{CLASSES_MAX, ChunkUse, ClassId, ItemId, Which};
use crate::automove::{ClassFigures, Move, Window};
use crate::checks;
use crate::config::Automove;
use crate::counters::Counter;
use crate::error::ConfigError;
use crate::item::{ACTIVE, CHAINED, IN_LIST, LINKED, Queue, STATE_FREE, Sole};
use crate::lru::SegmentGuard;
use crate::refs::REFS_MASK;
use crate::store::{Cause, Inner, StoreEvent};

/// Chunks looked at in one step.
const CHUNKS_PER_STEP: usize = 256;
/// Bytes copied in one step, but for the last item: some 50 µs.
const BYTES_PER_STEP: usize = 256 << 10;
/// How often a chunk is looked at again, where a page is emptied at once, whose item somebody has.
const LOCKED_TRIES: usize = 20;
/// How many pages of a class are tried where one is emptied at once.
const PAGES_TRIED_MAX: usize = 16;
/// How often a class evicts to get one chunk, as in memcached.
const EVICT_TRIES: usize = 10;
/// After so many passes over a page a long value in use is removed, so that its memory comes back
/// when its readers are done: 5 ms each, some 5 s.
const LOOPS_CHAIN_MAX: u32 = 1000;
/// After so many passes the page is left to its class: some 15 s.
const LOOPS_MAX: u32 = 3000;
/// How long to wait after a pass that found busy chunks, in milliseconds.
const BUSY_PAUSE_MS_MAX: u64 = 5;
/// Pages given back to the system in one step: a page takes some 50 µs.
const RELEASES_PER_STEP: usize = 4;

/// Why a page is not moved.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "the replies of memcached's `slabs reassign`")]
pub enum ReassignError {
    /// The store was built without page moves.
    #[error("page moves are disabled")]
    Disabled,
    /// Another page is being moved.
    #[error("another page is being moved")]
    Busy,
    /// There is no such class.
    #[error("no such class")]
    BadClass,
    /// The source has only one page, or none.
    #[error("the source class has no spare pages")]
    NoSpare,
    /// Source and destination are the same.
    #[error("source and destination are the same class")]
    Same,
}

/// The mover of a store.
#[derive(Debug)]
pub(crate) struct Mover {
    state: Mutex<State>,
    settings: Mutex<Settings>,
    /// A class that evicted, for which a page is to be found; 0 for none.
    wanted_by: AtomicU8,
    is_eager: AtomicBool,
    pub(crate) stats: MoverStats,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    automove: Automove,
    ratio: f64,
    window: u32,
}

/// Counters; names as in `stats`.
#[derive(Debug, Default)]
pub(crate) struct MoverStats {
    pub(crate) rescues: AtomicU64,
    pub(crate) chunk_rescues: AtomicU64,
    pub(crate) evictions_nomem: AtomicU64,
    pub(crate) inline_reclaim: AtomicU64,
    pub(crate) busy_items: AtomicU64,
    pub(crate) busy_deletes: AtomicU64,
    pub(crate) busy_nomem: AtomicU64,
    pub(crate) slabs_moved: AtomicU64,
    pub(crate) is_running: AtomicBool,
    last_status: AtomicU8,
}

#[derive(Debug, Default)]
struct State {
    job: Option<Job>,
    window: Option<Window>,
    /// When the last decision was taken, by the store's clock.
    decided_at: u32,
    /// When the last samples were taken.
    sampled_at: u32,
    /// Where the search for any source begins.
    any_from: usize,
}

/// A page on its way.
#[derive(Debug)]
struct Job {
    plan: Move,
    page: u32,
    /// The chunk to look at next.
    next: usize,
    /// Chunks found busy in this pass.
    n_busy: u64,
    loops: u32,
    may_evict: bool,
    /// Items are removed rather than copied.
    by_force: bool,
    /// A free chunk outside the page, to copy into.
    spare: Option<ItemId>,
}

/// What became of a chunk; the words are those of `slab_reassign_last_busy_status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Status {
    Free,
    Moved(usize),
    Busy,
    Active,
    Floating,
    Locked,
    NoMemory,
}

const STATUS_WORDS: [&str; 7] =
    ["none", "from_slab", "from_lru", "busy", "busy_active", "busy_floating", "locked"];

impl Status {
    fn code(self) -> u8 {
        match self {
            Self::Free => 1,
            // Without memory an item stays as it is, one of the LRU's, as memcached says.
            Self::Moved(_) | Self::NoMemory => 2,
            Self::Busy => 3,
            Self::Active => 4,
            Self::Floating => 5,
            Self::Locked => 6,
        }
    }
}

impl MoverStats {
    /// Sets the counters to 0.
    pub(crate) fn reset(&self) {
        let Self {
            rescues,
            chunk_rescues,
            evictions_nomem,
            inline_reclaim,
            busy_items,
            busy_deletes,
            busy_nomem,
            slabs_moved,
            is_running: _,
            last_status,
        } = self;
        let counters = [
            rescues,
            chunk_rescues,
            evictions_nomem,
            inline_reclaim,
            busy_items,
            busy_deletes,
            busy_nomem,
            slabs_moved,
        ];
        counters.iter().for_each(|counter| counter.store(0, Relaxed));
        last_status.store(0, Relaxed);
    }

    /// What stood in the way of the last chunk looked at.
    pub(crate) fn last_status(&self) -> &'static str {
        STATUS_WORDS[usize::from(self.last_status.load(Relaxed))]
    }
}

/// When the mover wants to be called again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MoverDue {
    /// There is no page to move.
    Idle,
    /// After so many milliseconds; 0 is at once.
    InMs(u64),
}

impl Mover {
    pub(crate) fn new(automove: Automove, ratio: f64, window: u32) -> Self {
        Self {
            state: Mutex::default(),
            settings: Mutex::new(Settings { automove, ratio, window }),
            wanted_by: AtomicU8::new(0),
            is_eager: AtomicBool::new(automove == Automove::Eager),
            stats: MoverStats::default(),
        }
    }

    /// Notes that a class has evicted, which an eager mover answers with a page.
    pub(crate) fn note_eviction(&self, class: ClassId) {
        if self.is_eager.load(Relaxed) {
            self.wanted_by.store(class.number(), Relaxed);
        }
    }
}

impl Store {
    /// Moves a slab page from one class to another (`slabs reassign`); `None` takes it from any
    /// class that has more than one, destination 0 is the page pool, and so is source 0. Items are
    /// copied into other pages of their class, evicting there if memory is used up.
    ///
    /// The move itself is done by [`Maintenance`](crate::Maintenance); one page moves at a time.
    ///
    /// # Errors
    ///
    /// See [`ReassignError`].
    pub fn reassign(&self, from: Option<u8>, to: u8) -> Result<(), ReassignError> {
        let inner = &*self.inner;
        if !inner.config.slab_reassign {
            return Err(ReassignError::Disabled);
        }
        let Some(mut state) = inner.mover.state.try_lock() else { return Err(ReassignError::Busy) };
        if state.job.is_some() {
            return Err(ReassignError::Busy);
        }
        if from == Some(to) {
            return Err(ReassignError::Same);
        }
        let last = inner.slabs.ladder().last().number();
        let class = |number: u8| match number {
            0 => Ok(None),
            number if number <= last => Ok(Some(ClassId::new(usize::from(number)))),
            _ => Err(ReassignError::BadClass),
        };
        let to = class(to)?;
        let from = match from {
            Some(number) => class(number)?,
            None => Some(inner.any_source(&mut state, to).ok_or(ReassignError::BadClass)?),
        };
        match (from, to) {
            (None, Some(to)) => {
                let has_spare = inner.slabs.pool().n_free > 1;
                if !has_spare || !inner.slabs.grant(inner.items.arena(), to) {
                    return Err(ReassignError::NoSpare);
                }
                inner.mover.stats.slabs_moved.fetch_add(1, Relaxed);
            }
            (None, None) => return Err(ReassignError::Same),
            (Some(from), to) => {
                if inner.slabs.usage(from).n_pages < 2
                    || !inner.begin_move(&mut state, Move { from, to }, Which::Oldest, true)
                {
                    return Err(ReassignError::NoSpare);
                }
            }
        }
        drop(state);
        inner.wake.wake();
        Ok(())
    }

    /// Whether and how pages are moved without being asked (`slabs automove`).
    pub fn set_automove(&self, automove: Automove) {
        let mover = &self.inner.mover;
        mover.settings.lock().automove = automove;
        mover.is_eager.store(automove == Automove::Eager, Relaxed);
        self.inner.wake.wake();
    }

    /// How pages are moved at present: the rule, its ratio and its window in seconds.
    pub fn automove(&self) -> (Automove, f64, u32) {
        let Settings { automove, ratio, window } = *self.inner.mover.settings.lock();
        (automove, ratio, window)
    }

    /// Sets the ratio of ages at which automove takes a page (`slabs automove ratio`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] unless it is above 0 and at most 1.
    pub fn set_automove_ratio(&self, ratio: f64) -> Result<(), ConfigError> {
        checks::automove_ratio(ratio)?;
        self.inner.mover.settings.lock().ratio = ratio;
        Ok(())
    }

    /// Sets over how many seconds automove watches (`slabs automove window`); it begins anew.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] unless it is 3 to 1800.
    pub fn set_automove_window(&self, window: u32) -> Result<(), ConfigError> {
        checks::automove_window(window)?;
        self.inner.mover.settings.lock().window = window;
        Ok(())
    }

    /// Changes the memory limit (`cache_memlimit`), in bytes, rounded down to pages. A higher one
    /// holds at once; under a lower one, maintenance empties pages, copying what they hold as long
    /// as there is room and evicting where there is none, and gives their memory back to the
    /// system. (A store without page moves gives back what its pool has.)
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] below 1 MiB, and above what the store can name: twice the limit
    /// it was built with, or 32 GiB, whichever is more; from 128 GiB on, some 256 GiB.
    pub fn set_memory_limit(&self, bytes: usize) -> Result<(), ConfigError> {
        let inner = &*self.inner;
        let arena = inner.items.arena();
        let pages = bytes / arena.page_bytes();
        let is_right = bytes >= PAGE_BYTES && pages + CLASSES_MAX < arena.pages_max();
        let reason = "must be 1 MiB to what the store was built for";
        checks::require(is_right, "memory_limit", reason)?;
        inner.slabs.set_limit(pages);
        inner.wake.wake();
        Ok(())
    }

    /// The memory limit as it is now, in bytes.
    pub fn memory_limit(&self) -> usize {
        self.inner.slabs.limit() * self.inner.items.arena().page_bytes()
    }
}

impl Inner {
    /// Does a bounded part of what there is to move.
    pub(crate) fn move_pages(&self) -> MoverDue {
        let arena = self.items.arena();
        let released = self.slabs.release_excess(arena, RELEASES_PER_STEP);
        if released == RELEASES_PER_STEP {
            return MoverDue::InMs(0);
        }
        if !self.config.slab_reassign {
            return MoverDue::Idle;
        }
        let mut state = self.mover.state.lock();
        let found = if state.job.is_none() { self.find_move(&mut state) } else { None };
        let due = match state.job {
            Some(_) => self.work_on_page(&mut state),
            None => MoverDue::Idle,
        };
        drop(state);
        if let Some((Move { from, to }, ok)) = found {
            let (src, dst) = (from.number(), to.map_or(0, ClassId::number));
            self.announce(StoreEvent::PageMoved { src, dst, ok });
        }
        due
    }

    /// Begins the most urgent move, if there is one; says which, and whether it has begun.
    fn find_move(&self, state: &mut State) -> Option<(Move, bool)> {
        let pool = self.slabs.pool();
        if pool.is_over() {
            let plan = Move { from: self.give_up_source()?, to: None };
            return Some((plan, self.begin_move(state, plan, Which::Emptiest, true)));
        }
        let settings = *self.mover.settings.lock();
        if settings.automove == Automove::Off {
            return None;
        }
        let wanted_by = self.mover.wanted_by.swap(0, Relaxed);
        if settings.automove == Automove::Eager && wanted_by != 0 {
            let to = Some(ClassId::new(usize::from(wanted_by)));
            if let Some(from) = self.any_source(state, to) {
                let plan = Move { from, to };
                if self.begin_move(state, plan, Which::Oldest, true) {
                    return Some((plan, true));
                }
            }
        }
        let now = self.clock.now();
        if state.decided_at == now {
            return None;
        }
        let figures = self.class_figures();
        let size = settings.window as usize;
        let window = state.window.take().filter(|window| window.size() == size);
        let mut window = window.unwrap_or_else(|| Window::new(size, &figures));
        if state.sampled_at != now {
            state.sampled_at = now;
            window.sample(&figures);
        }
        let plan = window.decide(&figures, settings.ratio, pool.is_used_up());
        state.window = Some(window);
        // Free pages are collected without delay; a move between classes waits for the next second.
        if plan.is_none_or(|plan| plan.to.is_some()) {
            state.decided_at = now;
        }
        let which = |plan: Move| if plan.to.is_none() { Which::Emptiest } else { Which::Oldest };
        plan.map(|plan| (plan, self.begin_move(state, plan, which(plan), false)))
    }

    /// What a decision is based on, by class number.
    fn class_figures(&self) -> Vec<ClassFigures> {
        let now = self.clock.now();
        let none = std::iter::once(ClassFigures::default());
        let all = self.slabs.ladder().iter().map(|class| {
            let usage = self.slabs.usage(class);
            // What is evicted next: memcached's COLD, S3-FIFO's WARM (and HOT, whatever its age
            // while there is a WARM).
            let (mut evicted, mut tail, mut last) = (0, None, Queue::Cold);
            if self.is_s3fifo() {
                let hot = self.lru.lock(class, Queue::Hot);
                (evicted, tail) = (hot.stats.evicted, hot.tail);
                last = Queue::Warm;
            }
            let outofmemory = self.lru.lock(class, Queue::Cold).stats.outofmemory;
            let last = self.lru.lock(class, last);
            let tail = last.tail.or(tail);
            ClassFigures {
                age: tail.map_or(0, |id| now.saturating_sub(self.items.time(id))),
                evicted: evicted + last.stats.evicted,
                outofmemory,
                n_pages: usage.n_pages,
                chunks_per_page: usage.chunks_per_page,
                n_free: usage.n_free,
            }
        });
        none.chain(all).collect()
    }

    /// The class to give up a page when the limit was lowered: the one with the most free memory if
    /// that makes a page, else (if the store evicts) the one with the oldest items.
    fn give_up_source(&self) -> Option<ClassId> {
        let figures = self.class_figures();
        let numbered = figures.iter().enumerate().skip(1);
        let with_free = numbered.clone().filter(|(_, class)| class.n_free >= class.chunks_per_page);
        let free_pages = |class: &ClassFigures| class.n_free / class.chunks_per_page.max(1);
        let freest = with_free.filter(|(_, class)| class.n_pages > 0);
        if let Some((number, _)) = freest.max_by_key(|(_, class)| free_pages(class)) {
            return Some(ClassId::new(number));
        }
        if !self.config.evictions {
            return None;
        }
        let oldest = numbered.filter(|(_, class)| class.n_pages > 1);
        oldest.max_by_key(|(_, class)| (class.age, class.n_pages)).map(|(n, _)| ClassId::new(n))
    }

    /// The next class in turn that has more than one page.
    fn any_source(&self, state: &mut State, to: Option<ClassId>) -> Option<ClassId> {
        let classes: Vec<ClassId> = self.slabs.ladder().iter().collect();
        for _ in 0..classes.len() {
            state.any_from = (state.any_from + 1) % classes.len();
            let class = classes[state.any_from];
            if Some(class) != to && self.slabs.usage(class).n_pages > 1 {
                return Some(class);
            }
        }
        None
    }

    fn begin_move(&self, state: &mut State, plan: Move, which: Which, evict: bool) -> bool {
        let Some(page) = self.slabs.drain(self.items.arena(), plan.from, which) else {
            return false;
        };
        state.job = Some(Job {
            plan,
            page,
            next: 0,
            n_busy: 0,
            loops: 0,
            may_evict: evict,
            by_force: false,
            spare: None,
        });
        self.mover.stats.is_running.store(true, Relaxed);
        true
    }

    /// Works on the page at hand for one step.
    fn work_on_page(&self, state: &mut State) -> MoverDue {
        let arena = self.items.arena();
        let job = state.job.as_mut().expect("the caller looked");
        let from = job.plan.from;
        let (n_cut, chunk_bytes) = self.slabs.cut(arena, from, job.page);
        let mut bytes = 0;
        let end = n_cut.min(job.next + CHUNKS_PER_STEP);
        while job.next < end && bytes < BYTES_PER_STEP {
            let id = arena.id(job.page, job.next * chunk_bytes);
            job.next += 1;
            bytes += self.clear_chunk(job, id);
        }
        if let Some(spare) = job.spare.take() {
            self.slabs.give(arena, spare);
        }
        if job.next < n_cut {
            return MoverDue::InMs(0);
        }
        let stats = &self.mover.stats;
        if self.slabs.is_drained(arena, from) {
            self.slabs.finish_drain(arena, from, job.plan.to);
            stats.slabs_moved.fetch_add(1, Relaxed);
        } else {
            stats.busy_items.fetch_add(std::mem::take(&mut job.n_busy), Relaxed);
            job.next = 0;
            job.loops += 1;
            if job.loops < LOOPS_MAX {
                return MoverDue::InMs(u64::from(job.loops).min(BUSY_PAUSE_MS_MAX));
            }
            self.slabs.abort_drain(arena, from, true);
        }
        state.job = None;
        stats.is_running.store(false, Relaxed);
        MoverDue::InMs(0)
    }

    /// Tries to free one chunk of the page.
    fn try_chunk(&self, job: &mut Job, id: ItemId) -> Status {
        match self.slabs.look(self.items.arena(), job.plan.from, id) {
            ChunkUse::Free => Status::Free,
            ChunkUse::Item => self.clear_item(job, id),
            ChunkUse::Chain(head) => self.clear_link(job, id, head),
        }
    }

    /// Tries to free one chunk of the page; says how many bytes it copied.
    fn clear_chunk(&self, job: &mut Job, id: ItemId) -> usize {
        // Chunks of a draining page that are free stay so: no need to lock for this.
        if self.items.state(id) == STATE_FREE {
            return 0;
        }
        let mut status = self.try_chunk(job, id);
        // Whoever waits for the whole page does not give it up for somebody who reads an item of it
        // at this moment.
        for _ in 0..LOCKED_TRIES {
            if !(job.by_force && matches!(status, Status::Locked | Status::Floating)) {
                break;
            }
            std::thread::yield_now();
            status = self.try_chunk(job, id);
        }
        let stats = &self.mover.stats;
        stats.last_status.store(status.code(), Relaxed);
        match status {
            Status::Free => 0,
            Status::Moved(bytes) => bytes,
            Status::NoMemory
            | Status::Busy
            | Status::Active
            | Status::Floating
            | Status::Locked => {
                job.n_busy += 1;
                0
            }
        }
    }

    /// Locks the list of an item that was found in no lock's keeping; `None` if it is in none. Of
    /// one that a link named as its owner, the page may even have got another grid since then.
    pub(crate) fn list_of(&self, id: ItemId) -> Option<SegmentGuard<'_>> {
        let (class, state) = self.slabs.state_at(self.items.arena(), id)?;
        self.list_of_stale(id, class, state)
    }

    /// Copies an item out of the page, or removes it.
    fn clear_item(&self, job: &mut Job, id: ItemId) -> Status {
        let items = &self.items;
        if items.state(id) & IN_LIST == 0 {
            return Status::Floating;
        }
        self.find_spare(job);
        let Some(mut list) = self.list_of(id) else { return Status::Floating };
        let Some((hash, mut shard)) = self.try_lock_item(id, &list) else { return Status::Locked };
        let is_chained = items.state(id) & CHAINED != 0;
        let is_shared = !items.is_unshared(id);
        if let Some(cause) = self.death_of(id) {
            self.mover.stats.inline_reclaim.fetch_add(1, Relaxed);
            self.unlink_from(&mut list, &mut shard, hash, id, cause);
            return if is_shared { Status::Floating } else { Status::Moved(0) };
        }
        if self.must_go(job, is_chained && is_shared) {
            self.count_forced(job, &mut list, id);
            self.unlink_from(&mut list, &mut shard, hash, id, Cause::Evicted);
            return if is_shared { Status::Active } else { Status::Moved(0) };
        }
        if is_chained && is_shared {
            // Readers follow the chain from the head they hold.
            return Status::Active;
        }
        let Some(to) = job.spare.take() else { return Status::NoMemory };
        items.copy_item(id, to, &shard, &Sole);
        if is_chained {
            items.view(to, &shard).chain().iter().for_each(|&link| items.set_chain_owner(link, to));
            // The chain is the copy's now.
            items.clear_state(id, CHAINED);
        }
        shard.replace(hash, id, to);
        list.replace(items, id, to);
        self.note_deadline(to);
        // The bump that waits for it names the old one.
        let awaits_bump = items.queue(to) == Queue::Cold && items.state(to) & ACTIVE != 0;
        if awaits_bump && self.bumps.push((to, hash)).is_err() {
            items.clear_state(to, ACTIVE);
            self.counters.add(Counter::BumpsDropped);
        }
        items.clear_state(id, LINKED);
        self.drop_ref(id);
        self.mover.stats.rescues.fetch_add(1, Relaxed);
        // Whoever holds the old one lets it go in time.
        if is_shared { Status::Active } else { Status::Moved(items.total_bytes_of(to)) }
    }

    /// Copies a link of a chain out of the page, or removes the item it belongs to.
    fn clear_link(&self, job: &mut Job, id: ItemId, head: ItemId) -> Status {
        let items = &self.items;
        self.find_spare(job);
        let Some(mut list) = self.list_of(head) else { return Status::Floating };
        let Some((hash, mut shard)) = self.try_lock_item(head, &list) else {
            return Status::Locked;
        };
        // With the item locked its chain stands still; was it this item's all the time?
        let arena = items.arena();
        let is_its_link = items.state(head) & CHAINED != 0
            && self.slabs.look(arena, job.plan.from, id) == ChunkUse::Chain(head);
        if !is_its_link {
            return Status::Busy;
        }
        let is_shared = !items.is_unshared(head);
        let death = self.death_of(head);
        if death.is_some() || self.must_go(job, is_shared) {
            if death.is_none() {
                self.count_forced(job, &mut list, head);
            }
            let cause = death.unwrap_or(Cause::Evicted);
            self.unlink_from(&mut list, &mut shard, hash, head, cause);
            return if is_shared { Status::Active } else { Status::Moved(0) };
        }
        if is_shared {
            return Status::Active;
        }
        let Some(to) = job.spare.take() else { return Status::NoMemory };
        items.copy_chain(id, to, &shard, &Sole);
        items.relink_chain(head, id, to, &mut shard);
        let bytes = items.chain_used(to);
        self.slabs.give(arena, id);
        self.mover.stats.chunk_rescues.fetch_add(1, Relaxed);
        Status::Moved(bytes)
    }

    /// What an item died of; `None` if it lives.
    fn death_of(&self, id: ItemId) -> Option<Cause> {
        self.is_dead(self.items.head(id)).then(|| self.cause_of_death(id))
    }

    /// Whether an item is removed rather than copied.
    fn must_go(&self, job: &Job, is_stuck: bool) -> bool {
        let is_starved = job.spare.is_none() && job.may_evict && job.loops > 1;
        let may_go = job.by_force || is_starved || (is_stuck && job.loops > LOOPS_CHAIN_MAX);
        may_go && self.config.evictions
    }

    fn count_forced(&self, job: &Job, list: &mut SegmentGuard<'_>, id: ItemId) {
        if job.loops > LOOPS_CHAIN_MAX {
            self.mover.stats.busy_deletes.fetch_add(1, Relaxed);
        } else {
            self.mover.stats.evictions_nomem.fetch_add(1, Relaxed);
            self.count_eviction(&mut list.stats, id);
        }
    }

    /// Sees to it that the job has a chunk to copy into, if one can be had.
    fn find_spare(&self, job: &mut Job) {
        if job.spare.is_some() || job.by_force {
            return;
        }
        let (arena, class) = (self.items.arena(), job.plan.from);
        job.spare = self.slabs.take_held(arena, class);
        if job.spare.is_some() {
            return;
        }
        if !self.slabs.pool().is_used_up() {
            job.spare = self.slabs.take(arena, class);
            return;
        }
        self.mover.stats.busy_nomem.fetch_add(1, Relaxed);
        if !(job.may_evict || self.slabs.pool().n_free == 0) || !self.config.evictions {
            return;
        }
        job.may_evict = true;
        for _ in 0..EVICT_TRIES {
            self.give_up_one(class);
            job.spare = self.slabs.take_held(arena, class);
            if job.spare.is_some() {
                return;
            }
        }
    }

    /// Takes a page in which nothing is stored from another class; false when there is none.
    pub(crate) fn take_free_page(&self, to: ClassId) -> bool {
        let is_taken =
            self.config.slab_reassign && self.slabs.steal_free_page(self.items.arena(), to);
        self.mover.stats.slabs_moved.fetch_add(u64::from(is_taken), Relaxed);
        is_taken
    }

    /// Finds a page for a class that has nothing left to give or to evict, now: one that is all
    /// free, or that of the class with the oldest items, whatever is in it. The caller holds no
    /// lock: items of a shard it held could not be removed, and so no page emptied.
    pub(crate) fn make_room(&self, to: ClassId) -> bool {
        let arena = self.items.arena();
        if !self.config.slab_reassign {
            return false;
        }
        if self.take_free_page(to) {
            return true;
        }
        if !self.config.evictions {
            return false;
        }
        let state = &mut *self.mover.state.lock();
        if self.slabs.usage(to).n_free > 0 {
            // Somebody else has found one for it meanwhile.
            return true;
        }
        if let Some(job) = state.job.take() {
            // Memory is wanted here more than there.
            self.slabs.abort_drain(arena, job.plan.from, false);
        }
        let mut sources: Vec<(u32, usize, ClassId)> = self
            .class_figures()
            .iter()
            .enumerate()
            .filter(|(number, class)| *number != to.idx() && class.n_pages > 1)
            .map(|(number, class)| (class.age, class.n_pages, ClassId::new(number)))
            .collect();
        sources.sort_unstable_by_key(|&(age, n_pages, _)| std::cmp::Reverse((age, n_pages)));
        let is_made = sources.into_iter().any(|(_, _, from)| {
            let plan = Move { from, to: Some(to) };
            self.slabs.pages(from, PAGES_TRIED_MAX).into_iter().any(|page| {
                // What is in the page is thrown out; not if that would be in vain.
                !self.is_page_busy(from, page)
                    && self.begin_move(state, plan, Which::This(page), true)
                    && self.empty_at_once(state)
            })
        });
        self.mover.stats.is_running.store(false, Relaxed);
        is_made
    }

    /// Whether somebody has an item of a page, by a glance at it: pinned, being written, or a link of
    /// such a one. A moment later it may be otherwise.
    fn is_page_busy(&self, class: ClassId, page: u32) -> bool {
        let arena = self.items.arena();
        let (n_cut, chunk_bytes) = self.slabs.cut(arena, class, page);
        let is_busy = |id: ItemId| {
            let Some((_, state)) = self.slabs.state_at(arena, id) else { return true };
            state & IN_LIST == 0 || state & REFS_MASK != 1
        };
        (0..n_cut).map(|number| arena.id(page, number * chunk_bytes)).any(|id| {
            match self.slabs.look(arena, class, id) {
                ChunkUse::Free => false,
                ChunkUse::Item => is_busy(id),
                ChunkUse::Chain(head) => is_busy(head),
            }
        })
    }

    /// Removes what is in the page of the job; false, and no job, if something of it is in use.
    fn empty_at_once(&self, state: &mut State) -> bool {
        let arena = self.items.arena();
        // Stays in its place while listeners are called: maintenance goes on should one panic.
        let job = state.job.as_mut().expect("just begun");
        job.by_force = true;
        let (from, to) = (job.plan.from, job.plan.to);
        let (n_cut, chunk_bytes) = self.slabs.cut(arena, from, job.page);
        for number in 0..n_cut {
            let id = arena.id(job.page, number * chunk_bytes);
            self.clear_chunk(job, id);
            if job.n_busy > 0 {
                break;
            }
        }
        state.job = None;
        if !self.slabs.is_drained(arena, from) {
            self.slabs.abort_drain(arena, from, false);
            return false;
        }
        self.slabs.finish_drain(arena, from, to);
        self.mover.stats.slabs_moved.fetch_add(1, Relaxed);
        true
    }
}
