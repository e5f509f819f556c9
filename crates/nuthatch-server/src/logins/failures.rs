//! How long who has failed waits before the next attempt.
//!
//! | | free | then | at most |
//! |---|---|---|---|
//! | on one connection | [`CONN_FREE`] failures | 100 ms, doubled by each failure | [`WAIT_MAX`] |
//! | from one address | [`ORIGIN_FREE`] failures | 100 ms more by each failure | [`WAIT_MAX`] |
//!
//! An address is forgiven one failure a second. So a program with an old password, a typing error
//! or a person's third guess meets nothing of it, and who guesses gets some
//! [`HELD_MAX`](super::pool::HELD_MAX) attempts in [`WAIT_MAX`] from one address, with as many
//! connections as they like.
//!
//! The figures are kept in memory, for so many addresses; who has the fewest failures is forgotten
//! first.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nuthatch_transport::Origin;

/// Failures of one connection that cost nothing.
const CONN_FREE: u32 = 3;

/// Failures from one address that cost nothing: several programs may be behind it.
const ORIGIN_FREE: u32 = 20;

/// The longest wait before an attempt.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(4);

/// The wait that one failure too many costs.
const STEP: Duration = Duration::from_millis(100);

/// More failures than this from one address count as this many, so that it is forgiven within two
/// minutes of its last failure.
const SCORE_MAX: u32 = 120;

/// How many addresses are remembered: half a MiB.
const ORIGINS_MAX: usize = 8192;

/// The addresses that failures came from.
#[derive(Debug, Default)]
pub(super) struct Failures {
    by_origin: HashMap<Origin, Score>,
}

#[derive(Clone, Copy, Debug)]
struct Score {
    /// Failures, less those that had been forgiven at this time.
    n: u32,
    at: Instant,
}

impl Score {
    fn now(self, now: Instant) -> u32 {
        let secs = now.saturating_duration_since(self.at).as_secs();
        self.n.saturating_sub(u32::try_from(secs).unwrap_or(u32::MAX))
    }
}

impl Failures {
    /// How long an attempt waits that comes from here, on a connection with so many failures.
    pub(super) fn wait(&self, origin: Origin, n_of_conn: u32, now: Instant) -> Duration {
        let of_conn = match n_of_conn.checked_sub(CONN_FREE) {
            None => Duration::ZERO,
            Some(doublings) => STEP.saturating_mul(1 << doublings.min(16)),
        };
        let n = self.by_origin.get(&origin).map_or(0, |score| score.now(now));
        let of_origin = STEP * n.saturating_sub(ORIGIN_FREE);
        of_conn.max(of_origin).min(WAIT_MAX)
    }

    /// Notes a failure.
    pub(super) fn note(&mut self, origin: Origin, now: Instant) {
        if self.by_origin.len() >= ORIGINS_MAX && !self.by_origin.contains_key(&origin) {
            self.forget(now);
        }
        let score = self.by_origin.entry(origin).or_insert(Score { n: 0, at: now });
        *score = Score { n: (score.now(now) + 1).min(SCORE_MAX), at: now };
    }

    /// Forgets who is forgiven, and if that is nobody, some of those with the fewest failures.
    fn forget(&mut self, now: Instant) {
        self.by_origin.retain(|_, score| score.now(now) > 0);
        if self.by_origin.len() < ORIGINS_MAX {
            return;
        }
        // One in eight at a time, so that the next ones need not look through all again.
        let mut scores: Vec<_> =
            self.by_origin.iter().map(|(origin, score)| (score.now(now), *origin)).collect();
        scores.select_nth_unstable_by_key(ORIGINS_MAX / 8, |(n, _)| *n);
        for (_, origin) in &scores[..ORIGINS_MAX / 8] {
            self.by_origin.remove(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn origin(n: u32) -> Origin {
        Origin::V4(Ipv4Addr::from_bits(n))
    }

    #[expect(clippy::disallowed_methods, reason = "a time to count from")]
    fn begin() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_connection_waits_from_its_fourth_attempt_on() {
        let (failures, now) = (Failures::default(), begin());
        let waits: Vec<_> = (0..12).map(|n| failures.wait(origin(1), n, now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 4000, 4000, 4000]);
        assert_eq!(failures.wait(origin(1), u32::MAX, now), WAIT_MAX);
    }

    #[test]
    fn an_address_waits_after_many_failures_and_is_forgiven() {
        let (mut failures, now) = (Failures::default(), begin());
        let later = |secs| now + Duration::from_secs(secs);
        for _ in 0..ORIGIN_FREE {
            failures.note(origin(1), now);
        }
        assert_eq!(failures.wait(origin(1), 0, now), Duration::ZERO);
        for _ in 0..5 {
            failures.note(origin(1), now);
        }
        assert_eq!(failures.wait(origin(1), 0, now), STEP * 5);
        assert_eq!(failures.wait(origin(2), 0, now), Duration::ZERO, "nobody else waits");
        assert_eq!(failures.wait(origin(1), 0, later(2)), STEP * 3);
        assert_eq!(failures.wait(origin(1), 0, later(5)), Duration::ZERO);
        for _ in 0..100_000 {
            failures.note(origin(1), now);
        }
        assert_eq!(failures.wait(origin(1), 0, now), WAIT_MAX);
        let forgiven = u64::from(SCORE_MAX - ORIGIN_FREE);
        assert_eq!(failures.wait(origin(1), 0, later(forgiven)), Duration::ZERO);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_worst() {
        let (mut failures, now) = (Failures::default(), begin());
        for _ in 0..100 {
            failures.note(origin(0), now);
        }
        for n in 1..3 * u32::try_from(ORIGINS_MAX).unwrap() {
            failures.note(origin(n), now);
            assert!(failures.by_origin.len() <= ORIGINS_MAX);
        }
        assert_eq!(failures.wait(origin(0), 0, now), WAIT_MAX);
        failures.forget(now + Duration::from_secs(60));
        assert_eq!(failures.by_origin.len(), 1);
    }
}
