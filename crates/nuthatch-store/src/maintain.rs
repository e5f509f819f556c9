//! Maintenance: the work that keeps the LRU in shape, in bounded steps that somebody else drives.
//!
//! It is two: keeping, which moves items between queues and pages between classes, and crawling ([`crate::crawler`]). One
//! caller can do both by turns; [`Store::spawn_maintenance`] gives each a thread, so that a long
//! crawl does not keep tails from being pulled.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::Store;
use crate::arena::{CLASSES_MAX, ClassId};
use crate::clock::SystemClock;
use crate::counters::Counter;
use crate::crawler::IDLE;
use crate::item::{ACTIVE, Queue};
use crate::mover::MoverDue;
use crate::store::{Inner, Pull};

/// How many moves a class gets in one step, as in memcached.
const MOVES_MAX: usize = 500;
/// How many queued bumps one step takes up.
const BUMPS_PER_STEP_MAX: usize = 1000;
/// How long a class with nothing to do is left alone, in milliseconds.
const PAUSE_MS_MIN: u64 = 1;
const PAUSE_MS_MAX: u64 = 1000;

/// Maintenance of one store, done in steps.
///
/// A step looks at the classes whose pause is over, does at most 500 moves in each, and says how
/// long it can wait for the next one: from 1 ms after much work to 1 s after none. Pauses are
/// counted in the time that the caller says has passed, so that a test can drive them. Where the
/// LRU crawler is under way, a step takes it on by 1,000 items as well, unless it rests.
#[derive(Debug)]
pub struct Maintenance {
    store: Store,
    /// What is left of each class's pause, and how long the pause was, in milliseconds.
    pauses: Vec<(u64, u64)>,
    /// What is left of the crawler's rest.
    rest: Duration,
}

impl Maintenance {
    /// Maintenance for a store; one is enough, more do no harm.
    pub fn new(store: &Store) -> Self {
        let pauses = vec![(0, PAUSE_MS_MIN); CLASSES_MAX];
        Self { store: store.clone(), pauses, rest: Duration::ZERO }
    }

    /// Does what is due after `passed` time and says when to come again.
    pub fn step(&mut self, passed: Duration) -> Duration {
        let next = self.step_but_crawl(passed);
        self.rest = self.rest.saturating_sub(passed);
        if self.rest.is_zero() {
            match self.store.inner.crawl_step() {
                Some(rest) => self.rest = rest,
                None => return next,
            }
        }
        next.min(self.rest)
    }

    /// The part of a step that moves items and pages.
    fn step_but_crawl(&mut self, passed: Duration) -> Duration {
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let inner = &*self.store.inner;
        inner.flush_if_due();
        let moving_ms = match inner.move_pages() {
            MoverDue::Idle => PAUSE_MS_MAX,
            MoverDue::InMs(due) => due,
        };
        let expiring_ms = if inner.expire_due() { PAUSE_MS_MIN } else { PAUSE_MS_MAX };
        Duration::from_millis(self.step_lru(passed_ms).min(moving_ms).min(expiring_ms))
    }

    /// The LRU's part of a step; says when it wants the next, in milliseconds.
    fn step_lru(&mut self, passed_ms: u64) -> u64 {
        let inner = &*self.store.inner;
        inner.counters.add(Counter::Juggles);
        let bumped = inner.drain_bumps(BUMPS_PER_STEP_MAX);
        for class in inner.slabs.ladder().iter() {
            let (left, pause) = &mut self.pauses[class.idx()];
            *left = left.saturating_sub(passed_ms);
            if *left > 0 {
                continue;
            }
            // memcached's rule: half as long after work, an eighth longer after none.
            *pause = if inner.juggle(class) > 0 { *pause / 2 } else { *pause + *pause / 8 + 1 };
            *pause = (*pause).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX);
            *left = *pause;
        }
        let next = inner.slabs.ladder().iter().map(|class| self.pauses[class.idx()].0).min();
        let busy = bumped == BUMPS_PER_STEP_MAX;
        if busy { PAUSE_MS_MIN } else { next.unwrap_or(PAUSE_MS_MAX) }
    }
}

/// Calls maintenance that is asleep.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    n_calls: Mutex<u64>,
    condvar: Condvar,
}

impl Wake {
    /// Ends the wait of everybody who is in [`wait`](Self::wait), or will be and has not seen this
    /// call.
    pub(crate) fn wake(&self) {
        *self.n_calls.lock() += 1;
        self.condvar.notify_all();
    }

    /// Calls so far.
    pub(crate) fn n_calls(&self) -> u64 {
        *self.n_calls.lock()
    }

    /// Waits for a call beyond those already seen, but not longer than `pause`.
    pub(crate) fn wait(&self, seen: u64, pause: Duration) {
        let mut n_calls = self.n_calls.lock();
        if *n_calls == seen {
            self.condvar.wait_for(&mut n_calls, pause);
        }
    }
}

