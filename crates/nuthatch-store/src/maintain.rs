//! Maintenance: the work that keeps the LRU in shape, in bounded steps that somebody else drives.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::Store;
use crate::arena::{CLASSES_MAX, ClassId};
use crate::clock::SystemClock;
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
/// counted in the time that the caller says has passed, so that a test can drive them.
#[derive(Debug)]
pub struct Maintenance {
    store: Store,
    /// What is left of each class's pause, and how long the pause was, in milliseconds.
    pauses: Vec<(u64, u64)>,
}

impl Maintenance {
    /// Maintenance for a store; one is enough, more do no harm.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), pauses: vec![(0, PAUSE_MS_MIN); CLASSES_MAX] }
    }

    /// Does what is due after `passed` time and says when to come again.
    pub fn step(&mut self, passed: Duration) -> Duration {
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let inner = &*self.store.inner;
        inner.flush_if_due();
        let moving_ms = match inner.move_pages() {
            MoverDue::Idle => PAUSE_MS_MAX,
            MoverDue::InMs(due) => due,
        };
        Duration::from_millis(self.step_lru(passed_ms).min(moving_ms))
    }

    /// The LRU's part of a step; says when it wants the next, in milliseconds.
    fn step_lru(&mut self, passed_ms: u64) -> u64 {
        let inner = &*self.store.inner;
        if !inner.config.segmented {
            return PAUSE_MS_MAX;
        }
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
    fn n_calls(&self) -> u64 {
        *self.n_calls.lock()
    }

    /// Waits for a call beyond those already seen, but not longer than `pause`.
    fn wait(&self, seen: u64, pause: Duration) {
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
            // The item may be gone, its chunk even be another item's: of the same hash, then. And
            // bumping must not bring back to life what a flush has ended.
            if shard.has(hash, id) && self.items.state(id) & ACTIVE != 0 && !self.is_flushed(id) {
                // Where idleness counts, the read has noted its own time, and this is no read.
                let exact = self.config.time_to_idle.is_some();
                self.update(id, if exact { self.items.time(id) } else { stamp });
            }
        }
        max
    }

    /// Pulls the tails of a class's queues within their limits; says how much it did.
    fn juggle(&self, class: ClassId) -> usize {
        let mut moves = 0;
        if self.config.temporary_ttl.is_some() {
            while moves < MOVES_MAX && self.pull_tail(class, Queue::Temp, Pull::DRAIN) > 0 {
                moves += 1;
            }
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
        let hot = Pull::within(total_bytes, age_of(self.config.hot_max_factor));
        let warm = Pull::within(total_bytes, age_of(self.config.warm_max_factor));
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

/// A thread that keeps a store's clock and does its maintenance; made by
/// [`Store::spawn_maintenance`]. Dropping it ends the thread.
#[derive(Debug)]
pub struct MaintenanceThread {
    shared: Arc<Shared>,
    store: Store,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    clock: SystemClock,
    is_stopping: AtomicBool,
}

impl Store {
    /// Starts a thread that keeps the clock and does the maintenance, until the result is dropped.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn spawn_maintenance(&self) -> io::Result<MaintenanceThread> {
        let shared =
            Arc::new(Shared { clock: SystemClock::new(), is_stopping: AtomicBool::new(false) });
        self.set_clock(shared.clock.read());
        let store = self.clone();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("nuthatch-lru".into())
            .spawn(move || for_thread.run(&store))?;
        Ok(MaintenanceThread { shared, store: self.clone(), thread: Some(thread) })
    }
}

impl MaintenanceThread {
    /// The clock that the thread keeps the store's time by.
    pub fn clock(&self) -> &SystemClock {
        &self.shared.clock
    }
}

impl Drop for MaintenanceThread {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Relaxed);
        self.store.inner.wake.wake();
        if let Some(thread) = self.thread.take() {
            // The thread runs our code only; if that panicked, it has been reported already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, store: &Store) {
        let mut maintenance = Maintenance::new(store);
        let mut pause = Duration::ZERO;
        loop {
            // Counted before anything is looked at, so that a call in between is not missed.
            let seen = store.inner.wake.n_calls();
            if self.is_stopping.load(Relaxed) {
                return;
            }
            store.set_clock(self.clock.read());
            let due = maintenance.step(pause);
            // The clock counts seconds: be there when it changes.
            pause = due.min(Duration::from_millis(self.clock.ms_to_next_second()));
            if !pause.is_zero() {
                store.inner.wake.wait(seen, pause);
            }
        }
    }
}
