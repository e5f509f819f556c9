//! Life spans: what the protocol's `exptime` means, and the deadline it becomes.

/// Relative expiry times reach this far, in seconds: 30 days. A larger `exptime` is a Unix time
/// (protocol.txt, "Expiration times").
const RELATIVE_SECS_MAX: u32 = 60 * 60 * 24 * 30;

/// How long an item may live.
///
/// ```
/// use nuthatch_types::{Clock, Ttl};
///
/// let clock = Clock { now: 100, unix_base: 1_700_000_000 };
/// assert_eq!(Ttl::NEVER.deadline(clock), 0);
/// assert_eq!(Ttl::secs(60).deadline(clock), 160);
/// assert_eq!(Ttl::at_unix(1_700_000_200).deadline(clock), 200);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Ttl(Kind);

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
enum Kind {
    #[default]
    Never,
    Past,
    In(u32),
    At(u64),
}

/// A reading of the coarse clock that deadlines are counted on.
///
/// It is whole seconds since a little before the store began; 0 and 1 are never read, so that a
/// deadline of 0 can mean "none" and a deadline of 1 "already past" (memcached starts its clock
/// at 2 for the same reason).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "two numbers, and callers make them")]
pub struct Clock {
    /// Seconds on the store's own clock.
    pub now: u32,
    /// The Unix time at which that clock read 0.
    pub unix_base: u64,
}

impl Clock {
    /// The Unix time of this reading, in seconds.
    pub const fn unix(&self) -> u64 {
        self.unix_base + self.now as u64
    }
}

impl Ttl {
    /// The item stays until it is evicted or removed.
    pub const NEVER: Self = Self(Kind::Never);

    /// The item is gone at once.
    pub const PAST: Self = Self(Kind::Past);

    /// So many seconds from now; 0 is at once, not never. Unlike the wire's `exptime`, any number
    /// of seconds is relative.
    pub const fn secs(secs: u32) -> Self {
        if secs == 0 { Self::PAST } else { Self(Kind::In(secs)) }
    }

    /// Until that Unix time, in seconds.
    pub const fn at_unix(secs: u64) -> Self {
        Self(Kind::At(secs))
    }

    /// What an `exptime` on the wire means: 0 never, negative at once, up to 30 days relative,
    /// beyond that a Unix time.
    pub const fn from_exptime(exptime: i32) -> Self {
        match exptime {
            0 => Self::NEVER,
            i32::MIN..=-1 => Self::PAST,
            _ if exptime.unsigned_abs() <= RELATIVE_SECS_MAX => {
                Self(Kind::In(exptime.unsigned_abs()))
            }
            _ => Self(Kind::At(exptime.unsigned_abs() as u64)),
        }
    }

    /// How a client writes this life span on the wire. Spans beyond 30 days need the Unix time
    /// `unix_now`, because the wire has no relative form for them; times that no `exptime` can
    /// hold (after 2038) become the last one that can.
    pub fn to_exptime(self, unix_now: u64) -> i32 {
        let at = |secs: u64| i32::try_from(secs).unwrap_or(i32::MAX);
        match self.0 {
            Kind::Never => 0,
            Kind::Past => -1,
            Kind::In(secs) if secs <= RELATIVE_SECS_MAX => at(u64::from(secs)),
            Kind::In(secs) => at(unix_now + u64::from(secs)),
            // A small Unix time would be read as relative.
            Kind::At(secs) if secs <= u64::from(RELATIVE_SECS_MAX) => -1,
            Kind::At(secs) => at(secs),
        }
    }

    /// The deadline on the store's clock: 0 for never, else the first second at which the item is
    /// gone. (memcached: `realtime()`.)
    pub fn deadline(self, clock: Clock) -> u32 {
        match self.0 {
            Kind::Never => 0,
            Kind::Past => 1,
            Kind::In(secs) => clock.now.saturating_add(secs),
            Kind::At(unix) => match unix.checked_sub(clock.unix_base) {
                None | Some(0) => 1,
                Some(secs) => u32::try_from(secs).unwrap_or(u32::MAX),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLOCK: Clock = Clock { now: 50, unix_base: 1_700_000_000 };

    #[test]
    fn wire_rules_at_their_edges() {
        let deadline = |exptime| Ttl::from_exptime(exptime).deadline(CLOCK);
        assert_eq!(deadline(0), 0);
        assert_eq!(deadline(-1), 1);
        assert_eq!(deadline(i32::MIN), 1);
        assert_eq!(deadline(1), 51);
        assert_eq!(deadline(2_592_000), 2_592_050);
        assert_eq!(deadline(2_592_001), 1, "a Unix time of 1970");
        assert_eq!(deadline(1_700_000_050), 50, "now is gone: the rule is clock >= deadline");
        assert_eq!(deadline(1_700_000_051), 51);
    }

    #[test]
    fn zero_seconds_is_at_once() {
        assert_eq!(Ttl::secs(0), Ttl::PAST);
    }

    proptest! {
        #[test]
        fn what_a_client_writes_the_server_reads(secs in 1u32..100_000_000) {
            let wire = Ttl::secs(secs).to_exptime(CLOCK.unix());
            prop_assert_eq!(
                Ttl::from_exptime(wire).deadline(CLOCK),
                Ttl::secs(secs).deadline(CLOCK)
            );
        }

        #[test]
        fn a_deadline_is_never_mistaken_for_none(exptime: i32) {
            let ttl = Ttl::from_exptime(exptime);
            prop_assert_eq!(ttl.deadline(CLOCK) == 0, ttl == Ttl::NEVER);
        }
    }
}
