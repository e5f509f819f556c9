//! The LRU crawler: walks the queues from tail to head and takes away what has expired or been
//! flushed, wherever it stands.
//!
//! ```text
//!  Store::crawl ──► jobs, one a queue ──► crawl_step ──► up to 32 items of one queue, then of the
//!  schedule     ──►                                      next … 1,000 items, then a rest
//! ```
//!
//! A job's place in its queue is a cursor of the list ([`crate::lru`]): nothing is held between
//! steps. A dead item is removed by taking its shard against the lock order, and so only if nobody
//! has it; the next crawl finds what was passed over. A live one costs a look at two words.
//!
//! On its way a crawl counts when the items it leaves alone will expire; from that [`schedule`]
//! decides when the queue is worth another one.

mod schedule;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::arena::{CLASSES_MAX, COMPAT_CLASSES_MAX, ClassId};
use crate::counters::Counter;
use crate::item::{FETCHED, Queue};
use crate::lru::{End, Walker};
use crate::maintain::Wake;
use crate::store::{Cause, Inner, closures};
use crate::{CrawlError, Store};
use schedule::{MINUTES, Schedule};

pub use schedule::CrawlReport;

/// How many items are looked at under one hold of a list's lock: some microseconds.
const ITEMS_PER_HOLD: usize = 32;

/// How many items are looked at between rests, as in memcached.
const ITEMS_PER_SLEEP: usize = 1000;

/// How long a request of somebody's keeps the crawler from being sent out by itself, in seconds.
const HOLD_BACK_SECS: u32 = 60;

/// How long a crawler with nothing to do may be left alone: schedules are in seconds.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// The crawler's name in the lists it walks.
const CRAWLER: Walker = Walker(0);

/// Which queues a crawl walks; for [`Store::crawl`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CrawlTarget {
    /// All queues of all slab classes.
    All,
    /// All queues of these classes, by number (1 to 63; one that the store does not have is an
    /// empty one).
    Classes(Vec<u8>),
}

/// Who sent the crawler out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Run {
    Manual,
    Automatic,
}

/// The crawler of a store: what it has to do, and who waits for it.
#[derive(Debug)]
pub(crate) struct Crawler {
    /// Taken before every other lock of the store.
    state: Mutex<State>,
    /// Calls those who crawl when there is something to do.
    pub(crate) wake: Wake,
    is_running: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// `None` while there are no jobs.
    run: Option<Run>,
    jobs: VecDeque<Job>,
    /// How many items have been looked at since the last rest.
    n_since_rest: usize,
    /// The crawler is not sent out by itself before this reading of the clock.
    held_back_until: u32,
    /// The reading of the clock at which the schedule was last looked at.
    last_check: u32,
    schedules: Vec<Schedule>,
}

/// One queue to crawl.
#[derive(Debug)]
struct Job {
    class: ClassId,
    queue: Queue,
    /// How many items it may look at; all there are, unless the crawler has a limit.
    left: usize,
    has_begun: bool,
    tally: Tally,
}

/// What a crawl has seen of a queue.
#[derive(Clone, Debug)]
struct Tally {
    started: u32,
    ended: u32,
    reclaimed: u64,
    /// Items left alone, those below among them.
    seen: u64,
    no_expiry: u64,
    /// Items by the minutes they have left; those that live for another hour are in none.
    minutes: [u64; MINUTES],
}

impl Tally {
    fn new(started: u32) -> Self {
        Self { started, ended: started, reclaimed: 0, seen: 0, no_expiry: 0, minutes: [0; MINUTES] }
    }

    fn count(&mut self, ends_at: Option<u32>, now: u32) {
        self.seen += 1;
        let Some(end) = ends_at else {
            self.no_expiry += 1;
            return;
        };
        // Those that live for another hour are seen, and nothing more.
        if let Some(n) = self.minutes.get_mut((end.saturating_sub(now) / 60) as usize) {
            *n += 1;
        }
    }
}

impl Crawler {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                run: None,
                jobs: VecDeque::new(),
                n_since_rest: 0,
                held_back_until: 0,
                last_check: 0,
                schedules: vec![Schedule::default(); CLASSES_MAX * Queue::ALL.len()],
            }),
            wake: Wake::default(),
            is_running: AtomicBool::new(false),
        }
    }

    fn lock(&self, inner: &Inner) -> MutexGuard<'_, State> {
        // A listener may be running under it.
        closures::assert_outside(&inner.index);
        self.state.lock()
    }
}

impl State {
    fn begin(&mut self, run: Run, inner: &Inner) {
        self.run = Some(run);
        inner.crawler.is_running.store(true, Relaxed);
        inner.counters.add(Counter::CrawlerStarts);
        inner.crawler.wake.wake();
    }

    fn add_job(&mut self, class: ClassId, queue: Queue, now: u32) {
        self.jobs.push_back(Job {
            class,
            queue,
            left: 0,
            has_begun: false,
            tally: Tally::new(now),
        });
    }

    fn end(&mut self, inner: &Inner) {
        self.run = None;
        self.n_since_rest = 0;
        inner.crawler.is_running.store(false, Relaxed);
    }
}