impl Inner {
    /// Moves active items of COLD to WARM; says how many were taken from the queue.
    fn drain_bumps(&self, max: usize) -> usize {
        for n in 0..max {
            let Some((id, hash)) = self.bumps.pop() else { return n };
            let shard = self.index.lock(hash);
            let stamp = self.stamp();
            // The item may be gone, its chunk even be another item's: of the same shard, then. And
            // bumping must not bring back to life what a flush has ended.
            if shard.has(hash, id) && self.items.state(id) & ACTIVE != 0 && !self.is_flushed(id) {
                // Where idleness counts, the read has noted its own time, and this is no read.
                let exact = self.config.time_to_idle.is_some();
                self.update(&shard, id, if exact { self.items.time(id) } else { stamp });
            }
        }
        max
    }

    /// Pulls the tails of a class's queues within their limits; says how much it did.
    fn juggle(&self, class: ClassId) -> usize {
        let mut moves = 0;
        while moves < MOVES_MAX && self.pull_tail(class, Queue::Temp, Pull::DRAIN) > 0 {
            moves += 1;
        }
        if !self.settings.segmented() {
            // HOT and WARM have what they had when the LRU was made flat; it all goes to COLD.
            for _ in 0..MOVES_MAX {
                if self.pull_tail(class, Queue::Hot, Pull::DRAIN) == 0
                    && self.pull_tail(class, Queue::Warm, Pull::DRAIN) == 0
                {
                    break;
                }
                moves += 1;
            }
            return moves;
        }
        if self.is_s3fifo() {
            while moves < MOVES_MAX {
                match self.reclaim_s3fifo(class) {
                    0 => break,
                    n => moves += n,
                }
            }
            return moves;
        }
        let mut total_bytes = 0;
        let mut cold_age = 0;
        for queue in [Queue::Hot, Queue::Warm, Queue::Cold] {
            let segment = self.lru.lock(class, queue);
            total_bytes += segment.bytes;
            if queue == Queue::Cold {
                let age = |id| self.clock.now().saturating_sub(self.items.time(id));
                cold_age = segment.tail.map_or(0, age);
            }
        }
        if total_bytes == 0 {
            return moves;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast from float saturates, which is what a large factor means"
        )]
        let age_of = |factor: f64| (f64::from(cold_age) * factor) as u32;
        let hot = Pull::within(total_bytes, age_of(self.settings.hot_max_factor()));
        let warm = Pull::within(total_bytes, age_of(self.settings.warm_max_factor()));
        for _ in 0..MOVES_MAX {
            let mut moved = self.pull_tail(class, Queue::Hot, hot);
            if moved == 0 {
                moved = self.pull_tail(class, Queue::Warm, warm);
            }
            moved += self.pull_tail(class, Queue::Cold, Pull::DRAIN);
            if moved == 0 {
                break;
            }
            moves += 1;
        }
        moves
    }
}

/// The threads that keep a store's clock and do its maintenance; made by
/// [`Store::spawn_maintenance`]. Dropping it ends them.
#[derive(Debug)]
pub struct MaintenanceThread {
    store: Store,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    clock: SystemClock,
    is_stopping: AtomicBool,
}

impl Store {
    /// Starts a thread that keeps the clock and moves items and pages, and one that crawls, until
    /// the result is dropped.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn spawn_maintenance(&self) -> io::Result<MaintenanceThread> {
        let shared =
            Arc::new(Shared { clock: SystemClock::new(), is_stopping: AtomicBool::new(false) });
        self.set_clock(shared.clock.read());
        // Dropped where the second thread cannot be had, which ends the first.
        let mut running =
            MaintenanceThread { store: self.clone(), shared, threads: Vec::with_capacity(2) };
        running.spawn("nuthatch-lru", Shared::keep)?;
        running.spawn("nuthatch-crawl", Shared::crawl)?;
        Ok(running)
    }
}

impl MaintenanceThread {
    fn spawn(&mut self, name: &str, run: fn(&Shared, &Store)) -> io::Result<()> {
        let (store, shared) = (self.store.clone(), Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name(name.into());
        self.threads.push(thread.spawn(move || run(&shared, &store))?);
        Ok(())
    }

    /// The clock that the threads keep the store's time by.
    pub fn clock(&self) -> &SystemClock {
        &self.shared.clock
    }
}

impl Drop for MaintenanceThread {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Relaxed);
        self.store.inner.wake.wake();
        self.store.inner.crawler.wake.wake();
        for thread in self.threads.drain(..) {
            // The threads run our code only; if that panicked, it has been reported already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn crawl(&self, store: &Store) {
        let inner = &store.inner;
        self.run(&inner.crawler.wake, || inner.crawl_step().unwrap_or(IDLE));
    }

    fn keep(&self, store: &Store) {
        let mut maintenance = Maintenance::new(store);
        let mut pause = Duration::ZERO;
        self.run(&store.inner.wake, || {
            store.set_clock(self.clock.read());
            let due = maintenance.step_but_crawl(pause);
            // The clock counts seconds: be there when it changes.
            pause = due.min(Duration::from_millis(self.clock.ms_to_next_second()));
            pause
        });
    }

    /// Takes a step after another, each saying how long the next one can wait unless somebody calls,
    /// until the threads are to end.
    fn run(&self, wake: &Wake, mut step: impl FnMut() -> Duration) {
        loop {
            // Counted before anything is looked at, so that a call in between is not missed.
            let seen = wake.n_calls();
            if self.is_stopping.load(Relaxed) {
                return;
            }
            let pause = step();
            if !pause.is_zero() {
                wake.wait(seen, pause);
            }
        }
    }
}
