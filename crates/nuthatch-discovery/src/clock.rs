//! The only place that reads a clock of the machine.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970. Before 1970 it is 0: a clock that far off gives versions that are too low,
/// which a follower refuses, and not wrong lists.
#[allow(clippy::disallowed_methods, reason = "this is the clock module")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