impl Store {
    /// Sends the crawler through queues, to take away what has expired or been flushed; returns at
    /// once. [`Maintenance`](crate::Maintenance) does the walking, `stats` show when it is done.
    ///
    /// Each queue is walked from its tail to where its head was, or as far as
    /// [`set_crawler_limit`](Self::set_crawler_limit) says. For a minute the crawler is not sent
    /// out by itself then, so that it is free for the next such request.
    ///
    /// # Errors
    ///
    /// [`CrawlError::Disabled`] while the crawler is off, [`CrawlError::Busy`] while it is under
    /// way, [`CrawlError::BadClass`] for a class number that is not 1 to 63
    /// (more in a lean store that has more),
    /// [`CrawlError::NothingToCrawl`] when no class is named.
    pub fn crawl(&self, target: CrawlTarget) -> Result<(), CrawlError> {
        let inner = &*self.inner;
        if !inner.settings.crawler() {
            return Err(CrawlError::Disabled);
        }
        let classes = match target {
            CrawlTarget::All => inner.slabs.ladder().iter().collect(),
            CrawlTarget::Classes(numbers) => inner.named_classes(&numbers)?,
        };
        let now = inner.clock.now();
        let mut state = inner.crawler.lock(inner);
        state.held_back_until = now.saturating_add(HOLD_BACK_SECS);
        if state.run.is_some() {
            return Err(CrawlError::Busy);
        }
        for class in classes {
            for queue in Queue::ALL {
                state.add_job(class, queue, now);
            }
        }
        state.begin(Run::Manual, inner);
        Ok(())
    }

    /// Switches the crawler on or off; says whether it was the other way. Switched off, it stops
    /// where it is.
    pub fn set_crawler(&self, on: bool) -> bool {
        let inner = &*self.inner;
        let mut state = inner.crawler.lock(inner);
        let was_on = inner.settings.swap_crawler(on);
        if !on {
            for job in std::mem::take(&mut state.jobs) {
                inner.lru.lock(job.class, job.queue).end_walk(CRAWLER);
            }
            state.end(inner);
        }
        was_on != on
    }

    /// Whether the crawler is under way, sent out by [`crawl`](Self::crawl) or by itself.
    pub fn is_crawling(&self) -> bool {
        self.inner.crawler.is_running.load(Relaxed)
    }

    /// What the crawler found when it last was in each queue, sent out by itself, and what it made
    /// of that; queues where it has not been are left out.
    pub fn crawl_reports(&self) -> Vec<CrawlReport> {
        let state = self.inner.crawler.lock(&self.inner);
        state.schedules.iter().filter_map(|schedule| schedule.report).collect()
    }
}

impl Inner {
    /// Classes by number, those that the ladder does not have left out.
    pub(crate) fn named_classes(&self, numbers: &[u8]) -> Result<Vec<ClassId>, CrawlError> {
        if numbers.is_empty() {
            return Err(CrawlError::NothingToCrawl);
        }
        // memcached's numbers are classes whether there is one of that number or not.
        let end = COMPAT_CLASSES_MAX.max(self.slabs.ladder().last().idx() + 1);
        if numbers.iter().any(|&number| !(1..end).contains(&usize::from(number))) {
            return Err(CrawlError::BadClass);
        }
        let is_named = |class: &ClassId| numbers.contains(&class.number());
        Ok(self.slabs.ladder().iter().filter(is_named).collect())
    }

    /// Crawls on, at most up to the next rest; says how long that is, `None` when there is nothing
    /// more to crawl.
    pub(crate) fn crawl_step(&self) -> Option<Duration> {
        self.check_schedule();
        loop {
            // Held for one batch only, so that nobody who asks for a crawl waits for longer.
            let mut state = self.crawler.state.lock();
            let Some(mut job) = state.jobs.pop_front() else {
                if state.run.is_some() {
                    state.end(self);
                }
                return None;
            };
            let (n_seen, is_done) = self.crawl_batch(&mut job);
            if is_done {
                job.tally.ended = self.clock.now();
                if state.run == Some(Run::Automatic) {
                    let number = schedule::number(job.class, job.queue);
                    state.schedules[number].seen = Some(job.tally);
                }
            } else {
                state.jobs.push_back(job);
            }
            state.n_since_rest += n_seen;
            if state.n_since_rest >= ITEMS_PER_SLEEP && !state.jobs.is_empty() {
                state.n_since_rest = 0;
                return Some(self.settings.crawler_sleep());
            }
        }
    }

    /// Looks at the next items of a queue; says at how many, and whether these were the last.
    fn crawl_batch(&self, job: &mut Job) -> (usize, bool) {
        let items = &self.items;
        let now = self.clock.now();
        let mut segment = self.lru.lock(job.class, job.queue);
        if !job.has_begun {
            job.has_begun = true;
            let n_items = segment.begin_walk(CRAWLER, End::Tail);
            job.left = match self.settings.crawler_limit() {
                0 => n_items,
                limit => n_items.min(limit as usize),
            };
        }
        for n in 0..ITEMS_PER_HOLD {
            let next = if job.left == 0 { None } else { segment.walk(items, CRAWLER) };
            let Some(id) = next else {
                segment.end_walk(CRAWLER);
                return (n, true);
            };
            job.left -= 1;
            // These words change under the shard lock; a glance at them needs none.
            if !self.is_dead(items.head(id)) {
                segment.stats.crawler_items_checked += 1;
                job.tally.count(self.ends_at(id), now);
                continue;
            }
            let Some((hash, mut shard)) = self.try_lock_item(id, &segment) else { continue };
            segment.stats.crawler_items_checked += 1;
            if !self.is_dead(items.head(id)) {
                // It was given a new life span in between.
                job.tally.count(self.ends_at(id), now);
                continue;
            }
            let is_unfetched = items.state(id) & FETCHED == 0;
            let cause = self.cause_of_death(id);
            segment.stats.expired_unfetched += u64::from(is_unfetched && cause == Cause::Expired);
            segment.stats.crawler_reclaimed += 1;
            job.tally.reclaimed += 1;
            self.unlink_from(&mut segment, &mut shard, hash, id, cause);
        }
        (ITEMS_PER_HOLD, false)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
