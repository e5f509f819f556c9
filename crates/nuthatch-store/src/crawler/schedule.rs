//! When a queue is worth a crawl: memcached's rules, from what the last crawl saw.
//!
//! A crawl is sent out again when more than 1 % of the items that can expire are expected to have
//! expired. A queue waits 5 seconds at least, and a minute more after each crawl that found nothing
//! that would pay within that time, up to an hour; so each is crawled once an hour whatever it
//! holds.

use super::{HOLD_BACK_SECS, Run, State, Tally};
use crate::arena::ClassId;
use crate::item::Queue;
use crate::store::{Inner, StoreEvent};

/// For how many minutes ahead expiring items are counted.
pub(super) const MINUTES: usize = 60;

/// The steps of the wait between two crawls of a queue, and its range, in seconds.
const WAIT_STEP_SECS: u32 = 60;
const WAIT_SECS_MIN: u32 = 5;
const WAIT_SECS_MAX: u32 = 3600;

/// What is known of one queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    /// It is crawled again after this reading of the clock.
    next: u32,
    wait: u32,
    /// What the last crawl saw, if that has not been thought about yet.
    pub(super) seen: Option<Tally>,
    pub(super) report: Option<CrawlReport>,
}

/// What an automatic crawl found in one queue; memcached's watchers get it as
/// `type=lru_crawler`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CrawlReport {
    /// The slab class.
    pub class: u8,
    /// Its queue: 0 to 3 for HOT, WARM, COLD, TEMP.
    pub queue: u8,
    /// How many times the queue has been crawled so: tells a new report from an old one.
    pub number: u64,
    /// Another crawl pays when more than so many items have expired.
    pub low_mark: u64,
    /// So many will have expired by then (counted by whole minutes).
    pub next_reclaims: u64,
    /// Seconds between the end of the crawl and this report.
    pub since_run_secs: u32,
    /// The next one is to be so many seconds after this report.
    pub next_run_secs: u32,
    /// Seconds that the crawl took.
    pub elapsed_secs: u32,
    /// Items left alone.
    pub examined: u64,
    /// Dead items taken away.
    pub reclaimed: u64,
}

/// The place of a queue in the list of schedules.
pub(super) fn number(class: ClassId, queue: Queue) -> usize {
    class.idx() * Queue::ALL.len() + queue as usize
}

impl Schedule {
    /// Decides on the next crawl.
    fn plan(&mut self, class: ClassId, queue: Queue, tally: &Tally, now: u32) -> CrawlReport {
        let can_expire = tally.seen - tally.no_expiry;
        let low_mark = can_expire / 100 + 1;
        let mut will_expire = 0;
        for (minute, n) in (0..).zip(tally.minutes) {
            will_expire += n;
            if will_expire > low_mark {
                if self.wait < minute * 60 {
                    self.wait += WAIT_STEP_SECS;
                } else {
                    self.wait = self.wait.saturating_sub(WAIT_STEP_SECS);
                }
                break;
            }
        }
        if will_expire == 0 {
            self.wait += WAIT_STEP_SECS;
        }
        self.wait = self.wait.min(WAIT_SECS_MAX);
        self.next = now.saturating_add(self.wait + WAIT_SECS_MIN);
        let report = CrawlReport {
            class: class.number(),
            queue: queue as u8,
            number: self.report.map_or(0, |report| report.number) + 1,
            low_mark,
            next_reclaims: will_expire,
            since_run_secs: now.saturating_sub(tally.ended),
            next_run_secs: self.next - now,
            elapsed_secs: tally.ended.saturating_sub(tally.started),
            examined: tally.seen,
            reclaimed: tally.reclaimed,
        };
        self.report = Some(report);
        report
    }
}

impl Inner {
    /// Sends the crawler out to the queues that are due; once a second at the most.
    pub(super) fn check_schedule(&self) {
        if !self.config.auto_crawl || !self.settings.crawler() {
            return;
        }
        let now = self.clock.now();
        let mut state = self.crawler.state.lock();
        if state.last_check == now {
            return;
        }
        state.last_check = now;
        let mut due = Vec::new();
        let mut reports = Vec::new();
        for class in self.slabs.ladder().iter() {
            for queue in Queue::ALL {
                let schedule = &mut state.schedules[number(class, queue)];
                if let Some(tally) = schedule.seen.take() {
                    reports.push(schedule.plan(class, queue, &tally, now));
                }
                if now > schedule.next {
                    schedule.next = now.saturating_add(WAIT_SECS_MIN);
                    due.push((class, queue));
                }
            }
        }
        if !due.is_empty() {
            state.send_out(&due, now, self);
        }
        drop(state);
        reports.iter().for_each(|report| self.announce(StoreEvent::CrawlDone(report)));
    }
}

impl State {
    fn send_out(&mut self, due: &[(ClassId, Queue)], now: u32, inner: &Inner) {
        if self.run == Some(Run::Manual) {
            self.held_back_until = now.saturating_add(HOLD_BACK_SECS);
        }
        if self.held_back_until > now {
            return;
        }
        for &(class, queue) in due {
            // An earlier crawl may still be at it.
            if !self.jobs.iter().any(|job| (job.class, job.queue) == (class, queue)) {
                self.add_job(class, queue, now);
            }
        }
        self.begin(Run::Automatic, inner);
    }
}
