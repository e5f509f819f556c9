//! Time: whole seconds, given by whoever owns the store.
//!
//! The engine never asks the system what time it is; [`Store::set_clock`](crate::Store::set_clock)
//! tells it. [`SystemClock`] is the usual source, and the only code here that reads a real clock.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nuthatch_types::Clock;

/// The first reading of a store's clock: 0 and 1 are deadlines with a meaning.
pub(crate) const FIRST_SECOND: u32 = 2;

/// The clock as the engine keeps it: the last reading it was given.
#[derive(Debug)]
pub(crate) struct CoarseClock {
    now: AtomicU32,
    unix_base: AtomicU64,
}

impl CoarseClock {
    pub(crate) fn new() -> Self {
        Self { now: AtomicU32::new(FIRST_SECOND), unix_base: AtomicU64::new(0) }
    }

    pub(crate) fn read(&self) -> Clock {
        Clock { now: self.now(), unix_base: self.unix_base.load(Relaxed) }
    }

    #[inline]
    pub(crate) fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    pub(crate) fn set(&self, clock: Clock) {
        self.now.store(clock.now.max(FIRST_SECOND), Relaxed);
        self.unix_base.store(clock.unix_base, Relaxed);
    }
}

/// Readings of the system's monotonic clock, begun at 2 as memcached's is; its Unix time is that
/// of the start plus what has passed, so that setting the system's clock moves no deadline.
///
/// It can be paused and moved, which is what memcached's `debugtime` command does to tests.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    unix_base: u64,
    /// Milliseconds added to what has passed.
    moved_ms: AtomicI64,
    paused: AtomicBool,
    last: AtomicU32,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl SystemClock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            start: Instant::now(),
            unix_base: unix.saturating_sub(u64::from(FIRST_SECOND)),
            moved_ms: AtomicI64::new(0),
            paused: AtomicBool::new(false),
            last: AtomicU32::new(FIRST_SECOND),
        }
    }

    /// The current reading.
    pub fn read(&self) -> Clock {
        if !self.paused.load(Relaxed) {
            let passed = u32::try_from(self.passed_ms() / 1000).unwrap_or(u32::MAX);
            self.last.store(passed.saturating_add(FIRST_SECOND), Relaxed);
        }
        Clock { now: self.last.load(Relaxed), unix_base: self.unix_base }
    }

    /// Milliseconds until the reading changes, 1 to 1000.
    pub fn ms_to_next_second(&self) -> u64 {
        1000 - self.passed_ms() % 1000
    }

    /// Stops the clock at its reading.
    pub fn pause(&self) {
        self.read();
        self.paused.store(true, Relaxed);
    }

    /// Lets a paused clock go on, from where it would be had it not been paused.
    pub fn resume(&self) {
        self.paused.store(false, Relaxed);
    }

    /// Moves the clock by so many seconds; paused or not, the reading moves at once.
    pub fn advance(&self, secs: i64) {
        self.moved_ms.fetch_add(secs.saturating_mul(1000), Relaxed);
        if self.paused.load(Relaxed) {
            let moved = i64::from(self.last.load(Relaxed)).saturating_add(secs);
            let moved = u32::try_from(moved).unwrap_or(FIRST_SECOND).max(FIRST_SECOND);
            self.last.store(moved, Relaxed);
        }
    }

    fn passed_ms(&self) -> u64 {
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        passed.saturating_add(self.moved_ms.load(Relaxed)).max(0).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_begins_at_two_and_can_be_moved() {
        let clock = SystemClock::new();
        assert_eq!(clock.read().now, 2);
        clock.advance(100);
        assert_eq!(clock.read().now, 102);
        clock.pause();
        clock.advance(5);
        assert_eq!(clock.read().now, 107);
    }
}
